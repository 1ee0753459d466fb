"""Turns of the instances that a worker holds: from what has arrived to what is to be committed."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from duro.codec import decode_message
from duro.host.attempts import ActivityAttempt
from duro.host.cache import ExecutionCache
from duro.host.held import Held
from duro.host.policies import WorkerPolicies
from duro.host.reports import first_attempt
from duro.host.room import ActivityRoom
from duro.model.limits import LEASE_BYTES_MAX
from duro.model.status import ExecutionStatus
from duro.model.turns import ExecutionEnd, LeasedInstance, TurnCommit
from duro.registry import Registry
from duro.replay.engine import Arrivals, Execution, FirstTurn, Identity
from duro.stores.base import Store
from duro.telemetry import HOST_LOGGER, Counters

_LOAD_AT_ONCE: Final = 64
"""Histories read together before their turns."""

SUSPICIOUS_ATTEMPTS: Final = 3
"""From this attempt on, an instance runs in a cycle of its own: if its turn kills the worker, it takes no other with
it."""


class TurnRunner:
    """What a worker does between leasing an instance and committing its turn. ``load`` some, then ``run`` each, and
    make what that gives ``committable``. Whatever becomes of a turn that fails, and of leases, is the worker's."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        *,
        ids: Callable[[], str],
        cache: ExecutionCache,
        room: ActivityRoom,
        policies: Callable[[], WorkerPolicies],
        counters: Counters,
    ) -> None:
        self._store = store
        self._registry = registry
        self._ids = ids
        self._cache = cache
        self._room = room
        self._policies = policies
        self._counters = counters
        self._unknown_names: set[str] = set()
        self.is_stopping = False
        """Whether the worker takes nothing new: turns then claim no activities, and keep no lease for what is next."""

    def load(self, waiting: deque[Held]) -> tuple[list[Held], dict[int, tuple[str, ...]]]:
        """Take some from the left of ``waiting``: as many as are loaded together. Give each a live execution: the
        cached one if it stands where the lease says, else a new one. Returns them, and the histories that new ones have
        to replay first, by incarnation."""
        loaded, missing, history_bytes = list[Held](), list[Held](), 0
        while waiting and len(loaded) < _LOAD_AT_ONCE:
            held = waiting[0]
            leased = held.leased
            if held.execution is None:
                held.execution = self._cache.take(leased.incarnation, leased.execution_id, leased.turn_sequence)
            if held.execution is None:
                held.execution = self._new_execution(leased)
            if leased.input is None and held.execution.turn_sequence < 0:
                history_bytes += leased.history_bytes
                if missing and history_bytes > LEASE_BYTES_MAX:
                    break
                missing.append(held)
            loaded.append(waiting.popleft())
        if not missing:
            return loaded, {}
        keys = [(held.leased.incarnation, held.leased.execution_id) for held in missing]
        histories = self._store.load_histories(keys)
        return loaded, {incarnation: history for (incarnation, _), history in zip(keys, histories, strict=True)}

    def _new_execution(self, leased: LeasedInstance) -> Execution:
        definition = self._registry.find_orchestration(leased.name, leased.version)
        if definition is None:
            raise RuntimeError(f"leased {leased.name} {leased.version}, which is not registered here")
        identity = Identity(
            instance_id=leased.instance_id, incarnation=leased.incarnation, execution_id=leased.execution_id
        )
        return Execution(identity, definition, self._registry)

    def run(self, held: Held, history: Sequence[str] | None) -> TurnCommit | None:
        """The next turn of ``held``, after ``history`` (None: its execution is live, or begins). None: what had arrived
        means nothing to it.

        Raises:
            Exception: whatever is wrong with its history, with its code, or with duro.
        """
        execution, leased = held.execution, held.leased
        if execution is None:
            raise RuntimeError(f"instance {leased.instance_id!r} was not loaded before its turn")
        if history is not None:
            self._counters.executions_replayed += 1
            execution.replay(history)
            execution.turn_sequence = leased.turn_sequence
        turn = self._turn_of(held, execution)
        if turn is None:
            held.waiting = False
            held.execution = None
            self._cache.put(execution)
        return turn

    def committable(self, held: Held, turn: TurnCommit) -> list[TurnCommit]:
        """``turn``, which ``run`` gave, as it is to be committed; and what is to be committed with it."""
        if held.execution is None:
            raise RuntimeError(f"no turn of instance {held.leased.instance_id!r} has run")
        return [self._ran(held, held.execution, turn), *self._run_successor(held, turn)]

    def _ran(self, held: Held, execution: Execution, turn: TurnCommit) -> TurnCommit:
        """``turn`` of ``held`` is to be committed: make it say whose it is, and what it takes from the queues."""
        leased = held.leased
        held.waiting = False
        held.execution = None
        turn.turn_sequence = leased.turn_sequence
        turn.lease_epoch = leased.lease_epoch
        if leased.messages:
            turn.consumed_messages = [message.message_id for message in leased.messages]
        if held.results:
            turn.finished_activities = [activity.event_id for _, activity in held.results]
            held.in_turn, held.results = held.results, ()
        held.turn_of = execution
        held.claims = self._claim(turn)
        turn.keep_lease = self._keep_lease(held, turn)
        if (end := turn.end) is not None and end.status is ExecutionStatus.CONTINUED_AS_NEW:
            turn.policies = self._policies().chain(turn.name, turn.version, end.prune)
        return turn

    def _run_successor(self, held: Held, turn: TurnCommit) -> list[TurnCommit]:
        """The first turn of the next execution, to be committed together with the turn that continued as new: an
        eternal loop then costs one transaction an execution. Not after a lease that was lost before: then one of the
        two may be what kills workers."""
        if not turn.keep_lease or turn.end is None or held.leased.attempt_count >= SUSPICIOUS_ATTEMPTS:
            return []
        successor = Held(leased_next(held.leased, turn, turn.end), waiting=True)
        execution = self._new_execution(successor.leased)
        try:
            first = self._first_turn(successor.leased, execution, Arrivals(cancel_reason=held.leased.cancel_reason))
        except Exception:  # noqa: BLE001 - it runs again in a cycle of its own, where its failure is dealt with
            execution.seal()
            return []
        held.successor = successor
        return [self._ran(successor, execution, first)]

    def _turn_of(self, held: Held, execution: Execution) -> TurnCommit | None:
        leased = held.leased
        messages = [decode_message(message.data) for message in leased.messages] if leased.messages else []
        arrivals = Arrivals(
            messages=messages + [message for message, _ in held.results],
            timers=[timer.event_id for timer in leased.timers],
            mailbox=leased.mailbox,
            cancel_reason=leased.cancel_reason,
        )
        if leased.input is not None:
            return self._first_turn(leased, execution, arrivals)
        return execution.turn(arrivals, self._store.now_ms())

    def _first_turn(self, leased: LeasedInstance, execution: Execution, arrivals: Arrivals) -> TurnCommit:
        first = FirstTurn(input=leased.input or "null", seed=self._ids(), parent=leased.parent)
        return execution.first_turn(first, arrivals, self._store.now_ms())

    def _claim(self, turn: TurnCommit) -> Sequence[ActivityAttempt]:
        """Take the new activities this worker has room for; the rest is for whoever comes."""
        if not turn.activities or self.is_stopping or turn.end is not None:
            return ()
        claims = []
        for activity in turn.activities:
            definition = self._registry.find_activity(activity.name)
            if definition is None:
                self._unknown_activity(activity.name, turn.instance_id)
            elif self._room.take(definition):
                activity.claimed = True
                claims.append(first_attempt(turn, activity, definition))
        return claims

    def _unknown_activity(self, name: str, instance_id: str) -> None:
        """Say so once: it may be another worker's, or a mistake that nobody would hear of."""
        if name not in self._unknown_names:
            self._unknown_names.add(name)
            HOST_LOGGER.warning(
                "instance %r asks for activity %r, which is not registered here; it waits for a worker that has it",
                instance_id,
                name,
            )

    def _keep_lease(self, held: Held, turn: TurnCommit) -> bool:
        if turn.end is not None:
            continued = turn.end.status is ExecutionStatus.CONTINUED_AS_NEW
            runs_here = self._registry.find_orchestration(turn.name, turn.end.next_version or "") is not None
            return continued and runs_here and not self.is_stopping
        return bool(held.claims) or bool(held.running.keys() - turn.cancelled_activities)


def leased_next(leased: LeasedInstance, turn: TurnCommit, end: ExecutionEnd) -> LeasedInstance:
    """The lease of an instance whose ``turn`` continued as new, at the beginning of its next execution."""
    return msgspec.structs.replace(
        leased,
        execution_id=turn.execution_id + 1,
        version=end.next_version or "",
        turn_sequence=turn.turn_sequence + 1,
        attempt_count=0,
        input=end.next_input,
        history_bytes=0,
        messages=(),
        timers=(),
        mailbox=(),
    )
