"""A key is a ledger account with a secret in front of it: format, hashing, minting, authenticating, policy."""
