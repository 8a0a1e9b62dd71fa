"""What every page has in common: who looks, at live or at test calls, and how the API is asked on his behalf.

Promises: whatever a page shows or changes goes through the very handlers of the management API, with the key that has
signed in: the same checks, the same sums, the same refusals. Text of tenants is escaped; nothing is inline.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from gateway.api.endpoint import Call, Handler
from gateway.dashboard.glances import Glances
from gateway.dashboard.templating import Templates
from gateway.problems import CallError
from gateway.services import Services
from keys.ids import new_body
from keys.keyring import Key

ROOT = "/dashboard"
NAVIGATION = (
    ("", "Overview", False),
    ("/keys", "Keys", False),
    ("/usage", "Usage", False),
    ("/calls", "Calls", False),
    ("/customers", "Customers", False),
    ("/plans", "Plans", False),
    ("/alerts", "Alerts", True),
    ("/changes", "Changes", False),
    ("/providers", "Providers", False),
    ("/prices", "Prices", False),
    ("/try", "Try it", True),
)
"""Path, name, and whether it is for keys only that may change something."""
HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class Means(msgspec.Struct, frozen=True, kw_only=True):
    """What the pages work with. `app` is the whole gateway, to try a call."""

    services: Services
    templates: Templates
    glances: Glances
    app: Any


class Page:
    """One request of somebody who is signed in.

    Attributes:
        test: Whether he looks at test keys and their calls, and not at live ones.
        form: What he has sent; empty where he only looks.
        problem: Why what he has sent was not done.
    """

    def __init__(self, request: Request, means: Means, key: Key, session: str, form: Mapping[str, str]) -> None:
        self.means = means
        self.key = key
        self.form = form
        self.problem: CallError | None = None
        self.query = dict(request.query_params)
        self.test = not key.livemode or self.query.pop("env", "") == "test"
        self.now_ms = means.services.clock_ms()
        self._request = request
        self._session = session

    @property
    def services(self) -> Services:
        """What the API works with."""
        return self.means.services

    @property
    def id(self) -> str:
        """The id in the path."""
        return str(self._request.path_params["id"])

    @property
    def livemode(self) -> str:
        """As the API's parameter says it."""
        return "false" if self.test else "true"

    @property
    def origin(self) -> str:
        """Where the browser found us, to be shown in examples."""
        said = self._request.headers.get("x-forwarded-proto", self._request.scope["scheme"])
        return f"{'https' if said == 'https' else 'http'}://{self._request.headers.get('host', 'localhost:8787')}"

    def link(self, path: str = "", **params: Any) -> str:
        """The address of a page of ours; parameters that are None or empty are left out."""
        said = {name: value for name, value in params.items() if value not in (None, "")}
        if self.test and self.key.livemode:
            said["env"] = "test"
        return f"{ROOT}{path}" + (f"?{urlencode(said)}" if said else "")

    def here(self, **changed: Any) -> str:
        """The address of this page with other parameters."""
        path = str(self._request.scope["path"]).removeprefix(ROOT)
        if self._request.method == "POST":
            path = path.rpartition("/")[0] if "id" in self._request.path_params else path  # the page of the form
        kept = {name: value for name, value in self.query.items() if name not in ("done", "starting_after")}
        return self.link(path, **(kept | changed))

    def other_mode(self) -> str:
        """The address of the overview of test calls, or of live ones."""
        return ROOT if self.test else f"{ROOT}?env=test"

    def pages(self) -> list[tuple[str, str]]:
        """Paths and names for the navigation."""
        return [(path, name) for path, name, needs in NAVIGATION if not needs or self.key.policy.may_manage]

    def go(self, path: str, **params: Any) -> Response:
        """Lead the browser to a page, after something was done."""
        return RedirectResponse(self.link(path, **params), 303)

    def show(self, template: str, **values: Any) -> Response:
        """This page."""
        status = self.problem.status if self.problem is not None else 200
        return self.means.templates.page(template, status, page=self, once=secrets.token_urlsafe(16), **values)

    async def answer(
        self,
        handler: Handler,
        *,
        id: str = "",  # noqa: A002 - as the API's paths have it
        method: str = "GET",
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        once: str | None = None,
    ) -> Response:
        """What a handler of the API answers to the key that is signed in. Raises one of `PROBLEMS`."""
        said = {name: value for name, value in (query or {}).items() if value not in (None, "")}
        scope = {
            "type": "http",
            "method": method,
            "path": f"{ROOT}/{handler.__module__}.{handler.__name__}/{id}",
            "query_string": urlencode(said).encode(),
            "headers": [(b"idempotency-key", once.encode())] if once else [],
            "path_params": {"id": id},
            "client": self._request.scope.get("client"),
            "server": ("localhost", 80),
            "scheme": "http",
        }
        sent = json.dumps(body).encode() if body is not None else b""

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": sent, "more_body": False}

        # The session's id stands for the key's secret, from which the secret of a new key is derived: a form that is
        # sent again shows the same new key again.
        request_id = new_body(self.services.clock_ms())
        call = Call(Request(scope, receive), self.services, self.key, self._session, request_id, "dashboard")
        return await handler(call)

    async def ask(self, handler: Handler, **asked: Any) -> Any:
        """The same, decoded."""
        return msgspec.json.decode((await self.answer(handler, **asked)).body)
