"""The SQL statements of the checks of a store; see ``sql`` for the rules that hold for them.

A check answers with the number of its findings and the first ``?1`` of them as (subject, text), in one statement: what
it compares is of one moment. None reads a history, but for the last event of an execution, the one that asked for a
queued activity, and all of what runs if that has at most ``?3`` events; unless it is ``deep``. ``?2`` is now. A repair
deletes what its check finds and nothing else: what is proved to be a leftover (``check_owners``).
"""

# ruff: noqa: S608 - as in `sql`: only constants are put together, data is bound

from typing import Final

from duro.model.limits import NUMBER_MAX
from duro.stores.sqlite import sql_check_histories as of
from duro.stores.sqlite.check import DAMAGED, Check
from duro.stores.sqlite.check_owners import ACCOUNTED, EVIDENCE_IS_MISSING, of_instance, of_running, of_unfinished
from duro.stores.sqlite.sql_check_texts import TEXT_CHECKS
from duro.stores.sqlite.sql_check_warnings import WARNINGS

_COUNTED: Final = """
WITH found (subject, text) AS ({select})
SELECT (SELECT count(*) FROM found),
  (SELECT CAST(json_group_array(json_array(subject, text)) AS BLOB)
    FROM (SELECT subject, text FROM found LIMIT ?1)), ?2, ?3
"""


def counted(check: Check) -> str:
    return _COUNTED.format(select=check.select)


_REPAIR: Final = "`duroctl doctor --repair` deletes the rows: they are left of what was removed, or has ended"
_EXECUTION: Final = "i.instance_id || '/' || e.execution_id"
_OWNERS: Final = {
    **{
        owner.table: owner
        for owner in (
            *(of_instance("executions"), of_instance("requests"), of_instance("asked_prunes"), of_instance("ledger")),
            *(of_instance("lineage", "child_incarnation"), of_unfinished("messages"), of_unfinished("mailbox")),
            *(of_running("timers"), of_running("activities")),
        )
    }
}


def _left(name: str, table: str, looks_for: str) -> Check:
    """Leftovers in a table."""
    owner = _OWNERS[table]
    return Check(
        name,
        "error",
        looks_for,
        _REPAIR,
        f"""
SELECT 'incarnation ' || {owner.key}, count(*) || ' rows of {table}' FROM {table} AS e
WHERE {owner.left} GROUP BY {owner.key}""",
        (f"DELETE FROM {table} AS e WHERE {owner.left}",),
    )


def _lost_rows() -> str:
    """What is left of something that is lost, in all tables but those that have a text of their own."""
    return " UNION ALL ".join(
        f"""
SELECT 'incarnation ' || {owner.key}, count(*) || ' rows of {table}, and what they belong to is gone' FROM {table} AS e
WHERE {owner.lost} GROUP BY {owner.key}"""
        for table, owner in _OWNERS.items()
        if table != "executions"
    )


CHECKS: Final = (
    _left("executions-without-instance", "executions", "executions of instances that were removed"),
    Check(
        "history-without-execution",
        "error",
        "histories of executions that were pruned, and of instances that were removed",
        _REPAIR,
        f"""
SELECT 'incarnation ' || incarnation || '/' || execution_id, 'a history without its execution'
FROM ({of.LEFT_HISTORIES})""",
        (f"DELETE FROM history WHERE (incarnation, execution_id) IN ({of.LEFT_HISTORIES})",),
    ),
    Check(
        "work-without-instance",
        "error",
        "rows whose instance or execution is gone, and nothing says that it was removed: what is left of what was lost",
        DAMAGED,
        f"""
SELECT 'incarnation ' || incarnation || '/' || execution_id, 'it is ' || status || ', and its instance is gone'
FROM executions AS e WHERE {_OWNERS["executions"].lost}
UNION ALL
SELECT 'incarnation ' || incarnation || '/' || execution_id, 'a history without its execution'
FROM ({of.LOST_HISTORIES})
UNION ALL {_lost_rows()}""",
    ),
    _left("messages-to-nobody", "messages", "messages to instances that have ended"),
    _left("mailbox-of-nobody", "mailbox", "events for instances that have ended"),
    _left("timers-of-nobody", "timers", "timers of executions that have ended"),
    _left("activities-of-nobody", "activities", "queued activities of executions that have ended"),
    _left("requests-without-instance", "requests", "request ids of instances that were removed"),
    _left("asked-prunes-without-instance", "asked_prunes", "prunes that instances asked for that were removed"),
    _left("ledger-without-instance", "ledger", "ledgers of instances that were removed"),
    _left("lineage-without-child", "lineage", "lineages of children that were removed"),
    Check(
        "instance-without-execution",
        "error",
        "instances whose current execution is missing",
        DAMAGED,
        """
SELECT i.instance_id, 'its current execution ' || i.execution_id || ' is missing' FROM instances i
WHERE NOT EXISTS (SELECT 1 FROM executions e
  WHERE e.incarnation = i.incarnation AND e.execution_id = i.execution_id AND e.removal = 'live')""",
    ),
    Check(
        "status-against-execution",
        "error",
        "instances that say another status, or another time of their end, than their current execution",
        DAMAGED,
        """
SELECT i.instance_id, 'it is ' || i.status || ', its execution ' || e.execution_id || ' is ' || e.status
FROM instances i CROSS JOIN executions e ON e.incarnation = i.incarnation AND e.execution_id = i.execution_id
WHERE e.status <> i.status AND NOT (i.status = 'running' AND e.status = 'pending')
UNION ALL
SELECT i.instance_id, 'it ended at ' || coalesce(i.completed_at_ms, '(not recorded)') || ' ms, its execution ' ||
  e.execution_id || ' at ' || coalesce(e.completed_at_ms, '(not recorded)')
FROM instances i CROSS JOIN executions e ON e.incarnation = i.incarnation AND e.execution_id = i.execution_id
WHERE e.completed_at_ms IS NOT i.completed_at_ms AND e.status = i.status""",
    ),
    Check(
        "executions-out-of-order",
        "error",
        "executions beside the current one that have not continued as new, or come after it",
        DAMAGED,
        f"""
SELECT {_EXECUTION}, 'it is ' || e.status || ', and the current execution is ' || i.execution_id
FROM instances i CROSS JOIN executions e ON e.incarnation = i.incarnation
WHERE e.execution_id > i.execution_id OR (e.execution_id < i.execution_id AND e.status <> 'continued_as_new')""",
    ),
    Check(
        "status-against-history",
        "error",
        "executions that ended, or run, otherwise than their history says",
        DAMAGED,
        f"""
SELECT instance_id || '/' || execution_id,
  'it is ' || status || ', and its history ends with ' || coalesce(last, 'nothing') FROM (
  SELECT i.instance_id, e.execution_id, e.status, {of.END_EVENT} AS expected, {of.LAST_EVENT} AS last
  FROM {of.INSTANCES} i CROSS JOIN executions e ON e.incarnation = i.incarnation AND e.removal <> 'reclaiming')
WHERE CASE WHEN expected IS NOT NULL THEN last IS NOT expected
  ELSE last IN {of.ENDS} OR (status = 'running') <> (last IS NOT NULL) END""",
    ),
    Check(
        "events-against-count",
        "error",
        "executions whose history is shorter or longer than they count",
        DAMAGED,
        f"""
SELECT {_EXECUTION}, 'it counts ' || e.event_count || ' events, and the last one is ' || coalesce(
  (SELECT max(event_id) FROM history h WHERE h.incarnation = e.incarnation AND h.execution_id = e.execution_id), 0)
FROM {of.INSTANCES} i CROSS JOIN executions e ON e.incarnation = i.incarnation AND e.removal <> 'reclaiming'
WHERE e.event_count <> coalesce(
  (SELECT max(event_id) FROM history h WHERE h.incarnation = e.incarnation AND h.execution_id = e.execution_id), 0)""",
    ),
    Check(
        "history-with-gaps",
        "error",
        "executions of whose history events are missing before the last one",
        DAMAGED,
        f"""
SELECT subject, 'it counts ' || event_count || ' events, and ' || there || ' are there, from ' || first || ' on' FROM (
  SELECT {_EXECUTION} AS subject, e.event_count, count(h.event_id) AS there, coalesce(min(h.event_id), 0) AS first
  FROM {of.INSTANCES} i CROSS JOIN executions e ON e.incarnation = i.incarnation AND e.removal <> 'reclaiming'
  LEFT JOIN history h ON h.incarnation = e.incarnation AND h.execution_id = e.execution_id
  WHERE iif(e.completed_at_ms IS NULL, e.event_count, {NUMBER_MAX}) <= ?3
  GROUP BY e.incarnation, e.execution_id)
WHERE event_count <> there OR (there > 0 AND first <> 1)""",
    ),
    Check(
        "history-against-bytes",
        "error",
        "executions whose history is larger or smaller than they count (plans and totals are wrong)",
        DAMAGED,
        f"""
SELECT subject, 'it counts ' || history_bytes || ' bytes, and ' || there || ' are there' FROM (
  SELECT {_EXECUTION} AS subject, e.history_bytes, coalesce(sum(octet_length(h.data)), 0) AS there
  FROM {of.INSTANCES} i CROSS JOIN executions e ON e.incarnation = i.incarnation AND e.removal <> 'reclaiming'
  LEFT JOIN history h ON h.incarnation = e.incarnation AND h.execution_id = e.execution_id
  GROUP BY e.incarnation, e.execution_id)
WHERE history_bytes <> there""",
        deep=True,
    ),
    Check(
        "history-unreadable",
        "error",
        "events that nobody can read",
        DAMAGED,
        f"""
SELECT {_EXECUTION}, 'event ' || h.event_id || ' is no JSON'
FROM {of.INSTANCES} i CROSS JOIN executions e ON e.incarnation = i.incarnation AND e.removal <> 'reclaiming'
CROSS JOIN history h ON h.incarnation = e.incarnation AND h.execution_id = e.execution_id
  AND iif(e.completed_at_ms IS NULL, e.event_count, {NUMBER_MAX}) <= ?3
WHERE NOT json_valid(h.data)""",
    ),
    Check(
        "messages-unreadable",
        "error",
        "messages and events on their way that nobody can read: who takes one is blocked",
        "`duroctl instances terminate` it, or restore a backup; keep a copy of the file and report it",
        """
SELECT i.instance_id, 'message ' || m.message_id || ' is no JSON'
FROM messages m CROSS JOIN instances i ON i.incarnation = m.incarnation WHERE NOT json_valid(m.data)
UNION ALL
SELECT i.instance_id, 'event ' || m.name || ' is no JSON'
FROM mailbox m CROSS JOIN instances i ON i.incarnation = m.incarnation WHERE NOT json_valid(m.data)""",
    ),
    Check(
        "live-before-the-first",
        "error",
        "executions that pruning no longer looks at, and that are live",
        DAMAGED,
        """
SELECT i.instance_id, 'execution ' || min(e.execution_id) || ' is live, and none before ' || i.live_from || ' should be'
FROM instances i CROSS JOIN executions e ON e.incarnation = i.incarnation AND e.execution_id < i.live_from
  AND e.removal = 'live' GROUP BY i.incarnation""",
    ),
    Check(
        "pruned-ahead",
        "error",
        "instances that were pruned at the end of an execution that has not ended",
        DAMAGED,
        """
SELECT instance_id, 'pruned at the end of ' || pruned_through || ', and it is in execution ' || execution_id
FROM instances WHERE pruned_through >= execution_id""",
    ),
    Check(
        "policy-unreadable",
        "error",
        "instances whose own policy nobody can read: what should prune them fails",
        "`duroctl policy set --instance` gives it another one, `duroctl policy unset --instance` takes it away",
        """
SELECT instance_id, 'its policy is ' || substr(prune_policy, 1, 100) FROM instances INDEXED BY instances_own_policy
WHERE prune_policy IS NOT NULL AND CASE WHEN json_valid(prune_policy) THEN
  coalesce(json_type(prune_policy, '$.policy'), '') NOT IN ('object', 'text')
  OR coalesce(json_type(prune_policy, '$.origin'), '') <> 'object' ELSE 1 END""",
    ),
    Check(
        "ledger-against-executions",
        "error",
        "executions that are neither live nor in the ledger",
        DAMAGED,
        """
SELECT instance_id, execution_id || ' executions there were: ' || live || ' are live, ' || pruned || ' in the ledger'
FROM (SELECT i.instance_id, i.execution_id,
  (SELECT count(*) FROM executions e WHERE e.incarnation = i.incarnation AND e.removal = 'live') AS live,
  coalesce((SELECT sum(CASE l.trigger WHEN 'undo' THEN -l.executions ELSE l.executions END) FROM ledger l
    WHERE l.incarnation = i.incarnation), 0) AS pruned FROM instances i WHERE i.execution_id > 1)
WHERE live + pruned <> execution_id
UNION ALL
SELECT instance_id, 'it was removed with ' || executions || ' executions: ' || live ||
  ' are there, and its ledger says ' || gone || ' of ' || execution_id
FROM (SELECT r.instance_id, r.execution_id, r.executions,
  (SELECT count(*) FROM executions e WHERE e.incarnation = r.incarnation AND e.removal = 'live') AS live,
  coalesce((SELECT sum(CASE l.trigger WHEN 'undo' THEN -l.executions ELSE l.executions END) FROM ledger l
    WHERE l.incarnation = r.incarnation), 0) AS gone FROM removed_instances r WHERE r.reclaiming = 0)
WHERE live <> executions OR gone <> execution_id""",
    ),
    Check(
        "lineage-parent",
        "error",
        "children whose parent has another id than they say",
        DAMAGED,
        """
SELECT i.instance_id, 'spawned by ' || l.parent_instance_id || ', and its parent (incarnation ' ||
  l.parent_incarnation || ') is ' || coalesce(p.instance_id, r.instance_id)
FROM lineage l CROSS JOIN instances i ON i.incarnation = l.child_incarnation
LEFT JOIN instances p ON p.incarnation = l.parent_incarnation
LEFT JOIN removed_instances r ON r.incarnation = l.parent_incarnation
WHERE l.parent_instance_id <> coalesce(p.instance_id, r.instance_id)""",
    ),
    Check(
        "lineage-circle",
        "error",
        "children that are older than their parent, or their own",
        DAMAGED,
        """
SELECT i.instance_id, 'incarnation ' || l.child_incarnation || ' was spawned by ' || l.parent_instance_id ||
  ', incarnation ' || l.parent_incarnation
FROM lineage l CROSS JOIN instances i ON i.incarnation = l.child_incarnation
WHERE l.parent_incarnation >= l.child_incarnation""",
    ),
    Check(
        "lineage-evidence",
        "error",
        "children of which nobody can tell whether a parent may still observe them (they are never cleaned up)",
        "look at each (`duroctl instances tree`), then end it (a parent that runs is told as usual) or, where its "
        "parent has gone on, `duroctl orphans adopt` it",
        f"""
SELECT i.instance_id, 'spawned by ' || l.parent_instance_id || '/' || l.parent_execution_id || CASE
    WHEN p.incarnation IS NULL THEN ', which is not there'
    WHEN p.instance_id <> l.parent_instance_id THEN ', and its parent is ' || p.instance_id
    ELSE ', which is ' || p.status || ' in execution ' || p.execution_id END ||
  ', ended ' || coalesce(l.spawner_end, '(not recorded)')
FROM lineage l CROSS JOIN instances i ON i.incarnation = l.child_incarnation
LEFT JOIN instances p ON p.incarnation = l.parent_incarnation
WHERE l.detached = 0 AND l.observed_at_ms IS NULL AND {EVIDENCE_IS_MISSING}""",
    ),
    Check(
        "lineage-lost",
        "error",
        "children whose history says who waits for their end, and whose lineage is missing or says that nobody does",
        DAMAGED,
        """
SELECT i.instance_id, 'spawned by ' || (h.data ->> '$.parent.instance_id') || '/' ||
  (h.data ->> '$.parent.execution_id') ||
  iif(l.child_incarnation IS NULL, ', and has no lineage', ', and is detached although nobody adopted it')
FROM instances i
CROSS JOIN history h ON h.incarnation = i.incarnation AND h.execution_id = i.execution_id AND h.event_id = 1
LEFT JOIN lineage l ON l.child_incarnation = i.incarnation
WHERE json_valid(h.data) AND h.data ->> '$.parent' IS NOT NULL
  AND (l.child_incarnation IS NULL OR (l.detached = 1 AND l.adopted_at_ms IS NULL))""",
        deep=True,
    ),
    Check(
        "observed-without-end",
        "error",
        "children that were observed and have not ended",
        DAMAGED,
        """
SELECT i.instance_id, 'its parent has recorded its end, and it is ' || i.status
FROM lineage l CROSS JOIN instances i ON i.incarnation = l.child_incarnation
WHERE l.observed_at_ms IS NOT NULL AND i.completed_at_ms IS NULL""",
    ),
    Check(
        "ended-untold",
        "error",
        "children that have ended and never told their parent: it may wait for ever",
        DAMAGED,
        """
SELECT i.instance_id, 'it is ' || i.status || ', and ' || l.parent_instance_id || '/' || l.parent_execution_id ||
  ' was not told'
FROM lineage l CROSS JOIN instances i ON i.incarnation = l.child_incarnation AND i.completed_at_ms IS NOT NULL
WHERE l.detached = 0 AND l.completion IS NULL""",
    ),
    Check(
        "never-woken",
        "error",
        "instances that have something to do, and that no worker will ever take",
        DAMAGED,
        """
SELECT instance_id, 'it is not ready, and has ' || work FROM (
  SELECT i.instance_id, CASE
    WHEN EXISTS (SELECT 1 FROM messages m WHERE m.incarnation = i.incarnation) THEN 'a message'
    WHEN EXISTS (SELECT 1 FROM timers t WHERE t.incarnation = i.incarnation) THEN 'a timer'
    WHEN EXISTS (SELECT 1 FROM executions e WHERE e.incarnation = i.incarnation AND e.execution_id = i.execution_id
      AND e.status = 'pending') THEN 'an execution to start'
    WHEN i.cancel_requested_at_ms IS NOT NULL AND i.cancel_delivered = 0 THEN 'a request to cancel it'
    WHEN NOT json_valid(i.waits) THEN 'waits that cannot be read'
    WHEN EXISTS (SELECT 1 FROM mailbox b WHERE b.incarnation = i.incarnation
      AND b.name IN (SELECT value FROM json_each(i.waits))) THEN 'an event that it waits for' END AS work
  FROM instances i INDEXED BY instances_unfinished
  WHERE i.completed_at_ms IS NULL AND i.ready_at_ms IS NULL AND i.lease_worker_id IS NULL AND i.blocked IS NULL)
WHERE work IS NOT NULL""",
    ),
    Check(
        "work-lost",
        "error",
        "what running instances asked for and is in no queue any more: they may wait for ever",
        "`duroctl instances terminate` it and start its work again, or restore a backup",
        of.LOST_WORK,
    ),
    Check(
        "activities-against-history",
        "error",
        "queued activities that their history does not ask for, or asks for by another name: another one would run",
        "`duroctl instances terminate` it and start its work again, or restore a backup",
        of.OTHER_ACTIVITIES,
    ),
    Check(
        "observed-unrecorded",
        "error",
        "children that a purge could take although their parent runs and has recorded no end of theirs",
        "`duroctl holds add` each until its parent has ended; keep a copy of the file and report it",
        of.UNRECORDED_MARKS,
    ),
    Check(
        "family-removed-in-part",
        "error",
        "children that are there although their parent was removed, and never came back themselves",
        "`duroctl prune undo` brings the parent back while that is possible; else `duroctl orphans adopt` the child",
        """
SELECT i.instance_id, 'its parent ' || r.instance_id || ' was removed'
FROM removed_instances r CROSS JOIN lineage l INDEXED BY lineage_by_parent ON l.parent_incarnation = r.incarnation
  AND l.detached = 0 CROSS JOIN instances i ON i.incarnation = l.child_incarnation
WHERE NOT EXISTS (SELECT 1 FROM ledger g WHERE g.incarnation = i.incarnation AND g.trigger = 'undo')""",
    ),
    Check(
        "removal-without-run",
        "error",
        "what was removed by hand, and the run that removed it is not recorded: it cannot be undone by its id",
        "`duroctl prune undo INSTANCE` while that is possible; keep a copy of the file and report it",
        """
SELECT r.instance_id, 'it was removed by ' || r.run_id FROM removed_instances r
WHERE r.run_id <> '' AND NOT EXISTS (SELECT 1 FROM prune_runs p WHERE p.run_id = r.run_id)
UNION ALL
SELECT i.instance_id, count(*) || ' executions were pruned by ' || e.run_id
FROM executions e INDEXED BY executions_marked CROSS JOIN instances i ON i.incarnation = e.incarnation
WHERE e.removal <> 'live' AND e.unarchived = 0 AND e.run_id <> ''
  AND NOT EXISTS (SELECT 1 FROM prune_runs p WHERE p.run_id = e.run_id)
GROUP BY i.incarnation, e.run_id""",
    ),
    Check(
        "counters",
        "error",
        "numbers of the store that were given already, or are missing, and instances that are lost without a trace",
        DAMAGED,
        f"""
SELECT 'store', 'the next ' || number || ' is ' || next || ', and ' || highest || ' is in use' FROM (
  SELECT 'incarnation' AS number, next_incarnation AS next, max(
    (SELECT coalesce(max(incarnation), 0) FROM instances),
    (SELECT coalesce(max(incarnation), 0) FROM removed_instances)) AS highest FROM store
  UNION ALL
  SELECT 'message', next_message_id, max((SELECT coalesce(max(message_id), 0) FROM messages),
    (SELECT coalesce(max(sequence), 0) FROM mailbox)) FROM store)
WHERE highest >= next
UNION ALL
SELECT 'store', (next_incarnation - 1) || ' instances were made, and ' || accounted ||
  ' are there, were removed, or stand in the totals' FROM (SELECT next_incarnation, {ACCOUNTED} AS accounted FROM store)
WHERE accounted <> next_incarnation - 1
UNION ALL
SELECT 'store', 'its own row, of counters and revisions, is missing' WHERE NOT EXISTS (SELECT 1 FROM store)""",
    ),
    Check(
        "holds-unreadable",
        "error",
        "holds that name nothing, or something that cannot be held: plans and removals fail beside them",
        "`duroctl holds remove` them, then hold what was meant",
        """
SELECT hold_id, 'it holds instance ' || coalesce(instance_id, '(none)') || ', execution ' ||
  coalesce(execution_id, '(none)') || ', name ' || coalesce(name, '(none)') || ', version ' ||
  coalesce(version, '(none)')
FROM holds WHERE coalesce(instance_id, name, version) IS NULL
  OR (instance_id IS NOT NULL AND coalesce(name, version) IS NOT NULL)
  OR (execution_id IS NOT NULL AND (instance_id IS NULL OR execution_id < 1))
  OR '' IN (coalesce(instance_id, '-'), coalesce(name, '-'), coalesce(version, '-'))""",
    ),
    Check(
        "capabilities-of-nobody",
        "error",
        "what workers can do that are gone without a trace",
        _REPAIR,
        """
SELECT worker_id, count(*) || ' rows of capabilities' FROM capabilities
WHERE worker_id NOT IN (SELECT worker_id FROM workers) GROUP BY worker_id""",
        ("DELETE FROM capabilities WHERE worker_id NOT IN (SELECT worker_id FROM workers)",),
    ),
    *TEXT_CHECKS,
    *WARNINGS,
)

# ?1 problems of the file itself, or 'ok'.
INTEGRITY_CHECK: Final = "SELECT * FROM pragma_integrity_check LIMIT ?1"
