-- The table of ../../sqlite/schema/0006_sessions.sql in PostgreSQL's words: who is signed in to the dashboard.
CREATE TABLE sessions (
  id_hash    TEXT COLLATE "C" NOT NULL PRIMARY KEY,
  locator    TEXT COLLATE "C" NOT NULL,          -- of the credential that signed in
  created_ms BIGINT NOT NULL,
  seen_ms    BIGINT NOT NULL
);
CREATE INDEX sessions_by_age ON sessions (seen_ms);
