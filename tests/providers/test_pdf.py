"""How many pages PDFs have: honest ones exactly, and never fewer than the most patient reader finds."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.bounding import pdf as reading
from providers.bounding.pdf import PAGES_MAX, Budget

CATALOG = b"<< /Type /Catalog /Pages 2 0 R >>"
PAGE = b"<< /Type /Page /Parent 2 0 R /Contents 9 0 R /LastModified (D:2026) /ID <1a2B> >>"


def pages(data: bytes) -> int | None:
    return reading.pages(data, Budget())


def refs(*numbers: int) -> bytes:
    return b" ".join(b"%d 0 R" % number for number in numbers)


def node(*kids: int, extra: bytes = b"") -> bytes:
    return b"<< /Type /Pages /Kids [%b] /Count %d %b>>" % (refs(*kids), len(kids), extra)


def plain(objects: dict[int, bytes]) -> bytes:
    return b"".join(b"%d 0 obj\n%b\nendobj\n" % (number, text) for number, text in objects.items())


def pdf(objects: dict[int, bytes], more: bytes = b"") -> bytes:
    return b"%PDF-1.7\n" + plain({1: CATALOG} | objects) + more + b"trailer << /Root 1 0 R >>\n%%EOF\n"


def packed(objects: dict[int, bytes], head: bytes = b"/Type /ObjStm ") -> bytes:
    """An object stream."""
    places, text = [], b""
    for number, each in objects.items():
        places.append(b"%d %d" % (number, len(text)))
        text += each + b" "
    front = b" ".join(places) + b" "
    body = zlib.compress(front + text)
    said = b"<< %b/N %d /First %d /Length %d /Filter /FlateDecode >>" % (head, len(objects), len(front), len(body))
    return b"90 0 obj\n" + said + b"\nstream\r\n" + body + b"\nendstream\nendobj\n"


TREE = {2: node(3, 4), 3: PAGE, 4: node(5, 6), 5: PAGE, 6: PAGE}
HONEST = {
    "one page": (pdf({2: node(3), 3: PAGE}), 1),
    "a tree of two levels": (pdf(TREE), 3),
    "a page added later": (pdf(TREE, plain({2: node(3, 4, 7), 7: PAGE})), 4),
    "a page removed later": (pdf(TREE, plain({2: node(4)})), 3),
    "in an object stream": (b"%PDF-1.5\n" + packed({1: CATALOG} | TREE), 3),
    "partly in one": (pdf({2: node(3, 4), 4: node(5, 6)}, packed({3: PAGE, 5: PAGE, 6: PAGE})), 3),
    "a thousand": (pdf({2: node(*range(10, 1_010))} | dict.fromkeys(range(10, 1_010), PAGE)), 1_000),
    "a form with fields of its own": (pdf(TREE | {20: b"<< /T (a) /Kids [%b] >>" % refs(*range(21, 80))}), 3),
    "an outline": (
        pdf(TREE | {30: b"<< /First 31 0 R /Last 31 0 R /Count 1 >>", 31: b"<< /Title (a(b) \\) /Kids) >>"}),
        3,
    ),
    "a font with a strange name": (pdf(TREE | {40: b"<< /Type /Font /BaseFont /A#20B >>"}), 3),
}
DEAR = {
    "one page five hundred times": (pdf({2: node(*[3] * 500), 3: PAGE}), 500),
    "in two levels": (pdf({2: node(*[3] * 50), 3: node(*[4] * 50), 4: PAGE}), 2_500),
    "in an object stream": (b"%PDF-1.5\n" + packed({1: CATALOG, 2: node(*[3] * 500), 3: PAGE}), 500),
    "in what does not say that it is one": (
        pdf({2: node(3), 3: PAGE}, packed({2: node(*[3] * 500)}, head=b"")), 500,
    ),
    "in a later definition": (pdf({2: node(3), 3: PAGE}, plain({2: node(*[3] * 500)})), 500),
    "in an earlier definition": (pdf({2: node(*[3] * 500), 3: PAGE}, plain({2: node(3)})), 500),
    "in another root": (pdf({2: node(3), 3: PAGE, 7: node(*[3] * 500), 8: b"<< /Type /Catalog /Pages 7 0 R >>"}), 500),
    "pages without a tree": (b"%PDF-1.4\n" + plain(dict.fromkeys(range(1, 8), PAGE)), 7),
}  # fmt: skip
MANY = node(*[3] * 500)
UNKNOWN = {
    "no PDF": b"hello",
    "nothing in it": b"%PDF-1.4\n",
    "three levels of five hundred": pdf({2: node(*[3] * 500), 3: node(*[4] * 500), 4: node(*[5] * 500), 5: PAGE}),
    "too many pages": pdf({2: node(*[3] * (PAGES_MAX + 1)), 3: PAGE}),
    "encrypted": pdf(TREE) + b"<< /Encrypt 5 0 R >>",
    "Kids, escaped": pdf({2: MANY.replace(b"/Kids", b"/K#69ds"), 3: PAGE}),
    "Pages, escaped": pdf({2: node(3), 3: PAGE, 7: MANY, 8: b"<< /Type /Catalog /P#61ges 7 0 R >>"}),
    "Page, escaped": b"%PDF-1.4\n" + plain(dict.fromkeys(range(1, 8), PAGE.replace(b"/Page ", b"/P#61ge "))),
    "an object stream, escaped": pdf(
        {2: node(3), 3: PAGE}, packed({2: MANY}, head=b"").replace(b"/First", b"/F#69rst")
    ),
    "a comment in the list": pdf({2: MANY.replace(b"3 0 R 3", b"3 0 R%\n 3"), 3: PAGE}),
    "a comment in a reference": pdf({2: MANY.replace(b"3 0 R", b"3 %\n0 R"), 3: PAGE}),
    "a comment in the root": pdf({2: node(3), 3: PAGE, 7: MANY, 8: b"<< /Type /Catalog /Pages %\n7 0 R >>"}),
    "a comment in a head": pdf({2: node(3), 3: PAGE}, b"2 0 %\nobj " + MANY + b" endobj"),
    "a head in a string": pdf({2: b"<< /X (endobj 6 0 obj) /Kids [%b] >>" % refs(*[3] * 500), 3: PAGE}),
    "a head in an escaped string": pdf({2: b"<< /X (\\)>>endobj 6 0 obj) /Kids [%b] >>" % refs(*[3] * 500), 3: PAGE}),
    "a head in a hex string": pdf({2: b"<< /X <>>endobj 6 0 obj << > /Kids [%b] >>" % refs(*[3] * 500), 3: PAGE}),
    "the list elsewhere": pdf({2: b"<< /Type /Pages /Kids 7 0 R >>", 3: PAGE, 7: b"[%b]" % refs(*[3] * 500)}),
    "nodes in the list": pdf({2: b"<< /Kids [ << /Kids [%b] >> ] >>" % refs(*[3] * 500), 3: PAGE}),
    "two lists": pdf({2: b"<< /Kids [3 0 R] /Kids [%b] >>" % refs(*[3] * 500), 3: PAGE}),
    "a root in place": b"%PDF-1.4\n" + plain({1: b"<< /Type /Catalog /Pages << /Kids [3 0 R 3 0 R] >> >>", 3: PAGE}),
    "a missing page": pdf({2: node(3, 4), 3: PAGE}),
    "a missing root": pdf({3: PAGE}),
    "a circle": pdf({2: node(3), 3: node(2)}),
    "an object stream that is packed otherwise": pdf({2: node(3), 3: PAGE}, packed({2: MANY}).replace(b"x\x9c", b"xx")),
    "an object stream with a predictor": pdf(
        {2: node(3), 3: PAGE}, packed({2: MANY}, head=b"/DecodeParms << /Predictor 12 >> ")
    ),
}


@pytest.mark.parametrize(("data", "count"), HONEST.values(), ids=HONEST.keys())
def test_honest_documents_are_counted_exactly(data: bytes, count: int) -> None:
    """Trees, updates, object streams; forms and outlines are no pages."""
    assert pages(data) == count


@pytest.mark.parametrize(("data", "count"), DEAR.values(), ids=DEAR.keys())
def test_a_page_counts_as_often_as_it_is_named(data: bytes, count: int) -> None:
    """A document of 3 KB can have 500 pages."""
    assert pages(data) == count


@pytest.mark.parametrize("data", UNKNOWN.values(), ids=UNKNOWN.keys())
def test_what_could_be_read_in_two_ways_is_not_counted(data: bytes) -> None:
    """Then the model's whole window is held, or the request refused."""
    assert pages(data) is None


WORDS = (
    b"1 0 obj",
    b"endobj",
    b"<<",
    b">>",
    b"/Kids [",
    b"]",
    b"2 0 R",
    b"/Pages ",
    b"/Type /Page",
    b"stream\r\n",
    b"(",
)
MORE = (b")", b"%", b"\n", b"/First 3", b"/N 1", b"#61", packed(TREE), plain(TREE), b"\0", b"99999999999")


def test_all_documents_of_a_request_have_one_budget() -> None:
    """What the first unpack, the next cannot; a document that needs none of it is counted all the same."""
    budget = Budget(2_500)
    document = b"%PDF-1.5\n" + packed({1: CATALOG, 2: node(*[3] * 200), 3: PAGE})
    assert [reading.pages(document, budget) for _ in range(2)] == [200, None]
    assert reading.pages(pdf(TREE), budget) == 3


PIECES = st.sampled_from(WORDS + MORE)


@settings(max_examples=300, derandomize=True)
@given(st.lists(PIECES, max_size=40))
def test_no_bytes_raise(pieces: list[bytes]) -> None:
    found = pages(b"%PDF-1.7\n" + b" ".join(pieces))
    assert found is None or 0 < found <= PAGES_MAX


@pytest.mark.parametrize(
    "piece", [b"1 0 obj ", b"/Type /Page ", b"/Pages 1 0 R ", b"/Kids [", b"<<", b"(", b"/#", b"obj "]
)
def test_hostile_documents_are_given_up_soon(piece: bytes) -> None:
    """Two megabytes of what looks like structure are no document; reading them is one pass, not a square."""
    assert pages(b"%PDF-1.7\n" + piece * ((2 << 20) // len(piece))) is None
