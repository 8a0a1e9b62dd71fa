"""How long, how many and how often: the PostgreSQL engine's bounds, and those that it gives the server."""

from __future__ import annotations

ANSWER_S = 5.0  # a batch or one statement of a read is answered by then, one way or the other
READ_S = 60.0  # one statement of a long read
READERS = 4  # connections that read
LOADS_MAX = 5  # how often a batch may turn out to need rows that were not expected

# The server's own bounds. A gateway that is stopped in the middle of a transaction must not keep the others' accounts
# locked: it loses its transaction before the others lose their patience.
READER_SETTINGS = {"application_name": "farthing", "jit": "off"}
LONG_WORK_SETTINGS = READER_SETTINGS | {
    # Whatever the role or the database says: what is answered is on the disk, and on the standby that the server waits
    # for. A commit that a timeout cancels while it waits for the standby is answered as if the standby had it.
    "synchronous_commit": "on",
    "statement_timeout": "0",
}
WRITER_SETTINGS = LONG_WORK_SETTINGS | {
    "idle_in_transaction_session_timeout": "2500",
    "lock_timeout": "4000",
    # The few statements of a batch have one good plan: by index, row by row. No statistics may talk it out of that.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}
