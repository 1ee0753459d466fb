"""The engine and generator functions: ``yield`` where ``async`` code says ``await``, one driver for both."""

from collections.abc import Generator
from typing import Any

from duro.errors import ActivityFailedError, NonDurableAwaitError, OrchestrationCancelled, UsageError
from duro.replay.context import OrchestrationContext
from duro.testing.histories import (
    activity_error,
    activity_result,
    activity_scheduled,
    cancel_asked,
    cancelled,
    drive,
    timer_due,
)


def sell(ctx: OrchestrationContext, n: int) -> Generator[Any, Any, list[Any]]:
    first = yield ctx.schedule_activity("a", n)
    try:
        yield ctx.schedule_activity("b")
    except ActivityFailedError as error:
        return [first, error.failure.message]
    return [first]


def test_a_generator_is_driven_like_a_coroutine() -> None:
    engine = drive(sell, 5, [activity_result(2, "x")], [activity_error(4)])
    assert engine.events[1] == activity_scheduled(2, "a", 5)
    assert engine.result == ["x", "it broke"]


def test_a_generator_replays() -> None:
    engine = drive(sell, 5, [activity_result(2, "x")])
    engine.forget()
    engine.turn(activity_result(4))
    assert engine.result == ["x"]


def test_yielding_what_is_done_already_goes_on_at_once() -> None:
    def again(ctx: OrchestrationContext) -> Generator[Any, Any, list[Any]]:
        good, bad = ctx.schedule_activity("a"), ctx.schedule_activity("b")
        yield ctx.join(good, bad, return_exceptions=True)
        value = yield good
        try:
            yield bad
        except ActivityFailedError:
            return [value, "failed"]
        return []

    assert drive(again, None, [activity_result(2, 1), activity_error(3)]).result == [1, "failed"]


def test_generators_stand_in_joins_and_selects() -> None:
    def helper(ctx: OrchestrationContext, name: str) -> Generator[Any, Any, str]:
        try:
            yield ctx.schedule_activity(name)
        except OrchestrationCancelled:
            yield ctx.schedule_activity(f"undo {name}")
            raise
        return name

    def both(ctx: OrchestrationContext) -> Generator[Any, Any, Any]:
        joined = yield ctx.join(helper(ctx, "a"), helper(ctx, "b"))  # type: ignore[arg-type]
        yield ctx.select(helper(ctx, "c"), ctx.schedule_timer(1))  # type: ignore[arg-type]
        return joined

    engine = drive(both, None, [activity_result(2), activity_result(3)])
    assert [each.name for each in engine.last.activities] == ["c"]
    engine.turn(timer_due(6))
    assert [each.name for each in engine.last.activities] == ["undo c"]
    engine.turn(activity_result(engine.last.activities[0].event_id))
    assert engine.result == ["a", "b"]


def test_a_cancel_is_raised_at_the_yield() -> None:
    def cleans(ctx: OrchestrationContext) -> Generator[Any, Any, None]:
        try:
            yield ctx.schedule_activity("work")
        finally:
            yield ctx.schedule_activity("undo")

    engine = drive(cleans, None, [cancel_asked()], [activity_result(5)])
    assert engine.events[-1] == cancelled(7)


def test_yielding_what_is_not_durable_is_an_error_at_the_yield() -> None:
    async def coroutine() -> None: ...

    def wrong(ctx: OrchestrationContext) -> Generator[Any, Any, list[str]]:
        said = []
        for value in (None, 5, coroutine(), [ctx.schedule_timer(1)]):
            try:
                yield value
            except NonDurableAwaitError as error:
                said.append(error.message.removeprefix("the orchestration awaited "))
        return said

    assert drive(wrong).result == [
        "something that yielded None, which is not durable",
        "int, which is not durable",
        "coroutine, which is not durable",
        "list, which is not durable",
    ]


def test_yielding_a_coroutine_that_runs_already_does_not_stop_it() -> None:
    async def helper(ctx: OrchestrationContext) -> Any:
        return await ctx.schedule_activity("a")

    def wrong(ctx: OrchestrationContext) -> Generator[Any, Any, Any]:
        coroutine = helper(ctx)
        joined = ctx.join(coroutine)
        try:
            yield coroutine
        except NonDurableAwaitError:
            return (yield joined)

    assert drive(wrong, None, [activity_result(2, 7)]).result == [7]


def test_a_generator_that_runs_already_is_refused() -> None:
    def helper(ctx: OrchestrationContext) -> Generator[Any, Any, None]:
        yield ctx.schedule_activity("a")

    def wrong(ctx: OrchestrationContext) -> Generator[Any, Any, str]:
        begun = helper(ctx)
        next(begun)
        try:
            ctx.join(begun)  # type: ignore[arg-type]
        except UsageError as error:
            return error.message
        yield None
        return ""

    assert drive(wrong).result == "join got a coroutine that runs already or has run"


def test_continue_as_new_is_yielded() -> None:
    def eternal(ctx: OrchestrationContext) -> Generator[Any, Any, None]:
        yield ctx.continue_as_new()

    assert drive(eternal).kinds == ["OrchestrationStarted", "OrchestrationContinuedAsNew"]
