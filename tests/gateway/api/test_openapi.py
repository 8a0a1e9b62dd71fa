"""The document of the API: nothing is missing in it, and it is true."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from openapi_spec_validator import validate
from starlette.routing import Route

from gateway.api.codes import CODES
from gateway.api.described import ENTRIES
from gateway.api.openapi import document, document_json
from tests.gateway.api.seeded import Seeded
from tests.gateway.stripe.said import SECRET
from tests.harness import Running, running

ROOT = Path(__file__).parents[3]
REQUESTS = {entry.body.__name__ for entry in ENTRIES.values() if entry.body is not None}
LAST = [
    ("DELETE", "/v1/end_users/{id}"),
    ("DELETE", "/v1/hooks/{id}"),
    ("POST", "/v1/keys/{id}/revoke"),
    ("DELETE", "/v1/keys/{id}"),
    ("DELETE", "/v1/plans/{id}"),
    ("DELETE", "/v1/routes/{id}"),
]


def strict() -> dict[str, Any]:
    """The document, read as if an answer had no field that is not in it."""
    found = deepcopy(document())
    for name, schema in found["components"]["schemas"].items():
        if name not in REQUESTS:
            schema.setdefault("additionalProperties", False)
    for methods in found["paths"].values():
        for each in methods.values():
            for answer in each["responses"].values():
                schema = answer.get("content", {}).get("application/json", {}).get("schema", {})
                if "properties" in schema:
                    schema["additionalProperties"] = False
    return found


def checked(found: dict[str, Any], schema: dict[str, Any], value: Any) -> None:
    """Raises if the value is none that the schema describes."""
    jsonschema.Draft202012Validator(schema | {"components": found["components"]}).validate(value)


def test_the_committed_document_is_the_generated_one() -> None:
    """`docs/openapi.json` is what a gateway serves; `make openapi` writes it."""
    assert (ROOT / "docs" / "openapi.json").read_bytes() == document_json()


def test_it_is_a_valid_document() -> None:
    """OpenAPI 3.1, by somebody else's validator."""
    validate(json.loads(document_json()))


async def test_every_route_is_described_and_nothing_else(tmp_path: Path) -> None:
    """The application's own table of routes, and the document's."""
    async with running(tmp_path) as farthing:
        routes = {
            (method, route.path.replace(":path", ""))
            for route in farthing.gateway._management.routes
            if isinstance(route, Route)
            for method in route.methods or ()
            if method != "HEAD"
        }
    assert routes == set(ENTRIES)
    names = [entry.name for entry in ENTRIES.values()]
    assert len(set(names)) == len(names)


def test_every_code_is_as_the_manual_has_it() -> None:
    """Codes, statuses and meanings are those of `docs/errors.md`."""
    rows = re.findall(r"^\| `([a-z_]+)` \| (\d+) \| (.*) \|$", (ROOT / "docs" / "errors.md").read_text(), re.MULTILINE)
    manual = {code: (int(status), text) for code, status, text in rows}
    for code in ("key_revoked", "key_disabled", "key_expired"):  # one row there
        manual[code] = CODES[code]
    assert manual == CODES


def _examples() -> Iterator[tuple[str, dict[str, Any], Any]]:
    found = strict()
    for name, schema in found["components"]["schemas"].items():
        for example in schema.get("examples", ()):
            yield name, {"$ref": f"#/components/schemas/{name}"}, example
    for path, methods in found["paths"].items():
        for method, each in methods.items():
            if "requestBody" in each:
                body = each["requestBody"]["content"]["application/json"]
                yield f"{method} {path}", body["schema"], body["example"]


@pytest.mark.parametrize(("name", "schema", "example"), [pytest.param(*each, id=each[0]) for each in _examples()])
def test_every_example_is_one(name: str, schema: dict[str, Any], example: Any) -> None:
    """An example is what its schema describes."""
    checked(strict(), schema, example)


def test_there_is_an_example_of_everything() -> None:
    """Of every body that is sent, and of every object that is answered with by itself."""
    schemas = document()["components"]["schemas"]
    answers = {each.__name__ for entry in ENTRIES.values() for each in entry.answers}
    assert [name for name in sorted(answers) if "examples" not in schemas[name]] == []
    bodies = [
        each["requestBody"]
        for methods in document()["paths"].values()
        for each in methods.values()
        if "requestBody" in each
    ]
    assert all(body["content"]["application/json"]["example"] for body in bodies)


async def test_every_answer_is_as_described(tmp_path: Path) -> None:
    """Each operation, asked of a gateway in which there is one of everything: status, media type, headers and shape."""
    found = strict()
    async with running(tmp_path, STRIPE_WEBHOOK_SECRET=SECRET) as farthing:
        seeded = Seeded(farthing)
        await seeded.seed()
        order = [each for each in ENTRIES if each not in LAST] + LAST
        for method, template in order:
            described = found["paths"][template][method.lower()]
            example = described.get("requestBody", {}).get("content", {}).get("application/json", {}).get("example")
            for query in seeded.query(method, template):
                if (method, template) == ("DELETE", "/v1/plans/{id}"):
                    seeded.ids["/v1/plans"] = (await farthing.api("POST", "/v1/plans", {}))[1]["id"]
                path = await seeded.path(template) + query
                async with farthing.http.request(
                    method,
                    farthing.url + path,
                    json=seeded.body(method, template, example),
                    headers={"authorization": f"Bearer {seeded.secret(template)}", "accept": "text/html, */*"}
                    | seeded.headers(template),
                    allow_redirects=False,
                ) as response:
                    text = await response.text()
                    said = f"{method} {path}: {response.status} {text[:300]}"
                    assert str(response.status) in described["responses"], said
                    assert response.status < 400, said
                    answer = described["responses"][str(response.status)]
                    if "content" not in answer:
                        continue
                    assert response.content_type in answer["content"], said
                    if response.content_type == "application/json":
                        checked(found, answer["content"]["application/json"]["schema"], json.loads(text))
                    for name in answer.get("headers", ()):
                        if template.startswith("/v1/") and name != "idempotent-replayed":
                            assert name in response.headers, said


async def test_it_needs_no_key_and_nothing_from_elsewhere(tmp_path: Path) -> None:
    """`/openapi.json` and `/docs` are open; the page names every operation and runs, fetches and frames nothing."""
    async with running(tmp_path) as farthing:
        pages = {}
        for path in ("/openapi.json", "/docs", "/docs/style.css"):
            async with farthing.http.get(farthing.url + path) as response:
                pages[path] = await response.text()
                assert response.status == 200
                assert response.headers["content-security-policy"].startswith("default-src 'none'; style-src 'self';")
    assert json.loads(pages["/openapi.json"]) == document()
    page = pages["/docs"]
    for entry in ENTRIES.values():
        assert f'id="{entry.name}"' in page
    for name in document()["components"]["schemas"]:
        assert f'id="{name}"' in page
    assert re.findall(r"<script|\son\w+=|style=|src=|url\(", page + pages["/docs/style.css"]) == []
    assert set(re.findall(r'href="([^"#]+)', page)) == {"/docs/style.css", "/openapi.json"}
    ids = re.findall(r'id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)', page)) <= set(ids)


async def test_other_paths_of_it_are_nothing(running_gateway: Running) -> None:
    """No other method, and nothing beneath."""
    for method, path, status in (
        ("POST", "/openapi.json", 405),
        ("GET", "/docs/other.css", 404),
        ("PUT", "/docs", 405),
    ):
        assert (await running_gateway.api(method, path))[0] == status


@pytest.fixture
async def running_gateway(tmp_path: Path) -> Any:
    async with running(tmp_path) as farthing:
        yield farthing
