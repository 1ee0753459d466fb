"""The archive's part of a sweep: when what waits is written, and what is said when it cannot be."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from duro.errors import StoreError
from duro.maintenance.policies import ConfiguredPolicies
from duro.model.removal import Backlog
from duro.settings.places_of_stores import archive_directory
from duro.settings.values import ArchiveSettings, RuntimeSettings
from duro.stores.base import Store
from duro.telemetry import HOST_LOGGER, ArchiveCounters

if TYPE_CHECKING:
    from duro.maintenance.archive.archiver import Archiver

_ENOUGH: Final = 2_000
"""Executions and instances that wait: they make a segment of their own, and wait no longer."""

_EVENTS_A_SEGMENT: Final = 20_000
"""Of a sweep: a step of a quarter of a second, beside which turns go on."""

_AGAIN_S: Final = 60.0
"""How long an archive that cannot be used is left alone."""


class ArchiveTerms(NamedTuple):
    """What a worker's file says about the archive; ``directory`` None: nothing."""

    directory: Path | None
    interval_s: float
    level: int


def archive_terms(settings: RuntimeSettings | None) -> ArchiveTerms:
    said = ArchiveSettings() if settings is None else settings.archive
    directory = None
    if settings is not None and said.enabled and said.directory is not None:
        directory = archive_directory(said.directory, settings.file)
    return ArchiveTerms(directory, float(said.interval_s), said.level)


class SweptArchives:
    """Steps as the loop that sweeps calls them. ``terms`` are those in force."""

    def __init__(self, store: Store, counters: ArchiveCounters, terms: Callable[[], ArchiveTerms]) -> None:
        self._store = store
        self._counters = counters
        self._terms = terms
        self._due_at_s: float | None = None
        self._archiver: Archiver | None = None
        self._made_of: ArchiveTerms | None = None
        self._told: set[str] = set()

    def look(self, backlog: Backlog, now_s: float) -> None:
        """See how much waits: enough is due now, less in a while."""
        waiting = backlog.unarchived_executions + backlog.unarchived_instances
        if not waiting:
            self._due_at_s = None
        elif waiting >= _ENOUGH and not self._told:
            self._due_at_s = now_s
        elif self._due_at_s is None:
            self._due_at_s = now_s + self._terms().interval_s

    def is_due(self, now_s: float) -> bool:
        return self._due_at_s is not None and now_s >= self._due_at_s

    def step(self, now_s: float) -> bool:
        """Write one segment. False: there is nothing more to do for now."""
        archiver = self._current()
        try:
            step = archiver.step()
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever is the matter with an archive, sweeps go on
            HOST_LOGGER.exception("the archive is left alone for %g s: %s", _AGAIN_S, error)
            self._counters.failed(1)
            self._due_at_s = now_s + _AGAIN_S
            self.close()
            return False
        self._counters.add(step)
        if step.more:
            return True
        archiver.close()
        if step.busy:
            self._due_at_s = now_s + 1.0
            return False
        self._tell(archiver)
        self._due_at_s = now_s + _AGAIN_S if archiver.unavailable else None
        archiver.forget()
        return False

    def close(self) -> None:
        """Nothing is open afterwards."""
        if self._archiver is not None:
            self._archiver.close()

    def _current(self) -> "Archiver":
        from duro.maintenance.archive.archiver import Archiver  # compression: only those who archive load it

        terms = self._terms()
        if self._archiver is None or terms != self._made_of:
            self.close()
            directory = terms.directory or ConfiguredPolicies(self._store).archive_directory
            self._archiver = Archiver(self._store, directory, level=terms.level, events_max=_EVENTS_A_SEGMENT)
            self._made_of = terms
        return self._archiver

    def _tell(self, archiver: "Archiver") -> None:
        """Once, until it can be used again."""
        problems = {str(error) for error in archiver.unavailable.values()}
        for problem in sorted(problems - self._told):
            HOST_LOGGER.warning("what is pruned stays in the store until it is archived: %s", problem)
        if self._told and not problems:
            HOST_LOGGER.info("the archive can be used again")
        self._told = problems
        self._counters.failed(len(problems))  # last: who sees the count can read what it counts
