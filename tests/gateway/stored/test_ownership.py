"""Ownership between tenants: an object belongs to the key that made it, whatever the operation. Over real sockets.

The first tests are generated from the table of operations: a new row with an id and without an owner's check fails.
"""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from ledger.objects import Object
from providers.operations import TABLE
from providers.stored.row import Row
from tests.harness import Running, running

PUBLIC = {"models"}
"""Operations whose ids are the provider's own, for everybody."""
THEIRS, UNKNOWN = "theirs_123456789", "nobody_123456789"
PLACEHOLDER = re.compile(r"\{(\w+)\}")


def title(row: Row) -> str:
    return f"{row.provider} {row.method} {row.path}"


@pytest.mark.parametrize("row", [row for row in TABLE if "{" in row.path], ids=title)
def test_every_id_in_a_path_has_a_wall(row: Row) -> None:
    """An id in a path is a model's, or public, or its owner is asked for."""
    names = [name for name in PLACEHOLDER.findall(row.path) if name != "model"]
    if names and row.operation.name not in PUBLIC:
        assert "id" in names, f"{title(row)}: call the placeholder of the object {{id}}"
        assert row.operation.of, f"{title(row)}: say whose the id must be (`of`), or why it is everybody's (PUBLIC)"


@pytest.mark.parametrize("row", [row for row in TABLE if row.path.endswith("/{id}") and row.operation.of], ids=title)
def test_what_has_owners_is_listed_for_its_owner_and_made_with_one(row: Row) -> None:
    """Beside an object that is somebody's, the list shows one's own only, and making it writes down whose it is."""
    collection, kind = row.path.removesuffix("/{id}"), row.operation.of
    for other in TABLE:
        if (other.provider, other.path) == (row.provider, collection):
            if other.method == "GET":
                assert other.operation.lists is not None, title(other)
                assert other.operation.lists.kind == kind
            if other.method == "POST":
                assert kind in {each.kind for each in other.operation.makes}, title(other)


class Tenants:
    """Two keys of different customers on one gateway."""

    def __init__(self, farthing: Running, mine: dict[str, Any], theirs: dict[str, Any]) -> None:
        self.farthing = farthing
        self.mine = mine
        self.theirs = theirs

    async def own(self, key: dict[str, Any], provider: str, kind: str, id_: str) -> None:
        """Write down that an object is a key's."""
        ledger = self.farthing.gateway.ledger
        root = await ledger.accounts.root()
        assert root is not None
        account_id = (await ledger.accounts.get(root, key["id"])).id
        await ledger.objects.own(account_id, [Object(provider=provider, kind=kind, id=id_)])

    async def ask(
        self, key: dict[str, Any], method: str, path: str, body: Any = None
    ) -> tuple[int, dict[str, str], bytes]:
        """One call: status, headers, body, the two last with the request's own ids blotted out."""
        async with self.farthing.http.request(
            method, self.farthing.url + path, json=body, headers={"authorization": f"Bearer {key['secret']}"}
        ) as response:
            headers = {name.lower(): value for name, value in response.headers.items() if name.lower() != "date"}
            content = await response.read()
            for name in ("x-farthing-request-id", "x-request-id", "request-id", "dg-request-id"):
                if name in headers:
                    content = content.replace(headers.pop(name).encode(), b"REQUEST")
            return response.status, headers, content


@pytest.fixture
async def tenants(farthing: Running) -> Tenants:
    return Tenants(farthing, await farthing.mint(name="mine"), await farthing.mint(name="theirs"))


async def test_two_tenants_cannot_reach_each_others_objects_by_path(tenants: Tenants) -> None:
    """Each operation with an id, ids swapped: as an id that nobody has, to the byte; and nothing goes upstream."""
    rows = [row for row in TABLE if row.operation.of and not row.operation.everybodys]
    assert rows
    for row in rows:
        await tenants.own(tenants.theirs, row.provider, row.operation.of, THEIRS)
    for row in rows:
        path = PLACEHOLDER.sub(lambda name: "{id}" if name[1] == "id" else "other", row.path)
        answers = []
        for id_ in (THEIRS, UNKNOWN):
            status, headers, content = await tenants.ask(
                tenants.mine, row.method, f"/{row.provider}" + path.replace("{id}", id_)
            )
            answers.append((status, headers, content.replace(id_.encode(), b"ID")))
        assert answers[0] == answers[1], title(row)
        assert answers[0][0] == 404, title(row)
    assert not tenants.farthing.upstream.requests


async def test_two_tenants_cannot_refer_to_each_others_objects(tenants: Tenants) -> None:
    """Each member that names an object, with another's id: the answer to an unknown one; nothing goes up."""
    for row in TABLE:
        for name, refers in row.operation.names.items():
            ids = [("skill_" if refers.kind == "skill" else "") + id_ for id_ in (THEIRS, UNKNOWN)]
            await tenants.own(tenants.theirs, row.provider, refers.kind, ids[0])
            answers = []
            for id_ in ids:
                body = {"model": "m", "input": [{"content": [{name: [id_]}]}]}
                path = PLACEHOLDER.sub("other", row.path)
                status, headers, content = await tenants.ask(tenants.mine, row.method, f"/{row.provider}{path}", body)
                answers.append((status, headers, content.replace(id_.encode(), b"ID")))
            assert answers[0] == answers[1], title(row)
            assert answers[0][0] == refers.status, (title(row), name, answers)
    assert not tenants.farthing.upstream.requests


RESPONSE = {"model": "gpt-5-mini", "input": "hello"}


async def test_a_stored_response_is_its_makers_alone(tenants: Tenants) -> None:
    """Made, read, continued and deleted by its key; for another key it never was. Reading it is not billed again."""
    farthing, mine, theirs = tenants.farthing, tenants.mine, tenants.theirs
    status, _, content = await tenants.ask(theirs, "POST", "/v1/responses", RESPONSE)
    assert status == 200
    response = json.loads(content)
    path = f"/v1/responses/{response['id']}"

    status, _, content = await tenants.ask(theirs, "GET", path)
    assert (status, json.loads(content)["usage"]) == (200, response["usage"])
    status, _, content = await tenants.ask(mine, "GET", path)
    assert status == 404
    assert json.loads(content)["error"]["code"] == "not_found"

    continued = RESPONSE | {"previous_response_id": response["id"]}
    assert (await tenants.ask(theirs, "POST", "/v1/responses", continued))[0] == 200
    status, _, content = await tenants.ask(mine, "POST", "/v1/responses", continued)
    assert (status, json.loads(content)["error"]["param"]) == (400, "previous_response_id")
    assert json.loads(content)["error"]["code"] == "previous_response_not_found"

    assert (await tenants.ask(mine, "DELETE", path))[0] == 404
    assert (await tenants.ask(theirs, "DELETE", path))[0] == 200
    assert (await tenants.ask(theirs, "GET", path))[0] == 404  # forgotten, though the simulator still knows it

    assert [seen.method for seen in farthing.upstream.requests] == ["POST", "GET", "POST", "DELETE"]
    billed = [event for event in await farthing.events() if event["cost_picos"]]
    assert {event["route"] for event in billed} == {"responses"}
    assert len(billed) == 2
    await farthing.audited()


@pytest.mark.parametrize("pieces", ["", "chunk_bytes=1"])
async def test_a_streamed_response_has_its_owner_before_its_id_is_seen(tenants: Tenants, pieces: str) -> None:
    """When the client has read the id, the object is its own already, in whatever pieces the stream came."""
    farthing, mine = tenants.farthing, tenants.mine
    if pieces:
        farthing.upstream.script(pieces)
    async with farthing.http.post(
        farthing.url + "/v1/responses",
        json=RESPONSE | {"stream": True},
        headers={"authorization": f"Bearer {mine['secret']}"},
    ) as response:
        read = b""
        while (found := re.search(rb'"id":"(resp_[^"]+)"', read)) is None:
            read += await response.content.readany()
        assert (await tenants.ask(mine, "GET", f"/v1/responses/{found[1].decode()}"))[0] == 200
        assert (await tenants.ask(tenants.theirs, "GET", f"/v1/responses/{found[1].decode()}"))[0] == 404
        read += await response.read()
    assert read.endswith(b"\n\n")
    assert json.loads(read.split(b"data: ")[-1])["type"] == "response.completed"


async def test_a_conversation_is_its_makers_alone(tenants: Tenants) -> None:
    """Made, filled, answered in and deleted by its key; nobody else can answer in it or draw its items elsewhere."""
    mine, theirs = tenants.mine, tenants.theirs
    status, _, content = await tenants.ask(theirs, "POST", "/v1/conversations", {"metadata": {"a": "b"}})
    assert status == 200, content
    id_ = json.loads(content)["id"]
    items = {"items": [{"type": "message", "role": "user", "content": "hello"}]}
    status, _, content = await tenants.ask(theirs, "POST", f"/v1/conversations/{id_}/items", items)
    assert status == 200, content
    item = {"items": [{"type": "item_reference", "id": json.loads(content)["data"][0]["id"]}]}
    assert (await tenants.ask(mine, "POST", "/v1/conversations", item))[0] == 404
    assert (await tenants.ask(theirs, "POST", "/v1/conversations", item))[0] == 200
    for conversation in (id_, {"id": id_}):
        asked = RESPONSE | {"conversation": conversation}
        assert (await tenants.ask(mine, "POST", "/v1/responses", asked))[0] == 404
        assert (await tenants.ask(theirs, "POST", "/v1/responses", asked))[0] == 200
    assert (await tenants.ask(mine, "DELETE", f"/v1/conversations/{id_}"))[0] == 404
    assert (await tenants.ask(theirs, "DELETE", f"/v1/conversations/{id_}"))[0] == 200
    assert (await tenants.ask(theirs, "GET", f"/v1/conversations/{id_}"))[0] == 404
    await tenants.farthing.audited()


async def test_what_is_not_stored_is_nobodys(tenants: Tenants) -> None:
    """With `store: false` the provider keeps nothing, and nothing is written down."""
    _, _, content = await tenants.ask(tenants.mine, "POST", "/v1/responses", RESPONSE | {"store": False})
    assert (await tenants.ask(tenants.mine, "GET", f"/v1/responses/{json.loads(content)['id']}"))[0] == 404


async def test_another_key_of_the_same_end_user_is_another_key(tenants: Tenants) -> None:
    """The key is the owner: neither its parent nor a key for the same end user sees its objects; a new secret does."""
    farthing = tenants.farthing
    team = await farthing.mint(scope="team")
    child = await farthing.mint(by=team["secret"])
    _, _, content = await tenants.ask(child, "POST", "/v1/responses", RESPONSE)
    path = f"/v1/responses/{json.loads(content)['id']}"
    for key in (team, await farthing.mint(by=team["secret"], external_id=child.get("external_id"))):
        assert (await tenants.ask(key, "GET", path))[0] == 404
    status, rotated = await farthing.api("POST", f"/v1/keys/{child['id']}/rotate", {})
    assert status == 200, rotated
    assert (await tenants.ask(child | {"secret": rotated["secret"]}, "GET", path))[0] == 200


@pytest.mark.parametrize("stream", [False, True])
async def test_stored_items_are_their_makers_alone(tenants: Tenants, stream: bool) -> None:
    """An item of an earlier answer, by its id alone, is as much an object as the answer: its maker may refer to it."""
    asked = RESPONSE | {"stream": stream, "reasoning": {"effort": "low"}}
    _, _, content = await tenants.ask(tenants.theirs, "POST", "/v1/responses", asked)
    body = json.loads(content.split(b"data: ")[-1])["response"] if stream else json.loads(content)
    items = {item["type"]: item["id"] for item in body["output"]}
    for item in (
        {"type": "item_reference", "id": items["message"]},
        {"id": items["message"]},
        {"type": "reasoning", "id": items["reasoning"], "summary": []},
    ):
        again = RESPONSE | {"input": [{"role": "user", "content": "hello"}, item]}
        status, _, content = await tenants.ask(tenants.theirs, "POST", "/v1/responses", again)
        assert status == 200, content
        status, _, content = await tenants.ask(tenants.mine, "POST", "/v1/responses", again)
        assert status == 404, content
        item["id"] = "msg_of_nobody"
        nobody = RESPONSE | {"input": [{"role": "user", "content": "hello"}, item]}
        assert (await tenants.ask(tenants.mine, "POST", "/v1/responses", nobody))[0] == 404


@pytest.mark.parametrize(
    "item",
    [
        '{"type":"message","content":"x","id":"a","type":"item_reference"}',
        '{"id":"a","type":"item_reference","type":"message","content":"x"}',
        '{"id":"a","type":"item_\\u0072eference","type":"message","content":"x"}',
        '{"type":"item_reference","id":"mine","id":"theirs"}',
        '{"type":"item_reference"}',
    ],
)
async def test_no_reference_is_hidden_behind_a_double(tenants: Tenants, item: str) -> None:
    """What two parsers could read differently is refused before anybody does."""
    body = f'{{"model":"gpt-5-mini","input":[{item}]}}'.encode()
    status, _, content = await tenants.farthing.call(tenants.mine["secret"], body, "/v1/responses")
    assert status in (400, 404), content
    assert not tenants.farthing.upstream.requests


async def test_an_arguments_look_at_a_file_is_no_reference(tenants: Tenants) -> None:
    """A tool of the client's own may have an argument called `file_id`."""
    tool = {"type": "function", "name": "open", "parameters": {"properties": {"file_id": {"enum": ["a"]}}}}
    assert (await tenants.ask(tenants.mine, "POST", "/v1/responses", RESPONSE | {"tools": [tool]}))[0] == 200


async def test_an_idempotency_key_is_the_tenants_own(tenants: Tenants) -> None:
    """Two tenants who draw the same key are not answered with one another's answers; one who repeats it still is."""
    farthing, sent = tenants.farthing, []
    for key in (tenants.mine, tenants.theirs, tenants.mine):
        body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}
        await farthing.call(key["secret"], body, headers={"Idempotency-Key": "once"})
        sent.append(farthing.upstream.requests[-1].header("idempotency-key"))
    assert sent[0] == sent[2] != sent[1]
    assert "once" not in sent


async def test_owners_outlive_the_process(tmp_path: Path) -> None:
    """What a key has made is its own after a restart, too."""
    async with running(tmp_path) as first:
        key = await first.mint()
        _, _, content = await first.call(key["secret"], RESPONSE, "/v1/responses")
        path = f"/v1/responses/{json.loads(content)['id']}"
    async with running(tmp_path) as second:
        tenants = Tenants(second, key, key)
        assert (await tenants.ask(key, "GET", path))[0] == 200


async def test_test_objects_are_the_simulators(tenants: Tenants) -> None:
    """A test key's objects come from the simulator and are found there; live and test ids are apart."""
    test = await tenants.farthing.mint(livemode=False)
    _, _, content = await tenants.ask(test, "POST", "/v1/responses", RESPONSE)
    path = f"/v1/responses/{json.loads(content)['id']}"
    assert (await tenants.ask(test, "GET", path))[0] == 200
    assert (await tenants.ask(tenants.mine, "GET", path))[0] == 404
    assert not tenants.farthing.upstream.requests


async def test_fifty_foreign_ids_at_once_are_all_refused(tenants: Tenants) -> None:
    await tenants.own(tenants.theirs, "openai", "response", THEIRS)
    answers = await asyncio.gather(
        *(
            tenants.ask(tenants.mine, "GET", f"/v1/responses/{THEIRS if number % 2 else UNKNOWN}")
            for number in range(50)
        )
    )
    assert {status for status, _, _ in answers} == {404}
    assert not tenants.farthing.upstream.requests
