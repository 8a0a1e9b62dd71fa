"""A head that a connection remembers is taken as if it had been the first."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.bounds import HEAD_KEPT_BYTES
from gateway.edge.credentials import credentials
from gateway.edge.head import Head
from gateway.edge.headers import as_mapping, origin, to_provider
from providers.ground.vendors import VENDORS
from providers.routing import match

Fields = list[tuple[bytes, bytes]]

SECRETS = (b"Bearer fk_live_a", b"Bearer fk_live_b", b"Token fk_live_a", b"Basic x", b"")
FIELDS: Fields = [
    (b"host", b"gateway.example"),
    (b"host", b"[::1]:8787"),
    (b"authorization", SECRETS[0]),
    (b"authorization", SECRETS[1]),
    (b"authorization", SECRETS[2]),
    (b"authorization", SECRETS[4]),
    (b"x-api-key", b"fk_live_b"),
    (b"content-length", b"2"),
    (b"content-length", b"1168"),
    (b"content-type", b"application/json"),
    (b"connection", b"keep-alive"),
    (b"connection", b"close, user-agent"),
    (b"user-agent", b"anthropic/python"),
    (b"anthropic-version", b"2023-06-01"),
    (b"x-forwarded-proto", b"https"),
    (b"idempotency-key", b"once"),
    (b"x-farthing-max-cost-usd", b"1"),
]
TARGETS = (
    b"/v1/chat/completions",
    b"/v1/chat/%63ompletions",
    b"/v1/models",
    b"/v1beta/models/gemini-pro:generateContent",
)
LENGTHS: Fields = [(b"content-length", b"2"), (b"content-length", b"31")]
heads = st.tuples(
    st.sampled_from(["POST", "GET"]),
    st.sampled_from(TARGETS),
    st.sampled_from([b"", b"key=fk_live_a", b"beta=true"]),
    st.lists(st.one_of(st.sampled_from(FIELDS), st.sampled_from(LENGTHS)), max_size=5),
)


class Connection:
    head: Head | None = None


def scope(method: str, target: bytes, query: bytes, fields: Fields) -> dict[str, Any]:
    return {
        "method": method,
        "raw_path": target,
        "path": "",
        "query_string": query,
        "headers": fields,
        "scheme": "http",
    }


def ours(secret: str) -> bool:
    return secret.startswith("fk_")


# From one to the next a single thing changes.
FORWARDED = [
    (VENDORS["openai"], "k", 1),
    (VENDORS["openai"], "l", 1),
    (VENDORS["openai"], "l", 2),
    (VENDORS["anthropic"], "l", 2),
]


def comes_to(head: Head, fields: Fields) -> tuple[object, ...]:
    """Everything that is asked of a head."""
    said = [head.credentials(ours, url_keys=url_keys) for url_keys in ((), ("key",))]
    return head.method, head.found, head.origin, head.mapping(fields), said, [head.to_provider(*to) for to in FORWARDED]


def alone(method: str, target: bytes, query: bytes, fields: Fields) -> tuple[object, ...]:
    """The same without anything remembered."""
    mapping = as_mapping(fields)
    said = [credentials(fields, query, ours, url_keys=url_keys) for url_keys in ((), ("key",))]
    forwarded = [to_provider(fields, *to) for to in FORWARDED]
    found = match(method, target.decode(), mapping, query)
    return method, found, origin("http", mapping), mapping, said, forwarded


@st.composite
def neighbours(draw: st.DrawFn) -> list[tuple[str, bytes, bytes, Fields]]:
    """A head, and some that differ from it in one field: another value, one more, one less, or none."""
    method, target, query, fields = draw(heads)
    found = [(method, target, query, fields), draw(heads)]
    for _ in range(draw(st.integers(1, 3))):
        changed = list(fields)
        at = draw(st.integers(0, len(changed)))
        changed[at : at + draw(st.integers(0, 1))] = draw(st.lists(st.sampled_from(FIELDS), max_size=1))
        found.append((method, target, query, changed))
    return found


@given(neighbours(), st.lists(st.integers(0, 4), min_size=3, max_size=10))
@settings(max_examples=600)
def test_no_request_is_taken_for_another(drawn: list[tuple[str, bytes, bytes, Fields]], order: list[int]) -> None:
    """Whatever heads follow one another on a connection, each comes to what it comes to alone."""
    connection = Connection()
    for number in order:
        method, target, query, fields = drawn[number % len(drawn)]
        head = Head.of(scope(method, target, query, list(fields)), connection)
        assert comes_to(head, fields) == alone(method, target, query, fields)


def test_a_head_that_differs_in_its_length_alone_is_the_same() -> None:
    """So it is with every conversation that goes on."""
    connection = Connection()
    rest: Fields = [(b"host", b"gateway.example"), (b"authorization", SECRETS[0])]
    first = Head.of(scope("POST", TARGETS[0], b"", [*rest, (b"content-length", b"2")]), connection)
    fields: Fields = [*rest, (b"content-length", b"31")]
    again = Head.of(scope("POST", TARGETS[0], b"", fields), connection)
    assert again is first
    assert again.mapping(fields)["content-length"] == "31"


def test_what_is_forwarded_may_be_changed() -> None:
    """The next request's is not changed by that."""
    head = Head("POST", TARGETS[0], b"", [(b"content-type", b"a/b")])
    for _ in range(2):
        forwarded, mapping = head.to_provider(VENDORS["openai"], "k", 1), head.mapping(head.fields)
        assert forwarded["content-type"] == mapping["content-type"] == "a/b"
        forwarded["content-type"] = mapping["content-type"] = "c/d"


def test_a_long_head_is_not_remembered() -> None:
    """Nor is the one before it, so that a connection holds no more than that."""
    connection = Connection()
    for more, remembered in ((0, True), (1, False), (0, True)):
        size = HEAD_KEPT_BYTES - len(TARGETS[0]) - len(b"x-long") + more
        Head.of(scope("POST", TARGETS[0], b"", [(b"x-long", b"x" * size)]), connection)
        assert (connection.head is not None) == remembered
