"""The engine and dropped coroutines: closed with a sealed context, they leave no trace whatever their code does."""

import copy
import gc
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any

import pytest

from duro.errors import ContextSealed, UsageError
from duro.replay import engine as engine_module
from duro.replay.context import OrchestrationContext
from duro.testing.histories import Engine, activity_result, drive, timer_due

log: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_logged() -> None:
    log.clear()


async def asks_for_everything(ctx: OrchestrationContext) -> None:
    async def helper() -> None:
        await ctx.schedule_activity("never")

    asked: list[Callable[[], Any]] = [
        lambda: ctx.schedule_activity("a"),
        lambda: ctx.schedule_timer(1),
        lambda: ctx.schedule_timer_at(datetime.max),  # noqa: DTZ901 - it gets no further than the seal
        lambda: ctx.wait_for_event("n"),
        lambda: ctx.schedule_sub_orchestration("c"),
        lambda: ctx.schedule_sub_orchestration("c", version=""),
        lambda: ctx.schedule_orchestration("c"),
        lambda: ctx.continue_as_new(),
        lambda: ctx.continue_as_new(prune=0),  # the seal comes before what is wrong with it
        lambda: ctx.prune_history(1),
        lambda: ctx.prune_history(0),
        lambda: ctx.join(helper(), helper()),
        lambda: ctx.select(helper()),
        lambda: ctx.set_custom_status("x"),
        lambda: ctx.trace_info("x"),
        lambda: ctx.utc_now(),
        lambda: ctx.new_guid(),
        lambda: ctx.random(),
    ]
    for ask in asked:
        try:
            ask()
        except ContextSealed:
            log.append("sealed")


async def begin(ctx: OrchestrationContext) -> Any:
    ctx.set_custom_status("working")
    ctx.trace_info("begun")
    return await ctx.schedule_activity("work")


async def asks_in_finally(ctx: OrchestrationContext) -> None:
    try:
        await begin(ctx)
    finally:
        await asks_for_everything(ctx)


async def awaits_in_finally(ctx: OrchestrationContext) -> None:
    future = ctx.schedule_timer(100)
    try:
        await begin(ctx)
    finally:
        log.append("finally")
        await future
        log.append("never")


async def swallows_and_returns(ctx: OrchestrationContext) -> str:
    try:
        await begin(ctx)
    except BaseException as error:
        log.append(type(error).__name__)
    return "nobody reads this"


async def swallows_and_awaits(ctx: OrchestrationContext) -> str:
    try:
        await begin(ctx)
    except BaseException:
        try:
            await ctx.schedule_activity("again")
        except BaseException as error:
            log.append(type(error).__name__)
    return "nobody reads this"


async def raises_something_else(ctx: OrchestrationContext) -> None:
    try:
        await begin(ctx)
    finally:
        raise ValueError("in finally")


async def raises_a_runtime_error(ctx: OrchestrationContext) -> None:
    try:
        await begin(ctx)
    finally:
        raise RuntimeError("as close() itself does")


async def swallows_for_ever(ctx: OrchestrationContext) -> None:
    while True:
        try:
            await begin(ctx)
        except BaseException:
            log.append("swallowed")


async def swallows_an_old_future_for_ever(ctx: OrchestrationContext) -> None:
    future, other = ctx.schedule_activity("work"), ctx.schedule_timer(1)
    ctx.set_custom_status("working")
    ctx.trace_info("begun")

    async def helper() -> None:
        await other

    while True:
        try:
            await ctx.select(future, other, helper())
        except BaseException:
            log.append("swallowed")


async def helpers_swallow(ctx: OrchestrationContext) -> None:
    await ctx.join(swallows_for_ever(ctx), swallows_and_awaits(ctx), asks_in_finally(ctx))


CODES = [
    asks_in_finally,
    awaits_in_finally,
    swallows_and_returns,
    swallows_and_awaits,
    raises_something_else,
    raises_a_runtime_error,
    swallows_for_ever,
    swallows_an_old_future_for_ever,
    helpers_swallow,
]


@pytest.mark.parametrize("code", CODES)
def test_a_sealed_coroutine_leaves_no_trace_and_comes_to_rest(code: Callable[..., Any]) -> None:
    """What the last turn asked for is in the store's hands; a ``finally`` must not add to it."""
    engine = drive(code)
    turn, traces = engine.last, engine.execution.traces
    before, written = copy.deepcopy(turn), list(traces)
    engine.execution.seal()
    assert (turn, traces) == (before, written)
    assert engine.history == before.events


def test_everything_a_sealed_context_is_asked_for_is_refused() -> None:
    drive(asks_in_finally).execution.seal()
    assert log == ["sealed"] * 18


def test_a_sealed_coroutine_that_returned_or_raised_is_gone() -> None:
    for code in (swallows_and_returns, raises_something_else, swallows_and_awaits, awaits_in_finally):
        drive(code).execution.seal()
    assert log == ["GeneratorExit", "ContextSealed", "finally"]


def test_sealing_twice_is_sealing_once() -> None:
    engine = drive(awaits_in_finally)
    engine.execution.seal()
    engine.execution.seal()
    assert log == ["finally"]
    assert engine.execution.sealed


def test_an_execution_that_never_began_can_be_sealed() -> None:
    Engine(begin).execution.seal()


def test_sealing_an_ended_execution_closes_what_its_root_left_behind() -> None:
    async def helper(ctx: OrchestrationContext) -> None:
        try:
            await ctx.schedule_activity("a")
        finally:
            log.append("closed")

    async def careless(ctx: OrchestrationContext) -> str:
        ctx.join(helper(ctx))
        await ctx.schedule_activity("b")
        return "done"

    engine = drive(careless, None, [activity_result(2)])
    assert (engine.result, log) == ("done", [])
    engine.execution.seal()
    assert log == ["closed"]


def test_a_coroutine_that_refuses_to_be_closed_is_kept_from_the_garbage_collector() -> None:
    """Collecting it would close it again, and it would refuse again, with a warning nobody can catch."""
    kept = len(engine_module._abandoned)
    for code in (swallows_for_ever, helpers_swallow):
        engine = drive(code)
        engine.execution.seal()
        del engine
        gc.collect()
    assert len(engine_module._abandoned) == kept + 2
    assert log.count("swallowed") < 1_000


def test_a_generator_that_refuses_to_be_closed_is_kept_as_well() -> None:
    def stubborn(ctx: OrchestrationContext) -> Any:
        while True:
            try:
                yield ctx.schedule_activity("a")
            except BaseException:
                log.append("swallowed")

    kept = len(engine_module._abandoned)
    drive(stubborn).execution.seal()
    assert len(engine_module._abandoned) == kept + 1


def test_whatever_cleanup_raises_while_it_is_dropped_leaves_no_trace() -> None:
    """Not even KeyboardInterrupt, which in a worker's thread can only be the code's own."""

    async def interrupted(ctx: OrchestrationContext) -> None:
        try:
            await ctx.schedule_activity("a")
        finally:
            raise KeyboardInterrupt

    engine = drive(interrupted)
    engine.execution.seal()
    assert engine.execution.sealed


def test_coroutines_handed_to_a_sealed_context_leave_no_warning() -> None:
    """Warnings are errors in this project: "coroutine was never awaited" would fail the test."""

    async def cleanup(ctx: OrchestrationContext) -> None:
        await ctx.schedule_activity("undo")

    async def cleans(ctx: OrchestrationContext) -> None:
        try:
            await ctx.schedule_activity("work")
        finally:
            await ctx.join(cleanup(ctx), cleanup(ctx))

    drive(cleans).execution.seal()
    gc.collect()


def test_async_generators_are_closed_with_the_coroutine_that_reads_them() -> None:
    async def numbers(ctx: OrchestrationContext) -> AsyncIterator[int]:
        try:
            for number in range(3):
                await ctx.schedule_activity("a")
                yield number
        finally:
            log.append("closed")

    async def reads(ctx: OrchestrationContext) -> int:
        return sum([number async for number in numbers(ctx)])

    engine = drive(reads, None, [activity_result(2)])
    engine.execution.seal()
    assert log == ["closed"]
    engine = drive(reads)
    for event_id in (2, 4, 6):
        engine.turn(activity_result(event_id))
    assert engine.result == 3


# --- contexts in the wrong hands ----------------------------------------------------------------------------


def test_a_context_that_outlives_its_execution_changes_nothing_however_often_it_is_asked() -> None:
    """After so many refusals nothing is refused any more, for code that would go on for ever; nothing comes of it."""
    contexts: list[OrchestrationContext] = []

    async def leaks(ctx: OrchestrationContext) -> str:
        contexts.append(ctx)
        return "fine"

    engine = drive(leaks)
    turn = copy.deepcopy(engine.last)
    engine.execution.seal()
    refused = 0
    for _ in range(300):
        try:
            contexts[0].schedule_activity("a")
        except ContextSealed:
            refused += 1
    assert refused == 100
    assert engine.last == turn
    assert engine.kinds == ["OrchestrationStarted", "OrchestrationCompleted"]


def test_a_context_used_outside_its_own_code_is_refused_and_nothing_is_recorded() -> None:
    """Recorded between two turns, it would be a hole in the history of an instance that did nothing wrong."""
    contexts: list[OrchestrationContext] = []

    async def leaks(ctx: OrchestrationContext) -> str:
        contexts.append(ctx)
        await ctx.schedule_activity("a")
        return "fine"

    async def borrows(ctx: OrchestrationContext) -> str:
        try:
            contexts[0].schedule_activity("b")
        except UsageError as error:
            return error.message
        return "recorded"

    owner = drive(leaks, instance_id="owner")
    said = "the context of instance 'owner' was used outside its orchestration's own code"
    assert drive(borrows, instance_id="borrower").result == said
    with pytest.raises(UsageError, match="outside its orchestration's own code"):
        contexts[0].utc_now()
    owner.turn(activity_result(2))
    assert owner.result == "fine"
    assert owner.kinds == ["OrchestrationStarted", "ActivityScheduled", "ActivityCompleted", "OrchestrationCompleted"]


@pytest.mark.parametrize("kind", ["operation", "join", "coroutine"])
def test_a_future_cancelled_outside_its_own_code_goes_on(kind: str) -> None:
    futures: list[Any] = []

    async def gives(ctx: OrchestrationContext) -> Any:
        async def helper() -> Any:
            return await ctx.schedule_activity("b")

        activity = ctx.schedule_activity("a")
        futures.append({"operation": activity, "join": ctx.join(activity), "coroutine": ctx.join(helper())}[kind])
        await futures[0]
        return "fine"

    async def cancels(ctx: OrchestrationContext) -> str:
        try:
            futures[0].cancel("mine now")
        except UsageError:
            return "refused"
        return "cancelled"

    owner = drive(gives)
    assert drive(cancels).result == "refused"
    with pytest.raises(UsageError):
        futures[0].cancel("nobody's")
    owner.turn(activity_result(2), *([activity_result(3)] if kind == "coroutine" else []))
    assert owner.result == "fine"
    assert "ActivityCancelRequested" not in owner.kinds


def test_a_sealed_context_used_by_another_orchestration_fails_that_one_and_not_the_worker() -> None:
    contexts: list[OrchestrationContext] = []

    async def leaks(ctx: OrchestrationContext) -> None:
        contexts.append(ctx)
        await ctx.schedule_activity("a")

    async def borrows(ctx: OrchestrationContext) -> None:
        contexts[0].schedule_activity("b")

    drive(leaks).execution.seal()
    assert drive(borrows).failure.type == "ContextSealed"


def test_a_future_of_another_execution_cannot_be_awaited() -> None:
    futures: list[Any] = []

    async def gives(ctx: OrchestrationContext) -> None:
        futures.append(ctx.schedule_activity("a"))
        await ctx.schedule_activity("b")

    async def takes(ctx: OrchestrationContext) -> None:
        await futures[0]

    def takes_by_yield(ctx: OrchestrationContext) -> Any:
        yield futures[0]

    giver = drive(gives)
    assert drive(takes).failure.type == "UsageError"
    assert drive(takes_by_yield).failure.type == "NonDurableAwaitError"
    assert not giver.ended


def test_sealing_in_the_middle_changes_nothing_for_the_execution_that_follows() -> None:
    async def guarded(ctx: OrchestrationContext) -> None:
        try:
            await ctx.schedule_activity("work")
        finally:
            await ctx.schedule_activity("release")

    async def race(ctx: OrchestrationContext) -> str:
        await ctx.select(guarded(ctx), ctx.schedule_timer(1))
        return "done"

    engine = drive(race)
    engine.forget()
    engine.turn(timer_due(2))
    engine.forget()
    engine.turn(activity_result(6))
    assert engine.result == "done"
