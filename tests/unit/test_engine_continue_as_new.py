"""The engine and continue-as-new: the next execution, and everything the last turn of this one still carries out."""

from typing import Any

import pytest

from duro import Registry
from duro.errors import InvalidInputError, InvalidNameError, OrchestrationCancelled
from duro.model.status import ExecutionStatus
from duro.replay.context import OrchestrationContext
from duro.testing.histories import (
    Engine,
    activity_cancel_requested,
    activity_completed,
    activity_error,
    activity_result,
    completed,
    continued_as_new,
    drive,
    event_raised,
    timer_cancelled,
    timer_due,
)


async def count(ctx: OrchestrationContext, n: int) -> int:
    if n == 0:
        return ctx.execution_id
    await ctx.continue_as_new(n - 1)
    raise AssertionError("code after continue_as_new never runs")


def test_continue_as_new_ends_the_execution_and_names_the_next_one() -> None:
    engine = drive(count, 2)
    assert engine.events[1:] == [continued_as_new(2, 1)]
    end = engine.last.end
    assert end is not None
    assert end.status is ExecutionStatus.CONTINUED_AS_NEW
    assert (end.next_input, end.next_version, end.parent_message) == ("1", "1.0.0", None)


def test_executions_follow_each_other_with_histories_of_their_own() -> None:
    engine = drive(count, 3)
    for _ in range(3):
        engine = engine.next_execution()
        engine.start()
    assert engine.result == 4
    assert engine.kinds == ["OrchestrationStarted", "OrchestrationCompleted"]


def test_the_input_has_to_be_one_of_the_version_that_is_to_come() -> None:
    registry = Registry()

    @registry.orchestration(name="eternal", version="1.0.0")
    async def older(ctx: OrchestrationContext, asked: tuple[str | None, Any]) -> str:
        try:
            await ctx.continue_as_new(asked[1], version=asked[0])
        except InvalidInputError:
            return "refused"
        return "not reached"

    @registry.orchestration(name="eternal", version="2.0.0")
    async def newer(ctx: OrchestrationContext, number: int) -> None: ...

    for version, input, refused in (
        (None, 5, False),
        (None, ["1.0.0", 5], True),
        ("1.0.0", 5, True),
        ("1.0.0", ["1.0.0", 5], False),
    ):
        engine = drive("eternal", (version, input), registry=registry, version="1.0.0")
        assert engine.last.end is not None
        assert (engine.last.end.status is ExecutionStatus.COMPLETED) is refused


def test_it_moves_to_the_newest_version_unless_told_otherwise() -> None:
    registry = Registry()

    @registry.orchestration(name="eternal", version="1.0.0")
    async def old(ctx: OrchestrationContext, version: str | None) -> None:
        await ctx.continue_as_new(version=version)

    @registry.orchestration(name="eternal", version="1.10.0")
    async def newest(ctx: OrchestrationContext) -> None: ...

    @registry.orchestration(name="eternal", version="1.9.0")
    async def newer(ctx: OrchestrationContext) -> None: ...

    for asked, taken in ((None, "1.10.0"), ("1.9.0", "1.9.0"), ("7.0.0", "7.0.0")):
        engine = drive("eternal", asked, registry=registry, version="1.0.0")
        assert engine.last.end is not None
        assert engine.last.end.next_version == taken


def test_code_that_is_registered_nowhere_any_more_stays_on_its_version() -> None:
    engine = Engine(count, 1)
    engine.registry._newest.clear()
    turn = engine.start()
    assert turn.end is not None
    assert turn.end.next_version == "1.0.0"


def test_a_detached_start_in_the_same_turn_is_carried_out() -> None:
    async def eternal(ctx: OrchestrationContext, given: Any = None) -> None:
        ctx.schedule_orchestration("mail", instance_id="m")
        await ctx.continue_as_new()

    turn = drive(eternal).last
    assert [start.instance_id for start in turn.starts] == ["m"]
    assert turn.end is not None


def test_a_child_scheduled_in_the_same_turn_is_not_lost() -> None:
    """History says it was scheduled, so it must be started."""

    async def eternal(ctx: OrchestrationContext, given: Any = None) -> None:
        ctx.schedule_sub_orchestration("child", instance_id="c")
        await ctx.continue_as_new()

    turn = drive(eternal).last
    assert [(start.instance_id, start.detached) for start in turn.starts] == [("c", False)]
    assert turn.end is not None


def test_a_select_loser_is_cancelled_also_when_the_turn_continues_as_new() -> None:
    async def eternal(ctx: OrchestrationContext, given: Any = None) -> None:
        await ctx.select(
            ctx.schedule_activity("a"),
            ctx.schedule_activity("b"),
            ctx.schedule_timer(1),
            ctx.schedule_sub_orchestration("child", instance_id="c"),
        )
        await ctx.continue_as_new()

    engine = drive(eternal, None, [activity_result(2)])
    turn = engine.last
    assert engine.events[5:8] == [
        activity_completed(6, 2),
        activity_cancel_requested(7, 3),
        timer_cancelled(8, 4),
    ]
    assert (turn.cancelled_activities, turn.cancelled_timers) == ([3], [4])
    assert [cancel.event_id for cancel in turn.cancelled_children] == [5]
    assert turn.end is not None
    assert turn.end.status is ExecutionStatus.CONTINUED_AS_NEW


def test_a_loser_finishes_its_durable_cleanup_before_the_next_execution_begins() -> None:
    async def guarded(ctx: OrchestrationContext) -> None:
        try:
            await ctx.schedule_activity("work")
        finally:
            await ctx.schedule_activity("release")

    async def eternal(ctx: OrchestrationContext, given: Any = None) -> None:
        await ctx.select(guarded(ctx), ctx.schedule_timer(1))
        await ctx.continue_as_new("next")

    for forget in (False, True):
        engine = drive(eternal, None, [timer_due(2)])
        assert engine.last.end is None
        if forget:
            engine.forget()
        engine.turn(activity_result(6))
        assert engine.events[-1] == continued_as_new(8, "next")


def test_a_stale_completion_of_execution_1_never_reaches_execution_2() -> None:
    async def eternal(ctx: OrchestrationContext, again: bool) -> str:
        future = ctx.schedule_activity("a")
        if again:
            await ctx.continue_as_new(False)
        return str(await future)

    second = drive(eternal, True).next_execution()
    second.start()
    turn = second.turn(activity_result(2, "stale", execution_id=1))
    assert turn is not None
    assert (turn.events, turn.ignored_messages) == ([], 1)
    second.turn(activity_result(2, "fresh", execution_id=2))
    assert second.result == "fresh"


def test_events_nobody_took_wait_for_the_next_execution() -> None:
    async def eternal(ctx: OrchestrationContext, again: bool) -> int:
        number: int = await ctx.wait_for_event("n")
        if again:
            await ctx.continue_as_new(False)
        return number

    first = drive(eternal, True, [event_raised("n", 1), event_raised("n", 2)])
    assert first.last.consumed_mailbox == [1]
    second = first.next_execution()
    second.start()
    assert second.last.consumed_mailbox == [2]
    assert second.result == 2


def test_it_may_be_asked_in_a_helper_while_the_root_still_waits() -> None:
    async def helper(ctx: OrchestrationContext) -> None:
        await ctx.schedule_activity("a")
        await ctx.continue_as_new("from the helper")

    async def eternal(ctx: OrchestrationContext, given: Any = None) -> None:
        await ctx.join(helper(ctx), ctx.schedule_activity("b"))

    engine = drive(eternal, None, [activity_result(3), activity_result(2)])
    assert engine.events[-1] == continued_as_new(5, "from the helper")
    assert engine.last.ignored_messages == 1


def test_nothing_runs_after_it_in_the_same_turn() -> None:
    async def second(ctx: OrchestrationContext) -> None:
        ctx.schedule_activity("too late")

    async def first(ctx: OrchestrationContext) -> None:
        await ctx.continue_as_new()

    async def eternal(ctx: OrchestrationContext, given: Any = None) -> None:
        await ctx.join(first(ctx), second(ctx))

    assert drive(eternal).kinds == ["OrchestrationStarted", "OrchestrationContinuedAsNew"]


def test_asked_and_not_awaited_then_returned_it_still_continues() -> None:
    async def eternal(ctx: OrchestrationContext, given: Any = None) -> str:
        ctx.continue_as_new("next")
        return "ignored"

    assert drive(eternal).events[1:] == [continued_as_new(2, "next")]


def test_asked_twice_the_first_one_counts() -> None:
    async def eternal(ctx: OrchestrationContext, given: Any = None) -> None:
        ctx.continue_as_new("first")
        await ctx.continue_as_new("second")

    assert drive(eternal).events[1:] == [continued_as_new(2, "first")]


def test_an_error_raised_after_it_is_not_hidden_by_it() -> None:
    """An orchestration whose code breaks fails; continuing as new would repeat the error for ever, unseen."""

    async def eternal(ctx: OrchestrationContext, given: Any = None) -> None:
        ctx.continue_as_new()
        raise ValueError("broken")

    engine = drive(eternal)
    assert engine.failure.message == "broken"
    assert engine.last.end is not None
    assert engine.last.end.next_input is None


def test_an_error_raised_while_cleanup_holds_the_next_execution_back_is_not_hidden_either() -> None:
    async def guarded(ctx: OrchestrationContext) -> None:
        try:
            await ctx.schedule_activity("work")
        finally:
            await ctx.schedule_activity("release")

    async def helper(ctx: OrchestrationContext) -> None:
        await ctx.continue_as_new()

    async def eternal(ctx: OrchestrationContext, given: Any = None) -> None:
        await ctx.select(guarded(ctx), ctx.schedule_timer(1))
        ctx.join(helper(ctx))
        await ctx.schedule_activity("main")

    engine = drive(eternal, None, [timer_due(2)])
    names = {each.name: each.event_id for each in engine.last.activities}
    engine.turn(activity_error(names["main"]))
    assert engine.last.end is None
    engine.turn(activity_result(names["release"]))
    assert engine.failure.type == "ActivityFailedError"


def test_a_loser_that_continues_as_new_in_its_cleanup_does_not_wait_for_ever() -> None:
    async def again(ctx: OrchestrationContext) -> None:
        try:
            await ctx.schedule_activity("work")
        except OrchestrationCancelled:
            await ctx.continue_as_new("from cleanup")

    async def eternal(ctx: OrchestrationContext, given: Any = None) -> None:
        await ctx.select(again(ctx), ctx.schedule_timer(1))
        await ctx.schedule_activity("main")

    assert drive(eternal, None, [timer_due(2)]).events[-1] == continued_as_new(7, "from cleanup")


def test_a_future_of_continue_as_new_may_stand_in_combinations_and_is_never_done() -> None:
    async def eternal(ctx: OrchestrationContext, given: Any = None) -> None:
        await ctx.select(ctx.schedule_timer(1), ctx.continue_as_new("next"))

    engine = drive(eternal)
    assert engine.kinds == ["OrchestrationStarted", "TimerCreated", "OrchestrationContinuedAsNew"]

    async def lost(ctx: OrchestrationContext, given: Any = None) -> None:
        done = ctx.schedule_activity("a")
        await done
        never = ctx.continue_as_new("next")
        assert never.describe() == "continue_as_new"
        await ctx.select(done, never)
        await ctx.schedule_activity("b")

    assert drive(lost, None, [activity_result(2)]).kinds[-1] == "OrchestrationContinuedAsNew"


def test_an_input_the_newest_version_does_not_take_is_refused_where_the_code_asks() -> None:
    async def strict(ctx: OrchestrationContext, n: int) -> str:
        try:
            await ctx.continue_as_new("text")
        except InvalidInputError as error:
            return error.message
        return ""

    result = drive(strict, 1).result
    assert result == "input of orchestration 'strict' 1.0.0 does not fit int: Expected `int`, got `str`"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [({"input": object()}, InvalidInputError), ({"version": ""}, InvalidNameError)],
)
def test_what_cannot_be_is_refused_and_the_execution_goes_on(arguments: dict[str, Any], error: type[Exception]) -> None:
    async def wrong(ctx: OrchestrationContext) -> str:
        try:
            await ctx.continue_as_new(**arguments)
        except error:
            return "refused"
        return ""

    assert drive(wrong).events[1:] == [completed(2, "refused")]


def test_a_message_after_the_end_in_the_same_turn_is_ignored_and_counted() -> None:
    async def eternal(ctx: OrchestrationContext, given: Any = None) -> None:
        ctx.schedule_activity("b")
        await ctx.schedule_activity("a")
        await ctx.continue_as_new()

    engine = drive(eternal, None, [activity_result(3), activity_result(2)])
    assert engine.last.ignored_messages == 1
    assert engine.last.end is not None
