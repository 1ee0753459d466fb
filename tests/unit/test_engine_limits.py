"""The engine and the limits: what is refused, that a replay refuses the same, and that parents hear of it."""

from collections.abc import Callable
from typing import Any

import pytest

from duro.codec import decode_message
from duro.errors import LimitExceededError
from duro.model import limits
from duro.model.events import ParentLink
from duro.model.limits import (
    CONTINUE_AS_NEW_BYTES,
    CONTINUE_AS_NEW_EVENTS,
    HISTORY_BYTES_MAX,
    HISTORY_EVENTS_MAX,
    PAYLOAD_BYTES_MAX,
    TURN_REQUESTS_MAX,
)
from duro.model.messages import ChildFailed
from duro.model.status import ExecutionStatus
from duro.replay.context import OrchestrationContext
from duro.testing.histories import Engine, activity_result, check_replay, drive, event_raised, registry_of

PARENT = ParentLink(instance_id="parent", incarnation=7, execution_id=3, event_id=12)

ASKS: dict[str, Callable[[OrchestrationContext], Any]] = {
    "activity": lambda ctx: ctx.schedule_activity("work"),
    "timer": lambda ctx: ctx.schedule_timer(60),
    "event": lambda ctx: ctx.wait_for_event("go"),
    "child": lambda ctx: ctx.schedule_sub_orchestration("child"),
    "detached": lambda ctx: ctx.schedule_orchestration("other"),
}


def test_the_hard_limits_are_well_above_what_suggests_to_continue_as_new() -> None:
    assert HISTORY_EVENTS_MAX >= 5 * CONTINUE_AS_NEW_EVENTS
    assert HISTORY_BYTES_MAX >= 8 * CONTINUE_AS_NEW_BYTES
    assert HISTORY_EVENTS_MAX > 2 * TURN_REQUESTS_MAX


@pytest.mark.parametrize("kind", ASKS)
def test_a_turn_that_asks_for_too_much_fails_and_tells_its_parent(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TURN_REQUESTS_MAX", 3)

    async def greedy(ctx: OrchestrationContext) -> None:
        for _ in range(4):
            ASKS[kind](ctx)

    engine = Engine(greedy, parent=PARENT)
    turn = engine.start()
    assert turn.end is not None
    assert turn.end.status is ExecutionStatus.FAILED
    assert (engine.failure.type, len(turn.events)) == ("LimitExceededError", 5)
    assert "asked for 3 things without waiting" in engine.failure.message
    message = decode_message(turn.end.parent_message or "")
    assert isinstance(message, ChildFailed)
    assert (message.execution_id, message.scheduled_event_id, message.failure.type) == (3, 12, "LimitExceededError")


def test_the_real_limit_of_a_turn_admits_what_it_says() -> None:
    async def fan_out(ctx: OrchestrationContext, count: int) -> None:
        await ctx.join(*(ctx.schedule_activity("work") for _ in range(count)))

    assert len(Engine(fan_out, TURN_REQUESTS_MAX).start().activities) == TURN_REQUESTS_MAX
    assert Engine(fan_out, TURN_REQUESTS_MAX + 1).start().end is not None


def test_who_waits_may_ask_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TURN_REQUESTS_MAX", 2)

    async def patient(ctx: OrchestrationContext) -> str:
        for _ in range(3):
            one, _ = ctx.schedule_activity("work"), ctx.schedule_timer(60)
            await one
        return "done"

    engine = drive(patient, None, *([activity_result(n)] for n in (2, 5, 8)))
    assert engine.result == "done"


def test_inputs_of_one_turn_are_limited_together() -> None:
    async def heavy(ctx: OrchestrationContext) -> int:
        text = "x" * (PAYLOAD_BYTES_MAX - 20)
        for n in range(20):
            try:
                ctx.schedule_activity("work", text)
            except LimitExceededError:
                ctx.schedule_activity("work", "small")
                return n
        return -1

    engine = Engine(heavy)
    engine.start()
    assert engine.result == 8
    assert engine.kinds.count("ActivityScheduled") == 9


@pytest.mark.parametrize(("name", "value"), [("HISTORY_EVENTS_MAX", 20), ("HISTORY_BYTES_MAX", 2_000)])
def test_a_history_that_is_full_takes_no_further_request(
    name: str, value: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, name, value)

    async def endless(ctx: OrchestrationContext) -> None:
        while True:
            await ctx.wait_for_event("go")

    engine = Engine(endless, parent=PARENT)
    engine.start()
    while not engine.ended:
        assert engine.turn(event_raised("go", "data")) is not None
    assert engine.failure.type == "LimitExceededError"
    assert "continue_as_new_suggested" in engine.failure.message
    recorded = engine.execution.event_count if name == "HISTORY_EVENTS_MAX" else engine.execution.history_bytes
    assert value <= recorded <= 2 * value
    assert engine.last.end is not None
    assert engine.last.end.parent_message is not None


def test_a_replay_refuses_the_same_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TURN_REQUESTS_MAX", 2)

    async def adapting(ctx: OrchestrationContext) -> int:
        first = ctx.schedule_activity("work")
        refused = 0
        for _ in range(3):
            try:
                ctx.schedule_timer(60)
            except LimitExceededError:
                refused += 1
        await first
        await ctx.schedule_activity("work", refused)
        return refused

    engine = drive(adapting, None, [activity_result(2)])
    engine.forget()
    engine.turn(activity_result(5))
    assert engine.result == 2
    check_replay(engine.history, registry_of(adapting))


def test_a_full_history_can_still_continue_as_new(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HISTORY_EVENTS_MAX", 5)

    async def late(ctx: OrchestrationContext) -> None:
        while True:
            try:
                await ctx.wait_for_event("go")
            except LimitExceededError:
                await ctx.continue_as_new()

    engine = Engine(late)
    engine.start()
    while not engine.ended:
        engine.turn(event_raised("go"))
    assert engine.last.end is not None
    assert engine.last.end.status is ExecutionStatus.CONTINUED_AS_NEW


def test_code_that_swallows_every_refusal_comes_to_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TURN_REQUESTS_MAX", 1)

    async def stubborn(ctx: OrchestrationContext) -> None:
        while True:
            try:
                ctx.schedule_activity("work")
            except Exception:
                continue

    engine = Engine(stubborn)
    engine.start()
    assert engine.failure.type == "ContextSealed"
    assert "the code goes on asking" in engine.failure.message
