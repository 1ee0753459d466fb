"""The engine and messages that mean nothing (any more): ignored, counted, and never an event."""

import pytest

from duro.replay.context import OrchestrationContext
from duro.testing.histories import (
    Arrival,
    activity_error,
    activity_result,
    child_error,
    child_result,
    drive,
    event_raised,
    timer_due,
)


async def waits(ctx: OrchestrationContext) -> str:
    await ctx.join(
        ctx.schedule_activity("a"),
        ctx.schedule_timer(1),
        ctx.wait_for_event("n"),
        ctx.schedule_sub_orchestration("c", instance_id="c"),
    )
    return "done"


@pytest.mark.parametrize(
    "message",
    [
        activity_result(1),
        activity_result(9),
        activity_result(2, execution_id=2),
        activity_result(2, execution_id=0),
        activity_result(3),
        activity_error(4),
        activity_result(5),
        child_result(2),
        child_error(2),
        child_result(3),
        child_result(5, execution_id=7),
    ],
)
def test_a_message_that_answers_nothing_open_is_ignored_and_counted(message: Arrival) -> None:
    """Also one of the wrong kind for what it names: recorded, it would make the history unreadable."""
    engine = drive(waits)
    turn = engine.turn(message)
    assert turn is not None
    assert (turn.events, turn.ignored_messages, turn.end) == ([], 1, None)
    engine.turn(activity_result(2), timer_due(3), event_raised("n"), child_result(5))
    assert engine.result == "done"


def test_a_message_delivered_twice_counts_once() -> None:
    engine = drive(waits, None, [activity_result(2, 1), activity_result(2, 2)], [activity_result(2, 3)])
    assert [turn.ignored_messages for turn in engine.commits] == [0, 1, 1]
    assert engine.kinds.count("ActivityCompleted") == 1


def test_a_turn_to_which_nothing_means_anything_is_no_turn() -> None:
    engine = drive(waits)
    assert engine.turn() is None
    assert engine.turn(timer_due(2), timer_due(9), event_raised("other")) is None
    assert engine.turn(timer_due(3)) is not None
