"""Orchestrations that the tests of the command line run; imported by tests and by `duroctl worker`."""

import asyncio
import time
from datetime import timedelta
from typing import Any

import duro

registry = duro.Registry()


@registry.activity
async def greet(ctx: duro.ActivityContext, name: str) -> str:
    return f"hello {name}"


@registry.activity
async def fail(ctx: duro.ActivityContext, message: str) -> str:
    raise ValueError(message)


@registry.activity
async def linger(ctx: duro.ActivityContext, seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "lingered"


@registry.activity
def sleep_in_a_thread(ctx: duro.ActivityContext, seconds: float) -> str:
    time.sleep(seconds)
    return "slept"


@registry.orchestration
async def hello(ctx: duro.OrchestrationContext, name: str) -> str:
    return str(await ctx.schedule_activity(greet, name))


@registry.orchestration
async def failing(ctx: duro.OrchestrationContext, message: str) -> str:
    return str(await ctx.schedule_activity(fail, message))


@registry.orchestration
async def rounds(ctx: duro.OrchestrationContext, left: int) -> str:
    await ctx.schedule_timer(timedelta(milliseconds=1))
    if left:
        await ctx.continue_as_new(left - 1)
    return "done"


@registry.orchestration
async def family(ctx: duro.OrchestrationContext) -> list[Any]:
    children = [ctx.schedule_sub_orchestration(hello, name, instance_id=f"child-{name}") for name in ("a", "b")]
    ctx.schedule_orchestration(hello, "c", instance_id="child-c")
    return list(await ctx.join(*children))


@registry.orchestration
async def waiting(ctx: duro.OrchestrationContext) -> Any:
    return await ctx.wait_for_event("go")


@registry.orchestration
async def lingering(ctx: duro.OrchestrationContext, seconds: float) -> str:
    return str(await ctx.schedule_activity(linger, seconds))


@registry.orchestration
async def sleeping(ctx: duro.OrchestrationContext, seconds: float) -> str:
    return str(await ctx.schedule_activity(sleep_in_a_thread, seconds))


no_registry = 3
