"""What a store asks of the planner inside the transaction that prunes: functions of values, the same for every
store."""

from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from duro.errors import InvalidRulesError
from duro.model.ledger import UNDO, LedgerRange
from duro.model.limits import TURN_PRUNE_EXECUTIONS_MAX
from duro.model.policies import PolicyChain, PolicySources, PruneDecision, StatedPolicy
from duro.model.pruning import ExecutionFacts, Hold, PruneResult, SkippedExecution
from duro.model.removal import PruneOrder, PruneView
from duro.model.retention import NAMED, PruneOptions
from duro.model.turns import PruneTerms
from duro.retention.holds import concerns_instance, holds_in_force
from duro.retention.plan import beyond_last, only_last, plan_instance, plan_named
from duro.retention.policy import policy_chain, with_instance_override
from duro.retention.triggers import decide_at_continue_as_new, rollout_paused_until_ms

_HELD: Final = "held:"

_REMAINING_COUNTED_MAX: Final = TURN_PRUNE_EXECUTIONS_MAX
"""How far what is left for later is counted: that there is something is what matters."""


class Marks(NamedTuple):
    """What is to be marked, oldest first, and what was to go and may not."""

    removed: tuple[ExecutionFacts, ...]
    skipped: tuple[SkippedExecution, ...]
    remaining: int

    def result(self) -> PruneResult:
        return PruneResult(
            executions_deleted=len(self.removed),
            events_deleted=sum([execution.event_count for execution in self.removed]),
            bytes_deleted=sum([execution.history_bytes for execution in self.removed]),
            instances_processed=1,
            remaining=self.remaining,
            skipped=self.skipped,
        )


class Counted(NamedTuple):
    """How far what lies beyond a view is counted: all of it, and what is of each version. 0: not at all."""

    executions: int
    of_a_version: int = 0


def newer_to_count(rules: Collection[PruneOptions]) -> Counted:
    """What has to be counted for ``rules`` to decide as they would of the whole instance. One of a version more than
    they keep: then it is seen that there are more."""
    keep_last = max((options.keep_last or 0 for options in rules), default=0)
    of_a_version = max((options.keep_last_per_version or 0 for options in rules), default=0)
    return Counted(keep_last + _REMAINING_COUNTED_MAX, of_a_version and of_a_version + 1)


@lru_cache(maxsize=256)
def newest_untouched(rules: tuple[PruneOptions, ...]) -> int:
    """How many of the newest executions ``rules`` keep whatever else is true of them, so that a turn need not look at
    them but only count them; 0 where a rule asks for their versions."""
    newest = 0
    for options in rules:
        if options.keep_last_per_version is not None:
            return 0
        newest = max(newest, options.keep_last or 0)
    return newest


def check_rules(orders: Iterable[PruneOrder]) -> None:
    """Before anything is pruned.

    Raises:
        InvalidRulesError: an order has neither rules nor executions that are named: it would name nothing to keep.
    """
    if not all(order.rules or order.only for order in orders):
        raise InvalidRulesError("an order to prune has no rules", hint="give at least one; never to prune is no order")


def choose(
    view: PruneView,
    rules: tuple[PruneOptions, ...],
    holds: Iterable[Hold],
    now_ms: int,
    *,
    after: int = 0,
    only: frozenset[int] | None = None,
) -> Marks:
    """What ``rules`` let go of the executions of ``view``, which begins after execution ``after``. ``only``: of those,
    just these may go; without rules all of them that may. Skipped is what was planned and is kept now, or, where
    nothing was, what only holds keep.

    What is left for later (``remaining``) is what lies beyond the view and may have to go: counted no further than
    ``TURN_PRUNE_EXECUTIONS_MAX``, and as if nothing but ``keep_last`` could keep it. 0: nothing there may go now.
    """
    if only is None and not holds and (keep_last := only_last(rules)) is not None:
        left = min(max(0, view.newer.executions - keep_last), _REMAINING_COUNTED_MAX)
        return Marks(beyond_last(view.executions, keep_last, view.newer), (), left)
    if rules or only is None:
        verdicts = plan_instance(view.executions, rules, holds, now_ms, newer=view.newer)
    else:
        verdicts = plan_named(view.executions, only, holds, now_ms)
    removed, skipped = [], []
    for execution, verdict in zip(view.executions, verdicts, strict=True):
        asked = only is None or execution.execution_id in only
        if not verdict.keep and asked:
            removed.append(execution)
        elif verdict.keep and only is not None and asked:
            skipped.append(_skipped(execution, f"it is kept now: {', '.join(verdict.reasons)}"))
        elif verdict.keep and asked and is_only_held(verdict.reasons):
            skipped.append(_skipped(execution, f"nothing but a hold keeps it: {', '.join(verdict.reasons)}"))
    if only is not None:
        skipped += _missing(view, frozenset(number for number in only if number > after))
    return Marks(tuple(removed), tuple(skipped), _remaining(view, rules, holds, now_ms))


def decide_turn(
    policies: PolicyChain | None,
    override: StatedPolicy | None,
    terms: PruneTerms,
    first_seen_ms: Iterable[int],
    *,
    ending_execution_id: int,
    pruned_through: int,
    now_ms: int,
) -> PruneDecision | None:
    """Whether the commit that ends execution ``ending_execution_id`` by continue-as-new prunes; None: nothing is said.

    ``policies`` is what the turn brings, ``override`` the instance's own policy, ``first_seen_ms`` when each version of
    its orchestration was first seen.
    """
    if policies is None and override is None:
        return None
    chain = policies or _nothing_said(terms)
    if override is not None:
        chain = with_instance_override(chain, override)
    return decide_at_continue_as_new(
        chain,
        ending_execution_id=ending_execution_id,
        pruned_through=pruned_through,
        now_ms=now_ms,
        paused_until_ms=rollout_paused_until_ms(first_seen_ms, terms.rollout_pause_s, terms.rollout_cap_s),
    )


def live_from(view: PruneView, removed: Sequence[ExecutionFacts], before: int) -> int:
    """The number below which no execution is live once ``removed`` are marked. ``before`` is what was known."""
    gone = {execution.execution_id for execution in removed}
    known = before
    for execution in view.executions:
        if execution.execution_id not in gone:
            return execution.execution_id
        known = execution.execution_id + 1
    return known


def failed(error: BaseException) -> PruneResult:
    """The result of a prune that was undone because of ``error``."""
    return PruneResult(error=f"{type(error).__name__}: {error}")


def undone_range(sizes: Sequence[tuple[int, int, int]], *, origin: str, undone_at_ms: int) -> LedgerRange:
    """The ledger row of an undo: ``sizes`` are (execution id, events, bytes) of what came back of one instance."""
    return LedgerRange(
        first_execution_id=min(execution_id for execution_id, _, _ in sizes),
        last_execution_id=max(execution_id for execution_id, _, _ in sizes),
        executions=len(sizes),
        events=sum(events for _, events, _ in sizes),
        history_bytes=sum(size for _, _, size in sizes),
        rule="",
        origin=origin,
        trigger=UNDO,
        first_pruned_at_ms=undone_at_ms,
        last_pruned_at_ms=undone_at_ms,
    )


@lru_cache(maxsize=256)
def rules_text(rules: tuple[PruneOptions, ...]) -> str:
    """How the ledger names ``rules``: ``keep_last=3``; united ones with ``and``, the same whoever unites them: each
    worker begins with its own, and equal prunes one after another are one range. Without any, executions were
    ``named``."""
    return " and ".join(sorted(str(options) for options in rules)) or NAMED


def _nothing_said(terms: PruneTerms) -> PolicyChain:
    chain = policy_chain(PolicySources(triggers=terms.triggers), "", "")
    return PolicyChain(links=chain.links, triggers=chain.triggers, stopped_by=terms.stopped_by)


def _remaining(view: PruneView, rules: Sequence[PruneOptions], holds: Iterable[Hold], now_ms: int) -> int:
    beyond = view.newer.executions - max((options.keep_last or 0 for options in rules), default=0)
    if beyond <= 0 or any(_keeps_all_newer(options, view, now_ms) for options in rules):
        return 0
    if view.executions and _is_held_whole(view.executions[-1], holds, now_ms):
        return 0
    return min(beyond, _REMAINING_COUNTED_MAX)


def _keeps_all_newer(rules: PruneOptions, view: PruneView, now_ms: int) -> bool:
    """Whether ``rules`` keep everything beyond the view, as far as can be told without looking there. Executions end
    one after the other, so what is newer than one that a rule of time keeps is kept by it, too. (Where the clock was
    set back in between, it goes once the older ones do.) One that ended at a time that is yet to come says nothing: the
    clock was ahead then, maybe by years, and what is newer may be old."""
    since_ms = []
    if rules.keep_within_s is not None:
        since_ms.append(now_ms - round(rules.keep_within_s * 1000))
    if rules.completed_before_ms is not None:
        since_ms.append(rules.completed_before_ms)
    ended_at_ms = view.executions[-1].completed_at_ms if view.executions else None
    if ended_at_ms is not None and any(now_ms >= ended_at_ms >= each for each in since_ms):
        return True
    versions, a_version = view.newer.versions, rules.keep_last_per_version
    if a_version is None or versions is None or view.newer.is_capped:
        return False
    counts = [version.executions for version in versions]
    few = rules.keep_versions is None or len(counts) <= rules.keep_versions
    return few and max(counts, default=0) <= a_version and sum(counts) == view.newer.executions


def _is_held_whole(one: ExecutionFacts, holds: Iterable[Hold], now_ms: int) -> bool:
    """Whether a hold covers every execution of the instance of ``one``."""
    return any(
        hold.target.execution_id is None
        and hold.target.version is None
        and concerns_instance(hold, one.instance_id, one.name)
        for hold in holds_in_force(holds, now_ms)
    )


def _missing(view: PruneView, only: frozenset[int]) -> list[SkippedExecution]:
    """Planned executions that should be in the view and are not: they were removed in the meantime."""
    if not view.executions:
        return []
    there = {execution.execution_id for execution in view.executions}
    first = view.executions[0]
    last = view.executions[-1].execution_id
    beyond = view.newer.executions > 0
    return [
        SkippedExecution(first.instance_id, first.incarnation, number, "it was removed in the meantime", gone=True)
        for number in sorted(only - there)
        if not beyond or number < last
    ]


def is_only_held(reasons: Iterable[str]) -> bool:
    """Whether the rules let an execution go that is kept for ``reasons``."""
    return all(reason.startswith(_HELD) for reason in reasons)


def _skipped(execution: ExecutionFacts, why: str) -> SkippedExecution:
    return SkippedExecution(execution.instance_id, execution.incarnation, execution.execution_id, why)
