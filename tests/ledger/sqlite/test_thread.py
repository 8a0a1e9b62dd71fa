"""The ledger's thread: in order, one at a time, and whatever comes of it comes back."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref

import pytest

from ledger.sqlite.thread import Worker


async def test_one_thread_does_one_thing_after_the_other() -> None:
    worker, seen = Worker("one"), []
    try:
        done = [worker.do(lambda number: seen.append((number, threading.get_ident())), number) for number in range(50)]
        await asyncio.gather(*done)
        assert [number for number, _ in seen] == list(range(50))
        (thread,) = {thread for _, thread in seen}
        assert thread != threading.get_ident()
    finally:
        worker.end()


async def test_an_exception_is_for_who_waits_and_the_next_thing_is_done() -> None:
    worker = Worker("two")
    try:
        failed, done = worker.do(int, "no number"), worker.do(int, "7")
        with pytest.raises(ValueError, match="no number"):
            await failed
        assert await done == 7
    finally:
        worker.end()


async def test_what_nobody_waits_for_any_more_is_done_all_the_same() -> None:
    """A commit that is under way cannot be called back."""
    worker, seen = Worker("three"), []
    may_go = threading.Event()
    worker.do(may_go.wait)
    given_up = worker.do(seen.append, 1)
    given_up.cancel()
    may_go.set()
    worker.end()
    assert seen == [1]
    await asyncio.sleep(0)
    assert given_up.cancelled()


def test_a_loop_that_is_closed_meanwhile_does_not_end_it() -> None:
    worker = Worker("four")
    may_go = threading.Event()

    async def leave() -> None:
        worker.do(may_go.wait)

    asyncio.run(leave())
    may_go.set()

    async def ask() -> int:
        return await worker.do(int, "7")

    assert asyncio.run(ask()) == 7
    worker.end()


async def test_it_keeps_nothing_alive_while_it_waits() -> None:
    """A batch holds its callers' requests."""

    class Batch:
        pass

    worker, batch = Worker("five"), Batch()
    gone = weakref.ref(batch)
    try:
        await worker.do(id, batch)
        del batch
        for _ in range(200):
            gc.collect()
            if gone() is None:
                break
            await asyncio.sleep(0.01)
        assert gone() is None
    finally:
        worker.end()


def test_one_that_never_did_anything_ends_too() -> None:
    Worker("six").end()
