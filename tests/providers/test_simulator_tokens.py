"""What media cost, by the size that their first bytes state."""

from __future__ import annotations

import base64

import pytest

from providers.simulator import tokens


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def png(width: int, height: int) -> str:
    head = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return encoded(head + b"\x08\x02\x00")


def jpeg(width: int, height: int) -> str:
    frame = b"\xff\xc0\x00\x11\x08" + height.to_bytes(2, "big") + width.to_bytes(2, "big") + b"\x03\x01\x22\x00"
    return encoded(b"\xff\xd8\xff\xe0\x00\x04ab" + frame)


@pytest.mark.parametrize("make", [png, jpeg])
def test_an_image_costs_by_its_size(make: type[str]) -> None:
    assert tokens.anthropic_image(make(750, 100)) == 100
    assert tokens.openai_image("data:image/x;base64," + make(64, 64), "auto") == 5


def test_an_image_of_unknown_size_costs_as_one_of_1024_pixels() -> None:
    assert tokens.anthropic_image(None) == tokens.anthropic_image("!!!") == 1_399
    assert tokens.openai_image("https://example.com/a.png", "high") == 1_229
    assert tokens.openai_image("https://example.com/a.png", "low") == 85


def test_a_huge_image_is_scaled_down() -> None:
    assert tokens.anthropic_image(png(2**31, 2**31)) == 4_005
    assert tokens.openai_image("data:image/png;base64," + png(2**31, 2**31), "auto") == 10_000


def test_a_document_costs_by_its_pages() -> None:
    assert tokens.document(encoded(b"/Type /Pages /Type /Page /Type/Page ")) == 4_000
    assert tokens.document(None) == tokens.document("é") == 2_000
