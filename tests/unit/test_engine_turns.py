"""The engine and the head of a turn: whose it is, when it was, and what it adds to the history."""

from typing import Any

from duro.model.turns import TurnCommit
from duro.replay.context import OrchestrationContext
from duro.testing.histories import NOW_MS, Engine, activity_result, cancel_asked, timer_due


async def three_turns(ctx: OrchestrationContext) -> list[Any]:
    ctx.trace_info("begun")
    answer = await ctx.schedule_activity("\u20ac")
    told = [ctx.utc_now().timestamp() * 1000, ctx.history_event_count, ctx.history_bytes]
    await ctx.schedule_timer(1)
    ctx.trace_info("woken")
    return [answer, told, [ctx.utc_now().timestamp() * 1000, ctx.history_event_count, ctx.history_bytes]]


def size(turns: list[TurnCommit]) -> int:
    return sum(len(text.encode()) for turn in turns for text in turn.events)


def test_every_turn_says_whose_it_is_when_it_was_and_where_it_begins() -> None:
    for forgets in (False, True):
        engine = Engine(three_turns)
        engine.now_ms = NOW_MS + 1
        turns = [engine.start()]
        for arrived, now_ms in ((activity_result(2, "\u20ac"), NOW_MS + 20), (timer_due(4), NOW_MS + 300)):
            if forgets:
                engine.forget()
            turn = engine.turn(arrived, now_ms=now_ms)
            assert turn is not None
            turns.append(turn)
        identity = engine.identity
        assert [(turn.instance_id, turn.incarnation, turn.execution_id) for turn in turns] == [
            (identity.instance_id, identity.incarnation, identity.execution_id)
        ] * 3
        assert {(turn.name, turn.version) for turn in turns} == {("three_turns", "1.0.0")}
        assert [turn.at_ms for turn in turns] == [NOW_MS + 1, NOW_MS + 20, NOW_MS + 300]
        assert [turn.first_event_id for turn in turns] == [1, 3, 5]
        assert [len(turn.events) for turn in turns] == [2, 2, 2]
        assert [turn.history_bytes for turn in turns] == [size([turn]) for turn in turns]
        assert [turn.cancel_delivered for turn in turns] == [False] * 3
        at_answer = len(turns[1].events[0].encode())
        at_timer = len(turns[2].events[0].encode())
        assert engine.result == [
            "\u20ac",
            [NOW_MS + 20, 3, size(turns[:1]) + at_answer],
            [NOW_MS + 300, 5, size(turns[:2]) + at_timer],
        ]


def test_traces_and_custom_status_are_those_of_their_own_turn() -> None:
    async def says(ctx: OrchestrationContext) -> None:
        ctx.set_custom_status("first")
        ctx.trace_info("one")
        await ctx.schedule_activity("a")
        await ctx.schedule_activity("b")
        ctx.trace_info("three")

    engine = Engine(says)
    turn = engine.start()
    assert (turn.custom_status, engine.execution.traces) == ('"first"', [("info", "one")])
    second = engine.turn(activity_result(2))
    assert second is not None
    assert (second.custom_status, list(engine.execution.traces)) == (None, [])
    engine.turn(activity_result(4))
    assert list(engine.execution.traces) == [("info", "three")]
    engine.execution.seal()
    assert list(engine.execution.traces) == []


def test_a_request_to_cancel_is_delivered_by_the_turn_that_says_so_and_by_no_other() -> None:
    async def goes_on(ctx: OrchestrationContext) -> str:
        try:
            await ctx.schedule_activity("a")
        finally:
            await ctx.schedule_activity("cleanup")
        return "not reached"

    engine = Engine(goes_on)
    assert engine.start().cancel_delivered is False
    told = engine.turn(cancel_asked())
    assert told is not None
    assert told.cancel_delivered is True
    after = engine.turn(activity_result(5), cancel_asked())
    assert after is not None
    assert after.cancel_delivered is False
