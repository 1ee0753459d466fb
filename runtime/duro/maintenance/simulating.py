"""What automatic pruning would remove now if every worker had read another runtime_config.toml."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from duro.maintenance.file_sources import with_file
from duro.maintenance.going import GoingWhole, Removable, RemovableWhole, going_executions, sum_of, sum_of_whole, swept
from duro.maintenance.policies import ConfiguredPolicies, children_of
from duro.maintenance.pruning import facts_of, filter_of, instances_of
from duro.model.families import OrphanRules
from duro.model.policies import PolicySources
from duro.model.removal import PrunableInstance, PruneScope
from duro.model.status import FINAL_INSTANCE_STATUSES, ChildrenPolicy
from duro.retention.holds import HoldsInForce
from duro.retention.purging import united_orphan_rules
from duro.settings.values import RuntimeSettings
from duro.stores.base import Store


class SimulatedName(msgspec.Struct, frozen=True, kw_only=True):
    """One orchestration: what its ``instances`` have, what of it pruning may remove as workers are told now, and what
    it might as the file says. ``origins``: who says so, with the file. ``whole_now`` and ``whole_then``: what may go
    whole with its instances: families whose root is one of them, by [purge] and [orphans], and settled children of the
    executions that go; what pruning may remove of an instance that goes whole counts there, too.
    ``executions_more`` and ``instances_more``: of what would go, that which nothing lets go now."""

    name: str
    instances: int
    executions: int
    now: Removable
    then: Removable
    origins: tuple[str, ...]
    whole_now: RemovableWhole = RemovableWhole()
    whole_then: RemovableWhole = RemovableWhole()
    executions_more: int = 0
    instances_more: int = 0


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
        return sum_of(each.now for each in self.names)

    @property
    def then(self) -> Removable:
        return sum_of(each.then for each in self.names)

    @property
    def whole_now(self) -> RemovableWhole:
        return sum_of_whole(each.whole_now for each in self.names)

    @property
    def whole_then(self) -> RemovableWhole:
        return sum_of_whole(each.whole_then for each in self.names)

    @property
    def executions_more(self) -> int:
        return sum(each.executions_more for each in self.names)

    @property
    def instances_more(self) -> int:
        return sum(each.instances_more for each in self.names)

    @property
    def removes_more(self) -> bool:
        """Whether anything goes that is kept now, however much else is kept instead."""
        return bool(self.executions_more or self.instances_more or self.loosened)


def simulate(
    store: Store, settings: RuntimeSettings, *, name: str | None = None, instead_of: RuntimeSettings | None = None
) -> PolicySimulation:
    """Plan every instance (of orchestrations ``name``, a name or pattern) twice. Reads no history and writes nothing;
    what is held stays. Memory grows with the number of orchestrations, and of instances that go whole. ``instead_of``:
    ``now`` is what that file says; None: what workers say."""
    now = ConfiguredPolicies(
        store, None if instead_of is None else lambda sources: with_file_everywhere(sources, instead_of)
    )
    then = ConfiguredPolicies(store, lambda sources: with_file_everywhere(sources, settings))
    now_ms = store.now_ms()
    holds = HoldsInForce(store.list_holds(), now_ms)
    swept_now = swept(store, now, name)
    swept_then = swept(store, then, name)
    whole_now, whole_then = swept_now.whole, swept_then.whole
    totals: defaultdict[str, _Totals] = defaultdict(_Totals)
    where = filter_of(store, PruneScope(name=name), several=False)
    for instance, executions in facts_of(store, instances_of(store, where)):
        if executions:
            goes_now = going_executions(now, instance, executions, holds, now_ms)
            goes_then = going_executions(then, instance, executions, holds, now_ms)
            whole_now.add_settled(store, now, instance, goes_now.ids, holds, now_ms)
            whole_then.add_settled(store, then, instance, goes_then.ids, holds, now_ms)
            total = totals[instance.name]
            total.instances += 1
            total.executions += len(executions)
            total.now = total.now.plus(goes_now.amount)
            total.then = total.then.plus(goes_then.amount)
            total.origins.add(str(goes_then.origin))
            if instance.incarnation not in whole_now.named:
                total.executions_more += len(goes_then.ids - goes_now.ids)
    for incarnation, root in whole_then.named.items():
        if incarnation not in whole_now.named:
            totals[root].instances_more += 1
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
                whole_now=whole_now.by_root[each],
                whole_then=whole_then.by_root[each],
                executions_more=total.executions_more,
                instances_more=total.instances_more,
            )
            for each, total in sorted(totals.items())
        ),
        purgeable_now=swept_now.purged,
        purgeable_then=swept_then.purged,
        orphans_now=swept_now.orphans,
        orphans_then=swept_then.orphans,
        loosened=tuple(loosened(now.sources, then.sources)),
    )


class InstanceSimulation(NamedTuple):
    """What automatic pruning may remove of an instance now, and what it may with another policy of its own, each with
    the settled children that go with it. ``executions_more`` and ``instances_more`` are as in ``SimulatedName``."""

    now: Removable
    then: Removable
    whole_now: RemovableWhole
    whole_then: RemovableWhole
    executions_more: int
    instances_more: int


def simulate_instance(store: Store, instance: PrunableInstance, policy: str | None) -> InstanceSimulation:
    """``policy``: as the store keeps an instance's own; None: it has none. Reads no history and writes nothing."""
    policies, now_ms = ConfiguredPolicies(store), store.now_ms()
    holds = HoldsInForce(store.list_holds(), now_ms)
    executions = [each for _, found in facts_of(store, [instance]) for each in found]
    other = msgspec.structs.replace(instance, policy=policy)
    now, then = (going_executions(policies, each, executions, holds, now_ms) for each in (instance, other))
    wholes = whole_now, whole_then = GoingWhole(), GoingWhole()
    for whole, going in zip(wholes, (now, then), strict=True):
        whole.add_settled(store, policies, instance, going.ids, holds, now_ms)
    return InstanceSimulation(
        now=now.amount,
        then=then.amount,
        whole_now=sum_of_whole(whole_now.by_root.values()),
        whole_then=sum_of_whole(whole_then.by_root.values()),
        executions_more=len(then.ids - now.ids),
        instances_more=len(whole_then.named.keys() - whole_now.named.keys()),
    )


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
        self.executions_more = self.instances_more = 0
        self.now = self.then = Removable()
        self.origins: set[str] = set()
