"""Activities that are plain functions, in a pool of daemon threads: a function that hangs can be given up, and its
thread comes back when it returns."""

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from duro.host.attempts import (
    ActivityAttempt,
    ActivityContext,
    ActivityKey,
    ActivityOutcome,
    arguments_of,
    ended_by,
    succeeded,
    timed_out,
)
from duro.telemetry import HOST_LOGGER

_NO_THREAD_S: Final = 1.0
"""How long an attempt for which there is no thread stays with this worker, before whoever can takes it."""


class PlainActivities:
    """The attempts of plain functions. They are begun and cancelled on the thread of ``loop``, whose timers end them;
    ``report`` is called from any thread."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        report: Callable[[Sequence[ActivityOutcome]], None],
        threads_max: int,
    ) -> None:
        self._loop = loop
        self._report = report
        self._runs: dict[ActivityKey, _PlainRun] = {}
        """Attempts that nobody has given up."""
        self._stuck = 0
        """Threads in functions that somebody has given up."""
        self._pool = _DaemonPool(threads_max)

    def begin(self, attempt: ActivityAttempt, context: ActivityContext) -> None:
        run = _PlainRun(attempt, context, self._begins, self._ended)
        self._runs[attempt.key] = run
        if attempt.total_left_s is not None:
            run.timers.append(self._loop.call_later(attempt.total_left_s, self._timed_out, run, True))
        if not self._pool.submit(run):
            given_back = ActivityOutcome(attempt=attempt)
            run.timers.append(self._loop.call_later(_NO_THREAD_S, self._never_begins, run, given_back))

    def cancel(self, key: ActivityKey) -> None:
        if run := self._runs.get(key):
            self._end_without_thread(run, ActivityOutcome(attempt=run.attempt))

    def cancel_all(self) -> None:
        for key in list(self._runs):
            self.cancel(key)

    def close(self) -> None:
        """Let the threads go when what they have is done; from any thread."""
        self._pool.close()

    def _begins(self, run: "_PlainRun") -> None:
        """From the pool's thread: only now does the time of the attempt run."""
        if run.attempt.leased.attempt_timeout_s is not None:
            self._loop.call_soon_threadsafe(self._time, run, run.attempt.leased.attempt_timeout_s)

    def _time(self, run: "_PlainRun", timeout_s: float) -> None:
        if self._runs.get(run.attempt.key) is run:
            run.timers.append(self._loop.call_later(timeout_s, self._timed_out, run, False))

    def _ended(self, run: "_PlainRun", outcome: ActivityOutcome) -> None:
        """From the pool's thread. The first of end, time-out, cancel and close reports."""
        first = run.claim_report()
        if first:
            self._report([outcome])
        try:
            self._loop.call_soon_threadsafe(self._forget, run, not first)
        except RuntimeError:  # the loop is closed: the runtime has stopped without waiting for this thread
            return

    def _forget(self, run: "_PlainRun", was_stuck: bool) -> None:
        self._give_up(run)
        if was_stuck:
            self._stuck -= 1
            self._report([ActivityOutcome(attempt=run.attempt, thread="is back")])

    def _give_up(self, run: "_PlainRun") -> None:
        for timer in run.timers:
            timer.cancel()
        if self._runs.get(run.attempt.key) is run:
            del self._runs[run.attempt.key]

    def _timed_out(self, run: "_PlainRun", in_total: bool) -> None:
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
            for waiting in list(self._runs.values()):  # other workers may have a thread for them
                self._never_begins(waiting, ActivityOutcome(attempt=waiting.attempt))
        return True

    def _never_begins(self, run: "_PlainRun", outcome: ActivityOutcome) -> bool:
        """Whether no thread has taken it, and none will."""
        if not run.claim_begin():
            return False
        self._give_up(run)
        self._report([outcome])
        return True


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
            outcome = succeeded(attempt, attempt.definition.function(self.context, *arguments_of(attempt)))
        except BaseException as error:  # noqa: BLE001 - whatever an activity raises is its outcome
            outcome = ended_by(error, self.context)
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
