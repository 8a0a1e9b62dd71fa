-- The tables of ../../sqlite/schema/0011_stripe.sql in PostgreSQL's words: what is bought at Stripe.
ALTER TABLE accounts ADD COLUMN anchor_ms BIGINT;

-- Each event that was used, once. facts: the subscription as the event tells of it.
CREATE TABLE stripe_events (
  id           TEXT COLLATE "C" PRIMARY KEY,
  type         TEXT COLLATE "C" NOT NULL,
  object_id    TEXT COLLATE "C" NOT NULL,
  customer_id  TEXT COLLATE "C",
  created_s    BIGINT NOT NULL,
  received_ms  BIGINT NOT NULL,
  facts        TEXT COLLATE "C"
);
CREATE INDEX stripe_events_by_object ON stripe_events (object_id);
CREATE INDEX stripe_events_by_customer ON stripe_events (customer_id, created_s) WHERE customer_id IS NOT NULL;

-- Customers, and when they must be looked at again: a grace ends, a plan has changed.
CREATE TABLE stripe_customers (
  id      TEXT COLLATE "C" PRIMARY KEY,
  due_ms  BIGINT
);
CREATE INDEX stripe_customers_by_due ON stripe_customers (due_ms) WHERE due_ms IS NOT NULL;

-- By which subscription an account has its plan, and whether it is disabled because it has none.
CREATE TABLE stripe_standings (
  account_id       BIGINT PRIMARY KEY,
  subscription_id  TEXT COLLATE "C",
  disabled         BIGINT NOT NULL DEFAULT 0
);

-- What plans say of Stripe: kind is 'price' | 'lookup' | 'product' | 'fallback'.
CREATE TABLE stripe_terms (
  kind     TEXT COLLATE "C" NOT NULL,
  value    TEXT COLLATE "C" NOT NULL,
  plan_id  BIGINT NOT NULL,
  PRIMARY KEY (kind, value, plan_id)
);
CREATE INDEX stripe_terms_by_plan ON stripe_terms (plan_id);

-- What was paid at once, by invoice or checkout, and what of it the account has been given.
CREATE TABLE stripe_credits (
  id             TEXT COLLATE "C" PRIMARY KEY,
  customer_id    TEXT COLLATE "C",
  account_id     BIGINT,                        -- NULL: nobody knows yet whose it is
  amount_micros  BIGINT NOT NULL,
  given_micros   BIGINT NOT NULL DEFAULT 0,
  refusal        TEXT COLLATE "C",                           -- why it gives no credit
  created_ms     BIGINT NOT NULL
);
CREATE INDEX stripe_credits_waiting ON stripe_credits (customer_id) WHERE account_id IS NULL;

-- Which payment intents have paid which purchases.
CREATE TABLE stripe_payments (
  id           TEXT COLLATE "C" NOT NULL,
  purchase_id  TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (id, purchase_id)
);
CREATE INDEX stripe_payments_by_purchase ON stripe_payments (purchase_id);

-- What of a payment went back, by charge or dispute.
CREATE TABLE stripe_reversals (
  id             TEXT COLLATE "C" PRIMARY KEY,
  payment_id     TEXT COLLATE "C",
  purchase_id    TEXT COLLATE "C",
  amount_micros  BIGINT NOT NULL,
  lifted         BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX stripe_reversals_by_payment ON stripe_reversals (payment_id) WHERE payment_id IS NOT NULL;
CREATE INDEX stripe_reversals_by_purchase ON stripe_reversals (purchase_id) WHERE purchase_id IS NOT NULL;

-- Objects that are to be looked up at Stripe.
CREATE TABLE stripe_fetches (
  object_id  TEXT COLLATE "C" PRIMARY KEY,
  due_ms     BIGINT NOT NULL,
  tries      BIGINT NOT NULL
);
CREATE INDEX stripe_fetches_by_due ON stripe_fetches (due_ms);
