"""The three scenarios of versions and pruning that the proposal describes, what is kept and what is said; and prunes
beside instances that do not stop."""

import random
import threading
from collections.abc import Callable

import pytest

import duro
from duro.model.pruning import WarningCode
from duro.stores.base import Store
from duro.testing.invariants import check_invariants
from tests.integration.conftest import MakeRuntime

WAIT_S = 60.0


def registry_of(*versions: str, executions: int = 1_000_000, auto_prune: duro.AutoPrune | None = None) -> duro.Registry:
    """An orchestration whose versions ask for activities of their own; each event makes it continue as new."""
    registry = duro.Registry()

    @registry.activity(name="process")
    async def process(ctx: duro.ActivityContext, version: str) -> str:
        return version

    for version in versions:

        @registry.orchestration(name="eternal", version=version, auto_prune=auto_prune)
        async def eternal(ctx: duro.OrchestrationContext) -> None:
            await ctx.schedule_activity("process", ctx.version)
            await ctx.wait_for_event("next")
            await ctx.continue_as_new()

    return registry


def go_on(client: duro.Client, executions: int) -> None:
    for _ in range(executions):
        before = client.get_instance("a").execution_id
        client.raise_event("a", "next")
        while client.get_instance("a").execution_id == before:
            pass


def history_of_two_versions(make_runtime: MakeRuntime) -> duro.Runtime:
    """Executions 1 and 2 ran version 1.0.0, 3 and 4 run 2.0.0; the runtime has both versions."""
    old = make_runtime(registry_of("1.0.0"))
    old.client.start_orchestration("eternal", instance_id="a")
    go_on(old.client, 1)
    old.stop()
    new = make_runtime(registry_of("1.0.0", "2.0.0"))
    go_on(new.client, 2)
    versions = [each.version for each in new.client.list_executions("a").executions]
    assert versions == ["2.0.0", "2.0.0", "1.0.0", "1.0.0"]
    return new


def live(client: duro.Client) -> list[int]:
    return [each.execution_id for each in reversed(client.list_executions("a", limit=0).executions)]


def test_a_in_normal_operation_pruning_is_safe(make_runtime: MakeRuntime) -> None:
    runtime = history_of_two_versions(make_runtime)
    runtime.client.prune_executions("a", 2, grace_s=0)
    assert live(runtime.client) == [3, 4]
    runtime.stop()
    again = make_runtime(registry_of("1.0.0", "2.0.0"))
    go_on(again.client, 1)
    assert again.client.get_instance("a").blocked is None


def test_b_before_a_rollback_the_plan_says_what_it_takes(make_runtime: MakeRuntime) -> None:
    runtime = history_of_two_versions(make_runtime)
    client = runtime.client
    plan = client.plan_prune(2)
    assert [(each.code, each.text) for each in plan.warnings] == [
        (WarningCode.LAST_OF_VERSION, "takes the last execution of version 1.0.0 of a")
    ]
    kept = duro.PruneOptions(keep_last=2, keep_last_per_version=1, keep_versions=2)
    assert client.plan_prune(kept).warnings == ()
    client.prune_executions("a", kept, grace_s=0)
    assert live(client) == [2, 3, 4]
    runtime.stop()
    rolled_back = make_runtime(registry_of("1.0.0"))
    record = rolled_back.client.get_instance("a")
    assert record.version == "2.0.0", "what runs on 2.0.0 waits for code that has it: it is not replayed by 1.0.0"
    assert rolled_back.client.read_history("a", 2).execution.version == "1.0.0"


def test_b_a_rollout_pauses_the_automatic_policy(
    make_runtime: MakeRuntime, store: Store, options: duro.RuntimeOptions, tmp_path_factory: pytest.TempPathFactory
) -> None:
    config = tmp_path_factory.mktemp("config") / "runtime_config.toml"
    config.write_text('[pruning]\ndefault_keep_last = 1\n[pruning.rollout]\npause = "1h"\n')
    old = make_runtime(registry_of("1.0.0"))
    old.client.start_orchestration("eternal", instance_id="a")
    old.stop()
    with duro.Runtime(store, registry_of("1.0.0", "2.0.0"), options, config=config) as runtime:
        go_on(runtime.client, 4)
        assert live(runtime.client) == [1, 2, 3, 4, 5]
        told = runtime.client.explain_policy("a")
        assert told.paused_until_ms is not None
        assert told.paused_until_ms > store.now_ms() + 3_000_000


def test_c_for_debugging_a_version_can_be_held(make_runtime: MakeRuntime) -> None:
    client = history_of_two_versions(make_runtime).client
    hold = client.add_hold(name="eternal", version="1.0.0", reason="1.0.0 produced wrong output")
    client.prune_executions("a", 1, grace_s=0)
    assert live(client) == [1, 2, 4]
    plan = client.plan_prune(1)
    assert [item.verdict.reasons for item in plan.instances[0].items[:2]] == [(f"held:{hold.hold_id}",)] * 2
    assert len(client.read_history("a", 1).events) == 6
    client.remove_hold(hold.hold_id)
    client.prune_executions("a", 1, grace_s=0)
    with pytest.raises(duro.ExecutionPrunedError, match="was pruned"):
        client.read_history("a", 1)


def test_pruners_beside_instances_that_do_not_stop_lose_nothing(make_runtime: MakeRuntime, store: Store) -> None:
    """Two loops of prunes, one by rules and one by plans, and undos, beside eternal instances."""
    registry = duro.Registry()

    @registry.activity
    async def count(ctx: duro.ActivityContext, number: int) -> int:
        return number + 1

    @registry.orchestration
    async def loop(ctx: duro.OrchestrationContext, number: int) -> int:
        number = await ctx.schedule_activity("count", number)
        if number < 200:
            await ctx.continue_as_new(number)
        return number

    client = make_runtime(registry).client
    ids = client.start_orchestrations(
        [duro.Start(orchestration="loop", input=0, instance_id=f"loop-{n}") for n in range(4)]
    )
    over = threading.Event()
    failures: list[BaseException] = []

    def repeat(work: object) -> None:
        try:
            while not over.is_set():
                assert callable(work)
                work()
        except BaseException as error:
            failures.append(error)

    def by_plan() -> None:
        client.apply_plan(client.plan_prune(3), grace_s=0.01)

    threads = [
        threading.Thread(target=repeat, args=(work,))
        for work in (lambda: client.prune_executions_bulk(2, grace_s=0), by_plan)
    ]
    for thread in threads:
        thread.start()
    results = client.wait_for_orchestrations(ids, WAIT_S)
    over.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert [result.output for result in results] == [200] * 4
    client.prune_executions_bulk(1, grace_s=0)
    for instance_id in ids:
        assert [each.execution_id for each in client.list_executions(instance_id).executions] == [200]
        assert sum(entry.range.executions for entry in client.list_ledger(instance_id)) == 199


def test_a_thousand_executions_beside_everything_that_removes_and_brings_back(
    make_runtime: MakeRuntime, store: Store
) -> None:
    """Instances that prune themselves as well, beside prunes, plans, undos, holds and policies of instances: what the
    ledgers say is what is gone, and nothing stops."""
    registry = duro.Registry()

    @registry.orchestration(auto_prune=duro.AutoPrune(keep_last=30, every_n_executions=7))
    async def loop(ctx: duro.OrchestrationContext, number: int) -> int:
        if number % 50 == 0:
            await ctx.prune_history(10)
        if number < 1000:
            await ctx.continue_as_new(number + 1)
        return number

    client = make_runtime(registry).client
    ids = [f"loop-{number}" for number in range(2)]
    client.start_orchestrations([duro.Start(orchestration="loop", input=1, instance_id=each) for each in ids])
    over, failures, runs = threading.Event(), list[BaseException](), list[str]()

    def repeat(work: Callable[[random.Random], object], seed: int) -> None:
        drawn = random.Random(seed)
        while not over.wait(0.01):
            try:
                work(drawn)
            except (duro.StalePlanError, duro.HoldNotFoundError, duro.PolicyUnknownError):
                pass  # somebody was there before, or no first turn was and chose a version
            except BaseException as error:
                failures.append(error)
                return

    def note(result: duro.PruneResult) -> None:
        if result.run_id:
            runs.append(result.run_id)

    def by_rules(drawn: random.Random) -> None:
        note(client.prune_executions_bulk(drawn.randint(1, 40), grace_s=drawn.choice([0, 0.05, 5])))

    def by_plan(drawn: random.Random) -> None:
        plan = client.plan_prune(drawn.choice([None, drawn.randint(1, 20)]))
        note(client.apply_plan(plan, grace_s=drawn.choice([0, 0.05, 5])))

    def undo(drawn: random.Random) -> None:
        client.undo_prune(drawn.choice([*ids, *runs[-5:]]))

    def holds_and_policies(drawn: random.Random) -> None:
        for hold in client.list_holds():
            if drawn.random() < 0.7:
                client.remove_hold(hold.hold_id)
        if drawn.random() < 0.3:
            client.add_hold(drawn.choice(ids), reason="to see")
        policies: list[duro.AutoPrune | None] = [None, duro.AutoPrune(keep_last=1), duro.AutoPrune(keep_within=0.1)]
        client.set_instance_policy(drawn.choice(ids), drawn.choice([*policies, "never"]))

    works = (by_rules, by_plan, undo, holds_and_policies)
    threads = [threading.Thread(target=repeat, args=(work, seed)) for seed, work in enumerate(works)]
    for thread in threads:
        thread.start()
    results = client.wait_for_orchestrations(ids, WAIT_S)
    over.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert [result.output for result in results] == [1000] * 2
    check_invariants(store)
    for hold in client.list_holds():
        client.remove_hold(hold.hold_id)
    client.prune_executions_bulk(1, grace_s=0)
    for instance_id in ids:
        assert [each.execution_id for each in client.list_executions(instance_id, limit=0).executions] == [1000]
        ledger = [entry.range for entry in client.list_ledger(instance_id)]
        assert sum(-each.executions if each.trigger == "undo" else each.executions for each in ledger) == 999
    assert [each.name for each in client.checkup() if each.count] == []
