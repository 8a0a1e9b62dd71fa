"""Vendors who copy OpenAI, simulated: what they do otherwise."""
