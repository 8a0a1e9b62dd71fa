"""Writes the operations of `docs/openapi.json` into the clients that the gateway serves: a method each, and no other.

What a client does by itself, its errors, retries and pages, is written by hand around the marked regions.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
CLIENTS = ROOT / "gateway" / "api" / "clients"
_WORDS = {"get": "retrieve", "change": "update", "make": "create", "reserve": "create", "forget": "delete"}
_NOT_OURS = "/v1/inbound/"
"""What others tell: no client of the API does."""
_SINGLE = ("me", "check", "estimate")
"""Operations that are no resource's: methods of the client itself."""
_PYTHON = {"integer": "int", "boolean": "bool"}
_JAVASCRIPT = {"integer": "number", "boolean": "boolean"}


class Operation(NamedTuple):
    """One method of a client. `query` is name, type and whether it is required; `many` is a body that may be a list."""

    resource: str
    name: str
    method: str
    path: str
    summary: str
    query: tuple[tuple[str, str, bool], ...]
    has_id: bool
    has_body: bool
    many: bool
    listed: bool


def operations(document: dict[str, Any]) -> list[Operation]:
    """The management operations of the document, in its order."""
    return [
        _operation(method.upper(), path, each)
        for path, methods in document["paths"].items()
        if path.startswith("/v1/") and not path.startswith(_NOT_OURS)
        for method, each in methods.items()
    ]


def _operation(method: str, path: str, told: dict[str, Any]) -> Operation:
    resource, *rest = path.removeprefix("/v1/").split("/")
    verb = re.match(r"[a-z]+", told["operationId"])[0]  # type: ignore[index]
    name = _WORDS.get(verb, verb)
    if method == "GET" and len(rest) > 1:
        name = rest[-1]  # what belongs to one of them
    content = told.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    answer = next((each for status, each in told["responses"].items() if status.startswith("2")), {})
    schema = answer.get("content", {}).get("application/json", {}).get("schema", {})
    return Operation(
        resource="" if resource in _SINGLE else resource,
        name=resource if resource in _SINGLE else name,
        method=method,
        path=path,
        summary=told["summary"],
        query=tuple(
            (each["name"], str(each["schema"].get("type", "string")), bool(each.get("required")))
            for each in told.get("parameters", ())
            if each.get("in") == "query"
        ),
        has_id="{id}" in path,
        has_body=bool(content),
        many=any(each.get("type") == "array" for each in content.get("anyOf", ())),
        listed=schema.get("properties", {}).get("object", {}).get("const") == "list",
    )


def python(found: list[Operation]) -> tuple[str, str, str]:
    """The client's resources, its own methods, and the resources' classes."""
    names = dict.fromkeys(each.resource for each in found if each.resource)
    resources = "".join(f"        self.{name} = {_class(name)}(self)\n" for name in names)
    own = "".join(_python_method(each, "self") for each in found if not each.resource)
    classes = ""
    for name in names:
        methods = "".join(_python_method(each, "self._client") for each in found if each.resource == name)
        classes += f'class {_class(name)}:\n    """`/v1/{name}`."""\n\n'
        classes += f"    def __init__(self, client: Farthing) -> None:\n        self._client = client\n\n{methods}\n"
    return resources, own, classes


def _python_method(each: Operation, client: str) -> str:
    changes = each.method != "GET"
    required = [f"{name}: {_PYTHON.get(kind, 'str')}" for name, kind, needed in each.query if needed]
    optional = [f"{name}: {_PYTHON.get(kind, 'str')} | None = None" for name, kind, needed in each.query if not needed]
    named = [*required, *optional, *(["idempotency_key: str | None = None"] if changes else [])]
    parameters = ["self", *(["id: str"] if each.has_id else [])]
    parameters += ["events: Mapping[str, Any] | Sequence[Mapping[str, Any]]"] if each.many else []
    parameters += ["*", *named] if named else []
    parameters += ["**fields: Any"] if each.has_body and not each.many else []
    query = "{" + ", ".join(f'"{name}": {name}' for name, _, _ in each.query) + "}"
    path = f'f"{each.path.replace("{id}", "{_quoted(id)}")}"' if each.has_id else f'"{each.path}"'
    if each.listed:
        answer, said = "Page", f"Page({client}, {path}, {query})"
    else:
        answer = "Any"
        body = "events" if each.many else "fields" if each.has_body else "None"
        said = f'{client}.ask("{each.method}", {path}, {query}, {body}, {"idempotency_key" if changes else "None"})'
    doc = textwrap.fill(each.summary, 108, subsequent_indent=" " * 8)
    doc = f'"""{doc}\n        """' if "\n" in doc else f'"""{doc}"""'
    return f"    def {each.name}({', '.join(parameters)}) -> {answer}:\n        {doc}\n        return {said}\n\n"


def javascript(found: list[Operation]) -> tuple[str, str, str]:
    """The same, of the other client."""
    names = dict.fromkeys(each.resource for each in found if each.resource)
    resources = "".join(f"    this.{_camel(name)} = new {_class(name)}(this);\n" for name in names)
    own = "".join(_javascript_method(each, "this") for each in found if not each.resource)
    classes = ""
    for name in names:
        methods = "".join(_javascript_method(each, "this._client") for each in found if each.resource == name)
        classes += f"/** `/v1/{name}`. */\nexport class {_class(name)} extends Resource {{\n{methods.rstrip()}\n}}\n\n"
    return resources, own, classes


def _javascript_method(each: Operation, client: str) -> str:
    changes = each.method != "GET"
    fields = ", ".join(
        f"{name}{'' if needed else '?'}: {_JAVASCRIPT.get(kind, 'string')}" for name, kind, needed in each.query
    )
    needed = any(needed for _, _, needed in each.query)
    parameters, told = [], []
    if each.has_id:
        parameters, told = ["id"], ["@param {string} id"]
    if each.has_body:
        parameters.append("fields")
        told.append(f"@param {{{'Fields | Fields[]' if each.many else 'Fields'}}} fields")
    if each.query:
        parameters.append("query" if needed else "query = {}")
        told.append(f"@param {{{{ {fields} }}}} {'query' if needed else '[query]'}")
    if changes:
        parameters.append("options = {}")
        told.append("@param {Options} [options]")
    path = f"`{each.path.replace('{id}', '${encodeURIComponent(id)}')}`" if each.has_id else f'"{each.path}"'
    if each.listed:
        said = f"new Pages({client}, {path}, {'query' if each.query else '{}'})"
    else:
        arguments = [f'"{each.method}"', path, "query" if each.query else "{}"]
        arguments += ["fields" if each.has_body else "undefined", *(["options"] if changes else [])]
        said = f"{client}.ask({', '.join(arguments)})"
    lines = [each.summary, *told, f"@returns {{{'Pages' if each.listed else 'Promise<any>'}}}"]
    doc = "\n".join(f"   * {line}" for line in lines)
    name = _camel(each.name)
    return f"  /**\n{doc}\n   */\n  {name}({', '.join(parameters)}) {{\n    return {said};\n  }}\n\n"


def _class(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def filled(text: str, comment: str, parts: tuple[str, str, str]) -> str:
    """A client with its marked regions written anew."""
    for name, part in zip(("resources", "methods", "operations"), parts, strict=True):
        region = re.compile(rf"( *){comment} <{name}>\n.*?( *){comment} </{name}>\n", re.DOTALL)
        assert region.search(text), name
        text = region.sub(
            lambda at, part=part, name=name: f"{at[1]}{comment} <{name}>\n{part}{at[2]}{comment} </{name}>\n", text
        )
    return text


def written() -> dict[Path, str]:
    """What the clients are to be, by file."""
    found = operations(json.loads((ROOT / "docs" / "openapi.json").read_bytes()))
    files = {CLIENTS / "farthing.py": ("#", python(found)), CLIENTS / "farthing.js": ("//", javascript(found))}
    texts = {path: filled(path.read_text(), comment, parts) for path, (comment, parts) in files.items()}
    path = CLIENTS / "farthing.py"
    format_ = [sys.executable, "-m", "ruff", "format", "--quiet", "--stdin-filename", str(path), "-"]
    done = subprocess.run(format_, input=texts[path], capture_output=True, text=True, check=True, cwd=ROOT)
    return texts | {path: done.stdout}


if __name__ == "__main__":  # python -m scripts.clients
    for path, text in written().items():
        path.write_text(text)
