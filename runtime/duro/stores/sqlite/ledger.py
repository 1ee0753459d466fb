"""The ledger's rows: automatic prunes coalesced, manual runs one row an instance."""

from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from duro.model.ledger import MANUAL, SEVERAL, UNDO, LedgerRange, RunKind, RunSource
from duro.model.limits import LEDGER_RANGES_MAX
from duro.retention.ledger import extended, record
from duro.stores.sqlite import sql_pruning as sql
from duro.stores.sqlite.committer import Transaction
from duro.stores.sqlite.rows import Row

NumberedRange: TypeAlias = tuple[int, LedgerRange]
"""A range and its place in the ledger of its instance."""

_ranges = msgspec.json.Decoder(list[NumberedRange])


def grown(incarnation: int, pruned: LedgerRange, last: NumberedRange | None) -> Row | None:
    """The row of ``sql.GROW_RANGES`` if all that an automatic prune does is to make the last range longer."""
    if last is None:
        return None
    sequence, before = last
    after = extended(before, pruned)
    return None if after is None else _grown(incarnation, sequence, after)


def _grown(incarnation: int, sequence: int, to: LedgerRange) -> Row:
    return (
        incarnation,
        sequence,
        to.last_execution_id,
        to.executions,
        to.events,
        to.history_bytes,
        to.last_pruned_at_ms,
    )


def record_automatic(transaction: Transaction, incarnation: int, pruned: LedgerRange) -> None:
    """An automatic prune: the ledger as ``retention.ledger.record`` has it."""
    before = _ranges.decode(transaction.value(sql.AUTOMATIC_RANGES, (incarnation,)))
    after = record([entry for _, entry in before], pruned)
    next_sequence = transaction.value(sql.LAST_SEQUENCE, (incarnation,)) + 1
    if len(after) == len(before) and len(before) < LEDGER_RANGES_MAX:
        transaction.rows(sql.GROW_RANGES, [_grown(incarnation, before[-1][0], after[-1])])
    elif len(after) == len(before) + 1:
        insert_range(transaction, incarnation, next_sequence, None, after[-1])
    else:
        kept = len(after) - 1
        sequences = [*(sequence for sequence, _ in before[len(before) - kept :]), next_sequence]
        transaction.run(sql.DELETE_AUTOMATIC_RANGES, (incarnation,))
        for sequence, entry in zip(sequences, after, strict=True):
            insert_range(transaction, incarnation, sequence, None, entry)


def insert_range(
    transaction: Transaction, incarnation: int, sequence: int, run_id: str | None, entry: LedgerRange
) -> None:
    transaction.run(
        sql.INSERT_RANGE,
        (
            incarnation,
            sequence,
            run_id,
            entry.first_execution_id,
            entry.last_execution_id,
            entry.executions,
            entry.events,
            entry.history_bytes,
            entry.rule,
            entry.origin,
            entry.trigger,
            entry.first_pruned_at_ms,
            entry.last_pruned_at_ms,
        ),
    )


def record_run(transaction: Transaction, incarnation: int, run_id: str, pruned: LedgerRange) -> bool:
    """The row of a manual run: made, or made longer. True: it is new."""
    executions = transaction.value(
        sql.RECORD_RUN,
        (
            incarnation,
            run_id,
            pruned.first_execution_id,
            pruned.last_execution_id,
            pruned.executions,
            pruned.events,
            pruned.history_bytes,
            pruned.rule,
            pruned.origin,
            pruned.trigger,
            pruned.first_pruned_at_ms,
            pruned.last_pruned_at_ms,
        ),
    )
    return bool(executions == pruned.executions)


class RunTotals:
    """What one batch adds to its run."""

    def __init__(self) -> None:
        self.instances = self.executions = self.events = self.history_bytes = 0
        self.rule = self.origin = ""

    def add(self, pruned: LedgerRange, new: bool) -> None:
        self.instances += new
        self.executions += pruned.executions
        self.events += pruned.events
        self.history_bytes += pruned.history_bytes
        self.rule = pruned.rule if self.rule in ("", pruned.rule) else SEVERAL
        self.origin = pruned.origin if self.origin in ("", pruned.origin) else SEVERAL


def add_to_run(
    transaction: Transaction,
    run: RunTotals,
    *,
    run_id: str,
    by: str,
    reason: str,
    source: RunSource,
    kind: str,
    archive: str | None = None,
    trigger: str = MANUAL,
) -> None:
    """``kind`` is that of a ``RunKind``."""
    transaction.run(
        sql.ADD_TO_RUN,
        (
            run_id,
            trigger,
            run.rule,
            run.origin,
            by,
            reason,
            transaction.now_ms,
            run.instances,
            run.executions,
            run.events,
            run.history_bytes,
            archive,
            kind,
            *source,
        ),
    )


def insert_undo(
    transaction: Transaction, run_id: str, by: str, restored: Sequence[tuple[int, LedgerRange]], source: RunSource
) -> None:
    """The rows of an undo, one an instance, and its run."""
    run = RunTotals()
    for incarnation, entry in restored:
        sequence = transaction.value(sql.LAST_SEQUENCE, (incarnation,)) + 1
        insert_range(transaction, incarnation, sequence, run_id, entry)
        run.add(entry, new=True)
    add_to_run(transaction, run, run_id=run_id, by=by, reason="", source=source, kind=RunKind.UNDO, trigger=UNDO)
