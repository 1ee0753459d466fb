"""What runs in a simulation: orchestrations of every kind, each with an outcome that follows from its input."""

from typing import Any, Final

import duro
from duro.model.status import InstanceStatus

Input = Any

SHORT_S: Final = 0.05
LONG: Final = 6
RETRY: Final = duro.RetryPolicy(max_attempts=4, delay_s=0.01)


async def work(ctx: duro.ActivityContext, failures: int) -> int:
    """Fails so many times, and gives the attempt that did not."""
    if ctx.attempt <= failures:
        raise RuntimeError(f"attempt {ctx.attempt} of {failures}")
    return ctx.attempt


async def chain(ctx: duro.OrchestrationContext, failures: list[int]) -> list[int]:
    """One activity after the other."""
    return [await ctx.schedule_activity(work, each, retry=RETRY) for each in failures]


async def broken(ctx: duro.OrchestrationContext, failures: int) -> None:
    """Ends with an error."""
    await ctx.schedule_activity(work, failures, retry=RETRY)
    raise ValueError("broken")


async def naps(ctx: duro.OrchestrationContext, count: int) -> int:
    """Timers beside timers that lose."""
    for _ in range(count):
        index, _ = await ctx.select(ctx.schedule_timer(SHORT_S), ctx.schedule_timer(3600))
        assert index == 0
    return count


async def beside(ctx: duro.OrchestrationContext, count: int) -> list[int]:
    """Activities, and turns meanwhile that are not for their sake; where there are several these turns begin others."""
    works = [ctx.schedule_activity(work, (number + count) % 2, retry=RETRY) for number in range(count)]
    for _ in range(2):
        await ctx.select(ctx.wait_for_event("item"), ctx.schedule_timer(SHORT_S))
        if count > 1:
            works.append(ctx.schedule_activity(work, 0))
    return [await each for each in works]


async def patient(ctx: duro.OrchestrationContext, value: int) -> Any:
    """Waits for what it is told; cleans up with durable work when it is cancelled."""
    try:
        told = await ctx.wait_for_event("go")
    except duro.OrchestrationCancelled:
        await ctx.schedule_activity(work, 0)
        raise
    return [value, told]


async def collector(ctx: duro.OrchestrationContext, state: dict[str, Any]) -> list[Any]:
    """Takes ``wanted`` events, two an execution, sometimes beside a timer that may win."""
    got = list(state["got"])
    for _ in range(2):
        if len(got) == state["wanted"]:
            return got
        while ctx.random() < 0.4:
            index, item = await ctx.select(ctx.wait_for_event("item"), ctx.schedule_timer(SHORT_S))
            if index == 0:
                break
        else:
            item = await ctx.wait_for_event("item")
        got.append(item)
    await ctx.continue_as_new({**state, "got": got}, prune=state["prune"])
    raise AssertionError("not reached")


async def loop(ctx: duro.OrchestrationContext, state: dict[str, Any]) -> list[int]:
    """``left`` executions with an activity each; asks for prunes in its own code where it is told to: in every other
    execution, and a long one in its last but one, when there is more to prune than a turn looks at. Where it asks for
    none so, its last but one has no activity and says nothing of pruning: it ends in the commit that began it."""
    left, done = state["left"], state["done"] + 1
    is_long = left + done > LONG
    if left == 2 and not state["asks"]:
        await ctx.continue_as_new({**state, "left": 1, "done": done})
    await ctx.schedule_activity(work, done % 2, retry=RETRY)
    if state["asks"] and (left == 2 if is_long else left % 2):
        result = await ctx.prune_history(state["asks"])
        assert result.error is None, result
    if left > 1:
        await ctx.continue_as_new({**state, "left": left - 1, "done": done}, prune=state["prune"])
    return [ctx.execution_id, done]


async def family(ctx: duro.OrchestrationContext, state: dict[str, Any]) -> int:
    """Spawns what it is told in each of ``rounds`` executions, and waits for some of it."""
    waited_for = []
    for number, (kind, input_, how, on_continue, on_end) in enumerate(state["spawns"]):
        child_id = f"{ctx.instance_id}-{ctx.execution_id}{number}"
        if how == "detached":
            ctx.schedule_orchestration(kind, input_, instance_id=child_id)
            continue
        child = ctx.schedule_sub_orchestration(
            kind,
            input_,
            instance_id=child_id,
            on_parent_continue=on_continue,
            on_parent_end=on_end,
        )
        if how == "awaited":
            waited_for.append(child)
        elif how == "raced":
            waited_for.append(ctx.select(child, ctx.schedule_timer(SHORT_S)))
    await ctx.join(*waited_for, return_exceptions=True)
    if state["pause"]:
        await ctx.schedule_timer(state["pause"])
    if state["rounds"] > 1:
        await ctx.continue_as_new({**state, "rounds": state["rounds"] - 1})
    return ctx.execution_id


async def newer_loop(ctx: duro.OrchestrationContext, state: dict[str, Any]) -> list[int]:
    return await loop(ctx, state)


def registry_of(*, newer: bool) -> duro.Registry:
    """Of an older worker, or of a newer one, which has a further version of the loop."""
    registry = duro.Registry()
    registry.activity(work)
    for function in (chain, broken, naps, beside, patient, collector, family):
        registry.orchestration(function)
    registry.orchestration(name="loop", version="1.0.0")(loop)
    if newer:
        registry.orchestration(name="loop", version="2.0.0")(newer_loop)
    return registry


OLDER: Final = registry_of(newer=False)
NEWER: Final = registry_of(newer=True)


def expected(name: str, given: Input) -> tuple[InstanceStatus, Any] | None:
    """How an instance ends that nobody stops; None: that depends on what it is told."""
    match name:
        case "chain":
            return InstanceStatus.COMPLETED, [failures + 1 for failures in given]
        case "broken":
            return InstanceStatus.FAILED, None
        case "naps":
            return InstanceStatus.COMPLETED, given
        case "beside":
            others = [1, 1] if given > 1 else []
            return InstanceStatus.COMPLETED, [*((number + given) % 2 + 1 for number in range(given)), *others]
        case "loop":
            return InstanceStatus.COMPLETED, [given["left"], given["left"]]
        case "family":
            return InstanceStatus.COMPLETED, given["rounds"]
    return None
