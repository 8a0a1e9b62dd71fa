"""What hostile input does to a running gateway, in figures; tests only say yes or no."""
