"""Anthropic's messages, and every vendor that speaks them."""
