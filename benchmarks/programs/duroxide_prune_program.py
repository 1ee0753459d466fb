"""duroxide: ``python duroxide_prune_program.py bulk SETTING SIZE DIRECTORY``: SIZE instances of 100 executions of 10
events, all but the current executions pruned by its own bulk call."""

import sys
import time
from pathlib import Path
from typing import Any

from duroxide import Client, PruneOptions, PyInstanceFilter, Runtime, RuntimeOptions, SqliteProvider
from measuring import Stopwatch, say
from prune_store import copy_instances

EXECUTIONS = 100


def work(ctx: Any, number: int) -> int:
    return number + 1


def long_loop(ctx: Any, left: int) -> Any:
    for _ in range(4):
        yield ctx.schedule_activity("work", left)
    if left > 1:
        yield ctx.continue_as_new(left - 1)
    yield ctx.wait_for_event("go")
    return left


def main() -> None:
    _, _, size, directory = sys.argv[1:]
    file = Path(directory) / "duroxide.db"
    provider = SqliteProvider.open(str(file))
    options = RuntimeOptions(
        log_level="error", orchestration_concurrency=1, worker_concurrency=1, dispatcher_poll_interval_ms=1
    )
    runtime = Runtime(provider, options)
    runtime.register_activity("work", work)
    runtime.register_orchestration("long_loop", long_loop)
    runtime.start()
    client = Client(provider)
    client.start_orchestration("loop-1", "long_loop", EXECUTIONS)
    time.sleep(1.0)
    while client.get_instance_info("loop-1").current_execution_id < EXECUTIONS:
        time.sleep(0.05)
    time.sleep(1.0)
    runtime.shutdown(500)
    copy_instances(file, int(size), ("instances", "executions", "history"), {"instance_id": "'loop-' || n"})
    watch = Stopwatch()
    result = client.prune_executions_bulk(PyInstanceFilter(), PruneOptions(keep_last=1))
    assert result.executions_deleted == int(size) * (EXECUTIONS - 1), result
    say(watch.figures(result.events_deleted))


if __name__ == "__main__":
    main()
