"""Hooks from outside: made by the API, heard by real receivers, over real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiosmtpd.smtp import SMTP
from standardwebhooks import Webhook

from tests.gateway.outbox.receiver import Receiver, receiving
from tests.gateway.outbox.test_messages import Mailbox
from tests.harness import MASTER, Running, running

RECEIVER = Path(__file__).parents[2] / "sdk" / "js" / "receiver.mjs"
CHAT = {"model": "gpt-4o-mini", "max_tokens": 16, "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as found:
        yield found


@pytest.fixture
async def farthing(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path, FARTHING_HOOKS_PRIVATE="allow") as found:
        yield found


async def hook(farthing: Running, url: str, *, key: str = MASTER, **more: Any) -> dict[str, Any]:
    status, made = await farthing.api("POST", "/v1/hooks", {"kind": "webhook", "url": url} | more, key=key)
    assert status == 201, made
    assert isinstance(made, dict)
    return made


async def deliveries(farthing: Running, hook: dict[str, Any], state: str) -> dict[str, Any]:
    """The hook's deliveries in this state, as soon as there are any."""
    async with asyncio.timeout(10):
        while True:
            _, page = await farthing.api("GET", f"/v1/hooks/{hook['id']}/deliveries?state={state}")
            if page["data"]:
                return dict(page)
            await asyncio.sleep(0.01)


async def test_a_receiver_hears_that_a_cap_was_reached_signed_and_within_a_second(
    farthing: Running, receiver: Receiver
) -> None:
    key = await farthing.mint(max_spend_usd="0.000001", name="Acme", external_id="cus_1")
    made = await hook(farthing, receiver.url, events=["limit.*"])

    assert (await farthing.call(key["secret"], CHAT))[0] == 402
    await receiver.got(1, timeout_s=1.5)

    (_, head, body) = receiver.messages[0]
    said = Webhook(made["secret"]).verify(body.decode(), head)
    assert said["type"] == "limit.reached"
    assert said["livemode"] is True
    assert said["data"]["key_id"] == key["id"]
    assert (said["data"]["name"], said["data"]["external_id"]) == ("Acme", "cus_1")
    assert said["data"]["limit"] == {
        "id": key["limits"][0]["id"],
        "unit": "micros",
        "window": "total",
        "max": 1,
        "used": 0,
        "window_start_ms": 0,
        "resets_at_ms": None,
    }
    page = await deliveries(farthing, made, "delivered")
    assert [each["id"] for each in page["data"]] == [head["webhook-id"]]
    assert page["data"][0]["message"] == said


async def test_a_hook_shows_neither_its_url_nor_its_secret_again(farthing: Running, receiver: Receiver) -> None:
    made = await hook(farthing, f"{receiver.url}/T000/B000/secret-path-wxyz")
    assert made["secret"].startswith("whsec_")

    for path in ("/v1/hooks", f"/v1/hooks/{made['id']}"):
        _, shown = await farthing.api("GET", path)
        text = json.dumps(shown)
        assert "secret-path" not in text
        assert made["secret"] not in text
        assert "…wxyz" in (shown["data"][0] if "data" in shown else shown)["url"]


async def test_a_receiver_verifies_with_the_old_secret_while_it_overlaps(farthing: Running, receiver: Receiver) -> None:
    made = await hook(farthing, receiver.url)
    status, rotated = await farthing.api("POST", f"/v1/hooks/{made['id']}/rotate", {"overlap_seconds": 60})
    assert status == 200
    assert rotated["secret"] != made["secret"]

    assert (await farthing.api("POST", f"/v1/hooks/{made['id']}/test"))[0] == 202
    await receiver.got(1)
    for secret in (made["secret"], rotated["secret"]):
        Webhook(secret).verify(receiver.messages[0][2].decode(), receiver.messages[0][1])

    await farthing.api("POST", f"/v1/hooks/{made['id']}/rotate", {})
    await farthing.api("POST", f"/v1/hooks/{made['id']}/test")
    await receiver.got(2)
    with pytest.raises(Exception, match="No matching signature"):
        Webhook(rotated["secret"]).verify(receiver.messages[1][2].decode(), receiver.messages[1][1])


async def test_what_was_sent_is_sent_again_under_the_same_id_and_in_the_same_bytes(
    farthing: Running, receiver: Receiver
) -> None:
    made = await hook(farthing, receiver.url)
    await farthing.api("POST", f"/v1/hooks/{made['id']}/test")
    await receiver.got(1)
    delivery = receiver.ids()[0]

    assert (await farthing.api("POST", f"/v1/deliveries/{delivery}/retry"))[0] == 202
    await receiver.got(2)
    status, again = await farthing.api("POST", f"/v1/hooks/{made['id']}/replay", {"from_ms": 0, "to_ms": 2**42})
    assert (status, again["deliveries"]) == (202, 1)
    await receiver.got(3)

    assert set(receiver.ids()) == {delivery}
    assert len({body for _, _, body in receiver.messages}) == 1


async def test_a_receiver_that_wants_nothing_more_is_left_alone_and_the_others_are_told(
    farthing: Running, receiver: Receiver
) -> None:
    async with receiving() as gone:
        gone.answer = lambda number: web.Response(status=410)
        made = await hook(farthing, gone.url)
        await hook(farthing, receiver.url, events=["hook.disabled"])
        await farthing.api("POST", f"/v1/hooks/{made['id']}/test")
        await receiver.got(1)
        assert receiver.bodies()[0]["data"]["hook_id"] == made["id"]
        _, shown = await farthing.api("GET", f"/v1/hooks/{made['id']}")
        assert (shown["status"], shown["disabled_reason"]) == ("disabled", "gone")


@pytest.mark.parametrize("status", [302, 400, 429, 500, 503])
async def test_what_fails_waits_for_its_turn_and_holds_back_no_other(
    farthing: Running, receiver: Receiver, status: int
) -> None:
    receiver.answer = lambda number: web.Response(
        status=status if number == 0 else 200, headers={"location": receiver.url + "/elsewhere"}
    )
    made = await hook(farthing, receiver.url)
    for _ in range(2):
        await farthing.api("POST", f"/v1/hooks/{made['id']}/test")
    await receiver.got(2)
    await asyncio.sleep(0.3)

    assert [path for path, *_ in receiver.messages] == ["/", "/"]
    _, page = await farthing.api("GET", f"/v1/hooks/{made['id']}/deliveries?state=pending")
    (waiting,) = page["data"]
    assert (waiting["id"], waiting["tries"]) == (receiver.ids()[0], 1)
    assert waiting["attempts"][0]["status"] == status
    assert waiting["next_try_ms"] > waiting["created_ms"] + 4_000


async def test_first_tries_of_one_key_come_in_order(farthing: Running, receiver: Receiver) -> None:
    receiver.delay_s = 0.02
    made = await hook(farthing, receiver.url)
    sent = [(await farthing.api("POST", f"/v1/hooks/{made['id']}/test"))[1]["id"] for _ in range(20)]
    await receiver.got(20)
    assert receiver.ids() == sent


async def test_slack_gets_a_sentence_and_many_that_wait_are_one(farthing: Running, receiver: Receiver) -> None:
    status, made = await farthing.api("POST", "/v1/hooks", {"kind": "slack", "url": receiver.url})
    assert status == 201
    assert "secret" not in made
    for _ in range(8):
        await farthing.api("POST", f"/v1/hooks/{made['id']}/test")
    await receiver.got(2)
    await asyncio.sleep(1.5)

    texts = [json.loads(body) for *_, body in receiver.messages]
    assert sum(len(each["blocks"]) for each in texts) == 8
    assert len(texts) < 8
    assert "This is a test" in texts[0]["text"]


async def test_mail_goes_by_the_operators_server(tmp_path: Path) -> None:
    box = Mailbox()
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(box), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with running(
        tmp_path, FARTHING_SMTP_URL=f"smtp://127.0.0.1:{port}", FARTHING_MAIL_FROM="bills@example.com"
    ) as farthing:
        status, made = await farthing.api("POST", "/v1/hooks", {"kind": "email", "to": "ann@example.com"})
        assert (status, made["to"]) == (201, "ann@example.com")
        await farthing.api("POST", f"/v1/hooks/{made['id']}/test")
        async with asyncio.timeout(10):
            while not box.messages:  # noqa: ASYNC110 - the server is somebody else
                await asyncio.sleep(0.01)
    assert b"This is a test" in box.messages[0]
    server.close()


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"kind": "webhook"}, "url"),
        ({"kind": "webhook", "url": "https://127.0.0.1/"}, "url"),
        ({"kind": "webhook", "url": "http://example.com/"}, "url"),
        ({"kind": "webhook", "url": "https://example.com/", "to": "ann@example.com"}, "to"),
        ({"kind": "email", "to": "ann"}, "to"),
        ({"kind": "email", "to": "ann@example.com"}, "kind"),
        ({"kind": "email", "url": "https://example.com/"}, "url"),
        ({"kind": "pager", "url": "https://example.com/"}, "kind"),
        ({"kind": "webhook", "url": "https://example.com/", "events": ["limit.unheard"]}, "events[0]"),
        ({"kind": "webhook", "url": "https://example.com/", "events": []}, "events"),
        ({"kind": "webhook", "url": "https://example.com/", "colour": "red"}, "colour"),
    ],
)
async def test_what_cannot_be_a_hook_is_refused_by_name(tmp_path: Path, body: dict[str, Any], param: str) -> None:
    async with running(tmp_path) as farthing:
        status, refusal = await farthing.api("POST", "/v1/hooks", body)
        assert (status, refusal["error"]["param"]) == (400, param)
        assert (await farthing.api("GET", "/v1/hooks"))[1]["data"] == []


async def test_each_may_hear_of_its_own_subtree_only(farthing: Running, receiver: Receiver) -> None:
    team = await farthing.mint(scope="team")
    other = await farthing.mint(scope="team")
    standard = await farthing.mint(by=team["secret"])
    made = await hook(farthing, receiver.url, key=team["secret"], key_id=standard["id"])

    assert (await farthing.api("POST", "/v1/hooks", {"kind": "webhook", "url": receiver.url}, key=standard["secret"]))[
        0
    ] == 403
    for method, path, body in (
        ("GET", f"/v1/hooks/{made['id']}", None),
        ("PATCH", f"/v1/hooks/{made['id']}", {"status": "disabled"}),
        ("DELETE", f"/v1/hooks/{made['id']}", None),
        ("POST", f"/v1/hooks/{made['id']}/rotate", {}),
        ("POST", f"/v1/hooks/{made['id']}/test", None),
        ("GET", f"/v1/hooks/{made['id']}/deliveries", None),
        ("POST", f"/v1/hooks/{made['id']}/replay", {"from_ms": 0, "to_ms": 1}),
        ("POST", "/v1/hooks", {"kind": "webhook", "url": receiver.url, "key_id": standard["id"]}),
    ):
        assert (await farthing.api(method, path, body, key=other["secret"]))[0] == 404, (method, path)
    assert (await farthing.api("GET", "/v1/hooks", key=other["secret"]))[1]["data"] == []
    status, gone = await farthing.api("DELETE", f"/v1/hooks/{made['id']}", key=team["secret"])
    assert (status, gone["deleted"]) == (200, True)
    assert (await farthing.api("GET", f"/v1/hooks/{made['id']}", key=team["secret"]))[0] == 404


async def test_the_same_request_makes_one_hook(farthing: Running, receiver: Receiver) -> None:
    body = {"kind": "webhook", "url": receiver.url}
    answers = [await farthing.api("POST", "/v1/hooks", body, headers={"idempotency-key": "once"}) for _ in range(2)]
    assert answers[0] == answers[1]
    assert len((await farthing.api("GET", "/v1/hooks"))[1]["data"]) == 1


async def test_nothing_private_is_connected_to_unless_the_operator_says_so(tmp_path: Path, receiver: Receiver) -> None:
    """A hook that was made when private receivers were allowed gets nothing any more."""
    async with running(tmp_path, FARTHING_HOOKS_PRIVATE="allow") as farthing:
        made = await hook(farthing, receiver.url)
    async with running(tmp_path) as farthing:
        await farthing.api("POST", f"/v1/hooks/{made['id']}/test")
        async with asyncio.timeout(10):
            while True:
                _, page = await farthing.api("GET", f"/v1/hooks/{made['id']}/deliveries")
                if page["data"][0]["tries"]:
                    break
                await asyncio.sleep(0.05)
        assert page["data"][0]["attempts"][0]["error"] == "not_public"
    assert receiver.messages == []


async def test_marks_are_said_on_keys_plans_end_users_and_limits_and_shown(farthing: Running) -> None:
    _, plan = await farthing.api("POST", "/v1/plans", {"name": "pro", "alert_at": [60]})
    limit = {"unit": "requests", "max": 10, "window": "day", "alert_at": [90, 50, 50]}
    key = await farthing.mint(plan=plan["id"], limits=[limit])
    assert (plan["alert_at"], key["alert_at"]) == ([60], [60])
    assert [each["alert_at"] for each in key["limits"]] == [[50, 90]]
    _, own = await farthing.api("PATCH", f"/v1/keys/{key['id']}", {"alert_at": []})
    assert own["alert_at"] == []
    _, back = await farthing.api("PATCH", f"/v1/keys/{key['id']}", {"alert_at": None})
    assert back["alert_at"] == [60]
    _, user = await farthing.api("PUT", f"/v1/end_users/ann?key_id={key['id']}", {"alert_at": [10]})
    assert user["alert_at"] == [10]
    assert (await farthing.mint())["alert_at"] == [80]


@pytest.mark.parametrize("marks", [[0], [1001], [50.5], ["80"], list(range(1, 12)), 80])
async def test_what_is_no_list_of_marks_is_refused_by_name(farthing: Running, marks: Any) -> None:
    status, refusal = await farthing.api("POST", "/v1/keys", {"alert_at": marks})
    assert (status, refusal["error"]["param"].split("[")[0]) == (400, "alert_at")
    limit = {"unit": "requests", "max": 1, "alert_at": marks}
    status, refusal = await farthing.api("POST", "/v1/keys", {"limits": [limit]})
    assert status == 400
    assert refusal["error"]["param"].startswith("limits[0].alert_at")


async def test_answers_warn_from_a_mark_on(farthing: Running) -> None:
    limit = {"unit": "requests", "max": 10, "window": "day", "alert_at": [20, 50]}
    key = await farthing.mint(limits=[limit], livemode=False)
    warnings = []
    for _ in range(6):
        status, head, _ = await farthing.call(key["secret"], CHAT)
        assert status == 200
        await farthing.quiet()
        warnings.append(head.get("x-farthing-warning"))
    assert warnings == [None, None, "key;20", "key;20", "key;20", "key;50"]


async def test_every_change_is_on_record_and_told(farthing: Running, receiver: Receiver) -> None:
    team = await farthing.mint(scope="team", name="Sales")
    made = await hook(farthing, receiver.url, events=["key.*", "plan.*", "credits.*"])
    key = await farthing.mint(by=team["secret"], name="Acme", max_spend_usd="1")
    await farthing.api("PATCH", f"/v1/keys/{key['id']}", {"max_spend_usd": "2"}, key=team["secret"])
    await farthing.api("POST", f"/v1/keys/{key['id']}/credits", {"amount_usd": "1", "reason": "goodwill"})
    await farthing.api("DELETE", f"/v1/keys/{key['id']}", key=team["secret"])
    await receiver.got(4)

    assert [each["type"] for each in receiver.bodies()] == [
        "key.created",
        "key.updated",
        "credits.added",
        "key.revoked",
    ]
    updated = receiver.bodies()[1]["data"]
    assert (updated["name"], updated["actor"]) == ("Acme", team["id"])
    assert (updated["before"], updated["after"]) == ({"max_spend_micros": 10**6}, {"max_spend_micros": 2 * 10**6})
    status, page = await farthing.api("GET", f"/v1/changes?object_id={key['id']}", key=team["secret"])
    assert status == 200
    assert [each["type"] for each in page["data"]] == ["key.revoked", "credits.added", "key.updated", "key.created"]
    assert page["data"][0]["ip"] == "127.0.0.1"
    assert page["data"][0]["request_id"].startswith("req_")
    _, everything = await farthing.api("GET", "/v1/changes?limit=100")
    text = json.dumps(everything) + json.dumps(receiver.bodies())
    for secret in (key["secret"], team["secret"], made["secret"], receiver.url, "argon2"):
        assert secret not in text
    assert (await farthing.api("GET", "/v1/changes", key=key["secret"]))[0] == 401
    other = await farthing.mint(scope="team")
    _, page = await farthing.api("GET", "/v1/changes", key=other["secret"])
    assert [each["object_id"] for each in page["data"]] == [other["id"]]


async def test_a_receiver_in_node_verifies_with_either_secret_and_with_no_other(farthing: Running) -> None:
    """The package of npm that receivers use, in a process of its own."""
    made = await hook(farthing, "http://127.0.0.1:8999/")
    _, rotated = await farthing.api("POST", f"/v1/hooks/{made['id']}/rotate", {"overlap_seconds": 60})
    stranger = "whsec_" + "AAAA" * 8
    node = await asyncio.create_subprocess_exec(
        "node", str(RECEIVER), made["secret"], rotated["secret"], stranger, stdout=asyncio.subprocess.PIPE
    )
    assert node.stdout is not None
    try:
        async with asyncio.timeout(20):
            port = json.loads(await node.stdout.readline())["port"]
            await farthing.api("PATCH", f"/v1/hooks/{made['id']}", {"url": f"http://127.0.0.1:{port}/"})
            _, sent = await farthing.api("POST", f"/v1/hooks/{made['id']}/test")
            heard = json.loads(await node.stdout.readline())
    finally:
        node.kill()
        await node.wait()
    assert heard == {"id": sent["id"], "verified": ["hook.test", "hook.test", "WebhookVerificationError"]}


async def test_the_operator_hears_that_a_provider_refuses_his_account_once_an_hour(
    farthing: Running, receiver: Receiver
) -> None:
    await hook(farthing, receiver.url, events=["upstream.*"])
    team = await farthing.mint(scope="team")
    await hook(farthing, receiver.url + "/team", key=team["secret"])
    key = await farthing.mint(by=team["secret"])
    for _ in range(3):
        farthing.upstream.script("status=401")
        status, _, _ = await farthing.call(key["secret"], CHAT)
        assert status == 502
    await farthing.quiet()
    await receiver.got(1)
    await asyncio.sleep(0.3)
    refused = [(path, json.loads(body)) for path, _, body in receiver.messages if b"upstream" in body]
    assert [(path, each["type"]) for path, each in refused] == [("/", "upstream.account_refused")]
    assert refused[0][1]["data"]["provider"] == "openai"


async def test_the_operator_hears_once_that_a_provider_is_down_and_once_that_it_answers_again(
    farthing: Running, receiver: Receiver
) -> None:
    await hook(farthing, receiver.url, events=["upstream.*"])
    team = await farthing.mint(scope="team")
    await hook(farthing, receiver.url + "/team", key=team["secret"])
    key = await farthing.mint(by=team["secret"])
    test = await farthing.mint(livemode=False)
    for status in (503, 500, 529, 502):
        await farthing.call(test["secret"], CHAT, headers={"x-farthing-sim": f"status={status}"})
    for turn in range(2):
        for status in ("503", "500", "529", "502", "504", "503"):
            farthing.upstream.script(f"status={status}")
            assert (await farthing.call(key["secret"], CHAT))[0] == int(status)
        await farthing.quiet()
        await receiver.got(2 * turn + 1)
        for _ in range(3):
            assert (await farthing.call(key["secret"], CHAT))[0] == 200
        await farthing.quiet()
        await receiver.got(2 * turn + 2)
    await asyncio.sleep(0.3)
    told = [(path, json.loads(body)) for path, _, body in receiver.messages if b"upstream" in body]
    assert [(path, each["type"]) for path, each in told] == [("/", "upstream.down"), ("/", "upstream.recovered")] * 2
    assert told[0][1]["data"]["provider"] == told[0][1]["data"]["upstream"] == "openai"
    assert told[0][1]["data"]["reason"] == "status 504"
    assert len(set(receiver.ids())) == len(receiver.ids())


async def test_a_provider_that_cannot_be_reached_is_told_by_one_of_two_gateways_and_after_a_restart(
    tmp_path: Path,
) -> None:
    """Two processes' worth of gateways on one ledger would tell it twice; a new one knows what was told."""
    async with receiving() as receiver:
        allowed = {"FARTHING_HOOKS_PRIVATE": "allow"}
        async with running(tmp_path, **allowed, FARTHING_UPSTREAM_OPENAI="http://127.0.0.1:1") as first:
            await hook(first, receiver.url, events=["upstream.*"])
            key = await first.mint()
            for _ in range(6):
                assert (await first.call(key["secret"], CHAT))[0] == 502
            outbox = first.gateway.ledger.outbox
            outbox.upstream_turned("openai", "timeout")  # as another gateway would say
            await receiver.got(1)
            assert await outbox.upstreams_down() == ["openai"]
        async with running(tmp_path, **allowed) as second:
            assert (await second.call(key["secret"], CHAT))[0] == 200
            await receiver.got(2)
            await asyncio.sleep(0.2)
        told = [(each["type"], each["data"].get("reason")) for each in receiver.bodies()]
        assert told == [("upstream.down", "unreachable"), ("upstream.recovered", None)]


async def test_fifty_calls_at_once_are_told_once_to_each_who_listens(farthing: Running) -> None:
    """A key, its team and the master, each with a limit that is crossed, each with a receiver of its own."""
    async with receiving() as for_master, receiving() as for_team, receiving() as for_key:
        await hook(farthing, for_master.url, events=["limit.*"])
        limits = [{"unit": "requests", "max": 40, "window": "day"}]
        team = await farthing.mint(scope="team", limits=limits)
        await hook(farthing, for_team.url, key=team["secret"], events=["limit.*"])
        key = await farthing.mint(by=team["secret"], limits=[{"unit": "requests", "max": 30, "window": "day"}])
        await hook(farthing, for_key.url, key=team["secret"], key_id=key["id"], events=["limit.*"])

        statuses = await asyncio.gather(*(farthing.call(key["secret"], CHAT) for _ in range(50)))
        assert sorted({status for status, *_ in statuses}) == [200, 429]
        await farthing.quiet()
        for receiver, number in ((for_key, 2), (for_team, 2), (for_master, 2)):
            await receiver.got(number, timeout_s=3)
        await asyncio.sleep(0.3)

        for receiver in (for_key, for_team, for_master):
            said = [
                (each["type"], each["data"]["key_id"], each["data"]["percent"], each["data"]["limit"]["max"])
                for each in receiver.bodies()
            ]
            assert sorted(said) == [
                ("limit.reached", key["id"], 100, 30),
                ("limit.threshold_crossed", key["id"], 80, 30),
            ]
            assert len(set(receiver.ids())) == 2
            crossed = next(each for each in receiver.bodies("limit.threshold"))
            assert 24 <= crossed["data"]["limit"]["used"] <= 30

        other = await farthing.mint(by=team["secret"])
        await asyncio.gather(*(farthing.call(other["secret"], CHAT) for _ in range(20)))
        await for_team.got(4)
        assert {each["data"]["key_id"] for each in for_team.bodies()[2:]} == {team["id"]}
        assert len(for_key.messages) == 2
