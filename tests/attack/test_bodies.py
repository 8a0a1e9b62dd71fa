"""One request, one reading: what the provider is sent is what was priced here, whatever the client called it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from providers.simulator import sounds
from tests.gateway.call.test_upload import form
from tests.harness import Running, running

CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}
FORM = "multipart/form-data; boundary=boundary-of-the-tests"


@pytest.fixture
async def farthing(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path) as made:
        yield made


async def post(farthing: Running, secret: str, path: str, body: bytes, *headers: tuple[str, str]) -> tuple[int, str]:
    """Post with fields that may repeat; status and the field that an error names."""
    async with farthing.http.post(
        farthing.url + path, data=body, headers=[("authorization", f"Bearer {secret}"), *headers]
    ) as response:
        answer = await response.read()
        return response.status, str(json.loads(answer).get("error", {}).get("param")) if answer[:1] == b"{" else ""


EDIT = form(("model", "gpt-image-1"), ("prompt", "x"), ("image", b"\x89PNG"))
HEARD = form(("model", "whisper-1"), ("file", sounds.wav(1)))


async def test_a_form_goes_out_under_the_type_that_was_read(farthing: Running) -> None:
    """The boundary is the one by which it was read; other parameters and spellings do not pass."""
    key = await farthing.mint(max_spend_usd="1")
    said = 'Multipart/Form-Data ; x=1; BOUNDARY="boundary-of-the-tests"; charset=UTF-8;'
    for path, body in (("/v1/images/edits", EDIT), ("/v1/audio/transcriptions", HEARD)):
        status, _ = await post(farthing, key["secret"], path, body, ("content-type", said))
        assert status == 200
        assert farthing.upstream.requests[-1].header("content-type") == FORM
        assert farthing.upstream.requests[-1].body == body
    spaced = form(("model", "whisper-1"), ("file", sounds.wav(1)), boundary="a b:c")
    status, _ = await post(
        farthing,
        key["secret"],
        "/v1/audio/transcriptions",
        spaced,
        ("content-type", 'multipart/form-data; boundary="a b:c"'),
    )
    assert status == 200
    assert farthing.upstream.requests[-1].header("content-type") == 'multipart/form-data; boundary="a b:c"'


async def test_sound_is_no_link_to_the_provider_either(farthing: Running) -> None:
    """A JSON body that does not say that it is one is so much sound; sent on as such, it is no URL that costs more."""
    key = await farthing.mint(max_spend_usd="1")
    body = b'{"url":"https://example.com/two-hours.wav"}'
    for said, sent in (
        ("audio/wav", "audio/wav"),
        ("Audio/WAV; x=y", "audio/wav"),
        ("text/json", "application/octet-stream"),
        ("application/problem+json", "application/octet-stream"),
        ("text/plain", "application/octet-stream"),
        ("Application/JSON; charset=utf-8", "application/json"),
    ):
        await post(farthing, key["secret"], "/v1/listen?model=nova-3", body, ("content-type", said))
        assert farthing.upstream.requests[-1].header("content-type") == sent


PICTURES = (
    ({"prompt": "x"}, "dall-e-2"),
    ({"prompt": "x", "model": None}, "dall-e-2"),
    ({"prompt": "x", "n": 2, "size": "256x256"}, "dall-e-2"),
    ({"prompt": "x", "quality": "high"}, "gpt-image-1"),
    ({"prompt": "x", "background": "transparent"}, "gpt-image-1"),
    ({"prompt": "x", "output_format": "webp", "model": ""}, "gpt-image-1"),
)


async def test_pictures_without_a_model_get_the_specification_s_default(farthing: Running) -> None:
    """It is written into the request, JSON or form, so that it is that one which is bought, and held and paid for."""
    key = await farthing.mint(max_spend_usd="5")
    for body, model in PICTURES:
        status, _, answer = await farthing.call(key["secret"], body, "/v1/images/generations")
        assert status == 200, answer
        assert json.loads(farthing.upstream.requests[-1].body) == body | {"model": model}
        assert (await farthing.events())[0]["model"] == model
    for fields, model in ((("prompt", "x"),), "dall-e-2"), ((("prompt", "x"), ("quality", "low")), "gpt-image-1"):
        status, _ = await post(
            farthing, key["secret"], "/v1/images/edits", form(*fields, ("image", b"\x89PNG")), ("content-type", FORM)
        )
        assert status == 200
        assert farthing.upstream.requests[-1].body == form(("model", model), *fields, ("image", b"\x89PNG"))
    await farthing.audited()


async def test_pictures_without_a_model_are_not_for_keys_of_other_models(farthing: Running) -> None:
    """The default is a model like any other."""
    key = await farthing.mint(max_spend_usd="5", allowed_models=["gpt-image-1-mini"])
    status, _, _ = await farthing.call(key["secret"], {"prompt": "x"}, "/v1/images/generations")
    assert status == 403
    assert not farthing.upstream.requests
