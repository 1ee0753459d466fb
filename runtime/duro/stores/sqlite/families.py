"""Lineages, and whole instances: read with all that depends on them, removed, reclaimed, brought back."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache, partial
from itertools import groupby
from typing import NamedTuple, TypeAlias

import apsw
import msgspec

from duro.errors import InstanceNotFoundError, NotAnOrphanError, StalePlanError
from duro.model.archive import noted_archive
from duro.model.families import (
    Family,
    FamilyMember,
    FinishedInstance,
    OrphanRules,
    OrphanSearch,
    RemovalBatch,
    RemovalOutcome,
    RemovedInstance,
)
from duro.model.ledger import UNDO, LedgerRange
from duro.model.limits import RECLAIM_INSTANCE_EVENTS
from duro.model.records import ChildRecord
from duro.retention.families import (
    NOTHING_THERE,
    SETTLED,
    check_asked,
    is_adoptable,
    is_unknown,
    newest_by,
    removal_outcome,
    settled_families,
    verdict_on,
)
from duro.retention.holds import HoldsInForce
from duro.retention.ledger import removed_range
from duro.stores.sqlite import ledger, sql_archiving, sql_pruning
from duro.stores.sqlite import sql_families as sql
from duro.stores.sqlite.committer import Transaction, as_json
from duro.stores.sqlite.holds import holds_of
from duro.stores.sqlite.lineages import MemberRow, read_child, read_children, read_counts, read_finished, read_members
from duro.stores.sqlite.rows import Row

_CHILDREN_A_STATEMENT = 100
"""Children whose families one statement reads."""

_INSTANCES_A_BATCH = 500
"""Removed instances one transaction reclaims, at most."""


class Restored(NamedTuple):
    """One instance that comes back. ``tree`` is the root of what it was removed with. ``may_go_alone``: it is that
    root, or nobody observed it, so that it may be removed as an orphan although the root is held."""

    incarnation: int
    tree: int
    instance_id: str
    executions: int
    events: int
    history_bytes: int
    may_go_alone: bool


class _Going(NamedTuple):
    """A family that goes, by which rule, on whose word."""

    family: Family
    rule: str
    origin: str


_Due: TypeAlias = tuple[int, int, int, int]
"""Incarnation, tree, events, and whether the reclaiming of the tree has begun."""

_pairs = msgspec.json.Decoder(list[tuple[int, int]])
_removed = msgspec.json.Decoder(RemovedInstance)
_spans = msgspec.json.Decoder(list[tuple[int, int, int]])
_due = msgspec.json.Decoder(list[_Due])
_restored = msgspec.json.Decoder(list[Restored])
_texts = msgspec.json.Decoder(list[str])


def _value(connection: apsw.Connection, statement: str, values: Row) -> str:
    row = connection.execute(statement, values).fetchone()
    assert row is not None
    return str(row[0])


# --- lineages ------------------------------------------------------------------------------------------------


def get_child(connection: apsw.Connection, instance_id: str) -> ChildRecord | None:
    return read_child(connection, sql.GET_CHILD, (instance_id,))


def list_unobserved(
    connection: apsw.Connection, where: OrphanSearch, limit: int, after: int
) -> tuple[ChildRecord, ...]:
    statement = sql.UNOBSERVED_OR_UNKNOWN if where.all_kinds else sql.UNOBSERVED
    names = None if where.names is None else as_json(where.names)
    statuses = None if where.child_status is None else as_json(where.child_status)
    values = (after, limit or -1, names, statuses, where.spawner_ended_before_ms)
    return tuple(read_children(connection, statement, values))


def count_orphans(connection: apsw.Connection) -> dict[str, int]:
    return read_counts(connection, sql.COUNT_ORPHANS)


def adopt(transaction: Transaction, instance_id: str, by: str, reason: str) -> ChildRecord:
    child = get_child(transaction.connection, instance_id)
    if child is None:
        if transaction.row(sql_pruning.HOLD_TARGET, (instance_id, None)) is None:
            raise InstanceNotFoundError(f"there is no instance {instance_id!r}")
        raise NotAnOrphanError(f"instance {instance_id!r} has no parent", hint="it stands alone already")
    if is_adoptable(child, spawner_runs=transaction.value(sql.SPAWNER_RUNS, (child.incarnation,)) == 1):
        transaction.run(sql.ADOPT, (child.incarnation, transaction.now_ms, by, reason))
    adopted = get_child(transaction.connection, instance_id)
    assert adopted is not None
    return adopted


def check_may_be_asked_to_end(
    transaction: Transaction, instance_id: str, asked: tuple[int, OrphanRules] | None
) -> None:
    if asked is not None:
        found = families(transaction.connection, [asked[0]])
        family = found[0] if found else None
        check_asked(family, instance_id, asked, _holds_on(transaction, found), transaction.now_ms)


# --- families ------------------------------------------------------------------------------------------------


def families(connection: apsw.Connection, incarnations: Sequence[int]) -> list[Family]:
    """In the order asked for; one that is gone is left out."""
    asked = list(dict.fromkeys(incarnations))
    listed = as_json(asked)
    rows = {row.incarnation: row for row in read_members(connection, sql.FAMILIES, (listed,))}
    below: dict[int, list[MemberRow]] = {}
    for row in rows.values():  # by incarnation
        parent = None if row.parent is None or row.parent >= row.incarnation else rows.get(row.parent)
        if parent is not None and parent.completed_at_ms is not None:
            below.setdefault(parent.incarnation, []).append(row)
    children = {child.incarnation: child for child in read_children(connection, sql.CHILDREN, (listed,))}
    unknown = _unknown_of(connection, [row.incarnation for each in below.values() for row in each])
    return [
        Family(members=_members_of(rows[root], below, unknown), child=children.get(root))
        for root in asked
        if root in rows
    ]


def _unknown_of(connection: apsw.Connection, members: Sequence[int]) -> set[int]:
    """Those ``members`` of families of which nobody can tell who may still observe their end."""
    if not members:
        return set()
    doubtful = read_children(connection, sql.DOUBTFUL, (as_json(members),))
    return {child.incarnation for child in doubtful if is_unknown(child)}


def _members_of(
    root: MemberRow, below: Mapping[int, Sequence[MemberRow]], unknown: set[int]
) -> tuple[FamilyMember, ...]:
    members: list[FamilyMember] = []
    level, depth = [root], 0
    while level:
        members += [
            FamilyMember(
                incarnation=row.incarnation,
                instance_id=row.instance_id,
                name=row.name,
                status=row.status,
                completed_at_ms=row.completed_at_ms,
                depth=depth,
                versions=row.versions,
                executions=row.executions,
                events=row.events,
                history_bytes=row.history_bytes,
                is_unknown=depth > 0 and row.incarnation in unknown,
                is_unreadable=row.is_unreadable,
            )
            for row in level
        ]
        level = sorted(child for row in level for child in below.get(row.incarnation, ()))
        depth += 1
    return tuple(members)


def list_finished(
    connection: apsw.Connection, names: Sequence[str] | None, limit: int, after: int
) -> tuple[FinishedInstance, ...]:
    listed = None if names is None else as_json(names)
    return read_finished(connection, sql.FINISHED, (after, limit or -1, listed))


def newest_finished(connection: apsw.Connection, name: str, count: int) -> int | None:
    row = connection.execute(sql.NEWEST_FINISHED, (name, count)).fetchone()
    return None if row is None else int(row[0])


# --- removal -------------------------------------------------------------------------------------------------


def remove(transaction: Transaction, batch: RemovalBatch) -> list[RemovalOutcome]:
    if batch.policy_revision is not None and transaction.row(sql_pruning.REVISIONS)[0] != batch.policy_revision:
        raise StalePlanError(
            "what is said about removing has changed since the plan was made", hint="make the plan again"
        )
    found = families(transaction.connection, [order.incarnation for order in batch.orders])
    by_root = {family.root.incarnation: family for family in found}
    holds = _holds_on(transaction, found)
    newest = cache(partial(newest_finished, transaction.connection))
    taken: set[int] = set()
    going: list[_Going] = []
    outcomes = []
    for order in batch.orders:
        whole = by_root.get(order.incarnation)
        if whole is None or order.incarnation in taken or not order.is_of(whole.root.instance_id):
            outcomes.append(msgspec.structs.replace(NOTHING_THERE, incarnation=order.incarnation))
            continue
        family = Family(
            members=tuple(each for each in whole.members if each.incarnation not in taken), child=whole.child
        )
        verdict = verdict_on(
            family,
            order.rules,
            holds,
            transaction.now_ms,
            newest=newest_by(order, family.root.name, newest),
            overrides=batch.overrides,
        )
        if not verdict.keep:
            taken |= {each.incarnation for each in family.members}
            going.append(_Going(family, str(order.rules), str(order.origin)))
        outcomes.append(removal_outcome(family, removed=not verdict.keep, reasons=verdict.reasons))
    run = _mark(
        transaction,
        going,
        trigger=batch.trigger,
        run_id=batch.run_id,
        grace_ms=batch.grace_ms,
        archive=batch.archive,
    )
    if batch.run_id and going:
        ledger.add_to_run(
            transaction,
            run,
            run_id=batch.run_id,
            by=batch.by,
            reason=batch.reason,
            source=batch.source,
            kind=batch.trigger,
            archive=noted_archive(batch.archive, batch.archive_directory),
        )
    return outcomes


def _holds_on(transaction: Transaction, found: Sequence[Family]) -> HoldsInForce:
    """Those on members of these families, and those on no certain instance."""
    if not found:
        return HoldsInForce((), transaction.now_ms)
    listed = as_json([member.instance_id for family in found for member in family.members])
    return HoldsInForce(holds_of(transaction.value(sql_pruning.HOLDS_ON, (listed,))), transaction.now_ms)


def _mark(
    transaction: Transaction,
    going: Sequence[_Going],
    *,
    trigger: str,
    run_id: str = "",
    grace_ms: int = 0,
    archive: str | None = None,
) -> ledger.RunTotals:
    """Out of sight, and into the ledger."""
    run = ledger.RunTotals()
    if not going:
        return run
    now_ms = transaction.now_ms
    listed = as_json([member.incarnation for family, _, _ in going for member in family.members])
    spans = {span[0]: span[1:] for span in _spans.decode(transaction.value(sql.LIVE_SPANS, (listed,)))}
    moved: list[Row] = []
    ranges: list[Row] = []
    for family, rule, origin in going:
        for member in family.members:
            first, last = spans[member.incarnation]
            size = (member.executions, member.events, member.history_bytes)
            moved.append((member.incarnation, family.root.incarnation, member.depth, *size))
            ranges.append((member.incarnation, run_id or None, first, last, *size, rule, origin, trigger, now_ms))
            pruned = removed_range(first, last, size, rule=rule, origin=origin, trigger=trigger, removed_at_ms=now_ms)
            run.add(pruned, new=True)
    transaction.rows(sql.INSERT_REMOVALS, ranges)
    transaction.rows(sql.REMOVE_INSTANCES, moved, (now_ms, now_ms + grace_ms, run_id, archive))
    if archive is None:
        transaction.run(sql_archiving.SPREAD_ARCHIVES, (as_json([family.root.incarnation for family, _, _ in going]),))
    transaction.run(sql.DELETE_INSTANCES, (listed,))
    transaction.run(sql.NOTE_PARENT_REMOVED, (listed, now_ms))
    return run


def take_children(
    transaction: Transaction, incarnation: int, execution_id: int, archive: str | None, count_max: int
) -> tuple[list[Family], bool]:
    """Remove settled children of an execution that goes (into ``archive``, as it did), until about ``count_max``
    instances are: their families, and whether there may be more."""
    taken: list[Family] = []
    instances = after = 0
    while True:
        scope = (incarnation, execution_id, after, _CHILDREN_A_STATEMENT)
        children = _pairs.decode(transaction.value(sql.CHILDREN_OF_EXECUTION, scope))
        found = families(transaction.connection, [child for _, child in children])
        holds = _holds_on(transaction, found)
        settled = list(settled_families(found, holds, transaction.now_ms))
        _mark(transaction, [_Going(family, SETTLED, SETTLED) for family in settled], trigger=SETTLED, archive=archive)
        taken += settled
        instances += sum(len(family.members) for family in settled)
        if len(children) < _CHILDREN_A_STATEMENT:
            return taken, False
        after = children[-1][0]
        if instances >= count_max:
            return taken, True


def find_removed(connection: apsw.Connection, instance_id: str) -> RemovedInstance | None:
    row = connection.execute(sql.FIND_REMOVED, (instance_id,)).fetchone()
    return None if row is None else _removed.decode(str(row[0]))


# --- reclaim -------------------------------------------------------------------------------------------------


def any_removed_due(connection: apsw.Connection, now_ms: int) -> bool:
    return connection.execute(sql.ANY_REMOVED_DUE, (now_ms,)).fetchone() == (1,)


def reclaim_removed(transaction: Transaction, events_max: int) -> tuple[int, int, bool]:
    """Delete removed instances past their grace, the leaves first: how many instances and events, and whether there are
    more."""
    due = _due.decode(transaction.value(sql.REMOVED_DUE, (transaction.now_ms, _INSTANCES_A_BATCH)))
    events = 0
    whole: list[int] = []
    touched: set[int] = set()
    for incarnation, tree, size, begun in due:
        room = events_max - events - RECLAIM_INSTANCE_EVENTS * len(whole)
        if room <= 0:
            break
        if begun:  # an earlier transaction may have deleted some of them
            size = transaction.value(sql.EVENTS_LEFT, (incarnation,))
        touched.add(tree)
        if size > room:
            deleted = transaction.run(sql.DELETE_SOME_HISTORY, (incarnation, room))
            events += deleted
            if deleted == room:
                break
        else:
            events += size
        whole.append(incarnation)
    if touched:
        transaction.run(sql.RECLAIMING_TREES, (as_json(sorted(touched)),))
    if whole:
        listed = as_json(whole)
        for statement in (sql.FOLD_LEDGERS, *sql_pruning.DELETE_WHOLE):
            transaction.run(statement, (listed,))
    return len(whole), events, len(whole) < len(due) or len(due) == _INSTANCES_A_BATCH


# --- undo ----------------------------------------------------------------------------------------------------


def restore(transaction: Transaction, run_id: str, instance_id: str) -> list[Restored]:
    """Bring back what a run removed, or what the instance was removed with, tree by tree, as far as nothing of a tree
    is gone and all its ids are free."""
    candidates = _restored.decode(transaction.value(sql.RESTORABLE, (run_id, instance_id)))
    found: list[Restored] = []
    used: set[str] = set()
    for _, tree in groupby(candidates, key=lambda each: each.tree):
        members = list(tree)
        ids = {each.instance_id for each in members}
        if used.isdisjoint(ids):  # one run may have removed several lives of an id: the oldest comes back
            found += members
            used |= ids
    if found:
        listed = as_json([each.incarnation for each in found])
        transaction.run(sql.RESTORE_INSTANCES, (listed,))
        transaction.run(sql.FORGET_REMOVED, (listed,))
        transaction.run(sql.NOTE_PARENT_REMOVED, (listed, None))
        transaction.run(sql.LOOK_FOR_PARENTS, (listed, transaction.now_ms))
    return found


def whose_id_is_taken(connection: apsw.Connection, run_id: str, instance_id: str) -> tuple[str, ...]:
    """After ``restore``: the roots of the trees that are still there and whose reclaiming has not begun."""
    return tuple(_texts.decode(_value(connection, sql.NOT_RESTORABLE, (run_id, instance_id))))


def undone_ranges(transaction: Transaction, restored: Sequence[Restored], origin: str) -> list[tuple[int, LedgerRange]]:
    """What the ledgers of those that came back say about it."""
    listed = as_json([each.incarnation for each in restored])
    spans = {span[0]: span[1:] for span in _spans.decode(transaction.value(sql.LIVE_SPANS, (listed,)))}
    return [
        (
            each.incarnation,
            removed_range(
                *spans[each.incarnation],
                (each.executions, each.events, each.history_bytes),
                rule="",
                origin=origin,
                trigger=UNDO,
                removed_at_ms=transaction.now_ms,
            ),
        )
        for each in restored
    ]


def removed_roots(restored: Iterable[Restored]) -> list[str]:
    """The ids of the roots of the trees that came back."""
    return [each.instance_id for each in restored if each.incarnation == each.tree]


def to_be_held(restored: Iterable[Restored]) -> list[str]:
    """The ids of all that could be removed again of what came back: a hold on a root keeps only what goes with it."""
    return [each.instance_id for each in restored if each.may_go_alone]
