"""The engine and pruning: what is asked of the store, the answer that resumes the code, and what replay compares."""

from collections.abc import Generator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from duro import AutoPrune, FutureCancelledError, InvalidRulesError, LimitExceededError, PruneOptions, PruneResult
from duro.errors import HistoryFormatError, NondeterminismError, OrchestrationCancelled
from duro.model import limits
from duro.model.status import ExecutionStatus
from duro.model.turns import RequestPrune
from duro.replay.context import OrchestrationContext
from duro.testing.histories import (
    Engine,
    activity_completed,
    activity_result,
    activity_scheduled,
    cancel_asked,
    cancel_requested,
    cancelled,
    check_replay,
    completed,
    continued_as_new,
    drive,
    event_raised,
    history_pruned,
    prune_requested,
    pruned,
    registry_of,
    replay,
    started,
    timer_cancelled,
    timer_created,
    timer_due,
)

KEEP_2 = PruneOptions(keep_last=2)


async def tidy(ctx: OrchestrationContext) -> Any:
    return msgspec.to_builtins(await ctx.prune_history(KEEP_2))


def seconds_after_now(engine: Engine, seconds: int) -> int:
    return engine.now_ms + 1000 * seconds


# --- asking, and the answer --------------------------------------------------------------------------------


def test_a_prune_is_recorded_and_asked_of_the_commit_of_its_turn() -> None:
    engine = drive(tidy)
    assert engine.events == [started("tidy"), prune_requested(2, KEEP_2)]
    assert list(engine.last.prune_requests) == [RequestPrune(2, KEEP_2)]
    assert engine.last.end is None


def test_the_answer_is_recorded_with_its_counts_and_resumes_the_code_with_them() -> None:
    async def tidy(ctx: OrchestrationContext) -> None:
        seen.append(await ctx.prune_history(KEEP_2))

    seen: list[PruneResult] = []
    answer: dict[str, Any] = {"executions_deleted": 64, "events_deleted": 640, "bytes_deleted": 64_000, "remaining": 7}
    engine = drive(tidy, None, [pruned(2, **answer)])
    assert engine.events[2:] == [history_pruned(3, 2, **answer), completed(4)]
    assert seen == [
        PruneResult(executions_deleted=64, events_deleted=640, bytes_deleted=64_000, instances_processed=1, remaining=7)
    ]
    assert list(engine.last.prune_requests) == []
    assert engine.last.ignored_messages == 0


def test_a_prune_that_failed_gives_its_error_and_raises_nothing() -> None:
    engine = drive(tidy, None, [pruned(2, error="OSError: the disk is gone")])
    assert engine.events[2] == history_pruned(3, 2, error="OSError: the disk is gone")
    assert engine.result == {"error": "OSError: the disk is gone"}


def test_the_options_are_recorded_as_they_were_settled() -> None:
    async def by_time(ctx: OrchestrationContext) -> None:
        ctx.prune_history(PruneOptions(keep_last=1, completed_before=datetime(2026, 1, 1, tzinfo=UTC)))

    engine = drive(by_time)
    settled = PruneOptions(keep_last=1, completed_before=1_767_225_600_000)
    assert engine.events[1] == prune_requested(2, settled)
    assert '"options":{"keep_last":1,"completed_before":1767225600000}' in engine.history[1]


def test_an_int_stands_for_keep_last() -> None:
    async def tidy(ctx: OrchestrationContext) -> None:
        await ctx.prune_history(5)

    assert list(drive(tidy).last.prune_requests) == [RequestPrune(2, PruneOptions(keep_last=5))]


def test_prunes_of_one_turn_are_asked_for_in_their_order() -> None:
    async def twice(ctx: OrchestrationContext) -> list[int]:
        results = await ctx.join(ctx.prune_history(3), ctx.schedule_activity("between"), ctx.prune_history(1))
        return [each if isinstance(each, int) else each.executions_deleted for each in results]

    engine = drive(twice)
    assert list(engine.last.prune_requests) == [
        RequestPrune(2, PruneOptions(keep_last=3)),
        RequestPrune(4, PruneOptions(keep_last=1)),
    ]
    engine.turn(pruned(2, executions_deleted=8), pruned(4, executions_deleted=2), activity_result(3, 0))
    assert engine.result == [8, 0, 2]


@pytest.mark.parametrize("options", [0, -3, True, None, "all", 1.5, AutoPrune(keep_last=1), 10**30])
def test_what_is_no_rule_is_refused_at_the_call_and_nothing_is_recorded(options: Any) -> None:
    async def tidy(ctx: OrchestrationContext) -> str:
        try:
            ctx.prune_history(options)
        except InvalidRulesError as error:
            return error.message
        return "asked"

    engine = drive(tidy)
    assert engine.kinds == ["OrchestrationStarted", "OrchestrationCompleted"]
    assert list(engine.last.prune_requests) == []
    assert "prune_history" in engine.result or "PruneOptions.keep_last" in engine.result


def test_a_generator_prunes_too() -> None:
    def tidy(ctx: OrchestrationContext) -> Generator[Any, Any, int]:
        result = yield ctx.prune_history(1)
        return int(result.executions_deleted)

    engine = drive(tidy)
    assert engine.events[1] == prune_requested(2, PruneOptions(keep_last=1))
    engine.turn(pruned(2, executions_deleted=9))
    assert engine.result == 9


def test_a_prune_counts_against_what_a_turn_may_ask_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TURN_REQUESTS_MAX", 2)

    async def greedy(ctx: OrchestrationContext) -> str:
        ctx.prune_history(3)
        ctx.prune_history(2)
        try:
            ctx.prune_history(1)
        except LimitExceededError:
            return "refused"
        return "admitted"

    engine = drive(greedy)
    assert engine.result == "refused"
    assert [each.event_id for each in engine.last.prune_requests] == [2, 3]


# --- replay ------------------------------------------------------------------------------------------------


def test_a_replay_asks_for_nothing_again_and_gives_the_same_result() -> None:
    answer: dict[str, Any] = {"executions_deleted": 3, "events_deleted": 30, "bytes_deleted": 300}

    async def tidy_then_work(ctx: OrchestrationContext) -> Any:
        result = await ctx.prune_history(KEEP_2)
        await ctx.schedule_activity("work")
        return msgspec.to_builtins(result)

    engine = drive(tidy_then_work)
    engine.forget()
    engine.turn(pruned(2, **answer))
    engine.forget()
    turn = engine.turn(activity_result(4))
    assert turn is not None
    assert list(turn.prune_requests) == []
    assert engine.result == {**answer, "instances_processed": 1}
    check_replay(engine.history, registry_of(tidy_then_work))


def test_replay_compares_the_position_of_a_prune_and_never_its_options() -> None:
    recorded = [started("tidy"), prune_requested(2, PruneOptions(keep_within=3600)), history_pruned(3, 2)]
    check_replay([*recorded, completed(4, {"instances_processed": 1})], registry_of(tidy))


def test_another_request_at_the_place_of_a_prune_is_nondeterminism() -> None:
    with pytest.raises(NondeterminismError) as caught:
        check_replay([started("tidy"), timer_created(2, 0)], registry_of(tidy))
    assert "history recorded TimerCreated, the code asked for HistoryPruneRequested" in caught.value.message


def test_a_prune_that_the_code_no_longer_asks_for_is_nondeterminism() -> None:
    async def tidy(ctx: OrchestrationContext) -> None:
        await ctx.schedule_activity("work")

    with pytest.raises(NondeterminismError) as caught:
        check_replay([started("tidy"), prune_requested(2, PruneOptions(keep_last=1))], registry_of(tidy))
    assert "history recorded HistoryPruneRequested, the code asked for ActivityScheduled" in caught.value.message


@pytest.mark.parametrize(
    ("recorded", "said"),
    [
        (
            [prune_requested(2, PruneOptions(keep_last=1)), activity_completed(3, 2)],
            "which waits for something else (wait for a prune)",
        ),
        (
            [prune_requested(2, PruneOptions(keep_last=1)), history_pruned(3, 9)],
            "HistoryPruned answers event 9, which waits for nothing",
        ),
    ],
)
def test_an_answer_that_fits_no_prune_makes_no_history(recorded: list[Any], said: str) -> None:
    with pytest.raises(HistoryFormatError) as caught:
        replay([started("tidy"), *recorded], tidy)
    assert said in caught.value.message


# --- beside other things -----------------------------------------------------------------------------------


async def race(ctx: OrchestrationContext) -> Any:
    won, _ = await ctx.select(ctx.wait_for_event("go"), ctx.prune_history(1))
    await ctx.schedule_activity("after")
    return won


def test_a_prune_can_win_a_select() -> None:
    async def race(ctx: OrchestrationContext) -> list[Any]:
        won, result = await ctx.select(ctx.schedule_timer(60), ctx.prune_history(1))
        assert result is not None
        return [won, result.executions_deleted]

    engine = drive(race, None, [pruned(3, executions_deleted=4)])
    assert engine.events[1:] == [
        timer_created(2, seconds_after_now(engine, 60)),
        prune_requested(3, PruneOptions(keep_last=1)),
        history_pruned(4, 3, executions_deleted=4),
        timer_cancelled(5, 2),
        completed(6, [1, 4]),
    ]


def test_a_prune_that_loses_a_select_is_carried_out_and_its_answer_is_recorded_for_nobody() -> None:
    engine = drive(race, None, [event_raised("go")])
    assert engine.kinds[-2:] == ["EventReceived", "ActivityScheduled"]
    turn = engine.turn(pruned(3, executions_deleted=2))
    assert turn is not None
    assert (turn.ignored_messages, engine.events[-1]) == (0, history_pruned(6, 3, executions_deleted=2))
    engine.forget()
    engine.turn(activity_result(5))
    assert engine.result == 0


def test_a_prune_that_loses_in_the_turn_that_asked_for_it_stays_in_the_commit() -> None:
    async def race(ctx: OrchestrationContext) -> str:
        done = ctx.schedule_activity("done")
        await done
        prune = ctx.prune_history(1)
        await ctx.select(done, prune)
        try:
            await prune
        except FutureCancelledError as error:
            return error.message
        return "kept"

    engine = drive(race, None, [activity_result(2)])
    assert list(engine.last.prune_requests) == [RequestPrune(4, PruneOptions(keep_last=1))]
    assert engine.result == "wait for a prune was cancelled: another future of the same select was done first"


def test_whoever_is_cancelled_while_it_waits_for_a_prune_cleans_up_and_the_answer_may_come_in_between() -> None:
    async def tidy(ctx: OrchestrationContext) -> None:
        try:
            await ctx.prune_history(1)
        finally:
            await ctx.schedule_activity("clean up")

    engine = drive(tidy, None, [cancel_asked()], [pruned(2, executions_deleted=1)])
    engine.forget()
    engine.turn(activity_result(4))
    assert engine.events[1:] == [
        prune_requested(2, PruneOptions(keep_last=1)),
        cancel_requested(3),
        activity_scheduled(4, "clean up"),
        history_pruned(5, 2, executions_deleted=1),
        activity_completed(6, 4),
        cancelled(7),
    ]
    assert [turn.ignored_messages for turn in engine.commits] == [0, 0, 0, 0]


def test_a_prune_nobody_waits_for_holds_up_nothing() -> None:
    async def tidy(ctx: OrchestrationContext) -> str:
        ctx.prune_history(1)
        return "done"

    engine = drive(tidy)
    assert engine.result == "done"
    assert [each.event_id for each in engine.last.prune_requests] == [2]


async def tidy_and_go_on(ctx: OrchestrationContext) -> None:
    if ctx.execution_id == 1:
        ctx.prune_history(1)
        await ctx.continue_as_new()
    await ctx.schedule_timer(60)


def test_an_answer_that_comes_after_its_execution_has_ended_leaves_the_queue_and_counts_as_nothing_strange() -> None:
    """The answer is a message, so it always comes after the commit that ended the execution."""
    late = pruned(2, execution_id=1, executions_deleted=1)
    first = drive(tidy_and_go_on)
    assert [each.event_id for each in first.last.prune_requests] == [2]
    with_the_beginning = first.next_execution()
    assert with_the_beginning.start(late).ignored_messages == 0
    assert with_the_beginning.kinds == ["OrchestrationStarted", "TimerCreated"]
    afterwards = first.next_execution()
    afterwards.start()
    turn = afterwards.turn(late)
    assert turn is not None, "the message has to leave the queue"
    assert (turn.events, turn.ignored_messages) == ([], 0)


def test_an_answer_in_the_turn_that_ends_the_execution_counts_as_nothing_strange() -> None:
    async def tidy(ctx: OrchestrationContext) -> None:
        ctx.prune_history(1)
        await ctx.wait_for_event("end")

    engine = drive(tidy)
    engine.turn(cancel_asked(), pruned(2))
    assert engine.last.end is not None
    assert engine.last.ignored_messages == 0


@pytest.mark.parametrize("message", [pruned(9), pruned(2, execution_id=2), activity_result(2)])
def test_an_answer_to_nothing_open_is_strange(message: Any) -> None:
    engine = drive(tidy)
    turn = engine.turn(message)
    assert turn is not None
    assert (turn.events, turn.ignored_messages) == ([], 1)


def test_an_answer_that_comes_twice_is_recorded_once() -> None:
    async def tidy(ctx: OrchestrationContext) -> None:
        await ctx.prune_history(1)
        await ctx.wait_for_event("end")

    engine = drive(tidy, None, [pruned(2), pruned(2)])
    assert engine.kinds.count("HistoryPruned") == 1
    assert engine.last.ignored_messages == 1


# --- with continue-as-new ----------------------------------------------------------------------------------


async def eternal(ctx: OrchestrationContext, prune: Any = None) -> None:
    await ctx.continue_as_new(prune=PruneOptions(**prune) if isinstance(prune, dict) else prune)


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        (None, None),
        (3, PruneOptions(keep_last=3)),
        ({"keep_within": 60, "keep_last": 2}, PruneOptions(keep_last=2, keep_within=60)),
    ],
)
def test_continue_as_new_takes_its_prune_along_and_records_nothing_of_it(
    given: Any, asked: PruneOptions | None
) -> None:
    engine = drive(eternal, given)
    assert engine.last.end is not None
    assert (engine.last.end.status, engine.last.end.prune) == (ExecutionStatus.CONTINUED_AS_NEW, asked)
    assert engine.events[1:] == [continued_as_new(2)]
    assert list(engine.last.prune_requests) == []


@pytest.mark.parametrize("prune", [0, -1, True, "2", {}, 1.0])
def test_a_prune_that_is_no_rule_is_refused_and_the_execution_goes_on(prune: Any) -> None:
    async def eternal(ctx: OrchestrationContext) -> str:
        try:
            await ctx.continue_as_new(prune=prune)
        except InvalidRulesError:
            return "refused"
        return "continued"

    assert drive(eternal).result == "refused"


def test_the_first_of_several_calls_counts_with_its_prune() -> None:
    async def eternal(ctx: OrchestrationContext, input: str = "") -> None:
        ctx.continue_as_new("first", prune=5)
        await ctx.continue_as_new("second", prune=1)

    end = drive(eternal).last.end
    assert end is not None
    assert (end.next_input, end.prune) == ('"first"', PruneOptions(keep_last=5))


def test_an_execution_that_ends_as_cancelled_prunes_nothing() -> None:
    async def eternal(ctx: OrchestrationContext) -> None:
        try:
            await ctx.wait_for_event("go")
        except OrchestrationCancelled:
            await ctx.continue_as_new(prune=1)

    engine = drive(eternal, None, [cancel_asked()])
    assert engine.events[-1] == cancelled(5, "it was cancelled and asked to continue as new")
    assert engine.last.end is not None
    assert engine.last.end.prune is None


def test_an_error_after_asking_to_continue_prunes_nothing() -> None:
    async def eternal(ctx: OrchestrationContext) -> None:
        ctx.continue_as_new(prune=1)
        raise ValueError("broken")

    engine = drive(eternal)
    assert engine.failure.message == "broken"
    assert engine.last.end is not None
    assert engine.last.end.prune is None


def test_a_prune_is_taken_along_by_the_turn_in_which_the_last_cleanup_ends() -> None:
    async def guarded(ctx: OrchestrationContext) -> None:
        try:
            await ctx.schedule_activity("work")
        finally:
            await ctx.schedule_activity("release")

    async def eternal(ctx: OrchestrationContext, given: Any = None) -> None:
        await ctx.select(guarded(ctx), ctx.schedule_timer(1))
        await ctx.continue_as_new(prune=4)

    engine = drive(eternal, None, [timer_due(2)])
    assert engine.last.end is None
    engine.forget()
    engine.turn(activity_result(6))
    assert engine.last.end is not None
    assert engine.last.end.prune == PruneOptions(keep_last=4)


def test_a_turn_may_prune_by_request_and_with_its_end() -> None:
    async def both(ctx: OrchestrationContext, given: Any = None) -> None:
        ctx.prune_history(9)
        await ctx.continue_as_new(prune=4)

    turn = drive(both).last
    assert list(turn.prune_requests) == [RequestPrune(2, PruneOptions(keep_last=9))]
    assert turn.end is not None
    assert turn.end.prune == PruneOptions(keep_last=4)
