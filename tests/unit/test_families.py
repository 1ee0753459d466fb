"""Who is an orphan, which family may go, and which purge policy applies."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from duro.errors import InvalidRulesError, NotAnOrphanError
from duro.model.events import ParentLink
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
    RemovalKind,
    RemovalPlan,
    RemovalRules,
    Standing,
)
from duro.model.policies import OrphanTerms, PolicySources, StatedPurge
from duro.model.pruning import Hold, HoldTarget
from duro.model.records import ChildRecord
from duro.model.retention import PolicyKind, PolicyOrigin
from duro.model.status import ExecutionStatus, InstanceStatus
from duro.retention import families
from duro.retention.families import (
    as_orphan,
    is_adoptable,
    is_kept,
    is_wanted,
    may_be_asked_to_end,
    place_of,
    removal_item,
    removal_outcome,
    removal_totals,
    settled_counts,
    settled_families,
    sum_of_settled,
    verdict_on,
)
from duro.retention.holds import HoldsInForce
from duro.retention.parents import why_ended
from duro.retention.purging import (
    purge_interval_s,
    purge_overrides,
    purge_policy,
    union,
    united_orphan_rules,
    united_purge,
)
from duroctl.render.removals import ORPHANS

NOW_MS = 100_000_000
RUNNING, COMPLETED, FAILED = InstanceStatus.RUNNING, InstanceStatus.COMPLETED, InstanceStatus.FAILED
CONTINUED = ExecutionStatus.CONTINUED_AS_NEW


def child(**fields: Any) -> ChildRecord:
    """A finished child that execution 2 of its parent spawned, which is its current one and runs."""
    whole: dict[str, Any] = {
        "instance_id": "c",
        "incarnation": 7,
        "name": "Child",
        "version": "1.0.0",
        "status": COMPLETED,
        "completed_at_ms": 5_000,
        "parent": ParentLink(instance_id="p", incarnation=3, execution_id=2, event_id=4),
        "detached": False,
        "spawned_at_ms": 1_000,
        "spawner_version": "1.0.0",
        "spawner_ended_at_ms": None,
        "spawner_end": None,
        "spawner_live": True,
        "observed_at_ms": None,
        "completion": None,
        "parent_status": RUNNING,
        "parent_execution_id": 2,
    }
    return ChildRecord(**{**whole, **fields})


LEFT: dict[str, Any] = {"spawner_ended_at_ms": 4_000, "spawner_end": CONTINUED, "parent_execution_id": 3}
CLOSED: dict[str, Any] = {
    "spawner_ended_at_ms": 6_000,
    "spawner_end": ExecutionStatus.FAILED,
    "parent_status": InstanceStatus.FAILED,
}


@pytest.mark.parametrize(
    ("fields", "standing", "kind"),
    [
        ({}, Standing.ATTACHED, None),
        ({"status": RUNNING, "completed_at_ms": None}, Standing.ATTACHED, None),
        ({"observed_at_ms": 9}, Standing.OBSERVED, None),
        ({**LEFT, "observed_at_ms": 9}, Standing.OBSERVED, None),
        ({"given_up_at_ms": 9}, Standing.GIVEN_UP, None),
        ({"given_up_at_ms": 9, "observed_at_ms": 9}, Standing.OBSERVED, None),
        ({**LEFT, "given_up_at_ms": 9}, Standing.ORPHAN, OrphanKind.PARENT_CONTINUED),
        ({**LEFT, "detached": True}, Standing.DETACHED, None),
        ({"detached": True, "parent_status": None, "parent_execution_id": None}, Standing.DETACHED, None),
        (LEFT, Standing.ORPHAN, OrphanKind.PARENT_CONTINUED),
        ({**LEFT, "parent_status": COMPLETED}, Standing.ORPHAN, OrphanKind.PARENT_CONTINUED),
        ({**LEFT, "spawner_live": False}, Standing.ORPHAN, OrphanKind.PARENT_CONTINUED),
        (CLOSED, Standing.ORPHAN, OrphanKind.PARENT_CLOSED),
        (
            {"parent_status": None, "parent_execution_id": None, "parent_removed_at_ms": 8_000},
            Standing.ORPHAN,
            OrphanKind.PARENT_MISSING,
        ),
        # the evidence is missing, or contradicts itself
        ({"parent_status": None, "parent_execution_id": None}, Standing.UNKNOWN, OrphanKind.UNKNOWN),
        ({"parent_execution_id": 1}, Standing.UNKNOWN, OrphanKind.UNKNOWN),
        ({"spawner_ended_at_ms": 9}, Standing.UNKNOWN, OrphanKind.UNKNOWN),
        ({"parent_execution_id": 3}, Standing.UNKNOWN, OrphanKind.UNKNOWN),
        ({**LEFT, "spawner_ended_at_ms": None}, Standing.UNKNOWN, OrphanKind.UNKNOWN),
        ({**LEFT, "spawner_end": ExecutionStatus.COMPLETED}, Standing.UNKNOWN, OrphanKind.UNKNOWN),
        ({**CLOSED, "spawner_end": CONTINUED}, Standing.UNKNOWN, OrphanKind.UNKNOWN),
        ({"parent_status": COMPLETED}, Standing.UNKNOWN, OrphanKind.UNKNOWN),
        # or cannot be read
        ({"unreadable": ("spawner_end: ended",)}, Standing.UNKNOWN, OrphanKind.UNKNOWN),
        ({**LEFT, "unreadable": ("status: complete",)}, Standing.UNKNOWN, OrphanKind.UNKNOWN),
        ({"observed_at_ms": 9, "unreadable": ("spawner_end: ended",)}, Standing.OBSERVED, None),
        ({"detached": True, "unreadable": ("spawner_end: ended",)}, Standing.DETACHED, None),
    ],
)
def test_where_a_child_stands(fields: dict[str, Any], standing: Standing, kind: OrphanKind | None) -> None:
    place = place_of(child(**fields))
    assert (place.standing, place.kind) == (standing, kind)
    assert place.why
    orphan = as_orphan(child(**fields))
    assert (None if orphan is None else orphan.kind) == kind


@pytest.mark.parametrize(
    "fields",
    [{"spawner_ended_at_ms": 9}, {"spawner_end": ExecutionStatus.COMPLETED}, {"unreadable": ("spawner_end: ended",)}],
)
def test_a_child_whose_parent_may_wait_for_it_is_not_adopted_whatever_else_is_recorded(fields: dict[str, Any]) -> None:
    running = child(**fields, status=RUNNING, completed_at_ms=None)
    assert place_of(running).standing is Standing.UNKNOWN
    with pytest.raises(NotAnOrphanError, match="the parent of instance 'c' runs, and may wait for it") as refused:
        is_adoptable(running)
    assert refused.value.hint == "`duroctl instances cancel c` ends it, and its parent is told as usual"
    for never_was in (-1, 0, 3):
        spawner = ParentLink(instance_id="p", incarnation=3, execution_id=never_was, event_id=4)
        with pytest.raises(NotAnOrphanError, match="the parent of instance 'c' runs, and may wait for it"):
            is_adoptable(child(parent=spawner))
        assert is_adoptable(child(parent=spawner, parent_status=FAILED))
    assert is_adoptable(child(**{**LEFT, "unreadable": ("spawner_end: ended",)}))
    assert is_adoptable(child(parent_status=None, parent_execution_id=None))
    assert is_adoptable(child(**LEFT))
    assert not is_adoptable(child(**LEFT, detached=True))
    assert not is_adoptable(child(**LEFT, detached=True), spawner_runs=True)
    for other in (LEFT, CLOSED, {"parent_execution_id": 1}):
        with pytest.raises(NotAnOrphanError, match="the parent of instance 'c' runs, and may wait for it"):
            is_adoptable(child(**other), spawner_runs=True)


@pytest.mark.parametrize("status", [RUNNING, COMPLETED, FAILED])
@pytest.mark.parametrize("pruned", [False, True])
def test_the_table_of_the_proposal(status: InstanceStatus, pruned: bool) -> None:
    """Whatever its own state is, and whether the execution that spawned it is pruned: it is the same orphan."""
    orphan = as_orphan(child(**LEFT, status=status, spawner_live=not pruned))
    assert orphan is not None
    assert (orphan.kind, orphan.spawner_pruned, orphan.child.status) == (OrphanKind.PARENT_CONTINUED, pruned, status)


def test_an_orphan_is_one_since_its_spawner_or_itself_ended() -> None:
    assert place_of(child(**LEFT)).since_ms == 5_000
    assert place_of(child(**LEFT, completed_at_ms=None, status=RUNNING)).since_ms == 4_000
    assert place_of(child(**CLOSED)).since_ms == 6_000


def test_a_filter_asks_for_all_that_it_names() -> None:
    orphan = as_orphan(child(**LEFT))
    assert orphan is not None
    assert is_wanted(orphan, OrphanFilter())
    assert is_wanted(orphan, OrphanFilter(kinds=(OrphanKind.PARENT_CONTINUED,), child_status=(COMPLETED,), name="Ch*"))
    for where in (
        OrphanFilter(kinds=(OrphanKind.PARENT_CLOSED,)),
        OrphanFilter(child_status=(FAILED,)),
        OrphanFilter(name="Par*"),
        OrphanFilter(parent_completed_before=4_000),
    ):
        assert not is_wanted(orphan, where)
    assert is_wanted(orphan, OrphanFilter(parent_completed_before=4_001))


@pytest.mark.parametrize(
    "fields",
    [
        {"kinds": ("lost",)},
        {"kinds": ()},
        {"kinds": "unknown"},
        {"child_status": ("done",)},
        {"parent_completed_before": -1},
        {"name": ""},
        {"name": 3},
        {"limit": -1},
        {"limit": True},
    ],
)
def test_a_filter_that_means_nothing_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRulesError, match=r"^OrphanFilter"):
        OrphanFilter(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"statuses": (COMPLETED,)},
        {"keep_last": 0},
        {"keep_last": True},
        {"keep_within": 0},
        {"keep_within": float("nan")},
        {"keep_failed_within": 5},
        {"keep_failed_within": 5, "keep_last": 3},
        {"completed_before": 10**18},
        {"keep_last": 1, "statuses": (RUNNING,)},
    ],
)
def test_purge_options_that_name_nothing_to_keep_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRulesError, match=r"^PurgeOptions"):
        PurgeOptions(**fields)


def member(depth: int = 0, **fields: Any) -> FamilyMember:
    whole: dict[str, Any] = {
        "incarnation": 7 + depth,
        "instance_id": f"m{depth}",
        "name": "Order",
        "status": COMPLETED,
        "completed_at_ms": NOW_MS - 60_000,
        "depth": depth,
        "versions": ("1.0.0",),
        "executions": 2,
        "events": 10,
        "history_bytes": 100,
    }
    return FamilyMember(**{**whole, **fields})


def family(*members: FamilyMember, of: ChildRecord | None = None) -> Family:
    return Family(members=members or (member(),), child=of)


OLD = PurgeOptions(keep_within=30)
OPEN = child()
SETTLED = child(observed_at_ms=9)


def begins_at(incarnation: int) -> Callable[[str, int], int]:
    """Where the newest of every orchestration begin, however many."""
    return lambda _name, _count: incarnation


def held(**target: Any) -> Hold:
    until_ms = target.pop("until_ms", None)
    return Hold(hold_id="h", target=HoldTarget(**target), reason="", created_at_ms=0, until_ms=until_ms)


def test_only_holds_that_may_concern_a_member_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    covers = families._covers

    def noted(hold: Hold, of: FamilyMember) -> bool:
        asked.append(hold.hold_id)
        return covers(hold, of)

    monkeypatch.setattr(families, "_covers", noted)
    holds = HoldsInForce(
        [
            Hold(hold_id=f"h{n}", target=HoldTarget(instance_id=f"m{n}"), reason="r", created_at_ms=0)
            for n in range(1, 99)
        ],
        NOW_MS,
    )
    whole = family(member(), member(1), member(2), of=child(**LEFT))
    assert verdict_on(whole, OrphanRules(), holds, NOW_MS).reasons == ("held:h1", "held:h2")
    assert asked == ["h1", "h2"]


@pytest.mark.parametrize(
    ("of", "rules", "holds", "keep", "reasons"),
    [
        (family(), OLD, (), False, "older-than:30s"),
        (family(), PurgeOptions(keep_within=90), (), True, "within:90s"),
        (family(), PurgeOptions(keep_within=60), (), True, "within:1m"),
        (family(member(completed_at_ms=NOW_MS - 60_001)), PurgeOptions(keep_within=60), (), False, "older-than:1m"),
        (family(), PurgeOptions(completed_before=NOW_MS - 60_000), (), True, "since:1970-01-02T03:45:40Z"),
        (family(), PurgeOptions(completed_before=NOW_MS - 59_999), (), False, "before:1970-01-02T03:45:40.001Z"),
        (family(), PurgeOptions(completed_before=NOW_MS), (), False, "before:1970-01-02T03:46:40Z"),
        (family(), PurgeOptions(completed_before=1), (), True, "since:1970-01-01T00:00:00.001Z"),
        (family(), PurgeOptions(keep_last=3), (), True, "last:3"),
        (family(), PurgeOptions(keep_last=3, keep_within=30), (), True, "last:3"),
        (family(), PurgeOptions(keep_within=30, statuses=(FAILED,)), (), True, "status:completed"),
        (family(member(status=FAILED)), PurgeOptions(keep_within=30, keep_failed_within=90), (), True, "within:90s"),
        (family(), None, (), True, "never"),
        (family(member(), member(1, status=RUNNING)), OLD, (), True, "running:m1"),
        (family(member(), *(member(depth, status=RUNNING) for depth in (1, 2))), OLD, (), True, "running:m1"),
        (family(), OLD, (held(instance_id="m0"),), True, "held:h"),
        (family(member(), member(1)), OLD, (held(instance_id="m1", execution_id=1),), True, "held:h"),
        (family(), OLD, (held(name="Or*", version="2.0.0"),), False, "older-than:30s"),
        (family(), OLD, (held(version="1.0.0"),), True, "held:h"),
        (family(), OLD, (held(instance_id="m0", until_ms=NOW_MS),), False, "older-than:30s"),
        (family(member(status=RUNNING, completed_at_ms=None)), OLD, (), True, "running:m0"),
        (family(of=OPEN), OLD, (), True, "observable"),
        (family(of=SETTLED), OLD, (), False, "older-than:30s settled"),
        (family(of=child(**LEFT)), OLD, (), False, "older-than:30s settled"),
        (family(of=child(given_up_at_ms=9)), OLD, (), False, "older-than:30s settled"),
        (family(of=child(given_up_at_ms=9)), OrphanRules(), (), True, "not-an-orphan:given-up"),
        (family(of=child(observed_at_ms=9, parent_status=COMPLETED)), OLD, (), True, "with-parent:p"),
        (family(of=child(parent_status=None, parent_execution_id=None)), OLD, (), True, "unknown"),
        (family(of=child(detached=True)), OLD, (), False, "older-than:30s"),
        (family(), OrphanRules(), (), True, "not-an-orphan:a-root"),
        (family(of=OPEN), OrphanRules(), (), True, "not-an-orphan:attached"),
        (family(of=SETTLED), OrphanRules(), (), True, "not-an-orphan:observed"),
        (family(of=child(detached=True, adopted_at_ms=1)), OrphanRules(), (), True, "not-an-orphan:adopted"),
        (family(of=child(detached=True)), OrphanRules(), (), True, "not-an-orphan:detached"),
        (family(of=child(parent_execution_id=1)), OrphanRules(), (), True, "unknown"),
        (family(of=child(**LEFT)), OrphanRules(min_age_s=99_995), (), False, "orphan:parent-continued"),
        (family(of=child(**LEFT)), OrphanRules(min_age_s=99_996), (), True, "young:99996s"),
        (family(of=child(**LEFT)), OrphanRules(parent_completed_before_ms=4_001), (), False, "orphan:parent-continued"),
        (family(of=child(**LEFT)), OrphanRules(), (), False, "orphan:parent-continued"),
        (
            family(of=child(**LEFT, spawner_live=False)),
            OrphanRules(),
            (),
            False,
            "orphan:parent-continued spawner-pruned",
        ),
        (family(of=child(**LEFT)), OrphanRules(kinds=(OrphanKind.PARENT_CLOSED,)), (), True, "kind:parent-continued"),
        (family(of=child(**LEFT)), OrphanRules(child_status=(FAILED,)), (), True, "status:completed"),
        (family(of=child(**LEFT)), OrphanRules(min_age_s=NOW_MS / 1000), (), True, "young:100000s"),
        (
            family(of=child(**LEFT)),
            OrphanRules(parent_completed_before_ms=4_000),
            (),
            True,
            "parent-since:1970-01-01T00:00:04Z",
        ),
        (family(member(), member(1, status=RUNNING), of=child(**LEFT)), OrphanRules(), (), True, "running:m1"),
        (family(member(), member(1), member(2, is_unknown=True)), OLD, (), True, "unknown:m2"),
        (family(member(), *(member(depth, is_unknown=True) for depth in (1, 2))), OLD, (), True, "unknown:m1"),
        (family(member(), member(1, is_unknown=True), of=child(**LEFT)), OrphanRules(), (), True, "unknown:m1"),
    ],
)
def test_what_becomes_of_a_family(
    of: Family, rules: RemovalRules | None, holds: tuple[Hold, ...], keep: bool, reasons: str
) -> None:
    verdict = verdict_on(of, rules, holds, NOW_MS)
    assert (verdict.keep, " ".join(verdict.reasons)) == (keep, reasons)
    root = of.root
    if isinstance(rules, PurgeOptions) and root.completed_at_ms is not None:
        ended = FinishedInstance(
            incarnation=root.incarnation,
            instance_id=root.instance_id,
            name=root.name,
            status=root.status,
            completed_at_ms=root.completed_at_ms,
        )
        if is_kept(ended, rules, NOW_MS):
            assert verdict.keep


def test_the_newest_are_counted_by_where_they_begin() -> None:
    rules = PurgeOptions(keep_last=2)
    found = [verdict_on(family(), rules, (), NOW_MS, newest=begins_at(number)).keep for number in (7, 8)]
    assert found == [True, False]


def stated(options: PurgeOptions | None, name: str = "", line: int = 1) -> StatedPurge:
    kind = PolicyKind.FILE_OVERRIDE if name else PolicyKind.FILE_DEFAULT
    return StatedPurge(options=options, origin=PolicyOrigin(kind, f"f:{line}"), name=name)


def sources(**overrides: PurgeOptions | None) -> PolicySources:
    return PolicySources(purges=tuple(stated(options, name) for name, options in overrides.items()))


@pytest.mark.parametrize(
    ("published", "reasons"),
    [
        ((sources(Child=None),), "member:m1:never"),
        ((sources(Child=PurgeOptions(keep_within=90)),), "member:m1:within:90s"),
        ((sources(Child=PurgeOptions(keep_within=45)),), "older-than:30s"),
        ((sources(Child=PurgeOptions(keep_last=3)),), "member:m1:last:3"),
        ((sources(Child=PurgeOptions(keep_within=45, keep_failed_within=90)),), "member:m2:within:90s"),
        ((sources(**{"Chi*": None}),), "member:m1:never"),
        ((sources(**{"Chi*": None, "Child": PurgeOptions(keep_within=45)}),), "older-than:30s"),
        ((sources(Child=PurgeOptions(keep_within=45)), sources(Child=None)), "member:m1:never"),
        ((PolicySources(), sources(Child=None)), "member:m1:never"),
        ((PolicySources(purges=(stated(None),)),), "older-than:30s"),
        ((sources(Nobody=None),), "older-than:30s"),
        # the root's own name has rules of its own, which are asked already
        ((sources(Order=None),), "older-than:30s"),
    ],
)
def test_a_family_goes_only_if_what_is_said_of_each_members_own_name_lets_it_go(
    published: tuple[PolicySources, ...], reasons: str
) -> None:
    older = [member(depth, name="Child", completed_at_ms=NOW_MS - 60_000 - depth) for depth in (1, 2)]
    failed = msgspec.structs.replace(older[1], status=FAILED)
    if "m2" not in reasons:
        failed = older[1]
    whole = family(member(), older[0], failed)
    verdict = verdict_on(whole, OLD, (), NOW_MS, overrides=purge_overrides(published))
    assert (verdict.keep, " ".join(verdict.reasons)) == (reasons != "older-than:30s", reasons)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (sources(Child=None), "member:m1:never"),
        (sources(**{"*": None}), "never"),
        (sources(Child=PurgeOptions(keep_within=1e6)), ""),  # that is not purging: ``[orphans]`` says what goes
        (sources(**{"Chi*": None, "Child": PurgeOptions(keep_within=1e6)}), ""),
        (sources(), ""),
    ],
)
def test_of_orphans_that_a_sweep_cleans_up_those_stay_that_are_never_purged(said: PolicySources, reason: str) -> None:
    whole = family(member(), member(1, name="Child"), of=child(**LEFT))
    verdict = verdict_on(whole, OrphanRules(), (), NOW_MS, overrides=purge_overrides([said]))
    assert (verdict.keep, verdict.reasons == (reason,)) == (bool(reason), bool(reason))


def test_a_plan_adds_up() -> None:
    origin = PolicyOrigin(PolicyKind.CALL, "")
    items = [
        removal_item(each, OLD, origin, verdict_on(each, OLD, (), NOW_MS))
        for each in (family(member(), member(1)), family(of=OPEN), family(of=SETTLED))
    ]
    assert [item.child_of for item in items] == ["", "p/2", "p/2"]
    totals = removal_totals(items)
    assert (totals.families_removed, totals.families_kept) == (2, 1)
    assert (totals.instances_removed, totals.executions_removed, totals.events_removed) == (3, 6, 30)
    assert totals.bytes_removed == 300


def test_children_settle_when_all_below_them_has_ended_and_nothing_is_held() -> None:
    going = family(of=child(**LEFT))
    stays = [
        family(member(), member(1, status=RUNNING), of=child(**LEFT)),
        family(of=child(detached=True)),
        family(member(instance_id="kept"), of=child(**LEFT)),
        family(member(), member(1, is_unknown=True), of=child(**LEFT)),
        family(of=child(**{**LEFT, "spawner_end": None})),
    ]
    assert list(settled_families([going, *stays], [held(instance_id="kept")], NOW_MS)) == [going]


def test_settled_families_are_counted_by_the_name_of_their_root() -> None:
    going = [family(member(name="B"), member(1, name="A")), family(member(name="A")), family(member(name="B"))]
    shown = [(each.name, each.families, each.instances, each.executions) for each in settled_counts(going)]
    assert shown == [("A", 1, 1, 2), ("B", 2, 3, 6)]
    assert [(each.events, each.history_bytes) for each in settled_counts(going)] == [(10, 100), (30, 300)]
    assert sum_of_settled([*settled_counts(going[:2]), *settled_counts(going[2:])]) == settled_counts(going)


# --- policies --------------------------------------------------------------------------------------------------


def test_the_exact_name_wins_then_the_longest_pattern_then_the_default() -> None:
    last = {number: PurgeOptions(keep_last=number) for number in (1, 2, 3, 4)}
    sources = PolicySources(
        purges=(stated(last[1]), stated(last[2], "a.*"), stated(last[3], "a.b*"), stated(last[4], "a.bc"))
    )
    found = [purge_policy(sources, name) for name in ("a.bc", "a.bd", "a.x", "z")]
    assert [each.options for each in found if each is not None] == [last[4], last[3], last[2], last[1]]
    assert purge_policy(PolicySources(), "a") is None


def test_workers_that_differ_unite_their_keeps() -> None:
    one = PolicySources(purges=(stated(PurgeOptions(keep_within=10, keep_failed_within=90), line=1),))
    two = PolicySources(purges=(stated(PurgeOptions(keep_within=20, keep_last=3), line=2),))
    assert united_purge([one], "a")[1] == one.purges[0].origin
    options, origin = united_purge([one, two], "a")
    assert options == PurgeOptions(keep_within=20, keep_failed_within=90, keep_last=3)
    assert origin.text == "file_default: f:1; file_default: f:2"
    never = PolicySources(purges=(stated(None, line=3),))
    assert united_purge([one, never], "a")[0] is None
    options, origin = united_purge([one, PolicySources()], "a")
    assert (options, origin.kind) == (None, PolicyKind.NONE)
    assert united_purge([], "a")[1].kind is PolicyKind.NONE


def test_a_union_keeps_what_any_of_them_keeps() -> None:
    several = [
        PurgeOptions(keep_within=30),
        PurgeOptions(keep_last=3),
        PurgeOptions(keep_within=10, keep_failed_within=90),
    ]
    united = union(several)
    for status in (COMPLETED, FAILED):
        for age_ms in (5_000, 20_000, 60_000, 120_000):
            for newest_from in (7, 8):
                root = member(status=status, completed_at_ms=NOW_MS - age_ms)
                newest = begins_at(newest_from)
                kept = [verdict_on(family(root), each, (), NOW_MS, newest=newest).keep for each in several]
                assert verdict_on(family(root), united, (), NOW_MS, newest=newest).keep == any(kept)


def test_orphans_are_swept_when_all_workers_want_it() -> None:
    ends = tuple(sorted(each for each in InstanceStatus if each not in (RUNNING, InstanceStatus.PENDING)))
    one = PolicySources(orphans=OrphanTerms(enabled=True, min_age_s=60, child_status=ends, interval_s=30))
    two = PolicySources(orphans=OrphanTerms(enabled=True, min_age_s=90, child_status=(FAILED,), interval_s=50))
    assert united_orphan_rules([one, two]) == (OrphanRules(min_age_s=90, child_status=(FAILED,)), 30)
    assert united_orphan_rules([one, PolicySources()]) is None
    assert united_orphan_rules([]) is None
    assert OrphanRules().kinds == CLEANABLE_KINDS


def test_purges_are_looked_for_as_often_as_the_most_eager_wants() -> None:
    rules = (stated(PurgeOptions(keep_last=1)),)
    often = PolicySources(purges=rules, purge_interval_s=60)
    seldom = PolicySources(purges=rules, purge_interval_s=600)
    assert purge_interval_s([often, seldom, PolicySources()]) == 60
    assert purge_interval_s([PolicySources()]) is None
    assert purge_interval_s([PolicySources(purges=rules, purge_enabled=False)]) is None


def test_workers_that_agree_on_no_way_to_end_sweep_no_orphans() -> None:
    terms = [
        OrphanTerms(enabled=True, child_status=(status,))
        for status in (InstanceStatus.FAILED, InstanceStatus.COMPLETED)
    ]
    assert united_orphan_rules([PolicySources(orphans=each) for each in terms]) is None
    assert united_orphan_rules([PolicySources(orphans=each) for each in terms[:1]]) is not None


def test_the_ledger_names_every_rule_of_a_removal() -> None:
    every = PurgeOptions(
        keep_within=86_400,
        keep_failed_within=2 * 86_400,
        completed_before=1_700_000_000_000,
        keep_last=3,
        statuses=(InstanceStatus.FAILED, InstanceStatus.CANCELLED),
    )
    assert str(every) == (
        "keep_within=1d keep_failed_within=2d completed_before=2023-11-14T22:13:20Z keep_last=3 status=failed,cancelled"
    )
    assert str(OrphanRules()) == "min_age=0s"
    orphans = OrphanRules(
        kinds=(OrphanKind.PARENT_CLOSED, OrphanKind.PARENT_MISSING),
        child_status=(InstanceStatus.FAILED,),
        parent_completed_before_ms=1_700_000_000_000,
        min_age_s=3600,
    )
    assert str(orphans) == (
        "min_age=1h kind=parent-closed,parent-missing status=failed parent_completed_before=2023-11-14T22:13:20Z"
    )


def test_a_child_that_is_ended_is_told_what_its_parent_did() -> None:
    assert why_ended("a", ExecutionStatus.CONTINUED_AS_NEW) == "its parent 'a' continued as new"
    assert why_ended("a", ExecutionStatus.FAILED) == "its parent 'a' is failed"


def test_what_rules_keep_whatever_its_family_is_need_not_be_looked_at() -> None:
    ended = FinishedInstance(
        incarnation=7, instance_id="a", name="Order", status=COMPLETED, completed_at_ms=NOW_MS - 60_000
    )
    assert is_kept(ended, PurgeOptions(keep_within=90), NOW_MS)
    assert is_kept(ended, PurgeOptions(keep_within=30, keep_last=1), NOW_MS, newest=begins_at(7))
    assert not is_kept(ended, PurgeOptions(keep_within=30, keep_last=1), NOW_MS, newest=begins_at(8))


def test_only_running_orphans_that_the_rules_let_go_are_asked_to_end() -> None:
    def may(rules: OrphanRules, *holds: Hold, **fields: Any) -> bool:
        return may_be_asked_to_end(family(member(), of=child(**fields)), rules, holds, NOW_MS)

    running: dict[str, Any] = {**LEFT, "status": RUNNING, "completed_at_ms": None}
    assert may(OrphanRules(), **running)
    assert not may(OrphanRules(), **LEFT)
    assert not may(OrphanRules(min_age_s=NOW_MS), **running)
    assert not may(OrphanRules(), status=RUNNING, completed_at_ms=None)
    assert not may(OrphanRules(), held(instance_id="m0"), **running)
    assert may(OrphanRules(), held(instance_id="m1"), **running)


def test_a_plan_and_an_answer_tell_of_the_whole_family() -> None:
    whole = family(member(), member(1), of=child(**LEFT))
    item = removal_item(whole, OLD, PolicyOrigin(PolicyKind.NONE, ""), verdict_on(whole, OLD, (), NOW_MS))
    assert (item.instance_id, item.child_of, item.instances, item.executions) == ("m0", "p/2", 2, 4)
    alone = family(of=child(detached=True))
    assert removal_item(alone, OLD, item.origin, item.verdict).child_of == ""
    outcome = removal_outcome(whole, removed=True, reasons=("settled",))
    assert (outcome.incarnation, outcome.instance_id, outcome.removed, outcome.reasons) == (7, "m0", True, ("settled",))
    assert (outcome.instances, outcome.executions, outcome.events, outcome.history_bytes) == (2, 4, 20, 200)


def test_rules_that_differ_in_kind_are_told_of_as_the_first_of_them() -> None:
    one = PolicySources(purges=(stated(PurgeOptions(keep_last=1), line=1),))
    other = PolicySources(
        purges=(
            StatedPurge(
                name="a", options=PurgeOptions(keep_last=2), origin=PolicyOrigin(PolicyKind.FILE_OVERRIDE, "f:2")
            ),
        )
    )
    options, origin = united_purge([other, one], "a")
    assert options == PurgeOptions(keep_last=2)
    assert origin == PolicyOrigin(PolicyKind.FILE_DEFAULT, "file_default: f:1; file_override: f:2")
    assert union([PurgeOptions(keep_within=10)]) == PurgeOptions(keep_within=10)


def test_a_place_says_why() -> None:
    assert place_of(child(detached=True)).why == "it was started to stand alone"
    assert place_of(child(detached=True, adopted_at_ms=1)).why == "it was adopted"
    assert place_of(child(**LEFT)) == Place(
        standing=Standing.ORPHAN,
        why="its spawning execution continued as new without observing its end",
        kind=OrphanKind.PARENT_CONTINUED,
        since_ms=5_000,
    )


def test_an_orphan_is_said_to_have_a_pruned_spawner_by_every_form_of_the_list_or_by_none() -> None:
    orphan = Orphan(
        child=child(spawner_live=False),
        kind=OrphanKind.PARENT_MISSING,
        spawner_pruned=False,
        since_ms=5,
        why="its parent is gone",
    )
    (column,) = (each for each in ORPHANS.columns if each.name == "spawner_pruned")
    assert (ORPHANS.to_json(orphan)["spawner_pruned"], column.value(orphan)) == (False, "no")


def test_options_are_settled_where_they_are_made() -> None:
    at = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    made = PurgeOptions(keep_last=1, completed_before=at, statuses=["failed", InstanceStatus.CANCELLED])  # type: ignore[arg-type]
    assert made.completed_before == made.completed_before_ms == 1_700_000_000_000
    assert made.statuses == (InstanceStatus.FAILED, InstanceStatus.CANCELLED)
    assert [type(each) for each in made.statuses] == [InstanceStatus, InstanceStatus]
    where = OrphanFilter(parent_completed_before=at, limit=0)
    assert where.parent_completed_before == where.parent_completed_before_ms == 1_700_000_000_000
    assert where.limit == 0


def test_an_old_plan_that_does_not_say_of_what_it_is_shows_it() -> None:
    whole = family(of=child(**LEFT))
    item = removal_item(whole, OLD, PolicyOrigin(PolicyKind.CALL, ""), verdict_on(whole, OLD, (), NOW_MS))
    cleaned = msgspec.structs.replace(item, rules=OrphanRules())
    nothing = RemovalPlan(
        store_id="s", policy_revision=1, hold_revision=1, made_at_ms=1, items=(), totals=removal_totals(())
    )
    assert nothing.known_kind is None
    assert msgspec.structs.replace(nothing, items=(item,)).known_kind is RemovalKind.PURGE
    assert msgspec.structs.replace(nothing, items=(item, cleaned)).known_kind is RemovalKind.ORPHANS
    assert msgspec.structs.replace(nothing, running_orphans=("c",)).known_kind is RemovalKind.ORPHANS
    assert msgspec.structs.replace(nothing, items=(cleaned,), kind=RemovalKind.PURGE).known_kind is RemovalKind.PURGE
