"""MiniMax's own API and its own habits."""
