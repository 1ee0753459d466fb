"""What a worker has in its hands: the instances leased to it, the activities it runs, and what it owes the store."""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from duro.host.attempts import ActivityAttempt, ActivityExecutor, ActivityKey, ActivityOutcome, attempt_of, timed_out
from duro.host.cache import ExecutionCache
from duro.host.held import Held
from duro.host.reports import end_message, finish, key_and_epoch, reported, retry, retry_delay_s
from duro.host.room import ActivityRoom
from duro.host.running import RunningCode
from duro.model.limits import ATTEMPTS_MAX
from duro.model.status import BlockedKind
from duro.model.turns import (
    CommitBatch,
    FinishActivity,
    LeasedActivity,
    LeasedInstance,
    ReleaseInstance,
    RetryActivity,
)
from duro.registry import Registry
from duro.stores.base import Store
from duro.telemetry import Counters


class Owed(NamedTuple):
    """What the next commit has to tell of instances and activities that this worker no longer has."""

    releases: list[ReleaseInstance]
    finished: list[FinishActivity]
    retries: list[RetryActivity]


class Holdings:
    """Memory of one worker; nothing here writes to the store. Used by the worker's loop only."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        *,
        room: ActivityRoom,
        cache: ExecutionCache,
        code: RunningCode,
        counters: Counters,
    ) -> None:
        self.executor: ActivityExecutor
        self.held: dict[int, Held] = {}
        """By incarnation."""
        self.runnable: dict[int, None] = {}
        """Incarnations for which something waits, in the order in which it came."""
        self.in_hand: dict[ActivityKey, ActivityAttempt] = {}
        self._store = store
        self._registry = registry
        self._room = room
        self._cache = cache
        self._code = code
        self._counters = counters
        self._owed = Owed([], [], [])

    # --- what is owed ----------------------------------------------------------------------------------------

    @property
    def owes(self) -> bool:
        return any(self._owed)

    def take_owed(self) -> Owed:
        """For a batch: from here on the batch owes it."""
        owed, self._owed = self._owed, Owed([], [], [])
        return owed

    def release(self, instance: ReleaseInstance) -> None:
        self._owed.releases.append(instance)

    # --- what activities report ------------------------------------------------------------------------------

    def collect(self, inbox: deque[ActivityOutcome]) -> bool:
        """Take all of ``inbox``: ends of activities of held instances become arrivals of their next turns, others go to
        the store. True: there is room for further activities."""
        came = False
        while inbox:
            outcome = inbox.popleft()
            attempt = outcome.attempt
            key = attempt.key
            self._room.ended(outcome)
            if outcome.thread != "free":
                self._counters.threads_stuck += 1 if outcome.thread == "stays" else -1
            came = True
            if self.in_hand.get(key) is not attempt:
                continue  # cancelled, of a lease that was lost, or its thread is back
            del self.in_hand[key]
            if outcome.result is not None:
                self._counters.activities_succeeded += 1
                self._ended(outcome)
            elif outcome.failure is None:
                self._cancelled(outcome)
            elif not self._retry(outcome):
                self._counters.activities_failed += 1
                self._ended(outcome)
        return came

    def _cancelled(self, outcome: ActivityOutcome) -> None:
        """It stopped because it was asked to: by a turn (its row is gone), or by a shutdown (give it back)."""
        self._counters.activities_cancelled += 1
        self._give_back(outcome.attempt, failed=False, delay_s=0.0)

    def _retry(self, outcome: ActivityOutcome) -> bool:
        delay_s = retry_delay_s(outcome, self._store.now_ms())
        if delay_s is None:
            return False
        self._counters.activities_retried += 1
        self._give_back(outcome.attempt, failed=True, delay_s=delay_s)
        return True

    def _give_back(self, attempt: ActivityAttempt, *, failed: bool, delay_s: float) -> None:
        leased = attempt.leased
        held = self.held.get(leased.incarnation)
        if held is not None and leased.event_id in held.running:
            held.running.pop(leased.event_id, None)
            self.release_if_idle(held)
        visible_at_ms = self._store.now_ms() + round(delay_s * 1000)
        self._owed.retries.append(retry(key_and_epoch(leased), visible_at_ms, failed=failed))

    def _ended(self, outcome: ActivityOutcome) -> None:
        leased = outcome.attempt.leased
        message = end_message(outcome)
        held = self.held.get(leased.incarnation)
        if held is not None and held.leased.execution_id == leased.execution_id:
            held.running.pop(leased.event_id, None)
            held.add_result(message, leased)
            self.runnable[leased.incarnation] = None
            return
        self._owed.finished.append(finish(message, leased))

    # --- instances -------------------------------------------------------------------------------------------

    def take_instance(self, leased: LeasedInstance) -> None:
        held = self.held.get(leased.incarnation)
        if held is not None and held.leased.lease_epoch == leased.lease_epoch:
            held.leased = leased
        else:
            if held is not None:
                self.drop(held)  # of a lease that ended without this worker: what its activities came to is not lost
            held = self.held[leased.incarnation] = Held(leased, waiting=True)
            self._withdraw_release(leased)
        held.waiting = True
        if leased.attempt_count > ATTEMPTS_MAX:
            self.drop(held)
            self.release(
                ReleaseInstance(
                    incarnation=leased.incarnation,
                    lease_epoch=leased.lease_epoch,
                    count_attempt=True,
                    blocked=BlockedKind.POISON,
                    reason=f"{leased.attempt_count - 1} turns in a row ended without a commit",
                )
            )
            return
        self.runnable[leased.incarnation] = None

    def _withdraw_release(self, leased: LeasedInstance) -> None:
        """It was idle, and before the store was told so something came for it: it handed that out under the same lease,
        which is not to be given away any more."""
        if self._owed.releases:
            idle = ReleaseInstance(incarnation=leased.incarnation, lease_epoch=leased.lease_epoch)
            self._owed.releases[:] = [each for each in self._owed.releases if each != idle]

    def let_go(self, incarnation: int) -> None:
        """The lease ended with a committed turn. What activities reported since that turn ran (its commit was tried
        more than once) goes to the queue: of those that it cancelled the store takes nothing, but an attempt that was
        leased while its instance was not has nothing to do with that lease."""
        held = self.held.pop(incarnation)
        self._owed.finished.extend(finish(message, activity) for message, activity in held.results)
        self.runnable.pop(incarnation, None)

    def release_if_idle(self, held: Held) -> None:
        """Give the lease back when nothing of the instance is in hand, no commit of a turn is to come, and nothing
        waits for a turn."""
        if held.running or held.results or held.waiting or held.turn_of is not None:
            return
        leased = held.leased
        if self.held.get(leased.incarnation) is held:
            del self.held[leased.incarnation]
            self.release(ReleaseInstance(incarnation=leased.incarnation, lease_epoch=leased.lease_epoch))

    def drop(self, held: Held) -> None:
        """Forget an instance: its coroutine and its activities. Those that run are given back, the ends of others go
        to its queue; the store refuses both if they are no longer this worker's."""
        incarnation = held.leased.incarnation
        if (successor := held.successor) is not None:
            held.successor = None
            self.drop(successor)
        for execution in (held.execution, held.turn_of):
            if execution is not None:
                self._code.seal(execution)
        held.execution = held.turn_of = None
        for claim in held.claims:
            self._room.give_back(claim.definition)
        held.claims = ()
        self._cache.drop(incarnation)
        for event_id in list(held.running):
            attempt = self.cancel((incarnation, held.leased.execution_id, event_id), held)
            if attempt is not None:
                self._give_back(attempt, failed=False, delay_s=0.0)
        self._owed.finished.extend(finish(message, activity) for message, activity in (*held.in_turn, *held.results))
        self.runnable.pop(incarnation, None)
        if self.held.get(incarnation) is held:
            del self.held[incarnation]

    def look_again(self) -> None:
        """After a transaction that may have leased what arrived for instances that were held before: give back those of
        which no turn is uncommitted, and the store says again what is there for them. Their activities run on."""
        for held in [each for each in self.held.values() if each.turn_of is None]:
            leased = held.leased
            if held.execution is not None:
                self._code.seal(held.execution)
            self.let_go(leased.incarnation)
            self.release(ReleaseInstance(incarnation=leased.incarnation, lease_epoch=leased.lease_epoch))

    def give_back_strangers(
        self,
        unsent: CommitBatch | None,
        instances: frozenset[tuple[int, int]],
        activities: frozenset[tuple[int, int, int, int]],
    ) -> None:
        """Whatever the store says this worker holds, neither this nor the batch ``unsent`` knowing of it."""
        ours = {(held.leased.incarnation, held.leased.lease_epoch) for held in self.held.values()}
        known = {(*key, attempt.leased.lease_epoch) for key, attempt in self.in_hand.items()}
        for held in self.held.values():
            known.update(key_and_epoch(activity) for _, activity in (*held.in_turn, *held.results))
        owed = [self._owed] if unsent is None else [self._owed, Owed(unsent.releases, unsent.finished, unsent.retries)]
        for releases, finished, retries in owed:
            ours.update((each.incarnation, each.lease_epoch) for each in releases)
            known |= reported(finished, retries)
        for incarnation, lease_epoch in instances - ours:
            self.release(ReleaseInstance(incarnation=incarnation, lease_epoch=lease_epoch))
        now_ms = self._store.now_ms()
        self._owed.retries.extend(retry(key, now_ms, failed=False) for key in activities - known)

    def give_all_back(self) -> None:
        """As ``forget_all``, at an orderly stop: the turns that have not run cost no attempt."""
        for held in self.held.values():
            self.release(ReleaseInstance(incarnation=held.leased.incarnation, lease_epoch=held.leased.lease_epoch))
        self.forget_all()

    def forget_all(self) -> None:
        """Nothing is held from here on; what is owed for it is (see ``take_owed``)."""
        for key in list(self.in_hand):
            self.cancel(key, None)
        for held in list(self.held.values()):
            self.drop(held)
        self.runnable.clear()
        self._cache.clear()

    # --- activities ------------------------------------------------------------------------------------------

    def take_activities(self, leased: Iterable[LeasedActivity]) -> list[ActivityAttempt]:
        """Those that the store leased, to be handed out."""
        attempts = []
        for activity in leased:
            definition = self._registry.find_activity(activity.name)
            if definition is None:
                raise RuntimeError(f"leased activity {activity.name}, which is not registered here")
            attempt = attempt_of(activity, definition)
            self._room.take(definition)
            self.in_hand[attempt.key] = attempt
            held = self.held.get(activity.incarnation)
            if held is not None and held.leased.execution_id == activity.execution_id:
                held.running[activity.event_id] = None
            attempts.append(attempt)
        return attempts

    def take_claims(self, held: Held) -> Sequence[ActivityAttempt]:
        """The activities that a turn claimed and that are this worker's now that it is committed."""
        claims, held.claims = held.claims, ()
        for attempt in claims:
            held.running[attempt.leased.event_id] = None
            self.in_hand[attempt.key] = attempt
        return claims

    def hand_out(self, attempts: Sequence[ActivityAttempt]) -> list[ActivityOutcome]:
        """Let them run. Returned are the ends of those whose time is over already."""
        over: list[ActivityOutcome] = []
        timed = [self._in_time(attempt, over) for attempt in attempts]
        self.executor.submit([attempt for attempt in timed if attempt is not None])
        return over

    def _in_time(self, attempt: ActivityAttempt, over: list[ActivityOutcome]) -> ActivityAttempt | None:
        """The attempt with what is left of its total time; None when that is over."""
        leased = attempt.leased
        if leased.total_timeout_s is None:
            return attempt
        left_s = leased.total_timeout_s - (self._store.now_ms() - leased.scheduled_at_ms) / 1000
        timed = self.in_hand[attempt.key] = msgspec.structs.replace(attempt, total_left_s=left_s)
        if left_s <= 0:
            over.append(timed_out(timed, in_total=True))
            return None
        return timed

    def cancel(self, key: ActivityKey, held: Held | None) -> ActivityAttempt | None:
        """Ask an attempt in hand to stop and forget it; of its outcome only the room counts."""
        if held is not None:
            held.running.pop(key[2], None)
        attempt = self.in_hand.pop(key, None)
        if attempt is not None:
            self._counters.activities_cancelled += 1
            self.executor.cancel(key)
        return attempt

    def cancel_all_but(self, ours: frozenset[tuple[int, int, int, int]]) -> None:
        """Cancel what runs and is not, by key and lease epoch, among what the store knows as this worker's."""
        for key, attempt in list(self.in_hand.items()):
            if (*key, attempt.leased.lease_epoch) not in ours:
                held = self.held.get(key[0])
                self.cancel(key, held)
                if held is not None:
                    self.release_if_idle(held)  # it may have been terminated: no turn comes that would let it go
