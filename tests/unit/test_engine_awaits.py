"""The engine and awaits that are not durable: refused with a sentence that says what to write instead."""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from typing import Any

import pytest

from duro.errors import NonDurableAwaitError
from duro.replay.context import OrchestrationContext
from duro.replay.guard import asyncio_refused
from duro.testing.histories import activity_result, drive


class Custom:
    """An awaitable of somebody else."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __await__(self) -> Generator[Any, Any, Any]:
        return (yield self.value)


async def never() -> None: ...


AWAITED: dict[str, tuple[Callable[[], Awaitable[Any]], str]] = {
    "sleep": (lambda: asyncio.sleep(1), "used asyncio (create_future)"),
    "no sleep": (lambda: asyncio.sleep(0), "awaited something that yielded None"),
    "event": (lambda: asyncio.Event().wait(), "used asyncio (create_future)"),
    "to_thread": (lambda: asyncio.to_thread(print), "used asyncio (run_in_executor)"),
    "custom": (lambda: Custom(5), "awaited int"),
}


@pytest.mark.parametrize("kind", AWAITED)
def test_asyncio_and_other_awaitables_are_refused(kind: str) -> None:
    make, said = AWAITED[kind]

    async def wrong(ctx: OrchestrationContext) -> None:
        await make()

    failure = drive(wrong).failure
    assert failure.type == "NonDurableAwaitError"
    assert said in failure.message
    assert "which is not durable; orchestrations may await only what their context returns" in failure.message
    assert "ctx.schedule_timer for sleep" in failure.message


def test_gather_and_tasks_are_refused_and_leave_no_coroutine_behind() -> None:
    async def gathers(ctx: OrchestrationContext) -> None:
        await asyncio.gather(ctx.schedule_activity("a"))

    async def tasks(ctx: OrchestrationContext) -> None:
        asyncio.get_running_loop().create_task(never())

    async def futures(ctx: OrchestrationContext) -> None:
        await asyncio.ensure_future(ctx.schedule_activity("a"))

    for code in (gathers, tasks, futures):
        failure = drive(code).failure
        assert failure.type == "NonDurableAwaitError", failure


def test_the_error_can_be_caught_where_the_code_awaits_and_the_code_goes_on() -> None:
    async def careful(ctx: OrchestrationContext) -> str:
        try:
            await asyncio.sleep(1)
        except NonDurableAwaitError:
            return str(await ctx.schedule_activity("a"))
        return ""

    assert drive(careful, None, [activity_result(2, "fine")]).result == "fine"


def test_an_awaitable_of_somebody_else_that_awaits_durable_things_works() -> None:
    async def fine(ctx: OrchestrationContext) -> Any:
        return await Custom(ctx.schedule_activity("a"))

    assert drive(fine, None, [activity_result(2, 7)]).result == 7


def test_the_running_loop_of_the_caller_is_there_again_after_a_turn() -> None:
    async def fine(ctx: OrchestrationContext) -> None:
        await ctx.schedule_activity("a")

    async def main() -> bool:
        loop = asyncio.get_running_loop()
        engine = drive(fine, None, [activity_result(2)])
        engine.replayed().seal()
        with asyncio_refused(), asyncio_refused():
            pass
        return asyncio.get_running_loop() is loop

    assert asyncio.run(main())
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()
