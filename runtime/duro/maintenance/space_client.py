"""The client's methods about the room a store takes, and copies of it."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from duro.errors import BackupError, UsageError
from duro.maintenance.archive_client import Archives
from duro.model.space import CompactResult, FileSizes
from duro.naming import beside_problem, path_problem
from duro.redacting import redacted

if TYPE_CHECKING:
    from duro.maintenance.exporting import ExportResult
    from duro.maintenance.space import StoreStats


class Space(Archives):
    """Part of ``Client``; see there."""

    def stats(self) -> "StoreStats":
        """What each orchestration takes, what it grew by in the last day, and what its policies would let go now; the
        sizes of the files. Reads no history."""
        from duro.maintenance.space import stats

        return stats(self.store)

    def compact(
        self, *, full: bool = False, progress: Callable[[FileSizes], bool | None] | None = None
    ) -> CompactResult:
        """Give what is free in the file back to the file system, in small steps beside whatever runs. ``progress`` is
        called after each; when it returns False, that was the last one. ``full``: write the whole file anew, which also
        closes holes inside pages, and lets nobody else write meanwhile.

        Raises:
            StoreFullError: ``full``, and there is no room for the copy. StoreError: ``full``, and a worker runs; or
                not, and the file can be compacted ``full`` only. Nothing was changed.
        """
        from duro.maintenance.space import compact

        return compact(self.store, full=full, progress=progress)

    def backup(self, target: str | os.PathLike[str], *, progress: Callable[[int, int], object] | None = None) -> None:
        """Write the whole store, as of this moment, to a new file, beside whatever runs. The file is checked before it
        gets its name, belongs to its owner alone, and is a store as it is. ``progress(done, total)``, in pages.

        Raises:
            UsageError: there is such a file, or the log of one that was called so. BackupError: it cannot be written.
                There is no new file then.
        """
        self.store.backup(_new_file(target), progress or (lambda _done, _total: None))

    def export(
        self,
        target: str | os.PathLike[str],
        *,
        name: str | None = None,
        events: bool = True,
        progress: "Callable[[ExportResult], object] | None" = None,
    ) -> "ExportResult":
        """Write instances, executions, events, lineage and ledger to the tables of a new SQLite file, for SQL and
        Datasette (docs/operating.md describes them). Each execution is as of one moment; the store goes on meanwhile.

        ``name``: only orchestrations of this name or pattern. ``events`` False: without the events.

        Raises:
            UsageError: there is such a file, or the log of one that was called so. BackupError: it cannot be written.
                There is no new file then.
        """
        from duro.maintenance.exporting import export

        return export(self.store, _new_file(target), name=name, events=events, progress=progress)


_URL: Final = re.compile(r"(?P<scheme>[a-z][a-z+]+):(//|$)", re.IGNORECASE)


_READ_WITH: Final = ("-wal", "-journal", "-shm")
"""Endings of files that SQLite takes for a part of the one they are beside: it reads a log over it, and rolls a journal
back into it, whosever they are."""


def _new_file(target: str | os.PathLike[str]) -> Path:
    path = Path(target)
    if (url := _URL.match(str(target))) is not None:
        alone = str(target).removeprefix("sqlite:///")
        hint = f"write {alone}" if url["scheme"] == "sqlite" and alone not in ("", str(target)) else "write backup.db"
        raise UsageError(f"{redacted(str(target))!r} is a URL, and a file is named by its path alone", hint=hint)
    if problem := beside_problem(str(path)):
        raise UsageError(f"{str(path)!r} {problem}", hint="choose another name")
    if problem := path_problem(os.path.abspath(path)):  # noqa: PTH100 - resolve() would hide what the user wrote
        raise UsageError(f"the path of {str(target)!r} {problem}", hint="choose another name or directory")
    if not path.name or "\0" in str(path):
        raise UsageError(f"{str(target)!r} names no file", hint="write something like backup.db")
    try:
        if path.exists() or path.is_symlink():
            raise UsageError(f"{str(path)!r} is there already", hint="choose another name, or remove it")
        for beside in (Path(f"{path}{ending}") for ending in _READ_WITH):
            if beside.exists() or beside.is_symlink():
                raise UsageError(
                    f"{str(beside)!r}, left by an earlier file of that name, would be read as part of the new one",
                    hint=f"choose another name, or remove {beside.name} if nothing uses it any more",
                )
        if not path.parent.is_dir():
            raise UsageError(f"there is no directory {str(path.parent)!r}", hint="make it, or choose another")
    except OSError as error:
        raise BackupError(f"{str(path)!r} cannot be written: {error.strerror}") from error
    return path
