"""The checks of what does not work as somebody meant it to, and of what is worth knowing; see ``sql_checks``."""

# ruff: noqa: S608 - as in `sql`: only constants are put together, data is bound

from typing import Final

from duro.stores.sqlite.check import Check
from duro.stores.sqlite.check_owners import EVIDENCE_IS_MISSING

WARNINGS: Final = (
    Check(
        "leases-of-the-dead",
        "warning",
        "instances and activities leased to workers that are gone",
        "start a worker: whichever runs takes them back",
        """
SELECT subject, what || 'leased to ' || l.worker_id ||
  coalesce(', gone since ' || ((?2 - w.lease_until_ms) / 1000) || ' s', '')
FROM (
  SELECT instance_id AS subject, '' AS what, lease_worker_id AS worker_id
  FROM instances INDEXED BY instances_leased WHERE lease_worker_id IS NOT NULL
  UNION ALL
  SELECT i.instance_id || '/' || a.execution_id, 'activity ' || a.event_id || ' (' || a.name || ') ', a.lease_worker_id
  FROM activities a INDEXED BY activities_leased CROSS JOIN instances i ON i.incarnation = a.incarnation
  WHERE a.lease_worker_id IS NOT NULL) AS l
LEFT JOIN workers w ON w.worker_id = l.worker_id
WHERE coalesce(w.lease_until_ms, 0) < ?2 - 60000""",
    ),
    Check(
        "blocked",
        "warning",
        "instances that get no further",
        "`duroctl instances show` says why; deploy code that matches, then `duroctl instances resume`",
        """
SELECT instance_id, blocked || ': ' || coalesce(blocked_reason, '') FROM instances INDEXED BY instances_blocked
WHERE blocked IS NOT NULL""",
    ),
    Check(
        "durability",
        "warning",
        "workers that gave up durability for speed: what they acknowledge may be lost when the power fails",
        "open the store without a weaker setting, unless that is meant",
        """
SELECT worker_id, 'it runs with ' || weakened FROM (
  SELECT worker_id, CASE WHEN json_valid(published) THEN published ->> '$.weakened' END AS weakened FROM workers
  WHERE lease_until_ms > ?2)
WHERE weakened IS NOT NULL""",
    ),
    Check(
        "threads-stuck",
        "warning",
        "workers with threads in plain activities that were cancelled or ran out of time: those threads are taken",
        "let those activities look at `ctx.is_cancelled`, or be `async def`; a restart of the worker frees the threads",
        """
SELECT worker_id, threads_stuck || CASE threads_stuck WHEN 1 THEN ' thread' ELSE ' threads' END || ' of process '
  || process_id || ' on ' || host FROM workers WHERE lease_until_ms > ?2 AND threads_stuck > 0""",
    ),
    Check(
        "settings-refused",
        "warning",
        "workers whose configuration file is wrong or gone: they go on with the last good settings",
        "mend the file; `duroctl policy check FILE` says more",
        """
SELECT worker_id, problem || CASE WHEN problems > 1 THEN ' (and ' || (problems - 1) || ' more)' ELSE '' END FROM (
  SELECT worker_id, published ->> '$.problems[0]' AS problem, json_array_length(published, '$.problems') AS problems
  FROM workers WHERE lease_until_ms > ?2 AND json_valid(published))
WHERE problems > 0""",
    ),
    Check(
        "published-unreadable",
        "warning",
        "workers of which nobody can read what they were told to keep: nothing is pruned or purged beside them",
        "let all workers run one version of duro, and restart these: each says it again when it starts",
        """
SELECT worker_id, 'it says ' || substr(published, 1, 100) FROM workers
WHERE lease_until_ms > ?2 AND CASE WHEN json_valid(published) THEN json_type(published) <> 'object'
  OR (published <> '{}' AND published NOT IN (SELECT published FROM publications)) ELSE 1 END""",
    ),
    Check(
        "nobody-works",
        "warning",
        "work that is ready while no worker lives",
        "start a worker: `duroctl worker MODULE:REGISTRY`",
        """
SELECT name, count(*) || ' instances are ready' FROM instances INDEXED BY instances_ready
WHERE ready_at_ms <= ?2 AND NOT EXISTS (SELECT 1 FROM workers WHERE lease_until_ms > ?2) GROUP BY name""",
    ),
    Check(
        "nobody-sweeps",
        "warning",
        "rows that wait to be reclaimed while no worker lives",
        "start a worker, or `duroctl compact`: both reclaim, as whatever prunes, purges or cleans up by hand does",
        """
SELECT 'store', executions || ' executions and ' || instances || ' instances are past their grace' FROM (
  SELECT (SELECT count(*) FROM executions INDEXED BY executions_marked
      WHERE removal <> 'live' AND unarchived = 0 AND reclaim_at_ms <= ?2) AS executions,
    (SELECT count(*) FROM removed_instances INDEXED BY removed_instances_due
      WHERE unarchived = 0 AND reclaim_at_ms <= ?2) AS instances)
WHERE executions + instances > 0 AND NOT EXISTS (SELECT 1 FROM workers WHERE lease_until_ms > ?2)""",
    ),
    Check(
        "archives-waiting",
        "warning",
        "histories that have waited for their archive for over an hour: they stay in the store until it can be used",
        "see that its directory is there and may be written; `duroctl archive write --to DIR` takes another one",
        """
SELECT archive, 'waits for ' || count(*) || ', the first for ' || ((?2 - min(reclaim_at_ms)) / 1000) || ' s' FROM (
  SELECT iif(archive = '', '(configured)', archive) AS archive, reclaim_at_ms
    FROM executions INDEXED BY executions_unarchived WHERE unarchived = 1 AND reclaim_at_ms < ?2 - 3600000
  UNION ALL
  SELECT iif(archive = '', '(configured)', archive), reclaim_at_ms
    FROM removed_instances INDEXED BY removed_instances_unarchived
    WHERE unarchived = 1 AND reclaim_at_ms < ?2 - 3600000)
GROUP BY archive""",
    ),
    Check(
        "prunes-overdue",
        "warning",
        "instances that a sweep should have pruned an hour ago",
        "see the log of the workers, and `duroctl policy explain` of one of them",
        """
SELECT instance_id, 'due for ' || ((?2 - prune_due_at_ms) / 1000) || ' s' FROM instances INDEXED BY instances_prune_due
WHERE prune_due_at_ms IS NOT NULL AND prune_due_at_ms < ?2 - 3600000
UNION ALL
SELECT i.instance_id, 'it asked for it ' || ((?2 - a.at_ms) / 1000) || ' s ago: ' || a.options
FROM asked_prunes a CROSS JOIN instances i ON i.incarnation = a.incarnation WHERE a.due_at_ms < ?2 - 3600000""",
    ),
    Check(
        "ended-in-the-future",
        "warning",
        "executions that ended at a time that is yet to come (the clock was ahead): rules of time keep them until then",
        "see that the clock is right; to remove some sooner, name them: `duroctl prune INSTANCE/EXECUTION`",
        """
SELECT i.instance_id, count(*) || ' executions (' || min(e.execution_id) || ' to ' || max(e.execution_id) ||
  '), the last of them ' || ((max(e.completed_at_ms) - ?2) / 1000) || ' s from now'
FROM instances i CROSS JOIN executions e ON e.incarnation = i.incarnation AND e.removal = 'live'
WHERE e.completed_at_ms > ?2 + 60000 GROUP BY i.incarnation""",
    ),
    Check(
        "orphans",
        "note",
        "children that no parent will ever observe",
        "`duroctl orphans list` shows them, `duroctl orphans cleanup` removes them",
        f"""
SELECT i.instance_id, i.status || ', spawned by ' || l.parent_instance_id || '/' || l.parent_execution_id
FROM lineage l INDEXED BY lineage_unobserved CROSS JOIN instances i ON i.incarnation = l.child_incarnation
LEFT JOIN instances p ON p.incarnation = l.parent_incarnation
WHERE l.detached = 0 AND l.observed_at_ms IS NULL AND l.spawner_ended_at_ms IS NOT NULL
  AND NOT {EVIDENCE_IS_MISSING}""",
    ),
    Check(
        "holds-expired",
        "note",
        "holds that hold nothing any more",
        "`duroctl holds remove` them",
        "SELECT hold_id, reason FROM holds WHERE until_ms <= ?2",
    ),
)
