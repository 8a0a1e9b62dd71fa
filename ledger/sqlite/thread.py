"""One thread that does one thing after the other, for an event loop that waits for none of them.

Promises: one hop there and one back, and no more around them: `run_in_executor` makes two futures for each hop and
chains them in Python, a quarter of what a lone commit costs. What has been handed over is done, whether or not anybody
waits for it any more. Knows nothing of what it does.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_Job = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]", Callable[..., Any], tuple[Any, ...]]


class Worker:
    """The thread. It begins with the first thing that it is to do; it ends with `end`, or with the process."""

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name=name, daemon=True)

    def do(self, function: Callable[[*Ts], T], *arguments: *Ts) -> asyncio.Future[T]:
        """Have it done; the future, of the running loop, has what comes of it."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        if self._thread.ident is None:
            self._thread.start()
        self._jobs.put((loop, future, function, arguments))
        return future

    def end(self) -> None:
        """Do what was handed over, and end."""
        if self._thread.ident is not None:
            self._jobs.put(None)
            self._thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            loop, future, function, arguments = job
            result, error = None, None
            try:
                result = function(*arguments)
            except BaseException as raised:  # noqa: BLE001 - whatever it is, it is for whoever waits
                error = raised
            with contextlib.suppress(RuntimeError):  # the loop has been closed: nobody waits
                loop.call_soon_threadsafe(_tell, future, result, error)
            del job, future, function, arguments, result, error  # while it waits it keeps nothing alive


def _tell(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return  # given up meanwhile
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
