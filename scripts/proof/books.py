"""The invariants, checked from outside: the witness's invoice and the clients' records against what the API shows.

Shares no code with the ledger's own audit, which is asked besides. A problem is a kind and a sentence; the kinds that
the table counts are "lost" (served, and nobody is charged or exposed for it), "double" (charged or forwarded twice)
and "overspent" (micros above a cap that must hold).
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter, defaultdict
from typing import Any

import psutil

from gateway.bounds import SWEEP_INTERVAL_S
from ledger.refusals import FIRST, FOLD_S, LIST_S
from scripts.proof.calls import CALL_TIMEOUT_S, ROUTED, Call
from scripts.proof.site import HEAL_S, LEASE_S, RESERVED_S, USER_MICROS, Site, metadata_mark
from tests.faults.support import MICRO, PROMPT
from tests.harness import MASTER, PROVIDER_KEY

FOUND_DEAD_S = 4 * LEASE_S  # two leases of the dead, and as much again on a busy machine
SWEEP_S = 2 * SWEEP_INTERVAL_S
REFUSALS_S = FOLD_S + 2 * LIST_S  # how long refusals may wait in their gateway
QUIET_S = 20.0  # for what was under way to be settled: the drain, and the ledger's own retries
FUTURE_MS = 40 * 86_400_000  # a gateway's clock may have been there
FDS_MAX = 96  # more than a gateway has at its start: kept connections to the provider and the database
RSS_BYTES_MAX = 400 << 20
TOKENS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")
DISHONEST = ("usage=", "malformed", "content_length=", "encoding=")  # of such an answer nobody can know the true cost

Problem = tuple[str, str]


class Books:
    """What a site's gateways have written, read through the API and laid beside the witness."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._events: dict[str, dict[str, Any]] = {}
        self._compared: set[str] = set()
        self._living_until_s = 0.0  # wall clock: then the last of the open holds has had its time
        self.statuses: Counter[str] = Counter()
        self.late = 0
        self.estimated_low_micros = 0
        self.unsettled_micros = 0
        self.cost_micros = 0

    async def verify(self, *, final: bool) -> list[Problem]:
        """All invariants. Not `final`: what a dead gateway holds on a shared database may still wait for its sweep."""
        started_s, deadline = time.time(), time.monotonic() + QUIET_S
        self._living_until_s = 0.0
        while True:
            try:
                problems = await self._look(final=final)
            except ConnectionError as error:
                problems = [("other", str(error))]
            # A gateway whose clock was elsewhere may have written times that are far away; nothing lives for so long.
            lives = time.time() < min(self._living_until_s, started_s + _life_s()) + QUIET_S
            if not problems or (time.monotonic() > deadline and not (final and lives)):
                break
            await asyncio.sleep(0.15)
        site = self._site
        problems += site.problems
        site.problems = []
        if final:
            problems += await self._narrow()
            problems += await self.audit()
            problems += self._processes()
            problems += self._silence()
        return problems

    async def _narrow(self) -> list[Problem]:
        """A place among the calls at the same time goes back, however its call ended."""
        call = await self._site.call(self._site.keys["narrow"], "chat", "output_tokens=3", self._site.nodes[0])
        return (
            [] if call.status == 200 else [("other", f"a place for a call is gone for ever: {bytes(call.got[:300])!r}")]
        )

    async def audit(self) -> list[Problem]:
        """`farthing audit`, beside the live gateways."""
        code, out, err = await self._site.nodes[0].run("audit", "--json")
        return [("other", f"farthing audit: exit {code} {out[:2000]} {err[-500:]}")] if code else []

    async def _look(self, *, final: bool) -> list[Problem]:
        site = self._site
        site.witness.read()
        await self._read_events(whole=final)
        holds = await site.pages("/v1/holds?")
        keys = await site.pages("/v1/keys?")
        status, usage = await site.api("GET", f"/v1/usage?from_ms=0&to_ms={time.time_ns() // 10**6 + FUTURE_MS}")
        if status != 200:
            raise ConnectionError(f"usage: {status} {usage}")
        if await self._read_events(whole=False):
            return [("other", "events still come")]
        problems = [("other", f"{mark} is still being answered") for mark in site.witness.answering]
        open_holds = [hold for hold in holds if hold["state"] == "open"]
        self._living_until_s = max((_living_until_s(hold) for hold in open_holds), default=0.0)
        if final:
            problems += [("other", await self._open(hold)) for hold in open_holds]
        problems += self._calls(undecided=0 if final else len(open_holds))
        problems += self._sums(keys, holds, usage)
        return problems

    async def _open(self, hold: dict[str, Any]) -> str:
        """All that is known from outside of a hold that should have ended."""
        id_ = hold["id"].removeprefix("hold_")
        owner = await self._site.database.owner(id_)
        pid = owner.partition(".")[0]
        places = [node.place.name for node in self._site.nodes if node.alive and str(node.pid) == pid]
        lives = "lives" if pid.isdecimal() and psutil.pid_exists(int(pid)) else "is dead"
        event = self._events.get(f"evt_{id_}")
        calls = [call for call in self._site.calls if call.headers.get("x-farthing-request-id") == f"req_{id_}"]
        names = {key.id: name for name, key in self._site.keys.items()}
        seen = [
            f"{call.fault}: {call.mark} {call.kind} [{call.sim}] {call.status}/{call.end} after {call.seconds:.1f} s,"
            f" {'at the provider' if call.mark in self._site.witness.arrived else 'never at the provider'},"
            f" invoiced {[bill.picos for bill in self._site.witness.bills.get(call.mark, [])]}"
            for call in calls
        ]
        unseen = [  # no head came back with the id: it is one of these
            f"{call.fault}: {call.mark} {call.kind} [{call.sim}] {call.end}"
            for call in self._site.calls
            if call.key == hold["key_id"] and not call.status and call.mark not in self._marked()
        ]
        if hold["expires_at_ms"]:
            unseen = ["none, it is a caller's own reservation"]
        return (
            f"a hold is open: {hold['id']} of {names.get(hold['key_id'], hold['key_id'])},"
            f" {hold['amount']} {hold['unit']}, state {hold['state']},"
            f" {hold['mode']} {hold['provider']}/{hold['model']}, {time.time() - hold['created_ms'] / 1000:.1f} s old,"
            f" expires {hold['expires_at_ms']}, should have ended {time.time() - _living_until_s(hold):.1f} s ago;"
            f" its owner {' '.join([owner or 'unknown', *places])}, whose process {lives};"
            f" its event: {event}; its call: {seen or unseen or 'unknown'}"
        )

    def _marked(self) -> set[str]:
        return {metadata_mark(event) for event in self._events.values()}

    async def _read_events(self, *, whole: bool) -> int:
        """Take in new events, or compare all with what is known; how many were new."""
        site = self._site
        new: list[dict[str, Any]] = []
        after = ""
        while True:
            status, page = await site.api("GET", f"/v1/events?limit=100{after}")
            if status != 200:
                raise ConnectionError(f"events: {status} {page}")
            new += [event for event in page["data"] if event["id"] not in self._events]
            known = any(event["id"] in self._events for event in page["data"])
            if not page["has_more"] or (known and not whole):
                break
            after = f"&starting_after={page['data'][-1]['id']}"
        self._events |= {event["id"]: event for event in new}
        return len(new)

    # ---- one call

    def _calls(self, *, undecided: int) -> list[Problem]:
        site = self._site
        by_mark: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for event in self._events.values():
            by_mark[metadata_mark(event)].append(event)
        # Refused calls bear no metadata, and of many of one key one event tells their number.
        refused = {event["request_id"]: event for event in by_mark.pop("", []) if event["decision"] == "blocked"}
        counted: Counter[str] = Counter()
        for event in refused.values():
            counted[event["key_id"]] += event["count"] - 1
        self.statuses.clear()
        self.late = self.estimated_low_micros = self.unsettled_micros = self.cost_micros = 0
        problems: list[Problem] = []
        waiting = 0
        for call in site.calls:
            events = by_mark.pop(call.mark, [])
            if not events and (event := refused.pop(call.headers.get("x-farthing-request-id", ""), None)) is not None:
                events = [event]
            if not events and call.status == 402 and call.mark not in site.witness.arrived:
                if self._forgotten(call):
                    continue
                if counted[call.key]:
                    counted[call.key] -= 1
                    continue
            if not events and (call.mark in site.witness.arrived or call.status == 200) and waiting < undecided:
                waiting += 1
                continue
            judged = self._routed if call.kind in ROUTED else self._call
            problems += [
                (kind, f"{call.fault}: {call.mark} {call.kind} [{call.sim}] {call.status}/{call.end}: {what}")
                for kind, what in judged(call, events)
            ]
        problems += [("double", f"events of no call: {mark} {events}") for mark, events in by_mark.items()]
        return problems

    def _call(self, call: Call, events: list[dict[str, Any]]) -> list[Problem]:
        site, mark = self._site, call.mark
        arrived, bills = site.witness.arrived.get(mark, 0), site.witness.bills.get(mark, [])
        first = [event for event in events if event["mode"] != "adjustment"]
        late = [event for event in events if event["mode"] == "adjustment"]
        picos = sum(bill.picos for bill in bills)
        problems: list[Problem] = []
        if arrived > 1:
            problems.append(("double", f"forwarded {arrived} times"))
        if len(first) > 1 or len(late) > 1 or (late and not (first and first[0]["status"] == "unsettled")):
            problems.append(("double", f"more than one end: {events}"))
            return problems
        if not first:
            if arrived:
                problems.append(("lost", f"served for {picos} picos, and there is no event"))
            if call.status in (200, 402):
                problems.append(("other", "answered, and there is no event"))
            if call.expect and "none" not in call.expect:
                problems.append(("other", f"no event, expected {call.expect}"))
        else:
            problems += self._event(call, first[0], late, arrived, picos)
        return problems + self._client(call, arrived)

    def _routed(self, call: Call, events: list[dict[str, Any]]) -> list[Problem]:
        """A call by a route's name: attempt by attempt, each model with its own line on the invoice."""
        site, mark = self._site, call.mark
        attempts: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for event in events:
            attempts[event["attempt"]].append(event)
        problems: list[Problem] = []
        if sorted(attempts) != list(range(1, len(attempts) + 1)):
            problems.append(("lost", f"attempts {sorted(attempts)}"))
        known = {event["model"] for event in events}
        for (asked, model), times in site.witness.asked.items():
            if asked == mark and times > 1:
                problems.append(("double", f"{model} was asked {times} times"))
            if asked == mark and model not in known:
                problems.append(("lost", f"{model} was asked, and there is no event"))
        for each in attempts.values():
            late = [event for event in each if event["mode"] == "adjustment"]
            first = [event for event in each if event["mode"] != "adjustment"]
            if len(first) != 1 or len(late) > 1:
                problems.append(("double", f"more than one end of an attempt: {each}"))
                continue
            model = first[0]["model"]
            picos = sum(bill.picos for bill in site.witness.bills.get(mark, []) if bill.line.model == model)
            problems += self._event(call, first[0], late, site.witness.asked.get((mark, model), 0), picos)
        charged = sum(event["status"] == "settled" for event in events)
        counted = sum(event["status"] in ("settled", "estimated", "unsettled") for event in events)
        if charged > 1 or (call.status == 200 and not counted):
            problems.append(("double" if charged else "lost", f"answered, and {charged} attempts are settled"))
        return problems

    def _forgotten(self, call: Call) -> bool:
        """Whether a refusal may have died with its gateway: of a key that is refused often they are written later."""
        refused = sum(other.key == call.key and other.status == 402 for other in self._site.calls)
        deaths = [death for node in self._site.nodes if node.place.name == call.node for death in node.deaths]
        return refused > FIRST and any(call.began_s <= death <= call.ended_s + REFUSALS_S for death in deaths)

    def _event(
        self, call: Call, event: dict[str, Any], late: list[dict[str, Any]], arrived: int, picos: int
    ) -> list[Problem]:
        problems: list[Problem] = []
        status = event["status"] if event["decision"] == "allowed" else "blocked"
        last = late[0] if late else event
        cost, ceiling = sum(each["cost_picos"] for each in (event, *late)), event["held_micros"] * MICRO
        self.statuses[status] += 1
        self.late += len(late)
        self.cost_micros += sum(each["cost_micros"] for each in (event, *late))
        if status == "blocked":
            return [("other", f"refused ({event['reason']}) and forwarded")] if arrived else []
        if not 0 <= (event["latency_ms"] or 0) <= CALL_TIMEOUT_S * 1000:
            problems.append(("other", f"took {event['latency_ms']} ms"))
        if call.expect and status not in call.expect:
            problems.append(("other", f"is {status} ({event['reason']}), expected {call.expect}"))
        if any(word in call.sim for word in DISHONEST):
            return problems
        if last["status"] == "settled":
            if cost != picos:
                problems.append(("lost" if cost < picos else "double", f"charged {cost} picos, invoiced {picos}"))
        elif last["status"] == "released":
            if picos:
                problems.append(("lost", f"released, invoiced {picos} picos"))
        elif last["status"] == "unsettled":
            self.unsettled_micros += event["held_micros"]
            if cost or picos > ceiling:
                problems.append(("lost", f"unsettled at {cost} picos with {ceiling} held, invoiced {picos}"))
        else:
            self.estimated_low_micros += max(0, picos - cost) // MICRO
            if picos > max(cost, ceiling) or (picos and not cost):
                problems.append(("lost", f"estimated at {cost} picos with {ceiling} held, invoiced {picos}"))
        return problems

    def _client(self, call: Call, arrived: int) -> list[Problem]:
        """What the client saw: an end in time (I10), true bytes (I6); and what was refused was not forwarded (I11)."""
        problems: list[Problem] = []
        if call.end in ("late", "open"):
            problems.append(("other", f"no end after {call.seconds:.0f} s"))
        code = call.code if call.status >= 400 else ""
        refused = call.status in (401, 402, 403, 413, 415) or code in ("ledger_unavailable", "rate_limited")
        if arrived and refused and "status=" not in call.sim and code != "key_revoked":  # that may cut a call in flight
            problems.append(("other", f"refused with {code} and forwarded"))
        if call.status == 500 and "status=500" not in call.sim:
            problems.append(("other", f"500: {bytes(call.got[:300])!r}"))
        if call.status and "x-farthing-request-id" not in call.headers:
            problems.append(("other", "an answer without a request id"))
        if call.status == 200 and call.mark not in self._compared and self._site.witness.bills.get(call.mark):
            if not self._true(call):
                problems.append(("other", "bytes that the provider has not sent"))
            else:
                self._compared.add(call.mark)
        return problems

    def _true(self, call: Call) -> bool:
        sent, got = self._site.witness.body(call.mark), bytes(call.got)
        if call.kind == "spliced":
            sent = b"".join(event for event in sent.split(b"\n\n") if not _usage_event(event))
            got = got.replace(b"\n\n", b"")
        whole = self._site.witness.bills[call.mark][-1].line.end == "whole"
        if sent.startswith(got):
            return len(sent) == len(got) or call.end != "whole" or not whole
        head, _, last = bytes(call.got).rstrip(b"\n").rpartition(b"\n\n")  # cut by us, who said so in an event
        if call.kind == "spliced":
            head = head.replace(b"\n\n", b"")
        return b'"error"' in last and sent.startswith(head)

    # ---- the sums

    def _sums(self, keys: list[dict[str, Any]], holds: list[dict[str, Any]], usage: dict[str, Any]) -> list[Problem]:
        problems: list[Problem] = []
        parents = {key["id"]: key["parent_id"] for key in keys}
        sums: dict[str, Counter[str]] = defaultdict(Counter)
        own: dict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
        picos: Counter[str] = Counter()
        charged: Counter[str] = Counter()

        def add(key_id: str | None, figure: str, micros: int) -> None:
            while key_id is not None:
                sums[key_id][figure] += micros
                key_id = parents.get(key_id)

        for event in self._events.values():
            add(event["key_id"], "spent", event["cost_micros"])
            picos[event["key_id"]] += event["cost_picos"]
            charged[event["key_id"]] += event["cost_micros"]
            row = own[event["key_id"], event["provider"], event["model"]]
            row["cost_micros"] += event["cost_micros"]
            row["requests"] += event["decision"] == "allowed" and event["mode"] in ("proxy", "monitor")
            row["requests"] += event["mode"] == "reservation" and event["status"] != "released"
            row.update({name: (event["usage"] or {}).get(name, 0) for name in TOKENS})
        for hold in holds:
            add(hold["key_id"], "held" if hold["state"] == "open" else "unsettled", hold["amount"])
        for key in keys:
            summed = sums[key["id"]]
            for figure in ("spent", "held", "unsettled") if key["reset"] == "none" else ():
                if key[f"{figure}_micros"] != summed[figure]:
                    problems.append(
                        ("other", f"{key['name']}: {figure} {key[f'{figure}_micros']}, its parts {summed[figure]}")
                    )
            carry = picos[key["id"]] - charged[key["id"]] * MICRO
            if not 0 <= carry < MICRO:
                problems.append(("other", f"{key['name']}: {picos[key['id']]} picos charged as {charged[key['id']]}"))
            if key["name"] == "loose":
                above = sum(summed.values()) - key["max_spend_micros"] - key["overrun_micros"]
                if above > 0:
                    problems.append(("overspent", f"loose: {above} micros above its cap and its overruns"))
        problems += self._caps(sums)
        for by_key in usage["by_key"]:
            for by_model in by_key["by_model"]:
                row = own.pop((by_key["key_id"], by_model["provider"], by_model["model"]), Counter())
                for name in ("cost_micros", "requests", *TOKENS):
                    if by_model[name] != row[name]:
                        problems.append(("other", f"usage {by_key['name']} {name}: {by_model[name]}, not {row[name]}"))
        problems += [("other", f"usage lacks {row}") for row, figures in own.items() if figures["cost_micros"]]
        return problems

    def _caps(self, sums: dict[str, Counter[str]]) -> list[Problem]:
        problems: list[Problem] = []
        users: Counter[str] = Counter()
        for event in self._events.values():
            if event["key_id"] == self._site.keys["users"].id:
                users[event["end_user"] or ""] += event["cost_micros"]
                users[event["end_user"] or ""] += event["held_micros"] if event["status"] == "unsettled" else 0
        problems += [
            ("overspent", f"end user {user}: {micros} micros of {USER_MICROS}")
            for user, micros in users.items() if micros > USER_MICROS
        ]  # fmt: skip
        for name, key in self._site.keys.items():
            if key.sound and key.cap is not None:
                above = sum(sums[key.id].values()) - key.cap
                if above > 0:
                    problems.append(("overspent", f"{name}: {above} micros above its cap of {key.cap}"))
        return problems

    # ---- the processes

    def _processes(self) -> list[Problem]:
        """I9: nothing is left of all that was done to them."""
        problems: list[Problem] = []
        for node in self._site.nodes:
            process = psutil.Process(node.pid)
            descriptors, rss_bytes = process.num_fds(), process.memory_info().rss
            if descriptors > FDS_MAX or rss_bytes > RSS_BYTES_MAX:
                problems.append(("other", f"{node.place.name}: {descriptors} descriptors, {rss_bytes >> 20} MB"))
            if b"Traceback" in (node.place / "gateway.log").read_bytes():
                problems.append(("other", f"{node.place.name}: a traceback in its log"))
        if self._site.fresh_s > HEAL_S:
            problems.append(("other", f"a fresh call took {self._site.fresh_s:.1f} s"))
        return problems

    def _silence(self) -> list[Problem]:
        """I8: no secret and no prompt in what the gateways have written."""
        canaries = [MASTER, PROVIDER_KEY, PROMPT, *(key.secret for key in self._site.keys.values())]
        places = [path for node in self._site.nodes for path in node.place.rglob("*") if path.is_file()]
        places += [path for path in self._site.place.rglob("farthing.db*") if path.is_file()]
        return [
            ("other", f"{canary[:12]}… stands in {path.name}")
            for path in places
            for canary in canaries
            if canary.encode() in path.read_bytes()
        ]


def _living_until_s(hold: dict[str, Any]) -> float:
    """Until when a hold may be open with every right, in seconds of the wall clock.

    A caller's own reservation lives until it expires, whoever dies; a call for as long as its client may wait for it.
    When it ends by the death of its owner, that has to be found out.
    """
    end_s = (hold["expires_at_ms"] or hold["created_ms"]) / 1000
    return float(end_s + (SWEEP_S if hold["expires_at_ms"] else CALL_TIMEOUT_S + FOUND_DEAD_S))


def _life_s() -> float:
    """The longest of any hold that clients here make."""
    return max(RESERVED_S + SWEEP_S, CALL_TIMEOUT_S + FOUND_DEAD_S)


def _usage_event(event: bytes) -> bool:
    """Whether this event of a chat stream carries the usage only."""
    try:
        said = json.loads(event.partition(b"data: ")[2])
    except ValueError:
        return False
    return isinstance(said, dict) and said.get("choices") == [] and bool(said.get("usage"))
