"""The manual shows the matrix that is run."""

from __future__ import annotations

from scripts.matrix import PAGE, written


def test_the_manual_shows_the_matrix_that_is_run() -> None:
    """`make matrix` would change nothing."""
    page = PAGE.read_text("utf-8")
    assert written(page) == page
