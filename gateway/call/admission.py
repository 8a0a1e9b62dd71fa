"""Everything that happens to a call before it is forwarded: route, authenticate, read, quote, hold.

Promises: nothing is forwarded without a durable hold; a refused call never reaches a provider and leaves a blocked
event; a decision taken on remembered facts about a key is taken again if the ledger says that they are stale.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import msgspec

from gateway.apart import joined
from gateway.asgi import receive_body
from gateway.bounds import (
    BODY_BYTES_MAX,
    BODY_TIMEOUT_S,
    BROKE_PER_MINUTE,
    CALL_TIMEOUT_S,
    FLIGHTS_MAX,
    FREE_OBJECTS_MAX,
    READ_APART_BYTES,
    SUBJECT_BYTES_MAX,
    UPLOAD_BYTES_MAX,
)
from gateway.call.flight import Flights
from gateway.call.loop_guard import LoopCounts
from gateway.call.quote import FREE, Quote, dearest, quote
from gateway.call.reading import Readings
from gateway.call.records import Admitted, Inbound, Options
from gateway.call.upload import Upload, over_bytes, refused
from gateway.config import Settings
from gateway.edge.credentials import Credentials, credentials
from gateway.edge.encodings import decoded, encoding_of
from gateway.edge.headers import RawHeaders, too_large
from gateway.problems import RETRY_AFTER_S_MAX, CallError, over_limit
from gateway.rates import KEYS_MAX, Rate
from gateway.stored.ownership import Ownership
from keys.hashing import Overloaded
from keys.ids import new_id
from keys.keyring import Denied, Key, Keyring
from keys.minting import Metadata
from ledger.changes import TooManySubjects
from ledger.ledger import Ledger
from ledger.money import PICOS_PER_MICRO, is_plain_decimal, usd_to_micros
from ledger.records import UNSEEN, Ask, Block, Facts, Held, LedgerUnavailable, Refused
from providers.contract.shapes import Asked, Call, Reference, Uploading
from providers.ground.errors import BadRequest
from providers.ground.usage import Usage
from providers.ground.vendors import VENDORS
from providers.pricing.catalogue import Catalogue
from providers.pricing.prices import Price
from providers.reading.request import model_of
from providers.routing import Route, Shared
from providers.simulator import Faults
from providers.stored.batches import hold_ms
from providers.stored.jsonl import Line
from providers.stored.objects import Makes

ATTEMPTS = 4  # a key that changes faster than we can decide on it three times over is being fought about
SUBJECTS_REMEMBERED_MAX = 50_000
MODEL_CHARS_MAX = 200
ALLOWANCE_MAX = 1_000_000_000  # steps of a socket's hold: no cap of one end user has room for so many
COMPLETED_WITHIN_MS = int(CALL_TIMEOUT_S + 60) * 1000  # with a minute for the hold itself

_A_LITTLE = Quote(fixed_picos=PICOS_PER_MICRO)

_DENIED = {
    "invalid_key": "This is not a valid key.",
    "key_revoked": "This key has been revoked.",
    "key_disabled": "This key is disabled.",
    "key_expired": "This key has expired.",
}
_BLOCKS = frozenset(
    (
        "route_not_allowed",
        "model_not_allowed",
        "origin_not_allowed",
        "model_not_priced",
        "unbounded_cost",
        "loop_detected",
    )
)
"""Refusals of a call, not of a request that is none: each leaves a blocked event."""

_ONCE = frozenset(
    (
        b"content-type",
        b"content-encoding",
        b"content-length",
        b"idempotency-key",
        b"x-end-user-id",
        b"x-end-user-cap-usd",
    )
)
"""Header fields that may stand once. Keys are looked for in all fields, and two different ones are refused."""

_decode_metadata = msgspec.json.Decoder(Metadata).decode


class Admission:
    """The door. One for the process."""

    def __init__(
        self,
        ledger: Ledger,
        keyring: Keyring,
        catalogue: Catalogue,
        settings: Settings,
        flights: Flights,
        clock_ms: Callable[[], int],
        walls: Ownership,
        readings: Readings,
    ) -> None:
        self._ledger = ledger
        self._readings = readings
        self._walls = walls
        self._keyring = keyring
        self._catalogue = catalogue
        self._settings = settings
        self._flights = flights
        self._clock_ms = clock_ms
        self._loops = LoopCounts(clock_ms)
        self._subjects: dict[tuple[int, str, str], int] = {}
        self._free = Rate(settings.free_per_minute, clock_ms)
        self._free_of_the_broke = Rate(BROKE_PER_MINUTE if settings.free_per_minute else 0, clock_ms)
        self._broke: set[int] = set()  # keys that had nothing left when they were last seen

    async def admit(self, inbound: Inbound, shared: Shared | None, headers: dict[str, str]) -> Admitted:
        """Let a call in, or refuse it. Where providers share its path, the model that it names decides among them.

        Raises:
            CallError: It is refused; if the key is known, a blocked event has been recorded.
            upload.ClientGone: The client left.
        """
        self._check_framing(inbound, headers)
        secret = self._secret(inbound)
        route = inbound.route
        facts = Facts(provider=route.provider, route=route.operation.name)
        key = await self._authenticate(secret, inbound.call_id, facts)
        upload: Upload | None = None
        if route.operation.upload_bytes_max:
            upload, call = await self._read_upload(inbound, shared, headers, key)
            route, body = inbound.route, upload.head
            makes, identity = tuple(each for each in route.operation.makes if each.by(body)), body
            options = self._options(headers, key)
        else:
            body = await _read_body(inbound, headers)
            if len(body) > READ_APART_BYTES and inbound.opening is None:
                call, makes, identity = await self._read_apart(key, inbound, shared, body, headers)
                route = inbound.route
                options = self._options(headers, key)
            else:
                if shared is not None:
                    route = inbound.route = await self._choose(key, shared, model_of(body))
                options = self._options(headers, key)
                call = await self._read(key, inbound, body, headers)
                makes, identity = tuple(each for each in route.operation.makes if each.by(body)), body
        facts = self._facts(route, call, None, options, key)
        if not route.operation.billable and key.capped:
            await self._check_free(inbound.call_id, key, route, facts, options, upload)
        counted = False
        for attempt in range(ATTEMPTS):
            if attempt:
                key = await self._authenticate(secret, inbound.call_id, facts, fresh=True)
            try:
                _check_origin(key, headers)
                price, terms, beside = self._decide(route, call, key, options)
                counted, again = True, counted
                # Conversations that begin alike are no loop.
                once = identity if inbound.opening is None else b""
                self._check_loop(key, facts, once, upload, options, again=again)
            except CallError as error:
                if not attempt:
                    continue  # by what is remembered of the key; it may have been allowed more since
                if error.code in _BLOCKS:
                    self._block(inbound.call_id, key.account_id, facts, error)
                raise
            facts = self._facts(route, call, price, options, key)
            lasting_ms = hold_ms(call.facts) if call.bulk is not None else 0
            unpriced = _unpriced(call, price) if route.operation.billable else ""
            outcome = await self._hold(
                inbound.call_id, key, facts, terms, options, lasting_ms=lasting_ms, unpriced=bool(unpriced)
            )
            if isinstance(outcome, Held):
                if not route.operation.billable and key.capped:
                    self._see_left(key, outcome)
                return Admitted(
                    call_id=inbound.call_id,
                    method=inbound.method,
                    key=key,
                    route=route,
                    call=call,
                    price=price,
                    beside=beside,
                    terms=terms,
                    held=outcome,
                    body=body if upload is None or upload.whole else b"",
                    upload=None if upload is None or upload.whole else upload,
                    makes=makes,
                    faults=options.faults,
                    origin=inbound.origin,
                    cap_micros=_own_cap(outcome, options),
                )
            self._forget_subjects(key, options)
            if outcome.reason != "stale":
                if outcome.reason == "model_not_priced":
                    raise _not_priced(call.model) if unpriced == "model" else _no_price(unpriced)
                raise self._refused(outcome, key, inbound.call_id)
        raise CallError(503, "overloaded", "This key is being changed too fast; try again.", retry=True)

    async def knock(self, inbound: Inbound, headers: dict[str, str]) -> None:
        """Say whether a socket may be opened whose call is told by its first message: the key is good, and has money.

        Nothing is held: `admit` decides when the message is there. Raises CallError.
        """
        self._check_framing(inbound, headers)
        secret = self._secret(inbound)
        route = inbound.route
        facts = Facts(provider=route.provider, route=route.operation.name, stream=True)
        for fresh in (False, True):
            key = await self._authenticate(secret, inbound.call_id, facts, fresh=fresh)
            options = self._options(headers, key)
            try:
                _check_origin(key, headers)
                self._check_key(route, "", key, options)
            except CallError as error:
                if not fresh:
                    continue  # by what is remembered of the key; it may have been allowed more since
                if error.code in _BLOCKS:
                    self._block(inbound.call_id, key.account_id, facts, error)
                raise
            outcome = await self._hold(inbound.call_id, key, facts, _A_LITTLE, options, dry_run=True)
            if isinstance(outcome, Held):
                return
            self._forget_subjects(key, options)
            if outcome.reason != "stale":
                refused = self._refused(outcome, key, inbound.call_id)
                self._block(inbound.call_id, key.account_id, facts, refused)
                raise refused
        raise CallError(503, "overloaded", "This key is being changed too fast; try again.", retry=True)

    async def _check_free(
        self, call_id: str, key: Key, route: Route, facts: Facts, options: Options, upload: Upload | None
    ) -> None:
        """Bound what costs nothing, for a key that others have: how often, and how much it keeps at providers.

        Raises:
            CallError: 429 too often; 402 it would keep something and has nothing left; 403 it keeps too much.
        """
        error: CallError | None = None
        broke = key.account_id in self._broke
        if wait_s := (self._free_of_the_broke if broke else self._free).take(key.account_id):
            message = "This key asks too often for what costs nothing."
            error = CallError(429, "rate_limited", message, retry=True, retry_after_s=min(wait_s, RETRY_AFTER_S_MAX))
        elif route.operation.makes and route.operation.batch is None:
            error = await self._check_kept(call_id, key, route, facts, options, upload)
        if error is not None:
            self._block(call_id, key.account_id, facts, error)
            raise error

    async def _check_kept(
        self, call_id: str, key: Key, route: Route, facts: Facts, options: Options, upload: Upload | None
    ) -> CallError | None:
        outcome = await self._hold(call_id, key, facts, _A_LITTLE, options, dry_run=True)
        if isinstance(outcome, Refused):
            return self._refused(outcome, key, call_id) if outcome.reason != "stale" else None
        kinds = tuple({each.kind for each in route.operation.makes})
        try:
            count, kept_bytes = await self._ledger.kept(key.account_id, kinds)
        except LedgerUnavailable:
            raise _unavailable() from None
        coming_bytes = 0 if upload is None else upload.length or upload.received_bytes
        if count < FREE_OBJECTS_MAX and kept_bytes + coming_bytes <= self._settings.free_storage_mb * 1_000_000:
            return None
        message = f"This key keeps {count} objects of {kept_bytes} bytes at providers: delete some first."
        return CallError(403, "storage_full", message)

    def _see_left(self, key: Key, held: Held) -> None:
        """Remember whether a key has any money left, for its next call that costs none."""
        if held.left.get("micros", 1) > 0:
            self._broke.discard(key.account_id)
            return
        if len(self._broke) >= KEYS_MAX:
            self._broke.clear()
        self._broke.add(key.account_id)

    def price_beside(self, admitted: Admitted, model: str) -> Price:
        """The price of another model that an admitted call takes into use. Raises CallError."""
        return self._price_of(admitted.route, admitted.key, model, "model")

    def _price_of(self, route: Route, key: Key, model: str, param: str) -> Price:
        if not key.allows_model(model, self._catalogue.entry_of(route.provider, model) or ""):
            raise CallError(403, "model_not_allowed", f"This key may not use {model}.", param=param)
        price = self._catalogue.find(route.provider, model, self._clock_ms())
        if price is None:
            raise _not_priced(model, param)
        return price

    def _prices_beside(self, route: Route, call: Call, key: Key) -> dict[str, Price]:
        """The prices of the further models that a request names, or that work for it. Raises CallError."""
        found = {model: self._price_of(route, key, model, param) for param, model in call.models.items()}
        for model in call.beside:
            if model not in found and (price := self._catalogue.find(route.provider, model, self._clock_ms())):
                found[model] = price
        return found

    # ---- who

    def is_ours(self, secret: str) -> bool:
        """Whether it can be a key of this gateway's."""
        return self._keyring.is_ours(secret)

    def _check_framing(self, inbound: Inbound, headers: dict[str, str]) -> None:
        if too_large(inbound.raw_headers):
            raise CallError(431, "headers_too_large", "The request has too many header fields.")
        if len(headers) != len(inbound.raw_headers):
            _check_once(inbound.raw_headers)
        if len(self._flights) >= FLIGHTS_MAX:
            raise CallError(503, "overloaded", "Too many calls are in flight; try again.", retry=True, retry_after_s=1)

    def _secret(self, inbound: Inbound) -> str:
        ours = self._keyring.is_ours
        found = credentials(inbound.raw_headers, inbound.query, ours, url_key=inbound.route.provider == "google")
        if inbound.secret is not None and not found.in_url:
            conflicting = found.conflicting or (found.secret not in (None, inbound.secret) and ours(found.secret or ""))
            found = Credentials(inbound.secret, conflicting=conflicting)
        if found.in_url:
            raise CallError(
                400, "credential_in_url", "A key in a URL ends up in logs: send it in a header.", param="query"
            )
        if found.conflicting:
            raise CallError(401, "conflicting_credentials", "The request carries two different keys.")
        if found.secret is None:
            raise CallError(401, "invalid_key", "The request carries no key.")
        return found.secret

    async def _authenticate(self, secret: str, call_id: str, facts: Facts, *, fresh: bool = False) -> Key:
        try:
            key = await self._keyring.authenticate(secret, fresh=fresh)
        except Denied as denied:
            error = CallError(401, denied.reason, _DENIED[denied.reason])
            if denied.account_id is not None:
                self._block(call_id, denied.account_id, facts, error)
            raise error from None
        except Overloaded:
            raise CallError(
                503, "overloaded", "Too many new keys at once; try again.", retry=True, retry_after_s=1
            ) from None
        except LedgerUnavailable:
            raise _unavailable() from None
        if not key.policy.may_infer:
            error = CallError(
                403, "scope_not_allowed", f"A {key.policy.scope} key cannot make calls: mint a standard key for that."
            )
            self._block(call_id, key.account_id, facts, error)
            raise error
        return key

    def _block(self, call_id: str, account_id: int, facts: Facts, error: CallError) -> None:
        self._ledger.refuse(
            Block(id=call_id, account_id=account_id, facts=facts, reason=error.code, http_status=error.status)
        )

    # ---- what

    async def _choose(self, key: Key, shared: Shared, model: str) -> Route:
        """Which of several providers is meant, by what the request names."""
        try:
            made = await self._walls.homes(key, shared.first)
        except LedgerUnavailable:
            raise _unavailable() from None
        return shared.choose(model, self._catalogue.provider_of, key.allows_provider, made)

    async def _named(self, key: Key, route: Route, body: bytes) -> dict[str, dict[str, Any]]:
        """Facts of the objects that the request names, by id; they must all be the caller's own."""
        finder = route.operation.references

        async def certain() -> list[Reference]:
            return finder.certain(body) if finder is not None else []

        try:
            named = finder.find(body) if finder is not None else []
            return {each.id: each.facts for each in await self._walls.check(key, route, named, certain)}
        except BadRequest as error:
            raise refused(error) from None
        except LedgerUnavailable:
            raise _unavailable() from None

    async def _read_apart(
        self, key: Key, inbound: Inbound, shared: Shared | None, body: bytes, headers: dict[str, str]
    ) -> tuple[Call, tuple[Makes, ...], bytes]:
        """Read a large request where nobody waits for it: the call, what it makes, and what tells it from others."""
        try:
            async with self._readings.of(body) as reading:
                if shared is not None:
                    inbound.route = await self._choose(key, shared, reading.model)
                route = inbound.route
                named = await reading.references(route) if route.operation.references is not None else []
                own = await self._walls.check(key, route, named, lambda: reading.references(route, certain=True))
                objects = {each.id: each.facts for each in own}
                call = await reading.call(route, _asked(route, inbound.query, headers, objects))
                makes = await reading.makes(route) if route.operation.makes else ()
                identity = await reading.digest() if key.policy.loop_guard is not None else body
        except BadRequest as error:
            raise refused(error) from None
        except LedgerUnavailable:
            raise _unavailable() from None
        await self._check_call(key, inbound.route, call)
        return call, makes, identity

    async def _read(self, key: Key, inbound: Inbound, body: bytes, headers: dict[str, str]) -> Call:
        """Read a request whose body has come."""
        route = inbound.route
        own = await self._named(key, route, body)
        try:
            if route.operation.lists is not None:
                route.operation.lists.read(_asked(route, inbound.query, headers, own).query)
            call = (route.operation.socket or route.operation.shape).read(
                body, _asked(route, inbound.query, headers, own)
            )
        except BadRequest as error:
            raise refused(error) from None
        await self._check_call(key, route, call)
        return call

    async def _check_call(self, key: Key, route: Route, call: Call) -> None:
        """What the shape has read must be the caller's own, too."""
        if len(call.model) > MODEL_CHARS_MAX:
            raise CallError(400, "invalid_request", "No model has so long a name.", param="model")
        if call.refers:
            try:
                await self._walls.check_all(key, route, call.refers)
            except LedgerUnavailable:
                raise _unavailable() from None

    async def _read_upload(
        self, inbound: Inbound, shared: Shared | None, headers: dict[str, str], key: Key
    ) -> tuple[Upload, Call]:
        """The beginning of a body that is forwarded while it arrives, and the call that it tells."""
        _check_encoding(headers)
        content_type = headers.get("content-type", "")
        possible = shared.routes.values() if shared is not None else (inbound.route,)
        bytes_max = min(max(route.operation.upload_bytes_max for route in possible), UPLOAD_BYTES_MAX)
        declared = headers.get("content-length", "")
        length = int(declared) if declared.isdigit() else None
        if length is not None and length > bytes_max:
            raise over_bytes(bytes_max)
        if inbound.expect_upload is not None and not inbound.whole:
            inbound.expect_upload(bytes_max)
        upload = Upload(inbound.receive, length, bytes_max)
        if shared is not None:
            inbound.route = await self._choose(key, shared, await upload.model(content_type))
            upload.bound(min(inbound.route.operation.upload_bytes_max, UPLOAD_BYTES_MAX))
        own = await self._named(key, inbound.route, b"")
        shape = inbound.route.operation.shape
        assert isinstance(shape, Uploading)  # noqa: S101 - promised by the table of operations, and tested
        try:
            reader = shape.arrival(_asked(inbound.route, inbound.query, headers, own))
        except BadRequest as error:
            raise refused(error) from None
        route = inbound.route

        async def line(number: int, text: bytes) -> Line:
            async with self._readings.of(text) as reading:
                return await reading.line(route, number)

        call = await upload.decide(reader, line)
        await self._check_call(key, inbound.route, call)
        return upload, call

    def _options(self, headers: dict[str, str], key: Key) -> Options:
        end_user = _subject(headers, "x-end-user-id")
        end_user_cap_micros = _dollars(headers, "x-end-user-cap-usd")
        if end_user_cap_micros is not None and end_user is None:
            raise CallError(
                400, "invalid_request", "x-end-user-cap-usd needs an x-end-user-id.", param="x-end-user-cap-usd"
            )
        faults = None
        if (simulate := headers.get("x-farthing-sim")) is not None:
            if key.livemode:
                raise CallError(
                    400, "test_keys_only", "x-farthing-sim works with test keys only.", param="x-farthing-sim"
                )
            try:
                faults = Faults.parse(simulate)
            except ValueError as error:
                raise CallError(400, "invalid_request", f"x-farthing-sim: {error}", param="x-farthing-sim") from None
        return Options(
            end_user=end_user,
            end_user_cap_micros=end_user_cap_micros,
            call_cap_micros=_dollars(headers, "x-farthing-max-cost-usd"),
            run=_subject(headers, "x-farthing-run-id"),
            metadata=_metadata(headers),
            faults=faults,
        )

    def _decide(
        self, route: Route, call: Call, key: Key, options: Options
    ) -> tuple[Price | None, Quote, dict[str, Price]]:
        """What the key's policies say: the price, the amounts to hold, and the prices of further models."""
        beside: dict[str, Price] = {}
        model = route.params.get("id", "") if route.operation.lists_models else call.model
        self._check_key(route, model, key, options)
        if not route.operation.billable:
            return None, FREE, beside
        price = self._catalogue.find(route.provider, call.priced_as or call.model, self._clock_ms())
        if price is None:
            if key.policy.unpriced == "allow" and not key.capped:
                return None, FREE, beside
            raise self._elsewhere(route, call.model) or _not_priced(call.model)
        policy = key.policy
        clamp = policy.on_insufficient == "clamp"
        # The price is that of the moment of completion, and some change with the hour: the dearest of those is held.
        now_ms = self._clock_ms()
        upcoming = self._catalogue.between(price, now_ms, now_ms + COMPLETED_WITHIN_MS)
        if call.models or call.beside:
            beside = self._prices_beside(route, call, key)
            upcoming += tuple(beside[model] for model in call.instead)
        terms = dearest([quote(call, each, overdraft=policy.overdraft, clamp=clamp) for each in upcoming])
        if call.beside:
            never = policy.overdraft == "never"
            picos = sum(
                beside[model].bound_picos(held[never]) for model, held in call.beside.items() if model in beside
            )
            terms = msgspec.structs.replace(terms, fixed_picos=terms.fixed_picos + picos)
        if call.grant is not None and options.end_user_cap_micros is not None and terms.each_picos:
            # This cap binds when the hold is made and is not known afterwards: the hold is all that it has room for.
            most = min(options.end_user_cap_micros * PICOS_PER_MICRO // terms.each_picos, ALLOWANCE_MAX)
            terms = msgspec.structs.replace(terms, want=max(most, 1))
        return price, terms, beside

    def _elsewhere(self, route: Route, model: str) -> CallError | None:
        """Why a model that has a price has none here: it is another provider's, which does not have this path."""
        home = self._catalogue.provider_of(model) if model else None
        if home is None or home == route.provider or not VENDORS[home].native:
            return None
        path = VENDORS[home].native.replace("{model}", model)
        message = f"{model} is not served at this path, but at {path} ({home})."
        return CallError(400, "model_not_priced", message, param="model")

    def _check_key(self, route: Route, model: str, key: Key, options: Options) -> None:
        """Refuse what the key's policies do not allow, whatever it costs."""
        if options.end_user is None and any(policy.end_user_required for policy in key.policies):
            raise CallError(400, "end_user_required", "This key needs an x-end-user-id header.", param="x-end-user-id")
        if not key.allows_provider(route.provider):
            raise CallError(403, "route_not_allowed", f"This key may not use {route.provider}.")
        if (
            model
            and not key.any_model
            and not key.allows_model(model, self._catalogue.entry_of(route.provider, model) or "")
        ):
            raise CallError(403, "model_not_allowed", f"This key may not use {model}.", param="model")
        if key.livemode and not self._settings.places[route.provider].credential:
            raise CallError(
                503,
                "provider_not_configured",
                f"This gateway has no credential for {route.provider}. (Test keys work without one.)",
            )

    def _check_loop(
        self,
        key: Key,
        facts: Facts,
        body: bytes,
        upload: Upload | None,
        options: Options,
        *,
        again: bool,
    ) -> None:
        """Refuse a call that the key has made too often just now, for the same end user."""
        guard = key.policy.loop_guard
        if guard is None or not body:
            return
        if upload is not None:
            body = upload.identity(upload.call.content_type)
        caller = f"{facts.route}\0{options.end_user or ''}"
        wait_s = self._loops.count(key.account_id, caller, body, guard.max_identical, guard.window_seconds, again=again)
        if wait_s is not None:
            message = f"This call was made {guard.max_identical} times in {guard.window_seconds} s."
            raise CallError(429, "loop_detected", message, retry=False, retry_after_s=min(wait_s, RETRY_AFTER_S_MAX))

    def _facts(self, route: Route, call: Call, price: Price | None, options: Options, key: Key) -> Facts:
        return Facts(
            provider=route.provider,
            model=call.model,
            also=self._catalogue.names_of(route.provider, call.model) if price is not None else (),
            route=route.operation.name,
            stream=call.stream,
            price_version=price.version if price is not None else "",
            metadata=options.metadata,
            markup_ppm=key.policy.markup_ppm,
        )

    # ---- the hold

    async def _hold(
        self,
        call_id: str,
        key: Key,
        facts: Facts,
        terms: Quote,
        options: Options,
        *,
        lasting_ms: int = 0,
        unpriced: bool = False,
        dry_run: bool = False,
    ) -> Held | Refused:
        try:
            subject_id = await self._known(key, "end_user", options.end_user)
            run_id = await self._known(key, "run", options.run)
            ask = Ask(
                id=call_id,
                account_id=key.account_id,
                facts=facts,
                owner=self._ledger.owner,
                subject_id=subject_id,
                run_id=run_id,
                versions=key.versions,
                fixed_picos=terms.fixed_picos,
                each_picos=terms.each_picos,
                fixed_tokens=terms.fixed_tokens,
                each_tokens=terms.each_tokens,
                seconds=terms.seconds,
                each_seconds=terms.each_seconds,
                want=terms.want,
                least=terms.least,
                concurrent=0 if lasting_ms else 1,  # nobody waits for a batch
                expires_ms=self._clock_ms() + lasting_ms if lasting_ms else None,
                call_max_micros=options.call_cap_micros,
                subject_max_micros=options.end_user_cap_micros,
                unpriced=unpriced,
                dry_run=dry_run,
            )
            if not dry_run and UNSEEN in (subject_id, run_id):
                # Whoever is not let in is not written down.
                outcome = await self._ledger.would_hold(ask)
                if isinstance(outcome, Refused):
                    return outcome
                ask = msgspec.structs.replace(
                    ask,
                    subject_id=await self._opened(key, "end_user", options.end_user),
                    run_id=await self._opened(key, "run", options.run),
                )
            return await self._ledger.hold(ask, fold=True)
        except LedgerUnavailable:
            raise _unavailable() from None
        except TooManySubjects:
            raise CallError(429, "too_many_end_users", "This key has too many end users or runs.") from None

    async def _known(self, key: Key, kind: str, subject: str | None) -> int:
        """The account of an end user or a run; 0 for none; `UNSEEN` where it is not opened yet."""
        if subject is None:
            return 0
        found = self._subjects.get((key.account_id, kind, subject))
        if found is None:
            found = await self._ledger.subject_id(key.account_id, kind, subject)
            if not found:
                return UNSEEN
            self._remember(key, kind, subject, found)
        return found

    async def _opened(self, key: Key, kind: str, subject: str | None) -> int:
        """The same, opened now if need be."""
        found = await self._known(key, kind, subject)
        if found == UNSEEN:
            assert subject is not None  # noqa: S101 - nobody is no stranger
            now_ms = self._clock_ms()
            prefix = "eu" if kind == "end_user" else "run"
            found = await self._ledger.open_subject(
                key.account_id, kind, subject, public_id=new_id(prefix, now_ms), balance_id=new_id("lim", now_ms)
            )
            self._remember(key, kind, subject, found)
        return found

    def _remember(self, key: Key, kind: str, subject: str, account_id: int) -> None:
        if len(self._subjects) >= SUBJECTS_REMEMBERED_MAX:
            self._subjects.clear()
        self._subjects[key.account_id, kind, subject] = account_id

    def _forget_subjects(self, key: Key, options: Options) -> None:
        """An end user may have been forgotten meanwhile; the next look opens it anew."""
        self._subjects.pop((key.account_id, "end_user", options.end_user or ""), None)
        self._subjects.pop((key.account_id, "run", options.run or ""), None)

    def _refused(self, refused: Refused, key: Key, call_id: str) -> CallError:
        if refused.shortfall is not None:
            return over_limit(
                refused.shortfall,
                over_cap_status=key.policy.over_cap_status,
                request_id=f"req_{call_id}",
                now_ms=self._clock_ms(),
            )
        if refused.reason in _DENIED:
            return CallError(401, refused.reason, _DENIED[refused.reason])
        return CallError(403, refused.reason, "This end user is blocked.")


def _own_cap(held: Held, options: Options) -> int | None:
    """The most that the call may hold in all, where it brought a cap of its own."""
    return held.amount_micros if options.end_user_cap_micros is not None else options.call_cap_micros


def _not_priced(model: str, param: str = "model") -> CallError:
    message = f"{model} has no price here, so its cost cannot be capped."
    return CallError(400, "model_not_priced", message, param=param)


def _no_price(field: str) -> CallError:
    message = f"What {field} asks for has no price here, so its cost cannot be capped."
    return CallError(400, "unbounded_cost", message, param=field)


def _unpriced(call: Call, price: Price | None) -> str:
    """The field that asks for work without a price; "" where there is none."""
    if price is None or call.unpriced:
        return call.unpriced or "model"
    usage, tier = call.input_upper, call.service_tier
    if call.bulk is not None:  # without a price for batches they cost the usual one
        usage, tier = Usage(tools=call.bulk.tools), ""
    if not (usage.tools or usage.speed or tier):
        return ""  # nearly always
    for name in price.unpriced(msgspec.structs.replace(usage, service_tier=tier)):
        if name.startswith("tools."):
            return call.endless or name
        if name in ("service_tier", "speed"):
            return name
    return ""


def _unavailable() -> CallError:
    return CallError(
        503,
        "ledger_unavailable",
        "The ledger does not answer; nothing was called and nothing is owed.",
        retry=True,
        retry_after_s=1,
    )


async def _read_body(inbound: Inbound, headers: dict[str, str]) -> bytes:
    """The whole body, within bounds."""
    if inbound.opening is not None:
        return inbound.opening
    if "content-encoding" not in headers:
        return await _receive(inbound, headers)
    encoding = encoding_of(headers["content-encoding"])
    body = await _receive(inbound, headers)
    return await decoded(body, encoding, BODY_BYTES_MAX) if encoding else body


async def _receive(inbound: Inbound, headers: dict[str, str]) -> bytes:
    """The whole body as it was sent."""
    declared = headers.get("content-length", "")
    if declared.isdigit() and int(declared) > BODY_BYTES_MAX:
        raise over_bytes(BODY_BYTES_MAX)
    if inbound.whole:
        body: bytes = (await receive_body(inbound.receive)).get("body", b"")
        if len(body) > BODY_BYTES_MAX:
            raise over_bytes(BODY_BYTES_MAX)
        return body
    chunks: list[bytes] = []
    size, more = 0, True
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            while more:
                message = await receive_body(inbound.receive)
                chunks.append(message.get("body", b""))
                size += len(chunks[-1])
                if size > BODY_BYTES_MAX:
                    raise over_bytes(BODY_BYTES_MAX)
                more = message.get("more_body", False)
    except TimeoutError:
        raise CallError(408, "request_timeout", "The request's body took too long to arrive.") from None
    return await joined(chunks, size)


def _check_once(raw: RawHeaders) -> None:
    """Of two fields with one name a provider may take the other than we do."""
    seen: set[bytes] = set()
    for name, _ in raw:
        if name in seen and (name in _ONCE or name.startswith(b"x-farthing-")):
            text = name.decode("latin-1")
            raise CallError(400, "invalid_request", f"The header {text} stands in the request twice.", param=text)
        seen.add(name)


def _check_encoding(headers: dict[str, str]) -> None:
    if headers.get("content-encoding", "identity").lower() not in ("", "identity"):
        raise CallError(415, "encoding_not_supported", "Send uploads without a Content-Encoding.")


def _check_origin(key: Key, headers: dict[str, str]) -> None:
    """Refuse a page from elsewhere; whoever is no page says no origin."""
    origin = headers.get("origin")
    if origin is not None and not key.allows_origin(origin):
        raise CallError(403, "origin_not_allowed", "This key may not be used from this page's origin.")


def _asked(route: Route, query: bytes, headers: dict[str, str], own: dict[str, dict[str, Any]]) -> Asked:
    return Asked(
        params=route.params,
        query=parse_qs(query.decode("latin-1"), keep_blank_values=True) if query else {},
        headers=headers,
        objects=own,
    )


def _subject(headers: dict[str, str], name: str) -> str | None:
    text = headers.get(name)
    if text is None:
        return None
    try:
        subject = text.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        raise CallError(400, "invalid_request", f"{name} must be UTF-8.", param=name) from None
    if not subject or len(subject.encode()) > SUBJECT_BYTES_MAX:
        raise CallError(400, "invalid_request", f"{name} must have 1 to {SUBJECT_BYTES_MAX} bytes.", param=name)
    return subject


def _dollars(headers: dict[str, str], name: str) -> int | None:
    text = headers.get(name)
    if text is None:
        return None
    try:
        if not is_plain_decimal(text):
            raise ValueError(text)
        return usd_to_micros(text)
    except ValueError:
        raise CallError(400, "invalid_request", f"{name} must be dollars, such as 0.25.", param=name) from None


def _metadata(headers: dict[str, str]) -> dict[str, str]:
    text = headers.get("x-farthing-metadata")
    if text is None:
        return {}
    try:
        metadata = _decode_metadata(text.encode("latin-1"))
    except (msgspec.DecodeError, UnicodeDecodeError):
        metadata = None
    if metadata is None:
        raise CallError(
            400,
            "invalid_request",
            "x-farthing-metadata must be a JSON object: at most 50 names up to 40 characters, values up to 500.",
            param="x-farthing-metadata",
        )
    return metadata
