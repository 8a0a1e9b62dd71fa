"""OpenAI's operations, simulated."""
