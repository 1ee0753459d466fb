"""Which of several names and patterns is meant by an orchestration's name. Patterns are those of a shell (``*``, ``?``,
``[...]``), upper and lower case differ, and a dot is a letter like any other."""

from collections.abc import Iterable
from fnmatch import fnmatchcase


def matches(name: str, pattern: str) -> bool:
    """Whether ``pattern`` is ``name`` itself or a pattern for it."""
    return name == pattern or fnmatchcase(name, pattern)


def by_precedence(name: str, patterns: Iterable[str]) -> list[str]:
    """Those of ``patterns`` that match ``name``, the one that applies first: ``name`` itself, then the longest, then in
    the order of their text."""
    matching = {pattern for pattern in patterns if matches(name, pattern)}
    return sorted(matching, key=lambda pattern: (pattern != name, -len(pattern), pattern))
