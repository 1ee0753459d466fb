"""The engine and the mailbox: events by name, first in first out, taken only as far as somebody waits."""

from dataclasses import dataclass

import pytest

from duro.errors import InvalidInputError, InvalidNameError
from duro.replay.context import OrchestrationContext
from duro.testing.histories import (
    Engine,
    activity_completed,
    activity_result,
    activity_scheduled,
    completed,
    drive,
    event_raised,
    event_received,
    event_wait_cancelled,
    event_wait_started,
    started,
)


@dataclass
class Approval:
    by: str


async def two(ctx: OrchestrationContext) -> list[int]:
    return [await ctx.wait_for_event("n"), await ctx.wait_for_event("n")]


def test_a_wait_is_recorded_and_an_event_taken_for_it() -> None:
    engine = Engine(two)
    assert engine.start().waits == ["n"]
    turn = engine.turn(event_raised("n", 1))
    assert turn is not None
    assert (turn.consumed_mailbox, turn.waits) == ([1], ["n"])
    assert engine.events == [
        started("two"),
        event_wait_started(2, "n"),
        event_received(3, 2, "n", 1),
        event_wait_started(4, "n"),
    ]


def test_events_of_one_name_are_taken_first_in_first_out_in_one_turn() -> None:
    engine = drive(two, None, [event_raised("n", 1), event_raised("n", 2)])
    assert engine.last.consumed_mailbox == [1, 2]
    assert list(engine.last.waits) == []
    assert engine.events[-1] == completed(6, [1, 2])


def test_events_nobody_waits_for_stay_where_they_are() -> None:
    engine = drive(two)
    assert engine.turn(event_raised("other")) is None
    engine.turn(event_raised("n", 1), event_raised("n", 2), event_raised("n", 3))
    assert engine.ended
    assert [event.sequence for event in engine.mailbox] == [1, 4]


def test_an_event_that_came_before_its_wait_waits_there() -> None:
    async def late(ctx: OrchestrationContext) -> int:
        await ctx.schedule_activity("a")
        number: int = await ctx.wait_for_event("n")
        return number

    engine = Engine(late)
    assert not engine.start(event_raised("n", 5)).consumed_mailbox
    engine.turn(activity_result(2))
    assert engine.events[-1] == completed(6, 5)


def test_the_first_of_several_waits_of_a_name_gets_the_first_event() -> None:
    async def waits(ctx: OrchestrationContext) -> list[int]:
        first, second = ctx.wait_for_event("n"), ctx.wait_for_event("n")
        return await ctx.join(second, first)

    engine = Engine(waits)
    assert engine.start().waits == ["n", "n"]
    engine.turn(event_raised("n", 1))
    engine.turn(event_raised("n", 2))
    assert engine.events[3:] == [
        event_received(4, 2, "n", 1),
        event_received(5, 3, "n", 2),
        completed(6, [2, 1]),
    ]


def test_a_wait_cancelled_earlier_in_the_turn_takes_no_event() -> None:
    async def race(ctx: OrchestrationContext) -> str:
        winner = await ctx.select(ctx.schedule_activity("a"), ctx.wait_for_event("n"))
        await ctx.schedule_activity("after")
        return f"{winner[0]}"

    engine = Engine(race)
    engine.start()
    turn = engine.turn(activity_result(2, "done"), event_raised("n", 1))
    assert turn is not None
    assert (turn.consumed_mailbox, turn.waits) == ((), ())
    assert engine.events[3:] == [
        activity_completed(4, 2, "done"),
        event_wait_cancelled(5, 3),
        activity_scheduled(6, "after"),
    ]
    assert [event.sequence for event in engine.mailbox] == [1]


def test_the_event_after_a_cancelled_wait_goes_to_the_next_wait_of_its_name() -> None:
    async def waits(ctx: OrchestrationContext) -> int:
        later = None

        async def loser() -> int:
            number: int = await ctx.wait_for_event("n")
            return number

        await ctx.select(ctx.schedule_activity("a"), loser())
        later = ctx.wait_for_event("n")
        number: int = await later
        return number

    engine = drive(waits, None, [activity_result(2)], [event_raised("n", 9)])
    assert engine.events[-2:] == [event_received(7, 6, "n", 9), completed(8, 9)]


def test_one_event_that_wins_a_select_cancels_the_other_waits_of_its_own_name() -> None:
    async def race(ctx: OrchestrationContext) -> list[int]:
        index, number = await ctx.select(*(ctx.wait_for_event("n") for _ in range(3)))
        return [index, number]

    engine = drive(race, None, [event_raised("n", 1), event_raised("n", 2)])
    assert engine.events[4:] == [
        event_received(5, 2, "n", 1),
        event_wait_cancelled(6, 3),
        event_wait_cancelled(7, 4),
        completed(8, [0, 1]),
    ]
    assert [event.sequence for event in engine.mailbox] == [2]


def test_data_is_typed_by_what_the_wait_says() -> None:
    async def typed(ctx: OrchestrationContext) -> str:
        approval = await ctx.wait_for_event("ok", Approval)
        return approval.by

    assert drive(typed, None, [event_raised("ok", {"by": "Ada"})]).events[-1] == completed(4, "Ada")


def test_data_that_does_not_fit_is_taken_and_is_an_error_the_code_can_catch() -> None:
    async def typed(ctx: OrchestrationContext) -> str:
        try:
            await ctx.wait_for_event("ok", Approval)
        except InvalidInputError as error:
            return error.message
        return ""

    engine = drive(typed, None, [event_raised("ok", 1)])
    assert engine.last.consumed_mailbox == [1]
    assert engine.events[-1] == completed(4, "data of event 'ok' does not fit Approval: Expected `object`, got `int`")


def test_a_type_that_json_cannot_carry_is_refused_when_the_wait_begins() -> None:
    """Found out when the event arrives, it would be an error in no line of the user's code."""

    async def wrong(ctx: OrchestrationContext) -> str:
        try:
            ctx.wait_for_event("ok", list[int] | tuple[str, ...])  # type: ignore[arg-type]
        except InvalidInputError as error:
            return error.message
        return ""

    engine = drive(wrong)
    assert engine.kinds == ["OrchestrationStarted", "OrchestrationCompleted"]
    assert "JSON cannot carry" in engine.result


@pytest.mark.parametrize("name", ["", "x" * 256, "nul\0", "\ud800"])
def test_a_name_no_store_can_keep_is_refused(name: str) -> None:
    async def wrong(ctx: OrchestrationContext) -> str:
        try:
            ctx.wait_for_event(name)
        except InvalidNameError:
            return "refused"
        return ""

    assert drive(wrong).events[-1] == completed(2, "refused")


def test_waits_are_the_same_after_replay() -> None:
    async def names(ctx: OrchestrationContext) -> None:
        for name in ("a", "b", "a"):
            await ctx.wait_for_event(name)
        await ctx.join(*(ctx.wait_for_event(name) for name in ("c", "a", "c")))

    live = drive(names, None, [event_raised("a")], [event_raised("b")], [event_raised("a")])
    assert live.last.waits == ["c", "c", "a"]
    other = drive(names, None, [event_raised("a")], [event_raised("b")])
    other.forget()
    other.turn(event_raised("a"))
    assert other.last == live.last
