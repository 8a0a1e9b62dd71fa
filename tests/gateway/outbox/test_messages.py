"""What a message looks like to a webhook, to Slack and in the mail, and when it is tried again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP
from standardwebhooks import Webhook, WebhookVerificationError

from gateway.outbox import mail, slack, webhook, words
from gateway.outbox.outcome import AGAIN_MS, TRIES_MAX, Outcome, due_after_ms, wait_asked_s
from ledger.outbox.messages import Told

NOW_S = 1_796_000_000
RANDOM = Random(1)  # noqa: S311 - for waiting
LIMIT = {
    "id": "lim_1",
    "unit": "micros",
    "window": "month",
    "max": 50_000_000,
    "used": 40_500_000,
    "window_start_ms": 0,
    "resets_at_ms": None,
}


def told(**changes: Any) -> Told:
    said: dict[str, Any] = {
        "type": "limit.threshold_crossed",
        "created_ms": NOW_S * 1000 + 7,
        "livemode": True,
        "key_id": "key_1",
        "profile": {"name": "Acme", "external_id": "cus_1", "metadata": {"note": "private"}},
        "plan": None,
        "subject_kind": None,
        "subject": None,
        "data": {"percent": 80, "limit": LIMIT},
    }
    return Told(**said | changes)


def test_a_message_says_who_and_how_much() -> None:
    said = json.loads(words.composed(told()))

    assert said["type"] == "limit.threshold_crossed"
    assert said["livemode"] is True
    assert datetime.fromisoformat(said["timestamp"]) == datetime.fromtimestamp(NOW_S + 0.007, UTC)
    assert said["data"] == {
        "key_id": "key_1",
        "name": "Acme",
        "external_id": "cus_1",
        "end_user": None,
        "run_id": None,
        "plan": None,
        "percent": 80,
        "limit": LIMIT,
    }


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "Acme (key_1) has used 80 % of its spend cap of the month: $40.50 of $50.00."),
        ({"livemode": False, "type": "limit.reached"}, "[test] Acme (key_1) has reached its spend cap of the month:"),
        ({"subject_kind": "end_user", "subject": "ann"}, "ann, an end user of Acme (key_1), has used 80 %"),
        ({"type": "call.overrun", "data": {"overrun_micros": 7, "event_id": "evt_1"}}, "cost $0.000007 more than"),
        ({"type": "key.created", "profile": {}, "data": {}}, "key_1 was minted."),
        ({"type": "something.new", "data": {}}, "something.new"),
        ({"profile": {"name": "{percent} {0.__class__} %s"}}, "{percent} {0.__class__} %s (key_1) has used 80 %"),
    ],
)
def test_people_read_a_sentence(changes: dict[str, Any], sentence: str) -> None:
    assert sentence in words.sentence(words.composed(told(**changes)))


@pytest.mark.parametrize("type_", sorted(words.TYPES))
def test_every_type_has_a_sentence_even_of_little(type_: str) -> None:
    assert words.sentence(words.composed(told(type=type_, data={}))).strip()


def test_a_receiver_verifies_the_signature_with_either_secret_while_they_overlap() -> None:
    old, new, other = (webhook.new_secret() for _ in range(3))
    body = words.composed(told())
    now_s = int(datetime.now(UTC).timestamp())
    head = webhook.headers([new, old], "out_1", now_s, body)

    for secret in (old, new):
        assert Webhook(secret).verify(body.decode(), head) == json.loads(body)
    with pytest.raises(WebhookVerificationError):
        Webhook(other).verify(body.decode(), head)
    with pytest.raises(WebhookVerificationError):
        Webhook(new).verify(body.decode() + " ", head)


def test_what_a_tenant_calls_his_key_is_no_mention_in_slack() -> None:
    sent = json.loads(slack.rendered(["<!channel> & <https://evil|friend>"]))

    assert "<" not in json.dumps(sent)
    assert sent["text"] == "&lt;!channel&gt; &amp; &lt;https://evil|friend&gt;"


def test_many_sentences_are_one_message_within_slacks_bounds() -> None:
    sent = json.loads(slack.rendered(["x" * 10_000] * slack.TOGETHER_MAX))

    assert len(sent["blocks"]) == slack.TOGETHER_MAX <= 50
    assert all(len(block["text"]["text"]) <= 3_000 for block in sent["blocks"])
    assert len(sent["text"]) <= 40_000


@pytest.mark.parametrize(
    ("judge", "status", "expected"),
    [
        (webhook.judged, 204, Outcome(delivered=True, status=204)),
        (webhook.judged, 302, Outcome(status=302, error="redirect")),
        (webhook.judged, 410, Outcome(status=410, error="gone", gone=True)),
        (webhook.judged, 429, Outcome(status=429, error="status", wait_s=7.0)),
        (slack.judged, 200, Outcome(delivered=True, status=200)),
        (slack.judged, 404, Outcome(status=404, error="status", wait_s=7.0, final=True)),
        (slack.judged, 429, Outcome(status=429, error="status", wait_s=7.0)),
    ],
)
def test_what_an_answer_means(judge: Any, status: int, expected: Outcome) -> None:
    found = judge(status, {"Retry-After": "7"}, NOW_S)
    assert found == expected or (status == 302 and found.error == "redirect")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("120", 120.0), ("0", 0.0), ("Tue, 29 Nov 2026 00:00:00 GMT", None), ("soon", None), ("-1", None), ("", None)],
)
def test_a_receiver_may_ask_for_patience_in_two_spellings(text: str, seconds: float | None) -> None:
    at = datetime(2026, 11, 29, tzinfo=UTC).timestamp() if "GMT" in text else None
    found = wait_asked_s({"Retry-After": text}, NOW_S)
    assert found == (max(at - NOW_S, 0.0) if at is not None else seconds)


def test_it_is_tried_ten_times_over_three_days_and_no_more() -> None:
    waits = [due_after_ms(tries, Outcome(error="status"), RANDOM) for tries in range(1, TRIES_MAX + 1)]

    assert waits[-1] is None
    for wait, least in zip(waits[:-1], AGAIN_MS, strict=True):
        assert wait is not None
        assert least <= wait <= 1.1 * least
    assert 2.5 * 86_400_000 < sum(AGAIN_MS) < 4 * 86_400_000


def test_a_longer_wait_is_obeyed_and_a_wait_for_ever_is_not() -> None:
    assert due_after_ms(1, Outcome(error="status", wait_s=60), RANDOM) == 60_000
    assert due_after_ms(1, Outcome(error="status", wait_s=1e9), RANDOM) == 86_400_000
    assert due_after_ms(1, Outcome(error="status", final=True), RANDOM) is None


class Mailbox:
    """Takes mail, and refuses whom it is told to."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.refusal = ""
        self.port = 0

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802
        if self.refusal:
            return self.refusal
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        self.messages.append(envelope.content)
        return "250 OK"


@pytest.fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    box = Mailbox()
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(box), "127.0.0.1", 0)
    box.port = server.sockets[0].getsockname()[1]
    yield box
    server.close()


async def test_a_mail_arrives_with_its_sentence_and_what_a_program_would_get(mailbox: Mailbox) -> None:
    server = mail.server(f"smtp://127.0.0.1:{mailbox.port}", "Farthing <bills@example.com>")
    body = words.composed(told(profile={"name": "Acme\r\nBcc: all@example.com"}))
    message = mail.composed(server, "ann@example.com", "out_1", words.sentence(body), body, NOW_S * 1000)

    assert (await mail.hand_in(server, message)).delivered

    (raw,) = mailbox.messages
    text = raw.decode()
    assert "Message-ID: <out_1@example.com>" in text
    assert "Bcc:" not in text.partition("\r\n\r\n")[0].replace("Subject: Acme  Bcc:", "")
    assert '"percent": 80' in text


@pytest.mark.parametrize(("refusal", "final"), [("450 busy", False), ("550 no such user", True)])
async def test_a_refusal_of_the_moment_is_tried_again_and_one_for_ever_is_not(
    mailbox: Mailbox, refusal: str, final: bool
) -> None:
    mailbox.refusal = refusal
    server = mail.server(f"smtp://127.0.0.1:{mailbox.port}", "bills@example.com")
    message = mail.composed(server, "ann@example.com", "out_1", "Hello", b"{}", NOW_S * 1000)

    outcome = await mail.hand_in(server, message)

    assert (outcome.delivered, outcome.final, outcome.status) == (False, final, int(refusal[:3]))


async def test_a_server_that_is_away_is_tried_again() -> None:
    server = mail.server("smtp://127.0.0.1:1", "bills@example.com")
    message = mail.composed(server, "ann@example.com", "out_1", "Hello", b"{}", NOW_S * 1000)
    assert await mail.hand_in(server, message) == Outcome(error="unreachable")


def test_a_password_goes_over_no_line_that_can_be_listened_to() -> None:
    assert mail.server("smtp://ann:secret@mail.example.com", "a@example.com").start_tls is True
    assert mail.server("smtps://ann:secret@mail.example.com", "a@example.com").tls is True
    assert "secret" not in repr(mail.server("smtp://ann:secret@mail.example.com", "a@example.com"))


@pytest.mark.parametrize("url", ["mail.example.com", "http://mail.example.com", "smtp://", "smtp://h/x", "smtp://h:x"])
def test_what_is_no_mail_server_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="FARTHING_SMTP_URL"):
        mail.server(url, "a@example.com")


@pytest.mark.parametrize(
    "text", ["ann", "ann@", "@x.de", "a b@x.de", "a@x.de,b@x.de", "a@x.de\r\nBcc: b@x.de", "a..b@x.de"]
)
def test_only_one_plain_address_is_one(text: str) -> None:
    assert not mail.is_address(text)
