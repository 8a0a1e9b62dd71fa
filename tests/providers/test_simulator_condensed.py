"""A long text in a request is cut before anything is made of it, and counts as ever."""

from __future__ import annotations

import base64
import json
import tracemalloc
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.simulator import Faults, answer, condensed, forms, tokens

LONG = condensed.LONG_BYTES
UNITS = ("hello world ", "é", "日本", "\U0001f600", '"', "\\", "1234567", "a", " \n", "__", "x" * 9, "\u0000", "½²")


def cut(text: str, *, ascii_: bool) -> tuple[bytes, str, condensed.Places]:
    """A request with the text in it, the text as it is read there, and what its mark stands for."""
    body = json.dumps({"a": text, "b": [text, 1]}, ensure_ascii=ascii_).encode()
    read, places = condensed.condensed(body)
    found = msgspec.json.decode(read)
    assert found["a"] == found["b"][0], "equal texts have equal marks"
    return body, found["a"], places


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(UNITS), min_size=1, max_size=6), st.booleans(), st.integers(0, 40))
def test_a_marked_text_counts_as_the_whole(units: list[str], ascii_: bool, shift: int) -> None:
    """Its tokens and characters, wherever it was cut; and what repeats it repeats all of it."""
    unit = "".join(units)
    text = "x" * shift + unit * (3 * LONG // len(unit))
    body, marked, places = cut(text, ascii_=ascii_)
    assert len(marked) < LONG + 200
    assert tokens.count(marked) == tokens.count(text)
    assert tokens.length(marked) == len(text)
    again = condensed.restored(msgspec.json.encode({"said": marked}), body, places)
    assert msgspec.json.decode(again) == {"said": text}


def test_what_is_not_long_stays_as_it_is() -> None:
    """To the byte, and so does what is no JSON."""
    short = json.dumps(["x" * (LONG - 10), "\\" * 4_000, {"a": "b" * 1_000}] * 3).encode()
    broken = (b"\\" * (2 * LONG + 1), b"\xff" * 3 * LONG, b"\\ud800" * LONG, b"\n" * 2 * LONG)
    unfinished = [b'{"a":"' + b"x" * 2 * LONG, b'["' + b"\\" * (2 * LONG + 1), b"x" * 3 * LONG]
    for body in (short, short[:-1], *unfinished, *(b'{"a":"%b"}' % text for text in broken)):
        assert condensed.condensed(body) == (body, {})


@pytest.mark.parametrize("written", [tokens.MARK, "\\ufdd0", "\\uFDD0"])
def test_nobody_brings_a_mark_of_his_own(written: str) -> None:
    """A text that says that it counts a thousand million counts what it is."""
    own = f"{written}999999999:999999999:9:{'0' * 32}{written}"
    body = f'{{"a":"{own}","b":"{"x" * 3 * LONG}"}}'.encode()
    read, _ = condensed.condensed(body)
    assert tokens.count(msgspec.json.decode(read)["a"]) < 100


def test_a_document_s_pages_are_counted_wherever_they_stand() -> None:
    """Beyond the beginning, too, and across the pieces of it."""
    pdf = b"%PDF-1.7\n" + (b"<< /Type /Page >>" + b" " * 1_000) * 500 + b"%%EOF"
    data = base64.b64encode(pdf).decode()
    _, marked, _ = cut("data:application/pdf;base64," + data, ascii_=True)
    assert tokens.MARK in marked
    assert tokens.document(marked.rpartition(",")[2]) == tokens.document(data) == 500 * 2_000


SIZED: dict[str, tuple[str, Any]] = {
    "text": ("/v1/chat/completions", "hello world "),
    "beyond the basic plane": ("/v1/chat/completions", "hello world, \U0001f600"),
    "instructions that are repeated": ("/v1/responses", "do this "),
    "UTF-8": ("/v1/chat/completions", "é"),
    "quotes": ("/v1/chat/completions", '"'),
}


@pytest.mark.parametrize("name", SIZED)
def test_a_long_text_takes_little_memory(name: str) -> None:
    """Less than once again its size, whatever it is made of; it is counted as the whole, and repeated whole."""
    path, unit = SIZED[name]
    text = unit * (4_000_000 // len(unit.encode()))
    asked: dict[str, Any] = {"model": "gpt-4o-mini", "max_tokens": 20}
    asked |= {"input": "hi", "instructions": text} if "responses" in path else {
        "messages": [{"role": "user", "content": text}]}  # fmt: skip
    body = json.dumps(asked, ensure_ascii=False).encode()
    tracemalloc.start()
    made = answer("POST", path, {}, body, faults=Faults(), request_id="req_1", now_s=1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert made.status == 200
    told = b"".join(step for step in made.steps if isinstance(step, bytes))
    repeats = "responses" in path
    assert peak < len(body) * (3 if repeats else 1)
    assert made.billed is not None
    assert abs(made.billed["input_tokens"] - tokens.count(text)) < 40
    assert (json.loads(told).get("instructions") == text) is repeats


def test_a_crowd_is_refused_before_anything_is_built_of_it() -> None:
    """More objects, lists and strings than any conversation has; what stands in strings is none of them."""
    few = json.dumps({"messages": [{"role": "user", "content": '{["' * 50_000}] * 3}).encode()
    many = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user"}] * 40_000}).encode()
    assert not condensed.is_crowded(few)
    assert condensed.is_crowded(many)
    tracemalloc.start()
    made = answer("POST", "/v1/chat/completions", {}, many, faults=Faults(), request_id="req_1", now_s=1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert made.status == 400
    assert peak < 200_000


FORM = (b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n--b\r\n'
        b'Content-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n%b\r\n--b--\r\n')  # fmt: skip


def test_a_large_form_is_not_copied() -> None:
    """Its file is a view of the body."""
    body = FORM % (b"\r\n--\n" * 1_000_000)
    tracemalloc.start()
    form = forms.read("multipart/form-data; boundary=b", body)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert form is not None
    assert (form.fields, form.names, len(form.files["file"][0])) == (
        {"purpose": "user_data"},
        {"file": "a.bin"},
        5_000_000,
    )
    assert peak < 200_000


@pytest.mark.parametrize("body", [b"", b"--b", b"--b--", b"--b\r\n", b"--b\r\n\r\n", b"x", b"\r\n--b\r\n\r\n\r\n--b"])
def test_a_form_that_is_none_has_no_parts(body: bytes) -> None:
    """Nothing raises."""
    form = forms.read("multipart/form-data; boundary=b", body)
    assert form is not None
    assert not form.files
    assert forms.read("multipart/form-data", body) is None
