"""Coroutines on an event loop in as few tasks as they need: a task takes one after the other until one of them waits.

A task for each costs more than a small coroutine, and thousands of them at once are thousands of values for the garbage
collector. (From 3.12 on asyncio can begin a task eagerly; that still makes one for each.)
"""

import asyncio
import contextvars
import types
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterable
from functools import partial
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")


class SharedTasks(Generic[Item]):
    """Runs ``begin(item, task)`` for each item, in order, each in a context of its own, as in a task of its own: what
    one sets in a context variable no other sees, and one that has waited shares its task with nobody after it.
    Everything happens on the thread of ``loop``. ``begin`` lets no exception out, and is told which task it runs in."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, begin: Callable[[Item, asyncio.Task[None]], Coroutine[Any, Any, None]]
    ) -> None:
        self._loop = loop
        self._begin = begin
        self._waiting: deque[Item] = deque()
        self._is_served = False

    def run(self, items: Iterable[Item]) -> None:
        self._waiting.extend(items)
        if not self._is_served:
            self._serve()

    def forget(self) -> list[Item]:
        """Those that have not begun, which never will."""
        forgotten = list(self._waiting)
        self._waiting.clear()
        return forgotten

    def _serve(self) -> None:
        """The task before this one, if any, waits with what it has begun, or was cancelled: another takes the rest."""
        self._is_served = bool(self._waiting)
        if self._is_served:
            task = self._loop.create_task(self._run_until_one_waits())
            self._loop.call_soon(self._serve)
            del task  # the loop has it until its first step; whoever waits in it, afterwards

    async def _run_until_one_waits(self) -> None:
        task = asyncio.current_task()
        assert task is not None, "it is run by one"
        while self._waiting and not task.cancelling():
            coroutine, context = self._begin(self._waiting.popleft(), task), contextvars.copy_context()
            try:
                waits_for = context.run(coroutine.send, None)
            except StopIteration:
                continue
            await _rest_of(coroutine, context, waits_for)
            return


@types.coroutine
def _rest_of(
    coroutine: Coroutine[Any, Any, None], context: contextvars.Context, waits_for: Any
) -> Generator[Any, Any, None]:
    """What ``await coroutine`` would be, in ``context``, of one that has come to its first wait."""
    while True:
        try:
            step = partial(coroutine.send, (yield waits_for))
        except BaseException as error:  # noqa: BLE001 - a cancellation is the coroutine's
            step = partial(coroutine.throw, error)
        try:
            waits_for = context.run(step)
        except StopIteration:
            return
