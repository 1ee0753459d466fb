"""The ledger: what goes on is one range, the oldest are merged, and a purge folds all of it into totals."""

from typing import Any

import msgspec
import pytest

from duro.maintenance.pruned import was_pruned
from duro.model.archive import ArchivedLedgerRow
from duro.model.ledger import SEVERAL, UNDO, LedgerRange, LedgerTotals
from duro.model.limits import LEDGER_RANGES_MAX
from duro.model.pruning import PruneTrigger
from duro.model.removal import LedgerEntry, PrunedExecution, PruneRun
from duro.retention.ledger import (
    entries_that_may_have,
    fold,
    ledger_range,
    merged,
    ranges_that_may_have,
    record,
    removed_range,
)
from duro.retention.restoring import restored_ledger
from tests.retention_facts import ended


def pruned(
    first: int,
    last: int | None = None,
    *,
    rule: str = "keep_last=1",
    origin: str = "registration: app.py:7",
    trigger: PruneTrigger = PruneTrigger.CONTINUE_AS_NEW,
    at_ms: int | None = None,
) -> LedgerRange:
    """Executions ``first`` to ``last``, of 10 events and 1000 bytes each, pruned at ``at_ms`` (else at ``last``)."""
    last = first if last is None else last
    removed = [ended(execution_id) for execution_id in range(first, last + 1)]
    return ledger_range(
        removed, rule=rule, origin=origin, trigger=trigger, pruned_at_ms=last if at_ms is None else at_ms
    )


def test_a_prune_is_a_range_with_its_counts_whatever_the_order() -> None:
    removed = [ended(9, event_count=4, history_bytes=40), ended(3), ended(5)]
    entry = ledger_range(removed, rule="keep_last=1", origin="call: x", trigger=PruneTrigger.INTERVAL, pruned_at_ms=77)
    assert entry == LedgerRange(
        first_execution_id=3,
        last_execution_id=9,
        executions=3,
        events=24,
        history_bytes=2040,
        rule="keep_last=1",
        origin="call: x",
        trigger=PruneTrigger.INTERVAL,
        first_pruned_at_ms=77,
        last_pruned_at_ms=77,
    )


def test_a_prune_of_nothing_is_not_recorded() -> None:
    with pytest.raises(ValueError, match="removed nothing"):
        ledger_range([], rule="", origin="", trigger=PruneTrigger.INTERVAL, pruned_at_ms=0)


def test_equal_prunes_that_go_on_are_one_range() -> None:
    ledger: tuple[LedgerRange, ...] = ()
    for entry in (pruned(1), pruned(2), pruned(3, 5), pruned(9, at_ms=900)):
        ledger = record(ledger, entry)
    assert ledger == (
        LedgerRange(
            first_execution_id=1,
            last_execution_id=9,
            executions=6,
            events=60,
            history_bytes=6000,
            rule="keep_last=1",
            origin="registration: app.py:7",
            trigger=PruneTrigger.CONTINUE_AS_NEW,
            first_pruned_at_ms=1,
            last_pruned_at_ms=900,
        ),
    )


@pytest.mark.parametrize(
    "other",
    [
        pruned(2, rule="keep_last=2"),
        pruned(2, origin="file_default: x:1"),
        pruned(2, trigger=PruneTrigger.INTERVAL),
    ],
    ids=["rule", "origin", "trigger"],
)
def test_prunes_for_another_reason_are_ranges_of_their_own(other: LedgerRange) -> None:
    assert record((pruned(1),), other) == (pruned(1), other)


def test_a_prune_goes_on_behind_the_last_range_and_behind_no_other() -> None:
    ledger = (pruned(1, rule="a"), pruned(2, rule="b"))
    assert record(ledger, pruned(3, rule="b")) == (ledger[0], merged(ledger[1], pruned(3, rule="b")))
    assert record(ledger, pruned(3, rule="a")) == (*ledger, pruned(3, rule="a"))


def test_a_prune_of_older_ones_is_a_range_of_its_own() -> None:
    """A hold on 2 ended; the range of 1 to 5 did not have it."""
    assert record((pruned(4, 5),), pruned(2)) == (pruned(4, 5), pruned(2))
    assert record((pruned(4, 5),), pruned(5)) == (pruned(4, 5), pruned(5))


def test_the_oldest_ranges_are_merged_when_there_are_too_many() -> None:
    ledger: tuple[LedgerRange, ...] = ()
    for number, rule in enumerate(("a", "b", "c", "d"), start=1):
        ledger = record(ledger, pruned(number, rule=rule, origin="o"), ranges_max=3)
    assert [(entry.first_execution_id, entry.last_execution_id, entry.rule) for entry in ledger] == [
        (1, 2, SEVERAL),
        (3, 3, "c"),
        (4, 4, "d"),
    ]
    assert (ledger[0].origin, ledger[0].trigger, ledger[0].executions) == ("o", "continue_as_new", 2)
    assert (ledger[0].first_pruned_at_ms, ledger[0].last_pruned_at_ms) == (1, 2)


def test_different_triggers_and_origins_become_several() -> None:
    ledger = record((pruned(1),), pruned(2, origin="x", trigger=PruneTrigger.INTERVAL), ranges_max=1)
    assert [(entry.rule, entry.origin, entry.trigger) for entry in ledger] == [("keep_last=1", SEVERAL, SEVERAL)]
    assert msgspec.json.decode(msgspec.json.encode(ledger), type=tuple[LedgerRange, ...]) == ledger


def test_a_ledger_that_grew_under_a_larger_limit_is_brought_within_the_limit() -> None:
    ledger = tuple(pruned(number, rule=str(number)) for number in range(1, 6))
    shorter = record(ledger, pruned(6), ranges_max=2)
    assert [(entry.first_execution_id, entry.last_execution_id) for entry in shorter] == [(1, 5), (6, 6)]


def test_a_ledger_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one range, not 0"):
        record((), pruned(1), ranges_max=0)


def test_a_million_prunes_under_changing_policies_stay_within_the_rows() -> None:
    """The worst case: no prune goes on where the last one ended, because the rule changes every time."""
    ledger: tuple[LedgerRange, ...] = ()
    one, other = pruned(1, rule="keep_last=1"), pruned(1, rule="keep_last=2")
    for number in range(100):
        for _ in range(5_000):
            ledger = record(record(ledger, one), other)
        assert len(ledger) == LEDGER_RANGES_MAX
        assert sum(entry.executions for entry in ledger) == (number + 1) * 10_000
    assert sum(entry.events for entry in ledger) == 10_000_000
    assert sum(entry.history_bytes for entry in ledger) == 1_000_000_000


def test_where_an_execution_was_pruned_is_answered_by_the_closest_range_first() -> None:
    ledger = (pruned(1, 50, rule="a"), pruned(60, 70, rule="b"), pruned(7, rule="c"))
    assert [entry.rule for entry in ranges_that_may_have(ledger, 7)] == ["c", "a"]
    assert [entry.rule for entry in ranges_that_may_have(ledger, 60)] == ["b"]
    assert ranges_that_may_have(ledger, 55) == ()
    closest_is_later = (pruned(1, 4, rule="a"), pruned(3, 4, rule="b"))
    assert [entry.rule for entry in ranges_that_may_have(closest_is_later, 3)] == ["b", "a"]


def test_a_purge_folds_the_ledger_into_the_totals_of_the_orchestration() -> None:
    nothing = LedgerTotals(name="Eternal")
    assert fold(nothing, ()) is nothing
    first = fold(nothing, (pruned(1, 3, at_ms=50), pruned(5, at_ms=70)))
    assert first == LedgerTotals(
        name="Eternal",
        instances=1,
        executions=4,
        events=40,
        history_bytes=4000,
        first_pruned_at_ms=50,
        last_pruned_at_ms=70,
    )
    second = fold(first, (pruned(9, at_ms=60),))
    assert (second.instances, second.executions) == (2, 5)
    assert (second.first_pruned_at_ms, second.last_pruned_at_ms) == (50, 70)
    assert fold(second, (pruned(9, at_ms=10), pruned(9, at_ms=99))).first_pruned_at_ms == 10


def test_what_came_back_does_not_count_in_the_totals() -> None:
    back = msgspec.structs.replace(pruned(2, at_ms=60), trigger=UNDO)
    totals = fold(LedgerTotals(name="Eternal"), (pruned(1, 3, at_ms=50), back))
    assert (totals.instances, totals.executions, totals.events, totals.history_bytes) == (1, 2, 20, 2000)
    assert (totals.first_pruned_at_ms, totals.last_pruned_at_ms) == (50, 60)


def test_an_instance_that_goes_as_a_whole_is_a_range_of_what_was_live() -> None:
    made = removed_range(3, 9, (4, 40, 400), rule="keep_last=1", origin="call", trigger="purge", removed_at_ms=70)
    assert (made.first_execution_id, made.last_execution_id) == (3, 9)
    assert (made.executions, made.events, made.history_bytes) == (4, 40, 400)
    assert (made.rule, made.origin, made.trigger) == ("keep_last=1", "call", "purge")
    assert (made.first_pruned_at_ms, made.last_pruned_at_ms) == (70, 70)


def test_where_it_may_have_been_any_of_several_prunes_none_is_told_as_a_fact() -> None:
    ranges = [pruned(1, 9, rule=f"keep_last={number}", at_ms=number * 1000) for number in (5, 4, 3, 2)]
    facts = PrunedExecution(
        instance_id="a",
        incarnation=1,
        execution_id=3,
        removal=None,
        pruned_at_ms=None,
        reclaim_at_ms=None,
        entries=tuple(LedgerEntry(range=entry) for entry in ranges),
    )
    said = str(was_pruned(facts, 0))
    assert said.startswith(
        "execution 3 of instance 'a' was pruned in one of 4 prunes: at 1970-01-01T00:00:05Z by the rule"
    )
    assert "; or at 1970-01-01T00:00:04Z by the rule keep_last=4 (" in said
    assert "; or another" in said
    only = msgspec.structs.replace(facts, entries=facts.entries[:1], pruned_at_ms=4_500)
    assert "was pruned at 1970-01-01T00:00:04.500Z by the rule keep_last=5" in str(was_pruned(only, 0))


@pytest.mark.parametrize(
    ("different", "told"),
    [
        ({}, "by the rule keep_last=3 (registration: app.py:7, at continue_as_new)"),
        ({"trigger": SEVERAL}, "by the rule keep_last=3 (registration: app.py:7)"),
        ({"rule": SEVERAL, "origin": SEVERAL}, "by one of several rules (at continue_as_new)"),
        ({"rule": SEVERAL, "origin": SEVERAL, "trigger": SEVERAL}, "by one of several rules"),
    ],
)
def test_of_prunes_that_were_merged_it_is_said_in_words_that_they_were_several(
    different: dict[str, str], told: str
) -> None:
    span = msgspec.structs.replace(pruned(1, 5, rule="keep_last=3"), **different)
    gone = PrunedExecution(
        instance_id="a",
        incarnation=1,
        execution_id=2,
        removal=None,
        pruned_at_ms=4_500,
        reclaim_at_ms=None,
        entries=(LedgerEntry(range=span),),
    )
    said = "execution 2 of instance 'a' was pruned at 1970-01-01T00:00:04.500Z "
    assert str(was_pruned(gone, 0)).startswith(f"{said}{told}")
    run = PruneRun(
        run_id="run-1",
        trigger="manual",
        rule=SEVERAL,
        origin=SEVERAL,
        by="ada",
        reason="",
        started_at_ms=4_500,
        instances=1,
        executions=5,
        events=50,
        history_bytes=500,
    )
    by_hand = msgspec.structs.replace(gone, entries=(LedgerEntry(range=span, run=run),))
    which = "one of several rules" if span.rule == SEVERAL else "rule keep_last=3"
    assert str(was_pruned(by_hand, 0)).startswith(f"{said}by ada in run-1, {which}")


def test_a_ledger_that_comes_back_from_an_archive_has_no_more_ranges_than_a_living_one() -> None:
    """A removed instance has one more, which says that it was removed; what was done by hand stays row by row."""
    automatic = [
        ArchivedLedgerRow(sequence=number, range=pruned(number, rule=f"keep_last={number}"), run_id=None)
        for number in range(1, LEDGER_RANGES_MAX + 3)
    ]
    by_hand = ArchivedLedgerRow(sequence=30_000, range=pruned(999), run_id="run-1")
    assert restored_ledger(automatic[:LEDGER_RANGES_MAX]) == tuple(automatic[:LEDGER_RANGES_MAX])
    back = restored_ledger([by_hand, *automatic])
    assert back[-1] == by_hand
    assert len(back) == LEDGER_RANGES_MAX + 1
    assert (back[0].sequence, back[0].range.first_execution_id, back[0].range.last_execution_id) == (3, 1, 3)
    assert back[0].range.executions == 3
    assert back[1:-1] == tuple(automatic[3:])


# --- in which prune an execution went --------------------------------------------------------------------------


def row(
    first: int, last: int, at_ms: int, *, run_id: str = "", executions: int | None = None, undoes: str | None = None
) -> LedgerEntry:
    """A row of a ledger. ``executions``: fewer than the range spans, where some were kept. ``undoes``: an undo, of this
    run, which is a run itself."""
    span = pruned(first, last, at_ms=at_ms, origin="call" if undoes is None else undoes)
    if executions is not None:
        span = msgspec.structs.replace(span, executions=executions)
    if undoes is not None:
        span = msgspec.structs.replace(span, trigger=UNDO)
        run_id = f"undo-{at_ms}"
    return LedgerEntry(range=span, run=_run(run_id) if run_id else None)


def _run(run_id: str) -> PruneRun:
    return PruneRun(
        run_id=run_id,
        trigger="manual",
        rule="",
        origin="call",
        by="",
        reason="",
        started_at_ms=1,
        instances=1,
        executions=1,
        events=1,
        history_bytes=1,
    )


def gone_in(entries: list[LedgerEntry], execution_id: int = 5, **known: Any) -> list[int]:
    """Which of them, by their place, it may have gone in."""
    return [entries.index(each) for each in entries_that_may_have(entries, execution_id, **known)]


def test_what_was_brought_back_went_in_the_prune_after_that() -> None:
    assert gone_in([row(1, 5, 10), row(1, 5, 20, undoes="run-1"), row(1, 5, 30)]) == [2]
    by_hand = [row(1, 5, 10, run_id="run-1"), row(1, 5, 20, undoes="run-1"), row(1, 5, 30, run_id="run-2")]
    assert gone_in(by_hand) == [2]
    assert gone_in([row(1, 5, 10), row(5, 5, 10, undoes=""), row(5, 5, 10)]) == [2], "of one moment the later row"


def test_a_range_that_kept_some_is_not_where_one_went_that_had_gone_before() -> None:
    assert gone_in([row(5, 5, 10), row(1, 9, 20, executions=3)]) == [0]
    assert gone_in([row(1, 9, 10, executions=3), row(5, 5, 20)]) == [1]
    assert gone_in([row(1, 9, 10, executions=9), row(1, 9, 20, executions=3)]) == [0]
    assert gone_in([row(1, 9, 10, executions=8), row(1, 9, 20, executions=3)]) == [1, 0], "nobody can tell"
    assert gone_in([row(1, 9, 10, executions=3), row(1, 9, 20, executions=3)]) == [1, 0]
    assert gone_in([row(5, 9, 10, executions=2), row(1, 9, 20, executions=3)]) == [0], "it is at the end of a range"


def test_an_undo_of_another_run_brought_nothing_back() -> None:
    pruned_twice = [row(5, 5, 10, run_id="run-1"), row(1, 9, 20, run_id="run-2", executions=3)]
    assert gone_in([*pruned_twice, row(1, 9, 30, undoes="run-2", executions=3)]) == [0]
    undone_first = [pruned_twice[0], row(1, 9, 15, undoes="run-1", executions=3), pruned_twice[1]]
    assert gone_in(undone_first) == [2, 0], "the undo may have brought it back, and the second prune taken it"
    from_an_archive = [pruned_twice[0], row(1, 9, 15, undoes="archive", executions=3), pruned_twice[1]]
    assert gone_in(from_an_archive) == [2, 0], "it is no undo of a run that is here"
    of_a_third = [row(1, 9, 5, run_id="run-3", executions=3), *pruned_twice]
    of_a_third.insert(2, row(1, 9, 15, undoes="run-3", executions=3))
    assert gone_in(of_a_third) == [1]
    too_early = [row(1, 9, 5, undoes="run-1", executions=3), *pruned_twice]
    assert gone_in(too_early) == [1]


def test_what_the_execution_itself_says_decides() -> None:
    entries = [row(1, 9, 10, executions=3), row(1, 9, 20, executions=3), row(1, 9, 30, run_id="run-1", executions=3)]
    assert gone_in(entries, run_id="run-1") == [2]
    assert gone_in(entries, run_id="", pruned_at_ms=10) == [0]
    assert gone_in(entries, run_id="", pruned_at_ms=20) == [1]
    assert gone_in(entries, run_id="") == [1, 0]
    assert gone_in(entries, run_id="", pruned_at_ms=15) == [2, 1, 0], "it contradicts the ledger, which is asked alone"
    assert gone_in(entries, execution_id=10) == []
