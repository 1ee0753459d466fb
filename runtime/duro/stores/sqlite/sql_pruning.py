"""The SQL statements of pruning; see ``sql`` for the rules that hold for them."""

# ruff: noqa: S608

from typing import Final

from duro.model.status import InstanceStatus
from duro.stores.sqlite.rows import LEDGER_ROW_MADE_LONGER as _OR_MADE_LONGER
from duro.stores.sqlite.rows import Rows
from duro.stores.sqlite.words import is_one_of

# Around the prunes of one turn, where a batch is written turn by turn.
SAVEPOINT: Final = "SAVEPOINT prune"
RELEASE_SAVEPOINT: Final = "RELEASE prune"
ROLLBACK_TO_SAVEPOINT: Final = "ROLLBACK TO prune"

# --- what is there -------------------------------------------------------------------------------------------

_RANGE: Final = """first_execution_id, last_execution_id, executions, events, history_bytes, rule, origin, trigger,
  first_pruned_at_ms, last_pruned_at_ms"""
_FACTS: Final = """json_object('instance_id', i.instance_id, 'incarnation', e.incarnation,
      'execution_id', e.execution_id, 'name', i.name, 'version', e.version, 'status', e.status,
      'started_at_ms', e.started_at_ms, 'completed_at_ms', e.completed_at_ms, 'event_count', e.event_count,
      'history_bytes', e.history_bytes,
      'is_current', json(CASE WHEN e.execution_id = i.execution_id THEN 'true' ELSE 'false' END))"""
# The same without the names: to write and read those costs as much as what they name.
_FACT_ROW: Final = """json_array(i.instance_id, i.incarnation, e.execution_id, i.name, e.version, e.status,
      e.started_at_ms, e.completed_at_ms, e.event_count, e.history_bytes,
      json(CASE WHEN e.execution_id = {current} THEN 'true' ELSE 'false' END))"""
_VIEWS: Final = """
SELECT json_group_array(json_array(k.key, i.live_from, json((SELECT json_group_array({facts}) FROM (
    SELECT * FROM executions WHERE incarnation = i.incarnation AND execution_id >= i.live_from
      AND execution_id > k.value ->> 1 AND execution_id <= coalesce(k.value ->> 2, i.execution_id)
      AND removal = 'live' ORDER BY execution_id LIMIT ?2) AS e))))
FROM json_each(?1) AS k CROSS JOIN instances i ON i.incarnation = k.value ->> 0
"""
# For each (incarnation, execution) of ?1, by its place: below which none is live, as far as is known, and the oldest ?2
# live executions after that one; with a third number none that is newer than that.
VIEWS: Final = _VIEWS.format(facts=_FACTS)
ORDER_VIEWS: Final = _VIEWS.format(facts=_FACT_ROW.format(current="coalesce(k.value ->> 2, i.execution_id)"))
# Of the instances ?1 those that have not ended, with their current execution.
RUNNING_EXECUTIONS: Final = """
SELECT json_group_array(json_array(i.incarnation, i.execution_id)) FROM json_each(?1) AS k
CROSS JOIN instances i ON i.incarnation = k.value WHERE i.completed_at_ms IS NULL
"""
# What a commit wants to know of an instance ``i`` to prune it as of a turn that left {current} as its newest execution:
# from where its executions live; the oldest {limit} live ones, leaving out the newest (that {number} of execution
# numbers); how many live ones come behind that limit, 0 where none may lie before it; the first of those; whether a
# child may go along; the last automatic range of the ledger and its place; when a sweep looked.
_TURN_VIEW: Final = f"""i.live_from,
  {{json}}((SELECT json_group_array({_FACT_ROW}) FROM (
    SELECT * FROM executions WHERE incarnation = i.incarnation
      AND execution_id BETWEEN i.live_from AND {{current}} - {{number}}
      AND removal = 'live' ORDER BY execution_id LIMIT {{limit}}) AS e)),
  CASE WHEN i.live_from <= {{current}} - {{number}} THEN (SELECT count(*) FROM executions
    WHERE incarnation = i.incarnation AND execution_id BETWEEN {{current}} - {{number}} + 1 AND {{current}}
      AND removal = 'live') ELSE 0 END,
  (SELECT execution_id FROM executions WHERE incarnation = i.incarnation
    AND execution_id >= max(i.live_from, {{current}} - {{number}} + 1) AND removal = 'live'
    ORDER BY execution_id LIMIT 1),
  EXISTS (SELECT 1 FROM lineage WHERE parent_incarnation = i.incarnation
    AND parent_execution_id BETWEEN i.live_from AND {{current}} - {{number}} AND detached = 0),
  {{json}}((SELECT json_array(sequence, json_array({_RANGE})) FROM ledger l
    WHERE l.incarnation = i.incarnation AND run_id IS NULL ORDER BY sequence DESC LIMIT 1)), i.swept_at_ms"""
# Whether there is any hold, and that for each (incarnation, number, current) of ?1 with the limit ?2 ...
_OF_SEVERAL: Final = {"json": "json", "number": "(k.value ->> 1)", "current": "(k.value ->> 2)", "limit": "?2"}
TURN_VIEWS: Final = f"""
SELECT EXISTS (SELECT 1 FROM holds), json_group_array(json_array(i.incarnation,
  {_TURN_VIEW.format(**_OF_SEVERAL)}))
FROM json_each(?1) AS k CROSS JOIN instances i ON i.incarnation = k.value ->> 0
"""
# ... or for incarnation ?1 alone, with the number ?2, the current ?3 and the limit ?4, as columns: most commits that
# prune do it in one instance, and a list of one costs half as much again.
TURN_VIEW: Final = f"""
SELECT EXISTS (SELECT 1 FROM holds), {_TURN_VIEW.format(json="", number="?2", current="?3", limit="?4")}
FROM instances i WHERE i.incarnation = ?1
"""
# For each (incarnation, execution) of ?1: how many live executions come after it, counted up to ?2; with a third number
# none that is newer than that.
_LAST: Final = f"coalesce(k.value ->> 2, {2**63 - 1})"
NEWER: Final = f"""
SELECT json_group_array(json_array(k.value ->> 0, k.value ->> 1,
  (SELECT count(*) FROM (SELECT 1 FROM executions WHERE incarnation = k.value ->> 0
    AND execution_id > k.value ->> 1 AND execution_id <= {_LAST} AND removal = 'live' LIMIT ?2))))
FROM json_each(?1) AS k
"""
# For the same (incarnation, execution): of which versions those are, how many of each, counted up to ?2, and the newest
# of each. From one version to the next along the index, which has what an instance has continued as new from; the
# current execution of each is told beside it.
_BEHIND: Final = """FROM executions INDEXED BY executions_by_version
      WHERE incarnation = n AND status = 'continued_as_new' AND removal = 'live'"""
NEWER_VERSIONS: Final = f"""
WITH RECURSIVE ends (n, after, last) AS MATERIALIZED (
  SELECT k.value ->> 0, k.value ->> 1, {_LAST} FROM json_each(?1) AS k),
versions (n, after, last, version) AS (
  SELECT n, after, last, (SELECT version {_BEHIND} AND version > '' ORDER BY version LIMIT 1) FROM ends
  UNION ALL
  SELECT n, after, last, (SELECT version {_BEHIND} AND version > v.version ORDER BY version LIMIT 1)
  FROM versions v WHERE v.version IS NOT NULL),
newer (n, after, version, executions, newest) AS (
  SELECT n, after, v.version,
    (SELECT count(*) FROM (SELECT 1 {_BEHIND} AND version = v.version AND execution_id > after AND execution_id <= last
      LIMIT ?2)),
    (SELECT max(execution_id) {_BEHIND} AND version = v.version AND execution_id > after AND execution_id <= last)
  FROM versions v WHERE v.version IS NOT NULL
  UNION ALL
  SELECT n, after, e.version, 1, e.execution_id FROM ends
  CROSS JOIN instances i ON i.incarnation = n
  CROSS JOIN executions e ON e.incarnation = n AND e.execution_id = i.execution_id
  WHERE e.execution_id > after AND e.execution_id <= last AND e.version <> '' AND e.status <> 'continued_as_new'
    AND e.removal = 'live')
SELECT json_group_array(json_array(n, after, version, executions, newest)) FROM (
  SELECT n, after, version, min(sum(executions), ?2) AS executions, max(newest) AS newest FROM newer
  WHERE executions > 0 GROUP BY n, after, version)
"""
_HOLD: Final = """json_group_array(json_object('hold_id', hold_id, 'reason', reason, 'created_at_ms', created_at_ms,
  'by', created_by, 'until_ms', until_ms, 'target', json_object('instance_id', instance_id,
  'execution_id', execution_id, 'name', name, 'version', version)))"""
# The holds that may cover executions of the instances (ids) ?1. One on '' is damaged, and may have been on any.
HOLDS_ON: Final = f"""
SELECT {_HOLD} FROM holds
WHERE instance_id IS NULL OR instance_id = '' OR instance_id IN (SELECT value FROM json_each(?1))
"""
LIST_HOLDS: Final = f"SELECT {_HOLD} FROM (SELECT * FROM holds ORDER BY created_at_ms, hold_id)"
VERSIONS_SEEN: Final = """
SELECT json_group_array(json_array(version, first_seen_at_ms)) FROM (
  SELECT version, first_seen_at_ms FROM versions WHERE name = ?1 ORDER BY first_seen_at_ms, version)
"""
REVISIONS: Final = "SELECT policy_revision, hold_revision FROM store"
ANY_CHILDREN: Final = """
SELECT EXISTS (SELECT 1 FROM lineage INDEXED BY lineage_by_parent
  WHERE parent_incarnation = ?1 AND parent_execution_id BETWEEN ?2 AND ?3 AND detached = 0)
"""

# --- marks ---------------------------------------------------------------------------------------------------

# Executions ?2 to ?3 of incarnation ?1: out of sight ...
MARK: Final = """
UPDATE executions SET removal = 'pruned', pruned_at_ms = ?4, reclaim_at_ms = ?5, run_id = ?6, takes_children = ?7,
  archive = ?8, unarchived = ?8 IS NOT NULL
WHERE incarnation = ?1 AND execution_id BETWEEN ?2 AND ?3
"""
# ... or out of the file.
DELETE_HISTORY: Final = "DELETE FROM history WHERE incarnation = ?1 AND execution_id BETWEEN ?2 AND ?3"
DELETE_EXECUTIONS: Final = "DELETE FROM executions WHERE incarnation = ?1 AND execution_id BETWEEN ?2 AND ?3"
DELETE_TIMERS: Final = "DELETE FROM timers WHERE incarnation = ?1 AND execution_id BETWEEN ?2 AND ?3"
DELETE_ACTIVITIES: Final = "DELETE FROM activities WHERE incarnation = ?1 AND execution_id BETWEEN ?2 AND ?3"
# The same for many, in the commit of turns: an execution that ended there left nothing else.
DELETE_HISTORIES: Final = Rows(
    "incarnation execution_id",
    "DELETE FROM history WHERE (incarnation, execution_id) IN (SELECT * FROM v)",
    one="DELETE FROM history WHERE incarnation = ?1 AND execution_id = ?2",
)
DELETE_EXECUTION_ROWS: Final = Rows(
    "incarnation execution_id",
    "DELETE FROM executions WHERE (incarnation, execution_id) IN (SELECT * FROM v)",
    one="DELETE FROM executions WHERE incarnation = ?1 AND execution_id = ?2",
)
# What a prune leaves on its instance. due_at_ms: from when a sweep has to look, NULL if not for this.
PRUNED: Final = Rows(
    "incarnation pruned_through live_from due_at_ms",
    """
UPDATE instances SET pruned_through = v.pruned_through, live_from = max(instances.live_from, v.live_from),
  prune_due_at_ms = coalesce(min(prune_due_at_ms, v.due_at_ms), prune_due_at_ms, v.due_at_ms)
FROM v WHERE instances.incarnation = v.incarnation
""",
    one="""
UPDATE instances SET pruned_through = ?2, live_from = max(live_from, ?3),
  prune_due_at_ms = coalesce(min(prune_due_at_ms, ?4), prune_due_at_ms, ?4)
WHERE incarnation = ?1
""",
)
LIVE_FROM: Final = "UPDATE instances SET live_from = max(live_from, ?2) WHERE incarnation = ?1"
# A sweep has looked at the whole instance.
SWEPT: Final = "UPDATE instances SET swept_at_ms = ?2, prune_due_at_ms = NULL WHERE incarnation = ?1"
# A prune failed: a sweep is to look.
DUE: Final = "UPDATE instances SET prune_due_at_ms = coalesce(min(prune_due_at_ms, ?2), ?2) WHERE incarnation = ?1"

# --- what code asked for and a turn did not finish -----------------------------------------------------------

ASK: Final = """
INSERT INTO asked_prunes (incarnation, options, origin, through, at_ms, due_at_ms)
SELECT incarnation, ?2, ?3, ?4, ?5, ?6 FROM instances WHERE incarnation = ?1
ON CONFLICT (incarnation, options) DO UPDATE SET origin = excluded.origin, through = excluded.through,
  at_ms = excluded.at_ms, due_at_ms = min(due_at_ms, excluded.due_at_ms)
"""
# All but the newest ?2 of incarnation ?1 give way.
TOO_MANY_ASKED: Final = """
DELETE FROM asked_prunes WHERE incarnation = ?1 AND (
  SELECT count(*) FROM asked_prunes AS newer WHERE newer.incarnation = ?1 AND (newer.at_ms > asked_prunes.at_ms
    OR (newer.at_ms = asked_prunes.at_ms AND newer.options < asked_prunes.options))) >= ?2
"""
# It is done, if it is still the same.
ANSWERED: Final = "DELETE FROM asked_prunes WHERE incarnation = ?1 AND options = ?2 AND through = ?3 AND at_ms = ?4"
# Of each instance the oldest that is due at ?2, after incarnation ?1.
ASKED: Final = """
SELECT json_group_array(json_object('incarnation', a.incarnation, 'name', i.name, 'options', json(a.options),
  'origin', json(a.origin), 'through', a.through, 'at_ms', a.at_ms)) FROM (
  SELECT incarnation, options, origin, through, min(at_ms) AS at_ms FROM asked_prunes
  WHERE incarnation > ?1 AND due_at_ms <= ?2 AND incarnation IN (SELECT incarnation FROM instances)
    AND json_valid(options) AND json_valid(origin)
  GROUP BY incarnation ORDER BY incarnation LIMIT ?3) AS a
CROSS JOIN instances i ON i.incarnation = a.incarnation
"""

# --- the ledger ----------------------------------------------------------------------------------------------

_RANGE_OBJECT: Final = """json_object('first_execution_id', first_execution_id,
      'last_execution_id', last_execution_id, 'executions', l.executions, 'events', l.events,
      'history_bytes', l.history_bytes, 'rule', l.rule, 'origin', l.origin, 'trigger', l.trigger,
      'first_pruned_at_ms', first_pruned_at_ms, 'last_pruned_at_ms', last_pruned_at_ms)"""
GROW_RANGES: Final = Rows(
    "incarnation sequence last_execution_id executions events history_bytes pruned_at_ms",
    """
UPDATE ledger SET last_execution_id = v.last_execution_id, executions = v.executions, events = v.events,
  history_bytes = v.history_bytes, last_pruned_at_ms = v.pruned_at_ms
FROM v WHERE ledger.incarnation = v.incarnation AND ledger.sequence = v.sequence
""",
    one="""
UPDATE ledger SET last_execution_id = ?3, executions = ?4, events = ?5, history_bytes = ?6, last_pruned_at_ms = ?7
WHERE incarnation = ?1 AND sequence = ?2
""",
)
AUTOMATIC_RANGES: Final = f"""
SELECT json_group_array(json_array(sequence, {_RANGE_OBJECT})) FROM (
  SELECT * FROM ledger WHERE incarnation = ?1 AND run_id IS NULL ORDER BY sequence) AS l
"""
DELETE_AUTOMATIC_RANGES: Final = "DELETE FROM ledger WHERE incarnation = ?1 AND run_id IS NULL"
LAST_SEQUENCE: Final = "SELECT coalesce(max(sequence), 0) FROM ledger WHERE incarnation = ?1"
INSERT_RANGE: Final = f"""
INSERT INTO ledger (incarnation, sequence, run_id, {_RANGE})
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
"""
# The row of run ?2 in the ledger of incarnation ?1: made, or made longer. Answers with its executions.
RECORD_RUN: Final = f"""
INSERT INTO ledger (incarnation, run_id, {_RANGE}, sequence)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12,
  (SELECT coalesce(max(sequence), 0) + 1 FROM ledger WHERE incarnation = ?1))
{_OR_MADE_LONGER}
RETURNING executions
"""
ADD_TO_RUN: Final = """
INSERT INTO prune_runs (run_id, trigger, rule, origin, run_by, reason, started_at_ms, instances, executions, events,
  history_bytes, archive, kind, host, duro_version, plan_hash)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)
ON CONFLICT (run_id) DO UPDATE SET instances = instances + excluded.instances,
  executions = executions + excluded.executions, events = events + excluded.events,
  history_bytes = history_bytes + excluded.history_bytes,
  rule = CASE WHEN rule = excluded.rule THEN rule ELSE 'several' END,
  origin = CASE WHEN origin = excluded.origin THEN origin ELSE 'several' END
"""
_RUN: Final = """json_object('run_id', r.run_id, 'trigger', r.trigger, 'rule', r.rule, 'origin', r.origin,
    'by', r.run_by, 'reason', r.reason, 'started_at_ms', r.started_at_ms, 'instances', r.instances,
    'executions', r.executions, 'events', r.events, 'history_bytes', r.history_bytes, 'archive', r.archive,
    'kind', r.kind, 'source', json_array(r.host, r.duro_version, r.plan_hash))"""
LEDGER_OF: Final = f"""
SELECT json_group_array(json_object('range', {_RANGE_OBJECT},
  'run', CASE WHEN r.run_id IS NOT NULL THEN {_RUN} END))
FROM (SELECT * FROM ledger WHERE incarnation = ?1 ORDER BY sequence) AS l
LEFT JOIN prune_runs r ON r.run_id = l.run_id
"""
LIST_RUNS: Final = f"""
SELECT json_group_array({_RUN}) FROM (SELECT * FROM prune_runs INDEXED BY prune_runs_by_age
  WHERE (started_at_ms, run_id) < (?2, ?3) ORDER BY started_at_ms DESC, run_id DESC LIMIT ?1) AS r
"""
GET_RUN: Final = f"SELECT json_group_array({_RUN}) FROM prune_runs AS r WHERE run_id = ?1"
LEDGER_TOTALS: Final = """
SELECT json_group_array(json_object('name', name, 'instances', instances, 'executions', executions, 'events', events,
  'history_bytes', history_bytes, 'first_pruned_at_ms', first_pruned_at_ms, 'last_pruned_at_ms', last_pruned_at_ms))
FROM (SELECT * FROM ledger_totals WHERE ?1 IS NULL OR name = ?1 ORDER BY name)
"""
# An execution that may have been pruned: incarnation, the current execution, and its row's state if there is a row.
REMOVAL_OF: Final = """
SELECT i.incarnation, i.execution_id, e.removal, e.pruned_at_ms, e.reclaim_at_ms, e.run_id
FROM instances i LEFT JOIN executions e ON e.incarnation = i.incarnation AND e.execution_id = ?2
WHERE i.instance_id = ?1
"""

# --- undo ----------------------------------------------------------------------------------------------------

RUN_EXISTS: Final = "SELECT EXISTS (SELECT 1 FROM prune_runs WHERE run_id = ?1)"
_MARKED: Final = "json_array(e.incarnation, e.execution_id, e.event_count, e.history_bytes, i.instance_id)"
MARKED_OF_RUN: Final = f"""
SELECT json_group_array({_MARKED}) FROM ledger l INDEXED BY ledger_by_run
CROSS JOIN executions e ON e.incarnation = l.incarnation
  AND e.execution_id BETWEEN l.first_execution_id AND l.last_execution_id AND e.run_id = l.run_id
  AND e.removal = 'pruned'
CROSS JOIN instances i ON i.incarnation = e.incarnation
WHERE l.run_id = ?1
"""
MARKED_OF_INSTANCE: Final = f"""
SELECT json_group_array({_MARKED}) FROM instances i
CROSS JOIN executions e ON e.incarnation = i.incarnation AND e.removal = 'pruned'
WHERE i.incarnation = ?1
"""
# Executions that have no row any more: of a run, in the ranges of its ledger rows, and of an instance.
# A range may have executions in it that other runs took: what is still marked by this one has not gone.
GONE_OF_RUN: Final = """
SELECT (SELECT executions FROM prune_runs WHERE run_id = ?1) - coalesce(sum(l.executions), 0)
  + coalesce(sum((SELECT min(l.executions - count(*) FILTER (WHERE e.run_id = ?1),
    l.last_execution_id - l.first_execution_id + 1 - count(*))
  FROM executions e WHERE e.incarnation = l.incarnation
    AND e.execution_id BETWEEN l.first_execution_id AND l.last_execution_id)), 0)
FROM ledger l INDEXED BY ledger_by_run WHERE l.run_id = ?1
"""
# Of which removed instances run ?1 pruned executions that are there.
REMOVED_SINCE: Final = """
SELECT json_group_array(r.instance_id) FROM ledger l INDEXED BY ledger_by_run
CROSS JOIN removed_instances r ON r.incarnation = l.incarnation
WHERE l.run_id = ?1 AND EXISTS (SELECT 1 FROM executions e WHERE e.incarnation = l.incarnation
  AND e.execution_id BETWEEN l.first_execution_id AND l.last_execution_id AND e.run_id = ?1 AND e.removal = 'pruned')
"""
GONE_OF_INSTANCE: Final = """
SELECT i.execution_id - (SELECT count(*) FROM executions e WHERE e.incarnation = i.incarnation)
FROM instances i WHERE i.incarnation = ?1
"""
RESTORE: Final = """
UPDATE executions SET removal = 'live', pruned_at_ms = NULL, reclaim_at_ms = NULL, run_id = NULL, takes_children = 0,
  archive = NULL, unarchived = 0
WHERE incarnation = ?1 AND execution_id BETWEEN ?2 AND ?3
"""
RESTORED: Final = "UPDATE instances SET live_from = min(live_from, ?2) WHERE incarnation = ?1"

# --- reclaiming ----------------------------------------------------------------------------------------------

# Marked executions whose grace is over at ?1 and that wait for no archive, at most ?2.
RECLAIMABLE: Final = """
SELECT json_group_array(json_array(incarnation, execution_id, event_count, takes_children, archive)) FROM (
  SELECT * FROM executions INDEXED BY executions_marked
  WHERE removal <> 'live' AND unarchived = 0 AND reclaim_at_ms <= ?1
  ORDER BY reclaim_at_ms, incarnation, execution_id LIMIT ?2)
"""
RECLAIMING: Final = """
UPDATE executions SET removal = 'reclaiming' WHERE incarnation = ?1 AND execution_id = ?2 AND removal <> 'reclaiming'
"""
# The first ?3 events of an execution.
DELETE_EVENTS: Final = """
DELETE FROM history WHERE incarnation = ?1 AND execution_id = ?2 AND event_id < ?3 + (
  SELECT min(event_id) FROM history WHERE incarnation = ?1 AND execution_id = ?2)
"""
ANY_RECLAIMABLE: Final = """
SELECT EXISTS (SELECT 1 FROM executions INDEXED BY executions_marked
  WHERE removal <> 'live' AND unarchived = 0 AND reclaim_at_ms <= ?1)
"""
# Everything of the removed instances (incarnations) ?1.
DELETE_WHOLE: Final = tuple(
    f"DELETE FROM {table} WHERE {column} IN (SELECT value FROM json_each(?1))"
    for table, column in (
        ("history", "incarnation"),
        ("executions", "incarnation"),
        ("messages", "incarnation"),
        ("mailbox", "incarnation"),
        ("timers", "incarnation"),
        ("activities", "incarnation"),
        ("ledger", "incarnation"),
        ("asked_prunes", "incarnation"),
        ("requests", "incarnation"),
        ("lineage", "child_incarnation"),
        ("removed_instances", "incarnation"),
    )
)
BACKLOG: Final = """
SELECT count(*) + (SELECT count(*) FROM executions INDEXED BY executions_unarchived WHERE unarchived = 1),
  count(*) FILTER (WHERE reclaim_at_ms <= ?1),
  (SELECT count(*) FROM (
   SELECT incarnation FROM instances INDEXED BY instances_prune_due
   WHERE prune_due_at_ms IS NOT NULL AND prune_due_at_ms <= ?1
   UNION SELECT a.incarnation FROM asked_prunes a CROSS JOIN instances i ON i.incarnation = a.incarnation
   WHERE a.due_at_ms <= ?1)),
  (SELECT count(*) FROM removed_instances),
  (SELECT count(*) FROM removed_instances INDEXED BY removed_instances_due
   WHERE unarchived = 0 AND reclaim_at_ms <= ?1),
  (SELECT count(*) FROM executions INDEXED BY executions_unarchived WHERE unarchived = 1),
  (SELECT count(*) FROM removed_instances INDEXED BY removed_instances_unarchived
   WHERE unarchived = 1)
FROM executions INDEXED BY executions_marked WHERE removal <> 'live' AND unarchived = 0
"""

# --- holds, policies, versions -------------------------------------------------------------------------------

BUMP_POLICY_REVISION: Final = "UPDATE store SET policy_revision = policy_revision + 1"
BUMP_HOLD_REVISION: Final = "UPDATE store SET hold_revision = hold_revision + 1"
HOLD_TARGET: Final = """
SELECT i.incarnation, e.execution_id FROM instances i
LEFT JOIN executions e ON e.incarnation = i.incarnation AND e.execution_id = ?2 AND e.removal = 'live'
WHERE i.instance_id = ?1
"""
HOLD_EXISTS: Final = "SELECT EXISTS (SELECT 1 FROM holds WHERE hold_id = ?1)"
INSERT_HOLD: Final = """
INSERT INTO holds (hold_id, instance_id, execution_id, name, version, reason, created_at_ms, created_by, until_ms)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
"""
DELETE_HOLD: Final = "DELETE FROM holds WHERE hold_id = ?1"
SET_POLICY: Final = "UPDATE instances SET prune_policy = ?2 WHERE instance_id = ?1"
INSERT_VERSION: Final = """
INSERT INTO versions (name, version, first_seen_at_ms) VALUES (?1, ?2, ?3) ON CONFLICT (name, version) DO NOTHING
"""
IS_WORKER: Final = "SELECT EXISTS (SELECT 1 FROM workers WHERE worker_id = ?1)"
PUBLISH: Final = "UPDATE workers SET published = ?2 WHERE worker_id = ?1"
UPSERT_PUBLICATION: Final = """
INSERT INTO publications (published, sequence, last_published_at_ms)
VALUES (?1, (SELECT coalesce(max(sequence), 0) + 1 FROM publications), ?2)
ON CONFLICT (published) DO UPDATE SET last_published_at_ms = excluded.last_published_at_ms,
  sequence = CASE WHEN ?3 THEN excluded.sequence ELSE sequence END
"""
# What live workers (at ?1) publish, damaged or not: who cannot read it must not go by what others say ...
PUBLISHED: Final = """
SELECT json_group_array(published) FROM (
  SELECT DISTINCT w.published FROM workers w LEFT JOIN publications p ON p.published = w.published
  WHERE w.lease_until_ms > ?1 AND w.published <> '{}' ORDER BY p.sequence)
"""
# ... and what was published last.
LAST_PUBLISHED: Final = """
SELECT json_group_array(published) FROM (
  SELECT published FROM publications ORDER BY last_published_at_ms DESC, sequence DESC LIMIT 1)
"""
# Whatever was published, by whomever.
PAST_PUBLICATIONS: Final = """
SELECT json_group_array(published) FROM (
  SELECT published FROM publications ORDER BY last_published_at_ms DESC, sequence DESC)
"""
# One step from each name to the next along the index.
NAMES: Final = """
WITH RECURSIVE names (name) AS (
  SELECT min(name) FROM instances
  UNION ALL
  SELECT (SELECT name FROM instances INDEXED BY instances_by_name WHERE name > n.name ORDER BY name LIMIT 1)
  FROM names n WHERE n.name IS NOT NULL)
SELECT json_group_array(name) FROM names WHERE name IS NOT NULL
"""
_PRUNABLE: Final = """
SELECT json_group_array(json_object('instance_id', instance_id, 'incarnation', incarnation, 'name', name,
  'version', version, 'status', status, 'execution_id', execution_id,
  'live_executions_max', execution_id - live_from + 1, 'policy', prune_policy, 'swept_at_ms', swept_at_ms)) FROM (
  SELECT * FROM instances {source} WHERE incarnation > ?1 AND (?3 IS NULL OR name IN (SELECT value FROM json_each(?3)))
    AND (?4 IS NULL OR instance_id IN (SELECT value FROM json_each(?4)))
    AND (NOT ?5 OR execution_id > live_from) AND (NOT ?6 OR prune_due_at_ms <= ?8)
    AND (NOT ?7 OR prune_policy IS NOT NULL) {condition} ORDER BY incarnation LIMIT ?2)
"""
# A status that is none keeps its own instance from being pruned, and no other.
_READABLE: Final = f"AND {is_one_of('status', InstanceStatus)}"
PRUNABLE: Final = _PRUNABLE.format(source="NOT INDEXED", condition=_READABLE)
PRUNABLE_BY_ID: Final = _PRUNABLE.format(source="", condition="").replace("?4 IS NULL OR instance_id", "instance_id")
PRUNABLE_OWN: Final = _PRUNABLE.format(
    source="INDEXED BY instances_own_policy", condition=f"AND prune_policy IS NOT NULL {_READABLE}"
)
PRUNABLE_DUE: Final = _PRUNABLE.format(
    source="INDEXED BY instances_prune_due", condition=f"AND prune_due_at_ms IS NOT NULL {_READABLE}"
)
