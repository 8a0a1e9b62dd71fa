-- What is bought at Stripe. Of its objects only ids, states and amounts are kept. anchor_ms: from when the windows of an
-- account's plan count; NULL where they are the calendar's.
ALTER TABLE accounts ADD COLUMN anchor_ms INTEGER;

-- Each event that was used, once. facts: the subscription as the event tells of it.
CREATE TABLE stripe_events (
  id           TEXT    PRIMARY KEY,
  type         TEXT    NOT NULL,
  object_id    TEXT    NOT NULL,
  customer_id  TEXT,
  created_s    INTEGER NOT NULL,
  received_ms  INTEGER NOT NULL,
  facts        TEXT
) WITHOUT ROWID;
CREATE INDEX stripe_events_by_object ON stripe_events (object_id);
CREATE INDEX stripe_events_by_customer ON stripe_events (customer_id, created_s) WHERE customer_id IS NOT NULL;

-- Customers, and when they must be looked at again: a grace ends, a plan has changed.
CREATE TABLE stripe_customers (
  id      TEXT    PRIMARY KEY,
  due_ms  INTEGER
) WITHOUT ROWID;
CREATE INDEX stripe_customers_by_due ON stripe_customers (due_ms) WHERE due_ms IS NOT NULL;

-- By which subscription an account has its plan, and whether it is disabled because it has none.
CREATE TABLE stripe_standings (
  account_id       INTEGER PRIMARY KEY,
  subscription_id  TEXT,
  disabled         INTEGER NOT NULL DEFAULT 0
);

-- What plans say of Stripe: kind is 'price' | 'lookup' | 'product' | 'fallback'.
CREATE TABLE stripe_terms (
  kind     TEXT    NOT NULL,
  value    TEXT    NOT NULL,
  plan_id  INTEGER NOT NULL,
  PRIMARY KEY (kind, value, plan_id)
) WITHOUT ROWID;
CREATE INDEX stripe_terms_by_plan ON stripe_terms (plan_id);

-- What was paid at once, by invoice or checkout, and what of it the account has been given.
CREATE TABLE stripe_credits (
  id             TEXT    PRIMARY KEY,
  customer_id    TEXT,
  account_id     INTEGER,                        -- NULL: nobody knows yet whose it is
  amount_micros  INTEGER NOT NULL,
  given_micros   INTEGER NOT NULL DEFAULT 0,
  refusal        TEXT,                           -- why it gives no credit
  created_ms     INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX stripe_credits_waiting ON stripe_credits (customer_id) WHERE account_id IS NULL;

-- Which payment intents have paid which purchases.
CREATE TABLE stripe_payments (
  id           TEXT NOT NULL,
  purchase_id  TEXT NOT NULL,
  PRIMARY KEY (id, purchase_id)
) WITHOUT ROWID;
CREATE INDEX stripe_payments_by_purchase ON stripe_payments (purchase_id);

-- What of a payment went back, by charge or dispute.
CREATE TABLE stripe_reversals (
  id             TEXT    PRIMARY KEY,
  payment_id     TEXT,
  purchase_id    TEXT,
  amount_micros  INTEGER NOT NULL,
  lifted         INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX stripe_reversals_by_payment ON stripe_reversals (payment_id) WHERE payment_id IS NOT NULL;
CREATE INDEX stripe_reversals_by_purchase ON stripe_reversals (purchase_id) WHERE purchase_id IS NOT NULL;

-- Objects that are to be looked up at Stripe.
CREATE TABLE stripe_fetches (
  object_id  TEXT    PRIMARY KEY,
  due_ms     INTEGER NOT NULL,
  tries      INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX stripe_fetches_by_due ON stripe_fetches (due_ms);
