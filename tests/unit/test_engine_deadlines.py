"""The engine and the total time-out of activities: a timer, which the answer takes away or which is the answer."""

from collections.abc import Callable
from typing import Any

import pytest

from duro.errors import ActivityFailedError
from duro.model.failure import TIMED_OUT, out_of_time
from duro.model.turns import CreateTimer
from duro.replay.context import OrchestrationContext
from duro.testing.histories import NOW_MS, Engine, activity_error, activity_result, cancel_asked, drive, timer_due


async def hurried(ctx: OrchestrationContext) -> str:
    try:
        return str(await ctx.schedule_activity("slow", total_timeout=1.5))
    except ActivityFailedError as error:
        return error.failure.type


def test_an_activity_with_a_total_timeout_brings_its_timer() -> None:
    turn = Engine(hurried).start()
    assert [activity.event_id for activity in turn.activities] == [2]
    assert turn.timers == [CreateTimer(2, NOW_MS + 1_500)]
    assert "TimerCreated" not in turn.events[-1]


def test_a_timer_that_is_due_first_is_the_failure() -> None:
    engine = drive(hurried, None, [timer_due(2)])
    assert engine.result == TIMED_OUT
    assert engine.events[2].failure == out_of_time("slow")
    assert (engine.last.consumed_timers, engine.last.cancelled_activities) == ([2], [2])


@pytest.mark.parametrize(("answer", "result"), [(activity_result, "None"), (activity_error, "ValueError")])
def test_an_answer_in_time_takes_the_timer_away(answer: Callable[[int], Any], result: str) -> None:
    engine = drive(hurried, None, [answer(2)])
    assert (engine.result, engine.last.cancelled_timers) == (result, [2])


def test_of_both_at_once_the_answer_counts() -> None:
    engine = drive(hurried, None, [timer_due(2), activity_result(2, "in time")])
    assert engine.result == "in time"
    assert (engine.last.cancelled_timers, engine.last.consumed_timers) == ([2], ())


def test_an_answer_that_comes_too_late_is_ignored_and_counted() -> None:
    async def goes_on(ctx: OrchestrationContext) -> None:
        await hurried(ctx)
        await ctx.wait_for_event("go")

    engine = drive(goes_on, None, [timer_due(2)])
    turn = engine.turn(activity_result(2))
    assert turn is not None
    assert (turn.events, turn.ignored_messages) == ([], 1)


def test_a_replayed_execution_knows_its_deadlines() -> None:
    async def two(ctx: OrchestrationContext) -> str:
        await ctx.schedule_activity("quick")
        return await hurried(ctx)

    engine = drive(two, None, [activity_result(2)])
    engine.forget()
    engine.turn(timer_due(4))
    assert engine.result == TIMED_OUT


def test_of_several_activities_each_has_its_own_deadline() -> None:
    async def both(ctx: OrchestrationContext) -> list[Any]:
        slow = ctx.schedule_activity("slow", total_timeout=1.5)
        slower = ctx.schedule_activity("slower", total_timeout=60)
        return [str(each) for each in await ctx.join(slow, slower, return_exceptions=True)]

    engine = drive(both, None, [timer_due(2)], [activity_result(3, "in time")])
    assert engine.last.cancelled_timers == [3]
    assert engine.result[1] == "in time"
    assert engine.events[3].failure == out_of_time("slow")


def test_a_cancelled_activity_takes_its_timer_away() -> None:
    engine = drive(hurried, None, [cancel_asked()])
    assert (engine.last.cancelled_activities, engine.last.cancelled_timers) == ([2], [2])


def test_a_loser_of_the_same_turn_leaves_no_timer() -> None:
    async def race(ctx: OrchestrationContext) -> None:
        slow = ctx.schedule_activity("slow", total_timeout=60)
        slow.cancel("not needed")
        await ctx.wait_for_event("go")

    turn = Engine(race).start()
    assert (turn.activities, turn.timers, turn.cancelled_timers, turn.cancelled_activities) == ([], [], (), ())


def test_the_timer_of_an_activity_without_deadline_is_nothing() -> None:
    async def plain(ctx: OrchestrationContext) -> None:
        await ctx.schedule_activity("slow")

    engine = drive(plain, None, [])
    assert engine.turn(timer_due(2)) is None
