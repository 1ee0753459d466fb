"""What a cut of power may leave of a few operations, and what it may not."""

import random
from collections.abc import Iterable

import pytest

from tests.support.power.disk import (
    NOTHING,
    SECTOR_BYTES,
    Disk,
    Enter,
    Operation,
    Outcome,
    Rename,
    Sync,
    SyncDirectory,
    Truncate,
    Unlink,
    Write,
)
from tests.support.power.states import outcomes

OLD, NEW = b"o" * SECTOR_BYTES * 2, b"n" * SECTOR_BYTES * 2


def disk_after(*operations: Operation) -> Disk:
    """A disk on which a file called ``file`` was, before these."""
    disk = Disk({"file": 1}, {1: OLD})
    for each in operations:
        disk.apply(each)
    return disk


def found(disk: Disk, last: Operation | None = None, chances: int = 200) -> list[dict[str, bytes | None]]:
    return [disk.after(each) for each in outcomes(disk, last, chances, random.Random(1))]


def contents(states: Iterable[dict[str, bytes | None]], name: str = "file") -> set[bytes | None]:
    return {state.get(name, b"not there") for state in states}


def test_what_was_synced_is_there_after_any_cut() -> None:
    assert contents(found(disk_after(Write(1, 0, NEW), Sync(1)))) == {NEW}


def test_an_unsynced_write_is_there_or_not_or_in_part_by_sectors() -> None:
    write = Write(1, 0, NEW)
    half = SECTOR_BYTES
    torn = {NEW[:half] + OLD[half:], OLD[:half] + NEW[half:]}
    assert contents(found(disk_after(write), write)) == {OLD, NEW, *torn}


def test_sectors_are_those_of_the_file() -> None:
    write = Write(1, 100, NEW[:SECTOR_BYTES])
    whole = OLD[:100] + NEW[:SECTOR_BYTES] + OLD[100 + SECTOR_BYTES :]
    torn = whole[:SECTOR_BYTES] + OLD[SECTOR_BYTES:]
    assert contents(found(disk_after(write), write, chances=0)) == {OLD, whole, torn}


def test_of_several_unsynced_writes_every_subset_is_built() -> None:
    writes = [Write(1, number, bytes([65 + number])) for number in range(4)]
    seen = {state[:4] for state in contents(found(disk_after(*writes))) if state is not None}
    assert len(seen) == 16


def test_a_later_write_may_be_there_without_an_earlier_one_and_the_gap_is_empty() -> None:
    disk = disk_after(Truncate(1, 0), Sync(1), Write(1, 0, b"a"), Write(1, 2, b"b"))
    assert contents(found(disk)) == {b"", b"a", b"\0\0b", b"a\0b"}


def test_a_truncate_that_was_not_synced_may_not_have_happened() -> None:
    assert contents(found(disk_after(Truncate(1, 1)))) == {OLD, OLD[:1]}
    assert contents(found(disk_after(Truncate(1, len(OLD) + 1)))) == {OLD, OLD + b"\0"}


def test_a_new_name_lasts_only_when_its_directory_is_synced() -> None:
    made = (Enter("new", 2), Write(2, 0, b"a"), Sync(2))
    assert contents(found(disk_after(*made)), "new") == {b"not there", b"a"}
    assert contents(found(disk_after(*made, SyncDirectory(""))), "new") == {b"a"}


def test_a_name_may_last_without_what_was_written_under_it() -> None:
    disk = disk_after(Enter("new", 2), Write(2, 0, b"a"), SyncDirectory(""))
    assert contents(found(disk), "new") == {b"", b"a"}


def test_a_rename_happens_whole_or_not_at_all() -> None:
    disk = disk_after(Enter("new", 2), Write(2, 0, NEW), Sync(2), SyncDirectory(""), Rename("new", "file", 2))
    assert {tuple(state) for state in found(disk)} == {("file",), ("file", "new")}
    assert contents(found(disk)) == {OLD, NEW}


def test_a_removed_name_may_come_back() -> None:
    assert contents(found(disk_after(Unlink("file")))) == {OLD, b"not there"}
    assert contents(found(disk_after(Unlink("file"), SyncDirectory("")))) == {b"not there"}


def test_what_is_in_a_directory_goes_with_its_name() -> None:
    disk = disk_after(Enter("in", None), Enter("in/a", 2), SyncDirectory("in"))
    assert {tuple(sorted(state)) for state in found(disk)} == {("file",), ("file", "in", "in/a")}


def test_an_outcome_says_what_became_of_each_operation() -> None:
    disk = disk_after(Write(1, 0, NEW), Write(1, 0, b"last"))
    kept = disk.after(Outcome({1: [(0, len(NEW)), NOTHING]}, []))
    assert kept == {"file": NEW}


@pytest.mark.parametrize("seed", range(3))
def test_chance_is_the_same_for_the_same_seed(seed: int) -> None:
    writes = [Write(1, number, NEW) for number in range(20)]
    drawn = [list(outcomes(disk_after(*writes), None, 10, random.Random(seed))) for _ in range(2)]
    assert drawn[0] == drawn[1]
