"""Checkpoints that let the neighbours sync: the log is copied into the file in small pieces, each written out at once.

SQLite copies the log into the file, then syncs the file. That sync hands the disk megabytes in one go, and a process
that syncs the log for its own commit meanwhile waits behind all of them. So a long removal checkpoints through a
connection of its own, below which every 128 KiB of the file are written out before the next are (``sync_file_range``):
the disk never has more than a piece of it to do, and the sync at the end finds nothing left. It is a hint only: what is
durable, and when, is still said by SQLite's own syncs. Where the system has no such call, SQLite checkpoints as ever.

A log begins anew only when all of it was copied and nobody has added to it since. Beside a process that writes all the
time that never happens by itself: the log would grow until that process makes a checkpoint of its own, in the middle
of its work. So a log that is nearly that long is copied in three passes: what is there, the little that was added
meanwhile, and the rest while nobody can write.
"""

import contextlib
import functools
import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import apsw

from duro.stores.sqlite import sql

_PIECE_BYTES: Final = 128 * 1024
_LOG_PAGES: Final = 3500
"""14 MiB are copied at a time."""

_LONG_LOG_PAGES: Final = 2 * _LOG_PAGES
"""Less than makes SQLite checkpoint by itself (8000), with room for what is written until the next look. A log that
was made to begin anew after each copy had the neighbours wait at the end of each (measured: p99.9 a fifth longer)."""

_PASSES: Final = (apsw.SQLITE_CHECKPOINT_PASSIVE, apsw.SQLITE_CHECKPOINT_PASSIVE, apsw.SQLITE_CHECKPOINT_FULL)
"""The second and the third only of a long log."""

_WAIT_S: Final = 0.005
"""How long the third pass tries to be the one that writes, and then to have no reader of an older state: if it
cannot, the log begins anew another time."""

_PAUSE_S: Final = 0.000_02

_DESCRIPTORS: Final = Path("/proc/self/fd")
_WAIT_WRITE_WAIT: Final = 0b111
"""SYNC_FILE_RANGE_WAIT_BEFORE, _WRITE and _WAIT_AFTER: whatever of the range is not on its way is sent, and waited for
(sync_file_range(2))."""

_numbers = itertools.count(1)

WriteOut = Callable[[int], object]
"""Write out what the system holds of the file with this descriptor."""


@functools.cache
def write_out_of_system() -> WriteOut | None:
    """How this system writes out a file without a sync, or None."""
    import ctypes  # only long removals need it

    call = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if call is None or not _DESCRIPTORS.is_dir():  # not Linux
        return None
    call.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    return lambda descriptor: call(descriptor, 0, 0, _WAIT_WRITE_WAIT)


class GradualCheckpoints:
    """Checkpoints of the file at ``path``, for the one thread that writes it. Opens what it needs when it is needed.

    ``write_out``: see ``write_out_of_system``.
    """

    def __init__(self, path: Path, write_out: WriteOut) -> None:
        self._path = path
        self._write_out = write_out
        self._files: _WrittenOutFiles | None = None
        self._connection: apsw.Connection | None = None
        self._copied_pages = 0
        """Of the log, at the last checkpoint."""
        self._until_s = 0.0

    def committed(self, log_pages: int) -> None:
        """After a commit that left ``log_pages`` in the log: when many were added since the last checkpoint, copy those
        that nobody reads. What cannot be copied now stays in the log until as many were added again."""
        if log_pages < self._copied_pages:  # it began anew
            self._copied_pages = 0
        if log_pages - self._copied_pages >= _LOG_PAGES:
            self._copied_pages = log_pages
            for mode in _PASSES if log_pages >= _LONG_LOG_PAGES else _PASSES[:1]:
                self._until_s = time.monotonic() + _WAIT_S
                with contextlib.suppress(apsw.Error, OSError):  # whatever it is, the commit is done
                    self._opened().wal_checkpoint(mode=mode)

    def _wait(self, _tries: int) -> bool:
        """SQLite's question whether to try again."""
        if time.monotonic() >= self._until_s:
            return False
        time.sleep(_PAUSE_S)
        return True

    def close(self) -> None:
        """Before the connection that writes is closed, which then makes the last checkpoint."""
        if self._connection is not None:
            self._connection.close()
        if self._files is not None:
            self._files.unregister()
        self._connection = self._files = None

    def _opened(self) -> apsw.Connection:
        if self._files is None:
            self._files = _WrittenOutFiles(f"duro-checkpoints-{next(_numbers)}", self._write_out)
        if self._connection is None:
            connection = apsw.Connection(str(self._path), flags=apsw.SQLITE_OPEN_READWRITE, vfs=self._files.name)
            try:
                connection.execute(sql.SET_SYNCHRONOUS["FULL"])
                connection.wal_autocheckpoint(0)
                connection.set_busy_handler(self._wait)
                connection.execute(sql.DATA_VERSION)  # it has seen the log from here on
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection


class _WrittenOutFiles(apsw.VFS):
    """The default file system, with a database file that is written out piece by piece."""

    def __init__(self, name: str, write_out: WriteOut) -> None:
        super().__init__(name, "")
        self.name = name
        self._write_out = write_out

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - the name SQLite gives it
        if isinstance(name, apsw.URIFilename) and flags[0] & apsw.SQLITE_OPEN_MAIN_DB:
            return _WrittenOutFile(name, flags, self._write_out)
        return apsw.VFSFile("", name, flags)


class _WrittenOutFile(apsw.VFSFile):
    def __init__(self, name: apsw.URIFilename, flags: list[int], write_out: WriteOut) -> None:
        super().__init__("", name, flags)
        self._descriptor = _descriptor_of(name.filename())
        self._write_out = write_out
        self._bytes = 0

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - the name SQLite gives it
        super().xWrite(data, offset)
        self._bytes += len(data)
        if self._bytes >= _PIECE_BYTES:
            self._out()

    def xSync(self, flags: int) -> None:  # noqa: N802 - the name SQLite gives it
        self._out()
        super().xSync(flags)

    def _out(self) -> None:
        self._bytes = 0
        if self._descriptor is not None:
            self._write_out(self._descriptor)


def _descriptor_of(path: str) -> int | None:
    """One that SQLite has of the file. A descriptor of our own would not do: closing it would drop every lock that this
    process has on the file. If SQLite closes this one and its number comes to mean another file, that is written out,
    which harms nothing."""
    file = Path(path).stat()
    for entry in _DESCRIPTORS.iterdir():
        with contextlib.suppress(OSError):  # the one that read the directory is closed by now
            if os.path.samestat(os.fstat(int(entry.name)), file):
                return int(entry.name)
    return None
