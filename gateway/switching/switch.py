"""Tries a call in one place after the other, until somebody answers it.

Promises: one attempt is one hold and one event, held at its own price after what the one before it came to is known;
nobody is asked after a byte has gone to the client, and never two at the same time; who asked to be left alone is not
asked before his time; whoever is asked last, what the client gets is an answer that some provider has given him, or
ours where none could be asked. Where there is not enough left for a further attempt, he gets what the one before it
came to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from gateway.asgi import ClientConnection, Send
from gateway.bounds import READ_APART_BYTES
from gateway.call.admission import Admission
from gateway.call.attempt import Aliased, attempt_id
from gateway.call.records import Attempt, Inbound, Missed
from gateway.call.relay import Relay
from gateway.config import Place
from gateway.problems import CallError, as_problem
from gateway.switching.known import KnownRoutes
from gateway.switching.order import ordered
from gateway.switching.rests import ACCOUNT_REST_S, Rests
from gateway.switching.spec import RouteBody, Target
from gateway.telemetry import Metrics
from gateway.upstream.health import Health
from keys.keyring import Key
from providers.ground.errors import BadRequest
from providers.pricing.catalogue import Catalogue
from providers.reading.request import with_model
from providers.routing import Route, Shared, toward

ATTEMPTS_MAX = 6
_NOBODY_WAITS_S = 60


class Choice(msgspec.Struct, frozen=True):
    """A target of a call, and where the call goes there."""

    target: Target
    route: Route

    @property
    def upstream(self) -> str:
        """Whom it asks."""
        return self.target.upstream or self.target.provider

    @property
    def name(self) -> str:
        """Whose health it is: a model's at an upstream."""
        return f"{self.upstream}/{self.target.model}"


class Switch:
    """One for the process."""

    def __init__(
        self,
        routes: KnownRoutes,
        admission: Admission,
        relay: Relay,
        catalogue: Catalogue,
        places: dict[str, Place],
        metrics: Metrics,
        now: Callable[[], float],
        rests: Rests,
        health: Health,
    ) -> None:
        """`health` is that of models; who is down as a whole is told elsewhere."""
        self._routes = routes
        self._admission = admission
        self._relay = relay
        self._catalogue = catalogue
        self._places = places
        self._metrics = metrics
        self._now = now
        self.rests, self.health = rests, health

    async def fly(
        self,
        inbound: Inbound,
        aliased: Aliased,
        connection: ClientConnection | None,
        send: Send,
        started: float,
        told: Callable[[str], None] | None,
    ) -> Route:
        """See `gateway.call.attempt.Switching`."""
        said = self._said(inbound, aliased)
        choices = self._choices(inbound, aliased, said)
        flight = _Flight(self, inbound, aliased, said, choices)
        missed: Missed | None = None
        while (choice := await flight.next()) is not None:
            try:
                admitted = await self._admission.admit(await flight.attempt(choice))
            except CallError as error:
                if flight.is_elsewhere(error):
                    continue
                if missed is None:
                    raise
                break
            if told is not None:
                told(admitted.call_id)
            began = started if missed is None else self._now()
            latest = await self._relay.fly(admitted, inbound.head, connection, send, began)
            self._note(choice, latest)
            if latest is None:
                return choice.route
            missed = latest
            if not flight.goes_on(latest):
                break
        if missed is None:
            raise self._all_rest(choices).at(choices[0].route)
        await missed.tell()
        return flight.last.route

    async def attempts(self, inbound: Inbound, aliased: Aliased) -> list[Inbound]:
        """See `gateway.call.attempt.Switching`."""
        said = self._said(inbound, aliased)
        choices = self._choices(inbound, aliased, said)
        flight = _Flight(self, inbound, aliased, said, choices)
        return [await flight.attempt(choice) for choice in choices]

    def _said(self, inbound: Inbound, aliased: Aliased) -> RouteBody:
        """What the route says; or of a list of models that the request brings itself, what such a list means."""
        found = self._routes.get(aliased.name) if not aliased.models else None
        if found is not None:
            return found
        where = inbound.shared
        targets = []
        for model in aliased.models:
            route = where.choose(model, self._catalogue.provider_of) if where is not None else inbound.route
            targets.append(Target(provider=route.provider, model=model))
        if not targets:
            raise CallError(400, "model_not_priced", f"There is no route {aliased.name} any more.", param="model")
        return RouteBody(targets=tuple(targets))

    def _choices(self, inbound: Inbound, aliased: Aliased, said: RouteBody) -> list[Choice]:
        """Where the call may go: in order, and only what the key may use and has this path. Raises CallError."""
        key = aliased.key
        who = {"none": inbound.call_id, "end_user": inbound.headers.get("x-end-user-id") or key.public_id}
        found: list[Choice] = []
        refused: list[Choice] = []
        at: Route | Shared = inbound.shared or inbound.route
        for target in ordered(said.targets, who.get(said.sticky, key.public_id)):
            route = toward(at, target.provider, target.model)
            if route is None:
                continue
            usable = self._allows(key, target) and (not key.livemode or self._places[target.provider].credential)
            (found if usable else refused).append(Choice(target, route))
        if found or refused:
            return found or refused[:1]  # who admits calls says why, and writes it down
        message = f"No target of {aliased.name} is served at this path."
        raise CallError(400, "model_not_priced", message, param="model")

    def _allows(self, key: Key, target: Target) -> bool:
        entry = self._catalogue.entry_of(target.provider, target.model) or ""
        return key.allows_provider(target.provider) and key.allows_model(target.model, entry)

    def _note(self, choice: Choice, missed: Missed | None) -> None:
        """Remember how it went."""
        if missed is None:
            self.health.heard(choice.name, 200)
            return
        self._metrics.switched(choice.upstream, missed.why)
        if missed.why == "429":
            self.rests.rest(choice.upstream, missed.wait_s)
        elif missed.why == "account":
            self.rests.rest(choice.upstream, ACCOUNT_REST_S)
        else:
            self.health.failed(choice.name, missed.why, at_once=missed.silent or missed.why == "model")

    def _all_rest(self, choices: Sequence[Choice]) -> CallError:
        """Nobody can be asked: as the one would say who may be asked the soonest."""
        left_s = min(self.rests.left_s(choice.upstream) for choice in choices)
        message = "Every provider that could answer this has asked to be left alone for a while."
        wait_s = max(1, min(-int(-left_s // 1), _NOBODY_WAITS_S))
        return CallError(429, "rate_limited", message, retry=True, retry_after_s=wait_s)


class _Flight:
    """One call's way through its choices."""

    def __init__(
        self, switch: Switch, inbound: Inbound, aliased: Aliased, said: RouteBody, choices: list[Choice]
    ) -> None:
        self._switch = switch
        self._inbound = inbound
        self._aliased = aliased
        self._said = said
        self._left = choices  # not asked yet, or to be asked once more after a wait
        self._number = 0
        self._wait_s = said.wait_s
        # The fields that name stored objects: such a request goes to where they are, and nowhere else.
        finders = [choice.route.operation.references for choice in choices]
        self._named = {each.param for finder in finders if finder is not None for each in finder.find(aliased.body)}
        self.last = choices[0]

    async def next(self) -> Choice | None:
        """Whom to ask now, after a wait that the route allows; None for nobody any more."""
        while self._number < ATTEMPTS_MAX:
            rests, health = self._switch.rests, self._switch.health
            awake = [choice for choice in self._left if not rests.left_s(choice.upstream)]
            well = next((choice for choice in awake if health.may_ask(choice.name)), None)
            if well is None and awake and not self._number:
                well = awake[0]  # all are down, as far as is known here; somebody has to be asked
            if well is not None:
                self._left = [choice for choice in self._left if choice is not well]
                self._number += 1
                self.last = well
                return well
            waiting = [left for choice in self._left if (left := rests.left_s(choice.upstream))]
            if not waiting or min(waiting) > self._wait_s:
                return None
            self._wait_s -= min(waiting)
            await asyncio.sleep(min(waiting))
        return None

    async def attempt(self, choice: Choice) -> Inbound:
        """The request as it is asked there."""
        body, said = self._aliased.body, self._said
        if "model" not in choice.route.params:
            try:
                if len(body) > READ_APART_BYTES:
                    body = await asyncio.to_thread(with_model, body, choice.target.model)
                else:
                    body = with_model(body, choice.target.model)
            except BadRequest as error:
                raise as_problem(error).at(choice.route) from None
        attempt = Attempt(
            number=self._number,
            upstream=choice.upstream,
            last=bool(self._named) or not self._left or self._number == ATTEMPTS_MAX,
            ambiguous=said.retry_ambiguous,
            first_byte_s=said.first_byte_timeout_s,
        )
        return msgspec.structs.replace(
            self._inbound,
            call_id=attempt_id(self._inbound.call_id, self._number),
            route=choice.route,
            shared=None,
            body=body,
            attempt=attempt,
        )

    def is_elsewhere(self, error: CallError) -> bool:
        """Whether what the request names is not at the one who was to be asked, and may be at another."""
        return error.param in self._named and bool(self._left)

    def goes_on(self, missed: Missed) -> bool:
        """Whether others may be asked after that."""
        if self._named:
            return False
        if missed.why == "429" and self._wait_s:
            self._left.append(self.last)  # once it has rested
        if missed.why == "ambiguous":
            return self._said.retry_ambiguous
        return missed.why in self._said.switch_on
