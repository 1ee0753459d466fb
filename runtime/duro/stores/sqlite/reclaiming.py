"""What becomes of marked executions: their rows are deleted, or they are brought back."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Final, TypeAlias

import msgspec

from duro.errors import InstanceNotFoundError, PruneRunNotFoundError
from duro.model.ledger import LedgerTotals
from duro.model.pruning import Hold, HoldTarget
from duro.model.removal import LedgerEntry, ReclaimResult, UndoResult
from duro.retention.holds import concerns_instance, holds_in_force
from duro.retention.ledger import fold
from duro.retention.transaction import UNDO, undone_range
from duro.stores.sqlite import retaining
from duro.stores.sqlite import sql as store_sql
from duro.stores.sqlite import sql_pruning as sql
from duro.stores.sqlite.committer import Transaction, as_json
from duro.stores.sqlite.ledger import insert_undo
from duro.stores.sqlite.pruning import delete, ranges

_EXECUTIONS_A_BATCH: Final = 500
"""Marked executions one transaction looks at: as small as their histories may be, each costs a few statements."""

_FAMILIES_A_BATCH: Final = 100
"""Children of one execution whose families one transaction removes."""

_Due: TypeAlias = tuple[int, int, int, int]
_Member: TypeAlias = tuple[int, int, str, str, str]
_Marked: TypeAlias = tuple[int, int, int, int, str]

_due = msgspec.json.Decoder(list[_Due])
_members = msgspec.json.Decoder(list[_Member])
_marked = msgspec.json.Decoder(list[_Marked])
_entries = msgspec.json.Decoder(list[LedgerEntry])
_totals = msgspec.json.Decoder(list[LedgerTotals])
_holds = msgspec.json.Decoder(list[Hold])


# --- reclaim -------------------------------------------------------------------------------------------------


def reclaim(transaction: Transaction, events_max: int) -> ReclaimResult:
    due = _due.decode(transaction.value(sql.RECLAIMABLE, (transaction.now_ms, _EXECUTIONS_A_BATCH)))
    executions = events = children = 0
    taken = 0
    whole: list[tuple[int, int]] = []
    for incarnation, execution_id, event_count, takes_children in due:
        if events and events + event_count > events_max:
            break
        taken += 1
        if takes_children:
            removed, more = _remove_children(transaction, incarnation, execution_id)
            children += removed
            if more:
                transaction.run(sql.RECLAIMING, (incarnation, execution_id))
                break
        if event_count > events_max and not _last_slice(transaction, incarnation, execution_id, events_max):
            events += events_max
            break
        events += event_count
        executions += 1
        whole.append((incarnation, execution_id))
    _delete(transaction, whole)
    more = taken < len(due) or len(due) == _EXECUTIONS_A_BATCH or executions < taken
    return ReclaimResult(executions=executions, events=events, children=children, more=more)


def _last_slice(transaction: Transaction, incarnation: int, execution_id: int, events_max: int) -> bool:
    """Delete some events of a large execution. True: there are no more."""
    transaction.run(sql.RECLAIMING, (incarnation, execution_id))
    return transaction.run(sql.DELETE_EVENTS, (incarnation, execution_id, events_max)) < events_max


def _delete(transaction: Transaction, executions: Sequence[tuple[int, int]]) -> None:
    for incarnation, of_instance in groupby(sorted(executions), key=itemgetter(0)):
        delete(transaction, incarnation, ranges(execution_id for _, execution_id in of_instance))


def _remove_children(transaction: Transaction, incarnation: int, execution_id: int) -> tuple[int, bool]:
    """Settled children of the execution, each with its whole family. How many, and whether there may be more."""
    answer = transaction.value(sql.SETTLED_CHILDREN, (incarnation, execution_id, _FAMILIES_A_BATCH))
    families: dict[int, list[_Member]] = {}
    for member in _members.decode(answer):
        families.setdefault(member[0], []).append(member)
    if not families:
        return 0, False
    held = holds_in_force(_holds.decode(transaction.value(sql.LIST_HOLDS)), transaction.now_ms)
    free = [family for family in families.values() if not any(_is_held(member, held) for member in family)]
    remove_instances(transaction, [(member[1], member[3]) for family in free for member in family])
    return len(free), len(families) == _FAMILIES_A_BATCH and bool(free)


def _is_held(member: _Member, held: Iterable[Hold]) -> bool:
    _, _, instance_id, name, version = member
    return any(concerns_instance(hold, instance_id, name) and hold.target.version in (None, version) for hold in held)


def remove_instances(transaction: Transaction, instances: Sequence[tuple[int, str]]) -> None:
    """Everything of the instances (incarnation, name), in every table; what their ledgers say goes into the totals."""
    for incarnation, name in instances:
        _fold(transaction, incarnation, name)
    listed = as_json([incarnation for incarnation, _ in instances])
    for statement in sql.DELETE_WHOLE:
        transaction.run(statement, (listed,))


def _fold(transaction: Transaction, incarnation: int, name: str) -> None:
    entries = _entries.decode(transaction.value(sql.LEDGER_OF, (incarnation,)))
    ranges = [entry.range for entry in entries if entry.range.trigger != UNDO]
    if not ranges:
        return
    before = _totals.decode(transaction.value(sql.LEDGER_TOTALS, (name,)))
    totals = fold(before[0] if before else LedgerTotals(name=name), ranges)
    transaction.run(
        sql.REPLACE_TOTALS,
        (
            name,
            totals.instances,
            totals.executions,
            totals.events,
            totals.history_bytes,
            totals.first_pruned_at_ms,
            totals.last_pruned_at_ms,
        ),
    )


# --- undo ----------------------------------------------------------------------------------------------------


def undo(
    transaction: Transaction, hold_id: str, hold_until_ms: int, *, run_id: str, instance_id: str, by: str
) -> UndoResult:
    if run_id:
        if not transaction.value(sql.RUN_EXISTS, (run_id,)):
            raise PruneRunNotFoundError(f"there is no prune run {run_id!r}", hint="duroctl ledger list shows them")
        marked, gone = _marked.decode(transaction.value(sql.MARKED_OF_RUN, (run_id,))), sql.GONE_OF_RUN
        key: str | int = run_id
    else:
        found = transaction.row(store_sql.INCARNATION_OF, (instance_id,))
        if found is None:
            raise InstanceNotFoundError(f"there is no instance {instance_id!r}")
        key = found[0]
        marked, gone = _marked.decode(transaction.value(sql.MARKED_OF_INSTANCE, (key,))), sql.GONE_OF_INSTANCE
    gone_count = transaction.value(gone, (key,))
    if not marked:
        return UndoResult(gone=gone_count)
    instances = _by_instance(marked)
    now_ms = transaction.now_ms
    restored = []
    for incarnation, executions in instances.items():
        for first, last in ranges(execution_id for _, execution_id, *_ in executions):
            transaction.run(sql.RESTORE, (incarnation, first, last))
        transaction.run(sql.RESTORED, (incarnation, executions[0][1]))
        sizes = [(execution_id, events, size) for _, execution_id, events, size, _ in executions]
        restored.append((incarnation, undone_range(sizes, origin=run_id or instance_id, undone_at_ms=now_ms)))
    insert_undo(transaction, hold_id, by, restored)
    ids = [executions[0][4] for executions in instances.values()]
    holds = [
        Hold(
            hold_id=hold_id if number == 1 else f"{hold_id}-{number}",
            target=HoldTarget(instance_id=each),
            reason="a prune was undone",
            created_at_ms=now_ms,
            by=by,
            until_ms=hold_until_ms,
        )
        for number, each in enumerate(ids, 1)
    ]
    retaining.insert_holds(transaction, holds)
    return UndoResult(
        executions_restored=len(marked),
        events_restored=sum(each[2] for each in marked),
        bytes_restored=sum(each[3] for each in marked),
        instances=tuple(ids),
        gone=gone_count,
        hold_ids=tuple(hold.hold_id for hold in holds),
    )


def _by_instance(marked: Iterable[_Marked]) -> dict[int, list[_Marked]]:
    instances: dict[int, list[_Marked]] = {}
    for each in sorted(marked):
        instances.setdefault(each[0], []).append(each)
    return instances
