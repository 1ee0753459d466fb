"""What automatic policies let go at one moment, counted: past executions, and instances that go whole."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from duro.maintenance.families import purgeable, sweepable_orphans
from duro.maintenance.policies import ConfiguredPolicies
from duro.maintenance.pruning import settled_children
from duro.model.families import Family
from duro.model.pruning import ExecutionFacts
from duro.model.removal import PrunableInstance, PruneScope
from duro.model.retention import PolicyKind, PolicyOrigin
from duro.model.status import ChildrenPolicy
from duro.retention.holds import Holds
from duro.retention.plan import instance_plan
from duro.stores.base import Store


class Removable(msgspec.Struct, frozen=True, kw_only=True):
    """Past executions that nothing keeps, their events and the bytes of their histories."""

    executions: int = 0
    events: int = 0
    history_bytes: int = 0

    def plus(self, other: "Removable | RemovableWhole") -> "Removable":
        return Removable(
            executions=self.executions + other.executions,
            events=self.events + other.events,
            history_bytes=self.history_bytes + other.history_bytes,
        )


class RemovableWhole(msgspec.Struct, frozen=True, kw_only=True):
    """Whole instances that may go, with all that depends on them, and what they have."""

    instances: int = 0
    executions: int = 0
    events: int = 0
    history_bytes: int = 0

    def plus(self, other: "RemovableWhole") -> "RemovableWhole":
        return RemovableWhole(
            instances=self.instances + other.instances,
            executions=self.executions + other.executions,
            events=self.events + other.events,
            history_bytes=self.history_bytes + other.history_bytes,
        )


class GoingExecutions(NamedTuple):
    """Of one instance. ``ids``: which executions go."""

    ids: frozenset[int]
    amount: Removable
    origin: PolicyOrigin


def going_executions(
    policies: ConfiguredPolicies,
    instance: PrunableInstance,
    executions: Sequence[ExecutionFacts],
    holds: Holds,
    now_ms: int,
) -> GoingExecutions:
    """What ``policies`` let go of the live ``executions`` of an instance, and who says so."""
    united = policies.of(instance)
    if united is None or united.rules is None:
        origin = PolicyOrigin(PolicyKind.NONE, "") if united is None else united.origin
        return GoingExecutions(frozenset(), Removable(), origin)
    planned = instance_plan(executions, united.rules, united.origin, holds, now_ms)
    going = [item.execution for item in planned.items if not item.verdict.keep]
    amount = Removable(
        executions=len(going),
        events=sum(each.event_count for each in going),
        history_bytes=sum(each.history_bytes for each in going),
    )
    return GoingExecutions(frozenset(each.execution_id for each in going), amount, united.origin)


class GoingWhole:
    """Instances that go whole, each counted once: in ``by_root`` for the orchestration whose policy takes it (of the
    family's root, or of the instance whose execution it goes with), in ``by_name`` for its own. ``named``: the former,
    by incarnation."""

    def __init__(self) -> None:
        self.named: dict[int, str] = {}
        self.by_root: defaultdict[str, RemovableWhole] = defaultdict(RemovableWhole)
        self.by_name: defaultdict[str, RemovableWhole] = defaultdict(RemovableWhole)

    def add(self, family: Family, root: str) -> None:
        for member in family.members:
            if member.incarnation in self.named:
                continue
            self.named[member.incarnation] = root
            amount = RemovableWhole(
                instances=1,
                executions=member.executions,
                events=member.events,
                history_bytes=member.history_bytes,
            )
            self.by_root[root] = self.by_root[root].plus(amount)
            self.by_name[member.name] = self.by_name[member.name].plus(amount)

    def add_settled(
        self,
        store: Store,
        policies: ConfiguredPolicies,
        instance: PrunableInstance,
        removed: frozenset[int],
        holds: Holds,
        now_ms: int,
    ) -> None:
        """The settled children that go with executions ``removed`` of ``instance``, if children do."""
        if removed and policies.terms_of(instance.name).children is ChildrenPolicy.SETTLED:
            for family, _ in settled_children(store, instance.incarnation, removed, holds, now_ms):
                self.add(family, instance.name)


class Swept(NamedTuple):
    """What sweeps remove whole, and how many instances by which of their reasons: one that both take counts in both."""

    whole: GoingWhole
    purged: int
    orphans: int


def swept(store: Store, policies: ConfiguredPolicies, name: str | None) -> Swept:
    """By [purge] and [orphans], of families whose root is of an orchestration ``name`` (a name or pattern)."""
    whole, purged, orphans = GoingWhole(), 0, 0
    for family in purgeable(store, policies, PruneScope(name=name)):
        whole.add(family, family.root.name)
        purged += len(family.members)
    for family in sweepable_orphans(store, policies, name):
        whole.add(family, family.root.name)
        orphans += len(family.members)
    return Swept(whole, purged, orphans)


def sum_of(parts: Iterable[Removable]) -> Removable:
    total = Removable()
    for part in parts:
        total = total.plus(part)
    return total


def sum_of_whole(parts: Iterable[RemovableWhole]) -> RemovableWhole:
    total = RemovableWhole()
    for part in parts:
        total = total.plus(part)
    return total
