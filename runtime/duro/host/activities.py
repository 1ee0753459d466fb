"""Running activities: ``async def`` ones on an event loop of their own thread, plain ones in a pool of threads.

An attempt goes in (``ActivityAttempt``), an ``ActivityOutcome`` comes out through one callback, from any thread.
Retrying is not decided here.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

from duro.errors import UsageError
from duro.host.attempts import (
    ActivityAttempt,
    ActivityContext,
    ActivityKey,
    ActivityOutcome,
    Clients,
    arguments_of,
    ended_by,
    succeeded,
    timed_out,
)
from duro.host.plain_activities import PlainActivities
from duro.host.shared_tasks import SharedTasks
from duro.telemetry import HOST_LOGGER

_CLOSE_S: Final = 5.0
"""How long activities have to stop when they are cancelled at the end; their threads are daemons."""


class ThreadedActivityExecutor:
    """Real activities on a real event loop and real threads."""

    def __init__(
        self,
        clients: Clients,
        report: Callable[[Sequence[ActivityOutcome]], None],
        threads_max: int,
        new_event_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
    ) -> None:
        self._clients = clients
        self._report = report
        self._ended: list[ActivityOutcome] = []
        """Outcomes of this round of the event loop, reported together."""
        self._loop = new_event_loop()
        if not isinstance(self._loop, asyncio.AbstractEventLoop):
            raise UsageError(
                f"new_event_loop must make an event loop, not {self._loop!r}", hint="for example uvloop.new_event_loop"
            )
        self._contexts: dict[ActivityKey, ActivityContext] = {}
        """Of the ``async def`` ones that have not ended."""
        self._tasks = SharedTasks(self._loop, self._run_async)
        self._plain = PlainActivities(self._loop, report, threads_max)
        self._closing = False
        self._thread = threading.Thread(target=self._run_loop, name="duro-activities", daemon=True)
        try:
            self._thread.start()
        except BaseException:
            self._loop.close()
            raise

    def submit(self, attempts: Sequence[ActivityAttempt]) -> None:
        self._loop.call_soon_threadsafe(self._begin, attempts)

    def cancel(self, key: ActivityKey) -> None:
        self._loop.call_soon_threadsafe(self._cancel, key)

    def close(self) -> None:
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._cancel_all(), self._loop)
        self._plain.close()
        self._thread.join(_CLOSE_S)
        if self._thread.is_alive():
            names = sorted({context.name for context in list(self._contexts.values())})
            HOST_LOGGER.warning("activities %s do not stop when they are cancelled; they are left behind", names)

    # --- on the loop's thread --------------------------------------------------------------------------------

    def _run_loop(self) -> None:
        """An activity can end the loop (``loop.stop()``, ``sys.exit()`` in a task of its own); for the others it goes
        on."""
        asyncio.set_event_loop(self._loop)
        while not self._closing:
            try:
                self._loop.run_forever()
            except BaseException:  # noqa: BLE001 - it was one activity's doing
                HOST_LOGGER.exception("an activity broke the event loop, which goes on")
        self._loop.close()

    def _begin(self, attempts: Sequence[ActivityAttempt]) -> None:
        begun = []
        for attempt in attempts:
            context = ActivityContext(attempt, self._clients)
            if attempt.definition.is_async:
                self._contexts[attempt.key] = context
                begun.append(context)
            else:
                self._plain.begin(attempt, context)
        self._tasks.run(begun)

    async def _run_async(self, context: ActivityContext, task: asyncio.Task[None]) -> None:
        attempt = context._attempt
        context._task = task
        is_total = False
        try:
            context.raise_if_cancelled()
            arguments = arguments_of(attempt)
            limit_s, is_total = _limit_s(attempt)
            if limit_s is None:
                value = await attempt.definition.function(context, *arguments)
            else:
                value = await _within(limit_s, attempt, context, arguments)
            outcome = succeeded(attempt, value)
        except _AttemptTimedOutError:
            outcome = timed_out(attempt, in_total=is_total)
        except BaseException as error:  # noqa: BLE001 - whatever an activity raises is its outcome
            outcome = ended_by(error, context)
        self._async_ended(context, outcome)

    def _async_ended(self, context: ActivityContext, outcome: ActivityOutcome) -> None:
        key = outcome.attempt.key
        if self._contexts.get(key) is context:  # not a later attempt's
            del self._contexts[key]
        if not self._ended:
            self._loop.call_soon(self._report_ended)
        self._ended.append(outcome)

    def _report_ended(self) -> None:
        ended, self._ended = self._ended, []
        self._report(ended)

    def _cancel(self, key: ActivityKey) -> None:
        if context := self._contexts.get(key):
            context._cancel()
            if context._task is not None:  # otherwise it has not begun, and will see it
                context._task.cancel()
        else:
            self._plain.cancel(key)

    async def _cancel_all(self) -> None:
        """Cancel everything, wait for it, and end the loop. What does not stop keeps the loop, and nothing else."""
        self._plain.cancel_all()
        for context in self._contexts.values():
            context._cancel()
        for context in self._tasks.forget():
            self._async_ended(context, ActivityOutcome(attempt=context._attempt))
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        self._report_ended()
        self._closing = True
        self._loop.stop()


class _AttemptTimedOutError(Exception):
    """The attempt's own time-out, told apart from a TimeoutError of the activity's code."""


def _limit_s(attempt: ActivityAttempt) -> tuple[float | None, bool]:
    """The seconds an attempt that begins now has, and whether it is the total time that ends it."""
    own_s, total_s = attempt.leased.attempt_timeout_s, attempt.total_left_s
    if total_s is not None and (own_s is None or total_s <= own_s):
        return total_s, True
    return own_s, False


async def _within(
    limit_s: float, attempt: ActivityAttempt, context: ActivityContext, arguments: tuple[Any, ...]
) -> Any:
    scope = asyncio.timeout(limit_s)
    try:
        async with scope:
            value = await attempt.definition.function(context, *arguments)
    except TimeoutError as error:
        if not scope.expired():
            raise
        context._cancel()
        raise _AttemptTimedOutError from error
    if scope.expired():  # it swallowed the cancellation; its result came too late all the same
        context._cancel()
        raise _AttemptTimedOutError
    return value
