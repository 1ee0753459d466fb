"""What holds of every plan, whatever the executions, rules and holds."""

import os
from random import Random
from typing import Final, TypeAlias

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from duro.model.pruning import ExecutionFacts, Hold, HoldTarget, NewerExecutions, Verdict
from duro.model.removal import PruneView
from duro.model.retention import PolicyKind, PolicyOrigin, PruneOptions
from duro.model.status import ExecutionStatus
from duro.retention.holds import holds_on
from duro.retention.plan import beyond_last, instance_plan, oldest, only_last, plan_instance, prune_plan
from duro.retention.transaction import choose, newer_to_count
from tests.retention_facts import NOW_MS, current, ended

EXAMPLES: Final = int(os.environ.get("DURO_PROPERTY_EXAMPLES", "150"))
properties = settings(deadline=None, max_examples=EXAMPLES, print_blob=True)

MINUTE_MS: Final = 60_000
VERSIONS: Final = ("", "1.0.0", "1.1.0", "2.0.0", "3.0.0")
Executions: TypeAlias = tuple[ExecutionFacts, ...]


@st.composite
def instances(draw: st.DrawFn) -> Executions:
    """Oldest first, with gaps, versions that come back, ends out of order or not recorded, and a current execution that
    runs or has ended."""
    count = draw(st.integers(0, 14))
    ids = sorted(draw(st.sets(st.integers(1, 40), min_size=count, max_size=count)))
    past = [
        ended(
            execution_id,
            version=draw(st.sampled_from(VERSIONS)),
            completed_at_ms=draw(st.none() | st.integers(-5, 30).map(lambda age: NOW_MS - age * MINUTE_MS)),
            status=draw(st.sampled_from([ExecutionStatus.CONTINUED_AS_NEW] * 9 + [ExecutionStatus.RUNNING])),
            event_count=draw(st.integers(1, 100)),
            has_queued_successor=draw(st.integers(0, 9)) == 0,
        )
        for execution_id in ids
    ]
    newest = current((ids[-1] if ids else 0) + draw(st.integers(1, 3)), version=draw(st.sampled_from(VERSIONS)))
    if draw(st.booleans()):
        newest = msgspec.structs.replace(newest, status=ExecutionStatus.COMPLETED, completed_at_ms=NOW_MS - MINUTE_MS)
    return (*past, newest)


counts = st.integers(1, 8)
minutes = st.integers(1, 30)


@st.composite
def options(draw: st.DrawFn) -> PruneOptions:
    rules = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "keep_last": counts,
                "keep_within": minutes.map(lambda number: number * 60),
                "completed_before": minutes.map(lambda age: NOW_MS - age * MINUTE_MS),
                "keep_last_per_version": counts,
            },
        ).filter(bool)
    )
    if "keep_last_per_version" in rules:
        bound = draw(st.none() | st.integers(1, 4))
        return PruneOptions(**rules, keep_versions=bound)
    return PruneOptions(**rules)


targets = st.one_of(
    st.just(HoldTarget(instance_id="queue-1")),
    st.integers(1, 43).map(lambda execution_id: HoldTarget(instance_id="queue-1", execution_id=execution_id)),
    st.sampled_from(VERSIONS[1:]).map(lambda version: HoldTarget(name="Eter*", version=version)),
    st.just(HoldTarget(instance_id="another")),
)
holds = st.lists(
    st.builds(
        Hold,
        hold_id=st.sampled_from("abc"),
        target=targets,
        reason=st.just("because"),
        created_at_ms=st.just(NOW_MS),
        until_ms=st.none() | st.integers(-3, 3).map(lambda minute: NOW_MS + minute * MINUTE_MS),
    ),
    max_size=2,
)
starting = st.none() | st.sampled_from(VERSIONS)


def _removed(executions: Executions, verdicts: tuple[Verdict, ...]) -> set[int]:
    pairs = zip(executions, verdicts, strict=True)
    return {execution.execution_id for execution, verdict in pairs if not verdict.keep}


def _plan_removed(
    executions: Executions, rules: PruneOptions | list[PruneOptions], held: list[Hold], now_ms: int = NOW_MS
) -> set[int]:
    return _removed(executions, plan_instance(executions, rules, held, now_ms))


@properties
@given(instances(), st.lists(counts.map(lambda count: PruneOptions(keep_last=count)) | options(), min_size=1), counts)
def test_what_counts_alone_let_go_is_what_a_plan_removes(
    executions: Executions, rules: list[PruneOptions], seen: int
) -> None:
    view, newer = oldest(executions, seen)
    only_counting = all(each == PruneOptions(keep_last=each.keep_last or 1) for each in rules)
    keep_last = only_last(tuple(rules))
    assert (keep_last is not None) == only_counting
    if keep_last is not None:
        gone = beyond_last(view, keep_last, newer)
        removed = _removed(view, plan_instance(view, rules, [], NOW_MS, newer=newer))
        assert [facts.execution_id for facts in gone] == sorted(removed)


@properties
@given(instances(), options(), holds)
def test_kept_and_removed_are_all_and_every_verdict_has_its_reasons(
    executions: Executions, rules: PruneOptions, held: list[Hold]
) -> None:
    origin = PolicyOrigin(PolicyKind.CALL, "")
    instance = instance_plan(executions, rules, origin, held, NOW_MS)
    totals = prune_plan([instance], store_id="", policy_revision=0, hold_revision=0, made_at_ms=NOW_MS).totals
    assert tuple(item.execution for item in instance.items) == executions
    assert all(item.verdict.reasons for item in instance.items)
    assert totals.executions_kept + totals.executions_removed == len(executions)
    assert totals.events_kept + totals.events_removed == sum(facts.event_count for facts in executions)
    assert totals.bytes_kept + totals.bytes_removed == sum(facts.history_bytes for facts in executions)
    assert totals.executions_kept >= 1


@properties
@given(instances(), options(), holds)
def test_what_is_protected_is_never_removed(executions: Executions, rules: PruneOptions, held: list[Hold]) -> None:
    protected = {
        facts.execution_id
        for facts in executions
        if facts.is_current or facts.is_running or facts.has_queued_successor or holds_on(facts, held, NOW_MS)
    }
    assert not protected & _plan_removed(executions, rules, held)


@properties
@given(instances(), options(), holds, starting)
def test_what_is_protected_is_not_removed_by_continuing_as_new_but_for_the_execution_that_ends(
    executions: Executions, rules: PruneOptions, held: list[Hold], version: str | None
) -> None:
    removed = _removed(executions, plan_instance(executions, rules, held, NOW_MS, starting=version))
    for facts in executions:
        ends_now = facts.is_current and version is not None
        if holds_on(facts, held, NOW_MS) or facts.has_queued_successor or (facts.is_running and not ends_now):
            assert facts.execution_id not in removed


@properties
@given(instances(), options(), holds)
def test_an_execution_goes_exactly_when_each_rule_by_itself_lets_it_go(
    executions: Executions, rules: PruneOptions, held: list[Hold]
) -> None:
    alone = []
    if rules.keep_last is not None:
        alone.append(PruneOptions(keep_last=rules.keep_last))
    if rules.keep_within_s is not None:
        alone.append(PruneOptions(keep_within=rules.keep_within_s))
    if rules.completed_before_ms is not None:
        alone.append(PruneOptions(completed_before=rules.completed_before_ms))
    if rules.keep_last_per_version is not None:
        alone.append(PruneOptions(keep_last_per_version=rules.keep_last_per_version, keep_versions=rules.keep_versions))
    separately = [_plan_removed(executions, rule, held) for rule in alone]
    assert _plan_removed(executions, rules, held) == set.intersection(*separately)


@properties
@given(instances(), options(), options(), holds)
def test_more_policies_never_remove_more(
    executions: Executions, first: PruneOptions, second: PruneOptions, held: list[Hold]
) -> None:
    both = _plan_removed(executions, [first, second], held)
    assert both == _plan_removed(executions, first, held) & _plan_removed(executions, second, held)


@properties
@given(instances(), counts, counts, counts, counts)
def test_larger_numbers_never_remove_more(executions: Executions, last: int, more: int, per: int, span: int) -> None:
    small = PruneOptions(keep_last=last, keep_within=span * 60, keep_last_per_version=per, keep_versions=last)
    large = PruneOptions(
        keep_last=last + more,
        keep_within=(span + more) * 60,
        keep_last_per_version=per + more,
        keep_versions=last + more,
    )
    assert _plan_removed(executions, large, []) <= _plan_removed(executions, small, [])


@properties
@given(instances(), options(), holds, holds)
def test_more_holds_never_remove_more(
    executions: Executions, rules: PruneOptions, held: list[Hold], more: list[Hold]
) -> None:
    assert _plan_removed(executions, rules, held + more) <= _plan_removed(executions, rules, held)


@properties
@given(instances(), options(), holds)
def test_after_a_prune_there_is_nothing_left_to_prune(
    executions: Executions, rules: PruneOptions, held: list[Hold]
) -> None:
    removed = _plan_removed(executions, rules, held)
    remainder = tuple(facts for facts in executions if facts.execution_id not in removed)
    assert _plan_removed(remainder, rules, held) == set()


@properties
@given(instances(), options(), holds, st.integers(0, 60))
def test_what_may_go_now_may_go_later(
    executions: Executions, rules: PruneOptions, held: list[Hold], later_minutes: int
) -> None:
    later = _plan_removed(executions, rules, held, NOW_MS + later_minutes * MINUTE_MS)
    assert _plan_removed(executions, rules, held) <= later


@properties
@given(instances(), options(), holds, st.sampled_from(VERSIONS))
def test_a_plan_made_while_continuing_as_new_is_the_plan_of_the_state_after_it(
    executions: Executions, rules: PruneOptions, held: list[Hold], version: str
) -> None:
    """Option B and the automatic policy remove in the commit what a prune right after it would."""
    *past, ending = executions
    ended_now = msgspec.structs.replace(
        ending, status=ExecutionStatus.CONTINUED_AS_NEW, completed_at_ms=NOW_MS, is_current=False
    )
    after = (*past, ended_now, current(ending.execution_id + 1, version=version))
    in_the_turn = plan_instance(executions, rules, held, NOW_MS, starting=version)
    assert in_the_turn == plan_instance(after, rules, held, NOW_MS)[:-1]


@properties
@given(instances(), st.lists(options(), min_size=1, max_size=3), holds, starting, st.integers(1, 10))
def test_the_bounded_view_decides_as_the_whole_plan_does(
    executions: Executions, rules: list[PruneOptions], held: list[Hold], version: str | None, size: int
) -> None:
    window, newer = oldest(executions, size)
    whole = plan_instance(executions, rules, held, NOW_MS, starting=version)
    assert plan_instance(window, rules, held, NOW_MS, starting=version, newer=newer) == whole[: len(window)]


@properties
@given(instances(), options(), holds, starting, st.integers(1, 10))
def test_without_versions_the_bounded_view_removes_nothing_the_whole_plan_keeps(
    executions: Executions, rules: PruneOptions, held: list[Hold], version: str | None, size: int
) -> None:
    window, newer = oldest(executions, size)
    unknown = NewerExecutions(executions=newer.executions, versions=None)
    whole = plan_instance(executions, rules, held, NOW_MS, starting=version)[: len(window)]
    verdicts = plan_instance(window, rules, held, NOW_MS, starting=version, newer=unknown)
    assert _removed(window, verdicts) <= _removed(window, whole)
    for verdict, exact in zip(verdicts, whole, strict=True):
        undecided = any(reason.startswith("undecided:") for reason in verdict.reasons)
        assert undecided or verdict == exact


@properties
@given(instances(), st.lists(options(), min_size=1, max_size=2), holds, st.integers(1, 10), st.integers(0, 20))
def test_where_nothing_is_left_for_later_the_whole_plan_takes_nothing_beyond_the_view(
    executions: Executions, rules: list[PruneOptions], held: list[Hold], size: int, counted: int
) -> None:
    """Executions end one after the other."""
    ends = sorted(each.completed_at_ms for each in executions if each.completed_at_ms is not None)
    in_order = iter(ends)
    ordered = tuple(
        each if each.completed_at_ms is None else msgspec.structs.replace(each, completed_at_ms=next(in_order))
        for each in executions
    )
    window, newer = oldest(ordered, size)
    count = newer_to_count(rules)
    count_max = count.executions - 64 + counted
    newer = NewerExecutions(
        executions=min(newer.executions, count_max),
        is_capped=newer.executions >= count_max,
        versions=tuple(
            each._replace(executions=min(each.executions, count.of_a_version)) for each in newer.versions or ()
        ),
    )
    marks = choose(PruneView(executions=window, newer=newer), tuple(rules), held, NOW_MS)
    removed = _plan_removed(ordered, rules, held)
    assert {each.execution_id for each in marks.removed} <= removed
    if not marks.remaining and counted:
        assert not removed - {each.execution_id for each in window}


@properties
@given(instances(), options(), starting, st.integers(1, 10))
def test_counts_of_newer_ones_may_be_capped_at_what_the_rules_keep(
    executions: Executions, rules: PruneOptions, version: str | None, size: int
) -> None:
    window, newer = oldest(executions, size)
    capped = NewerExecutions(
        executions=min(newer.executions, rules.keep_last or newer.executions),
        versions=tuple(
            counted._replace(executions=min(counted.executions, rules.keep_last_per_version or counted.executions))
            for counted in newer.versions or ()
        ),
    )
    exact = plan_instance(window, rules, [], NOW_MS, starting=version, newer=newer)
    assert plan_instance(window, rules, [], NOW_MS, starting=version, newer=capped) == exact


@properties
@given(instances(), options(), holds, st.randoms())
def test_the_order_of_the_executions_and_of_the_holds_does_not_matter(
    executions: Executions, rules: PruneOptions, held: list[Hold], random: Random
) -> None:
    shuffled = list(executions)
    random.shuffle(shuffled)
    verdicts = dict(zip(shuffled, plan_instance(shuffled, rules, held[::-1], NOW_MS), strict=True))
    assert tuple(verdicts[facts] for facts in executions) == plan_instance(executions, rules, held, NOW_MS)
