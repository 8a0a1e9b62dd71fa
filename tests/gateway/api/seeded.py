"""A gateway in which there is one of everything that the management API shows, and every one of its answers."""

from __future__ import annotations

import json
import time
from typing import Any
from urllib.parse import quote

from keys.ids import new_id
from ledger.records import Ask, Facts, Recover
from tests.gateway.stripe.said import event, signed
from tests.harness import MASTER, Running

HOOK = "https://example.com/hooks/a-long-secret"
INBOUND = "/v1/inbound/stripe"
UNUSED = event("customer.created", {"id": "cus_1", "object": "customer"}, 1)


class Seeded:
    """What was made, and how its ids stand in the paths."""

    def __init__(self, farthing: Running) -> None:
        self.farthing = farthing
        self.ids: dict[str, str] = {}
        self.now_ms = time.time_ns() // 1_000_000

    async def seed(self) -> None:
        """Make one of everything."""
        farthing, api = self.farthing, self.farthing.api
        plan = (await api("POST", "/v1/plans", {"markup_percent": "25", "limits": [{"unit": "requests", "max": 99}]}))[
            1
        ]
        limits = [
            {"unit": "micros", "max": 9_000, "window": "day", "per": "end_user", "timezone": "Europe/London"},
            {"unit": "tokens", "max": 10**6, "window": "month", "match": {"model": "gpt-4o*"}, "action": "warn"},
        ]
        self.key = await farthing.mint(
            livemode=False,
            plan=plan["id"],
            limits=limits,
            max_spend_usd="1",
            reset="month",
            metadata={"team": "red"},
            loop_guard={"max_identical": 50, "window_seconds": 60},
        )
        chat = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 9}
        about = {"x-end-user-id": "ann", "x-farthing-metadata": '{"team": "red"}'}
        assert (await farthing.call(self.key["secret"], chat, headers=about))[0] == 200
        assert (await farthing.call(self.key["secret"], chat, headers={"x-farthing-max-cost-usd": "0"}))[0] == 402
        await farthing.quiet()
        hook = (await api("POST", "/v1/hooks", {"kind": "webhook", "url": HOOK}))[1]
        await api("PATCH", f"/v1/hooks/{hook['id']}", {"status": "disabled"})
        sent = (await api("POST", f"/v1/hooks/{hook['id']}/test"))[1]
        targets = [{"provider": "openai", "model": "gpt-4o-mini"}, {"provider": "openai", "model": "gpt-4o"}]
        route = (await api("POST", "/v1/routes", {"name": "seeded", "targets": targets}))[1]
        self.ids |= {
            "/v1/routes": route["id"],
            "/v1/keys": self.key["id"],
            "/v1/plans": plan["id"],
            "/v1/end_users": "ann",
            "/v1/hooks": hook["id"],
            "/v1/deliveries": sent["id"],
            "/v1/reservations": await self.reserved(),
            "/v1/holds": await self.lost(),
        }

    async def reserved(self) -> str:
        """A new reservation's id."""
        key = await self.farthing.mint(livemode=False)
        body = {"amount": 5, "subject": {"key_id": key["id"]}}
        return str((await self.farthing.api("POST", "/v1/reservations", body))[1]["id"])

    async def lost(self) -> str:
        """The id of a new hold whose end nobody saw."""
        ledger = self.farthing.gateway.ledger
        root = await ledger.accounts.root()
        assert root is not None
        key = await ledger.accounts.get(root, self.key["id"])
        ask = Ask(
            id=f"lost{time.time_ns()}", account_id=key.id, facts=Facts(model="m"), owner="nobody", fixed_picos=5 * 10**6
        )
        await ledger.calls.hold(ask)
        await ledger._writer.submit(Recover(id=ask.id))
        return f"hold_{ask.id}"

    async def running(self) -> str:
        """The id of a run that nobody has ended."""
        ledger, now_ms = self.farthing.gateway.ledger, time.time_ns() // 1_000_000
        root = await ledger.accounts.root()
        assert root is not None
        key = await ledger.accounts.get(root, self.key["id"])
        return (await ledger.runs.open(key.id, new_id("run", now_ms), new_id("lim", now_ms), None))[0]

    def secret(self, template: str) -> str:
        """A key that may ask for it: the master key, but for what makes calls."""
        return str(self.key["secret"]) if template.startswith("/v1/pipelines/") else MASTER

    async def path(self, template: str) -> str:
        """A path with an id in it that there is."""
        root, _, rest = template.partition("/{id}")
        if template == root:
            return template
        if root == "/v1/reservations":
            found = await self.reserved()
        elif root == "/v1/pipelines/runs":
            found = await self.running()
        elif root == "/v1/holds":
            found = await self.lost()
        else:
            found = self.ids[root]
        return f"{root}/{quote(found)}{rest}"

    def headers(self, template: str) -> dict[str, str]:
        """What it needs beside a key."""
        if template != INBOUND:
            return {}
        return {"stripe-signature": signed(json.dumps(UNUSED).encode(), time.time_ns() // 10**9)}

    def query(self, method: str, template: str) -> list[str]:
        """Queries that are worth asking."""
        if template == "/v1/usage":
            span = f"?from_ms=0&to_ms={self.now_ms + 10**8}&livemode=false"
            return [span, f"{span}&group_by=day,end_user,model,tag:team&timezone=Europe/London", f"{span}&format=csv"]
        if (method, template) == ("GET", "/v1/events"):
            return ["?livemode=false", "?livemode=false&format=csv", "?livemode=false&format=jsonl"]
        if template == "/v1/prices":
            return ["?limit=100", "?limit=100&provider=deepseek", "?limit=100&q=claude"]
        return [f"?key_id={self.ids['/v1/keys']}"] if template.startswith("/v1/end_users") else [""]

    def body(self, method: str, template: str, example: Any) -> Any:
        """A body that makes sense here."""
        if (method, template) == ("POST", "/v1/events"):
            return example | {"timestamp_ms": self.now_ms, "subject": {"key_id": self.key["id"], "end_user": "ann"}}
        if template == "/v1/portal_sessions":
            return example | {"key_id": self.key["id"], "end_user": "ann"}
        if template in ("/v1/reservations", "/v1/check"):
            return {"amount": 5000, "subject": {"key_id": self.key["id"], "end_user": "ann"}}
        if template == INBOUND:
            return UNUSED
        if template == "/v1/keys/{id}/credits":
            return example | {"amount_usd": "0.25"}
        return example
