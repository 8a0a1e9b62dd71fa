-- The table of ../../sqlite/schema/0008_portal.sql in PostgreSQL's words: whose pages the portal shows.
CREATE TABLE portal_sessions (
  id_hash    TEXT COLLATE "C" NOT NULL PRIMARY KEY,
  account_id BIGINT NOT NULL,                    -- the key's
  subject_id BIGINT NOT NULL DEFAULT 0,          -- the end user's, where it is about one
  return_url TEXT,
  ends_ms    BIGINT NOT NULL,
  opened_ms  BIGINT
);
CREATE INDEX portal_sessions_by_end ON portal_sessions (ends_ms);
