"""The portal's paths: an address is swapped for a cookie, once; then the page, and its figures as a file.

Promises: the token is in no address that is kept, and the cookie opens these pages only; nothing is posted, nothing is
framed, no script runs. Who has no session is told nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from gateway.api.portal import PATH, token_hash
from gateway.api.tables import csv_response
from gateway.dashboard import words
from gateway.dashboard.door import ID_BYTES, is_secure
from gateway.dashboard.money import money_of
from gateway.dashboard.portal.brand import brand_of
from gateway.dashboard.portal.statement import by_day, statement
from gateway.dashboard.templating import Templates
from gateway.problems import PROBLEMS, CallError, as_problem
from gateway.services import Services
from ledger.portal import LIFE_MS, Visit

HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'none';"
    " base-uri 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
_SECURE_COOKIE, _PLAIN_COOKIE = "__Secure-farthing-portal", "farthing_portal"
_COLUMNS = ["day", "model", "requests", "blocked", "input_tokens", "output_tokens", "price_micros"]
_OVER = "This page is over. Open it again from where you came."
_USED = "This address was used before, or its time is over. Go back to where you came from, and open it again."
Show = Callable[[Request], Awaitable[Response]]


class Portal:
    """All pages of the portal, as one application."""

    def __init__(self, services: Services) -> None:
        self._services = services
        brand = brand_of(services.settings.face)
        self._templates = Templates(PATH, money_of(services.settings), brand.files, brand=brand)
        self.app = Starlette(
            routes=[
                Route(PATH, self._guarded(self._page), methods=["GET"]),
                Route(f"{PATH}/", self._guarded(self._page), methods=["GET"]),
                Route(f"{PATH}/usage.csv", self._guarded(self._file), methods=["GET"]),
                Route(f"{self._templates.static}/{{name}}", self._guarded(self._static), methods=["GET"]),
                Route(f"{PATH}/{{token}}", self._guarded(self._open), methods=["GET"]),
            ],
            exception_handlers={404: self._missing, 405: self._missing},
        )
        self.app.router.redirect_slashes = False

    async def _open(self, request: Request) -> Response:
        """GET /portal/{token}. What only looks ahead, a preview or a prefetch, does not use the address up."""
        if request.method != "GET" or "prefetch" in request.headers.get("sec-purpose", ""):
            raise CallError(405, "method_not_allowed", "Open this address in a browser.")
        session = secrets.token_urlsafe(ID_BYTES)
        token = str(request.path_params["token"])
        if not await self._services.ledger.portal.swap(token_hash(token), token_hash(session)):
            raise CallError(404, "not_found", _USED)
        response = RedirectResponse(PATH, 303)
        response.set_cookie(
            _cookie(request),
            session,
            max_age=LIFE_MS // 1000,
            path=PATH,
            secure=is_secure(request),
            httponly=True,
            samesite="lax",
        )
        return response

    async def _page(self, request: Request) -> Response:
        """GET /portal."""
        visit = await self._visit(request)
        told = await statement(self._services, visit)
        return self._templates.page("portal.html", told=told, visit=visit)

    async def _file(self, request: Request) -> Response:
        """GET /portal/usage.csv."""
        rows = await by_day(self._services, await self._visit(request))
        for row in rows:
            row |= {"day": words.day(row["day_ms"]), "model": row["label"]}
        return csv_response(_COLUMNS, rows, "usage")

    async def _static(self, request: Request) -> Response:
        found = self._templates.file(request.path_params["name"])
        if found is None:
            raise CallError(404, "not_found", "There is no such file.")
        return found

    async def _visit(self, request: Request) -> Visit:
        """Whose page a request's cookie is for. Raises CallError."""
        session = request.cookies.get(_cookie(request), "")
        visit = await self._services.ledger.portal.find(token_hash(session)) if session else None
        if visit is None:
            raise CallError(401, "invalid_key", _OVER)
        return visit

    def _guarded(self, run: Show) -> Show:
        async def guarded(request: Request) -> Response:
            try:
                response = await run(request)
            except PROBLEMS as error:
                problem = as_problem(error)
                response = self._templates.page("portal_over.html", problem.status, problem=problem)
                if problem.retry_after_s is not None:
                    response.headers["retry-after"] = str(problem.retry_after_s)
            for name, value in HEADERS.items():
                response.headers.setdefault(name, value)
            return response

        return guarded

    async def _missing(self, request: Request, error: Exception) -> Response:
        status = getattr(error, "status_code", 404)
        problem = CallError(status, "not_found", "There is no such page.")
        response = self._templates.page("portal_over.html", status, problem=problem)
        response.headers.update(HEADERS)
        return response


def _cookie(request: Request) -> str:
    return _SECURE_COOKIE if is_secure(request) else _PLAIN_COOKIE
