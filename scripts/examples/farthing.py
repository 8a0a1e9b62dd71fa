"""All that these examples need of a client: the standard library, a base URL and a key.

    export FARTHING_URL=http://127.0.0.1:8787 FARTHING_MASTER_KEY=…
    python scripts/examples/child_keys.py

The examples mint test keys, so no provider account is needed and nothing costs money.
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from typing import Any

URL = os.environ.get("FARTHING_URL", "http://127.0.0.1:8787")
MASTER = os.environ["FARTHING_MASTER_KEY"]


class Answer:
    """Status, headers and JSON of one answer."""

    def __init__(self, status: int, headers: dict[str, str], body: Any) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    def __getitem__(self, name: str) -> Any:
        return self.body[name]


def request(method: str, path: str, body: Any = None, *, key: str = MASTER, **headers: str) -> Answer:
    """One request; headers are named with underscores (`x_end_user_id="ann"`). Refusals are answers too."""
    sent = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(URL + path, data, sent, method=method)  # noqa: S310 - the operator's own URL
    try:
        with urllib.request.urlopen(asked, timeout=30) as answer:  # noqa: S310
            return Answer(
                answer.status, {name.lower(): value for name, value in answer.headers.items()}, json.load(answer)
            )
    except urllib.error.HTTPError as refused:
        return Answer(
            refused.code, {name.lower(): value for name, value in refused.headers.items()}, json.load(refused)
        )


def mint(*, by: str = MASTER, **fields: Any) -> Answer:
    """A test key; its secret is shown this once."""
    minted = request("POST", "/v1/keys", {"livemode": False} | fields, key=by)
    expect(minted.status == 201, f"minted {fields.get('name', 'a key')}")
    return minted


def chat(secret: str, *, model: str = "gpt-4o-mini", output: int = 100, **headers: str) -> Answer:
    """A chat completion, as any OpenAI client would ask for it. The test provider writes `output` tokens."""
    body = {"model": model, "messages": [{"role": "user", "content": "Say something."}], "max_tokens": output}
    return request(
        "POST", "/v1/chat/completions", body, key=secret, x_farthing_sim=f"output_tokens={output}", **headers
    )


def events(**filters: str) -> list[Any]:
    """The newest events of test calls."""
    query = "&".join(f"{name}={value}" for name, value in filters.items())
    return list(request("GET", f"/v1/events?livemode=false&limit=100&{query}")["data"])


def step(title: str) -> None:
    """Say what comes."""
    print(f"\n== {title}")


def expect(promised: bool, what: str) -> None:
    """Say what happened; exit 1 if it is not what was promised."""
    print(f"   {'ok ' if promised else 'NOT'} {what}")
    if not promised:
        raise SystemExit(1)
