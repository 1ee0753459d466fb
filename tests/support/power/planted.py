"""Mistakes in what is written and synced when. Each is made while a run is recorded, and its states must show it."""

import contextlib
import itertools
import os
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final
from unittest.mock import patch

import apsw
import msgspec

from duro.disk import DISK, Disk
from duro.maintenance.archive import archiver, segments
from duro.maintenance.archive import place as places
from duro.maintenance.archive.archiver import Archiver
from duro.maintenance.archive.format import Manifest
from duro.maintenance.archive.place import ArchivePlace
from duro.maintenance.archive.segments import Entry
from duro.model.removal import PruneBatch
from duro.settings import files as settings_files
from duro.stores.sqlite import (
    SqliteStore,
    archiving,
    connection,
    migrations,
    pruning,
    retaining,
    space,
    sql,
    sql_pruning,
    turn_pruning,
    turns,
)
from duro.stores.sqlite.committer import Committer, Transaction
from tests.support.power.disk import Operation, Sync, SyncDirectory
from tests.support.power.recorder import Lie, truthful
from tests.support.power.scenarios import ARCHIVE


@dataclass(frozen=True)
class Planted:
    """``mistake``: it is made for as long as this is entered. ``lies``: the disk, or what is above it, makes it."""

    scenario: str
    mistake: Callable[[], AbstractContextManager[Any]] = nullcontext
    lies: Lie = truthful


# --- what SQLite is told, and what its files are not ------------------------------------------------------------


@contextlib.contextmanager
def _synchronous(name: str, level: int) -> Iterator[None]:
    with (
        patch.dict(sql.SET_SYNCHRONOUS, FULL=f"PRAGMA synchronous = {name}"),
        patch.dict(connection._SYNCHRONOUS_LEVEL, FULL=level),
    ):
        yield


@contextlib.contextmanager
def _journal_mode(mode: str) -> Iterator[None]:
    """Said once more right before the migrations, which then need no log."""
    real = migrations.migrate

    def migrate(writer: apsw.Connection, *args: Any) -> None:
        writer.execute(f"PRAGMA journal_mode = {mode}")
        real(writer, *args)
        writer.execute(sql.SET_JOURNAL_MODE)

    with patch.object(migrations, "migrate", migrate):
        yield


def _no_sync_of(suffix: str) -> Lie:
    return lambda operation, name: isinstance(operation, Sync) and name.endswith(suffix)


def _no_sync_of_directories(operation: Operation, _name: str) -> bool:
    return isinstance(operation, SyncDirectory)


# --- what is said and done too early ----------------------------------------------------------------------------


@contextlib.contextmanager
def _answers_before_the_commit() -> Iterator[None]:
    """The commit of what was answered is made when somebody reads or writes again."""
    begin, reading = Committer._begin, SqliteStore._reading

    def commit(writer: Committer | None) -> None:
        if writer is not None and writer.connection.in_transaction:
            writer.connection.execute("COMMIT")

    def begin_late(self: Committer, *, bulk: bool) -> None:
        commit(self)
        begin(self, bulk=bulk)

    def read_late(self: SqliteStore) -> AbstractContextManager[apsw.Connection]:
        commit(self._writer)
        return reading(self)

    with (
        patch.object(sql, "COMMIT", "SELECT 'later'"),
        patch.object(Committer, "_begin", begin_late),
        patch.object(SqliteStore, "_reading", read_late),
    ):
        yield


@contextlib.contextmanager
def _in_a_transaction_of_its_own(owner: Any, name: str) -> Iterator[None]:
    """What was written before the call is committed before it."""
    real = getattr(owner, name)

    def split(transaction: Transaction, *args: Any, **fields: Any) -> Any:
        transaction.flush()
        transaction.connection.execute("COMMIT")
        transaction.connection.execute(sql.BEGIN_WRITE)
        return real(transaction, *args, **fields)

    with patch.object(owner, name, split):
        yield


@contextlib.contextmanager
def _deletes_before_it_marks() -> Iterator[None]:
    """An order that only marks deletes the histories first."""
    real = pruning.Removal._mark

    def mark(self: pruning.Removal, incarnation: int, executions: pruning.Range, takes: bool) -> None:
        writer = self._transaction.connection
        writer.execute(sql_pruning.DELETE_HISTORY, (incarnation, *executions))
        writer.execute("COMMIT")
        writer.execute(sql.BEGIN_WRITE)
        real(self, incarnation, executions, takes)

    with patch.object(pruning.Removal, "_mark", mark):
        yield


@contextlib.contextmanager
def _migrates_without_transactions() -> Iterator[None]:
    """Each statement of a migration is committed by itself."""
    with patch.object(sql, "BEGIN_WRITE", "SELECT 1"), patch.object(sql, "COMMIT", "SELECT 1"):
        yield


@contextlib.contextmanager
def _cuts_the_log_without_copying_it() -> Iterator[None]:
    """A log that is emptied before what is in it was synced in the file."""
    with patch.object(sql, "CUT_LOG", "PRAGMA synchronous = OFF; PRAGMA wal_checkpoint(TRUNCATE)"):
        yield


# --- other files ------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _no_fsync_of_files() -> Iterator[None]:
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            real(descriptor)

    with patch.object(os, "fsync", fsync):
        yield


@contextlib.contextmanager
def _no_fsync_of_directories() -> Iterator[None]:
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            real(descriptor)

    with patch.object(os, "fsync", fsync):
        yield


@contextlib.contextmanager
def _written_in_place() -> Iterator[None]:
    def edit_file(path: Path, file: str, edit: Callable[[bytes], bytes]) -> bool:
        path.write_bytes(edit(settings_files.read_file(path, file)))
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        return True

    with patch("tests.support.power.scenarios.edit_file", edit_file):
        yield


@contextlib.contextmanager
def _named_before_it_is_written() -> Iterator[None]:
    """The backup gets its name first, and is copied then."""
    real = space._copy

    def copy(source: apsw.Connection, part: Path, progress: Callable[[int, int], object]) -> None:
        target = part.with_name(part.name.split(".", 1)[1].rsplit(".", 2)[0])
        os.link(part, target)
        DISK.sync_directory(part.parent)
        real(source, part, progress)
        target.unlink()

    with patch.object(space, "_copy", copy):
        yield


# --- archives ---------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _not_synced(of: Callable[[Path], bool]) -> Iterator[None]:
    """A file or a directory of an archive."""
    sync, sync_directory = Disk.sync, Disk.sync_directory

    def some(real: Callable[[Disk, Path], None]) -> Callable[[Disk, Path], None]:
        return lambda self, path: None if of(path) else real(self, path)

    with (
        patch.object(Disk, "sync", some(sync)),
        patch.object(Disk, "sync_directory", some(sync_directory)),
    ):
        yield


def _is_segment(path: Path) -> bool:
    return path.name.endswith(".part") and ".zst" in path.name


@contextlib.contextmanager
def _noted_before_it_is_written() -> Iterator[None]:
    """The store lets go of histories of which the archive has only the names."""
    write = segments.write_segment
    held: list[Callable[[], object]] = []

    def read_only(place: ArchivePlace, entries: Iterable[Entry], **named: Any) -> Manifest:
        kept = list(entries)
        with tempfile.TemporaryDirectory() as elsewhere:
            other = ArchivePlace(Path(elsewhere))
            other.prepare()
            held.append(partial(write, place, kept, **named))
            return write(other, kept, **named)

    finish = Archiver._finish

    def note_first(self: Archiver, place: ArchivePlace, manifest: Manifest, segment: Any) -> None:
        finish(self, place, manifest, segment)
        held.pop()()

    with patch.object(archiver, "write_segment", read_only), patch.object(Archiver, "_finish", note_first):
        yield


@contextlib.contextmanager
def _segment_written_in_place() -> Iterator[None]:
    """Under its name from the first byte on."""

    @contextlib.contextmanager
    def new_file(target: Path, disk: Disk = DISK) -> Iterator[Path]:
        disk.create(target)
        yield target
        disk.sync(target)
        disk.sync_directory(target.parent)

    with patch.object(segments, "new_file", new_file):
        yield


@contextlib.contextmanager
def _manifest_comes_first() -> Iterator[None]:
    """It says of a segment what nobody has written yet."""
    real, numbers = segments.write_segment, itertools.count()

    def write(place: ArchivePlace, entries: Iterable[Entry], **named: Any) -> Manifest:
        kept = list(entries)
        name = f"f{next(numbers):015x}"
        with patch.object(places, "secrets", SimpleNamespace(token_hex=lambda _: name)):
            with tempfile.TemporaryDirectory() as elsewhere:
                other = ArchivePlace(Path(elsewhere))
                other.prepare()
                manifest = real(other, kept, **named)
            place.new_segment(named["now_ms"])
            place.write_manifest(manifest)
            with patch.object(ArchivePlace, "write_manifest"):
                return real(place, kept, **named)

    with patch.object(archiver, "write_segment", write):
        yield


@contextlib.contextmanager
def _reclaims_what_waits() -> Iterator[None]:
    """Whoever prunes forgets that there is an archive."""
    prune = SqliteStore.prune

    def forgetful(self: SqliteStore, batch: PruneBatch, **named: Any) -> Any:
        return prune(self, msgspec.structs.replace(batch, archive=None), **named)

    with patch.object(SqliteStore, "prune", forgetful):
        yield


PLANTED: Final[dict[str, Planted]] = {
    "synchronous is NORMAL": Planted("continue as new", lambda: _synchronous("NORMAL", 1)),
    "synchronous is OFF": Planted("prune by hand", lambda: _synchronous("OFF", 0)),
    "the log is not synced": Planted("undo", lies=_no_sync_of("-wal")),
    "the file is not synced when the log is copied": Planted("compact", lies=_no_sync_of("duro.db")),
    "the directory of a new log is not synced": Planted("prune by hand", lies=_no_sync_of_directories),
    "the log is cut unsynced": Planted("compact", _cuts_the_log_without_copying_it),
    "the answer comes before the commit": Planted("prune by hand", _answers_before_the_commit),
    "a long prune does not sync at its end": Planted("prune in bulk", lambda: patch.object(Committer, "sync")),
    "a purge does not sync at its end": Planted("purge of a tree", lambda: patch.object(Committer, "sync")),
    "the prune of a turn has a transaction of its own": Planted(
        "prune and continue", lambda: _in_a_transaction_of_its_own(turns, "prune_turns")
    ),
    "what a turn leaves is noted in a transaction of its own": Planted(
        "prune of what a turn leaves", lambda: _in_a_transaction_of_its_own(turn_pruning, "ask")
    ),
    "what code asked for is done in a transaction of its own": Planted(
        "prune of what a turn leaves", lambda: _in_a_transaction_of_its_own(pruning, "_note_done")
    ),
    "histories are deleted before they are marked": Planted("prune by hand", _deletes_before_it_marks),
    "the hold of an undo has a transaction of its own": Planted(
        "undo", lambda: _in_a_transaction_of_its_own(retaining, "insert_holds")
    ),
    "a migration has no transaction": Planted("migration", _migrates_without_transactions),
    "a migration has its journal in memory": Planted("migration", lambda: _journal_mode("MEMORY")),
    "a migration has no journal": Planted("migration", lambda: _journal_mode("OFF")),
    "settings are replaced unsynced": Planted("settings", _no_fsync_of_files),
    "the directory of replaced settings is not synced": Planted("settings", _no_fsync_of_directories),
    "settings are written in place": Planted("settings", _written_in_place),
    "the directory of a backup is not synced": Planted("backup", _no_fsync_of_directories),
    "a backup has its name before its contents": Planted("backup", _named_before_it_is_written),
    "an export is not synced": Planted("export", _no_fsync_of_files),
    "a plan is not synced": Planted("plan file", _no_fsync_of_files),
    "a segment is not synced": Planted("archive and prune", lambda: _not_synced(_is_segment)),
    "a manifest is not synced": Planted("archive and prune", lambda: _not_synced(lambda path: "manifest" in path.name)),
    "the mark of an archive is not synced": Planted(
        "archive and prune", lambda: _not_synced(lambda path: path.name.startswith(".archive.json"))
    ),
    "the directory of a segment is not synced": Planted(
        "archive and prune", lambda: _not_synced(lambda path: path.name[:2] == "20")
    ),
    "the directory of an archive is not synced": Planted(
        "archive write", lambda: _not_synced(lambda path: path.name == ARCHIVE)
    ),
    "the name of an archive is not synced": Planted(
        "archive write", lambda: _not_synced(lambda path: path.name == "run")
    ),
    "the store lets go before the archive has it": Planted("archive and prune", _noted_before_it_is_written),
    "a segment has its name before its contents": Planted("archive and prune", _segment_written_in_place),
    "a manifest comes before its segment": Planted("archive write", _manifest_comes_first),
    "what waits for its archive is reclaimed": Planted("archive and prune", _reclaims_what_waits),
    "the hold of a restoration has a transaction of its own": Planted(
        "restore", lambda: _in_a_transaction_of_its_own(archiving, "_hold")
    ),
    "a restoration is not synced": Planted("restore", lambda: _synchronous("NORMAL", 1)),
}
