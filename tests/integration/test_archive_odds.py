"""Archives where something is odd: other things in the place of files, catalogues that say what is not so, interrupted
writers, small pieces and large histories."""

import errno
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
import pytest

from duro.errors import ArchiveDamagedError, ArchiveUnavailableError
from duro.maintenance.archive import archiver as archiver_module
from duro.maintenance.archive import catalogue as catalogue_module
from duro.maintenance.archive import place as place_module
from duro.maintenance.archive import reader as reader_module
from duro.maintenance.archive import segments as segments_module
from duro.maintenance.archive.archiver import Archiver, unusable, usable_place
from duro.maintenance.archive.catalogue import Catalogue
from duro.maintenance.archive.format import decode_manifest, encode_manifest
from duro.maintenance.archive.place import ArchivePlace
from duro.maintenance.archive.reader import Archive
from duro.maintenance.archive.segments import Lines, read_segment, write_segment
from duro.maintenance.pruning import reclaim_all
from duro.model.archive import ArchivedHistory, RestoreResult
from duro.model.families import PurgeOptions
from duro.model.ledger import RunSource
from duro.model.records import InstanceFilter
from duro.stores.memory import MemoryStore
from duro.testing.builders import completed, prune_batch, removal_batch, start_request
from duro.testing.clock import ManualClock
from duro.testing.invariants import check_invariants
from duro.testing.scripted import ScriptedWorker
from tests.support.archives import FailingDisk, full, histories, kept, marked_loops, read_only
from tests.support.pruning import Loops

ALL = InstanceFilter()


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    opened = MemoryStore(clock=ManualClock(), new_id=lambda: "id")
    yield opened
    check_invariants(opened)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "archive"


def manifest_of(place: Path) -> Path:
    (found,) = place.glob("*/*.manifest.json")
    return found


# --- the directory ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("marker", "said"),
    [
        ('{"schema": "duro.archive/9"}', "is an archive of another version"),
        ("", "archive.json of archive .* is damaged"),
        ("{", "archive.json of archive .* is damaged"),
        ("[]", "archive.json of archive .* is damaged"),
        ("{}", "archive.json of archive .* is damaged"),
    ],
)
def test_an_archive_of_another_version_or_damaged_is_not_used(place: Path, marker: str, said: str) -> None:
    ArchivePlace(place).prepare()
    (place / "archive.json").write_text(marker)
    with pytest.raises(ArchiveUnavailableError, match=said):
        Archive(place)


def test_a_file_too_large_to_be_a_marker_is_not_read(place: Path) -> None:
    ArchivePlace(place).prepare()
    (place / "archive.json").write_text(" " * 100_000)
    with pytest.raises(ArchiveUnavailableError, match="is larger than 65536 bytes"):
        Archive(place)


def test_a_volume_that_belongs_there_and_is_not_mounted_is_not_stood_in_for(
    store: MemoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither on first use, when the store knows nothing of the archive yet: the table of file systems does."""
    volume = tmp_path / "back up"
    (volume / "deep").mkdir(parents=True)
    table = tmp_path / "fstab"
    written = str(volume).replace(" ", "\\040")
    table.write_text(f"# volumes\n\nLABEL=b {written}  ext4 defaults 0 2\nLABEL=s none swap sw 0 0\nLABEL=r / ext4\n")
    monkeypatch.setattr(place_module, "FSTAB", table)
    for path in (volume, volume / "duro", volume / "deep" / "duro"):
        with pytest.raises(ArchiveUnavailableError, match=f"its volume is not mounted at '{volume}'"):
            usable_place(store, path)
    assert os.listdir(volume) == ["deep"]  # noqa: PTH208 - names
    assert usable_place(store, tmp_path / "beside").check()
    monkeypatch.setattr(os.path, "ismount", lambda path: str(path) == str(volume))
    assert usable_place(store, volume / "duro").check()
    monkeypatch.undo()
    monkeypatch.setattr(place_module, "FSTAB", tmp_path / "none")
    assert usable_place(store, volume / "other").check()


def test_a_volume_that_is_not_mounted_may_be_stood_in_for_on_purpose(
    store: MemoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fstab").write_text(f"LABEL=b {tmp_path} ext4\n")
    monkeypatch.setattr(place_module, "FSTAB", tmp_path / "fstab")
    assert usable_place(store, tmp_path / "duro", any_archive=True).check()


def test_what_can_be_seen_of_an_archive_without_writing_to_it(
    store: MemoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = tmp_path / "new"
    assert unusable(store, new) == ""
    assert unusable(store, tmp_path / "no" / "new") == f"there is no directory '{tmp_path / 'no'}'"
    usable_place(store, new)
    assert unusable(store, new) == ""
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != str(new))
    assert unusable(store, new) == "it may not be written to"
    monkeypatch.undo()
    statvfs = os.statvfs

    def full(path: Path) -> os.statvfs_result:
        told = list(statvfs(path))
        told[1], told[3], told[4] = 4096, 3, 3  # of 4 KiB three blocks are free
        return os.statvfs_result(told)

    monkeypatch.setattr(os, "statvfs", full)
    assert unusable(store, new) == "its disk is full"


def test_a_directory_that_the_disk_does_not_tell_of_is_no_archive(store: MemoryStore, tmp_path: Path) -> None:
    """``Path.is_dir`` raises what the system says of the path, but for the usual: a failing disk, a name too long."""
    nowhere = tmp_path / ("x" * 300) / "new"
    with pytest.raises(ArchiveUnavailableError, match="cannot be made: File name too long"):
        usable_place(store, nowhere)
    assert unusable(store, nowhere) == "it cannot be looked at: File name too long"


@pytest.mark.parametrize("failure", [full, read_only])
def test_a_file_system_that_takes_no_file_is_found_by_writing_one(
    store: MemoryStore, place: Path, failure: Callable[[], OSError]
) -> None:
    usable_place(store, place).check_writable()
    before = sorted(os.listdir(place))  # noqa: PTH208 - names
    for at in range(3):
        found = ArchivePlace(place, FailingDisk(at, failure, once=True))
        with pytest.raises(ArchiveUnavailableError, match=f"cannot be written: {failure().strerror}"):
            found.check_writable()
        assert sorted(os.listdir(place)) == before  # noqa: PTH208 - names
    with ArchivePlace(place).locked(0.0):  # whoever holds it writes there
        ArchivePlace(place, FailingDisk(0, failure)).check_writable()


def test_names_that_are_none_of_segments_name_nothing(store: MemoryStore, place: Path) -> None:
    marked_loops(store, str(place))
    Archiver(store, None).write_all()
    with Archive(place) as archive:
        assert archive.count() == (6, 1)
        assert not archive.is_segment("../archive.json")
        with pytest.raises(ArchiveDamagedError, match="is no name of a segment"):
            archive.manifest("../archive.json")
        manifest_of(place).unlink()
        (segment,) = {each.segment for each in archive.executions()}
        assert archive.is_segment(segment)
        with pytest.raises(ArchiveDamagedError, match="has no manifest"):
            archive.manifest(segment)


def test_only_files_are_opened_and_no_links_are_followed(place: Path, tmp_path: Path) -> None:
    opened = ArchivePlace(place)
    opened.prepare()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x").touch()
    (place / "2026-11").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ArchiveUnavailableError, match="is a symbolic link"):
        opened.open_file(place / "2026-11" / "x")
    os.mkfifo(place / "pipe")
    with pytest.raises(ArchiveUnavailableError, match="is not a file"):
        opened.open_file(place / "pipe")


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("archive.json", "put the file that it leads to in its place"),
        ("lock", "put the file that it leads to in its place"),
        ("catalogue.db", "remove the link: the catalogue is made anew from the segments"),
    ],
)
def test_a_link_in_the_place_of_a_file_is_named_with_what_to_do(
    store: MemoryStore, place: Path, tmp_path: Path, name: str, remedy: str
) -> None:
    marked_loops(store, str(place))
    Archiver(store, None).write_all()
    (place / name).rename(tmp_path / "elsewhere")
    (place / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ArchiveUnavailableError) as raised:  # noqa: PT012 - one of the two opens each of them
        ArchivePlace(place).check_writable()
        Archive(place).executions()
    assert raised.value.message == f"'{place / name}' is a symbolic link, and an archive has none"
    assert raised.value.hint == remedy
    assert (tmp_path / "elsewhere").exists()


def test_a_month_that_is_a_link_is_named_with_what_to_do(store: MemoryStore, place: Path, tmp_path: Path) -> None:
    marked_loops(store, str(place))
    Archiver(store, None).write_all()
    (month,) = (each for each in place.iterdir() if each.is_dir())
    month.rename(tmp_path / "elsewhere")
    month.symlink_to(tmp_path / "elsewhere")
    with Archive(place) as archive:
        (check,) = archive.verify()
    assert check.problem == (
        f"'{month}' is a symbolic link, and an archive has none: put the directory that it leads to in its place"
    )


def test_a_pipe_in_the_place_of_a_manifest_is_named_and_not_waited_for(store: MemoryStore, place: Path) -> None:
    marked_loops(store, str(place))
    Archiver(store, None).write_all()
    manifest = manifest_of(place)
    manifest.unlink()
    os.mkfifo(manifest)
    with Archive(place) as archive:
        (check,) = archive.verify()
    assert check.problem.startswith(f"{str(manifest)!r} cannot be read: {str(manifest)!r} is not a file")


def test_a_lost_manifest_that_cannot_be_written_anew_is_a_problem_of_its_segment(
    store: MemoryStore, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marked_loops(store, str(place))
    Archiver(store, None).write_all()
    manifest_of(place).unlink()
    monkeypatch.setattr(ArchivePlace, "write_manifest", mock.Mock(side_effect=OSError(errno.EROFS, "read only")))
    with Archive(place) as archive:
        (check,) = archive.verify()
    assert "has no manifest" in check.problem
    assert list(place.glob("*/*.manifest.json")) == []


def test_whoever_is_interrupted_while_he_opens_an_archive_leaves_no_catalogue_open(
    store: MemoryStore, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marked_loops(store, str(place))
    Archiver(store, None).write_all()
    monkeypatch.setattr(Catalogue, "bring_up_to_date", mock.Mock(side_effect=KeyboardInterrupt))
    with mock.patch.object(Catalogue, "close", autospec=True, side_effect=Catalogue.close) as close:
        with pytest.raises(KeyboardInterrupt):
            Archive(place)
        assert close.call_count == 1


def test_where_files_cannot_be_locked_everybody_writes(place: Path) -> None:
    opened = ArchivePlace(place)
    opened.prepare()
    no_locks = OSError(errno.ENOLCK, "No locks available")
    with (
        mock.patch.object(fcntl, "flock", side_effect=no_locks),
        opened.locked(0.0) as mine,
        opened.locked(0.0) as mine_too,
    ):
        assert (mine, mine_too) == (True, True)


# --- the catalogue ---------------------------------------------------------------------------------------------


def test_a_segment_without_manifest_is_passed_over_while_somebody_writes(store: MemoryStore, place: Path) -> None:
    """It may be the one that is being written: its manifest comes last."""
    marked_loops(store, str(place))
    Archiver(store, None).write_all()
    manifest_of(place).unlink()
    (place / "catalogue.db").unlink()
    with ArchivePlace(place).locked(0.0), Archive(place) as archive:
        assert archive.executions() == ()
        assert list(archive.verify()) == []
    with Archive(place) as archive:
        assert len(archive.executions()) == 6
        manifest_of(place).unlink()
        (check,) = archive.verify()
        assert (check.problem, check.histories) == ("", 6)
        assert manifest_of(place).exists(), "nobody writes: it was lost, and is made anew"


def test_a_segment_is_read_into_the_catalogue_in_pieces(
    store: MemoryStore, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue_module, "_ROWS_A_BATCH", 2)
    marked_loops(store, str(place))
    Archiver(store, None).write_all()
    (place / "catalogue.db").unlink()
    assert kept(place) == {(incarnation, number) for incarnation in (1, 2) for number in (1, 2, 3)}


def test_a_catalogue_that_turns_out_to_be_damaged_is_made_anew(store: MemoryStore, place: Path) -> None:
    loops, _ = marked_loops(store, str(place))
    writer = Archiver(store, None)
    while writer.step().more:
        pass
    file = place / "catalogue.db"
    file.write_bytes(b"no database at all" * 1_000)
    loops.go_on(2)
    store.prune(prune_batch((loops.incarnation("a"), 1), archive=str(place)))
    while writer.step().more:
        pass
    writer.close()
    assert store.waiting_archives() == ()
    assert len(kept(place)) == 8


def test_a_catalogue_that_cannot_be_read_says_so(store: MemoryStore, place: Path) -> None:
    marked_loops(store, str(place))
    Archiver(store, None).write_all()
    catalogue = Catalogue(ArchivePlace(place), writable=True)
    catalogue._connection.execute("DROP TABLE histories")
    with pytest.raises(ArchiveUnavailableError, match="cannot be read: no such table"):
        catalogue.executions()
    with pytest.raises(ArchiveUnavailableError, match="cannot be read: no such table"):
        catalogue.count(None)
    catalogue.close()


def test_what_only_the_catalogue_has_is_not_in_the_archive(store: MemoryStore, place: Path) -> None:
    marked_loops(store, str(place))
    Archiver(store, None).write_all()
    with closing(sqlite3.connect(place / "catalogue.db")) as connection:
        connection.execute("UPDATE histories SET execution_id = 77 WHERE execution_id = 3 AND instance_id = 'a'")
        connection.commit()
    with Archive(place) as archive:
        found = archive.find("a", 77)
        assert found is not None
        with pytest.raises(ArchiveDamagedError, match=r"does not have what the catalogue says it has.*archive verify"):
            archive.read_one(found)


# --- writing ---------------------------------------------------------------------------------------------------


def test_an_archiver_that_goes_from_one_archive_to_the_next_keeps_both_catalogues(
    store: MemoryStore, tmp_path: Path
) -> None:
    loops = Loops(store)
    loops.start("a", "b")
    loops.go_on(3)
    for name in ("a", "b"):
        store.prune(prune_batch((loops.incarnation(name), 1), archive=str(tmp_path / name)))
    writer = Archiver(store, None)
    while writer.step().more:
        pass
    writer.close()
    for number, name in enumerate(("a", "b"), 1):
        with sqlite3.connect(tmp_path / name / "catalogue.db") as connection:
            assert connection.execute("SELECT DISTINCT incarnation FROM histories").fetchall() == [(number,)]
        connection.close()


@pytest.mark.parametrize("all_at_once", [False, True])
def test_in_small_pieces_everything_is_written_and_noted(
    store: MemoryStore, place: Path, monkeypatch: pytest.MonkeyPatch, all_at_once: bool
) -> None:
    monkeypatch.setattr(archiver_module, "_EVENTS_A_READ", 1)
    monkeypatch.setattr(archiver_module, "_NOTES_A_BATCH", 1)
    monkeypatch.setattr(segments_module, "_PIECE_BYTES", 16)
    _, before = marked_loops(store, str(place))
    writer = Archiver(store, None)
    if all_at_once:
        (outcome,) = writer.write_all()
        assert (outcome.histories, outcome.waiting) == (6, 0)
    else:
        while writer.step().more:
            pass
        writer.close()
    reclaim_all(store)
    assert store.backlog().unarchived_executions == 0
    with Archive(place) as archive:
        read = {
            (each.incarnation, each.execution_id): list(history.history.events)
            for each, history in archive.read(archive.executions())
        }
    there = histories(store.dump())
    assert {**read, **there} == histories(before)


def test_what_somebody_else_takes_between_two_looks_is_no_segment(
    store: MemoryStore, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marked_loops(store, str(place))
    look = store.list_unarchived
    answers = [look(1), ()]
    monkeypatch.setattr(store, "list_unarchived", lambda *asked: answers.pop(0) if answers else look(*asked))
    (outcome,) = Archiver(store, None).write_all()
    assert (outcome.histories, outcome.segments, outcome.waiting) == (6, 1, 0)


def test_a_segment_that_is_full_leaves_the_next_instance_for_the_next_one(store: MemoryStore, place: Path) -> None:
    worker = ScriptedWorker(store)
    store.start_instances([start_request("a"), start_request("b")])
    for leased in worker.lease().instances:
        worker.run(leased, completed())
    both = [(record.incarnation, PurgeOptions(keep_last=1)) for record in store.list_instances(ALL, 0, None).instances]
    store.start_instances([start_request("c")])
    worker.run(worker.take("c"), completed())
    assert all(each.removed for each in store.remove(removal_batch(*both, archive=str(place))))
    writer = Archiver(store, None, events_max=1)
    assert [writer.step().instances, writer.step().instances, writer.step().instances] == [1, 1, 0]
    writer.close()
    assert store.waiting_archives() == ()
    assert kept(place) == {(1, 1), (2, 1)}


def test_a_history_that_packs_badly_is_written_as_it_comes(store: MemoryStore, place: Path) -> None:
    marked_loops(store, str(place))
    (waiting,) = store.list_unarchived(1)
    noise = tuple(msgspec.json.encode(os.urandom(100_000).hex()).decode() for _ in range(10))
    opened = ArchivePlace(place)
    opened.prepare()
    history = ArchivedHistory(execution=waiting, events=noise)
    manifest = write_segment(opened, [(history, False)], store_id="s", now_ms=1, level=1)
    assert manifest.file_bytes > 1_000_000
    (read,) = read_segment(opened, manifest)
    assert read.history.events == noise


def test_what_was_packed_wrongly_is_not_taken_for_an_archive(
    store: MemoryStore, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is what was written to it, and not what was meant."""
    marked_loops(store, str(place))
    honest = segments_module._write

    def packed(*given: Any, **named: Any) -> Any:
        end, content_bytes = honest(*given, **named)
        return end, content_bytes + 1

    with monkeypatch.context() as patched:
        patched.setattr(segments_module, "_write", packed)
        (outcome,) = Archiver(store, None).write_all()
    assert "is not what is read back: it has" in outcome.problem
    assert (outcome.segments, outcome.waiting) == (0, 6)
    assert list(place.glob("*/*.zst")) == []


def test_whoever_may_wait_writes_when_the_other_one_is_done(place: Path) -> None:
    opened = ArchivePlace(place)
    opened.prepare()
    with ExitStack() as other:
        assert other.enter_context(opened.locked(0.0))
        sleep = mock.patch("duro.maintenance.archive.place.time.sleep", side_effect=lambda _: other.close())
        with sleep, opened.locked(60.0) as mine:
            assert mine


def test_a_catalogue_without_its_tables_cannot_be_written_and_is_not_thrown_away(
    store: MemoryStore, place: Path
) -> None:
    marked_loops(store, str(place))
    Archiver(store, None).write_all()
    manifest = decode_manifest(manifest_of(place).read_bytes())
    catalogue = Catalogue(ArchivePlace(place), writable=True)
    catalogue._connection.execute("DROP TABLE segments")
    with pytest.raises(ArchiveUnavailableError, match="cannot be written: no such table"):
        catalogue.add(manifest, [], [])
    catalogue.close()
    assert (place / "catalogue.db").exists()


# --- restoring -------------------------------------------------------------------------------------------------


def test_a_restoration_in_small_parts_can_be_stopped_and_gone_on_with(
    store: MemoryStore, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_module, "_RESTORE_EVENTS_MAX", 2)
    loops, _ = marked_loops(store, str(place))
    Archiver(store, None).write_all()
    reclaim_all(store)
    told: list[int] = []

    def stop(so_far: RestoreResult) -> bool:
        told.append(so_far.executions)
        return False

    def restore(progress: Callable[[RestoreResult], bool] | None = None) -> RestoreResult:
        with Archive(place) as archive:
            return archive.restore(
                store,
                archive.chosen("a"),
                run_id="restore-a",
                hold_until_ms=10**15,
                by="ann",
                source=RunSource(),
                progress=progress,
            )

    assert restore(stop).executions == 1
    assert told == [1]
    assert (restore().executions, loops.live("a")) == (2, [1, 2, 3, 4])


# --- lines -----------------------------------------------------------------------------------------------------


def test_lines_are_the_same_however_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    data = b"one\n\ntwo two\n" + b"x" * 50 + b"\n"
    for size in (1, 2, 7, 100):
        lines = Lines(data[at : at + size] for at in range(0, len(data), size))
        assert [lines.take(1), lines.take(2), lines.take(9)] == [[b"one"], [b"", b"two two"], [b"x" * 50]]
        assert lines.bytes == len(data)
    with pytest.raises(ArchiveDamagedError, match="its last line is cut off"):
        Lines(iter([b"one\ntwo"])).take(2)
    monkeypatch.setattr(segments_module, "LINE_BYTES_MAX", 10)
    with pytest.raises(ArchiveDamagedError, match="a line of it is longer than 10 bytes"):
        Lines(iter([b"12345", b"678901"])).take(1)


# --- segments that are not as they were written, and whose manifest does not tell -------------------------------


def one_problem(place: Path) -> str:
    with Archive(place) as archive:
        (check,) = archive.verify()
    return check.problem


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda data: data + b"more", "something stands behind its end"),
        (lambda data: data + data, "something stands behind its end"),
        (lambda data: data + b"\0" * 3_000_000, "something stands behind its end"),
        (lambda data: data[:-5], "it is cut off"),
        (lambda data: b"no zstd" + data, "it cannot be unpacked"),
        (lambda data: b"", "it is cut off"),
    ],
    ids=["bytes behind", "a frame behind", "much behind", "cut off", "something else", "empty"],
)
def test_a_segment_without_manifest_is_one_whole_frame_or_damaged(
    store: MemoryStore, place: Path, damage: Callable[[bytes], bytes], problem: str
) -> None:
    marked_loops(store, str(place))
    Archiver(store, None).write_all()
    manifest_of(place).unlink()
    (segment,) = place.glob("*/*.jsonl.zst")
    segment.write_bytes(damage(segment.read_bytes()))
    assert problem in one_problem(place)


def test_a_manifest_that_says_another_size_of_the_content_is_found(store: MemoryStore, place: Path) -> None:
    marked_loops(store, str(place))
    Archiver(store, None).write_all()
    file = manifest_of(place)
    manifest = decode_manifest(file.read_bytes())
    for difference, problem in ((1, "it is not what its manifest says"), (-1, "unpacked it is more than")):
        changed = msgspec.structs.replace(manifest, content_bytes=manifest.content_bytes + difference)
        file.write_bytes(encode_manifest(changed))
        assert problem in one_problem(place)
    file.write_bytes(encode_manifest(msgspec.structs.replace(manifest, histories=7)))
    assert one_problem(place) != ""
    file.write_bytes(encode_manifest(manifest))
    assert one_problem(place) == ""
