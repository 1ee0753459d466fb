"""The SQL statements of families: lineages, whole instances that are removed, and children that end with their parent.
See ``sql`` for the rules that hold for them."""

# ruff: noqa: S608 - as in `sql`: only constants are put together, data is bound

from typing import Final

from duro.model.status import FINAL_EXECUTION_STATUSES, InstanceStatus
from duro.stores.sqlite.check_owners import EVIDENCE_IS_MISSING as _EVIDENCE_IS_MISSING
from duro.stores.sqlite.rows import LEDGER_ROW_MADE_LONGER as _OR_MADE_LONGER
from duro.stores.sqlite.rows import REMOVED_COLUMNS as _COLUMNS
from duro.stores.sqlite.rows import Rows
from duro.stores.sqlite.words import is_one_of

# --- lineages ------------------------------------------------------------------------------------------------

# One child ``l``, its instance ``i`` and its parent's instance ``p``, if that one is there.
# Words that it cannot have are told apart: a status then counts as one that goes on, and nothing is removed. So is the
# id of a parent whose own row has another one.
_STATUS: Final = f"iif({is_one_of('{row}.status', InstanceStatus)}, {{row}}.status, 'running')"
_SPAWNER_END: Final = is_one_of("l.spawner_end", FINAL_EXECUTION_STATUSES)
_OTHER_WORDS: Final = f"""CASE
    WHEN (l.spawner_end IS NULL OR {_SPAWNER_END}) AND {is_one_of("i.status", InstanceStatus)}
      AND (p.status IS NULL OR {is_one_of("p.status", InstanceStatus)})
      AND (p.instance_id IS NULL OR p.instance_id = l.parent_instance_id) THEN json('[]')
    ELSE json((SELECT json_group_array(place || ': ' || substr(word, 1, 100)) FROM (
      SELECT 'spawner_end' AS place, l.spawner_end AS word, {_SPAWNER_END} AS known
      UNION ALL SELECT 'status', i.status, {is_one_of("i.status", InstanceStatus)}
      UNION ALL SELECT 'parent_status', p.status, {is_one_of("p.status", InstanceStatus)}
      UNION ALL SELECT 'parent_instance_id', l.parent_instance_id, p.instance_id = l.parent_instance_id)
      WHERE NOT known)) END"""
_CHILD: Final = f"""json_object('instance_id', i.instance_id, 'incarnation', i.incarnation, 'name', i.name,
  'version', i.version, 'status', {_STATUS.format(row="i")}, 'completed_at_ms', i.completed_at_ms,
  'parent', json_object('instance_id', l.parent_instance_id, 'incarnation', l.parent_incarnation,
    'execution_id', l.parent_execution_id, 'event_id', l.parent_event_id),
  'detached', json(CASE WHEN l.detached THEN 'true' ELSE 'false' END),
  'spawned_at_ms', l.spawned_at_ms, 'spawner_version', l.spawner_version,
  'spawner_ended_at_ms', l.spawner_ended_at_ms, 'spawner_end', iif({_SPAWNER_END}, l.spawner_end, NULL),
  'spawner_live', json(CASE WHEN p.incarnation IS NOT NULL AND EXISTS (SELECT 1 FROM executions s
    WHERE s.incarnation = l.parent_incarnation AND s.execution_id = l.parent_execution_id AND s.removal = 'live')
    THEN 'true' ELSE 'false' END),
  'observed_at_ms', l.observed_at_ms, 'completion', l.completion,
  'parent_status', iif(p.status IS NULL, NULL, {_STATUS.format(row="p")}),
  'parent_execution_id', p.execution_id, 'parent_removed_at_ms', l.parent_removed_at_ms,
  'adopted_at_ms', l.adopted_at_ms, 'adopted_by', coalesce(l.adopted_by, ''),
  'adopted_reason', coalesce(l.adopted_reason, ''), 'given_up_at_ms', l.given_up_at_ms,
  'cancel_requested_at_ms', i.cancel_requested_at_ms, 'unreadable', {_OTHER_WORDS})"""
_INSTANCE_AND_PARENT: Final = """
CROSS JOIN instances i ON i.incarnation = l.child_incarnation
LEFT JOIN instances p ON p.incarnation = l.parent_incarnation"""
# Where in the spawns of incarnation ?1 its child ?2 stands.
CHILD_POSITION: Final = """
SELECT parent_execution_id, parent_event_id FROM lineage WHERE child_incarnation = ?2 AND parent_incarnation = ?1
"""
# Children of incarnation ?1 after child ?2, which stands at (?3, ?4) or later, at most ?5. Spawns stand in the order of
# their incarnations: both are given in the order of the commits and, in a turn, of its events.
LIST_CHILDREN: Final = f"""
SELECT json_group_array({_CHILD})
FROM (SELECT child_incarnation FROM lineage INDEXED BY lineage_by_parent
  WHERE parent_incarnation = ?1 AND (parent_execution_id, parent_event_id) > (?3, ?4) AND child_incarnation > ?2
    AND EXISTS (SELECT 1 FROM instances x WHERE x.incarnation = child_incarnation)
  ORDER BY parent_execution_id, parent_event_id LIMIT ?5) AS c
CROSS JOIN lineage l ON l.child_incarnation = c.child_incarnation {_INSTANCE_AND_PARENT}
"""
GET_CHILD: Final = f"""
SELECT {_CHILD} FROM instances i CROSS JOIN lineage l ON l.child_incarnation = i.incarnation
LEFT JOIN instances p ON p.incarnation = l.parent_incarnation WHERE i.instance_id = ?1
"""
# The lineages of the children ?1, as far as they have one.
CHILDREN: Final = f"""
SELECT json_group_array({_CHILD}) FROM json_each(?1) AS k
CROSS JOIN lineage l ON l.child_incarnation = k.value {_INSTANCE_AND_PARENT}
"""
# Those of the children ?1 that depend on their parent, nobody observed, and whose evidence does not hold together.
DOUBTFUL: Final = CHILDREN + f"WHERE l.observed_at_ms IS NULL AND l.detached = 0 AND {_EVIDENCE_IS_MISSING}"
# Children after ?1, at most ?2, that nobody observed and whose spawner is not known to run; where not NULL, of one of
# the names ?3, with one of the statuses ?4, and with a spawner that ended before ?5.
_UNOBSERVED: Final = """
SELECT json_group_array({child}) FROM (
  SELECT l.* FROM lineage l {source} CROSS JOIN instances i ON i.incarnation = l.child_incarnation
  LEFT JOIN instances p ON p.incarnation = l.parent_incarnation
  WHERE l.child_incarnation > ?1 AND l.detached = 0 AND l.observed_at_ms IS NULL AND {condition}
    AND (?3 IS NULL OR i.name IN (SELECT value FROM json_each(?3)))
    AND (?4 IS NULL OR i.status IN (SELECT value FROM json_each(?4)))
    AND (?5 IS NULL OR coalesce(l.spawner_ended_at_ms, l.parent_removed_at_ms) < ?5)
  ORDER BY l.child_incarnation LIMIT ?2) AS l {joins}
"""
UNOBSERVED: Final = _UNOBSERVED.format(
    child=_CHILD,
    source="INDEXED BY lineage_unobserved",
    condition="l.spawner_ended_at_ms IS NOT NULL",
    joins=_INSTANCE_AND_PARENT,
)
UNOBSERVED_OR_UNKNOWN: Final = _UNOBSERVED.format(
    child=_CHILD,
    source="NOT INDEXED",
    condition="""(l.spawner_ended_at_ms IS NOT NULL OR l.spawner_end IS NOT NULL OR p.incarnation IS NULL
      OR p.completed_at_ms IS NOT NULL OR p.execution_id <> l.parent_execution_id)""",
    joins=_INSTANCE_AND_PARENT,
)
COUNT_ORPHANS: Final = f"""
SELECT json_group_array(json_array(name, orphans)) FROM (
  SELECT i.name, count(*) AS orphans FROM lineage l INDEXED BY lineage_unobserved {_INSTANCE_AND_PARENT}
  WHERE l.detached = 0 AND l.observed_at_ms IS NULL AND l.spawner_ended_at_ms IS NOT NULL
    AND NOT {_EVIDENCE_IS_MISSING} GROUP BY i.name)
"""
# Whether the execution that spawned child ?1 has not ended, as its own row says, whatever its instance's says. Where
# the parent's row has another id than the child says: or that execution of the instance that is called so.
SPAWNER_RUNS: Final = """
SELECT EXISTS (SELECT 1 FROM lineage l CROSS JOIN executions s
  ON s.execution_id = l.parent_execution_id AND s.completed_at_ms IS NULL
  WHERE l.child_incarnation = ?1 AND s.incarnation IN (l.parent_incarnation, (
    SELECT n.incarnation FROM instances p CROSS JOIN instances n ON n.instance_id = l.parent_instance_id
    WHERE p.incarnation = l.parent_incarnation AND p.instance_id <> l.parent_instance_id)))
"""
# Child ?1 stands alone from now (?2) on.
ADOPT: Final = """
UPDATE lineage SET detached = 1, adopted_at_ms = ?2, adopted_by = ?3, adopted_reason = ?4 WHERE child_incarnation = ?1
"""

# --- families ------------------------------------------------------------------------------------------------

# The instances ?1 and all that depends on them, each once; what hangs below one that has not ended is left out. Of each
# one: incarnation, the parent it depends on, id, name, status, when it ended; of its live executions the versions,
# their number, events and bytes. A child is younger than its parent, so a damaged file has no circles here either.
FAMILIES: Final = f"""
WITH RECURSIVE family (incarnation) AS (
  SELECT value FROM json_each(?1)
  UNION
  SELECT l.child_incarnation FROM family f
  CROSS JOIN instances i ON i.incarnation = f.incarnation AND i.completed_at_ms IS NOT NULL
  CROSS JOIN lineage l INDEXED BY lineage_by_parent ON l.parent_incarnation = f.incarnation AND l.detached = 0
    AND l.child_incarnation > f.incarnation)
SELECT json_group_array(json_array(incarnation, (SELECT l.parent_incarnation FROM lineage l
    WHERE l.child_incarnation = f.incarnation AND l.detached = 0), instance_id, name, {_STATUS.format(row="f")},
  completed_at_ms,
  json((SELECT json_group_array(version) FROM (SELECT DISTINCT version FROM executions e
    WHERE e.incarnation = f.incarnation AND e.removal = 'live' AND version <> '' ORDER BY version))),
  executions, events, bytes)) FROM (
  SELECT f.incarnation, i.instance_id, i.name, i.status, i.completed_at_ms,
    count(e.execution_id) AS executions, coalesce(sum(e.event_count), 0) AS events,
    coalesce(sum(e.history_bytes), 0) AS bytes
  FROM family f CROSS JOIN instances i ON i.incarnation = f.incarnation
  LEFT JOIN executions e ON e.incarnation = f.incarnation AND e.removal = 'live'
  GROUP BY f.incarnation ORDER BY f.incarnation) AS f
"""
# The children that execution ?2 of incarnation ?1 spawned after event ?3, at most ?4: event and incarnation.
CHILDREN_OF_EXECUTION: Final = """
SELECT json_group_array(json_array(parent_event_id, child_incarnation)) FROM (
  SELECT l.parent_event_id, l.child_incarnation FROM lineage l INDEXED BY lineage_by_parent
  CROSS JOIN instances i ON i.incarnation = l.child_incarnation
  WHERE l.parent_incarnation = ?1 AND l.parent_execution_id = ?2 AND l.parent_event_id > ?3 AND l.detached = 0
  ORDER BY l.parent_event_id LIMIT ?4)
"""
# Instances after ?1, at most ?2, that have ended and depend on no parent that has ended or has yet to observe them;
# where not NULL, of one of the names ?3.
FINISHED: Final = f"""
SELECT json_group_array(json_object('incarnation', incarnation, 'instance_id', instance_id, 'name', name,
  'status', status, 'completed_at_ms', completed_at_ms)) FROM (
  SELECT i.* FROM instances i NOT INDEXED
  WHERE i.incarnation > ?1 AND i.completed_at_ms IS NOT NULL AND {is_one_of("i.status", InstanceStatus)}
    AND (?3 IS NULL OR i.name IN (SELECT value FROM json_each(?3)))
    AND NOT EXISTS (SELECT 1 FROM lineage l WHERE l.child_incarnation = i.incarnation AND l.detached = 0
      AND (coalesce(l.observed_at_ms, l.spawner_ended_at_ms, l.given_up_at_ms) IS NULL OR EXISTS (
        SELECT 1 FROM instances p WHERE p.incarnation = l.parent_incarnation AND p.completed_at_ms IS NOT NULL)))
  ORDER BY i.incarnation LIMIT ?2)
"""
# Where the newest ?2 instances called ?1 that have ended begin.
NEWEST_FINISHED: Final = """
SELECT incarnation FROM instances INDEXED BY instances_by_name WHERE name = ?1 AND completed_at_ms IS NOT NULL
ORDER BY incarnation DESC LIMIT 1 OFFSET ?2 - 1
"""

# --- removal -------------------------------------------------------------------------------------------------

_KEPT: Final = ", ".join(_COLUMNS)
# Out of sight at ?1, to be reclaimed from ?2 on, by run ?3, kept in archive ?4. Where that is NULL and executions of it
# wait for an archive, the whole instance does.
REMOVE_INSTANCES: Final = Rows(
    "incarnation tree depth executions events bytes",
    f"""
INSERT INTO removed_instances ({_KEPT}, tree, depth, executions, events, history_bytes, removed_at_ms, reclaim_at_ms,
  run_id, archive, unarchived)
SELECT *, archive IS NOT NULL FROM (
  SELECT {", ".join("i." + column for column in _COLUMNS)},
    v.tree, v.depth, v.executions, v.events, v.bytes, ?1, ?2, ?3, coalesce(?4, (SELECT max(e.archive) FROM executions e
      WHERE e.incarnation = i.incarnation AND e.unarchived = 1)) AS archive
  FROM v CROSS JOIN instances i ON i.incarnation = v.incarnation)
""",
    scalars=4,
)
DELETE_INSTANCES: Final = "DELETE FROM instances WHERE incarnation IN (SELECT value FROM json_each(?1))"
# What depends on the removed instances ?1 and stays has no parent any more, from ?2 on (NULL: has it again).
NOTE_PARENT_REMOVED: Final = """
UPDATE lineage SET parent_removed_at_ms = ?2 WHERE child_incarnation IN (
  SELECT l.child_incarnation FROM json_each(?1) AS k
  CROSS JOIN lineage l INDEXED BY lineage_by_parent ON l.parent_incarnation = k.value
  CROSS JOIN instances i ON i.incarnation = l.child_incarnation)
"""
INSERT_REMOVALS: Final = Rows(
    "incarnation run first last executions events bytes rule origin trigger at_ms",
    f"""
INSERT INTO ledger (incarnation, run_id, first_execution_id, last_execution_id, executions, events, history_bytes, rule,
  origin, trigger, first_pruned_at_ms, last_pruned_at_ms, sequence)
SELECT incarnation, run, first, last, executions, events, bytes, rule, origin, trigger, at_ms, at_ms,
  (SELECT coalesce(max(sequence), 0) + 1 FROM ledger l WHERE l.incarnation = v.incarnation)
FROM v WHERE incarnation NOT NULL
{_OR_MADE_LONGER}
""",
)
# The first and the last live execution of the instances ?1.
LIVE_SPANS: Final = """
SELECT json_group_array(json_array(k.value,
  (SELECT min(execution_id) FROM executions WHERE incarnation = k.value AND removal = 'live'),
  (SELECT max(execution_id) FROM executions WHERE incarnation = k.value AND removal = 'live')))
FROM json_each(?1) AS k
"""
# The instance called ?1 that was removed last.
FIND_REMOVED: Final = """
SELECT json_object('instance_id', instance_id, 'incarnation', incarnation, 'name', name, 'status', status,
  'removed_at_ms', removed_at_ms, 'reclaim_at_ms', reclaim_at_ms, 'run_id', run_id,
  'reclaiming', json(CASE WHEN reclaiming THEN 'true' ELSE 'false' END))
FROM removed_instances WHERE instance_id = ?1 ORDER BY incarnation DESC LIMIT 1
"""
ANY_REMOVED_DUE: Final = """
SELECT EXISTS (SELECT 1 FROM removed_instances r INDEXED BY removed_instances_due
  WHERE unarchived = 0 AND reclaim_at_ms <= ?1)
"""
# Removed instances due at ?1 that wait for no archive, at most ?2, the leaves of a tree first: incarnation, tree,
# events.
REMOVED_DUE: Final = """
SELECT json_group_array(json_array(incarnation, tree, events, reclaiming)) FROM (
  SELECT incarnation, tree, events, reclaiming FROM removed_instances INDEXED BY removed_instances_due
  WHERE unarchived = 0 AND reclaim_at_ms <= ?1 ORDER BY reclaim_at_ms, tree, depth DESC, incarnation LIMIT ?2)
"""
# What the ledgers of the removed instances ?1 say, added to the totals of their orchestrations; what an undo brought
# back does not count.
FOLD_LEDGERS: Final = """
INSERT INTO ledger_totals (name, instances, executions, events, history_bytes, first_pruned_at_ms, last_pruned_at_ms)
SELECT r.name, count(DISTINCT l.incarnation), sum(iif(l.trigger = 'undo', -l.executions, l.executions)),
  sum(iif(l.trigger = 'undo', -l.events, l.events)), sum(iif(l.trigger = 'undo', -l.history_bytes, l.history_bytes)),
  min(l.first_pruned_at_ms), max(l.last_pruned_at_ms)
FROM json_each(?1) AS k CROSS JOIN removed_instances r ON r.incarnation = k.value
CROSS JOIN ledger l ON l.incarnation = r.incarnation
WHERE true GROUP BY r.name
ON CONFLICT (name) DO UPDATE SET instances = instances + excluded.instances,
  executions = executions + excluded.executions, events = events + excluded.events,
  history_bytes = history_bytes + excluded.history_bytes,
  first_pruned_at_ms = min(first_pruned_at_ms, excluded.first_pruned_at_ms),
  last_pruned_at_ms = max(last_pruned_at_ms, excluded.last_pruned_at_ms)
"""
EVENTS_LEFT: Final = "SELECT count(*) FROM history WHERE incarnation = ?1"
# Up to ?2 events of incarnation ?1.
DELETE_SOME_HISTORY: Final = """
DELETE FROM history WHERE incarnation = ?1 AND (execution_id, event_id) IN (
  SELECT execution_id, event_id FROM history WHERE incarnation = ?1 ORDER BY execution_id, event_id LIMIT ?2)
"""
RECLAIMING_TREES: Final = """
UPDATE removed_instances SET reclaiming = 1 WHERE tree IN (SELECT value FROM json_each(?1)) AND reclaiming = 0
"""
# The trees of run ?1, or of the instance called ?2 that was removed last, that can be brought back: nothing of them is
# gone, and no id is taken. Of each member: incarnation, tree, id, executions, events, bytes, and whether it may be
# removed without its root.
RESTORABLE: Final = """
WITH trees (tree) AS (
  SELECT DISTINCT tree FROM removed_instances WHERE run_id = ?1 AND run_id <> ''
  UNION
  SELECT tree FROM (SELECT tree FROM removed_instances WHERE instance_id = ?2 ORDER BY incarnation DESC LIMIT 1))
SELECT json_group_array(json_array(r.incarnation, r.tree, r.instance_id, r.executions, r.events, r.history_bytes,
  json(CASE WHEN r.incarnation = r.tree OR EXISTS (SELECT 1 FROM lineage l
    WHERE l.child_incarnation = r.incarnation AND l.observed_at_ms IS NULL) THEN 'true' ELSE 'false' END))) FROM (
  SELECT r.* FROM trees t CROSS JOIN removed_instances r INDEXED BY removed_instances_by_tree ON r.tree = t.tree
  WHERE NOT EXISTS (SELECT 1 FROM removed_instances o INDEXED BY removed_instances_by_tree
    WHERE o.tree = t.tree AND (o.reclaiming OR o.instance_id IN (SELECT instance_id FROM instances)))
  ORDER BY r.tree, r.depth, r.incarnation) AS r
"""
NOT_RESTORABLE: Final = """
SELECT json_group_array(instance_id) FROM (
  SELECT instance_id FROM removed_instances
  WHERE incarnation = tree AND reclaiming = 0 AND ((run_id = ?1 AND run_id <> '') OR (tree IN (
    SELECT tree FROM removed_instances WHERE instance_id = ?2 ORDER BY incarnation DESC LIMIT 1)))
  ORDER BY incarnation)
"""
RESTORE_INSTANCES: Final = f"""
INSERT INTO instances ({_KEPT}) SELECT {_KEPT} FROM removed_instances
WHERE incarnation IN (SELECT value FROM json_each(?1))
"""
# What became of the parents of the instances ?1, which came back, while they were removed; of one that is gone nobody
# knows when it went: before ?2.
LOOK_FOR_PARENTS: Final = """
UPDATE lineage SET parent_removed_at_ms =
  CASE WHEN NOT EXISTS (SELECT 1 FROM instances p WHERE p.incarnation = parent_incarnation)
  THEN coalesce(parent_removed_at_ms,
    (SELECT r.removed_at_ms FROM removed_instances r WHERE r.incarnation = parent_incarnation), ?2) END
WHERE child_incarnation IN (SELECT value FROM json_each(?1))
"""
FORGET_REMOVED: Final = "DELETE FROM removed_instances WHERE incarnation IN (SELECT value FROM json_each(?1))"

# --- children that end with their parent -----------------------------------------------------------------------

# Children of (incarnation, execution), or of every execution where it is NULL, that have not ended and do not stand
# alone, with the word that is theirs: when their spawner continues as new, or when their parent ends. The position is
# the caller's.
_LEFT_RUNNING: Final = """l.detached = 0 AND l.observed_at_ms IS NULL
  CROSS JOIN instances i ON i.incarnation = l.child_incarnation AND i.completed_at_ms IS NULL"""
CHILDREN_TO_END: Final = Rows(
    "position incarnation execution_id",
    f"""
SELECT json_group_array(json_array(position, child, word)) FROM (
  SELECT v.position, l.child_incarnation AS child, coalesce(l.on_parent_continue, 'abandon') AS word
  FROM v CROSS JOIN lineage l INDEXED BY lineage_by_parent ON l.parent_incarnation = v.incarnation
    AND l.parent_execution_id = v.execution_id AND {_LEFT_RUNNING}
  UNION ALL
  SELECT v.position, l.child_incarnation, coalesce(l.on_parent_end, 'cancel')
  FROM v CROSS JOIN lineage l INDEXED BY lineage_by_parent ON l.parent_incarnation = v.incarnation
    AND v.execution_id IS NULL AND {_LEFT_RUNNING})
WHERE word <> 'abandon'
""",
)
# What terminating the instances ?1 needs to know: incarnation, execution, its number of events, and who waits for it
# (parent, execution, event, whether that one runs).
TERMINATE_TARGETS: Final = """
SELECT json_group_array(json_array(i.incarnation, i.execution_id, e.event_count, l.parent_incarnation,
  l.parent_execution_id, l.parent_event_id,
  coalesce(p.completed_at_ms IS NULL AND p.execution_id = l.parent_execution_id, 0)))
FROM json_each(?1) AS k
CROSS JOIN instances i ON i.incarnation = k.value AND i.completed_at_ms IS NULL
CROSS JOIN executions e ON e.incarnation = i.incarnation AND e.execution_id = i.execution_id
LEFT JOIN lineage l ON l.child_incarnation = i.incarnation AND l.detached = 0
LEFT JOIN instances p ON p.incarnation = l.parent_incarnation
"""
INSTANCE_IDS: Final = """
SELECT json_group_array(json_array(incarnation, instance_id)) FROM instances
WHERE incarnation IN (SELECT value FROM json_each(?1))
"""
TERMINATE_EXECUTIONS: Final = Rows(
    "incarnation execution_id at_ms bytes",
    """
UPDATE executions SET status = 'terminated', completed_at_ms = v.at_ms, event_count = event_count + 1,
  history_bytes = history_bytes + v.bytes
FROM v WHERE executions.incarnation = v.incarnation AND executions.execution_id = v.execution_id
""",
)
TERMINATE_INSTANCES: Final = """
UPDATE instances SET status = 'terminated', completed_at_ms = ?2, updated_at_ms = ?2, attempt_count = 0, waits = '[]',
  blocked = NULL, blocked_reason = NULL, lease_worker_id = NULL, ready_at_ms = NULL
WHERE incarnation IN (SELECT value FROM json_each(?1))
"""
