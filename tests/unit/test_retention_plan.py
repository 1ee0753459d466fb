"""The planner at its edges, the bounded view, holds, and whole plans with their totals and warnings."""

from typing import Any

import msgspec
import pytest

from duro.errors import InvalidRulesError
from duro.model.pruning import (
    Hold,
    HoldTarget,
    NewerExecutions,
    NewerVersion,
    PlannedChild,
    PlanTotals,
    PrunePlan,
    Verdict,
    WarningCode,
)
from duro.model.retention import PolicyKind, PolicyOrigin, PruneOptions
from duro.model.status import ChildrenPolicy, ExecutionStatus
from duro.retention.holds import HoldsInForce, holds_on, in_force
from duro.retention.names import by_precedence, matches
from duro.retention.plan import instance_plan, oldest, plan_instance, prune_plan
from duroctl.render.plans import plan_lines
from tests.retention_facts import NOW_MS, current, ended

ONE = PruneOptions(keep_last=1)
ORIGIN = PolicyOrigin(PolicyKind.CALL, "--keep-last 1")


def hold(hold_id: str = "h", until_ms: int | None = None, **target: Any) -> Hold:
    return Hold(hold_id=hold_id, target=HoldTarget(**target), reason="because", created_at_ms=NOW_MS, until_ms=until_ms)


def test_verdicts_come_in_the_order_of_the_executions_whichever_that_is() -> None:
    newest_first = (current(3), ended(2), ended(1))
    removed = Verdict(keep=False, reasons=("beyond-last:1",))
    kept = Verdict(keep=True, reasons=("current", "running", "last:1/1"))
    assert plan_instance(newest_first, ONE, (), NOW_MS) == (kept, removed, removed)
    assert plan_instance(newest_first[::-1], ONE, (), NOW_MS) == (removed, removed, kept)
    assert plan_instance((), ONE, (), NOW_MS) == ()


def test_an_age_of_exactly_the_limit_is_kept_and_one_millisecond_more_is_not() -> None:
    executions = (ended(1, completed_at_ms=NOW_MS - 60_001), ended(2, completed_at_ms=NOW_MS - 60_000), current(3))
    verdicts = plan_instance(executions, PruneOptions(keep_within=60), (), NOW_MS)
    assert [verdict.keep for verdict in verdicts] == [False, True, True]


def test_completed_before_keeps_what_completed_at_that_time() -> None:
    executions = (ended(1, completed_at_ms=NOW_MS - 1), ended(2, completed_at_ms=NOW_MS), current(3))
    verdicts = plan_instance(executions, PruneOptions(completed_before=NOW_MS), (), NOW_MS)
    assert [verdict.keep for verdict in verdicts] == [False, True, True]


def test_an_end_after_now_is_young() -> None:
    """The clock of another machine may be ahead."""
    executions = (ended(1, completed_at_ms=NOW_MS + 5_000), current(2))
    assert plan_instance(executions, PruneOptions(keep_within=1), (), NOW_MS)[0].reasons == ("within:1s",)


def test_the_execution_that_ends_now_is_of_no_age() -> None:
    verdicts = plan_instance((current(1),), PruneOptions(keep_within=60), (), NOW_MS, starting="1.0.0")
    assert verdicts == (Verdict(keep=True, reasons=("within:1m",)),)


def test_a_hold_protects_the_execution_that_ends_now() -> None:
    verdicts = plan_instance((current(1),), ONE, (hold(instance_id="queue-1"),), NOW_MS, starting="1.0.0")
    assert verdicts == (Verdict(keep=True, reasons=("held:h",)),)


def test_no_rules_at_all_are_refused_also_as_an_empty_list() -> None:
    with pytest.raises(InvalidRulesError, match="nothing to keep"):
        plan_instance((current(1),), (), (), NOW_MS)


@pytest.mark.parametrize(
    ("executions", "said"),
    [
        ((ended(1), current(2, instance_id="queue-2")), "executions of 2 instances"),
        ((ended(1), current(2, incarnation=2)), "executions of 2 instances"),
        ((ended(1), ended(1), current(2)), "stands twice"),
    ],
)
def test_executions_that_cannot_be_one_instance_are_refused(executions: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        plan_instance(executions, ONE, (), NOW_MS)


# --- the bounded view ---------------------------------------------------------------------------------------


def test_the_bounded_view_has_the_oldest_and_counts_of_the_others() -> None:
    executions = (
        ended(1),
        ended(2, version="2.0.0"),
        ended(3, version=""),
        ended(4, version="2.0.0"),
        current(5, version=""),
    )
    window, newer = oldest(reversed(executions), 1)
    assert window == executions[:1]
    assert newer == NewerExecutions(executions=4, versions=(NewerVersion("2.0.0", 2, 4),))
    assert oldest(executions) == (executions, NewerExecutions())


def test_counts_capped_at_what_is_kept_decide_the_same() -> None:
    rules = PruneOptions(keep_last=2, keep_last_per_version=2, keep_versions=1)
    capped = NewerExecutions(executions=2, versions=(NewerVersion("1.0.0", 2, 900),))
    whole = NewerExecutions(executions=500, versions=(NewerVersion("1.0.0", 500, 900),))
    window = (ended(1), ended(2, version="0.9.0"))
    verdicts = plan_instance(window, rules, (), NOW_MS, newer=capped)
    assert verdicts == plan_instance(window, rules, (), NOW_MS, newer=whole)
    assert [verdict.keep for verdict in verdicts] == [False, False]


def test_a_version_that_may_be_in_use_again_is_not_counted_out_where_versions_are_not_known() -> None:
    """Rolled back to 1.0.0 since: the window alone would call it the second version."""
    rules = PruneOptions(keep_last_per_version=5, keep_versions=1)
    window = (ended(1), ended(2, version="2.0.0"))
    known = NewerExecutions(executions=1, versions=(NewerVersion("1.0.0", 1, 3),))
    unknown = NewerExecutions(executions=1, versions=None)
    assert [verdict.keep for verdict in plan_instance(window, rules, (), NOW_MS, newer=known)] == [True, False]
    assert [verdict.reasons for verdict in plan_instance(window, rules, (), NOW_MS, newer=unknown)] == [
        ("undecided:1.0.0",),
        ("undecided:2.0.0",),
    ]


def test_the_version_that_starts_is_the_newest_one_before_those_of_newer_executions() -> None:
    rules = PruneOptions(keep_last_per_version=5, keep_versions=1)
    newer = NewerExecutions(executions=1, versions=(NewerVersion("2.0.0", 1, 3),))
    window = (ended(1), ended(2, version="2.0.0"))
    verdicts = plan_instance(window, rules, (), NOW_MS, starting="1.0.0", newer=newer)
    assert [verdict.reasons for verdict in verdicts] == [("version:1.0.0",), ("beyond-versions:1",)]


def test_nothing_is_undecided_where_there_are_no_newer_ones() -> None:
    nothing_newer = NewerExecutions(executions=0, versions=None)
    verdicts = plan_instance((current(1),), PruneOptions(keep_last_per_version=1), (), NOW_MS, newer=nothing_newer)
    assert verdicts[0].reasons == ("current", "running", "version:1.0.0")


# --- holds and names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "covered"),
    [
        ({"instance_id": "queue-1"}, True),
        ({"instance_id": "queue-2"}, False),
        ({"instance_id": "queue-*"}, False),
        ({"instance_id": "queue-1", "execution_id": 3}, True),
        ({"instance_id": "queue-1", "execution_id": 4}, False),
        ({"name": "Eternal"}, True),
        ({"name": "Et?rn*"}, True),
        ({"name": "eternal"}, False),
        ({"version": "1.0.0"}, True),
        ({"version": "1.*"}, False),
        ({"name": "Eternal", "version": "2.0.0"}, False),
        ({"name": "Other", "version": "1.0.0"}, False),
    ],
)
def test_a_hold_covers_what_it_is_on(target: dict[str, Any], covered: bool) -> None:
    assert [held.hold_id for held in holds_on(ended(3), (hold(**target),), NOW_MS)] == ["h"] * covered


def test_a_hold_ends_at_its_time_and_holds_are_listed_by_id() -> None:
    holds = [
        hold("z", version="1.0.0"),
        hold("gone", until_ms=NOW_MS, version="1.0.0"),
        hold("a", until_ms=NOW_MS + 1, version="1.0.0"),
    ]
    assert [held.hold_id for held in holds_on(ended(3), holds, NOW_MS)] == ["a", "z"]


def test_holds_of_other_instances_are_not_gone_through() -> None:
    """An undo puts one on each instance that it brings back."""
    holds = [hold(f"on-{number}", instance_id=f"i{number}") for number in range(100)]
    holds += [hold("y", name="Eternal"), hold("b", instance_id="i7"), hold("gone", instance_id="i7", until_ms=NOW_MS)]
    found = HoldsInForce(holds, NOW_MS)
    assert found
    assert [each.hold_id for each in found.that_may_concern("i7")] == ["b", "on-7", "y"]
    assert [each.hold_id for each in found.that_may_concern("i3", "i5")] == ["on-3", "on-5", "y"]
    assert [each.hold_id for each in found.that_may_concern("else")] == ["y"]
    assert in_force(found, NOW_MS) is found
    assert not HoldsInForce([hold("gone", name="Eternal", until_ms=NOW_MS)], NOW_MS)


def test_the_exact_name_comes_first_then_the_longest_pattern_then_the_text() -> None:
    patterns = ["*", "billing.*", "billing.in?oices", "billing.invoices", "b*.invoices", "?illing.*", "audit"]
    assert by_precedence("billing.invoices", patterns) == [
        "billing.invoices",
        "billing.in?oices",
        "b*.invoices",
        "?illing.*",
        "billing.*",
        "*",
    ]
    assert by_precedence("other", ["billing.*"]) == []
    for patterns in (["queu?", "queu*"], ["queu*", "queu?"]):
        assert by_precedence("queue", patterns) == ["queu*", "queu?"], "whatever order they stand in"


def test_a_name_with_brackets_is_matched_by_itself() -> None:
    assert matches("list[int]", "list[int]")
    assert not matches("listi", "list[INT]")


# --- whole plans --------------------------------------------------------------------------------------------


def _plan(*instances: Any, rules: Any = ONE, holds: tuple[Hold, ...] = ()) -> PrunePlan:
    return prune_plan(
        (instance_plan(executions, rules, ORIGIN, holds, NOW_MS) for executions in instances),
        store_id="s",
        policy_revision=3,
        hold_revision=4,
        made_at_ms=NOW_MS,
    )


def test_a_plan_counts_what_it_keeps_and_removes() -> None:
    plan = _plan((current(3), ended(1, event_count=4, history_bytes=40), ended(2)), (current(1, instance_id="b"),))
    assert [(facts.instance_id, facts.execution_id) for facts in plan.removals()] == [("queue-1", 1), ("queue-1", 2)]
    assert plan.totals == PlanTotals(
        executions_kept=2,
        executions_removed=2,
        events_kept=20,
        events_removed=14,
        bytes_kept=2000,
        bytes_removed=1040,
    )
    first = plan.instances[0]
    assert (first.instance_id, first.incarnation, first.name, first.rules) == ("queue-1", 1, "Eternal", (ONE,))
    assert (plan.policy_revision, plan.hold_revision, plan.warnings) == (3, 4, ())


def test_a_plan_counts_the_children_that_go_with_what_it_removes() -> None:
    child = PlannedChild(
        instance_id="c", incarnation=9, execution_id=1, instances=2, executions=5, events=7, history_bytes=70
    )
    planned = _plan((current(3), ended(1), ended(2))).instances[0]
    other = msgspec.structs.replace(child, instance_id="d", incarnation=11, instances=1, events=3, history_bytes=30)
    made = prune_plan(
        [msgspec.structs.replace(planned, children=(child, other))],
        store_id="s",
        policy_revision=3,
        hold_revision=4,
        made_at_ms=NOW_MS,
        children=ChildrenPolicy.SETTLED,
    )
    totals = made.totals
    assert (totals.children_removed, totals.child_events_removed, totals.child_bytes_removed) == (3, 10, 100)
    assert (totals.executions_removed, totals.executions_kept) == (2, 1)


def test_rules_that_are_given_twice_are_in_a_plan_once() -> None:
    other = PruneOptions(keep_within=60)
    for rules in ([ONE, ONE], [ONE, other, ONE], [ONE]):
        planned = _plan((current(2), ended(1)), rules=rules).instances[0]
        assert planned.rules == tuple(dict.fromkeys(rules))


def test_a_plan_survives_a_file() -> None:
    plan = _plan((current(2), ended(1, version="0.9.0")), rules=[ONE, PruneOptions(keep_within=60)])
    assert msgspec.json.decode(msgspec.json.encode(plan), type=PrunePlan) == plan


def test_a_plan_file_from_before_plans_said_what_becomes_of_children_keeps_them() -> None:
    document = msgspec.to_builtins(_plan((current(2), ended(1))))
    del document["children"]
    assert msgspec.convert(document, PrunePlan).children is ChildrenPolicy.KEEP


def test_a_plan_without_a_policy_removes_nothing() -> None:
    plan = _plan((current(2), ended(1)), rules=None)
    assert list(plan.removals()) == []
    assert plan.instances[0].rules is None


def test_a_plan_says_when_it_takes_the_last_of_a_version() -> None:
    executions = (ended(1, version=""), ended(2, version="0.9.0"), ended(3), current(4))
    plan = _plan(executions)
    assert [(warning.code, warning.instance_id, warning.text) for warning in plan.warnings] == [
        (WarningCode.LAST_OF_VERSION, "queue-1", "takes the last execution of version 0.9.0 of queue-1")
    ]
    assert _plan(executions, holds=(hold(version="0.9.0"),)).warnings == ()


def test_of_many_things_to_be_known_a_few_are_told_and_the_rest_is_counted() -> None:
    plan = _plan((ended(1, version="0.9.0"), current(2)))
    (warning,) = plan.warnings
    many = msgspec.structs.replace(plan, warnings=(warning,) * 12)
    lines = [line for line in plan_lines(many) if line.startswith("note: ")]
    assert len(lines) == 11
    assert lines[-1] == "note: ... and 2 more like that (--dry-run -o json has all)"


def test_a_plan_says_when_an_end_is_not_recorded() -> None:
    plan = _plan((ended(1, age_days=None), current(2)), rules=PruneOptions(keep_within=60))
    assert [(warning.code, warning.text) for warning in plan.warnings] == [
        (
            WarningCode.NO_END_TIME,
            "keeps 1 of queue-1 because it is not recorded when they ended: `duroctl doctor`",
        )
    ]


UPGRADED = (ended(1, version="1.0"), ended(2, version="1.0"), ended(3, version="2.0"), current(4, version="2.0"))


def test_pruning_after_an_upgrade_keeps_the_new_executions_and_says_that_the_old_version_goes() -> None:
    plan = _plan(UPGRADED, rules=PruneOptions(keep_last=2))
    assert [facts.execution_id for facts in plan.removals()] == [1, 2]
    assert [warning.text for warning in plan.warnings] == ["takes the last execution of version 1.0 of queue-1"]


def test_an_execution_of_each_version_can_be_kept_for_a_rollback_or_a_search_for_an_error() -> None:
    plan = _plan(UPGRADED, rules=PruneOptions(keep_last=1, keep_last_per_version=1))
    assert [facts.execution_id for facts in plan.removals()] == [1, 3]
    assert plan.warnings == ()


@pytest.mark.parametrize(("count", "has"), [(1, "1 instance has ended"), (2, "2 instances have ended")])
def test_a_plan_names_purge_where_only_current_executions_of_finished_instances_are_left(count: int, has: str) -> None:
    finished = [
        (current(9, instance_id=f"f{number}", status=ExecutionStatus.COMPLETED, completed_at_ms=NOW_MS),)
        for number in range(count)
    ]
    plan = _plan(*finished, (current(1),))
    assert [warning.code for warning in plan.warnings] == [WarningCode.ONLY_CURRENT]
    assert plan.warnings[0].text.startswith(has)
    assert "`duroctl instances purge`" in plan.warnings[0].text


def test_an_instance_without_an_execution_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one execution"):
        _plan(())


def test_of_an_instance_without_executions_nothing_is_decided_whatever_is_held() -> None:
    hold = Hold(hold_id="h", target=HoldTarget(instance_id="queue-1"), reason="look", created_at_ms=0)
    assert plan_instance((), PruneOptions(keep_last=1), [hold], NOW_MS) == ()
