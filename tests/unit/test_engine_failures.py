"""The engine and failures: whatever the user's code raises or returns ends its execution, never the worker."""

from dataclasses import dataclass
from typing import Any

import pytest

from duro.errors import ActivityFailedError, SubOrchestrationFailedError, TaskFailedError
from duro.failures import failure_of
from duro.model.failure import FailureDetails
from duro.model.limits import FAILURE_TEXT_CHARACTERS_MAX
from duro.model.status import ExecutionStatus
from duro.replay.context import OrchestrationContext
from duro.testing.histories import (
    Engine,
    activity_error,
    activity_result,
    cancel_asked,
    child_error,
    drive,
    event_raised,
    failure,
)


def raising(error: BaseException) -> Engine:
    async def fails(ctx: OrchestrationContext) -> None:
        raise error

    engine = drive(fails)
    engine.forget()
    return engine


def test_an_error_ends_the_execution_as_failed_with_type_message_and_traceback() -> None:
    recorded = raising(ValueError("broken")).failure
    assert (recorded.type, recorded.message, recorded.non_retryable) == ("ValueError", "broken", False)
    assert recorded.traceback is not None
    assert "raise error" in recorded.traceback
    assert "duro/replay" not in recorded.traceback


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit("odd"), BaseException("base"), StopAsyncIteration()]
)
def test_every_kind_of_exception_is_an_outcome(error: BaseException) -> None:
    engine = raising(error)
    assert engine.last.end is not None
    assert engine.last.end.status is ExecutionStatus.FAILED


def test_what_concerns_the_machine_is_not_an_outcome() -> None:
    async def fails(ctx: OrchestrationContext) -> None:
        raise MemoryError

    engine = Engine(fails)
    with pytest.raises(MemoryError):
        engine.start()


def test_a_lack_of_memory_while_a_value_is_made_is_not_an_outcome_either() -> None:
    @dataclass
    class Order:
        number: int

        def __post_init__(self) -> None:
            raise MemoryError

    async def waits(ctx: OrchestrationContext) -> None:
        await ctx.wait_for_event("order", Order)

    engine = drive(waits)
    with pytest.raises(MemoryError):
        engine.turn(event_raised("order", {"number": 1}))


class Unprintable(Exception):
    def __str__(self) -> str:
        raise self.args[0]


@pytest.mark.parametrize("raised", [ValueError("no"), SystemExit(1), RecursionError()])
def test_an_exception_whose_str_is_broken_is_recorded_all_the_same(raised: BaseException) -> None:
    assert raising(Unprintable(raised)).failure.message == "<Unprintable that cannot be printed>"


def test_a_lack_of_memory_while_an_exception_is_printed_passes_through() -> None:
    with pytest.raises(MemoryError):
        raising(Unprintable(MemoryError()))


def test_lone_surrogates_in_messages_and_file_names_are_made_storable() -> None:
    namespace: dict[str, Any] = {}
    source = "async def fails(ctx):\n    raise ValueError('message \\ud800')\n"
    exec(compile(source, "a file\udc80.py", "exec"), namespace)
    recorded = drive(namespace["fails"]).failure
    assert recorded.message == "message \\ud800"
    assert "a file\\udc80.py" in (recorded.traceback or "")


def test_long_messages_and_tracebacks_lose_their_middle() -> None:
    recorded = raising(ValueError("x" * 100_000)).failure
    assert len(recorded.message) < FAILURE_TEXT_CHARACTERS_MAX + 100
    assert "characters cut" in recorded.message


def test_causes_are_recorded_in_a_chain() -> None:
    async def fails(ctx: OrchestrationContext) -> None:
        try:
            try:
                raise KeyError("first")
            except KeyError as error:
                raise ValueError("second") from error
        except ValueError as error:
            raise RuntimeError("third") from error

    recorded = drive(fails).failure
    assert recorded.cause is not None
    assert recorded.cause.cause is not None
    chain = [each.type for each in (recorded, recorded.cause, recorded.cause.cause)]
    assert chain == ["RuntimeError", "ValueError", "KeyError"]


def length(details: FailureDetails | None) -> int:
    count = 0
    while details is not None:
        count, details = count + 1, details.cause
    return count


def test_a_ring_of_causes_is_cut() -> None:
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    assert length(raising(one).failure) == 17


def test_a_long_recorded_chain_is_cut() -> None:
    """A child of a child of a child ...: each level adds a link, and none may grow without bound."""
    details = failure("innermost")
    for level in range(100):
        details = failure(str(level), cause=details)

    async def parent(ctx: OrchestrationContext) -> None:
        await ctx.schedule_sub_orchestration("child", instance_id="c")

    recorded = drive(parent, None, [child_error(2, details)]).failure
    assert length(recorded) == 17
    assert recorded.cause is not None
    assert recorded.cause.message == "99"


def test_a_chain_of_both_kinds_is_cut() -> None:
    details = failure("innermost")
    for level in range(30):
        details = failure(str(level), cause=details)
    error: Exception = ActivityFailedError("an activity failed", details)
    for level in range(20):
        outer = ValueError(str(level))
        outer.__cause__ = error
        error = outer
    assert length(failure_of(error)) == 17
    assert length(failure_of(error, 0)) == 1
    assert length(failure_of(ActivityFailedError("x", details), 0)) == 1
    assert length(failure_of(ActivityFailedError("x", failure("only")), 2)) == 2


def test_a_kind_of_task_error_that_carries_no_failure_is_an_error_like_others() -> None:
    class Own(TaskFailedError):
        def __init__(self, failure: Any) -> None:
            Exception.__init__(self, "own")
            self.message, self.hint = "own", None
            if failure is not None:
                self.failure = failure

    assert raising(Own(None)).failure.message == "own"
    assert raising(Own("text")).failure.cause is None


def test_an_input_that_does_not_fit_fails_the_execution_before_its_code_runs() -> None:
    @dataclass
    class Order:
        number: int

    async def sell(ctx: OrchestrationContext, number: int) -> None:
        raise AssertionError("never runs")

    engine = drive(sell, "text")
    assert engine.failure.type == "InvalidInput"
    assert engine.failure.message == "input of orchestration 'sell' does not fit int: Expected `int`, got `str`"
    assert engine.failure.non_retryable
    assert engine.kinds == ["OrchestrationStarted", "OrchestrationFailed"]
    engine.forget()
    assert engine.ended


@dataclass
class Odd:
    number: int

    def __post_init__(self) -> None:
        raise LookupError("no such number")


def test_an_input_whose_type_raises_an_error_of_its_own_fails_the_execution() -> None:
    async def sell(ctx: OrchestrationContext, order: Odd) -> None:
        raise AssertionError("never runs")

    engine = drive(sell, {"number": 1})
    said = "input of orchestration 'sell' does not fit Odd: LookupError: no such number"
    assert (engine.failure.type, engine.failure.message) == ("InvalidInput", said)
    engine.forget()


def test_an_input_for_an_orchestration_that_takes_none_fails_the_execution() -> None:
    async def sell(ctx: OrchestrationContext) -> None:
        raise AssertionError("never runs")

    assert "takes no input" in drive(sell, 5).failure.message


def test_what_arrives_for_an_execution_whose_input_did_not_fit_is_ignored() -> None:
    async def sell(ctx: OrchestrationContext, number: int) -> None:
        raise AssertionError("never runs")

    engine = Engine(sell, "text")
    turn = engine.start(cancel_asked(), activity_result(2))
    assert turn.ignored_messages == 1
    assert engine.kinds == ["OrchestrationStarted", "OrchestrationFailed"]


def test_an_absent_input_leaves_the_default_in_force() -> None:
    async def sell(ctx: OrchestrationContext, number: int = 7) -> int:
        return number

    assert drive(sell).result == 7
    assert drive(sell, 8).result == 8


class Broken:
    """An object that cannot even be looked at."""

    def __init__(self) -> None:
        self.ring = self


@pytest.mark.parametrize("value", [object(), Broken(), {1, object()}, "\ud800", lambda: None, "x" * 3_000_000])
def test_a_result_that_is_not_json_fails_the_execution(value: Any) -> None:
    async def odd(ctx: OrchestrationContext) -> Any:
        return value

    engine = drive(odd)
    engine.forget()
    assert engine.failure.type == "InvalidResult"
    assert engine.failure.non_retryable


def test_a_result_that_holds_itself_fails_the_execution() -> None:
    async def odd(ctx: OrchestrationContext) -> Any:
        ring: list[Any] = []
        ring.append(ring)
        return ring

    assert drive(odd).failure.type == "InvalidResult"


def test_endless_recursion_fails_the_execution() -> None:
    async def deep(ctx: OrchestrationContext) -> int:
        async def down(n: int) -> int:
            return await down(n + 1)

        return await down(0)

    recorded = drive(deep).failure
    assert recorded.type == "RecursionError"
    assert len(recorded.traceback or "") < FAILURE_TEXT_CHARACTERS_MAX + 100


def test_a_failure_carries_out_what_the_turn_asked_for() -> None:
    async def fails(ctx: OrchestrationContext) -> None:
        ctx.schedule_orchestration("mail", instance_id="m")
        ctx.schedule_sub_orchestration("child", instance_id="c")
        await ctx.select(ctx.schedule_activity("a"), ctx.schedule_timer(1))
        raise ValueError

    engine = drive(fails, None, [activity_result(4)])
    assert [start.instance_id for start in engine.commits[0].starts] == ["m", "c"]
    assert engine.last.cancelled_timers == [5]
    assert engine.failure.type == "ValueError"


def test_errors_of_a_helper_reach_whoever_joins_it() -> None:
    async def helper(ctx: OrchestrationContext) -> None:
        await ctx.schedule_activity("a")
        raise ValueError("in the helper")

    async def root(ctx: OrchestrationContext) -> str:
        joined = ctx.join(helper(ctx))
        said = []
        for _ in range(2):
            try:
                await joined
            except ValueError as error:
                said.append(str(error))
        return ", ".join(said)

    assert drive(root, None, [activity_result(2)]).result == "in the helper, in the helper"


def test_the_failure_of_a_child_of_a_child_keeps_its_chain() -> None:
    async def parent(ctx: OrchestrationContext) -> None:
        try:
            await ctx.schedule_sub_orchestration("child", instance_id="c")
        except SubOrchestrationFailedError as error:
            raise RuntimeError("gave up") from error

    inner = failure("child", "ActivityFailedError", cause=failure("no funds", "Refused"))
    recorded = drive(parent, None, [child_error(2, inner)]).failure
    assert recorded.cause is not None
    assert recorded.cause.type == "SubOrchestrationFailedError"
    assert recorded.cause.cause == inner


def test_a_failed_activity_may_be_retried_by_the_code() -> None:
    async def stubborn(ctx: OrchestrationContext) -> int:
        for attempt in range(5):
            try:
                await ctx.schedule_activity("a")
            except ActivityFailedError:
                continue
            return attempt
        return -1

    engine = drive(stubborn, None, [activity_error(2)], [activity_error(4)], [activity_result(6)])
    assert engine.result == 2


def _hides(_: BaseException) -> Any:
    raise ZeroDivisionError


_Opaque: Any = type("_Opaque", (ValueError,), {"__cause__": property(_hides), "__traceback__": property(_hides)})
"""Makes something else of the names that Python keeps its own things under."""


def test_an_error_that_hides_its_cause_and_its_traceback_is_recorded_all_the_same() -> None:
    """Nothing was reported of an activity that raised it, and its instance waited for ever."""
    try:
        raise _Opaque("own") from KeyError("because")
    except _Opaque as error:
        recorded = failure_of(error)
    assert (recorded.type, recorded.message) == ("_Opaque", "own")
    assert recorded.cause is not None
    assert recorded.cause.type == "KeyError"
    assert "test_engine_failures.py" in str(recorded.traceback)
