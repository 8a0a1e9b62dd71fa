"""What the process says of itself."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

from gateway.telemetry import JsonLines, Metrics, WorkerSnapshots


def test_a_log_line_names_an_exception_and_never_quotes_it() -> None:
    """The text of an exception may hold what a client sent; only its kind and place are logged."""
    try:
        raise ValueError("the prompt stood here")
    except ValueError:
        record = logging.getLogger("farthing").makeRecord(
            "farthing", logging.ERROR, __file__, 1, "failed", (), sys.exc_info(), extra={"request_id": "req_1"}
        )
    line = json.loads(JsonLines().format(record))
    assert (line["level"], line["message"], line["request_id"]) == ("error", "failed", "req_1")
    assert line["exception"] == "ValueError"
    assert "prompt" not in json.dumps(line)


def test_metrics_count_what_they_are_told() -> None:
    """Counters, histogram and gauges stand in Prometheus's text with their labels."""
    metrics = Metrics(lambda: 2.0, lambda: 3.0, lambda: 4.0)
    metrics.request("openai", "chat.completions", "settled")
    metrics.request("openai", "chat.completions", "settled")
    metrics.spend("openai", True, 25)
    metrics.added(0.0015)
    metrics.added(7.0)
    text = metrics.render().decode()
    assert 'farthing_requests_total{operation="chat.completions",outcome="settled",provider="openai"} 2.0' in text
    assert 'farthing_spend_micros_total{livemode="true",provider="openai"} 25.0' in text
    assert 'farthing_added_latency_seconds_bucket{le="0.001"} 0.0' in text
    assert 'farthing_added_latency_seconds_bucket{le="0.002"} 1.0' in text
    assert "farthing_added_latency_seconds_count 2.0" in text
    assert "farthing_holds_open 2.0" in text
    assert "farthing_writer_queue 3.0" in text


def test_any_worker_tells_of_all(tmp_path: Path) -> None:
    """With snapshots, whoever is asked shows every worker's figures under its number, and drops one that has ended."""
    one, two = (
        Metrics(lambda: 1.0, lambda: 0.0, lambda: 0.0, WorkerSnapshots(tmp_path, worker)) for worker in ("1", "2")
    )
    one.request("openai", "chat.completions", "settled")
    one.added(0.0015)
    one.spend("openai", True, 25)
    one.post()
    for _ in range(2):
        two.request("openai", "chat.completions", "settled")
    text = two.render().decode()
    labels = 'operation="chat.completions",outcome="settled",provider="openai"'
    assert f'farthing_requests_total{{{labels},worker="1"}} 1.0' in text
    assert f'farthing_requests_total{{{labels},worker="2"}} 2.0' in text
    assert 'farthing_spend_micros_total{livemode="true",provider="openai",worker="1"} 25.0' in text
    assert 'farthing_added_latency_seconds_bucket{le="0.002",worker="1"} 1.0' in text
    assert text.count("# TYPE farthing_requests_total counter") == 1
    (tmp_path / "1").unlink()
    assert 'worker="1"' not in two.render().decode()
