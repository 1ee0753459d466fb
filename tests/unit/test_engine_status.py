"""The engine, custom status and traces: what leaves with a turn, and nothing of it twice."""

from typing import Any

from duro.errors import InvalidInputError
from duro.replay.context import OrchestrationContext
from duro.testing.histories import activity_result, drive


async def reports(ctx: OrchestrationContext) -> None:
    ctx.set_custom_status({"step": 1})
    ctx.trace_debug("one")
    await ctx.schedule_activity("a")
    ctx.trace_info("two")
    ctx.trace_warning("three")
    await ctx.schedule_activity("b")
    ctx.set_custom_status("x")
    ctx.set_custom_status(None)
    ctx.trace_error("four")


def test_a_custom_status_leaves_with_the_turn_that_set_it() -> None:
    engine = drive(reports, None, [activity_result(2)], [activity_result(4)])
    assert [turn.custom_status for turn in engine.commits] == ['{"step":1}', None, ""]


def test_traces_leave_with_the_turn_that_wrote_them() -> None:
    engine = drive(reports)
    assert engine.execution.traces == [("debug", "one")]
    engine.turn(activity_result(2))
    assert engine.execution.traces == [("info", "two"), ("warning", "three")]
    engine.turn(activity_result(4))
    assert engine.execution.traces == [("error", "four")]


def test_replay_sets_no_status_and_writes_no_trace() -> None:
    engine = drive(reports, None, [activity_result(2)])
    engine.forget()
    assert (engine.execution.traces, engine.execution.custom_status) == ((), None)
    engine.turn(activity_result(4))
    assert engine.execution.traces == [("error", "four")]
    assert engine.last.custom_status == ""


def test_a_status_that_is_not_json_is_refused_and_stays_as_it_was() -> None:
    async def wrong(ctx: OrchestrationContext) -> str:
        ctx.set_custom_status([1])
        try:
            ctx.set_custom_status(object())
        except InvalidInputError:
            return "refused"
        return ""

    engine = drive(wrong)
    assert (engine.result, engine.last.custom_status) == ("refused", "[1]")


def test_the_last_status_and_all_traces_leave_however_the_execution_ends() -> None:
    async def ends(ctx: OrchestrationContext, how: str) -> Any:
        ctx.set_custom_status(how)
        ctx.trace_info(how)
        if how == "fail":
            raise ValueError
        if how == "continue":
            await ctx.continue_as_new("complete")

    for how in ("complete", "fail", "continue"):
        engine = drive(ends, how)
        assert engine.last.custom_status == f'"{how}"'
        assert engine.execution.traces == [("info", how)]
