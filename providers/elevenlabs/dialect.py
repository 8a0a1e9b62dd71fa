"""How ElevenLabs' SDKs are told of an error."""

from __future__ import annotations

from typing import Any

from providers.contract.dialect import Dialect, Problem, close_code, particulars

_STATUSES = {"spend_cap_exceeded": "quota_exceeded", "invalid_key": "invalid_api_key"}


class ElevenLabs(Dialect):
    """`{"detail": {…}}`."""

    request_id_header = b"request-id"

    def body(self, problem: Problem, request_id: str) -> dict[str, Any]:
        """A status in words, and a message."""
        detail = {"status": _status(problem), "message": problem.message, "code": problem.code}
        return {"detail": detail | particulars(problem)}

    def messages(self, problem: Problem, operation: str, request_id: str) -> list[dict[str, Any]]:
        """A transcription's messages have a type, speech's a code to close with."""
        event: dict[str, Any] = {"message": problem.message, "error": _status(problem), "code": close_code(problem)}
        if operation.startswith("speech-to-text"):
            event = {"message_type": _status(problem), "error": problem.message}
        return [event | particulars(problem)]


def _status(problem: Problem) -> str:
    return _STATUSES.get(problem.code, problem.code)


DIALECT = ElevenLabs()
