"""The sweep: what one worker of a store does so that the others need not. It reclaims what was pruned, goes on where a
turn left something behind or failed, prunes for the interval of policies, cleans up orphans, and purges.

One step is one small transaction, or a look; whoever calls it decides when to call it again.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from itertools import islice
from typing import Final

from duro.errors import StalePlanError
from duro.maintenance import families
from duro.maintenance.policies import ConfiguredPolicies
from duro.maintenance.pruning import INSTANCES_A_PAGE
from duro.model.families import OrphanFilter, PurgeOverrides, RemovalBatch, RemovalKind, RemovalOrder, RemovalOutcome
from duro.model.limits import RECLAIM_EVENTS_MAX
from duro.model.policies import PolicySources, UnitedPolicy
from duro.model.pruning import PruneResult, PruneTrigger
from duro.model.removal import PrunableInstance, PruneBatch, PruneFilter, PruneOrder, PruneScope, SettledCount
from duro.model.retention import AutoPrune, PolicyKind, PolicyOrigin
from duro.retention.families import is_kept_orphan
from duro.retention.purging import purge_interval_s, purge_overrides, united_orphan_rules, united_purge
from duro.retention.triggers import decide_in_sweep
from duro.stores.base import Store

_INSTANCES_A_STEP: Final = 20
_EXECUTIONS_A_STEP: Final = 100
"""Of each instance; together a transaction of a few milliseconds."""

_FAMILIES_A_STEP: Final = 50
"""Families one transaction of a sweep removes."""

Report = Callable[[str, PruneResult], None]
"""Told of every prune: the orchestration's name and what was done."""

RemovalReport = Callable[[str, Sequence[RemovalOutcome]], None]
"""Told of every removal of families: the trigger, and what became of each."""

SettledReport = Callable[[Sequence[SettledCount]], None]
"""Told of the children that went with executions, by name."""

_Pruning = list[tuple[PrunableInstance, PruneOrder]]
_BY_FILE: Final = PolicyOrigin(PolicyKind.FILE_DEFAULT, "[orphans]")


class Sweep:
    """The state between steps: where in its round the sweep is. It holds nothing that the store does not know: a sweep
    that another worker takes over begins a new round."""

    def __init__(
        self,
        store: Store,
        report: Report | None = None,
        removal_report: RemovalReport | None = None,
        settled_report: SettledReport | None = None,
    ) -> None:
        self._store = store
        self._report = report
        self._removal_report = removal_report
        self._settled_report = settled_report
        self._waiting: Iterator[_Pruning | RemovalBatch] | None = None
        self._going_on: _Pruning = []
        self._policies: ConfiguredPolicies | None = None
        self._looked_at_ms: dict[str, int] = {}
        """When this sweep last looked for what a trigger removes."""
        self._leaving = 0
        self._protected: set[int] = set()
        """Incarnations that stay with a descendant that runs, as was seen in this round."""
        self.left_due = 0
        """Instances that the last round left although they are due: a rollout pauses them, or nobody says how."""
        self.shortest_interval_s: float | None = None
        """How often the last round was asked to look for anything, None: nothing has an interval."""
        self.reclaimed_executions = 0
        self.reclaimed_events = 0
        self.rounds = 0

    def step(self) -> bool:
        """Do one piece. False: a round is over and there is nothing left to reclaim."""
        reclaimed = self._store.reclaim(RECLAIM_EVENTS_MAX)
        self.reclaimed_executions += reclaimed.executions
        self.reclaimed_events += reclaimed.events
        if reclaimed.settled and self._settled_report is not None:
            self._settled_report(reclaimed.settled)
        if reclaimed.more:
            return True
        try:
            return self._next_piece()
        except StalePlanError:  # somebody said something else about pruning since the round began
            self.forget()
            return True

    def _next_piece(self) -> bool:
        if self._going_on:
            self._prune(self._going_on)
            return True
        if self._waiting is None:
            self._waiting = self._orders()
        batch = next(self._waiting, None)
        if batch is None:
            self._waiting = None
            self.left_due = self._leaving
            self.rounds += 1
            return False
        if isinstance(batch, RemovalBatch):
            outcomes = self._store.remove(batch)
            self._protected.update(families.protected_by(self._store, outcomes))
            if self._removal_report is not None:
                self._removal_report(batch.trigger, outcomes)
        elif batch:
            self._prune(batch)
        return True

    @property
    def in_round(self) -> bool:
        """Whether a round has begun and is not over."""
        return self._waiting is not None or bool(self._going_on)

    def forget(self) -> None:
        """Begin a new round at the next step: the policies may have changed."""
        self._waiting = None
        self._going_on = []
        self._looked_at_ms = {}

    # --- inside ------------------------------------------------------------------------------------------------

    def _orders(self) -> Iterator[_Pruning | RemovalBatch]:
        """A round, in pieces."""
        self._policies = policies = ConfiguredPolicies(self._store)
        self._leaving = 0
        self._protected = set()
        self.shortest_interval_s = None
        self._note_intervals(_intervals(policies))
        yield from self._pieces(PruneFilter(due=True), lambda instance: self._due(instance, policies))
        own = PruneFilter(own_policy=True, several=True)
        yield from self._pieces(own, lambda instance: self._for_interval(instance, policies))
        if any(_pruning_intervals(sources) for sources in policies.sources):
            several = PruneFilter(several=True)
            yield from self._pieces(several, lambda instance: self._for_interval(instance, policies))
        yield from self._orphans(policies)
        yield from self._purges(policies)

    def _orphans(self, policies: ConfiguredPolicies) -> Iterator[RemovalBatch]:
        """Of orphans, those the configuration lets go."""
        wanted = united_orphan_rules(policies.sources)
        if wanted is None or not self._is_time(RemovalKind.ORPHANS, wanted[1]):
            return
        rules, _ = wanted
        where = OrphanFilter(kinds=rules.kinds, child_status=rules.child_status, limit=0)
        orders = (
            RemovalOrder(incarnation=orphan.child.incarnation, rules=rules, origin=_BY_FILE)
            for orphan in families.orphans(self._store, where)
            if orphan.child.incarnation not in self._protected
            and not is_kept_orphan(orphan.child, rules, self._store.now_ms())
        )
        yield from _batches(RemovalKind.ORPHANS, orders, policies)

    def _purges(self, policies: ConfiguredPolicies) -> Iterator[RemovalBatch]:
        interval_s = purge_interval_s(policies.sources)
        if interval_s is None or not self._is_time(RemovalKind.PURGE, interval_s):
            return
        if not all(sources.purge_enabled for sources in policies.sources):
            return
        rules_of = cache(partial(united_purge, policies.sources))
        newest_of = families.newest_now(self._store, rules_of, PruneScope())
        orders = families.purge_orders(self._store, rules_of, PruneScope(), newest_of)
        yield from _batches(RemovalKind.PURGE, orders, policies, purge_overrides(policies.sources))

    def _is_time(self, trigger: str, interval_s: float) -> bool:
        """Whether this sweep has not looked for so long."""
        now_ms = self._store.now_ms()
        looked_at_ms = self._looked_at_ms.get(trigger)
        if looked_at_ms is not None and now_ms - looked_at_ms < interval_s * 1000:
            return False
        self._looked_at_ms[trigger] = now_ms
        return True

    def _pieces(self, where: PruneFilter, order: Callable[[PrunableInstance], PruneOrder | None]) -> Iterator[_Pruning]:
        after = 0
        while True:
            page = self._store.prunable_instances(where, INSTANCES_A_PAGE, after)
            orders = [(instance, made) for instance in page if (made := order(instance)) is not None]
            for start in range(0, len(orders), _INSTANCES_A_STEP):
                yield orders[start : start + _INSTANCES_A_STEP]
            if len(page) < INSTANCES_A_PAGE:
                return
            yield []
            after = page[-1].incarnation

    def _due(self, instance: PrunableInstance, policies: ConfiguredPolicies) -> PruneOrder | None:
        """An earlier prune left something or failed. The interval does not matter, a pause does."""
        united = policies.of(instance)
        paused_until_ms = policies.paused_until_ms(instance.name)
        paused = paused_until_ms is not None and self._store.now_ms() < paused_until_ms
        if united is not None and (paused or not united.is_known):
            self._leaving += 1
            return None
        if united is None or united.rules is None:
            self._store.note_swept([instance.incarnation])
            return None
        return _order(instance, united)

    def _for_interval(self, instance: PrunableInstance, policies: ConfiguredPolicies) -> PruneOrder | None:
        united = policies.of(instance)
        self._note_intervals(() if united is None else [each.interval_s for each in united.policies or ()])
        decision = decide_in_sweep(
            united,
            last_sweep_at_ms=instance.swept_at_ms,
            now_ms=self._store.now_ms(),
            paused_until_ms=policies.paused_until_ms(instance.name),
        )
        return None if united is None or decision.rules is None else _order(instance, united)

    def _note_intervals(self, intervals_s: Iterable[float | None]) -> None:
        given = [each for each in (self.shortest_interval_s, *intervals_s) if each is not None]
        self.shortest_interval_s = min(given, default=None)

    def _prune(self, batch: _Pruning) -> None:
        assert self._policies is not None, "orders come from a round, which read them"
        results = self._store.prune(
            PruneBatch(
                orders=tuple(order for _, order in batch),
                trigger=PruneTrigger.INTERVAL,
                executions_max=_EXECUTIONS_A_STEP,
                children=self._policies.children,
                policy_revision=self._policies.revision,
                swept=True,
                archive=self._policies.archive,
            )
        )
        self._going_on = []
        for (instance, order), result in zip(batch, results, strict=True):
            if self._report is not None:
                self._report(instance.name, result.result)
            if result.next_after is not None:
                going_on = PruneOrder(
                    incarnation=order.incarnation, rules=order.rules, origin=order.origin, after=result.next_after
                )
                self._going_on.append((instance, going_on))


def _batches(
    trigger: str, orders: Iterator[RemovalOrder], policies: ConfiguredPolicies, overrides: PurgeOverrides = ()
) -> Iterator[RemovalBatch]:
    while part := tuple(islice(orders, _FAMILIES_A_STEP)):
        yield RemovalBatch(
            orders=part,
            trigger=trigger,
            overrides=overrides,
            policy_revision=policies.revision,
            archive=policies.archive,
        )


def _order(instance: PrunableInstance, united: UnitedPolicy) -> PruneOrder:
    assert united.rules is not None, "asked before"
    return PruneOrder(incarnation=instance.incarnation, rules=united.rules, origin=united.origin)


def _pruning_intervals(sources: PolicySources) -> list[float]:
    stated = [*sources.file_overrides, *sources.code_overrides, *sources.registrations]
    stated += [each for each in (sources.file_default, sources.code_default) if each is not None]
    policies = [each.policy for each in stated if isinstance(each.policy, AutoPrune)]
    return [each.interval_s for each in policies if each.interval_s is not None]


def _intervals(policies: ConfiguredPolicies) -> Iterator[float]:
    for sources in policies.sources:
        yield from _pruning_intervals(sources)
    if (orphans := united_orphan_rules(policies.sources)) is not None:
        yield orphans[1]
    if (purges_s := purge_interval_s(policies.sources)) is not None:
        yield purges_s
