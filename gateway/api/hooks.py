"""`/v1/hooks` and `/v1/deliveries`: who is told of what happens to a key and to all under it."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import UNSET, Meta, UnsetType
from starlette.responses import Response

from gateway.api.endpoint import Call, choice, json_response, list_response, page_size, replayed
from gateway.outbox import mail, webhook, words
from gateway.outbox.guard import BadTarget, check_url
from gateway.problems import CallError
from keys.ids import new_id
from keys.limits import Invalid
from keys.minting import OVERLAP_S_MAX
from keys.requests import Moment
from ledger.outbox.deliveries import Delivery
from ledger.outbox.hooks import Hook, HookEdit, NewHook

EVENTS_MAX = 50

Events = Annotated[list[Annotated[str, Meta(min_length=1, max_length=100)]], Meta(min_length=1, max_length=EVENTS_MAX)]
Text = Annotated[str, Meta(max_length=500)]


class HookSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A hook to make. `url` for a webhook or Slack, `to` for e-mail."""

    kind: Literal["webhook", "slack", "email"]
    url: str | None = None
    to: str | None = None
    events: Events = msgspec.field(default_factory=lambda: ["*"])
    key_id: str | None = None
    description: Text = ""


class HookPatch(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Changes to a hook. UNSET was not said."""

    url: str | UnsetType = UNSET
    to: str | UnsetType = UNSET
    events: Events | UnsetType = UNSET
    description: Text | UnsetType = UNSET
    status: Literal["active", "disabled"] | UnsetType = UNSET


class Overlap(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """How long the old secret signs too."""

    overlap_seconds: Annotated[int, Meta(ge=0, le=OVERLAP_S_MAX)] = 0


class Span(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """From when to when: `[from_ms, to_ms)`."""

    from_ms: Moment
    to_ms: Moment


def hook_object(hook: Hook) -> dict[str, Any]:
    """A hook as the API shows it. Its URL is a secret: the host and the last four characters are shown."""
    is_mail = hook.kind == "email"
    return {
        "id": hook.public_id,
        "object": "hook",
        "kind": hook.kind,
        "url": None if is_mail else masked(hook.target),
        "to": hook.target if is_mail else None,
        "events": list(hook.events),
        "key_id": hook.key_id,
        "livemode": hook.livemode,
        "description": hook.description,
        "status": hook.status,
        "disabled_reason": hook.reason,
        "failing_since_ms": hook.failing_ms,
        "created_ms": hook.created_ms,
    }


def masked(url: str) -> str:
    """Enough of a URL to know it by."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}/…{url[-4:]}"


def delivery_object(delivery: Delivery) -> dict[str, Any]:
    """A delivery as the API shows it, with the message that is delivered."""
    return {
        "id": delivery.public_id,
        "object": "delivery",
        "hook_id": delivery.hook_id,
        "type": delivery.type,
        "state": delivery.state,
        "tries": delivery.tries,
        "next_try_ms": delivery.due_ms if delivery.state == "pending" else None,
        "created_ms": delivery.created_ms,
        "ended_ms": delivery.ended_ms,
        "attempts": [msgspec.structs.asdict(attempt) for attempt in delivery.attempts],
        "message": msgspec.Raw(delivery.body.encode()),
    }


async def make(call: Call) -> Response:
    """POST /v1/hooks. A webhook's secret is in the answer, once."""
    origin = await call.origin()
    asked = await call.body(HookSpec)
    call.may_make()
    now_ms = call.services.clock_ms()
    new = NewHook(
        public_id=new_id("hook", now_ms),
        kind=asked.kind,
        target=_target(call, asked.kind, asked.url, asked.to),
        events=_events(asked.events),
        description=asked.description,
        secret=webhook.new_secret() if asked.kind == "webhook" else None,
        created_ms=now_ms,
    )
    made, is_replay = await call.services.ledger.hooks.make(
        call.key.account_id, asked.key_id or call.key.public_id, new, origin
    )
    return json_response(_with_secret(made), 201, replayed(is_replay))


async def list_hooks(call: Call) -> Response:
    """GET /v1/hooks."""
    parameters = call.parameters("limit", "starting_after")
    hooks, has_more = await call.services.ledger.hooks.page(
        call.key.account_id, page_size(parameters.get("limit")), parameters.get("starting_after")
    )
    return list_response([hook_object(hook) for hook in hooks], has_more)


async def get(call: Call) -> Response:
    """GET /v1/hooks/{id}."""
    call.parameters()
    return json_response(hook_object(await call.services.ledger.hooks.view(call.key.account_id, _id(call))))


async def change(call: Call) -> Response:
    """PATCH /v1/hooks/{id}."""
    origin = await call.origin()
    asked = await call.body(HookPatch)
    current = await call.services.ledger.hooks.view(call.key.account_id, _id(call))
    target = None
    if asked.url is not UNSET or asked.to is not UNSET:
        url = None if asked.url is UNSET else asked.url
        target = _target(call, current.kind, url, None if asked.to is UNSET else asked.to)
    hook, is_replay = await call.services.ledger.hooks.change(
        call.key.account_id,
        _id(call),
        HookEdit(
            target=target,
            events=None if asked.events is UNSET else _events(asked.events),
            description=None if asked.description is UNSET else asked.description,
            status=None if asked.status is UNSET else asked.status,
        ),
        origin,
    )
    return json_response(hook_object(hook), headers=replayed(is_replay))


async def remove(call: Call) -> Response:
    """DELETE /v1/hooks/{id}, with all that was to go to it."""
    hook, is_replay = await call.services.ledger.hooks.remove(call.key.account_id, _id(call), await call.origin())
    return json_response(hook_object(hook) | {"deleted": True}, headers=replayed(is_replay))


async def rotate(call: Call) -> Response:
    """POST /v1/hooks/{id}/rotate: a new secret, in the answer, once. Both sign while they overlap."""
    origin = await call.origin()
    asked = await call.body(Overlap)
    call.may_make()
    current = await call.services.ledger.hooks.view(call.key.account_id, _id(call))
    if current.kind != "webhook":
        raise Invalid("kind", f"a hook of kind {current.kind} has no secret")
    hook, is_replay = await call.services.ledger.hooks.rotate(
        call.key.account_id, _id(call), webhook.new_secret(), asked.overlap_seconds * 1000, origin
    )
    return json_response(_with_secret(hook), headers=replayed(is_replay))


async def test(call: Call) -> Response:
    """POST /v1/hooks/{id}/test: send it a message, whatever it listens to."""
    origin = await call.origin()
    call.may_make()
    hook = await call.services.ledger.hooks.view(call.key.account_id, _id(call))
    now_ms = call.services.clock_ms()
    body = words.body("hook.test", now_ms, hook.livemode, {"key_id": hook.key_id, "hook_id": hook.public_id})
    sent, is_replay = await call.services.ledger.outbox.send_test(
        call.key.account_id, hook.public_id, new_id("out", now_ms), body, origin
    )
    call.services.ring()
    return json_response(delivery_object(sent), 202, replayed(is_replay))


async def deliveries(call: Call) -> Response:
    """GET /v1/hooks/{id}/deliveries."""
    parameters = call.parameters("limit", "starting_after", "state")
    found, has_more = await call.services.ledger.outbox.deliveries(
        call.key.account_id,
        _id(call),
        state=choice(parameters.get("state"), "state", ("pending", "delivered", "dead")),
        limit=page_size(parameters.get("limit")),
        starting_after=parameters.get("starting_after"),
    )
    return list_response([delivery_object(each) for each in found], has_more)


async def replay(call: Call) -> Response:
    """POST /v1/hooks/{id}/replay: send again what was written for it in a span of time."""
    asked = await call.body(Span)
    if asked.from_ms >= asked.to_ms:
        raise Invalid("to_ms", "must be after from_ms")
    count, is_replay = await call.services.ledger.outbox.replay(
        call.key.account_id, _id(call), asked.from_ms, asked.to_ms, await call.origin()
    )
    call.services.ring()
    return json_response({"object": "replay", "hook_id": _id(call), "deliveries": count}, 202, replayed(is_replay))


async def get_delivery(call: Call) -> Response:
    """GET /v1/deliveries/{id}."""
    call.parameters()
    return json_response(delivery_object(await call.services.ledger.outbox.delivery(call.key.account_id, _id(call))))


async def retry(call: Call) -> Response:
    """POST /v1/deliveries/{id}/retry: send it again now, under the same id and in the same bytes."""
    again, is_replay = await call.services.ledger.outbox.retry(call.key.account_id, _id(call), await call.origin())
    call.services.ring()
    return json_response(delivery_object(again), 202, replayed(is_replay))


def _with_secret(hook: Hook) -> dict[str, Any]:
    return hook_object(hook) | ({"secret": hook.secrets[0][0]} if hook.secrets else {})


def _target(call: Call, kind: str, url: str | None, to: str | None) -> str:
    """Where a hook of this kind leads. Raises Invalid."""
    if kind == "email":
        if url is not None:
            raise Invalid("url", "a hook of kind email has an address: say it in `to`")
        if to is None or not mail.is_address(to):
            raise Invalid("to", "must be one e-mail address, such as ann@example.com")
        if not call.services.sends_mail:
            raise CallError(
                400, "invalid_request", "This gateway sends no mail: FARTHING_SMTP_URL is not set.", param="kind"
            )
        return to
    if to is not None:
        raise Invalid("to", f"a hook of kind {kind} has a URL: say it in `url`")
    try:
        return check_url(url or "", private=call.services.private_hooks)
    except BadTarget as error:
        raise Invalid("url", str(error)) from None


def _events(patterns: list[str]) -> tuple[str, ...]:
    """Which messages a hook wants. Raises Invalid for a pattern that means none."""
    for index, pattern in enumerate(patterns):
        prefix = pattern.removesuffix("*")
        if not any(each.startswith(prefix) if prefix != pattern else each == pattern for each in words.TYPES):
            raise Invalid(f"events[{index}]", f"there is no event {pattern!r}")
    return tuple(dict.fromkeys(patterns))


def _id(call: Call) -> str:
    return str(call.request.path_params["id"])
