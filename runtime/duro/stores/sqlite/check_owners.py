"""Whose a row is, and what proves that it is a leftover; see ``sql`` and ``sql_checks`` for the rules of all of them.

A row whose owner is not there is either left over from something that was removed on purpose or has ended, and then it
may go; or it is what is left of work whose other rows are lost, and then it is evidence. What tells them apart must be
recorded: an instance that is nowhere was removed if *every* instance the store ever made is accounted for, an
execution was pruned if the ledger of its instance accounts for every one that is not live. Where something is missing
from those counts, nobody can tell which row belongs to it, and nothing is a leftover.
"""

# ruff: noqa: S608 - as in `sql`: only constants are put together, data is bound

from typing import Final, NamedTuple

from duro.model.status import FINAL_EXECUTION_STATUSES
from duro.stores.sqlite.words import is_one_of

# In all of these the row is called ``e``, and ``{key}`` is the column with the incarnation it belongs to.
_THERE: Final = """(EXISTS (SELECT 1 FROM instances x WHERE x.incarnation = e.{key})
  OR EXISTS (SELECT 1 FROM removed_instances x WHERE x.incarnation = e.{key}))"""
_RUNS: Final = """EXISTS (SELECT 1 FROM executions x WHERE x.incarnation = e.{key} AND x.completed_at_ms IS NULL)"""
# The instances that are there, were removed, or were reclaimed and stand in the totals, beside those ever made.
ACCOUNTED: Final = """(SELECT count(*) FROM instances) + (SELECT count(*) FROM removed_instances)
  + (SELECT coalesce(sum(instances), 0) FROM ledger_totals)"""
# Of an instance that was removed and reclaimed: nothing of it runs, or waits for its archive.
_RECLAIMED: Final = f"""(NOT {_THERE} AND e.{{key}} > 0
  AND e.{{key}} < (SELECT next_incarnation FROM store WHERE next_incarnation - 1 = {ACCOUNTED})
  AND NOT EXISTS (SELECT 1 FROM executions x
    WHERE x.incarnation = e.{{key}} AND (x.completed_at_ms IS NULL OR x.unarchived = 1)))"""
# Of an instance that has ended, or was removed.
_ENDED: Final = f"""((
    EXISTS (SELECT 1 FROM instances x WHERE x.incarnation = e.{{key}} AND x.completed_at_ms IS NOT NULL)
  OR EXISTS (SELECT 1 FROM removed_instances x WHERE x.incarnation = e.{{key}})) AND NOT {_RUNS})"""
# Of an execution that ended: a later one of its instance is there, and is the current one.
_LEFT_BEHIND: Final = """EXISTS (SELECT 1 FROM instances x CROSS JOIN executions c
    ON c.incarnation = x.incarnation AND c.execution_id = x.execution_id
  WHERE x.incarnation = e.incarnation AND x.execution_id > e.execution_id)"""
_RUNS_ITSELF: Final = """EXISTS (SELECT 1 FROM executions x WHERE x.incarnation = e.incarnation
  AND x.execution_id = e.execution_id AND x.completed_at_ms IS NULL)"""
# Of an execution that was pruned: the ledger has it among those it counts, and counts all that are not live. Where
# histories go into an archive, nobody can tell any more whether this one is in it.
_PRUNED: Final = f"""({_LEFT_BEHIND} AND NOT EXISTS (SELECT 1 FROM archives)
  AND EXISTS (SELECT 1 FROM ledger g WHERE g.incarnation = e.incarnation AND g.trigger <> 'undo'
    AND e.execution_id BETWEEN g.first_execution_id AND g.last_execution_id)
  AND (SELECT x.execution_id FROM instances x WHERE x.incarnation = e.incarnation) =
    (SELECT count(*) FROM executions x WHERE x.incarnation = e.incarnation AND x.removal = 'live')
    + (SELECT sum(iif(g.trigger = 'undo', -g.executions, g.executions)) FROM ledger g
      WHERE g.incarnation = e.incarnation))"""

# Of a child that nobody observed: whether what its lineage says contradicts what its parent says, or is missing.
EVIDENCE_IS_MISSING: Final = f"""CASE
  WHEN l.spawner_end IS NOT NULL AND NOT {is_one_of("l.spawner_end", FINAL_EXECUTION_STATUSES)} THEN 1
  WHEN p.instance_id <> l.parent_instance_id THEN 1
  WHEN p.incarnation IS NULL THEN l.parent_removed_at_ms IS NULL
  WHEN l.parent_execution_id > p.execution_id THEN 1
  WHEN l.parent_execution_id = p.execution_id AND p.completed_at_ms IS NULL
    THEN l.spawner_ended_at_ms IS NOT NULL OR l.spawner_end IS NOT NULL
  WHEN l.spawner_ended_at_ms IS NULL OR l.spawner_end IS NULL THEN 1
  WHEN l.parent_execution_id = p.execution_id THEN l.spawner_end = 'continued_as_new'
  ELSE l.spawner_end <> 'continued_as_new' END"""


class Owner(NamedTuple):
    """Of the rows of one table: whether their owner is there, and whether they are a leftover if it is not."""

    table: str
    key: str
    owned: str
    leftover: str

    @property
    def left(self) -> str:
        """The condition of a leftover ``e``."""
        return f"NOT {self.owned} AND {self.leftover}"

    @property
    def lost(self) -> str:
        """The condition of a row ``e`` without its owner that nothing proves to be a leftover."""
        return f"NOT {self.owned} AND NOT coalesce({self.leftover}, 0)"


def of_instance(table: str, key: str = "incarnation") -> Owner:
    """What an instance has as long as it is there, or may come back."""
    return Owner(table, key, _THERE.format(key=key), _RECLAIMED.format(key=key))


def of_unfinished(table: str) -> Owner:
    """What an instance has until it ends."""
    owned = "EXISTS (SELECT 1 FROM instances x WHERE x.incarnation = e.incarnation AND x.completed_at_ms IS NULL)"
    key = "incarnation"
    return Owner(table, key, owned, f"({_ENDED.format(key=key)} OR {_RECLAIMED.format(key=key)})")


def of_running(table: str) -> Owner:
    """What the current execution of an instance has until it ends."""
    owned = """EXISTS (SELECT 1 FROM instances x WHERE x.incarnation = e.incarnation AND x.completed_at_ms IS NULL
  AND x.execution_id = e.execution_id)"""
    key = "incarnation"
    ended = f"({_LEFT_BEHIND} OR {_ENDED.format(key=key)} OR {_RECLAIMED.format(key=key)})"
    return Owner(table, key, owned, f"({ended} AND NOT {_RUNS_ITSELF})")


def of_execution(last_event_ends: str) -> Owner:
    """Histories, a row ``e`` an execution. ``last_event_ends``: whether the history says that it is over."""
    owned = f"""({_THERE.format(key="incarnation")} AND EXISTS (SELECT 1 FROM executions x
  WHERE x.incarnation = e.incarnation AND x.execution_id = e.execution_id))"""
    gone = f"({_PRUNED} OR {_RECLAIMED.format(key='incarnation')})"
    return Owner("history", "incarnation", owned, f"({last_event_ends} AND {gone})")
