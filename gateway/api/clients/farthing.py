# ruff: noqa: A002 - the words are the API's
"""A client of Farthing's management API in one file: copy it, or fetch it from your gateway's /clients/farthing.py.

    client = Farthing("https://ai.example.com", api_key="fk_live_…")
    key = client.keys.mint(name="customer 17", max_spend_usd="5", reset="month")
    for key in client.keys.list():  # all pages, one after another
        print(key["id"], key["spent_micros"])
    sdk = SomeProvidersSdk(**client.for_customer("ann", api_key=key["secret"]))

Nothing but the standard library, Python 3.9 and later. Answers are the API's own JSON: see /docs on your gateway. What
changes something carries an Idempotency-Key, so it is done once, however often it has to be sent.
"""

from __future__ import annotations

import json
import random
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator, Mapping, Sequence
from http.client import HTTPException
from typing import Any, TypedDict

VERSION = "1"
_RETRIED = frozenset((408, 429, 500, 502, 503, 504))
_BACK_OFF_S, _BACK_OFF_S_MAX, _RETRY_AFTER_S_MAX = 0.5, 8.0, 60.0


class FarthingError(Exception):
    """The gateway refused. `code` says why: see /docs, or the subclasses here.

    Attributes:
        status: Of HTTP; 0 where there was no answer.
        code, message, param: As the gateway said them.
        request_id: To find it in the gateway's log.
        farthing: Of a cap or limit: which one, what it has left.
        wait_s: How long to wait at least before it is worth asking again; None where it is not.
    """

    wait_s: float | None = None

    def __init__(
        self, status: int, code: str, message: str, param: str | None, request_id: str, farthing: dict[str, Any]
    ) -> None:
        super().__init__(f"{code}: {message}" if message else code)
        self.status, self.code, self.message, self.param = status, code, message, param
        self.request_id, self.farthing = request_id, farthing


class InvalidRequestError(FarthingError):
    """Something in the request cannot be; `param` names it."""


class AuthenticationError(FarthingError):
    """The key opens nothing."""


class PermissionDeniedError(FarthingError):
    """The key may not do this."""


class SpendCapError(FarthingError):
    """A spend cap has no room; `farthing` says which one and what it has left."""


class NotFoundError(FarthingError):
    """There is nothing with this id, or it is another's."""


class IdempotencyError(FarthingError):
    """The Idempotency-Key was used with another request."""


class RateLimitError(FarthingError):
    """A limit of anything but money has no room."""


class UnavailableError(FarthingError):
    """The gateway cannot answer now; nothing was done that is not done once when it is asked again."""


class ConnectionFailedError(FarthingError):
    """The gateway cannot be reached, or did not answer in time."""


_BY_CODE: dict[str, type[FarthingError]] = {
    "idempotency_mismatch": IdempotencyError,
    "spend_cap_exceeded": SpendCapError,
    "limit_required": SpendCapError,
}
_BY_STATUS: dict[int, type[FarthingError]] = {
    401: AuthenticationError,
    402: SpendCapError,
    403: PermissionDeniedError,
    404: NotFoundError,
    408: UnavailableError,
    429: RateLimitError,
}


class Customer(TypedDict):
    """What a provider's SDK takes to call on a customer's account."""

    base_url: str
    api_key: str
    default_headers: dict[str, str]


class Page:
    """A page of a list; iterating goes on over all pages after it."""

    def __init__(self, client: Farthing, path: str, query: Mapping[str, Any]) -> None:
        self._client, self._path, self._query = client, path, query
        answer = client.ask("GET", path, query)
        self.data: list[dict[str, Any]] = answer["data"]
        self.has_more: bool = answer["has_more"]

    def next(self) -> Page | None:
        """The page after this one; None if it is the last."""
        if not self.has_more or not self.data:
            return None
        last = self.data[-1]
        return Page(self._client, self._path, {**self._query, "starting_after": last["id"]})

    def __iter__(self) -> Iterator[dict[str, Any]]:
        page: Page | None = self
        while page is not None:
            yield from page.data
            page = page.next()


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None  # a key is sent to where it was meant for, and nowhere else


class Farthing:
    """One gateway, asked with one key.

    A request is sent `max_retries` times again where the gateway could not be reached, was too busy, or said to wait.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        max_retries: int = 2,
        timeout_s: float = 30.0,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.api_key = api_key
        if not api_key:
            raise ValueError("api_key must not be empty")
        if urllib.parse.urlsplit(self.base_url).scheme not in ("http", "https"):
            raise ValueError("base_url must begin with https:// or http://")
        self.max_retries, self.timeout_s = max_retries, timeout_s
        self._opener = urllib.request.build_opener(_NoRedirect)
        # <resources>
        self.keys = Keys(self)
        self.usage = Usage(self)
        self.events = Events(self)
        self.holds = Holds(self)
        self.plans = Plans(self)
        self.end_users = EndUsers(self)
        self.changes = Changes(self)
        self.hooks = Hooks(self)
        self.deliveries = Deliveries(self)
        self.portal_sessions = PortalSessions(self)
        self.reservations = Reservations(self)
        self.prices = Prices(self)
        self.pipelines = Pipelines(self)
        self.routes = Routes(self)
        self.upstreams = Upstreams(self)
        self.stripe = Stripe(self)
        # </resources>

    # <methods>
    def me(self) -> Any:
        """The caller's own key. No cap ever blocks it."""
        return self.ask("GET", "/v1/me", {}, None, None)

    def check(self, *, idempotency_key: str | None = None, **fields: Any) -> Any:
        """Would this reservation be allowed? Nothing is held or recorded."""
        return self.ask("POST", "/v1/check", {}, fields, idempotency_key)

    def estimate(self, *, idempotency_key: str | None = None, **fields: Any) -> Any:
        """What would this usage cost?"""
        return self.ask("POST", "/v1/estimate", {}, fields, idempotency_key)

    # </methods>

    def for_customer(self, end_user: str, *, api_key: str | None = None, path: str = "/v1") -> Customer:
        """What a provider's SDK takes, so that its calls count as this end user's.

        `api_key` is a key that may call models (a master key may not); this client's own, if it is not said. `path` is
        what the SDK wants behind the gateway's address: "/v1", or "" for those that say it themselves.
        """
        return {
            "base_url": self.base_url + path,
            "api_key": api_key or self.api_key,
            "default_headers": {"x-end-user-id": end_user},
        }

    def ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        idempotency_key: str | None = None,
    ) -> Any:
        """One request: its JSON, or its text where it is no JSON. Raises FarthingError."""
        said = {name: _text(value) for name, value in (query or {}).items() if value is not None}
        url = self.base_url + path + ("?" + urllib.parse.urlencode(said) if said else "")
        headers = {"authorization": f"Bearer {self.api_key}", "user-agent": f"farthing-python/{VERSION}"}
        if method != "GET":
            headers["idempotency-key"] = idempotency_key or str(uuid.uuid4())
        data = None
        if body is not None:
            data, headers["content-type"] = json.dumps(body).encode(), "application/json"
        attempt = 0
        while True:
            try:
                return self._send(method, url, headers, data)
            except FarthingError as error:
                if error.wait_s is None or attempt >= self.max_retries:
                    raise
                back_off_s = min(_BACK_OFF_S * 2**attempt, _BACK_OFF_S_MAX) * random.uniform(0.5, 1)  # noqa: S311
                time.sleep(max(error.wait_s, back_off_s))
                attempt += 1

    def _send(self, method: str, url: str, headers: Mapping[str, str], data: bytes | None) -> Any:
        request = urllib.request.Request(url, data, dict(headers), method=method)  # noqa: S310 - http or https only
        try:
            with self._opener.open(request, timeout=self.timeout_s) as answer:
                text = answer.read().decode()
                kind = answer.headers.get_content_type()
        except urllib.error.HTTPError as error:
            raise _refusal(error) from None
        except (OSError, HTTPException) as error:
            failed = ConnectionFailedError(0, "connection_failed", str(error), None, "", {})
            failed.wait_s = 0.0
            raise failed from error
        return json.loads(text) if kind == "application/json" else text


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _quoted(id: str) -> str:
    return urllib.parse.quote(id, safe="")


def _refusal(answer: urllib.error.HTTPError) -> FarthingError:
    """The error that an answer tells of. `wait_s` is how long to wait at least before asking again, if that helps."""
    status, headers = answer.code, answer.headers
    try:
        told = json.loads(answer.read())["error"]
    except (ValueError, KeyError, TypeError, OSError, HTTPException):
        told = {}
    code = str(told.get("code", f"http_{status}"))
    kind = _BY_CODE.get(code) or _BY_STATUS.get(status) or (UnavailableError if status >= 500 else InvalidRequestError)
    request_id = str(told.get("request_id") or headers.get("x-farthing-request-id") or "")
    error = kind(status, code, str(told.get("message", "")), told.get("param"), request_id, told.get("farthing") or {})
    if status in _RETRIED and headers.get("x-should-retry") != "false":
        after = headers.get("retry-after") or ""
        error.wait_s = min(float(after), _RETRY_AFTER_S_MAX) if after.isdigit() else 0.0
    return error


# <operations>
class Keys:
    """`/v1/keys`."""

    def __init__(self, client: Farthing) -> None:
        self._client = client

    def mint(self, *, idempotency_key: str | None = None, **fields: Any) -> Any:
        """Mint a key under the caller's own. The answer has its secret, once."""
        return self._client.ask("POST", "/v1/keys", {}, fields, idempotency_key)

    def list(
        self, *, limit: int | None = None, starting_after: str | None = None, livemode: bool | None = None
    ) -> Page:
        """The keys under the caller, newest first."""
        return Page(self._client, "/v1/keys", {"limit": limit, "starting_after": starting_after, "livemode": livemode})

    def retrieve(self, id: str) -> Any:
        """One key, with what it has left."""
        return self._client.ask("GET", f"/v1/keys/{_quoted(id)}", {}, None, None)

    def update(self, id: str, *, idempotency_key: str | None = None, **fields: Any) -> Any:
        """Change a key; in force on its next call."""
        return self._client.ask("PATCH", f"/v1/keys/{_quoted(id)}", {}, fields, idempotency_key)

    def delete(self, id: str, *, in_flight: str | None = None, idempotency_key: str | None = None) -> Any:
        """Revoke a key and all under it, for ever. Its history stays."""
        return self._client.ask("DELETE", f"/v1/keys/{_quoted(id)}", {"in_flight": in_flight}, None, idempotency_key)

    def revoke(self, id: str, *, in_flight: str | None = None, idempotency_key: str | None = None) -> Any:
        """The same as deleting it."""
        return self._client.ask(
            "POST", f"/v1/keys/{_quoted(id)}/revoke", {"in_flight": in_flight}, None, idempotency_key
        )

    def rotate(self, id: str, *, idempotency_key: str | None = None, **fields: Any) -> Any:
        """Give a key a new secret. Its id stays, the old secret lives on as long as is said."""
        return self._client.ask("POST", f"/v1/keys/{_quoted(id)}/rotate", {}, fields, idempotency_key)

    def usage(
        self,
        id: str,
        *,
        limit: int | None = None,
        starting_after: str | None = None,
        end_user: str | None = None,
        run_id: str | None = None,
        from_ms: int | None = None,
        to_ms: int | None = None,
        mode: str | None = None,
        decision: str | None = None,
        livemode: bool | None = None,
    ) -> Any:
        """A key's progress in its cap's window (or another time), by model, and its newest events."""
        return self._client.ask(
            "GET",
            f"/v1/keys/{_quoted(id)}/usage",
            {
                "limit": limit,
                "starting_after": starting_after,
                "end_user": end_user,
                "run_id": run_id,
                "from_ms": from_ms,
                "to_ms": to_ms,
                "mode": mode,
                "decision": decision,
                "livemode": livemode,
            },
            None,
            None,
        )

    def credit(self, id: str, *, idempotency_key: str | None = None, **fields: Any) -> Any:
        """Raise a key's cap, on the record; for a time, if `expires_at_ms` is said."""
        return self._client.ask("POST", f"/v1/keys/{_quoted(id)}/credits", {}, fields, idempotency_key)


class Usage:
    """`/v1/usage`."""

    def __init__(self, client: Farthing) -> None:
        self._client = client

    def retrieve(
        self,
        *,
        from_ms: int,
        to_ms: int | None = None,
        key_id: str | None = None,
        end_user: str | None = None,
        group_by: str | None = None,
        timezone: str | None = None,
        format: str | None = None,
        livemode: bool | None = None,
    ) -> Any:
        """The bill: sums by key and model, and by day, end user or tag where asked."""
        return self._client.ask(
            "GET",
            "/v1/usage",
            {
                "from_ms": from_ms,
                "to_ms": to_ms,
                "key_id": key_id,
                "end_user": end_user,
                "group_by": group_by,
                "timezone": timezone,
                "format": format,
                "livemode": livemode,
            },
            None,
            None,
        )


class Events:
    """`/v1/events`."""

    def __init__(self, client: Farthing) -> None:
        self._client = client

    def list(
        self,
        *,
        limit: int | None = None,
        starting_after: str | None = None,
        end_user: str | None = None,
        run_id: str | None = None,
        from_ms: int | None = None,
        to_ms: int | None = None,
        mode: str | None = None,
        decision: str | None = None,
        livemode: bool | None = None,
        key_id: str | None = None,
        format: str | None = None,
    ) -> Page:
        """Every allowed and every blocked call, newest first; a cursor misses none."""
        return Page(
            self._client,
            "/v1/events",
            {
                "limit": limit,
                "starting_after": starting_after,
                "end_user": end_user,
                "run_id": run_id,
                "from_ms": from_ms,
                "to_ms": to_ms,
                "mode": mode,
                "decision": decision,
                "livemode": livemode,
                "key_id": key_id,
                "format": format,
            },
        )

    def report(
        self, events: Mapping[str, Any] | Sequence[Mapping[str, Any]], *, idempotency_key: str | None = None
    ) -> Any:
        """Report calls of your own, one or up to 1,000. A bad one does not stop the others: it is `rejected`."""
        return self._client.ask("POST", "/v1/events", {}, events, idempotency_key)


class Holds:
    """`/v1/holds`."""

    def __init__(self, client: Farthing) -> None:
        self._client = client

    def list(self, *, limit: int | None = None, starting_after: str | None = None, state: str | None = None) -> Page:
        """Calls in flight, reservations, and calls whose end nobody saw."""
        return Page(self._client, "/v1/holds", {"limit": limit, "starting_after": starting_after, "state": state})

    def resolve(self, id: str, *, idempotency_key: str | None = None, **fields: Any) -> Any:
        """An operator's word on a call whose end nobody saw. The first word stands."""
        return self._client.ask("POST", f"/v1/holds/{_quoted(id)}/resolve", {}, fields, idempotency_key)


class Plans:
    """`/v1/plans`."""

    def __init__(self, client: Farthing) -> None:
        self._client = client

    def create(self, *, idempotency_key: str | None = None, **fields: Any) -> Any:
        """Make a plan: terms that many keys share."""
        return self._client.ask("POST", "/v1/plans", {}, fields, idempotency_key)

    def list(self, *, limit: int | None = None, starting_after: str | None = None) -> Page:
        """The plans under the caller, newest first."""
        return Page(self._client, "/v1/plans", {"limit": limit, "starting_after": starting_after})

    def retrieve(self, id: str) -> Any:
        """One plan."""
        return self._client.ask("GET", f"/v1/plans/{_quoted(id)}", {}, None, None)

    def update(self, id: str, *, idempotency_key: str | None = None, **fields: Any) -> Any:
        """Change a plan; in force on the next call of every key on it."""
        return self._client.ask("PATCH", f"/v1/plans/{_quoted(id)}", {}, fields, idempotency_key)

    def delete(self, id: str, *, idempotency_key: str | None = None) -> Any:
        """Remove a plan that no key is on."""
        return self._client.ask("DELETE", f"/v1/plans/{_quoted(id)}", {}, None, idempotency_key)


class EndUsers:
    """`/v1/end_users`."""

    def __init__(self, client: Farthing) -> None:
        self._client = client

    def retrieve(self, id: str, *, key_id: str | None = None) -> Any:
        """One of a key's users."""
        return self._client.ask("GET", f"/v1/end_users/{_quoted(id)}", {"key_id": key_id}, None, None)

    def put(self, id: str, *, key_id: str | None = None, idempotency_key: str | None = None, **fields: Any) -> Any:
        """Say something of a user, seen before or not."""
        return self._client.ask("PUT", f"/v1/end_users/{_quoted(id)}", {"key_id": key_id}, fields, idempotency_key)

    def delete(self, id: str, *, key_id: str | None = None, idempotency_key: str | None = None) -> Any:
        """Forget who a user is. The sums stay."""
        return self._client.ask("DELETE", f"/v1/end_users/{_quoted(id)}", {"key_id": key_id}, None, idempotency_key)


class Changes:
    """`/v1/changes`."""

    def __init__(self, client: Farthing) -> None:
        self._client = client

    def list(
        self,
        *,
        limit: int | None = None,
        starting_after: str | None = None,
        object_id: str | None = None,
        type: str | None = None,
        from_ms: int | None = None,
        to_ms: int | None = None,
    ) -> Page:
        """Who changed what, newest first."""
        return Page(
            self._client,
            "/v1/changes",
            {
                "limit": limit,
                "starting_after": starting_after,
                "object_id": object_id,
                "type": type,
                "from_ms": from_ms,
                "to_ms": to_ms,
            },
        )


class Hooks:
    """`/v1/hooks`."""

    def __init__(self, client: Farthing) -> None:
        self._client = client

    def create(self, *, idempotency_key: str | None = None, **fields: Any) -> Any:
        """Have somebody told. A webhook's secret is in the answer, once."""
        return self._client.ask("POST", "/v1/hooks", {}, fields, idempotency_key)

    def list(self, *, limit: int | None = None, starting_after: str | None = None) -> Page:
        """The hooks of the caller's subtree."""
        return Page(self._client, "/v1/hooks", {"limit": limit, "starting_after": starting_after})

    def retrieve(self, id: str) -> Any:
        """One hook."""
        return self._client.ask("GET", f"/v1/hooks/{_quoted(id)}", {}, None, None)

    def update(self, id: str, *, idempotency_key: str | None = None, **fields: Any) -> Any:
        """Change a hook, or set it to work again."""
        return self._client.ask("PATCH", f"/v1/hooks/{_quoted(id)}", {}, fields, idempotency_key)

    def delete(self, id: str, *, idempotency_key: str | None = None) -> Any:
        """Remove a hook, with all that was to go to it."""
        return self._client.ask("DELETE", f"/v1/hooks/{_quoted(id)}", {}, None, idempotency_key)

    def rotate(self, id: str, *, idempotency_key: str | None = None, **fields: Any) -> Any:
        """A webhook's new secret, once; both sign while they overlap."""
        return self._client.ask("POST", f"/v1/hooks/{_quoted(id)}/rotate", {}, fields, idempotency_key)

    def test(self, id: str, *, idempotency_key: str | None = None) -> Any:
        """Send a hook a message, whatever it listens to."""
        return self._client.ask("POST", f"/v1/hooks/{_quoted(id)}/test", {}, None, idempotency_key)

    def deliveries(
        self, id: str, *, limit: int | None = None, starting_after: str | None = None, state: str | None = None
    ) -> Page:
        """What went, or is to go, to a hook; newest first."""
        return Page(
            self._client,
            f"/v1/hooks/{_quoted(id)}/deliveries",
            {"limit": limit, "starting_after": starting_after, "state": state},
        )

    def replay(self, id: str, *, idempotency_key: str | None = None, **fields: Any) -> Any:
        """Send again what was written for a hook in a span of time."""
        return self._client.ask("POST", f"/v1/hooks/{_quoted(id)}/replay", {}, fields, idempotency_key)


class Deliveries:
    """`/v1/deliveries`."""

    def __init__(self, client: Farthing) -> None:
        self._client = client

    def retrieve(self, id: str) -> Any:
        """One delivery."""
        return self._client.ask("GET", f"/v1/deliveries/{_quoted(id)}", {}, None, None)

    def retry(self, id: str, *, idempotency_key: str | None = None) -> Any:
        """Send it again now, under the same id and in the same bytes."""
        return self._client.ask("POST", f"/v1/deliveries/{_quoted(id)}/retry", {}, None, idempotency_key)


class PortalSessions:
    """`/v1/portal_sessions`."""

    def __init__(self, client: Farthing) -> None:
        self._client = client

    def create(self, *, idempotency_key: str | None = None, **fields: Any) -> Any:
        """An address, opened once, of a page for an end user: what is left, what was spent, at his own prices."""
        return self._client.ask("POST", "/v1/portal_sessions", {}, fields, idempotency_key)


class Reservations:
    """`/v1/reservations`."""

    def __init__(self, client: Farthing) -> None:
        self._client = client

    def create(self, *, strict: bool | None = None, idempotency_key: str | None = None, **fields: Any) -> Any:
        """Hold back an amount before calling a provider yourself. Not allowed is 200 with `reasons`."""
        return self._client.ask("POST", "/v1/reservations", {"strict": strict}, fields, idempotency_key)

    def commit(self, id: str, *, idempotency_key: str | None = None, **fields: Any) -> Any:
        """Charge what was used; the rest goes back. A second word is answered with the first."""
        return self._client.ask("POST", f"/v1/reservations/{_quoted(id)}/commit", {}, fields, idempotency_key)

    def release(self, id: str, *, idempotency_key: str | None = None) -> Any:
        """Give all of it back."""
        return self._client.ask("POST", f"/v1/reservations/{_quoted(id)}/release", {}, None, idempotency_key)

    def extend(self, id: str, *, idempotency_key: str | None = None, **fields: Any) -> Any:
        """Let it live on, counted from now."""
        return self._client.ask("POST", f"/v1/reservations/{_quoted(id)}/extend", {}, fields, idempotency_key)


class Prices:
    """`/v1/prices`."""

    def __init__(self, client: Farthing) -> None:
        self._client = client

    def list(
        self,
        *,
        provider: str | None = None,
        q: str | None = None,
        limit: int | None = None,
        starting_after: str | None = None,
    ) -> Page:
        """What every model costs, by provider and model. `version` names the catalogue."""
        return Page(
            self._client, "/v1/prices", {"provider": provider, "q": q, "limit": limit, "starting_after": starting_after}
        )


class Pipelines:
    """`/v1/pipelines`."""

    def __init__(self, client: Farthing) -> None:
        self._client = client

    def check(self, *, idempotency_key: str | None = None, **fields: Any) -> Any:
        """What is wrong with a pipeline, by JSON pointer, and what it may cost at most. Nothing is run."""
        return self._client.ask("POST", "/v1/pipelines/check", {}, fields, idempotency_key)

    def run(self, *, idempotency_key: str | None = None, **fields: Any) -> Any:
        """Run a pipeline, or go on with one that waited for tools. Answers with its last event, or with all of them
        while it runs, one a line, where `Accept` says so.
        """
        return self._client.ask("POST", "/v1/pipelines/runs", {}, fields, idempotency_key)

    def cancel(self, id: str, *, idempotency_key: str | None = None) -> Any:
        """End a run, or one that waits for tools. Its calls in flight land, and are billed."""
        return self._client.ask("DELETE", f"/v1/pipelines/runs/{_quoted(id)}", {}, None, idempotency_key)


class Routes:
    """`/v1/routes`."""

    def __init__(self, client: Farthing) -> None:
        self._client = client

    def create(self, *, idempotency_key: str | None = None, **fields: Any) -> Any:
        """Let a name stand for several targets. A call whose `model` is the name goes to one of them."""
        return self._client.ask("POST", "/v1/routes", {}, fields, idempotency_key)

    def list(self, *, limit: int | None = None, starting_after: str | None = None) -> Page:
        """The routes of the installation, newest first."""
        return Page(self._client, "/v1/routes", {"limit": limit, "starting_after": starting_after})

    def retrieve(self, id: str) -> Any:
        """One route."""
        return self._client.ask("GET", f"/v1/routes/{_quoted(id)}", {}, None, None)

    def update(self, id: str, *, idempotency_key: str | None = None, **fields: Any) -> Any:
        """Change a route; in force on the next call."""
        return self._client.ask("PATCH", f"/v1/routes/{_quoted(id)}", {}, fields, idempotency_key)

    def delete(self, id: str, *, idempotency_key: str | None = None) -> Any:
        """Remove a route."""
        return self._client.ask("DELETE", f"/v1/routes/{_quoted(id)}", {}, None, idempotency_key)


class Upstreams:
    """`/v1/upstreams`."""

    def __init__(self, client: Farthing) -> None:
        self._client = client

    def list(self) -> Page:
        """How the providers are doing, as calls of this process have met them."""
        return Page(self._client, "/v1/upstreams", {})


class Stripe:
    """`/v1/stripe`."""

    def __init__(self, client: Farthing) -> None:
        self._client = client

    def retrieve(self) -> Any:
        """How it stands with what Stripe is told of usage, and with the prices that it tells of."""
        return self._client.ask("GET", "/v1/stripe", {}, None, None)


# </operations>
