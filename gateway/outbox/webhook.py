"""A message to a webhook, as Standard Webhooks 1.0 says it.

Source: github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import ssl
from collections.abc import Callable, Iterable, Mapping

import aiohttp

from gateway.outbox.guard import NotPublic
from gateway.outbox.outcome import Outcome, wait_asked_s

PREFIX = "whsec_"
SECRET_BYTES = 32
TIMEOUT_S = 15.0
ANSWER_BYTES_MAX = 4_096
_GONE = 410


def new_secret() -> str:
    """A secret to sign with, as it is shown to the receiver."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def signature(secret: str, message_id: str, timestamp_s: int, body: bytes) -> str:
    """The signature of one attempt. Raises ValueError for what is no secret."""
    if not secret.startswith(PREFIX):
        raise ValueError("not a webhook's secret")
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        raise ValueError("not a webhook's secret") from None
    signed = b"%s.%d.%s" % (message_id.encode(), timestamp_s, body)
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def headers(secrets_: Iterable[str], message_id: str, timestamp_s: int, body: bytes) -> dict[str, str]:
    """What an attempt bears: one signature for each secret, so that a receiver may have either while they overlap."""
    return {
        "content-type": "application/json",
        "user-agent": "Farthing-Webhooks",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": " ".join(signature(each, message_id, timestamp_s, body) for each in secrets_),
    }


async def post(
    session: aiohttp.ClientSession,
    url: str,
    head: Mapping[str, str],
    body: bytes,
    judge: Callable[[int, Mapping[str, str], float], Outcome],
    now_s: float,
) -> Outcome:
    """Send it, once. No redirect is followed, and of the answer nothing but what `judge` makes of it is kept."""
    try:
        async with session.post(
            url,
            data=body,
            headers=head,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
        ) as answer:
            await answer.content.read(ANSWER_BYTES_MAX)
            return judge(answer.status, answer.headers, now_s)
    except TimeoutError:
        return Outcome(error="timeout")
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return Outcome(error=why(error))


def judged(status: int, head: Mapping[str, str], now_s: float) -> Outcome:
    """What an answer of a webhook means."""
    if 200 <= status < 300:
        return Outcome(delivered=True, status=status)
    if status == _GONE:
        return Outcome(status=status, error="gone", gone=True)
    return Outcome(status=status, error="redirect" if status < 400 else "status", wait_s=wait_asked_s(head, now_s))


def why(error: Exception) -> str:
    """A word for what kept a request from being answered; never the error's own text, which names the address."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, NotPublic):
            return "not_public"
        if isinstance(cause, ssl.SSLError | ssl.CertificateError):
            return "tls"
        cause = getattr(cause, "os_error", None) or cause.__cause__
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "dns"
    if isinstance(error, aiohttp.ClientConnectorError | ConnectionRefusedError):
        return "unreachable"
    if isinstance(error, aiohttp.InvalidURL | ValueError):
        return "bad_url"
    return "broken_off"
