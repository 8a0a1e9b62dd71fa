"""Calls of a known size, and what their refusals must look like."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tests.harness import Running

MODEL = "gpt-4o-mini"
INPUT_PICOS, OUTPUT_PICOS = 150_000, 600_000  # its prices, per token
HEADERS = {"end_user": "x-end-user-id", "run": "x-farthing-run-id"}


def chat(output: int | None = 20, **more: Any) -> dict[str, Any]:
    """A chat request that declares this maximum."""
    declared = {} if output is None else {"max_tokens": output}
    return {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]} | declared | more


async def call(
    farthing: Running,
    secret: str,
    body: Any = None,
    *,
    sim: str = "",
    path: str = "/v1/chat/completions",
    **headers: str,
) -> tuple[int, dict[str, str], Any]:
    """One call: status, headers, and the decoded answer (its bytes where it is a stream).

    Headers are named with underscores: `x_end_user_id="ann"`.
    """
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if sim:
        sent["x-farthing-sim"] = sim
    status, answered, raw = await farthing.call(secret, chat() if body is None else body, path, sent)
    is_json = answered.get("content-type", "").startswith("application/json")
    return status, answered, json.loads(raw) if is_json else raw


def refusal(
    status: int, headers: dict[str, str], body: Any, *, unit: str, over_cap_status: int = 402
) -> dict[str, Any]:
    """What a refusal says, after everything that every refusal must be has been checked."""
    error = body["error"]
    farthing: dict[str, Any] = error["farthing"]
    assert farthing["unit"] == unit
    assert farthing["request_id"] == headers["x-farthing-request-id"]
    assert farthing["required"] > farthing["remaining"]
    assert farthing["remaining"] == max(farthing["limit"] - farthing["used"] - farthing["held"], 0)
    if unit == "micros":
        assert (status, error["code"], error["type"]) == (over_cap_status, "spend_cap_exceeded", "insufficient_quota")
        assert headers["x-should-retry"] == "false"
        assert "retry-after" not in headers
        for name in ("limit", "held", "remaining", "required"):
            assert farthing[f"{name}_micros"] == farthing[name]
        assert farthing["spent_micros"] == farthing["used"]
    else:
        assert (status, error["code"]) == (429, "rate_limited")
        assert 1 <= int(headers["retry-after"]) <= 60
        assert "limit_micros" not in farthing
    return farthing


async def in_flight(farthing: Running, count: int) -> None:
    """Wait until so many calls are in flight."""
    async with asyncio.timeout(5):
        while len(farthing.gateway.flights) < count:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.01)
