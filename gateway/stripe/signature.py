"""Whether a webhook is Stripe's: `Stripe-Signature: t=SECONDS,v1=HEX[,v1=HEX…]` over the bytes as they came. Pure.

The secret is used as the literal text `whsec_…`. While it is rolled, Stripe signs with both, and either will do.
"""

from __future__ import annotations

import hashlib
import hmac

TOLERANCE_S = 300
_SIGNATURES_MAX = 16
_DIGITS_MAX = 12


class BadSignature(Exception):
    """The request is not Stripe's, or not of now; the message says why, and nothing of the secret."""


def verify(header: str, body: bytes, secret: str, now_s: int) -> None:
    """Check a signature. Raises BadSignature."""
    moment, signatures = "", list[bytes]()
    for part in header.split(","):
        name, _, value = part.strip().partition("=")
        if name == "t":
            moment = value
        elif name == "v1":
            signatures.append(value.encode("utf-8", "surrogateescape"))
    if not (moment.isascii() and moment.isdigit() and len(moment) <= _DIGITS_MAX) or not signatures:
        raise BadSignature("Stripe-Signature must be t=SECONDS,v1=HEX.")
    expected = hmac.new(secret.encode(), moment.encode() + b"." + body, hashlib.sha256).hexdigest().encode()
    if not any(hmac.compare_digest(expected, each) for each in signatures[:_SIGNATURES_MAX]):
        raise BadSignature("The body was not signed with STRIPE_WEBHOOK_SECRET.")
    if abs(now_s - int(moment)) > TOLERANCE_S:
        raise BadSignature(f"The signature is not of the last {TOLERANCE_S} seconds by this machine's clock.")
