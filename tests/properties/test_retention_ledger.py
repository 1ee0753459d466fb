"""Whatever is pruned in whatever order: the ledger stays short, and its sums are those of all prunes."""

import os
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st

from duro.model.ledger import LedgerRange, LedgerTotals
from duro.model.pruning import PruneTrigger
from duro.retention.ledger import fold, ledger_range, ranges_that_may_have, record
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
