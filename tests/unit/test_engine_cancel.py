"""The engine and cancel: delivered once, raised where the code waits, with durable cleanup before the end."""

import contextlib
from typing import Any

import pytest

from duro.errors import ActivityFailedError, FutureCancelledError, OrchestrationCancelled
from duro.model.status import ExecutionStatus
from duro.replay.context import OrchestrationContext
from duro.testing.histories import (
    Engine,
    activity_cancel_requested,
    activity_completed,
    activity_error,
    activity_result,
    activity_scheduled,
    cancel_asked,
    cancel_requested,
    cancelled,
    completed,
    drive,
    event_raised,
    timer_due,
)


async def work(ctx: OrchestrationContext) -> None:
    await ctx.schedule_activity("work")


async def careful(ctx: OrchestrationContext) -> str:
    try:
        await ctx.schedule_activity("work")
    finally:
        await ctx.schedule_activity("undo")
    return "done"


def test_a_cancel_is_recorded_raised_and_ends_the_execution_as_cancelled() -> None:
    engine = drive(work, None, [cancel_asked("enough")])
    assert engine.events[2:] == [
        cancel_requested(3, "enough"),
        activity_cancel_requested(4, 2),
        cancelled(5, "enough"),
    ]
    assert engine.last.cancelled_activities == [2]
    assert engine.last.end is not None
    assert engine.last.end.status is ExecutionStatus.CANCELLED


def test_cleanup_may_run_durable_work_over_several_turns() -> None:
    engine = drive(careful, None, [cancel_asked()])
    assert engine.events[4:] == [activity_scheduled(5, "undo")]
    assert engine.last.end is None
    engine.turn(activity_result(5))
    assert engine.events[5:] == [activity_completed(6, 5), cancelled(7)]


def test_a_cancel_is_delivered_once() -> None:
    """The request belongs to the instance, so every lease brings it; the execution takes it once."""
    engine = drive(careful, None, [cancel_asked()])
    assert engine.turn(cancel_asked()) is None
    engine.forget()
    assert engine.turn(cancel_asked()) is None
    engine.turn(cancel_asked(), activity_result(5))
    assert engine.kinds.count("OrchestrationCancelRequested") == 1
    assert engine.events[-1] == cancelled(7)


def test_a_cancel_goes_before_everything_else_that_arrived() -> None:
    engine = drive(work, None, [activity_result(2), cancel_asked("enough")])
    assert engine.events[-1] == cancelled(5, "enough")
    assert engine.last.ignored_messages == 1


def test_a_cancel_before_the_first_turn_lets_the_code_reach_its_first_wait_and_sends_nothing() -> None:
    engine = Engine(careful)
    turn = engine.start(cancel_asked())
    assert engine.events[1:] == [
        activity_scheduled(2, "work"),
        cancel_requested(3),
        activity_cancel_requested(4, 2),
        activity_scheduled(5, "undo"),
    ]
    assert [each.name for each in turn.activities] == ["undo"]
    assert list(turn.cancelled_activities) == []
    engine.forget()
    engine.turn(activity_result(5))
    assert engine.events[-1] == cancelled(7)


def test_a_cancel_before_the_first_turn_of_code_that_never_waits_changes_nothing() -> None:
    async def quick(ctx: OrchestrationContext) -> str:
        return "done"

    engine = Engine(quick)
    engine.start(cancel_asked())
    assert engine.events[1:] == [completed(2, "done")]


def test_code_that_swallows_the_cancel_may_complete() -> None:
    async def stubborn(ctx: OrchestrationContext) -> str:
        try:
            await ctx.schedule_activity("work")
        except OrchestrationCancelled as error:
            return f"{error.reason}, but done"
        return "done"

    assert drive(stubborn, None, [cancel_asked("enough")]).result == "enough, but done"


def test_except_exception_does_not_swallow_a_cancel() -> None:
    async def loop(ctx: OrchestrationContext) -> None:
        while True:
            try:
                await ctx.schedule_activity("work")
            except Exception:
                continue

    assert drive(loop, None, [cancel_asked()]).events[-1] == cancelled(5)


def test_an_error_raised_in_cleanup_is_how_the_execution_ends() -> None:
    async def broken(ctx: OrchestrationContext) -> None:
        try:
            await ctx.schedule_activity("work")
        finally:
            raise ValueError("cleanup broke")

    assert drive(broken, None, [cancel_asked()]).failure.message == "cleanup broke"


def test_a_cancel_reaches_helper_coroutines_and_operations_nobody_awaits_yet() -> None:
    async def helper(ctx: OrchestrationContext, name: str) -> None:
        try:
            await ctx.schedule_activity(name)
        except OrchestrationCancelled:
            await ctx.schedule_activity(f"undo {name}")
            raise

    async def root(ctx: OrchestrationContext) -> None:
        ctx.schedule_timer(100)
        await ctx.join(helper(ctx, "a"), helper(ctx, "b"))

    engine = drive(root, None, [cancel_asked()])
    assert engine.kinds[5:] == [
        "ActivityCancelRequested",
        "ActivityCancelRequested",
        "TimerCancelled",
        "ActivityScheduled",
        "ActivityScheduled",
    ]
    assert engine.last.cancelled_timers == [2]
    assert engine.last.end is None
    engine.turn(activity_result(9), activity_result(10))
    assert engine.events[-1] == cancelled(13)


def test_a_cancel_reaches_helpers_whose_join_has_failed_already() -> None:
    async def helper(ctx: OrchestrationContext, name: str, seen: list[str]) -> None:
        try:
            await ctx.schedule_activity(name)
        except OrchestrationCancelled:
            seen.append(name)
            raise

    async def root(ctx: OrchestrationContext) -> list[str]:
        seen: list[str] = []
        with contextlib.suppress(ActivityFailedError):
            await ctx.join(helper(ctx, "a", seen), helper(ctx, "b", seen))
        try:
            await ctx.schedule_activity("c")
        except OrchestrationCancelled:
            seen.append("root")
            await ctx.schedule_activity("d")
        return seen

    engine = drive(root, None, [activity_error(2)], [cancel_asked()])
    engine.turn(activity_result(engine.last.activities[0].event_id))
    assert engine.result == ["root", "b"]


def test_children_are_cancelled_with_their_parent() -> None:
    async def parent(ctx: OrchestrationContext) -> None:
        await ctx.schedule_sub_orchestration("child", instance_id="c")

    engine = drive(parent, None, [cancel_asked()])
    assert [cancel.event_id for cancel in engine.last.cancelled_children] == [2]


def test_a_cancel_while_a_loser_cleans_up_lets_the_cleanup_finish() -> None:
    """Each coroutine is interrupted once; what it asks for after that is its cleanup."""

    async def part(ctx: OrchestrationContext, name: str) -> None:
        await ctx.schedule_activity(name)

    async def guarded(ctx: OrchestrationContext) -> None:
        try:
            await ctx.schedule_activity("work")
        finally:
            await ctx.schedule_activity("release")
            await ctx.join(part(ctx, "sweep"), ctx.schedule_timer(1))

    async def race(ctx: OrchestrationContext) -> str:
        await ctx.select(guarded(ctx), ctx.schedule_timer(1))
        await ctx.schedule_activity("main")
        return "done"

    engine = drive(race, None, [timer_due(2)])
    names = {each.name: each.event_id for each in engine.last.activities}
    engine.turn(activity_result(names["release"]))
    sweep = engine.last.activities[0].event_id
    engine.turn(cancel_asked())
    assert engine.last.cancelled_activities == [names["main"]]
    assert list(engine.last.cancelled_timers) == []
    assert engine.last.end is None
    engine.turn(activity_result(sweep))
    engine.turn(timer_due(sweep - 1))
    assert engine.kinds[-1] == "OrchestrationCancelled"


def test_a_cancel_while_only_cleanup_is_left_does_not_change_how_the_execution_ends() -> None:
    async def guarded(ctx: OrchestrationContext) -> None:
        try:
            await ctx.schedule_activity("work")
        finally:
            await ctx.schedule_activity("release")

    async def race(ctx: OrchestrationContext) -> str:
        await ctx.select(guarded(ctx), ctx.schedule_timer(1))
        return "done"

    engine = drive(race, None, [timer_due(2)], [cancel_asked()])
    assert engine.last.end is None
    engine.turn(activity_result(6))
    assert engine.result == "done"


def test_a_failed_root_waits_for_interrupted_coroutines_before_it_fails() -> None:
    async def guarded(ctx: OrchestrationContext) -> None:
        try:
            await ctx.schedule_activity("work")
        finally:
            await ctx.schedule_activity("release")

    async def race(ctx: OrchestrationContext) -> None:
        await ctx.select(guarded(ctx), ctx.schedule_timer(1))
        raise ValueError("broken")

    engine = drive(race, None, [timer_due(2)])
    assert engine.last.end is None
    engine.forget()
    engine.turn(activity_result(6))
    assert engine.failure.message == "broken"


def test_cleanup_that_awaits_what_was_cancelled_is_told_so() -> None:
    async def root(ctx: OrchestrationContext) -> str:
        future = ctx.schedule_activity("work")
        try:
            await future
        except OrchestrationCancelled:
            try:
                await future
            except FutureCancelledError as error:
                return error.message
        return ""

    assert drive(root, None, [cancel_asked("enough")]).result == "activity 'work' was cancelled: enough"


@pytest.mark.parametrize("awaited", [True, False])
def test_cancel_then_continue_as_new_ends_as_cancelled(awaited: bool) -> None:
    """The request belongs to the instance: continuing as new after its delivery ends it."""

    async def eternal(ctx: OrchestrationContext) -> None:
        try:
            await ctx.schedule_activity("work")
        except OrchestrationCancelled:
            future = ctx.continue_as_new()
            if awaited:
                await future

    engine = drive(eternal, None, [cancel_asked("enough")])
    assert engine.events[-1] == cancelled(5, "it was cancelled and asked to continue as new")
    assert engine.last.end is not None
    assert engine.last.end.next_input is None


def test_cancel_then_continue_as_new_in_a_helper_the_root_waits_for_ends_as_cancelled() -> None:
    async def again(ctx: OrchestrationContext) -> None:
        await ctx.continue_as_new()

    async def eternal(ctx: OrchestrationContext) -> None:
        try:
            await ctx.schedule_activity("work")
        except OrchestrationCancelled:
            await ctx.join(again(ctx), ctx.select(again(ctx)))

    assert drive(eternal, None, [cancel_asked()]).kinds[-1] == "OrchestrationCancelled"


def test_a_cancel_that_comes_while_continue_as_new_waits_for_cleanup_ends_as_cancelled() -> None:
    async def guarded(ctx: OrchestrationContext) -> None:
        try:
            await ctx.schedule_activity("work")
        finally:
            await ctx.schedule_activity("release")

    async def eternal(ctx: OrchestrationContext) -> None:
        await ctx.select(guarded(ctx), ctx.schedule_timer(1))
        await ctx.continue_as_new()

    for forget in (False, True):
        engine = drive(eternal, None, [timer_due(2)])
        assert engine.last.end is None
        engine.turn(cancel_asked("enough"))
        assert engine.last.end is None
        if forget:
            engine.forget()
        engine.turn(activity_result(6))
        assert engine.events[-1] == cancelled(9, "enough")


def test_code_may_cancel_itself() -> None:
    async def root(ctx: OrchestrationContext) -> None:
        raise OrchestrationCancelled("of its own accord")

    assert drive(root).events[1:] == [cancelled(2, "of its own accord")]


@pytest.mark.parametrize("in_helper", [True, False])
@pytest.mark.parametrize(("reason", "recorded"), [("\ud800!", "\\ud800!"), (5, "5"), (None, "None")])
def test_a_reason_that_no_history_can_hold_is_recorded_as_text(reason: Any, recorded: str, in_helper: bool) -> None:
    async def helper(ctx: OrchestrationContext) -> None:
        raise OrchestrationCancelled(reason)

    async def root(ctx: OrchestrationContext) -> None:
        if in_helper:
            with contextlib.suppress(FutureCancelledError):
                await ctx.join(helper(ctx))
        await helper(ctx)

    assert drive(root, None).events[-1] == cancelled(2, recorded)


def test_a_kind_of_cancel_that_never_told_its_reason_is_a_cancel_too() -> None:
    class Stop(OrchestrationCancelled):
        def __init__(self) -> None:
            BaseException.__init__(self, "stop")

    async def helper(ctx: OrchestrationContext) -> None:
        raise Stop

    async def root(ctx: OrchestrationContext) -> None:
        try:
            await ctx.join(helper(ctx))
        except FutureCancelledError:
            await helper(ctx)

    assert drive(root).events[-1] == cancelled(2, "stop")


def test_a_cancelled_wait_leaves_the_event_in_the_mailbox() -> None:
    async def root(ctx: OrchestrationContext) -> None:
        await ctx.wait_for_event("n")

    engine = drive(root, None, [cancel_asked(), event_raised("n", 1)])
    assert list(engine.last.consumed_mailbox) == []
    assert len(engine.mailbox) == 1


def test_code_after_a_swallowed_cancel_is_not_interrupted_again() -> None:
    async def root(ctx: OrchestrationContext) -> list[str]:
        done = []
        for name in ("a", "b", "c"):
            try:
                await ctx.schedule_activity(name)
                done.append(name)
            except OrchestrationCancelled:
                done.append(f"not {name}")
        return done

    engine = drive(root, None, [cancel_asked()], [activity_result(5)], [activity_result(7)])
    assert engine.result == ["not a", "b", "c"]
