"""What the clients did and saw: one record a call, kept whole until the books have been compared with it.

Knows the shapes of calls and nothing of what they cost.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from typing import Any, Literal

import aiohttp
import msgspec

from tests.faults.support import CHAT, EMBED, MESSAGES, PATHS, Client, body_of, marked, request_bytes

CALL_TIMEOUT_S = 40.0  # by then every call has ended, one way or the other (I10)

End = Literal["open", "whole", "broken", "left", "late", "refused"]
"""How it ended for the client: with a whole answer, broken off, by its own leaving, not in time, or never begun."""

USAGE = {"stream_options": {"include_usage": True}}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": (PATHS["chat"], CHAT),
    "stream": (PATHS["chat"], CHAT | {"stream": True} | USAGE),
    "spliced": (PATHS["chat"], CHAT | {"stream": True}),  # the gateway asks for the usage, and takes it out again
    "messages": (PATHS["messages"], MESSAGES),
    "message stream": (PATHS["messages"], MESSAGES | {"stream": True}),
    "embeddings": (PATHS["embeddings"], EMBED),
}
ROUTED: dict[str, tuple[str, dict[str, Any]]] = {
    "routed": (PATHS["chat"], CHAT | {"model": "routed"}),
    "routed stream": (PATHS["chat"], CHAT | {"model": "routed", "stream": True} | USAGE),
}
"""Calls by a route's name: each may be asked of several, and each attempt has an event of its own."""


class Call(msgspec.Struct, kw_only=True):
    """One call, from the client's side. `key` is the key's id; `fault` names the fault that it was made under.

    `expect`: how its event may stand at the end ("none": there is no event); empty for "in any honest way". `node`: the
    gateway's name. `began_s`, `ended_s`: on the monotonic clock.
    """

    mark: str
    key: str
    kind: str
    sim: str
    fault: str
    expect: tuple[str, ...] = ()
    user: str = ""
    status: int = 0
    headers: dict[str, str] = {}
    got: bytearray = msgspec.field(default_factory=bytearray)
    end: End = "open"
    seconds: float = 0.0
    node: str = ""
    began_s: float = 0.0
    ended_s: float = 0.0

    @property
    def code(self) -> str:
        """The code of the gateway's own error; "" if it is none, or the provider's."""
        with contextlib.suppress(ValueError, TypeError, AttributeError, KeyError):
            return str(json.loads(bytes(self.got))["error"].get("code") or "")
        return ""

    @property
    def path(self) -> str:
        """Where it goes."""
        return (KINDS | ROUTED)[self.kind][0]

    def body(self, **more: Any) -> dict[str, Any]:
        """What is sent: its mark, and after it what the provider shall do wrong."""
        path, body = (KINDS | ROUTED)[self.kind]
        return marked(body | more, path, f"{self.mark}|{self.sim}" if self.sim else self.mark)

    @property
    def metadata(self) -> str:
        """The header that brings the mark to the event."""
        return json.dumps({"mark": self.mark})


async def make(http: aiohttp.ClientSession, url: str, secret: str, call: Call, **more: Any) -> Call:
    """Make a call and read it to its end."""
    headers = {"authorization": f"Bearer {secret}", "x-farthing-metadata": call.metadata}
    if call.user:
        headers["x-end-user-id"] = call.user
    call.began_s = started = time.monotonic()
    try:
        async with http.post(
            url + call.path,
            json=call.body(**more),
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=CALL_TIMEOUT_S),
        ) as answer:
            call.status = answer.status
            call.headers = {name.lower(): value for name, value in answer.headers.items()}
            async for chunk in answer.content.iter_any():
                call.got += chunk
        call.end = "whole"
    except TimeoutError:
        call.end = "late"
    except aiohttp.ClientConnectorError:
        call.end = "refused"
    except aiohttp.ClientError:
        call.end = "broken"
    finally:
        call.ended_s = time.monotonic()
        call.seconds = call.ended_s - started
        if call.end == "open":
            call.end = "left"  # cancelled
    return call


class Raw:
    """A call over a socket of its own, whose client may leave at any moment."""

    def __init__(self, call: Call, client: Client, request: bytes) -> None:
        self.call = call
        self.client = client
        self.request = request

    @classmethod
    async def open(cls, url: str, secret: str, call: Call, *, receive_buffer: int = 0, **more: Any) -> Raw:
        """Connect; nothing has been sent."""
        call.began_s = time.monotonic()
        client = await Client.connect(url, receive_buffer=receive_buffer)
        body = json.dumps(call.body(**more)).encode()
        return cls(call, client, request_bytes(secret, body, call.path, f"x-farthing-metadata: {call.metadata}"))

    async def send(self, share: float = 1.0) -> None:
        """Send the request, or that share of it."""
        await self.client.send(self.request[: int(len(self.request) * share)])

    async def until(self, mark: bytes, timeout_s: float = 30.0) -> None:
        """Read until this has come."""
        await self.client.until(mark, timeout_s)

    async def leave(self, how: str) -> None:
        """Go, by "fin" or "rst"."""
        await self.client.leave(how)
        self._note("left")

    async def rest(self, timeout_s: float = CALL_TIMEOUT_S) -> None:
        """Read to the end of the answer, or of the connection."""
        client = self.client
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(timeout_s):
                while not _is_complete(client.got) and (more := await client.reader.read(65536)):
                    client.got += more
        self._note("whole" if _is_complete(client.got) else "broken")
        await client.leave()

    def _note(self, end: End) -> None:
        got = self.client.got
        if got.startswith(b"HTTP/1.1 ") and b"\r\n\r\n" in got:
            head, _, _ = got.partition(b"\r\n\r\n")
            self.call.status = int(got[9:12])
            lines = (line.split(": ", 1) for line in head.decode("latin-1").split("\r\n")[1:])
            self.call.headers = {name.lower(): value for name, value in lines}
            self.call.got = bytearray(body_of(got))
        self.call.end = end
        self.call.ended_s = time.monotonic()


def _is_complete(got: bytes) -> bool:
    head, _, body = got.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" in head.lower():
        return body.endswith(b"0\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(body) == int(line.partition(b":")[2])
    return False


def everyday(dice: random.Random) -> tuple[str, str, dict[str, Any]]:
    """A call as they come: kind, what goes wrong at the provider, more fields."""
    kind = dice.choice(tuple(KINDS))
    sim = dice.choices(
        ("output_tokens=5", "chunk_delay_ms=4,output_tokens=20", "delay_ms=40,output_tokens=10", "reset=mid_event",
         "status=500", "usage=missing,output_tokens=8", "output_tokens=3500,chunk_bytes=65536"),
        (8, 4, 4, 1, 1, 1, 1),
    )[0]  # fmt: skip
    more = {} if kind == "embeddings" or "3500" in sim else {"max_tokens": dice.choice((30, 200))}
    return kind, sim, more


async def first(*events: asyncio.Event, timeout_s: float) -> bool:
    """Whether one of these happens in time."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    done, left = await asyncio.wait(waiting, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    for task in left:
        task.cancel()
    return bool(done)
