"""Coroutines that share tasks are, to themselves, each in a task of its own."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from typing import Any

from duro.host.shared_tasks import SharedTasks

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def run(begin: Callable[[Any], Awaitable[None]], *batches: list[Any]) -> None:
    async def main() -> None:
        async def begun(item: Any, task: asyncio.Task[None]) -> None:
            assert task is asyncio.current_task()
            await begin(item)

        tasks = SharedTasks(asyncio.get_running_loop(), begun)
        for batch in batches:
            tasks.run(batch)
        await settled()

    asyncio.run(main())


def test_those_that_never_wait_run_in_order_in_one_task() -> None:
    seen: list[tuple[int, Any]] = []

    async def begin(item: int) -> None:
        seen.append((item, asyncio.current_task()))

    run(begin, [1, 2], [3])
    assert [item for item, _ in seen] == [1, 2, 3]
    assert len({task for _, task in seen}) == 1


def test_one_that_waits_keeps_its_task_and_stops_nobody() -> None:
    seen: list[tuple[str, Any]] = []
    gate = asyncio.Event()

    async def begin(item: str) -> None:
        seen.append((item, asyncio.current_task()))
        if item.startswith("waits"):
            await gate.wait()
            seen.append((item, asyncio.current_task()))
        elif item == "opens":
            gate.set()

    run(begin, ["quick", "waits 1", "waits 2", "opens", "last"])
    assert [item for item, _ in seen] == ["quick", "waits 1", "waits 2", "opens", "last", "waits 1", "waits 2"]
    tasks = dict(seen[:5])
    assert len({tasks["waits 1"], tasks["waits 2"], tasks["last"]}) == 3
    assert dict(seen[5:]) == {item: tasks[item] for item in ("waits 1", "waits 2")}


def test_what_one_sets_in_a_context_variable_no_other_sees() -> None:
    seen: list[str] = []

    async def begin(item: str) -> None:
        seen.append(variable.get())
        variable.set(item)
        if item == "waits":
            await asyncio.sleep(0)
            seen.append(variable.get())
            await asyncio.create_task(asyncio.sleep(0))
            seen.append(variable.get())

    run(begin, ["a", "waits", "b"], ["c"])
    assert sorted(seen) == ["unset", "unset", "unset", "unset", "waits", "waits"]


def test_a_cancellation_reaches_the_one_that_waits_and_no_other() -> None:
    seen: list[str] = []
    tasks: dict[str, asyncio.Task[Any]] = {}

    async def begin(item: str) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks[item] = task
        if item == "cancels":
            tasks["waits"].cancel()
            return
        try:
            await asyncio.sleep(10 if item == "waits" else 0)
        except asyncio.CancelledError:
            seen.append(f"{item} was cancelled")
        await asyncio.sleep(0)  # one that goes on after it
        seen.append(f"{item} ended")

    run(begin, ["before", "waits", "cancels", "after"])
    assert sorted(seen) == ["after ended", "before ended", "waits ended", "waits was cancelled"]


def test_one_that_cancels_its_own_task_and_ends_does_not_cancel_the_next() -> None:
    seen: list[str] = []

    async def begin(item: str) -> None:
        if item == "rash":
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            return
        await asyncio.sleep(0)
        seen.append(item)

    run(begin, ["rash", "next", "rash", "last"])
    assert seen == ["next", "last"]


def test_a_time_limit_holds_for_the_one_that_set_it() -> None:
    seen: list[str] = []

    async def begin(item: str, task: asyncio.Task[None]) -> None:
        try:
            async with asyncio.timeout(0.001 if item == "slow" else 10):
                await asyncio.sleep(0.05 if item == "slow" else 0)
        except TimeoutError:
            seen.append(f"{item} was late")
            return
        seen.append(item)

    async def main() -> None:
        tasks = SharedTasks(asyncio.get_running_loop(), begin)
        tasks.run(["quick", "slow", "other"])
        await asyncio.sleep(0.02)

    asyncio.run(main())
    assert sorted(seen) == ["other", "quick", "slow was late"]


def test_those_that_have_not_begun_can_be_forgotten() -> None:
    seen: list[str] = []

    async def begin(item: str, task: asyncio.Task[None]) -> None:
        seen.append(item)

    async def main() -> None:
        tasks = SharedTasks(asyncio.get_running_loop(), begin)
        tasks.run(["a", "b"])
        assert tasks.forget() == ["a", "b"]
        await settled()
        tasks.run(["c"])
        await settled()
        assert tasks.forget() == []

    asyncio.run(main())
    assert seen == ["c"]


def test_a_task_that_is_cancelled_before_it_has_begun_leaves_its_work_to_another() -> None:
    seen: list[str] = []

    async def begin(item: str, task: asyncio.Task[None]) -> None:
        seen.append(item)

    async def main() -> None:
        tasks = SharedTasks(asyncio.get_running_loop(), begin)
        tasks.run(["a", "b"])
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await settled()

    asyncio.run(main())
    assert seen == ["a", "b"]
