"""``duro.testing.histories``: what users test their recorded histories with."""

from collections.abc import Callable

import pytest

from duro import Registry
from duro.errors import HistoryFormatError, NondeterminismError, UnknownOrchestrationError
from duro.model.events import Event
from duro.replay.context import OrchestrationContext
from duro.testing.histories import (
    Engine,
    activity_completed,
    activity_result,
    activity_scheduled,
    check_replay,
    completed,
    drive,
    history,
    registry_of,
    replay,
    started,
)


async def sell(ctx: OrchestrationContext) -> str:
    return str(await ctx.schedule_activity(f"charge {ctx.instance_id}/{ctx.execution_id}"))


RECORDED: list[Event] = [
    started("sell"),
    activity_scheduled(2, "charge order-7/3"),
    activity_completed(3, 2, "paid"),
    completed(4, "paid"),
]


@pytest.mark.parametrize("form", [list, lambda events: history(*events)])
@pytest.mark.parametrize("length", [2, 3, 4])
def test_a_history_that_fits_passes_finished_or_not(
    form: Callable[[list[Event]], list[str | Event]], length: int
) -> None:
    if length == 3:
        with pytest.raises(NondeterminismError):
            check_replay(form(RECORDED[:3]), registry_of(sell), instance_id="order-7", execution_id=3)
    else:
        check_replay(form(RECORDED[:length]), registry_of(sell), instance_id="order-7", execution_id=3)


def test_a_history_that_no_longer_fits_is_a_nondeterminism_error() -> None:
    with pytest.raises(NondeterminismError, match=r"'charge order-7/3', the code asked for .* 'charge instance/1'"):
        check_replay(RECORDED, registry_of(sell))


def test_the_version_in_the_history_decides_which_code_replays_it() -> None:
    registry = Registry()

    @registry.orchestration(name="sell", version="1.0.0")
    async def old(ctx: OrchestrationContext) -> None:
        await ctx.schedule_activity("old")

    @registry.orchestration(name="sell", version="2.0.0")
    async def new(ctx: OrchestrationContext) -> None:
        await ctx.schedule_activity("new")

    check_replay([started("sell"), activity_scheduled(2, "old")], registry)
    check_replay([started("sell", version="2.0.0"), activity_scheduled(2, "new")], registry)
    with pytest.raises(UnknownOrchestrationError, match=r"'sell' version 3\.0\.0 is not registered"):
        check_replay([started("sell", version="3.0.0")], registry)


@pytest.mark.parametrize("recorded", [[], [completed(1)]])
def test_what_is_no_history_is_refused(recorded: list[Event]) -> None:
    with pytest.raises(HistoryFormatError, match="does not begin with OrchestrationStarted"):
        check_replay(recorded, Registry())


def test_code_is_closed_when_a_replay_fails() -> None:
    closed = []

    async def waits(ctx: OrchestrationContext) -> None:
        try:
            await ctx.schedule_activity("a")
            await ctx.schedule_activity("b")
        finally:
            closed.append(True)

    with pytest.raises(NondeterminismError):
        replay([started("waits"), activity_scheduled(2, "a"), activity_scheduled(3, "x")], waits)
    assert closed == [True]


def test_an_engine_refuses_a_name_that_is_not_registered() -> None:
    with pytest.raises(UnknownOrchestrationError, match=r"'sell' version \(newest\)"):
        Engine("sell")


def test_an_engine_that_is_dropped_closes_its_code() -> None:
    closed = []

    async def waits(ctx: OrchestrationContext) -> None:
        try:
            await ctx.schedule_activity("a")
        finally:
            closed.append(True)

    drive(waits)
    assert closed == [True]


def test_result_and_failure_say_what_happened_instead() -> None:
    engine = drive(sell)
    with pytest.raises(AssertionError, match="it did not complete"):
        _ = engine.result
    engine.turn(activity_result(2, "paid"))
    with pytest.raises(AssertionError, match="it did not fail"):
        _ = engine.failure
    with pytest.raises(AssertionError, match="did not continue as new"):
        engine.next_execution()
