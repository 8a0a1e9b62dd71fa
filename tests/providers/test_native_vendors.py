"""Shapes that one vendor has alone: MiniMax's speech, Mistral's OCR, xAI's pictures; read, bounded and metered."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.compatible.images import IMAGES
from providers.contract.metering import conclude
from providers.contract.shapes import Shape
from providers.ground.errors import BadRequest
from providers.ground.usage import Usage
from providers.minimax.speech import MINIMAX_SPEECH, billed_characters
from providers.mistral.ocr import MISTRAL_OCR, PAGES_MAX
from tests.providers.answers import CUTS, read, sse


def ask(shape: Shape, **members: Any) -> Any:
    return shape.read(json.dumps({"model": "m", **members}).encode())


class TestSpeech:
    ANSWER = (
        b'{"data":{"audio":"4944","status":2},"extra_info":{"audio_length":9900,"usage_characters":26,'
        b'"audio_format":"mp3"},"trace_id":"t","base_resp":{"status_code":0,"status_msg":"success"}}'
    )

    def test_characters_are_bounded(self) -> None:
        """A wide character may count as two, so twice the text is the bound; what is held is what is expected."""
        call = ask(MINIMAX_SPEECH, text="Hi 你好", stream=True)
        assert (call.input_upper, call.input_bound, call.stream) == (Usage(characters=7), Usage(characters=10), True)
        assert call.output_field == ""
        for bad in ({}, {"text": 3}, {"text": None}):
            with pytest.raises(BadRequest) as caught:
                ask(MINIMAX_SPEECH, **bad)
            assert caught.value.param == "text"

    @given(st.text(max_size=50))
    def test_what_is_expected_stays_below_the_bound(self, text: str) -> None:
        """Whatever the text."""
        assert len(text) <= billed_characters(text) <= 2 * len(text)

    @given(CUTS)
    def test_the_count_stands_behind_the_sound(self, cuts: list[int]) -> None:
        """Whole or in the last event, in any pieces, however much sound is before it."""
        large = self.ANSWER.replace(b"4944", b"4944" * 50_000)
        for data in (self.ANSWER, large):
            assert read(MINIMAX_SPEECH, data, streamed=False, cuts=cuts).usage == Usage(characters=26)
        events = sse({"data": {"audio": "49", "status": 1}}, json.loads(self.ANSWER))
        assert read(MINIMAX_SPEECH, events, cuts=cuts).usage == Usage(characters=26)

    def test_without_the_count_the_text_is_billed(self) -> None:
        """An answer that was cut costs what the text was expected to."""
        call = ask(MINIMAX_SPEECH, text="Hi 你好")
        got = read(MINIMAX_SPEECH, self.ANSWER[:40], streamed=False, call=call)
        concluded = conclude(call, got, ended="cut", http_status=200)
        assert (concluded.status, concluded.usage) == ("estimated", Usage(characters=7))


PDF = b"%PDF-1.4 1 0 obj<</Type/Pages/Count 2>>endobj 2 0 obj<</Type/Page>>endobj 3 0 obj<</Type /Page>>endobj"
INSIDE = {"type": "document_url", "document_url": "data:application/pdf;base64," + base64.b64encode(PDF).decode()}
ELSEWHERE = {"type": "document_url", "document_url": "https://example.com/a.pdf"}
PICTURE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
FILE = {"type": "file", "file_id": "f"}


class TestOcr:
    @pytest.mark.parametrize(
        ("document", "pages", "upper", "most"),
        [
            (INSIDE, None, 2, 2),
            (INSIDE, [0], 1, 1),
            (INSIDE, "0-9", 2, 2),
            (PICTURE, None, 1, 1),
            (ELSEWHERE, None, 100, PAGES_MAX),
            (FILE, None, 100, PAGES_MAX),
            (ELSEWHERE, [4, 7], 2, 2),
            (ELSEWHERE, "0-2,7", 4, 4),
            (ELSEWHERE, "0-99999", PAGES_MAX, PAGES_MAX),
            (ELSEWHERE, "nonsense", PAGES_MAX, PAGES_MAX),
            (ELSEWHERE, "9-1", 1, 1),
        ],
    )
    def test_pages_are_bounded(self, document: Any, pages: Any, upper: int, most: int) -> None:
        """By the document where it is at hand, by the pages that are asked for, else by what the provider takes."""
        call = ask(MISTRAL_OCR, document=document, pages=pages)
        assert (call.input_upper, call.input_bound) == (Usage(pages=upper), Usage(pages=most))
        annotated = ask(MISTRAL_OCR, document=document, pages=pages, document_annotation_format={"type": "x"})
        assert annotated.input_bound == Usage(pages=most, tools={"annotated_page": most})

    @pytest.mark.parametrize(("members", "param"), [({}, "document"), ({"document": 3}, "document"),
                                                    ({"document": PICTURE, "pages": {}}, "pages")])  # fmt: skip
    def test_refuses_what_cannot_be_read(self, members: Any, param: str) -> None:
        """With the field's name."""
        with pytest.raises(BadRequest) as caught:
            ask(MISTRAL_OCR, **members)
        assert caught.value.param == param

    @given(CUTS)
    def test_the_pages_that_were_processed_are_billed(self, cuts: list[int]) -> None:
        """As the answer says, annotated ones beside if annotations were asked for; also of a body too large to keep."""
        plain, more = ask(MISTRAL_OCR, document=ELSEWHERE), ask(MISTRAL_OCR, document=INSIDE, bbox_annotation_format={})
        for markdown in ("x", "x" * 5_000_000):
            answer = {"pages": [{"markdown": markdown}], "model": "mistral-ocr-4-1", "usage_info":
                      {"pages_processed": 3, "doc_size_bytes": 9}}  # fmt: skip
            data = json.dumps(answer).encode()
            assert read(MISTRAL_OCR, data, streamed=False, cuts=cuts, call=plain).usage == Usage(pages=3)
            got = read(MISTRAL_OCR, data, streamed=False, cuts=cuts, call=more).usage
            assert got == Usage(pages=3, tools={"annotated_page": 3})

    @pytest.mark.parametrize("usage", [None, {}, {"pages_processed": -1}, {"pages_processed": "x"}, 3])
    def test_without_pages_it_is_estimated(self, usage: Any) -> None:
        """Never free."""
        call = ask(MISTRAL_OCR, document=INSIDE)
        got = read(MISTRAL_OCR, json.dumps({"usage_info": usage}).encode(), streamed=False, call=call)
        concluded = conclude(call, got, ended="complete", http_status=200)
        assert (concluded.status, concluded.usage) == ("estimated", Usage(pages=2))


class TestImages:
    def test_pictures_are_bounded(self) -> None:
        """By `n`, which is 1 where it is not said."""
        assert ask(IMAGES, prompt="a cat").input_bound == Usage(images=1)
        assert ask(IMAGES, prompt="a cat", n=4).input_bound == Usage(images=4)
        with pytest.raises(BadRequest):
            ask(IMAGES, n=11)

    @pytest.mark.parametrize(
        ("answer", "expected"),
        [
            ({"data": [{}, {}], "usage": {"cost_in_usd_ticks": 7}}, Usage(images=2, provider_cost_picos=700)),
            ({"data": [{}]}, Usage(images=1)),  # of two that were asked for
            ({"data": [{}], "usage": {"cost_in_usd_ticks": -1}}, Usage(images=1)),
            ({"usage": {"cost_in_usd_ticks": 7}}, Usage(provider_cost_picos=700)),
            ({"error": "no"}, None),
        ],
    )
    def test_what_was_made_is_billed(self, answer: Any, expected: Usage | None) -> None:
        """At the price that is stated, else by the picture."""
        call = ask(IMAGES, n=2)
        assert read(IMAGES, json.dumps(answer).encode(), streamed=False, call=call).usage == expected

    def test_of_a_body_too_large_to_keep_the_price_is_read(self) -> None:
        """It stands behind the pictures; without it, all that were asked for are billed."""
        call = ask(IMAGES, n=2)
        data = [{"b64_json": "x" * 3_000_000}] * 2
        stated = json.dumps({"data": data, "usage": {"cost_in_usd_ticks": 7}}).encode()
        assert read(IMAGES, stated, streamed=False, call=call).usage == Usage(images=2, provider_cost_picos=700)
        assert read(IMAGES, json.dumps({"data": data}).encode(), streamed=False, call=call).usage == Usage(images=2)
