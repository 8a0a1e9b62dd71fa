"""Somebody else's tool reads the document and asks for everything in it, rightly and wrongly: a few hundred cases."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.parameters import ParameterLocation
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from gateway.api.described import ENTRIES
from tests.gateway.api.seeded import Seeded
from tests.gateway.api.test_openapi import LAST, strict
from tests.harness import running

CASES = 6  # of each operation, right ones and wrong ones
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
# What is wrong with an event is said in a 200, so that it does not stop the others; with a pipeline, to be mended.
LENIENT = [("POST", "/v1/events"), ("POST", "/v1/pipelines/check")]
ASKED = [each for each in ENTRIES if each not in LAST and each[1].startswith("/v1/")] + LAST


class Loop:
    """A gateway in a thread of its own: the tool waits for each answer."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._loop = asyncio.new_event_loop()
        self._ready, self._over = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))
        self.seeded: Seeded
        self.url = ""

    def __enter__(self) -> Loop:
        self._thread.start()
        assert self._ready.wait(60)
        return self

    def __exit__(self, *exc: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(60)
        self._loop.close()

    async def _serve(self) -> None:
        async with running(self._place) as farthing:
            self.seeded, self.url = Seeded(farthing), farthing.url
            await self.seeded.seed()
            self._ready.set()
            await self._over.wait()
            await farthing.audited()

    def id(self, template: str) -> str:
        """An id that there is."""
        path = asyncio.run_coroutine_threadsafe(self.seeded.path(template), self._loop).result(30)
        return path.removeprefix(template.partition("{id}")[0]).partition("/")[0]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    with Loop(tmp_path_factory.mktemp("asked")) as started:
        yield started


@pytest.mark.parametrize(
    ("method", "template", "mode"),
    [pytest.param(*each, mode, id=f"{' '.join(each)} {mode.value}") for each in ASKED for mode in GenerationMode],
)
def test_whatever_is_asked_is_answered_as_described(
    gateway: Loop, method: str, template: str, mode: GenerationMode
) -> None:
    """No 500, and no answer that the document does not have; what it does not allow is refused."""
    schema = schemathesis.openapi.from_dict(strict())
    schema.config.update(base_url=gateway.url)
    chance = random.Random(template)  # noqa: S311 - repeatable
    checks = [*CHECKS]
    if (method, template) not in LENIENT:
        checks.append(negative_data_rejection)

    @seed(1)
    @settings(max_examples=CASES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=schema[template][method].as_strategy(generation_mode=mode))
    def ask(case: schemathesis.Case) -> None:
        wrong = {place for place, part in case.meta.components.items() if part.mode is GenerationMode.NEGATIVE}
        if "{id}" in template and ParameterLocation.PATH not in wrong and chance.random() < 0.8:
            case.path_parameters = {"id": gateway.id(template)}
        headers = {"authorization": f"Bearer {gateway.seeded.secret(template)}"}
        case.call_and_validate(headers=headers, checks=checks)

    ask()
