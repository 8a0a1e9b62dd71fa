-- Money is integers: micros (1/1,000,000 USD) and picos (1/1,000,000 of a micro). Times are Unix milliseconds, UTC.

-- One tree. A key, an end user or a run under a key, and a plan are all accounts; `path` is the chain of ids from the root
-- ("/1/17/"), so that a subtree is a range of an index.
CREATE TABLE accounts (
  id            INTEGER PRIMARY KEY,
  public_id     TEXT    NOT NULL UNIQUE,
  parent_id     INTEGER REFERENCES accounts (id),
  path          TEXT    NOT NULL UNIQUE,
  kind          TEXT    NOT NULL,              -- 'key' | 'end_user' | 'run' | 'plan'
  livemode      INTEGER NOT NULL,              -- test spend never counts on a live ancestor
  subject       TEXT,                          -- an end user's or a run's name in its key's own words
  disabled      INTEGER NOT NULL DEFAULT 0,
  revoked_ms    INTEGER,
  expires_ms    INTEGER,
  version       INTEGER NOT NULL DEFAULT 1,    -- raised by every change that a call must notice
  profile       TEXT    NOT NULL DEFAULT '{}', -- JSON that the ledger keeps and does not read
  plan_id       INTEGER REFERENCES accounts (id),
  cap_micros    INTEGER,                       -- the spend cap; NULL = none
  cap_window    TEXT    DEFAULT 'total',       -- what it is counted in; NULL = cap and window are the plan's
  boosts        TEXT    NOT NULL DEFAULT '[]', -- [[micros, until_ms or null], …] on top of the cap: credits
  own_limits    INTEGER NOT NULL DEFAULT 0,    -- its own limits stand instead of its plan's
  spent_micros  INTEGER NOT NULL DEFAULT 0,    -- own calls only, of all time; ancestors' totals are counters
  carry_picos   INTEGER NOT NULL DEFAULT 0,    -- what is charged with a later call: 0 <= carry < 1,000,000
  price_micros  INTEGER NOT NULL DEFAULT 0,
  price_carry_picos INTEGER NOT NULL DEFAULT 0,
  overrun_micros INTEGER NOT NULL DEFAULT 0,   -- charged above what was held
  subjects      INTEGER NOT NULL DEFAULT 0,    -- end users and runs opened under it, ever
  created_ms    INTEGER NOT NULL,
  last_used_ms  INTEGER
);
CREATE UNIQUE INDEX accounts_by_subject ON accounts (parent_id, kind, subject) WHERE subject IS NOT NULL;
CREATE INDEX accounts_test ON accounts (id) WHERE livemode = 0;
CREATE INDEX accounts_by_plan ON accounts (plan_id) WHERE plan_id IS NOT NULL;
CREATE INDEX accounts_by_parent ON accounts (parent_id, id);

-- Several secrets may open one account: that is how rotation overlaps. The ledger does not know what a verifier is.
CREATE TABLE credentials (
  id          INTEGER PRIMARY KEY,
  account_id  INTEGER NOT NULL REFERENCES accounts (id),
  locator     TEXT    NOT NULL UNIQUE,
  verifier    TEXT    NOT NULL,
  last4       TEXT    NOT NULL,
  created_ms  INTEGER NOT NULL,
  expires_ms  INTEGER
);
CREATE INDEX credentials_by_account ON credentials (account_id, id);

-- At most `max` of `unit` in each `window`, for calls that match. Each account has one limit of role 'total' from its
-- first day: its counter is the account's balance, and the account's spend cap is measured by it.
CREATE TABLE limits (
  id          INTEGER PRIMARY KEY,
  public_id   TEXT    NOT NULL UNIQUE,
  account_id  INTEGER NOT NULL REFERENCES accounts (id),
  role        TEXT    NOT NULL,                -- 'total' | 'limit'
  unit        TEXT    NOT NULL,                -- 'micros' | 'tokens' | 'requests' | 'seconds' | 'concurrent'
  max         INTEGER,
  "window"    TEXT    NOT NULL,                -- 'total' | 'minute' | 'hour' | 'day' | 'week' | 'month'
  timezone    TEXT,
  anchor_ms   INTEGER,
  match       TEXT    NOT NULL DEFAULT '{}',
  per         TEXT    NOT NULL DEFAULT 'key',  -- 'key' | 'end_user' | 'run'
  action      TEXT    NOT NULL DEFAULT 'block',
  created_ms  INTEGER NOT NULL,
  removed_ms  INTEGER
);
CREATE INDEX limits_by_account ON limits (account_id, id);

-- subject_id: 0; or the end user's, run's or plan member's account where the limit is counted per one; or -1, -2, -3
-- where the balance is also counted by day, week or month for the spend cap.
CREATE TABLE counters (
  limit_id        INTEGER NOT NULL,
  subject_id      INTEGER NOT NULL,
  window_start_ms INTEGER NOT NULL,
  used            INTEGER NOT NULL DEFAULT 0,
  held            INTEGER NOT NULL DEFAULT 0,
  unsettled       INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (limit_id, subject_id, window_start_ms)
) WITHOUT ROWID;

-- A promise made before a call was forwarded. Gone when it is settled; `unsettled` when its owner died first.
-- legs: [[limit_id, subject_id, window_start_ms, unit, amount], …], what was taken from where.
CREATE TABLE holds (
  id          TEXT    PRIMARY KEY,
  account_id  INTEGER NOT NULL,
  subject_id  INTEGER NOT NULL DEFAULT 0,      -- the end user's account, if the call named one
  run_id      INTEGER NOT NULL DEFAULT 0,
  owner       TEXT    NOT NULL,
  state       TEXT    NOT NULL,                -- 'open' | 'unsettled'
  created_ms  INTEGER NOT NULL,
  expires_ms  INTEGER,
  amount_micros INTEGER NOT NULL,
  legs        TEXT    NOT NULL,
  call        TEXT    NOT NULL                 -- JSON: the call's facts, for the event that it will become
) WITHOUT ROWID;
CREATE INDEX holds_by_expiry ON holds (expires_ms) WHERE expires_ms IS NOT NULL;
CREATE INDEX holds_by_account ON holds (account_id, id);

-- Immutable. seq is the order of commits, so a cursor over it misses nothing while calls go on.
CREATE TABLE events (
  seq           INTEGER PRIMARY KEY,
  id            TEXT    NOT NULL UNIQUE,
  account_id    INTEGER NOT NULL,
  subject_id    INTEGER NOT NULL DEFAULT 0,
  run_id        INTEGER NOT NULL DEFAULT 0,
  created_ms    INTEGER NOT NULL,
  settled_ms    INTEGER NOT NULL,
  mode          TEXT    NOT NULL,              -- 'proxy' | 'monitor' | 'reservation' | 'adjustment'
  provider      TEXT    NOT NULL,
  model         TEXT    NOT NULL,
  route         TEXT    NOT NULL,
  decision      TEXT    NOT NULL,              -- 'allowed' | 'blocked'
  reason        TEXT,
  status        TEXT    NOT NULL,              -- 'settled' | 'estimated' | 'unsettled' | 'released'
  usage         TEXT    NOT NULL,
  cost_micros   INTEGER NOT NULL,
  cost_picos    INTEGER NOT NULL,
  price_micros  INTEGER NOT NULL,
  price_version TEXT    NOT NULL,
  held_micros   INTEGER NOT NULL,
  http_status   INTEGER,
  latency_ms    INTEGER,
  ttft_ms       INTEGER,
  stream        INTEGER NOT NULL,
  metadata      TEXT    NOT NULL,
  flags         TEXT    NOT NULL,
  legs          TEXT    NOT NULL               -- [[limit_id, subject_id, window_start_ms, used], …]
);
CREATE INDEX events_by_account ON events (account_id, seq);
CREATE INDEX events_blocked ON events (seq) WHERE decision = 'blocked';
CREATE INDEX events_by_time ON events (created_ms);

-- One row a day, key, end user and model, kept in the same transaction as the event: reports never scan events.
CREATE TABLE rollups (
  day_ms             INTEGER NOT NULL,
  account_id         INTEGER NOT NULL,
  subject_id         INTEGER NOT NULL,
  provider           TEXT    NOT NULL,
  model              TEXT    NOT NULL,
  requests           INTEGER NOT NULL,
  blocked            INTEGER NOT NULL,
  cost_micros        INTEGER NOT NULL,
  cost_picos         INTEGER NOT NULL,
  price_micros       INTEGER NOT NULL,
  input_tokens       INTEGER NOT NULL,
  output_tokens      INTEGER NOT NULL,
  cache_read_tokens  INTEGER NOT NULL,
  cache_write_tokens INTEGER NOT NULL,
  reasoning_tokens   INTEGER NOT NULL,
  characters         INTEGER NOT NULL,
  audio_ms           INTEGER NOT NULL,
  images             INTEGER NOT NULL,
  latency_ms_sum     INTEGER NOT NULL,
  latency_histogram  BLOB    NOT NULL,
  PRIMARY KEY (day_ms, account_id, subject_id, provider, model)
) WITHOUT ROWID;

-- What a repeated Idempotency-Key is answered with. Written in the transaction of the change itself.
CREATE TABLE replays (
  account_id   INTEGER NOT NULL,
  key          TEXT    NOT NULL,
  fingerprint  TEXT    NOT NULL,
  answer       TEXT    NOT NULL,
  expires_ms   INTEGER NOT NULL,
  PRIMARY KEY (account_id, key)
) WITHOUT ROWID;
CREATE INDEX replays_by_expiry ON replays (expires_ms);

-- What an installation must remember of itself (the key of the secrets' checksum).
CREATE TABLE settings (
  name   TEXT PRIMARY KEY,
  value  TEXT NOT NULL
) WITHOUT ROWID;
