"""The worker: leases work, runs turns, commits them in groups, hands activities out and takes their results back.

One ``step`` is one cycle, always in this order:

1. collect what activities reported: results of instances this worker holds become arrivals of their next turn, the
   others go to the store;
2. run a turn for every held instance that has arrivals;
3. commit all of that, and lease the next work, in one transaction;
4. only then let effects out: start activities, keep or drop coroutines, wake whoever waits.

An instance stays *held* (leased) after a turn only while this worker has activities of it in hand or its next
execution to start, so a chain of activities costs one commit a step. There is at most one uncommitted turn of an
instance, because step 2 takes all arrivals and step 3 settles it.
"""

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

import msgspec

from duro.clock import Clock
from duro.errors import CommitUnknownError, HistoryFormatError, NondeterminismError, StoreError
from duro.host.attempts import ActivityAttempt, ActivityExecutor, ActivityOutcome
from duro.host.cache import ExecutionCache
from duro.host.held import Held
from duro.host.holdings import Holdings
from duro.host.lookout import Lookout
from duro.host.options import RuntimeOptions
from duro.host.policies import WorkerPolicies
from duro.host.reports import reported
from duro.host.room import ActivityRoom
from duro.host.running import RunningCode
from duro.host.scheduler import FINISHED
from duro.host.settling import FAILED_TURN_DELAY_S, Settlement, outcome_after
from duro.host.turns import SUSPICIOUS_ATTEMPTS, TurnRunner
from duro.model.records import WorkerRecord
from duro.model.status import BlockedKind
from duro.model.turns import (
    CommitBatch,
    CommitResult,
    LeasedInstance,
    LeaseRequest,
    LeaseResult,
    ReleaseInstance,
    TurnCommit,
    TurnOutcome,
)
from duro.registry import Registry
from duro.stores.base import LeaseOffer, Store
from duro.telemetry import HOST_LOGGER, Counters, PruneCounters
from duro.waiting import FinishNotifier

_RETRY_STORE_S: Final = 0.1
"""How long to wait before a store that could not answer (locked, full) is asked again; doubled each time."""

_RETRY_STORE_MAX_S: Final = 5.0

_CYCLES_OF_OTHERS: Final = 10
"""Cycles a suspicious instance waits for others at most."""

_POSTPONED_S: Final = 0.01
"""How much later each of several suspicious instances is leased again than the one before it."""

_LONG_TURN_S: Final = 2.0
"""Turns take milliseconds; one that takes longer than this keeps nobody from stopping."""

_BLOCKING: Final[dict[type[Exception], BlockedKind]] = {
    NondeterminismError: BlockedKind.NONDETERMINISM,
    HistoryFormatError: BlockedKind.HISTORY_UNREADABLE,
}


class Worker:
    """See the module's text. ``step`` is called by one loop; ``wake``, ``report`` and ``begin_stop`` from any
    thread."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        options: RuntimeOptions,
        *,
        clock: Clock,
        ids: Callable[[], str],
        notifier: FinishNotifier,
        describe: Callable[[str], WorkerRecord],
        policies: Callable[[], WorkerPolicies],
        prune_counters: PruneCounters,
    ) -> None:
        self._store = store
        self._registry = registry
        self._options = options
        self._clock = clock
        self._ids = ids
        self._describe = describe
        self._policies = policies
        self.counters = Counters()
        self.worker_id = ids()
        self._wake: Callable[[], None] = lambda: None
        self._code = RunningCode(clock)
        self._cache = ExecutionCache(options.cache_size, self._code.seal)
        self._room = ActivityRoom(registry, options)
        self._holdings = Holdings(
            store, registry, room=self._room, cache=self._cache, code=self._code, counters=self.counters
        )
        self._turns = TurnRunner(
            store, registry, ids=ids, cache=self._cache, room=self._room, policies=policies, counters=self.counters
        )
        self._settlement = Settlement(
            self._holdings,
            cache=self._cache,
            seal=self._code.seal,
            notifier=notifier,
            counters=self.counters,
            prune_counters=prune_counters,
        )
        self._inbox: deque[ActivityOutcome] = deque()
        self._unsent: CommitBatch | None = None
        self._in_doubt = False
        self._cycles_of_others = 0
        self._leases_nothing = False
        """Set while all but one suspicious instance are given back, so that no other comes before that one has run."""
        self._registered = False
        self._former_ids: list[str] = []
        self._store_failures = 0
        self._told_s: float | None = None
        """When the code began of which it was said that it hangs."""
        self._given_up = False
        self._lease_lost = False
        self._lookout = Lookout(store, options.poll_interval_s)
        self._delivered: deque[tuple[str, LeaseResult | None]] = deque()
        """What writes of clients leased for a worker id of ours, as ``Store.offer_lease`` says."""
        self._offered = False
        self._short_of_room = False
        self._check_cancels_at_s = 0.0
        self._cancels_seen: tuple[int, ...] = ()
        self._stop_deadline_s: float | None = None
        self._stopped = False
        names = dict.fromkeys(name for name, _ in registry.orchestrations)
        self._capabilities = registry.orchestrations + tuple((name, "") for name in names)
        self._all_activities = registry.activities

    # --- from outside ----------------------------------------------------------------------------------------

    def begin(self, executor: ActivityExecutor, wake: Callable[[], None]) -> None:
        """Register with the store; the loop may step from here on."""
        self._holdings.executor = executor
        self._wake = wake
        self._be_registered()

    def report(self, outcomes: Sequence[ActivityOutcome]) -> None:
        """Activities have ended. From any thread."""
        self._inbox.extend(outcomes)
        self._wake()

    def notice_write(self) -> None:
        """A client of this runtime has written something that may be work. From any thread."""
        self._lookout.notice_write()
        self._wake()

    def _deliver(self, worker_id: str, leased: LeaseResult | None) -> None:
        """Work of an accepted offer. From any thread."""
        self._delivered.append((worker_id, leased))
        self._wake()

    def begin_stop(self, drain_s: float) -> None:
        """Take no more work, give running activities ``drain_s`` seconds, then give everything back."""
        self._stop_deadline_s = self._clock.monotonic_s() + drain_s
        self._turns.is_stopping = True
        self._wake()

    def abandon(self) -> None:
        """Its loop has never begun or has ended: nothing keeps its lease alive any more."""
        self._stopped = True
        if self._registered:
            self._registered = False
            with suppress(StoreError):  # then the lease expires
                self._store.release_worker(self.worker_id)

    def give_up_turn(self) -> bool:
        """From the thread that stops: when its time is over, and a turn has run for ``_LONG_TURN_S`` by then, the turn
        is left alone. It is not committed, whatever it comes to, and what this worker holds is free when its lease
        expires."""
        began_s, deadline_s = self._code.since_s, self._stop_deadline_s
        if began_s is None or deadline_s is None:
            return False
        if self._clock.monotonic_s() < max(deadline_s, began_s + _LONG_TURN_S):
            return False
        self._given_up = self._stopped = True
        HOST_LOGGER.error(
            "stopping though a turn of instance %r does not end; the leases of this worker will expire",
            self._code.instance_id,
        )
        return True

    @property
    def activities_in_hand(self) -> int:
        return len(self._holdings.in_hand)

    @property
    def executions_cached(self) -> int:
        return len(self._cache)

    # --- the cycle -------------------------------------------------------------------------------------------

    def step(self) -> float | None:
        """One cycle; see the module's text. Returns as ``scheduler.Step``."""
        now_s = self._clock.monotonic_s()
        try:
            delay_s = self._cycle(now_s)
        except CommitUnknownError as error:
            self._in_doubt = True
            return self._store_failed(now_s, error)
        except StoreError as error:
            return self._store_failed(now_s, error)
        except BaseException:  # noqa: BLE001 - whatever it was, memory may be wrong and the store is right
            HOST_LOGGER.exception("the worker failed; it gives everything back and begins anew")
            self._reset()
            return _RETRY_STORE_S
        self._store_failures = 0
        return delay_s

    def _store_failed(self, now_s: float, error: StoreError) -> float:
        """Nothing in memory has changed: the next cycle tries the same again."""
        if self._stop_deadline_s is not None and now_s >= self._stop_deadline_s:
            self._stopped = True
            HOST_LOGGER.error("stopping without the store, which cannot be used; its leases will expire: %s", error)
            return FINISHED
        delay_s: float = min(_RETRY_STORE_S * 2**self._store_failures, _RETRY_STORE_MAX_S)
        self._store_failures = min(self._store_failures + 1, 30)
        HOST_LOGGER.warning("the store cannot be used now, trying again in %g s: %s", delay_s, error)
        return delay_s

    def renew_step(self) -> float | None:
        """Keep this worker's lease alive; a loop of its own, so that a long commit or turn costs no lease.

        A turn that has run for longer than ``turn_timeout_s`` hangs: then the lease is left to expire, for the instance
        must not be held for ever.
        """
        if self._stopped:
            return FINISHED
        began_s = self._code.since_s
        hangs = self._code.for_longer_than(self._options.turn_timeout_s)
        if hangs and began_s != self._told_s:
            self._told_s = began_s
            HOST_LOGGER.error(
                "a turn of instance %r has not ended in %g s: nothing else runs on this worker, whose lease is left to "
                "expire; look for what its code waits for outside of durable calls",
                self._code.instance_id,
                self._options.turn_timeout_s,
            )
        interval_s = self._options.lease_s / 3
        if hangs or not self._registered:
            return min(interval_s, 1.0)
        worker_id = self.worker_id
        try:
            alive = self._renew(worker_id)
        except StoreError as error:
            HOST_LOGGER.warning("the worker's lease could not be renewed: %s", error)
            return min(interval_s, 1.0)
        if not alive and worker_id == self.worker_id and self._registered:
            self._lease_lost = True
            self._wake()
        return interval_s

    def _renew(self, worker_id: str) -> bool:
        lease_ms = round(self._options.lease_s * 1000)
        return self._store.renew_worker(worker_id, lease_ms, threads_stuck=self.counters.threads_stuck)

    def _cycle(self, now_s: float) -> float | None:
        self._be_registered()
        self._take_delivered()
        if self._in_doubt:
            self._settle_doubt()
        self._check_cancels(now_s)
        self._collect()
        if self._unsent is None:
            self._unsent = self._prepare()
        if self._given_up:
            return FINISHED
        batch = self._unsent
        stopping = self._stop_deadline_s is not None
        if stopping:
            self._store.withdraw_offer(self.worker_id)
        began = self._lookout.begin()
        result: CommitResult | None
        if batch is None:
            result = None if stopping or not self._lookout.may_find_work(now_s) else self._lease_only()
        else:
            batch.lease = None if stopping or self._leases_nothing else self._lease_request()
            result = self._store.commit(batch)
            self._unsent = None
            self._settle(batch, result)
        if result is not None:
            more = self._leases_nothing or len(result.leased.instances) >= self._options.turns_per_commit_max
            self._lookout.looked(began, self._clock.monotonic_s(), result.leased.next_ready_at_ms, more=more)
            self._take(result.leased)
        return self._continue_stop(now_s) if stopping else self._delay_s(now_s)

    def _prepare(self) -> CommitBatch | None:
        """Run the turns and gather everything for one commit; None if there is nothing."""
        turns = self._run_turns()
        if not (turns or self._holdings.owes):
            return None
        owed = self._holdings.take_owed()
        return CommitBatch(
            worker_id=self.worker_id,
            token=self._ids(),
            turns=turns,
            releases=owed.releases,
            finished=owed.finished,
            retries=owed.retries,
            prune_terms=self._policies().terms,
            child_terms=self._policies().child_terms,
        )

    def _lease_request(self) -> LeaseRequest:
        room = self._room.to_lease()
        self._short_of_room = room.names != self._all_activities or bool(room.max_of)
        return LeaseRequest(
            orchestrations=self._capabilities,
            activities=room.names,
            instances_max=self._options.turns_per_commit_max,
            activities_max=room.count_max,
            activities_max_of=room.max_of,
        )

    def _lease_only(self) -> CommitResult:
        change = self._store.change_counter()
        leased = self._store.lease(self.worker_id, self._lease_request())
        self._lookout.saw_change(change)
        return CommitResult(store_time_ms=self._store.now_ms(), leased=leased)

    def _delay_s(self, now_s: float) -> float:
        if self._holdings.runnable or self._inbox or self._delivered or self._holdings.owes:
            return 0.0
        delay_s = self._lookout.delay_s(now_s)
        if delay_s:
            self._offer()
        return delay_s

    def _offer(self) -> None:
        """This worker is about to wait: what a client of this process writes may come to it at once."""
        if not self._offered:
            worker_id = self.worker_id
            request = msgspec.structs.replace(self._lease_request(), activities=(), activities_max=0)
            self._store.offer_lease(LeaseOffer(worker_id, request, partial(self._deliver, worker_id)))
            self._offered = True

    def _take_delivered(self) -> None:
        while self._delivered:
            worker_id, leased = self._delivered.popleft()
            self._offered = False
            if worker_id != self.worker_id:
                continue  # of a lease that was lost, and has been given back
            if leased is None:
                self._in_doubt = True
                continue
            for instance in leased.instances:
                if not self._is_of_the_past(instance):
                    self._holdings.take_instance(instance)

    def _is_of_the_past(self, leased: LeasedInstance) -> bool:
        """Whether it was leased before a turn of the same instance was committed, or is to be: that commit looks again
        at what is there for the instance, and brings it."""
        held = self._holdings.held.get(leased.incarnation)
        if held is None:
            return False
        known = held.leased
        later = (known.lease_epoch, known.turn_sequence) > (leased.lease_epoch, leased.turn_sequence)
        return later or held.turn_of is not None

    # --- 1: collect ------------------------------------------------------------------------------------------

    def _collect(self) -> None:
        if self._holdings.collect(self._inbox) and self._short_of_room:
            self._lookout.is_due = True  # there is room for another one

    # --- 2: turns --------------------------------------------------------------------------------------------

    def _run_turns(self) -> list[TurnCommit]:
        if not self._holdings.runnable:
            self._leases_nothing = False
            return []
        waiting = deque(self._choose())
        turns: list[TurnCommit] = []
        until_s = self._clock.monotonic_s() + self._options.lease_s / 6
        try:
            while waiting and not (turns and self._clock.monotonic_s() > until_s):
                loaded, histories = self._turns.load(waiting)
                for held in loaded:
                    began_s = self._code.begins(held.leased.instance_id)
                    if turns and began_s > until_s and held.leased.incarnation not in histories:
                        continue  # what was read for the others would have to be read again
                    self._holdings.runnable.pop(held.leased.incarnation, None)
                    turns += self._run_turn(held, histories.get(held.leased.incarnation))
        except StoreError:
            if not turns:
                raise
            HOST_LOGGER.warning("some histories cannot be read now", exc_info=True)
        finally:
            self._code.ends()
        return turns

    def _choose(self) -> list[Held]:
        """Whose turn it is: all that have something, except those whose turns may have killed workers. Each of these
        runs alone, in an order that changes with every lease, when the others have been given back."""
        runnable = [self._holdings.held[incarnation] for incarnation in self._holdings.runnable]
        safe = [held for held in runnable if held.leased.attempt_count < SUSPICIOUS_ATTEMPTS]
        others_given_back, self._leases_nothing = self._leases_nothing, False
        if len(safe) == len(runnable):
            return safe
        if safe and not others_given_back and self._cycles_of_others < _CYCLES_OF_OTHERS:
            self._cycles_of_others += 1
            return safe
        self._cycles_of_others = 0
        suspicious = [held for held in runnable if held.leased.attempt_count >= SUSPICIOUS_ATTEMPTS]
        if len(suspicious) == 1:
            return suspicious
        chosen = min(suspicious, key=lambda held: hash((held.leased.incarnation, held.leased.lease_epoch)))
        self._leases_nothing = True
        self._postpone([held for held in suspicious if held is not chosen])
        return []

    def _postpone(self, innocent: Sequence[Held]) -> None:
        """Give suspicious instances back before another one of them runs: were they still leased when that one kills
        the worker, they would be a step nearer to being set aside, and their turns have not even begun. They come
        back one after the other."""
        now_ms = self._store.now_ms()
        for place, held in enumerate(innocent, 1):
            self._holdings.drop(held)
            self._holdings.release(
                ReleaseInstance(
                    incarnation=held.leased.incarnation,
                    lease_epoch=held.leased.lease_epoch,
                    retry_at_ms=now_ms + round(place * _POSTPONED_S * 1000),
                )
            )

    def _run_turn(self, held: Held, history: Sequence[str] | None) -> list[TurnCommit]:
        """What is to be committed: nothing, a turn, or a turn and the first one of the next execution."""
        try:
            turn = self._turns.run(held, history)
        except Exception as error:  # noqa: BLE001 - sorted below; one instance must not stop the others
            self._turn_failed(held, error)
            return []
        if turn is None:
            self._holdings.release_if_idle(held)
            return []
        return self._turns.committable(held, turn)

    def _turn_failed(self, held: Held, error: Exception) -> None:
        """Abandon the turn. Code and history that differ block the instance and cost no attempt; anything else is a
        failure of duro or of the machine, and counts."""
        leased = held.leased
        blocked = _BLOCKING.get(type(error))
        retry_s = self._options.blocked_retry_s if blocked else FAILED_TURN_DELAY_S * leased.attempt_count
        if blocked:
            self.counters.turns_blocked += 1
            HOST_LOGGER.warning("instance %r is blocked: %s", leased.instance_id, error)
        else:
            self.counters.turns_failed += 1
            HOST_LOGGER.error("a turn of instance %r failed", leased.instance_id, exc_info=error)
        self._holdings.drop(held)
        self._holdings.release(
            ReleaseInstance(
                incarnation=leased.incarnation,
                lease_epoch=leased.lease_epoch,
                count_attempt=blocked is None,
                blocked=blocked,
                reason=str(error) if blocked else "",
                retry_at_ms=self._store.now_ms() + round(retry_s * 1000),
            )
        )

    # --- 4: settle -------------------------------------------------------------------------------------------

    def _settle(self, batch: CommitBatch, result: CommitResult) -> None:
        if ready := self._settlement.settle(batch, result):
            self._submit(ready)

    def _settle_doubt(self) -> None:
        """A transaction reported an error and may have happened: look whether it did. If it did, its outcomes are
        settled now; if not, the same batch is sent again. Leases that it took and nobody remembers are given back, and
        what it leased for instances that were held already is looked for again."""
        self.counters.commits_unknown += 1
        instances = self._store.held_instances(self.worker_id)
        activities = self._store.held_activities(self.worker_id)
        if (batch := self._unsent) is not None:
            last = self._store.lookup_commit([turn.incarnation for turn in batch.turns])
            turns = [outcome_after(last.get(turn.incarnation), turn, batch.token) for turn in batch.turns]
            still_held = any((each.incarnation, each.lease_epoch) in instances for each in batch.releases) or bool(
                reported(batch.finished, batch.retries) & activities
            )
            if TurnOutcome.COMMITTED in turns or not (batch.turns or still_held):
                self._unsent = None
                self._settle(batch, CommitResult(store_time_ms=self._store.now_ms(), turns=turns))
        self._in_doubt = False
        self._lookout.is_due = True
        self._holdings.look_again()
        self._holdings.give_back_strangers(self._unsent, instances, activities)

    # --- leases ----------------------------------------------------------------------------------------------

    def _take(self, leased: LeaseResult) -> None:
        for instance in leased.instances:
            self._holdings.take_instance(instance)
        if attempts := self._holdings.take_activities(leased.activities):
            self._submit(attempts)

    # --- activities ------------------------------------------------------------------------------------------

    def _submit(self, attempts: Sequence[ActivityAttempt]) -> None:
        if over := self._holdings.hand_out(attempts):
            self.report(over)

    def _check_cancels(self, now_s: float) -> None:
        """Cancel running activities that the store no longer knows as ours."""
        if not self._holdings.in_hand or now_s < self._check_cancels_at_s:
            return
        self._check_cancels_at_s = now_s + self._options.cancel_check_s
        change = self._store.change_counter()
        if change == self._cancels_seen:
            return
        self._holdings.cancel_all_but(self._store.held_activities(self.worker_id))
        self._cancels_seen = change

    # --- life ------------------------------------------------------------------------------------------------

    def _be_registered(self) -> None:
        """Be registered, and nobody else: what was held under former ids is given back first. Raises StoreError."""
        if self._lease_lost:
            HOST_LOGGER.warning("worker %s lost its lease: its work was taken over; beginning anew", self.worker_id)
            self._reset()
        while self._former_ids:
            self._store.release_worker(self._former_ids[0])
            del self._former_ids[0]
        if not self._registered:
            self._store.register_worker(self._describe(self.worker_id), round(self._options.lease_s * 1000))
            self._registered = True
        elif self._store_failures and not self._renew(self.worker_id):
            self._lease_lost = True  # it may have expired while the store was away; the next cycle begins anew
            raise StoreError("the worker's lease was lost while the store did not answer")

    def _reset(self) -> None:
        """Forget everything, and go on as a new worker once the store has taken back what the old one held."""
        self.counters.worker_resets += 1
        self._registered = self._lease_lost = self._in_doubt = False
        self._former_ids.append(self.worker_id)
        self.worker_id = self._ids()
        self._unsent = None
        self._offered = self._leases_nothing = False
        self._store.withdraw_offer(self._former_ids[-1])
        self._holdings.forget_all()
        self._holdings.take_owed()  # the store takes all of it back
        self._lookout.is_due = True

    def _continue_stop(self, now_s: float) -> float:
        """Wait for what runs until the deadline, then give everything back."""
        deadline_s = self._stop_deadline_s or now_s
        holdings = self._holdings
        busy = bool(holdings.in_hand) or bool(holdings.runnable) or bool(self._inbox)
        if (busy and now_s < deadline_s) or holdings.owes:
            nothing_to_do = not (holdings.runnable or self._inbox or holdings.owes)
            return max(0.001, min(0.05, deadline_s - now_s)) if nothing_to_do else 0.0
        holdings.give_all_back()
        if holdings.owes:  # one more cycle commits it
            return 0.0
        self._store.release_worker(self.worker_id)
        self._registered = False
        self._stopped = True
        return FINISHED
