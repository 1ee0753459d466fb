"""The planner: what becomes of each live execution of an instance, and why.

Every path that removes executions decides here: the orchestration's own call, continue-as-new with ``prune=`` or an
automatic policy, the sweeps, the client, the command line's dry run and its apply.

**The bounded view.** A turn must not look at a million executions. It plans the oldest few (``limits.
TURN_PRUNE_EXECUTIONS_MAX``) and knows of the newer ones only what ``NewerExecutions`` says. What each rule needs of it:

========================== =======================================================================================
``keep_within``            nothing: an execution's own end decides
``completed_before``       nothing
holds, current, running    nothing
``keep_last``              how many newer live executions there are (a count up to ``keep_last`` is enough)
``keep_last_per_version``  how many newer ones there are of each version (up to the number kept)
``keep_versions``          of which versions the newer ones are, and the newest execution of each
========================== =======================================================================================

With that the verdicts are exactly those of a whole plan. Without the versions (``versions=None``) the first four rows
are, too; what only a version rule could still keep is kept, as undecided. ``transaction.newer_to_count`` says what a
store has to count for some rules.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

import msgspec

from duro.model.limits import TURN_PRUNE_EXECUTIONS_MAX
from duro.model.pruning import (
    ExecutionFacts,
    Hold,
    InstancePlan,
    NewerExecutions,
    NewerVersion,
    PlanItem,
    PlannedChild,
    PlanTotals,
    PlanWarning,
    PrunePlan,
    Verdict,
    WarningCode,
)
from duro.model.refusal import InvalidRulesError
from duro.model.retention import PolicyOrigin, PruneOptions, format_seconds, format_time
from duro.model.status import ChildrenPolicy
from duro.retention.holds import Holds, concerns_instance, covers, in_force

Rules: TypeAlias = PruneOptions | Sequence[PruneOptions] | None
"""Options; several, united: what any of them keeps is kept; or None: never prune."""

_NO_NEWER = NewerExecutions()
_NAMED: Final = Verdict(False, ("named",))
_NOT_NAMED: Final = Verdict(True, ("not-named",))


def plan_instance(
    executions: Sequence[ExecutionFacts],
    rules: Rules,
    holds: Holds,
    now_ms: int,
    *,
    starting: str | None = None,
    newer: NewerExecutions = _NO_NEWER,
) -> tuple[Verdict, ...]:
    """One verdict for each of ``executions``, in their order.

    ``executions`` are the live ones of one life of one instance, in any order: all, or only the oldest, where ``newer``
    tells of the rest. Positions are counted from the newest.

    ``starting`` is the version of the execution that begins in the same transaction ("" if it is not chosen yet), where
    the current one continues as new. The verdicts are those of the state after it: the new execution counts as the
    newest and is protected, the current one has ended ``now_ms`` and is protected no more.

    Kept in any case: the current execution, one that has not ended, one whose successor is queued, one under a hold
    that has not expired. Else an execution is removed when none of the rules given keeps it.

    Raises:
        InvalidRulesError: ``rules`` is an empty sequence.
        ValueError: ``executions`` are of several instances, or one stands there twice.
    """
    _check_one_instance(executions)
    options = _as_tuple(rules)
    held = _holding(executions, holds, now_ms)
    order = sorted(range(len(executions)), key=lambda index: executions[index].execution_id, reverse=True)
    by_version = options is not None and any(each.keep_last_per_version is not None for each in options)
    standings = _standings([executions[index] for index in order], newer, starting, by_version=by_version)
    answers = [] if options is None else [answer for each in options for answer in _answers(each, now_ms)]
    never = ("never",) if options is None else ()
    verdicts: list[Verdict | None] = [None] * len(executions)
    alike: dict[tuple[bool, tuple[str, ...]], Verdict] = {}
    for index, standing in zip(order, standings, strict=True):
        execution = executions[index]
        ends_now = starting is not None and execution.is_current
        ended_at_ms = now_ms if ends_now else execution.completed_at_ms
        keeping, beyond = [*_protections(execution, held, ends_now=ends_now), *never], list[str]()
        for answer in answers:
            if (given := answer(execution, standing, ended_at_ms)) is not None:
                (keeping if given[0] else beyond).append(given[1])
        reasons = tuple(keeping or beyond)
        key = (bool(keeping), reasons if len(reasons) == 1 else tuple(dict.fromkeys(reasons)))
        if (verdict := alike.get(key)) is None:  # most are alike: one object for all of them
            verdict = alike[key] = Verdict(*key)
        verdicts[index] = verdict
    return tuple(verdict for verdict in verdicts if verdict is not None)


def plan_named(
    executions: Sequence[ExecutionFacts], named: Collection[int], holds: Holds, now_ms: int
) -> tuple[Verdict, ...]:
    """``plan_instance`` where no rules were given: the executions that were ``named`` go, but for those that are kept
    in any case, and no other does."""
    _check_one_instance(executions)
    held = _holding(executions, holds, now_ms)
    verdicts = []
    for execution in executions:
        if protections := tuple(_protections(execution, held, ends_now=False)):
            verdicts.append(Verdict(True, protections))
        else:
            verdicts.append(_NAMED if execution.execution_id in named else _NOT_NAMED)
    return tuple(verdicts)


def _holding(executions: Sequence[ExecutionFacts], holds: Holds, now_ms: int) -> tuple[Hold, ...]:
    """Those in force that concern the instance of ``executions``."""
    if not (holds and executions):
        return ()
    first = executions[0]
    may = in_force(holds, now_ms).that_may_concern(first.instance_id)
    return tuple(hold for hold in may if concerns_instance(hold, first.instance_id, first.name))


@lru_cache(maxsize=256)
def only_last(rules: tuple[PruneOptions, ...]) -> int | None:
    """How many of the newest ``rules`` keep, if they do nothing but count (``keep_last``); None: there are others."""
    keep_last = 0
    for options in rules:
        count, within, before = options.keep_last, options.keep_within, options.completed_before
        if count is None or within is not None or before is not None or options.keep_last_per_version is not None:
            return None
        keep_last = max(keep_last, count)
    return keep_last


def beyond_last(
    executions: Sequence[ExecutionFacts], keep_last: int, newer: NewerExecutions
) -> tuple[ExecutionFacts, ...]:
    """What ``plan_instance`` removes where nothing is held and the rules only count: the same without the reasons, for
    turns, which prune like this again and again and tell nobody why.

    ``executions``: of one life of one instance, oldest first.
    """
    beyond = max(0, len(executions) + newer.executions - keep_last)
    return tuple([one for one in executions[:beyond] if not _protections(one, _NOTHING, ends_now=False)])


def oldest(
    executions: Iterable[ExecutionFacts], count: int = TURN_PRUNE_EXECUTIONS_MAX
) -> tuple[tuple[ExecutionFacts, ...], NewerExecutions]:
    """The bounded view of a whole instance: its ``count`` oldest executions, oldest first, and what is to be known of
    the others. A store answers the same from its indexes."""
    ordered = sorted(executions, key=lambda execution: execution.execution_id)
    rest = ordered[count:]
    counts = Counter(execution.version for execution in rest)
    newest = {execution.version: execution.execution_id for execution in rest}
    versions = tuple(NewerVersion(version, counts[version], newest[version]) for version in counts if version)
    return tuple(ordered[:count]), NewerExecutions(executions=len(rest), versions=versions)


# --- where an execution stands ------------------------------------------------------------------------------


class _Standing(NamedTuple):
    """``position`` among all executions, ``version_position`` among those of its version, ``version_rank`` of its
    version among the versions (by the last use of each): all from 1, the newest.

    Not ``exact``: which versions the newer executions have is not known. Then ``version_position`` is a lower bound and
    ``version_rank`` says nothing, as its version may be among them.
    """

    position: int
    version_position: int
    version_rank: int
    exact: bool


def _standings(
    newest_first: Sequence[ExecutionFacts], newer: NewerExecutions, starting: str | None, *, by_version: bool
) -> list[_Standing]:
    """Not ``by_version``: nobody asks for what is of versions, and it stays 0."""
    first = newer.executions + (starting is not None) + 1
    if not by_version:
        return [_Standing(position, 0, 0, True) for position in range(first, first + len(newest_first))]
    position = newer.executions
    exact = newer.versions is not None or newer.executions == 0
    counts = {version.version: version.executions for version in _newest_first(newer.versions or ())}
    ranks = {version: rank for rank, version in enumerate(counts, start=1)}
    if starting is not None:
        position += 1
        if starting:
            counts[starting] = counts.get(starting, 0) + 1
            ranks = {version: rank for rank, version in enumerate(dict.fromkeys((starting, *ranks)), start=1)}
    standings = []
    for execution in newest_first:
        position += 1
        version = execution.version
        counts[version] = counts.get(version, 0) + 1
        if version and version not in ranks:
            ranks[version] = len(ranks) + 1
        standings.append(_Standing(position, counts[version], ranks.get(version, 0), exact))
    return standings


def _newest_first(versions: Iterable[NewerVersion]) -> list[NewerVersion]:
    return sorted(versions, key=lambda version: version.newest_execution_id, reverse=True)


# --- what keeps it ------------------------------------------------------------------------------------------


_Answer: TypeAlias = Callable[[ExecutionFacts, _Standing, int | None], tuple[bool, str] | None]
"""One rule: (keeps, reason), or None where it says nothing. Takes when the execution ended; None: it has not, or when
is not recorded."""

_NOTHING: Final = ()


def _protections(execution: ExecutionFacts, held: Sequence[Hold], *, ends_now: bool) -> Sequence[str]:
    if not (execution.is_current or execution.is_running or execution.has_queued_successor or held):
        return _NOTHING
    reasons = []
    if execution.is_current and not ends_now:
        reasons.append("current")
    if execution.is_running and not ends_now:
        reasons.append("running")
    if execution.has_queued_successor:
        reasons.append("queued-successor")
    reasons += [f"held:{hold.hold_id}" for hold in held if covers(hold, execution)]
    return reasons


def _answers(rules: PruneOptions, now_ms: int) -> Iterator[_Answer]:
    """Every rule given. One of time says nothing of an execution that has not ended."""
    if rules.keep_last is not None:
        yield _last(rules.keep_last)
    if rules.keep_within_s is not None:
        text = format_seconds(rules.keep_within_s)
        yield _since(now_ms - round(rules.keep_within_s * 1000), f"within:{text}", f"older-than:{text}")
    if rules.completed_before_ms is not None:
        text = format_time(rules.completed_before_ms)
        yield _since(rules.completed_before_ms, f"since:{text}", f"before:{text}")
    if rules.keep_last_per_version is not None:
        yield _per_version(rules.keep_last_per_version, rules.keep_versions)


@lru_cache(maxsize=64)
def _last(keep_last: int) -> _Answer:
    beyond = (False, f"beyond-last:{keep_last}")

    def answer(execution: ExecutionFacts, standing: _Standing, ended_at_ms: int | None) -> tuple[bool, str]:  # noqa: ARG001
        if standing.position > keep_last:
            return beyond
        return True, f"last:{standing.position}/{keep_last}"

    return answer


def _since(time_ms: int, keeps: str, removes: str) -> _Answer:
    kept, gone, unknown = (True, keeps), (False, removes), (True, "no-end-time")

    def answer(
        execution: ExecutionFacts,
        standing: _Standing,  # noqa: ARG001
        ended_at_ms: int | None,
    ) -> tuple[bool, str] | None:
        if ended_at_ms is None:  # nobody can say that it is old
            return None if execution.is_running else unknown
        return kept if ended_at_ms >= time_ms else gone

    return answer


def _per_version(keep_last: int, keep_versions: int | None) -> _Answer:
    def answer(execution: ExecutionFacts, standing: _Standing, ended_at_ms: int | None) -> tuple[bool, str]:  # noqa: ARG001
        version = execution.version
        if not version:
            return False, "no-version"
        if standing.version_position > keep_last:
            return False, f"beyond-version:{version}/{keep_last}"
        if not standing.exact:
            return True, f"undecided:{version}"
        if keep_versions is not None and standing.version_rank > keep_versions:
            return False, f"beyond-versions:{keep_versions}"
        return True, f"version:{version}"

    return answer


# --- whole plans --------------------------------------------------------------------------------------------


def instance_plan(
    executions: Iterable[ExecutionFacts],
    rules: Rules,
    origin: PolicyOrigin,
    holds: Holds,
    now_ms: int,
) -> InstancePlan:
    """The plan of one instance from all its live executions.

    Raises:
        InvalidRulesError: ``rules`` is an empty sequence.
        ValueError: there is no execution, they are of several instances, or one stands there twice.
    """
    ordered = sorted(executions, key=lambda execution: execution.execution_id)
    if not ordered:
        raise ValueError("an instance has at least one execution: its current one")
    return _planned(ordered, _as_tuple(rules), origin, plan_instance(ordered, rules, holds, now_ms))


def named_plan(
    executions: Iterable[ExecutionFacts], named: Collection[int], origin: PolicyOrigin, holds: Holds, now_ms: int
) -> InstancePlan:
    """The same where executions were ``named``, and no rules given.

    Raises:
        ValueError: as ``instance_plan``.
    """
    ordered = sorted(executions, key=lambda execution: execution.execution_id)
    if not ordered:
        raise ValueError("an instance has at least one execution: its current one")
    return _planned(ordered, (), origin, plan_named(ordered, named, holds, now_ms))


def _planned(
    ordered: Sequence[ExecutionFacts],
    rules: tuple[PruneOptions, ...] | None,
    origin: PolicyOrigin,
    verdicts: Iterable[Verdict],
) -> InstancePlan:
    newest = ordered[-1]
    return InstancePlan(
        instance_id=newest.instance_id,
        incarnation=newest.incarnation,
        name=newest.name,
        rules=rules,
        origin=origin,
        items=tuple(PlanItem(execution, verdict) for execution, verdict in zip(ordered, verdicts, strict=True)),
    )


def prune_plan(
    instances: Iterable[InstancePlan],
    *,
    store_id: str,
    policy_revision: int,
    hold_revision: int,
    made_at_ms: int,
    children: ChildrenPolicy = ChildrenPolicy.KEEP,
) -> PrunePlan:
    """The plan over ``instances``, with its totals and what is to be known before it is applied. ``children``: what
    becomes of the children of what goes; ``instances`` show them."""
    planned = tuple(instances)
    return PrunePlan(
        store_id=store_id,
        policy_revision=policy_revision,
        hold_revision=hold_revision,
        made_at_ms=made_at_ms,
        instances=planned,
        totals=_with_children(
            plan_totals(item for instance in planned for item in instance.items),
            [child for instance in planned for child in instance.children],
        ),
        warnings=tuple(_warnings(planned)),
        children=children,
    )


def plan_totals(items: Iterable[PlanItem]) -> PlanTotals:
    """Executions, events and bytes, kept and removed."""
    counts, events, sizes = [0, 0], [0, 0], [0, 0]  # [removed, kept]
    for item in items:
        kept = item.verdict.keep
        counts[kept] += 1
        events[kept] += item.execution.event_count
        sizes[kept] += item.execution.history_bytes
    return PlanTotals(
        executions_kept=counts[1],
        executions_removed=counts[0],
        events_kept=events[1],
        events_removed=events[0],
        bytes_kept=sizes[1],
        bytes_removed=sizes[0],
    )


def _with_children(totals: PlanTotals, children: Sequence[PlannedChild]) -> PlanTotals:
    if not children:
        return totals
    return msgspec.structs.replace(
        totals,
        children_removed=sum(child.instances for child in children),
        child_events_removed=sum(child.events for child in children),
        child_bytes_removed=sum(child.history_bytes for child in children),
    )


def _warnings(instances: Iterable[InstancePlan]) -> Iterator[PlanWarning]:
    only_current = 0
    for instance in instances:
        yield from _instance_warnings(instance)
        only = instance.items[0].execution
        only_current += len(instance.items) == 1 and only.is_current and not only.is_running
    if only_current:
        has = "1 instance has" if only_current == 1 else f"{only_current} instances have"
        yield PlanWarning(
            WarningCode.ONLY_CURRENT,
            "",
            f"{has} ended and only the current execution left, which pruning never removes; "
            "`duroctl instances purge` removes whole instances",
        )


def _instance_warnings(instance: InstancePlan) -> Iterator[PlanWarning]:
    instance_id = instance.instance_id
    kept = {item.execution.version for item in instance.items if item.verdict.keep}
    removed = dict.fromkeys(item.execution.version for item in instance.items if not item.verdict.keep)
    for version in removed:
        if version and version not in kept:
            text = f"takes the last execution of version {version} of {instance_id}"
            yield PlanWarning(WarningCode.LAST_OF_VERSION, instance_id, text)
    unknown = sum("no-end-time" in item.verdict.reasons for item in instance.items)
    if unknown:
        text = f"keeps {unknown} of {instance_id} because it is not recorded when they ended: `duroctl doctor`"
        yield PlanWarning(WarningCode.NO_END_TIME, instance_id, text)


# --- arguments ----------------------------------------------------------------------------------------------


def _as_tuple(rules: Rules) -> tuple[PruneOptions, ...] | None:
    if rules is None or isinstance(rules, PruneOptions):
        return None if rules is None else (rules,)
    if not rules:
        raise InvalidRulesError("no rules name nothing to keep", hint="give options, or None to keep everything")
    return tuple(dict.fromkeys(rules)) if len(rules) > 1 else tuple(rules)


def _check_one_instance(executions: Sequence[ExecutionFacts]) -> None:
    instances = {(execution.instance_id, execution.incarnation) for execution in executions}
    if len(instances) > 1:
        raise ValueError(
            f"executions of {len(instances)} instances in one plan of an instance: {sorted(instances)[:2]}"
        )
    if len({execution.execution_id for execution in executions}) != len(executions):
        raise ValueError(f"an execution of {executions[0].instance_id} stands twice in one plan")
