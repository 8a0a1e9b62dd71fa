-- Whose pages the portal shows: one row an address that was given out, found by the hash of its token, and once it is
-- opened by the hash of the cookie that took the token's place.
CREATE TABLE portal_sessions (
  id_hash    TEXT    NOT NULL PRIMARY KEY,
  account_id INTEGER NOT NULL,                   -- the key's
  subject_id INTEGER NOT NULL DEFAULT 0,         -- the end user's, where it is about one
  return_url TEXT,
  ends_ms    INTEGER NOT NULL,
  opened_ms  INTEGER
);
CREATE INDEX portal_sessions_by_end ON portal_sessions (ends_ms);
