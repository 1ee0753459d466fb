"""A client in one process, orchestrations in a second, activities in a third: what travels between them on one file."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import duro
from duro.model.records import InstanceFilter
from duro.testing.invariants import check_invariants

WAIT_S = 30.0

WORKER = """
import asyncio, os, pathlib, sys
import duro

url, marks, role = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3]
registry = duro.Registry()

def mark(name: str) -> None:
    (marks / name).write_text(str(os.getpid()))

async def hang(ctx: duro.ActivityContext) -> None:
    mark("async began")
    try:
        await asyncio.sleep(600)
    finally:
        mark("async stopped")

def hang_in_a_thread(ctx: duro.ActivityContext) -> None:
    mark("plain began")
    ctx.wait_for_cancellation(600)
    mark("plain stopped")

async def tidy(ctx: duro.ActivityContext) -> None:
    mark(f"{ctx.instance_id} tidied")

async def add(ctx: duro.ActivityContext, number: int) -> int:
    return number + 1

async def leaf(ctx: duro.OrchestrationContext) -> None:
    try:
        await ctx.join(ctx.schedule_activity("hang"), ctx.schedule_activity("hang_in_a_thread"))
    except duro.OrchestrationCancelled:
        await ctx.schedule_activity("tidy")
        raise

async def middle(ctx: duro.OrchestrationContext) -> None:
    await ctx.schedule_sub_orchestration("leaf", instance_id="leaf")

async def root(ctx: duro.OrchestrationContext) -> None:
    try:
        await ctx.schedule_sub_orchestration("middle", instance_id="middle")
    finally:
        await ctx.schedule_activity("tidy")

async def adds(ctx: duro.OrchestrationContext, number: int) -> int:
    await ctx.wait_for_event("go")
    return await ctx.schedule_activity("add", number)

async def rounds(ctx: duro.OrchestrationContext, number: int) -> None:
    await ctx.schedule_timer(0.002)
    await ctx.continue_as_new(number + 1)

for function in (hang, hang_in_a_thread, tidy, add) if role == "activities" else ():
    registry.activity(function)
for function in (leaf, middle, root, adds, rounds) if role == "orchestrations" else ():
    registry.orchestration(function)
with duro.Runtime(url, registry):
    print("ready", flush=True)
    sys.stdin.read()
"""


class Processes:
    """Two worker processes on one file, and a client here."""

    def __init__(self, directory: Path) -> None:
        self.url = f"sqlite:///{directory}/duro.db"
        self.marks = directory / "marks"
        self.marks.mkdir()
        self.client = duro.Client(self.url)
        environment = {**os.environ, "PYTHONPATH": str(Path(duro.__path__[0]).parent)}
        self.workers = [
            subprocess.Popen(
                [sys.executable, "-c", WORKER, self.url, str(self.marks), role],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for role in ("orchestrations", "activities")
        ]
        for worker in self.workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"

    def stop(self) -> None:
        for worker in self.workers:
            worker.communicate(timeout=WAIT_S)
            assert worker.returncode == 0
        check_invariants(self.client.store)
        self.client.close()

    def until(self, is_so: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + WAIT_S
        while not is_so():
            assert time.monotonic() < deadline_s, sorted(path.name for path in self.marks.iterdir())
            time.sleep(0.005)

    def until_marked(self, *names: str) -> None:
        self.until(lambda: all((self.marks / name).exists() for name in names))


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    running = Processes(tmp_path)
    try:
        yield running
        running.stop()
    finally:
        for worker in running.workers:
            worker.kill()
            worker.communicate()


def test_a_cancel_is_looked_for_often_enough_to_arrive_within_a_second() -> None:
    options = duro.RuntimeOptions()
    assert options.cancel_check_s + 5 * options.poll_interval_s < 1.0


def test_a_cancel_reaches_the_whole_tree_and_activities_in_another_process(processes: Processes) -> None:
    client = processes.client
    client.start_orchestration("root", instance_id="root")
    processes.until_marked("async began", "plain began")
    client.cancel("root", "enough")
    result = client.wait_for_orchestration("root", WAIT_S)
    assert (result.status, result.failure and result.failure.message) == ("cancelled", "enough")
    processes.until_marked("async stopped", "plain stopped")
    for instance_id in ("middle", "leaf"):
        assert client.wait_for_orchestration(instance_id, WAIT_S).status == "cancelled"
    processes.until_marked("root tidied", "leaf tidied")
    assert {path.read_text() for path in processes.marks.iterdir()} == {str(processes.workers[1].pid)}


def test_a_cancel_finds_an_instance_that_continues_as_new_all_the_time(processes: Processes) -> None:
    client = processes.client
    for n in range(10):
        client.start_orchestration("rounds", 0, instance_id=f"rounds-{n}")
    processes.until(lambda: all(client.get_instance(f"rounds-{n}").execution_id > 2 for n in range(10)))
    for n in range(10):
        client.cancel(f"rounds-{n}", request_id="once")
    for n in range(10):
        assert client.wait_for_orchestration(f"rounds-{n}", WAIT_S).status == "cancelled"
        client.cancel(f"rounds-{n}", request_id="once")


def test_a_batch_started_from_here_is_done_there(processes: Processes) -> None:
    client = processes.client
    starts = [duro.Start(orchestration="adds", input=n) for n in range(50)]
    started = client.start_orchestrations(starts, request_id="batch")
    for instance_id in started:
        client.raise_event(instance_id, "go", request_id="go")
    assert [client.wait_for_orchestration(each, WAIT_S).output for each in started] == list(range(1, 51))
    assert client.start_orchestrations(starts, request_id="batch") == started
    assert len(client.list_instances(InstanceFilter(name="adds"), limit=0).instances) == 50


def test_an_async_client_waits_for_what_other_processes_do(processes: Processes) -> None:
    async def run() -> list[object]:
        async with duro.AsyncClient(duro.Client(processes.url)) as client:
            started = await client.start_orchestrations([duro.Start(orchestration="adds", input=n) for n in range(10)])
            waits = [asyncio.create_task(client.wait_for_orchestration(each, WAIT_S)) for each in started]
            for each in started:
                await client.raise_event(each, "go")
            return [(await wait).output for wait in waits]

    assert asyncio.run(run()) == list(range(1, 11))
