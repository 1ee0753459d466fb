"""Two workers on one store, stepped by hand under a clock moved by hand: every interleaving can be asked for.

Nothing here has a thread. A *move* is a value; ``Simulation.make`` carries it out. The same moves give the same run.
"""

import contextlib
import itertools
import os
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, cast

import apsw
import msgspec

import duro
from duro.codec import encode_payload
from duro.host.attempts import ActivityAttempt, ActivityContext, ActivityKey, ActivityOutcome
from duro.host.policies import WorkerPolicies
from duro.host.worker import Worker
from duro.model.policies import PolicySources
from duro.model.records import WorkerRecord
from duro.model.turns import CommitBatch, CommitResult, TurnOutcome
from duro.stores.base import StoreDump
from duro.stores.memory import MemoryStore
from duro.telemetry import PruneCounters
from duro.testing import ManualClock
from duro.waiting import FinishNotifier
from tests.support import workload

LEASE_S: Final = 5.0
WORKERS: Final = 2
_TABLES: Final = ["instances", "executions", "history", "messages", "mailbox", "timers", "activities", "requests"]
_ROUNDS_TO_FINISH: Final = 400

StoreKind: TypeAlias = Literal["memory", "sqlite"]

registry = duro.Registry()
registry.activity(workload.add_one)
registry.activity(workload.add_one_in_a_thread)
registry.orchestration(workload.collector)


@registry.orchestration
async def remembers(ctx: duro.OrchestrationContext, life: int) -> list[Any]:
    """[life, and four events], all of it kept in the coroutine only: a wrong one gives a wrong answer."""
    remembered: list[Any] = [life]
    while len(remembered) < 5:
        remembered.append(await ctx.wait_for_event("item"))
    return remembered


@registry.orchestration
async def ends_at_once(ctx: duro.OrchestrationContext) -> None:
    """Its first turn is its last."""


class InlineExecutor:
    """An ``ActivityExecutor`` that runs what it was given when it is told to."""

    def __init__(self, report: Callable[[Sequence[ActivityOutcome]], None]) -> None:
        self._report = report
        self._attempts: dict[ActivityKey, ActivityAttempt] = {}

    def submit(self, attempts: Sequence[ActivityAttempt]) -> None:
        self._attempts.update((attempt.key, attempt) for attempt in attempts)

    def cancel(self, key: ActivityKey) -> None:
        attempt = self._attempts.pop(key, None)
        if attempt is not None:
            self._report([ActivityOutcome(attempt=attempt)])

    def close(self) -> None:
        self._attempts.clear()

    def run_all(self) -> None:
        attempts, self._attempts = self._attempts, {}
        for attempt in attempts.values():
            self._report([ActivityOutcome(attempt=attempt, result=encode_payload(_run(attempt), "result"))])


def _run(attempt: ActivityAttempt) -> Any:
    """The result of an activity that waits for nothing."""
    definition = attempt.definition
    context = ActivityContext(attempt, cast(Any, None))
    result = definition.function(
        context, *definition.signature.arguments(msgspec.Raw(attempt.leased.input.encode()), "input")
    )
    if not definition.is_async:
        return result
    try:
        result.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError(f"activity {definition.name} waits for something")


@dataclass(frozen=True)
class Step:
    """One cycle of a worker, late enough to look for work."""

    worker: int


@dataclass(frozen=True)
class RunActivities:
    worker: int


@dataclass(frozen=True)
class Renew:
    """The worker's lease loop runs once."""

    worker: int


@dataclass(frozen=True)
class Kill:
    """The worker is gone, and another one begins in its place; its lease runs on."""

    worker: int


@dataclass(frozen=True)
class TakeAway:
    """The store takes the worker's leases back, and the worker does not know yet."""

    worker: int


@dataclass(frozen=True)
class Pass:
    ms: int


@dataclass(frozen=True)
class Send:
    """The sender raises its next event for the instance, if it has one left."""

    sender: str
    instance_id: str


@dataclass(frozen=True)
class Reuse:
    """The instance is removed as a purge would, whoever holds it, and a new one is started under its id."""

    instance_id: str


Move: TypeAlias = Step | RunActivities | Renew | Kill | TakeAway | Pass | Send | Reuse


class Simulation:
    """A store of a kind, two workers with a cache of ``cache_size``, and clients. ``instances`` are collectors that
    want ``items`` events of each sender; ``lives`` are instances that remember and may be reused."""

    def __init__(
        self,
        directory: Path,
        kind: StoreKind,
        *,
        cache_size: int,
        instances: Sequence[str] = (),
        lives: Sequence[str] = (),
        items: int = 0,
    ) -> None:
        self.clock = ManualClock()
        self._outcomes: set[TurnOutcome] = set()
        self._ids = partial(next, (f"{number:032x}" for number in itertools.count()))
        url = "memory:" if kind == "memory" else f"sqlite:///{directory / 'duro.db'}"
        self._path = directory / "duro.db"
        first = self._open(url)
        self.stores = [first if kind == "memory" else self._open(url) for _ in range(WORKERS)]
        for store in self.stores if kind == "sqlite" else self.stores[:1]:
            store.commit = partial(self._watched_commit, store.commit)  # type: ignore[method-assign]
        self.client = duro.Client(first, registry=registry, ids=self._ids)
        self._closing = {id(store): store for store in (first, *self.stores)}
        self._options = duro.RuntimeOptions(cache_size=cache_size, lease_s=LEASE_S, poll_interval_s=0.001)
        self.workers = [self._new_worker(number) for number in range(WORKERS)]
        self.sent: dict[str, dict[str, list[int]]] = {}
        self.items = items
        self.lives = dict.fromkeys(lives, 0)
        self._items_of_life: dict[str, list[int]] = {}
        for instance_id in instances:
            self.sent[instance_id] = {sender: [] for sender in workload.SENDERS}
            wanted = items * len(workload.SENDERS)
            self.client.start_orchestration("collector", {"wanted": wanted, "got": []}, instance_id=instance_id)
        for instance_id in lives:
            self._begin_life(instance_id)

    def _open(self, url: str) -> duro.Store:
        return duro.open_store(url, clock=self.clock, synchronous="NORMAL", ids=self._ids)

    def _new_worker(self, number: int) -> Worker:
        worker = Worker(
            self.stores[number],
            registry,
            self._options,
            clock=self.clock,
            ids=self._ids,
            notifier=FinishNotifier(),
            describe=self._describe,
            policies=lambda: WorkerPolicies(PolicySources()),
            prune_counters=PruneCounters(),
        )
        worker.begin(InlineExecutor(worker.report), lambda: None)
        return worker

    def _describe(self, worker_id: str) -> WorkerRecord:
        return WorkerRecord(
            worker_id=worker_id,
            host="here",
            process_id=os.getpid(),
            started_at_ms=self.clock.now_ms(),
            lease_until_ms=0,
            orchestrations=registry.orchestrations,
            activities=registry.activities,
        )

    # --- moves -------------------------------------------------------------------------------------------------

    def make(self, move: Move) -> None:
        match move:
            case Step(worker=number):
                self.clock.advance(2)
                self.workers[number].step()
                self._check_health(number)
            case RunActivities(worker=number):
                cast(InlineExecutor, self.workers[number]._holdings.executor).run_all()
            case Renew(worker=number):
                self.workers[number].renew_step()
            case Kill(worker=number):
                self._bury(number)
                self.workers[number] = self._new_worker(number)
            case TakeAway(worker=number):
                self.stores[number].release_worker(self.workers[number].worker_id)
            case Pass(ms=ms):
                self.clock.advance(ms)
            case Send(sender=sender, instance_id=instance_id) if instance_id in self.lives:
                self._send_to_life(instance_id)
            case Send(sender=sender, instance_id=instance_id):
                self._send(sender, instance_id)
            case Reuse(instance_id=instance_id):
                self._remove(instance_id)
                self.lives[instance_id] += 1
                self._begin_life(instance_id)

    def _bury(self, number: int) -> None:
        """What the death of its process would take with it: its offer to the store and its coroutines."""
        worker = self.workers[number]
        self.stores[number].withdraw_offer(worker.worker_id)
        worker._holdings.forget_all()

    def _send(self, sender: str, instance_id: str) -> None:
        sent = self.sent[instance_id][sender]
        if len(sent) < self.items:
            self.client.raise_event(instance_id, "item", [sender, len(sent)])
            sent.append(len(sent))

    def _begin_life(self, instance_id: str) -> None:
        self._items_of_life[instance_id] = []
        self.client.start_orchestration("remembers", self.lives[instance_id], instance_id=instance_id)

    def _send_to_life(self, instance_id: str) -> None:
        items = self._items_of_life[instance_id]
        if len(items) < 4:
            item = 100 * self.lives[instance_id] + len(items)
            self.client.raise_event(instance_id, "item", item)
            items.append(item)

    def _remove(self, instance_id: str) -> None:
        """Every row of the instance, and nothing else; the store's counters go on."""
        incarnation = self.client.get_instance(instance_id).incarnation
        store = self.client.store
        if isinstance(store, MemoryStore):
            del store._instances[incarnation], store._by_id[instance_id]
            store._unfinished.pop(incarnation, None)
            return
        with contextlib.closing(apsw.Connection(os.fspath(self._path))) as connection, connection:
            for table in _TABLES:
                connection.execute(f"DELETE FROM {table} WHERE incarnation = ?", (incarnation,))

    # --- the end -----------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Send what is left, and let both workers work until every instance has ended.

        Raises:
            AssertionError: an instance does not end, or a life remembers what is not its own.
        """
        for instance_id in self.sent:
            for sender in workload.SENDERS:
                for _ in range(self.items):
                    self._send(sender, instance_id)
        for instance_id in self.lives:
            for _ in range(4):
                self._send_to_life(instance_id)
        waiting = [*self.sent, *self.lives]
        for turn in range(_ROUNDS_TO_FINISH):
            waiting = [each for each in waiting if self.client.get_result(each) is None]
            if not waiting:
                break
            for number in (range(WORKERS), reversed(range(WORKERS)))[turn % 2]:
                for move in (Renew(number), Step(number), RunActivities(number), Step(number), Pass(100)):
                    self.make(move)
        assert not waiting, f"never ended: {[self.client.get_instance(each) for each in waiting]}"
        for instance_id, life in self.lives.items():
            result = self.client.wait_for_orchestration(instance_id)
            assert result.output == [life, *self._items_of_life[instance_id]], result

    def _watched_commit(self, commit: Callable[[CommitBatch], CommitResult], batch: CommitBatch) -> CommitResult:
        """A turn is committed or fenced. The store would refuse one of a wrong coroutine that shows (its events are
        there already), and the worker would replay: seen from outside nothing would have happened."""
        result = commit(batch)
        self._outcomes.update(result.turns)
        return result

    def _check_health(self, number: int) -> None:
        """No turn failed or was refused, and no instance is blocked: the code is right, so a wrong coroutine was
        resumed if one is. (A worker may count a blocked turn: of an instance that was removed after it was
        leased.)"""
        assert self.workers[number].counters.turns_failed == 0, self.workers[number].counters
        assert self._outcomes <= {TurnOutcome.COMMITTED, TurnOutcome.FENCED}, self._outcomes
        blocked = self.client.list_instances(duro.InstanceFilter(blocked=True)).instances
        assert not blocked, blocked

    def dump(self) -> StoreDump:
        return self.client.store.dump()

    def close(self) -> None:
        for number in range(WORKERS):
            self._bury(number)
        for store in self._closing.values():
            store.close()


@contextlib.contextmanager
def simulated(directory: Path, kind: StoreKind, **settings: Any) -> Iterator[Simulation]:
    """A ``Simulation`` in a directory of its own, closed at the end."""
    simulation = Simulation(directory, kind, **settings)
    try:
        yield simulation
    finally:
        simulation.close()


def random_moves(seed: int, count: int, instances: Sequence[str], lives: Sequence[str] = ()) -> list[Move]:
    """Moves that take instances away from workers all the time; ``lives`` are also reused."""
    choice = random.Random(seed)
    moves: list[Move] = []
    for _ in range(count):
        worker = choice.randrange(WORKERS)
        kinds: list[tuple[int, Move]] = [
            (60, Step(worker)),
            (20, RunActivities(worker)),
            (10, Renew(worker)),
            (1, Kill(worker)),
            (1, TakeAway(worker)),
            (10, Pass(choice.choice((1, 20, 50)))),
            (1, Pass(round(LEASE_S * 1000) + 1)),
            (20, Send(choice.choice(workload.SENDERS), choice.choice((*instances, *lives)))),
        ]
        if lives:
            kinds.append((5, Reuse(choice.choice(lives))))
        weights = [weight for weight, _ in kinds]
        moves.append(choice.choices([move for _, move in kinds], weights)[0])
    return moves
