"""What automatic pruning would remove now if every worker had read another runtime_config.toml."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from duro.maintenance.families import purgeable, sweepable_orphans
from duro.maintenance.file_sources import with_file
from duro.maintenance.policies import ConfiguredPolicies, children_of
from duro.maintenance.pruning import facts_of, filter_of, instances_of
from duro.model.families import OrphanRules, RemovalItem
from duro.model.policies import PolicySources
from duro.model.pruning import ExecutionFacts, Hold
from duro.model.removal import PrunableInstance, PruneScope
from duro.model.retention import PolicyKind, PolicyOrigin
from duro.model.status import FINAL_INSTANCE_STATUSES, ChildrenPolicy
from duro.retention.plan import instance_plan, prune_plan
from duro.retention.purging import united_orphan_rules
from duro.settings.values import RuntimeSettings
from duro.stores.base import Store


class Removable(msgspec.Struct, frozen=True, kw_only=True):
    """Past executions that nothing keeps, their events and the bytes of their histories."""

    executions: int = 0
    events: int = 0
    history_bytes: int = 0

    def plus(self, other: "Removable") -> "Removable":
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

    def plus(self, other: "RemovableWhole | RemovalItem") -> "RemovableWhole":
        return RemovableWhole(
            instances=self.instances + other.instances,
            executions=self.executions + other.executions,
            events=self.events + other.events,
            history_bytes=self.history_bytes + other.history_bytes,
        )


class SimulatedName(msgspec.Struct, frozen=True, kw_only=True):
    """One orchestration: what its ``instances`` have, what of it pruning may remove as workers are told now, and what
    it might as the file says. ``origins``: who says so, with the file. ``whole_now`` and ``whole_then``: what sweeps
    may remove whole, by [purge] and [orphans], of families whose root is one of its instances; what pruning may remove
    of them, and an orphan below a family that is purged, counts for both."""

    name: str
    instances: int
    executions: int
    now: Removable
    then: Removable
    origins: tuple[str, ...]
    whole_now: RemovableWhole = RemovableWhole()
    whole_then: RemovableWhole = RemovableWhole()


class PolicySimulation(msgspec.Struct, frozen=True, kw_only=True):
    """``names`` in order. ``file`` is what errors call it. ``published``: whether any worker has said what applies.
    ``purgeable_now`` and ``purgeable_then``: whole instances that may go by [purge]; ``orphans_now`` and
    ``orphans_then``: by [orphans]. ``loosened``: what else is removed, or no
    longer kept, with the file, one sentence each."""

    file: str
    published: bool
    names: tuple[SimulatedName, ...]
    purgeable_now: int = 0
    purgeable_then: int = 0
    orphans_now: int = 0
    orphans_then: int = 0
    loosened: tuple[str, ...] = ()

    @property
    def now(self) -> Removable:
        return _sum(each.now for each in self.names)

    @property
    def then(self) -> Removable:
        return _sum(each.then for each in self.names)

    @property
    def whole_now(self) -> RemovableWhole:
        return _sum_whole(each.whole_now for each in self.names)

    @property
    def whole_then(self) -> RemovableWhole:
        return _sum_whole(each.whole_then for each in self.names)

    @property
    def removes_more(self) -> bool:
        """Whether anything goes that is kept now."""
        executions = any(each.then.executions > each.now.executions for each in self.names)
        return executions or self.purgeable_then > self.purgeable_now or bool(self.loosened)


def simulate(
    store: Store, settings: RuntimeSettings, *, name: str | None = None, instead_of: RuntimeSettings | None = None
) -> PolicySimulation:
    """Plan every instance (of orchestrations ``name``, a name or pattern) twice. Reads no history and writes nothing;
    what is held stays. Memory grows with the number of orchestrations, not of instances. ``instead_of``: ``now`` is
    what that file says; None: what workers say."""
    now = ConfiguredPolicies(
        store, None if instead_of is None else lambda sources: with_file_everywhere(sources, instead_of)
    )
    then = ConfiguredPolicies(store, lambda sources: with_file_everywhere(sources, settings))
    holds, now_ms = store.list_holds(), store.now_ms()
    totals: defaultdict[str, _Totals] = defaultdict(_Totals)
    where = filter_of(store, PruneScope(name=name), several=False)
    for instance, executions in facts_of(store, instances_of(store, where)):
        if executions:
            total = totals[instance.name]
            total.instances += 1
            total.executions += len(executions)
            total.now = total.now.plus(removable(now, instance, executions, holds, now_ms)[0])
            found, origin = removable(then, instance, executions, holds, now_ms)
            total.then = total.then.plus(found)
            total.origins.add(str(origin))
    whole_now = _whole(store, now, name)
    whole_then = whole_now if _removes_whole(now.sources) == _removes_whole(then.sources) else _whole(store, then, name)
    return PolicySimulation(
        file=settings.file,
        published=bool(now.sources),
        names=tuple(
            SimulatedName(
                name=each,
                instances=total.instances,
                executions=total.executions,
                now=total.now,
                then=total.then,
                origins=tuple(sorted(total.origins)),
                whole_now=whole_now.by_name[each],
                whole_then=whole_then.by_name[each],
            )
            for each, total in sorted(totals.items())
        ),
        purgeable_now=whole_now.purged,
        purgeable_then=whole_then.purged,
        orphans_now=whole_now.orphans,
        orphans_then=whole_then.orphans,
        loosened=tuple(loosened(now.sources, then.sources)),
    )


class _Whole:
    """What sweeps remove whole: instances of families, by the root's orchestration and by what removes them."""

    def __init__(self) -> None:
        self.by_name: defaultdict[str, RemovableWhole] = defaultdict(RemovableWhole)
        self.purged = self.orphans = 0


def _whole(store: Store, policies: ConfiguredPolicies, name: str | None) -> _Whole:
    found = _Whole()
    roots: set[int] = set()
    for item in purgeable(store, policies, PruneScope(name=name)):
        found.by_name[item.name] = found.by_name[item.name].plus(item)
        found.purged += item.instances
        roots.add(item.incarnation)
    for item in sweepable_orphans(store, policies, name):
        found.orphans += item.instances
        if item.incarnation not in roots:  # both would take it
            found.by_name[item.name] = found.by_name[item.name].plus(item)
    return found


def _removes_whole(published: Sequence[PolicySources]) -> list[tuple[Any, ...]]:
    """What is said about purging and orphans, wherever it is said."""
    return [
        (each.purge_enabled, [(stated.name, stated.options) for stated in each.purges], each.orphans)
        for each in published
    ]


class InstanceSimulation(NamedTuple):
    """What automatic pruning may remove of an instance now, and what it may with another policy of its own."""

    now: Removable
    then: Removable


def simulate_instance(store: Store, instance: PrunableInstance, policy: str | None) -> InstanceSimulation:
    """``policy``: as the store keeps an instance's own; None: it has none. Reads no history and writes nothing."""
    policies, holds, now_ms = ConfiguredPolicies(store), store.list_holds(), store.now_ms()
    executions = [each for _, found in facts_of(store, [instance]) for each in found]
    other = msgspec.structs.replace(instance, policy=policy)
    now, then = (removable(policies, each, executions, holds, now_ms)[0] for each in (instance, other))
    return InstanceSimulation(now, then)


def loosened(now: Sequence[PolicySources], then: Sequence[PolicySources]) -> Iterator[str]:
    """What else is removed, or no longer kept, when workers that were told ``now`` are told ``then``."""
    if children_of(now) is ChildrenPolicy.KEEP and children_of(then) is ChildrenPolicy.SETTLED:
        yield "[pruning] children: settled children go with the execution that spawned them"
    before, after = united_orphan_rules(now), united_orphan_rules(then)
    if after is not None and (before is None or _lets_more_go(before[0], after[0])):
        yield f"[orphans]: sweeps remove more orphans ({after[0]})"
    if any(each.archive_enabled for each in now) and not any(each.archive_enabled for each in then):
        yield "[archive]: what goes is no longer kept in the archive"


def _lets_more_go(before: OrphanRules, after: OrphanRules) -> bool:
    """None: all statuses."""
    every = frozenset(FINAL_INSTANCE_STATUSES)
    statuses = [every if each.child_status is None else frozenset(each.child_status) for each in (before, after)]
    return after.min_age_s < before.min_age_s or not statuses[1] <= statuses[0]


def with_file_everywhere(sources: tuple[PolicySources, ...], settings: RuntimeSettings) -> tuple[PolicySources, ...]:
    """What workers would publish after they have read the file; one that knows nothing else where there is none."""
    return tuple(with_file(each, settings) for each in sources or (PolicySources(),))


class _Totals:
    def __init__(self) -> None:
        self.instances = self.executions = 0
        self.now = self.then = Removable()
        self.origins: set[str] = set()


def removable(
    policies: ConfiguredPolicies,
    instance: PrunableInstance,
    executions: Sequence[ExecutionFacts],
    holds: Sequence[Hold],
    now_ms: int,
) -> tuple[Removable, PolicyOrigin]:
    """What ``policies`` let go of the live ``executions`` of an instance, and who says so."""
    united = policies.of(instance)
    if united is None or united.rules is None:
        return Removable(), PolicyOrigin(PolicyKind.NONE, "") if united is None else united.origin
    planned = instance_plan(executions, united.rules, united.origin, holds, now_ms)
    totals = prune_plan([planned], store_id="", policy_revision=0, hold_revision=0, made_at_ms=now_ms).totals
    found = Removable(
        executions=totals.executions_removed, events=totals.events_removed, history_bytes=totals.bytes_removed
    )
    return found, united.origin


def _sum_whole(parts: Iterable[RemovableWhole]) -> RemovableWhole:
    total = RemovableWhole()
    for part in parts:
        total = total.plus(part)
    return total


def _sum(parts: Iterable[Removable]) -> Removable:
    total = Removable()
    for part in parts:
        total = total.plus(part)
    return total
