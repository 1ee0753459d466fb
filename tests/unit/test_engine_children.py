"""The engine and sub-orchestrations: ids, policies, ends observed, parents told."""

from typing import Any

import pytest

from duro import Registry
from duro.codec import decode_message
from duro.errors import (
    InvalidIdError,
    InvalidInputError,
    InvalidNameError,
    SubOrchestrationFailedError,
    UnknownOrchestrationError,
)
from duro.model.events import ParentLink
from duro.model.failure import CANCELLED
from duro.model.limits import INSTANCE_ID_BYTES_MAX
from duro.model.status import ExecutionStatus, ParentPolicy
from duro.model.turns import StartInstance
from duro.replay.context import OrchestrationContext
from duro.testing.histories import (
    Engine,
    activity_result,
    cancel_asked,
    child_error,
    child_result,
    completed,
    drive,
    failure,
    payload,
    started,
    sub_orchestration_completed,
    sub_orchestration_failed,
    sub_orchestration_scheduled,
    timer_due,
)

PARENT = ParentLink(instance_id="parent", incarnation=7, execution_id=3, event_id=12)


async def parent(ctx: OrchestrationContext) -> int:
    number: int = await ctx.schedule_sub_orchestration("child", {"n": 1}, instance_id="child-1")
    return number


def test_a_child_is_recorded_and_started_in_the_same_commit() -> None:
    engine = Engine(parent)
    turn = engine.start()
    assert engine.events[1:] == [sub_orchestration_scheduled(2, "child", {"n": 1}, instance_id="child-1")]
    assert turn.starts == [
        StartInstance(event_id=2, instance_id="child-1", name="child", version="", input='{"n":1}', detached=False)
    ]


def test_the_end_of_a_child_is_recorded_and_marked_as_observed() -> None:
    engine = drive(parent, None, [child_result(2, 5)])
    assert engine.last.observed_children == [2]
    assert engine.events[2:] == [sub_orchestration_completed(3, 2, 5), completed(4, 5)]


def test_the_failure_of_a_child_is_raised_and_observed() -> None:
    async def careful(ctx: OrchestrationContext) -> str:
        try:
            await ctx.schedule_sub_orchestration("child", instance_id="c")
        except SubOrchestrationFailedError as error:
            return error.failure.type
        return ""

    details = failure("stopped", CANCELLED)
    engine = drive(careful, None, [child_error(2, details)])
    assert engine.last.observed_children == [2]
    assert engine.events[2:] == [sub_orchestration_failed(3, 2, details), completed(4, CANCELLED)]


def test_version_and_policies_travel_with_the_start() -> None:
    async def strict(ctx: OrchestrationContext) -> None:
        await ctx.schedule_sub_orchestration(
            "child", instance_id="c", version="2.0.0", on_parent_continue="terminate", on_parent_end="abandon"
        )

    turn = Engine(strict).start()
    assert turn.starts == [
        StartInstance(
            event_id=2,
            instance_id="c",
            name="child",
            version="2.0.0",
            input="null",
            detached=False,
            on_parent_continue=ParentPolicy.TERMINATE,
            on_parent_end=ParentPolicy.ABANDON,
        )
    ]


def test_a_registered_child_is_asked_by_function_and_its_result_typed() -> None:
    registry = Registry()

    @registry.orchestration
    async def child(ctx: OrchestrationContext, numbers: list[int]) -> tuple[int, ...]:
        return tuple(numbers)

    @registry.orchestration
    async def asks(ctx: OrchestrationContext) -> bool:
        return await ctx.schedule_sub_orchestration(child, [1, 2]) == (1, 2)

    engine = drive(asks, None, [child_result(2, [1, 2])], registry=registry)
    assert engine.events[-1] == completed(4, True)


def test_the_result_of_a_child_is_typed_by_the_version_that_was_asked_for() -> None:
    registry = Registry()

    @registry.orchestration(name="child", version="1.0.0")
    async def older(ctx: OrchestrationContext) -> tuple[int, ...]:
        return (1, 2)

    @registry.orchestration(name="child", version="2.0.0")
    async def newer(ctx: OrchestrationContext) -> list[int]:
        return [1, 2]

    @registry.orchestration
    async def asks(ctx: OrchestrationContext, version: str | None) -> bool:
        result: Any = await ctx.schedule_sub_orchestration("child", version=version)
        return isinstance(result, tuple)

    for version, is_older in (("1.0.0", True), ("2.0.0", False), (None, False)):
        engine = drive(asks, version, [child_result(2, [1, 2])], registry=registry)
        assert engine.events[-1] == completed(4, is_older)


def test_an_automatic_id_begins_with_the_name_and_fits_every_store_whatever_the_alphabet() -> None:
    name = "\N{GRINNING FACE}" * 60

    async def asks(ctx: OrchestrationContext) -> None:
        await ctx.schedule_sub_orchestration(name)

    child_id = Engine(asks).start().starts[0].instance_id
    assert child_id.startswith("\N{GRINNING FACE}" * 15 + "-")
    assert len(child_id.encode()) <= INSTANCE_ID_BYTES_MAX


def test_automatic_ids_of_one_execution_and_of_two_executions_never_collide() -> None:
    async def many(ctx: OrchestrationContext) -> None:
        for _ in range(50):
            ctx.schedule_sub_orchestration("child")
        await ctx.continue_as_new()

    first = Engine(many)
    first.start()
    second = first.next_execution(seed="ab" * 16)
    second.start()
    ids = [start.instance_id for engine in (first, second) for start in engine.last.starts]
    assert len(set(ids)) == 100


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"orchestration": ""}, InvalidNameError),
        ({"orchestration": "c", "instance_id": ""}, InvalidIdError),
        ({"orchestration": "c", "instance_id": "x" * 256}, InvalidIdError),
        ({"orchestration": "c", "version": ""}, InvalidNameError),
        ({"orchestration": "c", "input": object()}, InvalidInputError),
        ({"orchestration": "c", "on_parent_end": "ignore"}, InvalidInputError),
        ({"orchestration": "c", "on_parent_continue": []}, InvalidInputError),
        ({"orchestration": parent}, UnknownOrchestrationError),
    ],
)
def test_a_child_that_cannot_be_is_refused_and_leaves_no_trace(
    arguments: dict[str, Any], error: type[Exception]
) -> None:
    async def wrong(ctx: OrchestrationContext) -> str:
        try:
            ctx.schedule_sub_orchestration(**arguments)
        except error:
            return "refused"
        return "accepted"

    assert drive(wrong).events[1:] == [completed(2, "refused")]


def test_children_and_their_cancels_replay() -> None:
    async def race(ctx: OrchestrationContext) -> int:
        child = ctx.schedule_sub_orchestration("child", instance_id="c")
        index, _ = await ctx.select(child, ctx.schedule_timer(1))
        await ctx.schedule_sub_orchestration("child")
        return index

    live, dropped = drive(race), drive(race)
    for arrival in (timer_due(3), child_result(6)):
        dropped.forget()
        assert live.turn(arrival) == dropped.turn(arrival)
    assert dropped.result == 1


# --- the parent is told -------------------------------------------------------------------------------------


async def child(ctx: OrchestrationContext, how: str) -> str:
    match how:
        case "complete":
            return "done"
        case "fail":
            raise ValueError("broken")
        case "continue":
            await ctx.continue_as_new("complete")
        case _:
            await ctx.wait_for_event("never")
    return how


def told(engine: Engine) -> Any:
    end = engine.last.end
    assert end is not None
    assert end.parent_message is not None
    return decode_message(end.parent_message)


def test_a_child_that_completes_tells_its_parent() -> None:
    engine = drive(child, "complete", parent=PARENT)
    assert told(engine) == child_result(12, "done", execution_id=3)
    assert engine.events[0] == started("child", "complete", parent=PARENT)


def test_a_child_that_fails_tells_its_parent() -> None:
    message = told(drive(child, "fail", parent=PARENT))
    assert (message.execution_id, message.scheduled_event_id) == (3, 12)
    assert (message.failure.type, message.failure.message) == ("ValueError", "broken")


def test_a_child_that_is_cancelled_tells_its_parent() -> None:
    message = told(drive(child, "wait", [cancel_asked("enough")], parent=PARENT))
    assert message == child_error(12, failure("enough", CANCELLED), execution_id=3)


def test_a_child_whose_input_does_not_fit_tells_its_parent() -> None:
    message = told(drive(child, 5, parent=PARENT))
    assert message.failure.type == "InvalidInput"


def test_a_child_whose_result_is_not_json_tells_its_parent() -> None:
    async def odd(ctx: OrchestrationContext) -> Any:
        return object()

    assert told(drive(odd, parent=PARENT)).failure.type == "InvalidResult"


def test_a_child_that_continues_as_new_reports_when_its_last_execution_ends() -> None:
    """The parent link is carried from execution to execution."""
    first = drive(child, "continue", parent=PARENT)
    assert first.last.end is not None
    assert first.last.end.status is ExecutionStatus.CONTINUED_AS_NEW
    assert first.last.end.parent_message is None
    second = first.next_execution()
    second.start()
    assert second.events[0].parent == PARENT
    assert told(second) == child_result(12, "done", execution_id=3)


def test_a_child_that_continued_and_was_replayed_still_reports() -> None:
    async def twice(ctx: OrchestrationContext, again: bool) -> int:
        if again:
            await ctx.continue_as_new(False)
        return await ctx.schedule_activity("a") + 1  # type: ignore[no-any-return]

    first = drive(twice, True, parent=PARENT)
    second = first.next_execution()
    second.start()
    second.forget()
    second.turn(activity_result(2, 1, execution_id=2))
    assert told(second) == child_result(12, 2, execution_id=3)
    assert bytes(told(second).result) == bytes(payload(2))
