"""Google AI Studio, simulated."""
