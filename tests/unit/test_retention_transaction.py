"""What a store asks of the planner inside the transaction that prunes: what goes, what was to go and may not, and
whether something lies beyond what it looked at."""

from collections.abc import Iterable, Sequence

import msgspec
import pytest

from duro.errors import InvalidRulesError
from duro.model.pruning import ExecutionFacts, Hold, HoldTarget, NewerExecutions, NewerVersion
from duro.model.removal import PruneOrder, PruneView
from duro.model.retention import PolicyKind, PolicyOrigin, PruneOptions
from duro.retention.transaction import (
    Marks,
    check_rules,
    choose,
    failed,
    live_from,
    newer_to_count,
    newest_untouched,
    rules_text,
    undone_range,
)
from tests.retention_facts import DAY_MS, NOW_MS, current, ended

LAST_2 = PruneOptions(keep_last=2)
A_DAY = PruneOptions(keep_within=86_400)


def view(*executions: ExecutionFacts, newer: int = 0, versions: Iterable[NewerVersion] | None = ()) -> PruneView:
    found = None if versions is None else tuple(versions)
    return PruneView(executions=executions, newer=NewerExecutions(executions=newer, versions=found))


def hold(**target: object) -> Hold:
    return Hold(hold_id="h", target=HoldTarget(**target), reason="look", created_at_ms=0)  # type: ignore[arg-type]


def chosen(
    seen: PruneView,
    *rules: PruneOptions,
    holds: Sequence[Hold] = (),
    only: frozenset[int] | None = None,
    after: int = 0,
) -> tuple[list[int], list[tuple[int, str]], int]:
    """What goes, what was skipped with why, and what remains."""
    marks = choose(seen, rules, holds, NOW_MS, only=only, after=after)
    skipped = [(each.execution_id, each.why) for each in marks.skipped]
    return [each.execution_id for each in marks.removed], skipped, marks.remaining


# --- what goes -----------------------------------------------------------------------------------------------


def test_what_no_rule_keeps_goes_the_oldest_first() -> None:
    executions = (ended(1), ended(2), ended(3), current(4))
    assert chosen(view(*executions), LAST_2) == ([1, 2], [], 0)
    assert chosen(view(*executions), PruneOptions(keep_last=2, keep_within=60)) == ([], [], 0)
    assert chosen(view(*executions[:3], newer=1), LAST_2) == ([1, 2], [], 0)


def test_only_what_was_planned_goes_and_what_may_not_is_told() -> None:
    seen = view(ended(1), ended(2), ended(3), current(4))
    assert chosen(seen, LAST_2, only=frozenset({1, 3, 9})) == (
        [1],
        [(3, "it is kept now: last:2/2"), (9, "it was removed in the meantime")],
        0,
    )
    assert chosen(seen, LAST_2, only=frozenset({2}), holds=[hold(execution_id=2, instance_id="queue-1")]) == (
        [],
        [(2, "it is kept now: held:h")],
        0,
    )


def test_what_was_planned_and_is_beyond_the_view_is_still_to_come() -> None:
    seen = view(ended(3), ended(5), newer=2)
    assert chosen(seen, LAST_2, only=frozenset({1, 4, 5, 6}), after=2) == (
        [5],
        [(4, "it was removed in the meantime")],
        0,
    )
    assert chosen(view(newer=2), LAST_2, only=frozenset({1})) == ([], [], 0)
    assert chosen(view(ended(3), newer=1), PruneOptions(keep_last=1), only=frozenset({2, 3, 4}), after=2) == (
        [3],
        [],
        0,
    )
    gone = [(1, "it was removed in the meantime")]
    assert chosen(view(ended(3), newer=2), LAST_2, only=frozenset({1})) == ([], gone, 0), "also by a view of one"


def test_an_order_that_names_nothing_to_keep_is_refused() -> None:
    order = PruneOrder(incarnation=1, rules=(LAST_2,), origin=PolicyOrigin(PolicyKind.CALL, ""))
    check_rules([order])
    with pytest.raises(InvalidRulesError, match="an order to prune has no rules"):
        check_rules([order, msgspec.structs.replace(order, rules=())])
    named = msgspec.structs.replace(order, rules=(), only=frozenset({3}))
    check_rules([order, named])
    with pytest.raises(InvalidRulesError, match="an order to prune has no rules"):
        check_rules([named, msgspec.structs.replace(named, only=frozenset())])


def test_a_result_counts_what_was_marked() -> None:
    result = Marks((ended(1), ended(2)), (), 3).result()
    assert (result.executions_deleted, result.events_deleted, result.bytes_deleted) == (2, 20, 2000)
    assert (result.instances_processed, result.remaining, result.skipped) == (1, 3, ())


# --- what is left for later ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("newer", "remaining"), [(1, 0), (2, 0), (3, 1), (66, 64), (67, 64)])
def test_what_lies_beyond_the_view_and_the_newest_is_left_for_later(newer: int, remaining: int) -> None:
    assert chosen(view(ended(1), newer=newer), LAST_2)[2] == remaining


def test_nothing_is_left_where_a_rule_keeps_whatever_is_newer() -> None:
    """So that a sweep does not come back for it again and again."""
    old, young = ended(1, age_days=2), ended(2, age_days=0.5)
    assert chosen(view(old, young, newer=9), A_DAY)[2] == 0
    assert chosen(view(old, newer=9), A_DAY)[2] == 9
    assert chosen(view(ended(1, age_days=1), newer=9), A_DAY)[2] == 0
    assert chosen(view(ended(1, age_days=None), newer=9), A_DAY)[2] == 9
    since_then = PruneOptions(completed_before=NOW_MS - DAY_MS)
    assert chosen(view(old, young, newer=9), since_then)[2] == 0
    assert chosen(view(old, newer=9), since_then)[2] == 9
    assert chosen(view(old, newer=9), LAST_2, A_DAY)[2] == 7
    assert chosen(view(old, young, newer=9), LAST_2, A_DAY)[2] == 0
    assert chosen(view(newer=9), A_DAY)[2] == 9


@pytest.mark.parametrize(
    ("versions", "rules", "remaining"),
    [
        ([("1.0.0", 2), ("2.0.0", 1)], PruneOptions(keep_last_per_version=2), 0),
        ([("1.0.0", 3)], PruneOptions(keep_last_per_version=2), 3),
        ([("1.0.0", 2), ("2.0.0", 1)], PruneOptions(keep_last_per_version=2, keep_versions=2), 0),
        ([("1.0.0", 2), ("2.0.0", 1)], PruneOptions(keep_last_per_version=2, keep_versions=1), 3),
        ([("1.0.0", 2)], PruneOptions(keep_last_per_version=2), 3),
        (None, PruneOptions(keep_last_per_version=2), 3),
        ([("1.0.0", 2), ("2.0.0", 1)], LAST_2, 1),
    ],
    ids=["few of each", "many of one", "few versions", "more versions", "of none", "unknown", "another rule"],
)
def test_nothing_is_left_where_every_version_beyond_the_view_is_kept_whole(
    versions: list[tuple[str, int]] | None, rules: PruneOptions, remaining: int
) -> None:
    """One without a version is counted and in no version: then nobody can tell."""
    found = None if versions is None else [NewerVersion(each, count, 9) for each, count in versions]
    assert chosen(view(ended(1, age_days=2), newer=3, versions=found), rules)[2] == remaining


@pytest.mark.parametrize(
    ("target", "remaining"),
    [
        ({"instance_id": "queue-1"}, 0),
        ({"name": "Eternal"}, 0),
        ({"instance_id": "queue-1", "execution_id": 1}, 3),
        ({"name": "Eternal", "version": "1.0.0"}, 3),
        ({"instance_id": "other"}, 3),
    ],
)
def test_nothing_is_left_where_a_hold_keeps_the_whole_instance(target: dict[str, object], remaining: int) -> None:
    assert chosen(view(ended(1), newer=5), LAST_2, holds=[hold(**target)])[2] == remaining


# --- what is looked at -----------------------------------------------------------------------------------------


def test_beyond_the_newest_that_are_kept_as_many_are_counted_as_a_turn_looks_at() -> None:
    assert newer_to_count([]) == (64, 0)
    assert newer_to_count([A_DAY]) == (64, 0)
    assert newer_to_count([LAST_2, PruneOptions(keep_last=5)]) == (69, 0)


def test_of_each_version_one_more_is_counted_than_is_kept() -> None:
    rules = [PruneOptions(keep_last_per_version=3), PruneOptions(keep_last=2, keep_last_per_version=1)]
    assert newer_to_count(rules) == (66, 4)


def test_the_newest_are_not_looked_at_unless_their_versions_matter() -> None:
    assert newest_untouched(()) == 0
    assert newest_untouched((A_DAY,)) == 0
    assert newest_untouched((PruneOptions(keep_last=5), LAST_2)) == 5
    assert newest_untouched((PruneOptions(keep_last=5), PruneOptions(keep_last_per_version=1))) == 0


def test_the_first_live_execution_is_the_first_that_stays() -> None:
    executions = (ended(3), ended(4), ended(6))
    assert live_from(view(*executions), executions[:2], 3) == 6
    assert live_from(view(*executions), executions[1:], 1) == 3
    assert live_from(view(*executions), executions, 3) == 7
    assert live_from(view(), (), 3) == 3


# --- what is said ------------------------------------------------------------------------------------------------


def test_rules_and_failures_are_named() -> None:
    assert rules_text((LAST_2,)) == "keep_last=2"
    assert rules_text(()) == "named"
    for united in ((LAST_2, PruneOptions(keep_last=3)), (PruneOptions(keep_last=3), LAST_2)):
        assert rules_text(united) == "keep_last=2 and keep_last=3"
    assert failed(KeyError("x")).error == "KeyError: 'x'"


def test_an_undo_is_one_range_of_all_that_came_back() -> None:
    made = undone_range([(7, 10, 100), (3, 5, 50)], origin="run-1", undone_at_ms=NOW_MS)
    assert (made.first_execution_id, made.last_execution_id, made.executions) == (3, 7, 2)
    assert (made.events, made.history_bytes, made.rule, made.origin, made.trigger) == (15, 150, "", "run-1", "undo")
    assert (made.first_pruned_at_ms, made.last_pruned_at_ms) == (NOW_MS, NOW_MS)
