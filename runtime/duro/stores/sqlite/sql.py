"""Every SQL statement of the SQLite store, and of duro: no other module contains SQL.

Statements that answer with many rows answer with one row of JSON instead (see ``rows``), objects named like the
records they become. Lists of numbers or names are bound as one JSON array. ``INDEXED BY`` stands where a plan is
part of a promise: SQLite then refuses the statement rather than scan a table. Where one is put together, it is from
constants of this module only; data is always bound.
"""

# ruff: noqa: S608

import re
from typing import Final

from duro.stores.sqlite.rows import Rows

# --- connections -------------------------------------------------------------------------------------------

# How a transaction that will write begins: a deferred one could fail at its first write.
BEGIN_WRITE: Final = "BEGIN IMMEDIATE"
# How several reads see one state.
BEGIN_READ: Final = "BEGIN"
COMMIT: Final = "COMMIT"
ROLLBACK: Final = "ROLLBACK"
# Around each turn when a batch has to be written turn by turn.
SAVEPOINT: Final = "SAVEPOINT turn"
RELEASE_SAVEPOINT: Final = "RELEASE turn"
ROLLBACK_TO_SAVEPOINT: Final = "ROLLBACK TO turn"

# Pragmas that are set, and read back by the same statement without the value.
SET_AUTO_VACUUM: Final = "PRAGMA auto_vacuum = INCREMENTAL"
GET_AUTO_VACUUM: Final = "PRAGMA auto_vacuum"
SET_JOURNAL_MODE: Final = "PRAGMA journal_mode = WAL"
GET_JOURNAL_MODE: Final = "PRAGMA journal_mode"
SET_SYNCHRONOUS: Final = {
    "NORMAL": "PRAGMA synchronous = NORMAL",
    "FULL": "PRAGMA synchronous = FULL",
    "EXTRA": "PRAGMA synchronous = EXTRA",
}
GET_SYNCHRONOUS: Final = "PRAGMA synchronous"
# Pages of the log after which a commit copies them into the file: 32 MiB, so that a group commit rarely pays for it.
SET_WAL_AUTOCHECKPOINT: Final = "PRAGMA wal_autocheckpoint = 8000"
GET_WAL_AUTOCHECKPOINT: Final = "PRAGMA wal_autocheckpoint"
# What a checkpoint leaves of the log's file, in bytes.
SET_JOURNAL_SIZE_LIMIT: Final = "PRAGMA journal_size_limit = 67108864"
GET_JOURNAL_SIZE_LIMIT: Final = "PRAGMA journal_size_limit"
# Page cache of the writer and of each reader, in KiB: a batch must fit, or it spills into the log twice.
SET_CACHE_OF_WRITER: Final = "PRAGMA cache_size = -65536"
SET_CACHE_OF_READER: Final = "PRAGMA cache_size = -8192"
SET_TEMP_STORE: Final = "PRAGMA temp_store = MEMORY"
SET_QUERY_ONLY: Final = "PRAGMA query_only = ON"
# A new file that another process began is rewritten with auto-vacuum, while it has no tables yet.
VACUUM: Final = "VACUUM"

# What a file is: whose, which schema, and whether there is anything in it.
GET_APPLICATION_ID: Final = "PRAGMA application_id"
GET_USER_VERSION: Final = "PRAGMA user_version"
COUNT_TABLES: Final = "SELECT count(*) FROM sqlite_schema"
# 0x4475726F: "Duro".
SET_APPLICATION_ID: Final = "PRAGMA application_id = 1148547695"
# The record that migration n ran, n being its position from 1.
SET_USER_VERSION: Final = (
    "PRAGMA user_version = 1",
    "PRAGMA user_version = 2",
    "PRAGMA user_version = 3",
    "PRAGMA user_version = 4",
    "PRAGMA user_version = 5",
    "PRAGMA user_version = 6",
    "PRAGMA user_version = 7",
    "PRAGMA user_version = 8",
    "PRAGMA user_version = 9",
    "PRAGMA user_version = 10",
    "PRAGMA user_version = 11",
)

# Changes whenever another connection, of any process, has committed.
DATA_VERSION: Final = "PRAGMA data_version"
# Sizes, for people.
PAGE_SIZE: Final = "PRAGMA page_size"
FREELIST_COUNT: Final = "PRAGMA freelist_count"
# What is free in the file leaves it, a number of pages at a time; a row a page.
INCREMENTAL_VACUUM: Final = "PRAGMA incremental_vacuum({pages})"
# A whole new file needs a copy on the disk: in memory it would be as large as the store.
SET_TEMP_STORE_ON_DISK: Final = "PRAGMA temp_store = FILE"
CUT_LOG: Final = "PRAGMA wal_checkpoint(TRUNCATE)"
# A backup is one file, with no log beside it.
SET_JOURNAL_MODE_OF_BACKUP: Final = "PRAGMA journal_mode = DELETE"
QUICK_CHECK: Final = "PRAGMA quick_check(1)"

# Instances by orchestration, then their live executions.
USAGE_OF_INSTANCES: Final = "SELECT name, count(*), sum(completed_at_ms IS NULL) FROM instances GROUP BY name"
USAGE_OF_EXECUTIONS: Final = """
SELECT i.name, count(*), sum(e.event_count), sum(e.history_bytes),
       sum(e.started_at_ms >= ?1), sum(iif(e.started_at_ms >= ?1, e.history_bytes, 0))
FROM executions AS e JOIN instances AS i ON i.incarnation = e.incarnation
WHERE e.removal = 'live'
GROUP BY i.name
"""
# What was marked, and what belongs to instances that were removed.
USAGE_OF_MARKED: Final = """
SELECT count(*), coalesce(sum(e.event_count), 0), coalesce(sum(e.history_bytes), 0)
FROM executions AS e
WHERE e.removal <> 'live' OR e.incarnation IN (SELECT incarnation FROM removed_instances)
"""

# --- the store's one row ------------------------------------------------------------------------------------

# The first row of a new store.
INSERT_STORE: Final = "INSERT INTO store (one, store_id, created_at_ms) VALUES (1, ?1, ?2)"
STORE_ID: Final = "SELECT store_id FROM store"
# Its counters, as a transaction begins to use them ...
READ_COUNTERS: Final = "SELECT next_incarnation, next_message_id FROM store"
# ... and as it leaves them.
WRITE_COUNTERS: Final = """
UPDATE store SET next_incarnation = ?1, next_message_id = ?2, ignored_messages = ignored_messages + ?3
"""
# Messages nobody was there for, in a transaction that took no number.
ADD_IGNORED: Final = "UPDATE store SET ignored_messages = ignored_messages + ?1"
# Who has the maintenance lease.
READ_MAINTENANCE: Final = "SELECT maintenance_holder, maintenance_until_ms FROM store"
WRITE_MAINTENANCE: Final = "UPDATE store SET maintenance_holder = ?1, maintenance_until_ms = ?2"

# --- workers -------------------------------------------------------------------------------------------------

# A worker registers, or registers again.
REPLACE_WORKER: Final = """
INSERT INTO workers (worker_id, host, process_id, started_at_ms, lease_until_ms, duro_version, published, threads_stuck)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
ON CONFLICT (worker_id) DO UPDATE SET host = excluded.host, process_id = excluded.process_id,
  started_at_ms = excluded.started_at_ms, lease_until_ms = excluded.lease_until_ms,
  duro_version = excluded.duro_version, published = excluded.published, threads_stuck = excluded.threads_stuck
"""
DELETE_CAPABILITIES: Final = "DELETE FROM capabilities WHERE worker_id = ?1"
INSERT_CAPABILITIES: Final = Rows(
    "kind name version",
    "INSERT INTO capabilities (worker_id, kind, name, version) SELECT ?1, * FROM v WHERE kind NOT NULL",
    scalars=1,
)
# Blocked instances that the code of a new worker may match, by (name, version).
WAKE_BLOCKED: Final = Rows(
    "name version",
    """
UPDATE instances INDEXED BY instances_blocked SET ready_at_ms = min(coalesce(ready_at_ms, ?1), ?1)
WHERE blocked IS NOT NULL AND blocked IN ('nondeterminism', 'history_unreadable')
  AND (name, version) IN (SELECT name, version FROM v)
""",
    scalars=1,
)
RENEW_WORKER: Final = "UPDATE workers SET lease_until_ms = ?2, threads_stuck = ?3 WHERE worker_id = ?1"
DELETE_WORKER: Final = "DELETE FROM workers WHERE worker_id = ?1"
# What a worker that is gone held goes back: instances ready now, activities visible now.
FREE_INSTANCES: Final = """
UPDATE instances INDEXED BY instances_leased
SET lease_worker_id = NULL, ready_at_ms = min(coalesce(ready_at_ms, ?2), ?2)
WHERE lease_worker_id = ?1
"""
FREE_ACTIVITIES: Final = """
UPDATE activities INDEXED BY activities_leased SET lease_worker_id = NULL, visible_at_ms = ?2 WHERE lease_worker_id = ?1
"""
# The workers whose lease has run out by ?1: the table has a row a process.
EXPIRED_WORKERS: Final = "SELECT json_group_array(worker_id) FROM workers WHERE lease_until_ms <= ?1"
LIST_WORKERS: Final = """
SELECT json_object('worker_id', worker_id, 'host', host, 'process_id', process_id, 'started_at_ms', started_at_ms,
  'lease_until_ms', lease_until_ms, 'duro_version', duro_version, 'published', published,
  'threads_stuck', threads_stuck,
  'orchestrations', json((SELECT json_group_array(json_array(name, version)) FROM capabilities c
    WHERE c.worker_id = w.worker_id AND c.kind = 'orchestration')),
  'activities', json((SELECT json_group_array(name) FROM capabilities c
    WHERE c.worker_id = w.worker_id AND c.kind = 'activity')))
FROM workers w ORDER BY started_at_ms, worker_id
"""

# --- leases --------------------------------------------------------------------------------------------------

_LEASABLE: Final = "(lease_worker_id IS NULL OR lease_worker_id = ?2) AND blocked IS NOT 'poison'"
_OF_KIND: Final = "name = k.value ->> 0 AND version = k.value ->> 1"
_ROLL_CALL: Final = """
  (SELECT json_group_array(worker_id) FROM workers WHERE lease_until_ms <= ?1),
  EXISTS (SELECT 1 FROM workers WHERE worker_id = ?2)"""

# What worker ?2 can take now (?1). First the workers whose lease has run out, and whether ?2 is registered. Then, for
# each (name, version) of ?3, up to ?4 ready instances, earliest first, and the time of the next one after them; and the
# same for each activity name of ?5, at most ?6, with the bytes of the event that says what to run.
READY_WORK: Final = f"""
SELECT {_ROLL_CALL},
(SELECT json_group_array(json_array(
  json((SELECT json_group_array(json_array(ready_at_ms, incarnation)) FROM (
    SELECT ready_at_ms, incarnation FROM instances INDEXED BY instances_ready
    WHERE {_OF_KIND} AND ready_at_ms <= ?1 AND {_LEASABLE} ORDER BY ready_at_ms, incarnation LIMIT ?4))),
  (SELECT ready_at_ms FROM instances INDEXED BY instances_ready
    WHERE {_OF_KIND} AND ready_at_ms > ?1 AND {_LEASABLE} ORDER BY ready_at_ms LIMIT 1)))
FROM json_each(?3) AS k),
(SELECT json_group_array(json_array(
  json((SELECT json_group_array(json_array(a.visible_at_ms, a.incarnation, a.execution_id, a.event_id, a.attempt,
      a.lease_epoch, a.scheduled_at_ms, a.name, i.instance_id, octet_length(h.data))) FROM (
    SELECT * FROM activities INDEXED BY activities_ready
    WHERE name = k.value AND lease_worker_id IS NULL AND visible_at_ms <= ?1
    ORDER BY visible_at_ms, incarnation, execution_id, event_id LIMIT ?6) AS a
    CROSS JOIN instances i ON i.incarnation = a.incarnation
    LEFT JOIN history h ON h.incarnation = a.incarnation AND h.execution_id = a.execution_id
      AND h.event_id = a.event_id)),
  (SELECT visible_at_ms FROM activities INDEXED BY activities_ready
    WHERE name = k.value AND lease_worker_id IS NULL AND visible_at_ms > ?1 ORDER BY visible_at_ms LIMIT 1)))
FROM json_each(?5) AS k)
"""
# The question a waiting worker asks all the time, on a read connection. As above, but only the time of the earliest
# instance of all kinds of ?3, and of the earliest activity of all names of ?4.
EARLIEST_WORK: Final = f"""
SELECT {_ROLL_CALL},
(SELECT min((SELECT ready_at_ms FROM instances INDEXED BY instances_ready
    WHERE {_OF_KIND} AND ready_at_ms IS NOT NULL AND {_LEASABLE} ORDER BY ready_at_ms LIMIT 1))
  FROM json_each(?3) AS k),
(SELECT min((SELECT visible_at_ms FROM activities INDEXED BY activities_ready
    WHERE name = k.value AND lease_worker_id IS NULL ORDER BY visible_at_ms LIMIT 1))
  FROM json_each(?4) AS k)
"""
# Takes the instances ?1 for worker ?2. What it holds already keeps its epoch and its attempts.
LEASE_INSTANCES: Final = """
UPDATE instances SET lease_epoch = lease_epoch + (lease_worker_id IS NULL),
  attempt_count = attempt_count + (lease_worker_id IS NULL), lease_worker_id = ?2, ready_at_ms = NULL
WHERE incarnation IN (SELECT value FROM json_each(?1))
"""
_PARENT: Final = """
json_object('instance_id', l.parent_instance_id, 'incarnation', l.parent_incarnation,
    'execution_id', l.parent_execution_id, 'event_id', l.parent_event_id)"""
# How large the inputs and messages of the instances ?1 are, and what they wait for. That a value is long costs nothing
# here: ``octet_length`` does not read it.
LEASE_SIZES: Final = """
SELECT json_group_array(json_array(i.incarnation, coalesce(octet_length(e.input), 0)
  + coalesce((SELECT sum(octet_length(data)) FROM messages m WHERE m.incarnation = i.incarnation), 0), json(i.waits)))
FROM json_each(?1) AS k
CROSS JOIN instances i ON i.incarnation = k.value
CROSS JOIN executions e ON e.incarnation = i.incarnation AND e.execution_id = i.execution_id
"""
MESSAGE_SIZES: Final = """
SELECT json_group_array(octet_length(data)) FROM (
  SELECT data FROM messages WHERE incarnation = ?1 ORDER BY message_id)
"""
# For each (incarnation, name) of ?1 how large the first ?2 mailbox events are, in order of arrival.
MAILBOX_SIZES: Final = """
SELECT json_group_array(json_array(k.value ->> 0, k.value ->> 1, e.value ->> 0, e.value ->> 1))
FROM json_each(?1) AS k CROSS JOIN json_each((
  SELECT json_group_array(json_array(sequence, octet_length(data))) FROM (
    SELECT sequence, data FROM mailbox WHERE incarnation = k.value ->> 0 AND name = k.value ->> 1
    ORDER BY sequence LIMIT ?2))) AS e
"""
# The instances ?1, in that order, as they are once they are leased, with everything that is there for them at ?2 (up to
# ?3 messages, all with -1, and due timers if ?4), but for their mailboxes.
LEASED_INSTANCES: Final = f"""
SELECT json_group_array(json_object('instance_id', i.instance_id, 'incarnation', i.incarnation,
  'execution_id', i.execution_id, 'name', i.name, 'version', i.version, 'turn_sequence', i.turn_sequence,
  'lease_epoch', i.lease_epoch + (i.lease_worker_id IS NULL),
  'attempt_count', i.attempt_count + (i.lease_worker_id IS NULL), 'input', e.input,
  'parent', CASE WHEN l.detached = 0 THEN {_PARENT} END,
  'cancel_reason', i.cancel_reason, 'event_count', e.event_count, 'history_bytes', e.history_bytes,
  'messages', json((SELECT json_group_array(json_object('message_id', message_id, 'data', data)) FROM (
    SELECT message_id, data FROM messages m WHERE m.incarnation = i.incarnation ORDER BY message_id LIMIT ?3))),
  'timers', json((SELECT json_group_array(json_object('event_id', event_id, 'fire_at_ms', fire_at_ms)) FROM (
    SELECT event_id, fire_at_ms FROM timers t INDEXED BY timers_due
    WHERE ?4 AND t.incarnation = i.incarnation AND t.fire_at_ms <= ?2 ORDER BY fire_at_ms, execution_id, event_id)))))
FROM json_each(?1) AS k
CROSS JOIN instances i ON i.incarnation = k.value
CROSS JOIN executions e ON e.incarnation = i.incarnation AND e.execution_id = i.execution_id
LEFT JOIN lineage l ON l.child_incarnation = i.incarnation
"""
# For each (incarnation, name) of ?1 the first ?2 mailbox events, in order of arrival.
MAILBOX_HEADS: Final = """
SELECT json_group_array(json_array(k.value ->> 0, json((
  SELECT json_group_array(json_object('sequence', sequence, 'name', name, 'data', data)) FROM (
    SELECT sequence, name, data FROM mailbox WHERE incarnation = k.value ->> 0 AND name = k.value ->> 1
    ORDER BY sequence LIMIT ?2)))))
FROM json_each(?1) AS k
"""
# The events of these keys (?1): what to run.
SCHEDULED_EVENTS: Final = """
SELECT json_group_array(json_array(h.incarnation, h.execution_id, h.event_id, h.data))
FROM json_each(?1) AS k CROSS JOIN history h ON h.incarnation = k.value ->> 0 AND h.execution_id = k.value ->> 1
  AND h.event_id = k.value ->> 2
"""
# Takes activities by key for worker ?1.
LEASE_ACTIVITIES: Final = Rows(
    "incarnation execution_id event_id",
    """
UPDATE activities SET lease_worker_id = ?1, lease_epoch = lease_epoch + 1
WHERE (incarnation, execution_id, event_id) IN (SELECT incarnation, execution_id, event_id FROM v)
""",
    scalars=1,
)
# What a worker holds, to compare with what it knows and runs.
HELD_INSTANCES: Final = """
SELECT json_group_array(json_array(incarnation, lease_epoch))
FROM instances INDEXED BY instances_leased WHERE lease_worker_id = ?1
"""
HELD_ACTIVITIES: Final = """
SELECT json_group_array(json_array(incarnation, execution_id, event_id, lease_epoch))
FROM activities INDEXED BY activities_leased WHERE lease_worker_id = ?1
"""

# --- commits: what is there ----------------------------------------------------------------------------------

# The fence: what the instances ?1 are now, seen by worker ?2.
FENCE: Final = """
SELECT json_group_array(json_array(
  i.incarnation, i.lease_epoch, i.turn_sequence, i.execution_id, e.event_count, i.name,
  i.pruned_through, i.prune_policy))
FROM json_each(?1) AS k
CROSS JOIN instances i ON i.incarnation = k.value AND i.lease_worker_id = ?2
CROSS JOIN executions e ON e.incarnation = i.incarnation AND e.execution_id = i.execution_id
"""
# What ended executions leave behind, and who waits for their instances. 1 or 0: messages, mailbox events, timers,
# activities, children (of any execution). Then the parent (unless detached): incarnation, execution, and whether that
# one still runs.
END_FACTS: Final = """
SELECT json_group_array(json_array(i.incarnation,
  EXISTS (SELECT 1 FROM messages m WHERE m.incarnation = i.incarnation),
  EXISTS (SELECT 1 FROM mailbox m WHERE m.incarnation = i.incarnation),
  EXISTS (SELECT 1 FROM timers t WHERE t.incarnation = i.incarnation),
  EXISTS (SELECT 1 FROM activities a WHERE a.incarnation = i.incarnation),
  EXISTS (SELECT 1 FROM lineage c WHERE c.parent_incarnation = i.incarnation),
  l.parent_incarnation, l.parent_execution_id, l.parent_event_id,
  coalesce(p.completed_at_ms IS NULL AND p.execution_id = l.parent_execution_id, 0)))
FROM json_each(?1) AS k
CROSS JOIN instances i ON i.incarnation = k.value
LEFT JOIN lineage l ON l.child_incarnation = i.incarnation AND l.detached = 0
LEFT JOIN instances p ON p.incarnation = l.parent_incarnation
"""
# Which of the instance ids ?1 are taken, and by whom.
TAKEN_IDS: Final = """
SELECT json_group_array(json_array(instance_id, incarnation, name, start_request_id)) FROM instances
WHERE instance_id IN (SELECT value FROM json_each(?1))
"""
# The children a turn wants cancelled, by the event that spawned them; position is the caller's.
CANCEL_TARGETS: Final = Rows(
    "position incarnation execution_id event_id",
    """
SELECT json_group_array(json_array(v.position, l.child_incarnation))
FROM v CROSS JOIN lineage l INDEXED BY lineage_by_parent ON l.parent_incarnation = v.incarnation
  AND l.parent_execution_id = v.execution_id AND l.parent_event_id = v.event_id
""",
)
# The fence of activities: which of these keys worker ?1 holds, and under which epoch; position is the caller's.
ACTIVITY_FENCE: Final = Rows(
    "position incarnation execution_id event_id",
    """
SELECT json_group_array(json_array(v.position, a.lease_epoch))
FROM v CROSS JOIN activities a ON a.incarnation = v.incarnation AND a.execution_id = v.execution_id
  AND a.event_id = v.event_id AND a.lease_worker_id = ?1
""",
    scalars=1,
)

# --- commits: writes -----------------------------------------------------------------------------------------

INSERT_HISTORY: Final = Rows(
    "incarnation execution_id event_id data",
    "INSERT INTO history (incarnation, execution_id, event_id, data) SELECT * FROM v WHERE incarnation NOT NULL",
)
INSERT_MESSAGES: Final = Rows(
    "incarnation message_id data",
    "INSERT INTO messages (incarnation, message_id, data) SELECT * FROM v WHERE incarnation NOT NULL",
)
INSERT_ACTIVITIES: Final = Rows(
    "incarnation execution_id event_id name scheduled_at_ms lease_worker_id lease_epoch",
    """
INSERT INTO activities
  (incarnation, execution_id, event_id, name, scheduled_at_ms, visible_at_ms, lease_worker_id, lease_epoch)
SELECT incarnation, execution_id, event_id, name, scheduled_at_ms, ?1, lease_worker_id, lease_epoch
FROM v WHERE incarnation NOT NULL
""",
    scalars=1,
    one="""
INSERT INTO activities
  (incarnation, execution_id, event_id, name, scheduled_at_ms, visible_at_ms, lease_worker_id, lease_epoch)
VALUES (?2, ?3, ?4, ?5, ?6, ?1, ?7, ?8)
""",
)
INSERT_TIMERS: Final = Rows(
    "incarnation execution_id event_id fire_at_ms",
    "INSERT INTO timers (incarnation, execution_id, event_id, fire_at_ms) SELECT * FROM v WHERE incarnation NOT NULL",
)
# A new instance, pending and ready at ?1. Its first execution is INSERT_EXECUTIONS.
INSERT_INSTANCES: Final = Rows(
    "incarnation instance_id name version at_ms request_id",
    """
INSERT INTO instances (incarnation, instance_id, name, version, status, execution_id, created_at_ms, updated_at_ms,
  start_request_id, ready_at_ms)
SELECT incarnation, instance_id, name, version, 'pending', 1, at_ms, at_ms, request_id, ?1
FROM v WHERE incarnation NOT NULL
""",
    scalars=1,
)
INSERT_EXECUTIONS: Final = Rows(
    "incarnation execution_id version at_ms input",
    """
INSERT INTO executions (incarnation, execution_id, version, status, started_at_ms, input)
SELECT incarnation, execution_id, version, 'pending', at_ms, input FROM v WHERE incarnation NOT NULL
""",
)
INSERT_LINEAGE: Final = Rows(
    "child parent_id parent execution event detached on_continue on_end at_ms version ended_at_ms end_status",
    """
INSERT INTO lineage (child_incarnation, parent_instance_id, parent_incarnation, parent_execution_id, parent_event_id,
  detached, on_parent_continue, on_parent_end, spawned_at_ms, spawner_version, spawner_ended_at_ms, spawner_end)
SELECT * FROM v WHERE child NOT NULL
""",
)
DELETE_MESSAGES: Final = Rows(
    "incarnation message_id",
    "DELETE FROM messages WHERE (incarnation, message_id) IN (SELECT incarnation, message_id FROM v)",
)
DELETE_TIMERS: Final = Rows(
    "incarnation execution_id event_id",
    """
DELETE FROM timers WHERE (incarnation, execution_id, event_id) IN (SELECT incarnation, execution_id, event_id FROM v)
""",
)
DELETE_ACTIVITIES: Final = Rows(
    "incarnation execution_id event_id",
    """
DELETE FROM activities
WHERE (incarnation, execution_id, event_id) IN (SELECT incarnation, execution_id, event_id FROM v)
""",
    one="DELETE FROM activities WHERE incarnation = ?1 AND execution_id = ?2 AND event_id = ?3",
)
# Consumed mailbox events. A turn names them by sequence; their names are among the waits stored before it ...
DELETE_MAILBOX: Final = Rows(
    "incarnation sequence",
    """
DELETE FROM mailbox WHERE (incarnation, name, sequence) IN (
  SELECT v.incarnation, w.value, v.sequence
  FROM v CROSS JOIN instances i ON i.incarnation = v.incarnation CROSS JOIN json_each(i.waits) w)
""",
)
# ... and when one was not, the instance's whole mailbox is looked through.
DELETE_MAILBOX_ANY_NAME: Final = Rows(
    "incarnation sequence",
    """
DELETE FROM mailbox WHERE (incarnation, name, sequence) IN (
  SELECT m.incarnation, m.name, m.sequence FROM v CROSS JOIN mailbox m
  WHERE m.incarnation = v.incarnation AND m.sequence = v.sequence)
""",
)
# What ended instances (?1) leave behind.
DELETE_MESSAGES_OF: Final = "DELETE FROM messages WHERE incarnation IN (SELECT value FROM json_each(?1))"
DELETE_MAILBOX_OF: Final = "DELETE FROM mailbox WHERE incarnation IN (SELECT value FROM json_each(?1))"
# What ended executions leave behind: only the current one of an instance (?1) has any.
DELETE_TIMERS_OF: Final = "DELETE FROM timers WHERE incarnation IN (SELECT value FROM json_each(?1))"
DELETE_ACTIVITIES_OF: Final = "DELETE FROM activities WHERE incarnation IN (SELECT value FROM json_each(?1))"
# A turn's mark on its execution. ?1 is nothing: completed_at_ms is NULL while it goes on.
UPDATE_EXECUTIONS: Final = Rows(
    "incarnation execution_id version status completed_at_ms events bytes",
    """
UPDATE executions SET version = v.version, status = v.status, completed_at_ms = v.completed_at_ms,
  event_count = event_count + v.events, history_bytes = history_bytes + v.bytes, input = NULL
FROM v WHERE executions.incarnation = v.incarnation AND executions.execution_id = v.execution_id
""",
    one="""
UPDATE executions SET version = ?3, status = ?4, completed_at_ms = ?5,
  event_count = event_count + ?6, history_bytes = history_bytes + ?7, input = NULL
WHERE incarnation = ?1 AND execution_id = ?2
""",
)

# When an instance is ready again, from what is there for it: see "Ready" in the port. {x} says what decides.
_READY: Final = """CASE
  WHEN {unstarted} OR (cancel_requested_at_ms IS NOT NULL AND NOT {delivered})
    OR EXISTS (SELECT 1 FROM messages m WHERE m.incarnation = {incarnation})
    OR ({waits} <> '[]' AND EXISTS (SELECT 1 FROM json_each({waits}) AS w
      CROSS JOIN mailbox m ON m.incarnation = {incarnation} AND m.name = w.value)) THEN {now}
  ELSE (SELECT max(fire_at_ms, {now}) FROM timers t INDEXED BY timers_due
    WHERE t.incarnation = {incarnation} ORDER BY fire_at_ms LIMIT 1) END"""
_TURN_COLUMNS: Final = "incarnation execution_id at_ms version waits custom_status delivered unstarted turns"
_TURN_SET: Final = f"""
  status = 'running', execution_id = v.execution_id, updated_at_ms = v.at_ms, version = v.version, waits = v.waits,
  custom_status = CASE WHEN v.custom_status IS NULL THEN instances.custom_status ELSE nullif(v.custom_status, '') END,
  turn_sequence = turn_sequence + v.turns, attempt_count = 0, last_commit_token = ?1,
  blocked = NULL, blocked_reason = NULL, cancel_delivered = cancel_delivered OR v.delivered,
  ready_at_ms = {
    _READY.format(
        unstarted="v.unstarted",
        delivered="(cancel_delivered OR v.delivered)",
        incarnation="v.incarnation",
        waits="v.waits",
        now="?2",
    )
}"""


def _with_bound(text: str, columns: str, scalars: int) -> str:
    """``text`` about one row: what it takes from a column of ``v``, it takes from the value bound in its place."""
    places = {name: f"?{place}" for place, name in enumerate(columns.split(), start=scalars + 1)}
    return re.sub(r"\bv\.(\w+)", lambda column: places[column[1]], text)


def _update_instances(columns: str, assignments: str, scalars: int) -> Rows:
    update = f"UPDATE instances SET {assignments}"
    return Rows(
        columns,
        f"{update} FROM v WHERE instances.incarnation = v.incarnation",
        scalars=scalars,
        one=_with_bound(f"{update} WHERE instances.incarnation = v.incarnation", columns, scalars),
    )


# A turn's mark on its instance, which goes on and stays leased ...
UPDATE_KEPT: Final = _update_instances(_TURN_COLUMNS, _TURN_SET, 2)
# ... or is given back ...
UPDATE_RELEASED: Final = _update_instances(_TURN_COLUMNS, f"lease_worker_id = NULL, {_TURN_SET}", 2)
# ... or ended.
UPDATE_FINISHED: Final = _update_instances(
    "incarnation at_ms version status custom_status delivered",
    """
  status = v.status, completed_at_ms = v.at_ms, updated_at_ms = v.at_ms, version = v.version,
  custom_status = CASE WHEN v.custom_status IS NULL THEN instances.custom_status ELSE nullif(v.custom_status, '') END,
  turn_sequence = turn_sequence + 1, attempt_count = 0, last_commit_token = ?1, blocked = NULL, blocked_reason = NULL,
  cancel_delivered = cancel_delivered OR v.delivered, lease_worker_id = NULL, ready_at_ms = NULL, waits = '[]'
""",
    1,
)
# The rare turn that says another name than its instance has (the name stands in an index of its own).
UPDATE_NAMES: Final = Rows(
    "incarnation name", "UPDATE instances SET name = v.name FROM v WHERE instances.incarnation = v.incarnation"
)
# Something arrived for the instances ?1. A blocked one keeps it until its next turn or its resumption.
WAKE: Final = """
UPDATE instances SET ready_at_ms = ?2
WHERE incarnation IN (SELECT value FROM json_each(?1)) AND completed_at_ms IS NULL AND blocked IS NULL
  AND (ready_at_ms IS NULL OR ready_at_ms > ?2)
"""
# The first cancel request of a child counts.
CANCEL_CHILDREN: Final = Rows(
    "incarnation reason",
    """
UPDATE instances SET cancel_requested_at_ms = ?1, cancel_reason = v.reason,
  ready_at_ms = CASE WHEN blocked IS NULL THEN min(coalesce(ready_at_ms, ?1), ?1) ELSE ready_at_ms END
FROM v WHERE instances.incarnation = v.incarnation AND completed_at_ms IS NULL AND cancel_requested_at_ms IS NULL
""",
    scalars=1,
)
# A parent's turn recorded the end of a child.
OBSERVE_CHILDREN: Final = Rows(
    "incarnation execution_id event_id at_ms",
    """
UPDATE lineage SET observed_at_ms = v.at_ms FROM v WHERE parent_incarnation = v.incarnation
  AND parent_execution_id = v.execution_id AND parent_event_id = v.event_id
""",
)
# A parent's turn recorded that it waits for a child no longer.
GIVE_UP_CHILDREN: Final = Rows(
    "incarnation execution_id event_id at_ms",
    """
UPDATE lineage SET given_up_at_ms = v.at_ms FROM v WHERE parent_incarnation = v.incarnation
  AND parent_execution_id = v.execution_id AND parent_event_id = v.event_id
""",
)
# The execution that spawned these children has ended.
END_SPAWNERS: Final = Rows(
    "incarnation execution_id at_ms status",
    """
UPDATE lineage SET spawner_ended_at_ms = v.at_ms, spawner_end = v.status
FROM v WHERE parent_incarnation = v.incarnation AND parent_execution_id = v.execution_id
""",
)
# Where the end of a child went.
COMPLETE_CHILDREN: Final = Rows(
    "child completion", "UPDATE lineage SET completion = v.completion FROM v WHERE child_incarnation = v.child"
)
# A lease given back without a turn: ready from what is there, but not before retry_at_ms.
RELEASE_INSTANCES: Final = Rows(
    "incarnation attempts retry_at_ms",
    f"""
UPDATE instances SET lease_worker_id = NULL, attempt_count = max(attempt_count - v.attempts, 0),
  ready_at_ms = max({
        _READY.format(
            unstarted="(SELECT e.status = 'pending' FROM executions e WHERE e.incarnation = v.incarnation"
            " AND e.execution_id = instances.execution_id)",
            delivered="cancel_delivered",
            incarnation="v.incarnation",
            waits="instances.waits",
            now="?1",
        )
    }, v.retry_at_ms)
FROM v WHERE instances.incarnation = v.incarnation
""",
    scalars=1,
)
# A lease given back because the instance can make no progress.
BLOCK_INSTANCES: Final = Rows(
    "incarnation attempts retry_at_ms blocked reason",
    """
UPDATE instances SET lease_worker_id = NULL, attempt_count = max(attempt_count - v.attempts, 0),
  ready_at_ms = v.retry_at_ms, blocked = v.blocked, blocked_reason = v.reason
FROM v WHERE instances.incarnation = v.incarnation
""",
)
# An attempt given back to the queue.
RETRY_ACTIVITIES: Final = Rows(
    "incarnation execution_id event_id visible_at_ms failed",
    """
UPDATE activities SET lease_worker_id = NULL, visible_at_ms = v.visible_at_ms, attempt = attempt + v.failed
FROM v WHERE activities.incarnation = v.incarnation AND activities.execution_id = v.execution_id
  AND activities.event_id = v.event_id
""",
)
# After an unknown outcome: what the instances ?1 were last committed with.
LOOKUP_COMMIT: Final = """
SELECT json_group_array(json_array(incarnation, json_array(last_commit_token, turn_sequence))) FROM instances
WHERE incarnation IN (SELECT value FROM json_each(?1))
"""
# The events of one execution after event ?3, one by one and as bytes.
EVENT_ROWS: Final = """
SELECT CAST(data AS BLOB) FROM history WHERE incarnation = ?1 AND execution_id = ?2 AND event_id > ?3 ORDER BY event_id
"""

# All events of each (incarnation, execution) of ?1: which of them; and a line with their number, and they as lines.
HISTORIES: Final = """
SELECT k.key, (SELECT count(*) || char(10) || group_concat(data, char(10)) FROM (SELECT data FROM history h
    WHERE h.incarnation = k.value ->> 0 AND h.execution_id = k.value ->> 1 ORDER BY event_id))
FROM json_each(?1) AS k
"""
# Those after event ?3.
EVENTS_AFTER: Final = """
SELECT json_group_array(data) FROM (
  SELECT data FROM history WHERE incarnation = ?1 AND execution_id = ?2 AND event_id > ?3 ORDER BY event_id)
"""

# --- clients: writes -----------------------------------------------------------------------------------------

# An instance, for a write: incarnation, status, finished, waits, blocked, whether request ?2 was applied to it.
TARGET: Final = """
SELECT incarnation, status, completed_at_ms IS NOT NULL, waits, blocked IS NOT NULL,
  EXISTS (SELECT 1 FROM requests r WHERE r.request_id = ?2 AND r.incarnation = instances.incarnation)
FROM instances WHERE instance_id = ?1
"""
COUNT_MAILBOX: Final = "SELECT count(*) FROM mailbox WHERE incarnation = ?1"
INSERT_MAILBOX: Final = "INSERT INTO mailbox (incarnation, name, sequence, data) VALUES (?1, ?2, ?3, ?4)"
INSERT_REQUEST: Final = "INSERT INTO requests (request_id, incarnation, applied_at_ms) VALUES (?1, ?2, ?3)"
# Requests older than ?1 are not repeated any more; a few go whenever one comes.
DELETE_OLD_REQUESTS: Final = """
DELETE FROM requests WHERE (request_id, incarnation) IN (
  SELECT request_id, incarnation FROM requests INDEXED BY requests_by_age
  WHERE applied_at_ms < ?1 ORDER BY applied_at_ms LIMIT 100)
"""
RESUME: Final = """
UPDATE instances SET blocked = NULL, blocked_reason = NULL, attempt_count = 0,
  ready_at_ms = min(coalesce(ready_at_ms, ?2), ?2)
WHERE incarnation = ?1
"""

# --- clients: reads ------------------------------------------------------------------------------------------

_DETACHED: Final = "json(CASE WHEN l.detached THEN 'true' ELSE 'false' END)"
_INSTANCE: Final = f"""
SELECT json_group_array(json_object('instance_id', i.instance_id, 'incarnation', i.incarnation, 'name', i.name,
  'version', i.version, 'status', i.status, 'execution_id', i.execution_id, 'created_at_ms', i.created_at_ms,
  'updated_at_ms', i.updated_at_ms, 'completed_at_ms', i.completed_at_ms, 'event_count', e.event_count,
  'history_bytes', e.history_bytes, 'turn_sequence', i.turn_sequence, 'custom_status', i.custom_status,
  'parent', CASE WHEN l.child_incarnation IS NOT NULL THEN {_PARENT} END, 'detached', {_DETACHED},
  'cancel_reason', i.cancel_reason, 'blocked', i.blocked, 'blocked_reason', i.blocked_reason,
  'attempt_count', i.attempt_count, 'lease_worker_id', i.lease_worker_id, 'ready_at_ms', i.ready_at_ms))
"""
_INSTANCE_JOINS: Final = """
CROSS JOIN executions e ON e.incarnation = i.incarnation AND e.execution_id = i.execution_id
LEFT JOIN lineage l ON l.child_incarnation = i.incarnation
"""
GET_INSTANCE: Final = f"{_INSTANCE} FROM instances i {_INSTANCE_JOINS} WHERE i.instance_id = ?1"

# A page of a listing, newest first: incarnations below ?1, at most ?2, with (each where not NULL) one of the
# statuses ?3, the name ?4, blocked or not ?5.
_PAGE_TAIL: Final = """
  AND (?3 IS NULL OR status IN (SELECT value FROM json_each(?3))) AND (?4 IS NULL OR name = ?4)
  AND (?5 IS NULL OR (blocked IS NOT NULL) = ?5)
ORDER BY incarnation DESC LIMIT ?2"""
LIST_ALL: Final = f"""
{_INSTANCE} FROM (SELECT * FROM instances NOT INDEXED WHERE incarnation < ?1 {_PAGE_TAIL}) AS i {_INSTANCE_JOINS}
"""
LIST_NAMED: Final = f"""
{_INSTANCE} FROM (SELECT * FROM instances INDEXED BY instances_by_name
  WHERE name = ?4 AND incarnation < ?1 {_PAGE_TAIL}) AS i {_INSTANCE_JOINS}
"""
LIST_UNFINISHED: Final = f"""
{_INSTANCE} FROM (SELECT * FROM instances INDEXED BY instances_unfinished
  WHERE completed_at_ms IS NULL AND incarnation < ?1 {_PAGE_TAIL}) AS i {_INSTANCE_JOINS}
"""
LIST_BLOCKED: Final = f"""
{_INSTANCE} FROM (SELECT * FROM instances INDEXED BY instances_blocked
  WHERE blocked IS NOT NULL AND incarnation < ?1 {_PAGE_TAIL}) AS i {_INSTANCE_JOINS}
"""
# What waits for code that no live worker (at ?1) has: (name, version) of ready instances, and names of activities. One
# step from each kind to the next along the index, however many there are of it.
_NOBODY_HAS_IT: Final = """NOT EXISTS (SELECT 1 FROM workers w CROSS JOIN capabilities c
  ON c.worker_id = w.worker_id AND c.kind = 'orchestration' AND c.name = {name}
    AND ({version} = '' OR c.version = {version})
  WHERE w.lease_until_ms > {now})"""
_NOBODY_RUNS_IT: Final = """NOT EXISTS (SELECT 1 FROM workers w CROSS JOIN capabilities c
  ON c.worker_id = w.worker_id AND c.kind = 'activity' AND c.name = {name} WHERE w.lease_until_ms > {now})"""
_SOMEBODY_LIVES: Final = "EXISTS (SELECT 1 FROM workers WHERE lease_until_ms > {now})"
_NEXT_KIND: Final = """coalesce(
    (SELECT {column} FROM instances INDEXED BY instances_ready
      WHERE ready_at_ms IS NOT NULL AND name = k.name AND version > k.version ORDER BY version LIMIT 1),
    (SELECT {column} FROM instances INDEXED BY instances_ready
      WHERE ready_at_ms IS NOT NULL AND name > k.name ORDER BY name, version LIMIT 1))"""
UNSERVED_KINDS: Final = f"""
WITH RECURSIVE kinds (name, version) AS (
  VALUES ('', '')
  UNION ALL
  SELECT {_NEXT_KIND.format(column="name")}, {_NEXT_KIND.format(column="version")}
  FROM kinds AS k WHERE k.name IS NOT NULL)
SELECT json_group_array(json_array(k.name, k.version)) FROM kinds AS k
WHERE k.name <> '' AND {_SOMEBODY_LIVES.format(now="?1")}
  AND {_NOBODY_HAS_IT.format(name="k.name", version="k.version", now="?1")}
"""
UNSERVED_ACTIVITIES: Final = f"""
WITH RECURSIVE kinds (name) AS (
  VALUES ('')
  UNION ALL
  SELECT (SELECT name FROM activities INDEXED BY activities_ready
    WHERE lease_worker_id IS NULL AND name > k.name ORDER BY name LIMIT 1)
  FROM kinds AS k WHERE k.name IS NOT NULL)
SELECT json_group_array(k.name) FROM kinds AS k
WHERE k.name <> '' AND {_SOMEBODY_LIVES.format(now="?1")} AND {_NOBODY_RUNS_IT.format(name="k.name", now="?1")}
"""
# The page of those that wait (at ?8) for one of the kinds ?6 or an activity called ?7. Only what waits is looked at.
LIST_UNSERVED: Final = f"""
{_INSTANCE} FROM (SELECT * FROM instances WHERE incarnation < ?1 AND incarnation IN (
    SELECT r.incarnation FROM json_each(?6) AS k CROSS JOIN instances r INDEXED BY instances_ready
      ON r.name = k.value ->> 0 AND r.version = k.value ->> 1 AND r.ready_at_ms <= ?8
    UNION SELECT a.incarnation FROM json_each(?7) AS k CROSS JOIN activities a INDEXED BY activities_ready
      ON a.name = k.value AND a.lease_worker_id IS NULL AND a.visible_at_ms <= ?8) {_PAGE_TAIL}) AS i {_INSTANCE_JOINS}
"""
# Which of the instances ?1 wait (at ?2) for code that no live worker has: for their own, and for which activity.
UNSERVED_OF: Final = f"""
SELECT json_group_array(json_array(incarnation, orchestration, activity)) FROM (
  SELECT i.incarnation,
    i.lease_worker_id IS NULL AND coalesce(i.ready_at_ms <= ?2, 0)
      AND {_NOBODY_HAS_IT.format(name="i.name", version="i.version", now="?2")} AS orchestration,
    (SELECT min(a.name) FROM activities a WHERE a.incarnation = i.incarnation AND a.lease_worker_id IS NULL
      AND a.visible_at_ms <= ?2 AND {_NOBODY_RUNS_IT.format(name="a.name", now="?2")}) AS activity
  FROM json_each(?1) AS k CROSS JOIN instances i ON i.incarnation = k.value
  WHERE i.completed_at_ms IS NULL AND i.blocked IS NULL) AS i
WHERE (orchestration OR activity IS NOT NULL) AND {_SOMEBODY_LIVES.format(now="?2")}
"""
# One status a statement: the index is by status first. The rest tells SQLite that the index holds them all.
LIST_ENDED_BADLY: Final = {
    status: f"""
{_INSTANCE} FROM (SELECT * FROM instances INDEXED BY instances_ended_badly
  WHERE status = '{status}' AND completed_at_ms IS NOT NULL AND status <> 'completed'
    AND incarnation < ?1 {_PAGE_TAIL}) AS i {_INSTANCE_JOINS}
"""
    for status in ("failed", "cancelled", "terminated")
}

_EXECUTION: Final = """
SELECT json_group_array(json_object('instance_id', i.instance_id, 'incarnation', i.incarnation,
  'execution_id', e.execution_id, 'name', i.name, 'version', e.version, 'status', e.status,
  'started_at_ms', e.started_at_ms, 'completed_at_ms', e.completed_at_ms, 'event_count', e.event_count,
  'history_bytes', e.history_bytes, 'removal', e.removal))
"""
# Live executions before (?1, ?2), newest first, at most ?3. Those that are marked lie below where the live ones begin.
LIST_EXECUTIONS: Final = f"""
{_EXECUTION} FROM (SELECT e.* FROM instances i CROSS JOIN executions e
    ON e.incarnation = i.incarnation AND e.execution_id >= i.live_from AND e.removal = 'live'
      AND e.execution_id < CASE WHEN i.incarnation = ?1 THEN ?2 ELSE 9223372036854775807 END
  WHERE i.incarnation <= ?1 ORDER BY i.incarnation DESC, e.execution_id DESC LIMIT ?3) AS e
CROSS JOIN instances i ON i.incarnation = e.incarnation
"""
# The same within incarnation ?1.
LIST_EXECUTIONS_OF: Final = f"""
{_EXECUTION} FROM (SELECT e.* FROM instances i CROSS JOIN executions e
    ON e.incarnation = i.incarnation AND e.execution_id >= i.live_from AND e.removal = 'live' AND e.execution_id < ?2
  WHERE i.incarnation = ?1 ORDER BY e.execution_id DESC LIMIT ?3) AS e
CROSS JOIN instances i ON i.incarnation = e.incarnation
"""
# Ids with a prefix (from it, to it and the last letter there is), by the unique index.
INSTANCE_IDS_FROM: Final = "SELECT instance_id FROM instances WHERE instance_id BETWEEN ?1 AND ?2 ORDER BY 1 LIMIT ?3"
INCARNATION_OF: Final = "SELECT incarnation FROM instances WHERE instance_id = ?1"
# One live execution of instance ?1, the current one where ?2 is NULL, with its stored input.
GET_EXECUTION: Final = f"""
{_EXECUTION}, max(e.input) FROM instances i CROSS JOIN executions e
  ON e.incarnation = i.incarnation AND e.execution_id = coalesce(?2, i.execution_id)
WHERE i.instance_id = ?1 AND e.removal = 'live'
"""
# How the instances ?1 (ids) ended, with the last event of those that did.
READ_ENDS: Final = """
SELECT json_group_array(json_object('instance_id', i.instance_id, 'incarnation', i.incarnation, 'name', i.name,
  'version', i.version, 'status', i.status, 'execution_id', i.execution_id,
  'last_event', CASE WHEN i.completed_at_ms IS NOT NULL THEN (SELECT h.data FROM history h
    WHERE h.incarnation = i.incarnation AND h.execution_id = i.execution_id ORDER BY h.event_id DESC LIMIT 1) END))
FROM json_each(?1) AS k CROSS JOIN instances i ON i.instance_id = k.value
"""

# --- the whole store -----------------------------------------------------------------------------------------

# id, instances, executions, events, their bytes; without those of removed instances.
INFO: Final = """
WITH removed AS (SELECT coalesce(sum(executions), 0) AS executions, coalesce(sum(events), 0) AS events,
  coalesce(sum(history_bytes), 0) AS bytes FROM removed_instances)
SELECT (SELECT store_id FROM store), (SELECT count(*) FROM instances),
  count(*) - (SELECT executions FROM removed), coalesce(sum(event_count), 0) - (SELECT events FROM removed),
  coalesce(sum(history_bytes), 0) - (SELECT bytes FROM removed)
FROM executions WHERE removal = 'live'
"""
# Every table, every row, in the order of its key.
DUMP: Final = {
    "store": "SELECT * FROM store ORDER BY one",
    "instances": "SELECT * FROM instances ORDER BY incarnation",
    "removed_instances": "SELECT * FROM removed_instances ORDER BY incarnation",
    "executions": "SELECT * FROM executions ORDER BY incarnation, execution_id",
    "history": "SELECT * FROM history ORDER BY incarnation, execution_id, event_id",
    "messages": "SELECT * FROM messages ORDER BY incarnation, message_id",
    "mailbox": "SELECT * FROM mailbox ORDER BY incarnation, name, sequence",
    "timers": "SELECT * FROM timers ORDER BY incarnation, execution_id, event_id",
    "activities": "SELECT * FROM activities ORDER BY incarnation, execution_id, event_id",
    "lineage": "SELECT * FROM lineage ORDER BY child_incarnation",
    "workers": "SELECT * FROM workers ORDER BY worker_id",
    "capabilities": "SELECT * FROM capabilities ORDER BY worker_id, kind, name, version",
    "requests": "SELECT * FROM requests ORDER BY request_id, incarnation",
    "holds": "SELECT * FROM holds ORDER BY hold_id",
    "ledger": "SELECT * FROM ledger ORDER BY incarnation, sequence",
    "asked_prunes": "SELECT * FROM asked_prunes ORDER BY incarnation, options",
    "prune_runs": "SELECT * FROM prune_runs ORDER BY run_id",
    "ledger_totals": "SELECT * FROM ledger_totals ORDER BY name",
    "archives": "SELECT * FROM archives ORDER BY directory",
    "versions": "SELECT * FROM versions ORDER BY name, version",
    "publications": "SELECT * FROM publications ORDER BY published",
}
