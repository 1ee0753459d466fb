"""Generated lives on both stores: what clients and workers are told of the current execution is the same before and
after a prune of the earlier ones, and so is everything that follows."""

import itertools
import os
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

import duro
from duro.host.policies import WorkerPolicies
from duro.host.worker import Worker
from duro.model.policies import PolicySources
from duro.model.records import WorkerRecord
from duro.model.removal import OrderResult, PruneBatch
from duro.stores.base import StoreDump
from duro.stores.memory import MemoryStore
from duro.telemetry import PruneCounters
from duro.testing import ManualClock, check_invariants
from duro.testing.histories import check_replay
from duro.waiting import FinishNotifier
from tests.support.simulation import InlineExecutor

EXAMPLES: Final = os.environ.get("DURO_PROPERTY_EXAMPLES")
CYCLES_MAX: Final = 400

registry = duro.Registry()


@registry.activity
async def work(ctx: duro.ActivityContext, number: int) -> int:
    return number + 1


@registry.orchestration
async def child(ctx: duro.OrchestrationContext, waits: bool) -> str:
    return str(await ctx.wait_for_event("end")) if waits else "at once"


@registry.orchestration
async def life(ctx: duro.OrchestrationContext, executions: list[list[str]]) -> list[Any]:
    """One list of steps for each execution; the last one then waits for its end."""
    seen: list[Any] = [ctx.execution_id]
    for step in executions[0]:
        match step:
            case "work":
                seen.append(await ctx.schedule_activity(work, len(seen)))
            case "child":
                seen.append(await ctx.schedule_sub_orchestration(child, False))
            case "child that goes on":
                ctx.schedule_sub_orchestration(child, True)
            case "detached":
                ctx.schedule_orchestration(child, True)
            case "status":
                ctx.set_custom_status(seen)
            case "timer":
                ctx.schedule_timer(86_400)
            case "wait":
                ctx.wait_for_event("never")
            case "prune":
                seen.append((await ctx.prune_history(3)).error)
            case _:
                ctx.prune_history(4)
    if len(executions) > 1:
        await ctx.continue_as_new(executions[1:])
    seen.append(await ctx.wait_for_event("end"))
    return seen


class Home:
    """A store with one worker, stepped by hand, and the instance ``life`` in it."""

    def __init__(self, url: str) -> None:
        self.clock = ManualClock()
        self.store = duro.open_store(url, clock=self.clock, synchronous="NORMAL")
        self.ids = partial(next, (f"{number:032x}" for number in itertools.count()))
        self.client = duro.Client(self.store, registry=registry, ids=self.ids)
        self.worker = self.new_worker()

    def new_worker(self) -> Worker:
        worker = Worker(
            self.store,
            registry,
            duro.RuntimeOptions(poll_interval_s=0.001),
            clock=self.clock,
            ids=self.ids,
            notifier=FinishNotifier(),
            describe=self.describe,
            policies=lambda: WorkerPolicies(PolicySources()),
            prune_counters=PruneCounters(),
        )
        self.executor = InlineExecutor(worker.report)
        worker.begin(self.executor, lambda: None)
        return worker

    def describe(self, worker_id: str) -> WorkerRecord:
        return WorkerRecord(
            worker_id=worker_id,
            host="here",
            process_id=1,
            started_at_ms=self.clock.now_ms(),
            lease_until_ms=0,
            orchestrations=registry.orchestrations,
            activities=registry.activities,
        )

    def restart(self) -> None:
        """The worker gives everything back; what comes next begins with a replay."""
        self.store.release_worker(self.worker.worker_id)
        self.worker = self.new_worker()

    def settle(self) -> None:
        """Until nobody has anything to do."""
        quiet, counter = 0, self.store.change_counter()
        for _ in range(CYCLES_MAX):
            self.clock.advance(2)
            self.worker.step()
            self.executor.run_all()
            before, counter = counter, self.store.change_counter()
            quiet = quiet + 1 if counter == before else 0
            if quiet == 3:
                counters = self.worker.counters
                assert (counters.turns_failed, counters.turns_blocked, counters.messages_ignored) == (0, 0, 0)
                return
        raise AssertionError("it never came to rest")

    def live(self, executions: list[list[str]], mail: int) -> None:
        self.client.start_orchestration(life, executions, instance_id="life")
        for number in range(mail):
            self.client.raise_event("life", "unclaimed", number)
        self.settle()

    def end(self) -> None:
        self.client.raise_event("life", "end", "over")
        self.settle()


def answers(home: Home) -> dict[str, Any]:
    """Everything a client or a worker may be told of the instance, but for its earlier executions."""
    client, store = home.client, home.store
    record = client.get_instance("life")
    dump = store.dump()
    return {
        "instance": record,
        "listed": client.list_instances().instances,
        "result": client.get_result("life"),
        "execution": client.get_execution("life", record.execution_id),
        "newest execution": client.list_executions("life", limit=1).executions,
        "history": client.read_history("life"),
        "loaded history": store.load_histories([(record.incarnation, record.execution_id)]),
        "children": [structs.replace(child, spawner_live=True) for child in client.list_children("life")],
        "waits": waits(dump),
        **{table: dump[table] for table in ("timers", "activities", "messages", "mailbox")},
    }


def waits(dump: StoreDump) -> list[Any]:
    return [row["waits"] for row in dump["instances"] if row["instance_id"] == "life"]


def numbers(home: Home) -> list[int]:
    return [each.execution_id for each in reversed(home.client.list_executions("life", limit=0).executions)]


def rows_of_gone_executions(home: Home) -> list[dict[str, Any]]:
    """Of executions that no list has: only what is marked may still have rows."""
    there, dump = set(numbers(home)), home.store.dump()
    return [row for row in dump["history"] if row["incarnation"] == 1 and row["execution_id"] not in there]


steps = st.sampled_from(
    ["work", "child", "child that goes on", "detached", "status", "timer", "wait", "prune", "prune for nobody"]
)
lives = st.lists(st.lists(steps, max_size=4), min_size=2, max_size=7)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@settings(
    deadline=None,
    max_examples=int(EXAMPLES or 40),
    derandomize=EXAMPLES is None,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
@given(
    executions=lives,
    mail=st.integers(0, 2),
    keep_last=st.integers(1, 3),
    grace_s=st.sampled_from([0, 3600]),
    ended=st.booleans(),
    restarts=st.booleans(),
)
def test_every_answer_about_the_current_execution_is_the_same_after_a_prune_of_the_rest(
    kind: Literal["memory", "sqlite"],
    executions: list[list[str]],
    mail: int,
    keep_last: int,
    grace_s: float,
    ended: bool,
    restarts: bool,
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        urls = ["memory:"] * 2 if kind == "memory" else [f"sqlite:///{Path(directory) / each}.db" for each in "ab"]
        pruned, kept = homes = [Home(url) for url in urls]
        try:
            for home in homes:
                home.live(executions, mail)
                if ended:
                    home.end()
            check(pruned, kept, keep_last, grace_s, ended=ended, restarts=restarts)
        finally:
            for home in homes:
                home.store.close()


def check(pruned: Home, kept: Home, keep_last: int, grace_s: float, *, ended: bool, restarts: bool) -> None:
    before, there = answers(pruned), numbers(pruned)
    assert before == answers(kept)
    with duro.Client(pruned.store, ids=lambda: "of the prune") as operator:
        result = operator.prune_executions("life", keep_last, grace_s=grace_s)
    assert numbers(pruned) == there[-keep_last:]
    assert result.executions_deleted == len(there) - len(there[-keep_last:])
    assert answers(pruned) == before
    if grace_s == 0:
        assert rows_of_gone_executions(pruned) == []
    history = pruned.client.read_history("life")
    check_replay(history.events, registry, instance_id="life", execution_id=history.execution.execution_id)
    if not ended:
        for home in (pruned, kept):
            if restarts:
                home.restart()
            home.end()
        assert answers(pruned) == answers(kept)
        assert pruned.client.wait_for_orchestration("life", 0).output[-1] == "over"
    for home in (pruned, kept):
        check_invariants(home.store)


@pytest.mark.parametrize("table", ["mailbox", "timers", "waits"])
def test_a_prune_that_takes_along_what_is_not_its_own_is_caught(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    home, other = Home("memory:"), Home("memory:")
    for each in (home, other):
        each.live([["work"], ["work", "timer"]], mail=1)
    prune = MemoryStore.prune

    def greedy(store: MemoryStore, batch: PruneBatch, *, durable: bool = True) -> list[OrderResult]:
        (instance,) = store._instances.values()
        held = getattr(instance, table)
        setattr(instance, table, type(held)())
        return prune(store, batch, durable=durable)

    assert answers(home) == answers(other)
    monkeypatch.setattr(MemoryStore, "prune", greedy)
    with pytest.raises(AssertionError):
        check(home, other, 1, 0, ended=False, restarts=False)
