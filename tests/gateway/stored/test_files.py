"""Files through the gateway: streamed up, owned, listed for their owners alone, read line by line for batches."""

from __future__ import annotations

import io
import json
from typing import Any

import aiohttp
import pytest

from tests.harness import Running


def line(number: int, model: str = "gpt-4o-mini", url: str = "/v1/chat/completions", **body: Any) -> dict[str, Any]:
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 50} | body
    return {"custom_id": f"request-{number}", "method": "POST", "url": url, "body": body}


def jsonl(*lines: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in lines)


async def upload(
    farthing: Running,
    secret: str,
    content: bytes,
    purpose: str = "batch",
    *,
    first: bool = True,
    path: str = "/v1/files",
) -> tuple[int, dict[str, Any]]:
    form = aiohttp.FormData()
    if purpose and first:
        form.add_field("purpose", purpose)
    form.add_field("file", io.BytesIO(content), filename="requests.jsonl", content_type="application/jsonl")
    if purpose and not first:
        form.add_field("purpose", purpose)
    headers = {"authorization": f"Bearer {secret}"}
    async with farthing.http.post(farthing.url + path, data=form, headers=headers) as response:
        return response.status, await response.json()


async def get(farthing: Running, secret: str, path: str, **headers: str) -> tuple[int, Any]:
    async with farthing.http.get(
        farthing.url + path, headers={"authorization": f"Bearer {secret}"} | headers
    ) as response:
        return response.status, await response.json()


async def facts(farthing: Running, key: dict[str, Any], id_: str) -> dict[str, Any]:
    ledger = farthing.gateway.ledger
    account = await ledger.accounts.get(await ledger.accounts.root() or 0, key["id"])
    (found,) = await ledger.objects.owned(account.id, [id_])
    return found.facts


@pytest.mark.parametrize("first", [True, False])
async def test_a_file_of_requests_is_summed_up_as_it_passes(farthing: Running, first: bool) -> None:
    """Whether the purpose comes before the file or after it: what its lines may cost is kept, and nothing else."""
    key = await farthing.mint()
    content = jsonl(line(1), line(2, max_tokens=None), line(3, n=2))
    status, file = await upload(farthing, key["secret"], content, first=first)
    assert status == 200, file
    assert file["bytes"] == len(content)
    kept = (await facts(farthing, key, file["id"]))["requests"]
    assert (kept["url"], kept["model"]) == ("/v1/chat/completions", "gpt-4o-mini")
    (sums,) = kept["bulk"]["sums"].values()
    assert (sums["lines"], sums["output"], sums["silent"]) == (3, 50 + 2 * 50, 1)
    assert "hello" not in json.dumps(kept)
    await farthing.audited()


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"custom_id": "a"', "Line 1"),
        (jsonl(line(1), line(2, model="gpt-4o")), "Line 2"),
        (jsonl(line(1), line(2, url="/v1/embeddings")), "Line 2"),
        (jsonl(line(1, url="/v1/images/generations")), "not offered"),
        (jsonl(line(1, stream=True)), "stream"),
        (jsonl(line(1, max_tokens="many")), "max_tokens"),
        (b"\n\n", "no requests"),
    ],
)
async def test_a_file_that_could_not_be_held_for_is_refused(
    farthing: Running, first: bool, content: bytes, says: str
) -> None:
    """The provider never has the whole of it; nothing is owned and nothing is owed."""
    key = await farthing.mint()
    status, body = await upload(farthing, key["secret"], content, first=first)
    assert status == 400
    assert says in body["error"]["message"]
    assert not farthing.upstream.requests
    await farthing.audited()


async def test_other_files_pass_unread(farthing: Running) -> None:
    """Only a file for a batch is read; any other may hold anything."""
    key = await farthing.mint()
    for first in (True, False):
        status, file = await upload(farthing, key["secret"], b"\x00 no request \xff" * 50_000, "user_data", first=first)
        assert status == 200, file
        assert await facts(farthing, key, file["id"]) == {}


async def test_a_list_shows_ones_own_files_only_page_by_page(farthing: Running) -> None:
    """Another key's files neither show nor shorten a page; the order and the cursors are the provider's."""
    mine, theirs = await farthing.mint(), await farthing.mint()
    ids = []
    for number in range(5):
        ids.append((await upload(farthing, mine["secret"], b"%d" % number, "user_data"))[1]["id"])
        await upload(farthing, theirs["secret"], b"theirs %d" % number, "user_data")
    batch = (await upload(farthing, mine["secret"], jsonl(line(1))))[1]["id"]

    status, page = await get(farthing, mine["secret"], "/v1/files?limit=2")
    assert status == 200, page
    assert ([each["id"] for each in page["data"]], page["has_more"]) == ([batch, ids[4]], True)
    assert (page["object"], page["first_id"], page["last_id"]) == ("list", batch, ids[4])
    status, page = await get(farthing, mine["secret"], f"/v1/files?after={ids[4]}")
    assert ([each["id"] for each in page["data"]], page["has_more"]) == (ids[3::-1], False)
    status, page = await get(farthing, mine["secret"], "/v1/files?purpose=batch&order=asc")
    assert [each["id"] for each in page["data"]] == [batch]
    status, page = await get(farthing, theirs["secret"], f"/v1/files?after={ids[4]}")
    assert status == 404
    status, page = await get(farthing, mine["secret"], "/v1/files?limit=none")
    assert (status, page["error"]["param"]) == (400, "limit")
    await farthing.audited()


async def test_what_the_provider_has_no_more_does_not_shorten_a_page(farthing: Running) -> None:
    """Files that are gone are skipped and forgotten; a provider in trouble is not taken for one without files."""
    key = await farthing.mint()
    ids = [(await upload(farthing, key["secret"], b"%d" % number, "user_data"))[1]["id"] for number in range(4)]
    farthing.upstream.script("status=404", "status=404")
    status, page = await get(farthing, key["secret"], "/v1/files?limit=2")
    assert status == 200
    assert sorted(each["id"] for each in page["data"]) == sorted(ids[:2])
    status, page = await get(farthing, key["secret"], "/v1/files")
    assert len(page["data"]) == 2
    farthing.upstream.script("status=503")
    status, page = await get(farthing, key["secret"], "/v1/files")
    assert status == 503


async def test_a_file_is_found_at_the_provider_where_it_was_made(farthing: Running) -> None:
    """Without a model or a telling header, the id itself says which provider has it."""
    key = await farthing.mint()
    status, file = await upload(farthing, key["secret"], b"text", "", path="/anthropic/v1/files")
    assert status == 200, file
    status, found = await get(farthing, key["secret"], f"/v1/files/{file['id']}")
    assert (status, found["type"]) == (200, "file")
    assert farthing.upstream.requests[-1].provider == "anthropic"
    status, page = await get(farthing, key["secret"], "/v1/files?limit=1", **{"anthropic-version": "2026-10-21"})
    assert [each["id"] for each in page["data"]] == [file["id"]]
    assert page["has_more"] is False
    status, page = await get(farthing, key["secret"], "/v1/files")
    assert page["data"] == []


async def test_contents_and_deletion_are_the_owners(farthing: Running) -> None:
    mine, theirs = await farthing.mint(), await farthing.mint()
    _, file = await upload(farthing, mine["secret"], b"some text", "user_data")
    path = f"/v1/files/{file['id']}"
    for key, expected in ((theirs, 404), (mine, 200)):
        headers = {"authorization": f"Bearer {key['secret']}"}
        async with farthing.http.get(farthing.url + path + "/content", headers=headers) as response:
            assert response.status == expected
            content = await response.read()
        async with farthing.http.delete(farthing.url + path, headers=headers) as response:
            assert response.status == expected
    assert len(content) == len(b"some text")
    assert (await get(farthing, mine["secret"], path))[0] == 404
    await farthing.audited()
