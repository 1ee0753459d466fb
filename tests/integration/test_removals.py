"""Purges, clean-ups and prunes by hand, and sweeps, on both stores, one step at a time: what goes, what stays, and what
is refused."""

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

import duro
from duro.errors import StoreFullError
from duro.maintenance import families, pruning
from duro.maintenance.sweep import Sweep
from duro.model.families import OrphanRules, Standing
from duro.model.limits import REMOVAL_INSTANCES_MAX
from duro.model.pruning import Verdict
from duro.model.removal import PruneBatch
from duro.model.status import ExecutionStatus
from duro.stores.base import Store
from duro.stores.memory import MemoryStore
from duro.telemetry import PruneCounters
from duro.testing.builders import (
    child_completed,
    child_scheduled,
    completed,
    continued_as_new,
    detached_scheduled,
    next_lease,
    start_request,
    turn,
    wait_started,
)
from duro.testing.clock import ManualClock
from duro.testing.invariants import check_invariants
from duro.testing.scripted import ScriptedWorker
from tests.support.pruning import Loops, automatic, open_sqlite, published

NOW = duro.PurgeOptions(completed_before=10**14)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> Iterator[Store]:
    """An empty store of each kind; the invariants hold when the test is over."""
    opened: Store
    if request.param == "memory":
        opened = MemoryStore(clock=clock, new_id=lambda: "id")
    else:
        opened = open_sqlite(tmp_path / "duro.db", clock)
    yield opened
    check_invariants(opened)
    opened.close()


@pytest.fixture
def worker(store: Store) -> ScriptedWorker:
    return ScriptedWorker(store, lease_ms=10**9)


@pytest.fixture
def client(store: Store) -> duro.Client:
    return duro.Client(store)


def there(client: duro.Client) -> set[str]:
    return {record.instance_id for record in client.list_instances(limit=0).instances}


def end(store: Store, worker: ScriptedWorker, *instance_ids: str, name: str = "Order") -> None:
    """Instances without a parent that have ended."""
    store.start_instances([start_request(each, name) for each in instance_ids])
    for leased in worker.lease().instances:
        if leased.instance_id in instance_ids:
            worker.run(leased, completed())
        else:
            worker.release(leased)


def end_family(store: Store, worker: ScriptedWorker, root: str) -> None:
    """An Order that has ended, with a Child below it (``ROOT.below``) whose end it recorded."""
    store.start_instances([start_request(root)])
    worker.run(worker.take(root), child_scheduled(f"{root}.below", "Child"))
    worker.run(worker.take(f"{root}.below"), completed())
    worker.run(worker.take(root), child_completed(2), completed())


def sweep(store: Store) -> PruneCounters:
    """A round to its end, and all that is reclaimed after it; what it counted."""
    counters = PruneCounters()
    done = Sweep(store, removal_report=counters.add_removals, settled_report=counters.add_settled)
    while done.step():
        pass
    return counters


# --- which instances -------------------------------------------------------------------------------------------


def test_a_purge_takes_of_the_instances_named_those_whose_orchestration_is_asked_for(
    store: Store, worker: ScriptedWorker, client: duro.Client
) -> None:
    end(store, worker, "o", "other")
    end(store, worker, "c", name="Child")
    scope = duro.PruneScope(instance_ids=("o", "c"), name="Chi*")
    assert [item.instance_id for item in client.plan_purge(NOW, scope=scope).items] == ["c"]
    assert client.purge_instances(NOW, scope=scope).instances == 1
    assert there(client) == {"o", "other"}
    with pytest.raises(duro.InstanceNotFoundError):
        client.purge_instances(NOW, scope=duro.PruneScope(instance_ids=("o", "nobody"), name="Chi*"))


Wrong = Callable[[duro.Client], object]


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.add_hold(name=3, reason="x"),
        lambda client: client.add_hold(name=["x"], reason="x"),
        lambda client: client.add_hold(name="\0", reason="x"),
        lambda client: client.add_hold(version=1, reason="x"),
        lambda client: client.add_hold("a", reason="x", by=3),
        lambda client: client.add_hold("a", reason=None),
        lambda client: client.adopt_instance("a", reason=None),
        lambda client: client.adopt_instance("a", reason="x", by=3),
        lambda client: client.prune_executions("a", 1, by=3),
        lambda client: client.prune_executions("a", 1, reason=3),
        lambda client: client.purge_instances(NOW, by=3),
        lambda client: client.undo_prune("a", by=3),
        lambda client: client.plan_prune(1, scope=duro.PruneScope(name=3)),  # type: ignore[arg-type]
        lambda client: client.plan_prune(1, scope=duro.PruneScope(name="")),
        lambda client: client.plan_prune(1, scope=duro.PruneScope(instance_ids="a")),  # type: ignore[arg-type]
        lambda client: client.plan_prune(1, scope=duro.PruneScope(instance_ids=(3,))),  # type: ignore[arg-type]
        lambda client: client.list_orphaned_instances(duro.OrphanFilter(name=3)),  # type: ignore[arg-type]
        lambda client: client.plan_prune(1, only={"a": 5}),
        lambda client: client.plan_prune(1, only={"a": "5"}),
        lambda client: client.plan_prune(1, only={"a": [True]}),
        lambda client: client.plan_prune(1, only={3: [1]}),
        lambda client: client.plan_prune(1, only=["a"]),
        lambda client: client.plan_prune("named"),
        lambda client: client.plan_prune("named", only={}),
        lambda client: client.plan_prune("all", only={"a": [1]}),
    ],
)
def test_what_is_of_a_wrong_type_is_refused_where_it_enters(
    store: Store, worker: ScriptedWorker, client: duro.Client, call: Wrong
) -> None:
    loop(store, worker, "a", 2)
    before = store.dump()
    with pytest.raises(duro.UsageError):
        call(client)
    assert store.dump() == before
    assert client.plan_prune(1).totals.executions_removed == 1


def test_executions_may_be_named_only_of_instances_that_are_there(
    store: Store, worker: ScriptedWorker, client: duro.Client
) -> None:
    loop(store, worker, "a", 3)
    assert client.plan_prune(1, only={"a": [2]}).totals.executions_removed == 1
    with pytest.raises(duro.InstanceNotFoundError, match="there is no instance 'nobody'"):
        client.plan_prune(1, only={"a": [2], "nobody": [1]})


def test_executions_that_are_named_go_whatever_policies_say_and_nothing_else_does(
    store: Store, worker: ScriptedWorker, client: duro.Client
) -> None:
    loop(store, worker, "a", 5)
    loop(store, worker, "b", 3)
    client.set_instance_policy("a", "never")
    plan = client.plan_prune("named", only={"a": [2, 3, 5]})
    assert {(each.instance_id, each.rules) for each in plan.instances} == {("a", ()), ("b", ())}
    assert [(item.execution.execution_id, item.verdict.reasons) for item in plan.instances[0].items] == [
        (1, ("not-named",)),
        (2, ("named",)),
        (3, ("named",)),
        (4, ("not-named",)),
        (5, ("current", "running")),
    ]
    client.add_hold("a", 3, reason="incident 42")
    done = client.apply_plan(plan)
    assert (done.executions_deleted, [each.execution_id for each in done.skipped]) == (1, [3])
    assert done.skipped[0].why.startswith("it is kept now: held:")
    assert [each.range.rule for each in client.list_ledger("a")] == ["named"]


@pytest.mark.parametrize("number", [0, -1, 4, 99])
def test_executions_that_never_were_cannot_be_named(
    store: Store, worker: ScriptedWorker, client: duro.Client, number: int
) -> None:
    loop(store, worker, "a", 3)
    with pytest.raises(duro.ExecutionNotFoundError, match=f"'a' has no execution {number}: it is in 3"):
        client.plan_prune(1, only={"a": [2, number]})


def test_of_executions_that_are_named_a_plan_says_which_had_been_pruned_before(
    store: Store, worker: ScriptedWorker, client: duro.Client
) -> None:
    loop(store, worker, "a", 9)
    client.prune_executions("a", 3)
    plan = client.plan_prune(1, only={"a": range(1, 8)})
    assert [item.execution_id for item in plan.removals()] == [7]
    assert [(each.code, each.instance_id, each.text) for each in plan.warnings] == [
        ("pruned-before", "a", "6 executions of those named of a had been pruned before: 1, 2, 3, 4, 5, ...")
    ]
    (warning,) = client.plan_prune(1, only={"a": [6, 7]}).warnings
    assert warning.text == "1 execution of those named of a had been pruned before: 6"


# --- policies by name ------------------------------------------------------------------------------------------

NEVER_A_CHILD = '[purge]\nkeep_within = "1m"\n[purge.overrides."Child"]\n'


@pytest.mark.parametrize(
    ("rule", "reason"), [("never = true", "never"), ('keep_within = "1d"', "within:1d"), ("keep_last = 1", "last:1")]
)
def test_a_member_of_a_family_is_protected_by_what_is_said_of_its_own_name(
    store: Store,
    worker: ScriptedWorker,
    client: duro.Client,
    clock: ManualClock,
    tmp_path: Path,
    rule: str,
    reason: str,
) -> None:
    """By a sweep, in a plan, and when it is carried out; and not against rules that are given by hand."""
    end_family(store, worker, "a")
    clock.advance(120_000)
    published(store, worker, tmp_path, NEVER_A_CHILD + rule)
    sweep(store)
    assert there(client) == {"a", "a.below"}
    (item,) = client.plan_purge().items
    assert item.verdict.reasons == (f"member:a.below:{reason}",)
    assert client.purge_instances().instances == 0
    planned = client.plan_purge()
    going = msgspec.structs.replace(item, verdict=Verdict(False, ("older-than:1m",)))
    applied = client.apply_removal(msgspec.structs.replace(planned, items=(going,)))
    assert [each.why for each in applied.skipped] == [f"it is kept now: member:a.below:{reason}"]
    assert client.purge_instances(NOW).instances == 2


def test_a_member_whose_name_has_no_override_follows_the_root(
    store: Store, worker: ScriptedWorker, client: duro.Client, clock: ManualClock, tmp_path: Path
) -> None:
    end_family(store, worker, "a")
    clock.advance(120_000)
    published(store, worker, tmp_path, '[purge]\nkeep_within = "1d"\n[purge.overrides."Order"]\nkeep_within = "1m"\n')
    sweep(store)
    assert there(client) == set()


# --- children that go with executions --------------------------------------------------------------------------

KEEP_ONE = '[pruning]\nchildren = "CHILDREN"\n[pruning.default]\nkeep_last = 1\ninterval = "1s"\n'


def go_on_without(store: Store, worker: ScriptedWorker, parent: str, child: str) -> None:
    """An Order in its second execution, which left a Child that has ended."""
    store.start_instances([start_request(parent)])
    worker.run(worker.take(parent), child_scheduled(child, "Child"))
    worker.run(worker.take(child), completed())
    worker.run(worker.take(parent), child_completed(2), continued_as_new())
    worker.run(worker.take(parent), wait_started("go"), waits=["go"])


def test_a_sweep_takes_settled_children_along_and_counts_them(
    store: Store, worker: ScriptedWorker, client: duro.Client, clock: ManualClock, tmp_path: Path
) -> None:
    go_on_without(store, worker, "p", "c")
    published(store, worker, tmp_path, KEEP_ONE.replace("CHILDREN", "settled"))
    clock.advance(2_000)
    counts = sweep(store).snapshot()
    assert there(client) == {"p"}
    counted = counts["Child", "settled"]
    assert (counted.instances, counted.executions, counted.events) == (1, 1, 2)
    assert counted.bytes > 0


def test_children_stay_unless_all_workers_say_otherwise(
    store: Store, worker: ScriptedWorker, client: duro.Client, clock: ManualClock, tmp_path: Path
) -> None:
    go_on_without(store, worker, "p", "c")
    published(store, worker, tmp_path, KEEP_ONE.replace("CHILDREN", "settled"))
    published(store, ScriptedWorker(store, "w2", lease_ms=10**9), tmp_path, KEEP_ONE.replace("CHILDREN", "keep"))
    clock.advance(2_000)
    sweep(store)
    assert len(client.list_executions("p").executions) == 1
    assert there(client) == {"p", "c"}


def test_a_prune_by_hand_says_how_many_settled_children_went_with_what_it_reclaimed(
    store: Store, worker: ScriptedWorker, client: duro.Client, tmp_path: Path
) -> None:
    for number in range(3):
        go_on_without(store, worker, f"p{number}", f"c{number}")
    published(store, worker, tmp_path, KEEP_ONE.replace("CHILDREN", "settled"))
    assert client.prune_executions("p0", 1).children_removed == 0
    assert client.prune_executions("p1", 1, grace_s=0).children_removed == 1
    assert client.apply_plan(client.plan_prune(1), grace_s=0).children_removed == 1
    assert there(client) == {"p0", "p1", "p2", "c0"}


# --- what changes on the way -----------------------------------------------------------------------------------

KEEP_THE_LAST = "[pruning]\ndefault_keep_last = KEPT\n[purge]\nkeep_last = KEPT\n"


@pytest.mark.parametrize("what", ["prune", "purge"])
@pytest.mark.parametrize("when", ["before", "between two batches"])
def test_a_plan_of_policies_that_have_changed_is_stale(
    store: Store, worker: ScriptedWorker, client: duro.Client, tmp_path: Path, what: str, when: str
) -> None:
    """Also when it happens meanwhile: the store compares the revision in the transaction that marks."""
    if what == "prune":
        loop(store, worker, "a", 450)
    else:
        end(store, worker, *(f"o{number:04}" for number in range(2 * REMOVAL_INSTANCES_MAX)))
    published(store, worker, tmp_path, KEEP_THE_LAST.replace("KEPT", "1"))

    def change(_progress: object = None) -> bool:
        published(store, worker, tmp_path, KEEP_THE_LAST.replace("KEPT", "300"))
        return True

    pruning, removal = client.plan_prune(), client.plan_purge()
    hook = None if when == "before" else change
    if when == "before":
        change()
    apply = partial(client.apply_plan, pruning) if what == "prune" else partial(client.apply_removal, removal)
    with pytest.raises(duro.StalePlanError, match="has changed since the plan was made"):
        apply(progress=hook)
    left = len(client.list_executions("a", limit=0).executions if what == "prune" else there(client))
    whole = 450 if what == "prune" else 2 * REMOVAL_INSTANCES_MAX
    assert left == whole if when == "before" else 1 < left < whole


@pytest.mark.parametrize("what", ["prune", "purge"])
@pytest.mark.parametrize("kept", [1, 300])
def test_a_run_by_configured_rules_follows_what_is_said_while_it_runs(
    store: Store, worker: ScriptedWorker, client: duro.Client, tmp_path: Path, what: str, kept: int
) -> None:
    """What was said when it began is not what the later batches go by: in that, other workers may keep more."""
    if what == "prune":
        loop(store, worker, "a", 450)
        loop(store, worker, "b", 3)
    else:
        end(store, worker, *(f"o{number:04}" for number in range(REMOVAL_INSTANCES_MAX + 30)))
    published(store, worker, tmp_path, KEEP_THE_LAST.replace("KEPT", "2"))
    done: list[int] = []

    def change(progress: pruning.PruneProgress) -> bool:
        done.append(progress.executions)
        if len(done) == 1:
            published(store, worker, tmp_path, KEEP_THE_LAST.replace("KEPT", str(kept)))
        return True

    if what == "prune":
        result = client.prune_executions_bulk(progress=change)
        assert result.instances_processed == 2
        left = [len(client.list_executions(each, limit=0).executions) for each in ("a", "b")]
        assert left == ([1, 1] if kept == 1 else [450 - done[0], 3])
    else:
        client.purge_instances(progress=change)
        assert len(there(client)) == (1 if kept == 1 else 30)


def test_an_instance_that_is_given_a_policy_while_a_prune_runs_keeps_what_that_says(
    store: Store, worker: ScriptedWorker, client: duro.Client, tmp_path: Path
) -> None:
    for each in ("a", "b"):
        loop(store, worker, each, 250)
    published(store, worker, tmp_path, KEEP_THE_LAST.replace("KEPT", "2"))
    done: list[int] = []

    def change(progress: pruning.PruneProgress) -> bool:
        done.append(progress.executions)
        if len(done) == 1:
            client.set_instance_policy("a", 30)
            client.set_instance_policy("b", "never")
        return True

    client.prune_executions_bulk(progress=change)
    assert [len(client.list_executions(each, limit=0).executions) for each in ("a", "b")] == [30, 250]
    assert done[0] < 250 - 30


@pytest.mark.parametrize("what", ["prune", "purge", "clean-up"])
def test_a_run_puts_into_the_archive_what_it_removes_after_that_was_switched_on(
    store: Store, worker: ScriptedWorker, client: duro.Client, tmp_path: Path, what: str
) -> None:
    """Whatever rules it was given."""
    many = REMOVAL_INSTANCES_MAX + 10
    if what == "clean-up":
        store.start_instances([start_request("p")])
        spawned = [child_scheduled(f"c{number}") for number in range(many)]
        worker.run(worker.take("p"), *spawned, continued_as_new(), keep_lease=True)
        for leased in worker.lease().instances:
            worker.run(leased, completed())
    elif what == "prune":
        loop(store, worker, "a", 250)
    else:
        end(store, worker, *(f"o{number:04}" for number in range(many)))
    done: list[int] = []

    def change(progress: pruning.PruneProgress) -> bool:
        if not done:
            done.append(progress.executions)
            place = tmp_path / "archive"
            published(store, worker, tmp_path, f"[archive]\nenabled = true\ndirectory = {str(place)!r}\n")
        return True

    result: duro.PruneResult | duro.RemovalResult
    if what == "prune":
        result = client.prune_executions_bulk(1, progress=change)
    elif what == "purge":
        result = client.purge_instances(NOW, progress=change)
    else:
        result = client.cleanup_orphaned_instances(min_age=0, progress=change)
    assert result.archived is not None
    removed = result.executions_deleted if isinstance(result, duro.PruneResult) else result.executions
    assert 0 < result.archived.histories == removed - done[0]


@pytest.mark.parametrize("way", ["rules", "plan", "sweep"])
def test_a_purge_of_many_batches_keeps_the_newest_there_were_when_it_began(
    store: Store, worker: ScriptedWorker, client: duro.Client, tmp_path: Path, clock: ManualClock, way: str
) -> None:
    """The newest two of Child go early, with the oldest root; the older ones go as the plan shows all the same."""
    store.start_instances([start_request("o")])
    first = worker.take("o")
    worker.release(first)
    end(store, worker, *(f"p{number:02}" for number in range(REMOVAL_INSTANCES_MAX + 30)))
    end(store, worker, "c1", "c2", "c3", name="Child")
    worker.run(worker.take("o"), child_scheduled("o.1", "Child"), child_scheduled("o.2", "Child"))
    for leased in worker.lease().instances:
        worker.run(leased, completed())
    worker.run(worker.take("o"), child_completed(2), child_completed(3), completed())
    end(store, worker, "n1", "n2")
    published(store, worker, tmp_path, KEEP_THE_LAST.replace("KEPT", "2"))
    plan = client.plan_purge()
    assert plan.totals.instances_removed == REMOVAL_INSTANCES_MAX + 30 + 6
    if way == "plan":
        assert client.apply_removal(plan).skipped == ()
    elif way == "rules":
        client.purge_instances(duro.PurgeOptions(keep_last=2))
    else:
        sweep(store)
    assert there(client) == {"n1", "n2"}


def test_a_prune_by_rules_names_what_only_a_hold_keeps(
    store: Store, worker: ScriptedWorker, client: duro.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop(store, worker, "a", 9)
    for execution_id in (2, 5, 8):
        client.add_hold("a", execution_id, reason="kept")
    holds = {each.target.execution_id: each.hold_id for each in client.list_holds()}
    done = client.prune_executions("a", 3)
    assert (done.executions_deleted, done.skipped_more) == (4, 0)
    assert [(each.instance_id, each.execution_id, each.why) for each in done.skipped] == [
        ("a", number, f"nothing but a hold keeps it: held:{holds[number]}") for number in (2, 5)
    ], "the newest three are kept by the rule"
    monkeypatch.setattr(pruning, "SKIPPED_HELD_MAX", 1)
    again = client.prune_executions_bulk(1)
    assert [each.execution_id for each in again.skipped] == [2]
    assert again.skipped_more == 2


def test_a_stale_plan_is_refused_also_if_nothing_of_it_would_go(
    store: Store, worker: ScriptedWorker, client: duro.Client, tmp_path: Path
) -> None:
    end(store, worker, "o")
    published(store, worker, tmp_path, KEEP_THE_LAST.replace("KEPT", "2"))
    pruning, removal = client.plan_prune(), client.plan_purge()
    published(store, worker, tmp_path, KEEP_THE_LAST.replace("KEPT", "1"))
    for apply in (partial(client.apply_plan, pruning), partial(client.apply_removal, removal)):
        with pytest.raises(duro.StalePlanError, match="has changed since the plan was made"):
            apply()


def test_the_backlog_that_turns_leave_waits_for_the_longest_pause_that_a_worker_was_told(
    store: Store, worker: ScriptedWorker, clock: ManualClock, tmp_path: Path
) -> None:
    """Several versions of Order were first seen when the worker came."""
    loops = Loops(store)
    worker.register()  # so that it stays for longer than the worker of the loops, which has its id
    loops.start("a")
    loops.go_on(100)
    loops.go_on(policies=automatic(1))
    assert len(loops.live("a")) > 1, "a turn looks at the oldest 64"
    rollout = '[pruning]\ndefault_keep_last = 1\n[pruning.rollout]\ncap = "9d"\npause = "PAUSE"\n'
    published(store, worker, tmp_path, rollout.replace("PAUSE", "1h"))
    second = ScriptedWorker(store, "w2", lease_ms=10**9)
    published(store, second, tmp_path, rollout.replace("PAUSE", "2h"))
    for _ in range(3):
        before = loops.live("a")
        assert len(before) > 1
        sweep(store)
        assert loops.live("a") == before
        clock.advance(HOUR_MS * 2 // 3)
    sweep(store)
    assert len(loops.live("a")) == 1


def test_who_spawned_whom_ends_where_an_id_is_used_again(
    store: Store, worker: ScriptedWorker, client: duro.Client
) -> None:
    """The parent that ``g`` knows is gone; who has its id now is somebody else's child."""
    store.start_instances([start_request("p")])
    worker.run(worker.take("p"), child_scheduled("c", "Child"))
    worker.run(worker.take("c"), detached_scheduled("g"), completed())
    for leased in worker.lease().instances:
        if leased.instance_id == "g":
            worker.run(leased, wait_started("go"), waits=["go"])
        else:
            worker.run(leased, child_completed(2), wait_started("go"), waits=["go"])
    assert [each.instance_id for each in client.get_lineage("g").ancestors] == ["c"]
    assert client.purge_instances(NOW, scope=duro.PruneScope(instance_ids=("c",))).instances == 1
    leave(store, worker, "q", "c")
    assert client.get_lineage("g").ancestors == ()


# --- of which nobody can tell ------------------------------------------------------------------------------------


class Evidence:
    """How the spawner of a child of ``store`` ended, as it is recorded, to be lost and found again."""

    def __init__(self, store: Store, path: Path, child: int) -> None:
        self._store, self._path, self._child = store, path, child

    def record(self, end: ExecutionStatus | None) -> None:
        if isinstance(self._store, MemoryStore):
            lineage = self._store._instances[self._child].lineage
            assert lineage is not None
            lineage.spawner_end = end
            return
        with closing(apsw.Connection(str(self._path))) as connection:
            values = (None if end is None else end.value, self._child)
            connection.execute("UPDATE lineage SET spawner_end = ? WHERE child_incarnation = ?", values)


def close_over(store: Store, worker: ScriptedWorker, parent: str, child: str) -> int:
    """``child`` has ended, and ``parent`` after it, without a look at it; the child's incarnation."""
    store.start_instances([start_request(parent)])
    leased = worker.take(parent)
    kept = next_lease(leased, worker.run(leased, child_scheduled(child, "Child"), keep_lease=True))
    ended = worker.take(child)
    worker.run(ended, completed())
    worker.run(kept, completed())
    return ended.incarnation


def test_a_child_of_which_nobody_can_tell_protects_the_family_that_has_it_from_a_purge(
    store: Store, worker: ScriptedWorker, client: duro.Client, tmp_path: Path
) -> None:
    evidence = Evidence(store, tmp_path / "duro.db", close_over(store, worker, "p", "c"))
    evidence.record(None)
    (item,) = client.plan_purge(NOW).items
    assert (item.instance_id, item.verdict.keep, item.verdict.reasons) == ("p", True, ("unknown:c",))
    assert client.purge_instances(NOW).instances == 0
    assert there(client) == {"p", "c"}
    evidence.record(ExecutionStatus.COMPLETED)
    assert client.purge_instances(NOW).instances == 2


def test_a_child_of_which_nobody_can_tell_protects_the_orphan_above_it(
    store: Store, worker: ScriptedWorker, client: duro.Client, tmp_path: Path
) -> None:
    leave(store, worker, "p", "o")
    store.raise_event("o", "go", "null", "r")
    leased = worker.take("o")
    kept = next_lease(leased, worker.run(leased, child_scheduled("c", "Child"), keep_lease=True))
    ended = worker.take("c")
    worker.run(ended, completed())
    worker.run(kept, completed())
    evidence = Evidence(store, tmp_path / "duro.db", ended.incarnation)
    evidence.record(None)
    plan = client.plan_orphan_cleanup(min_age=0)
    reasons = {item.instance_id: item.verdict.reasons for item in plan.items if item.verdict.keep}
    assert reasons == {"o": ("unknown:c",)}
    assert client.cleanup_orphaned_instances(min_age=0).instances == 0
    assert there(client) == {"p", "o", "c"}
    evidence.record(ExecutionStatus.COMPLETED)
    assert client.cleanup_orphaned_instances(min_age=0).instances == 2


def one_that_p_waits_for(store: Store, worker: ScriptedWorker) -> None:
    """``needed``, which has ended; beside ``other``, which has, too."""
    end(store, worker, "other")
    store.start_instances([start_request("p")])
    worker.run(worker.take("p"), child_scheduled("needed", "Child"))
    worker.run(worker.take("needed"), completed())


def test_a_child_whose_parent_has_another_id_than_it_says_goes_with_nobody(tmp_path: Path, clock: ManualClock) -> None:
    """Whether it is that parent that waits for it, or the one that is called so, nobody can tell."""
    with closing(open_sqlite(tmp_path / "duro.db", clock)) as store:
        worker, client = ScriptedWorker(store, lease_ms=10**9), duro.Client(store)
        one_that_p_waits_for(store, worker)
        with closing(apsw.Connection(str(tmp_path / "duro.db"))) as connection:
            connection.execute(
                "UPDATE lineage SET parent_incarnation = 1, spawner_ended_at_ms = 5, spawner_end = 'completed'"
            )
        assert client.plan_purge(NOW).items[0].verdict.reasons == ("unknown:needed",)
        for done in (client.purge_instances(NOW), client.cleanup_orphaned_instances(min_age=0)):
            assert done.instances == 0
        assert there(client) == {"other", "p", "needed"}
        place = client.get_lineage("needed").place
        assert place is not None
        assert (place.standing, place.why) == (
            Standing.UNKNOWN,
            "what is recorded of it makes no sense (parent_instance_id: p)",
        )


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE instances SET execution_id = 3 WHERE instance_id = 'p'",
        "UPDATE instances SET status = 'completed' WHERE instance_id = 'p'",
        "UPDATE lineage SET parent_incarnation = 1",
    ],
)
def test_a_child_whose_spawning_execution_runs_as_its_own_row_says_is_not_adopted(
    statement: str, tmp_path: Path, clock: ManualClock
) -> None:
    with closing(open_sqlite(tmp_path / "duro.db", clock)) as store:
        worker, client = ScriptedWorker(store, lease_ms=10**9), duro.Client(store)
        one_that_p_waits_for(store, worker)
        with closing(apsw.Connection(str(tmp_path / "duro.db"))) as connection:
            connection.execute("PRAGMA ignore_check_constraints = 1")
            connection.execute(statement)
        before = store.dump()
        with pytest.raises(duro.NotAnOrphanError, match="the parent of instance 'needed' runs, and may wait for it"):
            client.adopt_instance("needed", reason="the doctor says so")
        assert store.dump() == before


# --- orphans that run ------------------------------------------------------------------------------------------

HOUR_MS = 3_600_000


def leave(store: Store, worker: ScriptedWorker, parent: str, child: str) -> None:
    """``child`` waits, and its parent has continued as new without it."""
    store.start_instances([start_request(parent)])
    leased = worker.take(parent)
    kept = next_lease(leased, worker.run(leased, child_scheduled(child, "Child"), keep_lease=True))
    worker.run(worker.take(child), wait_started("go"), waits=["go"])
    worker.run(kept, continued_as_new())
    worker.run(worker.take(parent), wait_started("go"), waits=["go"])


def cancel_reason(store: Store, instance_id: str) -> str | None:
    record = store.get_instance(instance_id)
    assert record is not None
    return record.cancel_reason


def test_only_orphans_of_the_age_that_is_asked_for_are_asked_to_end(
    store: Store, worker: ScriptedWorker, client: duro.Client, clock: ManualClock
) -> None:
    leave(store, worker, "p", "c")
    clock.advance(HOUR_MS - 1)
    assert client.cleanup_orphaned_instances(cancel_running=True, min_age=3_600).cancelled == ()
    assert client.plan_orphan_cleanup(min_age=3_600).running_orphans == ()
    assert cancel_reason(store, "c") is None
    clock.advance(1)
    assert client.plan_orphan_cleanup(min_age=3_600).running_orphans == ("c",)
    assert client.cleanup_orphaned_instances(cancel_running=True, min_age=3_600).cancelled == ("c",)
    assert cancel_reason(store, "c") is not None


def test_an_orphan_that_is_held_is_neither_planned_nor_asked_to_end(
    store: Store, worker: ScriptedWorker, client: duro.Client, clock: ManualClock
) -> None:
    leave(store, worker, "p", "c")
    clock.advance(HOUR_MS)
    planned = client.plan_orphan_cleanup(min_age=0)
    assert planned.running_orphans == ("c",)
    held_by = client.add_hold("c", reason="to see why").hold_id
    held = client.plan_orphan_cleanup(min_age=0)
    assert held.running_orphans == ()
    assert f"held:{held_by}" in held.items[0].verdict.reasons
    assert client.cleanup_orphaned_instances(cancel_running=True, min_age=0).cancelled == ()
    assert client.apply_removal(planned, cancel_running=True).cancelled == (), "held since it was planned"
    assert cancel_reason(store, "c") is None
    client.remove_hold(held_by)
    assert client.cleanup_orphaned_instances(cancel_running=True, min_age=0).cancelled == ("c",)


def test_a_plan_asks_the_life_to_end_that_it_shows_and_no_other(
    store: Store, worker: ScriptedWorker, client: duro.Client, clock: ManualClock
) -> None:
    """The one that was planned has ended and is gone; its id is an orphan again, and younger than was asked for."""
    leave(store, worker, "p", "c")
    clock.advance(HOUR_MS)
    plan = client.plan_orphan_cleanup(min_age=3_600)
    assert [each.instance_id for each in plan.running] == ["c"]
    client.terminate("c", "over")
    assert client.cleanup_orphaned_instances(min_age=0, grace_s=0).instances == 1
    leave(store, worker, "q", "c")
    assert client.apply_removal(plan, cancel_running=True).cancelled == ()
    clock.advance(HOUR_MS)
    assert client.apply_removal(plan, cancel_running=True).cancelled == (), "old enough, but another life"
    assert cancel_reason(store, "c") is None
    again = client.plan_orphan_cleanup(min_age=3_600)
    assert client.apply_removal(again, cancel_running=True).cancelled == ("c",)


@pytest.mark.parametrize("what", ["adopted", "ended", "gone"])
def test_at_the_second_look_what_is_no_running_orphan_any_more_is_left_alone(
    store: Store, worker: ScriptedWorker, client: duro.Client, what: str
) -> None:
    leave(store, worker, "p", "c")
    plan = client.plan_orphan_cleanup(min_age=0)
    if what == "adopted":
        client.adopt_instance("c", reason="it is needed")
    else:
        client.terminate("c", "over")
    if what == "gone":
        client.cleanup_orphaned_instances(min_age=0)
    before = store.dump()
    assert client.apply_removal(plan, cancel_running=True).cancelled == ()
    assert store.dump() == before


def test_at_the_second_look_a_child_that_may_be_observed_is_left_alone(store: Store, worker: ScriptedWorker) -> None:
    store.start_instances([start_request("p")])
    leased = worker.take("p")
    worker.run(leased, child_scheduled("c", "Child"), keep_lease=True)
    worker.run(worker.take("c"), wait_started("go"), waits=["go"])
    child = store.get_child("c")
    assert child is not None
    assert not families.cancel(store, "c", child.incarnation, OrphanRules())
    assert cancel_reason(store, "c") is None


def test_a_plan_that_does_not_say_which_lives_it_means_asks_nobody_to_end(
    store: Store, worker: ScriptedWorker, client: duro.Client
) -> None:
    """As duro wrote them once. What has ended goes by such a plan as always."""
    leave(store, worker, "p", "c")
    written = msgspec.to_builtins(client.plan_orphan_cleanup(min_age=0))
    del written["running"], written["orphan_rules"]
    old = msgspec.convert(written, duro.RemovalPlan)
    with pytest.raises(duro.StalePlanError, match="an older duro made it"):
        client.apply_removal(old, cancel_running=True)
    assert cancel_reason(store, "c") is None
    assert client.apply_removal(old).cancelled == ()


# --- what a plan shows and is there no more ----------------------------------------------------------------------


def loop(store: Store, worker: ScriptedWorker, instance_id: str, executions: int) -> None:
    """An Order whose last execution waits."""
    store.start_instances([start_request(instance_id)])
    for _ in range(executions - 1):
        worker.run(worker.take(instance_id), continued_as_new())
    worker.run(worker.take(instance_id), wait_started("go"), waits=["go"])


def test_an_apply_names_the_instances_that_are_gone_and_does_not_count_them(
    store: Store, worker: ScriptedWorker, client: duro.Client
) -> None:
    for each in ("a", "b"):
        loop(store, worker, each, 3)
    plan = client.plan_prune(1)
    client.terminate("a", "over")
    client.purge_instances(NOW, scope=duro.PruneScope(instance_ids=("a",)))
    done = client.apply_plan(plan)
    assert [(each.instance_id, each.execution_id, each.why) for each in done.skipped] == [
        ("a", 1, "its instance is gone"),
        ("a", 2, "its instance is gone"),
    ]
    assert (done.instances_processed, done.executions_deleted) == (1, 2)


def test_an_apply_counts_the_instances_that_it_took_something_from_as_the_ledger_does(
    store: Store, worker: ScriptedWorker, client: duro.Client
) -> None:
    for each, executions in (("a", 450), ("b", 3), ("c", 3), ("d", 1)):
        loop(store, worker, each, executions)
    plan = client.plan_prune(1)
    client.prune_executions("b", 1)
    client.add_hold("c", reason="incident 42")
    done = client.apply_plan(plan)
    assert (done.instances_processed, done.instances_pruned, done.executions_deleted) == (3, 1, 449)
    assert client.list_prune_runs(limit=1)[0].instances == 1
    nothing = client.apply_plan(plan)
    assert (nothing.instances_pruned, nothing.executions_deleted) == (0, 0)


def test_a_plan_whose_ids_were_edited_takes_nothing_of_the_lives_it_then_names(
    store: Store, worker: ScriptedWorker, client: duro.Client
) -> None:
    for each in ("a", "b"):
        loop(store, worker, each, 3)
    pruning = client.plan_prune(1, scope=duro.PruneScope(instance_ids=("a",)))
    edited = tuple(msgspec.structs.replace(each, instance_id="b") for each in pruning.instances)
    client.terminate("b", "over")
    purging = client.plan_purge(NOW, scope=duro.PruneScope(instance_ids=("b",)))
    items = tuple(msgspec.structs.replace(each, instance_id="a") for each in purging.items)
    before = store.dump()
    pruned = client.apply_plan(msgspec.structs.replace(pruning, instances=edited))
    assert (pruned.executions_deleted, {each.why for each in pruned.skipped}) == (0, {"its instance is gone"})
    removed = client.apply_removal(msgspec.structs.replace(purging, items=items))
    assert (removed.instances, [(each.instance_id, each.why) for each in removed.skipped]) == (
        0,
        [("a", "it is gone already")],
    )
    assert store.dump() == before
    assert client.apply_plan(pruning).executions_deleted == 2
    assert client.apply_removal(purging).instances == 1


# --- what is left when somebody says stop ------------------------------------------------------------------------


def stop(_progress: object) -> bool:
    return False


def test_what_remains_of_a_plan_is_what_it_shows_and_nobody_looked_at(
    store: Store, worker: ScriptedWorker, client: duro.Client
) -> None:
    for number, executions in enumerate((450, 301, 11)):
        loop(store, worker, f"loop-{number}", executions)
    plan = client.plan_prune(1)
    assert plan.totals.executions_removed == 449 + 300 + 10
    done = client.apply_plan(plan, progress=stop)
    assert 0 < done.executions_deleted < 449
    assert done.remaining == 759 - done.executions_deleted
    assert done.instances_processed == 1, "it was not pruned to its end, and pruned"
    assert done.instances_pruned == 1
    again = client.apply_plan(client.plan_prune(1))
    assert (again.executions_deleted, again.remaining) == (done.remaining, 0)


def test_what_remains_of_a_prune_by_rules_are_instances(
    store: Store, worker: ScriptedWorker, client: duro.Client
) -> None:
    for number, executions in enumerate((301, 11, 11)):
        loop(store, worker, f"loop-{number}", executions)
    assert client.prune_executions_bulk(1, progress=stop).remaining == 3, "the first was not looked at to its end"
    assert client.prune_executions_bulk(1).remaining == 0


def test_what_remains_of_a_purge_or_a_cleanup_are_families_and_nobody_is_asked_to_end_after_the_stop(
    store: Store, worker: ScriptedWorker, client: duro.Client
) -> None:
    number = REMOVAL_INSTANCES_MAX + 7
    end(store, worker, *(f"o{each:04}" for each in range(number)))
    plan = client.plan_purge(NOW)
    assert client.apply_removal(plan, progress=stop).remaining == 7
    leave(store, worker, "p", "c")
    assert client.purge_instances(NOW, progress=stop).remaining == 0
    store.start_instances([start_request("q")])
    leased = worker.take("q")
    spawned = [child_scheduled(f"d{each}", "Child") for each in range(number)]
    kept = next_lease(leased, worker.run(leased, *spawned, keep_lease=True))
    worker.commit(*(turn(each, completed(), at_ms=store.now_ms()) for each in worker.lease().instances))
    worker.run(kept, continued_as_new())
    worker.run(worker.take("q"), wait_started("go"), waits=["go"])
    leave(store, worker, "r", "late")
    done = client.cleanup_orphaned_instances(min_age=0, cancel_running=True, progress=stop)
    assert (done.cancelled, done.instances, done.remaining) == (("c",), REMOVAL_INSTANCES_MAX, 7)
    assert cancel_reason(store, "late") is None


def test_nothing_is_missed_and_nothing_is_taken_twice_however_small_the_pages(
    store: Store, worker: ScriptedWorker, client: duro.Client, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        loop(store, worker, f"loop-{number}", 4)
        end_family(store, worker, f"order-{number}")
        leave(store, worker, f"left-{number}", f"orphan-{number}")
        client.terminate(f"orphan-{number}")
    clock.advance(10_000)

    def seen() -> tuple[object, ...]:
        orphans: list[str] = []
        cursor = None
        while True:
            page = client.list_orphaned_instances(duro.OrphanFilter(limit=2), cursor=cursor)
            orphans += [orphan.child.instance_id for orphan in page.orphans]
            cursor = page.next
            if cursor is None:
                break
        pruned = client.plan_prune(1)
        purged = client.plan_purge(NOW)
        cleaned = client.plan_orphan_cleanup(duro.OrphanFilter(), min_age=0)
        return orphans, pruned.instances, pruned.totals, purged.items, cleaned.items

    at_once = seen()
    assert at_once[0] == ["orphan-0", "orphan-1", "orphan-2"]
    for name in ("_CHILDREN_A_READ", "_FAMILIES_A_READ", "_INSTANCES_A_PAGE"):
        monkeypatch.setattr(families, name, 1)
    monkeypatch.setattr(pruning, "INSTANCES_A_PAGE", 1)
    monkeypatch.setattr(pruning, "EXECUTIONS_A_READ", 1)
    assert seen() == at_once
    assert client.cleanup_orphaned_instances(min_age=0, grace_s=0).instances == 3
    assert client.purge_instances(NOW, grace_s=0).instances == 6
    assert client.prune_executions_bulk(1, grace_s=0).executions_deleted == 12
    with pytest.raises(duro.UsageError, match="is not a cursor of this listing"):
        client.list_orphaned_instances(cursor="x:1")


# --- what is refused -------------------------------------------------------------------------------------------


def test_of_an_instance_that_is_not_there_nobody_knows_who_spawned_it(
    store: Store, worker: ScriptedWorker, client: duro.Client, clock: ManualClock
) -> None:
    with pytest.raises(duro.InstanceNotFoundError, match="there is no instance 'nobody'"):
        client.get_lineage("nobody")
    end(store, worker, "o")
    clock.advance(10_000)
    client.purge_instances(NOW, grace_s=60)
    with pytest.raises(duro.InstanceRemovedError):
        client.get_lineage("o")


def test_orphans_are_listed_by_name_and_kind_and_those_of_unknown_standing_are_never_cleaned_up(
    store: Store, worker: ScriptedWorker, client: duro.Client
) -> None:
    leave(store, worker, "p", "c")
    for where, found in (
        (duro.OrphanFilter(name="Chi*"), ["c"]),
        (duro.OrphanFilter(name="Other*"), []),
        (duro.OrphanFilter(kinds=(duro.OrphanKind.PARENT_CONTINUED,)), ["c"]),
        (duro.OrphanFilter(kinds=(duro.OrphanKind.PARENT_CLOSED,)), []),
        (duro.OrphanFilter(kinds=(duro.OrphanKind.UNKNOWN,)), []),
    ):
        assert [each.child.instance_id for each in client.list_orphaned_instances(where).orphans] == found, where
    with pytest.raises(duro.UsageError, match="of what nobody can tell nothing is removed"):
        client.plan_orphan_cleanup(duro.OrphanFilter(kinds=(duro.OrphanKind.UNKNOWN,)))


def test_a_purge_without_rules_where_nobody_has_said_any_is_refused(
    store: Store, worker: ScriptedWorker, client: duro.Client
) -> None:
    end(store, worker, "o")
    for call in (client.plan_purge, client.purge_instances):
        with pytest.raises(duro.PolicyUnknownError, match="no rules were given"):
            call()
    assert there(client) == {"o"}


def test_a_plan_of_another_store_is_stale(store: Store, worker: ScriptedWorker, client: duro.Client) -> None:
    loop(store, worker, "a", 3)
    end(store, worker, "o")
    pruned = msgspec.structs.replace(client.plan_prune(1), store_id="another")
    purged = msgspec.structs.replace(client.plan_purge(NOW), store_id="another")
    before = store.dump()
    for call in (partial(client.apply_plan, pruned), partial(client.apply_removal, purged)):
        with pytest.raises(duro.StalePlanError, match="the plan is of another store \\(another\\)"):
            call()
    assert store.dump() == before


@pytest.mark.parametrize("what", ["ended", "adopted", "another life"])
def test_what_becomes_of_an_orphan_in_the_moment_before_it_is_asked_to_end_counts(
    store: Store, worker: ScriptedWorker, client: duro.Client, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    leave(store, worker, "p", "c")
    ask = store.request_cancel

    def too_late(instance_id: str, *rest: Any, **fields: Any) -> object:
        monkeypatch.undo()
        if what == "adopted":
            client.adopt_instance(instance_id, reason="it is needed")
        else:
            client.terminate(instance_id)
        if what == "another life":
            client.purge_instances(duro.PurgeOptions(completed_before=10**14))
            store.start_instances([start_request("c", request_id="again")])
        return ask(instance_id, *rest, **fields)

    monkeypatch.setattr(store, "request_cancel", too_late)
    assert client.cleanup_orphaned_instances(cancel_running=True, min_age=0).cancelled == ()
    assert cancel_reason(store, "c") is None
    assert (client.get_instance("c").status is duro.InstanceStatus.TERMINATED) == (what == "ended")


def test_on_a_full_disk_a_prune_goes_on_in_small_batches_in_the_room_that_can_be_made(
    store: Store, worker: ScriptedWorker, client: duro.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop(store, worker, "a", 4)
    prune, sizes = store.prune, list[int]()

    def full_at_first(batch: PruneBatch, **how: bool) -> object:
        sizes.append(batch.executions_max)
        if len(sizes) == 1:
            raise StoreFullError("the disk is full")
        return prune(batch, **how)

    monkeypatch.setattr(store, "prune", full_at_first)
    monkeypatch.setattr(store, "make_room", lambda: True)
    assert client.prune_executions_bulk(1, grace_s=0).executions_deleted == 3
    assert sizes[1] < sizes[0]


@pytest.mark.parametrize("grace_s", [0, 60])
def test_an_instance_that_is_removed_while_it_is_read_is_told_of_as_removed(
    store: Store,
    worker: ScriptedWorker,
    client: duro.Client,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
    grace_s: float,
) -> None:
    """And not as one that never had this execution."""
    end(store, worker, "o")
    clock.advance(10_000)
    read = store.read_history

    def removed_before(*asked: Any) -> Any:
        client.purge_instances(NOW, grace_s=grace_s)
        return read(*asked)

    monkeypatch.setattr(store, "read_history", removed_before)
    with pytest.raises(duro.InstanceNotFoundError, match="instance 'o'"):
        client.read_history("o")
