"""The tables of the catalogue and the SQL statements over them."""

from typing import Final

SEGMENTS: Final = {
    "segment": str,
    "store_id": str,
    "made_at_ms": int,
    "duro_version": str,
    "instances": int,
    "histories": int,
    "events": int,
    "history_bytes": int,
    "content_bytes": int,
    "file_bytes": int,
    "sha256": str,
}
HISTORIES: Final = {
    "store_id": str,
    "incarnation": int,
    "execution_id": int,
    "instance_id": str,
    "name": str,
    "version": str,
    "status": str,
    "started_at_ms": int,
    "completed_at_ms": int,
    "events": int,
    "history_bytes": int,
    "pruned_at_ms": int,
    "run_id": str,
    "with_instance": int,
    "segment": str,
    "archived_at_ms": int,
}
INSTANCES: Final = {
    "store_id": str,
    "incarnation": int,
    "instance_id": str,
    "name": str,
    "version": str,
    "status": str,
    "execution_id": int,
    "created_at_ms": int,
    "completed_at_ms": int,
    "removed_at_ms": int,
    "run_id": str,
    "parent_instance_id": str,
    "segment": str,
}
HISTORIES_KEY: Final = ("instance_id", "execution_id", "incarnation", "store_id")
INSTANCES_KEY: Final = ("instance_id", "incarnation", "store_id")

GET_VERSION: Final = "PRAGMA user_version"
SET_VERSION: Final = "PRAGMA user_version = 1"
QUICK_CHECK: Final = "PRAGMA quick_check(1)"

# A row of each table, in the order of its columns; one that is there already stays.
_INSERT: Final = "INSERT OR IGNORE INTO {table} ({columns}) VALUES ({places})"


def _insert(table: str, columns: dict[str, type]) -> str:
    return _INSERT.format(table=table, columns=", ".join(columns), places=", ".join("?" * len(columns)))


INSERT_SEGMENT: Final = _insert("segments", SEGMENTS)
INSERT_HISTORY: Final = _insert("histories", HISTORIES)
INSERT_INSTANCE: Final = _insert("instances", INSTANCES)

# Everything of segment ?1.
FORGET: Final = (
    "DELETE FROM histories WHERE segment = ?1",
    "DELETE FROM instances WHERE segment = ?1",
    "DELETE FROM segments WHERE segment = ?1",
)
KNOWN_SEGMENTS: Final = "SELECT segment FROM segments"

# Archived executions of a store (NULL: of any) whose names match (NULL: any), those archived last first.
_EXECUTIONS: Final = """
SELECT * FROM histories
WHERE {condition} AND (:store_id IS NULL OR store_id = :store_id) AND (:name IS NULL OR matches(name, :name))
ORDER BY archived_at_ms DESC, segment DESC, incarnation DESC, execution_id DESC LIMIT :limit OFFSET :offset
"""
EXECUTIONS: Final = _EXECUTIONS.format(condition="true")
EXECUTIONS_OF: Final = _EXECUTIONS.format(condition="instance_id = :instance_id")
ONE_EXECUTION: Final = _EXECUTIONS.format(condition="instance_id = :instance_id AND execution_id = :execution_id")
COUNT_HISTORIES: Final = "SELECT count(*) FROM histories WHERE ?1 IS NULL OR store_id = ?1"
COUNT_SEGMENTS: Final = "SELECT count(*) FROM segments WHERE ?1 IS NULL OR store_id = ?1"
