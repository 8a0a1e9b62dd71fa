"""One request, one reading: what the provider is sent is what was priced here, whatever the client called it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from providers.simulator import sounds
from tests.gateway.test_uploads import form
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


@pytest.mark.parametrize(("path", "body"), [("/v1/images/edits", EDIT), ("/v1/audio/transcriptions", HEARD)])
async def test_a_content_type_that_can_be_read_in_two_ways_is_refused(
    farthing: Running, path: str, body: bytes
) -> None:
    """Stated twice, in one field or in two, in whatever order; with two boundaries; in another charset."""
    key = await farthing.mint(max_spend_usd="1")
    other = "multipart/form-data; boundary=other"
    for types in (
        (FORM, other),
        (other, FORM),
        (FORM, FORM),
        (f"{FORM}, {other}",),
        (f"{FORM}; boundary=other",),
        (f"{FORM}; boundary*=utf-8''other",),
        (f'{FORM}; x="; boundary=other',),
        (f"{FORM}; charset=utf-16",),
        ("multipart/mixed; boundary=boundary-of-the-tests",),
        ("application/x-www-form-urlencoded",),
    ):
        status, param = await post(farthing, key["secret"], path, body, *(("content-type", each) for each in types))
        assert status == 400, types
        assert param in ("content-type", "None"), types  # a body that is no JSON names no field
    assert not farthing.upstream.requests


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


@pytest.mark.parametrize(
    "said",
    [
        "application/x-www-form-urlencoded",
        FORM,
        "text/plain",
        "application/json; charset=utf-16",
        "application/json, x/y",
    ],
)
async def test_what_was_read_as_json_goes_out_as_json(farthing: Running, said: str) -> None:
    """A text that is JSON to us and a form to the provider would have two prices: there `&model=` would count."""
    key = await farthing.mint(max_spend_usd="1")
    body = json.dumps(CHAT | {"user": "&model=gpt-5-pro&n=10&"}).encode()
    status, _ = await post(farthing, key["secret"], "/v1/chat/completions", body, ("content-type", said))
    assert status == 200
    assert farthing.upstream.requests[-1].header("content-type") == "application/json"
    pictures = json.dumps({"model": "gpt-image-1", "prompt": "&model=dall-e-2&n=10&"}).encode()
    if said != FORM:
        status, _ = await post(farthing, key["secret"], "/v1/images/generations", pictures, ("content-type", said))
        assert status == 200
        assert farthing.upstream.requests[-1].header("content-type") == "application/json"


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


@pytest.mark.parametrize(
    "name", ["x-end-user-id", "x-end-user-cap-usd", "x-farthing-max-cost-usd", "x-farthing-run-id"]
)
async def test_a_header_that_decides_stands_once(farthing: Running, name: str) -> None:
    """Of a repeated one a proxy takes the first and we the last."""
    key = await farthing.mint(max_spend_usd="1")
    status, param = await post(
        farthing, key["secret"], "/v1/chat/completions", json.dumps(CHAT).encode(), (name, "1"), (name, "2")
    )
    assert (status, param) == (400, name)
    assert not farthing.upstream.requests


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


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "order=up"])
async def test_a_list_that_is_asked_for_wrongly_is_refused_and_no_call(farthing: Running, query: str) -> None:
    """400, and no event that says that it was allowed."""
    key = await farthing.mint(max_spend_usd="1")
    status, answer = await farthing.api("GET", f"/v1/files?{query}", key=key["secret"])
    assert status == 400, answer
    assert answer["error"]["param"] == query.partition("=")[0]
    assert [event for event in await farthing.events() if event["decision"] != "blocked"] == []


FOREIGN = (
    {"tools": [{"type": "shell", "environment": {"type": "container_reference", "container_id": "cntr_x"}}]},
    {"tools": [{"type": "code_interpreter", "container": "cntr_x"}]},
    {"tools": [{"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["file-x"]}}]},
    {"tools": [{"type": "file_search", "vector_store_ids": ["vs_x"]}]},
    {"tools": [{"type": "shell", "environment": {"skills": [{"type": "skill_reference", "skill_id": "skill_x"}]}}]},
    {"tools": [{"type": "mcp", "server_label": "x", "tunnel_id": "tunnel_x"}]},
    {"prompt": {"id": "pmpt_x", "version": "1"}},
    {"conversation": "conv_x"},
    {"conversation": {"id": "conv_x"}},
    {"previous_response_id": "resp_x"},
    {"prompt_cache_options": {"comparison_response_id": "resp_x"}},
    {"input": [{"type": "message", "role": "user", "content": [{"type": "input_file", "file_id": "file-x"}]}]},
    {"input": [{"type": "item_reference", "id": "msg_x"}]},
    {
        "input": [
            {"type": "code_interpreter_call", "id": "ci_x", "container_id": "cntr_x", "code": "", "status": "completed"}
        ]
    },
)


async def test_no_member_names_what_is_another_s(farthing: Running) -> None:
    """Files, containers, stores, prompts, skills, tunnels, conversations, answers, items: the provider's own 404."""
    key = await farthing.mint()
    for body in FOREIGN:
        asked = {"model": "gpt-4o-mini", "input": "hi"} | body
        status, _, answer = await farthing.call(key["secret"], asked, "/v1/responses")
        assert status in (400, 404), (body, answer)
        assert json.loads(answer)["error"]["code"].endswith("not_found"), (body, answer)
    assert not farthing.upstream.requests


async def test_the_same_names_in_free_form_are_no_references(farthing: Running) -> None:
    """A tool's schema, its arguments and metadata may say prompt, container_id and file_id."""
    key = await farthing.mint()
    schema = {"type": "object", "properties": {"prompt": {"type": "string"}, "container_id": {"type": "string"}}}
    asked = {
        "model": "gpt-4o-mini",
        "input": "hi",
        "tools": [{"type": "function", "name": "f", "parameters": schema}],
        "metadata": {"prompt": "x", "container_id": "y", "file_id": "z"},
    }
    status, _, answer = await farthing.call(key["secret"], asked, "/v1/responses")
    assert status == 200, answer
