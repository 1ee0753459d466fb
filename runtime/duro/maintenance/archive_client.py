"""The client's methods about archives: checked arguments in, values out."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from duro.durations import format_duration
from duro.errors import ArchiveUnavailableError, StoreError
from duro.maintenance.client import archive_path, checked_by, source_of
from duro.maintenance.family_client import Families
from duro.maintenance.looking import looked
from duro.model.archive import ArchivedHistory, ArchiveOutcome, RestoreResult, WaitingArchive
from duro.model.checkup import CheckResult, Finding, Severity
from duro.model.limits import UNDO_HOLD_S
from duro.naming import check_instance_id

if TYPE_CHECKING:
    from duro.maintenance.archive.catalogue import ArchivedExecution
    from duro.maintenance.archive.reader import Archive

ArchivePath = str | os.PathLike[str]


class FoundHistory(NamedTuple):
    """A history, and where it was found."""

    directory: str
    segment: str
    history: ArchivedHistory


class FoundExecutions(NamedTuple):
    """What an archive has of one life of an instance, the last execution first."""

    directory: str
    executions: "tuple[ArchivedExecution, ...]"


class Archives(Families):
    """Part of ``Client``; see there."""

    def archive_directory(self) -> str | None:
        """That of the configured archive: this client's own, or as workers publish it; None: there is none."""
        if self.configured_archive is not None:
            return self.configured_archive
        from duro.maintenance.policies import ConfiguredPolicies

        directory = ConfiguredPolicies(self.store).archive_directory
        return None if directory is None else str(directory)

    def open_archive(
        self, directory: ArchivePath | None = None, *, any_store: bool = False, store_id: str | None = None
    ) -> "Archive":
        """The archive in ``directory`` (None: the configured one, or the last one that was used), to look things up,
        read and check them; close it, or use it in a ``with``. Of this store's histories alone, unless ``any_store`` or
        another store's ``store_id`` is given.

        Raises:
            ArchiveUnavailableError: there is none, or it cannot be read.
        """
        from duro.maintenance.archive.reader import Archive

        path = self._archive(directory)
        try:
            return Archive(path, store_id=None if any_store else store_id or self.store.store_id())
        except ArchiveUnavailableError as error:
            others = [each.directory for each in self.store.known_archives() if each.directory != str(path)]
            if directory is not None or not others:
                raise
            hint = f"{error.hint}; this store has also used {', '.join(map(repr, others))}"
            raise ArchiveUnavailableError(error.message, hint=hint) from error

    def waiting_archives(self) -> tuple[WaitingArchive, ...]:
        """What is removed and stays in the store until its archive has it, by archive."""
        return self.store.waiting_archives()

    def checkup(self, *, deep: bool = False) -> tuple[CheckResult, ...]:
        results = super().checkup(deep=deep)
        if not results:
            return results
        timed = (self._late_archives(each) if each.name == "archives-waiting" else each for each in results)
        unusable = CheckResult(
            name="archives-unusable",
            severity=Severity.WARNING,
            looks_for="archives that something waits for, in the store, and that cannot be used now",
            remedy="see to the directory; `duroctl archive write --to DIR` takes another one",
        )
        return (*timed, looked(unusable, self._unusable_archives))

    def _late_archives(self, result: CheckResult) -> CheckResult:
        """What the store found, by the interval that workers were told: it knows only its rows, and waits an hour."""
        from duro.maintenance.policies import ConfiguredPolicies

        if result.severity is Severity.ERROR:  # it could not even look
            return result
        try:
            late_s = ConfiguredPolicies(self.store).archive_interval_s + _LATE_S
        except StoreError:  # then it is by the hour
            return result
        now_ms = self.store.now_ms()
        looks_for = f"histories that have waited for their archive for over {format_duration(round(late_s))}"
        return looked(
            msgspec.structs.replace(result, looks_for=looks_for),
            lambda: [
                Finding(
                    waiting.archive or "(configured)",
                    f"waits for {waiting.executions + waiting.instances:,}, the first for "
                    f"{(now_ms - waiting.since_ms) // 1000} s",
                )
                for waiting in self.waiting_archives()
                if now_ms - waiting.since_ms > late_s * 1000
            ],
        )

    def _unusable_archives(self) -> list[Finding]:
        findings = []
        for waiting in self.waiting_archives():
            directory = waiting.archive or self.archive_directory()
            if directory is None:
                subject, why = "(configured)", "nobody says where that is"
            else:
                from duro.maintenance.archive.archiver import unusable  # nobody else is to pay for loading it

                subject, why = directory, unusable(self.store, Path(directory))
            if why:
                findings.append(Finding(subject, f"{waiting.executions + waiting.instances:,} wait: {why}"))
        return findings

    def write_archive(
        self,
        *,
        to: ArchivePath | None = None,
        level: int | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> tuple[ArchiveOutcome, ...]:
        """Write everything that waits now, each where it is to go, or all of it ``to`` another directory, of which
        nothing is lost when its own is gone for good. ``progress`` is told how many histories were written so far. What
        became of each archive something waited for. Workers do the same by themselves.

        Raises:
            ArchiveUnavailableError: the directory that was named cannot be used. Nothing was changed.
        """
        from duro.maintenance.archive.archiver import LEVEL, Archiver, usable_place

        instead = None if to is None else Path(archive_path(to))
        if instead is not None:
            usable_place(self.store, instead, any_archive=True)
        configured = self.archive_directory()
        directory = None if configured is None else Path(configured)
        archiver = Archiver(self.store, directory, instead=instead, level=level or LEVEL, wait_s=_WAIT_S)
        return archiver.write_all(progress)

    def find_archived(
        self,
        instance_id: str,
        execution_id: int | None = None,
        *,
        incarnation: int | None = None,
        directories: Iterable[ArchivePath] = (),
        unreadable: Callable[[ArchiveUnavailableError], object] | None = None,
    ) -> FoundHistory | None:
        """The history of an execution (None: the last one there is) of an instance, from the first archive that has it:
        ``directories``, then the configured one, then all that were ever used, the last first. Of the life
        ``incarnation`` of the instance; None: of the one that is in the store, or, if none is, of the latest that any
        of these archives has. None: no archive has it. ``unreadable`` is told of archives that cannot be read.

        Raises:
            ArchiveDamagedError: the archive that has it is damaged.
        """
        with self._archives_with(instance_id, execution_id, incarnation, directories, unreadable) as found:
            if found is None:
                return None
            archive, execution = found
            return FoundHistory(str(archive.path), execution.segment, archive.read_one(execution))

    def find_archived_executions(
        self,
        instance_id: str,
        execution_id: int | None = None,
        *,
        incarnation: int | None = None,
        directories: Iterable[ArchivePath] = (),
        unreadable: Callable[[ArchiveUnavailableError], object] | None = None,
    ) -> FoundExecutions | None:
        """Which executions of an instance the first archive has that has any (or that has ``execution_id``); which
        archives, and of which life of the instance, as in ``find_archived``. No history is read."""
        with self._archives_with(instance_id, execution_id, incarnation, directories, unreadable) as found:
            if found is None:
                return None
            archive, last = found
            of_life = list(archive.executions(instance_id=instance_id, incarnation=last.incarnation))
            of_life.sort(key=lambda each: each.execution_id, reverse=True)
            return FoundExecutions(str(archive.path), tuple(of_life))

    @contextmanager
    def _archives_with(
        self,
        instance_id: str,
        execution_id: int | None,
        incarnation: int | None,
        directories: Iterable[ArchivePath],
        unreadable: Callable[[ArchiveUnavailableError], object] | None,
    ) -> "Iterator[tuple[Archive, ArchivedExecution] | None]":
        """The first archive that has it, open, and where it has it."""
        from duro.maintenance.archive.reader import Archive

        instance_id = check_instance_id(instance_id)
        standing = None
        if incarnation is None:
            standing = self.store.get_instance(instance_id) or self.store.find_removed(instance_id)
        life = incarnation if standing is None else standing.incarnation
        tried = [*(archive_path(each) for each in directories), self.archive_directory()]
        tried += [each.directory for each in self.store.known_archives()]
        with ExitStack() as stack:
            archives = []
            for directory in dict.fromkeys(each for each in tried if each):
                try:
                    archive = stack.enter_context(Archive(Path(directory), store_id=self.store.store_id()))
                except ArchiveUnavailableError as error:
                    if unreadable is not None:
                        unreadable(error)
                    continue
                if life is not None and (found := archive.find(instance_id, execution_id, incarnation=life)):
                    yield archive, found
                    return
                archives.append(archive)
            if life is None:
                lasts = [(archive, archive.find(instance_id)) for archive in archives]
                life = max((last.incarnation for _, last in lasts if last is not None), default=None)
                for archive, last in lasts if life is not None else ():
                    if last is not None and (found := archive.find(instance_id, execution_id, incarnation=life)):
                        yield archive, found
                        return
            yield None

    def restore_archived(
        self,
        instance_id: str,
        execution_ids: Iterable[int] | None = None,
        *,
        directory: ArchivePath | None = None,
        everything: bool = False,
        incarnation: int | None = None,
        by: str | None = None,
        progress: Callable[[RestoreResult], bool | None] | None = None,
    ) -> RestoreResult:
        """Bring archived executions of an instance back as they were, and hold it for ``UNDO_HOLD_S``. Without
        ``execution_ids``: what was live when the instance was removed, with the instance, or else all that was pruned
        of it; ``everything``: both. ``incarnation``: which life of it, if its id was used again; None: the one that
        is in the store, or, if the archive has nothing of that, the latest. What is there already, event by event the
        same, is left as it is.

        Raises:
            NotArchivedError: the archive does not have it.
            RestoreRefusedError, InstanceNotFoundError: something else is in its place, or its instance is gone. Nothing
                was restored, unless somebody put it there meanwhile (``progress`` was told what was).
            ArchiveUnavailableError, ArchiveDamagedError: the archive cannot be read. What was restored by then stays.
        """
        instance_id = check_instance_id(instance_id)
        with self.open_archive(directory) as archive:
            return archive.restore(
                self.store,
                archive.chosen(
                    instance_id,
                    execution_ids,
                    everything=everything,
                    incarnation=archive.life_in(self.store, instance_id) if incarnation is None else incarnation,
                ),
                run_id=self._short_id("restore"),
                hold_until_ms=self.store.now_ms() + round(UNDO_HOLD_S * 1000),
                by=checked_by(by),
                source=source_of(None),
                progress=progress,
            )

    def _archive(self, directory: ArchivePath | None) -> Path:
        if directory is not None:
            return Path(archive_path(directory))
        found = self.archive_directory() or next((each.directory for each in self.store.known_archives()), None)
        if found is None:
            raise ArchiveUnavailableError(
                "no archive is named, none is configured, and nothing was ever archived",
                hint="give its directory, or set [archive] in runtime_config.toml",
            )
        return Path(found)


_LATE_S = 600.0
"""Longer than the interval nothing waits, but for a sweep, and for a try a minute later."""

_WAIT_S = 30.0
"""How long a call waits for somebody else who writes to the archive."""
