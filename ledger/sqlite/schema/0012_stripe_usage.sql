-- What is sold to Stripe's customers, by the hour, and what of it Stripe has been told. An account's customer of an hour is
-- the one that it had when the hour's first event was collected; NULL until there is one.
CREATE TABLE stripe_usage (
  account_id    INTEGER NOT NULL,
  subject_id    INTEGER NOT NULL,
  hour_ms       INTEGER NOT NULL,
  customer_id   TEXT,
  price_micros  INTEGER NOT NULL,
  PRIMARY KEY (account_id, subject_id, hour_ms)
) WITHOUT ROWID;
CREATE INDEX stripe_usage_unmapped ON stripe_usage (hour_ms) WHERE customer_id IS NULL;
CREATE INDEX stripe_usage_by_hour ON stripe_usage (hour_ms);

-- state: 'waiting' | 'sent' | 'refused'. sends: how often it was sent, so that each is later than the one before.
CREATE TABLE stripe_hours (
  customer_id   TEXT    NOT NULL,
  hour_ms       INTEGER NOT NULL,
  price_micros  INTEGER NOT NULL,
  sent_micros   INTEGER NOT NULL DEFAULT 0,
  state         TEXT    NOT NULL,
  sends         INTEGER NOT NULL DEFAULT 0,
  tries         INTEGER NOT NULL DEFAULT 0,      -- that failed since the last that did not
  due_ms        INTEGER NOT NULL DEFAULT 0,
  refusal       TEXT,
  PRIMARY KEY (customer_id, hour_ms)
) WITHOUT ROWID;
CREATE INDEX stripe_hours_waiting ON stripe_hours (due_ms) WHERE state = 'waiting';
CREATE INDEX stripe_hours_refused ON stripe_hours (hour_ms) WHERE state = 'refused';
