"""Archives: what is pruned is kept first, whatever happens in between, and comes back as it was."""

import json
import os
import sqlite3
import stat
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import apsw
import pytest
import zstandard

import duro
from duro.disk import Disk
from duro.errors import ArchiveDamagedError, ArchiveUnavailableError, NotArchivedError
from duro.maintenance.archive.archiver import Archiver
from duro.maintenance.archive.catalogue import CATALOGUE_VERSION, Catalogue
from duro.maintenance.archive.format import CONTENT_BYTES_MAX, decode_manifest
from duro.maintenance.archive.place import ArchivePlace
from duro.maintenance.archive.reader import Archive
from duro.maintenance.pruning import reclaim_all
from duro.model.archive import CONFIGURED
from duro.model.ledger import RunSource
from duro.stores.base import Store
from duro.stores.memory import MemoryStore
from duro.stores.sqlite import SqliteStore
from duro.testing.builders import activity_scheduled, completed, prune_batch, removal_batch
from duro.testing.clock import ManualClock
from duro.testing.histories import check_replay
from duro.testing.invariants import check_invariants
from tests.support.archives import (
    Crash,
    FailingDisk,
    broken,
    full,
    histories,
    kept,
    marked_loops,
    read_only,
)
from tests.support.pruning import Loops, open_sqlite

PURGED = duro.PurgeOptions(completed_before=10**14)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "archive"


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "memory":
        opened: Store = MemoryStore(clock=ManualClock(), new_id=lambda: "id")
    else:
        opened = open_sqlite(tmp_path / "duro.db", ManualClock())
    yield opened
    check_invariants(opened)
    opened.close()


@pytest.fixture
def memory() -> Iterator[Store]:
    opened = MemoryStore(clock=ManualClock(), new_id=lambda: "id")
    yield opened
    check_invariants(opened)


def restore(store: Store, place: Path, instance_id: str, *, everything: bool = False) -> Any:
    with Archive(place) as archive:
        return archive.restore(
            store,
            archive.chosen(instance_id, everything=everything),
            run_id=f"restore-{instance_id}",
            hold_until_ms=10**15,
            by="ann",
            source=RunSource(),
        )


def check_whole(place: Path) -> None:
    with Archive(place) as archive:
        assert [check.problem for check in archive.verify() if check.problem] == []
        assert archive.problems == []


def one_segment(place: Path) -> tuple[Path, Path]:
    (segment,) = place.glob("*/*.jsonl.zst")
    (manifest,) = place.glob("*/*.manifest.json")
    return segment, manifest


# --- there and back --------------------------------------------------------------------------------------------


def test_what_was_pruned_goes_through_the_archive_and_comes_back_byte_by_byte(store: Store, place: Path) -> None:
    loops, before = marked_loops(store, str(place))
    (outcome,) = Archiver(store, None).write_all()
    assert (outcome.segments, outcome.histories, outcome.waiting, outcome.problem) == (1, 6, 0, "")
    reclaim_all(store)
    assert loops.live("a") == [4]
    assert len(store.dump()["executions"]) == 2
    check_whole(place)
    for instance_id in ("a", "b"):
        assert restore(store, place, instance_id).executions == 3
    after = store.dump()
    assert (after["executions"], after["history"]) == (before["executions"], before["history"])
    assert restore(store, place, "a").there == 3
    assert store.dump() == after


def test_a_whole_family_goes_and_comes_back_with_lineage_and_ledger(store: Store, place: Path) -> None:
    loops = Loops(store)
    loops.start("a")
    loops.go_on(3)
    loops.worker.run(loops.worker.take("a"), completed())
    before = store.dump()
    store.prune(prune_batch((loops.incarnation("a"), 2), archive=str(place)))
    store.remove(removal_batch((loops.incarnation("a"), PURGED), archive=str(place)))
    Archiver(store, None).write_all()
    reclaim_all(store)
    assert store.dump()["executions"] == store.dump()["instances"] == []
    assert restore(store, place, "a").executions == 2
    assert restore(store, place, "a", everything=True).executions == 2
    after = store.dump()
    assert (after["executions"], after["history"]) == (before["executions"], before["history"])
    assert [row["instance_id"] for row in after["instances"]] == ["a"]


def test_a_restored_history_replays_as_the_original_does(tmp_path: Path, place: Path) -> None:
    registry = duro.Registry()

    @registry.activity
    def double(ctx: duro.ActivityContext, number: int) -> int:
        return 2 * number

    @registry.orchestration
    async def loop(ctx: duro.OrchestrationContext, left: int) -> int:
        doubled: int = await ctx.schedule_activity(double, left)
        if left > 1:
            await ctx.continue_as_new(left - 1)
        return doubled

    with duro.Runtime(tmp_path / "duro.db", registry) as runtime:
        client = runtime.client
        started = client.start_orchestration(loop, 4)
        client.wait_for_orchestration(started, 30)
        original = [client.read_history(started, number).events for number in (1, 2, 3)]
        result = client.prune_executions(started, 1, grace_s=0, archive=place)
        assert result.archived is not None
        assert (result.archived.histories, result.archived.directory) == (3, str(place))
        with pytest.raises(duro.ExecutionPrunedError):
            client.read_history(started, 2)
        found = client.find_archived(started, 2)
        assert found is not None
        assert found.history.events == original[1]
        assert client.restore_archived(started).executions == 3
        restored = [client.read_history(started, number).events for number in (1, 2, 3)]
        assert restored == original
        for number, events in enumerate(restored, 1):
            check_replay(events, registry, instance_id=started, execution_id=number)


def test_events_come_back_whatever_they_are(tmp_path: Path, place: Path) -> None:
    """Also those that no codec wrote: with line breaks, no JSON, empty, long."""
    store = open_sqlite(tmp_path / "duro.db", ManualClock())
    loops = Loops(store)
    loops.start("a\n\x1b[31m\u202e/1")
    loops.worker.run(loops.worker.take(), *[activity_scheduled()] * 4)
    odd = ["line\nbreaks\r\n", "", "no json", "é\u2028\U0001f600" * 5_000, '{"a":"\\n"}']
    incarnation = store.dump()["instances"][0]["incarnation"]
    with apsw.Connection(str(tmp_path / "duro.db")) as plain:
        for number, text in enumerate(odd, 1):
            scope = (text, incarnation, number)
            plain.execute("UPDATE history SET data = ? WHERE incarnation = ? AND event_id = ?", scope)
        plain.execute(
            "UPDATE executions SET status = 'completed', completed_at_ms = 5, archive = ?, unarchived = 1, "
            "removal = 'pruned', pruned_at_ms = 5, reclaim_at_ms = 5, run_id = ''",
            (str(place),),
        )
    Archiver(store, None).write_all()
    check_whole(place)
    with Archive(place) as archive:
        (found,) = archive.executions()
        assert found.instance_id == "a\n\x1b[31m\u202e/1"
        assert list(archive.read_one(found).events) == odd
    store.close()


def test_an_instance_too_large_for_a_segment_spans_several_and_goes_on_after_an_interruption(
    store: Store, place: Path
) -> None:
    loops = Loops(store)
    loops.start("a")
    loops.go_on(9)
    loops.worker.run(loops.worker.take("a"), completed())
    before = store.dump()
    store.remove(removal_batch((loops.incarnation("a"), PURGED), archive=str(place)))
    archiver = Archiver(store, None, events_max=6)
    assert archiver.step().histories == 3
    assert archiver.step().histories == 3
    assert store.waiting_archives()[0].instances == 1
    Archiver(store, None, events_max=6).write_all()  # another process: it begins again, and some stand there twice
    reclaim_all(store)
    check_whole(place)
    with Archive(place) as archive:
        assert len(archive.executions()) == 10
        assert sum(check.histories for check in archive.verify()) == 16
    assert restore(store, place, "a").executions == 10
    assert store.dump()["history"] == before["history"]


def test_one_history_larger_than_a_segment_is_a_segment(memory: Store, place: Path) -> None:
    marked_loops(memory, str(place))
    (outcome,) = Archiver(memory, None, events_max=1, bytes_max=1).write_all()
    assert outcome.segments == outcome.histories == 6


# --- crashes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("after", "lost"), [(False, False), (False, True), (True, True)])
def test_a_crash_at_any_write_leaves_every_history_in_the_store_or_the_archive(
    tmp_path: Path, after: bool, lost: bool
) -> None:
    """Promise 7: with or without an archive, never neither. And the next one to come by finishes."""
    for at in range(1_000):
        place = tmp_path / f"archive-{at}"
        store = MemoryStore(clock=ManualClock(), new_id=lambda: "id")
        loops, before = marked_loops(store, str(place), 3)
        disk = FailingDisk(at, after=after, lost=lost)
        try:
            Archiver(store, None, disk=disk, events_max=4).write_all()
            reclaim_all(store)
        except Crash:
            reclaim_all(store)
        left = histories(store.dump())
        gone = histories(before).keys() - left.keys()
        assert gone <= (kept(place) if gone else set())
        check_invariants(store)
        Archiver(store, None, events_max=4).write_all()
        reclaim_all(store)
        assert loops.live("a") == loops.live("b") == [3]
        check_whole(place)
        assert list(place.rglob("*.part")) == []
        for instance_id in ("a", "b"):
            restore(store, place, instance_id)
        assert histories(store.dump()) == histories(before)
        if not disk.failed:
            assert at > 20, "a run has more writes than that"
            return
    raise AssertionError("it never ends")


@pytest.mark.parametrize("failure", [full, broken])
def test_a_disk_that_fails_at_any_write_defers_and_loses_nothing(
    tmp_path: Path, failure: Callable[[], OSError]
) -> None:
    for at in range(1_000):
        place = tmp_path / f"archive-{at}"
        store = MemoryStore(clock=ManualClock(), new_id=lambda: "id")
        loops, before = marked_loops(store, str(place), 3)
        disk = FailingDisk(at, failure)
        archiver = Archiver(store, None, disk=disk, events_max=4)
        (outcome,) = archiver.write_all()
        assert bool(outcome.problem) == (outcome.waiting > 0)
        reclaim_all(store)
        gone = histories(before).keys() - histories(store.dump()).keys()
        assert gone <= (kept(place) if gone else set())
        archiver.forget()
        Archiver(store, None, events_max=4).write_all()
        reclaim_all(store)
        assert loops.live("a") == loops.live("b") == [3]
        check_whole(place)
        if not disk.failed:
            return
    raise AssertionError("it never ends")


def test_one_failed_write_is_made_up_for_by_the_next_step(memory: Store, place: Path) -> None:
    marked_loops(memory, str(place))
    archiver = Archiver(memory, None, disk=FailingDisk(8, read_only, once=True))
    (outcome,) = archiver.write_all()
    assert "Read-only file system" in outcome.problem
    archiver.forget()
    (outcome,) = archiver.write_all()
    assert (outcome.waiting, outcome.problem) == (0, "")
    check_whole(place)


@pytest.mark.parametrize("after", [False, True])
def test_one_failed_write_anywhere_leaves_an_archive_that_is_whole(tmp_path: Path, after: bool) -> None:
    """Above all no manifest whose segment was taken back."""
    for at in range(1_000):
        place = tmp_path / f"archive-{at}"
        store = MemoryStore(clock=ManualClock(), new_id=lambda: "id")
        _, before = marked_loops(store, str(place), 3)
        disk = FailingDisk(at, broken, once=True, after=after)
        Archiver(store, None, disk=disk, events_max=4).write_all()
        if (place / "archive.json").exists():
            check_whole(place)
        Archiver(store, None, events_max=4).write_all()
        reclaim_all(store)
        check_whole(place)
        assert kept(place) == histories(before).keys() - histories(store.dump()).keys()
        if not disk.failed:
            return
    raise AssertionError("it never ends")


def test_a_catalogue_that_cannot_be_written_says_nothing_about_a_segment(memory: Store, place: Path) -> None:
    archived(memory, place)
    with Archive(place) as archive:
        unwritten = ArchiveUnavailableError("database or disk is full")
        with mock.patch.object(Catalogue, "add", side_effect=unwritten):
            assert [check.problem for check in archive.verify()] == [""]


class Forgetful(Disk):
    """Syncs nothing, and a file is not what was written."""

    def sync(self, path: Path) -> None:
        if path.name.endswith(".part") and "zst" in path.name:
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 1
            path.write_bytes(data)


def test_what_is_read_back_and_is_not_what_was_written_is_not_taken_for_an_archive(memory: Store, place: Path) -> None:
    _, before = marked_loops(memory, str(place))
    (outcome,) = Archiver(memory, None, disk=Forgetful()).write_all()
    assert "is not what is read back" in outcome.problem
    assert list(place.rglob("*.zst")) == []
    reclaim_all(memory)
    assert histories(memory.dump()) == histories(before)


# --- damage ----------------------------------------------------------------------------------------------------


def archived(store: Store, place: Path) -> None:
    marked_loops(store, str(place), 2)
    Archiver(store, None).write_all()
    (place / "catalogue.db").unlink()


def problems(place: Path) -> list[str]:
    with Archive(place) as archive:
        found = [check.problem for check in archive.verify() if check.problem]
        assert bool(found) == bool(archive.problems) or archive.count() == (0, 0)
        return found


def test_every_flipped_bit_and_every_truncation_of_a_segment_is_found(memory: Store, place: Path) -> None:
    archived(memory, place)
    assert problems(place) == []
    segment, _ = one_segment(place)
    whole = segment.read_bytes()
    manifest = decode_manifest(one_segment(place)[1].read_bytes())
    found = ArchivePlace(place)
    for position in range(len(whole)):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[position] ^= 1 << bit
            segment.write_bytes(damaged)
            assert _is_damaged(found, manifest), f"bit {bit} of byte {position}"
    for length in range(len(whole)):
        segment.write_bytes(whole[:length])
        assert _is_damaged(found, manifest), f"cut off after {length} bytes"
    segment.write_bytes(whole + b"\0")
    assert _is_damaged(found, manifest)
    segment.write_bytes(whole)
    assert not _is_damaged(found, manifest)


def _is_damaged(place: ArchivePlace, manifest: Any) -> bool:
    from duro.maintenance.archive.segments import read_segment

    try:
        for _ in read_segment(place, manifest):
            pass
    except ArchiveDamagedError:
        return True
    return False


def test_every_flipped_bit_and_every_truncation_of_a_manifest_is_found(memory: Store, place: Path) -> None:
    archived(memory, place)
    _, manifest = one_segment(place)
    whole = manifest.read_bytes()
    for position in range(len(whole)):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[position] ^= 1 << bit
            manifest.write_bytes(damaged)
            assert _verify(place), f"bit {bit} of byte {position}"
    for length in range(len(whole)):
        manifest.write_bytes(whole[:length])
        assert _verify(place), f"cut off after {length} bytes"
    manifest.write_bytes(whole)
    assert not _verify(place)


def _verify(place: Path) -> list[str]:
    """The problems, without the catalogue, which would be read anew each time."""
    archive = Archive.__new__(Archive)
    archive._place = ArchivePlace(place)
    archive._catalogue = mock.create_autospec(Catalogue, instance=True)
    return [check.problem for check in archive.verify() if check.problem]


def test_a_damaged_segment_takes_no_other_with_it(memory: Store, place: Path) -> None:
    _, before = marked_loops(memory, str(place), 3)
    Archiver(memory, None, events_max=4).write_all()
    reclaim_all(memory)
    first, second = sorted(place.glob("*/*.zst"))
    first.write_bytes(b"\x28\xb5\x2f\xfd" + b"\0" * 100)
    (place / "catalogue.db").unlink()
    assert len(problems(place)) == 1
    with Archive(place) as archive:
        assert {each.segment for each in archive.executions()} == {second.name}
        assert first.name in archive.problems[0].message
    assert before["executions"]


@pytest.mark.parametrize("what", ["segment", "manifest"])
def test_a_file_that_cannot_be_read_takes_no_other_segment_with_it(memory: Store, place: Path, what: str) -> None:
    """What whoever runs this may not read, say, because somebody else wrote it; here a directory in its place."""
    marked_loops(memory, str(place), 3)
    Archiver(memory, None, events_max=4).write_all()
    first, second = sorted(place.glob("*/*.zst"))
    with Archive(place) as archive:
        lost = next(each for each in archive.executions() if each.segment == first.name)
    path = first if what == "segment" else next(place.glob(f"*/{first.name.partition('.')[0]}.manifest.json"))
    path.unlink()
    path.mkdir()
    (place / "catalogue.db").unlink()
    with Archive(place) as archive:
        assert {each.segment for each in archive.executions()} == {second.name}
        assert [str(path) in each.message for each in archive.problems] == [True]
        assert [bool(each.problem) for each in archive.verify()] == [True, False]
        with pytest.raises(NotArchivedError, match="in what can be read of it; `duroctl archive verify --archive"):
            archive.chosen(lost.instance_id, [lost.execution_id])


def test_a_damaged_segment_is_refused_before_anything_of_it_is_restored(memory: Store, place: Path) -> None:
    marked_loops(memory, str(place), 2)
    Archiver(memory, None).write_all()
    reclaim_all(memory)
    segment, _ = one_segment(place)
    segment.write_bytes(segment.read_bytes()[:-1] + b"\0")
    before = memory.dump()
    with pytest.raises(ArchiveDamagedError, match=segment.name):
        restore(memory, place, "a")
    assert memory.dump() == before


def test_a_bomb_is_not_unpacked(memory: Store, place: Path) -> None:
    archived(memory, place)
    segment, manifest = one_segment(place)
    compressor = zstandard.ZstdCompressor(level=19).compressobj()
    block = b"\0" * (16 * 1024 * 1024)
    with segment.open("wb") as bomb:
        for _ in range(8):
            bomb.write(compressor.compress(block))
        bomb.write(compressor.flush())
    assert segment.stat().st_size < 64 * 1024
    (problem,) = problems(place)
    assert "is damaged: unpacked it is more than" in problem
    manifest.unlink()
    (problem,) = problems(place)
    assert "a line of it is longer than" in problem


def test_a_manifest_that_claims_more_than_a_segment_may_hold_is_not_believed(memory: Store, place: Path) -> None:
    archived(memory, place)
    _, manifest = one_segment(place)
    said = json.loads(manifest.read_bytes())
    said["content_bytes"] = CONTENT_BYTES_MAX * 1_000
    manifest.write_text(json.dumps(said, separators=(",", ":")) + "\n")
    assert "is not what its manifest says" in problems(place)[0]


# --- what was interrupted, what is lost -------------------------------------------------------------------------


def test_the_catalogue_is_made_anew_when_it_is_lost_damaged_or_of_another_version(memory: Store, place: Path) -> None:
    marked_loops(memory, str(place))
    Archiver(memory, None, events_max=4).write_all()
    catalogue = place / "catalogue.db"
    before = _rows(catalogue)
    assert len(before["histories"]) == 6
    catalogue.unlink()
    with Archive(place):
        pass
    assert _rows(catalogue) == before
    catalogue.write_bytes(b"no database at all" * 100)
    with Archive(place) as archive:
        assert len(archive.executions()) == 6
    assert _rows(catalogue) == before
    with sqlite3.connect(catalogue) as connection:
        connection.execute(f"PRAGMA user_version = {CATALOGUE_VERSION + 1}")
        connection.execute("DELETE FROM histories")
    connection.close()
    with Archive(place):
        pass
    assert _rows(catalogue) == before
    assert stat.S_IMODE(catalogue.stat().st_mode) == 0o600


def test_the_catalogue_forgets_segments_that_were_taken_away_and_learns_of_those_that_were_put_there(
    memory: Store, place: Path
) -> None:
    marked_loops(memory, str(place))
    Archiver(memory, None, events_max=4).write_all()
    first = min(place.glob("*/*.zst"))
    away = first.rename(place.parent / first.name)
    with Archive(place) as archive:
        assert len(archive.executions()) == 4
    away.rename(first)
    with Archive(place) as archive:
        assert len(archive.executions()) == 6
        assert archive.find("a", 1) is not None


def test_an_archive_that_may_only_be_read_is_read(memory: Store, place: Path) -> None:
    marked_loops(memory, str(place))
    Archiver(memory, None).write_all()
    before = (place / "catalogue.db").read_bytes()
    with ArchivePlace(place).locked(0.0) as mine:  # whoever writes; nobody else may
        assert mine
        (place / "catalogue.db").rename(place / "away")
        with Archive(place) as archive:
            assert len(archive.executions()) == 6
        assert not (place / "catalogue.db").exists()
        (place / "away").rename(place / "catalogue.db")
        with Archive(place) as archive:
            assert len(archive.executions()) == 6
    assert (place / "catalogue.db").read_bytes() == before


def test_an_archive_that_somebody_else_writes_to_is_verified(memory: Store, place: Path) -> None:
    """What is found out about its segments is nothing to be written then, and no reason to call them damaged."""
    marked_loops(memory, str(place))
    Archiver(memory, None).write_all()
    before = (place / "catalogue.db").read_bytes()
    with ArchivePlace(place).locked(0.0), Archive(place) as archive:
        (check,) = archive.verify()
        assert (check.problem, check.histories) == ("", 6)
        assert len(archive.executions()) == 6
    assert (place / "catalogue.db").read_bytes() == before


def test_unfinished_files_are_removed_and_a_segment_without_manifest_gets_one(memory: Store, place: Path) -> None:
    marked_loops(memory, str(place))
    Archiver(memory, None).write_all()
    segment, manifest = one_segment(place)
    before = manifest.read_bytes()
    manifest.unlink()
    (segment.parent / f".{segment.name}.123.part").write_bytes(b"half")
    (place / "catalogue.db").unlink()
    with Archive(place) as archive:
        assert len(archive.executions()) == 6
    assert manifest.read_bytes() == before
    loops = Loops(memory)
    loops.start("c")
    memory.prune(prune_batch((loops.incarnation("b"), 1), archive=str(place)))
    Archiver(memory, None).write_all()
    assert (segment.parent / f".{segment.name}.123.part").exists()  # nothing waited, so nobody wrote
    loops.go_on()
    memory.prune(prune_batch((loops.incarnation("c"), 1), archive=str(place)))
    Archiver(memory, None).write_all()
    assert list(place.rglob("*.part")) == []


def _rows(catalogue: Path) -> dict[str, list[tuple[Any, ...]]]:
    connection = sqlite3.connect(catalogue)
    tables = {
        table: sorted(connection.execute(f"SELECT * FROM {table}").fetchall())
        for table in ("segments", "histories", "instances")
    }
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    connection.close()
    return tables


# --- the directory ---------------------------------------------------------------------------------------------


def test_files_and_directories_belong_to_their_owner_alone(memory: Store, place: Path) -> None:
    marked_loops(memory, str(place))
    before = os.umask(0)
    try:
        Archiver(memory, None).write_all()
    finally:
        os.umask(before)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [place, *place.rglob("*")]}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}
    assert len(modes) == 7


def test_no_name_in_an_archive_comes_from_what_is_archived(memory: Store, place: Path) -> None:
    loops = Loops(memory)
    hostile = ("../../etc/passwd", "A", "a", "CON", "x" * 255, "\n", "-rf")
    loops.start(*hostile)
    loops.go_on(2)
    orders = [(loops.incarnation(each), 1) for each in hostile]
    memory.prune(prune_batch(*orders, archive=str(place)))
    Archiver(memory, None).write_all()
    names = sorted(str(path.relative_to(place)) for path in place.rglob("*"))
    assert [name.rpartition("/")[2].partition("-")[0] for name in names if "/" in name] == ["20231114T221320000Z"] * 2
    assert [name for name in names if "/" not in name] == ["2023-11", "archive.json", "catalogue.db", "lock"]
    with Archive(place) as archive:
        assert {each.instance_id for each in archive.executions()} == set(hostile)


@pytest.mark.parametrize("what", ["2023-11", "segment", "manifest", "archive.json", "lock", "catalogue.db"])
def test_symbolic_links_inside_an_archive_are_refused(memory: Store, place: Path, tmp_path: Path, what: str) -> None:
    marked_loops(memory, str(place))
    Archiver(memory, None).write_all()
    segment, manifest = one_segment(place)
    path = {"segment": segment, "manifest": manifest}.get(what, place / what)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    before = (tmp_path / "elsewhere").stat()
    if what == "2023-11":
        with Archive(place) as archive:
            assert archive.count() == (0, 0)
        loops, _ = marked_more(memory, str(place))
        (outcome,) = Archiver(memory, None).write_all()
        assert outcome.problem
        assert loops
    elif what in ("segment", "manifest"):
        (place / "catalogue.db").unlink()
        with Archive(place) as archive:
            assert archive.executions() == ()
            assert ["symbolic" in each.message for each in archive.problems] == [True]
            assert ["symbolic" in each.problem for each in archive.verify()] == [True]
    elif what == "lock":
        _, waiting = marked_more(memory, str(place))
        (outcome,) = Archiver(memory, None).write_all()
        assert "symbolic" in outcome.problem
        assert outcome.waiting == waiting
    else:
        with pytest.raises(ArchiveUnavailableError):
            Archive(place)
    assert (tmp_path / "elsewhere").stat() == before


def marked_more(store: Store, archive: str) -> tuple[Loops, int]:
    loops = Loops(store)
    loops.go_on(2)
    store.prune(prune_batch((loops.incarnation("a"), 1), archive=archive))
    return loops, 2


def test_a_directory_that_is_something_else_is_refused(memory: Store, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.txt").write_text("mine")
    with pytest.raises(ArchiveUnavailableError, match="neither empty nor an archive"):
        ArchivePlace(other).prepare()
    with pytest.raises(ArchiveUnavailableError, match="cannot be made: No such file"):
        ArchivePlace(tmp_path / "no" / "where").prepare()
    with pytest.raises(ArchiveUnavailableError, match="cannot be made"):
        ArchivePlace(other / "mine.txt").prepare()
    with pytest.raises(ArchiveUnavailableError, match="there is no archive"):
        Archive(tmp_path / "nothing")
    with pytest.raises(ArchiveUnavailableError, match="is no archive"):
        Archive(other)
    (tmp_path / "newer").mkdir()
    (tmp_path / "newer" / "archive.json").write_text('{"schema":"duro.archive/2"}\n')
    with pytest.raises(ArchiveUnavailableError, match="another version"):
        ArchivePlace(tmp_path / "newer").prepare()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["archive.json", "mine.txt", "newer", "other"]
    assert memory.list_unarchived(1) == ()


def test_a_directory_that_vanishes_is_not_made_again_and_is_used_when_it_is_back(memory: Store, place: Path) -> None:
    marked_loops(memory, str(place))
    archiver = Archiver(memory, None)
    archiver.write_all()
    away = place.rename(place.parent / "away")
    _, waiting = marked_more(memory, str(place))
    (outcome,) = archiver.write_all()
    assert "there is no archive" in outcome.problem
    assert outcome.waiting == waiting
    assert not place.exists()
    away.rename(place)
    archiver.forget()
    (outcome,) = archiver.write_all()
    assert (outcome.waiting, outcome.problem) == (0, "")
    check_whole(place)


def test_one_archive_that_cannot_be_used_keeps_no_other_waiting(memory: Store, tmp_path: Path) -> None:
    loops = Loops(memory)
    loops.start("a", "b", "c")
    loops.go_on(3)
    for instance_id, archive in (("a", str(tmp_path / "no" / "where")), ("b", str(tmp_path / "b")), ("c", CONFIGURED)):
        memory.prune(prune_batch((loops.incarnation(instance_id), 1), archive=archive))
    outcomes = {each.archive: each for each in Archiver(memory, None).write_all()}
    assert {archive: each.waiting for archive, each in outcomes.items()} == {
        CONFIGURED: 3,
        str(tmp_path / "no" / "where"): 3,
        str(tmp_path / "b"): 0,
    }
    assert "no archive is configured here" in outcomes[CONFIGURED].problem
    outcomes = {each.archive: each for each in Archiver(memory, tmp_path / "c").write_all()}
    assert outcomes[CONFIGURED].waiting == 0
    assert len(Archiver(memory, None, instead=tmp_path / "b").write_all()) == 1
    assert memory.waiting_archives() == ()
    assert kept(tmp_path / "b") == {(number, execution) for number in (1, 2) for execution in (1, 2, 3)}


# --- several ---------------------------------------------------------------------------------------------------


def test_two_archivers_at_once_write_every_history_once(tmp_path: Path, place: Path) -> None:
    store = open_sqlite(tmp_path / "duro.db", ManualClock())
    marked_loops(store, str(place), 40)
    other = open_sqlite(tmp_path / "duro.db", ManualClock())
    ready = threading.Barrier(2)
    failures: list[BaseException] = []
    problems: list[str] = []

    def work(mine: SqliteStore) -> None:
        try:
            ready.wait()
            outcomes = Archiver(mine, None, events_max=10, wait_s=30).write_all()
            problems.extend(outcome.problem for outcome in outcomes if outcome.problem)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(each,)) for each in (store, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert problems == []  # neither finds what the other one is making in its way
    assert store.waiting_archives() == ()
    with Archive(place) as archive:
        assert sum(check.histories for check in archive.verify()) == len(archive.executions()) == 78
    reclaim_all(store)
    check_invariants(store)
    other.close()
    store.close()


def test_what_comes_while_an_archive_is_written_is_left_to_the_next_who_writes(store: Store, place: Path) -> None:
    """Beside loops that never pause, it would be a segment for every execution, and go on for ever."""
    loops, _ = marked_loops(store, str(place))

    def one_more(_: object) -> None:
        loops.go_on()
        store.prune(prune_batch((loops.incarnation("a"), 1), archive=str(place)))
        assert len(loops.live("a")) == 1
        assert len(list(place.glob("*/*.zst"))) < 10, "it goes on and on"

    (outcome,) = Archiver(store, None).write_all(one_more)
    assert (outcome.segments, outcome.histories, outcome.waiting, outcome.problem) == (1, 6, 0, "")
    (waiting,) = store.waiting_archives()
    assert waiting.executions == 1
    (outcome,) = Archiver(store, None).write_all()
    assert (outcome.segments, outcome.histories, store.waiting_archives()) == (1, 1, ())


def test_one_archive_whose_loops_never_pause_keeps_no_other_waiting(memory: Store, tmp_path: Path) -> None:
    loops, _ = marked_loops(memory, str(tmp_path / "one"))
    loops.start("c")
    loops.go_on(2)
    memory.prune(prune_batch((loops.incarnation("c"), 1), archive=str(tmp_path / "two")))

    def one_more(_: object) -> None:
        loops.go_on()
        memory.prune(prune_batch((loops.incarnation("a"), 1), archive=str(tmp_path / "one")))
        assert len(list(tmp_path.glob("*/*/*.zst"))) < 10, "it goes on and on"

    outcomes = Archiver(memory, None).write_all(one_more)
    assert [(each.segments, each.histories, each.problem) for each in outcomes] == [(1, 6, ""), (1, 2, "")]


def test_somebody_who_writes_is_not_waited_for_without_being_asked_to(memory: Store, place: Path) -> None:
    marked_loops(memory, str(place))
    ArchivePlace(place).prepare()
    with ArchivePlace(place).locked(0.0):
        archiver = Archiver(memory, None)
        assert archiver.step().busy
        (outcome,) = archiver.write_all()
        assert outcome.problem == "somebody else is writing to it"
    assert memory.waiting_archives()[0].executions == 6


def test_two_archivers_with_different_directories_leave_no_empty_history(tmp_path: Path) -> None:
    """One has listed what waits; before it reads the histories, the other has archived them and they are gone."""
    store = MemoryStore(clock=ManualClock(), new_id=lambda: "id")
    loops, before = marked_loops(store, str(tmp_path / "one"), 3)
    listed = store.list_unarchived

    def listed_late(limit: int, excluding: Any = ()) -> Any:
        found = listed(limit, excluding)
        if limit > 1 and not (tmp_path / "two").exists():
            Archiver(store, None, instead=tmp_path / "two").write_all()
            reclaim_all(store)
        return found

    store.list_unarchived = listed_late  # type: ignore[method-assign]
    Archiver(store, None).write_all()
    assert loops.live("a") == [3]
    for number in (1, 2):
        with Archive(tmp_path / "two") as archive:
            found = archive.find("a", number)
            assert found is not None
            assert list(archive.read_one(found).events) == histories(before)[loops.incarnation("a"), number]
    assert not list((tmp_path / "one").glob("*/*.zst"))


def test_an_archive_of_two_stores_keeps_them_apart(tmp_path: Path, place: Path) -> None:
    stores = []
    for name in ("one", "two"):
        store = MemoryStore(clock=ManualClock(), new_id=lambda name=name: name)  # type: ignore[misc]
        marked_loops(store, str(place))
        Archiver(store, None).write_all()
        reclaim_all(store)
        stores.append(store)
    with Archive(place) as both, Archive(place, store_id="one") as one:
        assert (both.count(), one.count()) == ((12, 2), (6, 1))
        chosen = [each for each in both.executions(instance_id="a") if each.store_id == "two"]
        with pytest.raises(NotArchivedError, match="archived from another store"):
            both.restore(stores[0], chosen, run_id="r", hold_until_ms=1, by="", source=RunSource())
        with pytest.raises(NotArchivedError, match="has nothing of 'x'"):
            one.chosen("x")
        with pytest.raises(NotArchivedError, match="has nothing of 'a/9'"):
            one.chosen("a", [1, 9])


# --- copies ----------------------------------------------------------------------------------------------------


def test_of_several_copies_the_one_that_was_pruned_last_is_the_one(memory: Store, place: Path) -> None:
    """A store that was put back to a backup comes to the same executions again, with other histories."""
    marked_loops(memory, str(place), 2)
    Archiver(memory, None).write_all()
    for each in place.rglob("*.zst"):
        assert each.exists()
    other = MemoryStore(clock=ManualClock(), new_id=lambda: "id")
    loops = Loops(other)
    loops.start("a")
    loops.worker.run(loops.worker.take("a"), activity_scheduled("another"))
    other.terminate_instance("a", "to have another history")
    other.remove(removal_batch((loops.incarnation("a"), PURGED), archive=str(place)))
    other_clock = other._clock
    assert isinstance(other_clock, ManualClock)
    other_clock.advance(1_000)
    expected = histories(other.dump())[1, 1]
    Archiver(other, None).write_all()
    with Archive(place) as archive:
        found = archive.find("a", 1)
        assert found is not None
        assert list(archive.read_one(found).events) == expected
        assert archive.count() == (2, 2)
        segment = place / found.segment[:4] / found.segment
    (place / f"{segment.name[:4]}-{segment.name[4:6]}" / segment.name).unlink()
    with Archive(place) as archive:
        older = archive.find("a", 1)
        assert older is not None
        assert older.segment != found.segment


def test_a_purged_instance_comes_back_whole_also_where_a_part_of_it_was_archived_before(
    memory: Store, place: Path
) -> None:
    loops, _ = marked_loops(memory, str(place))
    Archiver(memory, None).write_all()
    reclaim_all(memory)
    assert restore(memory, place, "a").executions == 3
    for hold in memory.list_holds():
        memory.remove_hold(hold.hold_id)
    loops.worker.run(next(each for each in loops.worker.lease().instances if each.instance_id == "a"), completed())
    before = memory.dump()
    memory.remove(removal_batch((loops.incarnation("a"), PURGED), archive=str(place)))
    clock = memory._clock  # type: ignore[attr-defined]
    clock.advance(1_000)
    Archiver(memory, None).write_all()
    reclaim_all(memory)
    assert restore(memory, place, "a").executions == 4
    assert [row for row in memory.dump()["history"] if row["incarnation"] == 1] == [
        row for row in before["history"] if row["incarnation"] == 1
    ]


def test_the_history_of_an_earlier_life_is_not_shown_for_that_of_the_present_one(tmp_path: Path, place: Path) -> None:
    store = open_sqlite(tmp_path / "duro.db", ManualClock())
    loops = Loops(store)
    loops.start("a")
    loops.go_on(2)
    loops.worker.run(loops.worker.take("a"), completed())
    with duro.Client(store) as client:
        client.purge_instances(PURGED, grace_s=0, archive=place)
        assert client.find_archived("a", 2) is not None
        loops.start("a")
        loops.go_on(2)
        client.prune_executions("a", 1, grace_s=0)
        assert client.find_archived("a", 2) is None
    store.close()


# --- the catalogue, what is missing, clocks -----------------------------------------------------------------------


def test_a_catalogue_that_cannot_be_written_keeps_no_history_waiting(memory: Store, place: Path) -> None:
    """As on a disk with room for the segment alone: who reads it has it in memory."""
    marked_loops(memory, str(place))
    ArchivePlace(place).prepare()
    (place / "catalogue.db").mkdir()
    (outcome,) = Archiver(memory, None).write_all()
    assert (outcome.segments, outcome.waiting, outcome.problem) == (1, 0, "")
    with Archive(place) as archive:
        assert len(archive.executions()) == 6


def test_segments_that_are_missing_are_found(memory: Store, place: Path, tmp_path: Path) -> None:
    marked_loops(memory, str(place))
    Archiver(memory, None, events_max=4).write_all()
    first = min(place.glob("*/*.zst"))
    first.rename(tmp_path / "away")
    with Archive(place) as archive:
        (problem,) = [check.problem for check in archive.verify() if check.problem]
    assert first.name in problem
    (tmp_path / "away").rename(first)
    month = first.parent.rename(tmp_path / "elsewhere")
    (place / month.with_name("2023-11").name).symlink_to(month)
    with Archive(place) as archive:
        (problem,) = [check.problem for check in archive.verify() if check.problem]
    assert "2023-11" in problem


def test_what_the_catalogue_says_wrongly_is_put_right_by_verify(memory: Store, place: Path) -> None:
    marked_loops(memory, str(place))
    Archiver(memory, None).write_all()
    before = _rows(place / "catalogue.db")
    with sqlite3.connect(place / "catalogue.db") as connection:
        connection.execute("UPDATE histories SET instance_id = 'z' WHERE instance_id = 'a'")
    connection.close()
    with Archive(place) as archive:
        assert archive.find("a", 1) is None
        assert [check.problem for check in archive.verify() if check.problem] == []
        assert archive.find("a", 1) is not None
    assert _rows(place / "catalogue.db") == before


def test_a_bomb_of_short_lines_takes_no_more_memory_than_a_history(memory: Store, place: Path) -> None:
    archived(memory, place)
    segment, manifest = one_segment(place)
    head = b"".join(zstandard.ZstdDecompressor().decompressobj().decompress(segment.read_bytes()).splitlines(True)[:2])
    claims = head.replace(b'"events":2', b'"events":50000000')
    assert claims != head
    compressor = zstandard.ZstdCompressor(level=3).compressobj()
    segment.write_bytes(compressor.compress(claims + b"\n" * 50_000_000) + compressor.flush())
    manifest.unlink()
    tracemalloc.start()
    try:
        (problem,) = problems(place)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "a history of 50000000 events" in problem
    assert peak < 64 * 1024 * 1024


@pytest.mark.parametrize("now_ms", [-(10**14), -1, 0, 253_402_300_799_999, 10**15])
def test_an_odd_clock_makes_no_odd_names(tmp_path: Path, place: Path, now_ms: int) -> None:
    store = MemoryStore(clock=ManualClock(), new_id=lambda: "id")
    marked_loops(store, str(place))
    clock = store._clock
    assert isinstance(clock, ManualClock)
    clock.set_now_ms(now_ms)
    (outcome,) = Archiver(store, None).write_all()
    assert (outcome.waiting, outcome.problem) == (0, "")
    check_whole(place)


def test_an_archive_in_the_place_of_the_one_before_is_not_taken_for_it(memory: Store, place: Path) -> None:
    """Its volume is not mounted: neither the empty mount point nor another archive stands in for it."""
    marked_loops(memory, str(place))
    Archiver(memory, None).write_all()
    away = place.rename(place.parent / "away")
    _, waiting = marked_more(memory, str(place))
    for stage in ("missing", "an empty directory", "another archive"):
        if stage == "an empty directory":
            place.mkdir()
        elif stage == "another archive":
            ArchivePlace(place).prepare()
        (outcome,) = Archiver(memory, None).write_all()
        assert outcome.waiting == waiting
        assert outcome.problem
    assert "is not the archive that this store has written to" in outcome.problem
    (outcome,) = Archiver(memory, None, instead=place).write_all()
    assert (outcome.waiting, outcome.problem) == (0, "")
    assert [each.directory for each in memory.known_archives()] == [str(place)]
    assert away.exists()


def test_the_archive_that_was_written_to_last_is_known_as_the_last(tmp_path: Path) -> None:
    """It is the one that is looked into where none is named."""
    clock = ManualClock()
    store = MemoryStore(clock=clock, new_id=lambda: "id")
    loops = Loops(store)
    loops.start("a")
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    for number, place in enumerate((first, second, first, second, second, first), 1):
        loops.go_on(1)
        store.prune(prune_batch((loops.incarnation("a"), 1), archive=place))
        clock.advance(1)
        Archiver(store, None).write_all()
        assert [each.directory for each in store.known_archives()] == [place, *({first, second} - {place})][:number]
    check_invariants(store)
