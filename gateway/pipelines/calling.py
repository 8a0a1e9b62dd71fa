"""A node's call: made as any client's, on the same path, from within the process.

Promises: what is sent is a POST with our own few headers and a JSON body; the key, the run, the end user and what a
call is held for are the inference path's business, as for a call from outside. Whoever stops waiting for a call leaves
it as a client leaves: it lands, and is billed for what it came to.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from gateway.asgi import CONNECTION, INSIDE
from gateway.bounds import RUN_BYTES_MAX
from gateway.pipelines.spec import is_shallow

Inference = Callable[[dict[str, Any], Callable[[], Awaitable[dict[str, Any]]], Callable[[Any], Awaitable[None]]], Any]
PASSED_ON = ("x-end-user-id", "x-end-user-cap-usd", "x-farthing-metadata", "x-farthing-sim")
"""The headers of a run that hold for each of its calls."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """How a call was answered. `status` is 0 where it broke off, or is too large to be kept."""

    status: int
    output: Any
    size: int
    too_large: bool


class NodeCall:
    """One call; it is the client's connection too, as far as the call needs one.

    Attributes:
        attempts: The ids of those that were held for, one after the other: of a plain call it is one.
        error: Why it was refused, if it was before anything was held.
    """

    head: Any = None
    whole = True

    def __init__(self, on_admitted: Callable[[], None]) -> None:
        self.on_gone: Callable[[], None] | None = None
        self.gone = self.answering = False
        self.attempts: list[str] = []
        self.error: Exception | None = None
        self._on_admitted = on_admitted
        self._parts: list[bytes] = []
        self._size = self._status = 0
        self._kind = ""
        self._over = self._aborted = False

    async def make(
        self, inference: Inference, secret: str, target: str, body: bytes, headers: Mapping[str, str]
    ) -> None:
        """Make it, in a task of its own. How it went is told by the attributes, and by `answer`."""
        scope = request_scope(secret, target, body, headers) | {CONNECTION: self, INSIDE: self}
        await inference(scope, receiving(body), self._send)

    def leave(self) -> None:
        """Wait for it no longer."""
        self.gone = True
        if self.on_gone is not None:
            self.on_gone()

    def answer(self) -> Answer:
        """How it was answered, when it has been."""
        content = b"".join(self._parts)
        too_large = self._size > RUN_BYTES_MAX
        whole = self._over and not self._aborted and not too_large
        return Answer(
            status=self._status if whole else 0,
            output=_read(self._kind, content) if whole else None,
            size=len(content),
            too_large=too_large,
        )

    # ---- as `Inside`

    def admitted(self, call_id: str) -> None:
        """See `Inside`."""
        self.attempts.append(call_id)
        if len(self.attempts) == 1:
            self._on_admitted()

    def refused(self, error: Exception) -> None:
        """See `Inside`."""
        self.error = error

    # ---- as `ClientConnection`

    def expect_upload(self, bytes_max: int) -> None:
        """See `ClientConnection`: all of it is here."""

    def abort(self) -> None:
        """See `ClientConnection`."""
        self._aborted = True

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.answering, self._status = True, message["status"]
            kinds = (value for name, value in message["headers"] if name.lower() == b"content-type")
            self._kind = next(kinds, b"").decode("latin-1")
            return
        part = message.get("body", b"")
        self._size += len(part)
        if self._size <= RUN_BYTES_MAX:
            self._parts.append(part)
        self._over = not message.get("more_body", False)


def request_scope(secret: str, target: str, body: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
    """The ASGI scope of a call: of the run's headers only those of `PASSED_ON`, and of the run itself its id."""
    path, _, query = target.partition("?")
    names = (*PASSED_ON, "x-farthing-run-id")
    fields = [(name.encode(), headers[name].encode("latin-1")) for name in names if name in headers]
    return {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [
            (b"authorization", f"Bearer {secret}".encode()),
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            *fields,
        ],
        "http_version": "1.1",
        "scheme": "http",
    }


def receiving(body: bytes) -> Callable[[], Awaitable[dict[str, Any]]]:
    """ASGI's `receive` of a request whose body is here, and whose client stays."""
    left = [body]

    async def receive() -> dict[str, Any]:
        if left:
            return {"type": "http.request", "body": left.pop(), "more_body": False}
        return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

    return receive


def _read(kind: str, content: bytes) -> Any:
    """A call's answer as JSON: what is none stands as text, or in base64, with its content type."""
    media = kind.partition(";")[0].strip().lower()
    if media == "application/json" or media.endswith("+json"):
        try:
            if is_shallow(found := msgspec.json.decode(content)):
                return found
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass
        media = "text/plain"
    if media.startswith("text/"):
        return {"content_type": media, "text": content.decode("utf-8", "replace")}
    return {"content_type": media, "base64": base64.b64encode(content).decode()}
