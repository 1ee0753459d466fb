"""The ledger of automatic prunes, bounded: equal prunes one after another are one range, and when there are too many
the oldest are merged. Whatever is merged, the sums stay. Manual prunes are rows of their own and not in here."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from duro.model.ledger import SEVERAL, UNDO, LedgerRange, LedgerTotals
from duro.model.limits import LEDGER_RANGES_MAX
from duro.model.pruning import ExecutionFacts, PruneTrigger
from duro.model.removal import LedgerEntry


def ledger_range(
    removed: Sequence[ExecutionFacts], *, rule: str, origin: str, trigger: PruneTrigger, pruned_at_ms: int
) -> LedgerRange:
    """The range of one prune.

    Raises:
        ValueError: nothing was removed; then there is nothing to record.
    """
    if not removed:
        raise ValueError("a prune that removed nothing has no place in the ledger")
    ids = [execution.execution_id for execution in removed]
    return LedgerRange(
        first_execution_id=min(ids),
        last_execution_id=max(ids),
        executions=len(removed),
        events=sum([execution.event_count for execution in removed]),
        history_bytes=sum([execution.history_bytes for execution in removed]),
        rule=rule,
        origin=origin,
        trigger=trigger,
        first_pruned_at_ms=pruned_at_ms,
        last_pruned_at_ms=pruned_at_ms,
    )


def removed_range(
    first: int, last: int, size: tuple[int, int, int], *, rule: str, origin: str, trigger: str, removed_at_ms: int
) -> LedgerRange:
    """The range of an instance that is removed as a whole: its live executions, ``size`` of which are their number,
    events and bytes."""
    executions, events, history_bytes = size
    return LedgerRange(
        first_execution_id=first,
        last_execution_id=last,
        executions=executions,
        events=events,
        history_bytes=history_bytes,
        rule=rule,
        origin=origin,
        trigger=trigger,
        first_pruned_at_ms=removed_at_ms,
        last_pruned_at_ms=removed_at_ms,
    )


def record(
    ledger: Sequence[LedgerRange], pruned: LedgerRange, *, ranges_max: int = LEDGER_RANGES_MAX
) -> tuple[LedgerRange, ...]:
    """``ledger`` (of one life of one instance, oldest first) with ``pruned`` in it: at most ``ranges_max`` ranges.

    A prune for the same reason as the last one that goes on behind it makes that range longer. This looks at the last
    range only, so a store may read and write just that one, unless the ledger is full.

    Raises:
        ValueError: ``ranges_max`` is below 1.
    """
    if ranges_max < 1:
        raise ValueError(f"a ledger needs room for at least one range, not {ranges_max}")
    if ledger and (longer := extended(ledger[-1], pruned)) is not None:
        return (*ledger[:-1], longer)
    return _within(ranges_max, (*ledger, pruned))


def extended(last: LedgerRange, pruned: LedgerRange) -> LedgerRange | None:
    """The last range of a ledger with ``pruned`` in it; None: ``pruned`` is a range of its own."""
    return merged(last, pruned) if _goes_on(last, pruned) else None


def ranges_that_may_have(ledger: Iterable[LedgerRange], execution_id: int) -> tuple[LedgerRange, ...]:
    """The ranges an execution that is gone may have been pruned in, the closest first. Merged ranges and ranges with
    kept ones in between can overlap others, so there may be several."""
    having = [entry for entry in ledger if entry.first_execution_id <= execution_id <= entry.last_execution_id]
    return tuple(sorted(having, key=lambda entry: entry.last_execution_id - entry.first_execution_id))


def entries_that_may_have(
    entries: Sequence[LedgerEntry], execution_id: int, *, run_id: str | None = None, pruned_at_ms: int | None = None
) -> tuple[LedgerEntry, ...]:
    """The rows of a ledger (of one life of one instance, in their order) that an execution may have been pruned in for
    good, the latest first; undos are not among them.

    ``run_id`` and ``pruned_at_ms`` are what the execution's own row says, while it is there (``run_id`` "": an
    automatic prune). Without them the rows say it together: only what is live can be pruned, and only an undo makes it
    live again. A range that kept some in between, or was merged, may or may not have had it, so several rows may
    remain.
    """
    rows = [_Row(place, entry, execution_id) for place, entry in enumerate(entries) if _has(entry.range, execution_id)]
    prunes = [row for row in rows if not row.is_undo]
    own = [row for row in prunes if run_id is not None and row.is_of(run_id, pruned_at_ms)]
    possible = own or [row for row in prunes if _may_be_the_last(row, rows)] or prunes
    return tuple(row.entry for row in sorted(possible, key=lambda row: row.ended, reverse=True))


class _Row(NamedTuple):
    """A row of a ledger that spans the execution that is looked for, and its place among all of them."""

    place: int
    entry: LedgerEntry
    execution_id: int

    @property
    def is_undo(self) -> bool:
        return self.entry.range.trigger == UNDO

    @property
    def run_id(self) -> str:
        return "" if self.entry.run is None else self.entry.run.run_id

    @property
    def began(self) -> tuple[int, int]:
        return self.entry.range.first_pruned_at_ms, self.place

    @property
    def ended(self) -> tuple[int, int]:
        return self.entry.range.last_pruned_at_ms, self.place

    @property
    def is_certain(self) -> bool:
        """The execution is at an end of its range, or it left out none of it."""
        span = self.entry.range
        first, last = span.first_execution_id, span.last_execution_id
        return self.execution_id in (first, last) or span.executions == last - first + 1

    def is_of(self, run_id: str, pruned_at_ms: int | None) -> bool:
        if self.run_id or run_id:
            return self.run_id == run_id
        span = self.entry.range
        return pruned_at_ms is None or span.first_pruned_at_ms <= pruned_at_ms <= span.last_pruned_at_ms


def _has(span: LedgerRange, execution_id: int) -> bool:
    return span.first_execution_id <= execution_id <= span.last_execution_id


def _may_be_the_last(prune: _Row, rows: Sequence[_Row]) -> bool:
    """Whether nothing speaks against it that ``prune`` removed the execution and nothing brought it back."""
    others = [row for row in rows if row is not prune and row.is_certain]
    if not others:
        return True
    last = max(others, key=lambda row: row.began)
    if prune.ended < last.began:
        return False
    return last.is_undo or any(_undoes(undo, last, rows) and undo.began <= prune.ended for undo in rows)


def _undoes(undo: _Row, prune: _Row, rows: Sequence[_Row]) -> bool:
    """Whether ``undo`` may have brought back what ``prune`` removed: an undo of another run has not."""
    of = undo.entry.range.origin
    another = of != prune.run_id and any(row.run_id == of for row in rows if not row.is_undo)
    return undo.is_undo and not another and undo.ended >= prune.began


def fold(totals: LedgerTotals, ledger: Iterable[LedgerRange]) -> LedgerTotals:
    """``totals`` with the ledger of one more instance, when the instance is gone. What an undo brought back does not
    count. An empty ledger changes nothing."""
    ranges = tuple(ledger)
    if not ranges:
        return totals
    signed = [(-1 if entry.trigger == UNDO else 1, entry) for entry in ranges]
    firsts = [entry.first_pruned_at_ms for entry in ranges]
    lasts = [entry.last_pruned_at_ms for entry in ranges]
    if totals.first_pruned_at_ms is not None:
        firsts.append(totals.first_pruned_at_ms)
    if totals.last_pruned_at_ms is not None:
        lasts.append(totals.last_pruned_at_ms)
    return LedgerTotals(
        name=totals.name,
        instances=totals.instances + 1,
        executions=totals.executions + sum(sign * entry.executions for sign, entry in signed),
        events=totals.events + sum(sign * entry.events for sign, entry in signed),
        history_bytes=totals.history_bytes + sum(sign * entry.history_bytes for sign, entry in signed),
        first_pruned_at_ms=min(firsts),
        last_pruned_at_ms=max(lasts),
    )


def _within(ranges_max: int, ledger: tuple[LedgerRange, ...]) -> tuple[LedgerRange, ...]:
    while len(ledger) > ranges_max:
        ledger = (merged(ledger[0], ledger[1]), *ledger[2:])
    return ledger


def _goes_on(last: LedgerRange, pruned: LedgerRange) -> bool:
    return (
        last.rule == pruned.rule
        and last.origin == pruned.origin
        and last.trigger == pruned.trigger
        and last.last_execution_id < pruned.first_execution_id
    )


def merged(one: LedgerRange, other: LedgerRange) -> LedgerRange:
    """One range that counts what both count."""
    return LedgerRange(
        first_execution_id=min(one.first_execution_id, other.first_execution_id),
        last_execution_id=max(one.last_execution_id, other.last_execution_id),
        executions=one.executions + other.executions,
        events=one.events + other.events,
        history_bytes=one.history_bytes + other.history_bytes,
        rule=_same(one.rule, other.rule),
        origin=_same(one.origin, other.origin),
        trigger=_same(one.trigger, other.trigger),
        first_pruned_at_ms=min(one.first_pruned_at_ms, other.first_pruned_at_ms),
        last_pruned_at_ms=max(one.last_pruned_at_ms, other.last_pruned_at_ms),
    )


def _same(one: str, other: str) -> str:
    return one if one == other else SEVERAL
