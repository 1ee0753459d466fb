"""The engine and combinations: join waits for all, select for the first, and helper coroutines run side by side."""

import contextlib
from typing import Any

import pytest

from duro.errors import ActivityFailedError, FutureCancelledError, OrchestrationCancelled, UsageError
from duro.model.turns import CancelChild
from duro.replay.context import OrchestrationContext
from duro.replay.futures import DurableFuture
from duro.testing.histories import (
    NOW_MS,
    Engine,
    activity_cancel_requested,
    activity_completed,
    activity_error,
    activity_result,
    activity_scheduled,
    cancel_asked,
    child_result,
    completed,
    drive,
    event_raised,
    event_wait_cancelled,
    event_wait_started,
    sub_orchestration_cancel_requested,
    timer_cancelled,
    timer_created,
    timer_due,
    timer_fired,
)


async def run(ctx: OrchestrationContext, name: str) -> Any:
    return await ctx.schedule_activity(name)


# --- join ---------------------------------------------------------------------------------------------------


def test_join_gives_all_results_in_the_order_given() -> None:
    async def all_of(ctx: OrchestrationContext) -> list[Any]:
        return await ctx.join(ctx.schedule_activity("a"), run(ctx, "b"), ctx.schedule_timer(1))

    engine = drive(all_of, None, [activity_result(4, "b")], [timer_due(3)], [activity_result(2, "a")])
    assert engine.events[1:4] == [
        activity_scheduled(2, "a"),
        timer_created(3, NOW_MS + 1_000),
        activity_scheduled(4, "b"),
    ]
    assert engine.events[-1] == completed(8, ["a", "b", None])


def test_join_of_nothing_is_an_empty_list_at_once() -> None:
    async def none(ctx: OrchestrationContext) -> list[Any]:
        return await ctx.join()

    assert drive(none).events[1:] == [completed(2, [])]


def test_join_raises_the_first_failure_at_once_and_the_others_go_on() -> None:
    async def all_of(ctx: OrchestrationContext) -> list[str]:
        second = run(ctx, "b")
        try:
            await ctx.join(ctx.schedule_activity("a"), second)
        except ActivityFailedError as error:
            return [error.failure.message, await ctx.schedule_activity("after")]
        return []

    engine = drive(all_of, None, [activity_error(2)])
    assert list(engine.last.cancelled_activities) == []
    engine.turn(activity_result(3, "still counts"))
    engine.turn(activity_result(5, "x"))
    assert engine.events[-1] == completed(8, ["it broke", "x"])


def test_join_with_return_exceptions_gives_failures_as_results() -> None:
    async def all_of(ctx: OrchestrationContext) -> list[str]:
        done = await ctx.join(ctx.schedule_activity("a"), run(ctx, "b"), return_exceptions=True)
        return [type(each).__name__ for each in done]

    engine = drive(all_of, None, [activity_error(2)], [activity_result(3, 1)])
    assert engine.events[-1] == completed(6, ["ActivityFailedError", "int"])


def test_join_of_what_is_done_already_is_done_at_once() -> None:
    async def done(ctx: OrchestrationContext) -> list[Any]:
        first, second = ctx.schedule_activity("a"), ctx.schedule_activity("b")
        await first
        for _ in range(2):
            await ctx.join(first)
        with contextlib.suppress(ActivityFailedError):
            await second
        caught: list[Any] = []
        for return_exceptions in (False, True):
            joined = ctx.join(first, second, return_exceptions=return_exceptions)
            caught.append(joined.done)
            try:
                caught.append(len(await joined))
            except ActivityFailedError as error:
                caught.append(error.failure.message)
        return caught

    engine = drive(done, None, [activity_result(2), activity_error(3)])
    assert engine.events[-1] == completed(6, [True, "it broke", True, 2])


def test_join_with_a_member_that_failed_before_fails_at_once_whatever_the_others_do() -> None:
    async def joined(ctx: OrchestrationContext) -> str:
        failed, other = ctx.schedule_activity("a"), ctx.schedule_activity("b")
        with contextlib.suppress(ActivityFailedError):
            await failed
        try:
            await ctx.join(other, failed)
        except ActivityFailedError as error:
            return error.failure.message
        return ""

    engine = drive(joined, None, [activity_error(2)])
    assert engine.events[-1] == completed(5, "it broke")


def test_join_of_the_same_future_twice_gives_its_result_twice() -> None:
    async def twice(ctx: OrchestrationContext) -> list[int]:
        future = ctx.schedule_activity("a")
        return await ctx.join(future, future)

    assert drive(twice, None, [activity_result(2, 7)]).events[-1] == completed(4, [7, 7])


def test_join_of_the_same_coroutine_twice_runs_it_once() -> None:
    """Driven twice, it would be resumed with nothing where it waits for a result."""

    async def twice(ctx: OrchestrationContext) -> list[int]:
        coroutine = run(ctx, "a")
        return await ctx.join(coroutine, coroutine)

    engine = drive(twice, None, [activity_result(2, 7)])
    assert engine.events[1:] == [activity_scheduled(2, "a"), activity_completed(3, 2, 7), completed(4, [7, 7])]


def test_a_coroutine_that_runs_already_is_refused_and_goes_on() -> None:
    async def again(ctx: OrchestrationContext) -> list[Any]:
        coroutine, fresh = run(ctx, "a"), run(ctx, "b")
        joined = ctx.join(coroutine)
        refused = []
        for members in ((coroutine, fresh), (run(ctx, "c"), coroutine)):
            try:
                ctx.select(*members)
            except UsageError as error:
                refused.append(error.message)
        first = await joined
        try:
            ctx.join(coroutine)
        except UsageError as error:
            refused.append(error.message)
        return [first, *refused]

    engine = drive(again, None, [activity_result(2, 7)])
    said = "got a coroutine that runs already or has run"
    assert engine.events[-1] == completed(4, [[7], f"select {said}", f"select {said}", f"join {said}"])


@pytest.mark.parametrize("value", [3, None, "text", [1], lambda: None])
def test_join_and_select_refuse_what_is_not_durable_and_run_nothing(value: Any) -> None:
    """The coroutines given beside it are closed: no "never awaited" warning for them."""

    async def wrong(ctx: OrchestrationContext) -> list[str]:
        caught = []
        for combine in (ctx.join, ctx.select):
            try:
                combine(run(ctx, "a"), value)
            except UsageError as error:
                caught.append(error.message)
        return caught

    what = type(value).__name__
    engine = drive(wrong)
    assert engine.events[1:] == [
        completed(2, [f"join got {what}, which is not durable", f"select got {what}, which is not durable"])
    ]


def test_a_future_of_another_execution_is_not_durable_here() -> None:
    futures: list[Any] = []

    async def give(ctx: OrchestrationContext) -> None:
        futures.append(ctx.schedule_activity("a"))
        await ctx.schedule_activity("b")

    async def take(ctx: OrchestrationContext) -> str:
        try:
            await ctx.join(futures[0])
        except UsageError as error:
            return error.message
        return ""

    giver = drive(give)
    assert drive(take).events[-1] == completed(2, "join got a future of another execution, which is not durable here")
    assert not giver.ended


def test_helper_coroutines_run_side_by_side_in_the_order_given() -> None:
    async def steps(ctx: OrchestrationContext, name: str) -> str:
        await ctx.schedule_activity(f"{name}1")
        await ctx.schedule_activity(f"{name}2")
        return name

    async def all_of(ctx: OrchestrationContext) -> list[str]:
        return await ctx.join(steps(ctx, "a"), steps(ctx, "b"))

    engine = drive(all_of, None, [activity_result(3)], [activity_result(2)])
    names = [event.name for event in engine.events if hasattr(event, "name")]
    assert names == ["all_of", "a1", "b1", "b2", "a2"]


def test_nested_joins_and_selects_of_coroutines_work_together() -> None:
    async def first_of(ctx: OrchestrationContext, *names: str) -> str:
        index, _ = await ctx.select(*(run(ctx, name) for name in names))
        return names[index]

    async def nested(ctx: OrchestrationContext) -> list[Any]:
        return await ctx.join(first_of(ctx, "a", "b"), ctx.join(first_of(ctx, "c", "d"), run(ctx, "e")))

    engine = Engine(nested)
    names = {each.name: each.event_id for each in engine.start().activities}
    turn = engine.turn(*(activity_result(names[name], name) for name in ("b", "c", "e")))
    assert turn is not None
    assert sorted(turn.cancelled_activities) == sorted([names["a"], names["d"]])
    assert engine.result == ["b", ["c", "e"]]


# --- select -------------------------------------------------------------------------------------------------


def test_select_gives_index_and_value_of_the_first_and_cancels_the_others() -> None:
    async def race(ctx: OrchestrationContext) -> list[Any]:
        index, value = await ctx.select(
            ctx.schedule_activity("a"),
            ctx.schedule_timer(1),
            ctx.wait_for_event("n"),
            ctx.schedule_sub_orchestration("child", instance_id="c"),
            ctx.schedule_activity("b"),
        )
        await ctx.schedule_activity("after")
        return [index, value]

    engine = drive(race, None, [activity_result(6, "won")])
    turn = engine.last
    assert engine.events[6:] == [
        activity_completed(7, 6, "won"),
        activity_cancel_requested(8, 2),
        timer_cancelled(9, 3),
        event_wait_cancelled(10, 4),
        sub_orchestration_cancel_requested(11, 5),
        activity_scheduled(12, "after"),
    ]
    assert (turn.cancelled_activities, turn.cancelled_timers) == ([2], [3])
    assert turn.cancelled_children == [CancelChild(5, "its parent no longer waits for it")]
    assert list(turn.waits) == []
    engine.turn(activity_result(12))
    assert engine.events[-1] == completed(14, [4, "won"])


def test_select_raises_the_failure_of_a_member_that_fails_first_and_cancels_the_others() -> None:
    async def race(ctx: OrchestrationContext) -> str:
        try:
            await ctx.select(ctx.schedule_activity("a"), ctx.schedule_timer(1))
        except ActivityFailedError as error:
            return error.failure.message
        return ""

    engine = drive(race, None, [activity_error(2)])
    assert engine.events[4:] == [timer_cancelled(5, 3), completed(6, "it broke")]


def test_select_of_nothing_is_refused() -> None:
    async def wrong(ctx: OrchestrationContext) -> str:
        try:
            ctx.select()
        except UsageError as error:
            return error.message
        return ""

    assert drive(wrong).events[-1] == completed(2, "select of nothing would wait for ever")


def test_a_loser_asked_for_in_the_same_turn_is_not_sent_at_all() -> None:
    async def race(ctx: OrchestrationContext) -> int:
        done = ctx.schedule_activity("a")
        await done
        index, _ = await ctx.select(
            ctx.schedule_activity("b"), done, ctx.schedule_timer(1), ctx.schedule_sub_orchestration("c")
        )
        return index

    turn = drive(race, None, [activity_result(2)]).last
    assert (turn.activities, turn.timers) == ([], [])
    assert (turn.cancelled_activities, turn.cancelled_timers) == ((), ())
    assert [start.event_id for start in turn.starts] == [6]
    assert [cancel.event_id for cancel in turn.cancelled_children] == [6]


def test_select_with_a_member_that_is_done_never_starts_the_coroutines_beside_it() -> None:
    async def race(ctx: OrchestrationContext) -> list[Any]:
        done = ctx.schedule_activity("a")
        await done
        index, value = await ctx.select(run(ctx, "b"), done, run(ctx, "c"))
        return [index, value, await ctx.schedule_activity("after")]

    engine = drive(race, None, [activity_result(2, 1)], [activity_result(4, 2)])
    assert engine.events[3:] == [activity_scheduled(4, "after"), activity_completed(5, 4, 2), completed(6, [1, 1, 2])]


def test_select_leaves_losers_that_are_done_as_they_are() -> None:
    async def race(ctx: OrchestrationContext) -> list[Any]:
        done = ctx.schedule_activity("a")
        await done
        joined, selected = ctx.join(done), ctx.select(done)
        index, _ = await ctx.select(done, joined, selected)
        return [index, await joined, await selected]

    assert drive(race, None, [activity_result(2, 7)]).result == [0, [7], [0, 7]]


def test_join_of_the_same_failing_future_twice_fails_once() -> None:
    async def twice(ctx: OrchestrationContext) -> str:
        future = ctx.schedule_activity("a")
        try:
            await ctx.join(future, future)
        except ActivityFailedError as error:
            return error.failure.message
        return ""

    assert drive(twice, None, [activity_error(2)]).result == "it broke"


def test_select_of_the_same_future_twice_gives_its_first_place_and_does_not_cancel_it() -> None:
    async def race(ctx: OrchestrationContext) -> list[Any]:
        future = ctx.schedule_activity("a")
        index, value = await ctx.select(ctx.schedule_timer(1), future, future)
        return [index, value, await future]

    engine = drive(race, None, [activity_result(2, 7)])
    assert engine.events[-2:] == [timer_cancelled(5, 3), completed(6, [1, 7, 7])]


def test_a_loser_that_is_awaited_afterwards_says_that_it_was_cancelled() -> None:
    async def race(ctx: OrchestrationContext) -> list[str]:
        loser = ctx.schedule_activity("slow")
        said = []
        await ctx.select(loser, ctx.schedule_timer(1))
        for _ in range(2):
            try:
                await loser
            except FutureCancelledError as error:
                said.append(error.message)
        return said

    engine = drive(race, None, [timer_due(3)])
    text = "activity 'slow' was cancelled: another future of the same select was done first"
    assert engine.events[-1] == completed(6, [text, text])


def test_a_result_that_comes_after_its_future_lost_is_ignored_and_counted() -> None:
    async def race(ctx: OrchestrationContext) -> None:
        await ctx.select(ctx.schedule_activity("a"), ctx.schedule_activity("b"))
        await ctx.wait_for_event("end")

    engine = drive(race, None, [activity_result(2), activity_result(3)])
    assert engine.last.ignored_messages == 1
    turn = engine.turn(activity_result(3))
    assert turn is not None
    assert (turn.events, turn.ignored_messages) == ([], 1)


def test_a_coroutine_that_waits_for_the_winner_itself_is_interrupted_and_does_not_hold_up_the_end() -> None:
    """It is told of the winner in the same breath as it is cancelled; it must not be forgotten in between."""

    async def race(ctx: OrchestrationContext) -> list[Any]:
        said: list[str] = []
        shared = ctx.schedule_activity("a")

        async def other() -> Any:
            try:
                return await shared
            except OrchestrationCancelled:
                said.append("interrupted")
                await ctx.schedule_activity("cleanup")
                raise

        index, value = await ctx.select(shared, other())
        return [index, value, *said]

    engine = drive(race, None, [activity_result(2, 7)])
    assert engine.kinds[-1] == "ActivityScheduled"
    engine.turn(activity_result(4))
    assert engine.result == [0, 7]


def test_a_coroutine_cancelled_while_its_result_lies_ready_is_interrupted_once() -> None:
    """Both are ready to run; the first one to run ends the race for the second."""

    async def race(ctx: OrchestrationContext) -> list[Any]:
        shared = ctx.schedule_activity("a")
        seen: list[str] = []

        async def wait(name: str) -> str:
            try:
                await shared
                seen.append(f"{name} done")
            except OrchestrationCancelled:
                seen.append(f"{name} interrupted")
                raise
            return name

        winner = await ctx.select(wait("x"), wait("y"), wait("z"))
        return [*winner, *seen]

    engine = drive(race, None, [activity_result(2)])
    assert engine.events[-1] == completed(4, [0, "x", "x done", "y interrupted", "z interrupted"])


def test_a_coroutine_cancelled_while_its_result_lies_ready_goes_on_once_and_waits_for_its_cleanup() -> None:
    seen: list[Any] = []

    async def race(ctx: OrchestrationContext) -> list[Any]:
        shared = ctx.schedule_activity("a")

        async def wait(name: str) -> str:
            try:
                await shared
            except OrchestrationCancelled:
                seen.append(await ctx.schedule_activity("cleanup"))
                raise
            return name

        return list(await ctx.select(wait("x"), wait("y")))

    engine = drive(race, None, [activity_result(2)])
    assert (seen, engine.kinds[-1], engine.last.end) == ([], "ActivityScheduled", None)
    engine.turn(activity_result(4, "clean"))
    assert (seen, engine.result) == (["clean"], [0, "x"])


def test_a_loser_gets_its_interruption_where_it_waits_and_its_cleanup_is_finished_before_the_end() -> None:
    """Losers with durable cleanup finish it before the execution ends."""

    async def guarded(ctx: OrchestrationContext) -> None:
        try:
            await ctx.schedule_activity("work")
        finally:
            await ctx.schedule_activity("release 1")
            await ctx.schedule_activity("release 2")

    async def race(ctx: OrchestrationContext) -> str:
        await ctx.select(guarded(ctx), ctx.schedule_timer(1))
        return "timed out"

    engine = drive(race, None, [timer_due(2)])
    assert engine.events[3:] == [
        timer_fired(4, 2),
        activity_cancel_requested(5, 3),
        activity_scheduled(6, "release 1"),
    ]
    assert engine.last.end is None
    engine.turn(activity_result(6))
    assert engine.last.end is None
    engine.turn(activity_result(8))
    assert engine.events[-2:] == [activity_completed(9, 8), completed(10, "timed out")]


def test_a_failing_cleanup_of_a_loser_changes_nothing_for_the_winner() -> None:
    async def guarded(ctx: OrchestrationContext) -> None:
        try:
            await ctx.schedule_activity("work")
        except OrchestrationCancelled:
            raise ValueError("cleanup failed") from None

    async def race(ctx: OrchestrationContext) -> str:
        await ctx.select(guarded(ctx), ctx.schedule_timer(1))
        return "timed out"

    assert drive(race, None, [timer_due(2)]).events[-1] == completed(6, "timed out")


def test_a_loser_that_is_a_join_or_select_of_coroutines_is_interrupted_down_to_the_last_one() -> None:
    async def step(ctx: OrchestrationContext, name: str) -> None:
        try:
            await ctx.schedule_activity(name)
        except OrchestrationCancelled:
            await ctx.schedule_activity(f"undo {name}")
            raise

    async def deep(ctx: OrchestrationContext) -> None:
        await ctx.select(ctx.join(step(ctx, "a"), step(ctx, "b")), step(ctx, "c"))

    async def race(ctx: OrchestrationContext) -> str:
        await ctx.select(ctx.join(deep(ctx), step(ctx, "d")), ctx.wait_for_event("stop"))
        return "stopped"

    engine = drive(race, None, [event_raised("stop")])
    cancelled = [event.name for event in engine.events if type(event).__name__ == "ActivityScheduled"]
    assert sorted(cancelled) == ["a", "b", "c", "d", "undo a", "undo b", "undo c", "undo d"]
    assert len(engine.last.cancelled_activities) == 4
    assert engine.last.end is None
    engine.turn(*(activity_result(each.event_id) for each in engine.last.activities))
    assert engine.result == "stopped"


def test_a_future_that_another_coroutine_waits_for_survives_the_end_of_one_that_lost() -> None:
    """Cancelling one coroutine must not fail another one that waits for the same thing."""

    async def race(ctx: OrchestrationContext) -> list[Any]:
        shared = ctx.schedule_activity("shared")

        async def wait() -> Any:
            return await shared

        async def hurried() -> Any:
            return await ctx.select(wait(), ctx.schedule_timer(1))

        return await ctx.join(wait(), hurried())

    engine = drive(race, None, [timer_due(3)])
    assert list(engine.last.cancelled_activities) == []
    engine.turn(activity_result(2, 7))
    assert engine.result == [7, [1, None]]


def test_a_future_that_only_losers_wait_for_is_cancelled_with_the_last_of_them() -> None:
    async def race(ctx: OrchestrationContext) -> str:
        shared = ctx.schedule_activity("shared")

        async def wait() -> Any:
            return await shared

        await ctx.select(ctx.join(wait(), wait(), shared), ctx.schedule_timer(1))
        return "late"

    engine = drive(race, None, [timer_due(3)])
    assert engine.last.cancelled_activities == [2]
    assert engine.events[-2:] == [activity_cancel_requested(5, 2), completed(6, "late")]


def test_a_join_that_failed_no_longer_keeps_its_members_from_being_cancelled() -> None:
    async def race(ctx: OrchestrationContext) -> str:
        shared = ctx.schedule_activity("shared")

        async def wait() -> Any:
            return await shared

        with contextlib.suppress(ActivityFailedError):
            await ctx.join(shared, ctx.schedule_activity("failing"))
        await ctx.select(wait(), ctx.schedule_timer(1))
        return "late"

    engine = drive(race, None, [activity_error(3)], [timer_due(5)])
    assert engine.last.cancelled_activities == [2]


def test_a_loser_that_was_given_to_select_itself_is_cancelled_whoever_else_waits_for_it() -> None:
    """``select`` cancels its losers: that does not depend on who waits at that moment."""

    async def race(ctx: OrchestrationContext) -> list[Any]:
        shared = ctx.schedule_activity("shared")

        async def wait() -> str:
            try:
                return str(await shared)
            except FutureCancelledError:
                return "cancelled"

        return await ctx.join(wait(), ctx.select(shared, ctx.schedule_timer(1)))

    engine = drive(race, None, [timer_due(3)])
    assert engine.events[-1] == completed(6, ["cancelled", [1, None]])


def test_a_join_that_is_cancelled_says_so_even_when_it_returns_exceptions() -> None:
    async def race(ctx: OrchestrationContext) -> str:
        joined = ctx.join(ctx.schedule_activity("a"), ctx.schedule_activity("b"), return_exceptions=True)
        await ctx.select(joined, ctx.schedule_timer(1))
        try:
            await joined
        except FutureCancelledError as error:
            return error.message
        return ""

    engine = drive(race, None, [timer_due(4)])
    assert engine.events[-1] == completed(
        8, "a join of 2 was cancelled: another future of the same select was done first"
    )


def test_a_select_that_lost_says_so() -> None:
    async def race(ctx: OrchestrationContext) -> str:
        inner = ctx.select(ctx.schedule_activity("a"), ctx.schedule_activity("b"))
        await ctx.select(inner, ctx.schedule_timer(1))
        try:
            await inner
        except FutureCancelledError as error:
            return error.message
        return ""

    engine = drive(race, None, [timer_due(4)])
    assert engine.last.cancelled_activities == [2, 3]
    assert engine.events[-1] == completed(
        8, "a select of 2 was cancelled: another future of the same select was done first"
    )


def test_a_coroutine_that_lost_says_so_and_one_that_swallowed_it_gives_its_value() -> None:
    async def race(ctx: OrchestrationContext) -> list[Any]:
        async def stubborn() -> str:
            with contextlib.suppress(OrchestrationCancelled):
                await ctx.schedule_activity("x")
            return "kept"

        async def meek() -> None:
            await ctx.schedule_activity("y")

        one, two = ctx.join(stubborn()), ctx.join(meek())
        both = ctx.join(one, two, return_exceptions=True)
        await ctx.select(one, two, ctx.schedule_timer(1))
        said: list[Any] = []
        for each in (one, two, both):
            try:
                said.append([type(value).__name__ for value in await each])
            except FutureCancelledError as error:
                said.append(error.message.partition(":")[0])
        return said

    engine = drive(race, None, [timer_due(2)])
    assert engine.result == ["a join of 1 was cancelled"] * 2 + [["FutureCancelledError"] * 2]


def test_a_coroutine_that_cancels_itself_is_interrupted_at_its_next_wait() -> None:
    async def race(ctx: OrchestrationContext) -> list[Any]:
        seen: list[str] = []

        async def selfish() -> None:
            done = ctx.schedule_activity("a")
            await done
            await ctx.select(done, joined)
            seen.append("goes on to the next wait")
            try:
                await ctx.schedule_activity("never awaited")
            except OrchestrationCancelled:
                seen.append("interrupted")
                raise

        joined = ctx.join(selfish())
        try:
            await joined
        except FutureCancelledError:
            seen.append("cancelled")
        await ctx.schedule_activity("after")
        return seen

    engine = drive(race, None, [activity_result(2)])
    engine.turn(*(activity_result(each.event_id) for each in engine.last.activities))
    assert engine.result == ["goes on to the next wait", "interrupted", "cancelled"]


def test_a_coroutine_that_cancels_itself_and_ends_is_not_run_again() -> None:
    async def race(ctx: OrchestrationContext) -> str:
        async def selfish() -> str:
            done = ctx.schedule_activity("a")
            await done
            await ctx.select(done, joined)
            return "ended"

        joined = ctx.join(selfish())
        try:
            await joined
        except FutureCancelledError:
            await ctx.schedule_activity("after")
        return "done"

    engine = drive(race, None, [activity_result(2)])
    engine.turn(activity_result(4))
    assert engine.result == "done"


def test_a_coroutine_that_waits_for_itself_does_not_hold_up_the_end() -> None:
    """It can never end, so the end of the execution does not wait for its cleanup."""

    async def root(ctx: OrchestrationContext) -> str:
        async def own() -> None:
            try:
                await ctx.schedule_activity("a")
            except OrchestrationCancelled:
                await joined

        joined = ctx.join(own())
        try:
            await ctx.schedule_timer(1)
        except OrchestrationCancelled:
            return "ended"
        return ""

    assert drive(root, None, [cancel_asked()]).result == "ended"


def test_a_future_says_what_it_is() -> None:
    said: list[str] = []

    async def helper(ctx: OrchestrationContext) -> None: ...

    async def root(ctx: OrchestrationContext) -> None:
        futures: list[DurableFuture[Any]] = [
            ctx.schedule_activity("a"),
            ctx.schedule_timer(1),
            ctx.join(helper(ctx)),
            ctx.select(helper(ctx), helper(ctx)),
            ctx._execution.spawn(helper(ctx)),
            DurableFuture(ctx._execution),
        ]
        said.extend(future.describe() for future in futures)

    drive(root)
    assert said[:4] == ["activity 'a'", "timer", "a join of 1", "a select of 2"]
    assert said[4].startswith("coroutine 'test_a_future_says_what_it_is")
    assert said[5] == "a durable future"


def test_coroutines_that_never_get_to_run_leave_no_warning() -> None:
    """Warnings are errors in this project: "coroutine was never awaited" would fail the test."""

    async def careless(ctx: OrchestrationContext) -> str:
        ctx.join(run(ctx, "a"), run(ctx, "b"))
        return "done"

    engine = drive(careless)
    assert engine.events[1:] == [completed(2, "done")]
    engine.execution.seal()


def test_helpers_left_over_when_the_root_ends_are_dropped() -> None:
    async def careless(ctx: OrchestrationContext) -> str:
        ctx.join(run(ctx, "a"), run(ctx, "b"))
        await ctx.schedule_activity("root")
        return "done"

    engine = drive(careless, None, [activity_result(2), activity_result(3)])
    assert engine.events[-1] == completed(6, "done")
    assert engine.last.ignored_messages == 1


def test_children_that_lose_are_cancelled_and_their_late_end_is_ignored() -> None:
    async def race(ctx: OrchestrationContext) -> None:
        await ctx.select(ctx.schedule_sub_orchestration("c", instance_id="c"), ctx.schedule_timer(1))
        await ctx.wait_for_event("end")

    engine = drive(race, None, [timer_due(3)], [child_result(2)])
    assert engine.last.ignored_messages == 1
    assert list(engine.last.observed_children) == []


def test_a_cancel_reaches_the_members_of_joins_and_selects() -> None:
    async def nested(ctx: OrchestrationContext) -> None:
        await ctx.join(ctx.select(run(ctx, "a"), ctx.wait_for_event("n")), run(ctx, "b"))

    engine = drive(nested)
    assert engine.events[1] == event_wait_started(2, "n")
    engine.turn(cancel_asked("enough"))
    assert engine.kinds[4:] == [
        "OrchestrationCancelRequested",
        "ActivityCancelRequested",
        "EventWaitCancelled",
        "ActivityCancelRequested",
        "OrchestrationCancelled",
    ]
