"""Instructions per call in user space, thread by thread, and beside another commit's and nginx's in the same run.

One kept-alive connection sends one call after the other: a chat completion of 1.2 KB, answered whole, and the same
streamed as 32 events that come apart. So each call pays for its commits alone, and nothing depends on who came first.
Farthing runs as it does elsewhere in the benchmark: a live key with a cap, a durable SQLite file, every call metered.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from scripts.bench import callgrind, contestants, upstream
from scripts.bench.callgrind import Count, Counted
from scripts.bench.contestants import NOBODY, ROOT, Gateway, Nginx, ask, free_port, stopping, wait_ready
from scripts.bench.machine import LOAD_CORE, Process
from scripts.bench.report import Column, Row
from scripts.bench.traffic import FAST, PATH, SPACED, long_body

TITLE = "Thousands of instructions per call in user space (callgrind): one connection, SQLite, medians"
COLUMNS: tuple[Column, ...] = tuple(
    (f"{kind}.{key}", heading.format(kind), form)
    for kind in ("full", "streamed")
    for key, heading, form in (
        ("all", "{}: all", ",.1f"),
        ("loop", "loop", ",.1f"),
        ("ledger", "ledger", ",.1f"),
        ("others", "others", ",.1f"),
        ("spread", "spread %", ".2f"),
        ("ratio", "of the other", ".3f"),
        ("of_nginx", "of nginx", ".1f"),
    )
)
COLUMNS = (("name", "commit", "s"), *COLUMNS)

EVENTS = 32  # of a stream, as the client sees them
CALLS = {"full": 120, "streamed": 12}  # of one round
WARM_UP = {"full": 60, "streamed": 8}  # not counted; as many again when counting has begun
TIMEOUT_S = 60.0
IDLE_S = 5.0  # a connection that has rested longer may be closed by the other side
THREADS = ("loop", "ledger", "others")


class Lane:
    """One gateway that is counted, and the connection on which it is called."""

    def __init__(self, name: str, counted: Counted, gateway: Gateway) -> None:
        self.name = name
        self.counted = counted
        self.figures: dict[str, list[dict[str, float]]] = {kind: [] for kind in CALLS}
        self._requests = {kind: _request(gateway, kind) for kind in CALLS}
        self._address = "127.0.0.1", gateway.port
        self._socket = socket.create_connection(self._address, timeout=TIMEOUT_S)
        self._called_at = time.monotonic()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def call(self, kind: str, times: int) -> None:
        """Call it so often, one after the other. Raises RuntimeError for an answer that is none."""
        if time.monotonic() - self._called_at > IDLE_S:
            self._socket.close()
            self._socket = socket.create_connection(self._address, timeout=TIMEOUT_S)
        for _ in range(times):
            self._socket.sendall(self._requests[kind])
            answer = b""
            while not _whole(answer):
                piece = self._socket.recv(65536)
                if not piece:
                    raise RuntimeError(f"{self.name} hung up after {answer[:300]!r}")
                answer += piece
            if not answer.startswith(b"HTTP/1.1 200 "):
                raise RuntimeError(f"{self.name} answered {answer[:300]!r}")
        self._called_at = time.monotonic()

    def measure(self, kind: str) -> None:
        """One round. The others have had theirs, so the connection may be a new one: its first call is not counted."""
        self.call(kind, 1)
        self.counted.take()
        self.call(kind, CALLS[kind])
        self.figures[kind].append(per_call(self.counted.take(), CALLS[kind]))


def measure(*, rounds: int, against: str | None, heard: bool, directory: Path) -> tuple[list[Row], list[str]]:
    """A row for this tree, one for the commit `against`, one for nginx; and what there is to say about them.

    With `heard`, the row beside this tree is the tree itself, its key being listened to by a hook.

    `directory` is for everybody's files. Raises SystemExit where nothing can be counted, or the commit is unknown.
    """
    if (reason := callgrind.missing()) is not None:
        raise SystemExit(reason)
    notes = [f"{callgrind.version()}; calls of a round {CALLS}, rounds {rounds}; the kernel's work is not counted"]
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(_upstream(directory, notes))
        lanes = [stack.enter_context(_farthing(_name(ROOT), ROOT, port, directory / "this"))]
        if against is not None:
            tree = stack.enter_context(checked_out(against, directory / "tree"))
            lanes.append(stack.enter_context(_farthing(against, tree, port, directory / "other")))
        if heard:
            name = f"{_name(ROOT)}, heard"
            lanes.insert(0, stack.enter_context(_farthing(name, ROOT, port, directory / "heard", heard=True)))
        if (reason := Nginx().missing()) is None:
            lanes.append(stack.enter_context(_nginx(port, directory / "nginx")))
        else:
            notes.append(f"nginx: {reason}; skipped")
        for lane in lanes:
            for kind, times in WARM_UP.items():
                lane.call(kind, times)
            lane.counted.begin()
            for kind, times in WARM_UP.items():
                lane.call(kind, times)
        for turn in range(rounds):
            for kind in CALLS:
                for lane in lanes if turn % 2 == 0 else reversed(lanes):
                    lane.measure(kind)
            print(f"round {turn + 1}/{rounds}", flush=True)
        return summarise([(lane.name, lane.figures) for lane in lanes], compared=against is not None or heard), notes


def per_call(counts: Sequence[Count], calls: int) -> dict[str, float]:
    """Thousands of instructions per call: `loop` is the program's first thread, `ledger` those that run SQLite."""
    sums = dict.fromkeys(THREADS, 0)
    for count in counts:
        sqlite = any("sqlite3" in Path(name).name for name in count.objects)
        sums["loop" if count.thread == 1 else "ledger" if sqlite else "others"] += count.instructions
    figures = {name: total / calls / 1000 for name, total in sums.items()}
    return figures | {"all": sum(figures.values())}


def summarise(lanes: Sequence[tuple[str, dict[str, list[dict[str, float]]]]], *, compared: bool) -> list[Row]:
    """Medians over the rounds, the spread of each sum, this tree beside the other commit, and beside nginx."""
    rows: list[Row] = []
    for name, figures in lanes:
        row: Row = {"name": name}
        for kind, rounds in figures.items():
            for key in ("all", *THREADS):
                row[f"{kind}.{key}"] = statistics.median(each[key] for each in rounds)
            sums = [each["all"] for each in rounds]
            row[f"{kind}.spread"] = 100 * (max(sums) - min(sums)) / statistics.median(sums)
        rows.append(row)
    nginx = next((row for row in rows if row["name"] == "nginx"), None)
    for kind in CALLS:
        if compared:
            rows[0][f"{kind}.ratio"] = _number(rows[0], kind) / _number(rows[1], kind)
        for row in rows:
            if nginx is not None and row is not nginx:
                row[f"{kind}.of_nginx"] = _number(row, kind) / _number(nginx, kind)
    return rows


def _number(row: Row, kind: str) -> float:
    value = row[f"{kind}.all"]
    assert isinstance(value, int | float)
    return value


@contextlib.contextmanager
def checked_out(revision: str, directory: Path) -> Iterator[Path]:
    """Another commit's tree, for as long as the block runs. Raises SystemExit if there is none of that name."""
    git = ["git", "-C", str(ROOT)]
    added = subprocess.run(
        [*git, "worktree", "add", "--detach", str(directory), revision], capture_output=True, text=True, check=False
    )
    if added.returncode:
        raise SystemExit(f"{revision} cannot be checked out: {added.stderr.strip()}")
    try:
        yield directory
    finally:
        subprocess.run([*git, "worktree", "remove", "--force", str(directory)], check=True, capture_output=True)


def _name(tree: Path) -> str:
    shown = subprocess.run(
        ["git", "-C", str(tree), "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return shown.stdout.strip() or "this tree"


@contextlib.contextmanager
def _upstream(directory: Path, notes: list[str]) -> Iterator[int]:
    port = free_port()
    # Role, finish and [DONE] stand beside the chunks of content.
    command, note = upstream.command(port, directory, chunks=EVENTS - 3)
    if note:
        notes.append(note)
    process = Process(command, core=LOAD_CORE, log=directory / "upstream.log", cwd=ROOT)
    with stopping(process):
        wait_ready(process, lambda: contestants.call(port, NOBODY))
        yield port


@contextlib.contextmanager
def _farthing(name: str, tree: Path, upstream_port: int, directory: Path, *, heard: bool = False) -> Iterator[Lane]:
    directory.mkdir()
    port = free_port()
    environment = contestants.farthing_environment(directory / "farthing.db", port, upstream_port)
    environment |= {"PYTHONPATH": str(tree), "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    program = [sys.executable, "-c", "import sys; from gateway.cli import main; sys.exit(main())", "serve"]
    counted = Counted(program, directory=directory, environment=environment)
    with stopping(counted.process):
        master = environment["FARTHING_MASTER_KEY"]
        wait_ready(counted.process, lambda: ask(port, "GET", "/readyz", master), TIMEOUT_S)
        secret = ask(port, "POST", "/v1/keys", master, {"name": "bench", "max_spend_usd": 100_000})["secret"]
        if heard:  # of a cap that is far away, so that nothing is told
            ask(port, "POST", "/v1/hooks", master, {"kind": "webhook", "url": "https://example.com/", "events": ["*"]})
        with contextlib.closing(Lane(name, counted, Gateway(port, counted.process, secret))) as lane:
            yield lane


@contextlib.contextmanager
def _nginx(upstream_port: int, directory: Path) -> Iterator[Lane]:
    directory.mkdir()
    port = free_port()
    configuration = contestants.nginx_configuration(port, upstream_port, directory)
    program = [str(shutil.which("nginx")), "-p", str(directory), "-c", str(configuration)]
    # Its one worker would be a process of its own, which nobody counts.
    program += ["-e", str(directory / "error.log"), "-g", "master_process off;"]
    counted = Counted(program, directory=directory, environment=dict(os.environ))
    with stopping(counted.process):
        wait_ready(counted.process, lambda: contestants.call(port, NOBODY), TIMEOUT_S)
        with contextlib.closing(Lane("nginx", counted, Gateway(port, counted.process, NOBODY))) as lane:
            yield lane


def _request(gateway: Gateway, kind: str) -> bytes:
    body = long_body(SPACED if kind == "streamed" else FAST, stream=kind == "streamed")
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1:{gateway.port}\r\nAccept: application/json\r\n"
        "Accept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\nContent-Type: application/json\r\n"
        f"User-Agent: OpenAI/Python 3.54.0\r\nAuthorization: Bearer {gateway.secret}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _whole(answer: bytes) -> bool:
    """Whether an answer is here to its last byte, by either framing."""
    head, end, body = answer.partition(b"\r\n\r\n")
    if not end:
        return False
    if b"\r\ntransfer-encoding: chunked" in head.lower():
        return body.endswith(b"\r\n0\r\n\r\n")
    length = head.lower().partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
    return len(body) >= int(length)
