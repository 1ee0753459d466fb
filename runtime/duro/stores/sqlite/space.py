"""The room the file takes: what is in it, giving back what is free, and a copy of it all."""

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import apsw

from duro.disk import new_file
from duro.errors import BackupError, StoreError, StoreFullError, StoreLockedError, UsageError
from duro.model.space import FileSizes, MarkedUsage, NameUsage
from duro.stores.sqlite import sql
from duro.stores.sqlite.committer import Transaction

_INCREMENTAL: Final = 2
_PAGES_A_STEP: Final = 1_000
"""4 MB of a backup between two looks at whether to stop."""


def usage(connection: apsw.Connection, since_ms: int) -> tuple[NameUsage, ...]:
    executions: dict[Any, tuple[Any, ...]] = {
        name: counts for name, *counts in connection.execute(sql.USAGE_OF_EXECUTIONS, (since_ms,))
    }
    found = []
    for name, instances, unfinished in connection.execute(sql.USAGE_OF_INSTANCES):
        count, events, history_bytes, recent, recent_bytes = executions.get(name, (0, 0, 0, 0, 0))
        found.append(
            NameUsage(
                name=str(name),
                instances=_int(instances),
                unfinished=_int(unfinished),
                executions=count,
                events=events,
                history_bytes=history_bytes,
                recent_executions=recent,
                recent_bytes=recent_bytes,
            )
        )
    return tuple(sorted(found, key=lambda each: each.name))


def marked(connection: apsw.Connection) -> MarkedUsage:
    row: Any = connection.execute(sql.USAGE_OF_MARKED).fetchone()
    return MarkedUsage(executions=row[0], events=row[1], history_bytes=row[2])


def sizes(connection: apsw.Connection, path: Path) -> FileSizes:
    """The sizes of the files come from the directory: opening the file would drop SQLite's locks on it."""
    return FileSizes(
        file_bytes=_size(path),
        wal_bytes=_size(Path(f"{path}-wal")),
        free_bytes=_value(connection, sql.FREELIST_COUNT) * _value(connection, sql.PAGE_SIZE),
    )


# --- giving back -------------------------------------------------------------------------------------------------


def can_give_back(connection: apsw.Connection, path: Path) -> bool:
    """Whether anything is free.

    Raises:
        StoreError: this file cannot give back in steps.
    """
    if _value(connection, sql.GET_AUTO_VACUUM) != _INCREMENTAL:
        raise StoreError(
            f"{path} was made without incremental vacuum, so it cannot give back in steps",
            hint="write it anew once: duroctl compact --full",
        )
    return _value(connection, sql.FREELIST_COUNT) > 0


def give_back(transaction: Transaction, pages_max: int) -> int:
    before = transaction.value(sql.FREELIST_COUNT)
    for _ in transaction.connection.execute(sql.INCREMENTAL_VACUUM.format(pages=int(pages_max))):
        pass  # a row a page: whoever stops reading stops the vacuum
    given: int = before - transaction.value(sql.FREELIST_COUNT)
    return given


def check_room(now: FileSizes, path: Path) -> None:
    """Raises StoreFullError: the disks have no room for a copy of what is not free, and for the same again in the
    log."""
    needed = max(0, now.file_bytes - now.free_bytes)
    places = [(path.parent, needed), (_temporary_directory(), needed)]
    wanted: dict[int, int] = {}
    for directory, count in places:
        device = directory.stat().st_dev
        wanted[device] = wanted.get(device, 0) + count
        free = shutil.disk_usage(directory).free
        if free < wanted[device]:
            elsewhere = "" if directory == path.parent else "set SQLITE_TMPDIR to another disk, "
            raise StoreFullError(
                f"writing {path} anew needs {wanted[device]:,} bytes on the disk of {directory}, and {free:,} are free",
                hint=f"free some space, {elsewhere}or compact without --full",
            )


def _temporary_directory() -> Path:
    """Where SQLite puts its temporary files (sqlite.org/tempfiles.html, section 5)."""
    # looked at as SQLite looks at them; nothing is made there
    named = [os.environ.get("SQLITE_TMPDIR"), os.environ.get("TMPDIR"), "/var/tmp", "/usr/tmp", "/tmp"]  # noqa: S108
    for name in named:
        if name and Path(name).is_dir() and os.access(name, os.W_OK | os.X_OK):
            return Path(name)
    return Path()


def rewrite(connection: apsw.Connection) -> None:
    connection.execute(sql.SET_TEMP_STORE_ON_DISK)
    try:
        connection.execute(sql.SET_AUTO_VACUUM)
        connection.execute(sql.VACUUM)
    except apsw.BusyError as error:
        raise StoreLockedError(
            "somebody else uses the store, so it cannot be written anew", hint="stop the workers, then try again"
        ) from error
    finally:
        connection.execute(sql.SET_TEMP_STORE)


def cut_log(connection: apsw.Connection) -> bool:
    row: Any = connection.execute(sql.CUT_LOG).fetchone()
    return bool(row[0] == 0)


# --- room on a full disk -----------------------------------------------------------------------------------------

RESERVE_BYTES: Final = 1024 * 1024
"""Enough for a small batch in the log, and for what a checkpoint adds to the file before it can empty the log."""

_TO_OPEN_BYTES: Final = 128 * 1024

_ROOM_FOR_RESERVE: Final = 8
"""Times ``RESERVE_BYTES`` must be free for it to be set aside: a disk that is nearly full needs the room for work."""


def reserve_of(path: Path) -> Path:
    return Path(f"{path}-reserve")


def keep_reserve(path: Path) -> None:
    with contextlib.suppress(OSError):
        if shutil.disk_usage(path.parent).free < _ROOM_FOR_RESERVE * RESERVE_BYTES:
            return
        descriptor = os.open(reserve_of(path), os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, bytes(RESERVE_BYTES))  # a hole would keep no room
        finally:
            os.close(descriptor)


def shrink_reserve(path: Path) -> bool:
    """On a full disk: give a part of the reserve away, so that a store can be opened, which takes shared memory beside
    the file. Whether there was any."""
    with contextlib.suppress(OSError):
        left = reserve_of(path).stat().st_size - _TO_OPEN_BYTES
        if left >= 0 and shutil.disk_usage(path.parent).free < _TO_OPEN_BYTES:
            os.truncate(reserve_of(path), left)
            return True
    return False


def release_reserve(path: Path) -> bool:
    """Whether there was one."""
    try:
        reserve_of(path).unlink()
    except OSError:
        return False
    return True


# --- a copy ------------------------------------------------------------------------------------------------------


def backup(source: apsw.Connection, target: Path, progress: Callable[[int, int], object]) -> None:
    """``source`` is in a read transaction, so the copy is of one moment however long it takes."""
    source.execute(sql.STORE_ID).fetchone()  # the snapshot begins with the first read
    try:
        with new_file(target, also=("-journal", "-wal", "-shm"), tidy=True) as part:
            _copy(source, part, progress)
    except FileExistsError as error:
        raise UsageError(f"{str(target)!r} is there already", hint="choose another name, or remove it") from error
    except OSError as error:
        raise BackupError(
            f"{str(target)!r} cannot be written: {error.strerror}",
            hint="check the disk and the directory's permissions",
        ) from error
    except apsw.Error as error:
        reason = "the disk is full" if isinstance(error, apsw.FullError) else str(error)  # of that a copy says nothing
        raise BackupError(f"{str(target)!r} cannot be written: {reason}", hint="check the room on the disk") from error


def _copy(source: apsw.Connection, part: Path, progress: Callable[[int, int], object]) -> None:
    copy = apsw.Connection(str(part), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        with copy.backup("main", source, "main") as running:
            while not running.done:
                running.step(_PAGES_A_STEP)
                progress(running.page_count - running.remaining, running.page_count)
        copy.execute(sql.SET_JOURNAL_MODE_OF_BACKUP)
        if copy.execute(sql.QUICK_CHECK).get != "ok":
            raise BackupError("the copy is damaged", hint="look at the store with duroctl doctor --deep")
    finally:
        copy.close()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _value(connection: apsw.Connection, statement: str) -> int:
    return _int(connection.execute(statement).get)


def _int(value: object) -> int:
    return int(str(value))
