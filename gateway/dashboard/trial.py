"""A call with a test key, from the page: through the whole gateway, as any client's, and shown as code to copy."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import Any

from starlette.responses import Response

from gateway.api import keys
from gateway.dashboard.page import Page
from gateway.problems import CallError
from keys.token import TEST

KEY_MS = 3_600_000  # how long a key lives that is minted here
ANSWER_BYTES_MAX = 256 * 1024  # shown
SAMPLES: list[dict[str, Any]] = json.loads(Path(__file__).with_name("samples.json").read_text("utf-8"))
"""Calls in several providers' shapes: path, headers and body, and the same in two languages."""
FAULTS = ("", "status=429", "status=529", "delay_ms=1000", "usage=missing", "output_tokens=2000")
_WORD = re.compile(r"\$(?:PROMPT|TOKENS|KEY|BASE)")


async def show(page: Page) -> Response:
    """GET /dashboard/try."""
    return _page(page)


async def run(page: Page) -> Response:
    """POST /dashboard/try: mint a key for an hour, unless one is given, and call with it."""
    form = page.form
    sample = _sample(form.get("sample", ""))
    tokens = form.get("tokens", "200")
    if not (tokens.isascii() and tokens.isdigit() and 0 < int(tokens[:9]) < 10**6):
        raise CallError(400, "invalid_request", "Tokens are a whole number below a million.", param="tokens")
    fault = form.get("fault", "")
    if fault not in FAULTS:
        raise CallError(400, "invalid_request", "There is no such fault.", param="fault")
    secret = form.get("key", "").strip()
    if secret and not secret.startswith(TEST):
        raise CallError(400, "invalid_request", "Only a test key may be tried here.", param="key")
    if not secret:
        body = {
            "name": "tried in the dashboard",
            "livemode": False,
            "max_spend_usd": form.get("max_spend_usd", "").strip() or "0.02",
            "expires_at_ms": page.now_ms + KEY_MS,
        }
        secret = (await page.ask(keys.mint, method="POST", body=body))["secret"]
    prompt = form.get("prompt", "")
    words = {
        "$PROMPT": json.dumps(prompt, ensure_ascii=False)[1:-1],
        "$TOKENS": tokens,
        "$KEY": secret,
        "$BASE": page.origin,
    }
    headers = [(name, _filled(value, words)) for name, value in sample["headers"]]
    if fault:
        headers.append(("x-farthing-sim", fault))
    sent = json.dumps(_shaped(sample["body"], {"$PROMPT": prompt, "$TOKENS": int(tokens)}), ensure_ascii=False)
    answer = await _called(page.means.app, sample["path"], headers, sent.encode())
    return _page(page, sample=sample, answer=answer, words=words, headers=headers, sent=sent, secret=secret)


def _page(page: Page, **done: Any) -> Response:
    nothing: dict[str, Any] = {
        "sample": SAMPLES[0],
        "answer": None,
        "words": {},
        "headers": [],
        "sent": "",
        "secret": "",
    }
    shown = nothing | done
    code = {name: _filled(shown["sample"][name], shown["words"]) for name in ("python", "javascript")}
    return page.show("try.html", samples=SAMPLES, faults=FAULTS, code=code, **shown)


def _sample(name: str) -> dict[str, Any]:
    for sample in SAMPLES:
        if sample["name"] == name:
            return sample
    raise CallError(400, "invalid_request", "There is no such sample.", param="sample")


def _filled(text: str, words: dict[str, str]) -> str:
    """A text with the words put in; one that is not said stays."""
    return _WORD.sub(lambda found: words.get(found[0], found[0]), text)


def _shaped(value: Any, words: dict[str, Any]) -> Any:
    """A body with the words put in where they stand alone."""
    if isinstance(value, dict):
        return {name: _shaped(each, words) for name, each in value.items()}
    if isinstance(value, list):
        return [_shaped(each, words) for each in value]
    return words.get(value, value) if isinstance(value, str) else value


async def _called(app: Any, path: str, headers: list[tuple[str, str]], body: bytes) -> dict[str, Any]:
    """What the gateway answers: status, our own headers, and the body, indented where it is JSON."""
    got: dict[str, Any] = {"status": 0, "headers": []}
    parts: list[bytes] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            got.update(status=message["status"], headers=message["headers"])
        elif message["type"] == "http.response.body":
            parts.append(message.get("body", b""))

    raw = [(name.encode(), value.encode()) for name, value in headers]
    raw += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": raw,
        "http_version": "1.1",
        "scheme": "http",
    }
    await app(scope, receive, send)
    text = b"".join(parts)[:ANSWER_BYTES_MAX].decode("utf-8", "replace")
    with contextlib.suppress(ValueError):
        text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    ours = [(name.decode(), value.decode()) for name, value in got["headers"] if name.startswith(b"x-")]
    return {"status": got["status"], "headers": ours, "body": text}
