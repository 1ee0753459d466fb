"""The engine and combinations nested deeper than Python's stack: they resolve, fail and are cancelled like others."""

import sys
from collections.abc import Callable, Generator
from typing import Any, Final

import pytest

from duro.errors import ActivityFailedError
from duro.replay.context import OrchestrationContext
from duro.replay.futures import DurableFuture
from duro.testing.histories import (
    Arrival,
    activity_error,
    activity_result,
    activity_scheduled,
    cancel_asked,
    cancelled,
    completed,
    continued_as_new,
    drive,
    event_raised,
)

LEVELS: Final = 2 * sys.getrecursionlimit()
"""Whatever a level costs, calls inside calls cannot go as deep."""


def nested_joins(ctx: OrchestrationContext, innermost: DurableFuture[Any]) -> DurableFuture[Any]:
    for _ in range(LEVELS):
        innermost = ctx.join(innermost)
    return innermost


def nested_selects(ctx: OrchestrationContext, innermost: DurableFuture[Any]) -> DurableFuture[Any]:
    for _ in range(LEVELS):
        innermost = ctx.select(innermost)
    return innermost


def unwrapped(value: Any) -> tuple[int, Any]:
    """How deep the value lies, and the value; every level is the list of a join or the pair of a select."""
    depth = 0
    while isinstance(value, list | tuple):
        value, depth = value[-1], depth + 1
    return depth, value


Nest = Callable[[OrchestrationContext, DurableFuture[Any]], DurableFuture[Any]]
nests = pytest.mark.parametrize("nest", [nested_joins, nested_selects])


@nests
def test_a_result_passes_through_every_level(nest: Nest) -> None:
    async def deep(ctx: OrchestrationContext) -> Any:
        return unwrapped(await nest(ctx, ctx.schedule_activity("work")))

    engine = drive(deep)
    engine.forget()
    engine.turn(activity_result(2, "done"))
    assert engine.result == [LEVELS, "done"]


@nests
def test_a_failure_passes_through_every_level(nest: Nest) -> None:
    async def deep(ctx: OrchestrationContext) -> str:
        try:
            await nest(ctx, ctx.schedule_activity("work"))
        except ActivityFailedError as error:
            return error.failure.message
        return "done"

    assert drive(deep, None, [activity_error(2)]).result == "it broke"


@nests
def test_a_deep_loser_is_cancelled_down_to_what_runs_for_it(nest: Nest) -> None:
    async def deep(ctx: OrchestrationContext) -> int:
        index, _ = await ctx.select(ctx.wait_for_event("go"), nest(ctx, ctx.schedule_activity("work")))
        return index

    engine = drive(deep, None, [event_raised("go")])
    assert engine.result == 0
    assert engine.last.cancelled_activities == [3]


@nests
def test_a_cancel_of_the_instance_reaches_a_deep_combination(nest: Nest) -> None:
    async def deep(ctx: OrchestrationContext) -> None:
        await nest(ctx, ctx.schedule_activity("work"))

    engine = drive(deep, None, [cancel_asked()])
    assert engine.events[-1] == cancelled(5)
    assert engine.last.cancelled_activities == [2]


async def helper(ctx: OrchestrationContext, level: int, ended: list[int]) -> None:
    """Each level runs the next as a coroutine of its own."""
    try:
        if level == 0:
            await ctx.schedule_activity("work")
        else:
            await ctx.join(helper(ctx, level - 1, ended))
    finally:
        ended.append(level)


@pytest.mark.parametrize("arrival", [activity_result(2), activity_error(2), cancel_asked()])
def test_helper_coroutines_end_from_the_innermost_outwards(arrival: Arrival) -> None:
    ended: list[int] = []

    async def root(ctx: OrchestrationContext) -> None:
        await helper(ctx, LEVELS, ended)

    engine = drive(root, None, [arrival])
    assert engine.ended
    assert ended == list(range(LEVELS + 1))


def test_deep_helpers_that_clean_up_are_waited_for_and_replayed() -> None:
    async def careful(ctx: OrchestrationContext, level: int) -> None:
        try:
            await (ctx.wait_for_event("never") if level == 0 else ctx.join(careful(ctx, level - 1)))
        finally:
            if level == 0:
                await ctx.schedule_activity("clean up")

    async def root(ctx: OrchestrationContext) -> str:
        await ctx.select(careful(ctx, LEVELS), ctx.schedule_activity("work"))
        return "done"

    engine = drive(root, None, [activity_result(2)])
    assert engine.events[-1] == activity_scheduled(6, "clean up")
    engine.forget()
    engine.turn(activity_result(6))
    assert engine.events[-1] == completed(8, "done")


def test_what_comes_down_to_continue_as_new_does_not_hold_up_the_end_however_deep() -> None:
    async def onwards(ctx: OrchestrationContext, level: int) -> None:
        try:
            await ctx.wait_for_event("never")
        finally:
            await nested_joins(ctx, ctx.continue_as_new(level))

    async def root(ctx: OrchestrationContext, given: int = 0) -> None:
        await ctx.select(onwards(ctx, 7), ctx.schedule_activity("work"))

    assert drive(root, None, [activity_result(2)]).events[-1] == continued_as_new(6, 7)


def test_a_deep_join_of_one_future_many_times_is_looked_through_once() -> None:
    """Sixty levels of pairs are 2**60 ways down."""

    async def stuck(ctx: OrchestrationContext) -> None:
        try:
            await ctx.wait_for_event("never")
        finally:
            both = ctx.continue_as_new()
            for _ in range(60):
                both = ctx.join(both, both)
            await both

    async def root(ctx: OrchestrationContext) -> None:
        await ctx.select(stuck(ctx), ctx.schedule_activity("work"))

    assert drive(root, None, [activity_result(2)]).kinds[-1] == "OrchestrationContinuedAsNew"


def test_a_generator_may_wait_for_something_deep() -> None:
    def deep(ctx: OrchestrationContext) -> Generator[Any, Any, Any]:
        value = yield nested_joins(ctx, ctx.schedule_activity("work"))
        return unwrapped(value)

    assert drive(deep, None, [activity_result(2, 1)]).result == [LEVELS, 1]


def test_whoever_waits_is_told_depth_first_in_the_order_of_waiting() -> None:
    """Who waits through two joins and began first goes on before who waits for the future itself."""

    async def through_joins(ctx: OrchestrationContext, future: DurableFuture[Any]) -> None:
        await ctx.join(ctx.join(future))
        resumed.append("through joins")

    async def itself(ctx: OrchestrationContext, future: DurableFuture[Any]) -> None:
        await future
        resumed.append("itself")

    async def root(ctx: OrchestrationContext) -> None:
        work = ctx.schedule_activity("work")
        await ctx.join(through_joins(ctx, work), itself(ctx, work), through_joins(ctx, work))

    resumed: list[str] = []
    drive(root, None, [activity_result(2)])
    assert resumed == ["through joins", "itself", "through joins"]


def test_losers_are_cancelled_one_after_the_other_each_with_all_that_hangs_on_it() -> None:
    async def root(ctx: OrchestrationContext) -> None:
        asked = [ctx.schedule_activity(name) for name in "abcd"]
        await ctx.select(asked[0], ctx.join(ctx.join(asked[2]), asked[3]), asked[1])

    engine = drive(root, None, [activity_result(2)])
    assert engine.last.cancelled_activities == [4, 5, 3]
