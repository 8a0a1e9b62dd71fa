"""What every endpoint of the management API has in common: who calls, the body, the repeated request, the errors.

Every response carries `x-farthing-request-id`; every refusal is `{"error": {code, message, param, request_id}}`; an
unknown field or parameter is refused by name.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Awaitable, Callable, Collection
from hashlib import blake2b
from typing import Any, TypeVar

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from gateway.bounds import API_BODY_BYTES_MAX
from gateway.edge.credentials import credentials
from gateway.edge.encodings import decoded, encoding_of
from gateway.edge.headers import too_large
from gateway.problems import PROBLEMS, RETRY_AFTER_S_MAX, CallError, as_problem, render
from gateway.services import Services
from keys.ids import new_body
from keys.keyring import Key, Keyring
from keys.minting import ScopeRefused
from ledger.money import is_plain_decimal
from ledger.replays import Origin

_log = logging.getLogger("farthing.api")
T = TypeVar("T")

IDEMPOTENCY_KEY_MAX = 255
IDEMPOTENCY_MS = 24 * 3600 * 1000
LIST_MAX, LIST_DEFAULT = 100, 20
_UNKNOWN_FIELD = re.compile(r"unknown field `(?P<name>.*?)`(?: - at `(?P<path>[^`]*)`)?$")
_AT = re.compile(r"^(?P<what>.*) - at (?:`key` in )?`(?P<path>.*)`$")
_ELEMENT = "[...]"  # how msgspec names an element of a list or dict
_MISSING_FIELD = re.compile(r"missing required field `(?P<name>[^`]*)`")
_DECIMALS = ("_usd", "_percent")
_LIVEMODES = {"true": True, "false": False}


class Call:
    """One request to the management API, authenticated."""

    def __init__(
        self, request: Request, services: Services, key: Key, secret: str, request_id: str, through: str = ""
    ) -> None:
        """`through` says by what the key asks, where it is not the API."""
        self.request = request
        self.services = services
        self.key = key
        self.secret = secret
        self.request_id = request_id
        self._through = through
        self._body: bytes | None = None

    async def body(self, kind: type[T]) -> T:
        """The request's body as a record. Raises CallError, naming the field."""
        return decode(await self.raw_body(), kind)

    async def raw_body(self, bytes_max: int = API_BODY_BYTES_MAX) -> bytes:
        """The request's body, within bounds."""
        if self._body is not None:
            return self._body
        encoding = encoding_of(self.request.headers.get("content-encoding", ""))
        body = b""
        async for chunk in self.request.stream():
            body += chunk
            if len(body) > bytes_max:
                raise CallError(413, "request_too_large", f"The body is above {bytes_max} bytes.")
        self._body = body = await decoded(body, encoding, bytes_max) if encoding else body
        return body

    @property
    def asker(self) -> Origin:
        """Who asks, and from where, without an Idempotency-Key."""
        client = self.request.client
        return Origin(
            account_id=self.key.account_id,
            actor=f"{self._through}:{self.key.public_id}" if self._through else self.key.public_id,
            ip=None if client is None else client.host,
            request_id=f"req_{self.request_id}",
        )

    async def origin(self) -> Origin:
        """Who asks, and from where, with the Idempotency-Key of the request, if it has one."""
        key = self.request.headers.get("idempotency-key")
        if key is None:
            return self.asker
        if not 1 <= len(key) <= IDEMPOTENCY_KEY_MAX:
            raise CallError(
                400, "invalid_request", "Idempotency-Key must have 1 to 255 characters.", param="Idempotency-Key"
            )
        digest = blake2b(digest_size=16)
        for part in (self.request.method, self.request.url.path, self.request.url.query):
            digest.update(part.encode() + b"\0")
        digest.update(await self.raw_body())
        return msgspec.structs.replace(
            self.asker,
            key=key,
            fingerprint=digest.hexdigest(),
            expires_ms=self.services.clock_ms() + IDEMPOTENCY_MS,
        )

    def may_make(self) -> None:
        """Refuse a key that makes keys, secrets, plans and end users too fast. An operator's own may.

        Raises:
            CallError: 429, with the time to wait.
        """
        if self.key.policy.scope == "master":
            return
        if wait_s := self.services.makes.take(self.key.account_id):
            message = "This key makes keys, secrets, plans and end users too fast."
            raise CallError(429, "rate_limited", message, retry_after_s=min(wait_s, RETRY_AFTER_S_MAX))

    def parameters(self, *allowed: str) -> dict[str, str]:
        """The query parameters; an unknown or repeated one is refused by name."""
        items = self.request.query_params.multi_items()
        for name, _ in items:
            if name not in allowed:
                raise CallError(400, "unknown_parameter", f"There is no parameter {name!r}.", param=name)
        if len(dict(items)) != len(items):
            raise CallError(400, "invalid_request", "A parameter is given twice.")
        return dict(items)


def decode(body: bytes, kind: type[T]) -> T:
    """A JSON body as a record.

    What is not there is no `{}`: a key without a name or a cap is not what a client means whose body was lost.

    Raises:
        CallError: 400 `unknown_parameter` or `invalid_request`; `param` names the field.
    """
    if not body:
        raise CallError(400, "invalid_request", "The request has no body: send a JSON object, {} at least.")
    try:
        record = msgspec.json.decode(body, type=kind)
        if kind is not list[msgspec.Raw]:  # each of which is decoded by itself
            # Numbers have been checked; how long one is need not be an int again.
            _check_members(json.loads(body.decode("utf-8", "surrogatepass"), object_pairs_hook=_once, parse_int=len))
        return record
    except msgspec.ValidationError as error:
        raise _invalid(_numbered(str(error), body, kind)) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise CallError(400, "invalid_request", "The body is not JSON.") from None
    except RecursionError:
        raise CallError(400, "invalid_request", "The body's JSON is nested too deep.") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object in which no member stands twice, in whatever case: parsers differ in which of two they take."""
    seen: set[str] = set()
    for name, _ in pairs:
        if (folded := name.casefold()) in seen:
            raise CallError(400, "invalid_request", f"The field {name!r} stands in the body twice.", param=name)
        seen.add(folded)
    return dict(pairs)


def _check_members(tree: Any) -> None:
    """Amounts as text are plain decimals: what only some parsers take for a number is none."""
    for name, value in tree.items() if isinstance(tree, dict) else ():
        if isinstance(value, str) and name.endswith(_DECIMALS) and not is_plain_decimal(value):
            raise CallError(400, "invalid_request", f"{name}: must be a plain decimal, such as '0.25'.", param=name)


def _numbered(message: str, body: bytes, kind: type[Any]) -> str:
    """The message with the element's number where it is about one of a list: found by trying them one by one."""
    field, is_element, _ = message.rpartition("`$.")[2].partition(_ELEMENT)
    if not is_element:
        return message
    elements = msgspec.json.decode(body).get(field)
    for number, element in enumerate(elements if isinstance(elements, list) else ()):
        try:
            msgspec.json.decode(msgspec.json.encode({field: [element]}), type=kind)
        except msgspec.ValidationError:
            return message.replace(_ELEMENT, f"[{number}]", 1)
    return message


def _invalid(message: str) -> CallError:
    unknown = _UNKNOWN_FIELD.search(message)
    if unknown is not None:
        param = _join(unknown["path"], unknown["name"])
        return CallError(400, "unknown_parameter", f"There is no field {param!r}.", param=param)
    missing = _MISSING_FIELD.search(message)
    at = _AT.match(message)
    what, path = (at["what"], at["path"]) if at is not None else (message, "$")
    if missing is not None:
        param = _join(path, missing["name"])
        return CallError(400, "invalid_request", f"{param} is required.", param=param)
    param = _join(path, "")
    return CallError(400, "invalid_request", f"{param or 'The body'}: {what}.", param=param or None)


def _join(path: str | None, name: str) -> str:
    inner = (path or "$").removeprefix("$").removeprefix(".").replace(_ELEMENT, "")
    return ".".join(part for part in (inner, name) if part)


def integer(text: str | None, name: str, *, low: int, high: int, default: int | None = None) -> int:
    """A whole number of a query. Raises CallError."""
    if text is None:
        if default is None:
            raise CallError(400, "invalid_request", f"{name} is required.", param=name)
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 20) or not low <= int(text) <= high:
        raise CallError(400, "invalid_request", f"{name} must be a whole number from {low} to {high}.", param=name)
    return int(text)


def choice(text: str | None, name: str, allowed: Collection[str], default: str | None = None) -> str | None:
    """One of a few words of a query. Raises CallError."""
    if text is None:
        return default
    if text not in allowed:
        raise CallError(400, "invalid_request", f"{name} must be one of {', '.join(allowed)}.", param=name)
    return text


def livemode(text: str | None) -> bool:
    """The `livemode` of a query; live unless said otherwise. Raises CallError."""
    return _LIVEMODES[choice(text, "livemode", _LIVEMODES, "true") or "true"]


def page_size(text: str | None) -> int:
    """The `limit` of a list. Raises CallError."""
    return integer(text, "limit", low=1, high=LIST_MAX, default=LIST_DEFAULT)


def json_response(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer that nobody may keep."""
    return Response(
        msgspec.json.encode(content),
        status,
        {"cache-control": "no-store"} | (headers or {}),
        media_type="application/json",
    )


def list_response(data: list[Any], has_more: bool) -> Response:
    """A page of a list."""
    return json_response({"object": "list", "data": data, "has_more": has_more})


def replayed(is_replay: bool) -> dict[str, str]:
    """The header that marks a repeated answer."""
    return {"idempotent-replayed": "true"} if is_replay else {}


Handler = Callable[[Call], Awaitable[Response]]


async def authenticated(
    request: Request, keyring: Keyring, may: Callable[[Key], bool], *, fresh: bool = True
) -> tuple[Key, str]:
    """Who asks, and his secret. `may` says which keys are let in. Raises one of `PROBLEMS`."""
    if too_large(request.scope["headers"]):
        raise CallError(431, "headers_too_large", "The request has too many header fields.")
    found = credentials(request.scope["headers"], request.scope["query_string"], keyring.is_ours)
    if found.in_url:
        raise CallError(400, "credential_in_url", "A key in a URL ends up in logs: send it in a header.")
    if found.conflicting:
        raise CallError(401, "conflicting_credentials", "The request carries two different keys.")
    if found.secret is None:
        raise CallError(401, "invalid_key", "The request carries no key.")
    key = await keyring.authenticate(found.secret, fresh=fresh)
    page = request.headers.get("origin")
    if page is not None and not key.allows_origin(page):
        raise CallError(403, "origin_not_allowed", "This key may not be used from this page's origin.")
    if not may(key):
        raise ScopeRefused(f"A {key.policy.scope} key may not do this.")
    return key, found.secret


def endpoint(services: Services, handler: Handler, may: Callable[[Key], bool]) -> Callable[..., Awaitable[Response]]:
    """An authenticated endpoint. `may` says which keys are let in."""

    async def run(request: Request) -> Response:
        request_id = new_body(services.clock_ms())
        try:
            key, secret = await authenticated(request, services.keyring, may)
            response = await handler(Call(request, services, key, secret, request_id))
        except ClientDisconnect:
            return Response(status_code=400)
        except PROBLEMS as error:
            response = error_response(as_problem(error), request_id)
        response.headers["x-farthing-request-id"] = f"req_{request_id}"
        return response

    return run


def error_response(error: CallError, request_id: str) -> Response:
    """An error in the management API's shape."""
    status, headers, body = render(error, "farthing", request_id)
    response = Response(body, status)
    response.raw_headers = headers
    return response


def http_error(request: Request, error: Exception) -> Response:
    """No such path or method, in the management API's shape."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    code, message = {
        404: ("not_found", "There is nothing at this path."),
        405: ("method_not_allowed", "This path does not take this method."),
    }.get(status, ("internal_error", "Something went wrong here."))
    if status == 500:
        _log.error("unexpected error", exc_info=error)
    return error_response(CallError(status, code, message, retry=None), new_body(time.time_ns() // 1_000_000))
