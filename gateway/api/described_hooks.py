"""The part of `gateway.api.described` that is about hooks and what is delivered to them."""

from __future__ import annotations

from gateway.api import shapes
from gateway.api.entry import AFTER, LIMIT, Entry, Param
from gateway.api.hooks import HookPatch, HookSpec, Overlap, Span

MANAGES = ("master", "team")
_CLOSED = ("key_revoked", "key_disabled", "key_expired")

HOOKS: dict[tuple[str, str], Entry] = {
    ("POST", "/v1/hooks"): Entry(
        name="makeHook",
        summary="Have somebody told. A webhook's secret is in the answer, once.",
        body=HookSpec,
        example={"kind": "webhook", "url": "https://example.com/farthing", "events": ["limit.*"]},
        answers=(shapes.HookWithSecret,),
        statuses=(201,),
        idempotent=True,
        makes=True,
        scopes=MANAGES,
        codes=("not_found", "too_many_hooks", *_CLOSED),
    ),
    ("GET", "/v1/hooks"): Entry(
        name="listHooks",
        summary="The hooks of the caller's subtree.",
        answers=(shapes.Hook,),
        listed=True,
        query=(LIMIT, AFTER),
        scopes=MANAGES,
        codes=("not_found",),
    ),
    ("GET", "/v1/hooks/{id}"): Entry(name="getHook", summary="One hook.", answers=(shapes.Hook,), scopes=MANAGES),
    ("PATCH", "/v1/hooks/{id}"): Entry(
        name="changeHook",
        summary="Change a hook, or set it to work again.",
        body=HookPatch,
        example={"events": ["key.*"], "status": "active"},
        answers=(shapes.Hook,),
        idempotent=True,
        scopes=MANAGES,
    ),
    ("DELETE", "/v1/hooks/{id}"): Entry(
        name="deleteHook",
        summary="Remove a hook, with all that was to go to it.",
        answers=(shapes.DeletedHook,),
        idempotent=True,
        scopes=MANAGES,
    ),
    ("POST", "/v1/hooks/{id}/rotate"): Entry(
        name="rotateHook",
        summary="A webhook's new secret, once; both sign while they overlap.",
        body=Overlap,
        example={"overlap_seconds": 3600},
        answers=(shapes.HookWithSecret,),
        idempotent=True,
        makes=True,
        scopes=MANAGES,
    ),
    ("POST", "/v1/hooks/{id}/test"): Entry(
        name="testHook",
        summary="Send a hook a message, whatever it listens to.",
        answers=(shapes.Delivery,),
        statuses=(202,),
        idempotent=True,
        makes=True,
        scopes=MANAGES,
    ),
    ("GET", "/v1/hooks/{id}/deliveries"): Entry(
        name="listDeliveries",
        summary="What went, or is to go, to a hook; newest first.",
        answers=(shapes.Delivery,),
        listed=True,
        query=(LIMIT, AFTER, Param("state", {"enum": ["pending", "delivered", "dead"]}, "Only those.")),
        scopes=MANAGES,
    ),
    ("POST", "/v1/hooks/{id}/replay"): Entry(
        name="replayHook",
        summary="Send again what was written for a hook in a span of time.",
        body=Span,
        example={"from_ms": 1_764_000_000_000, "to_ms": 1_764_003_600_000},
        answers=(shapes.Replay,),
        statuses=(202,),
        idempotent=True,
        scopes=MANAGES,
    ),
    ("GET", "/v1/deliveries/{id}"): Entry(
        name="getDelivery", summary="One delivery.", answers=(shapes.Delivery,), scopes=MANAGES
    ),
    ("POST", "/v1/deliveries/{id}/retry"): Entry(
        name="retryDelivery",
        summary="Send it again now, under the same id and in the same bytes.",
        answers=(shapes.Delivery,),
        statuses=(202,),
        idempotent=True,
        scopes=MANAGES,
    ),
}
