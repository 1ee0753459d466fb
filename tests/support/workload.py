"""Orchestrations of every kind, for workers that are killed, stopped and watched for long.

Each has an outcome that follows from its input, and every activity leaves a line in an effects log, so that what
happened can be compared with what histories say. Run by ``duroctl worker tests.support.workload:registry``.
"""

import os
import threading
import time
from pathlib import Path
from typing import Any, Final

import apsw

import duro

EFFECTS_LOG_VARIABLE: Final = "DURO_EFFECTS_LOG"
"""The environment variable that names the effects log; without it no effect is logged."""

CACHE_LOG_VARIABLE: Final = "DURO_CACHE_LOG"
"""The environment variable that names the directory in which a worker notes, in a file called by its process id, the
bytes that SQLite holds in it; without it none does."""

_CACHE_LOG_INTERVAL_S: Final = 0.2

SENDERS: Final = ("ann", "bob")
"""Who raises events; the events of each have an order."""

registry = duro.Registry()


def cache_log_of(directory: Path, process_id: int) -> Path:
    return directory / f"cache-{process_id}"


def _note_cache(directory: Path) -> None:
    path = cache_log_of(directory, os.getpid())
    while True:
        part = path.with_suffix(".part")
        part.write_text(str(apsw.memory_used()))
        part.replace(path)
        time.sleep(_CACHE_LOG_INTERVAL_S)


if CACHE_LOG_VARIABLE in os.environ:
    threading.Thread(target=_note_cache, args=(Path(os.environ[CACHE_LOG_VARIABLE]),), daemon=True).start()


def log_effect(idempotency_key: str) -> None:
    """One line of the effects log, in one ``write`` of a descriptor in append mode: lines of processes never mix."""
    path = os.environ.get(EFFECTS_LOG_VARIABLE)
    if path is None:
        return
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, f"{idempotency_key}\n".encode())
    finally:
        os.close(descriptor)


@registry.activity
async def add_one(ctx: duro.ActivityContext, number: int) -> int:
    log_effect(ctx.idempotency_key)
    return number + 1


@registry.activity
def add_one_in_a_thread(ctx: duro.ActivityContext, number: int) -> int:
    log_effect(ctx.idempotency_key)
    return number + 1


@registry.orchestration
async def chain(ctx: duro.OrchestrationContext, steps: int) -> int:
    """Activities one after the other, async and plain in turns; the result is the number of steps."""
    number = 0
    for step in range(steps):
        number = await ctx.schedule_activity(add_one if step % 2 else add_one_in_a_thread, number)
    return number


@registry.orchestration
async def fan_out(ctx: duro.OrchestrationContext, width: int) -> int:
    """Activities side by side; the result is 1 + 2 + ... + width."""
    in_threads = [ctx.schedule_activity(add_one_in_a_thread, number) for number in range(0, width, 2)]
    on_the_loop = [ctx.schedule_activity(add_one, number) for number in range(1, width, 2)]
    return sum(await ctx.join(*in_threads, *on_the_loop))


@registry.orchestration
async def family(ctx: duro.OrchestrationContext, children: int) -> int:
    """Children side by side, each a chain of two; the result is the sum of theirs."""
    results = await ctx.join(*[ctx.schedule_sub_orchestration(chain, 2) for _ in range(children)])
    return sum(results)


@registry.orchestration
async def sleeper(ctx: duro.OrchestrationContext, naps: int) -> int:
    """Timers one after the other, each beside one that loses; the result is the number of naps."""
    for _ in range(naps):
        index, _ = await ctx.select(ctx.schedule_timer(0.02), ctx.schedule_timer(3600))
        assert index == 0
    return naps


@registry.orchestration
async def loop(ctx: duro.OrchestrationContext, state: list[int]) -> list[int]:
    """``state`` is [executions left, activities so far]: one activity an execution."""
    left, done = state
    done = await ctx.schedule_activity(add_one, done)
    if left > 1:
        await ctx.continue_as_new([left - 1, done])
    return [ctx.execution_id, done]


@registry.orchestration
async def leaver(ctx: duro.OrchestrationContext, left: int) -> int:
    """``left`` executions, each of which leaves a child behind that it does not wait for; the result is 1."""
    ctx.schedule_sub_orchestration(chain, 3)
    await ctx.schedule_activity(add_one, left)
    if left > 1:
        await ctx.continue_as_new(left - 1)
    return left


@registry.orchestration
async def collector(ctx: duro.OrchestrationContext, state: dict[str, Any]) -> list[Any]:
    """Takes ``wanted`` events, three an execution, some of them from a ``select`` that a timer may win; the result are
    the events in the order in which they came."""
    got = list(state["got"])
    for _ in range(3):
        if len(got) == state["wanted"]:
            return got
        while ctx.random() < 0.3:
            index, item = await ctx.select(ctx.wait_for_event("item"), ctx.schedule_timer(0.01))
            if index == 0:
                break
        else:
            item = await ctx.wait_for_event("item")
        got.append(item)
        await ctx.schedule_activity(add_one, len(got))
    await ctx.continue_as_new({"wanted": state["wanted"], "got": got})
    raise AssertionError("not reached")


@registry.orchestration
async def patient(ctx: duro.OrchestrationContext, child: bool) -> None:
    """Waits for ever, itself and in a child; cleans up with durable work when cancelled."""
    try:
        if child:
            await ctx.schedule_sub_orchestration(patient, False)
        await ctx.wait_for_event("never")
    finally:
        await ctx.schedule_activity(add_one_in_a_thread, 1)


@registry.orchestration
async def eternal(ctx: duro.OrchestrationContext, number: int) -> None:
    """One activity an execution, until it is cancelled."""
    number = await ctx.schedule_activity(add_one, number)
    await ctx.schedule_timer(0.2)
    await ctx.continue_as_new(number)
