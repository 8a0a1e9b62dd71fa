-- What leaves the house by itself. An account says how many active hooks it has, so that nothing is written where nobody
-- listens; alert_at is a JSON list of percentages, NULL where the plan's, the key's or the default marks hold.
ALTER TABLE accounts ADD COLUMN hooks INTEGER NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN alert_at TEXT;
ALTER TABLE limits ADD COLUMN alert_at TEXT;

-- Who hears of what happens to a key and to all under it. target is a URL, which is a secret, or a mail address.
CREATE TABLE hooks (
  id             INTEGER PRIMARY KEY,
  public_id      TEXT    NOT NULL UNIQUE,
  account_id     INTEGER NOT NULL REFERENCES accounts (id),
  kind           TEXT    NOT NULL,               -- 'webhook' | 'slack' | 'email'
  target         TEXT    NOT NULL,
  events         TEXT    NOT NULL,               -- JSON: types, a trailing * for whatever follows
  description    TEXT    NOT NULL DEFAULT '',
  status         TEXT    NOT NULL,               -- 'active' | 'disabled'
  reason         TEXT,                           -- why it is disabled
  secrets        TEXT    NOT NULL DEFAULT '[]',  -- [[secret, until_ms or null], …]
  created_ms     INTEGER NOT NULL,
  failing_ms     INTEGER,                        -- since when nothing got through
  lease_owner    TEXT,                           -- which gateway is sending to it
  lease_until_ms INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX hooks_by_account ON hooks (account_id, id);

-- Written in the transaction that moves the money or makes the change, with how who it is about was called then. Of two
-- with the same `once` only the first is written; it is kept until then, NULL for ever.
CREATE TABLE messages (
  seq          INTEGER PRIMARY KEY,
  once         TEXT    UNIQUE,
  type         TEXT    NOT NULL,
  created_ms   INTEGER NOT NULL,
  until_ms     INTEGER,
  used         INTEGER,                          -- what the limit's counter stood at
  data         TEXT    NOT NULL,
  account_id   INTEGER NOT NULL,                 -- the key: hooks on it and above it hear
  key_id       TEXT    NOT NULL,
  profile      TEXT    NOT NULL,
  plan         TEXT,
  livemode     INTEGER NOT NULL,
  subject_id   INTEGER NOT NULL,                 -- the end user or run that it is about; 0 for none
  subject_kind TEXT,
  subject      TEXT,
  addressed    INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX messages_waiting ON messages (seq) WHERE addressed = 0;
CREATE INDEX messages_by_subject ON messages (subject_id) WHERE subject_id > 0;
CREATE INDEX messages_by_end ON messages (until_ms) WHERE addressed = 1;

-- A message on its way to one hook. attempts: the last of them, [{at_ms, took_ms, status, error}, …].
CREATE TABLE deliveries (
  seq         INTEGER PRIMARY KEY,
  public_id   TEXT    NOT NULL UNIQUE,
  hook_id     INTEGER NOT NULL,
  account_id  INTEGER NOT NULL,
  subject_id  INTEGER NOT NULL,
  type        TEXT    NOT NULL,
  state       TEXT    NOT NULL,                  -- 'pending' | 'delivered' | 'dead'
  tries       INTEGER NOT NULL,
  due_ms      INTEGER NOT NULL,
  created_ms  INTEGER NOT NULL,
  ended_ms    INTEGER,
  body        TEXT    NOT NULL,
  attempts    TEXT    NOT NULL DEFAULT '[]'
);
CREATE INDEX deliveries_due ON deliveries (due_ms) WHERE state = 'pending';
CREATE INDEX deliveries_by_hook ON deliveries (hook_id, seq);
CREATE INDEX deliveries_by_subject ON deliveries (subject_id) WHERE subject_id > 0;
CREATE INDEX deliveries_ended ON deliveries (ended_ms) WHERE state <> 'pending';

-- Who changed what: append-only, never a secret.
CREATE TABLE changes (
  seq         INTEGER PRIMARY KEY,
  public_id   TEXT    NOT NULL UNIQUE,
  account_id  INTEGER NOT NULL,                  -- whom it was done to, or whose parent it belongs to
  created_ms  INTEGER NOT NULL,
  type        TEXT    NOT NULL,
  object_id   TEXT    NOT NULL,
  actor       TEXT    NOT NULL,
  ip          TEXT,
  request_id  TEXT,
  before      TEXT,                              -- JSON, as the API shows it
  after       TEXT
);
CREATE INDEX changes_by_account ON changes (account_id, seq);
CREATE INDEX changes_by_object ON changes (object_id, seq);

CREATE INDEX accounts_by_end ON accounts (expires_ms) WHERE expires_ms IS NOT NULL;
