"""The public face of the ledger: what the other rooms may ask of it, by noun.

Promises: a hold that is answered is durable; a settlement that is handed over is written exactly once, whenever the
database can; reads see every change that was answered before. Holds no balance of its own, and decides nothing: it
opens an engine, puts its parts on it, and closes them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from ledger import settings
from ledger.access import Access, nothing
from ledger.accounts import Accounts
from ledger.billing.deciding import GRACE_DAYS
from ledger.calls import Calls
from ledger.engine import Engine
from ledger.metered import Metered
from ledger.objects import Objects
from ledger.outgoing import Hooks, Outbox
from ledger.portal import Portal
from ledger.records import Unsettled
from ledger.repeats import Repeats
from ledger.reports import Reports
from ledger.routes import Routes
from ledger.runs import Runs
from ledger.sessions import Sessions
from ledger.sqlite.engine import SqliteEngine
from ledger.stripe import Stripe
from ledger.tending import LEASE_S, Tending
from ledger.windows import DAY_MS
from ledger.writer import Writer


class Ledger:
    """One ledger. Open it with `open`; `owner` names this process on its holds.

    Attributes:
        calls: Holds, settlements, refusals.
        accounts: Keys, end users, runs and plans.
        objects: What providers keep for accounts.
        reports: Bills, lists, the audit.
        runs: Pipelines' runs, each with a cap of its own.
        hooks: Who is told of what happens.
        outbox: What waits to be told.
        routes: Names that stand for one of several targets.
        sessions: Who is signed in.
        portal: Whose page is shown to whom.
        stripe: What is bought at Stripe.
        metered: What Stripe is told of usage.
        repeats: What requests were answered that may come again.
        tending: What dead processes left, and what time is over for.
    """

    def __init__(
        self, engine: Engine, clock_ms: Callable[[], int], owner: str, *, grace_days: int = GRACE_DAYS
    ) -> None:
        self.owner = owner
        self._engine = engine
        self._writer = Writer(engine, clock_ms)
        self._access = Access(engine, self._writer, clock_ms)
        self.calls = Calls(self._access)
        grace_ms = grace_days * DAY_MS
        self.accounts = Accounts(self._access, grace_ms)
        self.stripe = Stripe(self._access, grace_ms)
        self.metered = Metered(self._access, owner)
        self.objects = Objects(self._access)
        self.reports = Reports(self._access, self.calls.write_refusals)
        self.runs = Runs(self._access)
        self.hooks = Hooks(self._access)
        self.outbox = Outbox(self._access, owner)
        self.routes = Routes(self._access)
        self.sessions = Sessions(self._access)
        self.portal = Portal(self._access)
        self.repeats = Repeats(self._access)
        self.tending = Tending(self._access, self.calls, owner)

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        clock_ms: Callable[[], int],
        owner: str,
        serving: bool = True,
        unsettled: Unsettled = "keep",
        lease_s: float = LEASE_S,
        database_clock: bool = True,
        state_dir: Path | None = None,
        grace_days: int = GRACE_DAYS,
    ) -> Ledger:
        """Open a database: `sqlite:///relative.db`, `sqlite:////absolute.db` or `postgresql://user@host/name`.

        With `serving`, holds that a dead process left open become unsettled: on SQLite before this returns, on
        PostgreSQL for as long as the ledger is open, at most two leases of `lease_s` after the death. `unsettled` says
        what then becomes of them. Times are the database's own where it is shared, unless tests say otherwise. In
        `state_dir` (None: nowhere) lies the journal of settlements that the database does not take; those that dead
        processes of this machine left there are carried out first. `grace_days`: how long a late payment keeps
        its plan.

        Raises:
            ValueError: The URL names no database that this version knows, or `state_dir` cannot be written to.
            AlreadyOpen, SchemaTooNew, LedgerUnavailable: See the engine.
        """
        engine, clock_ms = await _open(url, clock_ms, owner, serving=serving, database_clock=database_clock)
        ledger = cls(engine, clock_ms, owner, grace_days=grace_days)
        if serving:
            try:
                await ledger.tending.start(lease_s=lease_s, unsettled=unsettled, state_dir=state_dir)
            except BaseException:
                await ledger.close()
                raise
        return ledger

    @property
    def clock_ms(self) -> Callable[[], int]:
        """The clock by which windows and lives are measured: the database's where it is shared."""
        return self._access.clock_ms

    @property
    def shared(self) -> bool:
        """Whether other processes serve from the same database."""
        return self._engine.shared

    @property
    def waiting(self) -> int:
        """Operations that wait for the next transaction."""
        return self._writer.depth

    @property
    def commits(self) -> int:
        """Transactions so far."""
        return self._writer.commits

    @property
    def healthy(self) -> bool:
        """Whether the last transaction was taken."""
        return self._writer.healthy

    async def lost(self) -> str:
        """Wait until what is written is not kept any more, if that ever happens, and why: then the process must end."""
        return await asyncio.shield(self._writer.lost)

    async def probe(self) -> None:
        """Whether the database takes a transaction. Raises LedgerUnavailable."""
        await self._access.write(lambda touched: nothing())

    async def setting(self, name: str, default: str) -> str:
        """The value under this name; `default` is kept and answered if there was none."""
        return await self._access.write(lambda touched: settings.setting(name, default))

    async def close(self) -> None:
        """Write what waits and let go of the database."""
        self.calls.flush()
        await self.tending.stop()
        await self._writer.close()


async def _open(
    url: str, clock_ms: Callable[[], int], owner: str, *, serving: bool, database_clock: bool
) -> tuple[Engine, Callable[[], int]]:
    """The engine of the database that a URL names, and the clock that goes with it."""
    parts = urlsplit(url)
    if parts.scheme in ("postgresql", "postgres"):
        try:
            from ledger.postgres.engine import PostgresEngine
        except ImportError as error:
            raise ValueError(f"PostgreSQL needs a driver: pip install 'farthing[postgresql]' ({error})") from error
        postgres = await PostgresEngine.open(url, owner=owner, clock_ms=None if database_clock else clock_ms)
        return postgres, postgres.clock_ms
    if parts.scheme != "sqlite" or parts.netloc or len(parts.path) < 2:
        raise ValueError(
            f"not a database URL that Farthing knows: {parts.scheme}:… (sqlite:///farthing.db or postgresql://…)"
        )
    return await SqliteEngine.open(Path(parts.path[1:]), serving=serving), clock_ms
