"""A request's body: received within bounds, and as it is forwarded."""

from __future__ import annotations

import asyncio

from gateway.apart import Gathered, edited
from gateway.asgi import receive_body
from gateway.bounds import BODY_BYTES_MAX, BODY_TIMEOUT_S, READ_APART_BYTES
from gateway.call.reading import Readings
from gateway.call.records import Admitted, Inbound
from gateway.call.upload import Upload, over_bytes
from gateway.edge.encodings import decoded, encoding_of
from gateway.problems import CallError
from providers.reading.request import with_model


async def received(inbound: Inbound) -> bytes:
    """The whole body of a request, within bounds, and decoded. Raises CallError and ClientGone."""
    if inbound.opening is not None:
        return inbound.opening
    if inbound.body is not None:
        return inbound.body
    if "content-encoding" not in inbound.headers:
        return await _receive(inbound)
    encoding = encoding_of(inbound.headers["content-encoding"])
    body = await _receive(inbound)
    return await decoded(body, encoding, BODY_BYTES_MAX) if encoding else body


async def _receive(inbound: Inbound) -> bytes:
    """The whole body as it was sent."""
    declared = inbound.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > BODY_BYTES_MAX:
        raise over_bytes(BODY_BYTES_MAX)
    if inbound.whole:
        body: bytes = (await receive_body(inbound.receive)).get("body", b"")
        if len(body) > BODY_BYTES_MAX:
            raise over_bytes(BODY_BYTES_MAX)
        return body
    gathered, more = Gathered(), True
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            while more:
                message = await receive_body(inbound.receive)
                gathered.add(message.get("body", b""))
                if gathered.size > BODY_BYTES_MAX:
                    raise over_bytes(BODY_BYTES_MAX)
                more = message.get("more_body", False)
    except TimeoutError:
        raise CallError(408, "request_timeout", "The request's body took too long to arrive.") from None
    return gathered.whole()


async def named(body: bytes, model: str) -> bytes:
    """The body with another model; a large one is written where nobody waits for it. Raises BadRequest."""
    if len(body) > READ_APART_BYTES:
        return await asyncio.to_thread(with_model, body, model)
    return with_model(body, model)


async def outgoing(admitted: Admitted, readings: Readings) -> bytes | Upload:
    """The body to forward: the client's bytes, save what the hold and the metering need in them."""
    if admitted.upload is not None:
        return admitted.upload
    body, attempt = await _prepared(admitted, readings), admitted.attempt
    return body if attempt is None or not attempt.model_there else await named(body, attempt.model_there)


async def _prepared(admitted: Admitted, readings: Readings) -> bytes:
    shape, limit = admitted.route.operation.shape, admitted.quote.output_limit(admitted.held.allowance)
    if len(admitted.body) > READ_APART_BYTES:
        if limit is None and not admitted.call.splice:
            return admitted.body
        async with readings.of(admitted.body) as reading:
            edits = await reading.outgoing(admitted.route, admitted.call, limit)
        return await edited(admitted.body, edits) if edits else admitted.body
    body = admitted.body if limit is None else shape.limit(admitted.body, admitted.call, limit)
    return shape.prepare(body, admitted.call) if body else body
