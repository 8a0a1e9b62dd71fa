"""`POST /v1/portal_sessions`: an address that is opened once, and leads an end user to a page of his own figures.

Promises: the address is in the answer and nowhere else; what is kept of it is a hash. It leads to the caller's own key,
or to one under it.
"""

from __future__ import annotations

import hmac
import secrets
from base64 import urlsafe_b64encode
from hashlib import blake2b
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta
from starlette.responses import Response

from gateway.api.endpoint import Call, json_response, replayed
from gateway.api.stated import Ttl
from gateway.bounds import SUBJECT_BYTES_MAX
from gateway.edge.headers import as_mapping, origin
from keys.ids import new_id
from keys.limits import Invalid
from ledger.changes import Closed
from ledger.portal import Address
from ledger.replays import ReplayMismatch

PATH = "/portal"
URL_MAX = 2048


class PortalSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Whose page it is, where it leads back to, and how long the address may be opened."""

    key_id: str
    end_user: Annotated[str, Meta(min_length=1, max_length=SUBJECT_BYTES_MAX)] | None = None
    return_url: Annotated[str, Meta(max_length=URL_MAX)] | None = None
    ttl_seconds: Ttl = 900


def token_hash(token: str) -> str:
    """How the ledger knows an address, or the session that it became."""
    return blake2b(token.encode(), digest_size=32).hexdigest()


async def start(call: Call) -> Response:
    """POST /v1/portal_sessions."""
    call.parameters()
    origin_ = await call.origin()
    asked = await call.body(PortalSpec)
    if asked.return_url is not None:
        _check_url(asked.return_url)
    if asked.end_user is not None and len(asked.end_user.encode()) > SUBJECT_BYTES_MAX:
        raise Invalid("end_user", f"must have 1 to {SUBJECT_BYTES_MAX} bytes")
    ledger = call.services.ledger
    key = await ledger.accounts.get(call.key.account_id, asked.key_id)
    if key.status == "revoked":
        raise Closed("revoked")
    call.may_make()
    now_ms, subject_id = call.services.clock_ms(), 0
    if asked.end_user is not None:
        subject_id = await ledger.accounts.open_subject(
            key.id, "end_user", asked.end_user, public_id=new_id("eu", now_ms), balance_id=new_id("lim", now_ms)
        )
    # What is kept of a repeated request cannot tell the token: it takes the caller's secret to make it again.
    nonce = secrets.token_hex(32)
    address = Address(
        id_hash=token_hash(_token(call.secret, nonce)),
        account_id=key.id,
        subject_id=subject_id,
        return_url=asked.return_url,
        ends_ms=now_ms + asked.ttl_seconds * 1000,
        note=nonce,
    )
    given, is_replay = await ledger.portal.start(address, origin_)
    token = _token(call.secret, given.note)
    if token_hash(token) != given.id_hash:  # asked with another secret of the key's
        raise ReplayMismatch(asked.key_id)
    url = f"{_origin(call)}{PATH}/{token}"
    return json_response({"url": url, "expires_at_ms": given.ends_ms}, 201, replayed(is_replay))


def _token(secret: str, nonce: str) -> str:
    made = hmac.digest(blake2b(secret.encode(), digest_size=64).digest(), nonce.encode(), "sha256")
    return "ps_" + urlsafe_b64encode(made).decode().rstrip("=")


def _origin(call: Call) -> str:
    """Where browsers find us: as the operator says, or else as the caller has found us."""
    settings = call.services.settings
    scope = call.request.scope
    found = settings.face.public_url or origin(scope["scheme"], as_mapping(scope["headers"]))
    return found or f"http://{settings.host}:{settings.port}"


def _check_url(url: str) -> None:
    """Refuse what is no address of a web page. Raises Invalid."""
    try:
        parts = urlsplit(url)
        is_page = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_page = False
    plain = url.isprintable() and not any(each in url for each in " \\\"'<>`")
    if not is_page or not plain or "@" in parts.netloc:
        raise Invalid("return_url", "must be a web address that begins with https:// or http://")
