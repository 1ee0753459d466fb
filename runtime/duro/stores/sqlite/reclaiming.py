"""What becomes of marked executions: their rows are deleted, or they are brought back."""

from collections.abc import Iterable
from itertools import groupby
from operator import itemgetter
from typing import Final, TypeAlias

import apsw
import msgspec

from duro.errors import InstanceNotFoundError, PruneRunNotFoundError
from duro.model.families import Family
from duro.model.ledger import RunSource
from duro.model.pruning import Hold, HoldTarget
from duro.model.removal import ReclaimResult, UndoResult
from duro.retention.families import settled_counts
from duro.retention.transaction import undone_range
from duro.stores.sqlite import families, retaining
from duro.stores.sqlite import sql as store_sql
from duro.stores.sqlite import sql_pruning as sql
from duro.stores.sqlite.committer import Transaction
from duro.stores.sqlite.ledger import insert_undo
from duro.stores.sqlite.pruning import delete, ranges

_EXECUTIONS_A_BATCH: Final = 500
"""Marked executions one transaction looks at: as small as their histories may be, each costs a few statements."""

_CHILDREN_A_BATCH: Final = 500
"""Instances one transaction takes out of sight because the executions that spawned them go."""

_Due: TypeAlias = tuple[int, int, int, int, str | None]
_Marked: TypeAlias = tuple[int, int, int, int, str]

_due = msgspec.json.Decoder(list[_Due])
_ids = msgspec.json.Decoder(list[str])
_marked = msgspec.json.Decoder(list[_Marked])


# --- reclaim -------------------------------------------------------------------------------------------------


def any_due(connection: apsw.Connection, now_ms: int) -> bool:
    marked = connection.execute(sql.ANY_RECLAIMABLE, (now_ms,)).fetchone() == (1,)
    return marked or families.any_removed_due(connection, now_ms)


def reclaim(transaction: Transaction, events_max: int) -> ReclaimResult:
    """Executions first: the children that go with some of them are removed instances from then on."""
    due = _due.decode(transaction.value(sql.RECLAIMABLE, (transaction.now_ms, _EXECUTIONS_A_BATCH)))
    events = 0
    children: list[Family] = []
    whole: list[tuple[int, int]] = []
    for incarnation, execution_id, event_count, takes_children, archive in due:
        if (whole or children) and events + event_count > events_max:
            break
        if takes_children:
            taken, more = families.take_children(
                transaction, incarnation, execution_id, archive, _CHILDREN_A_BATCH - len(children)
            )
            children += taken
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
    instances, their_events, more_instances = families.reclaim_removed(transaction, max(events_max - events, 0))
    more = len(whole) < len(due) or len(due) == _EXECUTIONS_A_BATCH or more_instances
    return ReclaimResult(
        executions=len(whole),
        events=events + their_events,
        children=len(children),
        instances=instances,
        more=more,
        settled=settled_counts(children),
    )


def _delete_events(transaction: Transaction, incarnation: int, execution_id: int, events_max: int) -> int:
    """Some events of a large execution; how many."""
    transaction.run(sql.RECLAIMING, (incarnation, execution_id))
    return transaction.run(sql.DELETE_EVENTS, (incarnation, execution_id, events_max))


# --- undo ----------------------------------------------------------------------------------------------------


def undo(
    transaction: Transaction,
    hold_id: str,
    hold_until_ms: int,
    *,
    run_id: str,
    instance_id: str,
    by: str,
    source: RunSource,
) -> UndoResult:
    if run_id and not transaction.value(sql.RUN_EXISTS, (run_id,)):
        raise PruneRunNotFoundError(f"there is no prune run {run_id!r}", hint="duroctl ledger list shows them")
    found = None if run_id else transaction.row(store_sql.INCARNATION_OF, (instance_id,))
    if not run_id and found is None and families.find_removed(transaction.connection, instance_id) is None:
        raise InstanceNotFoundError(f"there is no instance {instance_id!r}")
    removed_id = "" if run_id or found is not None else instance_id
    came_back = families.restore(transaction, run_id, removed_id)
    marked, gone = _marked_of(transaction, run_id, found[0] if found else 0)
    taken = families.whose_id_is_taken(transaction.connection, run_id, "" if run_id else instance_id)
    removed = tuple(sorted(set(_ids.decode(transaction.value(sql.REMOVED_SINCE, (run_id,)))))) if run_id else ()
    if not marked and not came_back:
        return UndoResult(gone=gone, taken=taken, removed=removed)
    now_ms = transaction.now_ms
    origin = run_id or instance_id
    restored = []
    instances = _by_instance(marked)
    for incarnation, executions in instances.items():
        for first, last in ranges(execution_id for _, execution_id, *_ in executions):
            transaction.run(sql.RESTORE, (incarnation, first, last))
        transaction.run(sql.RESTORED, (incarnation, executions[0][1]))
        sizes = [(execution_id, events, size) for _, execution_id, events, size, _ in executions]
        restored.append((incarnation, undone_range(sizes, origin=origin, undone_at_ms=now_ms)))
    restored += families.undone_ranges(transaction, came_back, origin)
    insert_undo(transaction, hold_id, by, restored, source)
    pruned_ids = [executions[0][4] for executions in instances.values()]
    held_ids = dict.fromkeys([*families.to_be_held(came_back), *pruned_ids])
    holds = [
        Hold(
            hold_id=hold_id if number == 1 else f"{hold_id}-{number}",
            target=HoldTarget(instance_id=each),
            reason="a prune was undone",
            created_at_ms=now_ms,
            by=by,
            until_ms=hold_until_ms,
        )
        for number, each in enumerate(held_ids, 1)
    ]
    retaining.insert_holds(transaction, holds)
    return UndoResult(
        instances_restored=len(came_back),
        executions_restored=sum(entry.executions for _, entry in restored),
        events_restored=sum(entry.events for _, entry in restored),
        bytes_restored=sum(entry.history_bytes for _, entry in restored),
        instances=tuple(dict.fromkeys([*families.removed_roots(came_back), *pruned_ids])),
        gone=gone,
        taken=taken,
        removed=removed,
        hold_ids=tuple(hold.hold_id for hold in holds),
    )


def _marked_of(transaction: Transaction, run_id: str, incarnation: int) -> tuple[list[_Marked], int]:
    """What is marked and can come back, and how many executions are gone."""
    if run_id:
        marked = _marked.decode(transaction.value(sql.MARKED_OF_RUN, (run_id,)))
        return marked, transaction.value(sql.GONE_OF_RUN, (run_id,))
    if not incarnation:
        return [], 0
    marked = _marked.decode(transaction.value(sql.MARKED_OF_INSTANCE, (incarnation,)))
    return marked, transaction.value(sql.GONE_OF_INSTANCE, (incarnation,))


def _by_instance(marked: Iterable[_Marked]) -> dict[int, list[_Marked]]:
    instances: dict[int, list[_Marked]] = {}
    for each in sorted(marked):
        instances.setdefault(each[0], []).append(each)
    return instances
