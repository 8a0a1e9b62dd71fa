"""Pipelines: several calls as one run, under one budget. Nothing of what they say is kept."""
