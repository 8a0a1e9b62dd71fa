"""Accounts, limits, holds, events: money and nothing else. The only room that knows a database."""
