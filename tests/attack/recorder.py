"""A provider on aiohttp's server, which keeps what other people's parsers read in each request, and answers as told.

Promises: every vendor has an origin of its own; a request is read by each parser that can; without an answer that was
told, it gets the simulator's. Knows nothing of what should be read.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import deque
from typing import Any

import msgspec
from aiohttp import web
from multidict import CIMultiDict

from providers.ground.vendors import VENDORS
from providers.simulator import Cut, Faults, Pause, answer
from tests.attack.fuzz import READERS
from tests.attack.node import Node
from tests.attack.parsers import Part, of_aiohttp, of_python_multipart, of_werkzeug

_BODY_BYTES_MAX = 64 << 20


class Told(msgspec.Struct, forbid_unknown_fields=True):
    """An answer that stands in a case.

    Attributes:
        padding: How many bytes `<<padding>>` in the body stands for.
        waits_s: Before the head.
        breaks: The connection is reset where the body ends, instead of what the head has promised.
        stays: The body is a stream that says no more, for a minute.
    """

    status: int = 200
    type: str = "application/json"
    headers: dict[str, str] = {}
    body: str = ""
    padding: int = 0
    waits_s: float = 0
    breaks: bool = False
    stays: bool = False


class Seen(msgspec.Struct, kw_only=True):
    """One request as it arrived, and as it was read: JSON and forms, by parser."""

    provider: str
    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    objects: dict[str, dict[str, Any]]
    forms: dict[str, list[Part]]

    def members(self) -> dict[str, dict[str, Any]]:
        """What each parser reads by names: of a form the last value of each, and a file's number of bytes."""
        found = dict(self.objects)
        for parser, parts in self.forms.items():
            found[parser] = {name: len(value) if is_file else value.decode() for name, is_file, value in parts}
        return found


class Recorder:
    """The server. A context manager.

    Attributes:
        seen: All requests, in order.
        answers: Of the next requests, one each.
        origins: Of the vendors, by name.
    """

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.answers: deque[Told] = deque()
        self.origins: dict[str, str] = {}
        self._ports: dict[int, str] = {}
        self._node = Node()
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Recorder:
        self._node.__enter__()
        app = web.Application(client_max_size=_BODY_BYTES_MAX)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0, handler_cancellation=True)
        await self._runner.setup()
        for provider in VENDORS:
            site = web.TCPSite(self._runner, "127.0.0.1", 0)
            await site.start()
            port = self._runner.addresses[-1][1]
            self._ports[port] = provider
            self.origins[provider] = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()
        self._node.__exit__()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        provider = self._ports[request.transport.get_extra_info("sockname")[1]]
        body = await request.read()
        kind = request.headers.get("content-type", "")
        is_form = kind.lower().startswith("multipart/")
        self.seen.append(
            Seen(
                provider=provider,
                method=request.method,
                target=request.raw_path,
                headers=[
                    (name.lower().decode("latin-1"), text.decode("latin-1")) for name, text in request.raw_headers
                ],
                body=body,
                objects={} if is_form else self._objects(body),
                forms=await self._forms(kind, body) if is_form else {},
            )
        )
        if self.answers:
            return await _tell(request, self.answers.popleft())
        return await _simulate(request, provider, body)

    def _objects(self, body: bytes) -> dict[str, dict[str, Any]]:
        found: dict[str, Any] = {}
        for name in ("json", "msgspec"):
            try:
                found[name] = READERS[name](body)
            except (ValueError, RecursionError, msgspec.MsgspecError):
                continue
        found |= zip(("node", "node, decoded"), self._node.json(body), strict=True)
        return {name: read for name, read in found.items() if isinstance(read, dict)}

    async def _forms(self, kind: str, body: bytes) -> dict[str, list[Part]]:
        found: dict[str, list[Part]] = {}
        for name, read in (("werkzeug", of_werkzeug), ("python-multipart", of_python_multipart)):
            with contextlib.suppress(Exception):  # whoever refuses a form charges nothing for it
                found[name] = read(kind, body)
        with contextlib.suppress(Exception):
            found["aiohttp"] = await of_aiohttp(kind, body)
        if (parts := self._node.form(kind, body)) is not None:
            found["node"] = parts
        return found


async def _tell(request: web.Request, told: Told) -> web.StreamResponse:
    await asyncio.sleep(told.waits_s)
    body = told.body.replace("<<padding>>", "x" * told.padding).encode()
    response = web.StreamResponse(status=told.status, headers=CIMultiDict({"content-type": told.type} | told.headers))
    if not told.stays:
        response.content_length = len(body) + 1000 * told.breaks
    await response.prepare(request)
    await response.write(body)
    if told.breaks:
        await asyncio.sleep(0.02)  # for the gateway to read what came before
        assert request.transport is not None
        request.transport.abort()
    if told.stays:
        await asyncio.sleep(60)
    return response


async def _simulate(request: web.Request, provider: str, body: bytes) -> web.StreamResponse:
    made = answer(
        request.method,
        request.raw_path,
        dict(request.headers),
        body,
        provider=provider,
        faults=Faults(),
        request_id=f"req_{time.monotonic_ns()}",
        now_s=int(time.time()),
    )
    response = web.StreamResponse(status=made.status, headers=CIMultiDict(made.headers))
    await response.prepare(request)
    for step in made.steps:
        assert not isinstance(step, Pause | Cut)  # without faults there are none
        await response.write(step)
    return response


def said(body: bytes) -> Any:
    """An answer's JSON; None where it is none."""
    try:
        return json.loads(body)
    except ValueError:
        return None
