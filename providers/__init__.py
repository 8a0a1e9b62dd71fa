"""What a call means and what it costs: bytes in, usage and price out. Pure: no network, no clock, no database."""
