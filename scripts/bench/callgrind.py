"""A program under valgrind's callgrind: what it executes in user space, instruction by instruction, thread by thread.

Knows nothing of what the program does. A count has no noise of the machine in it: other load makes the program slower,
not longer. What the kernel does for it is not counted.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts.bench.machine import GATEWAY_CORE, Process

_TOOLS = ("valgrind", "vgdb")
_SUMMARY = re.compile(r"^(?:summary|totals): (\d+)$", re.MULTILINE)
_EVENTS = re.compile(r"^events: (.*)$", re.MULTILINE)
_THREAD = re.compile(r"^thread: (\d+)$", re.MULTILINE)
_OBJECT = re.compile(r"^c?ob=(?:\(\d+\) )?(\S.*)$", re.MULTILINE)
CONTROL_S = 60.0


class Unreadable(Exception):
    """A file is not what callgrind writes."""


class Count:
    """What one thread executed: `instructions`, and the programs and libraries (`objects`, paths) it did so in."""

    def __init__(self, thread: int, instructions: int, objects: frozenset[str]) -> None:
        self.thread = thread
        self.instructions = instructions
        self.objects = objects


def missing() -> str | None:
    """Why nothing can be counted here; None if it can."""
    absent = [tool for tool in _TOOLS if shutil.which(tool) is None]
    return f"{' and '.join(absent)} not found: install valgrind (apt-get install valgrind)" if absent else None


def version() -> str:
    """What valgrind calls itself."""
    shown = subprocess.run(["valgrind", "--version"], capture_output=True, text=True, check=False)
    return shown.stdout.strip()


def read(text: str) -> Count:
    """One thread's file. Raises Unreadable: a file without a count is not a count of nothing."""
    events, thread, summary = _EVENTS.search(text), _THREAD.search(text), _SUMMARY.search(text)
    if events is None or events[1].split() != ["Ir"]:
        raise Unreadable(f"no count of instructions alone: {text[:200]!r}")
    if thread is None or summary is None:
        raise Unreadable(f"no thread, or no sum: {text[:200]!r}")
    return Count(int(thread[1]), int(summary[1]), frozenset(_OBJECT.findall(text)))


class Counted:
    """A program that is counted once `begin` is called."""

    def __init__(
        self, command: Sequence[str], *, directory: Path, environment: Mapping[str, str], core: int = GATEWAY_CORE
    ) -> None:
        self._directory = directory
        options = ["--tool=callgrind", "--instr-atstart=no", "--separate-threads=yes"]
        self.process = Process(
            ["valgrind", "-q", *options, f"--callgrind-out-file={directory / 'counts'}", *command],
            core=core,
            log=directory / "counted.log",
            environment=dict(environment),
            cwd=directory,
        )

    def begin(self) -> None:
        """Count from now on. The program becomes some fifty times slower."""
        self._control("instrumentation", "on")

    def take(self) -> list[Count]:
        """What each thread executed since it was asked last; the counters begin anew. Raises Unreadable."""
        before = set(self._directory.glob("counts.*"))
        self._control("dump")
        new = sorted(set(self._directory.glob("counts.*")) - before)
        counts = [read(path.read_text(errors="replace")) for path in new]
        for path in new:
            path.unlink()
        if not counts:
            raise Unreadable("callgrind wrote nothing")
        return counts

    def _control(self, *words: str) -> None:
        subprocess.run(
            ["vgdb", f"--pid={self.process.pid}", "--wait=5", *words],
            check=True,
            capture_output=True,
            timeout=CONTROL_S,
        )
