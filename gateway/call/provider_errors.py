"""A provider's own error, as a client may see it: in the provider's words, or in ours.

Promises: what is about the operator's account with the provider is told to the operator, in the log and the metrics,
and to no client; no credential and no id of that account leaves by an error. Everything else passes as it came.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from gateway.bounds import ERROR_BODY_BYTES_MAX
from gateway.problems import CallError
from gateway.telemetry import Metrics
from gateway.upstream.base import Answer
from providers.reading.account import about_account, carries, without_ids
from providers.reading.failures import failures

_ABOUT_ACCOUNT = "upstream_account"

_log = logging.getLogger("farthing.call")

Alarm = Callable[[str, dict[str, Any]], None]
"""Tells the operator of a trouble of his own: what it is called, and its facts. Never awaits, never fails."""


class ProviderErrors:
    """Judges providers' errors. One for the process; `alarm` tells the operator."""

    def __init__(self, metrics: Metrics, alarm: Alarm) -> None:
        self._metrics = metrics
        self._alarm = alarm

    async def read(self, answer: Answer) -> bytes:
        """An error's body: of one that is longer than it may be, a little more than that. Raises UpstreamFailed."""
        chunks: list[bytes] = []
        size = 0
        async for chunk in answer.chunks():
            size += len(chunk)
            if size <= ERROR_BODY_BYTES_MAX + len(chunk):
                chunks.append(chunk)
        return b"".join(chunks)

    def shown(self, provider: str, status: int, content_type: str, body: bytes, credential: str) -> bytes:
        """What a client gets of an error: its bytes, but for the operator's ids. `body` may be cut above the bound.

        `credential` is the one that was sent.

        Raises:
            CallError: What it gets instead.
        """
        if status < 400:
            raise CallError(502, "upstream_redirect", "The provider sent a redirect, which is never followed.")
        self.refuse_account(provider, status, body)
        if (
            not content_type.startswith("application/json")
            or len(body) > ERROR_BODY_BYTES_MAX
            or carries(body, credential)
        ):
            raise CallError(status, "upstream_error", f"The provider answered {status}.")
        return without_ids(body)

    def in_stream(self, provider: str, chunk: bytes) -> CallError | None:
        """What a client gets instead of a stream that begins with a refusal of the operator's account."""
        for data in failures(chunk):  # nearly always none
            try:
                self.refuse_account(provider, 200, data)
            except CallError as error:
                return error
        return None

    def hides(self, error: CallError) -> bool:
        """Whether an error stands for one of the operator's account."""
        return error.code == _ABOUT_ACCOUNT

    def refuse_account(self, provider: str, status: int, body: bytes) -> None:
        """Raises CallError if an error is about the operator's account; `status` is 200 for one within an answer."""
        if not about_account(provider, status, body):
            return
        self._metrics.account_refused(provider)
        _log.error("the provider refuses this gateway's account", extra={"provider": provider, "status": status})
        reason = "has no credit at the provider" if status == 402 else "was refused by the provider"
        self._alarm("upstream.account_refused", {"provider": provider, "status": status})
        raise CallError(502, "upstream_account", f"The gateway's own account {reason}.")
