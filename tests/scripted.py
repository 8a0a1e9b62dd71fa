"""A provider that says exactly what a test has written down, over a real socket, whatever it is asked.

async with Scripted() as provider:
    provider.answer(status=429, body=b'{"error":{}}')
    provider.answer(kind="text/event-stream", body=[b"data: {}\\n\\n", 0.5, b"data: [DONE]\\n\\n"])
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from typing import Self

Step = bytes | float
"""Bytes to send, or seconds to wait; a negative number breaks the connection off."""


class Scripted:
    """Answers requests in the order of what was scripted; the last answer stands for all that follow."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self._answers: deque[list[Step]] = deque()
        self._serving: set[asyncio.Task[None]] = set()

    def answer(
        self,
        *,
        status: int = 200,
        kind: str = "application/json",
        body: bytes | Sequence[Step] = b"",
        headers: Sequence[str] = (),
    ) -> None:
        """The next answer. A body in steps is sent in chunks."""
        head = [f"HTTP/1.1 {status} Scripted", f"content-type: {kind}", *headers]
        if isinstance(body, bytes):
            head.append(f"content-length: {len(body)}")
            steps: list[Step] = [("\r\n".join(head) + "\r\n\r\n").encode() + body]
        else:
            head.append("transfer-encoding: chunked")
            steps = [("\r\n".join(head) + "\r\n\r\n").encode()]
            steps += [b"%x\r\n%b\r\n" % (len(step), step) if isinstance(step, bytes) else step for step in body]
            if not (body and not isinstance(body[-1], bytes) and body[-1] < 0):
                steps.append(b"0\r\n\r\n")
        self._answers.append(steps)

    @property
    def url(self) -> str:
        """Origin, without a path."""
        return "http://{}:{}".format(*self._server.sockets[0].getsockname()[:2])

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next((int(line[15:]) for line in head.lower().split(b"\r\n")
                               if line.startswith(b"content-length:")), 0)  # fmt: skip
                self.bodies.append(await reader.readexactly(length))
                self.heads.append(head)
                steps = self._answers.popleft() if len(self._answers) > 1 else self._answers[0]
                for step in steps:
                    if isinstance(step, bytes):
                        writer.write(step)
                        await writer.drain()
                    elif step < 0:
                        writer.transport.abort()
                        return
                    else:
                        await asyncio.sleep(step)
