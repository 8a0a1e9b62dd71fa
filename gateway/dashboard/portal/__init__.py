"""The end user's own page: what is left, what was spent and on what, at his own prices."""
