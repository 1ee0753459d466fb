"""What a run does to the files below a directory, in order.

The files of stores are seen from below SQLite, in a VFS. The names and syncs of all others are seen in the calls of
``os`` that make, change and sync them; what was written to them is looked up whenever something else is recorded. (A
test compares what is recorded with what ``strace`` sees.) The catalogue of an archive is written by another SQLite,
whose syncs nobody sees: a cut leaves it as it was found at some moment since its directory was synced.

The VFS named "unix" syncs the directory of a new journal or log together with its first sync, below what a VFS on top
of it can see: ``_Watched.xSync`` records it where it does it.
"""

import contextlib
import itertools
import os
import posixpath
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import apsw

from duro.maintenance.archive.place import CATALOGUE
from tests.support.power.disk import (
    Acknowledge,
    Disk,
    Enter,
    Operation,
    Rename,
    Sync,
    SyncDirectory,
    Truncate,
    Unlink,
    Write,
)

_BLOCK_BYTES: Final = 4096
_SHARED_MEMORY: Final = "-shm"
_NOT_LOOKED_AT: Final = (_SHARED_MEMORY, f"{CATALOGUE}-journal")
_JOURNALS: Final = apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_SUPER_JOURNAL | apsw.SQLITE_OPEN_WAL
_numbers = itertools.count()

Lie = Callable[[Operation, str], bool]
"""Whether the disk reports something as done that it does not do, by the name of the file or directory."""


@dataclass(frozen=True)
class Recording:
    """What was there at first, all of it on the disk, and what happened then."""

    names: dict[str, int | None]
    contents: dict[int, bytes]
    operations: list[Operation]

    def disk(self) -> Disk:
        return Disk(self.names, self.contents)

    @property
    def file_names(self) -> dict[int, str]:
        """Of each file the first name it had."""
        found: dict[int, str] = {}
        for name, number in self.names.items():
            if number is not None:
                found.setdefault(number, name)
        for each in self.operations:
            if isinstance(each, Enter) and each.file is not None:
                found.setdefault(each.file, each.name)
        return found


class Recorder:
    """Use ``recorded``. What is not below ``root``, or has no name, is not recorded."""

    def __init__(self, root: Path, lies: Lie) -> None:
        self._root = root.resolve()
        self._lies = lies
        self._names: dict[str, int | None] = {}
        self._contents: dict[int, bytes] = {}
        """Of those that SQLite does not write."""
        self._operations: list[Operation] = []
        self._next = 1
        self._look()
        self.recording = Recording(dict(self._names), dict(self._contents), self._operations)
        self._operations.clear()

    def acknowledge(self) -> None:
        self._look()
        self._operations.append(Acknowledge())

    # --- SQLite's files ---------------------------------------------------------------------------------------

    def opens(self, path: str | None) -> Callable[[], int | None]:
        """Before a file is opened; the answer is to be called after that, and gives its number."""
        name = self.name(path) if path else None
        if name is None or name.endswith(_SHARED_MEMORY):
            return lambda: None
        self._look()

        def opened() -> int | None:
            if name not in self._names:
                self._enter(name, self._take_number())
            number = self._names[name]
            assert number is not None
            self._contents.pop(number, None)
            return number

        return opened

    def wrote(self, number: int, offset: int, data: bytes) -> None:
        self._add(Write(number, offset, bytes(data)))

    def truncated(self, number: int, size: int) -> None:
        self._add(Truncate(number, size))

    def synced(self, number: int, path: str, *, directory: bool) -> None:
        name = self.name(path)
        assert name is not None
        if not self._lies(Sync(number), name):
            self._add(Sync(number))
        if directory:
            self._sync_directory(posixpath.dirname(name))

    def deleted(self, path: str, *, directory: bool) -> None:
        name = self.name(path)
        if name is not None and name in self._names:
            self._leave(name)
            if directory:
                self._sync_directory(posixpath.dirname(name))

    # --- the calls of os --------------------------------------------------------------------------------------

    def call(self, kind: str, real: Callable[..., Any], *args: Any, **named: Any) -> Any:
        """``real``, recorded. Relative to a descriptor of a directory nothing is looked at."""
        if kind == "fsync":
            self._fsync(args[0])
            return real(*args, **named)
        self._look()
        answer = real(*args, **named)
        paths = [self.name(each) for each in args if isinstance(each, str | os.PathLike)]
        if named.get("dir_fd") is not None or not paths or None in paths:
            return answer
        first, *rest = [path for path in paths if path is not None]
        match kind:
            case "rename":
                if posixpath.dirname(first) == posixpath.dirname(rest[0]):
                    number = self._names.pop(first)
                    self._names[rest[0]] = number
                    self._add(Rename(first, rest[0], number))
                else:  # two directories, of which each may keep what was done to it or not
                    self._enter(rest[0], self._names[first])
                    self._leave(first)
            case "link":
                self._enter(rest[0], self._names[first])
            case "unlink" if first in self._names:
                self._leave(first)
            case "mkdir":
                self._enter(first, None)
        return answer

    def _fsync(self, descriptor: int) -> None:
        self._look()
        status = os.fstat(descriptor)
        same = partial(_is, status)
        if stat.S_ISDIR(status.st_mode):
            directories = ["", *(name for name, number in self._names.items() if number is None)]
            for directory in filter(lambda each: same(self._root / each), directories):
                self._sync_directory(directory)
            return
        for name, number in self._names.items():
            if number is not None and same(self._root / name):
                if not self._lies(Sync(number), name):
                    self._add(Sync(number))
                return

    # --- what is recorded -------------------------------------------------------------------------------------

    def name(self, path: str | os.PathLike[str]) -> str | None:
        """As it is recorded; None: it is not below the root."""
        given = Path(path)
        real = given.parent.resolve() / given.name
        return real.relative_to(self._root).as_posix() if self._root in real.parents else None

    def _look(self) -> None:
        """Find what was made, written and removed by others than SQLite."""
        found = {path.relative_to(self._root).as_posix(): path for path in sorted(self._root.rglob("*"))}
        for name in sorted(self._names.keys() - found.keys(), reverse=True):
            self._leave(name)
        for name, path in found.items():
            if name.endswith(_NOT_LOOKED_AT):
                continue
            if name not in self._names:
                if path.is_dir():
                    self._enter(name, None)
                    continue
                number = self._take_number()
                self._enter(name, number)
                self._contents[number] = b""
            self._look_into(path, name)

    def _look_into(self, path: Path, name: str) -> None:
        number = self._names[name]
        before = None if number is None else self._contents.get(number)
        if number is None or before is None:
            return
        after = path.read_bytes()
        if after == before:
            return
        if path.name == CATALOGUE:
            self._names[name] = number = self._take_number()
            self._contents[number] = after
            for each in (Write(number, 0, after), Sync(number), Enter(name, number)):
                self._add(each)
            return
        self._contents[number] = after
        if len(after) < len(before):
            self._add(Truncate(number, len(after)))
        for offset in range(0, len(after), _BLOCK_BYTES):
            block = after[offset : offset + _BLOCK_BYTES]
            if block != before[offset : offset + _BLOCK_BYTES]:
                self._add(Write(number, offset, block))

    def _take_number(self) -> int:
        self._next += 1
        return self._next

    def _enter(self, name: str, number: int | None) -> None:
        self._names[name] = number
        self._add(Enter(name, number))

    def _leave(self, name: str) -> None:
        del self._names[name]
        self._add(Unlink(name))

    def _sync_directory(self, directory: str) -> None:
        if not self._lies(SyncDirectory(directory), directory):
            self._add(SyncDirectory(directory))

    def _add(self, operation: Operation) -> None:
        self._operations.append(operation)


def _is(status: os.stat_result, path: Path) -> bool:
    try:
        return os.path.samestat(status, os.stat(path))  # noqa: PTH116 - says that it does not open the file
    except FileNotFoundError:
        return False


def truthful(_operation: Operation, _name: str) -> bool:
    """A disk that does what it says."""
    return False


@contextlib.contextmanager
def recorded(root: Path, lies: Lie = truthful) -> Iterator[Recorder]:
    """Everything that is done to files below ``root`` inside is recorded."""
    recorder = Recorder(root, lies)
    vfs = _watching(recorder)
    calls = {
        **dict.fromkeys(("fsync", "fdatasync"), "fsync"),
        **dict.fromkeys(("rename", "replace"), "rename"),
        **dict.fromkeys(("unlink", "remove", "rmdir"), "unlink"),
        **{name: name for name in ("link", "mkdir")},
    }
    real = {name: getattr(os, name) for name in calls if hasattr(os, name)}
    for name, function in real.items():
        setattr(os, name, partial(recorder.call, calls[name], function))
    try:
        yield recorder
    finally:
        for name, function in real.items():
            setattr(os, name, function)
        vfs.unregister()


def _watching(recorder: Recorder) -> apsw.VFS:
    base = f"recorded-{next(_numbers)}"

    class Watching(apsw.VFS):
        def __init__(self) -> None:
            super().__init__(base, "unix", makedefault=True)

        def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
            path = name.filename() if isinstance(name, apsw.URIFilename) else name
            opened = recorder.opens(path)
            file = _Watched(recorder, name, flags)
            file.number, file.path = opened(), path or ""
            return file

        def xDelete(self, filename: str, syncdir: bool) -> None:
            super().xDelete(filename, syncdir)
            recorder.deleted(filename, directory=syncdir)

    return Watching()


class _Watched(apsw.VFSFile):
    def __init__(self, recorder: Recorder, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self.number: int | None = None
        self.path = ""
        self._recorder = recorder
        asked = flags[0]
        super().__init__("unix", name, flags)
        self._enters = bool(asked & apsw.SQLITE_OPEN_CREATE and asked & _JOURNALS)

    def xWrite(self, data: bytes, offset: int) -> None:
        super().xWrite(data, offset)
        if self.number is not None:
            self._recorder.wrote(self.number, offset, data)

    def xTruncate(self, newsize: int) -> None:
        super().xTruncate(newsize)
        if self.number is not None:
            self._recorder.truncated(self.number, newsize)

    def xSync(self, flags: int) -> None:
        super().xSync(flags)
        if self.number is not None:
            self._recorder.synced(self.number, self.path, directory=self._enters)
            self._enters = False
