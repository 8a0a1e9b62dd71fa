"""That nobody is billed for more input than was bounded, and that bounds are not absurd."""

from __future__ import annotations

import base64
import json
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.anthropic.messages import ANTHROPIC_MESSAGES
from providers.bounding import media
from providers.bounding.extent import string_bytes
from providers.bounding.pdf import Budget
from providers.bounding.text import Tally, estimates
from providers.contract.shapes import Call, Shape
from providers.ground.errors import BadRequest
from providers.openai.chat import OPENAI_CHAT, OPENAI_COMPLETIONS
from providers.openai.embeddings import OPENAI_EMBEDDINGS
from providers.openai.responses import OPENAI_RESPONSES

TEXT = st.text(max_size=300) | st.text('abc \n"\\/\u4e2d\u0440\U0001f600\x00\x1f', max_size=300)


def requests(text: str) -> list[tuple[Shape, dict[str, object]]]:
    parts = [{"type": "text", "text": text}]
    tool = {"type": "function", "function": {"name": "f", "description": text}}
    return [
        (OPENAI_CHAT, {"messages": [{"role": "user", "content": text}]}),
        (OPENAI_CHAT, {"messages": [{"role": "user", "content": parts}], "tools": [tool]}),
        (OPENAI_CHAT, {"messages": [{"role": "tool", "unknown": text}], "stranger": text}),
        (OPENAI_COMPLETIONS, {"prompt": [text, text]}),
        (OPENAI_EMBEDDINGS, {"input": [text]}),
        (OPENAI_RESPONSES, {"input": text, "instructions": text}),
        (OPENAI_RESPONSES, {"input": [{"type": "function_call_output", "call_id": "x", "output": text}]}),
        (ANTHROPIC_MESSAGES, {"messages": [{"role": "user", "content": parts}], "system": text}),
        (ANTHROPIC_MESSAGES, {"messages": [{"role": "user", "content": [{"type": "tool_result", "content": text}]}]}),
    ]


@given(TEXT, st.booleans(), st.booleans())
def test_bound_covers_every_byte_of_text(text: str, ascii_only: bool, compact: bool) -> None:
    """However the text is escaped and wherever it stands, the bound is not below its bytes in UTF-8."""
    size = len(text.encode("utf-8", "replace"))
    text = text.encode("utf-8", "replace").decode()
    for shape, members in requests(text):
        raw = json.dumps(
            {"model": "m", **members}, ensure_ascii=ascii_only, separators=(",", ":") if compact else None
        ).encode()
        call = shape.read(raw)
        typical, upper, bound = (u.input_tokens for u in (call.input_typical, call.input_upper, call.input_bound))
        times = json.dumps(members).count(json.dumps(text)) if text.strip() else 1
        assert bound >= size * min(times, 2)
        assert 0 <= typical <= upper <= bound


@given(TEXT)
def test_escaping_hardly_changes_the_estimate(text: str) -> None:
    """A client that escapes Chinese is not held for twice as much as one that does not."""
    text = "中文内容" * 50 + text.encode("utf-8", "replace").decode()
    message = {"model": "m", "messages": [{"role": "user", "content": text}]}
    plain = OPENAI_CHAT.read(json.dumps(message, ensure_ascii=False).encode())
    escaped = OPENAI_CHAT.read(json.dumps(message).encode())
    assert escaped.input_upper.input_tokens <= plain.input_upper.input_tokens * 2
    assert escaped.input_typical.input_tokens <= plain.input_typical.input_tokens * 2


@pytest.mark.parametrize(
    ("text", "bytes_per_token"),
    [
        ("The quick brown fox jumps over the lazy dog. " * 50, 4.08),
        ("我们今天去公园散步。天气很好。" * 50, 4.6),
        ("Сегодня мы пошли гулять в парк, погода была хорошая. " * 50, 8.4),
        ("def parse(text):\n    return json.loads(text)\n\n" * 50, 4.5),
        (base64.b64encode(bytes(range(256)) * 10).decode(), 1.46),
    ],
)
def test_estimates_are_near(text: str, bytes_per_token: float) -> None:
    """By o200k's measured bytes a token (providers.md §5.2), typical is within a factor of 2.5 and upper is above."""
    typical, upper = estimates(text.encode())
    o200k = len(text.encode()) / bytes_per_token
    assert o200k / 2.5 < typical < o200k * 2.5
    assert upper >= o200k


@given(st.binary(max_size=400))
def test_estimates_are_ordered(data: bytes) -> None:
    """No estimate is above the number of bytes, and typical is not above upper by more than rounding."""
    typical, upper = estimates(data)
    assert 0 <= typical <= upper <= len(data)


@given(st.lists(st.text(max_size=30), max_size=600))
@settings(max_examples=30)
def test_tally_agrees_with_the_whole(pieces: list[str]) -> None:
    """Counting in pieces is counting the whole, but for a token for each batch."""
    tally = Tally()
    for piece in pieces:
        tally.add(piece)
    whole = estimates("".join(pieces).encode("utf-8", "surrogatepass"))[0]
    assert abs(tally.tokens() - whole) <= max(10, whole // 2)


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\0" * 5000


def jpeg(width: int, height: int, *, camera_data: int = 60_000) -> bytes:
    app1 = b"\xff\xe1" + (camera_data + 2).to_bytes(2, "big") + b"\0" * camera_data
    frame = b"\xff\xc0\0\x11\x08" + height.to_bytes(2, "big") + width.to_bytes(2, "big") + b"\x03" + b"\0" * 20
    return b"\xff\xd8" + app1 + frame


def gif(width: int, height: int) -> bytes:
    size = struct.pack("<HH", width, height)
    return b"GIF89a" + size + bytes(3) + b",\0\0\0\0" + size + bytes(40)


def webp(kind: bytes, payload: bytes) -> bytes:
    return b"RIFF\0\0\0\0WEBP" + kind + b"\0\0\0\0" + payload + b"\0" * 20


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (png(1024, 768), (1024, 768)),
        (jpeg(4032, 3024), (4032, 3024)),
        (gif(320, 200), (320, 200)),
        (webp(b"VP8X", b"\0\0\0\0" + (799).to_bytes(3, "little") + (599).to_bytes(3, "little")), (800, 600)),
        (webp(b"VP8L", b"\x2f" + (799 | 599 << 14).to_bytes(4, "little")), (800, 600)),
        (webp(b"VP8 ", b"\0\0\0\x9d\x01\x2a" + (800).to_bytes(2, "little") + (600).to_bytes(2, "little")), (800, 600)),
        (png(0, 5), None),
        (b"\xff\xd8" + b"\xff" * 100, None),
        (b"BM", None),
        (b"", None),
    ],
)
def test_image_headers(data: bytes, size: tuple[int, int] | None) -> None:
    """Width and height come from the header, behind camera data too."""
    assert media.image_size(data) == size


@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"\xff\xd8", b"RIFF....WEBPVP8 ", b"%PDF-1.7 /ObjStm stream\n", b"RIFF....WAVEfmt "]),
)
def test_media_headers_never_raise(data: bytes, magic: bytes) -> None:
    """Whatever stands in a medium, some bound comes out and nothing is raised."""
    data = magic + data
    text = base64.b64encode(data)
    for bound in (media.openai_image(text), media.claude_image(text), media.openai_audio(data)):
        assert 0 <= bound.typical <= bound.upper <= bound.most
    media.pdf_pages(data, Budget())
    media.decode_base64(data)


def with_image(url: str, **image: object) -> Call:
    part = {"type": "image_url", "image_url": {"url": url, **image}}
    message = {"role": "user", "content": [{"type": "text", "text": "what is this?"}, part]}
    return OPENAI_CHAT.read(json.dumps({"model": "gpt-5", "messages": [message]}).encode())


@pytest.mark.parametrize(
    ("width", "height", "tokens"), [(1024, 1024, 1_229), (3840, 2160, 9_792), (4032, 3024, 14_364)]
)
def test_openai_images_match_the_measured_table(width: int, height: int, tokens: int) -> None:
    """The published measurements are met, and the base64 itself is not counted."""
    call = with_image("data:image/png;base64," + base64.b64encode(png(width, height)).decode())
    assert call.input_upper.input_image_tokens == tokens
    assert tokens <= call.input_bound.input_image_tokens <= max(tokens, 3_800)
    assert call.input_bound.input_tokens - call.input_bound.input_image_tokens < 250
    assert call.unbounded == ""


def test_images_in_other_spellings() -> None:
    """Escaped slashes and capitals are read; `detail: low` is cheap; one that cannot be read is dear."""
    data = base64.b64encode(png(1024, 1024)).decode()
    assert with_image("DATA:image/png;BASE64," + data).input_upper.input_image_tokens == 1_229
    assert with_image("data:image/png;base64," + data, detail="low").input_upper.input_image_tokens < 310
    assert with_image("data:image/png;base64,AAAA").input_upper.input_image_tokens == 14_400
    assert with_image("data:image/png," + data).unbounded
    raw = json.dumps(
        {
            "model": "m",
            "messages": [{"content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64," + data}}]}],
        }
    )
    escaped = raw.replace("image/png", "image\\/png").encode()
    assert OPENAI_CHAT.read(escaped).input_upper.input_image_tokens == 1_229


def test_claude_images() -> None:
    """Claude's pictures cost a token for 750 square pixels, capped."""
    small, large = (media.claude_image(base64.b64encode(png(side, side))) for side in (750, 5000))
    assert 750 <= small.most < 850
    assert large.most == 4_005


def test_pdf_pages_in_object_streams() -> None:
    """Pages inside compressed object streams are counted; what cannot be unpacked is not guessed."""
    objects = zlib.compress(b"1 0 2 30 <</Type /Page /Parent 3 0 R>> <</Type/Page>> <</Type /Pages>>")
    data = (
        b"%PDF-1.5\n9 0 obj <</Type /ObjStm /N 2 /First 9 /Filter /FlateDecode>>\nstream\r\n" + objects + b"\nendstream"
    )
    assert media.pdf_pages(data, Budget()) == 2
    assert media.pdf_pages(data.replace(objects, b"garbage"), Budget()) is None
    assert media.pdf_pages(b"no pdf", Budget()) is None


def test_text_files_count_as_their_bytes() -> None:
    """A text file counts as text; a packed one is unknowable."""
    for content, unbounded in (
        (b"hello world " * 100, ""),
        (b"PK\x03\x04" + b"x" * 1000, "messages[0].content[0].file.file_data"),
    ):
        data = "data:text/plain;base64," + base64.b64encode(content).decode()
        part = {"type": "file", "file": {"filename": "a.txt", "file_data": data}}
        call = OPENAI_CHAT.read(json.dumps({"model": "m", "messages": [{"content": [part]}]}).encode())
        assert call.unbounded == unbounded
        assert call.input_bound.input_tokens >= len(content)


def test_audio_is_audio() -> None:
    """A minute of sound is some hundred audio tokens."""
    header = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0" + (16_000).to_bytes(4, "little")
    header += (32_000).to_bytes(4, "little") + b"\x02\0\x10\0data" + bytes(4)
    data = base64.b64encode(header + b"\0" * 32_000 * 60).decode()
    part = {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
    call = OPENAI_CHAT.read(json.dumps({"model": "m", "messages": [{"content": [part]}]}).encode())
    assert 600 <= call.input_typical.input_audio_tokens <= 610
    assert call.input_bound.input_tokens < 2_000


def test_tools_add_their_prompt() -> None:
    """Tools count more than their bytes, for the provider describes them anew."""
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    base = {"model": "m", "messages": []}
    without = OPENAI_CHAT.read(json.dumps(base).encode())
    raw = json.dumps({**base, "tools": [tool]}).encode()
    assert OPENAI_CHAT.read(raw).input_bound.input_tokens > without.input_bound.input_tokens + 2 * len(json.dumps(tool))


def test_too_many_objects() -> None:
    """A body of nothing but objects is refused before it becomes objects of ours."""
    many = b'{"model":"m","messages":[' + b"{}," * 600_000 + b"{}]}"
    wide = b'{"model":"m","messages":[]' + b"".join(b',"%d":1' % n for n in range(600_000)) + b"}"
    for raw in (many, wide):
        with pytest.raises(BadRequest, match="more than"):
            OPENAI_CHAT.read(raw)


def _gif(screen: tuple[int, int], picture: tuple[int, int]) -> bytes:
    extension = b"!\xff\x0bNETSCAPE2.0\x03\x01\0\0\0"
    return (
        b"GIF89a"
        + struct.pack("<HHBBB", *screen, 0x80, 0, 0)
        + bytes(6)
        + extension
        + struct.pack("<BHHHHB", 0x2C, 0, 0, *picture, 0)
    )


def test_a_gif_is_as_large_as_its_first_picture() -> None:
    """Some readers enlarge the screen to it; one whose pictures come late is not known."""
    assert media.image_size(_gif((1, 1), (4_000, 3_000))) == (4_000, 3_000)
    assert media.image_size(_gif((640, 480), (1, 1))) == (640, 480)
    assert media.image_size(_gif((640, 480), (1, 1))[:-8]) is None


def test_an_image_that_is_too_long_for_its_size_is_not_believed() -> None:
    """No picture has more bytes than its pixels and its camera's data: then the dearest reading holds."""
    png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 10, 10)
    believed, not_believed = (media.openai_image(base64.b64encode(png + bytes(size))) for size in (400_000, 700_000))
    assert believed.most < not_believed.most == media.openai_image(b"").most


@pytest.mark.parametrize("text", ["hello world, 1234! " * 40_000, "\u4e2d\u6587 and more " * 40_000, "A1b2" * 100_000])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_long_text_is_estimated_as_in_one_piece(text: str, ascii_only: bool) -> None:
    """In slices and in little memory: a few tokens more for escapes that lie across two of them."""
    whole = len(text.encode())
    body = json.dumps({"model": "m", "messages": [{"content": text}]}, ensure_ascii=ascii_only).encode()
    call = OPENAI_CHAT.read(body)
    typical, upper = estimates(text.encode())
    assert whole <= call.input_bound.input_tokens <= whole * 1.002 + 2_000
    assert typical * 0.99 <= call.input_typical.input_tokens <= typical * 1.01 + 100
    assert call.input_upper.input_tokens <= upper * 1.01 + 1_000


def test_base64_is_read_as_its_writers_write_it() -> None:
    """With lines, in the URL's alphabet, without padding, and with the escapes of PHP and .NET."""
    data = bytes(range(256)) * 9_000
    usual = base64.b64encode(data)
    lines = b"\n".join(usual[at : at + 77] for at in range(0, len(usual), 77))
    for text in (usual, lines, base64.urlsafe_b64encode(data), usual.rstrip(b"="), memoryview(usual)):
        assert media.decode_base64(text) == data
        assert data.startswith(media.decode_base64(text, 1_000))
    escaped = usual.replace(b"/", b"\\/").replace(b"+", b"\\u002B").replace(b"=", b"\\u003d")
    assert string_bytes(b'"%b"' % escaped) == usual
    assert string_bytes(b'"' + b"a" * (1 << 20) + b'\\n"') == b""
