"""The machine under the benchmark: cores, versions, and processes that are started, watched and stopped."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import shutil
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import psutil

GATEWAY_CORE, LOAD_CORE = 0, 1
OPEN_FILES = 16_384
STOP_S = 15.0
_PACKAGES = ("uvicorn", "uvloop", "httptools", "aiohttp", "msgspec", "aiosqlite")


def pin(core: int, pid: int = 0) -> None:
    """Keep a process (0 = this one) on one core, where the system can and has so many."""
    if hasattr(os, "sched_setaffinity") and core < (os.cpu_count() or 1):
        os.sched_setaffinity(pid, {core})


def raise_open_files() -> None:
    """A thousand streams are two thousand sockets in the gateway."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def describe() -> dict[str, object]:
    """Date, versions and machine: without them a figure says nothing."""
    import sqlite3

    versions = {name: metadata.version(name) for name in _PACKAGES}
    versions |= {"python": platform.python_version(), "sqlite": sqlite3.sqlite_version}
    for tool in ("wrk", "nginx"):
        versions[tool] = _tool_version(tool)
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "versions": versions,
    }


def _tool_version(tool: str) -> str:
    if shutil.which(tool) is None:
        return "absent"
    shown = subprocess.run([tool, "-v"], capture_output=True, text=True, check=False)
    return (shown.stdout + shown.stderr).splitlines()[0].strip()


def _cpu_model() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


class Process:
    """A program on one core, with its children."""

    def __init__(
        self, command: Sequence[str], *, core: int, log: Path, environment: dict[str, str] | None = None, cwd: Path
    ) -> None:
        with log.open("wb") as output:
            self._popen = subprocess.Popen(
                list(command),
                cwd=cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.log = log
        self._process = psutil.Process(self._popen.pid)
        pin(core, self._popen.pid)  # long before it starts threads or children, which inherit it

    @property
    def pid(self) -> int:
        """Its number, by which other tools find it."""
        return self._popen.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended by itself."""
        return self._popen.poll() is None

    def _family(self) -> list[psutil.Process]:
        return [self._process, *self._process.children(recursive=True)]

    def cpu_s(self) -> float:
        """CPU seconds so far, of all threads, user and system."""
        total = 0.0
        for process in self._family():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def rss_bytes(self) -> int:
        """Resident memory now."""
        total = 0
        for process in self._family():
            with contextlib.suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss
        return total

    def stop(self) -> None:
        """End it in order; if it does not end in time, end it anyway."""
        family = self._family() if self.running else []
        self._popen.terminate()
        try:
            self._popen.wait(STOP_S)
        except subprocess.TimeoutExpired:
            for process in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            self._popen.wait()
