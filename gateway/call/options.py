"""What the caller chose in our own headers: for whom the call is, and what it may cost. Refused where it is unclear."""

from __future__ import annotations

import msgspec

from gateway.bounds import SUBJECT_BYTES_MAX
from gateway.problems import CallError
from keys.requests import Metadata
from ledger.money import is_plain_decimal, usd_to_micros
from providers.simulator import Faults

_decode_metadata = msgspec.json.Decoder(Metadata).decode


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """One call's.

    Attributes:
        end_user: As the caller names him; None where the call is for nobody in particular.
        end_user_cap_micros: The most that he may have spent; needs him.
        call_cap_micros: The most that this call may cost.
        run: What it is a part of, as the caller names it.
        metadata: Kept with its event.
        stream_cost: A stream of events is to end in a comment that says what it cost.
        faults: What is to go wrong; for test keys.
    """

    end_user: str | None = None
    end_user_cap_micros: int | None = None
    call_cap_micros: int | None = None
    run: str | None = None
    metadata: dict[str, str] = {}
    stream_cost: bool = False
    faults: Faults | None = None


_NAMES = frozenset(
    (
        "x-end-user-id",
        "x-end-user-cap-usd",
        "x-farthing-max-cost-usd",
        "x-farthing-metadata",
        "x-farthing-run-id",
        "x-farthing-sim",
        "x-farthing-stream-cost",
    )
)
"""The headers that options are made of: whoever reads another of them adds it here."""
_NONE = Options()


def read_options(headers: dict[str, str], *, livemode: bool) -> Options:
    """Raises CallError: 400, naming the header."""
    if _NAMES.isdisjoint(headers):
        return _NONE  # nearly always
    end_user = _subject(headers, "x-end-user-id")
    end_user_cap_micros = _dollars(headers, "x-end-user-cap-usd")
    if end_user_cap_micros is not None and end_user is None:
        raise _unclear("x-end-user-cap-usd", "x-end-user-cap-usd needs an x-end-user-id.")
    return Options(
        end_user=end_user,
        end_user_cap_micros=end_user_cap_micros,
        call_cap_micros=_dollars(headers, "x-farthing-max-cost-usd"),
        run=_subject(headers, "x-farthing-run-id"),
        metadata=_metadata(headers),
        stream_cost=_stream_cost(headers),
        faults=_faults(headers, livemode=livemode),
    )


def _faults(headers: dict[str, str], *, livemode: bool) -> Faults | None:
    simulate = headers.get("x-farthing-sim")
    if simulate is None:
        return None
    if livemode:
        raise CallError(400, "test_keys_only", "x-farthing-sim works with test keys only.", param="x-farthing-sim")
    try:
        return Faults.parse(simulate)
    except ValueError as error:
        raise _unclear("x-farthing-sim", f"x-farthing-sim: {error}") from None


def _stream_cost(headers: dict[str, str]) -> bool:
    text = headers.get("x-farthing-stream-cost", "0")
    if text not in ("0", "1"):
        raise _unclear("x-farthing-stream-cost", "x-farthing-stream-cost must be 1 or 0.")
    return text == "1"


def _subject(headers: dict[str, str], name: str) -> str | None:
    text = headers.get(name)
    if text is None:
        return None
    try:
        subject = text.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        raise _unclear(name, f"{name} must be UTF-8.") from None
    if not subject or len(subject.encode()) > SUBJECT_BYTES_MAX:
        raise _unclear(name, f"{name} must have 1 to {SUBJECT_BYTES_MAX} bytes.")
    return subject


def _dollars(headers: dict[str, str], name: str) -> int | None:
    text = headers.get(name)
    if text is None:
        return None
    try:
        if not is_plain_decimal(text):
            raise ValueError(text)
        return usd_to_micros(text)
    except ValueError:
        raise _unclear(name, f"{name} must be dollars, such as 0.25.") from None


def _metadata(headers: dict[str, str]) -> dict[str, str]:
    text = headers.get("x-farthing-metadata")
    if text is None:
        return {}
    try:
        metadata = _decode_metadata(text.encode("latin-1"))
    except (msgspec.DecodeError, UnicodeDecodeError):
        metadata = None
    if metadata is None:
        message = "x-farthing-metadata must be a JSON object: at most 50 names up to 40 characters, values up to 500."
        raise _unclear("x-farthing-metadata", message)
    return metadata


def _unclear(name: str, message: str) -> CallError:
    return CallError(400, "invalid_request", message, param=name)
