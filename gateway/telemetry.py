"""What the process says of itself: metrics with bounded labels, and JSON lines built from typed fields only.

Never in either: a prompt, a completion, a secret, a header or a body.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_OWN_FIELDS = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message"}


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and the fields given as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """Render a record."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in record.__dict__.items() if name not in _OWN_FIELDS}
        if record.exc_info and record.exc_info[0] is not None:
            # The kind and the place, not the text: an exception's text may quote what it failed on.
            line["exception"] = record.exc_info[0].__name__
            trace = record.exc_info[2]
            while trace is not None and trace.tb_next is not None:
                trace = trace.tb_next
            if trace is not None:
                line["at"] = f"{trace.tb_frame.f_globals.get('__name__')}:{trace.tb_lineno}"
        return json.dumps(line, default=str)


def configure_logging(level: str) -> None:
    """Send everything as JSON lines to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.WARNING)


class Metrics:
    """The process's metrics, in a registry of their own."""

    def __init__(
        self, flights: Callable[[], float], waiting: Callable[[], float], commits: Callable[[], float]
    ) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "farthing_requests_total",
            "Inference requests by outcome.",
            ("provider", "operation", "outcome"),
            registry=self._registry,
        )
        self._spend = Counter(
            "farthing_spend_micros_total", "Cost of settled calls.", ("provider", "livemode"), registry=self._registry
        )
        self.added_seconds = Histogram(
            "farthing_added_latency_seconds",
            "Time from the first byte of a request to its forwarding, hold included.",
            buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0),
            registry=self._registry,
        )
        open_holds = Gauge("farthing_holds_open", "Calls in flight in this process.", registry=self._registry)
        open_holds.set_function(flights)
        queue = Gauge("farthing_writer_queue", "Operations waiting to be committed.", registry=self._registry)
        queue.set_function(waiting)
        transactions = Gauge("farthing_commits", "Transactions of this process so far.", registry=self._registry)
        transactions.set_function(commits)
        self._bound: dict[tuple[str, str, str], Counter] = {}
        self._bound_spend: dict[tuple[str, bool], Counter] = {}

    def request(self, provider: str, operation: str, outcome: str) -> None:
        """Count a request. Labels come from closed sets: routes and codes of ours."""
        key = (provider, operation, outcome)
        bound = self._bound.get(key)
        if bound is None:
            bound = self._bound[key] = self._requests.labels(*key)
        bound.inc()

    def spend(self, provider: str, livemode: bool, micros: int) -> None:
        """Add to the spending."""
        key = (provider, livemode)
        bound = self._bound_spend.get(key)
        if bound is None:
            bound = self._bound_spend[key] = self._spend.labels(provider, str(livemode).lower())
        bound.inc(micros)

    def render(self) -> bytes:
        """The metrics in Prometheus's text format."""
        return generate_latest(self._registry)
