"""The inference endpoint's last resort."""

from __future__ import annotations

import json

import pytest

from gateway.call.admission import Admission
from gateway.call.relay import Relay
from tests.harness import Running

CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "a canary of the prompt"}]}


@pytest.mark.parametrize("where", [(Admission, "admit"), (Relay, "fly")])
async def test_an_unexpected_fault_is_answered_with_an_id(
    farthing: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, where: tuple[type, str]
) -> None:
    """A fault of our own is a 500 in the caller's shape, with the id under which the log has it, and loses nothing."""

    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a canary of the fault")

    key = await farthing.mint(max_spend_usd="1")
    monkeypatch.setattr(*where, broken)
    status, headers, body = await farthing.call(key["secret"], CHAT)
    error = json.loads(body)["error"]
    assert (status, error["code"], error["type"]) == (500, "internal_error", "server_error")
    (record,) = [record for record in caplog.records if record.name == "farthing.call"]
    assert record.__dict__["request_id"] == headers["x-farthing-request-id"]
    assert b"canary" not in body
