"""What a wire shape offers and is told: requests as facts and bounds, answers as usage, what is billed."""
