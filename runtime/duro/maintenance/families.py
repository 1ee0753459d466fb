"""Whole instances from outside: which are orphans, which may be purged, and the removal of both, family by family."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from itertools import islice
from typing import Final, NamedTuple

import msgspec

from duro.errors import (
    InstanceFinishedError,
    InstanceNotFoundError,
    NotAnOrphanError,
    PolicyUnknownError,
    RowUnreadableError,
    StalePlanError,
    UsageError,
)
from duro.maintenance.archiving import Archiving
from duro.maintenance.policies import ConfiguredPolicies
from duro.maintenance.pruned import was_removed
from duro.maintenance.pruning import Progress, PruneProgress, RunTerms, check_store_of, reclaim_all
from duro.maintenance.room import POLITE_PART, Room
from duro.model.archive import ArchiveOutcome
from duro.model.families import (
    CLEANABLE_KINDS,
    Family,
    FinishedInstance,
    Lineage,
    Orphan,
    OrphanFilter,
    OrphanKind,
    OrphanPage,
    OrphanRules,
    OrphanSearch,
    PurgeOptions,
    PurgeOverrides,
    RemovalBatch,
    RemovalItem,
    RemovalKind,
    RemovalOrder,
    RemovalOutcome,
    RemovalPlan,
    RemovalResult,
    RunningOrphan,
    SkippedInstance,
)
from duro.model.limits import REMOVAL_INSTANCES_MAX
from duro.model.pruning import Verdict
from duro.model.records import ChildRecord
from duro.model.removal import PruneScope
from duro.model.retention import PolicyKind, PolicyOrigin
from duro.model.status import FINAL_INSTANCE_STATUSES
from duro.naming import cursor_numbers
from duro.retention.families import (
    as_orphan,
    is_kept,
    is_kept_orphan,
    is_wanted,
    may_be_asked_to_end,
    never_purged,
    place_of,
    protecting_member,
    removal_item,
    removal_totals,
    verdict_on,
)
from duro.retention.holds import HoldsInForce
from duro.retention.names import matches
from duro.retention.purging import purge_overrides, united_orphan_rules, united_purge
from duro.stores.base import Store

_CURSOR: Final = re.compile(r"o:([0-9]{1,18})", re.ASCII)
_CHILDREN_A_READ: Final = 500
_FAMILIES_A_READ: Final = 200
_INSTANCES_A_PAGE: Final = 1_000

_ANCESTORS_MAX: Final = 10_000
"""A chain is as long as somebody nested orchestrations; beyond this it is a mistake, and is cut off."""

_CALLED: Final = PolicyOrigin(PolicyKind.CALL, "")


# --- lineages --------------------------------------------------------------------------------------------------


def lineage_of(store: Store, instance_id: str) -> Lineage:
    """Who spawned the instance, who spawned that one, and so on.

    Raises:
        InstanceNotFoundError: there is no such instance.
    """
    record = store.get_instance(instance_id)
    if record is None:
        raise _not_there(store, instance_id)
    child = store.get_child(instance_id)
    return Lineage(
        instance_id=instance_id,
        incarnation=record.incarnation,
        child=child,
        place=None if child is None else place_of(child),
        ancestors=() if child is None else tuple(islice(_ancestors(store, child), _ANCESTORS_MAX)),
    )


def _not_there(store: Store, instance_id: str) -> InstanceNotFoundError:
    removed = store.find_removed(instance_id)
    if removed is not None:
        return was_removed(removed, store.now_ms())
    return InstanceNotFoundError(
        f"there is no instance {instance_id!r}", hint="`duroctl instances list` shows those there are"
    )


def _ancestors(store: Store, child: ChildRecord) -> Iterator[ChildRecord]:
    while (parent := store.get_child(child.parent.instance_id)) is not None:
        if parent.incarnation != child.parent.incarnation:  # the id is used again: its parent is another life
            return
        yield parent
        child = parent


# --- orphans ---------------------------------------------------------------------------------------------------


def list_orphans(store: Store, where: OrphanFilter, cursor: str | None) -> OrphanPage:
    """A page of orphans, oldest first.

    Raises:
        UsageError: the cursor is not one this function returned.
    """
    (after,) = cursor_numbers(_CURSOR, cursor) or (0,)
    found = list(islice(orphans(store, where, after=after), where.limit + 1 if where.limit else None))
    page = found[: where.limit] if where.limit else found
    more = len(page) < len(found)
    return OrphanPage(orphans=tuple(page), next=f"o:{page[-1].child.incarnation}" if more else None)


def orphans(store: Store, where: OrphanFilter, *, after: int = 0) -> Iterator[Orphan]:
    """Those that ``where`` asks for, by incarnation."""
    search = OrphanSearch(
        names=None if where.name is None else _names(store, where.name),
        child_status=where.child_status,
        spawner_ended_before_ms=where.parent_completed_before_ms,
        all_kinds=where.kinds is None or OrphanKind.UNKNOWN in where.kinds,
    )
    while True:
        page = store.list_unobserved(search, _CHILDREN_A_READ, after)
        for child in page:
            orphan = as_orphan(child)
            if orphan is not None and is_wanted(orphan, where):
                yield orphan
        if len(page) < _CHILDREN_A_READ:
            return
        after = page[-1].incarnation


def _names(store: Store, pattern: str) -> tuple[str, ...]:
    return tuple(name for name in store.orchestration_names() if matches(name, pattern))


def orphan_rules(where: OrphanFilter, min_age_s: float) -> OrphanRules:
    """The rules of a clean-up of what ``where`` asks for.

    Raises:
        UsageError: it asks for orphans of unknown standing alone, which are never removed.
    """
    kinds = tuple(kind for kind in where.kinds or CLEANABLE_KINDS if kind is not OrphanKind.UNKNOWN)
    if not kinds:
        raise UsageError("of what nobody can tell nothing is removed", hint="look at each: `duroctl orphans list`")
    return OrphanRules(
        kinds=kinds,
        child_status=where.child_status,
        parent_completed_before_ms=where.parent_completed_before_ms,
        min_age_s=min_age_s,
    )


def plan_cleanup(store: Store, where: OrphanFilter, min_age_s: float) -> RemovalPlan:
    """What a clean-up of orphans would remove, and why the others stay. Reads no history and writes nothing."""
    rules = orphan_rules(where, min_age_s)
    policies = ConfiguredPolicies(store)
    hold_revision, now_ms = store.hold_revision(), store.now_ms()
    holds = HoldsInForce(store.list_holds(), now_ms)
    asked = msgspec.structs.replace(where, kinds=rules.kinds, limit=0)
    items: list[RemovalItem] = []
    running: list[RunningOrphan] = []
    for read, of_part in _orphans_planned(store, asked, lambda _: rules, holds, now_ms):
        running += [
            RunningOrphan(instance_id=family.root.instance_id, incarnation=family.root.incarnation)
            for family in read
            if not _was_asked(family) and may_be_asked_to_end(family, rules, holds, now_ms)
        ]
        items += of_part
    return RemovalPlan(
        store_id=store.store_id(),
        policy_revision=policies.revision,
        hold_revision=hold_revision,
        made_at_ms=now_ms,
        items=tuple(items),
        totals=removal_totals(items),
        running_orphans=tuple(each.instance_id for each in running),
        orphan_rules=rules,
        running=tuple(running),
        kind=RemovalKind.ORPHANS,
    )


def _was_asked(family: Family) -> bool:
    return family.child is not None and family.child.cancel_requested_at_ms is not None


def _orphans_planned(
    store: Store,
    where: OrphanFilter,
    rules_of: Callable[[str], OrphanRules | None],
    holds: HoldsInForce,
    now_ms: int,
    overrides: PurgeOverrides = (),
) -> Iterator[tuple[Sequence[Family], list[RemovalItem]]]:
    """The families whose roots ``where`` asks for, some at a time, and what becomes of them by the rules for their
    names. ``overrides``: what sweeps never purge, they do not clean up either."""
    taken: set[int] = set()
    found = orphans(store, where)
    while part := list(islice(found, _FAMILIES_A_READ)):
        read = store.families([orphan.child.incarnation for orphan in part if orphan.child.incarnation not in taken])
        items = [
            _item(family, rules, _CALLED, verdict_on(family, rules, holds, now_ms, overrides=overrides), taken)
            for family in read
            for rules in [rules_of(family.root.name)]
            if family.root.incarnation not in taken
        ]
        yield read, items


def _item(
    family: Family, rules: OrphanRules | PurgeOptions | None, origin: PolicyOrigin, verdict: Verdict, taken: set[int]
) -> RemovalItem:
    if not verdict.keep:
        taken.update(member.incarnation for member in family.members)
    return removal_item(family, rules, origin, verdict)


def cleanup(
    store: Store,
    where: OrphanFilter,
    min_age_s: float,
    terms: RunTerms,
    *,
    cancel_running: bool,
    progress: Progress | None,
) -> RemovalResult:
    """Remove orphans that have ended, in small transactions, until none is left; ask those that run to end."""
    rules = orphan_rules(where, min_age_s)
    asked = msgspec.structs.replace(where, kinds=rules.kinds, limit=0)
    cancelled: list[str] = []
    run = _Run(store, terms, RemovalKind.ORPHANS, progress)

    def orders(_: ConfiguredPolicies) -> _Orders:
        return (), in_turn()

    def in_turn() -> Iterator[RemovalOrder]:
        for orphan in orphans(store, asked):
            child = orphan.child
            if child.status in FINAL_INSTANCE_STATUSES:
                if child.incarnation in run.protected or is_kept_orphan(child, rules, store.now_ms()):
                    continue
                yield RemovalOrder(incarnation=child.incarnation, rules=rules, origin=_CALLED)
            elif (
                cancel_running
                and not run.stopped
                and not is_kept_orphan(child, rules, store.now_ms())
                and cancel(store, child.instance_id, child.incarnation, rules)
            ):
                cancelled.append(child.instance_id)

    run.carry_out(orders)
    return run.result(cancelled)


def kept_from_sweeps(store: Store, incarnations: Sequence[int]) -> frozenset[int]:
    """Those orphans that no sweep removes, because somebody says that they, or what is below them, are never purged. A
    clean-up by hand removes them."""
    overrides = purge_overrides(ConfiguredPolicies(store).everyone())
    if not any(override.options is None for each in overrides for override in each):
        return frozenset()
    waiting, kept = iter(incarnations), set[int]()
    while part := list(islice(waiting, _FAMILIES_A_READ)):
        kept |= {each.root.incarnation for each in store.families(part) if any(never_purged(each, overrides))}
    return frozenset(kept)


def protected_by(store: Store, outcomes: Iterable[RemovalOutcome]) -> Iterator[int]:
    """The incarnations that stay with a member of theirs that runs, or of which something cannot be told or read, as
    far as ``outcomes`` (kept, or removed) say: of each family all that stand between the member and its root, so that
    no chain is read once for each of its links."""
    for outcome in outcomes:
        protecting = protecting_member(outcome)
        child = None if protecting is None else store.get_child(protecting)
        if child is None:
            continue
        for each in (child.parent.incarnation, *(one.parent.incarnation for one in _ancestors(store, child))):
            if each < outcome.incarnation:
                break
            yield each


def cancel(store: Store, instance_id: str, incarnation: int, rules: OrphanRules) -> bool:
    """Ask an orphan that was found running to end, if in the transaction that asks it is still this life of it that
    runs, ``rules`` let it go, and nothing holds it. False: it may not be asked (any more), its row cannot be read, or
    it has been asked before."""
    child = store.get_child(instance_id)
    if child is None or is_kept_orphan(child, rules, store.now_ms()):
        return False
    try:
        record = store.get_instance(instance_id)
        if record is None or record.incarnation != incarnation or record.cancel_reason is not None:
            return False
        reason = "it is an orphan: nobody waits for it"
        store.request_cancel(instance_id, reason, f"orphan-{incarnation}", orphan=(incarnation, rules))
    except (InstanceNotFoundError, InstanceFinishedError, NotAnOrphanError, RowUnreadableError):
        return False
    return True


# --- purge -----------------------------------------------------------------------------------------------------


class _Rules(NamedTuple):
    options: PurgeOptions | None
    origin: PolicyOrigin


_OFF: Final = _Rules(None, PolicyOrigin(PolicyKind.NONE, ""))


def purge_rules(
    policies: ConfiguredPolicies, options: PurgeOptions | None, *, by_sweep: bool = False
) -> tuple[Callable[[str], _Rules], PurgeOverrides]:
    """What applies to an orchestration, by name, and what protects members of families. Rules given by hand are for
    whole families. ``by_sweep``: what is switched off (``enabled``) is not done.

    While nobody runs an orchestration, those who ran it last are asked as well: a default or a pattern of others' files
    may never have been meant for it. Who names it means it."""
    if options is not None:
        given = _Rules(options, _CALLED)
        return lambda _: given, ()
    known: dict[str, _Rules] = {}

    def rules_of(name: str) -> _Rules:
        if name not in known:
            said = policies.about(name)
            is_off = by_sweep and not all(each.purge_enabled for each in said)
            if any(stated.name == name for each in policies.sources for stated in each.purges):
                said = policies.sources
            known[name] = _OFF if is_off else _Rules(*united_purge(said, name))
        return known[name]

    return rules_of, purge_overrides(policies.everyone())


def finished(store: Store, scope: PruneScope) -> Iterator[FinishedInstance]:
    """Roots of families that a purge may look at, by incarnation.

    Raises:
        InstanceNotFoundError: an instance that is named does not exist.
    """
    if scope.instance_ids is not None:
        yield from _named(store, scope.instance_ids, scope.name)
        return
    names = None if scope.name is None else _names(store, scope.name)
    after = 0
    while True:
        page = store.list_finished(names, _INSTANCES_A_PAGE, after)
        yield from page
        if len(page) < _INSTANCES_A_PAGE:
            return
        after = page[-1].incarnation


def _named(store: Store, instance_ids: Iterable[str], pattern: str | None) -> Iterator[FinishedInstance]:
    """All of them must be there; those whose orchestration's name does not match are left out."""
    for instance_id in dict.fromkeys(instance_ids):
        record = store.get_instance(instance_id)
        if record is None:
            raise _not_there(store, instance_id)
        if pattern is None or matches(record.name, pattern):
            yield FinishedInstance(
                incarnation=record.incarnation,
                instance_id=instance_id,
                name=record.name,
                status=record.status,
                completed_at_ms=record.completed_at_ms or 0,
            )


def plan_purge(store: Store, options: PurgeOptions | None, scope: PruneScope) -> RemovalPlan:
    """What a purge would remove, family by family, and why the others stay. Reads no history and writes nothing.

    Raises:
        InstanceNotFoundError: an instance that is named does not exist.
        PolicyUnknownError: no options, and nobody says what to purge.
    """
    policies = ConfiguredPolicies(store)
    hold_revision, now_ms = store.hold_revision(), store.now_ms()
    items = [item for _, item in _purge_items(store, policies, options, scope, now_ms)]
    if options is None and items and all(item.origin.kind is PolicyKind.NONE for item in items):
        raise _nobody_says()
    return RemovalPlan(
        store_id=store.store_id(),
        policy_revision=policies.revision,
        hold_revision=hold_revision,
        made_at_ms=now_ms,
        items=tuple(items),
        totals=removal_totals(items),
        kind=RemovalKind.PURGE,
    )


def _purge_items(
    store: Store,
    policies: ConfiguredPolicies,
    options: PurgeOptions | None,
    scope: PruneScope,
    now_ms: int,
    *,
    by_sweep: bool = False,
) -> Iterator[tuple[Family, RemovalItem]]:
    rules_of, overrides = purge_rules(policies, options, by_sweep=by_sweep)
    holds, newest = HoldsInForce(store.list_holds(), now_ms), cache(store.newest_finished)
    taken: set[int] = set()
    found = finished(store, scope)
    while part := list(islice(found, _FAMILIES_A_READ)):
        for family in store.families([each.incarnation for each in part]):
            chosen, origin = rules_of(family.root.name)
            verdict = verdict_on(family, chosen, holds, now_ms, newest=newest, overrides=overrides)
            yield family, _item(family, chosen, origin, verdict, taken)


def purgeable(store: Store, policies: ConfiguredPolicies, scope: PruneScope) -> Iterator[Family]:
    """The families that sweeps purge under ``policies``. Reads no history and writes nothing."""
    if not policies.sources or not all(sources.purge_enabled and sources.purges for sources in policies.sources):
        return
    items = _purge_items(store, policies, None, scope, store.now_ms(), by_sweep=True)
    yield from (family for family, item in items if not item.verdict.keep)


def sweepable_orphans(store: Store, policies: ConfiguredPolicies, name: str | None) -> Iterator[Family]:
    """The families that sweeps clean up as orphans under ``policies``, of orchestrations ``name`` (a name or pattern).
    Reads no history and writes nothing."""
    united = united_orphan_rules(policies.sources)
    if united is None:
        return

    def rules_of(orchestration: str) -> OrphanRules | None:
        by_name = united_orphan_rules(policies.about(orchestration))
        return None if by_name is None else by_name[0]

    where = OrphanFilter(kinds=united[0].kinds, child_status=united[0].child_status, name=name)
    holds, now_ms = HoldsInForce(store.list_holds(), store.now_ms()), store.now_ms()
    overrides = purge_overrides(policies.everyone())
    for read, items in _orphans_planned(store, where, cache(rules_of), holds, now_ms, overrides):
        going = {item.incarnation for item in items if not item.verdict.keep}
        yield from (family for family in read if family.root.incarnation in going)


RulesOf = Callable[[str], tuple[PurgeOptions | None, PolicyOrigin]]
"""What applies to the root of a family, by the orchestration's name, and who says so."""

NewestNow = Mapping[tuple[str, int], int | None]
"""``Store.newest_finished`` of some (name, count) at one moment."""


def newest_now(store: Store, rules_of: RulesOf, scope: PruneScope) -> NewestNow:
    """Where those begin that ``rules_of`` keeps as the newest of each orchestration. A purge counts them once, before
    it removes anything: with a family go members that are among the newest of their names."""
    names = store.orchestration_names() if scope.name is None else _names(store, scope.name)
    counts = [(name, options.keep_last) for name in names if (options := rules_of(name)[0]) is not None]
    return {(name, count): store.newest_finished(name, count) for name, count in counts if count is not None}


def purge_orders(
    store: Store, rules_of: RulesOf, scope: PruneScope, newest_of: NewestNow
) -> Iterator[tuple[str, RemovalOrder]]:
    """Orders for what rules let go at first sight, each with the name of the root's orchestration; the families are
    looked at in the transaction."""
    now_ms = store.now_ms()

    def newest(name: str, count: int) -> int | None:
        return newest_of.get((name, count))  # of a name that is new since then, all are kept

    for each in finished(store, scope):
        options, origin = rules_of(each.name)
        if options is not None and not is_kept(each, options, now_ms, newest=newest):
            newest_from = None if options.keep_last is None else newest(each.name, options.keep_last)
            order = RemovalOrder(incarnation=each.incarnation, rules=options, origin=origin, newest_from=newest_from)
            yield each.name, order


def purge(
    store: Store, options: PurgeOptions | None, scope: PruneScope, terms: RunTerms, progress: Progress | None
) -> RemovalResult:
    """Remove every family of ``scope`` that the rules let go, in small transactions.

    Raises:
        InstanceNotFoundError: an instance that is named does not exist.
        PolicyUnknownError: no options, and nobody says what to purge.
    """
    silent = options is None

    def orders(policies: ConfiguredPolicies) -> _Orders:
        rules_of, overrides = purge_rules(policies, options)

        def asked(name: str) -> _Rules:
            nonlocal silent
            rules = rules_of(name)
            silent = silent and rules.origin.kind is PolicyKind.NONE
            return rules

        named = purge_orders(store, asked, scope, newest_now(store, rules_of, scope))
        return overrides, (order for _, order in named)

    if scope.instance_ids is not None:
        list(_named(store, scope.instance_ids, scope.name))  # all of them or none
    run = _Run(store, terms, RemovalKind.PURGE, progress)
    run.carry_out(orders)
    if silent:
        raise _nobody_says()
    return run.result(())


def _nobody_says() -> PolicyUnknownError:
    return PolicyUnknownError(
        "no rules were given, and no worker of this store has published a policy for what is to be purged",
        hint="give rules, such as keep_within (--keep-within 30d), or start a worker whose configuration has [purge]",
    )


# --- carrying it out -------------------------------------------------------------------------------------------


def apply(
    store: Store, made: RemovalPlan, terms: RunTerms, progress: Progress | None, *, cancel_running: bool = False
) -> RemovalResult:
    """Remove the families that ``made`` shows, as far as they may still go; ask the running orphans it shows to end.

    Raises:
        StalePlanError: it is a plan of another store, or what is said about removing has changed since it was made; or
            ``cancel_running``, and it is so old that it does not say which lives of the ids it means.
    """
    revision = check_plan(store, made)
    rules = made.orphan_rules
    if cancel_running and made.running_orphans and (rules is None or len(made.running) != len(made.running_orphans)):
        raise StalePlanError(
            "the plan does not say since when what runs is an orphan: an older duro made it", hint="make the plan again"
        )
    going = [item for item in made.items if not item.verdict.keep and item.rules is not None]
    run = _Run(
        store,
        terms,
        made.known_kind or RemovalKind.PURGE,
        progress,
        plan=_Planned(revision, {item.incarnation: item.instance_id for item in going}),
    )
    run.carry_out(
        lambda policies: (
            purge_overrides(policies.everyone()) if revision is not None else (),
            _planned_orders(store, going),
        )
    )
    asked = made.running if cancel_running and rules is not None and not run.stopped else ()
    return run.result(
        [each.instance_id for each in asked if rules and cancel(store, each.instance_id, each.incarnation, rules)]
    )


def check_plan(store: Store, made: RemovalPlan) -> int | None:
    """The revision of the policies that ``made`` goes by; None: it goes by rules that were given.

    Raises:
        StalePlanError: it is of another store, or what is said about removing has changed since.
    """
    check_store_of(made, store)
    configured = any(item.origin.kind is not PolicyKind.CALL for item in made.items)
    revision = made.policy_revision if configured else None
    if revision is not None and ConfiguredPolicies(store).revision != revision:
        raise StalePlanError(
            "what is said about purging has changed since the plan was made", hint="make the plan again"
        )
    return revision


def _planned_orders(store: Store, going: Sequence[RemovalItem]) -> Iterator[RemovalOrder]:
    counted = {(item.name, _kept_last(item)) for item in going}
    newest_from: dict[tuple[str, int | None], int | None] = {
        (name, count): store.newest_finished(name, count) for name, count in counted if count is not None
    }
    for item in going:
        assert item.rules is not None, "otherwise it would be kept"
        yield RemovalOrder(
            incarnation=item.incarnation,
            rules=item.rules,
            origin=item.origin,
            instance_id=item.instance_id,
            newest_from=newest_from.get((item.name, _kept_last(item))),
        )


def _kept_last(item: RemovalItem) -> int | None:
    return item.rules.keep_last if isinstance(item.rules, PurgeOptions) else None


_Orders = tuple[PurgeOverrides, Iterator[RemovalOrder]]


class _Planned(NamedTuple):
    """A plan that is carried out as it is, or not at all: under ``revision``, where it is of configured rules.
    ``instance_ids``, by incarnation: those whose being kept is worth a word."""

    revision: int | None
    instance_ids: Mapping[int, str]


class _Run:
    """One removal by hand, over many transactions."""

    def __init__(
        self,
        store: Store,
        terms: RunTerms,
        trigger: RemovalKind,
        progress: Progress | None,
        *,
        plan: _Planned | None = None,
    ) -> None:
        self._store = store
        self._terms = terms
        self._trigger = trigger
        self._policies = ConfiguredPolicies(store)
        self._archiving = Archiving(
            store,
            terms.archive,
            self._policies,
            by_hand=bool(terms.run_id),
            configured=terms.configured_archive,
        )
        self._archived: ArchiveOutcome | None = None
        self._progress = progress or (lambda _: True)
        self._plan = plan
        self._room = Room(store)
        self._size = REMOVAL_INSTANCES_MAX
        self._skipped: list[SkippedInstance] = []
        self._families = self._instances = self._executions = self._events = self._bytes = 0
        self._remaining = 0
        self.stopped = False
        """From here on orders are only counted."""
        self.protected: set[int] = set()
        """Incarnations that stay, as was seen on the way (``protected_by``)."""

    def carry_out(self, orders: Callable[[ConfiguredPolicies], _Orders]) -> None:
        """``orders`` are those by what the policies say; when something else is said meanwhile they are asked for
        again, and what is removed is not among them any more.

        Raises:
            StalePlanError: something else is said than when the plan was made.
        """
        overrides, waiting = orders(self._policies)
        while batch := list(islice(waiting, self._size)):
            removal = RemovalBatch(
                orders=tuple(batch),
                trigger=self._trigger,
                overrides=overrides,
                run_id=self._terms.run_id,
                by=self._terms.by,
                reason=self._terms.reason,
                source=self._terms.source,
                grace_ms=self._terms.grace_ms,
                policy_revision=self._policies.revision if self._plan is None else self._plan.revision,
                archive=self._archiving.archive,
                archive_directory=self._archiving.directory,
            )
            try:
                self._add(self._room.make(partial(self._remove, removal)))
            except StalePlanError:
                if self._plan is not None:
                    raise
                self._policies = ConfiguredPolicies(self._store)
                self._archiving.follow(self._policies)
                overrides, waiting = orders(self._policies)
                continue
            if self._progress(self._done) is False:
                self.stopped = True
                self._remaining = sum(1 for _ in waiting)
                break
        self._archived = self._archiving.finish(
            lambda n: self._progress(msgspec.structs.replace(self._done, archived=n))
        )
        if self._terms.grace_ms == 0:
            reclaim_all(self._store, polite=self._room.polite)
        self._room.end()

    @property
    def _done(self) -> PruneProgress:
        return PruneProgress(
            instances=self._instances, executions=self._executions, events=self._events, bytes=self._bytes
        )

    def _remove(self, removal: RemovalBatch, _small: bool) -> list[RemovalOutcome]:
        return self._store.remove(removal, durable=self._room.durable)

    def _add(self, outcomes: Sequence[RemovalOutcome]) -> None:
        removed = [outcome for outcome in outcomes if outcome.removed]
        self._families += len(removed)
        self._instances += sum(outcome.instances for outcome in removed)
        self._executions += sum(outcome.executions for outcome in removed)
        self._events += sum(outcome.events for outcome in removed)
        self._bytes += sum(outcome.history_bytes for outcome in removed)
        for outcome in outcomes:
            planned = None if self._plan is None else self._plan.instance_ids.get(outcome.incarnation)
            if planned is not None and not outcome.removed:
                why = f"it is kept now: {', '.join(outcome.reasons)}" if outcome.instance_id else "it is gone already"
                self._skipped.append(SkippedInstance(planned, why))
        self.protected.update(protected_by(self._store, outcomes))
        each = max(1.0, sum(outcome.instances for outcome in outcomes) / max(1, len(outcomes)))
        size = int(REMOVAL_INSTANCES_MAX / each)
        self._room.leave()
        self._size = max(1, size // POLITE_PART if self._room.polite else size)

    def result(self, cancelled: Sequence[str]) -> RemovalResult:
        return RemovalResult(
            families=self._families,
            instances=self._instances,
            executions=self._executions,
            events=self._events,
            history_bytes=self._bytes,
            cancelled=tuple(cancelled),
            skipped=tuple(self._skipped),
            remaining=self._remaining,
            run_id=self._terms.run_id if self._families else "",
            archived=self._archived if self._families else None,
        )
