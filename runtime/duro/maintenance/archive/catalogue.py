"""What is where in an archive: a SQLite file of its own, for the command line, for Datasette, for anybody's SQL.

It says nothing that the segments do not say. What it does not know of is read from them, and when it is lost, damaged
or of another version it is made anew; where it cannot be written it is made in memory.
"""

import contextlib
import os
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec

from duro.errors import ArchiveDamagedError, ArchiveError, ArchiveUnavailableError
from duro.maintenance.archive import sql_catalogue as sql
from duro.maintenance.archive.format import HistoryRead, Manifest
from duro.maintenance.archive.place import CATALOGUE, ArchiveFileError, ArchivePlace, linked
from duro.maintenance.archive.segments import measure_segment, read_segment
from duro.model.archive import ArchivableExecution, ArchivableInstance
from duro.model.status import ExecutionStatus
from duro.retention.names import matches

CATALOGUE_VERSION: Final = 2

_ROWS_A_BATCH: Final = 1_000
_BUSY_S: Final = 10.0


ArchivedPlace: TypeAlias = tuple[int, str, int, int]
"""Where an execution stands among all of an archive: when it was archived, segment, incarnation, execution."""


class ArchivedExecution(msgspec.Struct, frozen=True, kw_only=True):
    """An execution in an archive: ``segment`` has it since ``archived_at_ms`` (by the clock of its store).
    ``with_instance``: it was live when its instance was removed. ``run_id`` is as in ``ArchivableExecution``."""

    store_id: str
    instance_id: str
    incarnation: int
    execution_id: int
    name: str
    version: str
    status: ExecutionStatus
    started_at_ms: int
    completed_at_ms: int | None
    events: int
    history_bytes: int
    pruned_at_ms: int | None
    run_id: str | None
    with_instance: bool
    segment: str
    archived_at_ms: int

    @property
    def place(self) -> ArchivedPlace:
        return self.archived_at_ms, self.segment, self.incarnation, self.execution_id


class Catalogue:
    """An open one; close it. ``writable`` False: changes are kept in memory. ``checked``: a damaged one is made anew;
    else whoever writes to it finds out."""

    def __init__(self, place: ArchivePlace, *, writable: bool, checked: bool = True) -> None:
        self.place = place
        self._path = place.path / CATALOGUE
        self._writable = writable
        self._checked = checked
        self._in_file = True
        self._connection = self._open()

    def close(self) -> None:
        self._connection.close()

    # --- opening -----------------------------------------------------------------------------------------------

    def _open(self) -> sqlite3.Connection:
        with _errors(self.place, "written"):
            return self._opened()

    def _opened(self) -> sqlite3.Connection:
        with contextlib.suppress(sqlite3.Error, OSError):
            found = self._existing()
            if found is not None:
                return found
        if not self._writable:
            return self._made(sqlite3.connect(":memory:"))
        with self.place.errors("written"):
            for ending in ("", "-journal"):
                self.place.disk.unlink(self._path.with_name(CATALOGUE + ending))
            self.place.disk.create(self._path)
        return self._made(self._connected("rw"))

    def _existing(self) -> sqlite3.Connection | None:
        """The one that is there, if it can be used."""
        if self._path.is_symlink():
            hint = "remove the link: the catalogue is made anew from the segments"
            raise ArchiveUnavailableError(linked(self._path), hint=hint)
        if not self._path.exists():
            return None
        connection = self._connected("rw" if self._writable else "ro")
        usable = False
        try:
            (version,) = connection.execute(sql.GET_VERSION).fetchone()
            usable = version == CATALOGUE_VERSION and (not self._checked or _is_whole(connection))
        finally:
            if not usable:
                connection.close()
        return connection if usable else None

    def _connected(self, mode: str) -> sqlite3.Connection:
        uri = f"file:{_quoted(os.fspath(self._path))}?mode={mode}"
        return sqlite3.connect(uri, uri=True, timeout=_BUSY_S, check_same_thread=False)

    def _made(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        from sqlite_utils import Database  # nobody else is to pay for loading it

        database = Database(connection)
        segments = database.table("segments", pk="segment")
        segments.create(sql.SEGMENTS, pk="segment")
        histories = database.table("histories")
        histories.create(
            sql.HISTORIES,
            pk=sql.HISTORIES_KEY,
            foreign_keys=[("segment", "segments", "segment")],
        )
        instances = database.table("instances")
        instances.create(sql.INSTANCES, pk=sql.INSTANCES_KEY, foreign_keys=[("segment", "segments", "segment")])
        connection.execute(sql.SET_VERSION)
        connection.commit()
        return connection

    # --- keeping it true ---------------------------------------------------------------------------------------

    def add(
        self,
        manifest: Manifest,
        executions: Sequence[tuple[ArchivableExecution, int, bool]],
        instances: Sequence[ArchivableInstance],
    ) -> None:
        """A segment that was written, or read: of each history its execution, the number of its events and whether it
        goes with its instance. What was said of it before is forgotten."""
        with self._writing():
            self._forget(manifest.segment)
            self._connection.execute(sql.INSERT_SEGMENT, _segment_row(manifest))
            self._connection.executemany(sql.INSERT_HISTORY, (_history_row(manifest, *each) for each in executions))
            self._connection.executemany(sql.INSERT_INSTANCE, (_instance_row(manifest, each) for each in instances))

    def bring_up_to_date(self, *, repair: bool = False) -> list[ArchiveError]:
        """Read the segments it does not know, forget those that are gone; what could not be read. ``repair``: a segment
        without a manifest, whose writer was interrupted, gets one (the caller has the archive's lock)."""
        there = set(self.place.segments())
        with _errors(self.place, "read"):
            known = {row[0] for row in self._connection.execute(sql.KNOWN_SEGMENTS)}
        if there == known:
            return []
        with self._writing():
            for segment in sorted(known - there):
                self._forget(segment)
        problems: list[ArchiveError] = []
        for segment in sorted(there - known):
            try:
                manifest = self.place.manifest_of(segment)
                if manifest is None:
                    if not repair:
                        continue
                    manifest = measure_segment(self.place, segment)
                    with self.place.errors("written"):
                        self.place.write_manifest(manifest)
                self._read_in(manifest)
            except (ArchiveDamagedError, ArchiveFileError) as error:
                problems.append(error)
        return problems

    def _move_to_memory(self) -> None:
        copy = sqlite3.connect(":memory:")
        with _errors(self.place, "read"):
            self._connection.backup(copy)
        self._connection.close()
        self._connection = copy
        self._in_file = False

    def _read_in(self, manifest: Manifest) -> None:
        waiting: list[HistoryRead] = []
        try:
            with self._writing():
                self._connection.execute(sql.INSERT_SEGMENT, _segment_row(manifest))
                for each in read_segment(self.place, manifest):
                    waiting.append(msgspec.structs.replace(each, history=_without_events(each)))
                    if len(waiting) >= _ROWS_A_BATCH:
                        self._add_read(manifest, waiting)
                self._add_read(manifest, waiting)
        except (ArchiveDamagedError, ArchiveFileError):
            with self._writing():
                self._forget(manifest.segment)
            raise

    def _add_read(self, manifest: Manifest, waiting: list[HistoryRead]) -> None:
        rows = (
            _history_row(manifest, each.history.execution, len(each.history.events), each.instance is not None)
            for each in waiting
        )
        self._connection.executemany(sql.INSERT_HISTORY, rows)
        instances = (_instance_row(manifest, each.instance) for each in waiting if each.instance is not None)
        self._connection.executemany(sql.INSERT_INSTANCE, instances)
        waiting.clear()

    def _forget(self, segment: str) -> None:
        for statement in sql.FORGET:
            self._connection.execute(statement, (segment,))

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        if self._in_file and not self._writable:
            self._move_to_memory()
        try:
            with self._connection:
                yield
        except sqlite3.Error as error:
            if error.sqlite_errorcode in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                with contextlib.suppress(OSError):  # the next one makes it anew
                    self.place.disk.unlink(self._path)
            with _errors(self.place, "written"):
                raise

    # --- reading -----------------------------------------------------------------------------------------------

    def executions(
        self,
        *,
        store_id: str | None = None,
        instance_id: str | None = None,
        execution_id: int | None = None,
        incarnation: int | None = None,
        name: str | None = None,
        limit: int = 0,
        after: ArchivedPlace | None = None,
    ) -> tuple[ArchivedExecution, ...]:
        """Those that were archived last, first; ``name`` is a pattern. ``limit`` 0: all."""
        archived_at_ms, segment, after_incarnation, after_execution = after or (None, None, None, None)
        self._connection.create_function("matches", 2, matches, deterministic=True)
        statement = sql.EXECUTIONS
        if instance_id is not None:
            statement = sql.EXECUTIONS_OF if execution_id is None else sql.ONE_EXECUTION
        with _errors(self.place, "read"):
            cursor = self._connection.execute(
                statement,
                {
                    "store_id": store_id,
                    "instance_id": instance_id,
                    "execution_id": execution_id,
                    "incarnation": incarnation,
                    "name": name,
                    "limit": limit or -1,
                    "archived_at_ms": archived_at_ms,
                    "segment": segment,
                    "after_incarnation": after_incarnation,
                    "after": after_execution,
                },
            )
            names = [column[0] for column in cursor.description]
            return tuple(
                msgspec.convert(dict(zip(names, row, strict=True)), ArchivedExecution, strict=False) for row in cursor
            )

    def latest_lives(self, instance_ids: Collection[str]) -> dict[tuple[str, str], int]:
        """The incarnation of the latest life that is there of each instance, by store and id."""
        with _errors(self.place, "read"):
            ids = msgspec.json.encode(list(instance_ids)).decode()
            return {
                (store_id, each): life for store_id, each, life in self._connection.execute(sql.LATEST_LIVES, (ids,))
            }

    def has_several_lives(self, store_id: str | None) -> bool:
        """Whether an id that was used again has histories of more than one life."""
        with _errors(self.place, "read"):
            return bool(self._connection.execute(sql.HAS_SEVERAL_LIVES, (store_id,)).fetchone()[0])

    def stores(self) -> tuple[str, ...]:
        """The ids of the stores that something was archived from."""
        with _errors(self.place, "read"):
            return tuple(row[0] for row in self._connection.execute(sql.STORES))

    def count(self, store_id: str | None) -> tuple[int, int]:
        """Histories and segments."""
        statements = (sql.COUNT_HISTORIES, sql.COUNT_SEGMENTS)
        with _errors(self.place, "read"):
            histories, segments = (self._connection.execute(each, (store_id,)).fetchone()[0] for each in statements)
        return histories, segments


def ids_in_catalogue(directory: Path, store_id: str, prefix: str, limit: int) -> Iterator[str]:
    """At most ``limit`` ids of instances of a store that begin with ``prefix``, as the catalogue of an archive has them
    now: nothing is brought up to date, written or locked.

    Raises:
        sqlite3.Error: there is none, or it cannot be read.
    """
    uri = f"file:{_quoted(os.fspath(directory / CATALOGUE))}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=0)) as connection:
        found, statement = prefix, sql.FIRST_ID
        while limit and (found := connection.execute(statement, (found,)).fetchone()[0]) is not None:
            if not found.startswith(prefix):
                return
            if connection.execute(sql.IS_OF_STORE, (found, store_id)).fetchone()[0]:
                limit -= 1
                yield found
            statement = sql.NEXT_ID


def _without_events(each: HistoryRead) -> Any:
    """Its events counted, not kept."""
    return msgspec.structs.replace(each.history, events=("",) * len(each.history.events))


def _segment_row(manifest: Manifest) -> tuple[Any, ...]:
    return tuple(getattr(manifest, column) for column in sql.SEGMENTS)


def _history_row(
    manifest: Manifest, execution: ArchivableExecution, events: int, with_instance: bool
) -> tuple[Any, ...]:
    """In the order of ``sql.HISTORIES``."""
    return (
        manifest.store_id,
        execution.incarnation,
        execution.execution_id,
        execution.instance_id,
        execution.name,
        execution.version,
        execution.status.value,
        execution.started_at_ms,
        execution.completed_at_ms,
        events,
        execution.history_bytes,
        execution.pruned_at_ms,
        execution.run_id,
        with_instance,
        manifest.segment,
        manifest.made_at_ms,
    )


def _instance_row(manifest: Manifest, instance: ArchivableInstance) -> tuple[Any, ...]:
    """In the order of ``sql.INSTANCES``."""
    return (
        manifest.store_id,
        instance.incarnation,
        instance.instance_id,
        instance.name,
        instance.version,
        instance.status.value,
        instance.execution_id,
        instance.created_at_ms,
        instance.completed_at_ms,
        instance.removed_at_ms,
        instance.run_id,
        None if instance.lineage is None else instance.lineage.parent.instance_id,
        manifest.segment,
    )


@contextlib.contextmanager
def _errors(place: ArchivePlace, done: str) -> Iterator[None]:
    """What SQLite says of the catalogue, as an error of ours."""
    try:
        yield
    except sqlite3.Error as error:
        raise ArchiveUnavailableError(
            f"the catalogue of archive {str(place.path)!r} cannot be {done}: {error}",
            hint=f"remove {CATALOGUE}: it is made anew from the segments",
        ) from error


def _is_whole(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute(sql.QUICK_CHECK).fetchone() == ("ok",))


def _quoted(path: str) -> str:
    from urllib.parse import quote

    return quote(path)
