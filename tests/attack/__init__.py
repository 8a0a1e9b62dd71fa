"""Adversaries: what they send goes through real processes and other people's parsers."""
