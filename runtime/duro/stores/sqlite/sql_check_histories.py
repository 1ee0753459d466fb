"""What the checks of a store ask its histories; see ``sql`` and ``sql_checks`` for the rules that hold for them."""

# ruff: noqa: S608 - as in `sql`: only constants are put together, data is bound

from typing import Final

from duro.stores.sqlite.check_owners import of_execution

# Those that are there, and those that were removed and may come back.
INSTANCES: Final = """(SELECT incarnation, instance_id, execution_id FROM instances
    UNION ALL SELECT incarnation, instance_id, execution_id FROM removed_instances WHERE reclaiming = 0)"""

# How the history of an execution ``e`` has to end, NULL while it runs; and how it does.
ENDS: Final = """('OrchestrationCompleted', 'OrchestrationFailed', 'OrchestrationCancelled', 'OrchestrationTerminated',
  'OrchestrationContinuedAsNew')"""
END_EVENT: Final = """CASE e.status WHEN 'completed' THEN 'OrchestrationCompleted'
    WHEN 'failed' THEN 'OrchestrationFailed' WHEN 'cancelled' THEN 'OrchestrationCancelled'
    WHEN 'terminated' THEN 'OrchestrationTerminated' WHEN 'continued_as_new' THEN 'OrchestrationContinuedAsNew' END"""
LAST_EVENT: Final = """(SELECT CASE WHEN NOT json_valid(h.data) THEN 'an event that cannot be read'
    ELSE coalesce(h.data ->> '$.type', 'an event without a type') END FROM history h WHERE h.incarnation = e.incarnation
    AND h.execution_id = e.execution_id ORDER BY h.event_id DESC LIMIT 1)"""

# From each execution that has a history to the next along the key, however long the histories are.
_NEXT: Final = """(SELECT n.{column} FROM history n
      WHERE (n.incarnation, n.execution_id) > (s.incarnation, s.execution_id)
      ORDER BY n.incarnation, n.execution_id LIMIT 1)"""
_STEPS: Final = f"""
WITH RECURSIVE steps (incarnation, execution_id) AS (
  SELECT * FROM (SELECT incarnation, execution_id FROM history ORDER BY incarnation, execution_id LIMIT 1)
  UNION ALL
  SELECT {_NEXT.format(column="incarnation")}, {_NEXT.format(column="execution_id")}
  FROM steps s WHERE s.incarnation IS NOT NULL)
"""
# Of each execution that has a history: one that is not there.
HISTORIES: Final = of_execution(f"{LAST_EVENT} IN {ENDS}")
_UNOWNED: Final = f"{_STEPS} SELECT e.incarnation, e.execution_id FROM steps e WHERE e.incarnation IS NOT NULL AND"
LEFT_HISTORIES: Final = f"{_UNOWNED} {HISTORIES.left}"
LOST_HISTORIES: Final = f"{_UNOWNED} {HISTORIES.lost}"

# Instances that have not ended, with no more than ?3 events in their current execution.
_LIVE: Final = """live (incarnation, instance_id, execution_id, waits) AS (
  SELECT i.incarnation, i.instance_id, i.execution_id, i.waits
  FROM instances i INDEXED BY instances_unfinished CROSS JOIN executions e
    ON e.incarnation = i.incarnation AND e.execution_id = i.execution_id AND e.event_count <= ?3
  WHERE i.completed_at_ms IS NULL)"""
_ASKED: Final = "('ActivityScheduled', 'TimerCreated', 'EventWaitStarted', 'SubOrchestrationScheduled')"
# What those asked for, and neither their history nor a message answers or withdraws: each event by itself.
_OWED: Final = f"""owed (incarnation, instance_id, execution_id, waits, event_id, type, name) AS (
  SELECT v.incarnation, v.instance_id, v.execution_id, v.waits, o.value ->> 0, o.value ->> 1, o.value ->> 2
  FROM live v CROSS JOIN json_each((SELECT json_group_array(json_array(asked, type, name)) FROM (
    SELECT asked, min(type) AS type, min(name) AS name FROM (
      SELECT coalesce(h.data ->> '$.scheduled_event_id', h.event_id) AS asked, h.data ->> '$.type' AS type,
        coalesce(h.data ->> '$.instance_id', h.data ->> '$.name') AS name FROM history h
      WHERE h.incarnation = v.incarnation AND h.execution_id = v.execution_id AND json_valid(h.data)
      UNION ALL
      SELECT m.data ->> '$.scheduled_event_id', m.data ->> '$.type', NULL FROM messages m
      WHERE m.incarnation = v.incarnation AND json_valid(m.data) AND m.data ->> '$.execution_id' = v.execution_id)
    GROUP BY asked HAVING count(*) = 1 AND min(type) IN {_ASKED}))) AS o)"""
# Of that, what is in no queue any more. A child that stands alone, by whatever word, tells nobody of its end.
LOST_WORK: Final = f"""
WITH {_LIVE}, {_OWED}
SELECT instance_id || '/' || execution_id, 'event ' || event_id || ' asked for ' || CASE type
    WHEN 'ActivityScheduled' THEN 'activity ' || name WHEN 'TimerCreated' THEN 'a timer'
    WHEN 'EventWaitStarted' THEN 'event ' || name ELSE 'child ' || name END || ', and nothing will answer it'
FROM owed o WHERE CASE type
  WHEN 'ActivityScheduled' THEN NOT EXISTS (SELECT 1 FROM activities a
    WHERE a.incarnation = o.incarnation AND a.execution_id = o.execution_id AND a.event_id = o.event_id)
  WHEN 'TimerCreated' THEN NOT EXISTS (SELECT 1 FROM timers t
    WHERE t.incarnation = o.incarnation AND t.execution_id = o.execution_id AND t.event_id = o.event_id)
  WHEN 'EventWaitStarted' THEN name NOT IN (SELECT value FROM json_each(iif(json_valid(o.waits), o.waits, '[]')))
  ELSE NOT EXISTS (SELECT 1 FROM lineage l INDEXED BY lineage_by_parent
    LEFT JOIN instances c ON c.incarnation = l.child_incarnation
    WHERE l.parent_incarnation = o.incarnation AND l.parent_execution_id = o.execution_id
      AND l.parent_event_id = o.event_id AND l.detached = 0 AND c.incarnation IS NOT NULL
      AND c.completed_at_ms IS NULL) END
"""
# What is queued to run, and the event that asked for it says otherwise. A type of a newer duro says nothing.
OTHER_ACTIVITIES: Final = f"""
SELECT instance_id || '/' || execution_id, 'activity ' || event_id || ' is queued as ' || name || ', and ' || CASE
    WHEN data IS NULL THEN 'the event is not there' WHEN NOT json_valid(data) THEN 'the event cannot be read'
    ELSE 'the event is ' || coalesce(data ->> '$.type', 'of no type') || coalesce(' ' || (data ->> '$.name'), '') END
FROM (SELECT i.instance_id, a.execution_id, a.event_id, a.name, h.data
  FROM activities a CROSS JOIN instances i
    ON i.incarnation = a.incarnation AND i.execution_id = a.execution_id AND i.completed_at_ms IS NULL
  LEFT JOIN history h
    ON h.incarnation = a.incarnation AND h.execution_id = a.execution_id AND h.event_id = a.event_id)
WHERE CASE WHEN data IS NULL OR NOT json_valid(data) THEN 1
  WHEN data ->> '$.type' = 'ActivityScheduled' THEN data ->> '$.name' IS NOT name
  ELSE data ->> '$.type' IN {_ASKED} END
"""
_CHILD_OF_LIVE: Final = """live v CROSS JOIN lineage l INDEXED BY lineage_by_parent
    ON l.parent_incarnation = v.incarnation AND l.parent_execution_id = v.execution_id"""
# Children whose lineage has a mark that lets a purge take them, which the history of their running parent has not.
UNRECORDED_MARKS: Final = f"""
WITH {_LIVE}, marked (incarnation, execution_id, event_id, mark) AS (
  SELECT v.incarnation, v.execution_id, l.parent_event_id, 'observed' FROM {_CHILD_OF_LIVE}
  WHERE l.observed_at_ms IS NOT NULL
  UNION ALL
  SELECT v.incarnation, v.execution_id, l.parent_event_id, 'given up' FROM {_CHILD_OF_LIVE}
  WHERE l.given_up_at_ms IS NOT NULL
  EXCEPT
  SELECT v.incarnation, v.execution_id, h.data ->> '$.scheduled_event_id',
    iif(h.data ->> '$.type' = 'SubOrchestrationCancelRequested', 'given up', 'observed')
  FROM live v CROSS JOIN history h ON h.incarnation = v.incarnation AND h.execution_id = v.execution_id
  WHERE json_valid(h.data) AND h.data ->> '$.type' IN
    ('SubOrchestrationCompleted', 'SubOrchestrationFailed', 'SubOrchestrationCancelRequested'))
SELECT i.instance_id, 'it is marked as ' || m.mark || ', and the history of ' || l.parent_instance_id || '/' ||
  m.execution_id || ' does not say so'
FROM marked m CROSS JOIN lineage l INDEXED BY lineage_by_parent ON l.parent_incarnation = m.incarnation
  AND l.parent_execution_id = m.execution_id AND l.parent_event_id = m.event_id
CROSS JOIN instances i ON i.incarnation = l.child_incarnation
"""
