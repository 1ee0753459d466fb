"""Children on a real runtime: the proposal's two scenarios and its table for every setting, the worst cases by name,
and sweeps that clean up and purge by themselves."""

import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import msgspec
import pytest

import duro
from duro.model.status import FINAL_INSTANCE_STATUSES
from duro.stores.base import Store
from duro.testing.invariants import check_invariants
from tests.integration.conftest import MakeRuntime

WAIT_S = 60.0
NOW = duro.PurgeOptions(completed_before=10**14)


def until(condition: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.005)


def make_registry() -> duro.Registry:
    registry = duro.Registry()

    @registry.orchestration(name="fast")
    async def fast(ctx: duro.OrchestrationContext) -> str:
        return "fast"

    @registry.orchestration(name="slow")
    async def slow(ctx: duro.OrchestrationContext) -> str:
        """Ends when it is told to; with a child of its own that it waits for."""
        below = ctx.schedule_sub_orchestration("waits", instance_id=f"{ctx.instance_id}.below")
        _, value = await ctx.select(below, ctx.wait_for_event("end"))
        return str(value)

    @registry.orchestration(name="waits")
    async def waits(ctx: duro.OrchestrationContext) -> str:
        await ctx.wait_for_event("end")
        return "waited"

    @registry.orchestration(name="breaks")
    async def breaks(ctx: duro.OrchestrationContext) -> None:
        """Fails when it is told to end, and when it is cancelled."""
        try:
            await ctx.wait_for_event("end")
        finally:
            raise ValueError("it broke")

    @registry.orchestration(name="races")
    async def races(ctx: duro.OrchestrationContext, first: bool) -> None:
        """Scenario 1: the loser of a select, in the turn that continues as new."""
        if first:
            winner = ctx.schedule_sub_orchestration("waits", instance_id=f"{ctx.instance_id}.winner")
            loser = ctx.schedule_sub_orchestration("slow", instance_id=f"{ctx.instance_id}.loser")
            await ctx.select(winner, loser)
            await ctx.continue_as_new(False)
        await ctx.wait_for_event("end")

    @registry.orchestration(name="races on")
    async def races_on(ctx: duro.OrchestrationContext, _: None) -> str:
        """A race in an execution that never ends, and somebody who asks after the loser once more."""
        winner = ctx.schedule_sub_orchestration("waits", instance_id=f"{ctx.instance_id}.winner")
        loser = ctx.schedule_sub_orchestration("slow", instance_id=f"{ctx.instance_id}.loser")
        await ctx.select(winner, loser)
        await ctx.wait_for_event("go")
        try:
            return str(await loser)
        except duro.FutureCancelledError:
            return "it was cancelled"

    @registry.orchestration(name="forgets")
    async def forgets(ctx: duro.OrchestrationContext, words: dict[str, Any]) -> None:
        """Scenario 2: a future that is never awaited."""
        if ctx.execution_id == 1:
            await ctx.schedule_sub_orchestration("fast", instance_id=f"{ctx.instance_id}.awaited")
            ctx.schedule_sub_orchestration("slow", instance_id=f"{ctx.instance_id}.forgotten", **words)
            await ctx.wait_for_event("go")
            await ctx.continue_as_new(words)
        await ctx.wait_for_event("end")

    @registry.orchestration(name="forgets what breaks")
    async def forgets_what_breaks(ctx: duro.OrchestrationContext, words: dict[str, Any]) -> int:
        if ctx.execution_id == 1:
            ctx.schedule_sub_orchestration("breaks", instance_id=f"{ctx.instance_id}.broken", **words)
            await ctx.wait_for_event("go")
            await ctx.continue_as_new(words)
        await ctx.wait_for_event("end")
        return ctx.execution_id

    return registry


def status(client: duro.Client, instance_id: str) -> str:
    return str(client.get_instance(instance_id).status)


def has_status(client: duro.Client, instance_id: str, among: Collection[str]) -> Callable[[], bool]:
    return lambda: status(client, instance_id) in among


def orphans(client: duro.Client, **fields: object) -> dict[str, tuple[str, str, bool]]:
    page = client.list_orphaned_instances(duro.OrphanFilter(**fields))  # type: ignore[arg-type]
    return {each.child.instance_id: (each.kind, each.child.status, each.spawner_pruned) for each in page.orphans}


def in_execution(client: duro.Client, instance_id: str, number: int) -> Callable[[], bool]:
    def reached() -> bool:
        record = client.get_instance(instance_id)
        return record.execution_id == number and record.status == "running"

    return reached


def has_begun(client: duro.Client, instance_id: str) -> bool:
    record = client.store.get_instance(instance_id)
    return record is not None and record.status == "running"


def forget(client: duro.Client, **words: str) -> None:
    """A parent that has continued as new without its child, which has begun."""
    client.start_orchestration("forgets", words, instance_id="p")
    until(lambda: client.store.get_instance("p.forgotten.below") is not None, "it never began")
    client.raise_event("p", "go")
    until(in_execution(client, "p", 2), "it never continued")


# --- the proposal's scenarios ------------------------------------------------------------------------------------


def test_the_loser_of_a_select_is_cancelled_with_all_below_it(make_runtime: MakeRuntime) -> None:
    client = make_runtime(make_registry()).client
    client.start_orchestration("races", True, instance_id="p")
    until(lambda: client.store.get_instance("p.loser.below") is not None, "the loser never began")
    client.raise_event("p.winner", "end")
    until(in_execution(client, "p", 2), "it never continued")
    for each in ("p.loser", "p.loser.below"):
        until(has_status(client, each, ["cancelled"]), f"{each} runs")
    below = ("parent-closed", "cancelled", False)
    assert orphans(client) == {"p.loser": ("parent-continued", "cancelled", False), "p.loser.below": below}
    client.prune_executions("p", 1, grace_s=0)
    assert orphans(client) == {"p.loser": ("parent-continued", "cancelled", True), "p.loser.below": below}
    assert client.cleanup_orphaned_instances(min_age=0, grace_s=0).instances == 2
    assert (orphans(client), client.store.dump()["removed_instances"]) == ({}, [])
    assert {child.instance_id for child in client.list_children("p")} == {"p.winner"}


def test_the_loser_of_a_select_may_be_purged_while_its_parent_runs_on(make_runtime: MakeRuntime) -> None:
    client = make_runtime(make_registry()).client
    client.start_orchestration("races on", instance_id="p")
    until(lambda: client.store.get_instance("p.loser.below") is not None, "the loser never began")
    client.raise_event("p.winner", "end")
    for each in ("p.loser", "p.loser.below"):
        until(has_status(client, each, ["cancelled"]), f"{each} runs")
    lineage = client.get_lineage("p.loser")
    assert lineage.place is not None
    assert lineage.place.standing == "given-up"
    assert "p.loser" not in orphans(client)
    purged = client.purge_instances(duro.PurgeOptions(completed_before=10**14), grace_s=0)
    assert (purged.instances, purged.families) == (3, 2)
    client.raise_event("p", "go")
    assert client.wait_for_orchestration("p", WAIT_S).output == "it was cancelled"


@pytest.mark.parametrize("word", ["abandon", "cancel", "terminate"])
@pytest.mark.parametrize("where", ["spawn", "settings"])
def test_a_future_that_is_never_awaited(
    make_runtime: MakeRuntime, options: duro.RuntimeOptions, store: Store, tmp_path: Path, word: str, where: str
) -> None:
    """For every setting: what becomes of it when its parent continues, that it is found, and how it ends."""
    registry = make_registry()
    words = {"on_parent_continue": word} if where == "spawn" else {}
    config = tmp_path / "runtime_config.toml"
    config.write_text("" if where == "spawn" else f'[orphans]\non_parent_continue = "{word}"\n')
    with duro.Runtime(store, registry, options, config=config) as runtime:
        client = runtime.client
        forget(client, **words)
        child = "p.forgotten"
        if word != "abandon":
            ends = "cancelled" if word == "cancel" else "terminated"
            until(lambda: status(client, child) == ends, "it runs")
        else:
            assert orphans(client) == {child: ("parent-continued", status(client, child), False)}
            client.prune_executions("p", 1, grace_s=0)
            assert orphans(client)[child][2], "its spawner is pruned"
            client.raise_event(child, "end", "on its own")
            assert client.wait_for_orchestration(child, WAIT_S).output == "on its own"
        until(lambda: status(client, f"{child}.below") in FINAL_INSTANCE_STATUSES, "what is below it runs")
        found = orphans(client)
        assert found[child][:2] == ("parent-continued", status(client, child))
        assert client.get_lineage(child).ancestors == ()
        done = client.cleanup_orphaned_instances(min_age=0, grace_s=0)
        assert (done.families, done.instances) == (1, 2)
        assert "p.awaited" in {each.instance_id for each in client.list_children("p")}
        client.raise_event("p", "end")
        assert client.wait_for_orchestration("p", WAIT_S).status == "completed"


@pytest.mark.parametrize("pruned", ["before it ended", "after it ended"])
@pytest.mark.parametrize(("word", "ends"), [("abandon", "failed"), ("cancel", "failed"), ("terminate", "terminated")])
@pytest.mark.parametrize("where", ["spawn", "settings"])
def test_a_failure_that_nobody_waits_for(
    options: duro.RuntimeOptions, store: Store, tmp_path: Path, where: str, word: str, ends: str, pruned: str
) -> None:
    """The last two rows of the proposal's table: by itself where it is left alone, in its clean-up where it is
    cancelled; only what is terminated has no chance to fail. Its parent, pruned or not, never learns of it."""
    words = {"on_parent_continue": word} if where == "spawn" else {}
    config = tmp_path / "runtime_config.toml"
    config.write_text("" if where == "spawn" else f'[orphans]\non_parent_continue = "{word}"\n')
    with duro.Runtime(store, make_registry(), options, config=config) as runtime:
        client, child = runtime.client, "p.broken"
        client.start_orchestration("forgets what breaks", words, instance_id="p")
        until(lambda: has_begun(client, child), "it never began")
        client.raise_event("p", "go")
        until(in_execution(client, "p", 2), "it never continued")
        if pruned == "before it ended":
            client.prune_executions("p", 1, grace_s=0)
        if word == "abandon":
            assert orphans(client) == {child: ("parent-continued", "running", pruned == "before it ended")}
            client.raise_event(child, "end")
        until(has_status(client, child, FINAL_INSTANCE_STATUSES), "it runs")
        assert orphans(client) == {child: ("parent-continued", ends, pruned == "before it ended")}
        client.prune_executions("p", 1, grace_s=0)
        assert orphans(client) == {child: ("parent-continued", ends, True)}
        lineage = client.get_lineage(child).child
        assert lineage is not None
        assert (lineage.completion, lineage.observed_at_ms) == ("ignored", None)
        done = client.cleanup_orphaned_instances(
            duro.OrphanFilter(child_status=(duro.InstanceStatus(ends),)), min_age=0, grace_s=0
        )
        assert (done.families, done.instances) == (1, 1)
        assert client.list_children("p") == ()
        client.raise_event("p", "end")
        assert client.wait_for_orchestration("p", WAIT_S).output == 2


@pytest.mark.parametrize("word", ["abandon", "cancel", "terminate"])
def test_what_a_parent_leaves_when_it_ends(make_runtime: MakeRuntime, word: str) -> None:
    client = make_runtime(make_registry()).client
    forget(client, on_parent_end=word)
    client.raise_event("p", "end")
    client.wait_for_orchestration("p", WAIT_S)
    child = "p.forgotten"
    if word == "abandon":
        assert status(client, child) not in FINAL_INSTANCE_STATUSES
        plan = client.plan_purge(NOW, scope=duro.PruneScope(instance_ids=("p",)))
        assert [item.verdict.reasons for item in plan.items] == [(f"running:{child}",)], "it protects its parent"
        done = client.cleanup_orphaned_instances(cancel_running=True, min_age=0)
        assert done.cancelled == (child,)
    for each in (child, f"{child}.below"):
        until(has_status(client, each, FINAL_INSTANCE_STATUSES), f"{each} runs")
    assert client.purge_instances(NOW, grace_s=0).instances == 4
    assert client.list_instances().instances == ()


# --- the worst cases -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("killed", [False, True], ids=["stopped", "killed"])
def test_what_continued_as_new_is_not_finished_while_its_successor_is_queued(
    make_runtime: MakeRuntime, store: Store, killed: bool
) -> None:
    """A worker ended between continue-as-new and the next turn; then everything old is purged and cleaned up. One that
    was killed has its lease still, and never says another word."""
    registry = duro.Registry()

    @registry.orchestration(name="loop")
    async def loop(ctx: duro.OrchestrationContext, left: int) -> str:
        if left:
            await ctx.continue_as_new(left - 1)
        return "there"

    from duro.testing.builders import continued_as_new, start_request
    from duro.testing.scripted import ScriptedWorker

    worker = ScriptedWorker(store, orchestrations=[("loop", ""), ("loop", "1.0.0")], lease_ms=200)
    store.start_instances([start_request("eternal", "loop", input="3")])
    worker.run(worker.take("eternal"), continued_as_new("0"), keep_lease=killed)
    if not killed:
        store.release_worker(worker.worker_id)
    client = duro.Client(store)
    assert client.purge_instances(NOW, grace_s=0).instances == 0
    assert client.cleanup_orphaned_instances(min_age=0, grace_s=0).instances == 0
    assert client.prune_executions_bulk(1, grace_s=0).executions_deleted == 1
    assert client.get_instance("eternal").execution_id == 2
    assert make_runtime(registry).client.wait_for_orchestration("eternal", WAIT_S).output == "there"


def test_an_orphan_may_be_adopted_between_the_scan_and_the_removal(make_runtime: MakeRuntime) -> None:
    client = make_runtime(make_registry()).client
    forget(client)
    client.raise_event("p.forgotten", "end", "x")
    client.wait_for_orchestration("p.forgotten", WAIT_S)
    until(lambda: status(client, "p.forgotten.below") in FINAL_INSTANCE_STATUSES, "it runs")
    plan = client.plan_orphan_cleanup(min_age=0)
    assert plan.totals.instances_removed == 2
    client.adopt_instance("p.forgotten", reason="it is needed")
    done = client.apply_removal(plan)
    assert [(each.instance_id, each.why) for each in done.skipped] == [
        ("p.forgotten", "it is kept now: not-an-orphan:adopted")
    ]
    assert client.get_instance("p.forgotten").status == "completed"


def test_a_child_spawned_between_the_scan_and_the_removal_protects_all_above_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from duro.model.status import ParentPolicy
    from duro.testing.builders import child_scheduled, completed, continued_as_new, next_lease, start_request
    from duro.testing.scripted import ScriptedWorker

    worker = ScriptedWorker(store, lease_ms=10**9)
    store.start_instances([start_request("loop")])
    leased = worker.take("loop")
    kept = next_lease(leased, worker.run(leased, child_scheduled("orphan"), keep_lease=True))
    worker.run(kept, continued_as_new())
    leases = {each.instance_id: each for each in worker.lease().instances}
    leased = leases["orphan"]
    alone = child_scheduled("below", on_parent_end=ParentPolicy.ABANDON)
    worker.run(next_lease(leased, worker.run(leased, alone, keep_lease=True)), completed())
    below = worker.take("below")
    remove = store.remove

    def removed_late(*arguments: Any, **fields: Any) -> Any:
        monkeypatch.undo()
        late = child_scheduled("late", on_parent_end=ParentPolicy.ABANDON)
        worker.run(next_lease(below, worker.run(below, late, keep_lease=True)), completed())
        return remove(*arguments, **fields)

    monkeypatch.setattr(store, "remove", removed_late)
    client = duro.Client(store)
    assert client.cleanup_orphaned_instances(min_age=0, grace_s=0).instances == 0
    assert {each.instance_id for each in client.list_instances().instances} == {"loop", "orphan", "below", "late"}
    worker.run(worker.take("late"), completed())
    assert client.cleanup_orphaned_instances(min_age=0, grace_s=0).instances == 3


def test_an_id_used_again_starts_clean(make_runtime: MakeRuntime) -> None:
    client = make_runtime(make_registry()).client
    for _ in range(2):
        client.start_orchestration("waits", instance_id="again")
        client.raise_event("again", "end")
        assert client.wait_for_orchestration("again", WAIT_S).output == "waited"
        assert client.purge_instances(NOW, scope=duro.PruneScope(instance_ids=("again",))).instances == 1
    with pytest.raises(duro.InstanceRemovedError, match="instance 'again' was removed at"):
        client.get_instance("again")


@pytest.mark.parametrize("shape", ["wide", "deep"])
def test_large_families_are_found_removed_and_brought_back(store: Store, shape: str) -> None:
    """10,000 children of one parent; a chain a thousand deep."""
    from duro.testing.builders import child_completed, child_scheduled, completed, next_lease, start_request, turn
    from duro.testing.scripted import ScriptedWorker

    worker = ScriptedWorker(store, lease_ms=10**9)
    store.start_instances([start_request("root")])
    leased = worker.take("root")
    if shape == "wide":
        spawned = [child_scheduled(f"c{number}") for number in range(10_000)]
        kept = [next_lease(leased, worker.run(leased, *spawned, keep_lease=True))]
        children = worker.lease(instances=20_000).instances
        worker.commit(*(turn(each, completed(), at_ms=store.now_ms()) for each in children))
        answers = [child_completed(number) for number in range(2, 10_002)]
        worker.run(worker.take("root"), *answers, completed())
    else:
        kept = []
        for number in range(1_000):
            kept.append(next_lease(leased, worker.run(leased, child_scheduled(f"c{number}"), keep_lease=True)))
            leased = worker.take(f"c{number}")
        worker.run(leased, completed())
        for _ in kept:
            (leased,) = worker.lease().instances
            worker.run(leased, child_completed(2), completed())
    client = duro.Client(store)
    size = 10_001 if shape == "wide" else 1_001
    (item,) = client.plan_purge(NOW).items
    assert (item.instances, item.verdict.keep) == (size, False)
    removed = client.purge_instances(NOW)
    assert removed.instances == size
    assert client.list_instances().instances == ()
    undone = client.undo_prune(removed.run_id)
    assert (undone.instances_restored, undone.instances) == (size, ("root",))
    client.remove_hold(undone.hold_ids[0])
    assert client.purge_instances(NOW, grace_s=0).instances == size
    dump = store.dump()
    assert not any(dump[table] for table in ("instances", "removed_instances", "executions", "history", "lineage"))
    check_invariants(dump)


def test_a_plan_shows_the_settled_children_that_go_with_an_execution(
    store: Store, options: duro.RuntimeOptions, tmp_path: Path
) -> None:
    """And when it is reclaimed, those go; one that is held stays."""
    config = tmp_path / "runtime_config.toml"
    config.write_text('[pruning]\nchildren = "settled"\n')
    with duro.Runtime(store, make_registry(), options, config=config) as runtime:
        client = runtime.client
        forget(client)
        client.raise_event("p.forgotten", "end", "x")
        until(lambda: status(client, "p.forgotten.below") in FINAL_INSTANCE_STATUSES, "it runs")
        plan = client.plan_prune(1)
        (instance,) = [each for each in plan.instances if each.instance_id == "p"]
        shown = {child.instance_id: (child.execution_id, child.instances) for child in instance.children}
        assert shown == {"p.awaited": (1, 1), "p.forgotten": (1, 2)}
        assert plan.totals.children_removed == 3
        hold = client.add_hold("p.forgotten.below", reason="to see")
        (held,) = [each for each in client.plan_prune(1).instances if each.instance_id == "p"]
        assert [child.instance_id for child in held.children] == ["p.awaited"]
        client.remove_hold(hold.hold_id)
        client.apply_plan(plan, grace_s=0)
        assert {each.instance_id for each in client.list_instances().instances} == {"p"}


@pytest.mark.parametrize(("before", "after"), [("keep", "settled"), ("settled", "keep")])
def test_a_plan_takes_the_children_it_was_made_to_take_whatever_is_configured_later(
    store: Store, options: duro.RuntimeOptions, tmp_path: Path, before: str, after: str
) -> None:
    config = tmp_path / "runtime_config.toml"
    config.write_text(f'[pruning]\nchildren = "{before}"\n')
    with duro.Runtime(store, make_registry(), options, config=config) as runtime:
        client = runtime.client
        forget(client)
        plan = client.plan_prune(1)
        assert plan.children == before
        assert bool(plan.totals.children_removed) is (before == "settled")
    config.write_text(f'[pruning]\nchildren = "{after}"\n')
    with duro.Runtime(store, make_registry(), options, config=config) as runtime:
        assert runtime.client.plan_prune(1).children == after
        assert runtime.client.apply_plan(plan, grace_s=0).executions_deleted == 1
        assert (store.get_instance("p.awaited") is None) is (before == "settled")


# --- by itself -------------------------------------------------------------------------------------------------


def test_sweeps_clean_up_and_purge_as_the_file_says(store: Store, options: duro.RuntimeOptions, tmp_path: Path) -> None:
    config = tmp_path / "runtime_config.toml"
    config.write_text(
        '[orphans]\nenabled = true\nmin_age = "0s"\nchild_status = ["completed"]\ninterval = "1s"\n'
        '[purge]\nkeep_last = 1\ninterval = "1s"\n[purge.overrides]\nforgets.never = true\n"sl*".keep_within = "1d"\n'
    )
    quick = msgspec.structs.replace(options, sweep_interval_s=0.05)
    with duro.Runtime(store, make_registry(), quick, config=config) as runtime:
        client = runtime.client
        forget(client)
        client.raise_event("p.forgotten", "end", "x")
        for number in range(3):
            client.start_orchestration("fast", instance_id=f"f{number}")
        until(lambda: client.store.get_instance("p.forgotten") is None, "the orphan is still there")
        until(lambda: client.store.get_instance("f1") is None, "nothing was purged")
        until(lambda: client.store.get_instance("p.awaited") is None, "what is settled below a parent was not purged")
        assert client.get_instance("f2").status == "completed", "the newest is kept"
        until(lambda: client.store.dump()["removed_instances"] == [], "nothing was reclaimed")
        counts = runtime.prune_counts
        assert counts[("slow", "orphans")].instances == 2
        assert counts[("fast", "purge")].instances == 3
        totals = {each.name: each.instances for each in client.ledger_totals()}
        assert totals == {"slow": 1, "waits": 1, "fast": 3}
        assert client.list_prune_runs() == ()
