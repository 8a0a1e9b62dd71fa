"""Files, stored answers and batches through the official SDKs: as straight at the provider, and one's own alone."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from tests.harness import PROVIDER_KEY, Running
from tests.sdk.sides import comparable, each, got, perform, place, plain

pytestmark = pytest.mark.asyncio(loop_scope="session")

HELLO = [{"role": "user", "content": "Say hello"}]
LINES = [
    {
        "custom_id": f"request-{number}",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "gpt-4o-mini", "messages": HELLO, "max_tokens": 40},
    }
    for number in range(1, 4)
]
JSONL = "\n".join(json.dumps(line) for line in LINES).encode()
PARAMS = {"model": "claude-haiku-4-5", "max_tokens": 40, "messages": HELLO}
REQUESTS: Any = [{"custom_id": f"request-{number}", "params": PARAMS} for number in range(1, 4)]


async def content(client: Any, id_: str) -> str:
    answer = await got(client.files.content(id_) if hasattr(client, "chat") else client.beta.files.download(id_))
    return str(answer.text) if isinstance(answer.text, str) else str(answer.text())


async def files(client: Any) -> Any:
    """Upload, look, read, delete."""
    made = await got(client.files.create(file=("notes.txt", b"some notes"), purpose="user_data"))
    seen = await got(client.files.retrieve(made.id))
    return [made, seen, await content(client, made.id), await got(client.files.delete(made.id))]


async def responses_retrieve(client: Any) -> Any:
    """Make an answer, read it again, read its input, go on from it, delete it."""
    made = await got(client.responses.create(model="gpt-5-mini", input="Say hello"))
    seen = await got(client.responses.retrieve(made.id))
    inputs = [item async for item in each(await got(client.responses.input_items.list(made.id)))]
    more = await got(client.responses.create(model="gpt-5-mini", input="More", previous_response_id=made.id))
    return [made, seen, inputs, more, await got(client.responses.delete(made.id))]


async def batches(client: Any) -> Any:
    """Upload requests, make a batch, wait for it, read its results."""
    file = await got(client.files.create(file=("requests.jsonl", JSONL), purpose="batch"))
    made = await got(
        client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    )
    batch = made
    while batch.status == "in_progress":
        await asyncio.sleep(0.2)
        batch = await got(client.batches.retrieve(made.id))
    lines = [json.loads(line) for line in (await content(client, batch.output_file_id)).splitlines()]
    for line in lines:
        assert line["response"].pop("request_id")
    return [file, made, batch, lines, await got(client.batches.cancel(made.id))]


async def message_batches(client: Any) -> Any:
    """Make a batch of messages, wait for it, stream its results, delete it."""
    made = await got(client.messages.batches.create(requests=REQUESTS))
    batch = made
    while batch.processing_status == "in_progress":
        await asyncio.sleep(0.2)
        batch = await got(client.messages.batches.retrieve(made.id))
    results = [result async for result in each(await got(client.messages.batches.results(made.id)))]
    shown = plain(batch) | {"results_url": None}  # each side's own origin
    return [made, shown, results, await got(client.messages.batches.delete(made.id))]


async def message_files(client: Any) -> Any:
    """Upload, look, delete."""
    made = await got(client.beta.files.upload(file=("notes.txt", io.BytesIO(b"some notes"), "text/plain")))
    seen = await got(client.beta.files.retrieve_metadata(made.id))
    return [made, seen, await got(client.beta.files.delete(made.id))]


CASES: dict[str, tuple[str, Callable[[Any], Awaitable[Any]]]] = {
    "openai-python-files": ("openai", files),
    "openai-python-responses.retrieve": ("openai", responses_retrieve),
    "openai-python-batches": ("openai", batches),
    "anthropic-python-messages.batches": ("anthropic", message_batches),
    "anthropic-python-files": ("anthropic", message_files),
}


@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
@pytest.mark.parametrize("name", CASES)
async def test_the_python_sdk_sees_the_same(gate: Running, name: str, sync: bool) -> None:
    """Its parsed results through Farthing are those straight from the provider, but for ids and times."""
    sdk, case = CASES[name]
    key = await gate.mint(max_spend_usd="10")
    ours, _ = await perform(sdk, place(gate, sdk), key["secret"], case, sync=sync)
    straight = gate.upstream.origin(sdk) + ("/v1" if sdk == "openai" else "")
    theirs, _ = await perform(sdk, straight, PROVIDER_KEY, case, sync=sync)
    assert comparable(ours) == comparable(theirs)


async def test_the_lists_of_the_python_sdk_are_the_keys_own(gate: Running) -> None:
    """Its pagers walk the caller's own objects to the end, and nobody else's."""
    clients = []
    for _ in range(2):
        key = await gate.mint()
        clients.append(openai.AsyncOpenAI(base_url=gate.url + "/v1", api_key=key["secret"]))
    mine, theirs = clients
    ids = [(await mine.files.create(file=("a", b"%d" % each_), purpose="user_data")).id for each_ in range(5)]
    await theirs.files.create(file=("a", b"x"), purpose="user_data")
    assert [file.id async for file in mine.files.list(limit=2)] == ids[::-1]
    with pytest.raises(openai.NotFoundError):
        await theirs.files.retrieve(ids[0])
    with pytest.raises(openai.NotFoundError):
        await theirs.files.content(ids[0])

    key = await gate.mint()
    claude = anthropic.AsyncAnthropic(base_url=gate.url, api_key=key["secret"])
    made = [(await claude.messages.batches.create(requests=REQUESTS[:1])).id for _ in range(3)]
    assert [batch.id async for batch in claude.messages.batches.list(limit=2)] == made[::-1]
    stranger = anthropic.AsyncAnthropic(base_url=gate.url, api_key=(await gate.mint())["secret"])
    with pytest.raises(anthropic.NotFoundError):
        await stranger.messages.batches.retrieve(made[0])
    assert [batch.id async for batch in stranger.messages.batches.list()] == []
    for client in (*clients, claude, stranger):
        await client.close()


async def test_a_batch_above_the_cap_raises_what_the_sdks_raise(gate: Running) -> None:
    """402, once: OpenAI's status error, Anthropic's own class for it."""
    key = await gate.mint(max_spend_usd="0.000001")
    async with openai.AsyncOpenAI(base_url=gate.url + "/v1", api_key=key["secret"]) as client:
        file = await client.files.create(file=("requests.jsonl", JSONL), purpose="batch")
        with pytest.raises(openai.APIStatusError) as raised:
            await client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
        assert (raised.value.status_code, raised.value.code) == (402, "spend_cap_exceeded")
    async with anthropic.AsyncAnthropic(base_url=gate.url, api_key=key["secret"]) as claude:
        with pytest.raises(anthropic.APIStatusError) as refused:
            await claude.messages.batches.create(requests=REQUESTS)
        assert refused.value.status_code == 402


@pytest.fixture
def script(node_modules: Path) -> Path:
    return node_modules.parent / "stored.mjs"


async def node(script: Path, url: str, key: str) -> Any:
    process = await asyncio.create_subprocess_exec(
        *(shutil.which("node") or "node", str(script)),
        env={"BASE_URL": url, "API_KEY": key},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 90)
    assert process.returncode == 0, err.decode(errors="replace")[-4000:]
    return json.loads(out)


async def test_the_javascript_sdks_see_the_same(gate: Running, script: Path) -> None:
    """openai-javascript and anthropic-javascript: files, responses.retrieve, batches, messages.batches with results."""
    key = await gate.mint(max_spend_usd="10")
    ours = await node(script, gate.url, key["secret"])
    theirs = await node(script, gate.upstream.url, PROVIDER_KEY)
    assert ours.keys() == theirs.keys()
    for name in theirs:
        assert comparable(ours[name]) == comparable(theirs[name]), name
