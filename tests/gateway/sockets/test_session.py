"""WebSockets through Farthing: refused before the handshake, forwarded verbatim, metered, settled exactly once."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import pytest_asyncio
import uvicorn
from uvicorn.server import ServerState
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from gateway.edge.server import SocketProtocol
from gateway.sockets import endpoint as sockets
from gateway.sockets import session
from ledger.records import Extend, LedgerUnavailable
from tests.harness import PROVIDER_KEY, Running, running
from tests.upstream import Line, Seen
from tests.wires import (
    BY_NAME,
    CLOSE_STREAM,
    HELLO,
    LIVE,
    PCM_16K,
    RESPOND,
    SETUP,
    WIRES,
    Talk,
    Wire,
    converse,
    dial,
    listen,
    said,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")
each_wire = pytest.mark.parametrize("wire", WIRES, ids=lambda wire: f"{wire.provider}-{wire.name}")
LISTEN, REALTIME, SPEAK = BY_NAME["listen"], BY_NAME["realtime"], BY_NAME["speak"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gate(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """A running gateway; at the end its books must balance."""
    async with running(tmp_path_factory.mktemp("sockets")) as started:
        yield started
        await started.audited()


async def event(gate: Running, key: dict[str, Any], **filters: Any) -> dict[str, Any]:
    """The key's one event."""
    (found,) = await gate.events(key_id=key["id"], **filters)
    return found


async def invoiced(gate: Running) -> Line:
    """The newest line of the provider's invoice, once every socket has one."""
    async with asyncio.timeout(10):
        while gate.upstream.sockets or len(gate.upstream.invoice) < len(gate.upstream.requests):  # noqa: ASYNC110 - a socket's line is written when it is gone
            await asyncio.sleep(0.01)
    return gate.upstream.invoice[-1]


def digest(messages: list[str | bytes]) -> str:
    whole = hashlib.sha256()
    for message in messages:
        whole.update(message.encode() if isinstance(message, str) else message)
    return whole.hexdigest()


def refusal(caught: pytest.ExceptionInfo[InvalidStatus]) -> tuple[int, Any]:
    response = caught.value.response
    return response.status_code, json.loads(response.body or b"null")


# ---- the whole way


@each_wire
async def test_messages_pass_verbatim_and_are_metered_to_the_micro(gate: Running, wire: Wire) -> None:
    """Both sides get each other's messages byte for byte, and the event's cost is the invoice's by our prices."""
    key = await gate.mint(max_spend_usd="5")
    before = len(gate.upstream.requests)
    talk = await converse(gate.url, wire, key["secret"])
    line = await invoiced(gate)
    (seen,) = list(gate.upstream.requests)[before:]
    assert seen.frames == wire.frames
    assert digest(talk.messages) == line.body_sha256
    if not wire.last:
        assert (talk.code, line.end) == (1000, "whole")
    assert line.billed
    settled = await event(gate, key)
    assert (settled["status"], settled["decision"], settled["route"]) == ("settled", "allowed", wire.route)
    assert settled["cost_picos"] == wire.cost_picos(line.billed)
    assert settled["model"] == wire.priced_as
    assert settled["stream"] is True


@each_wire
async def test_test_keys_are_answered_by_the_simulator(gate: Running, wire: Wire) -> None:
    """A test key gets the same conversation from the built-in simulator, metered, and nothing reaches the provider."""
    live, trial = await gate.mint(max_spend_usd="5"), await gate.mint(livemode=False, max_spend_usd="5")
    expected = await converse(gate.url, wire, live["secret"])
    settled = await event(gate, live)
    before = len(gate.upstream.requests)
    talk = await converse(gate.url, wire, trial["secret"])
    assert [type(message) for message in talk.messages] == [type(message) for message in expected.messages]
    assert talk.code == expected.code
    simulated = await event(gate, trial, livemode="false")
    assert (simulated["status"], simulated["cost_picos"]) == ("settled", settled["cost_picos"])
    assert len(gate.upstream.requests) == before


@each_wire
async def test_over_the_cap_is_402_before_the_handshake(gate: Running, wire: Wire) -> None:
    """A key without money is refused with a real 402 in the provider's shape, and the provider is never called."""
    key = await gate.mint(max_spend_usd="0")
    before = len(gate.upstream.requests)
    with pytest.raises(InvalidStatus) as caught:
        await converse(gate.url, wire, key["secret"])
    status, body = refusal(caught)
    assert status == 402
    assert caught.value.response.headers["x-should-retry"] == "false"
    found = {
        "openai": lambda: body["error"]["type"] == "insufficient_quota",
        "google": lambda: body["error"]["status"] == "RESOURCE_EXHAUSTED",
        "deepgram": lambda: body["err_code"] == "ASR_PAYMENT_REQUIRED",
        "elevenlabs": lambda: body["detail"]["status"] == "quota_exceeded",
    }[wire.provider]()
    assert found, body
    assert (await event(gate, key))["decision"] == "blocked"
    assert len(gate.upstream.requests) == before


@each_wire
async def test_a_bad_key_is_401_before_the_handshake(gate: Running, wire: Wire) -> None:
    """A key that is none is refused with a real 401."""
    with pytest.raises(InvalidStatus) as caught:
        await converse(gate.url, wire, "fk_live_" + "A" * 63)
    assert refusal(caught)[0] == 401


@pytest.mark.parametrize(
    "path",
    [
        "/v1/agent/converse",
        "/v1/live/sessions",
        "/v1/realtime/translations?model=gpt-realtime-translate",
        "/v1/convai/conversation?agent_id=a",
        LIVE + "Constrained",
    ],
)
async def test_what_cannot_be_metered_is_refused_by_name(gate: Running, path: str) -> None:
    """Sockets without a meter are 403 before the handshake; none is a way round the bill."""
    key = await gate.mint(max_spend_usd="1")
    before = len(gate.upstream.requests)
    with pytest.raises(InvalidStatus) as caught:
        async with connect(
            gate.url.replace("http", "ws") + path, additional_headers={"authorization": "Bearer " + key["secret"]}
        ):
            pass
    status, body = refusal(caught)
    assert status == 403
    assert "route_not_allowed" in json.dumps(body).lower()
    assert len(gate.upstream.requests) == before


async def test_over_http_a_socket_s_path_is_no_operation(gate: Running) -> None:
    """A plain GET of a socket's path, with or without its method spelt out, forwards nothing."""
    key = await gate.mint(max_spend_usd="1")
    before = len(gate.upstream.requests)
    async with gate.http.get(
        gate.url + "/v1/realtime?model=gpt-realtime", headers={"authorization": "Bearer " + key["secret"]}
    ) as response:
        assert response.status == 403
    assert len(gate.upstream.requests) == before


# ---- credentials

PLACES: list[tuple[str, str, dict[str, Any]]] = [
    ("bearer", "realtime", {"additional_headers": {"Authorization": "bEaReR {}"}}),
    ("insecure", "realtime", {"subprotocols": ["realtime", "openai-insecure-api-key.{}", "openai-organization.org-1"]}),
    ("token", "listen", {"additional_headers": {"Authorization": "Token {}"}}),
    ("subprotocol-token", "listen", {"subprotocols": ["token", "{}"]}),
    ("subprotocol-bearer", "flux", {"subprotocols": ["bearer", "{}"]}),
    ("goog", "live", {"additional_headers": {"x-goog-api-key": "{}"}}),
    ("key", "live", {"query": "?key={}"}),
    ("access-token", "live", {"query": "?alt=json&access_token={}"}),
    ("xi", "stream-input", {"additional_headers": {"xi-api-key": "{}"}}),
    ("frame-xi", "stream-input", {"first": '{{"text":" ", "xi_api_key" : "{}","voice_settings":{{"speed":1}}}}'}),
    ("frame-authorization", "stream-input", {"first": '{{"authorization":"Bearer {}","text":" "}}'}),
    ("frame-and-head", "stream-input", {"additional_headers": {"xi-api-key": "{}"},
                                        "first": '{{"text":" ","xi-api-key":"{}"}}'}),
]  # fmt: skip


@pytest.mark.parametrize(("wire_name", "place"), [(w, p) for _, w, p in PLACES], ids=[n for n, _, _ in PLACES])
async def test_the_key_is_taken_from_every_native_place_and_never_forwarded(
    gate: Running, wire_name: str, place: dict[str, Any]
) -> None:
    """Wherever an SDK puts the child's key, it opens the socket; the provider sees its own credential and no other."""
    wire, key = BY_NAME[wire_name], await gate.mint(max_spend_usd="5")
    secret = key["secret"]
    filled: dict[str, Any] = json.loads(json.dumps({**place, "first": None}).replace("{}", secret))
    first = place["first"].format(secret) if "first" in place else None
    before = len(gate.upstream.requests)
    url = gate.url.replace("http", "ws") + wire.path + filled.pop("query", "")
    del filled["first"]
    async with connect(url, compression=None, **filled) as connection:
        for frame in [first, *wire.frames[1:]] if first else wire.frames:
            await connection.send(frame)
        await listen(connection, wire.last, 2 if wire.name in ("realtime", "live") else 1)
        if offered := filled.get("subprotocols"):
            assert connection.subprotocol == offered[0]
    await invoiced(gate)
    seen: Seen = list(gate.upstream.requests)[before]
    assert secret not in repr(seen)
    assert PROVIDER_KEY in (seen.header(wire.header[0]) or "")
    assert "insecure" not in repr(seen.headers)
    assert "org-1" not in repr(seen.headers)
    if first:
        said_first = json.loads(first)
        assert json.loads(seen.frames[0]) == {
            name: said_first[name] for name in ("text", "voice_settings") if name in said_first
        }
    assert (await event(gate, key))["status"] == "settled"


async def test_two_different_keys_are_refused(gate: Running) -> None:
    """Two keys in one handshake are 401; a second one in a message ends the socket, unforwarded."""
    one, two = await gate.mint(max_spend_usd="1"), await gate.mint(max_spend_usd="1")
    with pytest.raises(InvalidStatus) as caught:
        await converse(gate.url, LISTEN, one["secret"], subprotocols=["token", two["secret"]])
    assert refusal(caught)[0] == 401
    async with dial(gate.url, BY_NAME["stream-input"], one["secret"]) as connection:
        await connection.send(said(text=" ", xi_api_key=two["secret"]))
        talk = await listen(connection)
    assert (talk.code, talk.reason[:23]) == (1008, "conflicting_credentials")
    assert (await invoiced(gate)).billed == {"characters": 0}
    assert (await event(gate, one))["reason"] == "conflicting_credentials"
    assert not await gate.events(key_id=two["id"])


async def test_a_socket_without_a_key_says_so(gate: Running) -> None:
    """Where the first message may carry the key, one that does not ends the socket; elsewhere it is a 401."""
    async with connect(gate.url.replace("http", "ws") + BY_NAME["stream-input"].path) as connection:
        await connection.send(said(text=" "))
        talk = await listen(connection)
    assert talk.code == 1008
    assert json.loads(talk.messages[0])["error"] == "invalid_api_key"
    with pytest.raises(InvalidStatus) as caught:
        async with connect(gate.url.replace("http", "ws") + LISTEN.path):
            pass
    assert refusal(caught)[0] == 401


# ---- how it ends


async def test_closes_pass_both_ways(gate: Running) -> None:
    """The provider's code and reason reach the client, and the client's reach the provider."""
    key = await gate.mint(max_spend_usd="5")
    live = BY_NAME["live"]
    async with dial(gate.url, live, key["secret"]) as connection:
        await connection.send(SETUP)
        await listen(connection, "setupComplete")
        await connection.send('{"nonsense":1}')
        talk = await listen(connection)
    assert (talk.code, talk.reason) == (1007, "Request contains an invalid argument.")
    async with dial(gate.url, LISTEN, key["secret"]) as connection:
        await connection.send('{"type":"KeepAlive"}')
        await connection.close(4321, "enough")
    await invoiced(gate)
    assert gate.upstream.requests[-1].closed == (4321, "enough")


UNCLEAR = [
    ("realtime", '{"type":"response.create","type":"input_audio_buffer.clear"}'),
    ("realtime", '{"type":"input_audio_buffer.clear","TYPE":"response.create"}'),
    ("realtime", '{"type":"response.create","response":{"max_output_tokens":"inf","max_output_tokens":1}}'),
    ("realtime", '{"type":"response.create","event_id":NaN}'),
    ("realtime", '[{"type":"response.create"}]'),
    ("live", '{"setup":{"model":"models/gemini-3.8-live"},"setup":{"model":"models/gemini-3.1-flash-live"}}'),
    ("live", '{"setup":{"model":"models/gemini-3.8-live","generationConfig":{"maxOutputTokens":9},'
             '"generation_config":{"maxOutputTokens":9999}}}'),
    ("live", '{"setup":{"model":"models/gemini-3.8-live",'
             '"generationConfig":{"maxOutputTokens":9,"max_output_tokens":9999}}}'),
    ("live", '{"SETUP":{"model":"models/gemini-3.8-live"},"setup":{"model":"models/gemini-3.8-live"}}'),
    ("speak", '{"type":"Speak","text":"' + "long " * 99 + '","text":"x"}'),
    ("speak", '{"type":"Speak","Text":"' + "long " * 99 + '","text":"x"}'),
    ("speak", '{"type":"Speak","text":"' + "long " * 99 + '",}'),
    ("speak", "{'type':'Speak','text':'" + "long " * 99 + "'}"),
    ("stream-input", '{"text":"' + "long " * 99 + '","text":" "}'),
    ("stream-input", '{"text":"' + "long " * 99 + '","x":Infinity}'),
    ("transcribe", '{"message_type":"input_audio_chunk","audio_base_64":"' + "AAAA" * 99 + '","audio_base_64":""}'),
    ("listen", '{"type":"Configure","keyterms":["a"],"type":"KeepAlive"}'),
]  # fmt: skip


@pytest.mark.parametrize(("wire", "message"), UNCLEAR)
async def test_a_message_that_can_be_read_two_ways_is_not_forwarded(gate: Running, wire: str, message: str) -> None:
    """What a lenient parser may read otherwise, and what ours cannot read, ends the socket; nothing of it is spent."""
    key = await gate.mint(max_spend_usd="5")
    async with dial(gate.url, BY_NAME[wire], key["secret"]) as connection:
        await connection.send(message)
        talk = await listen(connection)
    assert talk.code == 1008, talk
    assert sum(event["cost_picos"] for event in await gate.events(key_id=key["id"])) == 0
    await invoiced(gate)


@pytest.mark.parametrize(
    ("tools", "capped", "param"),
    [
        ([{"functionDeclarations": [{"name": "f"}]}], "", ""),
        ([{"googleSearch": {}}], "", "setup.tools[0].googleSearch"),
        ([{"codeExecution": {}}], "", "setup.tools[0].codeExecution"),
        ([{"googleMaps": {}}], "setup.tools", "setup.tools"),
        ([{"googleSearch": {}}, {"google_maps": None}], "setup.tools", "setup.tools"),
        ([{"somethingNew": {}}], "setup.tools[0].somethingNew", "setup.tools[0].somethingNew"),
    ],
)
async def test_a_live_socket_s_tools_have_a_price_or_are_refused(
    gate: Running, tools: list[dict[str, Any]], capped: str, param: str
) -> None:
    """What has no price is refused by name for whoever has a cap; under `never` so is all that nobody can bound."""
    setup = json.dumps({"setup": {"model": "models/gemini-3.8-live", "tools": tools}})
    for overdraft, refused in (("inflight", capped), ("never", param)):
        key = await gate.mint(max_spend_usd="5", overdraft=overdraft)
        async with dial(gate.url, BY_NAME["live"], key["secret"]) as connection:
            await connection.send(setup)
            talk = await listen(connection, "setupComplete")
        assert (talk.code, "setupComplete" in str(talk.messages)) == ((1008, False) if refused else (None, True)), talk
        assert refused in talk.reason


async def test_a_provider_that_refuses_the_handshake_is_relayed(gate: Running) -> None:
    """Its own error reaches the client as an HTTP answer before the handshake; what is about our account does not."""
    key = await gate.mint(max_spend_usd="5")
    gate.upstream.script("status=429", "status=401", model="nova-3")
    with pytest.raises(InvalidStatus) as caught:
        await converse(gate.url, LISTEN, key["secret"])
    assert refusal(caught) == (429, {
        "err_code": "REFUSED", "err_msg": "The simulator refuses this socket with 429, as it was asked to.",
        "request_id": gate.upstream.requests[-1].upstream_id,
    })  # fmt: skip
    with pytest.raises(InvalidStatus) as caught:
        await converse(gate.url, LISTEN, key["secret"])
    status, body = refusal(caught)
    assert (status, body["code"]) == (502, "upstream_account")
    events = await gate.events(key_id=key["id"])
    assert [(one["status"], one["cost_picos"], one["http_status"]) for one in events] == [
        ("released", 0, 401), ("released", 0, 429)
    ]  # fmt: skip


async def test_a_provider_that_breaks_off_is_an_estimate(gate: Running) -> None:
    """If the provider's connection breaks in the middle of an answer, the client learns it: estimated."""
    key = await gate.mint(max_spend_usd="5")
    gate.upstream.script("disconnect_after=30,output_tokens=400", model="gpt-realtime")
    async with dial(gate.url, REALTIME, key["secret"]) as connection:
        await connection.send(HELLO)
        await connection.send(RESPOND)
        talk = await listen(connection)
    assert (talk.code, json.loads(talk.messages[-1])["error"]["code"]) == (1011, "upstream_unreachable")
    line = await invoiced(gate)
    settled = await event(gate, key)
    assert (settled["status"], "usage_missing" in settled["flags"]) == ("estimated", True)
    assert line.billed is not None
    assert line.billed["output_tokens"] <= settled["usage"]["output_tokens"] * 1.1


async def test_a_client_that_leaves_is_billed_what_the_provider_made(gate: Running) -> None:
    """The answer that was running when the client left is read on, and settled by the provider's own count."""
    key = await gate.mint(max_spend_usd="5")
    gate.upstream.script("chunk_delay_ms=2,output_tokens=40", model="gpt-realtime")
    async with dial(gate.url, REALTIME, key["secret"]) as connection:
        await connection.send(HELLO)
        await connection.send(RESPOND)
        await listen(connection, "response.output_text.delta", 3)
        connection.transport.abort()
    line = await invoiced(gate)
    settled = await event(gate, key)
    assert (settled["status"], settled["usage"]["output_tokens"]) == ("settled", 40)
    assert line.billed is not None
    assert settled["cost_picos"] == REALTIME.cost_picos(line.billed)


async def test_a_client_that_leaves_a_transcription_gets_the_final_count(gate: Running) -> None:
    """Deepgram is asked for its final word when the client just goes, so the bill is exact."""
    key = await gate.mint(max_spend_usd="5")
    async with dial(gate.url, LISTEN, key["secret"]) as connection:
        await connection.send(PCM_16K)
        await listen(connection, '"Results"')
    await invoiced(gate)
    assert gate.upstream.requests[-1].frames[-1] == CLOSE_STREAM
    settled = await event(gate, key)
    assert (settled["status"], settled["usage"]["audio_ms"]) == ("settled", 1_000)


async def test_a_revocation_cuts_within_a_second(gate: Running) -> None:
    """Revoking the key ends its sockets with a reason that the SDK sees; what was made is billed, once."""
    key = await gate.mint(max_spend_usd="5")
    gate.upstream.script("chunk_delay_ms=20,output_tokens=2000", model="gpt-realtime")
    async with dial(gate.url, REALTIME, key["secret"]) as connection:
        await connection.send(HELLO)
        await connection.send(RESPOND)
        await listen(connection, "response.output_text.delta", 2)
        assert (await gate.api("DELETE", f"/v1/keys/{key['id']}"))[0] == 200
        async with asyncio.timeout(5):
            talk = await listen(connection)
    assert talk.code == 1008
    assert json.loads(talk.messages[-1])["error"]["code"] == "key_revoked"
    settled = await event(gate, key)
    assert (settled["status"], settled["reason"]) == ("estimated", "key_revoked")
    assert settled["cost_micros"] > 0


async def test_silence_ends_a_socket(gate: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket without a message either way is ended after a while, and settled; so is one whose first never comes."""
    monkeypatch.setattr(session, "SOCKET_IDLE_S", 0.1)
    key = await gate.mint(max_spend_usd="5")
    async with dial(gate.url, SPEAK, key["secret"]) as connection:
        talk = await listen(connection)
    assert (talk.code, talk.reason[:7]) == (1008, "TIMEOUT")
    assert (await event(gate, key))["reason"] == "timeout"
    monkeypatch.setattr(sockets, "SOCKET_FIRST_FRAME_S", 0.1)
    async with dial(gate.url, BY_NAME["live"], key["secret"]) as connection:
        talk = await listen(connection)
    assert (talk.code, talk.reason[:15]) == (1008, "request_timeout")
    assert len(await gate.events(key_id=key["id"])) == 1


async def test_a_client_that_takes_nothing_is_cut(gate: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """The provider is read no faster than the client reads; one that reads nothing is broken off, and billed."""
    monkeypatch.setattr(session, "WRITE_TIMEOUT_S", 0.3)
    key = await gate.mint(max_spend_usd="500")
    gate.upstream.script("output_tokens=40000", model="gpt-realtime")
    async with dial(gate.url, REALTIME, key["secret"], max_queue=1) as connection:
        await connection.send(HELLO)
        await connection.send(said(type="response.create"))
        await listen(connection, "response.created")
        connection.transport.pause_reading()
        settled = await event(gate, key)
        assert (settled["status"], settled["reason"]) == ("estimated", "timeout")
        assert 0 < settled["usage"]["output_audio_tokens"] < 4_000
        connection.transport.abort()


async def test_a_message_is_bounded(gate: Running) -> None:
    """A message above the bound ends the socket with 1009; nothing of it is forwarded."""
    key = await gate.mint(max_spend_usd="5")
    async with dial(gate.url, SPEAK, key["secret"]) as connection:
        with contextlib.suppress(ConnectionClosed):
            await connection.send(b"\0" * (17 * 1024 * 1024))
        talk = await listen(connection)
    assert talk.code == 1009
    await invoiced(gate)
    assert gate.upstream.requests[-1].frames == []
    assert (await event(gate, key))["cost_picos"] == 0


async def test_a_megabyte_passes_in_one_message(gate: Running) -> None:
    """Large messages pass whole, both ways."""
    key = await gate.mint(max_spend_usd="50")
    sound = bytes(range(256)) * 8192
    async with dial(gate.url, LISTEN, key["secret"]) as connection:
        await connection.send(sound)
        await connection.send(CLOSE_STREAM)
        talk = await listen(connection)
    assert talk.code == 1000
    line = await invoiced(gate)
    assert gate.upstream.requests[-1].frames[0] == sound
    assert digest(talk.messages) == line.body_sha256


async def test_a_stop_ends_sockets_in_order(tmp_path_factory: pytest.TempPathFactory) -> None:
    """When the gateway stops, open sockets are told to go away, and settled; new ones are refused."""
    async with running(tmp_path_factory.mktemp("stop")) as gate:
        key = await gate.mint(max_spend_usd="5")
        async with dial(gate.url, SPEAK, key["secret"]) as connection:
            await connection.send(said(type="Speak", text="Hello"))
            await listen(connection, "Metadata")
            gate.gateway.drain()
            with pytest.raises(InvalidStatus) as caught:
                await converse(gate.url, SPEAK, key["secret"])
            assert refusal(caught)[0] == 503
            gate.gateway.drain()
            talk = await listen(connection)
        assert (talk.code, talk.reason[-24:]) == (1001, "The gateway is stopping.")
        settled = await event(gate, key)
        assert (settled["status"], settled["reason"], settled["usage"]["characters"]) == ("settled", "shutdown", 5)
        await gate.audited()


# ---- money


@pytest.mark.parametrize("overdraft", ["never", "inflight"])
async def test_a_hold_grows_until_the_cap_and_then_the_socket_is_closed(gate: Running, overdraft: str) -> None:
    """Three minutes are held for as they are used; the cap ends the socket with a reason, and it holds."""
    cap_micros = 180 * 180  # three minutes of nova-3 with diarization
    key = await gate.mint(max_spend_micros=cap_micros, overdraft=overdraft)
    sent = 0
    async with dial(gate.url, LISTEN, key["secret"]) as connection:
        talk = asyncio.create_task(listen(connection))
        with contextlib.suppress(ConnectionClosed):
            while not talk.done() and sent < 400:
                await connection.send(PCM_16K)
                sent += 1
                await asyncio.sleep(0)
        heard: Talk = await talk
    assert (heard.code, heard.reason[:21]) == (1008, "ASR_PAYMENT_REQUIRED:")
    line = await invoiced(gate)
    settled = await event(gate, key)
    assert (settled["status"], settled["reason"]) == ("settled", "spend_cap_exceeded")
    assert line.billed is not None
    assert settled["cost_picos"] == LISTEN.cost_picos(line.billed)
    _, shown = await gate.api("GET", f"/v1/keys/{key['id']}")
    assert shown["spent_micros"] <= cap_micros
    assert shown["spent_micros"] > cap_micros * 0.99  # the last cents are of use
    assert (shown["held_micros"], shown["overrun_micros"]) == (0, 0)


async def test_what_is_in_flight_when_the_cap_is_reached_may_end(gate: Running) -> None:
    """In the default mode the running answer is finished, the next is refused: an error event, then 1008."""
    key = await gate.mint(max_spend_usd="0.03")
    gate.upstream.script("output_tokens=3000", model="gpt-realtime")
    async with dial(gate.url, REALTIME, key["secret"]) as connection:
        await connection.send(HELLO)
        await connection.send(RESPOND)
        talk = await listen(connection)
    kinds = [json.loads(message)["type"] for message in talk.messages]
    assert kinds[-1] == "error"
    assert "response.done" in kinds
    error = json.loads(talk.messages[-1])["error"]
    assert (error["type"], error["code"]) == ("insufficient_quota", "spend_cap_exceeded")
    assert talk.code == 1008
    settled = await event(gate, key)
    assert (settled["status"], settled["usage"]["output_tokens"]) == ("settled", 3000)
    assert settled["reason"] == "spend_cap_exceeded"


async def test_under_a_cap_that_must_hold_no_answer_is_asked_for_that_could_break_it(gate: Running) -> None:
    """`overdraft: never`: an answer that could cost more than is left is not forwarded, however small it would be."""
    key = await gate.mint(max_spend_usd="0.2", overdraft="never")
    async with dial(gate.url, REALTIME, key["secret"]) as connection:
        await connection.send(said(type="session.update", session={"type": "realtime", "max_output_tokens": 500}))
        await listen(connection, "session.updated")
        await connection.send(HELLO)
        await connection.send(RESPOND)
        first = await listen(connection, "rate_limits")
        await connection.send(said(type="response.create", response={"max_output_tokens": 4000}))
        second = await listen(connection)
    assert first.code is None
    assert json.loads(second.messages[-1])["error"]["code"] == "spend_cap_exceeded"
    assert second.code == 1008
    await invoiced(gate)
    assert [json.loads(frame)["type"] for frame in gate.upstream.requests[-1].frames].count("response.create") == 1
    _, shown = await gate.api("GET", f"/v1/keys/{key['id']}")
    assert (shown["overrun_micros"], shown["spent_micros"] < 200_000) == (0, True)


@each_wire
async def test_what_is_in_no_table_ends_a_socket_whose_cap_must_hold(gate: Running, wire: Wire) -> None:
    """A member of a message that nobody knows: named, and not forwarded; everybody else's passes as it came."""
    at = next(at for at, frame in enumerate(wire.frames) if isinstance(frame, str))
    strange = json.dumps(json.loads(wire.frames[at]) | {"brandNew": 1})
    for overdraft in ("never", "inflight"):
        key = await gate.mint(max_spend_usd="20", overdraft=overdraft)
        before = len(gate.upstream.requests)

        def forwarded(before: int = before) -> list[str | bytes]:
            return [frame for seen in list(gate.upstream.requests)[before:] for frame in seen.frames]

        async with dial(gate.url, wire, key["secret"]) as connection:
            for frame in (*wire.frames[:at], strange):
                await connection.send(frame)
            if overdraft == "never":
                talk = await listen(connection)
                assert (talk.code, "brandNew" in f"{talk.messages} {talk.reason}") == (1008, True)
                assert strange not in forwarded()
            else:
                async with asyncio.timeout(10):
                    while strange not in forwarded():  # noqa: ASYNC110 - there is no event for it
                        await asyncio.sleep(0.01)


async def test_a_parameter_in_no_table_is_refused_where_the_cap_must_hold(gate: Running) -> None:
    """Before the handshake, by its name."""
    never = await gate.mint(max_spend_usd="5", overdraft="never")
    for wire in (LISTEN, BY_NAME["flux"], SPEAK, REALTIME):
        strange = msgspec.structs.replace(wire, path=wire.path + "&brand_new=1")
        with pytest.raises(InvalidStatus) as caught:
            await converse(gate.url, strange, never["secret"])
        status, body = refusal(caught)
        assert (status, "brand_new" in json.dumps(body)) == (400, True), body


async def test_a_cap_of_the_call_or_the_end_user_ends_the_socket_too(
    gate: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`x-farthing-max-cost-usd` and `x-end-user-cap-usd` bind a socket as they bind a request."""
    monkeypatch.setattr(session, "SOCKET_QUIET_S", 0.1)
    for headers in (
        {"x-farthing-max-cost-usd": "0.01"},
        {"x-end-user-id": "anna", "x-end-user-cap-usd": "0.01"},
    ):
        key = await gate.mint(max_spend_usd="5")
        own = SPEAK.headers(key["secret"]) | headers
        async with dial(gate.url, SPEAK, key["secret"], additional_headers=own) as connection:
            with contextlib.suppress(ConnectionClosed):
                for _ in range(10):
                    await connection.send(said(type="Speak", text="A" * 100))
            talk = await listen(connection)
        assert (talk.code, talk.reason[:21]) == (1008, "ASR_PAYMENT_REQUIRED:")
        settled = await event(gate, key)
        assert (settled["usage"]["characters"], settled["cost_micros"]) == (300, 9_000)


async def test_parallel_sockets_share_one_cap(gate: Running) -> None:
    """Ten sockets at once under a cap that must hold never spend more than it."""
    cap_micros = 20_000
    key = await gate.mint(max_spend_micros=cap_micros, overdraft="never")

    async def speak() -> None:
        with contextlib.suppress(InvalidStatus, ConnectionClosed):
            async with dial(gate.url, SPEAK, key["secret"]) as connection:
                for _ in range(20):
                    await connection.send(said(type="Speak", text="A" * 17))
                    await asyncio.sleep(0)
                await connection.send('{"type":"Close"}')
                await listen(connection)

    await asyncio.gather(*(speak() for _ in range(10)))
    await invoiced(gate)
    await gate.quiet()
    _, shown = await gate.api("GET", f"/v1/keys/{key['id']}")
    assert shown["spent_micros"] <= cap_micros
    assert (shown["held_micros"], shown["overrun_micros"]) == (0, 0)


async def test_seconds_and_tokens_limits_grow_with_the_socket(gate: Running) -> None:
    """A limit of seconds of sound ends a transcription where it is reached, and is used up to it."""
    key = await gate.mint(max_spend_usd="5", limits=[{"unit": "seconds", "max": 100, "window": "day"}])
    async with dial(gate.url, LISTEN, key["secret"]) as connection:
        talk = asyncio.create_task(listen(connection))
        with contextlib.suppress(ConnectionClosed):
            for _ in range(200):
                await connection.send(PCM_16K)
                await asyncio.sleep(0)
        heard = await talk
    assert (heard.code, heard.reason[:18]) == (1008, "TOO_MANY_REQUESTS:")
    settled = await event(gate, key)
    assert settled["reason"] == "rate_limited"
    assert 90 <= settled["usage"]["audio_ms"] / 1000 <= 101


async def test_without_a_ledger_what_is_held_may_be_used_and_no_more(
    gate: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the ledger does not answer when more is to be held, the socket ends at its hold: never a free call."""

    async def lost(_more: Extend) -> bool:
        raise LedgerUnavailable

    monkeypatch.setattr(gate.gateway.ledger.calls, "extend", lost)
    key = await gate.mint(max_spend_usd="5")
    async with dial(gate.url, LISTEN, key["secret"]) as connection:
        talk = asyncio.create_task(listen(connection))
        with contextlib.suppress(ConnectionClosed):
            for _ in range(100):
                await connection.send(PCM_16K)
                await asyncio.sleep(0)
        heard = await talk
    assert (heard.code, heard.reason[:19]) == (1011, "LEDGER_UNAVAILABLE:")
    settled = await event(gate, key)
    assert (settled["reason"], settled["usage"]["audio_ms"]) == ("ledger_unavailable", 60_000)


# ---- test keys


@pytest.mark.parametrize(
    ("faults", "status", "free"),
    [("usage=zero", "settled", True), ("usage=missing", "estimated", False), ("usage=negative", "estimated", False),
     ("usage=absurd", "estimated", False), ("usage=float", "estimated", False), ("malformed", "settled", False)],
)  # fmt: skip
@pytest.mark.parametrize("name", ["realtime", "live"])
async def test_a_usage_that_is_nonsense_is_never_free(
    gate: Running, name: str, faults: str, status: str, free: bool
) -> None:
    """Faults on request work over sockets too: an explicit zero is zero, everything else costs something."""
    wire, key = BY_NAME[name], await gate.mint(livemode=False, max_spend_usd="500")
    asked = wire.headers(key["secret"]) | {"x-farthing-sim": faults}
    async with dial(gate.url, wire, key["secret"], additional_headers=asked) as connection:
        for frame in wire.frames:
            await connection.send(frame)
        await listen(connection, '"turnComplete"' if name == "live" else wire.last, 2)
    settled = await event(gate, key, livemode="false")
    assert (settled["status"], settled["cost_picos"] == 0) == (status, free)


async def test_a_test_key_s_handshake_can_be_refused_on_request(gate: Running) -> None:
    """`status=529` refuses the handshake in the provider's shape; with a live key the header is refused itself."""
    for livemode, status in ((False, 529), (True, 400)):
        key = await gate.mint(livemode=livemode, max_spend_usd="5")
        asked = REALTIME.headers(key["secret"]) | {"x-farthing-sim": "status=529"}
        with pytest.raises(InvalidStatus) as caught:
            await converse(gate.url, REALTIME, key["secret"], additional_headers=asked)
        assert refusal(caught)[0] == status


# ---- models


async def test_what_is_said_is_transcribed_at_its_own_model_s_price(gate: Running) -> None:
    """Transcriptions in a realtime session are added at the price of the model that makes them, and named."""
    key = await gate.mint(max_spend_usd="5")
    transcription = {"audio": {"input": {"transcription": {"model": "gpt-4o-transcribe"}, "turn_detection": None}}}
    async with dial(gate.url, REALTIME, key["secret"]) as connection:
        await connection.send(said(type="session.update", session={"type": "realtime", **transcription}))
        await connection.send(said(type="input_audio_buffer.append", audio="AQID" * 16_000))
        await connection.send(said(type="input_audio_buffer.commit"))
        await connection.send(RESPOND)
        await listen(connection, "rate_limits")
    settled = await event(gate, key)
    beside = settled["usage"]["beside"]["gpt-4o-transcribe"]
    line = await invoiced(gate)
    assert line.billed is not None
    billed = dict(line.billed)
    heard, words = billed.pop("transcription_input_tokens"), billed.pop("transcription_output_tokens")
    assert (beside["input_audio_tokens"], beside["output_tokens"]) == (heard, words)
    assert settled["cost_picos"] == REALTIME.cost_picos(billed) + heard * 6_000_000 + words * 10_000_000


@pytest.mark.parametrize(
    ("update", "code"),
    [
        ({"audio": {"input": {"transcription": {"model": "nobody-s-model"}}}}, "model_not_priced"),
        ({"input_audio_transcription": {"model": "whisper-1"}}, "model_not_allowed"),
        ({"model": "gpt-realtime-2"}, "model_not_allowed"),
    ],
    ids=["unpriced", "not-allowed", "another"],
)
async def test_a_session_cannot_take_a_model_that_is_not_let_in(gate: Running, update: Any, code: str) -> None:
    """A model without a price, or that the key may not use, is refused in the middle of a session; nothing is sent."""
    allowed = None if code == "model_not_priced" else ["gpt-realtime"]
    key = await gate.mint(max_spend_usd="5", allowed_models=allowed)
    async with dial(gate.url, REALTIME, key["secret"]) as connection:
        await connection.send(said(type="session.update", session={"type": "realtime", **update}))
        talk = await listen(connection)
    assert (talk.code, json.loads(talk.messages[-1])["error"]["code"]) == (1008, code)
    await invoiced(gate)
    assert gate.upstream.requests[-1].frames == []


async def test_a_model_of_the_first_message_is_checked_before_anything_is_connected(gate: Running) -> None:
    """Gemini's first message names the model: one that is not allowed, or not priced, ends the socket there."""
    before = len(gate.upstream.requests)
    for model, code in (("gemini-2.5-flash", "model_not_allowed"), ("gemini-0-live", "model_not_priced")):
        allowed = None if code == "model_not_priced" else ["gemini-3.8-live"]
        key = await gate.mint(max_spend_usd="5", allowed_models=allowed)
        async with dial(gate.url, BY_NAME["live"], key["secret"]) as connection:
            await connection.send(said(setup={"model": f"models/{model}"}))
            talk = await listen(connection)
        assert (talk.code, talk.reason.partition(":")[0]) == (1008, code)
        assert (await event(gate, key))["reason"] == code
    assert len(gate.upstream.requests) == before


async def test_a_socket_where_requests_are_taken_is_told_to_ask_by_http(gate: Running) -> None:
    """426 with what is spoken instead, for any key or none; Codex goes on over HTTP at once."""
    for secret in ((await gate.mint(max_spend_usd="1"))["secret"], "none"):
        with pytest.raises(InvalidStatus) as caught:
            await connect(
                gate.url.replace("http", "ws") + "/v1/responses",
                additional_headers={"authorization": f"Bearer {secret}"},
            )
        status, body = refusal(caught)
        assert (status, body["error"]["code"]) == (426, "upgrade_required")
        assert caught.value.response.headers["upgrade"] == "HTTP/1.1"


# ---- the connection beneath


HANDSHAKE = (
    b"GET /v1/listen?model=nova-3 HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)


async def raw_answer(gate: Running, sent: bytes) -> bytes:
    """What is answered to these bytes until the connection is closed, which it must be."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(gate.url.rpartition(":")[2]))
    writer.write(sent)
    try:
        async with asyncio.timeout(5):
            return await reader.read()
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@pytest.mark.parametrize(
    "sent",
    [
        HANDSHAKE + b"Content-Length: 5\r\n\r\n",
        HANDSHAKE + b"Content-Length: 5\r\n\r\nhelloGET /healthz HTTP/1.1\r\nHost: h\r\n\r\n",
        HANDSHAKE + b"Transfer-Encoding: chunked\r\n\r\n",
        HANDSHAKE + b"".join(b"X-%d: y\r\n" % number for number in range(130)) + b"\r\n",
        HANDSHAKE + b"X: " + b"y" * 9000 + b"\r\n\r\n",
    ],
    ids=("length", "body", "chunked", "too many fields", "too long a field"),
)
async def test_no_bad_handshake_keeps_its_connection(gate: Running, sent: bytes) -> None:
    """It is answered once, with 400, and closed."""
    answer = await raw_answer(gate, sent)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1


async def test_a_length_of_zero_is_no_body(gate: Running) -> None:
    """Such a handshake is refused for what it lacks, a key, and for nothing else."""
    answer = await raw_answer(gate, HANDSHAKE + b"Content-Length: 00\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 401 ")


async def test_a_handshake_that_nobody_answers_has_an_end() -> None:
    """Neither it nor a closed socket whose last bytes nobody takes stays for ever."""

    class Transport(asyncio.Transport):
        closing = aborted = False

        def is_closing(self) -> bool:
            return self.closing

        def abort(self) -> None:
            self.aborted = True

        def get_write_buffer_size(self) -> int:
            return 500

        def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    config = uvicorn.Config(app, ws=SocketProtocol, lifespan="off", log_config=None)
    for closing in (False, True):
        protocol, transport = SocketProtocol(config, ServerState(), {}), Transport()
        transport.closing = closing
        protocol.connection_made(transport)
        now = protocol.loop.time()
        protocol.expire(now + 50)
        assert not transport.aborted
        protocol.expire(now + 111)
        assert transport.aborted


async def test_what_follows_a_handshake_at_once_is_the_socket_s(gate: Running) -> None:
    """Its first frames may come with it, cut anywhere: nothing of them is lost, or read as a request."""
    key = await gate.mint(max_spend_usd="1")
    said = b'{"type":"CloseStream"}'
    frame = bytes((0x81, 0x80 | len(said), 0, 0, 0, 0)) + said
    sent = HANDSHAKE + f"Authorization: Token {key['secret']}\r\n\r\n".encode() + frame
    for cut in (len(sent), len(sent) - len(frame), len(sent) - 5, len(sent) - len(frame) - 1, 40):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(gate.url.rpartition(":")[2]))
        writer.write(sent[:cut])
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(sent[cut:])
        async with asyncio.timeout(10):
            answer = await reader.readuntil(b'"Metadata"')
        assert answer.startswith(b"HTTP/1.1 101 ")
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    await gate.quiet()
