"""Plain functions that do not return when their time is over."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import duro

WAIT_S = 20.0


class Stuck:
    """``hangs`` runs out of time and stays in its thread until ``leave``; ``quick`` says who ran it."""

    def __init__(self) -> None:
        self.leave = threading.Event()
        self.inside = 0
        self.inside_max = 0
        self._lock = threading.Lock()

    def registry(self, who: str) -> duro.Registry:
        registry = duro.Registry()

        @registry.activity(max_concurrent=1)
        def hangs(ctx: duro.ActivityContext) -> str:
            with self._lock:
                self.inside += 1
                self.inside_max = max(self.inside_max, self.inside)
            self.leave.wait(WAIT_S)
            with self._lock:
                self.inside -= 1
            return who

        @registry.activity
        def quick(ctx: duro.ActivityContext) -> str:
            return who

        @registry.orchestration
        async def runs_out(ctx: duro.OrchestrationContext, attempts: int) -> str:
            retry = duro.RetryPolicy(max_attempts=attempts, delay_s=0.01)
            return await ctx.schedule_activity(hangs, timeout=0.1, retry=retry)

        @registry.orchestration
        async def asks(ctx: duro.OrchestrationContext) -> str:
            return await ctx.schedule_activity(quick)

        return registry


@pytest.fixture
def stuck() -> Iterator[Stuck]:
    made = Stuck()
    yield made
    made.leave.set()


def test_a_function_that_runs_on_after_its_time_counts_as_one_that_runs(stuck: Stuck) -> None:
    with duro.Runtime("memory:", stuck.registry("one")) as runtime:
        client = runtime.client
        client.start_orchestration("runs_out", 2, instance_id="a")
        with pytest.raises(duro.WaitTimeoutError):
            client.wait_for_orchestration("a", 0.5)
        assert (stuck.inside, stuck.inside_max) == (1, 1)
        stuck.leave.set()
        assert client.wait_for_orchestration("a", WAIT_S).output == "one"
        assert stuck.inside_max == 1


def test_what_a_worker_with_stuck_threads_cannot_run_another_one_does(stuck: Stuck, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'duro.db'}"
    options = duro.RuntimeOptions(max_activity_threads=1)
    with duro.Runtime(url, stuck.registry("one"), options) as first:
        client = first.client
        client.start_orchestration("runs_out", 1, instance_id="a")
        assert client.wait_for_orchestration("a", WAIT_S).status is duro.InstanceStatus.FAILED
        assert stuck.inside == 1
        ids = client.start_orchestrations(duro.Start(orchestration="asks") for _ in range(10))
        with duro.Runtime(url, stuck.registry("two"), options):
            results = client.wait_for_orchestrations(ids, WAIT_S)
            assert [result.output for result in results] == ["two"] * 10
        stuck.leave.set()
        started = client.start_orchestration("asks")
        assert client.wait_for_orchestration(started, WAIT_S).output == "one"


@pytest.mark.parametrize("threads", [1, 4])
def test_activities_for_which_the_system_gives_no_thread_run_when_it_does(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They, and all that were to begin with them, hung in the hand of a living worker."""
    start, refused = threading.Thread.start, list[str]()

    def starts(thread: threading.Thread) -> None:
        if thread.name.startswith("duro-activity-") and len(refused) < 3:
            refused.append(thread.name)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", starts)
    registry = duro.Registry()

    @registry.activity
    def plain(ctx: duro.ActivityContext, number: int) -> int:
        return number

    @registry.activity
    async def other(ctx: duro.ActivityContext, number: int) -> int:
        return number

    @registry.orchestration
    async def both(ctx: duro.OrchestrationContext) -> list[int]:
        names = ("plain", "other")
        return list(await ctx.join(*[ctx.schedule_activity(names[number % 2], number) for number in range(8)]))

    with duro.Runtime("memory:", registry, duro.RuntimeOptions(max_activity_threads=threads)) as runtime:
        started = runtime.client.start_orchestration("both")
        assert runtime.client.wait_for_orchestration(started, WAIT_S).output == list(range(8))
    assert len(refused) == 3


def test_the_doctor_says_which_worker_has_stuck_threads_until_they_return(stuck: Stuck, tmp_path: Path) -> None:
    options = duro.RuntimeOptions(lease_s=0.3)
    with duro.Runtime(f"sqlite:///{tmp_path / 'duro.db'}", stuck.registry("one"), options) as runtime:
        client = runtime.client
        client.start_orchestration("runs_out", 1, instance_id="a")
        assert client.wait_for_orchestration("a", WAIT_S).status is duro.InstanceStatus.FAILED
        (worker,) = client.list_workers()

        def said() -> list[tuple[str, str]]:
            (check,) = [each for each in client.checkup() if each.name == "threads-stuck"]
            return [(each.subject, each.text) for each in check.findings]

        eventually(said, [(worker.worker_id, f"1 thread of process {worker.process_id} on {worker.host}")])
        stuck.leave.set()
        eventually(said, [])


def eventually(say: Callable[[], object], what: object) -> None:
    until_s = time.monotonic() + WAIT_S
    while (said := say()) != what:
        assert time.monotonic() < until_s, said
        time.sleep(0.02)
