"""Bytes as they come: JSON text, request bodies, answers, events, forms. Nothing here knows a price."""
