"""A store as documented tables in a SQLite file of its own: for SQL, Datasette and spreadsheets."""

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from duro.disk import new_file
from duro.errors import BackupError, UsageError
from duro.model.records import ChildRecord, ExecutionRecord, InstanceFilter, InstanceRecord
from duro.model.removal import LedgerEntry, PruneRun
from duro.retention.names import matches
from duro.stores.base import Store
from duro.version import __version__

if TYPE_CHECKING:
    import sqlite3

EXPORT_SCHEMA: Final = "duro.export/1"

_UNREADABLE: Final = {"type": "unreadable"}
_PAGE: Final = 500
_ROWS_A_BATCH: Final = 500


class ExportResult(msgspec.Struct, frozen=True, kw_only=True):
    """How many rows of each table were written so far."""

    instances: int = 0
    executions: int = 0
    events: int = 0
    lineage: int = 0
    ledger: int = 0
    runs: int = 0


def export(
    store: Store,
    target: Path,
    *,
    name: str | None,
    events: bool,
    progress: Callable[[ExportResult], object] | None,
) -> ExportResult:
    """See ``Client.export``."""
    import sqlite3

    try:
        with (
            new_file(target, also=("-journal",), tidy=True) as part,
            contextlib.closing(sqlite3.connect(part)) as connection,
        ):
            connection.execute("PRAGMA synchronous = OFF")  # synced once, when it is whole
            result = _Export(store, connection, name, progress).run(events=events)
            connection.commit()
    except FileExistsError as error:
        raise UsageError(f"{str(target)!r} is there already", hint="choose another name, or remove it") from error
    except (OSError, sqlite3.Error) as error:
        text = getattr(error, "strerror", None) or error
        raise BackupError(
            f"{str(target)!r} cannot be written: {text}", hint="check the disk and the directory's permissions"
        ) from error
    return result


class _Export:
    def __init__(
        self,
        store: Store,
        connection: "sqlite3.Connection",
        name: str | None,
        progress: Callable[[ExportResult], object] | None,
    ) -> None:
        from sqlite_utils import Database  # nobody else is to pay for loading it

        self._store = store
        self._database = Database(connection)
        self._name = name
        self._progress = progress
        self._written = ExportResult()
        self._waiting: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)

    def run(self, *, events: bool) -> ExportResult:
        self._make_tables()
        self._add("runs", (_run_row(run) for run in self._store.list_prune_runs(0)))
        for page in self._pages():
            self._add("instances", map(_instance_row, page))
            for instance in page:
                for executions in self._executions(instance):
                    self._add("executions", map(_execution_row, executions))
                    for one in executions if events else ():
                        self._add("events", self._event_rows(one))
                child = self._store.get_child(instance.instance_id)
                if child is not None and child.incarnation == instance.incarnation:
                    self._add("lineage", [_lineage_row(child)])
                ledger = self._store.list_ledger(instance.instance_id)
                rows = (_ledger_row(instance, number, entry) for number, entry in enumerate(ledger, 1))
                self._add("ledger", rows)
        for table in self._waiting:
            self._write(table)
        return self._written

    def _pages(self) -> Iterator[tuple[InstanceRecord, ...]]:
        cursor = None
        while True:
            page = self._store.list_instances(InstanceFilter(), _PAGE, cursor)
            yield tuple(each for each in page.instances if self._name is None or matches(each.name, self._name))
            cursor = page.next
            if cursor is None:
                return

    def _executions(self, instance: InstanceRecord) -> Iterator[list[ExecutionRecord]]:
        cursor = None
        while True:
            page = self._store.list_executions(instance.instance_id, _PAGE, cursor)
            yield [each for each in page.executions if each.incarnation == instance.incarnation]
            cursor = page.next
            if cursor is None:
                return

    def _event_rows(self, execution: ExecutionRecord) -> Iterator[dict[str, Any]]:
        history = self._store.read_history(execution.instance_id, execution.execution_id)
        if history is None or history.execution.incarnation != execution.incarnation:
            return  # it was pruned meanwhile
        for number, text in enumerate(history.events, 1):
            event, stored = _read(text)
            yield {
                "incarnation": execution.incarnation,
                "execution_id": execution.execution_id,
                "event_id": number,
                "type": event.get("type", ""),
                "at": _iso(event.get("at_ms")),
                "data": stored,
            }

    def _add(self, table: str, rows: Iterable[dict[str, Any]]) -> None:
        waiting = self._waiting[table]
        for row in rows:
            waiting.append(row)
            if len(waiting) == _ROWS_A_BATCH:
                self._write(table)

    def _write(self, table: str) -> None:
        """What waits for ``table``, in a transaction of its own."""
        rows = self._waiting[table]
        if rows:
            # of a table and never of a view, which the type leaves open; so below
            self._database[table].insert_all(rows, batch_size=_ROWS_A_BATCH)  # type: ignore[union-attr]
            written = getattr(self._written, table) + len(rows)
            self._written = msgspec.structs.replace(self._written, **{table: written})
            rows.clear()
            if self._progress is not None:
                self._progress(self._written)

    def _make_tables(self) -> None:
        for table, (columns, key, foreign) in TABLES.items():
            self._database[table].create(columns, pk=key, foreign_keys=foreign)  # type: ignore[union-attr]
        about = {
            "schema": EXPORT_SCHEMA,
            "store_id": self._store.store_id(),
            "exported_at": _iso(self._store.now_ms()),
            "duro_version": __version__,
            "orchestrations": self._name or "*",
        }
        self._write_about(about)
        self._database.create_view("eternal", _ETERNAL)

    def _write_about(self, about: dict[str, str | None]) -> None:
        rows = [{"key": key, "value": value} for key, value in about.items()]
        self._database["about"].insert_all(rows)  # type: ignore[union-attr]


TABLES: Final[dict[str, tuple[dict[str, type], Any, list[Any]]]] = {
    "about": ({"key": str, "value": str}, "key", []),
    "runs": (
        {
            "run_id": str,
            "kind": str,
            "trigger": str,
            "rule": str,
            "origin": str,
            "by": str,
            "reason": str,
            "host": str,
            "duro_version": str,
            "plan_hash": str,
            "archive": str,
            "started_at": str,
            "instances": int,
            "executions": int,
            "events": int,
            "history_bytes": int,
        },
        "run_id",
        [],
    ),
    "instances": (
        {
            "incarnation": int,
            "instance_id": str,
            "name": str,
            "version": str,
            "status": str,
            "current_execution_id": int,
            "created_at": str,
            "updated_at": str,
            "completed_at": str,
            "blocked": str,
            "blocked_reason": str,
            "custom_status": str,
            "cancel_reason": str,
        },
        "incarnation",
        [],
    ),
    "executions": (
        {
            "incarnation": int,
            "execution_id": int,
            "version": str,
            "status": str,
            "started_at": str,
            "completed_at": str,
            "event_count": int,
            "history_bytes": int,
        },
        ("incarnation", "execution_id"),
        [("incarnation", "instances", "incarnation")],
    ),
    "events": (
        {"incarnation": int, "execution_id": int, "event_id": int, "type": str, "at": str, "data": str},
        ("incarnation", "execution_id", "event_id"),
        [("incarnation", "instances", "incarnation")],
    ),
    "lineage": (
        {
            "child_incarnation": int,
            "parent_instance_id": str,
            "parent_incarnation": int,
            "parent_execution_id": int,
            "detached": int,
            "spawned_at": str,
            "spawner_version": str,
            "spawner_end": str,
            "observed_at": str,
            "adopted_at": str,
            "adopted_by": str,
            "adopted_reason": str,
        },
        "child_incarnation",
        [("child_incarnation", "instances", "incarnation")],
    ),
    "ledger": (
        {
            "incarnation": int,
            "sequence": int,
            "first_execution_id": int,
            "last_execution_id": int,
            "executions": int,
            "events": int,
            "history_bytes": int,
            "rule": str,
            "origin": str,
            "trigger": str,
            "first_pruned_at": str,
            "last_pruned_at": str,
            "run_id": str,
        },
        ("incarnation", "sequence"),
        [("incarnation", "instances", "incarnation"), ("run_id", "runs", "run_id")],
    ),
}
"""Table -> its columns, its primary key, its foreign keys. Times are ISO-8601 in UTC; ``data`` and ``custom_status``
are JSON; NULL stands for "not" and "not yet"."""

_ETERNAL: Final = """
SELECT i.instance_id, i.name, count(*) AS executions, sum(e.event_count) AS events,
       sum(e.history_bytes) AS history_bytes
FROM executions AS e JOIN instances AS i ON i.incarnation = e.incarnation
GROUP BY i.incarnation HAVING count(*) > 1 ORDER BY history_bytes DESC
"""
"""A view: the instances with several executions, the largest first."""


def _read(stored: str) -> tuple[dict[str, Any], str | bytes]:
    """An event, and what is exported of it: itself, or its bytes where they are no text."""
    try:
        event = msgspec.json.decode(stored)
    except msgspec.DecodeError:
        return _UNREADABLE, stored
    except UnicodeEncodeError:
        return _UNREADABLE, stored.encode("utf-8", "surrogateescape")
    return event if isinstance(event, dict) else _UNREADABLE, stored


def _iso(at_ms: int | None) -> str | None:
    if at_ms is None:
        return None
    moment = datetime.fromtimestamp(at_ms // 1000, UTC).replace(microsecond=at_ms % 1000 * 1000)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _instance_row(each: InstanceRecord) -> dict[str, Any]:
    return {
        "incarnation": each.incarnation,
        "instance_id": each.instance_id,
        "name": each.name,
        "version": each.version,
        "status": each.status.value,
        "current_execution_id": each.execution_id,
        "created_at": _iso(each.created_at_ms),
        "updated_at": _iso(each.updated_at_ms),
        "completed_at": _iso(each.completed_at_ms),
        "blocked": None if each.blocked is None else each.blocked.value,
        "blocked_reason": each.blocked_reason,
        "custom_status": each.custom_status,
        "cancel_reason": each.cancel_reason,
    }


def _execution_row(each: ExecutionRecord) -> dict[str, Any]:
    return {
        "incarnation": each.incarnation,
        "execution_id": each.execution_id,
        "version": each.version,
        "status": each.status.value,
        "started_at": _iso(each.started_at_ms),
        "completed_at": _iso(each.completed_at_ms),
        "event_count": each.event_count,
        "history_bytes": each.history_bytes,
    }


def _lineage_row(each: ChildRecord) -> dict[str, Any]:
    return {
        "child_incarnation": each.incarnation,
        "parent_instance_id": each.parent.instance_id,
        "parent_incarnation": each.parent.incarnation,
        "parent_execution_id": each.parent.execution_id,
        "detached": int(each.detached),
        "spawned_at": _iso(each.spawned_at_ms),
        "spawner_version": each.spawner_version,
        "spawner_end": None if each.spawner_end is None else each.spawner_end.value,
        "observed_at": _iso(each.observed_at_ms),
        "adopted_at": _iso(each.adopted_at_ms),
        "adopted_by": each.adopted_by or None,
        "adopted_reason": each.adopted_reason or None,
    }


def _ledger_row(instance: InstanceRecord, number: int, entry: LedgerEntry) -> dict[str, Any]:
    row: dict[str, Any] = msgspec.to_builtins(entry.range)
    first, last = row.pop("first_pruned_at_ms"), row.pop("last_pruned_at_ms")
    return row | {
        "incarnation": instance.incarnation,
        "sequence": number,
        "first_pruned_at": _iso(first),
        "last_pruned_at": _iso(last),
        "run_id": None if entry.run is None else entry.run.run_id,
    }


def _run_row(run: PruneRun) -> dict[str, Any]:
    row: dict[str, Any] = msgspec.to_builtins(run)
    del row["source"], row["started_at_ms"]
    return row | run.source._asdict() | {"started_at": _iso(run.started_at_ms)}
