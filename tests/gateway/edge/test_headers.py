"""Of header fields passes what is listed, in both directions; credentials and the operator's account never do."""

from __future__ import annotations

import pytest

from gateway.bounds import HEADER_BYTES_MAX, HEADERS_MAX
from gateway.edge.headers import as_mapping, fields_bytes, origin, to_client, to_provider, to_provider_socket, too_large
from providers.ground.vendors import VENDORS

OPENAI = VENDORS["openai"]


def test_the_operator_s_credential_stands_in_place_of_the_client_s() -> None:
    """In the vendor's own header; no other field that could carry a key goes on."""
    sent = [
        (b"authorization", b"Bearer theirs"),
        (b"x-api-key", b"theirs"),
        (b"api-key", b"theirs"),
        (b"cookie", b"theirs"),
        (b"x-farthing-end-user", b"theirs"),
        (b"content-type", b"application/json"),
    ]
    for vendor in VENDORS.values():
        made = to_provider(sent, vendor, "ours")
        assert "theirs" not in "".join(made.values()), vendor.name
        assert made[vendor.key_header] == vendor.key_prefix + "ours"
        assert made["content-type"] == "application/json"


def test_what_is_asked_of_the_next_hop_is_ours_to_say() -> None:
    """No encoding that a meter could not read, our name on the way, and nothing that belongs to the client's hop."""
    made = to_provider(
        [(b"accept-encoding", b"br"), (b"connection", b"accept, close"), (b"te", b"trailers"), (b"accept", b"a/b")],
        OPENAI,
        "ours",
    )
    assert (made["accept-encoding"], made["via"]) == ("identity", "1.1 farthing")
    assert not {"connection", "te", "accept"} & made.keys()  # the client's own hop had the last one


def test_a_repeated_field_is_a_list() -> None:
    assert to_provider([(b"accept", b"a/b"), (b"accept", b"c/d")], OPENAI, "k")["accept"] == "a/b, c/d"


def test_an_idempotency_key_is_each_tenant_s_own() -> None:
    """The same from two tenants is two to the provider; the same from one stays one, and is not what was sent."""
    sent = [(b"idempotency-key", b"once")]
    one, again, two = (to_provider(sent, OPENAI, "k", tenant)["idempotency-key"] for tenant in (1, 1, 2))
    assert one == again != two
    assert "once" not in one + two


def test_a_handshake_has_no_encoding_of_a_body() -> None:
    whole, shaken = to_provider([], OPENAI, "k"), to_provider_socket([], OPENAI, "k")
    assert whole.keys() - shaken.keys() == {"accept-encoding"}


def test_a_client_sees_what_is_listed() -> None:
    """Whatever its case; no cookie, no banner, no name of the operator's account."""
    sent = {
        "Content-Type": "text/plain",
        "RETRY-AFTER": "3",
        "set-cookie": "a=b",
        "server": "nginx",
        "openai-organization": "operator",
        "transfer-encoding": "chunked",
        "content-length": "7",
    }
    for vendor in VENDORS.values():
        assert to_client(sent, vendor) == [(b"content-type", b"text/plain"), (b"retry-after", b"3")], vendor.name


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({"host": "a.example:8443"}, "http://a.example:8443"),
        ({"host": "[::1]:80"}, "http://[::1]:80"),
        ({"host": "a.example", "x-forwarded-proto": "https"}, "https://a.example"),
        ({"host": "a.example", "x-forwarded-proto": "gopher"}, "http://a.example"),
        ({"host": "a.example/path"}, ""),
        ({"host": "a b"}, ""),
        ({}, ""),
    ],
)
def test_where_the_client_found_us_is_a_host_or_nothing(headers: dict[str, str], found: str) -> None:
    assert origin("http", headers) == found


def test_of_a_repeated_field_the_last_is_found_by_name() -> None:
    assert as_mapping([(b"a", b"1"), (b"b", b"\xe9"), (b"a", b"2")]) == {"a": "2", "b": "é"}


def test_fields_are_bounded_in_number_and_in_size() -> None:
    one = (b"ab", b"c")
    assert fields_bytes([one, one]) == 6
    assert not too_large([one] * HEADERS_MAX)
    assert too_large([one] * (HEADERS_MAX + 1))
    assert not too_large([(b"", bytes(HEADER_BYTES_MAX))])
    assert too_large([(b"a", bytes(HEADER_BYTES_MAX))])
