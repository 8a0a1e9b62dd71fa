"""F4 and F5: bodies, fields, headers and queries that are wrong, huge, deep or encoded."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from typing import Any

import pytest
import zstandard

from tests.faults.support import CHAT, EMBED, MESSAGES, PATHS, PROMPT, Client, Site, request_bytes
from tests.harness import MASTER

SAID = b'"messages":[{"role":"user","content":"%s"}]' % PROMPT.encode()
MODEL = b'"model":"gpt-4o-mini"'


def _chat(extra: bytes) -> bytes:
    return b"{%s,%s,%s}" % (MODEL, SAID, extra)


REFUSED_BODIES: dict[str, bytes] = {
    "empty": b"",
    "no JSON": b"hello " + PROMPT.encode(),
    "half JSON": _chat(b'"n":1')[:-5],
    "two values": _chat(b'"n":1') * 2,
    "no object": b"[1]",
    "null": b"null",
    "a string": b'"x"',
    "NaN": _chat(b'"temperature":NaN'),
    "Infinity": _chat(b'"max_tokens":Infinity'),
    "byte order mark": b"\xef\xbb\xbf" + _chat(b'"n":1'),
    "UTF-16": _chat(b'"n":1').decode().encode("utf-16"),
    "invalid UTF-8 in a name": b'{%s,%s,"\xff":1}' % (MODEL, SAID),
    "a zero byte": _chat(b'"n":1\x00'),
    "comment": _chat(b'/* x */ "n":1'),
    "no model": b"{%s}" % SAID,
    "model null": b'{"model":null,%s}' % SAID,
    "model a list": b'{"model":["gpt-4o-mini"],%s}' % SAID,
    "model empty": b'{"model":"",%s}' % SAID,
    "model twice": _chat(b'"model":"gpt-4o"'),
    "model twice, escaped": _chat(b'"mod\\u0065l":"gpt-4o"'),
    "Model": _chat(b'"Model":"gpt-4o"'),
    "lone surrogate in the model": b'{"model":"gpt-4o\\ud800",%s}' % SAID,
    "lone surrogate in the text": b'{%s,"messages":[{"role":"user","content":"a\\ud800b"}]}' % MODEL,
    "unpriced model": b'{"model":"no-such-model",%s}' % SAID,
    "a long model": b'{"model":"%s",%s}' % (b"m" * 100_000, SAID),
    "model with a line break": b'{"model":"gpt-4o-mini\\r\\nx: y",%s}' % SAID,
    "no messages": b"{%s}" % MODEL,
    "messages a string": b'{%s,"messages":"hi"}' % MODEL,
    "messages of strings": b'{%s,"messages":["hi"]}' % MODEL,
    "messages an object": b'{%s,"messages":{"role":"user"}}' % MODEL,
    "stream a string": _chat(b'"stream":"true"'),
    "stream 1": _chat(b'"stream":1'),
    "max_tokens negative": _chat(b'"max_tokens":-1'),
    "max_tokens a float": _chat(b'"max_tokens":1.5'),
    "max_tokens a string": _chat(b'"max_tokens":"100"'),
    "max_tokens huge": _chat(b'"max_tokens":%d' % 2**63),
    "max_tokens enormous": _chat(b'"max_tokens":1' + b"0" * 5000),
    "max_tokens with an exponent": _chat(b'"max_tokens":1e3'),
    "max_tokens twice": _chat(b'"max_tokens":1,"max_tokens":100000'),
    "unknown field twice": _chat(b'"zzz":1,"zzz":2'),
    "twice inside": _chat(b'"x":[{"a":{"b":1,"b":2}}]'),
    "twice inside, escaped": _chat(b'"x":[{"a":{"b":1, "\\u0062":2}}]'),
    "type of a tool twice": _chat(b'"tools":[{"type":"function","type":"web_search_preview"}]'),
    "Type of a tool": _chat(b'"tools":[{"Type":"web_search_preview"}]'),
    "an image in capitals": b'{%s,"messages":[{"role":"user","content":[{"type":"image_url","IMAGE_URL":"x"}]}]}'
    % MODEL,
    "a long s": _chat('"x":[{"me\u017fsage\u017f":1}]'.encode()),
    "n huge": _chat(b'"n":1000000'),
    "n zero": _chat(b'"n":0'),
    "n negative": _chat(b'"n":-5'),
    "n a bool": _chat(b'"n":true'),
    "deep": _chat(b'"x":' + b"[" * 100_000 + b"]" * 100_000),
    "deep objects": _chat(b'"x":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "deep in messages": b'{%s,"messages":[{"role":"user","content":%s}]}' % (MODEL, b"[" * 50_000 + b"]" * 50_000),
    "10^6 small objects": _chat(b'"x":[%s]' % b",".join([b"{}"] * 10**6)),
    "tools a string": _chat(b'"tools":"x"'),
    "content a number": b'{%s,"messages":[{"role":"user","content":5}]}' % MODEL,
}
# What the gateway cannot know to be wrong: forwarded, held and settled like any call, or refused by the provider.
PASSED_BODIES: dict[str, bytes] = {
    "unknown field": _chat(b'"no_such_field":{"a":[1,2,{}]}'),
    "no messages at all": b'{%s,"messages":[]}' % MODEL,
    "10^5 messages": b'{%s,"messages":[%s]}' % (MODEL, b",".join([b'{"role":"user","content":"a"}'] * 10**5)),
    "white space": b" \r\n\t" + _chat(b'\n"n" : 1\t') + b"\n ",
    "n most": _chat(b'"n":128,"max_tokens":1'),
    "max_tokens zero": _chat(b'"max_tokens":0'),
    "large integers elsewhere": _chat(b'"seed":%d' % 2**70),
}


async def test_a_body_that_cannot_be_read_is_refused_in_the_native_shape(site: Site) -> None:
    """F4: 4xx with a message, nothing forwarded, nothing held; the gateway goes on."""
    secret = await site.key()
    for name, body in REFUSED_BODIES.items():
        status, headers, answer = await site.farthing.call(secret, body)
        assert 400 <= status < 500, (name, status, answer[:300])
        error = json.loads(answer)["error"]
        assert error["message"], name
        assert error["type"] == "invalid_request_error", (name, error)
        assert headers["x-farthing-request-id"].startswith("req_"), name
        assert len(answer) < 2000, (name, len(answer))
        site.errors.append(answer)
    assert not site.upstream.requests
    assert {event["decision"] for event in await site.events()} <= {"blocked"}


async def test_a_body_that_is_only_odd_passes_verbatim(site: Site) -> None:
    """F4: what the provider may understand reaches it byte for byte, and has its one event."""
    secret = await site.key()
    for name, body in PASSED_BODIES.items():
        status, _, answer = await site.farthing.call(secret, body)
        assert status in (200, 400), (name, status, answer[:300])
        assert site.upstream.requests[-1].body == body, name
    assert len(site.upstream.requests) == len(await site.events()) == len(PASSED_BODIES)


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_above_the_bound_is_refused(site: Site, declared: bool) -> None:
    """F4: 413, by its declared length before a byte of it is read, or as soon as it is too long."""
    secret = await site.key()
    client = await Client.connect(site.url)
    framing = "content-length: 40000000" if declared else "transfer-encoding: chunked"
    await client.send(request_bytes(secret, b"", PATHS["chat"], framing))
    if not declared:
        chunk = b"100000\r\n" + b" " * 2**20 + b"\r\n"
        for _ in range(34):
            await client.send(chunk)
    assert b" 413 " in await client.until(b"request_too_large")
    await client.leave("rst")
    assert not site.upstream.requests


async def test_a_head_above_the_bound_is_refused(site: Site) -> None:
    """F4: 431 for too many or too large fields, whole or without an end, on every kind of route."""
    secret = await site.key()
    _, body, _ = site.prepared(CHAT)

    async def send(method: str, path: str, *headers: str) -> None:
        client = await Client.connect(site.url)
        sending = asyncio.create_task(client.send(request_bytes(secret, body, path, *headers, method=method)))
        answer = await client.rest(0.5)
        assert b" 431 " in answer[:20] or not answer, (path, answer[:200])
        await client.leave("rst")
        await asyncio.gather(sending, return_exceptions=True)

    shapes = (
        tuple(f"x-h{number}: v" for number in range(150)),
        ("x-big: " + "v" * 70_000,),
        ("x-big: " + "v" * 4_000_000,),
        tuple(f"x-h{number}: {'v' * 1000}" for number in range(4000)),
    )
    routes = (("POST", PATHS["chat"]), ("POST", PATHS["messages"]), ("POST", "/v1/keys"), ("GET", "/v1/me"))
    await asyncio.gather(*(send(*route, *headers) for route in routes for headers in shapes))
    assert not site.upstream.requests


async def test_an_encoded_body_is_no_bomb(site: Site) -> None:
    """F5: what would grow beyond measure is refused, what cannot be decoded is 415, on all routes."""
    secret = await site.key()
    spaces = b" " * 2**24
    bombs = {"gzip": gzip.compress(spaces), "deflate": zlib.compress(spaces), "zstd": zstandard.compress(spaces)}
    for encoding in ("gzip", "deflate", "zstd", "br", "gzip, identity", "identity, gzip", "gzip, gzip", "x"):
        expected = (400, "invalid_request") if encoding in bombs else (415, "encoding_not_supported")
        for path, key in ((PATHS["chat"], secret), (PATHS["messages"], secret), ("/v1/keys", MASTER)):
            body = bombs.get(encoding, bombs["gzip"])
            status, _, answer = await site.farthing.call(key, body, path, {"content-encoding": encoding})
            if path == "/v1/keys" and encoding in bombs:
                assert status in (400, 413), (encoding, path)
            else:
                assert (status, json.loads(answer)["error"]["code"]) == expected, (encoding, path)
    assert not site.upstream.requests


REFUSED_HEADERS: tuple[dict[str, str], ...] = (
    {"x-farthing-metadata": "{"},
    {"x-farthing-metadata": "[]"},
    {"x-farthing-metadata": '{"a":1}'},
    {"x-farthing-metadata": '{"a":{"b":"c"}}'},
    {"x-farthing-metadata": json.dumps({f"k{n}": "v" for n in range(51)})},
    {"x-farthing-metadata": json.dumps({"k" * 41: "v"})},
    {"x-farthing-metadata": json.dumps({"k": "v" * 501})},
    {"x-farthing-metadata": '{"":"v"}'},
    {"x-farthing-max-cost-usd": "-1"},
    {"x-farthing-max-cost-usd": "NaN"},
    {"x-farthing-max-cost-usd": "1e999999999"},
    {"x-farthing-max-cost-usd": "1e-999999999"},
    {"x-farthing-max-cost-usd": "0.0000001"},
    {"x-end-user-cap-usd": "1,5", "x-end-user-id": "u"},
    {"x-end-user-id": "u" * 256},
    {"x-end-user-id": ""},
    {"x-farthing-run-id": "r" * 300},
    {"x-farthing-sim": "status=500"},
)


async def test_a_header_of_ours_that_is_wrong_is_refused_by_name(site: Site) -> None:
    """F4: metadata, amounts and names out of bounds are 400 with the header as param; nothing is forwarded."""
    secret = await site.key()
    for headers in REFUSED_HEADERS:
        status, _, answer = await site.farthing.call(secret, CHAT, headers=headers)
        assert status == 400, (headers, answer)
        assert json.loads(answer)["error"]["param"] in headers, (headers, answer)
    assert not site.upstream.requests


REFUSED_MINTS: tuple[tuple[Any, str, str | None], ...] = (
    ({"nmae": "x"}, "unknown_parameter", "nmae"),
    ({"name": "x", "secret": "fk_live_x"}, "unknown_parameter", "secret"),
    ({"parent_id": "key_x"}, "unknown_parameter", "parent_id"),
    ({"max_spend_usd": -1}, "invalid_request", "max_spend_usd"),
    ({"max_spend_usd": "-0.01"}, "invalid_request", "max_spend_usd"),
    ({"max_spend_usd": 0.0000001}, "invalid_request", "max_spend_usd"),
    ({"max_spend_usd": "1.1234567"}, "invalid_request", "max_spend_usd"),
    ({"max_spend_usd": "1e-999999999"}, "invalid_request", "max_spend_usd"),
    ({"max_spend_usd": 1e300}, "invalid_request", "max_spend_usd"),
    ({"max_spend_usd": "NaN"}, "invalid_request", "max_spend_usd"),
    ({"max_spend_usd": "Infinity"}, "invalid_request", "max_spend_usd"),
    ({"max_spend_usd": "five"}, "invalid_request", "max_spend_usd"),
    ({"max_spend_usd": []}, "invalid_request", "max_spend_usd"),
    ({"max_spend_usd": True}, "invalid_request", "max_spend_usd"),
    ({"max_spend_micros": -1}, "invalid_request", "max_spend_micros"),
    ({"max_spend_micros": 1.5}, "invalid_request", "max_spend_micros"),
    ({"max_spend_micros": 2**63}, "invalid_request", "max_spend_micros"),
    ({"max_spend_micros": "5"}, "invalid_request", "max_spend_micros"),
    ({"max_spend_usd": 1, "max_spend_micros": 2_000_000}, "invalid_request", "max_spend_micros"),
    ({"scope": "root"}, "invalid_request", "scope"),
    ({"scope": None}, "invalid_request", "scope"),
    ({"reset": "year"}, "invalid_request", "reset"),
    ({"livemode": "yes"}, "invalid_request", "livemode"),
    ({"overdraft": "always"}, "invalid_request", "overdraft"),
    ({"over_cap_status": 200}, "invalid_request", "over_cap_status"),
    ({"name": "x" * 201}, "invalid_request", "name"),
    ({"name": 5}, "invalid_request", "name"),
    ({"metadata": {"k": 1}}, "invalid_request", "metadata"),
    ({"metadata": {f"k{n}": "v" for n in range(51)}}, "invalid_request", "metadata"),
    ({"metadata": {"k" * 41: "v"}}, "invalid_request", "metadata"),
    ({"metadata": {"k": "v" * 501}}, "invalid_request", "metadata"),
    ({"allowed_models": "gpt-4o"}, "invalid_request", "allowed_models"),
    ({"allowed_models": [""]}, "invalid_request", "allowed_models[0]"),
    ({"expires_at_ms": -1}, "invalid_request", "expires_at_ms"),
    ({"expires_at_ms": 10**20}, "invalid_request", "expires_at_ms"),
    ({"limits": {}}, "invalid_request", "limits"),
    ({"limits": [{"unit": "cents", "max": 1}]}, "invalid_request", "limits[0].unit"),
    ({"limits": [{"unit": "micros", "max": 1}, {"unit": "tokens", "max": -1}]}, "invalid_request", "limits[1].max"),
    ({"limits": [{"unit": "micros"}]}, "invalid_request", "limits[0].max"),
    ({"limits": [{"unit": "micros", "max": 1, "windw": "day"}]}, "unknown_parameter", "limits[0].windw"),
    ({"limits": [{"unit": "micros", "max": 1, "match": {"modle": "x"}}]}, "unknown_parameter", "limits[0].match.modle"),
    ({"limits": [{"unit": "requests", "max": 1}] * 21}, "invalid_request", "limits"),
    ([], "invalid_request", None),
    ("x", "invalid_request", None),
    (5, "invalid_request", None),
)


async def test_a_mint_that_is_wrong_is_refused_by_name(site: Site) -> None:
    """F4: 400 that names the field; no key is made."""
    for asked, code, param in REFUSED_MINTS:
        status, answer = await site.api("POST", "/v1/keys", asked)
        assert status == 400, (asked, answer)
        error = answer["error"]
        assert (error["code"], error["param"]) == (code, param), (asked, error)
        assert param is None or param in error["message"], error
        assert error["request_id"].startswith("req_")
    for body in (
        b"{",
        b"\xff",
        b'{"name":"\\ud800"}',
        b"[" * 10**5,
        b'{"name":' * 10**5,
        b"NaN",
        b'{"max_spend_usd":NaN}',
    ):
        status, _, raw = await site.farthing.call(MASTER, body, "/v1/keys")
        assert (status, json.loads(raw)["error"]["code"]) == (400, "invalid_request"), body[:20]
    for headers in ({}, {"idempotency-key": "huge"}):
        status, _, raw = await site.farthing.call(MASTER, b" " * (2**20 + 1), "/v1/keys", headers)
        assert (status, json.loads(raw)["error"]["code"]) == (413, "request_too_large"), headers
    status, _, raw = await site.farthing.call(MASTER, b"{}", "/v1/keys", {"idempotency-key": "k" * 256})
    assert status == 400
    assert (await site.api("GET", "/v1/keys"))[1]["data"] == []


async def test_a_change_that_is_wrong_is_refused_and_changes_nothing(site: Site) -> None:
    """F4: PATCH is as strict as a mint."""
    key = await site.mint(name="a", max_spend_usd="1")
    for asked in (
        {"max_spend_usd": -1},
        {"id": "key_x"},
        {"spent_micros": 0},
        {"limits": [{"id": "lim_x"}]},
        {"scope": 1},
    ):
        status, answer = await site.api("PATCH", f"/v1/keys/{key['id']}", asked)
        assert status == 400, (asked, answer)
    status, after = await site.api("GET", f"/v1/keys/{key['id']}")
    assert (status, after) == (200, {name: value for name, value in key.items() if name != "secret"})


REFUSED_QUERIES = (
    "/v1/keys?limit=0",
    "/v1/keys?limit=101",
    "/v1/keys?limit=-1",
    "/v1/keys?limit=1e1",
    "/v1/keys?limit=",
    "/v1/keys?limit=%D9%A1",
    "/v1/keys?limit=1&limit=2",
    "/v1/keys?offset=1",
    "/v1/keys?livemode=1",
    "/v1/me?x=1",
    "/v1/usage?from_ms=x",
    "/v1/usage?from_ms=5&to_ms=4",
    "/v1/usage?from_ms=0&to_ms=99999999999999999999",
    "/v1/usage?from_ms=0&group_by=secret",
    "/v1/usage?from_ms=0&group_by=model,model",
    "/v1/usage?from_ms=0&group_by=tag:",
    "/v1/usage?from_ms=0&format=xml",
    "/v1/usage",
    "/v1/events?mode=x",
    "/v1/events?decision=maybe",
    "/v1/events?from_ms=-1",
    "/v1/holds?state=gone",
)


async def test_a_query_that_is_wrong_is_refused_by_name(site: Site) -> None:
    """F4: 400 for parameters that are unknown, repeated or out of bounds."""
    for target in REFUSED_QUERIES:
        status, answer = await site.api("GET", target)
        assert status == 400, (target, answer)
        assert answer["error"]["code"] in ("invalid_request", "unknown_parameter"), target
    for target in (
        "/v1/keys?starting_after=key_x",
        "/v1/events?starting_after=evt_x",
        "/v1/usage?from_ms=0&key_id=key_x",
    ):
        assert (await site.api("GET", target))[0] == 404, target


async def test_somebody_elses_id_is_as_one_that_does_not_exist(site: Site) -> None:
    """F7, I7: on every route the two answers are the same, byte for byte but for the request's id."""
    mine = await site.mint(scope="team")
    other = await site.mint(scope="team")
    foreign = await site.mint(by=other["secret"], name="foreign")
    site.secrets |= {mine["secret"], other["secret"], foreign["secret"]}
    _, body = await site.api("GET", "/v1/keys", key=mine["secret"])
    assert body["data"] == []
    routes: tuple[tuple[str, str, Any], ...] = (
        ("GET", "/v1/keys/{}", None),
        ("PATCH", "/v1/keys/{}", {"name": "x"}),
        ("PATCH", "/v1/keys/{}", {"limits": [{"id": "lim_x", "unit": "micros", "max": 1}]}),
        ("DELETE", "/v1/keys/{}", None),
        ("POST", "/v1/keys/{}/revoke", None),
        ("POST", "/v1/keys/{}/rotate", {}),
        ("GET", "/v1/keys/{}/usage", None),
        ("POST", "/v1/keys/{}/credits", {"amount_usd": "1", "reason": "x"}),
        ("GET", "/v1/end_users/u?key_id={}", None),
        ("PUT", "/v1/end_users/u?key_id={}", {"max_spend_usd": "1"}),
        ("DELETE", "/v1/end_users/u?key_id={}", None),
        ("POST", "/v1/reservations", {"subject": {"key_id": "{}"}, "amount": 1, "unit": "requests"}),
        ("GET", "/v1/keys?starting_after={}", None),
        ("GET", "/v1/events?key_id={}", None),
        ("GET", "/v1/usage?from_ms=0&key_id={}", None),
    )
    for method, path, asked in routes:
        answers = []
        for key_id in (foreign["id"], other["id"], "key_00000000000000000000000000"):
            async with site.farthing.http.request(
                method,
                site.url + path.format(key_id),
                data=json.dumps(asked).replace("{}", key_id) if asked else None,
                headers={"x-api-key": mine["secret"]},
            ) as answer:
                content = await answer.read()
                request_id = answer.headers["x-farthing-request-id"]
                headers = sorted((k.lower(), v.replace(request_id, "ID")) for k, v in answer.headers.items())
                answers.append(
                    (answer.status, [h for h in headers if h[0] != "date"], content.replace(request_id.encode(), b"ID"))
                )
        assert answers[0][0] == 404, (path, answers[0])
        assert answers[0] == answers[1] == answers[2], path
    assert (await site.api("GET", f"/v1/keys/{foreign['id']}", key=other["secret"]))[1]["status"] == "active"


async def test_other_operations_are_as_strict(site: Site) -> None:
    """F4: messages and embeddings refuse what they cannot bound, in their own shape."""
    secret = await site.key()
    for path, body in (
        (PATHS["messages"], MESSAGES | {"max_tokens": "many"}),
        (PATHS["messages"], MESSAGES | {"messages": 5}),
        (PATHS["embeddings"], {"model": EMBED["model"]}),
        (PATHS["embeddings"], EMBED | {"input": 5}),
        (PATHS["embeddings"], EMBED | {"dimensions": -1}),
    ):
        status, _, answer = await site.farthing.call(secret, body, path)
        assert status == 400, (body, answer)
        assert ("type" in json.loads(answer)) == (path == PATHS["messages"]), answer
    assert not site.upstream.requests
