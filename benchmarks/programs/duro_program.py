"""duro: ``python -m benchmarks.programs.duro_program WORKLOAD SETTING SIZE DIRECTORY``."""

import sys
import time
from typing import Any

import duro
from benchmarks.programs.measuring import Stopwatch, idle_cpu_percent, latencies, say

registry = duro.Registry()

WAIT_S = 600.0


@registry.activity
async def work(ctx: duro.ActivityContext, number: int) -> int:
    return number + 1


@registry.orchestration
async def one(ctx: duro.OrchestrationContext, number: int) -> int:
    return await ctx.schedule_activity(work, number)


@registry.orchestration
async def chain(ctx: duro.OrchestrationContext, steps: int) -> int:
    number = 0
    for _ in range(steps):
        number = await ctx.schedule_activity(work, number)
    return number


@registry.orchestration
async def fan(ctx: duro.OrchestrationContext, width: int) -> int:
    return sum(await ctx.join(*[ctx.schedule_activity(work, number) for number in range(width)]))


@registry.orchestration
async def eternal(ctx: duro.OrchestrationContext, left: int) -> int:
    await ctx.schedule_activity(work, left)
    if left > 1:
        await ctx.continue_as_new(left - 1)
    return ctx.execution_id


@registry.orchestration
async def waits(ctx: duro.OrchestrationContext, number: int) -> int:
    await ctx.wait_for_event("go")
    return number


def run(workload: str, size: int, client: duro.Client) -> dict[str, Any]:
    if workload in ("one_each", "latency", "idle", "first"):
        client.wait_for_orchestration(client.start_orchestration(one, 1), WAIT_S)
    watch = Stopwatch()
    if workload == "batch":
        starts = [duro.Start(orchestration=one, input=number) for number in range(size)]
        results = client.wait_for_orchestrations(client.start_orchestrations(starts), WAIT_S)
        assert [result.output for result in results] == [number + 1 for number in range(size)]
        return watch.figures(size)
    if workload == "one_each":
        started = [client.start_orchestration(one, number) for number in range(size)]
        client.wait_for_orchestrations(started, WAIT_S)
        return watch.figures(size)
    if workload == "fan_out":
        starts = [duro.Start(orchestration=fan, input=100) for _ in range(size // 100)]
        results = client.wait_for_orchestrations(client.start_orchestrations(starts), WAIT_S)
        assert {result.output for result in results} == {5050}
        return watch.figures(size)
    if workload == "chain":
        assert client.wait_for_orchestration(client.start_orchestration(chain, size), WAIT_S).output == size
        return watch.figures(size)
    if workload == "eternal":
        assert client.wait_for_orchestration(client.start_orchestration(eternal, size), WAIT_S).output == size
        return watch.figures(size)
    if workload == "latency":
        return latencies(lambda: client.wait_for_orchestration(client.start_orchestration(one, 1), WAIT_S), size)
    if workload == "idle":
        return {"idle_percent": idle_cpu_percent()} | watch.figures(1)
    if workload == "first":
        return {"done_at_s": time.monotonic()} | watch.figures(1)
    if workload == "memory":
        return _memory(size, client, watch)
    raise SystemExit(f"there is no workload {workload!r}")


def _memory(size: int, client: duro.Client, watch: Stopwatch) -> dict[str, Any]:
    """``size`` instances that wait; then each hundredth gets its event, one after the other."""
    started: list[str] = []
    for _ in range(size // 1000):
        started += client.start_orchestrations(
            [duro.Start(orchestration=waits, input=number) for number in range(1000)]
        )
    for each in started[::100]:
        client.raise_event(each, "go")
    client.wait_for_orchestrations(started[::100], WAIT_S)
    return watch.figures(size)


def main() -> None:
    workload, setting, size, directory = sys.argv[1:]
    options = duro.RuntimeOptions() if setting == "default" else duro.RuntimeOptions(cache_size=int(setting))
    with duro.Runtime(f"sqlite:///{directory}/duro.db", registry, options) as runtime:
        say(run(workload, int(size), runtime.client))


if __name__ == "__main__":
    main()
