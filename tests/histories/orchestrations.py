"""The orchestrations that the recorded histories beside this file belong to.

They are never changed: a history recorded by any release must replay with them for ever. A new scenario gets a new
orchestration, or a new version of one.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import msgspec

from duro import PruneOptions, RetryPolicy
from duro.errors import ActivityFailedError, SubOrchestrationFailedError
from duro.registry import Registry
from duro.replay.context import OrchestrationContext

registry = Registry()


@dataclass
class Order:
    sku: str
    quantity: int = 1


@registry.activity
async def charge(ctx: Any, order: Order) -> str:
    """Never run here: the histories hold its results."""
    raise NotImplementedError


@registry.orchestration
async def sell(ctx: OrchestrationContext, order: Order) -> dict[str, Any]:
    """One of everything that has an answer, one after the other."""
    receipt = await ctx.schedule_activity(
        charge,
        order,
        retry=RetryPolicy(max_attempts=4, backoff="linear", non_retryable_errors=("Refused",)),
        timeout=30,
        total_timeout=300,
    )
    await ctx.schedule_timer(60)
    approval = await ctx.wait_for_event("approved")
    parcel = await ctx.schedule_sub_orchestration(
        "ship",
        {"receipt": receipt},
        instance_id="parcel-7",
        version="1.2.0",
        on_parent_continue="abandon",
        on_parent_end="terminate",
    )
    mail = ctx.schedule_orchestration("mail", {"to": "\u00e9\u20ac\U0001f4e6"}, instance_id="mail-7")
    ctx.set_custom_status("sold")
    return {"receipt": receipt, "approval": approval, "parcel": parcel, "mail": mail}


@registry.orchestration
async def refuse(ctx: OrchestrationContext) -> list[str]:
    """Failures that are handled, then one that is not."""
    handled = []
    try:
        await ctx.schedule_activity("charge", {"sku": "x"})
    except ActivityFailedError as error:
        handled.append(error.failure.message)
    try:
        await ctx.schedule_sub_orchestration("ship", instance_id="parcel")
    except SubOrchestrationFailedError as error:
        handled.append(error.failure.type)
        raise ValueError(f"gave up after {handled}") from error
    return handled


@registry.orchestration
async def race(ctx: OrchestrationContext) -> list[Any]:
    """A select with a loser of every kind, a coroutine with durable cleanup among them."""

    async def guarded() -> str:
        try:
            return str(await ctx.schedule_activity("reserve"))
        finally:
            await ctx.schedule_activity("release")

    index, value = await ctx.select(
        ctx.schedule_activity("quick"),
        ctx.schedule_activity("slow"),
        ctx.schedule_timer(5),
        ctx.wait_for_event("stop"),
        ctx.schedule_sub_orchestration("helper", instance_id="helper-1"),
        guarded(),
    )
    return [index, value]


@registry.orchestration
async def careful(ctx: OrchestrationContext) -> None:
    """Cleans up when it is cancelled."""

    async def part(name: str) -> None:
        try:
            await ctx.schedule_activity(name)
        finally:
            await ctx.schedule_activity(f"undo {name}")

    ctx.schedule_timer(3_600)
    await ctx.join(part("first"), part("second"))


@registry.orchestration
async def eternal(ctx: OrchestrationContext, cursor: int) -> None:
    """One batch an execution; the third one ends."""
    cursor += await ctx.schedule_activity("batch", cursor)
    if ctx.execution_id == 3:
        return
    ctx.schedule_orchestration("report", cursor)
    await ctx.continue_as_new(cursor)


@registry.orchestration
async def chance(ctx: OrchestrationContext) -> list[str]:
    """Everything that follows from the seed and from time shows in what it asks for."""
    for _ in range(3):
        await ctx.schedule_activity(f"pick {int(ctx.random() * 1_000_000)}")
    await ctx.schedule_activity(f"guid {ctx.new_guid()}")
    await ctx.schedule_activity(f"at {ctx.utc_now().isoformat()}, {ctx.history_event_count}, {ctx.history_bytes}")
    await ctx.schedule_sub_orchestration("child")
    return [ctx.schedule_orchestration("\u00e9" * 40)]


@registry.orchestration
def steps(ctx: OrchestrationContext, names: list[str]) -> Generator[Any, Any, list[Any]]:
    """A generator, and helper coroutines that finish in another order than they began."""

    async def helper(name: str) -> list[Any]:
        return [await ctx.schedule_activity(f"{name} {number}") for number in (1, 2)]

    joined = yield ctx.join(*(helper(name) for name in names), return_exceptions=True)
    first = yield ctx.wait_for_event("n")
    second = yield ctx.wait_for_event("n")
    return [[str(each) for each in joined], first, second]


@registry.orchestration
async def tidy(ctx: OrchestrationContext) -> list[int]:
    """Prunes twice: one answer is waited for, the other loses against a timer."""
    pruned = await ctx.prune_history(3)
    index, _ = await ctx.select(ctx.schedule_timer(60), ctx.prune_history(1))
    await ctx.schedule_activity(f"report {pruned.executions_deleted}")
    return [pruned.executions_deleted, index]


@registry.orchestration
async def tidy_for_ever(ctx: OrchestrationContext, rounds: int) -> list[Any]:
    """Prunes awaited, as the loser of a select, awaited by nobody, and when it continues."""
    first = await ctx.prune_history(PruneOptions(keep_last=2, keep_within=3_600))
    index, _ = await ctx.select(ctx.wait_for_event("go"), ctx.prune_history(1))
    if rounds > 1:
        ctx.prune_history(3)
        await ctx.continue_as_new(rounds - 1, prune=2)
    last = await ctx.prune_history(1)
    return [msgspec.to_builtins(first), index, last.error]
