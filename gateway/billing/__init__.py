"""What the books are held against: providers' own statements, other prices, and what customers are billed."""
