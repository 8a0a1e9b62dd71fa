"""What is measured of each contestant."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass

from scripts.bench import load
from scripts.bench.contestants import Gateway
from scripts.bench.traffic import EVENTS

RATE = 100  # calls a second, whose latency is measured
STREAMS_PACED = 100  # at a chunk every 10 ms
STREAMS_HELD = 1_000
WARM_S = 1
SETTLE_S = 0.5  # before memory is read


@dataclass(frozen=True)
class Sample:
    """One figure of one contestant in one round."""

    contestant: str
    figure: str
    turn: int
    value: float


@dataclass(frozen=True)
class Scenario:
    """A closed loop, or paced streams: how many at once, and how the figures are called."""

    name: str
    number: int
    stream: bool = False
    paced: bool = False


SCENARIOS = {
    "calls32": Scenario("calls32", 32),
    "calls64": Scenario("calls64", 64),
    "sse": Scenario("sse", 32, stream=True),
    "paced": Scenario("paced", STREAMS_PACED, stream=True, paced=True),
}


def measure(name: str, gateway: Gateway, scenario: Scenario, seconds: int, turn: int) -> list[Sample]:
    """One closed-loop scenario: how much, and at what CPU time each."""
    if gateway.calls == 0:
        gateway.calls += int(load.closed(gateway.port, gateway.secret, 32, WARM_S, stream=False)["calls"])
    before = gateway.process.cpu_s() if gateway.process else 0.0
    if scenario.paced:
        result = load.run("paced", gateway.port, gateway.secret, scenario.number, seconds)
    else:
        result = load.closed(gateway.port, gateway.secret, scenario.number, seconds, stream=scenario.stream)
    cpu_s = gateway.process.cpu_s() - before if gateway.process else 0.0
    gateway.calls += int(result["calls"])
    if result["errors"] and not scenario.paced:
        gateway.notes.append(f"{scenario.name}: {result['errors']:.0f} errors")
    units = result.get("events", result["calls"] * EVENTS) if scenario.stream else result["calls"]
    figures = {"per_s": units / result["seconds"], "cpu_us": cpu_s / units * 1e6 if units else float("nan")}
    if gateway.process is None:
        del figures["cpu_us"]
    return [Sample(name, f"{scenario.name}.{figure}", turn, value) for figure, value in figures.items()]


def open_loop(name: str, gateway: Gateway, seconds: int, turn: int) -> list[Sample]:
    """The latency at a fixed rate, on an upstream that takes 50 ms."""
    result = load.run("rate", gateway.port, gateway.secret, RATE, seconds)
    gateway.calls += int(result["calls"])
    if result["errors"]:
        gateway.notes.append(f"added: {result['errors']:.0f} errors")
    return [Sample(name, f"added.{figure}", turn, result[figure]) for figure in ("p50_ms", "p99_ms")]


def held(name: str, gateway: Gateway) -> list[Sample]:
    """Memory: idle, and of a thousand open streams. On a process that has done nothing else."""
    assert gateway.process is not None
    time.sleep(SETTLE_S)
    idle = gateway.process.rss_bytes()
    command = [sys.executable, "-m", "scripts.bench.load", "held", str(gateway.port), gateway.secret]
    client = subprocess.Popen(
        [*command, str(STREAMS_HELD), "0"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert client.stdin is not None
    assert client.stdout is not None
    line = client.stdout.readline()
    time.sleep(SETTLE_S)
    loaded = gateway.process.rss_bytes()
    client.stdin.close()
    client.wait(30)
    client.stdout.close()
    if f'"streams": {STREAMS_HELD}' not in line:
        gateway.notes.append(f"held: {line.strip()}")
    return [
        Sample(name, "held.idle_mb", 0, idle / 1e6),
        Sample(name, "held.kb_a_stream", 0, (loaded - idle) / STREAMS_HELD / 1e3),
    ]
