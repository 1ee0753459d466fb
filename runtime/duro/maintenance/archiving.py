"""The archive of a prune, a purge or a clean-up by hand: chosen before anything is marked, written at its end."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from duro.maintenance.policies import ConfiguredPolicies
from duro.model.archive import CONFIGURED, ArchiveOutcome
from duro.stores.base import Store


class Archiving:
    """``asked`` is a directory, or None: whatever is configured, by whom the workers publish or by ``configured``, a
    directory. ``archive`` is what the marks say.

    Raises (the constructor):
        ArchiveUnavailableError: the directory that was asked for cannot be used. (One that is configured may come back:
        what waits for it waits.)
    """

    def __init__(
        self,
        store: Store,
        asked: str | None,
        policies: ConfiguredPolicies,
        *,
        by_hand: bool,
        configured: str | None = None,
    ) -> None:
        self._store = store
        self._asked = asked is not None
        self._configured = policies.archive_directory if configured is None else Path(configured)
        self._by_hand = by_hand
        self.archive = asked
        if asked is None:
            self.archive = policies.archive if configured is None else CONFIGURED
        if self.archive not in (None, CONFIGURED):
            from duro.maintenance.archive.archiver import usable_place

            usable_place(store, Path(self.archive or "")).check_writable()

    @property
    def directory(self) -> str | None:
        """Where the configured archive is, as far as that is known; None: nobody says."""
        return None if self._configured is None else str(self._configured)

    def follow(self, policies: ConfiguredPolicies) -> None:
        """Something else is said since. An archive that is switched on takes what is marked from now on; what goes into
        one already goes on going there."""
        if self.archive is None and not self._asked:
            self.archive = policies.archive
            self._configured = policies.archive_directory

    def finish(self, progress: Callable[[int], object]) -> ArchiveOutcome | None:
        """Write what waits, whoever marked it; None: no archive is in use. ``progress`` is told how many histories were
        written so far, and says False to stop. Prunes of activities leave it to the sweep, which makes fewer and larger
        segments."""
        if self.archive is None or not self._by_hand:
            return None
        from duro.maintenance.archive.archiver import Archiver

        outcomes = Archiver(self._store, self._configured, wait_s=_WAIT_S).write_all(progress)
        for outcome in outcomes:
            if outcome.archive == self.archive:
                return outcome
        return ArchiveOutcome(archive=self.archive, directory=self.archive or self.directory or "")


_WAIT_S: Final = 30.0
"""How long a run waits for somebody else who writes to the archive."""
