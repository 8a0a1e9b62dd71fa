"""One name, many places: which of them a call is tried in, and what is done when one of them fails."""
