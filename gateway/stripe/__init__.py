"""Stripe: what it tells, verified and read, and what is looked up there."""
