"""Other gateways, for whoever wants to see them beside Farthing. Each is installed under `build/`, by `make peers`.

LiteLLM runs with a budget, as it does where it is to hold a cap: a deployment's, kept in its own memory, because it
asks for no database. One worker, as everybody here.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from scripts.bench.contestants import Contestant, Gateway, call, free_port, stopping, wait_ready
from scripts.bench.machine import GATEWAY_CORE, Process
from scripts.bench.traffic import PACES

BUILD = Path(__file__).resolve().parents[2] / "build"
LITELLM = BUILD / "litellm" / "bin" / "litellm"
START_S = 120.0  # it imports for a while
_KEY = "sk-bench"


class LiteLLM(Contestant):
    """The LiteLLM proxy with a budget for each model."""

    holds = False  # a thousand streams take it longer to open than they last

    def missing(self) -> str | None:
        """See `Contestant`."""
        return None if LITELLM.exists() else "LiteLLM is not installed (make peers)"

    @contextlib.contextmanager
    def started(self, upstream_port: int, directory: Path) -> Iterator[Gateway]:
        """See `Contestant`."""
        port = free_port()
        configuration = directory / "litellm.json"
        configuration.write_text(json.dumps(_litellm(upstream_port)))
        process = Process(
            [str(LITELLM), "--config", str(configuration), "--host", "127.0.0.1", "--port", str(port)],
            core=GATEWAY_CORE,
            log=directory / "litellm.log",
            environment=os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"},
            cwd=directory,
        )
        with stopping(process):
            wait_ready(process, lambda: call(port, _KEY), START_S)
            yield Gateway(port, process, _KEY)


def _litellm(upstream_port: int) -> dict[str, object]:
    """Its settings; JSON is YAML."""
    served = {"api_base": f"http://127.0.0.1:{upstream_port}/v1", "api_key": "upstream"}
    budget = {"max_budget": 100_000, "budget_duration": "1d"}
    return {
        "model_list": [
            {"model_name": model, "litellm_params": {"model": f"openai/{model}", **served, **budget}} for model in PACES
        ],
        "general_settings": {"master_key": _KEY},
        "litellm_settings": {"telemetry": False},
    }
