"""What we read in a form is what other people's parsers read in it, told the Content-Type that we write."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from providers.ground.errors import BadRequest
from providers.reading.multipart import Form
from tests.attack.node import Node
from tests.attack.parsers import Part, of_aiohttp, of_email, of_python_multipart, of_werkzeug

OWN = frozenset({"model", "prompt", "n", "quality", "tags"})
FILES = frozenset({"file", "image"})
LISTS = frozenset({"image", "tags"})


def ours(content_type: str, body: bytes, pieces: int) -> tuple[str, Counter[Part]] | None:
    """The type that we write, and what we read; None where we refuse."""
    try:
        files: list[bytes] = []
        form = Form(content_type, OWN, lists=LISTS, files=FILES, content=files.append)
        for start in range(0, len(body), pieces):
            form.feed(body[start : start + pieces])
        form.close()
    except BadRequest:
        return None
    content, parts = b"".join(files), []
    for file in form.file_parts:
        parts.append((file.name, True, content[: file.size]))
        content = content[file.size :]
    parts += [(name, False, value.encode()) for name, values in form.fields.items() for value in values]
    return form.content_type, Counter(parts)


def decisive(parts: Sequence[tuple[str, bool, bytes]]) -> Counter[Part]:
    """Those of another's parts that anybody could take for ours."""
    named = [(name.partition("[")[0].casefold(), is_file, content) for name, is_file, content in parts]
    return Counter(each for each in named if each[0] in OWN | FILES)


NAMES = ("model", "prompt", "n", "quality", "tags", "tags[]", "file", "image", "image[]", "other", "x")
ODD_NAMES = (
    *(
        "Model",
        "MODEL",
        "model[]",
        "model[0]",
        "[model]",
        "model%5B%5D",
        "mod\\el",
        "model ",
        " model",
        "",
        "_charset_",
    ),
    *(
        "model\0",
        "model\t",
        "\uff4dodel",
        "tag\u017f",
        "mod%65l",
        'x"; name="model',
        'x\\"; name=\\"model',
        "=?utf-8?q?model?=",
    ),
)
FILENAMES = ("a.wav", "a b.png", "ü.mp3", "a%22b", "", "a;b.wav", "C:\\x.wav")
ODD_FILENAMES = (
    *('a"; name="model', 'a\\"; name="model', "a\\", ";name=model;", "; name=model", "a\r\nX: y", "a\0", "a\\\\"),
    *('a" ; name=model', "=?utf-8?b?YQ==?="),
)
DISPOSITIONS = ('form-data; name="{n}"', 'form-data; name="{n}"; filename="{f}"')
ODD_DISPOSITIONS = (
    *("form-data; name={n}", 'form-data;name="{n}"', 'FORM-DATA; Name="{n}"', 'form-data; filename="{f}"; name="{n}"'),
    *("form-data; name*=utf-8''{n}", "form-data; name=\"x\"; name*=utf-8''{n}", 'form-data; name="x"; name="{n}"'),
    *(
        'form-data; name*0="mo"; name*1="del"',
        "form-data; name=\"{n}\"; filename*=utf-8''{f}",
        'attachment; name="{n}"',
    ),
    *('form-data; name="{n}"; filename="{f}"; filename*=utf-8\'\'b.wav', 'form-data; x="; name=y"; name="{n}"'),
    *('form-data; name="{n}";', 'form-data; name="x"\r\n ; name="{n}"', 'form-data;; name="{n}"', "name={n}"),
    *('form-data; name = "{n}"', 'form-data; name="{n}" x', 'form-data; name="{n}', "form-data; name='{n}'", ""),
    *('form-data; name="x", form-data; name="{n}"', 'form-data; filename="{f}"', 'form-data; name="{n}"; size=3'),
)
HEADERS = (
    "",
    "Content-Type: text/plain\r\n",
    "Content-Type: audio/wav\r\n",
    "Content-Type: text/plain; charset=utf-8\r\n",
)
ODD_HEADERS = (
    *("Content-Transfer-Encoding: base64\r\n", "Content-Transfer-Encoding: quoted-printable\r\n"),
    *("Content-Transfer-Encoding: binary\r\n", "content-transfer-encoding: BASE64\r\n", "Content-Encoding: gzip\r\n"),
    *("Content-Type: text/plain; charset=utf-16\r\n", "Content-Type: text/plain; charset=utf-7\r\n"),
    *("Content-Type: text/plain; charset=iso-8859-1\r\n", "Content-Type: multipart/mixed; boundary=YY\r\n"),
    *("Content-Length: 1\r\n", "Content-Length: 0\r\n", "Content-Length: -1\r\n", "X: a\r\n b\r\n", "X: a\n", "X\r\n"),
    *('Content-Disposition: form-data; name="model"\r\n', "X : y\r\n", ": y\r\n", "X: \x01\r\n", "X: a\rY: b\r\n"),
    *('X: a\r\nContent-Disposition: form-data; name="model"\r\n', "\r\n", "\n", " X: y\r\n", "Content-Type:\r\n"),
)
CONTENTS = (b"whisper-1", b"gpt-image-1", b"10", b"high", b"", b"a\r\nb", b"YQ==", "ü".encode())
ODD_CONTENTS = (
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"--XX",
        b"\r\n--XX",
        b"\n--XX\n",
        b"\r--XX\r",
        b"\r\n--XX ",
        b"\r\n--XX\n",
        b"\r\n--XX--",
    ),
    *(
        b"\r\n--XX \r\n",
        b"\r\n--XXY",
        b"\r\n --XX\r\n",
        b"\0",
        b"\xff",
        b"=41",
        b"+AGE-",
        b"--",
        b"\r\n--X",
        b"\r\n\r\n",
    ),
)
TYPES = ("multipart/form-data; boundary=XX", 'multipart/form-data; boundary="XX"')
ODD_TYPES = (
    *("Multipart/Form-Data; Boundary=XX", "multipart/form-data;boundary=XX;", "multipart/form-data; boundary=XX ; x=y"),
    *("multipart/form-data; boundary=YY; boundary=XX", "multipart/form-data; boundary=XX; boundary=YY"),
    *("multipart/form-data; boundary=XX, multipart/form-data; boundary=YY", "multipart/form-data; boundary*=utf-8''XX"),
    *('multipart/form-data; x="; boundary=YY"; boundary=XX', "multipart/form-data; boundary=XX; charset=utf-16"),
    *('multipart/form-data; boundary="X\\X"', "multipart/form-data; boundary=", "multipart/form-data"),
    *("multipart/mixed; boundary=XX", "application/json", ""),
    *("multipart/form-data boundary=XX", "multipart/form-data; boundary = XX", "multipart/form-data; boundary='XX'"),
)  # fmt: skip


def mostly(usual: Sequence[Any], odd: Sequence[Any]) -> st.SearchStrategy[Any]:
    """Usual ones, and an odd one now and then: a form that is odd in one place is taken further than one full of it."""
    return st.integers(0, 9).flatmap(lambda lot: st.sampled_from(odd if lot == 0 else usual))


@st.composite
def parts(draw: st.DrawFn) -> bytes:
    name, filename = draw(mostly(NAMES, ODD_NAMES)), draw(mostly(FILENAMES, ODD_FILENAMES))
    disposition = draw(mostly(DISPOSITIONS, ODD_DISPOSITIONS)).replace("{n}", name).replace("{f}", filename)
    headers = draw(mostly(HEADERS, ODD_HEADERS))
    lines = f"Content-Disposition: {disposition}\r\n"
    lines = lines + headers if draw(st.booleans()) else headers + lines
    content = draw(mostly(CONTENTS, ODD_CONTENTS))
    if draw(st.integers(0, 4)) == 0:
        content += draw(st.sampled_from(CONTENTS + ODD_CONTENTS))
    return b"--XX\r\n" + lines.encode() + b"\r\n" + content + b"\r\n"


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    made = draw(mostly((b"",), (b"x", b"\r\n", b"--YY\r\n", b"x\r\n"))) + b"".join(draw(st.lists(parts(), max_size=4)))
    made += draw(
        mostly((b"--XX--\r\n", b"--XX--"), (b"", b"--XX--\r\n--XX\r\n", b"--XX-", b"--XX--x", b"--XX --\r\n", b"\r\n"))
    )
    lot = draw(st.integers(0, 29))
    return made.replace(b"\r\n", b"\n") if lot == 0 else made.replace(b"\r\n", b"\r") if lot == 1 else made


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


@settings(max_examples=1_500, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(mostly(TYPES, ODD_TYPES), bodies(), st.sampled_from((1, 7, 1 << 16)))
def test_whatever_we_take_nobody_reads_otherwise(
    loop: asyncio.AbstractEventLoop, content_type: str, body: bytes, pieces: int
) -> None:
    """Fields and files that decide about the cost are the same to werkzeug, python-multipart, aiohttp and `email`."""
    read = ours(content_type, body, pieces)
    if read is None:
        return
    written, mine = read
    for name, other in (("werkzeug", of_werkzeug), ("python-multipart", of_python_multipart)):
        try:
            theirs = other(written, body)
        except Exception:  # noqa: BLE001, S112 - whoever refuses a form charges nothing for it
            continue
        assert decisive(theirs) == mine, name
    try:
        theirs = loop.run_until_complete(of_aiohttp(written, body))
    except Exception:  # noqa: BLE001, S110 - as above
        pass
    else:
        assert decisive(theirs) == mine, "aiohttp"


def honest(**extra: str) -> bytes:
    fields = {"model": "whisper-1", "prompt": "ü"} | extra
    text = "".join(
        f'--XX\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()
    )
    return (
        text + '--XX\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\nRIFF\r\n--XX--\r\n'
    ).encode()


@pytest.mark.parametrize("content_type", TYPES)
def test_an_honest_form_is_read_alike_by_all(loop: asyncio.AbstractEventLoop, content_type: str) -> None:
    """None of the parsers refuses everything."""
    read = ours(content_type, honest(), 1 << 16)
    assert read is not None
    written, mine = read
    assert len(mine) == 3
    for theirs in (
        of_werkzeug(written, honest()),
        of_python_multipart(written, honest()),
        of_email(written, honest()),
        loop.run_until_complete(of_aiohttp(written, honest())),
    ):
        assert decisive(theirs) == mine


def random_form(lots: random.Random) -> tuple[str, bytes]:
    """A form out of the same pieces."""

    def one(usual: Sequence[Any], odd: Sequence[Any]) -> Any:
        return lots.choice(odd if lots.random() < 0.07 else usual)

    body = b""
    for usual in lots.sample(NAMES, lots.randint(1, 4)):
        name = usual if lots.random() > 0.05 else lots.choice(ODD_NAMES)
        said = one(DISPOSITIONS, ODD_DISPOSITIONS).replace("{n}", name).replace("{f}", one(FILENAMES, ODD_FILENAMES))
        lines = f"Content-Disposition: {said}\r\n{one(HEADERS, ODD_HEADERS)}"
        body += b"--XX\r\n" + lines.encode() + b"\r\n" + one(CONTENTS, ODD_CONTENTS) + b"\r\n"
    return one(TYPES, ODD_TYPES), body + one((b"--XX--\r\n", b"--XX--"), (b"", b"--XX--x"))


def test_node_reads_what_we_take_alike() -> None:
    """Three thousand seeded forms; those that we take, in JavaScript's own parser, all in one process."""
    lots = random.Random(20261127)  # noqa: S311 - the same ones each time
    taken: list[tuple[str, bytes, Counter[Part]]] = []
    for _ in range(3_000):
        content_type, body = random_form(lots)
        if (read := ours(content_type, body, 1 << 16)) is not None:
            taken.append((read[0], body, read[1]))
    assert len(taken) > 500
    with Node() as node:
        answers = [node.form(written, body) for written, body, _ in taken]
    assert sum(answer is not None for answer in answers) > len(taken) // 2
    for theirs, (_, body, mine) in zip(answers, taken, strict=True):
        if theirs is not None:
            assert decisive(theirs) == mine, body
