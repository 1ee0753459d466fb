"""Columns that have one of a few words, as SQL."""

from collections.abc import Iterable


def is_one_of(column: str, words: Iterable[str]) -> str:
    """The condition that a column has one of these words, of the program's own. As comparisons: SQLite makes a table of
    the values of an IN with more than two, and looks there."""
    return "(" + " OR ".join(f"{column} = '{word}'" for word in sorted(words)) + ")"
