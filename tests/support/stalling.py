"""A worker whose turn can be held in the middle, for a process that is stopped there; it counts what it does.

``python -m tests.support.stalling STORE_URL LEASE_S`` works until SIGTERM and then prints its counters as JSON. In the
directory it runs in, the file ``arrived-PID`` says that a turn waits at the gate, and ``open`` opens the gate.
"""

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Final

import msgspec

import duro
from tests.support.workload import log_effect

GATE: Final = "open"

registry = duro.Registry()


@registry.activity
async def who(ctx: duro.ActivityContext) -> int:
    log_effect(f"{ctx.idempotency_key} {os.getpid()}")
    return os.getpid()


@registry.orchestration
async def stalls(ctx: duro.OrchestrationContext) -> list[int]:
    """The process ids that ran the activities before and after the gate. (Waiting at the gate is nothing an
    orchestration should do; it changes when this turn ends, not what it does.)"""
    before = await ctx.schedule_activity(who)
    Path(f"arrived-{os.getpid()}").touch()
    while not Path(GATE).exists():
        time.sleep(0.005)
    after = await ctx.schedule_activity(who)
    return [before, after]


def main(url: str, lease_s: str) -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with duro.Runtime(url, registry, duro.RuntimeOptions(lease_s=float(lease_s))) as runtime:
        print(f"worker {runtime.worker_id}", flush=True)
        stop.wait()
    print(msgspec.json.encode(runtime.counters).decode(), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
