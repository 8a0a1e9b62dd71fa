"""What the process says of itself: metrics with bounded labels, and JSON lines built from typed fields only.

Never in either: a prompt, a completion, a secret, a header or a body.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from bisect import bisect_left
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

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


_ADDED_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0)


class Figures(msgspec.Struct):
    """What one process has counted."""

    requests: list[tuple[tuple[str, str, str], int]]
    spend: list[tuple[tuple[str, bool], int]]
    overrun: list[tuple[str, int]]
    account: list[tuple[str, int]]
    deliveries: list[tuple[tuple[str, str], int]]
    switches: list[tuple[tuple[str, str], int]]
    added: list[int]
    added_s: float
    gauges: list[float]


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Figures).decode


class WorkerSnapshots:
    """A directory of the figures that each worker of a machine has at a moment: whoever is asked tells of all."""

    def __init__(self, directory: Path, worker: str) -> None:
        self._directory = directory
        self.worker = worker

    def post(self, figures: Figures) -> None:
        """Show this worker's figures. Raises OSError."""
        made = self._directory / f".{self.worker}"
        made.write_bytes(_encode(figures))
        made.rename(self._directory / self.worker)

    def others(self) -> Iterator[tuple[str, Figures]]:
        """The other workers' figures, each at most a moment old."""
        for path in sorted(self._directory.glob("[0-9]*")):
            if path.name != self.worker:
                with contextlib.suppress(FileNotFoundError):  # it has just ended
                    yield path.name, _decode(path.read_bytes())


class Metrics(Collector):
    """The process's metrics: plain numbers on a call's path, made into Prometheus's families when they are asked for.

    Labels come from closed sets: routes, codes and providers of ours, never a key, a tenant or a client's text. With a
    directory of snapshots, every worker of the machine is shown, under the label `worker`.
    """

    def __init__(
        self,
        flights: Callable[[], float],
        waiting: Callable[[], float],
        commits: Callable[[], float],
        snapshots: WorkerSnapshots | None = None,
    ) -> None:
        self._gauges: tuple[tuple[str, str, Callable[[], float]], ...] = (
            ("farthing_holds_open", "Calls in flight in this process.", flights),
            ("farthing_writer_queue", "Operations waiting to be committed.", waiting),
            ("farthing_commits", "Transactions of this process so far.", commits),
            ("farthing_deliveries_pending", "Messages to hooks that wait to be delivered.", lambda: self.outbox[0]),
            ("farthing_deliveries_dead", "Messages to hooks that could not be delivered.", lambda: self.outbox[1]),
            ("farthing_deliveries_oldest_seconds", "Since when the oldest is due.", lambda: self.outbox[2] / 1000),
        )
        self._snapshots = snapshots
        self._requests: dict[tuple[str, str, str], int] = {}
        self._spend: dict[tuple[str, bool], int] = {}
        self._overrun: dict[str, int] = {}
        self._account: dict[str, int] = {}
        self._deliveries: dict[tuple[str, str], int] = {}
        self._switches: dict[tuple[str, str], int] = {}
        self.outbox = (0, 0, 0)  # deliveries that are pending and dead, and for how many ms the oldest has been due
        self._added = [0] * (len(_ADDED_S) + 1)
        self._added_s = 0.0
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def request(self, provider: str, operation: str, outcome: str) -> None:
        """Count a request."""
        key = (provider, operation, outcome)
        self._requests[key] = self._requests.get(key, 0) + 1

    def spend(self, provider: str, livemode: bool, micros: int) -> None:
        """Add to the spending."""
        key = (provider, livemode)
        self._spend[key] = self._spend.get(key, 0) + micros

    def overrun(self, provider: str, micros: int) -> None:
        """Count what a call cost above what was held for it: something to alert on."""
        self._overrun[provider] = self._overrun.get(provider, 0) + micros

    def account_refused(self, provider: str) -> None:
        """Count a refusal of the operator's own account: something to alert on."""
        self._account[provider] = self._account.get(provider, 0) + 1

    def delivery(self, kind: str, result: str) -> None:
        """Count an attempt to deliver a message: delivered, failed, or dead with it."""
        self._deliveries[kind, result] = self._deliveries.get((kind, result), 0) + 1

    def switched(self, upstream: str, why: str) -> None:
        """Count an attempt that failed, so that another may be asked."""
        self._switches[upstream, why] = self._switches.get((upstream, why), 0) + 1

    def added(self, seconds: float) -> None:
        """Count the time that a call waited here before it was forwarded."""
        self._added[bisect_left(_ADDED_S, seconds)] += 1
        self._added_s += seconds

    def figures(self) -> Figures:
        """This process's own figures."""
        return Figures(
            requests=[*self._requests.items()],
            spend=[*self._spend.items()],
            overrun=[*self._overrun.items()],
            account=[*self._account.items()],
            deliveries=[*self._deliveries.items()],
            switches=[*self._switches.items()],
            added=self._added,
            added_s=self._added_s,
            gauges=[value() for _, _, value in self._gauges],
        )

    def post(self) -> None:
        """Show the figures to the other workers. Raises OSError."""
        if self._snapshots is not None:
            self._snapshots.post(self.figures())

    def collect(self) -> Iterator[Metric]:
        """The families, as Prometheus's registry asks for them."""
        extra: tuple[str, ...] = ()
        shown: list[tuple[tuple[str, ...], Figures]] = [((), self.figures())]
        if self._snapshots is not None:
            extra = ("worker",)
            shown = [((self._snapshots.worker,), self.figures())]
            shown += [((worker,), figures) for worker, figures in self._snapshots.others()]
        requests = CounterMetricFamily(
            "farthing_requests", "Inference requests by outcome.", labels=("provider", "operation", "outcome", *extra)
        )
        spend = CounterMetricFamily(
            "farthing_spend_micros", "Cost of settled calls.", labels=("provider", "livemode", *extra)
        )
        overrun = CounterMetricFamily(
            "farthing_overrun_micros", "Cost above what was held for the call.", labels=("provider", *extra)
        )
        account = CounterMetricFamily(
            "farthing_upstream_account",
            "Refusals of the gateway's own account by a provider.",
            labels=("provider", *extra),
        )
        deliveries = CounterMetricFamily(
            "farthing_deliveries", "Attempts to deliver messages to hooks.", labels=("kind", "result", *extra)
        )
        switches = CounterMetricFamily(
            "farthing_switches", "Attempts that failed, so that others were asked.", labels=("upstream", "why", *extra)
        )
        added = HistogramMetricFamily(
            "farthing_added_latency_seconds",
            "Time from the first byte of a request to its forwarding, hold included.",
            labels=extra,
        )
        gauges = [GaugeMetricFamily(name, text, labels=extra) for name, text, _ in self._gauges]
        bounds = [*(str(bound) for bound in _ADDED_S), "+Inf"]
        for worker, figures in shown:
            for labels, count in figures.requests:
                requests.add_metric((*labels, *worker), count)
            for (provider, livemode), micros in figures.spend:
                spend.add_metric((provider, str(livemode).lower(), *worker), micros)
            for provider, micros in figures.overrun:
                overrun.add_metric((provider, *worker), micros)
            for provider, count in figures.account:
                account.add_metric((provider, *worker), count)
            for attempt, count in figures.deliveries:
                deliveries.add_metric((*attempt, *worker), count)
            for attempt, count in figures.switches:
                switches.add_metric((*attempt, *worker), count)
            added.add_metric(worker, [*zip(bounds, accumulate(figures.added), strict=True)], sum_value=figures.added_s)
            for gauge, value in zip(gauges, figures.gauges, strict=True):
                gauge.add_metric(worker, value)
        yield from (requests, spend, overrun, account, deliveries, switches, added, *gauges)

    def render(self) -> bytes:
        """The metrics in Prometheus's text format."""
        return generate_latest(self._registry)
