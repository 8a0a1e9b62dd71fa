-- Names that stand for one of several targets: all of an installation's. `body` is JSON that the ledger does not read.
CREATE TABLE routes (
  id         INTEGER PRIMARY KEY,
  public_id  TEXT    NOT NULL UNIQUE,
  account_id INTEGER NOT NULL,                 -- the master key that made it
  name       TEXT    NOT NULL UNIQUE,
  body       TEXT    NOT NULL,
  created_ms INTEGER NOT NULL
);
-- Who was called, where that is not the provider's own address.
ALTER TABLE events ADD COLUMN upstream TEXT NOT NULL DEFAULT '';
