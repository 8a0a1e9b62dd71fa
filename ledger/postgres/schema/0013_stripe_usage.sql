-- The tables of ../../sqlite/schema/0012_stripe_usage.sql in PostgreSQL's words: what Stripe is told of usage.
CREATE TABLE stripe_usage (
  account_id    BIGINT NOT NULL,
  subject_id    BIGINT NOT NULL,
  hour_ms       BIGINT NOT NULL,
  customer_id   TEXT COLLATE "C",
  price_micros  BIGINT NOT NULL,
  PRIMARY KEY (account_id, subject_id, hour_ms)
);
CREATE INDEX stripe_usage_unmapped ON stripe_usage (hour_ms) WHERE customer_id IS NULL;
CREATE INDEX stripe_usage_by_hour ON stripe_usage (hour_ms);

-- state: 'waiting' | 'sent' | 'refused'. sends: how often it was sent, so that each is later than the one before.
CREATE TABLE stripe_hours (
  customer_id   TEXT COLLATE "C" NOT NULL,
  hour_ms       BIGINT NOT NULL,
  price_micros  BIGINT NOT NULL,
  sent_micros   BIGINT NOT NULL DEFAULT 0,
  state         TEXT COLLATE "C" NOT NULL,
  sends         BIGINT NOT NULL DEFAULT 0,
  tries         BIGINT NOT NULL DEFAULT 0,      -- that failed since the last that did not
  due_ms        BIGINT NOT NULL DEFAULT 0,
  refusal       TEXT COLLATE "C",
  PRIMARY KEY (customer_id, hour_ms)
);
CREATE INDEX stripe_hours_waiting ON stripe_hours (due_ms) WHERE state = 'waiting';
CREATE INDEX stripe_hours_refused ON stripe_hours (hour_ms) WHERE state = 'refused';
