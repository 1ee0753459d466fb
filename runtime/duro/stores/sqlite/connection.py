"""Connections to the file: how one is opened, what is asserted about it, and what its errors mean."""

import errno
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal, TypeAlias
from urllib.parse import quote

import apsw

from duro.errors import (
    NotADatabaseError,
    StoreClosedError,
    StoreCorruptError,
    StoreError,
    StoreForkedError,
    StoreFullError,
    StoreLockedError,
    StoreReadOnlyError,
)
from duro.stores.sqlite import sql
from duro.stores.sqlite.checkpoints import GradualCheckpoints

Synchronous = Literal["FULL", "NORMAL", "EXTRA"]

FaultHook: TypeAlias = Callable[[str], None]
"""For tests: called with the name of a fault point, raises what should go wrong there. See ``committer``."""

_SYNCHRONOUS_LEVEL: Final = {"NORMAL": 1, "FULL": 2, "EXTRA": 3}
_INCREMENTAL: Final = 2
_AUTOCHECKPOINT_PAGES: Final = 8000
_AUTOCHECKPOINT_PAGES_OF_BULK: Final = 2000
"""Where the system cannot write out a file in pieces (``checkpoints``)."""

_JOURNAL_SIZE_LIMIT_BYTES: Final = 64 * 1024 * 1024
_SHARED_MEMORY_BYTES: Final = 32 * 1024
_STATEMENTS_CACHED: Final = 500


# --- errors --------------------------------------------------------------------------------------------------


def store_error(error: apsw.Error, path: Path) -> StoreError:
    """What an SQLite error means to the operator, told by its code and never by its text."""
    if isinstance(error, apsw.ConnectionClosedError | apsw.CursorClosedError):
        return StoreClosedError("the store was closed")
    if isinstance(error, apsw.ForkingViolationError):
        return forked(path)
    match getattr(error, "result", 0):
        case apsw.SQLITE_BUSY | apsw.SQLITE_LOCKED:
            return StoreLockedError(f"{path} is locked by another process", hint="try again, or see who keeps it open")
        case apsw.SQLITE_FULL:
            return StoreFullError(f"no room to write {path}: the disk is full", hint="free some space, then try again")
        case apsw.SQLITE_CORRUPT:
            return StoreCorruptError(f"{path} is damaged ({error})", hint="keep a copy of it and restore a backup")
        case apsw.SQLITE_NOTADB:
            return NotADatabaseError(f"{path} is not a SQLite database", hint="check the path")
        case apsw.SQLITE_READONLY | apsw.SQLITE_PERM | apsw.SQLITE_AUTH:
            return read_only(path)
        case apsw.SQLITE_CANTOPEN:
            return StoreError(f"{path} cannot be opened ({error})", hint=_CANNOT_OPEN)
        case apsw.SQLITE_IOERR if _is_full(path):  # no room for the shared memory beside the file
            return StoreFullError(f"no room beside {path}: the disk is full", hint="free some space, then try again")
        case apsw.SQLITE_IOERR:
            return StoreError(f"reading or writing {path} failed ({error})", hint="check the disk and the system's log")
    return StoreError(f"{path}: {type(error).__name__}: {error}")


def system_error(error: OSError, path: Path) -> StoreError:
    """What the system said of the file, or of what is beside it."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreFullError(f"no room beside {path}: the disk is full", hint="free some space, then try again")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return read_only(path)
    return StoreError(
        f"reading or writing {path} failed ({error.strerror})", hint="check the disk and the system's log"
    )


_CANNOT_OPEN: Final = (
    "check its permissions and its directory's: SQLite writes beside it even to read it, unless the whole medium is "
    "read-only and there is no log beside it; else copy it, with its -wal, to a directory that can be written, or make "
    "a copy where it can be written (`duroctl backup`)"
)


def _is_full(path: Path) -> bool:
    try:
        return shutil.disk_usage(path.parent).free < _SHARED_MEMORY_BYTES
    except OSError:
        return False


def concerns_the_store(error: apsw.Error) -> bool:
    """Whether the error is about the file as a whole, so that trying a part of the work again is of no use."""
    return getattr(error, "result", 0) in _OF_THE_STORE


_OF_THE_STORE: Final = frozenset(
    {
        apsw.SQLITE_BUSY,
        apsw.SQLITE_LOCKED,
        apsw.SQLITE_FULL,
        apsw.SQLITE_CORRUPT,
        apsw.SQLITE_NOTADB,
        apsw.SQLITE_READONLY,
        apsw.SQLITE_PERM,
        apsw.SQLITE_CANTOPEN,
        apsw.SQLITE_IOERR,
        apsw.SQLITE_NOMEM,
        apsw.SQLITE_PROTOCOL,
    }
)


def read_only(path: Path) -> StoreReadOnlyError:
    return StoreReadOnlyError(
        f"{path} or its directory cannot be written",
        hint="check the permissions of both, for SQLite writes beside a store even to read it; or copy it, with its "
        "-wal, to a directory that can be written",
    )


def forked(path: Path) -> StoreForkedError:
    return StoreForkedError(
        f"{path} was opened before a fork(), in another process", hint="open the store again in this process"
    )


# --- opening -------------------------------------------------------------------------------------------------


def open_writer(path: Path, *, busy_timeout_ms: int, synchronous: Synchronous, new: bool) -> apsw.Connection:
    """A connection that writes, every pragma read back as set. ``new``: the file has no tables yet.

    Raises StoreReadOnlyError: the system opens the file for reading only.
    """
    connection = _connect(path, apsw.SQLITE_OPEN_READWRITE, busy_timeout_ms)
    try:
        if connection.readonly("main"):  # SQLite's answer to whatever else goes wrong, were it only for a moment
            raise StoreReadOnlyError(
                f"{path} could be opened for reading only",
                hint="check its permissions, the disk and the system's log, then try again",
            )
        if new:
            connection.execute(sql.SET_AUTO_VACUUM)
        _expect(connection.execute(sql.SET_JOURNAL_MODE).get, "wal", "journal_mode")
        _expect(connection.execute(sql.GET_JOURNAL_MODE).get, "wal", "journal_mode")
        connection.execute(sql.SET_SYNCHRONOUS[synchronous])
        _expect(connection.execute(sql.GET_SYNCHRONOUS).get, _SYNCHRONOUS_LEVEL[synchronous], "synchronous")
        connection.execute(sql.SET_WAL_AUTOCHECKPOINT)
        _expect(connection.execute(sql.GET_WAL_AUTOCHECKPOINT).get, _AUTOCHECKPOINT_PAGES, "wal_autocheckpoint")
        connection.execute(sql.SET_JOURNAL_SIZE_LIMIT)
        _expect(connection.execute(sql.GET_JOURNAL_SIZE_LIMIT).get, _JOURNAL_SIZE_LIMIT_BYTES, "journal_size_limit")
        connection.execute(sql.SET_CACHE_OF_WRITER)
        connection.execute(sql.SET_TEMP_STORE)
        if new:
            _make_incremental(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def set_bulk(
    connection: apsw.Connection, synchronous: Synchronous, checkpoints: GradualCheckpoints | None, *, bulk: bool
) -> None:
    """Between transactions: the following ones are of long work that syncs at its end, or of ``synchronous`` again."""
    connection.execute(sql.SET_SYNCHRONOUS["NORMAL" if bulk else synchronous])
    if bulk and checkpoints is not None:

        def committed(_connection: apsw.Connection, _schema: str, log_pages: int) -> int:
            checkpoints.committed(log_pages)
            return apsw.SQLITE_OK

        connection.set_wal_hook(committed)
    else:
        connection.wal_autocheckpoint(_AUTOCHECKPOINT_PAGES_OF_BULK if bulk else _AUTOCHECKPOINT_PAGES)


class BusyWait:
    """Waits for another process that writes. SQLite's own wait sleeps longer each time, up to 100 ms, and beside a
    process that writes all the time misses every gap; this one looks often for as long as a batch lasts, then seldom.

    ``bulk`` says whether it is for a batch of long work, which looks more often still. It lets others in after each of
    its batches, so it may take the next gap. Between equals that would only pass the lock to and fro, and each time the
    other's cache is void: two processes that write all the time get half as much done.
    """

    def __init__(self, connection: apsw.Connection, busy_timeout_ms: int, bulk: Callable[[], bool]) -> None:
        self.happened = False
        self._seldom = max(0, round(busy_timeout_ms / 1000 / _SELDOM_S))
        self._bulk = bulk
        connection.set_busy_handler(self._wait)

    def _wait(self, tries: int) -> bool:
        self.happened = True
        often, often_s = (_OFTEN_OF_BULK, _OFTEN_OF_BULK_S) if self._bulk() else (_OFTEN, _OFTEN_S)
        if tries >= often + self._seldom:
            return False
        time.sleep(often_s if tries < often else _SELDOM_S)
        return True


_OFTEN: Final = 100
_OFTEN_S: Final = 0.000_3
_OFTEN_OF_BULK: Final = 300
_OFTEN_OF_BULK_S: Final = 0.000_02
_SELDOM_S: Final = 0.005


def open_reader(path: Path, *, busy_timeout_ms: int, read_only: bool) -> apsw.Connection:
    """A connection that cannot write. ``read_only``: nor can its process; then it also reads what nobody can write."""
    if read_only and _is_finished(path):
        connection = _connect_immutable(path, busy_timeout_ms)
    else:
        flags = apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE
        connection = _connect(path, flags, busy_timeout_ms)
    try:
        connection.execute(sql.SET_QUERY_ONLY)
        connection.execute(sql.SET_CACHE_OF_READER)
        connection.execute(sql.SET_TEMP_STORE)
        connection.execute(sql.DATA_VERSION)  # reads the file: if it cannot be read, this is where it shows
    except BaseException:
        connection.close()
        raise
    return connection


def open_untouched(path: Path, *, busy_timeout_ms: int, may_recover: bool = False) -> apsw.Connection:
    """A connection to look at a file of unknown origin: it changes no byte and leaves no file beside it.

    A file without a log is opened as immutable, which takes no lock and makes no shared memory. One with a log is in
    use or was left by a crash: its log is read, and not written back. If there is a journal, too (the power failed as
    the file got its log), nothing can be read before it was played back: ``may_recover`` says that it may be.
    """
    if _has_bytes(Path(f"{path}-wal")):
        recovers = may_recover and _has_bytes(Path(f"{path}-journal"))
        flags = apsw.SQLITE_OPEN_READWRITE if recovers else apsw.SQLITE_OPEN_READONLY
        connection = _connect(path, flags, busy_timeout_ms)
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        return connection
    return _connect_immutable(path, busy_timeout_ms)


def _is_finished(path: Path) -> bool:
    """Whether the file is all there is of the store and stays as it is: on a medium mounted read-only, without a log
    or a journal, and without the shared memory that whoever has it open elsewhere would need."""
    try:
        medium = os.statvfs(path.parent)
    except OSError:
        return False
    beside = any(_has_bytes(Path(f"{path}{ending}")) for ending in ("-wal", "-journal"))
    return bool(medium.f_flag & os.ST_RDONLY) and not beside and not Path(f"{path}-shm").exists()


def _connect_immutable(path: Path, busy_timeout_ms: int) -> apsw.Connection:
    uri = f"file:{quote(str(path))}?immutable=1"
    return _connect(uri, apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI, busy_timeout_ms)


def _has_bytes(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:
        return False


def _connect(path: Path | str, flags: int, busy_timeout_ms: int) -> apsw.Connection:
    connection = apsw.Connection(str(path), flags=flags, statementcachesize=_STATEMENTS_CACHED)
    connection.set_busy_timeout(busy_timeout_ms)
    # Otherwise SQLite looks at bound values to see whether a partial index may serve, and prepares such a statement
    # anew for each value: ten times the cost of running it (sqlite.org/c3ref/c_dbconfig_defensive.html).
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    return connection


def _make_incremental(connection: apsw.Connection) -> None:
    """Auto-vacuum cannot be switched on once the file has a first page, which another process may have written."""
    if connection.execute(sql.GET_AUTO_VACUUM).get != _INCREMENTAL:
        if connection.execute(sql.COUNT_TABLES).get:
            return
        connection.execute(sql.VACUUM)
    _expect(connection.execute(sql.GET_AUTO_VACUUM).get, _INCREMENTAL, "auto_vacuum")


def _expect(actual: object, expected: object, pragma: str) -> None:
    """Raises StoreError: SQLite took a pragma and did not do it, so a promise of this store would not hold."""
    if actual != expected:
        raise StoreError(f"SQLite keeps {pragma} at {actual!r}, and {expected!r} is needed")


# --- the file ------------------------------------------------------------------------------------------------


def create_file(path: Path) -> None:
    """An empty file only its owner can read; SQLite gives the log and the shared memory the same mode."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return
    except OSError as error:
        raise read_only(path) from error
    os.close(descriptor)


_NETWORK_FILE_SYSTEMS: Final = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "glusterfs", "lustre", "beegfs", "gpfs"),
        *("fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.s3fs", "fuse.rclone", "fuse.gcsfuse", "fuse.mount-s3"),
    }
)


def network_file_system(directory: Path, mountinfo: str) -> str | None:
    """The type of the network file system ``directory`` (resolved) is on, or None. ``mountinfo`` is
    ``/proc/self/mountinfo``; the deepest mount point wins, and of two the later."""
    best, kind = -1, ""
    for line in mountinfo.splitlines():
        fields, separator, rest = line.partition(" - ")
        if not separator or len(fields.split()) < 5:
            continue
        point = Path(fields.split()[4].replace("\\040", " "))
        if (directory == point or point in directory.parents) and len(point.parts) >= best:
            best, kind = len(point.parts), rest.split()[0]
    return kind if kind in _NETWORK_FILE_SYSTEMS else None


def refuse_network_file_system(directory: Path) -> None:
    """Raises StoreError: shared memory and locks, which WAL rests on, do not hold between machines."""
    try:
        mountinfo = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux: nothing to go by
        return
    if kind := network_file_system(directory.resolve(), mountinfo):
        raise StoreError(
            f"{directory} is on a network file system ({kind}), where SQLite can lose or damage data",
            hint="use a local disk, or allow it by name if only one machine ever opens the store",
        )
