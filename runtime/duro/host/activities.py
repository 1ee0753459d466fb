"""Running activities: ``async def`` ones on an event loop of their own thread, plain ones in a pool of daemon threads.

An attempt goes in (``ActivityAttempt``), an ``ActivityOutcome`` comes out through one callback, from any thread.
Retrying is not decided here.
"""

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

import msgspec

from duro.codec import encode_payload
from duro.errors import ActivityCancelled, InvalidInputError, PayloadTooLargeError, UsageError
from duro.failures import failure_of
from duro.host.shared_tasks import SharedTasks
from duro.model.events import Json
from duro.model.failure import INVALID_INPUT, INVALID_RESULT, TIMED_OUT, FailureDetails, out_of_time
from duro.model.turns import LeasedActivity
from duro.registry import ActivityDefinition
from duro.telemetry import HOST_LOGGER

if TYPE_CHECKING:
    from duro.async_client import AsyncClient
    from duro.client import Client

_CLOSE_S: Final = 5.0
"""How long activities have to stop when they are cancelled at the end; their threads are daemons."""

_NO_THREAD_S: Final = 1.0
"""How long an attempt for which there is no thread stays with this worker, before whoever can takes it."""

ActivityKey = tuple[int, int, int]
"""(incarnation, execution id, event id)"""


class ActivityAttempt(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One attempt to run. ``total_left_s`` is what is left of the time for all attempts, from now on; the attempt's own
    time-out begins when the function does."""

    key: ActivityKey
    leased: LeasedActivity
    definition: ActivityDefinition
    total_left_s: float | None = None


def attempt_of(leased: LeasedActivity, definition: ActivityDefinition) -> ActivityAttempt:
    key = (leased.incarnation, leased.execution_id, leased.event_id)
    return ActivityAttempt(key=key, leased=leased, definition=definition)


class ActivityOutcome(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How an attempt ended: with ``result``, with ``failure`` (and the class names of the error and its bases), or,
    with neither, cancelled. ``final``: no other attempt, whatever the policy says. ``thread``: the attempt has ended
    and its plain function is still in a thread ("stays"), or no more than that it has left it now ("is back")."""

    attempt: ActivityAttempt
    result: Json | None = None
    failure: FailureDetails | None = None
    error_names: tuple[str, ...] = ()
    final: bool = False
    thread: Literal["free", "stays", "is back"] = "free"


class ActivityExecutor(Protocol):
    """What a worker needs of whoever runs activities; a simulation has its own."""

    def submit(self, attempts: Sequence[ActivityAttempt]) -> None:
        """Begin the attempts; each gives exactly one outcome, cancelled ones, too. After one whose thread stays comes
        another one when it is back."""
        ...

    def cancel(self, key: ActivityKey) -> None:
        """Ask a running attempt to stop; unknown ones are ignored."""
        ...

    def close(self) -> None:
        """Cancel what runs and give back the threads; threads inside a plain function are left to end by themselves."""
        ...


_making_event: Final = threading.Lock()
"""Held while a context makes the event that few of them need: making one costs more than the rest of a context."""


class ActivityContext:
    """What an activity knows about its attempt. Activities run at least once: after a crash the same attempt may run
    again."""

    def __init__(self, attempt: ActivityAttempt, clients: "Clients") -> None:
        self._attempt = attempt
        self._clients = clients
        self._cancelled = False
        self._waited_for: threading.Event | None = None
        self._task: asyncio.Task[Any] | None = None

    @property
    def instance_id(self) -> str:
        """The instance that scheduled the activity."""
        return self._attempt.leased.instance_id

    @property
    def execution_id(self) -> int:
        return self._attempt.leased.execution_id

    @property
    def event_id(self) -> int:
        """The event that scheduled the activity. Together with instance and execution id it makes an idempotency
        key."""
        return self._attempt.leased.event_id

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt of this activity, and for no other activity."""
        leased = self._attempt.leased
        return f"{leased.instance_id}/{leased.incarnation}/{leased.execution_id}/{leased.event_id}"

    @property
    def name(self) -> str:
        return self._attempt.leased.name

    @property
    def attempt(self) -> int:
        """1 for the first attempt, one more after each failure. An attempt that died with its process is not
        counted."""
        return self._attempt.leased.attempt

    @property
    def is_cancelled(self) -> bool:
        """Whether nobody waits for this attempt any more (cancelled, timed out, or shutting down)."""
        return self._cancelled

    def raise_if_cancelled(self) -> None:
        """Raises ActivityCancelled (a BaseException) when nobody waits for this attempt any more."""
        if self._cancelled:
            raise ActivityCancelled("nobody waits for this activity any more")

    def heartbeat(self) -> None:
        """Say that the attempt is alive, and learn whether it is still wanted. The runtime renews leases by itself;
        long plain functions call this so that they stop soon after a cancel.

        Raises:
            ActivityCancelled: nobody waits for this attempt any more.
        """
        self.raise_if_cancelled()

    def wait_for_cancellation(self, timeout: float | None = None) -> bool:
        """In a plain function: wait up to ``timeout`` seconds; whether the attempt is cancelled by then."""
        with _making_event:
            waited_for = self._waited_for = self._waited_for or threading.Event()
        return self._cancelled or waited_for.wait(timeout)

    @property
    def client(self) -> "Client":
        """A client of the store this activity's instance lives in. It blocks: in async activities use
        ``async_client``."""
        return self._clients.client

    @property
    def async_client(self) -> "AsyncClient":
        return self._clients.async_client

    def _cancel(self) -> None:
        self._cancelled = True
        if self._waited_for is not None:
            self._waited_for.set()


class Clients(Protocol):
    """Where activity contexts get their clients from."""

    @property
    def client(self) -> "Client": ...
    @property
    def async_client(self) -> "AsyncClient": ...


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
        self._plain: dict[ActivityKey, _PlainRun] = {}
        """Attempts of plain functions that nobody has given up."""
        self._stuck = 0
        """Threads in functions that somebody has given up."""
        self._pool = _DaemonPool(threads_max)
        self._closing = False
        self._thread = threading.Thread(target=self._run_loop, name="duro-activities", daemon=True)
        self._thread.start()

    def submit(self, attempts: Sequence[ActivityAttempt]) -> None:
        self._loop.call_soon_threadsafe(self._begin, attempts)

    def cancel(self, key: ActivityKey) -> None:
        self._loop.call_soon_threadsafe(self._cancel, key)

    def close(self) -> None:
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._cancel_all(), self._loop)
        self._pool.close()
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
                self._begin_plain(attempt, context)
        self._tasks.run(begun)

    async def _run_async(self, context: ActivityContext, task: asyncio.Task[None]) -> None:
        attempt = context._attempt
        context._task = task
        is_total = False
        try:
            context.raise_if_cancelled()
            arguments = _arguments(attempt)
            limit_s, is_total = _limit_s(attempt)
            if limit_s is None:
                value = await attempt.definition.function(context, *arguments)
            else:
                value = await _within(limit_s, attempt, context, arguments)
            outcome = _succeeded(attempt, value)
        except _AttemptTimedOutError:
            outcome = timed_out(attempt, in_total=is_total)
        except BaseException as error:  # noqa: BLE001 - whatever an activity raises is its outcome
            cancelled = _answers_cancel(error, context)
            outcome = ActivityOutcome(attempt=attempt) if cancelled else failed(attempt, error)
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

    def _begin_plain(self, attempt: ActivityAttempt, context: ActivityContext) -> None:
        run = _PlainRun(attempt, context, self._plain_begins, self._plain_ended)
        self._plain[attempt.key] = run
        if attempt.total_left_s is not None:
            run.timers.append(self._loop.call_later(attempt.total_left_s, self._plain_timed_out, run, True))
        if not self._pool.submit(run):
            given_back = ActivityOutcome(attempt=attempt)
            run.timers.append(self._loop.call_later(_NO_THREAD_S, self._never_begins, run, given_back))

    def _plain_begins(self, run: "_PlainRun") -> None:
        """From the pool's thread: only now does the time of the attempt run."""
        if run.attempt.leased.attempt_timeout_s is not None:
            self._loop.call_soon_threadsafe(self._time_plain, run, run.attempt.leased.attempt_timeout_s)

    def _time_plain(self, run: "_PlainRun", timeout_s: float) -> None:
        if self._plain.get(run.attempt.key) is run:
            run.timers.append(self._loop.call_later(timeout_s, self._plain_timed_out, run, False))

    def _plain_ended(self, run: "_PlainRun", outcome: ActivityOutcome) -> None:
        """From the pool's thread. The first of end, time-out, cancel and close reports."""
        first = run.claim_report()
        if first:
            self._report([outcome])
        try:
            self._loop.call_soon_threadsafe(self._forget_plain, run, not first)
        except RuntimeError:  # the loop is closed: the runtime has stopped without waiting for this thread
            return

    def _forget_plain(self, run: "_PlainRun", was_stuck: bool) -> None:
        self._give_up(run)
        if was_stuck:
            self._stuck -= 1
            self._report([ActivityOutcome(attempt=run.attempt, thread="is back")])

    def _give_up(self, run: "_PlainRun") -> None:
        for timer in run.timers:
            timer.cancel()
        if self._plain.get(run.attempt.key) is run:
            del self._plain[run.attempt.key]

    def _plain_timed_out(self, run: "_PlainRun", in_total: bool) -> None:
        if self._end_without_thread(run, timed_out(run.attempt, in_total=in_total)):
            HOST_LOGGER.warning(
                "activity %r of instance %r ran out of time; a thread of %d stays with it until it returns",
                run.attempt.definition.name,
                run.attempt.leased.instance_id,
                self._pool.threads_max,
            )

    def _end_without_thread(self, run: "_PlainRun", outcome: ActivityOutcome) -> bool:
        """The attempt ends, whatever its function does. True: a thread stays with that."""
        run.context._cancel()
        if self._never_begins(run, outcome) or not run.claim_report():
            return False
        self._give_up(run)
        self._stuck += 1
        self._report([msgspec.structs.replace(outcome, thread="stays")])
        if self._stuck >= self._pool.threads:
            for waiting in list(self._plain.values()):  # other workers may have a thread for them
                self._never_begins(waiting, ActivityOutcome(attempt=waiting.attempt))
        return True

    def _never_begins(self, run: "_PlainRun", outcome: ActivityOutcome) -> bool:
        """Whether no thread has taken it, and none will."""
        if not run.claim_begin():
            return False
        self._give_up(run)
        self._report([outcome])
        return True

    def _cancel(self, key: ActivityKey) -> None:
        if context := self._contexts.get(key):
            context._cancel()
            if context._task is not None:  # otherwise it has not begun, and will see it
                context._task.cancel()
        elif run := self._plain.get(key):
            self._end_without_thread(run, ActivityOutcome(attempt=run.attempt))

    async def _cancel_all(self) -> None:
        """Cancel everything, wait for it, and end the loop. What does not stop keeps the loop, and nothing else."""
        for run in list(self._plain.values()):
            self._end_without_thread(run, ActivityOutcome(attempt=run.attempt))
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


def _answers_cancel(error: BaseException, context: ActivityContext) -> bool:
    """Whether the attempt ended because it was asked to, and not by a cancellation of its own making."""
    return context.is_cancelled and isinstance(error, asyncio.CancelledError | ActivityCancelled)


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


class _PlainRun:
    """One attempt of a plain function, which cannot be killed: whoever is first begins it or keeps it from beginning,
    and whoever is first reports its outcome."""

    def __init__(
        self,
        attempt: ActivityAttempt,
        context: ActivityContext,
        begins: "Callable[[_PlainRun], None]",
        ended: "Callable[[_PlainRun, ActivityOutcome], None]",
    ) -> None:
        self.attempt = attempt
        self.context = context
        self.timers: list[asyncio.TimerHandle] = []
        self._begins = begins
        self._ended = ended
        self._begun = threading.Lock()
        self._reported = threading.Lock()

    def claim_begin(self) -> bool:
        return self._begun.acquire(blocking=False)

    def claim_report(self) -> bool:
        return self._reported.acquire(blocking=False)

    def __call__(self) -> None:
        attempt = self.attempt
        if not self.claim_begin():
            return
        try:
            self._begins(self)
            outcome = _succeeded(attempt, attempt.definition.function(self.context, *_arguments(attempt)))
        except BaseException as error:  # noqa: BLE001 - whatever an activity raises is its outcome
            cancelled = _answers_cancel(error, self.context)
            outcome = ActivityOutcome(attempt=attempt) if cancelled else failed(attempt, error)
        self._ended(self, outcome)


class _DaemonPool:
    """Threads for plain functions. Daemons, unlike those of concurrent.futures: a function that hangs must not keep the
    interpreter from exiting."""

    def __init__(self, threads_max: int) -> None:
        self.threads_max = threads_max
        self._queue: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self.threads = 0
        self._unfinished = 0
        """What waits or runs."""

    def submit(self, run: Callable[[], None]) -> bool:
        """False: there is no thread, and the system gives none (a limit of processes, or of memory)."""
        with self._lock:
            if self._unfinished >= self.threads and self.threads < self.threads_max:
                self._add_thread()
            if not self.threads:
                return False
            self._unfinished += 1
        self._queue.put(run)
        return True

    def _add_thread(self) -> None:
        number = self.threads + 1
        try:
            threading.Thread(target=self._work, name=f"duro-activity-{number}", daemon=True).start()
        except RuntimeError as error:
            HOST_LOGGER.warning("a thread for activities cannot be started beside %d others: %s", number - 1, error)
        else:
            self.threads = number

    def close(self) -> None:
        for _ in range(self.threads):
            self._queue.put(None)

    def _work(self) -> None:
        while (run := self._queue.get()) is not None:
            try:
                run()
            except Exception:  # noqa: BLE001 - the thread must live on for the next attempt
                HOST_LOGGER.exception("an activity's outcome could not be reported")
            with self._lock:
                self._unfinished -= 1


def failed(attempt: ActivityAttempt, error: BaseException) -> ActivityOutcome:
    """The outcome for an exception of the activity."""
    names = tuple(kind.__name__ for kind in type(error).__mro__)
    failure = failure_of(error)
    if isinstance(error, _WrongInputError | _WrongResultError):
        kind = INVALID_INPUT if isinstance(error, _WrongInputError) else INVALID_RESULT
        failure = FailureDetails(type=kind, message=failure.message, non_retryable=True)
    return ActivityOutcome(attempt=attempt, failure=failure, error_names=names, final=failure.non_retryable)


class _WrongInputError(Exception):
    """The recorded input does not fit the function; another attempt would not either."""


class _WrongResultError(Exception):
    """The function's result is not JSON, or too large; another attempt's would not be either."""


def _arguments(attempt: ActivityAttempt) -> tuple[Any, ...]:
    try:
        return attempt.definition.signature.arguments(attempt.leased.input, f"activity {attempt.definition.name!r}")
    except InvalidInputError as error:
        raise _WrongInputError(str(error)) from error


def _succeeded(attempt: ActivityAttempt, value: Any) -> ActivityOutcome:
    try:
        what = f"the result of activity {attempt.definition.name!r}"
        result = encode_payload(value, what)
        attempt.definition.signature.check_result(value, result, what)
    except (InvalidInputError, PayloadTooLargeError) as error:
        raise _WrongResultError(str(error)) from error
    return ActivityOutcome(attempt=attempt, result=result)


def timed_out(attempt: ActivityAttempt, *, in_total: bool) -> ActivityOutcome:
    """The outcome of an attempt whose time, or that of all attempts together, is over."""
    failure = out_of_time(attempt.definition.name, None if in_total else attempt.leased.attempt)
    return ActivityOutcome(attempt=attempt, failure=failure, error_names=(TIMED_OUT, "TimeoutError"), final=in_total)
