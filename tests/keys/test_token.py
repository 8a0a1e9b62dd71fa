"""The format of a secret: one word, 256 bits, and a checksum that only this installation can make."""

from __future__ import annotations

import secrets
import string
from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from keys import token

KEY = bytes(range(32))
OTHER_KEY = bytes(range(1, 33))
entropies = st.binary(min_size=32, max_size=32)


@given(entropies, st.booleans())
@example(bytes(32), True)
@example(b"\xff" * 32, False)
def test_what_is_made_is_read(entropy: bytes, livemode: bool) -> None:
    """A secret is read back with its mode and locator, and is one word of a fixed length."""
    locator = token.new_locator()
    made = token.make(livemode, locator, entropy, KEY)
    assert token.parse(made.secret, KEY) == made
    assert (made.locator, made.livemode) == (locator, livemode)
    assert len(made.secret) == token.LENGTH
    assert made.secret.startswith("fk_live_" if livemode else "fk_test_")
    assert made.secret.isascii()
    assert made.secret.replace("_", "").isalnum()


@given(entropies, entropies)
def test_the_same_entropy_makes_the_same_secret_and_other_entropy_another(one: bytes, two: bytes) -> None:
    """All 256 bits of the entropy are in the secret."""
    first, second = token.make(True, "L" * 12, one, KEY), token.make(True, "L" * 12, two, KEY)
    assert (first == second) == (one == two)


@given(st.text() | st.text(alphabet=token.ALPHABET + "_", min_size=60, max_size=80))
def test_garbage_is_no_secret(text: str) -> None:
    """Whatever text comes, it is not taken for a secret, and nothing breaks."""
    assert token.parse(text, KEY) is None
    assert token.parse(("fk_live_" + text)[: token.LENGTH], KEY) is None


@given(entropies, st.data())
def test_a_secret_that_was_changed_anywhere_is_no_secret(entropy: bytes, data: st.DataObject) -> None:
    """One other character at any place, a character more or less, and the checksum turns it away."""
    secret = token.make(True, token.new_locator(), entropy, KEY).secret
    place = data.draw(st.integers(0, len(secret) - 1))
    other = data.draw(st.sampled_from(token.ALPHABET + "_é\x00 "))
    changed = secret[:place] + other + secret[place + 1 :]
    assert (token.parse(changed, KEY) is not None) == (changed == secret)
    assert token.parse(secret[:-1], KEY) is None
    assert token.parse(secret + "A", KEY) is None
    assert token.parse(secret[:place] + secret[place + 1 :], KEY) is None


def test_another_installations_secret_is_no_secret() -> None:
    """A checksum is worth nothing under another key."""
    made = token.make(True, token.new_locator(), secrets.token_bytes(32), OTHER_KEY)
    assert token.parse(made.secret, KEY) is None


def test_the_mode_cannot_be_changed() -> None:
    """A test secret does not become a live one by writing so."""
    made = token.make(False, token.new_locator(), secrets.token_bytes(32), KEY)
    assert token.parse(made.secret.replace("fk_test_", "fk_live_"), KEY) is None


@pytest.mark.parametrize("size", [0, 16, 31, 33, 64])
def test_a_secret_has_256_bits_and_no_other_number(size: int) -> None:
    """Entropy of any other length is refused."""
    with pytest.raises(ValueError, match="256 bits"):
        token.make(True, "L" * 12, bytes(size), KEY)


def test_locators_are_spread_evenly() -> None:
    """Locators do not repeat, and use the whole alphabet about equally."""
    made = [token.new_locator() for _ in range(4_000)]
    assert len(set(made)) == 4_000
    counts = Counter("".join(made))
    assert set(counts) == set(string.ascii_letters + string.digits)
    assert max(counts.values()) < 2 * min(counts.values())
