"""duroxide: ``python duroxide_program.py WORKLOAD SETTING SIZE DIRECTORY``. ``best``: one orchestration and one worker
slot, 1 ms poll; several of either fight over SQLite's write lock."""

import sys
import time
from typing import Any

from duroxide import Client, Runtime, RuntimeOptions, SqliteProvider
from measuring import Stopwatch, idle_cpu_percent, latencies, say

WAIT_MS = 300_000


def work(ctx: Any, number: int) -> int:
    return number + 1


def one(ctx: Any, number: int) -> Any:
    result = yield ctx.schedule_activity("work", number)
    return result


def chain(ctx: Any, steps: int) -> Any:
    number = 0
    for _ in range(steps):
        number = yield ctx.schedule_activity("work", number)
    return number


def fan(ctx: Any, width: int) -> Any:
    results = yield ctx.all([ctx.schedule_activity("work", number) for number in range(width)])
    return len(results)


def eternal(ctx: Any, left: int) -> Any:
    yield ctx.schedule_activity("work", left)
    if left > 1:
        yield ctx.continue_as_new(left - 1)
    return "done"


def start_all(client: Client, name: str, inputs: list[int]) -> list[str]:
    ids = [f"{name}-{time.monotonic_ns()}-{position}" for position in range(len(inputs))]
    for instance_id, value in zip(ids, inputs, strict=True):
        client.start_orchestration(instance_id, name, value)
    return ids


def finish_all(client: Client, ids: list[str]) -> list[Any]:
    results = [client.wait_for_orchestration(each, WAIT_MS) for each in ids]
    assert {result.status for result in results} == {"Completed"}, {result.status for result in results}
    return [result.output for result in results]


def run(workload: str, size: int, client: Client) -> dict[str, Any]:
    if workload in ("one_each", "latency", "idle", "first"):
        finish_all(client, start_all(client, "one", [1]))
    watch = Stopwatch()
    if workload in ("batch", "one_each"):
        finish_all(client, start_all(client, "one", list(range(size))))
    elif workload == "fan_out":
        assert set(finish_all(client, start_all(client, "fan", [100] * (size // 100)))) == {100}
    elif workload == "chain":
        assert finish_all(client, start_all(client, "chain", [size])) == [size]
    elif workload == "eternal":
        assert finish_all(client, start_all(client, "eternal", [size])) == ["done"]
    elif workload == "latency":
        return latencies(lambda: finish_all(client, start_all(client, "one", [1])), size)
    elif workload == "idle":
        return {"idle_percent": idle_cpu_percent()} | watch.figures(1)
    elif workload == "first":
        return {"done_at_s": time.monotonic()} | watch.figures(1)
    else:
        raise SystemExit(f"there is no workload {workload!r}")
    return watch.figures(size)


def main() -> None:
    workload, setting, size, directory = sys.argv[1:]
    options = RuntimeOptions(log_level="error")
    if setting == "best":
        options = RuntimeOptions(
            log_level="error", orchestration_concurrency=1, worker_concurrency=1, dispatcher_poll_interval_ms=1
        )
    provider = SqliteProvider.open(f"{directory}/duroxide.db")
    runtime = Runtime(provider, options)
    runtime.register_activity("work", work)
    for function in (one, chain, fan, eternal):
        runtime.register_orchestration(function.__name__, function)
    runtime.start()
    say(run(workload, int(size), Client(provider)))
    runtime.shutdown(100)


if __name__ == "__main__":
    main()
