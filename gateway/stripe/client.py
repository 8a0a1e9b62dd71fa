"""Asks Stripe: an object by its path, as JSON; and tells it what was used.

The version is pinned, so that objects have the shape that is read here, whatever the account's own is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp
import msgspec

VERSION = "2026-10-28.endive"
TIMEOUT_S = 20.0
ANSWER_BYTES_MAX = 8 * 1024 * 1024  # a hundred events, each below 64 kB

Parameters = Sequence[tuple[str, str]]


class StripeFailed(Exception):
    """Stripe does not answer, or refuses; the message says what, and nothing of the key."""


class StripeClient:
    """One account at Stripe. It may be used on one event loop."""

    def __init__(self, origin: str, api_key: str) -> None:
        self._origin = origin
        self._headers = {"authorization": f"Bearer {api_key}", "stripe-version": VERSION}
        self._session: aiohttp.ClientSession | None = None

    async def get(self, path: str, parameters: Parameters = ()) -> dict[str, Any] | None:
        """What is at a path; None for nothing. Raises StripeFailed."""
        try:
            async with self._opened().get(
                self._origin + path, params=list(parameters), headers=self._headers, allow_redirects=False
            ) as response:
                if response.status == 404:
                    return None
                if response.status != 200:
                    raise StripeFailed(f"Stripe answers {response.status} to GET {path}")
                return _decoded(await _whole(response))
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise StripeFailed(f"Stripe does not answer: {type(error).__name__}") from None

    async def post(self, path: str, form: Mapping[str, str], idempotency_key: str) -> tuple[int, str]:
        """Tell something: the answer's status, and what its error says. Sent once; it may have been taken all the same
        where this raises StripeFailed.
        """
        headers = self._headers | {"idempotency-key": idempotency_key}
        try:
            async with self._opened().post(
                self._origin + path, data=form, headers=headers, allow_redirects=False
            ) as response:
                body = await _whole(response)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise StripeFailed(f"Stripe does not answer: {type(error).__name__}") from None
        return response.status, "" if response.status == 200 else _message(body)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                cookie_jar=aiohttp.DummyCookieJar(), trust_env=False, timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)
            )
        return self._session

    async def close(self) -> None:
        """Let go of the connections."""
        if self._session is not None:
            await self._session.close()


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    body = b""
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > ANSWER_BYTES_MAX:
            raise StripeFailed(f"Stripe's answer is above {ANSWER_BYTES_MAX} bytes")
    return body


def _message(body: bytes) -> str:
    """What an error's answer says."""
    try:
        error = msgspec.json.decode(body, type=dict[str, Any]).get("error")
    except msgspec.DecodeError:
        return "no JSON"
    found = [str(error[name]) for name in ("code", "message") if error.get(name)] if isinstance(error, dict) else []
    return ": ".join(found) or "no error"


def _decoded(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError:
        raise StripeFailed("Stripe's answer is no JSON object") from None
