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
from gateway.call.admission import Admission
from gateway.call.attempt import Aliased, attempt_id
from gateway.call.body import named
from gateway.call.records import Attempt, Inbound, Missed
from gateway.call.relay import Relay
from gateway.edge.head import Head
from gateway.places import Places
from gateway.problems import CallError, as_problem
from gateway.switching.choices import Choice, Choices
from gateway.switching.rests import ACCOUNT_REST_S, SILENCE_REST_S, Rests
from gateway.switching.spec import RouteBody
from gateway.telemetry import Metrics
from gateway.upstream.health import Health
from providers.ground.errors import BadRequest
from providers.routing import Route

ATTEMPTS_MAX = 6
_NOBODY_WAITS_S = 60


class Switch:
    """One for the process."""

    def __init__(
        self,
        choices: Choices,
        elsewhere: Places,
        admission: Admission,
        relay: Relay,
        metrics: Metrics,
        now: Callable[[], float],
        rests: Rests,
        health: Health,
    ) -> None:
        """`health` is that of models; who is down as a whole is told elsewhere."""
        self._choices = choices
        self._elsewhere = elsewhere
        self._admission = admission
        self._relay = relay
        self._metrics = metrics
        self._now = now
        self.rests, self.health = rests, health
        self.silences = Rests(now)  # by model at an upstream, and caller: what is slow for one need not be for others

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
        said = self._choices.said(inbound, aliased)
        choices, named_in = await self._choices.found(inbound, aliased, said)
        flight = _Flight(self, inbound, aliased, said, choices, named_in)
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
            self._note(choice, aliased, latest)
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
        said = self._choices.said(inbound, aliased)
        choices, named_in = await self._choices.found(inbound, aliased, said)
        flight = _Flight(self, inbound, aliased, said, choices, named_in)
        return [await flight.attempt(choice) for choice in choices]

    def within(self, head: Head) -> tuple[str, Head] | None:
        """See `gateway.call.attempt.Switching`."""
        name, path = head.mounted()
        return (name, head.at(path)) if name in self._elsewhere.upstreams else None

    def _note(self, choice: Choice, aliased: Aliased, missed: Missed | None) -> None:
        """Remember how it went. What one caller's request can bring about alone tells the others little."""
        if missed is None:
            self.health.heard(choice.name, 200)
            return
        self._metrics.switched(choice.upstream, missed.why)
        if missed.why == "429":
            self.rests.rest(choice.account, missed.wait_s)
        elif missed.why == "account":
            self.rests.rest(choice.account, ACCOUNT_REST_S)
        elif missed.why != "model":  # which a request's own words may look like, and which costs no time
            if missed.silent:
                self.silences.rest(_to(choice, aliased), SILENCE_REST_S)
            self.health.failed(choice.name, missed.why)

    def _all_rest(self, choices: Sequence[Choice]) -> CallError:
        """Nobody can be asked: as the one would say who may be asked the soonest."""
        left_s = min(self.rests.left_s(choice.account) for choice in choices)
        message = "Every provider that could answer this has asked to be left alone for a while."
        wait_s = max(1, min(-int(-left_s // 1), _NOBODY_WAITS_S))
        return CallError(429, "rate_limited", message, retry=True, retry_after_s=wait_s)


def _to(choice: Choice, aliased: Aliased) -> str:
    """A model at an upstream, as one caller knows it."""
    return f"{choice.name}@{aliased.key.account_id}"


class _Flight:
    """One call's way through its choices."""

    def __init__(
        self,
        switch: Switch,
        inbound: Inbound,
        aliased: Aliased,
        said: RouteBody,
        choices: list[Choice],
        named: frozenset[str],
    ) -> None:
        self._switch = switch
        self._inbound = inbound
        self._aliased = aliased
        self._said = said
        self._left = choices  # not asked yet, or to be asked once more after a wait
        self._number = 0
        self._wait_s = said.wait_s
        self._named = named  # fields that name stored objects: it is asked where they are, and nowhere else
        self.last = choices[0]

    async def next(self) -> Choice | None:
        """Whom to ask now, after a wait that the route allows; None for nobody any more."""
        while self._number < ATTEMPTS_MAX:
            rests, health = self._switch.rests, self._switch.health
            awake = [choice for choice in self._left if not rests.left_s(choice.account)]
            heard = [c for c in awake if not self._switch.silences.left_s(_to(c, self._aliased))]
            well = next((choice for choice in heard if health.may_ask(choice.name)), None)
            if well is None and awake and not self._number:
                well = awake[0]  # all are down, as far as is known here; somebody has to be asked
            if well is not None:
                self._left = [choice for choice in self._left if choice is not well]
                self._number += 1
                self.last = well
                return well
            waiting = [left for choice in self._left if (left := rests.left_s(choice.account))]
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
                body = await named(body, choice.model)
            except BadRequest as error:
                raise as_problem(error).at(choice.route) from None
        attempt = Attempt(
            number=self._number,
            upstream=choice.upstream,
            last=bool(self._named) or not self._left or self._number == ATTEMPTS_MAX,
            ambiguous=said.retry_ambiguous,
            first_byte_s=said.first_byte_timeout_s,
            place=choice.place,
            path=choice.path,
            model_there="" if "model" in choice.route.params else choice.model_there,
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
