"""The engine and timers."""

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest

from duro.errors import UsageError
from duro.model.turns import CreateTimer
from duro.replay.context import OrchestrationContext, Seconds
from duro.testing.histories import (
    NOW_MS,
    Engine,
    activity_result,
    activity_scheduled,
    completed,
    drive,
    started,
    timer_created,
    timer_due,
    timer_fired,
)


async def nap(ctx: OrchestrationContext) -> str:
    await ctx.schedule_timer(2)
    return "rested"


def test_a_timer_is_recorded_armed_and_fired() -> None:
    engine = Engine(nap)
    assert engine.start().timers == [CreateTimer(2, NOW_MS + 2_000)]
    turn = engine.turn(timer_due(2), now_ms=NOW_MS + 2_500)
    assert turn is not None
    assert turn.consumed_timers == [2]
    assert engine.events == [
        started("nap"),
        timer_created(2, NOW_MS + 2_000),
        timer_fired(3, 2, at_ms=NOW_MS + 2_500),
        completed(4, "rested", at_ms=NOW_MS + 2_500),
    ]


@pytest.mark.parametrize(
    ("delay", "ms"), [(0, 0), (0.25, 250), (timedelta(days=1), 86_400_000), (timedelta(milliseconds=7), 7)]
)
def test_a_delay_is_seconds_or_a_timedelta(delay: Seconds, ms: int) -> None:
    async def wait(ctx: OrchestrationContext) -> None:
        await ctx.schedule_timer(delay)

    assert Engine(wait).start().timers == [CreateTimer(2, NOW_MS + ms)]


def test_a_delay_counts_from_the_time_of_the_turn_that_asks() -> None:
    async def two(ctx: OrchestrationContext) -> None:
        await ctx.schedule_activity("a")
        await ctx.schedule_timer(1)

    engine = Engine(two)
    engine.start()
    turn = engine.turn(activity_result(2), now_ms=NOW_MS + 60_000)
    assert turn is not None
    assert turn.timers == [CreateTimer(4, NOW_MS + 61_000)]


@pytest.mark.parametrize("delay", [-1, float("inf"), float("nan"), True, timedelta(days=36_501), None])
def test_a_delay_that_is_none_is_refused_and_leaves_no_trace(delay: Seconds) -> None:
    async def wrong(ctx: OrchestrationContext) -> str:
        try:
            ctx.schedule_timer(delay)
        except UsageError as error:
            return str(error)
        return "accepted"

    engine = drive(wrong)
    assert engine.kinds == ["OrchestrationStarted", "OrchestrationCompleted"]
    assert "delay must be between 0 and" in engine.result


@pytest.mark.parametrize(
    ("when", "fire_at_ms"),
    [
        (datetime(2030, 1, 1, tzinfo=UTC), 1_893_456_000_000),
        (datetime(2030, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))), 1_893_456_000_000),
        (datetime(2030, 1, 1, 0, 0, 0, 999, tzinfo=UTC), 1_893_456_000_001),
        (datetime(2030, 1, 1, 0, 0, 0, 1, tzinfo=UTC), 1_893_456_000_001),
        (datetime(2030, 1, 1, 0, 0, 0, 1_000, tzinfo=UTC), 1_893_456_000_001),
        (datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), 0),
    ],
)
def test_a_timer_at_a_point_in_time_never_fires_before_it(when: datetime, fire_at_ms: int) -> None:
    async def wait(ctx: OrchestrationContext) -> None:
        await ctx.schedule_timer_at(when)

    assert Engine(wait).start().timers == [CreateTimer(2, fire_at_ms)]


def test_a_timer_at_a_time_without_zone_is_refused() -> None:
    async def wrong(ctx: OrchestrationContext) -> str:
        try:
            ctx.schedule_timer_at(datetime(2030, 1, 1))  # noqa: DTZ001 - that is the point
        except UsageError as error:
            return error.message
        return "accepted"

    assert "has no time zone" in drive(wrong).result


@pytest.mark.parametrize("when", [date(2030, 1, 1), 1_893_456_000, "2030-01-01T00:00:00Z", None])
def test_a_timer_at_what_is_no_datetime_is_refused(when: Any) -> None:
    async def wrong(ctx: OrchestrationContext) -> str:
        try:
            ctx.schedule_timer_at(when)
        except UsageError as error:
            return error.message
        return "accepted"

    assert "when must be a datetime" in drive(wrong).result


def test_several_due_timers_are_delivered_in_the_order_they_come_in() -> None:
    async def steps(ctx: OrchestrationContext) -> None:
        async def step(delay: float, name: str) -> None:
            await ctx.schedule_timer(delay)
            await ctx.schedule_activity(name)

        await ctx.join(step(1, "first"), step(2, "second"))

    engine = drive(steps, None, [timer_due(2), timer_due(3)])
    assert engine.events[3:] == [
        timer_fired(4, 2),
        activity_scheduled(5, "first"),
        timer_fired(6, 3),
        activity_scheduled(7, "second"),
    ]


def test_a_due_timer_that_nobody_waits_for_means_nothing() -> None:
    engine = drive(nap)
    assert engine.turn(timer_due(9)) is None
    assert engine.turn(timer_due(2)) is not None
    assert engine.turn(timer_due(2)) is None
