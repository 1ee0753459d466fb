"""Carrying a prune out: what the planner is asked in a transaction, what was marked, what a reclaim freed, and who
asked.

The way of one removal: rules reach a store as a ``PruneOrder`` (from a client, a sweep, the command line) or with a
turn (``TurnPrune``, ``RequestPrune``); the store reads the ``PruneView`` of the instance in the same transaction, the
planner gives verdicts, and what it lets go is *marked*: out of every list, counted in the ledger. Later (or, for a
small removal without grace, at once) it is *reclaimed*: its rows are deleted in batches.
"""

import msgspec

from duro.model.ledger import LedgerRange, RunSource
from duro.model.pruning import ExecutionFacts, NewerExecutions, PruneResult, PruneTrigger
from duro.model.refusal import InvalidRulesError, check_texts, shown_value
from duro.model.retention import PolicyOrigin, PruneOptions
from duro.model.status import ChildrenPolicy, InstanceStatus, RemovalState

# --- what is looked at ---------------------------------------------------------------------------------------


class PruneView(msgspec.Struct, frozen=True, kw_only=True):
    """Some of the live executions of one life of one instance, oldest first, and what is to be known of the newer ones.

    ``newer.executions`` is exact up to the number the reader asked to have counted.
    """

    executions: tuple[ExecutionFacts, ...]
    newer: NewerExecutions


class PruneScope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which instances a client's prune is about: all given fields must match, and without any it is the whole store.

    ``instance_ids`` are exact; each must exist. ``name`` is an orchestration's name or a pattern (``*``, ``?``,
    ``[...]``, as in a shell).

    Raises:
        InvalidRulesError: a field is not as described.
    """

    instance_ids: tuple[str, ...] | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        check_texts(self, "name")
        given = self.instance_ids
        if given is None or isinstance(given, tuple):
            return
        if not isinstance(given, list | set | frozenset):
            raise InvalidRulesError(f"PruneScope.instance_ids must be several ids, not {shown_value(given)}")
        msgspec.structs.force_setattr(self, "instance_ids", tuple(given))


class PruneFilter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which instances a prune looks at: all given fields must match, and without any it is all of them.

    ``instance_ids`` and ``names`` are exact. ``due``: only those a sweep has to look at now, because an earlier prune
    left something or failed. ``several``: only those that may have more than one live execution.
    ``own_policy``: only those that have a policy of their own.
    """

    instance_ids: tuple[str, ...] | None = None
    names: tuple[str, ...] | None = None
    due: bool = False
    several: bool = False
    own_policy: bool = False


class PrunableInstance(msgspec.Struct, frozen=True, kw_only=True):
    """An instance as a prune sees it. ``version`` is that of its current execution, ``live_executions_max`` a bound on
    their number (``execution_id`` less those known to be gone), ``policy`` its own override as JSON text
    (``StatedPolicy``) or None, ``swept_at_ms`` when a sweep last looked at it for the interval of its policy."""

    instance_id: str
    incarnation: int
    name: str
    version: str
    status: InstanceStatus
    execution_id: int
    live_executions_max: int
    policy: str | None
    swept_at_ms: int | None


# --- what is asked -------------------------------------------------------------------------------------------


class AskedPrune(msgspec.Struct, frozen=True, kw_only=True):
    """What code asked for (``prune_history``, or ``prune=`` of ``continue_as_new``) and a turn did not finish, kept for
    a sweep: ``options`` are applied as if ``through`` were the newest execution of this life of the instance, and as if
    it were ``at_ms``, so that nothing goes that the call did not let go. ``name`` is the orchestration's."""

    incarnation: int
    name: str
    options: PruneOptions
    origin: PolicyOrigin
    through: int
    at_ms: int


class PruneOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Prune one life of one instance by ``rules`` (several: united).

    Executions after ``after`` are looked at, at most ``PruneBatch.executions_max`` of them. ``only``: of those the
    rules let go, just these may go (the items of a plan that is applied), and without rules all of these that may;
    None: all. ``instance_id``: the life must be of this instance, else it is as if it were not there (a plan may have
    been edited); None: of any. ``asked``: it goes on with this, looks at nothing newer than ``asked.through``, and
    decides as of ``asked.at_ms``.
    """

    incarnation: int
    rules: tuple[PruneOptions, ...]
    origin: PolicyOrigin
    after: int = 0
    only: frozenset[int] | None = None
    instance_id: str | None = None
    asked: AskedPrune | None = None

    def is_of(self, instance_id: str) -> bool:
        return self.instance_id is None or self.instance_id == instance_id


class PruneBatch(msgspec.Struct, frozen=True, kw_only=True):
    """Several orders, of different instances, in one transaction.

    ``run_id`` "" is an automatic prune: its counts go into the coalesced ranges of the ledger. Any other names a manual
    run, whose row of the ledger is its own; ``by``, ``reason`` and ``source`` say who ran it, why and where.
    ``grace_ms``: how long after the mark the rows stay, to be brought back. ``policy_revision``: refuse if the store's
    is another; None: any. ``swept``: note on every instance whose order leaves nothing that a sweep has looked at it
    now (where it is ``asked``: that this is done); an order is at its end where nothing further on may go. ``archive``:
    where what goes is to be kept before it is reclaimed, a directory or ``archive.CONFIGURED``; None: nowhere.
    ``archive_directory``: where the configured archive is now, for the ledger.
    """

    orders: tuple[PruneOrder, ...]
    trigger: PruneTrigger
    executions_max: int
    run_id: str = ""
    by: str = ""
    reason: str = ""
    source: RunSource = RunSource()
    grace_ms: int = 0
    children: ChildrenPolicy = ChildrenPolicy.KEEP
    policy_revision: int | None = None
    swept: bool = False
    archive: str | None = None
    archive_directory: str | None = None


class OrderResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one order. ``next_after``: where the next order of this instance begins, None: it is at its end.
    ``result.remaining`` counts those of ``only`` that lie behind ``next_after``, or 1 while ``next_after`` is given."""

    result: PruneResult
    next_after: int | None


class PruneReport(msgspec.Struct, frozen=True, kw_only=True):
    """What pruning did in the commit of a turn, for the counters: ``position`` of the turn in the batch."""

    position: int
    name: str
    trigger: PruneTrigger
    result: PruneResult


# --- what is done --------------------------------------------------------------------------------------------


class SettledCount(msgspec.Struct, frozen=True, kw_only=True):
    """What was removed of settled children that go with executions: ``families`` whose root is of orchestration
    ``name``, with ``instances`` in all."""

    name: str
    families: int
    instances: int
    executions: int
    events: int
    history_bytes: int


class ReclaimResult(msgspec.Struct, frozen=True, kw_only=True):
    """What one batch of reclaiming deleted. ``children``: settled children that were removed, with all that depended on
    them, because their spawner's execution goes; ``settled`` counts them by name. ``instances``: removed instances
    whose last row went. ``more``: there is more that is due now."""

    executions: int = 0
    events: int = 0
    children: int = 0
    instances: int = 0
    more: bool = False
    settled: tuple[SettledCount, ...] = ()


class UndoResult(msgspec.Struct, frozen=True, kw_only=True):
    """What ``prune undo`` brought back: ``instances`` are those with executions that are live again, and the roots of
    whole trees, which have ``instances_restored`` instances. ``gone``: executions of the same run or instance that were
    reclaimed already. ``taken``: roots of trees that stay removed because an id of theirs is used again; of an instance
    that is there, the tree that its latest life before this one was removed with. ``removed``: instances of which the
    run pruned executions that are there, and that have been removed whole since: the undo of that comes first."""

    instances_restored: int = 0
    executions_restored: int = 0
    events_restored: int = 0
    bytes_restored: int = 0
    instances: tuple[str, ...] = ()
    gone: int = 0
    taken: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    hold_ids: tuple[str, ...] = ()

    def plus(self, other: "UndoResult") -> "UndoResult":
        """Both together; an instance that both are about is named once."""
        return UndoResult(
            instances_restored=self.instances_restored + other.instances_restored,
            executions_restored=self.executions_restored + other.executions_restored,
            events_restored=self.events_restored + other.events_restored,
            bytes_restored=self.bytes_restored + other.bytes_restored,
            instances=tuple(dict.fromkeys((*self.instances, *other.instances))),
            gone=self.gone + other.gone,
            taken=tuple(dict.fromkeys((*self.taken, *other.taken))),
            removed=tuple(dict.fromkeys((*self.removed, *other.removed))),
            hold_ids=(*self.hold_ids, *other.hold_ids),
        )


class PruneRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run by hand, or what came back (``trigger``: ``manual`` or ``undo``). ``kind``: a ``RunKind``, or ""
    of a run from before kinds were recorded and of which nothing says so. ``rule`` and ``origin`` are texts.
    ``archive``: the directory in which what went was to be kept, or what came back was; ``archive.CONFIGURED``: it was
    not known which; None: none."""

    run_id: str
    trigger: str
    rule: str
    origin: str
    by: str
    reason: str
    started_at_ms: int
    instances: int
    executions: int
    events: int
    history_bytes: int
    source: RunSource = RunSource()
    archive: str | None = None
    kind: str = ""


class LedgerEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One row of an instance's ledger; ``run`` is given for manual runs and undos, None for automatic prunes."""

    range: LedgerRange
    run: PruneRun | None = None


class PrunedExecution(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an execution that was pruned. ``removal`` None: its rows are gone; else they can be brought back
    while it is ``pruned`` and now is before ``reclaim_at_ms``. ``entries``: the ledger rows that it may have been
    pruned in, the latest first; where several remain possible, the ledger does not say which."""

    instance_id: str
    incarnation: int
    execution_id: int
    removal: RemovalState | None
    pruned_at_ms: int | None
    reclaim_at_ms: int | None
    entries: tuple[LedgerEntry, ...]


class PublishedPolicies(msgspec.Struct, frozen=True, kw_only=True):
    """What workers publish, each distinct text once (JSON of ``PolicySources``): of those that live, or, while none
    does, of the one that published last. ``revision`` grows with every change of what anybody says about pruning."""

    revision: int
    sources: tuple[str, ...]


class Backlog(msgspec.Struct, frozen=True, kw_only=True):
    """What is left to do: executions marked and not reclaimed (``due_executions`` of them may go now), instances a
    sweep has to look at now, and instances removed and not reclaimed (``due_removed`` of them may go now). The
    ``unarchived_*`` ones wait for their archive."""

    marked_executions: int = 0
    due_executions: int = 0
    due_instances: int = 0
    removed_instances: int = 0
    due_removed: int = 0
    unarchived_executions: int = 0
    unarchived_instances: int = 0
