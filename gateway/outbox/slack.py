"""Messages to a Slack incoming webhook. Source: docs.slack.dev, "Sending messages using incoming webhooks".

Slack takes about one message a second and URL, so what waits together is told together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from gateway.outbox.outcome import Outcome, wait_asked_s

TOGETHER_FROM = 6  # more than five that wait are one message
TOGETHER_MAX = 40  # Slack takes 50 blocks
PAUSE_S = 1.0
_SECTION_MAX = 2_900  # characters; Slack takes 3,000
_TEXT_MAX = 3_000
_FINAL = frozenset((400, 403, 404))  # invalid_payload, action_prohibited, no_service: the same again is of no use
_GONE = 410  # channel_is_archived


def escaped(text: str) -> str:
    """Words as words: what a tenant calls his key must not become a mention or a link."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def rendered(sentences: Sequence[str]) -> bytes:
    """One message that says these sentences."""
    shown = [escaped(each)[:_SECTION_MAX] for each in sentences]
    head = shown[0] if len(shown) == 1 else f"{len(shown)} messages: {shown[0]} …"
    blocks = [{"type": "section", "text": {"type": "mrkdwn", "text": each, "verbatim": True}} for each in shown]
    return msgspec.json.encode({"text": head[:_TEXT_MAX], "blocks": blocks})


def judged(status: int, head: Mapping[str, str], now_s: float) -> Outcome:
    """What an answer of Slack means."""
    if 200 <= status < 300:
        return Outcome(delivered=True, status=status)
    if status == _GONE:
        return Outcome(status=status, error="gone", gone=True)
    return Outcome(status=status, error="status", wait_s=wait_asked_s(head, now_s), final=status in _FINAL)
