"""Sends what waits in the outbox, for as long as the process lives.

Promises: every message goes out at least once, under an id that never changes; first tries of one key's messages go in
order, and one that waits for its retry holds back no other; a receiver that is slow, away or lying costs nobody else
anything. Calls never wait for any of it. What a gateway does not live to write down is sent again by the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from random import Random
from typing import Protocol

import aiohttp

from gateway.outbox import mail, slack, webhook, words
from gateway.outbox.guard import sockets
from gateway.outbox.outcome import Outcome, due_after_ms
from keys.ids import new_id
from ledger.outbox.deliveries import Attempt, Delivery, Result
from ledger.outbox.hooks import Hook
from ledger.outbox.messages import Told
from ledger.records import LedgerUnavailable

_log = logging.getLogger("farthing.outbox")

POLL_S = 1.0
HOOKS_AT_ONCE = 32  # that one gateway serves at a time
AT_ONCE = 8  # attempts to one hook at a time
FETCHED = 100  # deliveries of one hook in memory
DISABLED_AFTER_MS = 3 * 24 * 3600 * 1000
LOOKS_AWAY_S = 5.0  # after the ledger could not be asked


class Outbox(Protocol):
    """What the ledger does of it."""

    async def address(self, compose: Callable[[Told], bytes], new_id: Callable[[], str]) -> bool:
        """Turn messages into deliveries; whether there is anything that is due."""
        ...

    async def claim(self, limit: int) -> list[Hook]:
        """Hooks with something due, which are ours from now on."""
        ...

    async def release(self, hook: Hook) -> None:
        """Let others serve a hook."""
        ...

    async def due(self, hook: Hook, limit: int) -> list[Delivery]:
        """What is due."""
        ...

    async def conclude(self, hook: Hook, results: Sequence[Result]) -> int | None:
        """Write down what came of it; since when the hook has been failing."""
        ...

    async def give_up(self, hook: Hook, reason: str) -> None:
        """Disable a hook."""
        ...


class Deliveries:
    """The sender. `run` it once for a process."""

    def __init__(
        self,
        outbox: Outbox,
        clock_ms: Callable[[], int],
        *,
        private: bool = False,
        smtp: mail.Server | None = None,
        counted: Callable[[str, str], None] = lambda kind, result: None,
        random: Random | None = None,
    ) -> None:
        self._outbox = outbox
        self._clock_ms = clock_ms
        self._private = private
        self._smtp = smtp
        self._counted = counted
        self._random = random or Random()  # noqa: S311 - for waiting
        self._rung = asyncio.Event()
        self._serving: dict[int, asyncio.Task[None]] = {}
        self._said: dict[int, float] = {}
        self._session: aiohttp.ClientSession

    def ring(self) -> None:
        """There may be something to send: look now."""
        self._rung.set()

    async def run(self) -> None:
        """Send what waits, and what comes, until cancelled."""
        connector = aiohttp.TCPConnector(
            socket_factory=sockets(private=self._private), use_dns_cache=False, force_close=True, limit=0
        )
        async with aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False, auto_decompress=False
        ) as self._session:
            try:
                while True:
                    await self._look()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(POLL_S):
                            await self._rung.wait()
                    self._rung.clear()
            finally:
                for task in self._serving.values():
                    task.cancel()
                await asyncio.gather(*self._serving.values(), return_exceptions=True)

    async def _look(self) -> None:
        try:
            if not await self._outbox.address(words.composed, lambda: new_id("out", self._clock_ms())):
                return
            if (room := HOOKS_AT_ONCE - len(self._serving)) > 0:
                for hook in await self._outbox.claim(room):
                    if hook.id not in self._serving:
                        task = self._serving[hook.id] = asyncio.create_task(self._serve(hook))
                        task.add_done_callback(functools.partial(self._served, hook.id))
        except LedgerUnavailable:
            await asyncio.sleep(LOOKS_AWAY_S)

    def _served(self, hook_id: int, _: asyncio.Task[None]) -> None:
        self._serving.pop(hook_id, None)
        now = time.monotonic()
        self._said = {id_: at for id_, at in self._said.items() if at + slack.PAUSE_S > now}

    async def _serve(self, hook: Hook) -> None:
        """Send all that is due for a hook."""
        with contextlib.suppress(LedgerUnavailable):
            while due := await self._outbox.due(hook, FETCHED):
                if not await (self._to_slack if hook.kind == "slack" else self._one_by_one)(hook, due):
                    return
            await self._outbox.release(hook)

    async def _one_by_one(self, hook: Hook, due: Sequence[Delivery]) -> bool:
        """Send each by itself, several keys' at a time; whether the hook wants more."""
        gate = asyncio.Semaphore(AT_ONCE)
        gone = asyncio.Event()

        async def in_order(line: Iterable[Delivery]) -> None:
            for delivery in line:
                async with gate:
                    if gone.is_set():
                        return
                    outcome, attempt = await self._attempt(self._send(hook, delivery))
                if not await self._conclude(hook, [(delivery, outcome, attempt)]):
                    gone.set()

        await asyncio.gather(*map(in_order, _lines(due)))
        return not gone.is_set()

    async def _to_slack(self, hook: Hook, due: Sequence[Delivery]) -> bool:
        """Send one a second, or, where more than a few wait, all that wait as one."""
        together = slack.TOGETHER_MAX if len(due) >= slack.TOGETHER_FROM else 1
        for start in range(0, len(due), together):
            part = due[start : start + together]
            await asyncio.sleep(self._said.get(hook.id, 0.0) + slack.PAUSE_S - time.monotonic())
            message = slack.rendered([words.sentence(each.body.encode()) for each in part])
            outcome, attempt = await self._attempt(self._post_to_slack(hook, message))
            self._said[hook.id] = time.monotonic()
            if not await self._conclude(hook, [(each, outcome, attempt) for each in part]):
                return False
        return True

    async def _attempt(self, sending: Awaitable[Outcome]) -> tuple[Outcome, Attempt]:
        at_ms, started = self._clock_ms(), time.monotonic()
        outcome = await sending
        took_ms = int((time.monotonic() - started) * 1000)
        return outcome, Attempt(at_ms=at_ms, took_ms=took_ms, status=outcome.status, error=outcome.error)

    async def _send(self, hook: Hook, delivery: Delivery) -> Outcome:
        body = delivery.body.encode()
        now_ms = self._clock_ms()
        if hook.kind == "webhook":
            head = webhook.headers(hook.signing(now_ms), delivery.public_id, now_ms // 1000, body)
            return await webhook.post(self._session, hook.target, head, body, webhook.judged, now_ms / 1000)
        if self._smtp is None:
            return Outcome(error="no_smtp")
        message = mail.composed(
            self._smtp, hook.target, delivery.public_id, words.sentence(body), body, delivery.created_ms
        )
        return await mail.hand_in(self._smtp, message)

    async def _post_to_slack(self, hook: Hook, message: bytes) -> Outcome:
        head = {"content-type": "application/json", "user-agent": "Farthing"}
        return await webhook.post(self._session, hook.target, head, message, slack.judged, self._clock_ms() / 1000)

    async def _conclude(self, hook: Hook, sent: Sequence[tuple[Delivery, Outcome, Attempt]]) -> bool:
        """Write down what came of it; whether the hook is to get more."""
        results = []
        for delivery, outcome, attempt in sent:
            wait_ms = None if outcome.delivered else due_after_ms(delivery.tries + 1, outcome, self._random)
            due_ms = None if wait_ms is None else self._clock_ms() + wait_ms
            results.append(Result(seq=delivery.seq, attempt=attempt, delivered=outcome.delivered, due_ms=due_ms))
            ended = "delivered" if outcome.delivered else "dead" if due_ms is None else "failed"
            self._counted(hook.kind, ended)
            if ended == "dead":
                facts = {"hook": hook.public_id, "delivery": delivery.public_id, "error": outcome.error}
                _log.warning("a message could not be delivered", extra=facts)
        failing_ms = await self._outbox.conclude(hook, results)
        if any(outcome.gone for _, outcome, _ in sent):
            await self._give_up(hook, "gone")
            return False
        if failing_ms is not None and self._clock_ms() - failing_ms >= DISABLED_AFTER_MS:
            await self._give_up(hook, "failing")
            return False
        return True

    async def _give_up(self, hook: Hook, reason: str) -> None:
        _log.error("a hook was disabled", extra={"hook": hook.public_id, "reason": reason})
        await self._outbox.give_up(hook, reason)
        self.ring()


def _lines(due: Sequence[Delivery]) -> list[list[Delivery]]:
    """What must go one after the other: the first tries of a key's messages. A retry waits for nobody."""
    lines: dict[int, list[Delivery]] = {}
    alone = []
    for delivery in due:
        if delivery.tries:
            alone.append([delivery])
        else:
            lines.setdefault(delivery.account_id, []).append(delivery)
    return [*lines.values(), *alone]
