"""What is read without writing: records, listings, histories, counts. Every function runs in one snapshot."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import apsw
import msgspec

from duro.model.records import (
    ChildRecord,
    ExecutionPage,
    ExecutionRecord,
    HistoryRecord,
    InstanceEnd,
    InstanceFilter,
    InstancePage,
    InstanceRecord,
    StoreInfo,
)
from duro.model.status import InstanceStatus
from duro.model.turns import LastCommit
from duro.model.unregistered import shown_unregistered
from duro.naming import cursor_numbers
from duro.stores.sqlite import sql
from duro.stores.sqlite import sql_families as families_sql
from duro.stores.sqlite.committer import as_json
from duro.stores.sqlite.lineages import read_children
from duro.stores.sqlite.migrations import SCHEMA_VERSION
from duro.stores.sqlite.space import sizes
from duro.stores.sqlite.texts import TOO_BIG, decoded, row_of, value_of

_ROWS_A_STATEMENT: Final = 1_000
"""How many records one statement answers with: a listing of everything is read in steps of this."""

_LAST: Final = 2**63 - 1
_LAST_LETTER: Final = "\U0010ffff"
"""Above every incarnation and execution id: where a listing begins."""

_UNFINISHED: Final = frozenset({InstanceStatus.PENDING, InstanceStatus.RUNNING})

_instances = msgspec.json.Decoder(list[InstanceRecord])
_executions = msgspec.json.Decoder(list[ExecutionRecord])
_texts = msgspec.json.Decoder(list[str])
_ends = msgspec.json.Decoder(list[InstanceEnd])
_last_commits = msgspec.json.Decoder(list[tuple[int, LastCommit]])
_held = msgspec.json.Decoder(list[tuple[int, int, int, int]])
_unserved = msgspec.json.Decoder(list[tuple[int, int, str | None]])
_held_instances = msgspec.json.Decoder(list[tuple[int, int]])

_INSTANCE_CURSOR: Final = re.compile(r"i:([0-9]{1,18})", re.ASCII)
_EXECUTION_CURSOR: Final = re.compile(r"e:([0-9]{1,18}):([0-9]{1,18})", re.ASCII)


def _value(connection: apsw.Connection, statement: str, values: Sequence[str | int | None] = ()) -> Any:
    """The first column of the first row, or None."""
    row = connection.execute(statement, values).fetchone()
    return None if row is None else row[0]


# --- the turn path -------------------------------------------------------------------------------------------


def lookup_commit(connection: apsw.Connection, incarnations: Sequence[int]) -> dict[int, LastCommit]:
    return dict(_last_commits.decode(_value(connection, sql.LOOKUP_COMMIT, (as_json(incarnations),))))


def load_histories(connection: apsw.Connection, executions: Sequence[tuple[int, int]]) -> list[tuple[str, ...]]:
    """An event that is no UTF-8 has lone surrogates: see ``texts``."""
    found: list[tuple[str, ...]] = [()] * len(executions)
    try:
        for index, joined in connection.execute(sql.HISTORIES, (as_json(executions),)):
            if joined is None:
                continue
            count, *lines = str(joined).split("\n")
            events = tuple(lines)
            if len(events) != int(count):  # a line break inside one: only a damaged store has it
                events = _events(connection, (*executions[index], 0))
            found[index] = events
    except (UnicodeDecodeError, *TOO_BIG):
        return [_events(connection, (*execution, 0)) for execution in executions]
    return found


def _events(connection: apsw.Connection, scope: Sequence[int]) -> tuple[str, ...]:
    """One by one: as large as an execution may be."""
    rows: Any = connection.execute(sql.EVENT_ROWS, scope)
    return tuple(data.decode("utf-8", "surrogateescape") for (data,) in rows)


def held_instances(connection: apsw.Connection, worker_id: str) -> frozenset[tuple[int, int]]:
    return frozenset(_held_instances.decode(_value(connection, sql.HELD_INSTANCES, (worker_id,))))


def held_activities(connection: apsw.Connection, worker_id: str) -> frozenset[tuple[int, int, int, int]]:
    return frozenset(_held.decode(_value(connection, sql.HELD_ACTIVITIES, (worker_id,))))


# --- instances -----------------------------------------------------------------------------------------------


def get_instance(connection: apsw.Connection, now_ms: int, instance_id: str) -> InstanceRecord | None:
    found = _instances.decode(_value(connection, sql.GET_INSTANCE, (instance_id,)))
    return _with_unserved(connection, now_ms, found)[0] if found else None


def _with_unserved(connection: apsw.Connection, now_ms: int, records: list[InstanceRecord]) -> list[InstanceRecord]:
    """The records, those that wait for unregistered code shown as blocked."""
    asked = [each.incarnation for each in records if each.completed_at_ms is None and each.blocked is None]
    if not asked:
        return records
    answer = _unserved.decode(_value(connection, sql.UNSERVED_OF, (as_json(asked), now_ms)))
    if not answer:
        return records
    missing = {incarnation: (bool(orchestration), activity) for incarnation, orchestration, activity in answer}
    nothing = (False, None)
    return [
        shown_unregistered(each, orchestration=orchestration, activity=activity)
        for each in records
        for orchestration, activity in (missing.get(each.incarnation, nothing),)
    ]


def list_instances(
    connection: apsw.Connection, now_ms: int, where: InstanceFilter, limit: int, cursor: str | None
) -> InstancePage:
    position = cursor_numbers(_INSTANCE_CURSOR, cursor)
    before = _LAST if position is None else position[0]
    listings = _listings(connection, now_ms, where)
    found: list[InstanceRecord] = []
    wanted = limit + 1 if limit else _LAST
    while len(found) < wanted:
        count = min(wanted - len(found), _ROWS_A_STATEMENT)
        part: list[InstanceRecord] = []
        for statement, conditions in listings:
            part += _instances.decode(_value(connection, statement, (before, count, *conditions)))
        if len(listings) > 1:
            part.sort(key=lambda record: -record.incarnation)
            del part[count:]
        shown = _with_unserved(connection, now_ms, part)
        found += [each for each in shown if where.blocked is None or where.blocked == (each.blocked is not None)]
        if len(part) < count:
            break
        before = part[-1].incarnation
    more = bool(limit) and len(found) > limit
    page = found[:limit] if more else found
    return InstancePage(instances=tuple(page), next=f"i:{page[-1].incarnation}" if more else None)


def _listings(
    connection: apsw.Connection, now_ms: int, where: InstanceFilter
) -> list[tuple[str, tuple[str | int | None, ...]]]:
    """The statements whose indexes together hold what the filter asks for and as little else as possible; each with
    what to bind after the position and the count."""
    conditions = (as_json(where.statuses) if where.statuses else None, where.name)
    if where.blocked:
        kinds = _value(connection, sql.UNSERVED_KINDS, (now_ms,))
        activities = _value(connection, sql.UNSERVED_ACTIVITIES, (now_ms,))
        listings: list[tuple[str, tuple[str | int | None, ...]]] = [(sql.LIST_BLOCKED, (*conditions, 1))]
        if kinds != "[]" or activities != "[]":
            listings.append((sql.LIST_UNSERVED, (*conditions, 0, kinds, activities, now_ms)))
        return listings
    return [(statement, (*conditions, where.blocked)) for statement in _by_status(where)]


def _by_status(where: InstanceFilter) -> list[str]:
    statuses = frozenset(where.statuses)
    if statuses and InstanceStatus.COMPLETED not in statuses:
        listings = [sql.LIST_ENDED_BADLY[status.value] for status in sorted(statuses - _UNFINISHED)]
        return [*listings, sql.LIST_UNFINISHED] if statuses & _UNFINISHED else listings
    return [sql.LIST_ALL if where.name is None else sql.LIST_NAMED]


# --- executions ----------------------------------------------------------------------------------------------


def list_executions(
    connection: apsw.Connection, instance_id: str | None, limit: int, cursor: str | None
) -> ExecutionPage:
    position = cursor_numbers(_EXECUTION_CURSOR, cursor)
    incarnation = _value(connection, sql.INCARNATION_OF, (instance_id,)) if instance_id is not None else _LAST
    if incarnation is None or (position is not None and instance_id is not None and position[0] < incarnation):
        return ExecutionPage(executions=(), next=None)
    statement = sql.LIST_EXECUTIONS if instance_id is None else sql.LIST_EXECUTIONS_OF
    before = (incarnation, _LAST) if position is None or position[0] > incarnation else position
    found: list[ExecutionRecord] = []
    wanted = limit + 1 if limit else _LAST
    while len(found) < wanted:
        count = min(wanted - len(found), _ROWS_A_STATEMENT)
        part = _executions.decode(_value(connection, statement, (*before, count)))
        found += part
        if len(part) < count:
            break
        before = (part[-1].incarnation, part[-1].execution_id)
    more = bool(limit) and len(found) > limit
    page = found[:limit] if more else found
    last = page[-1] if more else None
    return ExecutionPage(
        executions=tuple(page), next=None if last is None else f"e:{last.incarnation}:{last.execution_id}"
    )


def get_execution(connection: apsw.Connection, instance_id: str, execution_id: int | None) -> ExecutionRecord | None:
    """One live execution; the current one for None."""
    found = _execution(connection, instance_id, execution_id)
    return None if found is None else found[0]


def _execution(
    connection: apsw.Connection, instance_id: str, execution_id: int | None
) -> tuple[ExecutionRecord, str | None] | None:
    """With its stored input."""
    row = row_of(connection, sql.GET_EXECUTION, (instance_id, execution_id))
    found = _executions.decode(row[0])
    return (found[0], row[1]) if found else None


def read_history(
    connection: apsw.Connection, instance_id: str, execution_id: int | None, after: int
) -> HistoryRecord | None:
    found = _execution(connection, instance_id, execution_id)
    if found is None:
        return None
    execution, stored_input = found
    scope = (execution.incarnation, execution.execution_id, after)
    try:
        texts = decoded(_texts, value_of(connection, sql.EVENTS_AFTER, scope))
        events = tuple(texts)
    except TOO_BIG:
        events = _events(connection, scope)
    return HistoryRecord(execution=execution, events=events, input=stored_input)


def read_ends(connection: apsw.Connection, instance_ids: Sequence[str]) -> dict[str, InstanceEnd]:
    try:
        ends = decoded(_ends, value_of(connection, sql.READ_ENDS, (as_json(instance_ids),)))
    except TOO_BIG:
        middle = len(instance_ids) // 2
        if not middle:
            raise
        return read_ends(connection, instance_ids[:middle]) | read_ends(connection, instance_ids[middle:])
    return {end.instance_id: end for end in ends}


def list_children(connection: apsw.Connection, incarnation: int, limit: int, after: int) -> tuple[ChildRecord, ...]:
    found: list[ChildRecord] = []
    wanted = limit or _LAST
    while len(found) < wanted:
        count = min(wanted - len(found), _ROWS_A_STATEMENT)
        position: Any = connection.execute(families_sql.CHILD_POSITION, (incarnation, after)).fetchone() or (0, 0)
        part = read_children(connection, families_sql.LIST_CHILDREN, (incarnation, after, *position, count))
        found += part
        if len(part) < count:
            break
        after = part[-1].incarnation
    return tuple(found)


# --- the whole store -----------------------------------------------------------------------------------------


def instance_ids_from(connection: apsw.Connection, prefix: str, limit: int) -> tuple[str, ...]:
    found = connection.execute(sql.INSTANCE_IDS_FROM, (prefix, prefix + _LAST_LETTER, limit))
    return tuple(str(instance_id) for (instance_id,) in found)


def store_id(connection: apsw.Connection) -> str:
    return str(_value(connection, sql.STORE_ID))


def info(connection: apsw.Connection, url: str, path: Path) -> StoreInfo:
    """The sizes of the files come from the directory: opening the file would drop SQLite's locks on it."""
    row: Any = connection.execute(sql.INFO).fetchone()
    return StoreInfo(
        url=url,
        store_id=row[0],
        schema_version=SCHEMA_VERSION,
        engine=f"sqlite {apsw.sqlite_lib_version()}",
        instances=row[1],
        executions=row[2],
        events=row[3],
        logical_bytes=row[4],
        **msgspec.structs.asdict(sizes(connection, path)),
    )


def dump(connection: apsw.Connection) -> dict[str, list[dict[str, Any]]]:
    tables: dict[str, list[dict[str, Any]]] = {}
    for table, statement in sql.DUMP.items():
        cursor = connection.execute(statement)
        names: list[str] = []
        rows = tables[table] = []
        for row in cursor:
            names = names or [column[0] for column in cursor.get_description()]
            rows.append(dict(zip(names, row, strict=True)))
    return tables
