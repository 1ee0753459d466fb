"""What bash takes apart is put together again: to it ``order:17`` and ``--store=sqlite:///duro.db`` are several words,
of which it completes the last. Pure."""

from collections.abc import Iterable
from typing import Final, NamedTuple

_SEPARATORS: Final = frozenset(":=")
"""What else bash breaks words at (``COMP_WORDBREAKS``) is in no id and no URL that can be typed without quotes."""


class Words(NamedTuple):
    """A command line as it was typed; ``current`` is the place of the word that is completed, and ``head`` the part of
    it that bash holds for words of their own, and will not replace."""

    words: tuple[str, ...]
    current: int
    head: str


def joined(words: Iterable[str], current: int) -> Words:
    """``words`` as bash has them (its ``COMP_WORDS`` and ``COMP_CWORD``), whole again."""
    found: list[str] = []
    after_separator = False
    place, head = current, ""
    for number, word in enumerate(words):
        is_separator = bool(word) and set(word) <= _SEPARATORS
        if len(found) > 1 and word and (is_separator or after_separator):
            before = found[-1]
            found[-1] += word
            if number == current:
                head = found[-1] if is_separator else before
        else:
            found.append(word)
        if number == current:
            place = len(found) - 1
        after_separator = is_separator
    return Words(tuple(found), place, head)


def without_head(proposal: str, head: str) -> str:
    """What bash is to put in the place of the last of its words. ``head`` may begin with an option, which no proposal
    does."""
    for start in range(len(head)):
        if proposal.startswith(head[start:]):
            return proposal[len(head) - start :]
    return proposal
