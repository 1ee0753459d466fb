"""Lineages and whole instances in memory: what the port promises of families, scanned where SQLite has indexes."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import msgspec

from duro.errors import InstanceNotFoundError, NotAnOrphanError, StalePlanError
from duro.model.families import (
    Family,
    FamilyMember,
    FinishedInstance,
    OrphanSearch,
    RemovalBatch,
    RemovalOutcome,
    RemovedInstance,
)
from duro.model.ledger import UNDO, LedgerRange, LedgerTotals
from duro.model.limits import RECLAIM_INSTANCE_EVENTS
from duro.model.pruning import Hold
from duro.model.records import ChildRecord
from duro.model.removal import PruneRun
from duro.model.status import RemovalState
from duro.retention.families import (
    NOTHING_THERE,
    SETTLED,
    is_adoptable,
    is_unknown,
    newest_by,
    removal_outcome,
    settled_families,
    verdict_on,
)
from duro.retention.holds import HoldsInForce
from duro.retention.ledger import fold, removed_range
from duro.stores.memory.instances import Execution, Instance, LedgerRow, Lineage, RunTotals, next_sequence, record_run

_INSTANCES_A_RECLAIM = 500
_CHILDREN_A_STEP = 100


@dataclass(slots=True)
class Removed:
    """An instance that was removed, and with what."""

    instance: Instance
    tree: int
    depth: int
    removed_at_ms: int
    reclaim_at_ms: int
    run_id: str
    executions: int
    events: int
    history_bytes: int
    reclaiming: bool = False
    archive: str | None = None
    unarchived: bool = False

    @property
    def may_go_alone(self) -> bool:
        """It is the root, or nobody observed it, so that it may be removed as an orphan although the root is held."""
        lineage = self.instance.lineage
        return self.depth == 0 or lineage is None or lineage.observed_at_ms is None


class _Going(NamedTuple):
    family: Family
    rule: str
    origin: str


class Families:
    """Part of ``MemoryStore``, which has the instances and the lock."""

    _instances: dict[int, Instance]
    _by_id: dict[str, Instance]
    _children: dict[int, list[Instance]]
    _holds: dict[str, Hold]
    _totals: dict[str, LedgerTotals]
    _runs: dict[str, PruneRun]
    _policy_revision: int
    _transaction: Callable[[], AbstractContextManager[int]]
    _changed: Callable[[], None]
    _add_to_run: Callable[[RunTotals, RemovalBatch, int], None]

    def _begin_families(self) -> None:
        self._removed: dict[int, Removed] = {}

    def _all_instances(self) -> Iterator[Instance]:
        """Those that are there and those that were removed, by incarnation."""
        removed = {number: each.instance for number, each in self._removed.items()}
        for _, instance in sorted({**self._instances, **removed}.items()):
            yield instance

    # --- lineages ----------------------------------------------------------------------------------------------

    def _child(self, instance: Instance, lineage: Lineage) -> ChildRecord:
        parent = self._instances.get(lineage.parent.incarnation)
        spawner = None if parent is None else parent.executions.get(lineage.parent.execution_id)
        return ChildRecord(
            instance_id=instance.instance_id,
            incarnation=instance.incarnation,
            name=instance.name,
            version=instance.version,
            status=instance.status,
            completed_at_ms=instance.completed_at_ms,
            parent=lineage.parent,
            detached=lineage.detached,
            spawned_at_ms=lineage.spawned_at_ms,
            spawner_version=lineage.spawner_version,
            spawner_ended_at_ms=lineage.spawner_ended_at_ms,
            spawner_end=lineage.spawner_end,
            spawner_live=spawner is not None and spawner.removal is RemovalState.LIVE,
            observed_at_ms=lineage.observed_at_ms,
            completion=lineage.completion,
            parent_status=None if parent is None else parent.status,
            parent_execution_id=None if parent is None else parent.execution_id,
            parent_removed_at_ms=lineage.parent_removed_at_ms,
            adopted_at_ms=lineage.adopted_at_ms,
            adopted_by=lineage.adopted_by or "",
            adopted_reason=lineage.adopted_reason or "",
            given_up_at_ms=lineage.given_up_at_ms,
            cancel_requested_at_ms=instance.cancel_requested_at_ms,
        )

    def list_children(self, incarnation: int, limit: int, after: int) -> tuple[ChildRecord, ...]:
        with self._transaction():
            found = [
                self._child(instance, instance.lineage)
                for instance in self._children.get(incarnation, ())
                if instance.incarnation > after and instance.lineage is not None
            ]
            return tuple(found[:limit] if limit else found)

    def get_child(self, instance_id: str) -> ChildRecord | None:
        with self._transaction():
            instance = self._by_id.get(instance_id)
            if instance is None or instance.lineage is None:
                return None
            return self._child(instance, instance.lineage)

    def list_unobserved(self, where: OrphanSearch, limit: int, after: int) -> tuple[ChildRecord, ...]:
        with self._transaction():
            found = [
                child
                for incarnation, instance in sorted(self._instances.items())
                if incarnation > after and instance.lineage is not None
                for child in (self._child(instance, instance.lineage),)
                if _is_wanted(child, where)
            ]
            return tuple(found[:limit] if limit else found)

    def count_orphans(self) -> dict[str, int]:
        return dict(Counter(child.name for child in self.list_unobserved(OrphanSearch(), 0, 0)))

    def adopt(self, instance_id: str, by: str, reason: str) -> ChildRecord:
        with self._transaction() as now:
            instance = self._by_id.get(instance_id)
            if instance is None:
                raise InstanceNotFoundError(f"there is no instance {instance_id!r}")
            lineage = instance.lineage
            if lineage is None:
                raise NotAnOrphanError(f"instance {instance_id!r} has no parent", hint="it stands alone already")
            parent = self._instances.get(lineage.parent.incarnation)
            spawner = None if parent is None else parent.executions.get(lineage.parent.execution_id)
            runs = spawner is not None and spawner.completed_at_ms is None
            if is_adoptable(self._child(instance, lineage), spawner_runs=runs):
                lineage.detached = True
                lineage.adopted_at_ms, lineage.adopted_by, lineage.adopted_reason = now, by, reason
                self._changed()
            return self._child(instance, lineage)

    # --- families ----------------------------------------------------------------------------------------------

    def list_finished(self, names: Sequence[str] | None, limit: int, after: int) -> tuple[FinishedInstance, ...]:
        with self._transaction():
            found = [
                FinishedInstance(
                    incarnation=incarnation,
                    instance_id=instance.instance_id,
                    name=instance.name,
                    status=instance.status,
                    completed_at_ms=instance.completed_at_ms,
                )
                for incarnation, instance in sorted(self._instances.items())
                if incarnation > after
                and instance.completed_at_ms is not None
                and (names is None or instance.name in names)
                and self._may_go_alone(instance)
            ]
            return tuple(found[:limit] if limit else found)

    def _may_go_alone(self, instance: Instance) -> bool:
        lineage = instance.lineage
        if lineage is None or lineage.detached:
            return True
        parent = self._instances.get(lineage.parent.incarnation)
        settled_by = (lineage.observed_at_ms, lineage.spawner_ended_at_ms, lineage.given_up_at_ms)
        return (parent is None or not parent.finished) and any(each is not None for each in settled_by)

    def newest_finished(self, name: str, count: int) -> int | None:
        with self._transaction():
            return self._newest_finished(name, count)

    def _newest_finished(self, name: str, count: int) -> int | None:
        ended = [number for number, each in self._instances.items() if each.name == name and each.finished]
        return sorted(ended, reverse=True)[count - 1] if len(ended) >= count else None

    def families(self, incarnations: Sequence[int]) -> list[Family]:
        with self._transaction():
            return self._families(incarnations)

    def _families(self, incarnations: Iterable[int]) -> list[Family]:
        return [self._family(self._instances[each]) for each in dict.fromkeys(incarnations) if each in self._instances]

    def _family(self, root: Instance) -> Family:
        members = [_member(root, 0)]
        level = [root]
        while level := [child for parent in level if parent.finished for child in self._dependents(parent)]:
            level.sort(key=lambda each: each.incarnation)
            depth = members[-1].depth + 1
            members += [_member(each, depth, is_unknown=self._is_unknown(each)) for each in level]
        child = None if root.lineage is None else self._child(root, root.lineage)
        return Family(members=tuple(members), child=child)

    def _is_unknown(self, instance: Instance) -> bool:
        return instance.lineage is not None and is_unknown(self._child(instance, instance.lineage))

    def _dependents(self, parent: Instance) -> list[Instance]:
        return [
            child
            for child in self._children.get(parent.incarnation, ())
            if child.lineage is not None and not child.lineage.detached
        ]

    # --- removal -----------------------------------------------------------------------------------------------

    def remove(self, batch: RemovalBatch, *, durable: bool = True) -> list[RemovalOutcome]:  # noqa: ARG002 - nothing is
        with self._transaction() as now:
            if batch.policy_revision not in (None, self._policy_revision):
                raise StalePlanError(
                    "what is said about removing has changed since the plan was made", hint="make the plan again"
                )
            going: list[_Going] = []
            outcomes = []
            newest = cache(self._newest_finished)
            holds = HoldsInForce(self._holds.values(), now)
            taken: set[int] = set()
            for order in batch.orders:
                root = self._instances.get(order.incarnation)
                if root is None or order.incarnation in taken or not order.is_of(root.instance_id):
                    outcomes.append(msgspec.structs.replace(NOTHING_THERE, incarnation=order.incarnation))
                    continue
                whole = self._family(root)
                members = tuple(each for each in whole.members if each.incarnation not in taken)
                family = Family(members=members, child=whole.child)
                verdict = verdict_on(
                    family,
                    order.rules,
                    holds,
                    now,
                    newest=newest_by(order, root.name, newest),
                    overrides=batch.overrides,
                )
                if not verdict.keep:
                    taken |= {each.incarnation for each in members}
                    going.append(_Going(family, str(order.rules), str(order.origin)))
                outcomes.append(removal_outcome(family, removed=not verdict.keep, reasons=verdict.reasons))
            run = self._mark(
                going, batch.trigger, now, run_id=batch.run_id, grace_ms=batch.grace_ms, archive=batch.archive
            )
            if batch.run_id and going:
                self._add_to_run(run, batch, now)
            if going:
                self._changed()
            return outcomes

    def _mark(
        self,
        going: Sequence[_Going],
        trigger: str,
        now: int,
        *,
        run_id: str = "",
        grace_ms: int = 0,
        archive: str | None = None,
    ) -> RunTotals:
        totals = RunTotals()
        for family, rule, origin in going:
            for member in family.members:
                instance = self._instances.pop(member.incarnation)
                del self._by_id[instance.instance_id]
                size = (member.executions, member.events, member.history_bytes)
                live = instance.live_executions()
                pruned = removed_range(
                    min(live), max(live), size, rule=rule, origin=origin, trigger=trigger, removed_at_ms=now
                )
                if run_id:
                    record_run(instance, run_id, pruned)
                else:
                    instance.ledger.append(LedgerRow(next_sequence(instance), pruned, None))
                totals.add(pruned, new=True)
                self._removed[member.incarnation] = removed = Removed(
                    instance, family.root.incarnation, member.depth, now, now + grace_ms, run_id, *size
                )
                waiting = [each.archive for each in instance.executions.values() if each.unarchived]
                removed.archive = max((each for each in waiting if each is not None), default=None)
                if archive is not None:
                    removed.archive = archive
                removed.unarchived = removed.archive is not None
            self._spread_archive(family.root.incarnation)
        gone = [member.incarnation for family, _, _ in going for member in family.members]
        parents = {lineage.parent.incarnation for each in gone if (lineage := self._removed[each].instance.lineage)}
        for parent in parents:
            siblings = self._children[parent]
            siblings[:] = [each for each in siblings if each.incarnation in self._instances]
        for incarnation in gone:
            self._note_parent_removed(incarnation, now)
        return totals

    def _spread_archive(self, tree: int) -> None:
        """Where anything of a tree waits for its archive, all of it does: it is reclaimed from the leaves up."""
        members = [each for each in self._removed.values() if each.tree == tree]
        archive = max((each.archive for each in members if each.archive is not None), default=None)
        for each in members:
            if archive is not None and not each.unarchived:
                each.archive, each.unarchived = archive, True

    def _note_parent_removed(self, parent: int, at_ms: int | None) -> None:
        for child in self._children.get(parent, ()):
            if child.lineage is not None:
                child.lineage.parent_removed_at_ms = at_ms

    def _take_children(
        self, parent: Instance, execution: Execution, now: int, count_max: int
    ) -> tuple[list[Family], bool]:
        """Settled children of an execution that goes, until about ``count_max`` instances are removed: their families,
        and whether there may be more."""
        mine = sorted(
            (lineage.parent.event_id, child.incarnation)
            for child in self._children.get(parent.incarnation, ())
            if (lineage := child.lineage) is not None
            and not lineage.detached
            and lineage.parent.execution_id == execution.execution_id
        )
        holds = HoldsInForce(self._holds.values(), now)
        taken: list[Family] = []
        instances = 0
        for first in range(0, len(mine) + 1, _CHILDREN_A_STEP):
            step = mine[first : first + _CHILDREN_A_STEP]
            found = self._families(number for _, number in step)
            settled = list(settled_families(found, holds, now))
            self._mark(
                [_Going(family, SETTLED, SETTLED) for family in settled], SETTLED, now, archive=execution.archive
            )
            taken += settled
            instances += sum(len(family.members) for family in settled)
            if len(step) == _CHILDREN_A_STEP and instances >= count_max:
                return taken, True
        return taken, False

    def find_removed(self, instance_id: str) -> RemovedInstance | None:
        with self._transaction():
            found = [each for each in self._removed.values() if each.instance.instance_id == instance_id]
            if not found:
                return None
            last = max(found, key=lambda each: each.instance.incarnation)
            return RemovedInstance(
                instance_id=instance_id,
                incarnation=last.instance.incarnation,
                name=last.instance.name,
                status=last.instance.status,
                removed_at_ms=last.removed_at_ms,
                reclaim_at_ms=last.reclaim_at_ms,
                run_id=last.run_id,
                reclaiming=last.reclaiming,
            )

    # --- reclaim and undo --------------------------------------------------------------------------------------

    def _reclaim_removed(self, now: int, events_max: int) -> tuple[int, int, bool]:
        due = sorted(
            (each.reclaim_at_ms, each.tree, -each.depth, number)
            for number, each in self._removed.items()
            if each.reclaim_at_ms <= now and not each.unarchived
        )[:_INSTANCES_A_RECLAIM]
        events = 0
        whole: list[int] = []
        touched: set[int] = set()
        for _, tree, _, number in due:
            room = events_max - events - RECLAIM_INSTANCE_EVENTS * len(whole)
            if room <= 0:
                break
            touched.add(tree)
            removed = self._removed[number]
            size = removed.events
            if removed.reclaiming:  # an earlier batch may have deleted some of them
                size = sum(len(execution.history) for execution in removed.instance.executions.values())
            if size > room:
                deleted = _delete_events(removed.instance, room)
                events += deleted
                if deleted == room:
                    break
            else:
                events += size
            whole.append(number)
        for each in self._removed.values():
            each.reclaiming = each.reclaiming or each.tree in touched
        for number in whole:
            instance = self._removed.pop(number).instance
            if instance.ledger:
                before = self._totals.get(instance.name, LedgerTotals(name=instance.name))
                self._totals[instance.name] = fold(before, [row.entry for row in instance.ledger])
        return len(whole), events, len(whole) < len(due) or len(due) == _INSTANCES_A_RECLAIM

    def _restore(self, run_id: str, instance_id: str, now: int) -> list[Removed]:
        trees = {each.tree for each in self._removed.values() if run_id and each.run_id == run_id}
        if instance_id:
            of_id = [number for number, each in self._removed.items() if each.instance.instance_id == instance_id]
            trees |= {self._removed[max(of_id)].tree} if of_id else set()
        back = []
        for tree in sorted(trees):
            members = [each for each in self._removed.values() if each.tree == tree]
            if any(each.reclaiming or each.instance.instance_id in self._by_id for each in members):
                continue
            members.sort(key=lambda each: (each.depth, each.instance.incarnation))
            for each in members:
                self._come_back(each.instance)
            back += members
        parents = {lineage.parent.incarnation for each in back if (lineage := each.instance.lineage) is not None}
        for parent in parents:
            self._children[parent].sort(key=lambda each: each.incarnation)
        for each in back:
            self._note_parent_removed(each.instance.incarnation, None)
            if each.instance.lineage is not None:
                self._find_parent(each.instance.lineage, now)
        return back

    def _find_parent(self, lineage: Lineage, now: int) -> None:
        """Of one that came back: its parent may have come back or been removed while it was out of sight."""
        parent = lineage.parent.incarnation
        if parent in self._instances:
            lineage.parent_removed_at_ms = None
        elif lineage.parent_removed_at_ms is None:
            removed = self._removed.get(parent)
            lineage.parent_removed_at_ms = now if removed is None else removed.removed_at_ms

    def _come_back(self, instance: Instance) -> None:
        del self._removed[instance.incarnation]
        self._instances[instance.incarnation] = instance
        self._by_id[instance.instance_id] = instance
        if instance.lineage is not None:
            self._children[instance.lineage.parent.incarnation].append(instance)

    def _whose_id_is_taken(self, run_id: str, instance_id: str) -> tuple[str, ...]:
        of_id = [number for number, each in self._removed.items() if each.instance.instance_id == instance_id]
        tree = self._removed[max(of_id)].tree if of_id else 0
        return tuple(
            each.instance.instance_id
            for number, each in sorted(self._removed.items())
            if number == each.tree and not each.reclaiming and ((run_id and each.run_id == run_id) or each.tree == tree)
        )


def undone(each: Removed, origin: str, now: int) -> LedgerRange:
    """What the ledger of an instance that came back says about it."""
    live = each.instance.live_executions()
    size = (each.executions, each.events, each.history_bytes)
    return removed_range(min(live), max(live), size, rule="", origin=origin, trigger=UNDO, removed_at_ms=now)


def _is_wanted(child: ChildRecord, where: OrphanSearch) -> bool:
    if child.detached or child.observed_at_ms is not None:
        return False
    gone = child.parent_status is None
    if not where.all_kinds:
        concerned = child.spawner_ended_at_ms is not None
    else:
        runs = not gone and child.parent_status in ("pending", "running")
        attached = runs and child.parent_execution_id == child.parent.execution_id
        concerned = child.spawner_ended_at_ms is not None or child.spawner_end is not None or not attached
    ended_ms = child.parent_removed_at_ms if child.spawner_ended_at_ms is None else child.spawner_ended_at_ms
    before_ms = where.spawner_ended_before_ms
    return (
        concerned
        and (where.names is None or child.name in where.names)
        and (where.child_status is None or child.status in where.child_status)
        and (before_ms is None or (ended_ms is not None and ended_ms < before_ms))
    )


def _member(instance: Instance, depth: int, *, is_unknown: bool = False) -> FamilyMember:
    live = instance.live_executions().values()
    return FamilyMember(
        incarnation=instance.incarnation,
        instance_id=instance.instance_id,
        name=instance.name,
        status=instance.status,
        completed_at_ms=instance.completed_at_ms,
        depth=depth,
        versions=tuple(sorted({each.version for each in live if each.version})),
        executions=len(live),
        events=sum(each.event_count for each in live),
        history_bytes=sum(each.history_bytes for each in live),
        is_unknown=is_unknown,
    )


def _delete_events(instance: Instance, events_max: int) -> int:
    deleted = 0
    for _, execution in sorted(instance.executions.items()):
        part = min(events_max - deleted, len(execution.history))
        del execution.history[:part]
        execution.reclaimed_events += part
        deleted += part
    return deleted
