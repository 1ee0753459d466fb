"""What is said about pruning: holds, policies, the versions that were seen. And what the ledger tells."""

import json
from collections.abc import Iterable, Sequence

import apsw
import msgspec

from duro.errors import ExecutionNotFoundError, HoldExistsError, InstanceNotFoundError, StoreCorruptError
from duro.model.ledger import LedgerTotals
from duro.model.pruning import Hold
from duro.model.removal import (
    Backlog,
    LedgerEntry,
    PrunableInstance,
    PrunedExecution,
    PruneFilter,
    PruneRun,
    PublishedPolicies,
)
from duro.model.status import RemovalState
from duro.stores.sqlite import sql as store_sql
from duro.stores.sqlite import sql_pruning as sql
from duro.stores.sqlite.committer import Transaction, as_json
from duro.stores.sqlite.holds import holds_of
from duro.stores.sqlite.lineages import read_texts
from duro.stores.sqlite.texts import readable, value_of

_texts = msgspec.json.Decoder(list[str])
_versions = msgspec.json.Decoder(list[tuple[str, int]])
_entries = msgspec.json.Decoder(list[LedgerEntry])
_runs = msgspec.json.Decoder(list[PruneRun])
_totals = msgspec.json.Decoder(list[LedgerTotals])
_prunable = msgspec.json.Decoder(list[PrunableInstance])

_ALL = 2**63 - 1
_NEWEST = (2**63 - 1, "")
"""Every run comes after it."""


def _value(connection: apsw.Connection, statement: str, values: Sequence[str | int | None] = ()) -> str:
    row = connection.execute(statement, values).fetchone()
    assert row is not None
    return str(row[0])


# --- policies ------------------------------------------------------------------------------------------------


def published(transaction: Transaction, text: str) -> None:
    """A worker says ``text`` from now on; its row is still as it was before."""
    if text == "{}":
        return
    known = text in published_policies(transaction.connection, transaction.now_ms).sources
    transaction.run(sql.UPSERT_PUBLICATION, (text, transaction.now_ms, not known))
    if not known:
        transaction.run(sql.BUMP_POLICY_REVISION)


def publish(transaction: Transaction, worker_id: str, text: str) -> None:
    if transaction.value(sql.IS_WORKER, (worker_id,)):
        published(transaction, text)
        transaction.run(sql.PUBLISH, (worker_id, text))


def remember_versions(transaction: Transaction, orchestrations: Iterable[tuple[str, str]]) -> None:
    for name, version in orchestrations:
        transaction.run(sql.INSERT_VERSION, (name, version, transaction.now_ms))


def published_policies(connection: apsw.Connection, now_ms: int) -> PublishedPolicies:
    revision, _ = _revisions(connection)
    sources = _texts.decode(_value(connection, sql.PUBLISHED, (now_ms,)))
    if not sources:
        sources = _texts.decode(_value(connection, sql.LAST_PUBLISHED))
    return PublishedPolicies(revision=revision, sources=tuple(sources))


def _revisions(connection: apsw.Connection) -> tuple[int, int]:
    """Of what is said about retention, and of the holds.

    Raises:
        StoreCorruptError: the row that has them is gone.
    """
    row = connection.execute(sql.REVISIONS).fetchone()
    if row is None:
        hint = "keep a copy of it and restore a backup"
        raise StoreCorruptError("the store is damaged: its own row, of counters and revisions, is missing", hint=hint)
    return int(str(row[0])), int(str(row[1]))


def past_publications(connection: apsw.Connection) -> tuple[str, ...]:
    return tuple(_texts.decode(_value(connection, sql.PAST_PUBLICATIONS)))


def versions_seen(connection: apsw.Connection, name: str) -> tuple[tuple[str, int], ...]:
    return tuple(_versions.decode(_value(connection, sql.VERSIONS_SEEN, (name,))))


def set_instance_policy(transaction: Transaction, instance_id: str, policy: str | None) -> None:
    if transaction.row(store_sql.INCARNATION_OF, (instance_id,)) is None:
        raise InstanceNotFoundError(f"there is no instance {instance_id!r}")
    transaction.run(sql.SET_POLICY, (instance_id, policy))
    transaction.run(sql.BUMP_POLICY_REVISION)


# --- holds ---------------------------------------------------------------------------------------------------


def add_hold(transaction: Transaction, hold: Hold) -> None:
    if transaction.value(sql.HOLD_EXISTS, (hold.hold_id,)):
        raise HoldExistsError(f"there is a hold {hold.hold_id!r} already", hint="choose another id")
    target = hold.target
    if target.instance_id is not None:
        found = transaction.row(sql.HOLD_TARGET, (target.instance_id, target.execution_id))
        if found is None:
            raise InstanceNotFoundError(f"there is no instance {target.instance_id!r}, so nothing is held")
        if target.execution_id is not None and found[1] is None:
            raise ExecutionNotFoundError(f"there is no live execution {target}, so nothing is held")
    insert_holds(transaction, [hold])


def insert_holds(transaction: Transaction, holds: Iterable[Hold]) -> None:
    for hold in holds:
        target = hold.target
        transaction.run(
            sql.INSERT_HOLD,
            (
                hold.hold_id,
                target.instance_id,
                target.execution_id,
                target.name,
                target.version,
                hold.reason,
                hold.created_at_ms,
                hold.by,
                hold.until_ms,
            ),
        )
    transaction.run(sql.BUMP_HOLD_REVISION)


def remove_hold(transaction: Transaction, hold_id: str) -> bool:
    if not transaction.run(sql.DELETE_HOLD, (hold_id,)):
        return False
    transaction.run(sql.BUMP_HOLD_REVISION)
    return True


def list_holds(connection: apsw.Connection) -> tuple[Hold, ...]:
    return holds_of(_value(connection, sql.LIST_HOLDS))


def hold_revision(connection: apsw.Connection) -> int:
    return _revisions(connection)[1]


# --- instances -----------------------------------------------------------------------------------------------


def orchestration_names(connection: apsw.Connection) -> tuple[str, ...]:
    return read_texts(connection, sql.NAMES)


def prunable_instances(
    connection: apsw.Connection, where: PruneFilter, limit: int, after: int, now_ms: int
) -> tuple[PrunableInstance, ...]:
    statement = sql.PRUNABLE
    if where.instance_ids is not None:
        statement = sql.PRUNABLE_BY_ID
    elif where.due:
        statement = sql.PRUNABLE_DUE
    elif where.own_policy:
        statement = sql.PRUNABLE_OWN
    names = None if where.names is None else as_json(where.names)
    instance_ids = None if where.instance_ids is None else as_json(where.instance_ids)
    flags = (where.several, where.due, where.own_policy)
    if instance_ids is not None:  # who names one that cannot be read is told so
        values = (after, limit or _ALL, names, instance_ids, *flags, now_ms)
        return tuple(_prunable.decode(_value(connection, statement, values)))
    found: list[PrunableInstance] = []
    wanted = limit or _ALL
    while len(found) < wanted:
        asked = wanted - len(found)
        answer = value_of(connection, statement, (after, asked, names, None, *flags, now_ms))
        try:
            return (*found, *_prunable.decode(answer))
        except UnicodeEncodeError:  # of one of them: the doctor names it, and the others are not kept waiting
            rows = json.loads(answer)
        found += msgspec.convert([row for row in rows if readable(row) == row], list[PrunableInstance])
        if len(rows) < asked:
            break
        after = rows[-1]["incarnation"]
    return tuple(found)


# --- the ledger ----------------------------------------------------------------------------------------------


def list_ledger(connection: apsw.Connection, instance_id: str) -> tuple[LedgerEntry, ...]:
    row = connection.execute(store_sql.INCARNATION_OF, (instance_id,)).fetchone()
    return () if row is None else tuple(_entries.decode(_value(connection, sql.LEDGER_OF, (int(str(row[0])),))))


def list_runs(connection: apsw.Connection, limit: int, before: tuple[int, str] | None) -> tuple[PruneRun, ...]:
    return tuple(_runs.decode(_value(connection, sql.LIST_RUNS, (limit or _ALL, *(before or _NEWEST)))))


def get_run(connection: apsw.Connection, run_id: str) -> PruneRun | None:
    return next(iter(_runs.decode(_value(connection, sql.GET_RUN, (run_id,)))), None)


def ledger_totals(connection: apsw.Connection) -> tuple[LedgerTotals, ...]:
    return tuple(_totals.decode(_value(connection, sql.LEDGER_TOTALS, (None,))))


def find_pruned(connection: apsw.Connection, instance_id: str, execution_id: int) -> PrunedExecution | None:
    from duro.retention.ledger import entries_that_may_have  # only who asks what was pruned pays for it

    row: tuple[int, int, str | None, int | None, int | None, str | None] | None
    row = connection.execute(sql.REMOVAL_OF, (instance_id, execution_id)).fetchone()
    if row is None:
        return None
    incarnation, current, removal, pruned_at_ms, reclaim_at_ms, run_id = row
    if removal == RemovalState.LIVE or not 1 <= execution_id < current:
        return None
    entries = _entries.decode(_value(connection, sql.LEDGER_OF, (incarnation,)))
    return PrunedExecution(
        instance_id=instance_id,
        incarnation=incarnation,
        execution_id=execution_id,
        removal=None if removal is None else RemovalState(removal),
        pruned_at_ms=pruned_at_ms,
        reclaim_at_ms=reclaim_at_ms,
        entries=entries_that_may_have(entries, execution_id, run_id=run_id, pruned_at_ms=pruned_at_ms),
    )


def backlog(connection: apsw.Connection, now_ms: int) -> Backlog:
    row = connection.execute(sql.BACKLOG, (now_ms,)).fetchone()
    assert row is not None
    marked, due, instances, removed, due_removed, unarchived, unarchived_instances = (int(str(each)) for each in row)
    return Backlog(
        marked_executions=marked,
        due_executions=due,
        due_instances=instances,
        removed_instances=removed,
        due_removed=due_removed,
        unarchived_executions=unarchived,
        unarchived_instances=unarchived_instances,
    )
