"""What is said of archives: why one cannot be used, before anything is written to it, and what was written."""

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

from duro.maintenance.archive import archiver as archiver_module
from duro.maintenance.archive import place as place_module
from duro.maintenance.archive.archiver import Archiver, unusable, usable_place
from duro.maintenance.archive.place import CATALOGUE
from duro.maintenance.archive.reader import Archive
from duro.model.families import PurgeOptions
from duro.stores.memory import MemoryStore
from duro.testing.builders import completed, continued_as_new, prune_batch, removal_batch, start_request
from duro.testing.clock import ManualClock
from duro.testing.invariants import check_invariants
from duro.testing.scripted import ScriptedWorker
from tests.support.archives import histories, marked_loops

BLOCK_BYTES: Final = 4096
SMALL_BLOCKS: Final = 4
"""So many have room for a small segment."""


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    opened = MemoryStore(clock=ManualClock(), new_id=lambda: "id")
    yield opened
    check_invariants(opened)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "archive"


# --- before anything is written --------------------------------------------------------------------------------


def test_another_archive_than_the_one_that_was_written_to_is_unusable(store: MemoryStore, place: Path) -> None:
    marked_loops(store, str(place))
    Archiver(store, None).write_all()
    assert unusable(store, place) == ""
    place.rename(place.with_name("away"))
    assert unusable(store, place) != ""
    with closing(MemoryStore(clock=ManualClock(), new_id=lambda: "another")) as somebody_else:
        usable_place(somebody_else, place)
    assert "is not the archive that this store has written to" in unusable(store, place)


def test_a_new_archive_on_a_volume_that_is_not_mounted_is_unusable(
    store: MemoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fstab").write_text(f"LABEL=b {tmp_path} ext4\n")
    monkeypatch.setattr(place_module, "FSTAB", tmp_path / "fstab")
    assert "its volume is not mounted" in unusable(store, tmp_path / "duro")


@pytest.mark.parametrize("refused", [os.W_OK, os.X_OK])
def test_an_archive_in_which_no_file_can_be_made_is_unusable(
    store: MemoryStore, place: Path, monkeypatch: pytest.MonkeyPatch, refused: int
) -> None:
    """For that, a directory has to be one that may be written to and searched."""
    usable_place(store, place)
    monkeypatch.setattr(os, "access", lambda _, mode: not mode & refused)
    assert unusable(store, place) == "it may not be written to"


def a_disk(free: int, free_for_all: int) -> Callable[[Path], os.statvfs_result]:
    """So many blocks are free for the administrator, and for everybody else."""
    return lambda _: os.statvfs_result((BLOCK_BYTES, BLOCK_BYTES, 1000, free, free_for_all, 9, 9, 9, 0, 255))


@pytest.mark.parametrize(
    ("free", "free_for_all", "user", "said"),
    [
        (SMALL_BLOCKS, 0, 0, ""),
        (SMALL_BLOCKS - 1, 0, 0, "its disk is full"),
        (SMALL_BLOCKS, 0, 1000, "its disk is full"),
        (SMALL_BLOCKS, SMALL_BLOCKS, 1000, ""),
        (SMALL_BLOCKS, SMALL_BLOCKS - 1, 1, "its disk is full"),
    ],
)
def test_a_disk_is_full_when_the_last_small_segment_does_not_fit(
    store: MemoryStore, place: Path, monkeypatch: pytest.MonkeyPatch, free: int, free_for_all: int, user: int, said: str
) -> None:
    """Some of it is for the administrator alone."""
    usable_place(store, place)
    monkeypatch.setattr(os, "statvfs", a_disk(free, free_for_all))
    monkeypatch.setattr(os, "geteuid", lambda: user)
    assert unusable(store, place) == said


# --- what was written ------------------------------------------------------------------------------------------


def test_an_outcome_counts_what_was_written_and_progress_is_told_of_each_segment(
    store: MemoryStore, place: Path
) -> None:
    _, before = marked_loops(store, str(place))
    gone = [events for (_, number), events in histories(before).items() if number < 4]
    told: list[int] = []
    (outcome,) = Archiver(store, None, events_max=1).write_all(told.append)
    assert told == [1, 2, 3, 4, 5, 6]
    assert (outcome.archive, outcome.directory) == (str(place), str(place))
    assert (outcome.segments, outcome.histories) == (6, 6)
    assert outcome.events == sum(map(len, gone))
    assert outcome.file_bytes == sum(each.stat().st_size for each in place.glob("*/*.zst"))
    assert (outcome.waiting, outcome.problem) == (0, "")


def test_whoever_is_told_to_stop_writes_no_further_segment(store: MemoryStore, place: Path) -> None:
    """Ctrl-C in a prune into an archive ended it when all was written."""
    marked_loops(store, str(place))
    (outcome,) = Archiver(store, None, events_max=1).write_all(lambda histories: histories < 2)
    assert (outcome.segments, outcome.waiting, outcome.problem) == (2, 4, "it was interrupted")
    (outcome,) = Archiver(store, None, events_max=1).write_all()
    assert (outcome.segments, outcome.waiting, outcome.problem) == (4, 0, "")


def test_what_is_written_is_counted_for_each_archive(store: MemoryStore, place: Path) -> None:
    other = place.with_name("other")
    loops, _ = marked_loops(store, str(place))
    loops.go_on(2)
    store.prune(prune_batch((loops.incarnation("a"), 1), archive=str(other)))
    outcomes = {each.archive: each for each in Archiver(store, None).write_all()}
    assert {archive: (each.segments, each.histories) for archive, each in outcomes.items()} == {
        str(place): (1, 6),
        str(other): (1, 2),
    }


def removed(store: MemoryStore, worker: ScriptedWorker, place: Path, *instance_ids: str) -> None:
    """They have ended, and wait for the archive."""
    orders = []
    for each in instance_ids:
        store.start_instances([start_request(each)])
        leased = worker.take(each)
        worker.run(leased, completed())
        orders.append((leased.incarnation, PurgeOptions(completed_before=10**14)))
    assert all(each.removed for each in store.remove(removal_batch(*orders, archive=str(place))))


def test_instances_that_come_while_a_round_goes_on_are_left_to_the_next(store: MemoryStore, place: Path) -> None:
    """Else a loop that never pauses would become a segment for every one."""
    worker = ScriptedWorker(store)
    removed(store, worker, place, "a", "b")
    writer = Archiver(store, None)
    assert writer.step().instances == 2
    removed(store, worker, place, "c")
    assert not writer.step().more
    assert writer.step().instances == 1
    writer.close()


def test_executions_that_come_while_a_round_goes_on_are_left_to_the_next(store: MemoryStore, place: Path) -> None:
    loops, _ = marked_loops(store, str(place))
    writer = Archiver(store, None)
    assert writer.step().histories == 6
    loops.go_on(1)
    store.prune(prune_batch((loops.incarnation("a"), 1), archive=str(place)))
    assert not writer.step().more
    assert writer.step().histories == 1
    writer.close()


def an_instance_of(store: MemoryStore, place: Path, executions: int) -> None:
    """One that has ended in its ``executions``-th, and waits for the archive as a whole."""
    worker = ScriptedWorker(store)
    store.start_instances([start_request("whole")])
    for _ in range(executions - 1):
        worker.run(worker.take("whole"), continued_as_new())
    leased = worker.take("whole")
    worker.run(leased, completed())
    order = (leased.incarnation, PurgeOptions(completed_before=10**14))
    assert all(each.removed for each in store.remove(removal_batch(order, archive=str(place))))


def test_an_instance_that_fits_is_whole_in_one_segment(store: MemoryStore, place: Path) -> None:
    an_instance_of(store, place, 3)
    (outcome,) = Archiver(store, None).write_all()
    assert (outcome.segments, outcome.histories) == (1, 3)


def test_what_could_not_be_written_is_counted_executions_and_instances(store: MemoryStore, place: Path) -> None:
    an_instance_of(store, place, 2)
    marked_loops(store, str(place))
    place.write_text("a file stands here")
    (outcome,) = Archiver(store, None).write_all()
    assert (outcome.segments, outcome.waiting) == (0, 7)
    assert outcome.problem


def test_whoever_has_written_all_writes_what_comes_later(store: MemoryStore, place: Path) -> None:
    loops, _ = marked_loops(store, str(place))
    writer = Archiver(store, None)
    writer.write_all()
    loops.go_on(1)
    store.prune(prune_batch((loops.incarnation("a"), 1), archive=str(place)))
    assert writer.step().histories == 1
    writer.close()


@pytest.mark.parametrize("bytes_a_read", [1, 10**9])
def test_what_is_read_at_once_is_bounded_in_bytes(
    store: MemoryStore, place: Path, monkeypatch: pytest.MonkeyPatch, bytes_a_read: int
) -> None:
    monkeypatch.setattr(archiver_module, "_BYTES_A_READ", bytes_a_read)
    marked_loops(store, str(place))
    asked: list[int] = []
    load = store.load_histories

    def counted(keys: Sequence[tuple[int, int]]) -> list[tuple[str, ...]]:
        asked.append(len(keys))
        return load(keys)

    monkeypatch.setattr(store, "load_histories", counted)
    Archiver(store, None).write_all()
    assert asked == ([1] * 6 if bytes_a_read == 1 else [6])


def contents(catalogue: Path) -> dict[str, list[tuple[object, ...]]]:
    """All that is in a catalogue."""
    with closing(sqlite3.connect(catalogue)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        return {name: sorted(connection.execute(f"SELECT * FROM {name}"), key=repr) for name in tables}


def test_what_a_writer_puts_into_the_catalogue_is_what_a_reader_finds_in_the_segments(
    store: MemoryStore, place: Path
) -> None:
    an_instance_of(store, place, 2)
    marked_loops(store, str(place))
    Archiver(store, None).write_all()
    written = contents(place / CATALOGUE)
    for file in place.glob(f"{CATALOGUE}*"):
        file.unlink()
    with Archive(place) as archive:
        assert len(archive.executions()) == 8
    assert contents(place / CATALOGUE) == written


@pytest.mark.parametrize(
    ("limits", "segments"),
    [
        ({"events_max": 4}, [2, 2, 2]),  # each execution has two events
        ({"events_max": 3}, [2, 2, 2]),
        ({"events_max": 2}, [1] * 6),
        ({"bytes_max": 1}, [1] * 6),
        ({}, [6]),
    ],
)
def test_a_segment_is_full_at_the_very_event_and_byte(
    store: MemoryStore, place: Path, monkeypatch: pytest.MonkeyPatch, limits: dict[str, Any], segments: list[int]
) -> None:
    """What makes it full is still in it; nothing is read beyond."""
    if "bytes_max" in limits:  # what is read at once may take it beyond
        monkeypatch.setattr(archiver_module, "_BYTES_A_READ", 1)
    _, before = marked_loops(store, str(place))
    assert {len(events) for (_, number), events in histories(before).items() if number < 4} == {2}
    writer = Archiver(store, None, **limits)
    written = []
    while (step := writer.step()).more:
        written.append(step.histories)
    writer.close()
    assert sum(written) == 6
    assert written == segments


@pytest.mark.parametrize(
    ("events_max", "notes_max", "batches"),
    [(4, 100, [2, 2, 2]), (5, 100, [2, 2, 2]), (3, 100, [1] * 6), (1, 100, [1] * 6), (10**6, 4, [4, 2]), (12, 6, [6])],
)
def test_one_transaction_notes_so_many_executions_and_events_and_no_more(
    store: MemoryStore,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    events_max: int,
    notes_max: int,
    batches: list[int],
) -> None:
    monkeypatch.setattr(archiver_module, "MARK_RECLAIM_EVENTS_MAX", events_max)
    monkeypatch.setattr(archiver_module, "_NOTES_A_BATCH", notes_max)
    marked_loops(store, str(place))
    noted: list[int] = []
    note = store.note_archived

    def counted(executions: Sequence[tuple[int, int]], incarnations: Sequence[int]) -> None:
        noted.append(len(executions))
        note(executions, incarnations)

    monkeypatch.setattr(store, "note_archived", counted)
    Archiver(store, None).write_all()
    assert noted == batches
