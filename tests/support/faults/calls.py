"""The system calls that SQLite makes, failing on demand: ``SqliteCalls``.

A failure comes from where a kernel's would come, with its ``errno``, so what SQLite makes of it is SQLite's. Its VFS
named "unix" lets its system calls be replaced (``xSetSystemCall``, https://sqlite.org/c3ref/vfs.html); ``fsync``, which
it calls by itself, is replaced in the methods of its files. All of it is below apsw, whose own VFS classes would raise
an error also where SQLite does without what failed.
"""

import contextlib
import ctypes
import errno
import os
from collections.abc import Callable, Iterator
from ctypes import CFUNCTYPE, POINTER, Structure, c_char_p, c_int, c_long, c_size_t, c_ssize_t, c_void_p
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

import apsw

_FAILED: Final = -1
_MAP_FAILED: Final = ctypes.c_void_p(-1).value


def _function(answer: Any, *arguments: Any) -> Any:
    return CFUNCTYPE(answer, *arguments, use_errno=True)


_OF_A_PATH: Final = {
    "access": _function(c_int, c_char_p, c_int),
    "stat": _function(c_int, c_char_p, c_void_p),
    "lstat": _function(c_int, c_char_p, c_void_p),
    "unlink": _function(c_int, c_char_p),
    "open": _function(c_int, c_char_p, c_int, c_int),
}
_OF_A_DESCRIPTOR: Final = {
    "fstat": _function(c_int, c_int, c_void_p),
    "ftruncate": _function(c_int, c_int, c_long),
    "fcntl": _function(c_int, c_int, c_int, c_void_p),
    "pread64": _function(c_ssize_t, c_int, c_void_p, c_size_t, c_long),
    "pwrite64": _function(c_ssize_t, c_int, c_void_p, c_size_t, c_long),
    "fchmod": _function(c_int, c_int, c_int),
    "fchown": _function(c_int, c_int, c_int, c_int),
    "close": _function(c_int, c_int),
}
_MMAP: Final = _function(c_void_p, c_void_p, c_size_t, c_int, c_int, c_int, c_long)

SYNC: Final = "fsync"
LOG_SYNC: Final = "fsync of the log"

_OPEN: Final = CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p, c_int, c_void_p)
_SLEEP: Final = CFUNCTYPE(c_int, c_void_p, c_int)
_SYNC: Final = CFUNCTYPE(c_int, c_void_p, c_int)


class _Vfs(Structure):
    """``sqlite3_vfs``."""

    _fields_ = (
        ("iVersion", c_int),
        ("szOsFile", c_int),
        ("mxPathname", c_int),
        ("pNext", c_void_p),
        ("zName", c_char_p),
        *((name, c_void_p) for name in ("pAppData", "xOpen", "xDelete", "xAccess", "xFullPathname")),
        *((name, c_void_p) for name in ("xDlOpen", "xDlError", "xDlSym", "xDlClose", "xRandomness", "xSleep")),
    )


class _Methods(Structure):
    """``sqlite3_io_methods``, version 3."""

    _fields_ = (
        ("iVersion", c_int),
        *((name, c_void_p) for name in ("xClose", "xRead", "xWrite", "xTruncate", "xSync")),
        ("others", c_void_p * 13),
    )


class _ApswVfs(Structure):
    """The beginning of an ``apsw.VFS``."""

    _fields_ = (("head", c_void_p * 2), ("base", POINTER(_Vfs)))


@dataclass(frozen=True)
class Failure:
    """The calls ``first`` to ``last`` (None: all from then on) of this name fail; numbers from 1."""

    call: str
    first: int
    last: int | None
    error: int

    def concerns(self, call: str, number: int) -> bool:
        return call == self.call and self.first <= number and (self.last is None or number <= self.last)

    def __str__(self) -> str:
        until = "for good" if self.last is None else "once" if self.first == self.last else f"to {self.last}"
        return f"{errno.errorcode[self.error]} at {self.call} {self.first} {until}"


@dataclass
class SqliteCalls:
    """The calls about files below ``root`` are counted (``counts``, by name); ``failure`` is what goes wrong. After
    ``endless`` failures there are no more, so that whoever tries for ever comes to an end."""

    root: Path
    failure: Failure | None = None
    endless: int = 1_000_000
    counts: dict[str, int] = field(default_factory=dict)
    failed: int = 0
    """How many did."""
    _descriptors: set[int] = field(default_factory=set)

    def fails(self, call: str) -> int:
        """One more call of this name; 0, or the error it is to fail with."""
        number = self.counts[call] = self.counts.get(call, 0) + 1
        if self.failure is None or self.failed >= self.endless or not self.failure.concerns(call, number):
            return 0
        self.failed += 1
        return self.failure.error

    def is_inside(self, path: bytes | None) -> bool:
        return path is not None and self.root in Path(os.fsdecode(path)).parents

    @contextlib.contextmanager
    def watched(self) -> Iterator["SqliteCalls"]:
        """While this is entered, in this thread and all others."""
        _hooks().current = self
        try:
            yield self
        finally:
            _hooks().current = None

    def opened(self, descriptor: int) -> None:
        self._descriptors.add(descriptor)

    def is_open(self, descriptor: int) -> bool:
        return descriptor in self._descriptors

    def closed(self, descriptor: int) -> None:
        self._descriptors.discard(descriptor)


class _Hooks:
    """Put below SQLite once and for all, for what is opened through them may be closed late; they do nothing unless
    there is a ``current``."""

    def __init__(self) -> None:
        self.current: SqliteCalls | None = None
        self._above = apsw.VFS("of-system-calls", "unix")
        self._unix = _ApswVfs.from_address(id(self._above)).base.contents
        assert self._unix.zName == b"unix", "apsw keeps it elsewhere"
        self._methods: dict[tuple[int, str], _Methods] = {}
        self._kept: list[Any] = []
        self._unix.xOpen = self._pointer(_OPEN(self._opening(_OPEN(self._unix.xOpen))))
        self._unix.xSleep = self._pointer(_SLEEP(self._sleeping(_SLEEP(self._unix.xSleep))))
        for name, kind in {**_OF_A_PATH, **_OF_A_DESCRIPTOR, "mmap": _MMAP}.items():
            replaced = kind(self._replacement(name, kind(self._above.xGetSystemCall(name))))
            self._above.xSetSystemCall(name, self._pointer(replaced).value or 0)

    def _pointer(self, function: Any) -> c_void_p:
        self._kept.append(function)
        return ctypes.cast(function, c_void_p)

    def _sleeping(self, real: Callable[..., int]) -> Callable[..., int]:
        """While calls are watched nobody waits long for a lock: there is no other who has it."""
        return lambda vfs, microseconds: real(vfs, microseconds) if self.current is None else microseconds

    def _opening(self, real: Callable[..., int]) -> Callable[..., int]:
        """Gives each file that is opened below the root methods of which one may fail."""

        def opening(vfs: int, path: int | None, file: int, flags: int, out: int | None) -> int:
            result = real(vfs, path, file, flags, out)
            calls = self.current
            if result == apsw.SQLITE_OK and calls and path and calls.is_inside(ctypes.string_at(path)):
                pointer = POINTER(_Methods).from_address(file)
                call = LOG_SYNC if flags & apsw.SQLITE_OPEN_WAL else SYNC
                pointer.contents = self._syncing(call, pointer.contents)
            return result

        return opening

    def _syncing(self, call: str, real: _Methods) -> _Methods:
        key = (ctypes.addressof(real), call)
        if key not in self._methods:
            synced = _SYNC(real.xSync)

            def sync(file: int, flags: int) -> int:
                failed = self.current is not None and self.current.fails(call)
                return apsw.SQLITE_IOERR_FSYNC if failed else synced(file, flags)

            methods = self._methods[key] = _Methods.from_buffer_copy(real)
            methods.xSync = self._pointer(_SYNC(sync))
        return self._methods[key]

    def _replacement(self, name: str, real: Callable[..., int]) -> Callable[..., int]:
        def of_a_path(path: bytes, *rest: Any) -> int:
            calls = self.current
            if calls is None or not calls.is_inside(path):
                return real(path, *rest)
            if error := calls.fails(name):
                ctypes.set_errno(error)
                return _FAILED
            answer = real(path, *rest)
            if name == "open" and answer >= 0:
                calls.opened(answer)
            return answer

        def of_a_descriptor(descriptor: int, *rest: Any) -> int:
            calls = self.current
            if calls is None or not calls.is_open(descriptor):
                return real(descriptor, *rest)
            error = calls.fails(name)
            if name == "close":  # a descriptor is gone also when closing it reports an error
                calls.closed(descriptor)
                real(descriptor)
            if error:
                ctypes.set_errno(error)
                return _FAILED
            return 0 if name == "close" else real(descriptor, *rest)

        def mmap(address: Any, length: int, protection: int, flags: int, descriptor: int, offset: int) -> Any:
            calls = self.current
            if calls is not None and calls.is_open(descriptor) and (error := calls.fails(name)):
                ctypes.set_errno(error)
                return _MAP_FAILED
            return real(address, length, protection, flags, descriptor, offset)

        if name == "mmap":
            return mmap
        return of_a_path if name in _OF_A_PATH else of_a_descriptor


@cache
def _hooks() -> _Hooks:
    return _Hooks()
