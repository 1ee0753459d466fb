"""The engine and what must be the same on every replay: random numbers, ids, time, sizes."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from duro.model.limits import CONTINUE_AS_NEW_BYTES, CONTINUE_AS_NEW_EVENTS
from duro.replay import context as context_module
from duro.replay.context import OrchestrationContext
from duro.testing.histories import NOW_MS, Engine, activity_result, drive


async def draws(ctx: OrchestrationContext) -> list[Any]:
    drawn: list[Any] = []
    for _ in range(3):
        drawn += [ctx.random(), str(ctx.new_guid()), ctx.schedule_orchestration("x")]
        await ctx.schedule_activity("a")
    return drawn


def finish(engine: Engine, *, forget: bool) -> Any:
    while not engine.ended:
        if forget:
            engine.forget()
        engine.turn(*(activity_result(each.event_id) for each in engine.last.activities))
    return engine.result


def test_random_numbers_guids_and_ids_are_the_same_after_replay() -> None:
    assert finish(drive(draws), forget=True) == finish(drive(draws), forget=False)


def test_another_seed_gives_other_numbers() -> None:
    one, two = (finish(drive(draws, seed=seed), forget=False) for seed in ("11" * 16, "22" * 16))
    assert not set(one) & set(two)
    assert len(set(one)) == 9


def test_random_numbers_lie_between_0_and_1_and_are_spread() -> None:
    async def many(ctx: OrchestrationContext) -> list[float]:
        return [ctx.random() for _ in range(1_000)]

    numbers = drive(many).result
    assert all(0 <= number < 1 for number in numbers)
    assert len(set(numbers)) == 1_000
    assert 450 < sum(number < 0.5 for number in numbers) < 550


def test_guids_are_random_uuids() -> None:
    async def one(ctx: OrchestrationContext) -> str:
        return str(ctx.new_guid())

    guid = uuid.UUID(drive(one).result)
    assert (guid.version, guid.variant) == (4, uuid.RFC_4122)


def test_the_numbers_of_a_seed_never_change() -> None:
    """Histories of every release replay: changing the derivation would change ids they recorded."""

    async def one(ctx: OrchestrationContext) -> list[Any]:
        return [ctx.random(), str(ctx.new_guid()), ctx.schedule_orchestration("child")]

    assert drive(one, seed="00" * 16).result == [
        0.5057870427626459,
        "09704de9-8420-434c-bdda-e2761cd134a3",
        "child-78e8553b93931ded10e7c2b120278f87",
    ]


def test_time_is_the_turns_and_stands_still_within_it() -> None:
    async def times(ctx: OrchestrationContext) -> list[str]:
        seen = [ctx.utc_now(), ctx.utc_now()]
        await ctx.schedule_activity("a")
        seen.append(ctx.utc_now())
        await ctx.schedule_activity("b")
        seen.append(ctx.utc_now())
        return [time.isoformat() for time in seen]

    for forget in (False, True):
        engine = drive(times)
        engine.turn(activity_result(2), now_ms=NOW_MS + 1_234)
        if forget:
            engine.forget()
        engine.turn(activity_result(4), now_ms=NOW_MS + 9_999)
        start = datetime.fromtimestamp(NOW_MS / 1000, UTC)
        expected = [start, start, start + timedelta(milliseconds=1_234), start + timedelta(milliseconds=9_999)]
        assert engine.result == [time.isoformat() for time in expected]


def test_a_turn_that_delivers_nothing_does_not_move_the_codes_time() -> None:
    async def times(ctx: OrchestrationContext) -> str:
        await ctx.schedule_activity("a")
        return ctx.utc_now().isoformat()

    engine = drive(times)
    assert engine.turn(now_ms=NOW_MS + 5_000) is None
    engine.turn(activity_result(2), now_ms=NOW_MS)
    assert engine.result == datetime.fromtimestamp(NOW_MS / 1000, UTC).isoformat()


@pytest.mark.parametrize("ask", [lambda ctx: ctx.history_event_count, lambda ctx: ctx.history_bytes])
def test_sizes_are_those_of_what_the_code_was_given(ask: Callable[[OrchestrationContext], int]) -> None:
    """Live and replayed agree, whatever was asked for in between and however turns were grouped."""

    async def sizes(ctx: OrchestrationContext) -> list[int]:
        seen = [ask(ctx)]
        first, second = ctx.schedule_activity("a", "\u20ac"), ctx.schedule_activity("b")
        seen.append(ask(ctx))
        for future in (first, second):
            await future
            seen.append(ask(ctx))
            await ctx.schedule_activity("c")
            seen.append(ask(ctx))
        return seen

    results = []
    for forget in (False, True):
        engine = drive(sizes, None, [activity_result(2), activity_result(3)])
        while not engine.ended:
            if forget:
                engine.forget()
            engine.turn(*(activity_result(each.event_id) for each in engine.last.activities))
        results.append(engine.result)
    assert results[0] == results[1]
    assert results[0][0] == results[0][1]
    assert results[0] == sorted(results[0])


def test_the_event_count_is_exact() -> None:
    async def count(ctx: OrchestrationContext) -> list[int]:
        seen = [ctx.history_event_count]
        await ctx.schedule_activity("a")
        return [*seen, ctx.history_event_count]

    engine = drive(count, None, [activity_result(2)])
    assert engine.result == [1, 3]
    assert engine.execution.event_count == 4
    assert engine.execution.history_bytes == sum(len(text.encode()) for text in engine.history)


def test_continue_as_new_is_suggested_for_long_and_for_heavy_histories() -> None:
    async def ask(ctx: OrchestrationContext) -> bool:
        return ctx.continue_as_new_suggested

    async def long(ctx: OrchestrationContext) -> bool:
        while not ctx.continue_as_new_suggested:
            await ctx.join(*(ctx.schedule_activity("a") for _ in range(2_500)))
        return ctx.history_event_count >= CONTINUE_AS_NEW_EVENTS

    async def heavy(ctx: OrchestrationContext) -> bool:
        while not ctx.continue_as_new_suggested:
            await ctx.schedule_activity("a", "x" * 1_900_000)
        return ctx.history_bytes >= CONTINUE_AS_NEW_BYTES

    assert drive(ask).result is False
    assert finish(drive(long), forget=False) is True
    assert finish(drive(heavy), forget=False) is True


def test_continue_as_new_is_suggested_from_the_very_event_and_the_very_byte_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def ask(ctx: OrchestrationContext) -> list[Any]:
        seen = []
        for limit, exact in (("EVENTS", ctx.history_event_count), ("BYTES", ctx.history_bytes)):
            for beyond in (0, 1):
                with monkeypatch.context() as patched:
                    patched.setattr(context_module, "CONTINUE_AS_NEW_EVENTS", 10**6)
                    patched.setattr(context_module, "CONTINUE_AS_NEW_BYTES", 10**9)
                    patched.setattr(context_module, f"CONTINUE_AS_NEW_{limit}", exact + beyond)
                    seen.append(ctx.continue_as_new_suggested)
        return seen

    assert drive(ask).result == [True, False, True, False]


def test_what_an_execution_is_called_is_known_to_its_code() -> None:
    async def who(ctx: OrchestrationContext) -> list[Any]:
        return [ctx.instance_id, ctx.execution_id, ctx.name, ctx.version]

    assert drive(who, instance_id="order-7", execution_id=3).result == ["order-7", 3, "who", "1.0.0"]


def test_only_code_that_ran_before_is_replaying() -> None:
    seen: list[bool] = []

    async def watch(ctx: OrchestrationContext) -> None:
        for _ in range(2):
            seen.append(ctx.is_replaying)
            await ctx.schedule_activity("a")

    engine = drive(watch)
    engine.forget()
    engine.turn(activity_result(2))
    assert seen == [False, True, False]
