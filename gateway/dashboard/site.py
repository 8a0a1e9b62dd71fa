"""The dashboard's paths: which page answers, who is let in, and what is done with a refusal.

Promises: a page that changes something is open to keys that may mint only, and to our own pages' forms only; every
answer bears the same headers; nobody who is not signed in sees anything but the way in.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from urllib.parse import quote

import msgspec
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from gateway.dashboard import alerts, calls, catalogue, changes, customers, keys, overview, plans, trial, usage
from gateway.dashboard.door import Door, check_source, give_cookie, read_form
from gateway.dashboard.page import HEADERS, ROOT, TEMPLATES, Means, Page, rendered
from gateway.problems import PROBLEMS, CallError, as_problem
from keys.keyring import Key
from ledger.records import LedgerUnavailable

Show = Callable[[Page], Awaitable[Response]]

LOGIN = f"{ROOT}/login"


class Act(msgspec.Struct, frozen=True):
    """What a form does; and the page that is shown again, with the reason, where it is refused."""

    run: Show
    again: Show


PAGES: tuple[tuple[str, Show], ...] = (
    ("", overview.show),
    ("/keys", keys.show_list),
    ("/keys/new", keys.show_new),
    ("/keys/{id}", keys.show_one),
    ("/usage", usage.show),
    ("/usage.csv", usage.show_csv),
    ("/calls", calls.show_list),
    ("/calls.csv", calls.show_csv),
    ("/calls/{id}", calls.show_one),
    ("/customers", customers.show_list),
    ("/customer", customers.show_one),
    ("/changes", changes.show_list),
    ("/plans", plans.show_list),
    ("/plans/{id}", plans.show_one),
    ("/providers", catalogue.show_providers),
    ("/prices", catalogue.show_prices),
)
MANAGING: tuple[tuple[str, Show], ...] = (
    ("/alerts", alerts.show_list),
    ("/alerts/{id}", alerts.show_one),
    ("/deliveries/{id}", alerts.show_delivery),
    ("/try", trial.show),
)
"""Pages for keys only that may change something, as in the API."""
ACTS: tuple[tuple[str, Act], ...] = (
    ("/keys", Act(keys.mint, keys.show_new)),
    ("/keys/{id}/raise", Act(keys.change, keys.show_one)),
    ("/keys/{id}/credit", Act(keys.credit, keys.show_one)),
    ("/keys/{id}/rotate", Act(keys.rotate, keys.show_one)),
    ("/keys/{id}/disable", Act(keys.disable, keys.show_one)),
    ("/keys/{id}/enable", Act(keys.enable, keys.show_one)),
    ("/keys/{id}/revoke", Act(keys.revoke, keys.show_one)),
    ("/calls/{id}/resolve", Act(calls.resolve, calls.show_one)),
    ("/customer/change", Act(customers.change, customers.show_one)),
    ("/customer/forget", Act(customers.forget, customers.show_one)),
    ("/plans", Act(plans.make, plans.show_list)),
    ("/plans/{id}/change", Act(plans.change, plans.show_one)),
    ("/plans/{id}/remove", Act(plans.remove, plans.show_one)),
    ("/alerts", Act(alerts.make, alerts.show_list)),
    ("/alerts/{id}/test", Act(alerts.test, alerts.show_one)),
    ("/alerts/{id}/switch", Act(alerts.switch, alerts.show_one)),
    ("/alerts/{id}/rotate", Act(alerts.rotate, alerts.show_one)),
    ("/alerts/{id}/replay", Act(alerts.replay, alerts.show_one)),
    ("/alerts/{id}/remove", Act(alerts.remove, alerts.show_one)),
    ("/deliveries/{id}/retry", Act(alerts.retry, alerts.show_delivery)),
    ("/try", Act(trial.run, trial.show)),
)


class Site:
    """All pages, as one application."""

    def __init__(self, means: Means) -> None:
        self._means = means
        services = means.services
        self._door = Door(services.ledger, services.keyring, services.clock_ms)
        pages = [(path, self._page(show)) for path, show in PAGES]
        pages += [(path, self._page(show, manages=True)) for path, show in MANAGING]
        shown = [Route(ROOT + path, run, methods=["GET"]) for path, run in pages]
        done = [Route(ROOT + path, self._act(act), methods=["POST"]) for path, act in ACTS]
        self.app = Starlette(
            routes=[
                Route(f"{ROOT}/", _front, methods=["GET"]),
                Route(LOGIN, _guarded(self._show_login), methods=["GET"]),
                Route(LOGIN, _guarded(self._login), methods=["POST"]),
                Route(f"{ROOT}/logout", _guarded(self._logout), methods=["POST"]),
                Route(f"{TEMPLATES.static}/{{name}}", _static, methods=["GET"]),
                *shown,
                *done,
            ],
            exception_handlers={404: _missing, 405: _missing},
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

        return _guarded(run)

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

        return _guarded(run)

    async def _show_login(self, request: Request) -> Response:
        if await self._door.known(request) is not None:
            return RedirectResponse(ROOT, 303)
        return rendered("login.html", next=_next(request.query_params.get("next", "")), problem=None)

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
            response = rendered("login.html", problem.status, next=then, problem=problem)
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


def _guarded(run: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """The page with its headers; a refusal as a page of its own."""

    async def guarded(request: Request) -> Response:
        try:
            response = await run(request)
        except ClientDisconnect:
            return Response(status_code=400)
        except PROBLEMS as error:
            problem = as_problem(error)
            response = rendered("problem.html", problem.status, problem=problem)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    return guarded


async def _front(request: Request) -> Response:
    return RedirectResponse(ROOT, 303)


async def _static(request: Request) -> Response:
    return TEMPLATES.file(request.path_params["name"]) or await _missing(request, Exception())


async def _missing(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 404)
    message = "This page takes no such request." if status == 405 else "There is no such page."
    response = rendered("problem.html", status, problem=CallError(status, "not_found", message))
    response.headers.update(HEADERS)
    return response
