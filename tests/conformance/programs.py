"""The programs that clients run in: one process each, which answers a job a line (see `clients/talk.py`)."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
JAVASCRIPT = ROOT / "tests" / "sdk" / "js"
LINE_BYTES_MAX = 1 << 24  # an outcome, on one line
JOB_TIMEOUT_S = 60.0


def command(client: str) -> list[str]:
    """How a client's program is started."""
    if client == "official":
        return [sys.executable, str(HERE / "clients" / "official.py")]
    if client in ("oldest", "langchain", "llamaindex", "alibaba"):
        python = ROOT / ".venv" / client / "bin" / "python"
        assert python.is_file(), f"{client} is not installed: `make test` does that"
        return [str(python), str(HERE / "clients" / ("official.py" if client == "oldest" else f"{client}.py"))]
    program = {"javascript": "official", "vercel": "vercel"}[client]
    return [shutil.which("node") or "node", str(JAVASCRIPT / f"{program}.mjs")]


class Program:
    """A running program. One job at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, client: str) -> Program:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        quiet = {"ANONYMIZED_TELEMETRY": "false", "LANGCHAIN_TRACING_V2": "false", "PYTHONWARNINGS": "ignore"}
        process = await asyncio.create_subprocess_exec(
            *command(client),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=kept | quiet,
            limit=LINE_BYTES_MAX,
        )
        return cls(process)

    async def ask(self, **job: str) -> dict[str, Any]:
        """The outcome of one job."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job).encode() + b"\n")
        async with asyncio.timeout(JOB_TIMEOUT_S):
            await self._process.stdin.drain()
            line = await self._process.stdout.readline()
        assert line, f"the program ended: {job['provider']} {job['operation']}"
        outcome: dict[str, Any] = json.loads(line)
        return outcome

    async def stop(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            async with asyncio.timeout(10):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
