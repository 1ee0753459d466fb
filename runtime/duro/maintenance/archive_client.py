"""The client's methods about archives: checked arguments in, values out."""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from duro.errors import ArchiveUnavailableError
from duro.maintenance.client import archive_path, source_of, user_name
from duro.maintenance.family_client import Families
from duro.model.archive import ArchivedHistory, ArchiveOutcome, RestoreResult, WaitingArchive
from duro.model.limits import UNDO_HOLD_S
from duro.naming import check_instance_id

if TYPE_CHECKING:
    from duro.maintenance.archive.reader import Archive

ArchivePath = str | os.PathLike[str]


class FoundHistory(NamedTuple):
    """A history, and where it was found."""

    directory: str
    segment: str
    history: ArchivedHistory


class Archives(Families):
    """Part of ``Client``; see there."""

    def archive_directory(self) -> str | None:
        """That of the configured archive, as workers publish it; None: there is none."""
        from duro.maintenance.policies import ConfiguredPolicies

        directory = ConfiguredPolicies(self.store).archive_directory
        return None if directory is None else str(directory)

    def open_archive(self, directory: ArchivePath | None = None, *, any_store: bool = False) -> "Archive":
        """The archive in ``directory`` (None: the configured one, or the last one a run went to), to look things up,
        read and check them; close it, or use it in a ``with``. Of this store's histories alone, unless ``any_store``.

        Raises:
            ArchiveUnavailableError: there is none, or it cannot be read.
        """
        from duro.maintenance.archive.reader import Archive

        return Archive(self._archive(directory), store_id=None if any_store else self.store.store_id())

    def waiting_archives(self) -> tuple[WaitingArchive, ...]:
        """What is removed and stays in the store until its archive has it, by archive."""
        return self.store.waiting_archives()

    def write_archive(
        self,
        *,
        to: ArchivePath | None = None,
        configured: ArchivePath | None = None,
        level: int | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> tuple[ArchiveOutcome, ...]:
        """Write everything that waits now, each where it is to go, or all of it ``to`` another directory, of which
        nothing is lost when its own is gone for good. ``configured``: the configured directory (None: as workers
        publish it). ``progress`` is told how many histories were written so far. What
        became of each archive something waited for. Workers do the same by themselves.

        Raises:
            ArchiveUnavailableError: the directory that was named cannot be used. Nothing was changed.
        """
        from duro.maintenance.archive.archiver import LEVEL, Archiver
        from duro.maintenance.archive.place import ArchivePlace
        from duro.maintenance.policies import ConfiguredPolicies

        instead = None if to is None else Path(archive_path(to))
        if instead is not None:
            ArchivePlace(instead).prepare()
        directory = (
            ConfiguredPolicies(self.store).archive_directory if configured is None else Path(archive_path(configured))
        )
        archiver = Archiver(self.store, directory, instead=instead, level=level or LEVEL, wait_s=_WAIT_S)
        return archiver.write_all(progress)

    def find_archived(
        self, instance_id: str, execution_id: int | None = None, *, directories: Iterable[ArchivePath] = ()
    ) -> FoundHistory | None:
        """The history of an execution (None: the last one there is) of the latest life of an instance, from the first
        archive that has it: ``directories``, then those that runs went to, the newest first, then the configured one.
        None: none of them has it, or can be read.

        Raises:
            ArchiveDamagedError: the archive that has it is damaged.
        """
        from duro.maintenance.archive.reader import Archive

        check_instance_id(instance_id)
        tried = [*(archive_path(each) for each in directories), *self._of_runs(), self.archive_directory()]
        for directory in dict.fromkeys(each for each in tried if each):
            try:
                archive = Archive(Path(directory), store_id=self.store.store_id())
            except ArchiveUnavailableError:
                continue
            with archive:
                found = archive.find(instance_id, execution_id)
                if found is not None:
                    return FoundHistory(str(archive.path), found.segment, archive.read_one(found))
        return None

    def restore_archived(
        self,
        instance_id: str,
        execution_ids: Iterable[int] | None = None,
        *,
        directory: ArchivePath | None = None,
        everything: bool = False,
        by: str | None = None,
        progress: Callable[[RestoreResult], bool | None] | None = None,
    ) -> RestoreResult:
        """Bring archived executions of an instance back as they were, and hold it for ``UNDO_HOLD_S``. Without
        ``execution_ids``: what was live when the instance was removed, with the instance, or else all that was pruned
        of it; ``everything``: both. What is there already, event by event the same, is left as it is.

        Raises:
            NotArchivedError: the archive does not have it.
            RestoreRefusedError, InstanceNotFoundError: something else is in its place, or its instance is gone.
            ArchiveUnavailableError, ArchiveDamagedError: the archive cannot be read. What was restored by then stays.
        """
        check_instance_id(instance_id)
        with self.open_archive(directory) as archive:
            return archive.restore(
                self.store,
                archive.chosen(instance_id, execution_ids, everything=everything),
                run_id=self._short_id("restore"),
                hold_until_ms=self.store.now_ms() + round(UNDO_HOLD_S * 1000),
                by=user_name() if by is None else by,
                source=source_of(None),
                progress=progress,
            )

    def _archive(self, directory: ArchivePath | None) -> Path:
        if directory is not None:
            return Path(archive_path(directory))
        found = self.archive_directory() or next(self._of_runs(), None)
        if found is None:
            raise ArchiveUnavailableError(
                "no archive is named, none is configured, and nothing was ever archived by hand",
                hint="give its directory, or set [archive] in runtime_config.toml",
            )
        return Path(found)

    def _of_runs(self) -> Iterator[str]:
        """The directories that runs went to, the newest first."""
        return (run.archive for run in self.store.list_prune_runs(0) if run.archive)


_WAIT_S = 30.0
"""How long a call waits for somebody else who writes to the archive."""
