"""Vendors in another one's shape: what their rows say, as operations, and the few that are their own."""
