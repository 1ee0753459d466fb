"""What becomes of marked executions: their rows are deleted, or they are brought back."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Final, NamedTuple, TypeAlias

import apsw
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

_CHILDREN_A_STATEMENT: Final = 100
"""Children whose families one statement reads."""

_Due: TypeAlias = tuple[int, int, int, int]
_Marked: TypeAlias = tuple[int, int, int, int, str]


class _Member(NamedTuple):
    """One instance of the family of a child: the child itself, which event ``event_id`` spawned, or a descendant."""

    event_id: int
    is_finished: bool
    incarnation: int
    instance_id: str
    name: str
    versions: list[str]
    events: int


_due = msgspec.json.Decoder(list[_Due])
_members = msgspec.json.Decoder(list[_Member])
_marked = msgspec.json.Decoder(list[_Marked])
_entries = msgspec.json.Decoder(list[LedgerEntry])
_totals = msgspec.json.Decoder(list[LedgerTotals])
_holds = msgspec.json.Decoder(list[Hold])


# --- reclaim -------------------------------------------------------------------------------------------------


def any_due(connection: apsw.Connection, now_ms: int) -> bool:
    return connection.execute(sql.ANY_RECLAIMABLE, (now_ms,)).fetchone() == (1,)


def reclaim(transaction: Transaction, events_max: int) -> ReclaimResult:
    due = _due.decode(transaction.value(sql.RECLAIMABLE, (transaction.now_ms, _EXECUTIONS_A_BATCH)))
    events = children = 0
    whole: list[tuple[int, int]] = []
    for incarnation, execution_id, event_count, takes_children in due:
        if (whole or children) and events + event_count > events_max:
            break
        if takes_children:
            removed, their_events, more = _remove_children(transaction, incarnation, execution_id, events_max - events)
            children += removed
            events += their_events
            if more:
                transaction.run(sql.RECLAIMING, (incarnation, execution_id))
                break
        if event_count > events_max:
            event_count = _delete_events(transaction, incarnation, execution_id, events_max)
            if event_count == events_max:
                events += event_count
                break
        events += event_count
        whole.append((incarnation, execution_id))
    for incarnation, of_instance in groupby(sorted(whole), key=itemgetter(0)):
        delete(transaction, incarnation, ranges(execution_id for _, execution_id in of_instance))
    more = len(whole) < len(due) or len(due) == _EXECUTIONS_A_BATCH
    return ReclaimResult(executions=len(whole), events=events, children=children, more=more)


def _delete_events(transaction: Transaction, incarnation: int, execution_id: int, events_max: int) -> int:
    """Some events of a large execution; how many."""
    transaction.run(sql.RECLAIMING, (incarnation, execution_id))
    return transaction.run(sql.DELETE_EVENTS, (incarnation, execution_id, events_max))


# --- settled children ----------------------------------------------------------------------------------------


def _remove_children(
    transaction: Transaction, incarnation: int, execution_id: int, events_max: int
) -> tuple[int, int, bool]:
    """Settled children of the execution that nothing holds, each with its whole family, until ``events_max`` events are
    deleted; a family goes as one. How many children and events, and whether there are more."""
    children = events = after = 0
    held: tuple[Hold, ...] | None = None
    while True:
        scope = (incarnation, execution_id, after, _CHILDREN_A_STATEMENT)
        families = _by_child(_members.decode(transaction.value(sql.FAMILIES, scope)))
        if held is None and families:
            held = holds_in_force(_holds.decode(transaction.value(sql.LIST_HOLDS)), transaction.now_ms)
        going: list[_Member] = []
        for family in families.values():
            if all(member.is_finished and not _is_held(member, held or ()) for member in family):
                if children and events >= events_max:
                    _remove(transaction, going)
                    return children, events, True
                going += family
                children += 1
                events += sum(member.events for member in family)
        _remove(transaction, going)
        if len(families) < _CHILDREN_A_STATEMENT:
            return children, events, False
        after = max(families)


def _by_child(members: Iterable[_Member]) -> dict[int, list[_Member]]:
    """By the event that spawned the child, in their order."""
    families: dict[int, list[_Member]] = {}
    for member in members:
        families.setdefault(member.event_id, []).append(member)
    return dict(sorted(families.items()))


def _is_held(member: _Member, held: Iterable[Hold]) -> bool:
    """A hold on one version keeps all of an instance that ran it."""
    return any(
        concerns_instance(hold, member.instance_id, member.name)
        and (hold.target.version is None or hold.target.version in member.versions)
        for hold in held
    )


def _remove(transaction: Transaction, members: Sequence[_Member]) -> None:
    if members:
        remove_instances(transaction, [(member.incarnation, member.name) for member in members])


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
