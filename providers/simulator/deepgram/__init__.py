"""Deepgram, simulated."""
