"""A store, a clock that is moved by hand, and those who use it: what scenarios are written with.

What a scenario does must come out the same when it is done again from any state in between, as an operator would who
repeats a command that gave no answer; ``Stage`` has what is needed for that.
"""

import itertools
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

import duro
from duro.errors import StoreError
from duro.host.attempts import ActivityAttempt
from duro.host.policies import WorkerPolicies
from duro.host.scheduler import FINISHED
from duro.host.worker import Worker
from duro.model.policies import PolicySources
from duro.model.records import WorkerRecord
from duro.model.status import ExecutionStatus
from duro.model.turns import LeasedInstance
from duro.stores.sqlite import SqliteStore
from duro.telemetry import HOST_LOGGER, PruneCounters
from duro.testing.builders import continued_as_new, start_request
from duro.testing.clock import START_MS, ManualClock
from duro.testing.scripted import ScriptedWorker
from duro.waiting import FinishNotifier
from tests.support.simulation import InlineExecutor

FILE: Final = "duro.db"
GRACE_MS: Final = 3_600_000
_LEASE_MS: Final = 30_000
_STEPS_MAX: Final = 1_000
_PATIENCE: Final = 30
"""How often a worker may say that its store does not answer before it is stopped."""

Faults = Callable[[str], None]


class Stage:
    """``said``: called whenever somebody is told that all that was done so far has happened."""

    def __init__(
        self,
        directory: Path,
        said: Callable[[], None] = lambda: None,
        faults: Faults | None = None,
        now_ms: int = START_MS + 2 * _LEASE_MS,
        busy_timeout_ms: int = 5_000,
    ) -> None:
        self.directory = directory
        self.said = said
        self.clock = ManualClock(now_ms)
        path = directory / FILE
        self._ids = itertools.count(1)
        self.store = SqliteStore.open(
            path,
            url=f"sqlite:///{path}",
            clock=self.clock,
            new_id=lambda: "store",
            faults=faults,
            busy_timeout_ms=busy_timeout_ms,
            allow_network_fs=True,  # which spares looking
        )
        self.client = duro.Client(self.store, ids=self.new_id)
        self._worker: ScriptedWorker | None = None
        self._life = 1

    def new_id(self) -> str:
        return f"{self._life:016x}{next(self._ids):016x}"

    def close(self) -> None:
        self.store.close()

    def begin_again(self, life: int = 2) -> None:
        """After a cut: whoever worked is gone, and what he held is given back when his lease is over. ``life``: the
        first was the one that was disturbed; each has ids of its own."""
        self.clock.advance(2 * _LEASE_MS * (life - 1))
        self.store.release_expired()
        self._life, self._worker = life, None

    # --- turns that are written down ---------------------------------------------------------------------------

    @property
    def worker(self) -> ScriptedWorker:
        """One who does as he is told."""
        if self._worker is None:
            self._worker = ScriptedWorker(self.store, f"worker-{self._life}", lease_ms=_LEASE_MS)
        return self._worker

    def start(self, *instance_ids: str) -> None:
        self.store.start_instances([start_request(each) for each in instance_ids])

    def take(self, instance_id: str) -> LeasedInstance:
        """Lease all that is ready, and keep only this."""
        leased = {each.instance_id: each for each in self.worker.lease().instances}
        for other in sorted(leased.keys() - {instance_id}):
            self.worker.release(leased[other])
        return leased[instance_id]

    def execution(self, instance_id: str) -> int:
        """The current one."""
        record = self.store.get_instance(instance_id)
        assert record is not None
        return record.execution_id

    def runs(self, instance_id: str) -> bool:
        record = self.store.get_instance(instance_id)
        return record is not None and record.completed_at_ms is None

    def incarnation(self, instance_id: str) -> int:
        record = self.store.get_instance(instance_id)
        assert record is not None
        return record.incarnation

    def go_on(self, instance_id: str, until: int, **fields: Any) -> None:
        """It continues as new until its execution has this number; ``fields`` are those of the turns."""
        while self.execution(instance_id) < until:
            self.worker.run(self.take(instance_id), continued_as_new(), **fields)

    # --- programs that run -------------------------------------------------------------------------------------

    def run(self, registry: duro.Registry, until: Callable[[], bool]) -> None:
        """A worker of the host, stepped by hand, until all is as wanted."""
        worker = Worker(
            self.store,
            registry,
            duro.RuntimeOptions(lease_s=_LEASE_MS / 1000, poll_interval_s=0.001),
            clock=self.clock,
            ids=self.new_id,
            notifier=FinishNotifier(),
            describe=lambda worker_id: _record(worker_id, registry, self.clock),
            policies=lambda: WorkerPolicies(PolicySources()),
            prune_counters=PruneCounters(),
        )
        executor = _Executor(worker, self.said)
        with _Listening() as heard:
            worker.begin(executor, lambda: None)
            while not self._has_come(until):
                self.clock.advance(10)
                worker.step()
                executor.run_all()
                heard.steps += 1
                if heard.steps == _STEPS_MAX or len(heard.problems) == _PATIENCE:
                    self._stop(worker)
                    heard.explain()
        self.store.withdraw_offer(worker.worker_id)

    @staticmethod
    def _has_come(until: Callable[[], bool]) -> bool:
        try:
            return until()
        except StoreError:  # who looks cannot do so just now
            return False

    def _stop(self, worker: Worker) -> None:
        worker.begin_stop(0.0)
        for _ in range(_STEPS_MAX):
            self.clock.advance(10)
            if worker.step() == FINISHED:
                return
        raise AssertionError("a worker that was told to stop goes on")

    def ended(self, instance_id: str) -> bool:
        record = self.store.get_instance(instance_id)
        return record is not None and str(record.status) == ExecutionStatus.COMPLETED


class _Listening(logging.Handler):
    """Hears what workers say, and nobody else does."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.steps = 0
        self.problems: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not isinstance(error, StoreError):
            raise AssertionError(f"a worker met an error that is not one of the store: {error!r}") from error
        self.problems.append(record.getMessage())

    def explain(self) -> NoReturn:
        """Raises: what a worker that waits for its store said; that it said nothing is an AssertionError."""
        assert self.problems, "it never ended"
        raise StoreError(self.problems[-1])

    def __enter__(self) -> "_Listening":
        HOST_LOGGER.addHandler(self)
        self._propagated, HOST_LOGGER.propagate = HOST_LOGGER.propagate, False
        return self

    def __exit__(self, *_: object) -> None:
        HOST_LOGGER.propagate = self._propagated
        HOST_LOGGER.removeHandler(self)


class _Executor(InlineExecutor):
    """An activity is somebody who is told: whatever it does follows from what has happened so far."""

    def __init__(self, worker: Worker, said: Callable[[], None]) -> None:
        super().__init__(worker.report)
        self._said = said

    def submit(self, attempts: Sequence[ActivityAttempt]) -> None:
        super().submit(attempts)
        self._said()


def _record(worker_id: str, registry: duro.Registry, clock: ManualClock) -> WorkerRecord:
    return WorkerRecord(
        worker_id=worker_id,
        host="here",
        process_id=1,
        started_at_ms=clock.now_ms(),
        lease_until_ms=0,
        orchestrations=registry.orchestrations,
        activities=registry.activities,
    )
