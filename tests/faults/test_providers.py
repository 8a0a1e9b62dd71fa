"""F8 to F13: providers that cannot be reached, break off, stall, refuse, redirect or report nonsense."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.places import Place
from providers.simulator.faults import USAGES
from tests.faults.support import CHAT, EMBED, MESSAGES, PATHS, STREAM, Site, opened
from tests.harness import PROVIDER_KEY

INCLUDED = STREAM | {"stream_options": {"include_usage": True}}
RESPONSE: dict[str, Any] = {"model": "gpt-4o-mini", "input": "say something"}
# kind: path, body. No splice in any of them, so the client's bytes must be the provider's.
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": (PATHS["chat"], CHAT),
    "chat stream": (PATHS["chat"], INCLUDED),
    "messages": (PATHS["messages"], MESSAGES),
    "messages stream": (PATHS["messages"], MESSAGES | {"stream": True}),
    "responses": ("/v1/responses", RESPONSE),
    "responses stream": ("/v1/responses", RESPONSE | {"stream": True}),
    "embeddings": (PATHS["embeddings"], EMBED),
}


@pytest.fixture(params=["lean", "aiohttp"])
def upstream_client(request: pytest.FixtureRequest) -> str:
    """Both clients keep what is promised here."""
    return str(request.param)


@contextlib.contextmanager
def blackhole() -> Iterator[str]:
    """An address that answers no SYN: its backlog is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = []
        for _ in range(4):
            each = socket.socket()
            each.setblocking(False)
            each.connect_ex(listener.getsockname())
            waiting.append(each)
        yield "http://{}:{}".format(*listener.getsockname())
        for each in waiting:
            each.close()


@contextlib.asynccontextmanager
async def untrusted(tmp_path: Path) -> AsyncIterator[str]:
    """A TLS server with a certificate that nobody signed."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl to make a certificate with")
    place = tmp_path / "tls"
    place.mkdir()
    made = await asyncio.create_subprocess_exec(
        *(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"),
        *("-subj", "/CN=127.0.0.1", "-keyout", str(place / "key.pem"), "-out", str(place / "cert.pem")),
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert await made.wait() == 0
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(place / "cert.pem", place / "key.pem")
    served = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(await reader.read(100))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    await server.wait_closed()
    assert not any(served)


@pytest.mark.parametrize("how", ["refused", "dns", "blackhole", "untrusted", "tls to plain"])
async def test_a_provider_that_cannot_be_reached_costs_nothing(
    tmp_path: Path, how: str, upstream_client: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F8: 502 or 504 in the native shape, soon, and the hold is released, for it was provably never sent."""
    module = {"lean": "http", "aiohttp": "aiohttp_client"}[upstream_client]
    monkeypatch.setattr(f"gateway.upstream.{module}.CONNECT_TIMEOUT_S", 0.4)
    if how == "dns":
        loop = asyncio.get_running_loop()
        resolve = loop.getaddrinfo

        async def failing(host: Any, *args: Any, **options: Any) -> Any:
            if host == "no-such-host.invalid":
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            return await resolve(host, *args, **options)

        monkeypatch.setattr(loop, "getaddrinfo", failing)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = listener.getsockname()[1]
    origins = {"refused": f"http://127.0.0.1:{closed}", "dns": "http://no-such-host.invalid:9"}
    async with contextlib.AsyncExitStack() as stack:
        site = await stack.enter_async_context(opened(tmp_path, FARTHING_UPSTREAM_CLIENT=upstream_client))
        if how == "blackhole":
            origin = stack.enter_context(blackhole())
        elif how == "untrusted":
            origin = await stack.enter_async_context(untrusted(tmp_path))
        else:
            origin = origins.get(how) or site.upstream.url.replace("http:", "https:")
        site.gateway.settings.places["openai"] = Place(origin, PROVIDER_KEY)
        site.elsewhere, site.fresh = True, (PATHS["messages"], MESSAGES)
        secret = await site.key(max_spend_usd="1")
        for body in (CHAT, STREAM):
            started = time.monotonic()
            mark, status, headers, answer = await site.call(secret, body)
            assert status in (502, 504), answer
            assert json.loads(answer)["error"]["code"] in ("upstream_unreachable", "upstream_timeout")
            assert headers["x-should-retry"] in ("true", "false")
            assert time.monotonic() - started < 3
            event = await site.event(mark)
            assert (event["status"], event["cost_picos"]) == ("released", 0)
        _, me = await site.api("GET", "/v1/me", key=secret)
        assert (me["spent_micros"], me["held_micros"], me["remaining_micros"]) == (0, 0, 10**6)


# faults: (whether the head comes through on a stream, the event's status on a stream); what never came through has
# no content, so that nobody knows what it came to
BREAKS = {
    "reset=before_head": (False, "unsettled"),
    "reset=after_head": (False, "unsettled"),
    "reset=mid_event": (True, "estimated"),
    "disconnect_after=5": (True, "estimated"),
}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "embeddings"])
async def test_a_provider_that_breaks_off_is_billed_as_far_as_it_came(site: Site, kind: str) -> None:
    """F9: the client is never left with what looks whole; it pays for what it got, and for nothing else; all counts."""
    path, body = KINDS[kind]
    secret = await site.key()

    async def broken(sim: str) -> None:
        headed, status = BREAKS[sim]
        mark, got_status, headers, got = await site.call(secret, body, sim, path)
        event = await site.event(mark)
        unsaid = sim == "reset=mid_event" or "stream" not in kind  # it may have broken before the first word
        assert event["status"] == status or (unsaid and event["status"] == "unsettled"), (sim, event)
        assert (event["reason"] == "unanswered") == (event["status"] == "unsettled"), (sim, event)
        if headed and "stream" in kind:
            assert (got_status, headers.get("broken")) == (200, "yes"), (sim, got_status, headers, got)
            assert bytes(site.produced[mark]).startswith(got), sim
            if sim == "disconnect_after=5":
                assert got.count(b"data:") >= 4, got
        else:
            assert got_status == 502, (sim, got)
            assert headers["x-should-retry"] == "false", sim

    await asyncio.gather(*(broken(sim) for sim in BREAKS))


async def test_a_stream_without_its_last_event_passes_as_it_is(site: Site) -> None:
    """F9: the missing end mark is not made up, and is no reason to bill nothing."""
    secret = await site.key()
    for path, body in (KINDS["chat stream"], KINDS["messages stream"], KINDS["responses stream"]):
        mark, status, _, got = await site.call(secret, body, "no_end", path)
        assert (status, got) == (200, bytes(site.produced[mark]))
        assert (await site.event(mark))["cost_picos"] > 0


@pytest.mark.parametrize("kind", ["chat", "messages stream"])
async def test_a_providers_error_is_passed_on_and_costs_nothing(site: Site, kind: str) -> None:
    """F10: its own error in its own words; about our account, or in HTML, in ours; a redirect is never followed."""
    path, body = KINDS[kind]
    secret = await site.key()

    async def failing(sim: str, expected: int, native: bool) -> None:
        mark, status, headers, got = await site.call(secret, body, sim, path)
        assert status == expected, (sim, got)
        error = json.loads(got)
        assert "error" in error, (sim, got)
        assert ("type" in error) == path.endswith("messages"), (sim, got)
        assert (got == bytes(site.produced[mark])) == native, (sim, got)
        assert "location" not in headers
        assert PROVIDER_KEY.encode() not in got
        event = await site.event(mark)
        assert (event["status"], event["cost_picos"], event["http_status"]) == (
            "released",
            0,
            int(sim.split(",")[0][7:]),
        )

    native = [400, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504, 529]
    await asyncio.gather(
        *(failing(f"status={status}", status, True) for status in native),
        *(failing(f"status={status},html", status, False) for status in native),
        *(failing(f"status={status}", 502, False) for status in (401, 402, 403)),  # of our key, money and country
        *(failing(f"status={status},redirect", 502, False) for status in (301, 302, 303, 307, 308)),
    )
    assert len(site.upstream.requests) == 2 * len(native) + 8


@pytest.mark.parametrize("kind", ["chat", "chat stream", "messages stream"])
async def test_a_provider_that_stalls_is_ended_at_its_deadline(site: Site, kind: str) -> None:
    """F11: 504 where no byte has come, else a cut that the client notices; estimated, and the connection is let go."""
    site.gateway.relay.patience.head_s, site.gateway.relay.patience.silence_s = 0.6, 0.4
    path, body = KINDS[kind]
    secret = await site.key()

    async def stalling(sim: str) -> None:
        started = time.monotonic()
        mark, status, headers, got = await site.call(secret, body, sim, path)
        assert time.monotonic() - started < 2, sim
        if sim == "stall_after=5" and "stream" in kind:
            assert (status, headers.get("broken")) == (200, "yes"), (sim, status, headers)
            assert bytes(site.produced[mark]).startswith(got)
        else:
            assert status == 504, (sim, got)
            assert headers["x-should-retry"] == "false"
        event = await site.event(mark)
        said = sim == "stall_after=5" and "stream" in kind
        assert (event["status"], event["reason"]) == ("estimated" if said else "unsettled", "timeout"), event

    await asyncio.gather(stalling("stall"), stalling("stall_after=5"))


ODD = (
    *(f"usage={usage}" for usage in USAGES),
    "malformed",
    "error_after=3",
    "comments",
    "bom",
    "newline=crlf",
    "newline=cr",
    "chunk_bytes=1,output_tokens=8",
    "chunk_bytes=7,bom,newline=crlf,comments",
    "no_end,usage=missing",
    "usage=twice,no_end",
)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_report_that_is_nonsense_changes_no_byte_and_makes_no_call_free(site: Site, kind: str) -> None:
    """F12: the bytes pass verbatim, the status is sane, and only an explicit zero costs nothing."""
    path, body = KINDS[kind]
    secret = await site.key()

    async def odd(sim: str) -> None:
        mark, status, _, got = await site.call(secret, body, sim, path)
        assert (status, got) == (200, bytes(site.produced[mark])), sim
        event = await site.event(mark)
        if sim == "error_after=3" and event["status"] == "released":
            assert not event["usage"], event  # it had not said anything yet
            return
        assert event["status"] in ("settled", "estimated"), (sim, event)
        if sim == "usage=zero":
            assert (event["status"], event["cost_picos"]) == ("settled", 0), event
            return
        assert event["cost_picos"] > 0, (sim, event)
        assert event["cost_micros"] < 100_000, (sim, event)
        assert event["usage"]["input_tokens"] > 0, (sim, event)
        if sim in ("usage=negative", "usage=absurd", "usage=float", "usage=decreasing", "usage=missing"):
            assert event["status"] == "estimated", (sim, event)
            site.loose.add(mark)  # a false report misleads, by how much cannot be known
        elif sim == "usage=cached":
            site.loose.add(mark)

    # Where usage stands in an answer once, the lower of two reports is all that there is: nobody can tell.
    once = kind not in ("chat stream", "messages stream")
    await asyncio.gather(*(odd(sim) for sim in ODD if not (once and sim == "usage=decreasing")))


@pytest.mark.parametrize("kind", KINDS)
async def test_an_answer_in_another_form_than_asked_has_one_event(site: Site, kind: str) -> None:
    """F13: encoded answers are refused; false lengths and unasked streams are passed or cut, and billed."""
    path, body = KINDS[kind]
    secret = await site.key()
    streaming = "stream" in kind
    for sim, expected in (("encoding=gzip", 502), ("content_length=5000000", 0), ("content_length=20", 0)):
        mark, status, headers, got = await site.call(secret, body, sim, path)
        event = await site.event(mark)
        known = event["status"] in ("settled", "estimated")
        assert (event["cost_picos"] > 0) == known, (sim, event)
        assert known or (event["status"], event["cost_picos"]) == ("unsettled", 0), (sim, event)
        if expected:
            assert (status, json.loads(got)["error"]["code"]) == (expected, "upstream_encoding")
        else:
            assert status in (200, 502), (sim, status, got)
            assert status == 502 or bytes(site.produced[mark]).startswith(got), sim
            assert sim != "content_length=5000000" or status == 502 or headers.get("broken") == "yes", headers
        site.loose.add(mark)
    if kind != "embeddings":
        mark, status, headers, got = await site.call(secret, body, "stream=off" if streaming else "stream=on", path)
        assert (status, got) == (200, bytes(site.produced[mark]))
        assert headers["content-type"].startswith("application/json" if streaming else "text/event-stream")
        assert (await site.event(mark))["cost_picos"] > 0


@pytest.mark.parametrize("sim", ["", "comments,newline=crlf", "chunk_bytes=3,output_tokens=10", "bom", "usage=missing"])
async def test_the_spliced_usage_event_is_all_that_is_taken_out(site: Site, sim: str) -> None:
    """I6: of a stream whose usage only we asked for, the client gets every event but that one, byte for byte."""
    secret = await site.key()
    newline = b"\r\n" if "crlf" in sim else b"\n"
    end = newline * 2
    for more in ({}, {"stream_options": {"include_usage": False}}, {"n": 3}):
        mark, status, _, got = await site.call(secret, STREAM | more, sim)
        assert status == 200
        events = bytes(site.produced[mark]).split(end)
        kept = end.join(event for event in events if b'"choices":[]' not in event)
        if "comments" in sim:  # the comment before the event may stay or go with it
            assert got.replace(b": keep-alive" + end, b"") == kept.replace(b": keep-alive" + end, b"")
        else:
            assert got == kept
        assert b'"choices":[]' not in got
        assert got.endswith(b"data: [DONE]" + end)
