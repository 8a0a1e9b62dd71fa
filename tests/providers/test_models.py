"""A list of models shows what its caller may use, and not whose account it comes from."""

from __future__ import annotations

import json

import pytest

from providers.stored.models import narrowed, without_owners

LIST = json.dumps(
    {"object": "list", "data": [{"id": "gpt-4o", "owned_by": "system"}, {"id": "o3", "owned_by": "openai"}]}
).encode()


@pytest.mark.parametrize(
    "owner", ["org-a1B2c3", "user-9x8y7z", "proj_12345", "5f1d8a52-7c1e-4a55-9d0f-0a1b2c3d4e5f", "org-ünïcode"]
)
def test_an_account_s_id_does_not_leave(owner: str) -> None:
    """The operator's own models are his by an id that is nobody else's business; nothing else of the list changes."""
    own = {"id": "ft:gpt-4o:acme::x1", "object": "model", "owned_by": owner}
    body = json.dumps({"object": "list", "data": [own, {"id": "gpt-4o", "owned_by": "system"}]}).encode()
    shown = without_owners(body)
    assert owner.encode() not in shown and json.dumps(owner).encode() not in shown
    assert json.loads(shown)["data"] == [
        own | {"owned_by": "organization-owner"},
        {"id": "gpt-4o", "owned_by": "system"},
    ]


@pytest.mark.parametrize("body", [LIST, b"[]", b'{"models": [{"name": "models/gemini-2.5-pro"}]}', b"no json"])
def test_a_vendor_s_own_models_are_not_touched(body: bytes) -> None:
    """Byte for byte."""
    assert without_owners(body) == body


def test_what_a_caller_may_not_use_is_not_shown() -> None:
    assert json.loads(narrowed(LIST, lambda name: name == "o3"))["data"] == [{"id": "o3", "owned_by": "openai"}]
    assert narrowed(LIST, lambda name: True) is LIST
