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
HISTORIES_KEY: Final = ("instance_id", "execution_id", "incarnation", "store_id", "segment")
INSTANCES_KEY: Final = ("instance_id", "incarnation", "store_id", "segment")

GET_VERSION: Final = "PRAGMA user_version"
SET_VERSION: Final = "PRAGMA user_version = 2"
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
STORES: Final = "SELECT DISTINCT store_id FROM segments ORDER BY store_id"

# An execution may stand in several segments: the one that was written last is what was pruned last.
_NEWEST: Final = """NOT EXISTS (SELECT 1 FROM histories n WHERE n.instance_id = h.instance_id
  AND n.execution_id = h.execution_id AND n.incarnation = h.incarnation AND n.store_id = h.store_id
  AND (n.archived_at_ms, n.segment) > (h.archived_at_ms, h.segment))"""
# Archived executions of a store, of one life, whose names match (each NULL: of any), those archived last first; those
# that come after one of them (:archived_at_ms NULL: all).
_EXECUTIONS: Final = """
SELECT * FROM histories h
WHERE {condition} AND (:store_id IS NULL OR store_id = :store_id) AND (:name IS NULL OR matches(name, :name))
  AND (:incarnation IS NULL OR incarnation = :incarnation) AND (:archived_at_ms IS NULL
    OR (archived_at_ms, segment, incarnation, execution_id) < (:archived_at_ms, :segment, :after_incarnation, :after))
  AND {newest}
ORDER BY archived_at_ms DESC, segment DESC, incarnation DESC, execution_id DESC LIMIT :limit
"""
EXECUTIONS: Final = _EXECUTIONS.format(condition="true", newest=_NEWEST)
EXECUTIONS_OF: Final = _EXECUTIONS.format(condition="instance_id = :instance_id", newest=_NEWEST)
ONE_EXECUTION: Final = _EXECUTIONS.format(
    condition="instance_id = :instance_id AND execution_id = :execution_id", newest=_NEWEST
)
# The latest life of each instance of the list ?1, by store; whether any id has several lives (of store ?1, NULL: any).
LATEST_LIVES: Final = """SELECT store_id, instance_id, max(incarnation) FROM histories
WHERE instance_id IN (SELECT value FROM json_each(?1)) GROUP BY store_id, instance_id"""
HAS_SEVERAL_LIVES: Final = """SELECT EXISTS (SELECT 1 FROM histories WHERE ?1 IS NULL OR store_id = ?1
GROUP BY instance_id, store_id HAVING min(incarnation) < max(incarnation))"""
# The first id of an instance from ?1 on (after it: NEXT_ID), and whether it is of store ?2: one step of an index each.
FIRST_ID: Final = "SELECT min(instance_id) FROM histories WHERE instance_id >= ?1"
NEXT_ID: Final = "SELECT min(instance_id) FROM histories WHERE instance_id > ?1"
IS_OF_STORE: Final = "SELECT EXISTS (SELECT 1 FROM histories WHERE instance_id = ?1 AND store_id = ?2)"
_COUNT_HISTORIES: Final = "SELECT count(*) FROM histories h WHERE (?1 IS NULL OR store_id = ?1) AND {newest}"
COUNT_HISTORIES: Final = _COUNT_HISTORIES.format(newest=_NEWEST)
COUNT_SEGMENTS: Final = "SELECT count(*) FROM segments WHERE ?1 IS NULL OR store_id = ?1"
