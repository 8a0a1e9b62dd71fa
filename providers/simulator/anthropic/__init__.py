"""Anthropic's operations, simulated."""
