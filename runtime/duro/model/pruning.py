"""What pruning is about, as values: facts of executions, holds, verdicts with reasons, plans and results.

Times are Unix milliseconds of the store's clock. Everything here is JSON both ways: a plan can be written to a file,
read back and applied.

Reasons are codes for programs that people can read too. An execution is kept for one of

=========================== ========================================================================================
``current``                 it is the instance's current execution
``running``                 it has not ended
``queued-successor``        it continued as new, and the execution that follows is still queued
``held:ID``                 the hold ID covers it
``last:2/5``                it is the second newest, and the newest five are kept
``within:7d``               it ended no longer ago than that
``since:TIME``              it completed at this time (``completed_before``) or later
``version:1.0.0``           it is among the newest of this version
``never``                   its policy is never to prune
``no-policy``               no policy prunes it now: that is switched off, or nobody says so (``InstancePlan.why``)
``not-named``               others were named one by one, and it was not
``no-end-time``             a rule asks for its age, and when it ended is not recorded
``undecided:1.0.0``         how many newer ones of this version there are is not known here; a whole plan decides
=========================== ========================================================================================

and removed because of *all* of (one for each rule given)

=========================== ========================================================================================
``beyond-last:5``           five newer ones are kept
``older-than:7d``           it ended longer ago
``before:TIME``             it completed before this time
``beyond-version:1.0.0/2``  two newer ones of its version are kept
``beyond-versions:3``       three other versions were used later
``no-version``              it ended before a version was chosen for it
``named``                   it was named, and no rules were given
=========================== ========================================================================================
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

import msgspec

from duro.model.archive import ArchiveOutcome
from duro.model.limits import NUMBER_MAX
from duro.model.refusal import InvalidRulesError, check_texts, shown_value
from duro.model.retention import PolicyOrigin, PruneOptions
from duro.model.status import UNFINISHED_EXECUTION_STATUSES, ChildrenPolicy, ExecutionStatus

# --- facts --------------------------------------------------------------------------------------------------


class ExecutionFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What planning has to know of a live execution (one whose removal has not begun); no history is read for it.

    ``version`` is "" until its first turn. ``completed_at_ms`` is set for every way it can end. ``is_current``: the
    instance stands on it, ended or not. ``has_queued_successor``: it continued as new and the execution that follows
    has no row of its own yet.
    """

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
    is_current: bool
    has_queued_successor: bool = False

    @property
    def is_running(self) -> bool:
        return self.status in UNFINISHED_EXECUTION_STATUSES


class NewerVersion(NamedTuple):
    """Live executions of one version that are newer than those a turn looks at."""

    version: str
    executions: int
    newest_execution_id: int


class NewerExecutions(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the live executions that are newer than those looked at: only counts.

    ``executions`` counts them all. It may be capped at the largest ``keep_last`` asked for (``is_capped``: there may be
    more): how far beyond makes no difference. ``versions`` has every version among them (not ""), whose ``executions``
    may be capped at ``keep_last_per_version``; None: not known, and what version rules would decide is kept as
    undecided. Rules of time need nothing from here.
    """

    executions: int = 0
    versions: tuple[NewerVersion, ...] | None = ()
    is_capped: bool = False


# --- holds --------------------------------------------------------------------------------------------------


class HoldTarget(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a hold covers: an instance (every life of its id), one execution of it, or all executions whose
    orchestration name matches ``name`` (as in a shell: ``*``, ``?``, ``[...]``) and whose version is ``version``.

    Raises:
        InvalidRulesError: nothing is named, or not by a text, an execution without its instance, an instance together
            with a name or version, or an execution id below 1.
    """

    instance_id: str | None = None
    execution_id: int | None = None
    name: str | None = None
    version: str | None = None

    def __post_init__(self) -> None:
        check_texts(self, "instance_id", "name", "version")
        if self.instance_id is None and self.name is None and self.version is None:
            raise InvalidRulesError(
                "nothing is named to hold", hint="name an instance (and an execution), an orchestration or a version"
            )
        if self.instance_id is not None and (self.name is not None or self.version is not None):
            raise InvalidRulesError(
                "both an instance and a name or version are named to hold", hint="make two holds of it"
            )
        if self.execution_id is None:
            return
        if self.instance_id is None:
            raise InvalidRulesError("HoldTarget.execution_id stands without its instance", hint="give instance_id")
        execution_id = self.execution_id
        if isinstance(execution_id, bool) or not isinstance(execution_id, int) or not 1 <= execution_id <= NUMBER_MAX:
            raise InvalidRulesError(
                f"HoldTarget.execution_id must be a whole number from 1, not {shown_value(execution_id)}"
            )

    def __str__(self) -> str:
        """``queue-1/7``, ``name=billing.* version=1.0.0``."""
        if self.instance_id is not None:
            return self.instance_id if self.execution_id is None else f"{self.instance_id}/{self.execution_id}"
        named = (("name", self.name), ("version", self.version))
        return " ".join(f"{field}={value}" for field, value in named if value is not None)


class Hold(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A named reason why something may not be removed. ``until_ms``: from then on it holds nothing; None: until it is
    taken away. ``by``: who put it there."""

    hold_id: str
    target: HoldTarget
    reason: str
    created_at_ms: int
    by: str = ""
    until_ms: int | None = None


# --- plans --------------------------------------------------------------------------------------------------


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """What becomes of one execution, and every reason for it (codes: see the module). Never without a reason."""

    keep: bool
    reasons: tuple[str, ...]


class PlanItem(msgspec.Struct, frozen=True, gc=False):
    execution: ExecutionFacts
    verdict: Verdict


class PlannedChild(msgspec.Struct, frozen=True, kw_only=True):
    """A settled child that goes, with all that depends on it, when ``execution_id``, which spawned it, is reclaimed.
    The counts are of all of them."""

    instance_id: str
    incarnation: int
    execution_id: int
    instances: int
    executions: int
    events: int
    history_bytes: int


class InstancePlan(msgspec.Struct, frozen=True, kw_only=True):
    """One instance: what it was planned with, and its live executions, oldest first. Several ``rules`` are united: an
    execution goes only if each of them lets it go. None: never prune; empty: what goes was named one by one.
    ``children``: the settled children of what goes
    that go with it, as they are now; those that settle before it is reclaimed go, too. ``why``: why its policy lets
    nothing go, a sentence; "" where there are rules."""

    instance_id: str
    incarnation: int
    name: str
    rules: tuple[PruneOptions, ...] | None
    origin: PolicyOrigin
    items: tuple[PlanItem, ...]
    children: tuple[PlannedChild, ...] = ()
    why: str = ""


class PlanTotals(msgspec.Struct, frozen=True, kw_only=True):
    """``children_removed`` are instances (settled children and what depends on them), with their events and bytes; the
    other counts are of the instances that are pruned."""

    executions_kept: int = 0
    executions_removed: int = 0
    events_kept: int = 0
    events_removed: int = 0
    bytes_kept: int = 0
    bytes_removed: int = 0
    children_removed: int = 0
    child_events_removed: int = 0
    child_bytes_removed: int = 0


class WarningCode(StrEnum):
    LAST_OF_VERSION = "last-of-version"
    NO_END_TIME = "no-end-time"
    ONLY_CURRENT = "only-current"
    PRUNED_BEFORE = "pruned-before"


class PlanWarning(msgspec.Struct, frozen=True):
    """Something to know before a plan is applied. ``text`` is a sentence for people."""

    code: WarningCode
    instance_id: str
    text: str


class PrunePlan(msgspec.Struct, frozen=True, kw_only=True):
    """What an apply removes: the items whose verdict says so, and nothing else.

    ``policy_revision`` and ``hold_revision`` are the store's at the time of planning; an apply compares them, and each
    item, in the transaction that marks. ``children``: what becomes of the children of what goes, as it was configured
    then; an apply keeps to it, whatever is configured meanwhile.
    """

    store_id: str
    policy_revision: int
    hold_revision: int
    made_at_ms: int
    instances: tuple[InstancePlan, ...]
    totals: PlanTotals
    warnings: tuple[PlanWarning, ...]
    children: ChildrenPolicy = ChildrenPolicy.KEEP

    def removals(self) -> Iterator[ExecutionFacts]:
        """The executions to be removed, instance by instance, oldest first."""
        for instance in self.instances:
            for item in instance.items:
                if not item.verdict.keep:
                    yield item.execution


# --- results ------------------------------------------------------------------------------------------------


class PruneTrigger(StrEnum):
    """What made a prune happen."""

    PRUNE_HISTORY = "prune_history"
    """The orchestration asked (``ctx.prune_history``)."""
    CONTINUE_AS_NEW = "continue_as_new"
    """With continue-as-new: its ``prune=``, or the automatic policy; the policy's origin says which."""
    INTERVAL = "interval"
    """A sweep."""
    ACTIVITY = "activity"
    """An activity, through its client."""
    MANUAL = "manual"
    """A client or the command line."""


class SkippedExecution(msgspec.Struct, frozen=True):
    """Was to go, by a plan or by the rules, and was not removed. ``why`` is a sentence for people. ``gone``: somebody
    else has removed it, so nothing is left to do."""

    instance_id: str
    incarnation: int
    execution_id: int
    why: str
    gone: bool = False


class PruneResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a prune did. Counts are of what was marked, whatever was planned.

    ``instances_processed`` were looked at; something was removed of ``instances_pruned`` (which the answer to
    ``prune_history`` does not have: it is of one instance, and in its history).

    ``remaining`` says what was not looked at. Of a turn, executions beyond those that one turn looks at and that may
    have to go: as if nothing but ``keep_last`` kept any, and counted no further than 64, for no more is read. Of a plan
    whose application was stopped (``progress``), executions that it shows; of any other prune by hand that was stopped,
    *instances* that were not looked at to their end, of which nobody knows how many executions would go.

    ``skipped``: of a plan, what it shows and what is kept now; of a prune by rules, what the rules let go and only
    holds keep, the first ``SKIPPED_HELD_MAX`` of them, and ``skipped_more`` how many more there are. ``prune_history``
    names none: what it answers is in the history, which is not to grow with holds.

    A prune that failed has ``error`` (a sentence) and zeros; it is not raised. ``run_id`` names a manual run that
    marked something, for ``undo_prune``. ``children_removed``: instances that went with executions this call reclaimed
    (settled children and what depends on them; without grace only). ``archived``: what was kept of it, and where; None:
    no archive was asked for.
    """

    executions_deleted: int = 0
    events_deleted: int = 0
    bytes_deleted: int = 0
    instances_processed: int = 0
    instances_pruned: int = 0
    remaining: int = 0
    skipped: tuple[SkippedExecution, ...] = ()
    skipped_more: int = 0
    error: str | None = None
    run_id: str = ""
    children_removed: int = 0
    archived: ArchiveOutcome | None = None
