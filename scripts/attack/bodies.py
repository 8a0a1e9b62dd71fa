"""How long each of the worst bodies that we know stops the loop, and how much memory it takes.

    python -m scripts.attack.bodies [megabytes] [--test]

A gateway with one process runs beside this one, over a fresh database; a key with a cap of nothing sends each body,
while another connection asks for a page that costs nothing, as often as it can: its longest wait is how long the loop
stood still. Beside it stands the longest without the time in which either process waited for a processor, where Linux
tells: on a machine that others use, too, that is the loop's own. Memory is that of the gateway and its helpers
together, above what they had before. With `--test` the key is a test key, and the simulator has each body, too.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import aiohttp
import psutil

_MB = 1 << 20
_CHAT = "/v1/chat/completions"


def _chat(content: bytes) -> bytes:
    return b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":%b}]}' % content


def _image(data: bytes) -> bytes:
    return b'{"type":"image_url","image_url":{"url":"data:image/png;base64,%b"}}' % data


def _with(member: bytes) -> bytes:
    return _chat(b'"x"')[:-1] + b"," + member + b"}"


def bodies(mb: int) -> Mapping[str, bytes]:
    """The worst that we know, each about so many megabytes long where its kind allows."""
    size = mb * _MB
    return {
        "text": _chat(b'"' + b"hello world " * (size // 12) + b'"'),
        "\\u00e9": _chat(b'"' + b"\\u00e9" * (size // 6) + b'"'),
        "escaped letters": _chat(b'"' + b"\\u0066ile_id " * (size // 14) + b'"'),
        "escaped quotes": _chat(b'"' + b'\\"' * (size // 2) + b'"'),
        "UTF-8": _chat(b'"' + "é".encode() * (size // 2) + b'"'),
        "one picture": _chat(b"[" + _image(b"A" * size) + b"]"),
        "100,000 pictures": _chat(b"[" + b",".join([_image(b"AAAA")] * 100_000) + b"]"),
        "240,000 parts": _chat(b"[" + b",".join([b'{"type":"text","text":"aaaaaaaaaaaa"}'] * 240_000) + b"]"),
        "240,000 objects": _chat(b'"x"')[:-2] + b',{"role":"user"}' * 240_000 + b"]}",
        "a list of numbers": _with(b'"x":[' + b"1," * (size // 2) + b"1]"),
        "a list of names": _with(b'"x":[' + b'"model",' * (size // 8) + b"1]"),
        "white space": _with(b" " * size + b'"x":1'),
        "31 KB of lists within lists": _with(b'"x":' + b'{"file_id":[' * 450 + b"]}" * 450),
        "file_id in a text": _chat(b'"' + b"file_id " * (size // 8) + b'"'),
        "4,000 references": _with(b'"x":[' + b",".join([b'{"file_id":"a"}'] * 4_000) + b"]"),
    }


def _queued_s(pid: int) -> float:
    """How long a process's first thread has waited for a processor so far, in all; 0 where that is not told."""
    try:
        return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[1]) / 1e9
    except OSError:
        return 0.0


async def _longest_wait_ms(http: aiohttp.ClientSession, url: str, pid: int, stop: asyncio.Event) -> tuple[float, float]:
    """Of all, and of those without the wait for a processor."""
    longest = own = 0.0
    while not stop.is_set():
        queued_s = _queued_s(pid) + _queued_s(os.getpid())
        started = time.perf_counter()
        async with http.get(url + "/healthz") as answer:
            await answer.read()
        wait = time.perf_counter() - started
        longest = max(longest, wait)
        own = max(own, wait - (_queued_s(pid) + _queued_s(os.getpid()) - queued_s))
        await asyncio.sleep(0.001)
    return longest * 1000, own * 1000


def _memory(process: psutil.Process) -> int:
    total = 0
    for each in (process, *process.children(recursive=True)):
        try:
            total += each.memory_full_info().uss
        except psutil.Error:
            continue
    return total


async def _peak(process: psutil.Process, stop: asyncio.Event) -> int:
    peak = 0
    while not stop.is_set():
        peak = max(peak, await asyncio.to_thread(_memory, process))
        await asyncio.sleep(0.01)
    return peak


async def _post(url: str, secret: str, path: Path) -> str:
    """Send a body from another process: this one's own work must not be taken for the gateway's. The status."""
    curl = await asyncio.create_subprocess_exec(
        *("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-X", "POST", url + _CHAT),
        *("-H", f"authorization: Bearer {secret}", "-H", "content-type: application/json"),
        *("--data-binary", f"@{path}"),
        stdout=subprocess.PIPE,
    )
    return (await curl.communicate())[0].decode()


async def _measure(url: str, secret: str, process: psutil.Process, mb: int) -> None:
    async with aiohttp.ClientSession() as asking:
        for name, body in bodies(mb).items():
            path = Path(tempfile.gettempdir()) / f"body-{secrets.token_hex(4)}"
            path.write_bytes(body)
            if name == "text":  # the helper starts with its first body, and is not what is measured
                await _post(url, secret, path)
            await asyncio.sleep(0.5)
            before, stop = _memory(process), asyncio.Event()
            waits = asyncio.create_task(_longest_wait_ms(asking, url, process.pid, stop))
            peaks = asyncio.create_task(_peak(process, stop))
            started = time.perf_counter()
            status = await _post(url, secret, path)
            took_ms = (time.perf_counter() - started) * 1000
            stop.set()
            (wait_ms, own_ms), peak = await waits, await peaks
            path.unlink()
            times = (peak - before) / len(body)
            print(
                f"{name:30} {len(body) / _MB:5.1f} MB  {status}  {took_ms:6.0f} ms  "
                f"longest wait {wait_ms:5.1f} ms ({own_ms:5.1f})  "
                f"memory {(peak - before) / _MB:5.1f} MB ({times:.1f} x)"
            )


async def _main(mb: int, *, test: bool) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url, master = f"http://127.0.0.1:{port}", f"master-{secrets.token_hex(16)}"
    with tempfile.TemporaryDirectory() as directory:
        environment = os.environ | {
            "FARTHING_DATABASE_URL": f"sqlite:///{directory}/farthing.db",
            "FARTHING_STATE_DIR": directory,
            "FARTHING_MASTER_KEY": master,
            "FARTHING_PORT": str(port),
            "FARTHING_HOST": "127.0.0.1",
            "OPENAI_API_KEY": "none",
            "FARTHING_UPSTREAM_OPENAI": "http://127.0.0.1:1",
            "FARTHING_LOG_LEVEL": "error",
        }
        gateway = subprocess.Popen([sys.executable, "-m", "gateway.cli", "serve"], env=environment)  # noqa: ASYNC220
        try:
            async with aiohttp.ClientSession(headers={"authorization": f"Bearer {master}"}) as http:
                for _ in range(100):
                    try:
                        async with http.get(url + "/healthz"):
                            break
                    except aiohttp.ClientError:
                        await asyncio.sleep(0.1)
                asked = {"name": "attacker", "livemode": False} if test else {"name": "attacker", "max_spend_usd": "0"}
                async with http.post(url + "/v1/keys", json=asked) as answer:
                    secret = json.loads(await answer.read())["secret"]
            await _measure(url, secret, psutil.Process(gateway.pid), mb)
        finally:
            gateway.terminate()
            gateway.wait()


if __name__ == "__main__":
    numbers = [int(each) for each in sys.argv[1:] if each.isdigit()]
    asyncio.run(_main(numbers[0] if numbers else 30, test="--test" in sys.argv))
