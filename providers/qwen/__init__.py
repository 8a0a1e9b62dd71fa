"""Alibaba's Qwen, beside what it shares with OpenAI."""
