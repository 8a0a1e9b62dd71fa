-- Raised by every batch that changes an account's sums, its rollups or its holds (new holds aside). A gateway that
-- remembers an account's rows writes on top of them if the revision is still the one that it knows. SQLite, where one
-- process writes, needs none.
ALTER TABLE accounts ADD COLUMN revision BIGINT NOT NULL DEFAULT 0;
