"""The benchmark's upstream where there is no C compiler: the same answers as `upstream.c`, slower.

python -m scripts.bench.upstream PORT [CHUNKS]
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import cast

import uvloop

from scripts.bench.traffic import CHUNKS, PACES, answers, write_answers

SOURCE = Path(__file__).with_name("upstream.c")
_ANSWERS = answers()


def command(port: int, directory: Path, *, chunks: int = CHUNKS) -> tuple[list[str], str]:
    """How to start an upstream whose streams have so many `chunks` of content, and what there is to say about it.

    "" = it is the fast one.
    """
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        note = "no C compiler: the upstream is Python and may be the bottleneck of `direct` and nginx"
        return [sys.executable, "-m", "scripts.bench.upstream", str(port), str(chunks)], note
    program = directory / "upstream"
    subprocess.run([compiler, "-O2", "-o", str(program), str(SOURCE)], check=True)
    write_answers(directory)
    return [str(program), str(port), str(directory), str(chunks)], ""


class _Connection(asyncio.Protocol):
    def __init__(self, chunks: int) -> None:
        self._chunks = chunks
        self._request = b""
        self._task: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        self._request += data
        head, end, body = self._request.partition(b"\r\n\r\n")
        _, _, length = head.lower().partition(b"\r\ncontent-length:")
        size = int(length.partition(b"\r\n")[0] or 0)
        if not end or len(body) < size:
            return
        body, self._request = body[:size], body[size:]
        delay_ms, gap_ms = next((pace for model, pace in PACES.items() if b'"%b"' % model.encode() in body), (0, 0))
        stream = b'"stream":true' in body
        if not stream and not delay_ms:
            self._transport.write(_ANSWERS["whole"])
            return
        last = "last_with_usage" if b'"include_usage":true' in body else "last"
        self._task = asyncio.ensure_future(self._answer(delay_ms, gap_ms, last if stream else ""))

    async def _answer(self, delay_ms: int, gap_ms: int, last: str) -> None:
        await asyncio.sleep(delay_ms / 1000)
        if not last:
            self._transport.write(_ANSWERS["whole"])
            return
        self._transport.write(_ANSWERS["first"])
        for _ in range(self._chunks):
            await asyncio.sleep(max(gap_ms, 0) / 1000)
            self._transport.write(_ANSWERS["chunk"])
            if gap_ms < 0:
                return
        self._transport.write(_ANSWERS[last])


async def _serve(port: int, chunks: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(chunks), "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(_serve(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else CHUNKS))
