"""The sweep: what one worker of a store does so that the others need not. It reclaims what was pruned, goes on where a
turn left something behind or failed, prunes for the interval of policies, cleans up orphans, and purges.

One step is one small transaction, or a look; whoever calls it decides when to call it again.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import chain, groupby, islice
from typing import Final, NamedTuple, TypeVar

import msgspec

from duro.errors import RowUnreadableError, StalePlanError
from duro.maintenance import families
from duro.maintenance.policies import ConfiguredPolicies
from duro.maintenance.pruning import INSTANCES_A_PAGE
from duro.model.families import OrphanFilter, PurgeOverrides, RemovalBatch, RemovalKind, RemovalOrder, RemovalOutcome
from duro.model.limits import RECLAIM_EVENTS_MAX
from duro.model.policies import PolicySources, UnitedPolicy
from duro.model.pruning import PruneResult, PruneTrigger
from duro.model.removal import (
    AskedPrune,
    PrunableInstance,
    PruneBatch,
    PruneFilter,
    PruneOrder,
    PruneScope,
    SettledCount,
)
from duro.model.retention import AutoPrune, PolicyKind, PolicyOrigin
from duro.retention.families import is_kept_orphan
from duro.retention.purging import overrides_of, purge_interval_s, purge_overrides, united_orphan_rules
from duro.retention.triggers import decide_in_sweep
from duro.stores.base import Store
from duro.telemetry import HOST_LOGGER

_Piece = TypeVar("_Piece")

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


class _Task(NamedTuple):
    """An instance that a sweep prunes. ``instance`` as it was read, and ``decide`` for when somebody says something
    else: what is its order then? Neither where code asked for it, whatever anybody says."""

    name: str
    order: PruneOrder
    instance: PrunableInstance | None = None
    decide: "_Decide | None" = None


_Decide = Callable[[PrunableInstance], PruneOrder | None]
_Pruning = list[_Task]

_BY_FILE: Final = PolicyOrigin(PolicyKind.FILE_DEFAULT, "[orphans]")

_ATTEMPTS: Final = 4
"""How often a piece is tried anew within a step when something else is said just then: reading it again takes a
millisecond or two, so even hundreds of changes a second let one of them through."""


class Sweep:
    """The state between steps: where in its round the sweep is. It holds nothing that the store does not know: a sweep
    that another worker takes over begins a new round.

    What is said while a round goes on counts for all that it has not looked at yet; it does not begin anew, for then a
    store whose policies keep changing would never be swept to its end. What it has looked at before is looked at again
    in the next round."""

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
        self._removing: RemovalBatch | None = None
        self._said: ConfiguredPolicies | None = None
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
        return self._next_piece()

    def _next_piece(self) -> bool:
        if not self._going_on and self._removing is None:
            if self._waiting is None:
                self._said = None
                self._waiting = self._pieces()
            piece = next(self._waiting, None)
            if piece is None:
                self._waiting = None
                self.left_due = self._leaving
                self.rounds += 1
                return False
            if isinstance(piece, RemovalBatch):
                self._removing = piece
            else:
                self._going_on = piece
        for _ in range(_ATTEMPTS):
            try:
                self._do()
            except StalePlanError:  # somebody said something else about pruning meanwhile
                self._follow()
            except RowUnreadableError as error:
                self._take_apart(error)
                break
            else:
                break
        return True

    def _take_apart(self, error: RowUnreadableError) -> None:
        """A row that cannot be read is in the way of the piece in hand: what it is about stays, the rest goes on, one
        by one."""
        batch, tasks = self._removing, self._going_on
        self._removing, self._going_on = None, []
        if batch is not None and len(batch.orders) > 1:
            parts: list[_Pruning | RemovalBatch] = [
                msgspec.structs.replace(batch, orders=(order,)) for order in batch.orders
            ]
        elif batch is None and len(tasks) > 1:
            parts = [[task] for task in tasks]
        else:
            HOST_LOGGER.warning("the sweep leaves out what it cannot read: %s", error)
            return
        self._waiting = chain(parts, self._waiting or ())

    @property
    def in_round(self) -> bool:
        """Whether a round has begun and is not over."""
        return self._waiting is not None

    def forget(self) -> None:
        """Begin a new round at the next step: another worker may have swept meanwhile."""
        self._waiting = self._removing = None
        self._going_on = []
        self._looked_at_ms = {}

    def policies_changed(self) -> None:
        """Go by what is said now from the next step on. What only a trigger looks for is looked for in the next round,
        however long ago that was done."""
        self._looked_at_ms = {}
        if self._waiting is not None:
            self._follow()

    # --- what is said ------------------------------------------------------------------------------------------

    @property
    def _policies(self) -> ConfiguredPolicies:
        """As they were when they were last read in this round."""
        if self._said is None:
            self._said = ConfiguredPolicies(self._store)
        return self._said

    def _follow(self) -> None:
        """Read anew what is said, and let it count for the piece in hand."""
        before = self._policies.sources
        self._said = policies = ConfiguredPolicies(self._store)
        if policies.sources != before:
            self._looked_at_ms = {}
        if (batch := self._removing) is not None:
            same = policies.sources == before
            self._removing = msgspec.structs.replace(batch, policy_revision=policies.revision) if same else None
        self._going_on = self._decided_again(self._going_on)

    def _decided_again(self, tasks: _Pruning) -> _Pruning:
        """``tasks`` by what is said now, each from where it was."""
        ids = tuple(task.instance.instance_id for task in tasks if task.instance is not None)
        read = self._store.prunable_instances(PruneFilter(instance_ids=ids), 0, 0) if ids else ()
        there = {each.incarnation: each for each in read}
        again = []
        for task in tasks:
            if task.decide is None:
                again.append(task)
                continue
            instance = there.get(task.order.incarnation)
            order = None if instance is None else task.decide(instance)
            if order is not None:
                order = msgspec.structs.replace(order, after=task.order.after)
                again.append(task._replace(order=order, instance=instance))
        return again

    # --- a round -----------------------------------------------------------------------------------------------

    def _pieces(self) -> Iterator[_Pruning | RemovalBatch]:
        self._leaving = 0
        self._protected = set()
        self.shortest_interval_s = None
        self._note_intervals(_intervals(self._policies))
        yield from _readable(self._asked())
        yield from _readable(self._instances(PruneFilter(due=True), self._due))
        yield from _readable(self._instances(PruneFilter(own_policy=True, several=True), self._for_interval))
        if any(_pruning_intervals(sources) for sources in self._policies.sources):
            yield from _readable(self._instances(PruneFilter(several=True), self._for_interval))
        yield from _readable(self._removals(RemovalKind.ORPHANS, self._orphans))
        yield from _readable(self._removals(RemovalKind.PURGE, self._purges))

    def _asked(self) -> Iterator[_Pruning]:
        """What code asked for and turns did not finish, whatever policies say."""
        after = 0
        while page := self._store.asked_prunes(_INSTANCES_A_STEP, after):
            yield [_Task(each.name, _going_on_with(each)) for each in page]
            after = page[-1].incarnation

    def _instances(self, where: PruneFilter, decide: _Decide) -> Iterator[_Pruning]:
        """In the order of their incarnations, a few that are to be pruned at a time. What was read before somebody said
        something else is read again."""
        after, more = 0, True
        while more:
            policies, tasks = self._policies, list[_Task]()
            page = self._store.prunable_instances(where, INSTANCES_A_PAGE, after)
            more = len(page) == INSTANCES_A_PAGE
            for instance in page:
                if (order := decide(instance)) is not None:
                    tasks.append(_Task(instance.name, order, instance, decide))
                if len(tasks) < _INSTANCES_A_STEP and instance is not page[-1]:
                    continue
                yield tasks
                after, tasks = instance.incarnation, []
                if self._policies is not policies:
                    more = True
                    break

    def _removals(
        self, trigger: RemovalKind, wanted: Callable[[ConfiguredPolicies], "_Removals | None"]
    ) -> Iterator[RemovalBatch]:
        """If it is time for them: from the beginning whenever workers say something else meanwhile, for what has gone
        is not met again."""
        is_time = None
        while True:
            policies = self._policies
            removals = wanted(policies)
            if removals is None:
                return
            if is_time is None:
                is_time = self._is_time(trigger, removals.interval_s)
            if not is_time:
                return
            for batch in _batches(trigger, removals, policies):
                yield msgspec.structs.replace(batch, policy_revision=self._policies.revision)
                if self._policies.sources != policies.sources:
                    break
            else:
                return

    def _orphans(self, policies: ConfiguredPolicies) -> "_Removals | None":
        """Of orphans, those the configuration lets go."""
        wanted = united_orphan_rules(policies.sources)
        if wanted is None:
            return None
        rules, interval_s = wanted
        where = OrphanFilter(kinds=rules.kinds, child_status=rules.child_status, limit=0)
        rules_of = cache(lambda name: united_orphan_rules(policies.about(name)))
        overrides = purge_overrides(policies.everyone())
        is_never_purged = cache(lambda name: None in overrides_of(overrides, name))
        orders = (
            (child.name, RemovalOrder(incarnation=child.incarnation, rules=by_name[0], origin=_BY_FILE))
            for orphan in families.orphans(self._store, where)
            if (child := orphan.child).incarnation not in self._protected
            and not is_never_purged(child.name)
            and (by_name := rules_of(child.name)) is not None
            and not is_kept_orphan(child, by_name[0], self._store.now_ms())
        )
        return _Removals(interval_s, orders, overrides)

    def _purges(self, policies: ConfiguredPolicies) -> "_Removals | None":
        interval_s = purge_interval_s(policies.sources)
        if interval_s is None or not all(sources.purge_enabled for sources in policies.sources):
            return None
        rules_of, overrides = families.purge_rules(policies, None, by_sweep=True)

        def orders() -> Iterator[tuple[str, RemovalOrder]]:
            newest_of = families.newest_now(self._store, rules_of, PruneScope())
            yield from families.purge_orders(self._store, rules_of, PruneScope(), newest_of)

        return _Removals(interval_s, orders(), overrides)

    def _is_time(self, trigger: str, interval_s: float) -> bool:
        """Whether this sweep has not looked for so long."""
        now_ms = self._store.now_ms()
        looked_at_ms = self._looked_at_ms.get(trigger)
        if looked_at_ms is not None and now_ms - looked_at_ms < interval_s * 1000:
            return False
        self._looked_at_ms[trigger] = now_ms
        return True

    def _due(self, instance: PrunableInstance) -> PruneOrder | None:
        """An earlier prune left something or failed. The interval does not matter, a pause does."""
        united = self._policies.of(instance)
        paused_until_ms = self._policies.paused_until_ms(instance.name, instance.version)
        paused = paused_until_ms is not None and self._store.now_ms() < paused_until_ms
        if united is not None and (paused or not united.is_known):
            self._leaving += 1
            return None
        if united is None or united.rules is None:
            self._store.note_swept([instance.incarnation])
            return None
        return _order(instance, united)

    def _for_interval(self, instance: PrunableInstance) -> PruneOrder | None:
        united = self._policies.of(instance)
        self._note_intervals(() if united is None else [each.interval_s for each in united.policies or ()])
        decision = decide_in_sweep(
            united,
            last_sweep_at_ms=instance.swept_at_ms,
            now_ms=self._store.now_ms(),
            paused_until_ms=self._policies.paused_until_ms(instance.name, instance.version),
        )
        return None if united is None or decision.rules is None else _order(instance, united)

    def _note_intervals(self, intervals_s: Iterable[float | None]) -> None:
        given = [each for each in (self.shortest_interval_s, *intervals_s) if each is not None]
        self.shortest_interval_s = min(given, default=None)

    # --- a piece -----------------------------------------------------------------------------------------------

    def _do(self) -> None:
        """The piece in hand, or the first part of it. Raises StalePlanError: nothing was done."""
        if (batch := self._removing) is not None:
            outcomes = self._store.remove(batch)
            self._removing = None
            self._protected.update(families.protected_by(self._store, outcomes))
            if self._removal_report is not None:
                self._removal_report(batch.trigger, outcomes)
        elif self._going_on:
            self._prune(self._going_on)

    def _prune(self, tasks: _Pruning) -> None:
        """Those that are pruned on the terms of the first one. Who is away may have said something else of others."""
        terms = self._policies.terms_of(tasks[0].name)
        now = [task for task in tasks if self._policies.terms_of(task.name) == terms]
        results = self._store.prune(
            PruneBatch(
                orders=tuple(task.order for task in now),
                trigger=PruneTrigger.INTERVAL,
                executions_max=_EXECUTIONS_A_STEP,
                children=terms.children,
                policy_revision=self._policies.revision,
                swept=True,
                archive=terms.archive,
            )
        )
        self._going_on = [task for task in tasks if self._policies.terms_of(task.name) != terms]
        for task, result in zip(now, results, strict=True):
            if self._report is not None:
                self._report(task.name, result.result)
            if result.next_after is not None:
                going_on = msgspec.structs.replace(task.order, after=result.next_after)
                self._going_on.append(task._replace(order=going_on))


class _Removals(NamedTuple):
    """What a trigger that looks every ``interval_s`` removes: orders, each with the name of the root's
    orchestration."""

    interval_s: float
    orders: Iterator[tuple[str, RemovalOrder]]
    overrides: PurgeOverrides = ()


def _batches(trigger: str, removals: _Removals, policies: ConfiguredPolicies) -> Iterator[RemovalBatch]:
    """In their order; each batch goes into one archive, or into none."""
    for archive, group in groupby(removals.orders, lambda named: policies.terms_of(named[0]).archive):
        while part := tuple(order for _, order in islice(group, _FAMILIES_A_STEP)):
            yield RemovalBatch(
                orders=part,
                trigger=trigger,
                overrides=removals.overrides,
                policy_revision=policies.revision,
                archive=archive,
            )


def _readable(pieces: Iterator[_Piece]) -> Iterator[_Piece]:
    """``pieces`` up to a row that cannot be read: what comes after them is not kept from its turn."""
    try:
        yield from pieces
    except RowUnreadableError as error:
        HOST_LOGGER.warning("the sweep does not get through: %s", error)


def _going_on_with(asked: AskedPrune) -> PruneOrder:
    return PruneOrder(incarnation=asked.incarnation, rules=(asked.options,), origin=asked.origin, asked=asked)


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
