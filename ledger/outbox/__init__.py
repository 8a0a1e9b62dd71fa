"""What waits to leave the house: marks that were passed, messages, hooks, deliveries."""
