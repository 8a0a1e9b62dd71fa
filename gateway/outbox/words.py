"""What a message says: its body, which is the same for every receiver, and a sentence for people.

Pure. No prompt, no completion and no secret is known to whoever writes a message, so none can be in it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from ledger.outbox.messages import Told

TYPES: dict[str, str] = {
    "limit.threshold_crossed": "{who} has used {percent} % of {limit}: {used} of {max}.",
    "limit.reached": "{who} has reached {limit}: {used} of {max}.",
    "key.created": "{who} was minted.",
    "key.updated": "{who} was changed.",
    "key.disabled": "{who} was disabled.",
    "key.revoked": "{who} was revoked.",
    "key.rotated": "{who} got a new secret.",
    "key.expired": "{who} has expired.",
    "plan.updated": "A plan was changed: {plan}.",
    "credits.added": "{who} got a credit of {amount}.",
    "credits.taken_back": "A credit of {who} was taken back: {amount}.",
    "call.unsettled": "Nobody knows what a call of {who} came to: {held} stay held ({event_id}).",
    "call.overrun": "A call of {who} cost {overrun} more than was held ({event_id}).",
    "loop.detected": "{who} sends the same call again and again ({model}).",
    "end_user.first_seen": "A new end user of {who}: {end_user}.",
    "upstream.account_refused": "{provider} refuses the gateway's own account (status {status}).",
    "upstream.down": "{provider} is down: {reason}.",
    "upstream.recovered": "{provider} answers again.",
    "stripe.unmapped_price": "A price at Stripe belongs to no plan: {price}.",
    "stripe.rejected": "Stripe has refused what was sent: {reason}.",
    "hook.disabled": "The hook {hook_id} was disabled: {reason}.",
    "hook.test": "This is a test: whoever reads it hears what happens to {who}.",
}
"""Every type of message, with what it says to people."""

_UNITS = {"micros": "", "tokens": " tokens", "requests": " requests", "seconds": " seconds", "concurrent": " calls"}
_LIMITS = {"micros": "spend cap", "concurrent": "limit of calls at a time"}


def composed(told: Told) -> bytes:
    """The body of a message."""
    data: dict[str, Any] = {
        "key_id": told.key_id,
        "name": told.profile.get("name", ""),
        "external_id": told.profile.get("external_id"),
        "end_user": told.subject if told.subject_kind == "end_user" else None,
        "run_id": told.subject if told.subject_kind == "run" else None,
        "plan": told.plan,
    }
    return body(told.type, told.created_ms, told.livemode, data | told.data)


def body(type_: str, created_ms: int, livemode: bool, data: dict[str, Any]) -> bytes:
    """A message's JSON."""
    moment = datetime.fromtimestamp(created_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return msgspec.json.encode({"type": type_, "timestamp": moment, "livemode": livemode, "data": data})


def sentence(message: bytes) -> str:
    """What a message says, for people."""
    said = msgspec.json.decode(message)
    data: dict[str, Any] = said["data"]
    limit: dict[str, Any] = data.get("limit") or {}
    unit = limit.get("unit", "micros")
    words = {
        "who": _who(data),
        "percent": data.get("percent"),
        "limit": _limit(limit),
        "used": _amount(limit.get("used"), unit),
        "max": _amount(limit.get("max"), unit),
        "plan": data.get("plan_id") or data.get("plan"),
        "amount": _amount(abs(data["amount_micros"]) if "amount_micros" in data else None, "micros"),
        "held": _amount(data.get("held_micros"), "micros"),
        "overrun": _amount(data.get("overrun_micros"), "micros"),
    }
    template = TYPES.get(said["type"], said["type"])
    text = template.format_map(_Words(data | words))
    return text if said["livemode"] else f"[test] {text}"


class _Words(dict[str, Any]):
    """What is not said is left out."""

    def __missing__(self, name: str) -> str:
        return "?"


def _who(data: dict[str, Any]) -> str:
    key = f"{data['name']} ({data['key_id']})" if data.get("name") else data.get("key_id", "?")
    if data.get("end_user") is not None:
        return f"{data['end_user']}, an end user of {key},"
    if data.get("run_id") is not None:
        return f"The run {data['run_id']} of {key}"
    return str(key)


def _limit(limit: dict[str, Any]) -> str:
    unit, window = limit.get("unit", "micros"), limit.get("window", "total")
    name = _LIMITS.get(unit, f"limit of {unit}")
    return f"its {name}" if window == "total" else f"its {name} of the {window}"


def _amount(number: int | None, unit: str) -> str:
    if number is None:
        return "?"
    if unit != "micros":
        return f"{number:,}{_UNITS.get(unit, '')}"
    dollars, micros = divmod(number, 1_000_000)
    return f"${dollars:,}." + (f"{micros:06}".rstrip("0") or "").ljust(2, "0")
