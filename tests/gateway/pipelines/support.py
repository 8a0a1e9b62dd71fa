"""Pipelines as clients write them, and how their tests run them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from tests.harness import Running

Json = dict[str, Any]


def says(node_id: str, text: str, **more: Any) -> Json:
    """A node that calls a model."""
    request = {"model": "gpt-5-mini", "input": text, "max_output_tokens": 100}
    return {"id": node_id, "type": "llm.responses", "input": {"request": request, **more}}


def native(node_id: str, path: str, body: Json, **more: Any) -> Json:
    """A node that makes any provider's own call."""
    return {"id": node_id, "type": "llm.responses", "input": {"request": {"path": path, "body": body}, **more}}


def workflow(*nodes: Json, edges: list[tuple[str, str]] | None = None, outputs: Json, **execution: Any) -> Json:
    """A specification; `outputs` are pairs of node and pointer, by name."""
    return {
        "kind": "workflow.v0",
        "nodes": list(nodes),
        "edges": [{"from": one, "to": other} for one, other in edges or []],
        "outputs": [{"name": name, "from": node, "pointer": at} for name, (node, at) in outputs.items()],
        "execution": execution,
    }


async def run(farthing: Running, secret: str, spec: Json, **headers: str) -> list[Json]:
    """The events of a run, which must be let in."""
    given = {"authorization": f"Bearer {secret}", "accept": "application/x-ndjson"}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    async with farthing.http.post(f"{farthing.url}/v1/pipelines/runs", json=spec, headers=given) as response:
        body = await response.text()
        assert response.status == 200, body
        assert response.content_type == "application/x-ndjson"
        return [json.loads(line) for line in body.splitlines()]


def kinds(events: list[Json]) -> list[str]:
    return [event["type"] for event in events]


async def piped(program: str, file: Path, environment: dict[str, str]) -> str:
    """What a program prints; it must end well."""
    process = await asyncio.create_subprocess_exec(
        program, str(file), env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()
