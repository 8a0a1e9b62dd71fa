"""What leaves the house by itself, as the other rooms see it: who is told, and what waits to be told.

Promises: a message is written with what it tells of, and is there until it was delivered, or could not be.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from ledger import history, settings
from ledger.access import Access
from ledger.engine import Script
from ledger.outbox import deliveries, hooks, messages
from ledger.outbox.deliveries import Delivery, Result
from ledger.outbox.hooks import Hook, HookEdit, NewHook
from ledger.outbox.messages import Told
from ledger.replays import Origin, made_once
from ledger.windows import DAY_MS, HOUR_MS

ALARMS_MAX = 1_000  # troubles that a process remembers to have told of in this hour


class Hooks:
    """What a caller may do with the hooks on its key and on those under it."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def make(self, owner_id: int, key_id: str, new: NewHook, origin: Origin | None) -> tuple[Hook, bool]:
        """Make a hook; whether an earlier request did. Raises NotFound, TooManyHooks, ReplayMismatch."""
        return await self._write("created", origin, lambda touched: hooks.make(owner_id, key_id, new, touched))

    async def view(self, owner_id: int, public_id: str) -> Hook:
        """One hook. Raises NotFound."""
        return await self._access.read(lambda: hooks.view(owner_id, public_id))

    async def page(self, owner_id: int, limit: int, starting_after: str | None) -> tuple[list[Hook], bool]:
        """A page of hooks, newest first, and whether there are more. Raises NotFound."""
        return await self._access.read(lambda: hooks.page(owner_id, limit, starting_after), long=True)

    async def change(self, owner_id: int, public_id: str, edit: HookEdit, origin: Origin | None) -> tuple[Hook, bool]:
        """Change a hook. Raises NotFound, ReplayMismatch."""
        return await self._write(
            "updated",
            origin,
            lambda touched: hooks.change(owner_id, public_id, edit, touched),
            before=lambda: hooks.view(owner_id, public_id),
        )

    async def rotate(
        self, owner_id: int, public_id: str, secret: str, overlap_ms: int, origin: Origin | None
    ) -> tuple[Hook, bool]:
        """Give a hook a new secret. Raises NotFound, ReplayMismatch."""
        now_ms = self._access.clock_ms()
        return await self._write(
            "rotated", origin, lambda touched: hooks.rotate(owner_id, public_id, secret, now_ms + overlap_ms, now_ms)
        )

    async def remove(self, owner_id: int, public_id: str, origin: Origin | None) -> tuple[Hook, bool]:
        """Remove a hook. Raises NotFound, ReplayMismatch."""
        return await self._write("removed", origin, lambda touched: hooks.remove(owner_id, public_id, touched))

    async def _write(
        self,
        type_: str,
        origin: Origin | None,
        script: Callable[[set[int]], Script[Hook]],
        *,
        before: Callable[[], Script[Hook]] | None = None,
    ) -> tuple[Hook, bool]:
        """Make a change, once, and write down who made it."""
        now_ms = self._access.clock_ms()

        def recorded(touched: set[int]) -> Script[Hook]:
            was = None
            if before is not None:
                was = yield from before()
            hook = yield from script(touched)
            old, new = (None if each is None else hooks.shown(each) for each in (was, hook))
            yield from history.record(f"hook.{type_}", hook.account_id, hook.public_id, old, new, origin, now_ms)
            return hook

        return await self._access.write(lambda touched: made_once(origin, now_ms, Hook, lambda: recorded(touched)))


class Outbox:
    """What waits to go out, and what becomes of it. `owner` names this process on its leases."""

    def __init__(self, access: Access, owner: str) -> None:
        self._access = access
        self._owner = owner
        self._alarmed: dict[tuple[str, ...], int] = {}

    def listen(self, ring: Callable[[], None]) -> None:
        """Call this whenever a transaction of this process may have written a message."""
        self._access.writer.told = ring

    async def address(self, compose: Callable[[Told], bytes], new_id: Callable[[], str]) -> bool:
        """Turn messages into deliveries; whether anything may be due for us. Raises LedgerUnavailable."""
        now_ms, shared = self._access.clock_ms(), self._access.engine.shared
        waiting, due = await self._access.read(lambda: deliveries.work(self._owner, now_ms, shared=shared))
        if waiting:
            while await self._access.write(lambda touched: messages.address(compose, new_id, self._access.clock_ms())):
                due = True
        return due

    async def claim(self, limit: int) -> list[Hook]:
        """Hooks with something due, which are ours from now on. Raises LedgerUnavailable."""
        return await self._access.write(
            lambda touched: deliveries.claim(
                self._owner, limit, self._access.clock_ms(), shared=self._access.engine.shared
            )
        )

    async def release(self, hook: Hook) -> None:
        """Let others serve a hook. Raises LedgerUnavailable."""
        await self._access.write(lambda touched: deliveries.release(self._owner, hook.id), alone=False)

    async def due(self, hook: Hook, limit: int) -> list[Delivery]:
        """A hook's deliveries that are due, oldest first; none if it is disabled. Raises LedgerUnavailable."""
        return await self._access.read(lambda: deliveries.due(hook.id, limit, self._access.clock_ms()))

    async def conclude(self, hook: Hook, results: Sequence[Result]) -> int | None:
        """Write down what came of attempts; since when the hook has been failing. Raises LedgerUnavailable."""
        return await self._access.write(
            lambda touched: deliveries.conclude(hook.id, results, self._access.clock_ms()), alone=False
        )

    async def give_up(self, hook: Hook, reason: str) -> None:
        """Disable a hook, and say so. Raises LedgerUnavailable."""
        await self._access.write(lambda touched: deliveries.give_up(hook.id, reason, self._access.clock_ms(), touched))

    async def waiting(self) -> tuple[int, int, int]:
        """How many deliveries are pending and dead, and for how many ms the oldest has been due."""
        return await self._access.read(lambda: deliveries.waiting(self._access.clock_ms()))

    def alarm(self, type_: str, facts: dict[str, Any]) -> None:
        """Tell whoever listens to the first master key of a trouble of the operator's, at most once an hour each.

        Never awaits, never fails: what cannot be written is in the log and the metrics all the same.
        """
        now_ms = self._access.clock_ms()
        hour = now_ms // HOUR_MS
        if self._alarmed.get((type_, *map(str, facts.values()))) == hour:
            return
        self._alarmed[(type_, *map(str, facts.values()))] = hour
        while len(self._alarmed) > ALARMS_MAX:
            del self._alarmed[next(iter(self._alarmed))]
        written = self._access.write(lambda touched: messages.alarm(type_, facts, now_ms), alone=False)
        written.add_done_callback(lambda done: done.cancelled() or done.exception())

    def upstream_turned(self, name: str, why: str) -> None:
        """Tell him that an upstream went down, for this reason, or is well again (""): once for each state.

        Never awaits, never fails. Several gateways see the same: who says it first is who tells.
        """
        type_ = "upstream.down" if why else "upstream.recovered"
        facts = {"provider": name, "upstream": name} | ({"reason": why} if why else {})
        now_ms = self._access.clock_ms()
        written = self._access.write(
            lambda touched: messages.turned(f"upstream:{name}", type_, facts, now_ms), alone=False
        )
        written.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def upstreams_down(self) -> list[str]:
        """Who was said to be down, and not to be well again since. Raises LedgerUnavailable."""
        return await self._access.read(lambda: settings.names("upstream:", "upstream.down"))

    async def tell_expired(self) -> None:
        """Tell whoever listens of keys that have expired. Raises LedgerUnavailable."""
        now_ms = self._access.clock_ms()
        if await self._access.read(lambda: messages.any_expired(now_ms)):
            await self._access.write(lambda touched: messages.tell_expired(now_ms))

    async def drop(self, days: int) -> int:
        """Drop what ended more than so many days ago; how many rows went. Raises LedgerUnavailable."""
        before_ms = self._access.clock_ms() - days * DAY_MS
        count = 0
        while dropped := await self._access.write(lambda touched: deliveries.drop(before_ms)):
            count += dropped
        return count

    async def send_test(
        self, owner_id: int, public_id: str, delivery_id: str, body: bytes, origin: Origin | None = None
    ) -> tuple[Delivery, bool]:
        """Send a hook a message that says only that it hears; whether an earlier request did.

        Raises:
            NotFound, ReplayMismatch: There is no such hook; the earlier request was another one.
        """
        now_ms = self._access.clock_ms()
        return await self._access.write(
            lambda touched: made_once(
                origin,
                now_ms,
                Delivery,
                lambda: deliveries.send_test(owner_id, public_id, delivery_id, body, now_ms),
            )
        )

    async def deliveries(
        self, owner_id: int, public_id: str, *, state: str | None, limit: int, starting_after: str | None
    ) -> tuple[list[Delivery], bool]:
        """A page of a hook's deliveries, newest first, and whether there are more. Raises NotFound."""
        return await self._access.read(
            lambda: deliveries.deliveries(owner_id, public_id, state=state, limit=limit, starting_after=starting_after),
            long=True,
        )

    async def delivery(self, owner_id: int, public_id: str) -> Delivery:
        """One delivery. Raises NotFound."""
        return await self._access.read(lambda: deliveries.delivery(owner_id, public_id))

    async def retry(self, owner_id: int, public_id: str, origin: Origin | None = None) -> tuple[Delivery, bool]:
        """Send a delivery again now; whether an earlier request did. Raises NotFound, ReplayMismatch."""
        now_ms = self._access.clock_ms()

        def again() -> Script[Delivery]:
            found = yield from deliveries.retry(owner_id, public_id, now_ms)
            return msgspec.structs.replace(found, body="")  # nothing but the delivery itself says whom it tells of

        def script() -> Script[tuple[Delivery, bool]]:
            answer, replayed = yield from made_once(origin, now_ms, Delivery, again)
            found = yield from deliveries.delivery(owner_id, public_id)
            return msgspec.structs.replace(answer, body=found.body), replayed

        return await self._access.write(lambda touched: script())

    async def replay(
        self, owner_id: int, public_id: str, from_ms: int, to_ms: int, origin: Origin | None = None
    ) -> tuple[int, bool]:
        """Send again what was written for a hook in `[from_ms, to_ms)`; how many; whether an earlier request did.

        Raises:
            NotFound, ReplayMismatch: There is no such hook; the earlier request was another one.
        """
        now_ms = self._access.clock_ms()
        return await self._access.write(
            lambda touched: made_once(
                origin, now_ms, int, lambda: deliveries.replay(owner_id, public_id, from_ms, to_ms, now_ms)
            )
        )
