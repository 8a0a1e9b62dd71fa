"""What providers keep between calls, simulated without keeping anything."""
