"""Where the demo works: a copy of a directory, and what it does to the copy while the monitor watches it."""

import errno
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from duro.errors import UsageError
from duroctl.demo.integrity_monitor import ENTRY_BYTES, EXCLUDED, STATE_BYTES_MAX, as_text, walk

COPY_BYTES_MAX: Final = 2 * 1024**3
"""The demo copies the directory: more than this is surely not what was meant."""

_PLAN_NAME: Final = "duro-demo.json"
_NOTE: Final = "duro demo was here\n"


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A directory that can be watched, and its files: paths relative to it, in order."""

    directory: Path
    files: tuple[str, ...]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is done to the copy, and after which scan. It is kept in a file beside the copy, so that a process that
    comes after this one does the same."""

    source: str
    executions: int
    added: str
    changed: str
    removed: str

    @property
    def add_after(self) -> int:
        return max(1, self.executions // 4)

    @property
    def change_after(self) -> int:
        return max(1, self.executions // 2)

    @property
    def remove_after(self) -> int:
        return max(1, self.executions * 3 // 4)


def survey_source(directory: Path) -> Source:
    """The files of ``directory`` that the monitor would watch and this process may read.

    Raises:
        UsageError: it is no directory, cannot be read, is empty or too large. Nothing was made.
    """
    try:
        names = sorted(each.name for each in directory.iterdir())
    except OSError as error:
        reason = {errno.ENOENT: "does not exist", errno.ENOTDIR: "is not a directory"}.get(error.errno or 0)
        raise UsageError(f"{str(directory)!r} {reason or f'cannot be read: {error.strerror}'}") from error
    below = [name for name in names if name not in EXCLUDED and as_text(name) == name]
    parts = [".", *(name for name in below if (directory / name).is_dir() and not (directory / name).is_symlink())]
    files: dict[str, int] = {}
    for part in parts:
        files.update((path, status.st_size) for path, status in walk(str(directory), part, []))
    files = {path: size for path, size in files.items() if os.access(directory / path, os.R_OK)}
    if not files:
        raise UsageError(f"{str(directory)!r} has no files to watch", hint="name a directory that has some")
    if (
        sum(len(path.encode()) + ENTRY_BYTES for path in files) > STATE_BYTES_MAX
        or sum(files.values()) > COPY_BYTES_MAX
    ):
        raise UsageError(
            f"{str(directory)!r} has {len(files)} files of {sum(files.values())} bytes, too many for a demo on a copy",
            hint="name one of its subdirectories",
        )
    return Source(directory=directory, files=tuple(sorted(files)))


class Workspace:
    """``STORE.demo/``, beside the store: the copy (``tree/``) and the plan. It appears in one step, when complete."""

    def __init__(self, store: Path) -> None:
        self.path = store.with_name(store.name + ".demo")
        self._partial = store.with_name(store.name + ".demo.partial")

    @property
    def tree(self) -> Path:
        return self.path / "tree"

    def prepare(self, source: Source, executions: int, progress: Callable[[int], None]) -> Plan:
        """Copy the files of ``source``. What an earlier run left here is removed first. ``progress`` is told how many
        files have been copied.

        Raises:
            UsageError: something else than a demo's workspace is in the way.
            OSError: the copy failed, for want of room for example; what there is of it is removed again.
        """
        self.remove()
        plan = _plan(source, executions)
        self._partial.mkdir()
        (self._partial / _PLAN_NAME).write_bytes(msgspec.json.encode(plan))
        try:
            _copy(source, self._partial / "tree", progress)
        except BaseException:
            shutil.rmtree(self._partial)
            raise
        self._partial.rename(self.path)
        return plan

    def load(self) -> Plan:
        """The plan of the run that was interrupted.

        Raises:
            UsageError: its workspace is gone.
        """
        try:
            return msgspec.json.decode((self.path / _PLAN_NAME).read_bytes(), type=Plan)
        except (OSError, msgspec.DecodeError) as error:
            raise UsageError(
                f"the demo in this store was interrupted, and its copy {str(self.path)!r} is gone",
                hint="begin a new one with another --store",
            ) from error

    def remove(self) -> None:
        """Remove the copy, if it is one.

        Raises:
            UsageError: something else is there under its name.
        """
        for path in (self._partial, self.path):
            if not path.exists():
                continue
            if any(path.iterdir()) and not (path / _PLAN_NAME).is_file():
                raise UsageError(f"{str(path)!r} is in the way and not of a demo", hint="choose another --store")
            shutil.rmtree(path)

    def touch(self, plan: Plan, scan: int) -> None:
        """Do what the plan has for the time after ``scan``. Doing it twice is doing it once."""
        if scan == plan.add_after:
            (self.tree / plan.added).write_text(_NOTE)
        if scan == plan.change_after:
            path = self.tree / plan.changed
            content = path.read_bytes() if path.exists() else b""
            if not content.endswith(_NOTE.encode()):
                path.write_bytes(content + _NOTE.encode())
        if scan == plan.remove_after:
            (self.tree / plan.removed).unlink(missing_ok=True)


def _copy(source: Source, target: Path, progress: Callable[[int], None]) -> None:
    for count, path in enumerate(source.files, 1):
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # it vanished since it was listed
            shutil.copyfile(source.directory / path, target / path, follow_symlinks=False)
        progress(count)


def _plan(source: Source, executions: int) -> Plan:
    files = source.files
    return Plan(
        source=str(source.directory),
        executions=executions,
        added=next(name for number in range(len(files) + 1) if (name := f"duro-demo-{number}.txt") not in files),
        changed=files[len(files) // 3],
        removed=files[len(files) * 2 // 3],
    )
