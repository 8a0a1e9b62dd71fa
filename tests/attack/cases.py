"""Attacks as files: what is sent with which keys, by which way, and what must come of it. See `corpus/README.md`.

Promises: a field that is none is refused by name, so that no expectation is lost to a slip. Knows nothing of who runs
them.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from tests.attack.recorder import Told

PLACE = Path(__file__).parent / "corpus"
BOUNDARY = "boundary-of-the-corpus"
_LATER = ("length", "padding")  # which are no names
_NAMED = re.compile(r"<<([a-z0-9_.]+)>>")


class _Strict(msgspec.Struct, forbid_unknown_fields=True):
    pass


class Repeated(_Strict, kw_only=True):
    """A body that is too long for a file: `before`, `times` times `unit`, `after`."""

    before: str = ""
    unit: str
    times: int
    after: str = ""

    def bytes(self) -> bytes:
        """The whole of it."""
        return (self.before + self.unit * self.times + self.after).encode()


class Part(_Strict, kw_only=True):
    """A part of a form; with a `filename`, a file. `then` comes behind its value, or what `base64` decodes to."""

    name: str
    value: str = ""
    base64: str = ""
    then: Repeated | None = None
    filename: str = ""


class Wanted(_Strict, kw_only=True):
    """What must come back. What is not given does not matter.

    Attributes:
        status: Of the last answer; one of them, where it is a list.
        code: The error's.
        param: The error's.
        answers: So many of them, whatever was sent.
        closes: And then the connection ends, within two seconds.
        within_s: All of that, at the latest.
        has: Texts that the answer holds, heads included.
        lacks: And those that it does not, in any case of letters.
    """

    status: int | list[int] | None = None
    code: str | None = None
    param: str | None = None
    answers: int | None = None
    closes: bool = False
    within_s: float | None = None
    has: list[str] = []
    lacks: list[str] = []


class Send(_Strict, kw_only=True):
    """One request.

    Attributes:
        who: Whose secret it carries: a key's name, "master" or "nobody".
        headers: More of them, in order; they may repeat.
        type: Its Content-Type; "" for none.
        body: As it stands, but for one line break at its end. Or `repeated`, or a `form`.
        raw: Instead of all that: the bytes of the connection. A line ends in CRLF there, and `<<length>>` is how many
            bytes follow the first empty line.
        leaves: "at once", when the provider has the request; or as soon as this text has come.
        times: So often, one after the other; all must have what is wanted.
        save: Names for members of the answer, to be used as `<<name>>` from then on.
    """

    who: str = "key"
    method: str = "POST"
    path: str = "/v1/chat/completions"
    headers: list[tuple[str, str]] = []
    type: str = "application/json"
    body: str = ""
    repeated: Repeated | None = None
    form: list[Part] = []
    raw: str = ""
    leaves: str = ""
    times: int = 1
    save: dict[str, str] = {}
    wanted: Wanted = msgspec.field(default_factory=Wanted)


class Outcome(_Strict, kw_only=True):
    """What must be true when all is quiet again. What is not given does not matter.

    Attributes:
        of: The key whose money and events they are.
        calls: How many requests the provider got.
        read: Members of each of them, as every parser that reads it has them.
        headers: Of each of them.
        headers_lack: Names that none of them has.
        spent_micros: On the bill.
        counted_at_least_micros: On the bill, or unsettled: what the cap has seen.
        counted_at_most_micros: Likewise.
        held_micros: Still held.
        events: How many there are, all in all.
        event: Members of the newest.
        event_at_least: Of the newest, integers.
        modes: Of files of the gateway's own, in octal.
        documents: Files of this repository, and words that stand in them.
        others_wait_s: No other connection has waited longer meanwhile. Not a measurement: machines are busy.
    """

    of: str = "key"
    calls: int | None = None
    read: dict[str, Any] = {}
    headers: dict[str, str] = {}
    headers_lack: list[str] = []
    spent_micros: int | None = None
    counted_at_least_micros: int | None = None
    counted_at_most_micros: int | None = None
    held_micros: int = 0
    events: int | None = None
    event: dict[str, Any] = {}
    event_at_least: dict[str, int] = {}
    modes: dict[str, str] = {}
    documents: dict[str, list[str]] = {}
    others_wait_s: float | None = None


class Case(_Strict, kw_only=True):
    """One file.

    Attributes:
        row: Of the table of attacks: C1 to C5, H1 to H8, M1 to M9, L1 to L8.
        says: What is promised against it, in one sentence.
        through: By which ways it is tried; "nginx" is every block of `tests.attack.nginx`.
        keys: To mint, in order: the mint's own fields, and `by`, whose key mints it.
        provider: Its answers, one a request; those that are not given are the simulator's.
    """

    row: str
    says: str
    through: tuple[Literal["direct", "nginx"], ...] = ("direct",)
    keys: dict[str, dict[str, Any]] = msgspec.field(default_factory=lambda: {"key": {}})
    provider: list[Told] = []
    send: list[Send] = []
    outcome: Outcome = msgspec.field(default_factory=Outcome)


def load(path: Path) -> Case:
    """Read a case. Raises msgspec.ValidationError."""
    return msgspec.toml.decode(path.read_bytes(), type=Case)


def filled(text: str, names: Mapping[str, str]) -> str:
    """The text with every `<<name>>` in its place. Raises KeyError."""
    return _NAMED.sub(lambda found: found[0] if found[1] in _LATER else names[found[1]], text)


def written(send: Send, names: Mapping[str, str]) -> bytes:
    """The bytes of a request."""
    if send.raw:
        return _raw(filled(send.raw, names))
    body, kind = _body(send, names)
    lines = [f"{send.method} {filled(send.path, names)} HTTP/1.1", "Host: gateway", "Connection: close"]
    if send.who != "nobody":
        lines.append(f"Authorization: Bearer {names[f'{send.who}.secret']}")
    if kind:
        lines.append(f"Content-Type: {kind}")
    lines += [f"{name}: {filled(value, names)}" for name, value in send.headers]
    if body or send.method == "POST":
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def _raw(text: str) -> bytes:
    head, empty, body = (each.replace("\n", "\r\n").encode("latin-1") for each in text.partition("\n\n"))
    return head.replace(b"<<length>>", b"%d" % len(body)) + empty + body


def _body(send: Send, names: Mapping[str, str]) -> tuple[bytes, str]:
    if send.repeated is not None:
        return send.repeated.bytes(), send.type
    if send.form:
        return b"".join(map(_part, send.form)) + f"--{BOUNDARY}--\r\n".encode(), (
            f"multipart/form-data; boundary={BOUNDARY}" if send.type == "application/json" else send.type
        )
    body = filled(send.body.removesuffix("\n"), names).encode("utf-8", "surrogateescape")
    return body, send.type if body else ""


def _part(part: Part) -> bytes:
    content = base64.b64decode(part.base64) if part.base64 else part.value.encode()
    content += part.then.bytes() if part.then is not None else b""
    file = f"; filename={json.dumps(part.filename)}" if part.filename else ""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{part.name}"{file}\r\n\r\n'
    return head.encode() + content + b"\r\n"
