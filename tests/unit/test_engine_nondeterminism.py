"""The engine and code that no longer matches its history: found out, said clearly, and never survived by a turn."""

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from duro.errors import ContextSealed, HistoryFormatError, NondeterminismError
from duro.model.events import Event
from duro.replay.context import OrchestrationContext
from duro.testing.histories import (
    NOW_MS,
    activity_completed,
    activity_scheduled,
    cancel_requested,
    completed,
    continued_as_new,
    event_received,
    event_wait_started,
    failed,
    history,
    orchestration_scheduled,
    replay,
    started,
    sub_orchestration_scheduled,
    terminated,
    timer_cancelled,
    timer_created,
    timer_fired,
)


async def sell(ctx: OrchestrationContext) -> str:
    await ctx.schedule_activity("charge")
    await ctx.schedule_timer(1)
    return "sold"


def refused(recorded: list[Event], code: Callable[..., Any] = sell) -> str:
    with pytest.raises(NondeterminismError) as caught:
        replay(recorded, code)
    return caught.value.message


BEGUN = [started("sell"), activity_scheduled(2, "charge")]


def test_the_error_says_where_what_was_recorded_what_was_asked_and_the_likely_cause() -> None:
    with pytest.raises(NondeterminismError) as caught:
        replay([started("sell"), activity_scheduled(2, "reserve")], sell, instance_id="order-7", execution_id=4)
    assert caught.value.message == (
        "instance 'order-7' execution 4 (sell 1.0.0), event 2: history recorded ActivityScheduled 'reserve', "
        "the code asked for ActivityScheduled 'charge'. Likely cause: the code of this version changed while the "
        "execution was running, or it reads a clock, a random number, a global or anything else that differs between "
        "runs"
    )
    assert caught.value.hint is not None
    assert "register the new code under another version" in caught.value.hint


@pytest.mark.parametrize(
    "recorded",
    [
        activity_scheduled(2, "other"),
        timer_created(2, NOW_MS),
        event_wait_started(2, "charge"),
        sub_orchestration_scheduled(2, "charge", instance_id="c"),
        orchestration_scheduled(2, "charge", instance_id="c"),
        timer_cancelled(2, 1),
        timer_fired(2, 1),
        cancel_requested(2),
        completed(2, "sold"),
        failed(2),
        terminated(2),
    ],
)
def test_another_event_in_the_place_of_a_request_is_a_difference(recorded: Event) -> None:
    said = refused([started("sell"), recorded])
    assert f"event 2: history recorded {type(recorded).__name__}" in said
    assert "the code asked for ActivityScheduled 'charge'" in said


def test_a_request_where_history_ends_is_a_difference() -> None:
    said = refused([started("sell")])
    assert "the end of its history: history recorded nothing more for this point, the code asked for" in said


def test_a_recorded_request_the_code_no_longer_makes_is_a_difference() -> None:
    async def less(ctx: OrchestrationContext) -> None:
        await ctx.wait_for_event("n")

    said = refused([started("sell"), event_wait_started(2, "n"), activity_scheduled(3, "charge")], less)
    assert "history recorded ActivityScheduled 'charge', the code did not ask for it and came to rest" in said


def test_code_that_ends_where_history_goes_on_is_a_difference() -> None:
    async def quick(ctx: OrchestrationContext) -> None:
        await ctx.schedule_activity("charge")

    said = refused([*BEGUN, activity_completed(3, 2), timer_created(4, NOW_MS)], quick)
    assert "history recorded TimerCreated, the code ended with OrchestrationCompleted" in said


def test_code_that_ends_where_history_ends_unfinished_is_a_difference() -> None:
    async def quick(ctx: OrchestrationContext) -> None: ...

    assert "the code ended with OrchestrationCompleted" in refused([started("quick")], quick)


def test_code_that_goes_on_where_history_ended_is_a_difference() -> None:
    assert "history recorded OrchestrationCompleted, the code did not end" in refused([*BEGUN, completed(3)])


def test_code_that_ends_in_another_way_than_recorded_is_a_difference() -> None:
    async def broken(ctx: OrchestrationContext) -> None:
        await ctx.schedule_activity("charge")
        raise ValueError

    said = refused([*BEGUN, activity_completed(3, 2), completed(4)], broken)
    assert "history recorded OrchestrationCompleted, the code ended with OrchestrationFailed" in said


def test_events_after_the_end_are_a_difference() -> None:
    async def quick(ctx: OrchestrationContext) -> None: ...

    assert "the code had already ended" in refused([started("quick"), completed(2), timer_fired(3, 1)], quick)


def test_inputs_options_and_times_may_change() -> None:
    """Position and identity are compared, nothing else."""

    async def changed(ctx: OrchestrationContext) -> None:
        await ctx.schedule_activity("charge", {"new": True}, timeout=5)
        await ctx.schedule_timer(99)

    recorded = [
        started("changed"),
        activity_scheduled(2, "charge", "old", total_timeout_s=1.0),
        activity_completed(3, 2),
        timer_created(4, NOW_MS + 1),
    ]
    replay(recorded, changed).seal()


def test_a_child_of_another_id_is_a_difference() -> None:
    async def parent(ctx: OrchestrationContext) -> None:
        await ctx.schedule_sub_orchestration("child", instance_id="new")

    said = refused([started("parent"), sub_orchestration_scheduled(2, "child", instance_id="old")], parent)
    assert "recorded SubOrchestrationScheduled 'child' 'old', the code asked" in said


def test_a_loser_that_history_did_not_cancel_is_a_difference_also_when_no_code_runs_in_between() -> None:
    """The engine itself cancels losers as it delivers the winner: the error must still be a NondeterminismError."""

    async def race(ctx: OrchestrationContext) -> None:
        await ctx.select(ctx.schedule_activity("a"), ctx.schedule_activity("b"))
        await ctx.schedule_activity("c")

    recorded = [
        started("race"),
        activity_scheduled(2, "a"),
        activity_scheduled(3, "b"),
        activity_completed(4, 2),
        activity_scheduled(5, "c"),
    ]
    assert "the code asked for ActivityCancelRequested 3" in refused(list(recorded), race)


@pytest.mark.parametrize("fails", [False, True])
def test_a_loser_that_history_did_not_cancel_is_a_difference_also_when_a_coroutine_won(fails: bool) -> None:
    async def helper(ctx: OrchestrationContext) -> None:
        await ctx.schedule_activity("a")
        if fails:
            raise ValueError

    async def race(ctx: OrchestrationContext) -> None:
        await ctx.select(helper(ctx), ctx.schedule_timer(1))

    recorded = [
        started("race"),
        timer_created(2, NOW_MS + 1_000),
        activity_scheduled(3, "a"),
        activity_completed(4, 3),
        activity_scheduled(5, "c"),
    ]
    assert "the code asked for TimerCancelled 2" in refused(list(recorded), race)


def test_a_cancel_that_reaches_what_history_did_not_cancel_is_a_difference() -> None:
    async def waits(ctx: OrchestrationContext) -> None:
        ctx.schedule_timer(1)
        await ctx.schedule_activity("a")

    recorded = [started("waits"), timer_created(2, NOW_MS + 1_000), activity_scheduled(3, "a"), cancel_requested(4)]
    assert "the code asked for ActivityCancelRequested 3" in refused([*recorded, completed(5)], waits)


# --- whatever the code does with the error ------------------------------------------------------------------


async def swallow(ctx: OrchestrationContext) -> str:
    try:
        await ctx.schedule_activity("charge")
    except BaseException:
        return "rescued"
    return "fine"


async def swallow_and_go_on(ctx: OrchestrationContext) -> str:
    caught = []
    for name in ("charge", "other", "third"):
        try:
            await ctx.schedule_activity(name)
        except BaseException as error:
            caught.append(type(error))
    assert caught == [ContextSealed] * 3
    return "rescued"


async def swallow_for_ever(ctx: OrchestrationContext) -> None:
    while True:
        with contextlib.suppress(BaseException):
            await ctx.schedule_activity("charge")


async def swallow_every_way_there_is(ctx: OrchestrationContext) -> None:
    async def helper() -> None:
        await ctx.schedule_timer(1)

    while True:
        try:
            done = ctx.schedule_activity("charge")
            ctx.set_custom_status("x")
            ctx.trace_error("x")
            ctx.schedule_orchestration("x")
            ctx.new_guid()
            ctx.utc_now()
            await ctx.select(ctx.wait_for_event("n"), helper(), ctx.join(helper(), done))
        except BaseException:
            pass


async def swallow_in_a_helper(ctx: OrchestrationContext) -> str:
    await ctx.join(swallow(ctx), swallow(ctx))
    return "rescued"


async def replace(ctx: OrchestrationContext) -> str:
    try:
        await ctx.schedule_activity("charge")
    finally:
        raise ValueError("another error")


@pytest.mark.parametrize(
    "code", [swallow, swallow_and_go_on, swallow_for_ever, swallow_every_way_there_is, swallow_in_a_helper, replace]
)
@pytest.mark.parametrize("end", [(), (activity_completed(3, 2), completed(4, "rescued"))])
def test_swallowing_the_error_does_not_rescue_the_turn(code: Callable[..., Any], end: tuple[Event, ...]) -> None:
    """A loop that swallows everything comes to rest as well, instead of holding the worker up for ever."""
    recorded = [started(code.__name__), activity_scheduled(2, "reserve"), *end]
    assert "history recorded ActivityScheduled 'reserve'" in refused(recorded, code)


# --- what is no history ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recorded", "said"),
    [
        ([], "does not begin with OrchestrationStarted"),
        ([activity_scheduled(1, "charge")], "does not begin with OrchestrationStarted"),
        ([*BEGUN, started("sell")], "event 3 of the history is numbered 1"),
        ([started("sell"), activity_scheduled(3, "charge")], "event 2 of the history is numbered 3"),
        ([started("sell", seed="no hex")], "the seed"),
        ([started("sell", seed="abcd")], "the seed"),
        ([*BEGUN, activity_completed(3, 1)], "answers event 1, which waits for nothing"),
        ([*BEGUN, activity_completed(3, 9)], "answers event 9, which waits for nothing"),
        ([*BEGUN, timer_fired(3, 2)], "TimerFired answers event 2, which waits for something else .activity."),
        (
            [*BEGUN, event_received(3, 2, "charge")],
            "EventReceived answers event 2, which waits for something else .activity.",
        ),
    ],
)
def test_what_is_no_history_is_refused_as_unreadable(recorded: list[Event], said: str) -> None:
    with pytest.raises(HistoryFormatError, match=said):
        replay(recorded, sell)


def test_a_second_start_is_out_of_place() -> None:
    second = history(started("sell"))[0].replace('"event_id":1', '"event_id":3')
    with pytest.raises(HistoryFormatError, match="OrchestrationStarted at event 3 is out of place"):
        replay([*history(*BEGUN), second], sell)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"type":"Unknown","event_id":2,"at_ms":0}', "\ud800", "nul"])
def test_text_that_is_no_event_is_refused_as_unreadable(text: str) -> None:
    with pytest.raises(HistoryFormatError, match="cannot be read"):
        replay([*history(started("sell")), text], sell)


# --- finished histories ------------------------------------------------------------------------------------


def test_a_finished_history_replays_to_its_end() -> None:
    recorded = [
        *BEGUN,
        activity_completed(3, 2),
        timer_created(4, NOW_MS + 1_000),
        timer_fired(5, 4),
        completed(6, "sold"),
    ]
    execution = replay(recorded, sell)
    assert execution.ended
    assert not execution.replaying
    assert execution.event_count == 6
    execution.seal()


def test_a_terminated_history_replays_although_the_code_did_not_end() -> None:
    execution = replay([*BEGUN, terminated(3)], sell)
    assert execution.ended
    execution.seal()


def test_code_that_ended_where_it_was_terminated_is_a_difference() -> None:
    async def quick(ctx: OrchestrationContext) -> None: ...

    assert "recorded OrchestrationTerminated" in refused([started("quick"), terminated(2)], quick)


def test_a_history_that_continued_as_new_replays() -> None:
    async def eternal(ctx: OrchestrationContext, given: str = "") -> None:
        await ctx.continue_as_new("x")

    execution = replay([started("eternal"), continued_as_new(2, "x")], eternal)
    assert execution.ended
    execution.seal()
