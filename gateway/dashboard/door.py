"""Who may come in, and with what: sign-in with a key, sessions that end with it, and no request from elsewhere.

Promises: the cookie is no key, and opens nothing but pages; the ledger has its hash only; a session is over as soon as
its secret opens nothing any more. What changes something comes from our own pages.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from hashlib import blake2b
from ipaddress import ip_address
from urllib.parse import parse_qsl, urlsplit

from starlette.requests import Request
from starlette.responses import Response

from gateway.bounds import API_BODY_BYTES_MAX
from gateway.problems import RETRY_AFTER_S_MAX, CallError
from gateway.rates import Rate
from keys.keyring import Denied, Key, Keyring
from ledger.ledger import Ledger
from ledger.sessions import LIFE_MS

FAILURES_PER_MINUTE = 10  # of one address; a key has 256 bits, so this only keeps somebody from making us work
ID_BYTES = 32
_SECURE_COOKIE, _PLAIN_COOKIE = "__Host-farthing", "farthing_session"
_SIGNS_IN = frozenset(("master", "team", "read"))
_NETWORK_BITS_V6 = 64  # what one subscriber has


class Door:
    """Lets people in and out."""

    def __init__(self, ledger: Ledger, keyring: Keyring, clock_ms: Callable[[], int]) -> None:
        self._ledger = ledger
        self._keyring = keyring
        self._failures = Rate(FAILURES_PER_MINUTE, clock_ms)

    async def enter(self, request: Request, secret: str) -> str:
        """A new session's id, for who shows a key that may come in. Raises one of `PROBLEMS`."""
        address = _address(request)
        if wait_s := self._failures.take(address):
            message = "Too many keys from here were wrong. Wait a minute, and try again."
            raise CallError(429, "rate_limited", message, retry_after_s=min(wait_s, RETRY_AFTER_S_MAX))
        locator = self._keyring.locator(secret)
        if locator is None:
            raise Denied("invalid_key")
        key = await self._keyring.authenticate(secret, fresh=True)
        if key.policy.scope not in _SIGNS_IN:
            message = f"A {key.policy.scope} key cannot sign in: a master, team or read key can."
            raise CallError(403, "scope_not_allowed", message)
        self._failures.give_back(address)
        session = secrets.token_urlsafe(ID_BYTES)
        await self._ledger.sessions.start(_hash(session), locator)
        return session

    async def known(self, request: Request) -> tuple[Key, str] | None:
        """Who a request's cookie says that it is from, and the session's id; None if that is nobody any more."""
        session = request.cookies.get(_cookie(request), "")
        locator = await self._ledger.sessions.find(_hash(session)) if session else None
        if locator is None:
            return None
        try:
            key = await self._keyring.resume(locator)
        except Denied:
            await self._ledger.sessions.end(_hash(session))
            return None
        return (key, session) if key.policy.scope in _SIGNS_IN else None

    async def leave(self, request: Request) -> None:
        """End the session of a request's cookie."""
        if session := request.cookies.get(_cookie(request)):
            await self._ledger.sessions.end(_hash(session))


def give_cookie(request: Request, response: Response, session: str) -> None:
    """Let the browser show the session from now on; "" lets it forget it."""
    response.set_cookie(
        _cookie(request),
        session,
        max_age=LIFE_MS // 1000 if session else 0,
        path="/",
        secure=is_secure(request),
        httponly=True,
        samesite="lax",
    )


def check_source(request: Request) -> None:
    """Refuse what another site's page has sent. Browsers say so, or from where it is.

    Raises:
        CallError: 403.
    """
    headers = request.headers
    site, origin = headers.get("sec-fetch-site"), headers.get("origin", "")
    ours = site == "same-origin" if site is not None else urlsplit(origin).netloc.lower() == _host(request) != ""
    if not ours:
        raise CallError(403, "origin_not_allowed", "This was not sent by a page of this dashboard.")


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form, within bounds. Of a field that stands twice the last counts."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > API_BODY_BYTES_MAX:
            raise CallError(413, "request_too_large", f"The form is above {API_BODY_BYTES_MAX} bytes.")
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=200, errors="strict"))
    except ValueError:
        raise CallError(400, "invalid_request", "The form cannot be read.") from None


def _hash(session: str) -> str:
    return blake2b(session.encode(), digest_size=32).hexdigest()


def _host(request: Request) -> str:
    return request.headers.get("host", "").lower()


def is_secure(request: Request) -> bool:
    """Whether the browser speaks TLS, be it with a proxy before us. Who says so falsely loses his own cookie only."""
    said = request.headers.get("x-forwarded-proto", "").partition(",")[0].strip()
    return request.scope["scheme"] == "https" or said == "https"


def _cookie(request: Request) -> str:
    return _SECURE_COOKIE if is_secure(request) else _PLAIN_COOKIE


def _address(request: Request) -> int:
    """Where a request is from: the address, of IPv6 its network."""
    try:
        address = ip_address(request.client.host if request.client else "")
    except ValueError:
        return 0
    return int(address) >> (_NETWORK_BITS_V6 if address.version == 6 else 0)
