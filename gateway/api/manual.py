"""`/openapi.json` and `/docs`: the API, for machines and to be read. Needs no key, fetches nothing from elsewhere."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.openapi import document, document_json

_FOLDER = Path(__file__).with_name("reference")
_HEADERS = {
    "cache-control": "no-cache",
    "content-security-policy": "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


async def openapi(request: Request) -> Response:
    """GET /openapi.json."""
    return Response(document_json(), headers=_HEADERS, media_type="application/json")


async def docs(request: Request) -> Response:
    """GET /docs."""
    return Response(_page(), headers=_HEADERS, media_type="text/html")


async def style(request: Request) -> Response:
    """GET /docs/style.css."""
    return Response(_style(), headers=_HEADERS, media_type="text/css")


async def python_client(request: Request) -> Response:
    """GET /clients/farthing.py."""
    return Response(_client("farthing.py"), headers=_HEADERS, media_type="text/x-python")


async def javascript_client(request: Request) -> Response:
    """GET /clients/farthing.js."""
    return Response(_client("farthing.js"), headers=_HEADERS, media_type="text/javascript")


PAGES = (
    ("/openapi.json", openapi),
    ("/docs", docs),
    ("/docs/style.css", style),
    ("/clients/farthing.py", python_client),
    ("/clients/farthing.js", javascript_client),
)
"""What is open to all: path and answer."""


@functools.cache
def _client(name: str) -> bytes:
    return Path(__file__).with_name("clients").joinpath(name).read_bytes()


@functools.cache
def _style() -> bytes:
    return (_FOLDER / "style.css").read_bytes()


@functools.cache
def _page() -> bytes:
    """The document as one page."""
    found = document()
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["told"] = _told
    operations = [
        _operation(path, method, each) for path, methods in found["paths"].items() for method, each in methods.items()
    ]
    page = environment.get_template("page.html").render(
        info=found["info"],
        version=found["openapi"],
        headers=[name for name in found["components"]["securitySchemes"] if name != "bearer"],
        tags=[
            {
                "id": f"about-{tag['name'].replace(' ', '-')}",
                "name": tag["name"],
                "operations": [each for each in operations if each["tag"] == tag["name"]],
            }
            for tag in found["tags"]
        ],
        schemas=[_schema(name, each) for name, each in found["components"]["schemas"].items()],
    )
    return page.encode()


def _told(text: str) -> Markup:
    """A sentence, with what stands in backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text)))  # noqa: S704 - escaped first


def _resolved(each: dict[str, Any]) -> dict[str, Any]:
    """What a reference to a shared part of the document means."""
    if "$ref" not in each:
        return each
    *_, kind, name = each["$ref"].split("/")
    return dict(document()["components"][kind][name])


def _operation(path: str, method: str, each: dict[str, Any]) -> dict[str, Any]:
    content = each.get("requestBody", {"content": {}})["content"].get("application/json")
    return {
        "id": each["operationId"],
        "tag": each["tags"][0],
        "path": path,
        "method": method,
        "summary": each["summary"],
        "description": each.get("description", ""),
        "parameters": [
            {
                "name": row["name"],
                "type": _type(row["schema"]),
                "required": row.get("required", False),
                "description": row.get("description", ""),
            }
            for row in map(_resolved, each.get("parameters", ()))
        ],
        "body": sorted(set(_names(content["schema"]))) if content else [],
        "many": "anyOf" in content["schema"] if content else False,
        "example": json.dumps(content["example"], indent=2, ensure_ascii=False) if content else "",
        "answers": [_answer(status, _resolved(answer)) for status, answer in each["responses"].items()],
    }


def _answer(status: str, each: dict[str, Any]) -> dict[str, Any]:
    content = each.get("content", {})
    schema = content.get("application/json", {}).get("schema", {})
    names = list(_names(schema))
    return {
        "status": status,
        "description": each["description"],
        "codes": ", ".join(re.findall(r"(?:^|; )`(\w+)`: ", each["description"])),
        "names": [] if names == ["Error"] else names,
        "refused": names == ["Error"],
        "listed": "data" in schema.get("properties", {}),
        "forms": ", ".join(form for form in content if form != "application/json"),
    }


def _schema(name: str, each: dict[str, Any]) -> dict[str, Any]:
    required = each.get("required", ())
    return {
        "name": name,
        "description": each.get("description", ""),
        "example": json.dumps(each["examples"][0], indent=2, ensure_ascii=False) if "examples" in each else "",
        "rows": [
            {
                "name": field,
                "type": _type(schema),
                "required": field in required,
                "description": _description(schema),
            }
            for field, schema in each.get("properties", {}).items()
        ],
    }


def _names(schema: Any) -> Iterator[str]:
    """The objects that a schema refers to."""
    if isinstance(schema, list):
        for each in schema:
            yield from _names(each)
    elif isinstance(schema, dict):
        for name, value in schema.items():
            if name == "$ref":
                yield str(value).rpartition("/")[2]
            else:
                yield from _names(value)


def _description(schema: dict[str, Any]) -> str:
    found = next((each["description"] for each in (schema, *schema.get("anyOf", ())) if "description" in each), "")
    return str(found)


def _type(schema: dict[str, Any]) -> str:
    """A type in a few words."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_type(each) for each in schema["anyOf"]))
    if "enum" in schema:
        return ", ".join(json.dumps(each) for each in schema["enum"])
    if "const" in schema:
        return json.dumps(schema["const"])
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    bounds = [
        f"{word} {schema[bound]}"
        for bound, word in (("minimum", "from"), ("maximum", "to"), ("maxLength", "at most"))
        if bound in schema
    ]
    return " ".join((str(kind), *bounds))
