"""How an admitted call goes out: to where, and with which of its own head and credential."""

from __future__ import annotations

from gateway.call.records import Admitted
from gateway.call.upload import Upload
from gateway.edge.credentials import without_key
from gateway.edge.head import Head
from gateway.edge.headers import as_bearer, to_provider_socket
from gateway.places import Place, credentialed
from gateway.upstream.base import Forward, Handshake
from providers.ground.vendors import VENDORS


def forwarded(admitted: Admitted, head: Head, body: bytes | Upload, place: Place) -> Forward:
    """A request, as it is sent to the provider's place."""
    provider = admitted.route.provider
    vendor = VENDORS[provider]
    if place.auth is None:
        headers = head.to_provider(vendor, place.credential, admitted.key.account_id)
        layer = vendor.layer
        if layer is not None and layer.bearer and admitted.route.upstream_path.startswith(f"{layer.path}/"):
            as_bearer(headers, vendor)
    else:
        headers = credentialed(head.to_provider(vendor, "", admitted.key.account_id), place, vendor.key_header)
    if body:
        headers["content-type"] = admitted.call.content_type  # as it was read here, so that it is read alike there
    return Forward(
        provider=provider,
        method=admitted.method,
        origin=place.origin,
        target=place.path + _target(admitted, head.query),
        headers=headers,
        body=body,
        call_id=admitted.call_id,
        faults=admitted.faults,
    )


def shaken(admitted: Admitted, head: Head, subprotocols: list[str], place: Place) -> Handshake:
    """A WebSocket's handshake, as it is sent to the provider's place."""
    provider = admitted.route.provider
    return Handshake(
        provider=provider,
        origin=place.origin,
        target=_target(admitted, head.query),
        headers=to_provider_socket(head.fields, VENDORS[provider], place.credential),
        subprotocols=subprotocols,
        call_id=admitted.call_id,
        faults=admitted.faults,
    )


def _target(admitted: Admitted, query: bytes) -> str:
    if keys := VENDORS[admitted.route.provider].url_keys:
        query = without_key(query, keys)
    path = admitted.route.upstream_path
    if admitted.attempt is not None and admitted.attempt.path:
        path = admitted.attempt.path
    return f"{path}?{query.decode('latin-1')}" if query else path
