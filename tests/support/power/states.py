"""Which of the states that a cut may leave are looked at."""

import itertools
import random
from collections.abc import Iterator, Sequence
from typing import Final

from tests.support.power.disk import (
    NOTHING,
    SECTOR_BYTES,
    ContentOperation,
    Disk,
    Kept,
    Operation,
    Outcome,
    Write,
    whole,
)

_ALL_SUBSETS_OF: Final = 6
"""Of so few operations that were not synced every subset is looked at."""

_SHARES: Final = (0.1, 0.5, 0.9, 0.98)
"""How much of what was not synced is there, where chance decides."""


def outcomes(disk: Disk, last: Operation | None, chances: int, choice: random.Random) -> Iterator[Outcome]:
    """What a cut right after ``last`` may leave: first all that came before it, then as little as possible, then one
    file or directory at a time, then every subset or ``chances`` of them. Some may be equal."""
    everything = disk.everything()
    yield everything
    if isinstance(last, Write):
        for piece in _torn(last):
            yield _with_last(everything, last.file, piece)
    pending = disk.pending
    if not disk.unsynced:
        return
    nothing = {number: [NOTHING] * len(each) for number, each in pending.items()}
    no_names = [False] * len(disk.pending_names)
    yield Outcome(nothing, no_names)
    yield Outcome(nothing, everything.names)
    yield Outcome(everything.files, no_names)
    for number in pending:
        yield Outcome({**everything.files, number: nothing[number]}, everything.names)
        yield Outcome({**nothing, number: everything.files[number]}, everything.names)
    if len(disk.unsynced) <= _ALL_SUBSETS_OF:
        yield from _subsets(pending, len(disk.pending_names))
    if pending or len(disk.unsynced) > _ALL_SUBSETS_OF:
        for _ in range(chances):
            yield _by_chance(pending, len(disk.pending_names), choice)


def _torn(write: Write) -> list[Kept]:
    """The pieces of it before a border of a sector of its file."""
    first = write.offset // SECTOR_BYTES * SECTOR_BYTES + SECTOR_BYTES
    return [(0, at - write.offset) for at in range(first, write.offset + len(write.data), SECTOR_BYTES)]


def _with_last(outcome: Outcome, number: int, piece: Kept) -> Outcome:
    return Outcome({**outcome.files, number: [*outcome.files[number][:-1], piece]}, outcome.names)


def _subsets(pending: dict[int, list[ContentOperation]], names: int) -> Iterator[Outcome]:
    flat = [(number, whole(each)) for number, operations in pending.items() for each in operations]
    for there in itertools.product((False, True), repeat=len(flat) + names):
        files: dict[int, list[Kept]] = {number: [] for number in pending}
        for (number, all_of_it), is_there in zip(flat, there, strict=False):
            files[number].append(all_of_it if is_there else NOTHING)
        yield Outcome(files, there[len(flat) :])


def _by_chance(pending: dict[int, list[ContentOperation]], names: int, choice: random.Random) -> Outcome:
    files = {number: _some(operations, choice) for number, operations in pending.items()}
    share = choice.choice((0.0, *_SHARES, 1.0))
    return Outcome(files, [choice.random() < share for _ in range(names)])


def _some(operations: Sequence[ContentOperation], choice: random.Random) -> list[Kept]:
    share = choice.choice(_SHARES)
    torn = choice.choice((0.0, 0.1, 0.5))
    kept = []
    for each in operations:
        piece = whole(each) if choice.random() < share else NOTHING
        if isinstance(each, Write) and choice.random() < torn and (pieces := _torn(each)):
            start, end = choice.choice(pieces)
            piece = (start, end) if choice.random() < 0.5 else (end, len(each.data))
        kept.append(piece)
    return kept
