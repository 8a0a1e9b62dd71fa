"""Forms as they pass: the same bytes in any pieces say the same; what two parsers could read differently is refused."""

from __future__ import annotations

import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.ground.errors import BadRequest
from providers.reading.multipart import FIELD_BYTES_MAX, FILE_HEAD_BYTES, FILES_KEPT_MAX, PARTS_MAX, Form, boundary_of

TYPE = "multipart/form-data; boundary=XX"
OWN = frozenset({"model", "prompt", "tags"})


def form(**options: frozenset[str]) -> Form:
    given_ = {"lists": frozenset({"tags", "image"}), "files": frozenset({"file", "image"})} | options
    return Form(TYPE, OWN, **given_)


def part(name: str, value: bytes, extra: str = "", headers: str = "") -> bytes:
    head = f'--XX\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n{headers}\r\n'
    return head.encode() + value + b"\r\n"


END = b"--XX--\r\n"
FILE = '; filename="a.wav"'
BODY = (
    part("model", b"whisper-1")
    + part("tags[]", b"one")
    + part("tags[]", b"zwei")
    + part("file", b"\r\n--X\r\nRIFF" + bytes(500), FILE, "Content-Type: audio/wav\r\n")
    + part("other", b"left alone")
    + END
)


def read(body: bytes, pieces: int = 1 << 20, **options: frozenset[str]) -> Form:
    made = form(**options)
    for start in range(0, len(body), pieces):
        made.feed(body[start : start + pieces])
    made.close()
    return made


@pytest.mark.parametrize("pieces", [1, 2, 3, 7, 64, 100_000])
def test_pieces_of_any_size_say_the_same(pieces: int) -> None:
    """Fields, lists and the file's beginning and size, wherever the network cut."""
    made = read(BODY, pieces)
    assert made.fields == {"model": ["whisper-1"], "tags": ["one", "zwei"]}
    (file,) = made.file_parts
    assert (file.name, file.filename, file.content_type) == ("file", "a.wav", "audio/wav")
    assert file.head == b"\r\n--X\r\nRIFF" + bytes(500)
    assert file.size == len(file.head)
    assert made.ended
    assert not made.in_file


@given(st.lists(st.integers(0, len(BODY)), max_size=6))
def test_any_cuts_say_the_same(cuts: list[int]) -> None:
    made = form()
    edges = [0, *sorted(cuts), len(BODY)]
    for start, end in itertools.pairwise(edges):
        made.feed(BODY[start:end])
    made.close()
    assert made.fields == {"model": ["whisper-1"], "tags": ["one", "zwei"]}
    assert made.file_parts[0].size == 511


@given(st.binary(max_size=300), st.integers(1, 50))
def test_hostile_bytes_raise_nothing_else(body: bytes, pieces: int) -> None:
    for prefix in (b"", b"--XX\r\n", part("model", b"x")[:-2], part("file", b"", FILE)[:-2]):
        with contextlib.suppress(BadRequest):
            read(prefix + body, pieces)


REFUSED = {
    "a field twice": part("model", b"a") + part("model", b"b") + END,
    "a field in another case": part("Model", b"a") + END,
    "with the long s": part("prompt", b"a").replace(b"prompt", "tag\u017f".encode()) + END,
    "a field as a list": part("model[]", b"a") + END,
    "a field as an object": part("model[a]", b"a") + END,
    "a field as a file": part("model", b"a", FILE) + END,
    "two files": part("file", b"a", FILE) + part("file", b"b", FILE) + END,
    "two names": part("model", b"a", '; name="prompt"') + END,
    "an extended name": part("model", b"a", "; name*=utf-8''prompt") + END,
    "no name": part("", b"a") + END,
    "a charset for all": part("_charset_", b"utf-16") + END,
    "a transfer encoding": part("model", b"YQ==", "", "Content-Transfer-Encoding: base64\r\n") + END,
    "a header twice": part("model", b"a", "", 'Content-Disposition: form-data; name="prompt"\r\n') + END,
    "no UTF-8": part("model", b"\xff") + END,
    "a preamble": b"hello\r\n" + part("model", b"a") + END,
    "line feeds first": b"\r\n" + part("model", b"a") + END,
    "an epilogue": part("model", b"a") + END + b"--XX\r\n",
    "no end": part("model", b"a"),
    "nothing": b"",
    "a boundary after a line feed": part("file", b"a\n--XX\nx", FILE) + END,
    "a boundary within a line": part("file", b"a--XX", FILE) + END,
    "too long a field": part("prompt", bytes(FIELD_BYTES_MAX + 1).replace(b"\0", b"a")) + END,
    "too many parts": part("x", b"") * (PARTS_MAX + 1) + END,
    "too many files": part("image", b"", FILE) * (FILES_KEPT_MAX + 1) + END,
    "an escape in a name": part("mo\\del", b"a") + END,
    "an escaped quote in a filename": part("file", b"", '; filename="a\\"; x=\\"b"') + END,
    "a backslash at the end of a filename": part("file", b"", '; filename="a\\"') + END,
    "a name in a filename": part("file", b"", '; filename=";name=model;"') + END,
    "a name in pieces": part("x", b"a", '; name*0="mo"; name*1="del"') + END,
    "a folded line": part("model", b"a", "", "X: y\r\n z\r\n") + END,
    "a space before a colon": part("model", b"a", "", "X : y\r\n") + END,
    "a zero byte in a head": part("model", b"a", "", "X: \0\r\n") + END,
    "a zero byte in a field": part("model", b"a\0b") + END,
    "too long a head": part("x", b"", "", "X: " + "y" * 9_000 + "\r\n") + END,
    "too many headers": part("x", b"", "", "".join(f"X{n}: y\r\n" for n in range(20))) + END,
    "parts in a part": part("x", b"", "", "Content-Type: multipart/mixed; boundary=YY\r\n") + END,
    "a wide charset": part("prompt", b"a", "", "Content-Type: text/plain; charset=utf-16\r\n") + END,
    "an old charset": part("prompt", "ü".encode(), "", "Content-Type: text/plain; charset=iso-8859-1\r\n") + END,
    "a length that is none": part("prompt", b"ab", "", "Content-Length: 1\r\n") + END,
    "an encoding": part("prompt", b"ab", "", "Content-Encoding: gzip\r\n") + END,
    "spaces behind the boundary": part("model", b"a").replace(b"--XX", b"--XX ") + END,
    "a lone end": END,
    "bare line feeds": part("model", b"a").replace(b"\r\n", b"\n") + END,
}


@pytest.mark.parametrize("pieces", [1, 1 << 20], ids=["bytes", "whole"])
@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED.keys())
def test_what_can_be_read_in_two_ways_is_refused(body: bytes, pieces: int) -> None:
    with pytest.raises(BadRequest):
        read(body, pieces)


def test_a_field_of_another_s_business_is_left_alone() -> None:
    """Twice, long, as a file or in no encoding at all: it is not ours to judge."""
    body = part("x", b"\xff" * 300_000) * 3 + part("x", b"a", FILE) + part("model", b"m") + END
    assert read(body).fields == {"model": ["m"]}


def test_once_decided_early_fields_and_files_are_refused() -> None:
    """Whoever has acted on the form cannot act anew; other fields may still come."""
    early = frozenset({"model"})
    for late, refused in ((part("model", b"m"), True), (part("file", b"", FILE), True), (part("prompt", b"p"), False)):
        made = form(early=early)
        made.feed(part("other", b"x"))
        made.decided = True
        if refused:
            with pytest.raises(BadRequest, match="before the file"):
                made.feed(late + END)
        else:
            made.feed(late + END)
            assert made.fields == {"prompt": ["p"]}


@pytest.mark.parametrize(
    ("extra", "headers"),
    [
        ("; filename=\"a.wav\"; filename*=utf-8''a.wav", ""),
        ('; filename="a;b %22.wav"', "Content-Type: audio/wav\r\n"),
        (FILE, "Content-Transfer-Encoding: binary\r\nContent-Length: 4\r\nContent-ID: <1>\r\n"),
        (FILE, "content-type: application/octet-stream; charset=ISO-8859-1\r\n"),
    ],
)
def test_what_clients_of_all_languages_send_is_taken(extra: str, headers: str) -> None:
    """.NET names a file twice, Java states encodings and charsets that change nothing, browsers escape by percent."""
    plain = (
        b"--XX\r\nContent-Disposition: form-data; name=model\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nm\r\n"
    )
    made = read(plain + part("file", b"RIFF", extra, headers) + END)
    assert (made.text("model"), made.file_parts[0].size) == ("m", 4)


def test_a_file_is_not_kept() -> None:
    """Its head is, and its size."""
    made = read(part("file", bytes(1_000_000), FILE) + END, 10_000)
    assert (len(made.file_parts[0].head), made.file_parts[0].size) == (FILE_HEAD_BYTES, 1_000_000)


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=abc", b"abc"),
        ('Multipart/Form-Data; charset=utf-8; BOUNDARY="a b:c"; x=1', b"a b:c"),
        ("multipart/form-data;boundary=----WebKitFormBoundary7MA4YWxk", b"----WebKitFormBoundary7MA4YWxk"),
        ("multipart/form-data", None),
        ("multipart/form-data; boundary=", None),
        ("multipart/form-data; boundary=a; boundary=b", None),
        ("multipart/mixed; boundary=a", None),
        ("application/json", None),
        ("", None),
    ],
)
def test_the_boundary_is_the_only_one(content_type: str, boundary: bytes | None) -> None:
    if boundary is None:
        with pytest.raises(BadRequest):
            boundary_of(content_type)
    else:
        assert boundary_of(content_type) == boundary
