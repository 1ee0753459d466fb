"""Whatever is pruned in whatever order: the ledger stays short, and its sums are those of all prunes."""

import os
from collections.abc import Iterable
from random import Random
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st

from duro.model.ledger import LedgerRange, LedgerTotals
from duro.model.pruning import PruneTrigger
from duro.model.removal import LedgerEntry, PruneRun
from duro.retention.ledger import entries_that_may_have, fold, ledger_range, ranges_that_may_have, record
from duro.retention.transaction import undone_range
from tests.retention_facts import ended

EXAMPLES: Final = int(os.environ.get("DURO_PROPERTY_EXAMPLES", "150"))
properties = settings(deadline=None, max_examples=EXAMPLES, print_blob=True)


@st.composite
def prunes(draw: st.DrawFn) -> LedgerRange:
    ids = draw(st.lists(st.integers(1, 200), min_size=1, max_size=5, unique=True))
    removed = [
        ended(number, event_count=draw(st.integers(0, 99)), history_bytes=draw(st.integers(0, 999))) for number in ids
    ]
    return ledger_range(
        removed,
        rule=draw(st.sampled_from(["keep_last=1", "keep_last=2"])),
        origin=draw(st.sampled_from(["registration: a.py:1", "file_default: b.toml:2"])),
        trigger=draw(st.sampled_from(PruneTrigger)),
        pruned_at_ms=draw(st.integers(0, 10**6)),
    )


@properties
@given(st.lists(prunes(), min_size=1, max_size=40), st.integers(1, 8))
def test_merging_keeps_the_sums_the_span_of_executions_and_the_span_of_time(
    done: list[LedgerRange], ranges_max: int
) -> None:
    ledger: tuple[LedgerRange, ...] = ()
    for entry in done:
        ledger = record(ledger, entry, ranges_max=ranges_max)
        assert len(ledger) <= ranges_max
    for field in ("executions", "events", "history_bytes"):
        assert sum(getattr(entry, field) for entry in ledger) == sum(getattr(entry, field) for entry in done)
    for field, span in (("first_execution_id", min), ("last_execution_id", max)):
        assert span(getattr(entry, field) for entry in ledger) == span(getattr(entry, field) for entry in done)
    totals = LedgerTotals(name="Eternal")
    assert fold(totals, ledger) == fold(totals, done)


@properties
@given(st.lists(prunes(), min_size=1, max_size=40), st.integers(1, 8))
def test_every_pruned_execution_is_found_in_a_range(done: list[LedgerRange], ranges_max: int) -> None:
    ledger: tuple[LedgerRange, ...] = ()
    for entry in done:
        ledger = record(ledger, entry, ranges_max=ranges_max)
    for entry in done:
        assert ranges_that_may_have(ledger, entry.first_execution_id)
        assert ranges_that_may_have(ledger, entry.last_execution_id)


class Life:
    """An instance that prunes and undos pass over, with its ledger, and what really became of each execution."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.now_ms = 0
        self.live = set(range(1, 13))
        self.marked: dict[int, tuple[str, int]] = {}
        """Execution -> the run that took it ("": an automatic prune), and when; its row is there."""
        self.gone: dict[int, tuple[str, int]] = {}
        self.rows: list[tuple[str | None, LedgerRange]] = []

    def step(self, number: int) -> None:
        self.now_ms += self.random.randint(0, 2)
        match self.random.choice(["manual", "manual", "automatic", "undo", "reclaim"]):
            case "undo" if self.marked:
                self.undo(f"undo-{number}")
            case "reclaim":
                for execution_id in self.some(self.marked):
                    self.gone[execution_id] = self.marked.pop(execution_id)
            case "automatic":
                self.prune("")
            case _:
                self.prune(f"run-{number}")

    def some(self, of: Iterable[int]) -> list[int]:
        """Often neighbours, as rules and ranges have them."""
        ordered = sorted(of)
        chosen = ordered[: self.random.randint(0, len(ordered))]
        return chosen if self.random.random() < 0.5 else [each for each in chosen if self.random.random() < 0.6]

    def prune(self, run_id: str) -> None:
        taken = self.some(self.live)
        if not taken:
            return
        self.live -= set(taken)
        trigger = PruneTrigger.MANUAL if run_id else PruneTrigger.INTERVAL
        rule = run_id or self.random.choice(["x", "y"])
        entry = ledger_range(
            [ended(each) for each in taken], rule=rule, origin="o", trigger=trigger, pruned_at_ms=self.now_ms
        )
        self.marked |= dict.fromkeys(taken, (run_id, self.now_ms))
        if run_id:
            self.rows.append((run_id, entry))
            return
        automatic = [place for place, (run, _) in enumerate(self.rows) if run is None]
        before = [self.rows[place][1] for place in automatic]
        after = record(before, entry, ranges_max=3)
        if len(after) == len(before) and after[:-1] == tuple(before[:-1]):
            self.rows[automatic[-1]] = (None, after[-1])
        else:
            self.rows.append((None, entry))
            places = [place for place, (run, _) in enumerate(self.rows) if run is None]
            for place in places[: len(places) - len(after)]:
                del self.rows[place]
            places = [place for place, (run, _) in enumerate(self.rows) if run is None]
            for place, merged in zip(places, after, strict=True):
                self.rows[place] = (None, merged)

    def undo(self, run_id: str) -> None:
        of = self.random.choice(["a", *{run for run, _ in self.marked.values() if run}])
        back = [each for each, (run, _) in self.marked.items() if of in ("a", run)]
        for execution_id in back:
            del self.marked[execution_id]
        self.live |= set(back)
        sizes = [(each, 10, 1000) for each in back]
        self.rows.append((run_id, undone_range(sizes, origin=of, undone_at_ms=self.now_ms)))

    def ledger(self) -> list[LedgerEntry]:
        return [
            LedgerEntry(range=entry, run=None if run_id is None else _run(run_id, entry)) for run_id, entry in self.rows
        ]


def _run(run_id: str, entry: LedgerRange) -> PruneRun:
    return PruneRun(
        run_id=run_id,
        trigger=entry.trigger,
        rule=entry.rule,
        origin=entry.origin,
        by="ada",
        reason="",
        started_at_ms=entry.first_pruned_at_ms,
        instances=1,
        executions=entry.executions,
        events=entry.events,
        history_bytes=entry.history_bytes,
    )


@properties
@given(st.randoms(use_true_random=False), st.integers(1, 12))
def test_the_prune_that_took_an_execution_for_good_is_among_those_that_are_told(random: Random, steps: int) -> None:
    life = Life(random)
    for number in range(steps):
        life.step(number)
    ledger = life.ledger()
    for execution_id, (run_id, at_ms) in life.marked.items():
        told = entries_that_may_have(ledger, execution_id, run_id=run_id, pruned_at_ms=at_ms)
        assert any(_is(entry, run_id, at_ms) for entry in told)
        assert len(told) == 1 or not run_id
    for execution_id, (run_id, at_ms) in life.gone.items():
        told = entries_that_may_have(ledger, execution_id)
        assert any(_is(entry, run_id, at_ms) for entry in told)
        assert [entry.range.last_pruned_at_ms for entry in told] == sorted(
            (entry.range.last_pruned_at_ms for entry in told), reverse=True
        )


def _is(entry: LedgerEntry, run_id: str, at_ms: int) -> bool:
    if run_id:
        return entry.run is not None and entry.run.run_id == run_id
    return entry.run is None and entry.range.first_pruned_at_ms <= at_ms <= entry.range.last_pruned_at_ms
