"""Planning and pruning a store from outside: whole plans, their application, and prunes of any number of instances."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Final, Literal

import msgspec

from duro.errors import ExecutionNotFoundError, StalePlanError
from duro.maintenance.archiving import Archiving
from duro.maintenance.policies import ConfiguredPolicies, Rules, asked_for, nobody_says
from duro.maintenance.pruned import no_instance
from duro.maintenance.room import POLITE_PART, Room
from duro.model.families import Family, RemovalPlan
from duro.model.ledger import RunSource
from duro.model.limits import MARK_RECLAIM_EVENTS_MAX, RECLAIM_EVENTS_MAX, SKIPPED_HELD_MAX
from duro.model.pruning import (
    ExecutionFacts,
    InstancePlan,
    PlannedChild,
    PlanWarning,
    PrunePlan,
    PruneResult,
    PruneTrigger,
    SkippedExecution,
    Verdict,
    WarningCode,
)
from duro.model.removal import (
    OrderResult,
    PrunableInstance,
    PruneBatch,
    PruneFilter,
    PruneOrder,
    PruneScope,
    ReclaimResult,
)
from duro.model.retention import NAMED, PolicyKind, PolicyOrigin, PruneOptions
from duro.model.status import ChildrenPolicy
from duro.naming import command_on
from duro.retention.families import settled_families, sum_of_settled
from duro.retention.holds import Holds, HoldsInForce
from duro.retention.names import matches
from duro.retention.plan import instance_plan, named_plan, prune_plan
from duro.stores.base import Store

INSTANCES_A_PAGE: Final = 500
"""Instances read at once; a few hundred bytes each."""

EXECUTIONS_A_READ: Final = 5_000
"""Executions whose facts are read at once, of one instance or many: about 2 MB of JSON."""

_EXECUTIONS_A_BATCH: Final = range(20, 500)
"""Executions a transaction looks at, least and most: how many of them make ``MARK_RECLAIM_EVENTS_MAX`` events differs,
and is learned as it goes."""

_EXECUTIONS_AT_FIRST: Final = 200

_NAMED_MAX: Final = 5
"""Executions a warning names."""

_SMALLEST_RECLAIM: Final = 200
"""Events, on a full disk."""


class PruneProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a long prune is. ``instances`` were looked at, ``executions``, ``events`` and ``bytes`` marked, and then
    ``archived`` histories kept, if they are."""

    instances: int = 0
    executions: int = 0
    events: int = 0
    bytes: int = 0
    archived: int = 0


Progress = Callable[[PruneProgress], bool | None]
"""Called after every batch. False: stop here; what was done is done, and the result says that something remains."""


class RunTerms(msgspec.Struct, frozen=True, kw_only=True):
    """Who prunes by hand, and how: see ``PruneBatch``. Without a ``run_id`` it is an activity that does. ``archive``
    None: as it is configured, by workers or, whatever they say, in the directory ``configured_archive``."""

    run_id: str
    grace_ms: int
    by: str = ""
    reason: str = ""
    source: RunSource = RunSource()
    archive: str | None = None
    configured_archive: str | None = None


# --- which instances -----------------------------------------------------------------------------------------


def filter_of(store: Store, scope: PruneScope, *, several: bool) -> PruneFilter:
    """``scope`` for the store: patterns become the names there are.

    Raises:
        InstanceNotFoundError: an instance that is named does not exist.
    """
    names = None
    if scope.name is not None:
        pattern = scope.name
        names = tuple(name for name in store.orchestration_names() if matches(name, pattern))
    if scope.instance_ids is not None:
        _check_there(store, scope.instance_ids)
    return PruneFilter(instance_ids=scope.instance_ids, names=names, several=several)


def _check_there(store: Store, instance_ids: tuple[str, ...]) -> tuple[PrunableInstance, ...]:
    """The instances. Raises InstanceNotFoundError: one of them is not."""
    if not instance_ids:
        return ()
    found = store.prunable_instances(PruneFilter(instance_ids=instance_ids), 0, 0)
    there = {instance.instance_id for instance in found}
    for instance_id in instance_ids:
        if instance_id not in there:
            raise no_instance(store, instance_id)
    return found


def _check_there_was(instance: PrunableInstance, executions: Collection[int]) -> None:
    """Raises ExecutionNotFoundError: one of them never was."""
    for execution_id in executions:
        if not 1 <= execution_id <= instance.execution_id:
            raise ExecutionNotFoundError(
                f"instance {instance.instance_id!r} has no execution {execution_id}: it is in {instance.execution_id}",
                hint=f"{command_on('executions list', instance.instance_id)} shows those there are",
            )


def instances_of(store: Store, where: PruneFilter, after: int = 0) -> Iterator[PrunableInstance]:
    """In the order of their incarnations, from the one after ``after`` on, a page at a time."""
    while True:
        page = store.prunable_instances(where, INSTANCES_A_PAGE, after)
        yield from page
        if len(page) < INSTANCES_A_PAGE:
            return
        after = page[-1].incarnation


def _rules(options: PruneOptions | None, policies: ConfiguredPolicies) -> Callable[[PrunableInstance], Rules]:
    if options is None:
        return policies.rules
    given = asked_for(options)
    return lambda _: given


# --- planning ------------------------------------------------------------------------------------------------


def plan(
    store: Store,
    options: PruneOptions | Literal["named"] | None,
    scope: PruneScope,
    only: Mapping[str, Collection[int]] | None = None,
) -> PrunePlan:
    """What a prune would remove, and why. Reads no history and writes nothing. ``only``: of an instance that it names
    nothing but these executions may go; with ``NAMED`` they all go that may, and nothing else does.

    Raises:
        InstanceNotFoundError: an instance that is named, in ``scope`` or in ``only``, does not exist.
        ExecutionNotFoundError: an execution that is named never was. One that was pruned is a warning of the plan.
        PolicyUnknownError: no options, and nobody says what to prune.
    """
    policies = ConfiguredPolicies(store)
    hold_revision, now_ms = store.hold_revision(), store.now_ms()
    holds = HoldsInForce(store.list_holds(), now_ms)
    where = filter_of(store, scope, several=False)
    named = only or {}
    for instance in _check_there(store, tuple(named)):
        _check_there_was(instance, named[instance.instance_id])

    def planned_alone(instance: PrunableInstance, executions: Sequence[ExecutionFacts]) -> InstancePlan:
        these = named.get(instance.instance_id)
        if options == NAMED:
            return named_plan(executions, these or (), PolicyOrigin(PolicyKind.CALL, ""), holds, now_ms)
        rules, origin = _rules(options, policies)(instance)
        return _only(_why_not(instance_plan(executions, rules, origin, holds, now_ms), instance, policies), these)

    there = facts_of(store, instances_of(store, where))
    planned = [planned_alone(instance, executions) for instance, executions in there if executions]
    if options is None and planned and all(each.origin.kind is PolicyKind.NONE for each in planned):
        raise nobody_says()
    if policies.children is ChildrenPolicy.SETTLED:
        planned = [_with_children(store, each, holds, now_ms) for each in planned]
    made = prune_plan(
        planned,
        store_id=store.store_id(),
        policy_revision=policies.revision,
        hold_revision=hold_revision,
        made_at_ms=now_ms,
        children=policies.children,
    )
    return msgspec.structs.replace(made, warnings=(*made.warnings, *_pruned_before(planned, named)))


def _pruned_before(planned: Iterable[InstancePlan], named: Mapping[str, Collection[int]]) -> Iterator[PlanWarning]:
    for instance in planned:
        live = {item.execution.execution_id for item in instance.items}
        gone = [str(number) for number in sorted(named.get(instance.instance_id, ())) if number not in live]
        if gone:
            which = ", ".join(gone[:_NAMED_MAX]) + (", ..." if len(gone) > _NAMED_MAX else "")
            was = "execution" if len(gone) == 1 else "executions"
            text = f"{len(gone)} {was} of those named of {instance.instance_id} had been pruned before: {which}"
            yield PlanWarning(WarningCode.PRUNED_BEFORE, instance.instance_id, text)


def _why_not(planned: InstancePlan, instance: PrunableInstance, policies: ConfiguredPolicies) -> InstancePlan:
    """``planned``, which says why its policy lets nothing go."""
    if planned.rules is not None or (united := policies.of(instance)) is None:
        return planned
    if united.is_never and united.is_known:
        return msgspec.structs.replace(planned, why=united.why)
    items = [
        msgspec.structs.replace(item, verdict=Verdict(True, (*item.verdict.reasons[:-1], "no-policy")))
        for item in planned.items
    ]
    return msgspec.structs.replace(planned, why=united.why, items=tuple(items))


def _only(planned: InstancePlan, executions: Collection[int] | None) -> InstancePlan:
    if executions is None:
        return planned
    items = tuple(
        item
        if item.verdict.keep or item.execution.execution_id in executions
        else msgspec.structs.replace(item, verdict=Verdict(True, ("not-named",)))
        for item in planned.items
    )
    return msgspec.structs.replace(planned, items=items)


def _with_children(store: Store, planned: InstancePlan, holds: Holds, now_ms: int) -> InstancePlan:
    """``planned`` with the settled children that go with what it removes."""
    removed = {item.execution.execution_id for item in planned.items if not item.verdict.keep}
    children = tuple(
        PlannedChild(
            instance_id=family.root.instance_id,
            incarnation=family.root.incarnation,
            execution_id=spawner,
            instances=len(family.members),
            executions=family.executions,
            events=family.events,
            history_bytes=family.history_bytes,
        )
        for family, spawner in settled_children(store, planned.incarnation, removed, holds, now_ms)
    )
    return msgspec.structs.replace(planned, children=children)


def settled_children(
    store: Store, incarnation: int, removed: Collection[int], holds: Holds, now_ms: int
) -> Iterator[tuple[Family, int]]:
    """The families that go with the executions ``removed`` of an instance, each with the one that spawned its root."""
    if not removed:
        return
    spawners: dict[int, int] = {}
    after = 0
    while page := store.list_children(incarnation, INSTANCES_A_PAGE, after):
        for child in page:
            if not child.detached and child.completed_at_ms is not None and child.parent.execution_id in removed:
                spawners[child.incarnation] = child.parent.execution_id
        after = page[-1].incarnation
    waiting = iter(spawners)
    while part := list(islice(waiting, INSTANCES_A_PAGE)):
        for family in settled_families(store.families(part), holds, now_ms):
            yield family, spawners[family.root.incarnation]


def facts_of(
    store: Store, instances: Iterable[PrunableInstance]
) -> Iterator[tuple[PrunableInstance, Sequence[ExecutionFacts]]]:
    """The live executions of each instance, oldest first."""
    waiting = iter(instances)
    while group := _group(waiting):
        views = store.prune_views([(instance.incarnation, 0) for instance in group], EXECUTIONS_A_READ, 1)
        for instance, view in zip(group, views, strict=True):
            executions = list(view.executions)
            while view.newer.executions:
                wanted = [(instance.incarnation, executions[-1].execution_id)]
                view = store.prune_views(wanted, EXECUTIONS_A_READ, 1)[0]
                executions += view.executions
            yield instance, executions


def _group(instances: Iterator[PrunableInstance]) -> list[PrunableInstance]:
    """The next instances that have about ``EXECUTIONS_A_READ`` executions together."""
    group, size = list[PrunableInstance](), 0
    for instance in instances:
        group.append(instance)
        size += min(instance.live_executions_max, EXECUTIONS_A_READ)
        if size >= EXECUTIONS_A_READ:
            break
    return group


# --- pruning -------------------------------------------------------------------------------------------------


def prune_many(
    store: Store, options: PruneOptions | None, scope: PruneScope, terms: RunTerms, progress: Progress | None
) -> PruneResult:
    """Prune every instance of ``scope``, in batches, until nothing is left that the rules let go.

    Raises:
        InstanceNotFoundError: an instance that is named does not exist.
        PolicyUnknownError: no options, and nobody says what to prune.
    """
    asked = _Asked(store, options, filter_of(store, scope, several=True))
    run = _Run(store, terms, asked.policies, asked.policies.children, progress, asked=asked)
    result = run.carry_out(asked.orders())
    if asked.silent and options is None:
        raise nobody_says()
    return result


_SizedOrder = tuple[PruneOrder, int]
"""With the number of executions it has to look at, at most."""


class _Asked:
    """Orders for whatever ``where`` has, by ``options`` or by what is said of each instance: as it is said when the
    order is given, for the store carries out none that is older than what is said."""

    def __init__(self, store: Store, options: PruneOptions | None, where: PruneFilter) -> None:
        self._store = store
        self._options = options
        self._where = where
        self.policies = ConfiguredPolicies(store)
        self.silent: bool | None = None
        """Whether nobody says anything about any of them; None: there were none."""

    def orders(self) -> Iterator[_SizedOrder]:
        after, going_on = 0, True
        while going_on:
            going_on, read_under = False, self.policies
            for instance in instances_of(self._store, self._where, after):
                after = instance.incarnation
                if (order := self._order(instance)) is not None:
                    yield order
                if self.policies is not read_under:  # and the page was read before that
                    going_on = True
                    break

    def again(self, orders: Sequence[PruneOrder]) -> list[PruneOrder]:
        """What becomes of ``orders`` by what is said now, from their beginning."""
        self.policies = ConfiguredPolicies(self._store)
        found = [self._store.prunable_instances(self._where, 1, order.incarnation - 1) for order in orders]
        there = [
            page[0]
            for order, page in zip(orders, found, strict=True)
            if page and page[0].incarnation == order.incarnation
        ]
        return [made[0] for made in map(self._order, there) if made is not None]

    def _order(self, instance: PrunableInstance) -> _SizedOrder | None:
        rules, origin = _rules(self._options, self.policies)(instance)
        self.silent = self.silent is not False and origin.kind is PolicyKind.NONE
        if rules is None:
            return None
        order = PruneOrder(incarnation=instance.incarnation, rules=rules, origin=origin)
        return order, instance.live_executions_max


def apply(store: Store, made: PrunePlan, terms: RunTerms, progress: Progress | None) -> PruneResult:
    """Remove what ``made`` shows, as far as it may still go, with the children it was made to take, whatever the
    configuration says of them by now.

    Raises:
        StalePlanError: it is a plan of another store, or what is said about pruning has changed since it was made.
            Nothing was removed (by the batches after the change, if it happened meanwhile).
    """
    policies = ConfiguredPolicies(store)
    revision = check_plan(store, made, policies)
    planned = {instance.incarnation: instance.instance_id for instance in made.instances}
    run = _Run(store, terms, policies, made.children, progress, policy_revision=revision, planned=planned)
    return run.carry_out(_orders_of(made))


def check_plan(store: Store, made: PrunePlan, policies: ConfiguredPolicies) -> int | None:
    """The revision of ``policies`` that ``made`` goes by; None: it goes by rules that were given.

    Raises:
        StalePlanError: as ``apply``.
    """
    check_store_of(made, store)
    configured = any(instance.origin.kind is not PolicyKind.CALL for instance in made.instances)
    revision = made.policy_revision if configured else None
    if revision is not None and policies.revision != revision:
        raise StalePlanError(
            "what is said about pruning has changed since the plan was made", hint="make the plan again"
        )
    return revision


def check_store_of(made: PrunePlan | RemovalPlan, store: Store) -> None:
    """Raises StalePlanError: it is a plan of another store."""
    if made.store_id != store.store_id():
        raise StalePlanError(
            f"the plan is of another store ({made.store_id})", hint="apply it to the store it was made from"
        )


def _orders_of(made: PrunePlan) -> Iterator[_SizedOrder]:
    for instance in made.instances:
        only = frozenset(item.execution.execution_id for item in instance.items if not item.verdict.keep)
        if only and instance.rules is not None:
            order = PruneOrder(
                incarnation=instance.incarnation,
                rules=instance.rules,
                origin=instance.origin,
                after=min(only) - 1,
                only=only,
                instance_id=instance.instance_id,
            )
            yield order, max(only) - min(only) + 1


class _Run:
    """One prune by hand, over many transactions. ``planned``: the ids of the lives that a plan shows. ``asked``: who
    gives the orders anew when something else is said meanwhile; None: the run is over then, if ``policy_revision`` is
    given."""

    def __init__(
        self,
        store: Store,
        terms: RunTerms,
        policies: ConfiguredPolicies,
        children: ChildrenPolicy,
        progress: Progress | None,
        *,
        policy_revision: int | None = None,
        planned: Mapping[int, str] | None = None,
        asked: _Asked | None = None,
    ) -> None:
        self._store = store
        self._terms = terms
        self._asked = asked
        self._children = children
        self._archiving = Archiving(
            store,
            terms.archive,
            policies,
            by_hand=bool(terms.run_id),
            configured=terms.configured_archive,
        )
        self._progress = progress or (lambda _: True)
        self._policy_revision = policy_revision if asked is None else asked.policies.revision
        self._planned = planned or {}
        self._executions_max = _EXECUTIONS_AT_FIRST
        self._events_max = MARK_RECLAIM_EVENTS_MAX
        self._events_an_execution = MARK_RECLAIM_EVENTS_MAX / _EXECUTIONS_AT_FIRST
        self._room = Room(store)
        self._done = PruneProgress()
        self._skipped: list[SkippedExecution] = []
        self._skipped_more = 0
        self._instances_pruned = 0
        self._remaining = 0

    def carry_out(self, orders: Iterable[_SizedOrder]) -> PruneResult:
        waiting = iter(orders)
        while batch := self._next_batch(waiting):
            if not self._carry_out(batch):
                self._remaining += sum(_not_looked_at(order) for order, _ in waiting)
                break
        done = self._done
        archived = self._archiving.finish(lambda n: self._progress(msgspec.structs.replace(done, archived=n)))
        reclaimed = reclaim_all(self._store, polite=self._room.polite) if self._terms.grace_ms == 0 else ReclaimResult()
        self._room.end()
        return PruneResult(
            executions_deleted=done.executions,
            events_deleted=done.events,
            bytes_deleted=done.bytes,
            instances_processed=done.instances,
            instances_pruned=self._instances_pruned,
            remaining=self._remaining,
            skipped=tuple(self._skipped),
            skipped_more=self._skipped_more,
            run_id=self._terms.run_id if done.executions else "",
            children_removed=sum(settled.instances for settled in reclaimed.settled),
            archived=archived if done.executions else None,
        )

    def _skip(self, skipped: Sequence[SkippedExecution], *, all_of_them: bool) -> None:
        room = len(skipped) if all_of_them else max(SKIPPED_HELD_MAX - len(self._skipped), 0)
        self._skipped += skipped[:room]
        self._skipped_more += len(skipped[room:])

    def _next_batch(self, waiting: Iterator[_SizedOrder]) -> list[PruneOrder]:
        batch, size = list[PruneOrder](), 0
        for order, executions in waiting:
            batch.append(order)
            size += min(executions, self._executions_max)
            if size >= self._executions_max:
                break
        return batch

    def _carry_out(self, orders: Sequence[PruneOrder]) -> bool:
        """The orders to their end, which for large instances takes several transactions. False: stop."""
        begun: set[int] = set()  # something of these went
        while orders:
            batch = PruneBatch(
                orders=tuple(orders),
                trigger=PruneTrigger.MANUAL if self._terms.run_id else PruneTrigger.ACTIVITY,
                executions_max=self._executions_max,
                run_id=self._terms.run_id,
                by=self._terms.by,
                reason=self._terms.reason,
                source=self._terms.source,
                grace_ms=self._terms.grace_ms,
                children=self._children,
                policy_revision=self._policy_revision,
                archive=self._archiving.archive,
                archive_directory=self._archiving.directory,
            )
            try:
                results = self._room.make(partial(self._prune, batch))
            except StalePlanError:
                if self._asked is None:
                    raise
                orders = self._given_again(self._asked, orders)
                continue
            going_on = [
                msgspec.structs.replace(order, after=result.next_after)
                for order, result in zip(orders, results, strict=True)
                if result.next_after is not None and (order.only is None or max(order.only) > result.next_after)
            ]
            sent = zip(orders, results, strict=True)
            there = sum(result.result.instances_processed for result in results)
            self._add(orders, results, ended=there - len(going_on))
            self._room.leave()
            self._events_max = MARK_RECLAIM_EVENTS_MAX // (POLITE_PART if self._room.polite else 1)
            orders = going_on
            begins = {order.incarnation for order, each in sent if each.result.executions_deleted} - begun
            self._instances_pruned += len(begins)
            begun |= begins
            if self._progress(self._done) is False:
                self._remaining += sum(_not_looked_at(order) for order in orders)
                unended = sum(order.incarnation in begun for order in orders)
                self._done = msgspec.structs.replace(self._done, instances=self._done.instances + unended)
                return False
        return True

    def _given_again(self, asked: _Asked, orders: Sequence[PruneOrder]) -> list[PruneOrder]:
        orders = asked.again(orders)
        self._policy_revision = asked.policies.revision
        self._children = asked.policies.children
        self._archiving.follow(asked.policies)
        return orders

    def _prune(self, batch: PruneBatch, small: bool) -> list[OrderResult]:
        if small:
            batch = msgspec.structs.replace(batch, executions_max=_EXECUTIONS_A_BATCH.start)
        return self._store.prune(batch, durable=self._room.durable)

    def _add(self, orders: Sequence[PruneOrder], results: Sequence[OrderResult], *, ended: int) -> None:
        marked = [result.result for result in results]
        executions = sum(each.executions_deleted for each in marked)
        events = sum(each.events_deleted for each in marked)
        self._done = PruneProgress(
            instances=self._done.instances + ended,
            executions=self._done.executions + executions,
            events=self._done.events + events,
            bytes=self._done.bytes + sum(each.bytes_deleted for each in marked),
        )
        for order, result in zip(orders, results, strict=True):
            self._skip(result.result.skipped, all_of_them=order.only is not None)
            if order.only is not None and not result.result.instances_processed:
                self._skipped += [
                    SkippedExecution(
                        self._planned.get(order.incarnation, ""),
                        order.incarnation,
                        number,
                        "its instance is gone",
                        gone=True,
                    )
                    for number in sorted(order.only)
                ]
        if executions:
            self._events_an_execution = max(events / executions, 1.0)
        fitting = int(self._events_max / self._events_an_execution)
        self._executions_max = min(max(fitting, _EXECUTIONS_A_BATCH.start), _EXECUTIONS_A_BATCH.stop)


def _not_looked_at(order: PruneOrder) -> int:
    """What is left of it: the executions that were planned, or one instance, whatever that has."""
    return 1 if order.only is None else sum(number > order.after for number in order.only)


def reclaim_all(store: Store, events_max: int = RECLAIM_EVENTS_MAX, *, polite: bool = False) -> ReclaimResult:
    """Reclaim whatever is past its grace, batch by batch; the sums. ``polite``: the first batches are small ones."""
    total = ReclaimResult()
    room = Room(store, polite=polite)
    while True:
        size = events_max // POLITE_PART if room.polite else events_max
        part = room.make(partial(_reclaim, store, size))
        total = ReclaimResult(
            executions=total.executions + part.executions,
            events=total.events + part.events,
            children=total.children + part.children,
            instances=total.instances + part.instances,
            settled=sum_of_settled([*total.settled, *part.settled]),
        )
        room.leave()
        if not part.more:
            room.end()
            return total


def _reclaim(store: Store, events_max: int, small: bool) -> ReclaimResult:
    return store.reclaim(_SMALLEST_RECLAIM if small else events_max)
