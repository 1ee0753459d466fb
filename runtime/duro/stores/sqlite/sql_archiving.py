"""The SQL statements of archives: what waits for one, and what comes back from one. See ``sql`` for the rules that hold
for them."""

# ruff: noqa: S608 - as in `sql`: only constants are put together, data is bound

from typing import Final

from duro.model.status import FINAL_EXECUTION_STATUSES, ExecutionStatus, InstanceStatus
from duro.stores.sqlite.rows import REMOVED_COLUMNS as _COLUMNS
from duro.stores.sqlite.words import is_one_of

_EXECUTION: Final = """json_object('instance_id', {instance}.instance_id, 'incarnation', e.incarnation,
  'execution_id', e.execution_id, 'name', {instance}.name, 'version', e.version, 'status', e.status,
  'started_at_ms', e.started_at_ms, 'completed_at_ms', e.completed_at_ms, 'event_count', e.event_count,
  'history_bytes', e.history_bytes, 'input', e.input, 'pruned_at_ms', e.pruned_at_ms, 'run_id', e.run_id,
  'archive', coalesce(e.archive, {instance}.archive))"""

# Executions of instances that are there and that wait for an archive that is none of ?2, at most ?1, those that may go
# first, first.
UNARCHIVED: Final = f"""
SELECT json_group_array({_EXECUTION.format(instance="e")}) FROM (
  SELECT e.*, i.instance_id, i.name FROM executions e INDEXED BY executions_unarchived
  CROSS JOIN instances i ON i.incarnation = e.incarnation
  WHERE e.unarchived = 1 AND {is_one_of("e.status", ExecutionStatus)}
    AND e.archive NOT IN (SELECT value FROM json_each(?2))
  ORDER BY e.reclaim_at_ms, e.incarnation, e.execution_id LIMIT ?1) AS e
"""
_INSTANCE: Final = ", ".join(f"'{column}', r.{column}" for column in _COLUMNS if column != "cancel_delivered")
# The same of removed instances, those deepest in their tree first.
UNARCHIVED_INSTANCES: Final = f"""
SELECT json_group_array(json_object({_INSTANCE},
  'cancel_delivered', json(iif(r.cancel_delivered, 'true', 'false')),
  'removed_at_ms', r.removed_at_ms, 'run_id', r.run_id, 'archive', r.archive,
  'lineage', CASE WHEN l.child_incarnation IS NOT NULL THEN json_object(
    'parent', json_object('instance_id', l.parent_instance_id, 'incarnation', l.parent_incarnation,
      'execution_id', l.parent_execution_id, 'event_id', l.parent_event_id),
    'detached', json(iif(l.detached, 'true', 'false')), 'on_parent_continue', l.on_parent_continue,
    'on_parent_end', l.on_parent_end, 'spawned_at_ms', l.spawned_at_ms, 'spawner_version', l.spawner_version,
    'spawner_ended_at_ms', l.spawner_ended_at_ms,
    'spawner_end', iif({is_one_of("l.spawner_end", FINAL_EXECUTION_STATUSES)}, l.spawner_end, NULL),
    'observed_at_ms', l.observed_at_ms, 'completion', l.completion,
    'parent_removed_at_ms', l.parent_removed_at_ms, 'adopted_at_ms', l.adopted_at_ms,
    'adopted_by', l.adopted_by, 'adopted_reason', l.adopted_reason,
    'given_up_at_ms', l.given_up_at_ms) END,
  'ledger', json((SELECT json_group_array(json_object('sequence', e.sequence, 'run_id', e.run_id,
    'range', json_object('first_execution_id', e.first_execution_id, 'last_execution_id', e.last_execution_id,
      'executions', e.executions, 'events', e.events, 'history_bytes', e.history_bytes, 'rule', e.rule,
      'origin', e.origin, 'trigger', e.trigger, 'first_pruned_at_ms', e.first_pruned_at_ms,
      'last_pruned_at_ms', e.last_pruned_at_ms)))
    FROM (SELECT * FROM ledger WHERE incarnation = r.incarnation ORDER BY sequence) AS e)))) FROM (
  SELECT * FROM removed_instances INDEXED BY removed_instances_unarchived
  WHERE unarchived = 1 AND {is_one_of("status", InstanceStatus)} AND archive NOT IN (SELECT value FROM json_each(?2))
  ORDER BY reclaim_at_ms, tree, depth DESC, incarnation LIMIT ?1) AS r
LEFT JOIN lineage l ON l.child_incarnation = r.incarnation
"""
# What goes with the removed instance ?1, after execution ?2, at most ?3: what was live, and what waits by itself.
UNARCHIVED_OF: Final = f"""
SELECT json_group_array({_EXECUTION.format(instance="r")}) FROM removed_instances r CROSS JOIN (
  SELECT * FROM executions WHERE incarnation = ?1 AND execution_id > ?2 AND (removal = 'live' OR unarchived = 1)
  ORDER BY execution_id LIMIT ?3) AS e
WHERE r.incarnation = ?1
"""
# Of each archive: executions and instances that wait for it, and from when on the first of them may go.
WAITING: Final = """
SELECT json_group_array(json_object('archive', archive, 'executions', executions, 'instances', instances,
  'since_ms', since_ms)) FROM (
  SELECT archive, sum(execution) AS executions, sum(NOT execution) AS instances, min(reclaim_at_ms) AS since_ms FROM (
    SELECT archive, reclaim_at_ms, 1 AS execution FROM executions e INDEXED BY executions_unarchived
    WHERE unarchived = 1
      AND NOT EXISTS (SELECT 1 FROM removed_instances r WHERE r.incarnation = e.incarnation)
    UNION ALL
    SELECT archive, reclaim_at_ms, 0 FROM removed_instances INDEXED BY removed_instances_unarchived
    WHERE unarchived = 1)
  GROUP BY archive ORDER BY archive)
"""
# Of the executions (incarnation, execution) of ?1 that wait for their archive, those that may go at ?2 and take no
# children along: incarnation, execution, events.
MAY_GO: Final = """
SELECT json_group_array(json_array(incarnation, execution_id, event_count)) FROM (
  SELECT e.incarnation, e.execution_id, e.event_count FROM json_each(?1) AS k
  CROSS JOIN executions e ON e.incarnation = k.value ->> 0 AND e.execution_id = k.value ->> 1
  WHERE e.removal = 'pruned' AND e.unarchived = 1 AND e.reclaim_at_ms <= ?2 AND e.takes_children = 0)
"""
# Executions (incarnation, execution) of ?1 are in their archive ...
ARCHIVED: Final = """
UPDATE executions SET unarchived = 0 WHERE removal = 'pruned' AND unarchived = 1
  AND (incarnation, execution_id) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?1))
"""
# ... and so is everything of the removed instances ?1.
ARCHIVED_INSTANCES: Final = """
UPDATE removed_instances SET unarchived = 0 WHERE incarnation IN (SELECT value FROM json_each(?1))
"""
ARCHIVED_WITH_THEM: Final = """
UPDATE executions SET unarchived = 0 WHERE unarchived = 1 AND incarnation IN (
  SELECT r.incarnation FROM json_each(?1) AS k CROSS JOIN removed_instances r ON r.incarnation = k.value)
"""
# Where anything of a tree waits for its archive, all of it does: it is reclaimed from the leaves up.
SPREAD_ARCHIVES: Final = """
UPDATE removed_instances SET unarchived = 1, archive = w.archive FROM (
  SELECT r.tree, max(r.archive) AS archive FROM json_each(?1) AS k
  CROSS JOIN removed_instances r INDEXED BY removed_instances_by_tree ON r.tree = k.value
  WHERE r.unarchived = 1 GROUP BY r.tree) AS w
WHERE removed_instances.tree = w.tree AND removed_instances.unarchived = 0
"""

# Archives that were written to, those used last first.
KNOWN_ARCHIVES: Final = """
SELECT json_group_array(json_object('directory', directory, 'archive_id', archive_id,
  'last_used_at_ms', last_used_at_ms)) FROM (SELECT * FROM archives ORDER BY last_used_at_ms DESC, directory)
"""
REMEMBER_ARCHIVE: Final = """
INSERT INTO archives (directory, archive_id, last_used_at_ms) VALUES (?1, ?2, ?3)
ON CONFLICT (directory) DO UPDATE SET archive_id = excluded.archive_id, last_used_at_ms = excluded.last_used_at_ms
"""

# --- restoring -----------------------------------------------------------------------------------------------

# Instance ?1 (an incarnation), or that of id ?2, as it is now: its incarnation, its id, its current execution.
STANDING: Final = """
SELECT incarnation, instance_id, execution_id, created_at_ms FROM instances WHERE incarnation = ?1
UNION ALL SELECT incarnation, instance_id, execution_id, created_at_ms FROM instances
WHERE instance_id = ?2 AND incarnation <> ?1
"""
NEXT_INCARNATION: Final = "SELECT next_incarnation FROM store"
IS_REMOVED: Final = "SELECT EXISTS (SELECT 1 FROM removed_instances WHERE incarnation = ?1)"
EXECUTION_STANDING: Final = """
SELECT removal, event_count, history_bytes FROM executions WHERE incarnation = ?1 AND execution_id = ?2
"""
INSERT_EXECUTION: Final = """
INSERT INTO executions (incarnation, execution_id, version, status, started_at_ms, completed_at_ms, event_count,
  history_bytes, input) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
"""
# The events ?3 of execution ?2 of incarnation ?1, from the first on.
INSERT_HISTORY: Final = """
INSERT INTO history (incarnation, execution_id, event_id, data) SELECT ?1, ?2, key + 1, value FROM json_each(?3)
"""
INSERT_INSTANCE: Final = f"""
INSERT INTO instances ({", ".join(_COLUMNS)}) VALUES ({", ".join(f"?{n}" for n in range(1, len(_COLUMNS) + 1))})
"""
# The parent of a lineage that comes back may have gone meanwhile: then at ?15.
INSERT_LINEAGE: Final = """
INSERT INTO lineage (child_incarnation, parent_instance_id, parent_incarnation, parent_execution_id, parent_event_id,
  detached, on_parent_continue, on_parent_end, spawned_at_ms, spawner_version, spawner_ended_at_ms, spawner_end,
  observed_at_ms, completion, parent_removed_at_ms, adopted_at_ms, adopted_by, adopted_reason,
  given_up_at_ms)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
# How the spawners of ?1 and of its children ended, as the executions that are there tell it: what the archive has may
# be older than that.
NOTE_SPAWNERS: Final = """
UPDATE lineage SET (spawner_ended_at_ms, spawner_end) = (SELECT e.completed_at_ms, e.status FROM executions e
  WHERE e.incarnation = lineage.parent_incarnation AND e.execution_id = lineage.parent_execution_id)
WHERE child_incarnation IN (SELECT ?1 UNION ALL SELECT child_incarnation FROM lineage WHERE parent_incarnation = ?1)
  AND EXISTS (SELECT 1 FROM executions e WHERE e.incarnation = lineage.parent_incarnation
    AND e.execution_id = lineage.parent_execution_id AND e.completed_at_ms IS NOT NULL)
"""
# Of ?1 and its children, where the spawner is gone: its parent, there or removed, went on, at the latest when the next
# execution that is there began (or now, ?2).
NOTE_SPAWNERS_GONE: Final = """
UPDATE lineage SET spawner_end = 'continued_as_new', spawner_ended_at_ms = coalesce(spawner_ended_at_ms,
  (SELECT min(e.started_at_ms) FROM executions e
    WHERE e.incarnation = parent_incarnation AND e.execution_id > parent_execution_id), ?2)
WHERE child_incarnation IN (SELECT ?1 UNION ALL SELECT child_incarnation FROM lineage WHERE parent_incarnation = ?1)
  AND spawner_end IS NULL AND parent_execution_id < coalesce(
    (SELECT p.execution_id FROM instances p WHERE p.incarnation = parent_incarnation),
    (SELECT r.execution_id FROM removed_instances r WHERE r.incarnation = parent_incarnation))
"""
# Of ?1, where the parent is gone, too: it had ended when it was removed, and nobody knows how.
NOTE_PARENT_GONE: Final = """
UPDATE lineage SET spawner_ended_at_ms = parent_removed_at_ms
WHERE child_incarnation = ?1 AND spawner_ended_at_ms IS NULL AND parent_removed_at_ms IS NOT NULL
"""
# What the ledger of ?1 says about instance ?2, taken from the totals again.
UNFOLD_LEDGER: Final = """
UPDATE ledger_totals SET instances = instances - 1, executions = executions - ?2, events = events - ?3,
  history_bytes = history_bytes - ?4 WHERE name = ?1
"""
