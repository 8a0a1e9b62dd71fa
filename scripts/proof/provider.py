"""The provider in a process of its own, and the invoice that it keeps there: the witness.

Promises: every request that arrives is a line before it is answered, every answer a line at its end, with what was
billed and where its bytes stand; both files are only ever appended to. What is to go wrong with an answer stands in
the call's mark (`mark|faults`), so that nobody has to talk to this process. Knows nothing of Farthing's books.

    python -m scripts.proof.provider DIRECTORY
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import uvloop

from providers.simulator import Cut, Faults, Pause
from providers.simulator.answers import Answer, Step
from tests.faults.support import seen_mark, witness_picos
from tests.upstream import Line, Seen, Upstream

INVOICE, BODIES = "invoice.jsonl", "bodies.bin"
START_S = 120.0  # on a machine that is busy with other things
SEEN_MAX = 100  # requests kept in memory; the files have all of them


class Provider(Upstream):
    """The upstream under orders by mark, writing its two files."""

    def __init__(self, place: Path) -> None:
        super().__init__(requests_max=SEEN_MAX)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._invoice = os.open(place / INVOICE, flags, 0o600)
        self._bodies = os.open(place / BODIES, flags, 0o600)
        self._marks: dict[int, tuple[str, bytearray]] = {}

    def _faults(self, seen: Seen, model: str) -> Faults:
        faults = seen_mark(seen).partition("|")[2]
        only, at, rest = faults.partition("@")  # "gpt-4o-mini@status=503": that model's alone
        if at:
            faults = rest if only == model else ""
        return Faults.parse(faults)

    def receive(self, seen: Seen) -> tuple[int, str, Answer]:
        """See `Upstream`."""
        number, model, made = super().receive(seen)
        mark, sent = seen_mark(seen).partition("|")[0], bytearray()
        self._marks[number] = mark, sent
        self._note({"mark": mark, "number": number, "path": seen.path, "model": model})
        return number, model, Answer(
            status=made.status, headers=made.headers, steps=_recorded(made.steps, sent), billed=made.billed
        )  # fmt: skip

    def bill(self, line: Line) -> None:
        """See `Upstream`."""
        super().bill(line)
        mark, sent = self._marks.pop(line.number)
        at = os.lseek(self._bodies, 0, os.SEEK_END)
        os.write(self._bodies, sent)
        self._note({"mark": mark, "at": at, "bytes": len(sent), "line": msgspec.to_builtins(line)})

    def _note(self, row: dict[str, object]) -> None:
        os.write(self._invoice, json.dumps(row).encode() + b"\n")


def _recorded(steps: Iterator[Step], sent: bytearray) -> Iterator[Step]:
    for step in steps:
        if not isinstance(step, Pause | Cut):
            sent.extend(step)
        yield step


class Bill(msgspec.Struct, frozen=True):
    """What the witness says of one call. `at` and `size`: where the answer's bytes stand in its file."""

    line: Line
    at: int
    size: int

    @property
    def picos(self) -> int:
        """What it comes to at the catalogue's price."""
        return witness_picos(self.line)


class Witness:
    """The other side's reading of the files: what arrived, how often, and what it cost."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._read = 0
        self.arrived: dict[str, int] = {}
        self.asked: dict[tuple[str, str], int] = {}  # the same by mark and model
        self.bills: dict[str, list[Bill]] = {}

    def read(self) -> None:
        """Take in what has been written since."""
        with (self._place / INVOICE).open("rb") as file:
            file.seek(self._read)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        for row in map(json.loads, whole.splitlines()):
            if "line" in row:
                bill = Bill(msgspec.convert(row["line"], Line), row["at"], row["bytes"])
                self.bills.setdefault(row["mark"], []).append(bill)
            else:
                self.arrived[row["mark"]] = self.arrived.get(row["mark"], 0) + 1
                asked = row["mark"], row["model"]
                self.asked[asked] = self.asked.get(asked, 0) + 1

    def body(self, mark: str) -> bytes:
        """The bytes of the answer."""
        bill = self.bills[mark][-1]
        with (self._place / BODIES).open("rb") as file:
            file.seek(bill.at)
            return file.read(bill.size)

    @property
    def answering(self) -> list[str]:
        """The calls that have arrived and not ended."""
        return [mark for mark, times in self.arrived.items() if times > len(self.bills.get(mark, ()))]


class ProviderProcess:
    """The process, from outside."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._running: asyncio.subprocess.Process | None = None
        self.port = 0

    async def start(self) -> None:
        """Start it and learn its port."""
        self._running = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "scripts.proof.provider", str(self._place),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert self._running.stdout is not None
        self.port = int(await asyncio.wait_for(self._running.stdout.readline(), START_S))

    async def stop(self) -> None:
        """End it."""
        if self._running is not None and self._running.returncode is None:
            self._running.kill()
            await self._running.wait()


async def _serve(place: Path) -> None:
    async with Provider(place) as provider:
        print(provider.url.rpartition(":")[2], flush=True)
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        await reader.read()  # whoever started it is gone


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(_serve(Path(sys.argv[1])))
