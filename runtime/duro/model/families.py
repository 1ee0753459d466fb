"""Whole instances and who depends on whom: orphans, families, and the removal of both, as values.

A *family* is an instance with all descendants that depend on it (detached and adopted ones stand alone). It is removed
as one: marked in one transaction, reclaimed from the leaves up. Times are Unix milliseconds of the store's clock.

Reasons are codes for programs that people can read too. A family is kept for one of

========================= ==========================================================================================
``running:ID``            the member ID has not ended
``held:HOLD``             a hold covers a member
``observable``            a parent execution may still observe its end
``with-parent:ID``        its parent ID has ended: it goes with it, or not at all
``unknown``               whether anybody may still observe its end cannot be told; never removed
``unknown:ID``            the same of the end of the member ID
``unreadable:ID``         text of the member ID is no UTF-8
``not-an-orphan:WHY``     asked for orphans, and it is none (``observed``, ``detached``, ``adopted``, ``a-root``)
``kind:KIND``             an orphan of a kind that was not asked for
``status:STATUS``         ended in a way that was not asked for
``young:1h``              an orphan for less than that
``parent-since:TIME``     its spawning execution ended at this time (``parent_completed_before``) or later
``last:5``                among the newest five of its orchestration that have ended
``within:7d``             it ended no longer ago than that
``since:TIME``            it ended at this time (``completed_before``) or later
``never``                 its policy is never to purge
``member:ID:REASON``      the purge override of its own name keeps the member ID, for a reason as above
========================= ==========================================================================================

and removed because of *all* of ``beyond-last:5``, ``older-than:7d``, ``before:TIME`` (one for each rule given), with
``settled`` for what hangs below a living parent; or ``orphan:KIND`` (with ``spawner-pruned``).
"""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

import msgspec

from duro.model.archive import ArchiveOutcome
from duro.model.ledger import RunSource
from duro.model.limits import NUMBER_MAX
from duro.model.pruning import Verdict
from duro.model.records import ChildRecord
from duro.model.refusal import InvalidRulesError, check_texts, settle_members, shown_value
from duro.model.retention import (
    PolicyOrigin,
    check_keep_count,
    duration_s,
    format_seconds,
    format_time,
    seconds_of,
    unix_ms,
)
from duro.model.status import FINAL_INSTANCE_STATUSES, InstanceStatus

# --- where a child stands ------------------------------------------------------------------------------------


class Standing(StrEnum):
    """Who may still learn how a child ends."""

    ATTACHED = "attached"
    """Its spawning execution runs: it may observe the end."""
    GIVEN_UP = "given-up"
    """Its spawning execution runs and waits for it no longer: it lost a ``select``, say. Its end is thrown away."""
    OBSERVED = "observed"
    """A parent's turn recorded the end."""
    DETACHED = "detached"
    """Started to stand alone, or adopted."""
    ORPHAN = "orphan"
    """No parent execution will ever observe the end."""
    UNKNOWN = "unknown"
    """The evidence is missing or contradicts itself. Reported, and never cleaned up."""


class OrphanKind(StrEnum):
    PARENT_MISSING = "parent-missing"
    """The parent instance was removed; its removal is recorded."""
    PARENT_CLOSED = "parent-closed"
    """The parent instance ended in the execution that spawned the child, without observing it."""
    PARENT_CONTINUED = "parent-continued"
    """The execution that spawned the child continued as new without observing it."""
    UNKNOWN = "unknown"
    """Nobody can tell; see ``Standing.UNKNOWN``."""


CLEANABLE_KINDS: Final = (OrphanKind.PARENT_MISSING, OrphanKind.PARENT_CLOSED, OrphanKind.PARENT_CONTINUED)


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a child stands, why (a sentence), and, for an orphan, of which kind it is and since when (None: not
    recorded)."""

    standing: Standing
    why: str
    kind: OrphanKind | None = None
    since_ms: int | None = None


class Orphan(msgspec.Struct, frozen=True, kw_only=True):
    """A child nobody will observe (or, ``UNKNOWN``, of which that cannot be told). ``spawner_pruned``: the execution
    that spawned it is pruned. ``since_ms``: when it became an orphan, None if that is not recorded."""

    child: ChildRecord
    kind: OrphanKind
    spawner_pruned: bool
    since_ms: int | None
    why: str


class OrphanFilter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Which orphans: all given fields must match.

    ``kinds``: None is all of them, ``UNKNOWN`` included. ``child_status``: of the child; None is any.
    ``parent_completed_before``: its spawning execution ended before this time (``datetime`` with zone, or Unix ms, kept
    as such). ``name``: the child's orchestration, or a pattern as in a shell. ``limit``: orphans of a page, 0 for all.

    Raises:
        InvalidRulesError: a field is not as described.
    """

    kinds: tuple[OrphanKind, ...] | None = None
    child_status: tuple[InstanceStatus, ...] | None = None
    parent_completed_before: int | datetime | None = None
    name: str | None = None
    limit: int = 100

    def __post_init__(self) -> None:
        settle_members(self, "kinds", OrphanKind)
        settle_members(self, "child_status", InstanceStatus)
        if self.parent_completed_before is not None:
            time_ms = unix_ms("OrphanFilter.parent_completed_before", self.parent_completed_before)
            msgspec.structs.force_setattr(self, "parent_completed_before", time_ms)
        check_texts(self, "name")
        limit = self.limit
        if isinstance(limit, bool) or not isinstance(limit, int) or not 0 <= limit <= NUMBER_MAX:
            raise InvalidRulesError(
                f"OrphanFilter.limit must be a whole number from 0, not {shown_value(limit)}", hint="0 means all"
            )

    @property
    def parent_completed_before_ms(self) -> int | None:
        assert not isinstance(self.parent_completed_before, datetime), "settled when it was made"
        return self.parent_completed_before


class OrphanPage(msgspec.Struct, frozen=True, kw_only=True):
    """Oldest first. ``next`` is the cursor for the next page, None on the last one."""

    orphans: tuple[Orphan, ...]
    next: str | None


class OrphanSearch(msgspec.Struct, frozen=True, kw_only=True):
    """What a store is asked for: unobserved children that are not detached and whose spawning execution is not known to
    run. ``names`` are exact. ``all_kinds`` False leaves out those of which nothing says that their spawner ended."""

    names: tuple[str, ...] | None = None
    child_status: tuple[InstanceStatus, ...] | None = None
    spawner_ended_before_ms: int | None = None
    all_kinds: bool = False


class Lineage(msgspec.Struct, frozen=True, kw_only=True):
    """Who spawned an instance. ``child`` None: nobody did, it is a root. ``ancestors`` are the lineages of its parent,
    its parent's parent and so on, as far as they are there; a parent that is gone, or a root, ends them."""

    instance_id: str
    incarnation: int
    child: ChildRecord | None
    place: Place | None
    ancestors: tuple[ChildRecord, ...]


# --- families --------------------------------------------------------------------------------------------------


class FamilyMember(msgspec.Struct, frozen=True, kw_only=True):
    """``depth`` 0 is the root of the family. ``versions`` are those its live executions ran, ``executions``, ``events``
    and ``history_bytes`` are of all of its live executions. ``is_unknown``: below the root, nobody can tell whether a
    parent may still observe its end (``Standing.UNKNOWN``). ``is_unreadable``: text of it is no UTF-8."""

    incarnation: int
    instance_id: str
    name: str
    status: InstanceStatus
    completed_at_ms: int | None
    depth: int
    versions: tuple[str, ...]
    executions: int
    events: int
    history_bytes: int
    is_unknown: bool = False
    is_unreadable: bool = False

    @property
    def is_finished(self) -> bool:
        return self.status in FINAL_INSTANCE_STATUSES


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """``members``: the root first, then its descendants by depth; what hangs below a member that has not ended is not
    looked at. ``child``: the root's own lineage, None if it has no parent."""

    members: tuple[FamilyMember, ...]
    child: ChildRecord | None = None

    @property
    def root(self) -> FamilyMember:
        return self.members[0]

    @property
    def executions(self) -> int:
        return sum(member.executions for member in self.members)

    @property
    def events(self) -> int:
        return sum(member.events for member in self.members)

    @property
    def history_bytes(self) -> int:
        return sum(member.history_bytes for member in self.members)


class FinishedInstance(msgspec.Struct, frozen=True, kw_only=True):
    """An instance that has ended and may be the root of a family to be purged."""

    incarnation: int
    instance_id: str
    name: str
    status: InstanceStatus
    completed_at_ms: int


# --- rules -----------------------------------------------------------------------------------------------------


class PurgeOptions(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, tag="purge"
):
    """Which ended instances to keep. A family is removed only when no rule given keeps its root.

    ``keep_within``: what ended no longer ago (seconds or ``timedelta``, kept as seconds). ``keep_failed_within``: the
    same for those that failed, instead of ``keep_within``, which must be given too. ``completed_before``: what ended at
    this time or later (``datetime`` with zone or Unix ms). ``keep_last``: the newest so many of each orchestration that
    have ended. ``statuses`` is no rule: only what ended in one of these ways may go; None: in any.

    Raises:
        InvalidRulesError: no rule that keeps is given, or a value is not as described.
    """

    keep_within: float | timedelta | None = None
    keep_failed_within: float | timedelta | None = None
    completed_before: int | datetime | None = None
    keep_last: int | None = None
    statuses: tuple[InstanceStatus, ...] | None = None

    def __post_init__(self) -> None:
        for field in ("keep_within", "keep_failed_within"):
            if (given := getattr(self, field)) is not None:
                msgspec.structs.force_setattr(self, field, duration_s(f"PurgeOptions.{field}", given))
        if self.completed_before is not None:
            time_ms = unix_ms("PurgeOptions.completed_before", self.completed_before)
            msgspec.structs.force_setattr(self, "completed_before", time_ms)
        if self.keep_last is not None:
            check_keep_count("PurgeOptions.keep_last", self.keep_last)
        settle_members(self, "statuses", InstanceStatus)
        if unfinished := [each for each in self.statuses or () if each not in FINAL_INSTANCE_STATUSES]:
            raise InvalidRulesError(
                f"PurgeOptions.statuses has {unfinished[0].value!r}, which is no end",
                hint="completed, failed, cancelled or terminated",
            )
        if self.keep_failed_within is not None and self.keep_within is None:
            raise InvalidRulesError(
                "PurgeOptions.keep_failed_within says nothing of those that did not fail", hint="give keep_within too"
            )
        if self.keep_within is None and self.completed_before is None and self.keep_last is None:
            raise InvalidRulesError(
                "PurgeOptions names nothing to keep", hint="give keep_within, completed_before or keep_last"
            )

    @property
    def keep_within_s(self) -> float | None:
        return seconds_of(self.keep_within)

    @property
    def keep_failed_within_s(self) -> float | None:
        return seconds_of(self.keep_failed_within)

    @property
    def completed_before_ms(self) -> int | None:
        assert not isinstance(self.completed_before, datetime), "settled when it was made"
        return self.completed_before

    def __str__(self) -> str:
        """``keep_within=30d keep_last=100``: what is given, always in this order."""
        texts = []
        if self.keep_within_s is not None:
            texts.append(f"keep_within={format_seconds(self.keep_within_s)}")
        if self.keep_failed_within_s is not None:
            texts.append(f"keep_failed_within={format_seconds(self.keep_failed_within_s)}")
        if self.completed_before_ms is not None:
            texts.append(f"completed_before={format_time(self.completed_before_ms)}")
        if self.keep_last is not None:
            texts.append(f"keep_last={self.keep_last}")
        if self.statuses is not None:
            texts.append(f"status={','.join(self.statuses)}")
        return " ".join(texts)


class OrphanRules(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="orphans"):
    """Which orphans go: as ``OrphanFilter`` has them (``UNKNOWN`` never does), and orphans for ``min_age_s`` at
    least: since the spawning execution ended and since the child did, whichever was later."""

    kinds: tuple[OrphanKind, ...] = CLEANABLE_KINDS
    child_status: tuple[InstanceStatus, ...] | None = None
    parent_completed_before_ms: int | None = None
    min_age_s: float = 0.0

    def __str__(self) -> str:
        texts = [f"min_age={format_seconds(self.min_age_s)}"]
        if self.kinds != CLEANABLE_KINDS:
            texts.append(f"kind={','.join(self.kinds)}")
        if self.child_status is not None:
            texts.append(f"status={','.join(self.child_status)}")
        if self.parent_completed_before_ms is not None:
            texts.append(f"parent_completed_before={format_time(self.parent_completed_before_ms)}")
        return " ".join(texts)


RemovalRules = PurgeOptions | OrphanRules


class PurgeOverride(msgspec.Struct, frozen=True, kw_only=True):
    """What a file says about purging orchestrations of a name or pattern. ``options`` None: never."""

    name: str
    options: PurgeOptions | None


PurgeOverrides = tuple[tuple[PurgeOverride, ...], ...]
"""Those of each file that some worker was told of. What any of them keeps is kept."""


# --- plans and what becomes of them ----------------------------------------------------------------------------


class RemovalItem(msgspec.Struct, frozen=True, kw_only=True):
    """One family: its root, what becomes of it, and its size. ``rules`` None: never. ``child_of``: the parent's
    ``ID/EXECUTION``, "" for a root."""

    instance_id: str
    incarnation: int
    name: str
    status: InstanceStatus
    completed_at_ms: int | None
    child_of: str
    rules: RemovalRules | None
    origin: PolicyOrigin
    verdict: Verdict
    instances: int
    executions: int
    events: int
    history_bytes: int


class RemovalTotals(msgspec.Struct, frozen=True, kw_only=True):
    families_kept: int = 0
    families_removed: int = 0
    instances_removed: int = 0
    executions_removed: int = 0
    events_removed: int = 0
    bytes_removed: int = 0


class RemovalKind(StrEnum):
    """What a plan is for; also the trigger that the ledger has."""

    PURGE = "purge"
    ORPHANS = "orphans"


class RunningOrphan(msgspec.Struct, frozen=True, kw_only=True):
    """One life of an orphan that has not ended."""

    instance_id: str
    incarnation: int


class RemovalPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a purge or a clean-up of orphans removes: the families whose verdict says so. ``policy_revision`` and
    ``hold_revision`` are the store's at the time of planning. Plans that were written before ``kind``,
    ``orphan_rules`` and ``running`` were have none of them."""

    store_id: str
    policy_revision: int
    hold_revision: int
    made_at_ms: int
    items: tuple[RemovalItem, ...]
    totals: RemovalTotals
    running_orphans: tuple[str, ...] = ()
    """Ids of orphans that have not ended and were not asked to yet, which ``cancel_running`` does."""
    orphan_rules: OrphanRules | None = None
    """Of a clean-up: what it was asked for."""
    running: tuple[RunningOrphan, ...] = ()
    """The lives that ``running_orphans`` names: another life of such an id is another instance."""
    kind: RemovalKind | None = None

    @property
    def known_kind(self) -> RemovalKind | None:
        """``kind``, or, where the plan does not say, what its items do; None: there are none either."""
        if self.kind is not None:
            return self.kind
        if self.running_orphans or any(isinstance(item.rules, OrphanRules) for item in self.items):
            return RemovalKind.ORPHANS
        return RemovalKind.PURGE if self.items else None


class RemovalOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Remove the family whose root is ``incarnation``, if ``rules`` still let it go. ``instance_id`` is as in
    ``PruneOrder``. ``newest_from``: where those of the root's name began that ``keep_last`` keeps, before whoever gives
    the order removed anything; None: as it is in the transaction."""

    incarnation: int
    rules: RemovalRules
    origin: PolicyOrigin
    instance_id: str | None = None
    newest_from: int | None = None

    def is_of(self, instance_id: str) -> bool:
        return self.instance_id is None or self.instance_id == instance_id


class RemovalBatch(msgspec.Struct, frozen=True, kw_only=True):
    """Several orders in one transaction; the other fields as in ``PruneBatch``. ``trigger``: ``purge`` or
    ``orphans``, for the ledger. ``overrides``: what protects a member of a family that is purged, by its own name
    (of orphans, only what is never purged); empty where the rules were given by hand."""

    orders: tuple[RemovalOrder, ...]
    trigger: str
    overrides: PurgeOverrides = ()
    run_id: str = ""
    by: str = ""
    reason: str = ""
    source: RunSource = RunSource()
    grace_ms: int = 0
    policy_revision: int | None = None
    archive: str | None = None
    archive_directory: str | None = None


class RemovalOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one order. ``instance_id`` "": there is no such instance any more. Not ``removed``: ``reasons``
    say why it is kept."""

    incarnation: int
    instance_id: str
    name: str
    removed: bool
    reasons: tuple[str, ...]
    instances: int = 0
    executions: int = 0
    events: int = 0
    history_bytes: int = 0


class SkippedInstance(msgspec.Struct, frozen=True):
    """Planned for removal and not removed. ``why`` is a sentence for people."""

    instance_id: str
    why: str


class RemovalResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a purge or a clean-up did. ``families`` were removed, with ``instances`` in all. ``cancelled``: running
    orphans that were asked to end; a later run removes them. ``remaining`` families were not looked at, because it was
    stopped (``progress``). ``archived`` is as in ``PruneResult``."""

    families: int = 0
    instances: int = 0
    executions: int = 0
    events: int = 0
    history_bytes: int = 0
    cancelled: tuple[str, ...] = ()
    skipped: tuple[SkippedInstance, ...] = ()
    remaining: int = 0
    run_id: str = ""
    archived: ArchiveOutcome | None = None


class RemovedInstance(msgspec.Struct, frozen=True, kw_only=True):
    """An instance that was removed and whose rows are still there: until ``reclaim_at_ms`` it can be brought back,
    unless its reclaiming has begun."""

    instance_id: str
    incarnation: int
    name: str
    status: InstanceStatus
    removed_at_ms: int
    reclaim_at_ms: int
    run_id: str
    reclaiming: bool
