"""Deepgram: sound heard and text spoken, whole and live."""
