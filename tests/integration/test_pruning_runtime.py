"""Pruning in a running system: the five ways, what stays, and what a runtime tells of it."""

import time
import urllib.request
from collections.abc import Callable

import msgspec
import pytest

import duro
from duro.codec import decode_event
from duro.model.events import HistoryPruned, HistoryPruneRequested
from duro.model.pruning import PruneTrigger
from duro.model.removal import Backlog
from duro.stores.base import Store
from duro.testing.scripted import ScriptedWorker
from tests.integration.conftest import MakeRuntime

WAIT_S = 20.0


def until(happened: Callable[[], bool], what: str) -> None:
    """Wait for something another thread does."""
    deadline_s = time.monotonic() + WAIT_S
    while not happened():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.005)


def make_registry(auto_prune: duro.AutoPrune | int | None = None) -> duro.Registry:
    registry = duro.Registry()

    @registry.activity
    async def count(ctx: duro.ActivityContext, number: int) -> int:
        return number + 1

    @registry.activity
    def prune_self(ctx: duro.ActivityContext, keep_last: int) -> int:
        return ctx.client.prune_executions(ctx.instance_id, keep_last, grace_s=0).executions_deleted

    @registry.orchestration(auto_prune=auto_prune)
    async def loop(ctx: duro.OrchestrationContext, left: int) -> int:
        await ctx.schedule_activity("count", left)
        if left > 1:
            await ctx.continue_as_new(left - 1)
        await ctx.wait_for_event("end")
        return ctx.execution_id

    @registry.orchestration
    async def by_activity(ctx: duro.OrchestrationContext, left: int) -> list[int]:
        pruned = await ctx.schedule_activity("prune_self", 2)
        if left > 1:
            await ctx.continue_as_new(left - 1)
        await ctx.wait_for_event("end")
        return [ctx.execution_id, pruned]

    @registry.orchestration
    async def by_call(ctx: duro.OrchestrationContext, left: int) -> list[object]:
        await ctx.schedule_activity("count", left)
        result = await ctx.prune_history(duro.PruneOptions(keep_last=2))
        await ctx.schedule_activity("count", left)
        if left > 1:
            await ctx.continue_as_new(left - 1)
        return [result.executions_deleted, result.events_deleted, result.remaining, result.error]

    @registry.orchestration
    async def by_parameter(ctx: duro.OrchestrationContext, left: int) -> int:
        await ctx.schedule_activity("count", left)
        if left > 1:
            await ctx.continue_as_new(left - 1, prune=3)
        await ctx.wait_for_event("end")
        return ctx.execution_id

    @registry.orchestration
    async def wrong(ctx: duro.OrchestrationContext) -> str:
        try:
            await ctx.prune_history(0)
        except duro.InvalidRulesError as error:
            return error.message
        return "nothing was wrong"

    return registry


def live(client: duro.Client, instance_id: str) -> list[int]:
    """The live executions, oldest first."""
    return [each.execution_id for each in reversed(client.list_executions(instance_id, limit=0).executions)]


def reached(client: duro.Client, instance_id: str, execution_id: int) -> Callable[[], bool]:
    """Whether the execution waits for its event."""

    def ready() -> bool:
        record = client.get_instance(instance_id)
        return record.execution_id == execution_id and record.event_count >= 4 and record.ready_at_ms is None

    return ready


def run_to(client: duro.Client, orchestration: str, executions: int, instance_id: str = "a") -> None:
    client.start_orchestration(orchestration, executions, instance_id=instance_id)
    until(reached(client, instance_id, executions), f"{instance_id} never came to execution {executions}")


def test_a_an_orchestration_prunes_itself_and_replays_to_the_same(make_runtime: MakeRuntime, store: Store) -> None:
    client = make_runtime(make_registry()).client
    client.start_orchestration("by_call", 6, instance_id="a")
    assert client.wait_for_orchestration("a", WAIT_S).output == [1, 8, 0, None]
    assert live(client, "a") == [5, 6]
    events = [decode_event(data) for data in client.read_history("a").events]
    asked = next(event for event in events if isinstance(event, HistoryPruneRequested))
    answer = next(event for event in events if isinstance(event, HistoryPruned))
    assert asked.options == duro.PruneOptions(keep_last=2)
    assert (answer.scheduled_event_id, answer.executions_deleted, answer.events_deleted) == (asked.event_id, 1, 8)
    (entry,) = client.list_ledger("a")
    assert (entry.range.trigger, entry.range.executions) == ("prune_history", 4)


def test_a_rules_that_cannot_be_are_refused_where_they_are_given(make_runtime: MakeRuntime) -> None:
    client = make_runtime(make_registry()).client
    said = client.wait_for_orchestration(client.start_orchestration("wrong"), WAIT_S).output
    assert said == "PruneOptions.keep_last must be a whole number from 1 to 1000000000, not 0"


def test_b_continue_as_new_prunes_in_one_transaction(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime(make_registry())
    run_to(runtime.client, "by_parameter", 8)
    assert live(runtime.client, "a") == [6, 7, 8]
    assert runtime.prune_counts[("by_parameter", "continue_as_new")].executions == 5


def test_c_the_registration_prunes_every_instance(make_runtime: MakeRuntime) -> None:
    client = make_runtime(make_registry(auto_prune=2)).client
    run_to(client, "loop", 6)
    run_to(client, "loop", 4, "b")
    assert (live(client, "a"), live(client, "b")) == ([5, 6], [3, 4])
    assert client.list_ledger("a")[0].range.origin.startswith(
        "registration: tests/integration/test_pruning_runtime.py:"
    )


def test_d_the_program_configures_by_name_and_pattern(make_runtime: MakeRuntime, options: duro.RuntimeOptions) -> None:
    config = duro.AutoPruneConfig(default=1, overrides={"lo*": 3, "by_parameter": "never"})
    client = make_runtime(make_registry(auto_prune=1), msgspec.structs.replace(options, auto_prune=config)).client
    run_to(client, "loop", 5)
    assert live(client, "a") == [3, 4, 5]
    run_to(client, "by_parameter", 5, "b")
    assert live(client, "b") == [3, 4, 5], "what the turn says goes before never"


def test_the_way_it_was_done_before_still_works(make_runtime: MakeRuntime) -> None:
    client = make_runtime(make_registry()).client
    run_to(client, "by_activity", 5)
    assert live(client, "a") == [4, 5]
    assert client.list_prune_runs() == (), "an activity that prunes for ever leaves no run each time"
    (entry,) = client.list_ledger("a")
    assert (entry.range.trigger, entry.range.executions, entry.run) == ("activity", 3, None)


def test_switched_off_only_what_code_asks_for_is_done(make_runtime: MakeRuntime, options: duro.RuntimeOptions) -> None:
    config = duro.AutoPruneConfig(enabled=False, default=1)
    client = make_runtime(make_registry(auto_prune=1), msgspec.structs.replace(options, auto_prune=config)).client
    run_to(client, "loop", 4)
    run_to(client, "by_parameter", 5, "b")
    assert (live(client, "a"), live(client, "b")) == ([1, 2, 3, 4], [3, 4, 5])


def test_the_instances_own_policy_goes_before_all_of_them(make_runtime: MakeRuntime) -> None:
    client = make_runtime(make_registry(auto_prune=1)).client
    client.start_orchestration("loop", 1, instance_id="mine")
    client.set_instance_policy("mine", "never")
    run_to(client, "loop", 3)
    told = client.explain_policy("mine")
    assert told.united is not None
    assert told.united.policies is None
    assert [link.policy for link in told.chains[0].links if link.applies] == ["never"]
    assert live(client, "a") == [3]


def test_a_prune_without_rules_takes_the_policy_that_is_published(
    make_runtime: MakeRuntime, options: duro.RuntimeOptions
) -> None:
    first = make_runtime(make_registry())
    run_to(first.client, "loop", 5)
    first.stop()
    client = make_runtime(make_registry(auto_prune=2)).client
    plan = client.plan_prune(scope=duro.PruneScope(name="l*"))
    assert (plan.totals.executions_removed, plan.instances[0].origin.kind) == (3, "registration")
    assert client.prune_executions("a", grace_s=0).executions_deleted == 3
    assert live(client, "a") == [4, 5]


def test_a_backlog_that_a_turn_leaves_is_swept_without_being_asked(
    make_runtime: MakeRuntime, options: duro.RuntimeOptions
) -> None:
    registry = make_registry()

    @registry.orchestration(name="grows", version="1.0.0")
    async def grows(ctx: duro.OrchestrationContext, left: int) -> None:
        if left <= 1:
            await ctx.wait_for_event("end")
        await ctx.continue_as_new(left - 1, prune=1 if left == 1 else None)

    runtime = make_runtime(
        registry, msgspec.structs.replace(options, auto_prune=duro.AutoPrune(keep_last=1, every_n_executions=1000))
    )
    runtime.client.start_orchestration("grows", 101, instance_id="a")
    until(lambda: runtime.client.get_instance("a").execution_id == 101, "it never grew")
    runtime.client.raise_event("a", "end")
    until(lambda: live(runtime.client, "a")[0] > 100, "the sweep never came")
    until(lambda: runtime.client.backlog() == Backlog(), "something is left")
    counts = runtime.prune_counts
    assert counts[("grows", str(PruneTrigger.CONTINUE_AS_NEW))].executions == 64
    assert counts[("grows", str(PruneTrigger.INTERVAL))].executions >= 37


def test_an_interval_prunes_an_instance_that_does_not_move(
    make_runtime: MakeRuntime, options: duro.RuntimeOptions
) -> None:
    policy = duro.AutoPrune(keep_within=0.2, every_n_executions=1_000, interval=0.05)
    runtime = make_runtime(make_registry(), msgspec.structs.replace(options, auto_prune=policy, sweep_interval_s=0.05))
    run_to(runtime.client, "loop", 5)
    until(lambda: live(runtime.client, "a") == [5], "the sweep never came")
    assert runtime.client.list_ledger("a")[-1].range.trigger == "interval"


def test_another_worker_sweeps_when_the_one_that_did_is_gone(
    make_runtime: MakeRuntime, store: Store, options: duro.RuntimeOptions
) -> None:
    quick = msgspec.structs.replace(options, sweep_interval_s=0.05)
    assert store.acquire_maintenance("somebody who died", 300)
    runtime = make_runtime(make_registry(), quick)
    run_to(runtime.client, "loop", 3)
    runtime.client.prune_executions("a", 1, grace_s=0.001)
    until(lambda: store.backlog() == Backlog(), "nobody swept")
    assert store.dump()["store"][0]["maintenance_holder"] == runtime.worker_id
    runtime.stop()
    assert store.dump()["store"][0]["maintenance_holder"] is None


def test_where_workers_differ_a_prune_without_rules_keeps_what_any_of_them_keeps(
    make_runtime: MakeRuntime, options: duro.RuntimeOptions
) -> None:
    first = make_runtime(
        make_registry(), msgspec.structs.replace(options, auto_prune=duro.AutoPrune(keep_last=2, every_n_executions=99))
    )
    run_to(first.client, "loop", 6)
    make_runtime(
        make_registry(), msgspec.structs.replace(options, auto_prune=duro.AutoPrune(keep_last=4, every_n_executions=99))
    )
    told = first.client.explain_policy("a")
    assert told.united is not None
    assert told.united.workers_differ
    first.client.prune_executions("a")
    assert live(first.client, "a") == [3, 4, 5, 6]


def test_where_workers_differ_their_turns_keep_what_any_of_them_keeps(
    make_runtime: MakeRuntime, options: duro.RuntimeOptions
) -> None:
    one = make_runtime(make_registry(), msgspec.structs.replace(options, auto_prune=1))
    run_to(one.client, "loop", 3)
    assert live(one.client, "a") == [3]
    several = make_runtime(make_registry(), msgspec.structs.replace(options, auto_prune=4))
    until(lambda: len(one._policies.others) == 1, "the first worker never took notice")
    run_to(several.client, "loop", 8, "b")
    assert live(one.client, "b") == [5, 6, 7, 8]
    assert one.client.list_ledger("b")[0].range.rule == "keep_last=1 and keep_last=4"
    several.stop()
    until(lambda: not one._policies.others, "what a worker said that is gone still counts")
    run_to(one.client, "loop", 5, "c")
    assert live(one.client, "c") == [5]


def test_beside_a_worker_whose_word_nobody_can_read_turns_prune_only_what_code_asks_for(
    make_runtime: MakeRuntime, options: duro.RuntimeOptions, store: Store
) -> None:
    """It may have said to keep everything; what it said before that still counts, too."""
    one = make_runtime(make_registry(), msgspec.structs.replace(options, auto_prune=1))
    run_to(one.client, "loop", 3)
    assert live(one.client, "a") == [3]
    ScriptedWorker(store, "other")
    store.publish("other", '{"archive_enabled":true,"children":"settled"}')
    until(lambda: one._policies.terms.archive, "the first worker never took notice")
    store.publish("other", "of another version")
    until(lambda: one._policies.terms.stopped_by != "", "the first worker never took notice")
    assert (one._policies.terms.archive, one._policies.terms.children) == (True, "keep")
    run_to(one.client, "loop", 4, "b")
    assert live(one.client, "b") == [1, 2, 3, 4]
    run_to(one.client, "by_parameter", 5, "asks")
    assert live(one.client, "asks") == [3, 4, 5]
    store.release_worker("other")
    until(lambda: one._policies.terms.stopped_by == "", "what a worker said that is gone still counts")
    run_to(one.client, "loop", 4, "c")
    assert live(one.client, "c") == [4]


def test_nobody_says_what_to_prune(make_runtime: MakeRuntime) -> None:
    client = make_runtime(make_registry()).client
    run_to(client, "loop", 3)
    with pytest.raises(duro.PolicyUnknownError):
        client.prune_executions("a")
    with pytest.raises(duro.PolicyUnknownError):
        client.plan_prune()
    assert live(client, "a") == [1, 2, 3]


def test_the_metrics_are_served_over_http(make_runtime: MakeRuntime, options: duro.RuntimeOptions) -> None:
    runtime = make_runtime(make_registry(auto_prune=1), msgspec.structs.replace(options, metrics_port=0))
    run_to(runtime.client, "loop", 5)
    runtime.client.prune_executions("a", 1)
    with urllib.request.urlopen(f"http://127.0.0.1:{runtime.metrics_port}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    assert 'duro_executions_pruned_total{orchestration="loop",trigger="continue_as_new"} 4.0' in lines
    assert any(line.startswith('duro_events_pruned_total{orchestration="loop"') for line in lines)
    assert "duro_prune_backlog 0.0" in lines
    assert "duro_executions_continued_total 4.0" in lines
    port = runtime.metrics_port
    with pytest.raises(duro.UsageError, match=f"metrics cannot be served at 127.0.0.1:{port}"):
        make_runtime(make_registry(), msgspec.structs.replace(options, metrics_port=port))
    runtime.stop()
    assert runtime.metrics_port is None


def test_pruned_executions_are_told_of_and_come_back(make_runtime: MakeRuntime) -> None:
    client = make_runtime(make_registry()).client
    run_to(client, "loop", 4)
    result = client.prune_executions("a", 1, reason="too many", by="ada")
    with pytest.raises(duro.ExecutionPrunedError, match=f"was pruned at .* by ada in {result.run_id}.*too many"):
        client.read_history("a", 2)
    with pytest.raises(duro.ExecutionNotFoundError):
        client.get_execution("a", 9)
    undone = client.undo_prune(result.run_id)
    assert undone.executions_restored == 3
    assert len(client.read_history("a", 2).events) == 4
    client.prune_executions("a", 1)
    assert live(client, "a") == [1, 2, 3, 4], "they are held"
    client.remove_hold(undone.hold_ids[0])
    client.prune_executions("a", 1, grace_s=0)
    assert live(client, "a") == [4]
    with pytest.raises(duro.ExecutionPrunedError, match="its history is gone from the store"):
        client.read_history("a", 2)
