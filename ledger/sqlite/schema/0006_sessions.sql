-- Who is signed in to the dashboard. A session is found by the hash of its id, and is its credential's: it ends with it.
CREATE TABLE sessions (
  id_hash    TEXT    NOT NULL PRIMARY KEY,
  locator    TEXT    NOT NULL,                   -- of the credential that signed in
  created_ms INTEGER NOT NULL,
  seen_ms    INTEGER NOT NULL
);
CREATE INDEX sessions_by_age ON sessions (seen_ms);
