"""Honest clients that offer HTTP/2 with every request on plain HTTP, as their defaults are."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.harness import MASTER, Running, running

CHAT = json.dumps({"model": "gpt-4o-mini", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]})
JAVA = """
import java.net.URI;
import java.net.http.*;

public class Calls {
    public static void main(String[] arguments) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        for (int call = 0; call < 3; call++) {
            HttpRequest request = HttpRequest.newBuilder(URI.create(arguments[0]))
                .header("authorization", "Bearer " + arguments[1])
                .header("content-type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(arguments[2]))
                .build();
            HttpResponse<String> response = client.send(request, HttpResponse.BodyHandlers.ofString());
            System.out.println(response.version() + " " + response.statusCode());
        }
    }
}
"""


@pytest.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path) as started:
        yield started
        await started.audited()


async def said(*command: str) -> str:
    """What a program prints; it must succeed."""
    made = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        out, err = await made.communicate()
    assert made.returncode == 0, err.decode()
    return out.decode()


def curl() -> str:
    found = shutil.which("curl")
    assert found, "this test asks a real curl: install it (Debian: apt-get install curl)"
    return found


async def test_a_key_that_curl_asks_for_has_the_cap_that_it_asks_for(gate: Running) -> None:
    """`curl --http2` offers h2c; the mint is served with its body, and what the body hides is not."""
    command = (curl(), "-sS", "--http2", "-H", f"Authorization: Bearer {MASTER}")
    keys_url = f"{gate.url}/v1/keys"
    key = json.loads(await said(*command, keys_url, "-d", '{"name": "a", "max_spend_usd": "5"}'))
    assert (key["name"], key["max_spend_micros"]) == ("a", 5_000_000)
    patch = ("-X", "PATCH", f"{keys_url}/{key['id']}", "-d", '{"max_spend_usd": "2"}')
    changed = json.loads(await said(*command, *patch))
    assert changed["max_spend_micros"] == 2_000_000

    hidden = f"POST /v1/keys HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {MASTER}\r\nContent-Length: 2\r\n\r\n{{}}"
    answer = await said(*command, keys_url, "-i", "-d", hidden)
    assert answer.count("HTTP/1.1 ") == 1
    assert "HTTP/1.1 400" in answer
    _, keys = await gate.api("GET", "/v1/keys")
    assert [each["id"] for each in keys["data"]] == [key["id"]]


async def test_a_call_of_java_s_client_is_served(gate: Running, tmp_path: Path) -> None:
    """JDK `HttpClient` offers h2c by default, with every request; each is served over HTTP/1.1."""
    java = shutil.which("java")
    if java is None:
        pytest.skip("no JDK here")
    source = tmp_path / "Calls.java"
    source.write_text(JAVA)
    key = await gate.mint(max_spend_usd="1")
    printed = await said(java, str(source), f"{gate.url}/v1/chat/completions", key["secret"], CHAT)
    assert printed.split() == ["HTTP_1_1", "200"] * 3
    assert [seen.json()["model"] for seen in gate.upstream.requests] == ["gpt-4o-mini"] * 3
