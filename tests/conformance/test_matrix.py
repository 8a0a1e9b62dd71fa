"""The README shows the matrix that is run."""

from __future__ import annotations

from scripts.matrix import README, written


def test_the_readme_shows_the_matrix_that_is_run() -> None:
    """`make matrix` would change nothing."""
    readme = README.read_text("utf-8")
    assert written(readme) == readme
