"""The engine and activities: asking, results, failures, and what goes into the commit."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from duro import Registry, RetryPolicy
from duro.codec import NULL
from duro.errors import ActivityFailedError, InvalidInputError, PayloadTooLargeError, UnknownActivityError, UsageError
from duro.model.status import ExecutionStatus
from duro.model.turns import ScheduleActivity
from duro.replay.context import OrchestrationContext
from duro.testing.histories import (
    Engine,
    activity_completed,
    activity_error,
    activity_failed,
    activity_result,
    activity_scheduled,
    completed,
    drive,
    failure,
    started,
)


@dataclass
class Receipt:
    number: int
    total: float = 0.0


@dataclass
class Odd:
    number: int

    def __post_init__(self) -> None:
        raise LookupError("nothing here")


async def sell(ctx: OrchestrationContext, order: dict[str, int]) -> str:
    paid: str = await ctx.schedule_activity("charge", order)
    return paid


def test_an_activity_is_recorded_and_asked_for_in_the_same_commit() -> None:
    engine = Engine(sell, {"n": 1})
    turn = engine.start()
    assert engine.events == [started("sell", {"n": 1}), activity_scheduled(2, "charge", {"n": 1})]
    assert turn.activities == [ScheduleActivity(event_id=2, name="charge", input='{"n":1}')]
    assert (turn.first_event_id, turn.history_bytes) == (1, sum(map(len, engine.history)))
    assert turn.end is None


def test_a_result_resumes_the_code_and_the_end_is_recorded() -> None:
    engine = drive(sell, {"n": 1}, [activity_result(2, "paid")])
    assert engine.events[2:] == [activity_completed(3, 2, "paid"), completed(4, "paid")]
    assert engine.last.first_event_id == 3
    assert engine.last.end is not None
    assert engine.last.end.status is ExecutionStatus.COMPLETED
    assert engine.last.end.parent_message is None


def test_a_failure_is_raised_with_what_was_recorded() -> None:
    async def careful(ctx: OrchestrationContext) -> list[str]:
        try:
            await ctx.schedule_activity("charge")
        except ActivityFailedError as error:
            return [error.failure.type, error.failure.message, str(error)]
        return []

    details = failure("no funds", "Refused")
    engine = drive(careful, None, [activity_error(2, details)])
    assert engine.events[2:] == [
        activity_failed(3, 2, details),
        completed(4, ["Refused", "no funds", "activity 'charge' failed: Refused: no funds"]),
    ]


def test_an_unhandled_failure_of_an_activity_is_the_cause_of_the_orchestrations_failure() -> None:
    engine = drive(sell, {}, [activity_error(2, failure("no funds", "Refused"))])
    recorded = engine.events[-1].failure
    assert recorded.type == "ActivityFailedError"
    assert recorded.cause == failure("no funds", "Refused")
    assert "await ctx.schedule_activity" in (recorded.traceback or "")


def test_activities_asked_for_before_the_first_await_run_side_by_side() -> None:
    async def both(ctx: OrchestrationContext) -> list[int]:
        first, second = ctx.schedule_activity("a"), ctx.schedule_activity("b")
        return [await second, await first]

    engine = Engine(both)
    assert [each.event_id for each in engine.start().activities] == [2, 3]
    engine.turn(activity_result(2, 1))
    engine.turn(activity_result(3, 2))
    assert engine.events[-1] == completed(6, [2, 1])


def test_results_of_several_activities_are_delivered_one_by_one_in_their_order_of_arrival() -> None:
    """What a result makes the code ask for is recorded before the next result."""

    async def one(ctx: OrchestrationContext, name: str) -> None:
        await ctx.schedule_activity(name)
        await ctx.schedule_activity(f"after {name}")

    async def both(ctx: OrchestrationContext) -> None:
        await ctx.join(one(ctx, "a"), one(ctx, "b"))

    engine = drive(both, None, [activity_result(3), activity_result(2)])
    assert engine.events[3:] == [
        activity_completed(4, 3),
        activity_scheduled(5, "after b"),
        activity_completed(6, 2),
        activity_scheduled(7, "after a"),
    ]


def test_awaiting_a_future_twice_gives_its_result_twice() -> None:
    async def twice(ctx: OrchestrationContext) -> list[int]:
        future = ctx.schedule_activity("a")
        return [await future, await future]

    assert drive(twice, None, [activity_result(2, 7)]).events[-1] == completed(4, [7, 7])


def test_results_are_typed_by_the_activity_that_is_registered() -> None:
    registry = Registry()

    @registry.activity
    async def issue(ctx: Any, number: int) -> Receipt:
        raise NotImplementedError

    @registry.orchestration
    async def typed(ctx: OrchestrationContext) -> str:
        receipt = await ctx.schedule_activity(issue, 3)
        assert isinstance(receipt, Receipt)
        return f"{receipt.number}: {receipt.total}"

    engine = drive(typed, None, [activity_result(2, {"number": 3})], registry=registry)
    assert engine.events[1:2] == [activity_scheduled(2, "issue", 3)]
    assert engine.events[-1] == completed(4, "3: 0.0")


def test_a_result_that_does_not_fit_its_annotation_is_an_error_the_code_can_catch() -> None:
    registry = Registry()

    @registry.activity
    async def issue(ctx: Any) -> Receipt:
        raise NotImplementedError

    @registry.orchestration
    async def typed(ctx: OrchestrationContext) -> str:
        try:
            await ctx.schedule_activity(issue)
        except InvalidInputError as error:
            return str(error)
        return ""

    engine = drive(typed, None, [activity_result(2, "text")], registry=registry)
    assert engine.events[-1] == completed(
        4, "result of activity 'issue' does not fit Receipt: Expected `object`, got `str`"
    )


def test_a_result_whose_type_raises_any_error_of_its_own_reaches_the_code_not_the_worker() -> None:
    """What a user's type raises while it is made is the orchestration's affair; it must not abandon the turn."""

    registry = Registry()

    @registry.activity
    async def issue(ctx: Any) -> Odd:
        raise NotImplementedError

    @registry.orchestration
    async def typed(ctx: OrchestrationContext) -> str:
        try:
            await ctx.schedule_activity(issue)
        except InvalidInputError as error:
            return str(error)
        return ""

    engine = drive(typed, None, [activity_result(2, {"number": 1})], registry=registry)
    assert "nothing here" in engine.result


def test_options_of_an_activity_travel_with_the_request() -> None:
    policy = RetryPolicy(max_attempts=5, non_retryable_errors=("Refused",))

    async def patient(ctx: OrchestrationContext) -> None:
        await ctx.schedule_activity("a", retry=policy, timeout=2, total_timeout=timedelta(minutes=1))

    turn = Engine(patient).start()
    assert turn.activities == [
        ScheduleActivity(event_id=2, name="a", input="null", retry=policy, attempt_timeout_s=2.0, total_timeout_s=60.0)
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"timeout": 0}, "timeout must be more than 0 seconds"),
        ({"timeout": -1}, "timeout must be between 0 and"),
        ({"timeout": True}, "timeout must be between 0 and"),
        ({"total_timeout": float("nan")}, "total_timeout must be between 0 and"),
        ({"total_timeout": timedelta(days=400 * 365)}, "total_timeout must be between 0 and"),
        ({"timeout": "3"}, "timeout must be between 0 and"),
        ({"retry": 3}, "retry must be a RetryPolicy, not 3"),
        ({"retry": RetryPolicy(non_retryable_errors=(ValueError,))}, "non_retryable_errors"),  # type: ignore[arg-type]
        ({"retry": RetryPolicy(non_retryable_errors="ValueError")}, "non_retryable_errors"),  # type: ignore[arg-type]
    ],
)
def test_options_that_make_no_sense_are_refused_and_leave_no_trace(options: dict[str, Any], said: str) -> None:
    """Nothing that no history could be read with again is ever recorded."""

    async def wrong(ctx: OrchestrationContext) -> str:
        try:
            ctx.schedule_activity("a", **options)
        except UsageError as error:
            return str(error)
        return "accepted"

    engine = drive(wrong)
    assert engine.kinds == ["OrchestrationStarted", "OrchestrationCompleted"]
    assert said in engine.result


def test_inputs_that_are_not_json_or_too_large_are_refused_and_leave_no_trace() -> None:
    async def wrong(ctx: OrchestrationContext) -> list[str]:
        caught = []
        for value in (object(), "x" * 3_000_000, "\ud800", {1.5: {2}, (1, 2): 3}):
            try:
                ctx.schedule_activity("a", value)
            except (InvalidInputError, PayloadTooLargeError) as error:
                caught.append(type(error).__name__)
        return caught

    engine = drive(wrong)
    assert engine.events[1:] == [
        completed(2, ["InvalidInputError", "PayloadTooLargeError", "InvalidInputError", "InvalidInputError"])
    ]


def test_a_function_that_is_no_activity_here_is_refused_and_a_name_may_be_another_workers() -> None:
    async def stray(ctx: Any) -> None: ...

    async def wrong(ctx: OrchestrationContext) -> None:
        try:
            ctx.schedule_activity(stray)
        except UnknownActivityError:
            await ctx.schedule_activity("elsewhere")

    engine = drive(wrong)
    assert engine.events[1:] == [activity_scheduled(2, "elsewhere")]


@pytest.mark.parametrize("stray", [None, 5, [], {"name": "work"}])
def test_what_is_neither_a_function_nor_a_name_is_no_activity_and_no_orchestration(stray: Any) -> None:
    async def wrong(ctx: OrchestrationContext) -> list[str]:
        refused = []
        for ask in (ctx.schedule_activity, ctx.schedule_sub_orchestration, ctx.schedule_orchestration):
            try:
                ask(stray)
            except UsageError as error:
                refused.append(type(error).__name__)
        return refused

    assert drive(wrong).result == ["UnknownActivityError", *["UnknownOrchestrationError"] * 2]


def test_an_absent_result_is_none() -> None:
    async def plain(ctx: OrchestrationContext) -> bool:
        return await ctx.schedule_activity("a") is None

    engine = drive(plain, None, [activity_result(2, None)])
    assert engine.events[2:] == [activity_completed(3, 2, None), completed(4, True)]
    assert engine.events[2].result == NULL


def test_an_activity_nobody_awaited_ends_with_the_execution() -> None:
    """Its row leaves the queue with the execution (the store's promise), so the turn cancels nothing by itself."""

    async def careless(ctx: OrchestrationContext) -> str:
        ctx.schedule_activity("a")
        return "done"

    turn = Engine(careless).start()
    assert [each.event_id for each in turn.activities] == [2]
    assert list(turn.cancelled_activities) == []
    assert turn.end is not None
