-- What a key has made at a provider and may come back to by its id: files, stored answers, batches, voices. All keys
-- share one account there, so this table is the wall between them. Nothing of an object's content stands here.
CREATE TABLE objects (
  seq         INTEGER PRIMARY KEY,
  provider    TEXT    NOT NULL,
  kind        TEXT    NOT NULL,                -- 'file', 'response', 'batch', …: what the provider's operations call it
  id          TEXT    NOT NULL,                -- the provider's own
  livemode    INTEGER NOT NULL,                -- the simulator's ids are no provider's
  account_id  INTEGER NOT NULL,
  created_ms  INTEGER NOT NULL,
  label       TEXT    NOT NULL DEFAULT '',     -- what lists can be narrowed by: a file's purpose
  facts       TEXT    NOT NULL DEFAULT '{}',   -- JSON that the ledger keeps and does not read
  due_ms      INTEGER,                         -- when our own housework looks at it; NULL = never
  expires_ms  INTEGER,                         -- when the provider has forgotten it; NULL = never
  UNIQUE (id, kind, provider, livemode)
);
CREATE INDEX objects_by_owner ON objects (account_id, provider, kind, seq);
CREATE INDEX objects_by_due ON objects (due_ms) WHERE due_ms IS NOT NULL;
CREATE INDEX objects_by_expiry ON objects (expires_ms) WHERE expires_ms IS NOT NULL;
