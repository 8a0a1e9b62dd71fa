"""The dashboard as one application: who is let in to which page, and what is done with a refusal.

Promises: a page that changes something is open to keys that may mint only, and to our own pages' forms only; every
answer bears the same headers; nobody who is not signed in sees anything but the way in.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from gateway.dashboard.door import Door, check_source, give_cookie, read_form
from gateway.dashboard.glances import Glances
from gateway.dashboard.money import money_of
from gateway.dashboard.page import HEADERS, ROOT, Means, Page
from gateway.dashboard.pages import ACTS, MANAGING, PAGES, Act, Show
from gateway.dashboard.templating import Templates
from gateway.problems import PROBLEMS, CallError, as_problem
from gateway.services import Services
from keys.keyring import Key
from ledger.records import LedgerUnavailable

LOGIN = f"{ROOT}/login"


class Site:
    """All pages, as one application."""

    def __init__(self, services: Services, app: Any) -> None:
        self._templates = Templates(ROOT, money_of(services.settings))
        self._means = Means(
            services=services, templates=self._templates, glances=Glances(services.ledger.reports), app=app
        )
        self._door = Door(services.ledger, services.keyring, services.clock_ms)
        pages = [(path, self._page(show)) for path, show in PAGES]
        pages += [(path, self._page(show, manages=True)) for path, show in MANAGING]
        shown = [Route(ROOT + path, run, methods=["GET"]) for path, run in pages]
        done = [Route(ROOT + path, self._act(act), methods=["POST"]) for path, act in ACTS]
        self.app = Starlette(
            routes=[
                Route(f"{ROOT}/", _front, methods=["GET"]),
                Route(LOGIN, self._guarded(self._show_login), methods=["GET"]),
                Route(LOGIN, self._guarded(self._login), methods=["POST"]),
                Route(f"{ROOT}/logout", self._guarded(self._logout), methods=["POST"]),
                Route(f"{self._templates.static}/{{name}}", self._static, methods=["GET"]),
                *shown,
                *done,
            ],
            exception_handlers={404: self._missing, 405: self._missing},
        )
        self.app.router.redirect_slashes = False

    def _page(self, show: Show, *, manages: bool = False) -> Callable[[Request], Awaitable[Response]]:
        async def run(request: Request) -> Response:
            known = await self._door.known(request)
            if known is None:
                return _to_login(request)
            if manages:
                _check_manages(known[0])
            return await show(Page(request, self._means, *known, {}))

        return self._guarded(run)

    def _act(self, act: Act) -> Callable[[Request], Awaitable[Response]]:
        async def run(request: Request) -> Response:
            check_source(request)
            known = await self._door.known(request)
            if known is None:
                return RedirectResponse(LOGIN, 303)
            key, session = known
            _check_manages(key)
            page = Page(request, self._means, key, session, await read_form(request))
            try:
                return await act.run(page)
            except LedgerUnavailable:
                raise
            except PROBLEMS as error:
                page.problem = as_problem(error)
                return await act.again(page)

        return self._guarded(run)

    async def _show_login(self, request: Request) -> Response:
        if await self._door.known(request) is not None:
            return RedirectResponse(ROOT, 303)
        return self._templates.page("login.html", next=_next(request.query_params.get("next", "")), problem=None)

    async def _login(self, request: Request) -> Response:
        check_source(request)
        form = await read_form(request)
        then = _next(form.get("next", ""))
        try:
            session = await self._door.enter(request, form.get("key", "").strip())
        except LedgerUnavailable:
            raise
        except PROBLEMS as error:
            problem = as_problem(error)
            response = self._templates.page("login.html", problem.status, next=then, problem=problem)
            if problem.retry_after_s is not None:
                response.headers["retry-after"] = str(problem.retry_after_s)
            return response
        await self._door.leave(request)  # whoever was signed in here before is no more
        response = RedirectResponse(then, 303)
        give_cookie(request, response, session)
        return response

    async def _logout(self, request: Request) -> Response:
        check_source(request)
        with contextlib.suppress(LedgerUnavailable):
            await self._door.leave(request)
        response = RedirectResponse(LOGIN, 303)
        give_cookie(request, response, "")
        return response

    def _guarded(self, run: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        """The page with its headers; a refusal as a page of its own."""

        async def guarded(request: Request) -> Response:
            try:
                response = await run(request)
            except ClientDisconnect:
                return Response(status_code=400)
            except PROBLEMS as error:
                problem = as_problem(error)
                response = self._templates.page("problem.html", problem.status, problem=problem)
            for name, value in HEADERS.items():
                response.headers.setdefault(name, value)
            return response

        return guarded

    async def _static(self, request: Request) -> Response:
        return self._templates.file(request.path_params["name"]) or await self._missing(request, Exception())

    async def _missing(self, request: Request, error: Exception) -> Response:
        status = getattr(error, "status_code", 404)
        message = "This page takes no such request." if status == 405 else "There is no such page."
        response = self._templates.page("problem.html", status, problem=CallError(status, "not_found", message))
        response.headers.update(HEADERS)
        return response


def _check_manages(key: Key) -> None:
    if not key.policy.may_manage:
        raise CallError(403, "scope_not_allowed", f"A {key.policy.scope} key may only look.")


def _next(path: str) -> str:
    """Where to go after the sign-in: to a page of ours, and nowhere else."""
    return path if path.startswith((f"{ROOT}/", f"{ROOT}?")) and "\\" not in path and path.isprintable() else ROOT


def _to_login(request: Request) -> Response:
    path, query = request.scope["path"], request.scope["query_string"].decode("latin-1")
    wanted = path + (f"?{query}" if query else "")
    return RedirectResponse(LOGIN if wanted == ROOT else f"{LOGIN}?next={quote(wanted, safe='')}", 303)


async def _front(request: Request) -> Response:
    return RedirectResponse(ROOT, 303)
