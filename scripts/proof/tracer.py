"""strace as a saboteur: a system call of a running gateway fails or kills it, with no code in the gateway for that."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import AsyncIterator
from functools import cache

ATTACH_S = 30.0


class Impossible(Exception):
    """What a fault needs is not on this machine; the message says what."""


@contextlib.asynccontextmanager
async def injected(pid: int, calls: str, what: str, when: str = "1+") -> AsyncIterator[None]:
    """Within the block these calls do `what` (as in strace's `inject=`), from the `when`-th of each thread on.

    Raises:
        Impossible: It is not possible on this machine.
    """
    program = _strace()
    running = await asyncio.create_subprocess_exec(
        program, "-f", "-o", "/dev/null", "-e", f"trace={calls}", "-e", f"inject={calls}:{what}:when={when}",
        "-p", str(pid), stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert running.stderr is not None
    try:
        async with asyncio.timeout(ATTACH_S):
            while b"attached" not in (line := await running.stderr.readline()):
                if not line:
                    raise Impossible("strace may not trace here")
                if b"not permitted" in line:
                    raise Impossible("strace may not trace here: " + line.decode().strip())
        await asyncio.sleep(0.05)  # for the other threads
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(running.pid, signal.SIGINT)
        await running.communicate()


@cache
def _strace() -> str:
    found = shutil.which("strace")
    if found is None:
        raise Impossible("strace is not installed")
    return found
