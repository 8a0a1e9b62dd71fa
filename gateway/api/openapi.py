"""`/openapi.json`: the management API as an OpenAPI 3.1 document.

It is made from the types that requests are read as, and from the table in `gateway.api.described`. Pure; the same for
every gateway of a version, and committed as `docs/openapi.json`.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from gateway.api import shapes
from gateway.api.codes import CODES
from gateway.api.described import ENTRIES
from gateway.api.entry import Entry

Json = dict[str, Any]

_REF = "#/components/schemas/{name}"
_DECIMAL = {"type": "string", "format": "decimal"}  # how msgspec tells of a Decimal
_DECIMAL_TOLD: Json = {
    "anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": r"^([0-9]+(\.[0-9]*)?|\.[0-9]+)$"}]
}
_ALWAYS = ("invalid_request", "unknown_parameter", "headers_too_large", "internal_error")
_WITH_A_KEY = (
    "conflicting_credentials",
    "credential_in_url",
    "invalid_key",
    "key_disabled",
    "key_expired",
    "key_revoked",
    "ledger_unavailable",
    "origin_not_allowed",
)
_WITH_A_BODY = ("request_too_large", "encoding_not_supported", "overloaded")
_CLOSED = ("key_revoked", "key_disabled", "key_expired")  # 400, of a key that is to be changed
_HEADERS: Json = {
    "x-farthing-request-id": {
        "description": "The request's id.",
        "schema": {"type": "string", "pattern": "^req_[0-9a-z]+$"},
    },
    "idempotent-replayed": {
        "description": "This answer was given before to the same `Idempotency-Key`.",
        "schema": {"const": "true"},
    },
}
_REQUEST_ID, _REPLAYED = ({name: {"$ref": f"#/components/headers/{name}"}} for name in _HEADERS)
_IDEMPOTENCY: Json = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "The same request with the same key within 24 hours is carried out once, and answered alike.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}
_KEY_HEADERS = ("x-api-key", "xi-api-key", "x-goog-api-key", "api-key")
_ABOUT = (
    "Keys, caps, plans, usage and what belongs to it. Money is in `*_micros`, millionths of a US dollar; times are"
    " `*_ms`, Unix milliseconds in UTC; spans are half-open. Lists are pages: `limit`, `starting_after`, `has_more`."
    " An unknown field or parameter is refused by name; an answer may have more fields than are listed here. Calls to"
    " models go to the providers' own paths, in the providers' own words, and are not in this document."
)


@functools.cache
def document_json() -> bytes:
    """The document, as it is served and committed."""
    return json.dumps(document(), indent=1, ensure_ascii=False).encode() + b"\n"


@functools.cache
def document() -> Json:
    """The document. Not to be changed by those who read it."""
    examples = msgspec.json.decode(Path(__file__).with_name("examples.json").read_bytes())
    types: set[type[msgspec.Struct]] = {
        each for entry in ENTRIES.values() for each in (*entry.answers, entry.body, entry.or_body) if each is not None
    }
    ordered = sorted(types | {shapes.Error}, key=lambda each: each.__name__)
    _, schemas = msgspec.json.schema_components(ordered, ref_template=_REF)
    schemas = {name: _told(schema) for name, schema in sorted(schemas.items())}
    schemas["UsageGroup"]["additionalProperties"] = {"type": ["string", "null"]}
    schemas["Problem"]["properties"]["code"] = {"enum": sorted(CODES)}
    for name, example in examples["objects"].items():
        schemas[name]["examples"] = [example]
    paths: Json = {}
    refusals: Json = {}
    for (method, path), entry in ENTRIES.items():
        example = entry.example if entry.example is not None else examples["requests"].get(entry.name)
        paths.setdefault(path, {})[method.lower()] = _operation(path, entry, example, refusals)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Farthing",
            "version": "1",
            "summary": "A self-hosted AI gateway whose spend cap holds.",
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, *({name: []} for name in _KEY_HEADERS)],
        "tags": [{"name": tag} for tag in dict.fromkeys(_tag(path) for path in paths)],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {name: refusals[name] for name in sorted(refusals)},
            "headers": _HEADERS,
            "parameters": {"IdempotencyKey": _IDEMPOTENCY},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "A key: `fk_live_…` or `fk_test_…`."},
                **{name: {"type": "apiKey", "in": "header", "name": name} for name in _KEY_HEADERS},
            },
        },
    }


def _told(schema: Any) -> Any:
    """A schema of msgspec's in the words of the API: dollars are numbers or texts, patterns are JavaScript's."""
    if isinstance(schema, list | tuple):  # a default may be one
        return [_told(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if schema == _DECIMAL:
        return _DECIMAL_TOLD
    told = {name: _told(value) for name, value in schema.items() if not (name == "required" and value == [])}
    if isinstance(told.get("pattern"), str):
        told["pattern"] = told["pattern"].replace(r"\Z", "$")
    return told


def _tag(path: str) -> str:
    first = path.removeprefix("/v1/").strip("/").partition("/")[0]
    return first.replace("_", " ") if path.startswith("/v1/") else "gateway"


def _operation(path: str, entry: Entry, example: Any, refusals: Json) -> Json:
    parameters: list[Json] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in re.findall(r"\{(\w+)\}", path)
    ]
    for place, each in (*(("query", each) for each in entry.query), *(("header", each) for each in entry.headers)):
        parameters.append(
            {"name": each.name, "in": place, "description": each.description, "schema": dict(each.schema)}
            | ({"required": True} if each.required else {})
        )
    if entry.idempotent:
        parameters.append({"$ref": "#/components/parameters/IdempotencyKey"})
    described: Json = {"operationId": entry.name, "tags": [_tag(path)], "summary": entry.summary}
    if entry.scopes:
        described["description"] = f"For keys of scope {', '.join(f'`{each}`' for each in entry.scopes)}."
    if parameters:
        described["parameters"] = parameters
    if entry.body is not None:
        schema: Json = {"$ref": _REF.format(name=entry.body.__name__)}
        if entry.or_body is not None:
            schema = {"anyOf": [schema, {"$ref": _REF.format(name=entry.or_body.__name__)}]}
        if entry.many:
            schema = {"anyOf": [schema, {"type": "array", "items": schema, "maxItems": 1000}]}
        described["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema, "example": example}},
        }
    described["responses"] = dict(_answers(entry)) | dict(_refusals(path, entry, refusals))
    if entry.is_open:
        described["security"] = []
    return described


def _answers(entry: Entry) -> Iterator[tuple[str, Json]]:
    """What it answers with where it does not refuse."""
    refs: list[Json] = [{"$ref": _REF.format(name=each.__name__)} for each in entry.answers]
    schema: Json = refs[0] if len(refs) == 1 else {"anyOf": refs}
    if entry.listed:
        schema = {
            "type": "object",
            "required": ["object", "data", "has_more", *entry.beside],
            "properties": {
                "object": {"const": "list"},
                "data": {"type": "array", "items": schema},
                "has_more": {"type": "boolean"},
                **{name: {"type": "string"} for name in entry.beside},
            },
        }
    content: Json = {form: {"schema": {"type": "string"}} for form in entry.forms}
    if refs:
        content = {"application/json": {"schema": schema}} | content
    elif not entry.forms:
        content = {"application/json": {"schema": {"type": "object"}}}
    for status in entry.statuses:
        answer: Json = {"description": entry.summary}
        if status != 303:
            answer["content"] = content
        if not entry.is_open:
            answer["headers"] = _REQUEST_ID | (_REPLAYED if entry.idempotent else {})
        yield str(status), answer


def _refusals(path: str, entry: Entry, refusals: Json) -> Iterator[tuple[str, Json]]:
    """What it refuses with, by status; what several operations have in common stands once, in `refusals`."""
    codes: list[str] = []
    if not entry.is_open:
        codes = [*_ALWAYS, *_WITH_A_KEY]
        codes += _WITH_A_BODY if entry.body is not None else ()
        codes += ["scope_not_allowed"] if entry.scopes else []
        codes += ["not_found"] if "{id}" in path else []
        codes += ["idempotency_mismatch"] if entry.idempotent else []
        codes += ["rate_limited"] if entry.makes else []
    elif path == "/":
        codes = ["not_found"]
    said = {(CODES[code][0], code) for code in codes}
    said |= {(400 if code in _CLOSED else CODES[code][0], code) for code in entry.codes}
    if "spend_cap_exceeded" in entry.codes:
        said.add((429, "spend_cap_exceeded"))  # where a key says so
    for status in sorted({status for status, _ in said}):
        found = sorted(code for each, code in said if each == status)
        told = "; ".join(f"`{code}`: {CODES[code][1]}" for code in found)
        refusal = {
            "description": told,
            "headers": _REQUEST_ID,
            "content": {"application/json": {"schema": {"$ref": _REF.format(name="Error")}}},
        }
        name = next((name for name, each in refusals.items() if each == refusal), None)
        if name is None:
            name = f"Refused{status}.{sum(name.startswith(f'Refused{status}.') for name in refusals) + 1}"
            refusals[name] = refusal
        yield str(status), {"$ref": f"#/components/responses/{name}"}


if __name__ == "__main__":  # python -m gateway.api.openapi FILE
    import sys

    Path(sys.argv[1]).write_bytes(document_json())
