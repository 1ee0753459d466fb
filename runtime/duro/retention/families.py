"""Who is an orphan, and which family may be removed: functions of values, the same for the plan, the transaction that
removes, and the listing.

Who may still observe a child. A child's end is recorded by a turn of the execution that spawned it, and by no other:
completions addressed to an execution that has ended are ignored. So as long as that execution is its instance's
current one and has not ended, it may observe the end; after that, nobody will. Nor will it once it has given the child
up (a loser of a ``select``): that is an event of its history, whoever awaits the child later is told that it was
cancelled, and its end is thrown away. Such a child is no orphan yet, for its parent still cares that it was asked to
end; but nothing is lost with it. What the lineage says of the spawner
must agree with what the parent's own row says; where it does not, nobody can tell (``unknown``), and nothing is
removed.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Final

from duro.errors import NotAnOrphanError
from duro.model.families import (
    CLEANABLE_KINDS,
    Family,
    FamilyMember,
    FinishedInstance,
    Orphan,
    OrphanFilter,
    OrphanKind,
    OrphanRules,
    Place,
    PurgeOptions,
    PurgeOverrides,
    RemovalItem,
    RemovalOrder,
    RemovalOutcome,
    RemovalRules,
    RemovalTotals,
    Standing,
)
from duro.model.pruning import Hold, Verdict
from duro.model.records import ChildRecord
from duro.model.removal import SettledCount
from duro.model.retention import PolicyOrigin, format_seconds, format_time
from duro.model.status import FINAL_INSTANCE_STATUSES, ExecutionStatus, InstanceStatus
from duro.naming import command_on
from duro.retention.holds import Holds, concerns_instance, in_force
from duro.retention.names import matches
from duro.retention.purging import overrides_of

# --- where a child stands ------------------------------------------------------------------------------------


def place_of(child: ChildRecord) -> Place:
    """Who may still observe how ``child`` ends."""
    if child.detached:
        adopted = child.adopted_at_ms is not None
        return Place(standing=Standing.DETACHED, why="it was adopted" if adopted else "it was started to stand alone")
    if child.observed_at_ms is not None:
        return Place(standing=Standing.OBSERVED, why="its parent has recorded its end")
    if child.unreadable:
        return _unknown(f"what is recorded of it makes no sense ({', '.join(child.unreadable)})")
    if child.parent_status is None or child.parent_execution_id is None:
        if child.parent_removed_at_ms is None:
            return _unknown("its parent is not there, and nothing says that it was removed")
        since_ms = child.parent_removed_at_ms
        return _orphan(child, OrphanKind.PARENT_MISSING, since_ms, "its parent instance was removed")
    spawner, current = child.parent.execution_id, child.parent_execution_id
    if spawner > current:
        return _unknown(f"it was spawned by execution {spawner} of its parent, which is at execution {current}")
    ended = child.spawner_ended_at_ms is not None and child.spawner_end is not None
    if spawner == current and child.parent_status not in FINAL_INSTANCE_STATUSES:
        if child.spawner_ended_at_ms is not None or child.spawner_end is not None:
            return _unknown("its spawning execution runs, and is recorded as ended")
        if child.given_up_at_ms is not None:
            return Place(standing=Standing.GIVEN_UP, why="its spawning execution runs, and waits for it no longer")
        return Place(standing=Standing.ATTACHED, why="its spawning execution runs")
    if not ended:
        return _unknown("its spawning execution has ended, and when and how is not recorded")
    continued = child.spawner_end is ExecutionStatus.CONTINUED_AS_NEW
    if spawner == current:
        if continued:
            return _unknown("its spawning execution is recorded to have continued as new, and nothing came after it")
        why = f"its parent is {child.parent_status} and never observed its end"
        return _orphan(child, OrphanKind.PARENT_CLOSED, child.spawner_ended_at_ms, why)
    if not continued:
        return _unknown(f"its spawning execution is recorded as {child.spawner_end}, and another one came after it")
    why = "its spawning execution continued as new without observing its end"
    return _orphan(child, OrphanKind.PARENT_CONTINUED, child.spawner_ended_at_ms, why)


def is_unknown(child: ChildRecord) -> bool:
    """Whether nobody can tell who may still observe how ``child`` ends."""
    return place_of(child).standing is Standing.UNKNOWN


_NOT_ADOPTABLE: Final = (Standing.ATTACHED, Standing.GIVEN_UP, Standing.OBSERVED)
"""Children that have a parent which runs, or had what it wanted of them: they are no orphans."""


def is_adoptable(child: ChildRecord, *, spawner_runs: bool = False) -> bool:
    """Whether it is to be adopted; False: it stands alone already. ``spawner_runs``: the execution that spawned it has
    not ended, as its own row says.

    Raises:
        NotAnOrphanError: its parent had what it wanted of it, or may wait for it: an adopted child tells nobody of its
            end.
    """
    place = place_of(child)
    if place.standing in _NOT_ADOPTABLE:
        raise NotAnOrphanError(f"instance {child.instance_id!r} is no orphan: {place.why}", hint="it is left as it is")
    if not child.detached and (spawner_runs or _may_be_waited_for(child)):
        raise NotAnOrphanError(
            f"the parent of instance {child.instance_id!r} runs, and may wait for it ({place.why})",
            hint=f"{command_on('instances cancel', child.instance_id)} ends it, and its parent is told as usual",
        )
    return place.standing is not Standing.DETACHED


def _may_be_waited_for(child: ChildRecord) -> bool:
    """Its parent runs and has not gone on from the execution that spawned it, or from none that ever was."""
    runs = child.parent_status is not None and child.parent_status not in FINAL_INSTANCE_STATUSES
    return runs and not 1 <= child.parent.execution_id < (child.parent_execution_id or 0)


def _orphan(child: ChildRecord, kind: OrphanKind, since_ms: int | None, why: str) -> Place:
    """For how long there has been nothing to wait for: from its spawner's end, or its own if that was later."""
    times = [time_ms for time_ms in (since_ms, child.completed_at_ms) if time_ms is not None]
    return Place(standing=Standing.ORPHAN, why=why, kind=kind, since_ms=max(times))


def _unknown(why: str) -> Place:
    return Place(standing=Standing.UNKNOWN, why=why, kind=OrphanKind.UNKNOWN)


def as_orphan(child: ChildRecord) -> Orphan | None:
    """``child`` as an orphan, those of unknown standing included; None: it is none."""
    place = place_of(child)
    if place.kind is None:
        return None
    pruned = not child.spawner_live and child.parent_status is not None
    return Orphan(child=child, kind=place.kind, spawner_pruned=pruned, since_ms=place.since_ms, why=place.why)


def is_wanted(orphan: Orphan, where: OrphanFilter) -> bool:
    """Whether ``orphan`` is one that ``where`` asks for."""
    child = orphan.child
    return (
        (where.kinds is None or orphan.kind in where.kinds)
        and (where.child_status is None or child.status in where.child_status)
        and _parent_ended_before(child, where.parent_completed_before_ms)
        and (where.name is None or matches(child.name, where.name))
    )


def _parent_ended_before(child: ChildRecord, before_ms: int | None) -> bool:
    """Whether the execution that spawned it was over before that; where nobody knows when it ended: whether its parent
    was removed before."""
    ended_ms = child.parent_removed_at_ms if child.spawner_ended_at_ms is None else child.spawner_ended_at_ms
    return before_ms is None or (ended_ms is not None and ended_ms < before_ms)


# --- which family may go ---------------------------------------------------------------------------------------


Newest = Callable[[str, int], int | None]
"""The incarnation at which the newest so many ended instances of an orchestration begin; None: there are no more than
those (``Store.newest_finished``)."""


def newest_by(order: RemovalOrder, name: str, newest: Newest) -> Newest:
    """``newest``, except where ``order``, of a root called ``name``, says itself."""
    rules, newest_from = order.rules, order.newest_from
    if newest_from is None or not isinstance(rules, PurgeOptions):
        return newest
    said = (name, rules.keep_last)
    return lambda name, count: newest_from if (name, count) == said else newest(name, count)


def _no_more(_name: str, _count: int) -> int | None:
    return None


def verdict_on(
    family: Family,
    rules: RemovalRules | None,
    holds: Holds,
    now_ms: int,
    *,
    newest: Newest = _no_more,
    overrides: PurgeOverrides = (),
) -> Verdict:
    """What becomes of ``family``: it goes as a whole or not at all.

    ``rules`` None: never. ``newest`` is asked where a rule keeps the newest. ``overrides`` protect members by their own
    names, whatever the rules say of the root; a member whose name has none follows the root. Of orphans, which have
    rules of their own, they protect those that are never to be purged.
    """
    keeping = list(_protections(family, rules, holds, now_ms))
    if isinstance(rules, OrphanRules):
        keeping += islice(never_purged(family, overrides), 1)
    else:
        keeping += islice(_members_kept(family, overrides, now_ms, newest), 1)  # one says it; there may be thousands
    if rules is None:
        return Verdict(True, tuple(dict.fromkeys([*keeping, "never"])))
    beyond: list[str] = []
    answers = (
        _orphan_answers(family.child, rules, now_ms)
        if isinstance(rules, OrphanRules)
        else _purge_answers(family.root, rules, now_ms, newest)
    )
    for keeps, reason in answers:
        (keeping if keeps else beyond).append(reason)
    if isinstance(rules, PurgeOptions) and family.child is not None and not family.child.detached:
        beyond.append("settled")
    return Verdict(bool(keeping), tuple(dict.fromkeys(keeping or beyond)))


def never_purged(family: Family, overrides: PurgeOverrides) -> Iterator[str]:
    """Why a family stays of which no rule of its own is asked: a member's name is one that is never purged."""
    names = {member.name for member in family.members} if overrides else set()
    never = {name for name in names if None in overrides_of(overrides, name)}
    for member in family.members:
        if member.name in never:
            yield f"member:{member.instance_id}:never" if member.depth else "never"


def _members_kept(family: Family, overrides: PurgeOverrides, now_ms: int, newest: Newest) -> Iterator[str]:
    """Why members below the root stay for what is said of their own names; the root's rules are its own already."""
    by_name: dict[str, tuple[PurgeOptions | None, ...]] = {}
    for member in family.members[1:] if overrides else ():
        if member.name not in by_name:
            by_name[member.name] = overrides_of(overrides, member.name)
        for options in by_name[member.name]:
            answers = ((True, "never"),) if options is None else _purge_answers(member, options, now_ms, newest)
            for keeps, reason in answers:
                if keeps:
                    yield f"member:{member.instance_id}:{reason}"


_RUNNING: Final = "running:"
_UNKNOWN: Final = "unknown:"
_UNREADABLE: Final = "unreadable:"


def protecting_member(outcome: RemovalOutcome) -> str | None:
    """The instance id of the member that runs, or of which something cannot be told or read, and so keeps all that is
    above it; None: the family goes, or stays for others."""
    for reason in outcome.reasons:
        for why in (_RUNNING, _UNKNOWN, _UNREADABLE):
            if reason.startswith(why):
                return reason.removeprefix(why)
    return None


def _protections(family: Family, rules: RemovalRules | None, holds: Holds, now_ms: int) -> Iterator[str]:
    members = family.members
    for why, protecting in (
        (_RUNNING, (each for each in members if not each.is_finished)),
        (_UNKNOWN, (each for each in members if each.is_unknown)),
        (_UNREADABLE, (each for each in members if each.is_unreadable)),
    ):
        yield from (f"{why}{each.instance_id}" for each in islice(protecting, 1))  # there may be thousands
    yield from (f"held:{hold_id}" for hold_id in _holds_on(family, holds, now_ms))
    if not isinstance(rules, OrphanRules):
        yield from _not_alone(family)


def _holds_on(family: Family, holds: Holds, now_ms: int) -> Iterator[str]:
    if holds:
        members = {member.instance_id: member for member in family.members}
        for hold in in_force(holds, now_ms).that_may_concern(*members):
            target = hold.target.instance_id
            concerned = family.members if target is None else (members[target],)
            if any(_covers(hold, member) for member in concerned):
                yield hold.hold_id


def _covers(hold: Hold, member: FamilyMember) -> bool:
    """A hold on one version, or on one execution, keeps all of an instance that has it."""
    version = hold.target.version
    return concerns_instance(hold, member.instance_id, member.name) and (version is None or version in member.versions)


def _not_alone(family: Family) -> Iterator[str]:
    """What a purge leaves because of the root's parent."""
    child = family.child
    if child is None or child.detached:
        return
    place = place_of(child)
    if place.standing is Standing.ATTACHED:
        yield "observable"
    elif place.standing is Standing.UNKNOWN:
        yield "unknown"
    elif child.parent_status in FINAL_INSTANCE_STATUSES:
        yield f"with-parent:{child.parent.instance_id}"


def is_kept(root: FinishedInstance, rules: PurgeOptions, now_ms: int, *, newest: Newest = _no_more) -> bool:
    """Whether ``rules`` keep it whatever its family is: what a purge need not look at any closer."""
    return any(keeps for keeps, _ in _purge_answers(root, rules, now_ms, newest))


def _purge_answers(
    root: FamilyMember | FinishedInstance, rules: PurgeOptions, now_ms: int, newest: Newest
) -> Iterator[tuple[bool, str]]:
    if rules.statuses is not None and root.status not in rules.statuses:
        yield True, f"status:{root.status}"
    if rules.keep_last is not None:
        newest_from = newest(root.name, rules.keep_last)
        kept = newest_from is None or root.incarnation >= newest_from
        yield kept, f"last:{rules.keep_last}" if kept else f"beyond-last:{rules.keep_last}"
    ended_ms = root.completed_at_ms
    if ended_ms is None:
        return
    within_s = rules.keep_within_s
    if root.status is InstanceStatus.FAILED and rules.keep_failed_within_s is not None:
        within_s = rules.keep_failed_within_s
    if within_s is not None:
        kept = ended_ms >= now_ms - round(within_s * 1000)
        yield kept, f"{'within' if kept else 'older-than'}:{format_seconds(within_s)}"
    if rules.completed_before_ms is not None:
        kept = ended_ms >= rules.completed_before_ms
        yield kept, f"{'since' if kept else 'before'}:{format_time(rules.completed_before_ms)}"


def is_kept_orphan(child: ChildRecord, rules: OrphanRules, now_ms: int) -> bool:
    """Whether ``rules`` keep it whatever its family is: what a clean-up need not look at any closer."""
    return any(keeps for keeps, _ in _orphan_answers(child, rules, now_ms))


def may_be_asked_to_end(family: Family, rules: OrphanRules, holds: Holds, now_ms: int) -> bool:
    """Whether the root has not ended, is an orphan that ``rules`` let go, and nothing holds it."""
    child = family.child
    return (
        child is not None
        and child.status not in FINAL_INSTANCE_STATUSES
        and not is_kept_orphan(child, rules, now_ms)
        and not any(_holds_on(family, holds, now_ms))
    )


def check_asked(
    family: Family | None, instance_id: str, asked: tuple[int, OrphanRules], holds: Holds, now_ms: int
) -> None:
    """Of a request to end an instance that is meant for one life of an orphan, if ``rules`` let it go. ``family``: that
    of this life, None: it is gone.

    Raises:
        NotAnOrphanError: it is not that life, or none that may be asked.
    """
    _, rules = asked
    there = family is not None and family.root.instance_id == instance_id
    if family is None or not there or not may_be_asked_to_end(family, rules, holds, now_ms):
        raise NotAnOrphanError(f"instance {instance_id!r} is no running orphan that may go", hint="it is left as it is")


def _orphan_answers(child: ChildRecord | None, rules: OrphanRules, now_ms: int) -> Iterator[tuple[bool, str]]:
    if child is None:
        yield True, "not-an-orphan:a-root"
        return
    place = place_of(child)
    if place.kind is None:
        why = "adopted" if place.standing is Standing.DETACHED and child.adopted_at_ms is not None else place.standing
        yield True, f"not-an-orphan:{why}"
        return
    if place.kind not in CLEANABLE_KINDS:
        yield True, "unknown"
        return
    if place.kind not in rules.kinds:
        yield True, f"kind:{place.kind}"
    if rules.child_status is not None and child.status not in rules.child_status:
        yield True, f"status:{child.status}"
    if (before_ms := rules.parent_completed_before_ms) is not None and not _parent_ended_before(child, before_ms):
        yield True, f"parent-since:{format_time(before_ms)}"
    if place.since_ms is None or now_ms - place.since_ms < rules.min_age_s * 1000:
        yield True, f"young:{format_seconds(rules.min_age_s)}"
    yield False, f"orphan:{place.kind}"
    if not child.spawner_live and child.parent_status is not None:
        yield False, "spawner-pruned"


SETTLED: Final = "children"
"""Rule, origin and trigger, in the ledger, of children that go with the execution that spawned them."""


def settled_families(families: Iterable[Family], holds: Holds, now_ms: int) -> Iterator[Family]:
    """Of the children of executions that are pruned: those that go with them (``ChildrenPolicy.SETTLED``). Their
    spawner has ended, so nobody will observe what is not observed yet: ended they must be, with all that depends on
    them, and not be held."""
    held = in_force(holds, now_ms)
    for family in families:
        child = family.child
        stays = child is not None and (child.detached or is_unknown(child))
        if not stays and not any(_protections(family, _NO_PARENT, held, now_ms)):
            yield family


def settled_counts(families: Iterable[Family]) -> tuple[SettledCount, ...]:
    """Families that go with executions, by the orchestration of their root."""
    return sum_of_settled(
        SettledCount(
            name=family.root.name,
            families=1,
            instances=len(family.members),
            executions=family.executions,
            events=family.events,
            history_bytes=family.history_bytes,
        )
        for family in families
    )


def sum_of_settled(counts: Iterable[SettledCount]) -> tuple[SettledCount, ...]:
    """One for each name."""
    by_name: dict[str, SettledCount] = {}
    for count in counts:
        before = by_name.get(count.name)
        by_name[count.name] = count if before is None else _added(before, count)
    return tuple(count for _, count in sorted(by_name.items()))


def _added(one: SettledCount, other: SettledCount) -> SettledCount:
    return SettledCount(
        name=one.name,
        families=one.families + other.families,
        instances=one.instances + other.instances,
        executions=one.executions + other.executions,
        events=one.events + other.events,
        history_bytes=one.history_bytes + other.history_bytes,
    )


_NO_PARENT: Final = OrphanRules()
"""Rules under which the parent of a root is not asked about."""


# --- plans -----------------------------------------------------------------------------------------------------


def removal_item(family: Family, rules: RemovalRules | None, origin: PolicyOrigin, verdict: Verdict) -> RemovalItem:
    """One family of a plan."""
    root, child = family.root, family.child
    alone = child is None or child.detached
    return RemovalItem(
        instance_id=root.instance_id,
        incarnation=root.incarnation,
        name=root.name,
        status=root.status,
        completed_at_ms=root.completed_at_ms,
        child_of="" if alone or child is None else f"{child.parent.instance_id}/{child.parent.execution_id}",
        rules=rules,
        origin=origin,
        verdict=verdict,
        instances=len(family.members),
        executions=family.executions,
        events=family.events,
        history_bytes=family.history_bytes,
    )


def removal_outcome(family: Family, *, removed: bool, reasons: tuple[str, ...]) -> RemovalOutcome:
    """What a store answers about one order."""
    root = family.root
    return RemovalOutcome(
        incarnation=root.incarnation,
        instance_id=root.instance_id,
        name=root.name,
        removed=removed,
        reasons=reasons,
        instances=len(family.members),
        executions=family.executions,
        events=family.events,
        history_bytes=family.history_bytes,
    )


NOTHING_THERE: Final = RemovalOutcome(incarnation=0, instance_id="", name="", removed=False, reasons=())
"""The answer about an instance that is gone, but for its incarnation."""


def removal_totals(items: Iterable[RemovalItem]) -> RemovalTotals:
    """What goes, added up."""
    kept, going = 0, list[RemovalItem]()
    for item in items:
        if item.verdict.keep:
            kept += 1
        else:
            going.append(item)
    return RemovalTotals(
        families_kept=kept,
        families_removed=len(going),
        instances_removed=sum(item.instances for item in going),
        executions_removed=sum(item.executions for item in going),
        events_removed=sum(item.events for item in going),
        bytes_removed=sum(item.history_bytes for item in going),
    )
