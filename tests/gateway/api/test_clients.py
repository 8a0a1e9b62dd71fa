"""The clients that the gateway serves: all of the API and nothing else; what is sent again is done once."""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType
from typing import Any

import openai
import pytest
from aiohttp import web

from gateway.api.codes import CODES
from gateway.api.openapi import document
from scripts import clients
from tests.harness import MASTER, Running, running

ROOT = Path(__file__).parents[3]
PYTHON, JAVASCRIPT = (clients.CLIENTS / name for name in ("farthing.py", "farthing.js"))
OPERATIONS = sorted(
    (method.upper(), path)
    for path, methods in document()["paths"].items()
    if path.startswith("/v1/") and not path.startswith("/v1/inbound/")
    for method in methods
)


@pytest.fixture
async def farthing(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path) as gateway:
        yield gateway


@pytest.fixture
def module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("farthing_client", PYTHON)
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = made
    spec.loader.exec_module(made)
    return made


async def node(tmp_path: Path, case: str, url: str = "http://127.0.0.1:1", key: str = MASTER) -> Any:
    """What the program prints that runs the other client."""
    client = tmp_path / "farthing.mjs"
    client.write_bytes(JAVASCRIPT.read_bytes())
    process = await asyncio.create_subprocess_exec(
        *(shutil.which("node") or "node", str(ROOT / "tests" / "sdk" / "js" / "own.mjs"), case),
        env={"CLIENT": str(client), "BASE_URL": url, "API_KEY": key},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, err.decode(errors="replace")[-4000:]
    return json.loads(out)


def test_the_committed_clients_are_the_generated_ones() -> None:
    """`make openapi` writes them, with the document."""
    for path, text in clients.written().items():
        assert path.read_text() == text, path.name


def test_they_are_what_they_say(tmp_path: Path) -> None:
    """Typed to the end, without dependencies; and JavaScript that is read as a module."""
    cache = f"--cache-dir={tmp_path}"
    mypy = [sys.executable, "-m", "mypy", "--strict", "--config-file=", cache, str(PYTHON)]
    done = subprocess.run(mypy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    imported = {
        line.split()[1].split(".")[0]
        for line in PYTHON.read_text().splitlines()
        if line.startswith(("import ", "from "))
    }
    assert imported <= set(sys.stdlib_module_names)
    assert "import" not in JAVASCRIPT.read_text().replace("important", "")
    module = tmp_path / "farthing.mjs"
    module.write_bytes(JAVASCRIPT.read_bytes())
    subprocess.run([shutil.which("node") or "node", "--check", str(module)], check=True)
    told = re.findall(r"/\*\*\n((?:   \* .*\n)+)   \*/\n  (\w+)\(([^)]*)\)", JAVASCRIPT.read_text())
    assert len(told) > len(OPERATIONS) - 3
    for doc, name, parameters in told:
        names = [each.partition("=")[0].strip(" {}") for each in parameters.split(",") if each]
        assert [each for each in names if each not in doc] == [], name


async def test_the_gateway_serves_them(farthing: Running) -> None:
    """To everybody, as text."""
    for path, kind in ((PYTHON, "text/x-python"), (JAVASCRIPT, "text/javascript")):
        async with farthing.http.get(f"{farthing.url}/clients/{path.name}") as answer:
            assert (answer.status, answer.content_type) == (200, kind)
            assert await answer.read() == path.read_bytes()


def test_every_operation_has_a_method_and_no_other(module: ModuleType) -> None:
    """Called one by one, they ask for what the document has, each for one thing; changes carry a key."""
    asked: list[tuple[str, str]] = []

    class Deaf(module.Farthing):  # type: ignore[misc, name-defined]
        def _send(self, method: str, url: str, headers: Any, data: Any) -> Any:
            asked.append((method, url.removeprefix("http://x").partition("?")[0].replace("an%2Fid", "{id}")))
            assert ("idempotency-key" in headers) == (method != "GET")
            return {"data": [], "has_more": False}

    client = Deaf("http://x", "k")
    own = {"for_customer", "ask"}
    for holder in (client, *(each for each in vars(client).values() if hasattr(each, "_client"))):
        for name, method in inspect.getmembers(holder, inspect.ismethod):
            if name.startswith("_") or name in own:
                continue
            parameters = inspect.signature(method).parameters.values()
            needed = {
                each.name: "an/id"
                for each in parameters
                if each.default is each.empty and each.kind != each.VAR_KEYWORD
            }
            method(**needed)
    assert sorted(asked) == OPERATIONS


async def test_every_operation_has_a_method_in_javascript_and_no_other(tmp_path: Path) -> None:
    """The same."""
    asked = await node(tmp_path, "methods")
    assert sorted((method, path.replace("an%2Fid", "{id}")) for method, path, _ in asked) == OPERATIONS
    assert {(method != "GET") == keyed for method, _, keyed in asked} == {True}


def test_every_code_has_a_class(module: ModuleType) -> None:
    """By code where there is one of its own, else by status."""
    for code, (status, _) in CODES.items():
        kind = module._BY_CODE.get(code) or module._BY_STATUS.get(status)
        assert kind is not None or status in (400, 405, 409, 413, 415, 422, 426, 431) or status >= 500, code


async def test_a_life_in_python(farthing: Running, module: ModuleType) -> None:
    """Mint, page, sum, refuse; and a provider's SDK that calls as an end user."""

    def live() -> str:
        client = module.Farthing(farthing.url, MASTER)
        key = client.keys.mint(name="py", max_spend_usd="1", livemode=False)
        for name in "abc":
            client.plans.create(name=name)
        assert [plan["name"] for plan in client.plans.list(limit=1)] == ["c", "b", "a"]
        page = client.plans.list(limit=2)
        assert (len(page.data), page.has_more, [plan["name"] for plan in page.next().data]) == (2, True, ["a"])
        assert client.end_users.put("a/b ?", key_id=key["id"], max_spend_usd="0.5")["max_spend_micros"] == 500_000
        sdk = openai.OpenAI(**client.for_customer("ann", api_key=key["secret"]), max_retries=0)
        with sdk:
            sdk.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "hi"}], max_tokens=9)
        assert client.usage.retrieve(from_ms=0, livemode=False)["object"] == "usage"
        assert client.usage.retrieve(from_ms=0, format="csv").startswith("key_id,")
        assert client.me()["scope"] == "master"
        assert client.estimate(provider="openai", model="gpt-4o", usage={"input_tokens": 10})["cost_micros"] > 0
        refusals = (
            (module.NotFoundError, 404, "not_found", None, lambda: client.keys.retrieve("key_none")),
            (module.InvalidRequestError, 400, "invalid_request", "name", lambda: client.keys.mint(name=7)),
            (module.InvalidRequestError, 400, "unknown_parameter", "nam", lambda: client.keys.mint(nam="x")),
            (module.AuthenticationError, 401, "invalid_key", None, module.Farthing(farthing.url, "fk_live_x").me),
            (
                module.PermissionDeniedError,
                403,
                "scope_not_allowed",
                None,
                module.Farthing(farthing.url, key["secret"]).usage.retrieve,
            ),
        )
        for kind, status, code, param, ask in refusals:
            with pytest.raises(kind) as refused:
                ask(**({"from_ms": 0} if kind is module.PermissionDeniedError else {}))
            error = refused.value
            assert (error.status, error.code, error.param) == (status, code, param)
            assert error.request_id.startswith("req_")
        with pytest.raises(module.SpendCapError) as capped:
            client.reservations.create(amount=10**9, subject={"key_id": key["id"]}, strict=True)
        assert capped.value.farthing["limit_micros"] == 1_000_000
        client.plans.create(name="d", idempotency_key="py")
        with pytest.raises(module.IdempotencyError):
            client.plans.create(name="e", idempotency_key="py")
        assert client.keys.revoke(key["id"])["status"] == "revoked"
        return str(key["id"])

    key_id = await asyncio.to_thread(live)
    events = await farthing.events(livemode="false", key_id=key_id)
    assert [event["end_user"] for event in events if event["mode"] == "proxy"] == ["ann"]


async def test_a_life_in_javascript(farthing: Running, tmp_path: Path) -> None:
    """The same, by the other client."""
    lived = await node(tmp_path, "life", farthing.url)
    assert (lived["names"], lived["page"], lived["user"]) == (["c", "b", "a"], [2, True], ["a/b ?", 500_000])
    assert (lived["usage"], lived["csv"], lived["me"], lived["revoked"]) == ("usage", "key_id", "master", "revoked")
    customer = lived["customer"]
    assert (customer["baseURL"], customer["defaultHeaders"]) == (farthing.url, {"x-end-user-id": "ann"})
    assert customer["apiKey"].startswith("fk_test_")
    for name, expected in {
        "missing": ("NotFoundError", 404, "not_found", None),
        "invalid": ("InvalidRequestError", 400, "invalid_request", "name"),
        "unknown": ("InvalidRequestError", 400, "unknown_parameter", "nam"),
        "wrong": ("AuthenticationError", 401, "invalid_key", None),
        "used": ("IdempotencyError", 422, "idempotency_mismatch", "Idempotency-Key"),
    }.items():
        refused = lived[name]
        assert (refused["kind"], refused["status"], refused["code"], refused["param"]) == expected
        assert refused["requestId"].startswith("req_")


class Flaky:
    """A way to the gateway on which answers get lost: the first after it was carried out, the second by a 429."""

    def __init__(self, farthing: Running) -> None:
        self.farthing = farthing
        self.keys: list[str] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.keys.append(request.headers["idempotency-key"])
        if len(self.keys) == 2:
            return web.json_response(
                {"error": {"code": "rate_limited", "message": "wait"}}, status=429, headers={"retry-after": "1"}
            )
        if len(self.keys) == 3:
            return web.Response(status=503, text="a proxy's own words")
        headers = {name: request.headers[name] for name in ("authorization", "idempotency-key", "content-type")}
        url = f"{self.farthing.url}{request.path}"
        async with self.farthing.http.post(url, data=await request.read(), headers=headers) as answer:
            body = await answer.read()
        if len(self.keys) == 1:
            assert request.transport is not None
            request.transport.abort()
        return web.Response(body=body, status=answer.status, content_type="application/json")


@pytest.fixture
async def flaky(farthing: Running) -> AsyncIterator[tuple[Flaky, str]]:
    way = Flaky(farthing)
    application = web.Application()
    application.router.add_route("*", "/{rest:.*}", way.handle)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield way, f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.mark.parametrize("language", ["python", "javascript"])
async def test_what_is_sent_again_is_done_once(
    farthing: Running, flaky: tuple[Flaky, str], module: ModuleType, tmp_path: Path, language: str
) -> None:
    """A lost answer, a 429 with Retry-After, a 503: the same Idempotency-Key each time, and one key is minted."""
    way, url = flaky
    started = time.monotonic()
    if language == "python":
        client = module.Farthing(url, MASTER, max_retries=3)
        key_id = (await asyncio.to_thread(lambda: client.keys.mint(name="once", livemode=False)))["id"]
    else:
        key_id = (await node(tmp_path, "flaky", url))["id"]
    assert time.monotonic() - started >= 1
    assert len(way.keys) == 4 and len(set(way.keys)) == 1
    listed = (await farthing.api("GET", "/v1/keys"))[1]["data"]
    assert [key["id"] for key in listed] == [key_id]


@pytest.mark.parametrize("language", ["python", "javascript"])
async def test_nobody_waits_for_ever(module: ModuleType, tmp_path: Path, language: str) -> None:
    """Who takes a request and says nothing, and who is not there, is told of as such."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    if language == "python":
        for place in (url, "http://127.0.0.1:1"):
            client = module.Farthing(place, "k", max_retries=0, timeout_s=0.2)
            with pytest.raises(module.ConnectionFailedError) as failed:
                await asyncio.to_thread(client.me)
            assert (failed.value.status, failed.value.code) == (0, "connection_failed")
    else:
        failed_ = await node(tmp_path, "silent", url)
        assert (failed_["kind"], failed_["code"], 150 < failed_["tookMs"] < 5_000) == (
            "ConnectionFailedError",
            "connection_failed",
            True,
        )
    server.close()
    await server.wait_closed()


def test_a_client_says_what_it_lacks(module: ModuleType) -> None:
    """A key, and an address that is one."""
    with pytest.raises(ValueError, match="api_key"):
        module.Farthing("http://x", "")
    with pytest.raises(ValueError, match="base_url"):
        module.Farthing("file:///etc/passwd", "k")
    assert module.Farthing("https://ai.example.com/", "k").for_customer("ann") == {
        "base_url": "https://ai.example.com/v1",
        "api_key": "k",
        "default_headers": {"x-end-user-id": "ann"},
    }
