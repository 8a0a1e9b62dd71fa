"""The sender by itself, over an outbox that stands still."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence

import pytest
from aiohttp import web

from gateway.outbox.deliveries import AT_ONCE, DISABLED_AFTER_MS, Deliveries
from ledger.outbox.deliveries import Delivery, Result
from ledger.outbox.hooks import Hook
from ledger.outbox.messages import Told
from ledger.records import LedgerUnavailable
from tests.gateway.outbox.receiver import Receiver, receiving

NOW_MS = 1_796_000_000_000


class Still:
    """An outbox with one hook. What is concluded stands in `results`; what is given up, in `given_up`."""

    def __init__(self, hook: Hook, waiting: list[Delivery]) -> None:
        self.hook = hook
        self.waiting = waiting
        self.results: list[Result] = []
        self.given_up: list[str] = []
        self.failing_ms: int | None = None
        self.away = 0

    async def address(self, compose: Callable[[Told], bytes], new_id: Callable[[], str]) -> bool:
        return bool(self.waiting)

    async def claim(self, limit: int) -> list[Hook]:
        return [self.hook]

    async def release(self, hook: Hook) -> None:
        pass

    async def due(self, hook: Hook, limit: int) -> list[Delivery]:
        found, self.waiting = self.waiting[:limit], self.waiting[limit:]
        return found

    async def conclude(self, hook: Hook, results: Sequence[Result]) -> int | None:
        if self.away:
            self.away -= 1
            raise LedgerUnavailable
        self.results += results
        return None if any(result.delivered for result in results) else self.failing_ms

    async def give_up(self, hook: Hook, reason: str) -> None:
        self.given_up.append(reason)


def hook_to(url: str, kind: str = "webhook") -> Hook:
    return Hook(
        id=1, public_id="hook_1", account_id=1, key_id="key_1", livemode=True, kind=kind, target=url, events=("*",),  # type: ignore[arg-type]
        description="", status="active", reason=None, secrets=(("whsec_" + "AAAA" * 8, None),), created_ms=0,
        failing_ms=None,
    )  # fmt: skip


def delivery(seq: int, account_id: int = 1, tries: int = 0) -> Delivery:
    body = '{"type": "hook.test", "timestamp": "2026-11-27T00:00:00Z", "livemode": true, "data": {"key_id": "key_1"}}'
    return Delivery(
        seq=seq, public_id=f"out_{seq}", hook_id="hook_1", account_id=account_id, type="hook.test", state="pending",
        tries=tries, due_ms=0, created_ms=NOW_MS, ended_ms=None, body=body, attempts=(),
    )  # fmt: skip


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as found:
        yield found


@contextlib.asynccontextmanager
async def sending(outbox: Still) -> AsyncIterator[None]:
    deliveries = Deliveries(outbox, lambda: NOW_MS, private=True)
    task = asyncio.create_task(deliveries.run())
    deliveries.ring()
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not done():  # noqa: ASYNC110 - somebody else does it
            await asyncio.sleep(0.01)


async def test_a_hook_to_which_nothing_got_through_for_three_days_is_given_up(receiver: Receiver) -> None:
    receiver.answer = lambda number: web.Response(status=500)
    for since_ms, given_up in ((NOW_MS - DISABLED_AFTER_MS + 1, []), (NOW_MS - DISABLED_AFTER_MS, ["failing"])):
        outbox = Still(hook_to(receiver.url), [delivery(1)])
        outbox.failing_ms = since_ms
        async with sending(outbox):
            await until(lambda outbox=outbox: bool(outbox.results))  # type: ignore[misc]
            await asyncio.sleep(0.05)
        assert outbox.given_up == given_up


async def test_what_waits_for_its_retry_holds_back_neither_its_key_nor_another(receiver: Receiver) -> None:
    receiver.delay_s = 0.2
    outbox = Still(hook_to(receiver.url), [delivery(1, tries=1), delivery(2), delivery(3, account_id=2), delivery(4)])
    async with sending(outbox):
        await receiver.got(3, timeout_s=0.19)  # the retry, and the first of each key, at once
        await receiver.got(4)
    assert receiver.ids()[-1] == "out_4"
    assert set(receiver.ids()[:3]) == {"out_1", "out_2", "out_3"}


async def test_so_many_are_sent_at_once_and_no_more(receiver: Receiver) -> None:
    receiver.delay_s = 0.3
    outbox = Still(hook_to(receiver.url), [delivery(number, account_id=number) for number in range(AT_ONCE + 2)])
    async with sending(outbox):
        await receiver.got(AT_ONCE)
        await asyncio.sleep(0.1)
        assert len(receiver.messages) == AT_ONCE
        await receiver.got(AT_ONCE + 2)


async def test_a_ledger_that_is_away_costs_a_second_delivery_and_nothing_else(receiver: Receiver) -> None:
    outbox = Still(hook_to(receiver.url), [delivery(1)])
    outbox.away = 1
    async with sending(outbox):
        await receiver.got(1)
        await asyncio.sleep(0.1)
        assert outbox.results == []
        outbox.waiting.append(delivery(1))
        await until(lambda: bool(outbox.results))
    assert receiver.ids() == ["out_1", "out_1"]


@pytest.mark.parametrize("kind", ["webhook", "slack"])
async def test_neither_the_url_nor_the_secret_is_in_the_log(
    receiver: Receiver, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    receiver.answer = lambda number: web.Response(status=410, text="whsec_ told back")
    outbox = Still(hook_to(f"{receiver.url}/T00/B00/hidden", kind), [delivery(1)])
    outbox.failing_ms = 0
    async with sending(outbox):
        await until(lambda: bool(outbox.given_up))
    ours = " ".join(str(record.__dict__) for record in caplog.records if not record.name.startswith("aiohttp"))
    assert "hidden" not in ours
    assert "whsec_" not in ours
    assert "hook_1" in ours


@pytest.mark.parametrize(
    ("url", "error"),
    [("http://127.0.0.1:1/", "unreachable"), ("https://127.0.0.1:{port}/", "tls"), ("http://nowhere.invalid/", "dns")],
)
async def test_what_went_wrong_is_a_word(receiver: Receiver, url: str, error: str) -> None:
    outbox = Still(hook_to(url.format(port=receiver.url.rpartition(":")[2])), [delivery(1)])
    async with sending(outbox):
        await until(lambda: bool(outbox.results))
    assert outbox.results[0].attempt.error in (error, "unreachable" if error == "dns" else error)
    assert outbox.results[0].due_ms is not None
