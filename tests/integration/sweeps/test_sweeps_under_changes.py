"""Sweeps while what is said about pruning keeps changing: a round goes on, by what is said then. On both stores."""

from collections.abc import Callable
from itertools import count
from typing import Any

import msgspec
import pytest

from duro.host.archiving import ArchiveTerms, SweptArchives
from duro.host.maintenance import Maintenance
from duro.maintenance import sweep as sweeping
from duro.maintenance.sweep import Sweep
from duro.model.families import PurgeOptions, RemovalBatch
from duro.model.policies import OrphanTerms, PolicySources, StatedPurge
from duro.model.pruning import Hold, HoldTarget
from duro.model.removal import PruneBatch
from duro.model.retention import AutoPrune, PolicyKind, PolicyOrigin
from duro.model.status import ChildrenPolicy
from duro.stores.base import Store
from duro.telemetry import ArchiveCounters, PruneCounters
from duro.testing.builders import (
    child_completed,
    child_scheduled,
    completed,
    continued_as_new,
    removal_batch,
    start_request,
)
from duro.testing.clock import ManualClock
from duro.testing.scripted import ScriptedWorker
from tests.support.pruning import Loops, automatic, stated

INSTANCES = 90
STEPS_MAX = 300
"""Far more than a round needs, and few enough that one that begins anew is found out."""


@pytest.fixture
def ids() -> list[str]:
    return [f"i{number:03}" for number in range(INSTANCES)]


@pytest.fixture
def loops(store: Store, ids: list[str]) -> Loops:
    """Loops of five executions with policies of their own, which sweeps look at, and one that others talk of."""
    loops = Loops(store)
    loops.start(*ids, "talk")
    loops.go_on(4)
    for instance_id in ids:
        store.set_instance_policy(instance_id, stated(AutoPrune(keep_last=2, interval=1)))
    return loops


@pytest.fixture
def talk(store: Store) -> Callable[[], None]:
    """Somebody says something of an instance that is none of the sweep's."""
    numbers = count(1)
    return lambda: store.set_instance_policy("talk", stated(AutoPrune(keep_last=100 + next(numbers))))


def there(store: Store) -> dict[str, int]:
    """The instances that are there, with their incarnations."""
    return {row["instance_id"]: row["incarnation"] for row in store.dump()["instances"]}


def round_of(sweep: Sweep, before: Callable[[], object] = lambda: None) -> int:
    """The steps of one round."""
    for steps in range(1, STEPS_MAX):
        before()
        if not sweep.step():
            return steps
    raise AssertionError("the round does not end")


@pytest.mark.parametrize("page", [1, 30, 45, 500])
def test_a_round_ends_although_policies_change_before_every_step(
    store: Store, ids: list[str], loops: Loops, talk: Callable[[], None], monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr(sweeping, "INSTANCES_A_PAGE", page)
    assert round_of(Sweep(store), talk) < STEPS_MAX
    assert {len(loops.live(each)) for each in ids} == {2}
    assert len(loops.live("talk")) == 5


@pytest.mark.parametrize("changes", [1, 3, 5])
def test_a_round_ends_although_they_change_under_its_hands(
    store: Store,
    ids: list[str],
    loops: Loops,
    talk: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    changes: int,
) -> None:
    """Between the moment it reads them and its transaction, ``changes`` times in a row."""
    numbers, prune = count(), store.prune

    def disturbed(batch: PruneBatch, *, durable: bool = True) -> Any:
        if next(numbers) % (changes + 1) < changes:
            talk()
        return prune(batch, durable=durable)

    monkeypatch.setattr(store, "prune", disturbed)
    round_of(Sweep(store))
    assert {len(loops.live(each)) for each in ids} == {2}


def test_what_is_said_counts_for_what_a_round_has_not_looked_at(store: Store, ids: list[str], loops: Loops) -> None:
    sweep = Sweep(store)
    while len(loops.live(ids[0])) == 5:
        sweep.step()
    looked_at = [each for each in ids if len(loops.live(each)) == 2]
    others = [each for each in ids if each not in looked_at]
    assert 0 < len(looked_at) < INSTANCES
    store.set_instance_policy(others[0], stated("never"))
    store.set_instance_policy(others[-1], stated("never"))
    store.set_instance_policy(others[1], stated(AutoPrune(keep_last=4, interval=1)))
    store.set_instance_policy(looked_at[0], stated(AutoPrune(keep_last=1, interval=1)))
    round_of(sweep)
    live = {each: len(loops.live(each)) for each in ids}
    assert live == {**dict.fromkeys(ids, 2), others[0]: 5, others[-1]: 5, others[1]: 4}, (
        "the first is not looked at again"
    )


def test_the_next_round_looks_at_what_was_passed(
    store: Store, ids: list[str], loops: Loops, clock: ManualClock
) -> None:
    sweep = Sweep(store)
    sweep.step()
    sweep.step()
    store.set_instance_policy(ids[0], stated(AutoPrune(keep_last=1, interval=1)))
    round_of(sweep)
    clock.advance(1_000)
    round_of(sweep)
    assert [len(loops.live(each)) for each in ids[:2]] == [1, 2]


def test_in_an_instance_of_many_executions_it_keeps_its_place(
    store: Store, talk: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    loops = Loops(store)
    loops.start("a", "talk")
    loops.go_on(350)
    for number in range(1, 340, 3):
        target = HoldTarget(instance_id="a", execution_id=number)
        store.add_hold(Hold(hold_id=f"h{number}", target=target, reason="kept", created_at_ms=1))
    store.set_instance_policy("a", stated(AutoPrune(keep_last=1, interval=1)))
    looked_after: list[int] = []
    prune = store.prune

    def watched(batch: PruneBatch, *, durable: bool = True) -> Any:
        results = prune(batch, durable=durable)
        looked_after.extend(order.after for order in batch.orders)
        return results

    monkeypatch.setattr(store, "prune", watched)
    round_of(Sweep(store), talk)
    assert looked_after == sorted(set(looked_after)), "it looked at something twice"
    assert loops.live("a") == [*range(1, 340, 3), 351]


def test_what_is_due_is_left_once_however_often_something_is_said(
    store: Store, clock: ManualClock, talk: Callable[[], None]
) -> None:
    loops = Loops(store)
    loops.start(*(f"i{number}" for number in range(30)), "talk")
    loops.go_on(70)
    loops.go_on(policies=automatic(1))
    ScriptedWorker(store, "mail", orchestrations=[("mail", "1.0.0")])
    store.publish("mail", msgspec.json.encode(PolicySources(orchestrations=(("mail", "1.0.0"),))).decode())
    for number in range(0, 30, 2):
        store.set_instance_policy(f"i{number}", stated(AutoPrune(keep_last=1)))
    sweep = Sweep(store)
    round_of(sweep, talk)
    assert sweep.left_due == store.backlog().due_instances == 15


def test_an_instance_that_is_purged_meanwhile_is_left_out(
    store: Store, ids: list[str], loops: Loops, monkeypatch: pytest.MonkeyPatch, talk: Callable[[], None]
) -> None:
    (ends,) = [each for each in loops.worker.lease(INSTANCES + 1).instances if each.instance_id == ids[3]]
    loops.worker.run(ends, completed())
    prune = store.prune

    def removed_first(batch: PruneBatch, *, durable: bool = True) -> Any:
        monkeypatch.setattr(store, "prune", prune)
        store.remove(removal_batch((loops.incarnation(ids[3]), PurgeOptions(completed_before=10**14))))
        talk()
        return prune(batch, durable=durable)

    monkeypatch.setattr(store, "prune", removed_first)
    round_of(Sweep(store))
    assert {len(loops.live(each)) for each in ids if each != ids[3]} == {2}


# --- whole instances -----------------------------------------------------------------------------------------


def says(store: Store, **said: Any) -> None:
    orchestrations = (("Order", "1.0.0"), ("Child", "1.0.0"))
    sources = msgspec.structs.replace(PolicySources(orchestrations=orchestrations), **said)
    ScriptedWorker(store, "app", orchestrations=orchestrations)
    store.publish("app", msgspec.json.encode(sources).decode())


def purges(keep_within: float) -> tuple[StatedPurge, ...]:
    origin = PolicyOrigin(PolicyKind.FILE_DEFAULT, "app.toml:3")
    return (StatedPurge(options=PurgeOptions(keep_within=keep_within), origin=origin),)


def ended(store: Store, clock: ManualClock) -> None:
    worker = ScriptedWorker(store)
    store.start_instances([start_request(f"e{number:03}") for number in range(INSTANCES)] + [start_request("talk")])
    for leased in worker.lease(INSTANCES + 1).instances:
        if leased.instance_id != "talk":
            worker.run(leased, completed())
    store.release_worker(worker.worker_id)
    clock.advance(5_000)


def test_a_purge_goes_on_while_policies_change(
    store: Store, clock: ManualClock, talk: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended(store, clock)
    says(store, purges=purges(1.0))
    numbers, remove = count(), store.remove

    def disturbed(batch: RemovalBatch, *, durable: bool = True) -> Any:
        if next(numbers) % 2 == 0:
            talk()
        return remove(batch, durable=durable)

    monkeypatch.setattr(store, "remove", disturbed)
    round_of(Sweep(store), talk)
    assert set(there(store)) == {"talk"}


def test_a_purge_goes_by_what_workers_say_while_it_goes_on(
    store: Store, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended(store, clock)
    says(store, purges=purges(1.0))
    remove = store.remove

    def tightened(batch: RemovalBatch, *, durable: bool = True) -> Any:
        outcomes = remove(batch, durable=durable)
        monkeypatch.setattr(store, "remove", remove)
        says(store, purges=purges(60.0))
        return outcomes

    monkeypatch.setattr(store, "remove", tightened)
    sweep = Sweep(store)
    round_of(sweep)
    assert store.info().instances == INSTANCES + 1 - 50, "one batch"
    says(store, purges=purges(2.0))
    sweep.policies_changed()
    round_of(sweep)
    assert store.info().instances == 1, "it looks again although it looked just now"


def test_orphans_are_cleaned_up_while_policies_change(
    store: Store, clock: ManualClock, talk: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = ScriptedWorker(store)
    store.start_instances([start_request("a"), start_request("talk")])
    leased = {each.instance_id: each for each in worker.lease().instances}
    children = [child_scheduled(f"c{number}", "Child") for number in range(INSTANCES)]
    worker.run(leased["a"], *children, continued_as_new())
    for each in worker.lease(INSTANCES + 1).instances:
        if each.name == "Child":
            worker.run(each, completed())
    store.release_worker(worker.worker_id)
    clock.advance(5_000)
    says(store, orphans=OrphanTerms(enabled=True, min_age_s=1.0))
    round_of(Sweep(store), talk)
    assert store.info().instances == 2


# --- on whose terms ------------------------------------------------------------------------------------------


def test_what_nobody_runs_keeps_its_children_and_goes_into_the_archive_if_those_said_so_who_ran_it(
    store: Store, clock: ManualClock
) -> None:
    worker = ScriptedWorker(store, "both")
    for number in (1, 2):
        name = "Order" if number == 1 else "Child"
        store.start_instances([start_request(f"p{number}", name)])
        worker.run(worker.take(f"p{number}"), child_scheduled(f"c{number}", "Child"))
        worker.run(worker.take(f"c{number}"), completed())
        worker.run(worker.take(f"p{number}"), child_completed(2), continued_as_new())
        worker.lease()
        store.set_instance_policy(f"p{number}", stated(AutoPrune(keep_last=1, interval=1)))
    store.release_worker("both")
    settled = {"children": ChildrenPolicy.SETTLED}
    for worker_id, name, said in (
        ("away", "Order", {"archive_enabled": True, "archive_directory": "/var/archive"}),
        ("there", "Child", settled),
    ):
        orchestrations = ((name, "1.0.0"),)
        ScriptedWorker(store, worker_id, orchestrations=orchestrations)
        sources = msgspec.structs.replace(PolicySources(orchestrations=orchestrations), **said)
        store.publish(worker_id, msgspec.json.encode(sources).decode())
    store.release_worker("away")
    round_of(Sweep(store))
    rows = {row["incarnation"]: row for row in store.dump()["executions"] if row["execution_id"] == 1}
    incarnations = there(store)
    assert set(incarnations) == {"p1", "c1", "p2"}
    marked = rows[incarnations["p1"]]
    assert (marked["removal"], marked["archive"], marked["takes_children"]) == ("pruned", "", 0)
    assert incarnations["p2"] not in rows


# --- in the loop of a worker ---------------------------------------------------------------------------------


def test_settings_that_change_while_a_round_goes_on_do_not_begin_it_anew(
    store: Store, ids: list[str], loops: Loops, clock: ManualClock
) -> None:
    maintenance = Maintenance(
        store,
        clock=clock,
        holder=lambda: "app",
        counters=PruneCounters(),
        interval_s=3_600.0,
        archives=SweptArchives(store, ArchiveCounters(), lambda: ArchiveTerms(None, 3600.0, 3)),
    )
    sweep = maintenance.sweep
    for _ in range(STEPS_MAX):
        if sweep.rounds:
            break
        maintenance.step()
        if not sweep.rounds:
            maintenance.settings_changed()
    assert sweep.rounds == 1
    assert {len(loops.live(each)) for each in ids} == {2}
    for _ in range(STEPS_MAX):
        maintenance.step()
    assert sweep.rounds == 2, "what was passed before the change is looked at once more, and then not for an hour"
