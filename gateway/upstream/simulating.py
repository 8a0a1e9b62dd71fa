"""Test keys' long work, done by the simulator in a process of its own (see `gateway.apart`).

Promises: the answer is the simulator's, byte for byte as if it had been asked here. Its steps come in packed pieces:
two hundred thousand events are too many to be kept as they are, and the helper is not to wait for a slow client.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator, Mapping

import msgspec

from gateway.apart import Apart, HelperFailed, serve
from gateway.bounds import SIMULATION_MEMORY_BYTES_MAX, SIMULATIONS_WAITING_MAX
from providers.simulator import Answer, Cut, Faults, Pause, answer, is_long_work
from providers.simulator.answers import Step

_PIECE_BYTES = 64 * 1024  # of steps that are packed, and unpacked, at once
_PACKED_BYTES_MAX = 64 * 1024 * 1024  # of one answer: ten times what the simulator's longest comes to


class Asked(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A request to the simulator, but for its body; see `providers.simulator.answer`."""

    method: str
    path: str
    headers: Mapping[str, str]
    provider: str
    faults: Faults
    request_id: str
    now_s: int

    def is_long_work(self, body: bytes) -> bool:
        """Whether others would wait for it."""
        return is_long_work(self.path, body, self.faults)

    def answered(self, body: bytes) -> Answer:
        """The simulator's answer."""
        return answer(
            self.method,
            self.path,
            self.headers,
            body,
            provider=self.provider,
            faults=self.faults,
            request_id=self.request_id,
            now_s=self.now_s,
        )


class _Told(msgspec.Struct):
    status: int
    headers: list[tuple[str, str]]
    packed: list[bytes]


_Packed = bytes | int | None  # a step: what is sent, a pause of so many milliseconds, a cut
_encode = msgspec.msgpack.Encoder(enc_hook=dict).encode
_ASKED = msgspec.msgpack.Decoder(Asked)
_TOLD = msgspec.msgpack.Decoder(_Told)
_STEPS = msgspec.msgpack.Decoder(list[_Packed])


class Simulations:
    """Answers to large bodies, made one after the other. One for the process."""

    def __init__(self) -> None:
        self._apart = Apart("gateway.upstream.simulating", waiting_max=SIMULATIONS_WAITING_MAX)

    async def answer(self, asked: Asked, body: bytes) -> Answer:
        """The simulator's answer; its bill is not told. Raises HelperFailed."""
        async with self._apart.of(body, _encode(asked)) as (_, answer):
            told = _TOLD.decode(answer)
        if not told.status:
            raise HelperFailed
        return Answer(status=told.status, headers=told.headers, steps=_unpacked(told.packed), billed=None)

    async def close(self) -> None:
        """End the helper."""
        await self._apart.close()


def _unpacked(packed: list[bytes]) -> Iterator[Step]:
    for piece in packed:
        for step in _STEPS.decode(zlib.decompress(piece)):
            yield Cut() if step is None else Pause(step) if isinstance(step, int) else step


# ---- in the helper


def _packed(steps: Iterator[Step]) -> Iterator[bytes]:
    waiting: list[_Packed] = []
    size = 0
    for step in _split(steps):
        waiting.append(step if isinstance(step, bytes) else step.ms if isinstance(step, Pause) else None)
        size += len(step) if isinstance(step, bytes) else 1
        if size >= _PIECE_BYTES:
            yield zlib.compress(_encode(waiting), 1)
            waiting, size = [], 0
    yield zlib.compress(_encode(waiting), 1)


def _split(steps: Iterator[Step]) -> Iterator[Step]:
    for step in steps:
        if isinstance(step, bytes) and len(step) > _PIECE_BYTES:
            yield from (step[start : start + _PIECE_BYTES] for start in range(0, len(step), _PIECE_BYTES))
        else:
            yield step


def _work(question: bytes, body: bytes) -> bytes:
    answer = _ASKED.decode(question).answered(body)
    packed: list[bytes] = []
    size = 0
    for piece in _packed(answer.steps):
        packed.append(piece)
        size += len(piece)
        if size > _PACKED_BYTES_MAX:
            return _encode(_Told(0, [], []))
    return _encode(_Told(answer.status, answer.headers, packed))


def _limit_memory() -> None:
    """So that it is this process that ends where a request asks for more than anybody has."""
    if sys.platform == "linux":  # elsewhere it is not kept, or not there
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (SIMULATION_MEMORY_BYTES_MAX, SIMULATION_MEMORY_BYTES_MAX))


if __name__ == "__main__":
    _limit_memory()
    serve(_work)
