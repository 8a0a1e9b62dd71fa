-- Whom Stripe knows an account as. A call's customer is its end user's, else its key's, else the nearest ancestor's.
ALTER TABLE accounts ADD COLUMN stripe_customer_id TEXT;
CREATE INDEX accounts_by_customer ON accounts (stripe_customer_id) WHERE stripe_customer_id IS NOT NULL;
