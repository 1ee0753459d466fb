"""Values about archives: what a store hands over to be kept in files, and what comes back from them.

The way of one history: it is marked with the place of its archive (``PruneBatch.archive``), the store lists it
(``ArchivableExecution``), an archiver writes it into a segment and says so (``Store.note_archived``), and
only then can it be reclaimed. Restoring takes it from the segment (``Restoration``).
"""

from typing import Final

import msgspec

from duro.model.events import ParentLink
from duro.model.ledger import LedgerRange, RunSource
from duro.model.status import ExecutionStatus, InstanceStatus, ParentPolicy

CONFIGURED: Final = ""
"""As the place of an archive: the directory that the configuration of whoever archives names."""


def noted_archive(archive: str | None, directory: str | None) -> str | None:
    """How the ledger calls ``archive`` (``PruneBatch.archive``), so that it can be found when something else is
    configured: the configured one by the ``directory`` it is in now, as far as that is known."""
    return (directory or CONFIGURED) if archive == CONFIGURED else archive


class ArchivableExecution(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One execution as it stands in its row, for an archive. ``pruned_at_ms`` and ``run_id`` say when it was pruned and
    by which run ("" automatically), None if it goes with its whole instance. ``archive``: where to."""

    instance_id: str
    incarnation: int
    execution_id: int
    name: str
    version: str
    status: ExecutionStatus
    started_at_ms: int
    completed_at_ms: int | None
    event_count: int
    history_bytes: int
    input: str | None
    pruned_at_ms: int | None
    run_id: str | None
    archive: str


class ArchivedLineage(msgspec.Struct, frozen=True, kw_only=True):
    """Who spawned an instance, as its row says."""

    parent: ParentLink
    detached: bool
    on_parent_continue: ParentPolicy | None
    on_parent_end: ParentPolicy | None
    spawned_at_ms: int
    spawner_version: str
    spawner_ended_at_ms: int | None
    spawner_end: ExecutionStatus | None
    observed_at_ms: int | None
    completion: str | None
    parent_removed_at_ms: int | None
    adopted_at_ms: int | None
    adopted_by: str | None
    adopted_reason: str | None
    given_up_at_ms: int | None = None  # segments that an older duro wrote have none


class ArchivedLedgerRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of an instance's ledger. ``run_id`` None: an automatic prune."""

    sequence: int
    range: LedgerRange
    run_id: str | None


class ArchivableInstance(msgspec.Struct, frozen=True, kw_only=True):
    """A removed instance as it stands in its row, with its lineage and its ledger: what it takes to bring it back.
    ``execution_id`` is its last execution; ``archive``: where to."""

    incarnation: int
    instance_id: str
    name: str
    version: str
    status: InstanceStatus
    execution_id: int
    created_at_ms: int
    updated_at_ms: int
    completed_at_ms: int
    start_request_id: str
    custom_status: str | None
    turn_sequence: int
    last_commit_token: str | None
    lease_epoch: int
    cancel_requested_at_ms: int | None
    cancel_reason: str | None
    cancel_delivered: bool
    prune_policy: str | None
    pruned_through: int
    prune_due_at_ms: int | None
    swept_at_ms: int | None
    live_from: int
    removed_at_ms: int
    run_id: str
    archive: str
    lineage: ArchivedLineage | None
    ledger: tuple[ArchivedLedgerRow, ...]


class WaitingArchive(msgspec.Struct, frozen=True, kw_only=True):
    """What waits for one archive (``archive`` as in ``ArchivableExecution``): executions of instances that are there,
    whole instances, and the time from which the first of them may go, Unix ms."""

    archive: str
    executions: int
    instances: int
    since_ms: int


class KnownArchive(msgspec.Struct, frozen=True, kw_only=True):
    """An archive that was written to: its directory, the id that was in it, and when, Unix ms."""

    directory: str
    archive_id: str
    last_used_at_ms: int


class ArchivedHistory(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An execution and its events as they were stored, from an archive."""

    execution: ArchivableExecution
    events: tuple[str, ...]


class Restoration(msgspec.Struct, frozen=True, kw_only=True):
    """Histories of one life of one instance to bring back. ``instance`` is made if it is not there; None: it must be
    there. ``run_id`` names the row of the ledger and the hold, which lasts until ``hold_until_ms``. ``archive``: the
    directory they come from, for the ledger."""

    run_id: str
    instance_id: str
    incarnation: int
    histories: tuple[ArchivedHistory, ...]
    instance: ArchivableInstance | None = None
    hold_until_ms: int
    by: str
    source: RunSource
    archive: str | None = None


class ArchiveOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an archive when it was written to: ``archive`` as in the marks, its ``directory`` ("": nobody says
    where the configured one is), what was written, and ``waiting`` executions and instances that it could not take yet,
    with the ``problem`` (a sentence). Those stay in the store until it can."""

    archive: str
    directory: str
    segments: int = 0
    histories: int = 0
    events: int = 0
    file_bytes: int = 0
    waiting: int = 0
    problem: str = ""


class RestoreResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a restoration did. ``there``: executions that were there already, event by event the same; nothing was
    changed about them. ``hold_ids``: what holds that which was restored, a hold for each instance."""

    instances: int = 0
    executions: int = 0
    events: int = 0
    history_bytes: int = 0
    there: int = 0
    hold_ids: tuple[str, ...] = ()

    def plus(self, other: "RestoreResult") -> "RestoreResult":
        """Both together."""
        return RestoreResult(
            instances=self.instances + other.instances,
            executions=self.executions + other.executions,
            events=self.events + other.events,
            history_bytes=self.history_bytes + other.history_bytes,
            there=self.there + other.there,
            hold_ids=tuple(dict.fromkeys((*self.hold_ids, *other.hold_ids))),
        )
