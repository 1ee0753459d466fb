"""A store, everybody who uses it, and time. ``World.make`` carries out a move; ``World.finish`` ends the run: faults
stop, and everything comes to its end."""

import contextlib
import os
import random
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, cast

import apsw
import msgspec

import duro
from duro.clock import Clock
from duro.codec import encode_payload
from duro.errors import (
    CommitUnknownError,
    DuroError,
    ExecutionNotFoundError,
    ExecutionPrunedError,
    InstanceExistsError,
    StoreError,
)
from duro.host.attempts import ActivityAttempt, ActivityContext, ActivityKey, ActivityOutcome
from duro.host.maintenance import LEASE_MS as MAINTENANCE_LEASE_MS
from duro.host.scheduler import FINISHED, Step
from duro.maintenance.archive.reader import Archive
from duro.model.failure import FailureDetails
from duro.model.families import OrphanFilter, PurgeOptions, RemovalPlan
from duro.model.pruning import PrunePlan
from duro.model.removal import PruneScope
from duro.model.status import InstanceStatus
from duro.stores.base import Store, StoreDump
from duro.stores.memory import MemoryStore
from duro.testing import check_invariants
from tests.support.simulated.chronicle import WAITED_FOR, Chronicle, Configured, Intent, Life, Seen, Sight
from tests.support.simulated.clocks import SkewedClock, Time
from tests.support.simulated.gate import Died, Gate
from tests.support.simulated.moves import CLIENTS, LEASE_MS, OPERATORS, WORKERS, Circumstances, FaultKind, Move
from tests.support.simulated.orchestrations import NEWER, OLDER, expected

_TRIES_OF_A_CLIENT: Final = 3
_ROUNDS_TO_FINISH: Final = 300
_SWEEPS_TO_REST: Final = 40
_MOVES_BETWEEN_CHECKS: Final = 12

CONFIGURATION_FILES: Final = {
    "silent": "",
    "keeping": "[pruning]\ndefault_keep_last = 2\n",
    "settled": '[pruning]\ndefault_keep_last = 1\nchildren = "settled"\n',
    "interval": '[pruning.default]\nkeep_last = 1\nkeep_within = "1s"\nevery_n_executions = 2\ninterval = "2s"\n',
    "sweeping": (
        "[pruning]\ndefault_keep_last = 2\n"
        '[purge]\nkeep_within = "4s"\ninterval = "1s"\n'
        '[orphans]\nenabled = true\nmin_age = "3s"\ninterval = "1s"\n'
    ),
    "archive": (
        '[pruning]\ndefault_keep_last = 1\nchildren = "settled"\n'
        '[purge]\nkeep_within = "8s"\ninterval = "1s"\n'
        '[archive]\nenabled = true\ndirectory = "archive"\ninterval = "1s"\n'
    ),
}
_CONFIGURED: Final = {
    "silent": Configured(),
    "keeping": Configured(keep_last=2),
    "settled": Configured(keep_last=1, settled=True),
    "interval": Configured(keep_last=1, keep_within_s=1),
    "sweeping": Configured(keep_last=2, purge_within_s=4, orphan_age_s=3),
    "archive": Configured(keep_last=1, settled=True, purge_within_s=8, archive=True),
}


class Broken(AssertionError):
    """Something is not as it must be."""


class _Loop:
    """A step that is called by hand."""

    def __init__(self, step: Step) -> None:
        self.step = step

    def wake(self) -> None:
        """It is called when it is its turn."""

    def join(self, timeout_s: float | None = None) -> bool:
        for _ in range(1_000):
            if self.step() == FINISHED:
                return True
        raise AssertionError("the loop does not end")


class _Scheduler:
    """Keeps the loops of one runtime, by name."""

    def __init__(self, clock: SkewedClock) -> None:
        self.clock: Clock = clock
        self.loops: dict[str, _Loop] = {}

    def start(self, name: str, step: Step) -> _Loop:
        self.loops[name] = _Loop(step)
        return self.loops[name]


class _Executor:
    """An ``ActivityExecutor`` that runs an attempt when it is told to."""

    def __init__(self, report: Callable[[Sequence[ActivityOutcome]], None], world: "World") -> None:
        self._report = report
        self._world = world
        self.attempts: dict[ActivityKey, ActivityAttempt] = {}

    def submit(self, attempts: Sequence[ActivityAttempt]) -> None:
        for attempt in attempts:
            self._world.begins(attempt.key)
            self.attempts[attempt.key] = attempt

    def cancel(self, key: ActivityKey) -> None:
        attempt = self.attempts.pop(key, None)
        if attempt is not None:
            self._report([ActivityOutcome(attempt=attempt)])
            self._world.count("an activity is cancelled")

    def close(self) -> None:
        self.attempts.clear()

    def run(self, index: int | None) -> None:
        """The attempt of this place, or all."""
        keys = list(self.attempts)
        for key in keys if index is None else keys[index : index + 1]:
            attempt = self.attempts.pop(key)
            self._world.ran(attempt)
            self._report([_outcome(attempt)])


def _outcome(attempt: ActivityAttempt) -> ActivityOutcome:
    """Of an activity that waits for nothing."""
    definition = attempt.definition
    context = ActivityContext(attempt, cast(Any, None))
    result = definition.function(
        context, *definition.signature.arguments(msgspec.Raw(attempt.leased.input.encode()), "input")
    )
    try:
        result.send(None)
    except StopIteration as stop:
        return ActivityOutcome(attempt=attempt, result=encode_payload(stop.value, "result"))
    except RuntimeError as error:
        failure = FailureDetails(type="RuntimeError", message=str(error))
        return ActivityOutcome(attempt=attempt, failure=failure, error_names=("RuntimeError",))
    raise AssertionError(f"activity {definition.name} waits for something")


class _Worker:
    """One worker process, while it lives."""

    def __init__(
        self, name: str, gate: Gate, runtime: duro.Runtime, scheduler: _Scheduler, executor: _Executor
    ) -> None:
        self.name = name
        self.gate = gate
        self.runtime = runtime
        self.scheduler = scheduler
        self.executor = executor

    def step(self, loop: str) -> float | None:
        return self.scheduler.loops[loop].step()


class World:
    """See the module. ``files``: where the configuration files are; ``directory``: what this run may write to."""

    def __init__(self, seed: int, circumstances: Circumstances, files: Path, directory: Path) -> None:
        self.circumstances = circumstances
        self.time = Time()
        self.directory = directory
        self.chronicle = Chronicle(_CONFIGURED[circumstances.configuration])
        self.trace: list[str] | None = None
        self._ids = {actor: random.Random(f"ids {seed} {actor}") for actor in ("store", *WORKERS, *CLIENTS, *OPERATORS)}
        self._config = files / f"{circumstances.configuration}.toml"
        if circumstances.configuration == "archive":
            self._config = directory / "runtime_config.toml"
            self._config.write_text(CONFIGURATION_FILES["archive"])
        self._busy: list[str] = []
        self._disk_fails: tuple[int, FaultKind] | None = None
        self._moves = 0
        self._ran: set[tuple[ActivityKey, int]] = set()
        self._sent = 0
        self._stores: list[Store] = []
        self._first = self._open("store", SkewedClock(self.time))
        self._skews: dict[str, int] = {}
        self._gates: dict[str, Gate] = {}
        self.clients: dict[str, duro.Client] = {}
        self.workers: dict[str, _Worker | None] = {}
        self._plans: dict[str, PrunePlan | RemovalPlan] = {}
        self._meant: dict[str, Intent] = {}
        self._runs: list[str] = []
        self._holds: list[str] = []

    def begin(self) -> None:
        """Everybody is there, and nothing has happened."""
        for actor in (*CLIENTS, *OPERATORS):
            self._enter(actor)
        for worker in WORKERS[: self.circumstances.workers]:
            self._begin(worker)

    # --- actors ----------------------------------------------------------------------------------------------------

    def _open(self, actor: str, clock: SkewedClock) -> tuple[Store, SkewedClock]:
        """Memory is one store for all; a file is opened by everybody who uses it."""
        if self.circumstances.store == "memory" and self._stores:
            return self._first
        url = "memory:" if self.circumstances.store == "memory" else f"sqlite:///{self.directory / 'duro.db'}"
        store = duro.open_store(url, clock=clock, synchronous="NORMAL", ids=self._ids_of(actor))
        self._stores.append(store)
        return store, clock

    def _ids_of(self, actor: str) -> Callable[[], str]:
        draw = self._ids[actor].getrandbits
        return lambda: f"{draw(128):032x}"

    def _gate(self, actor: str) -> Gate:
        store, clock = self._open(actor, SkewedClock(self.time))
        gate = self._gates[actor] = Gate(actor, store, clock, self)
        gate.skew_ms = self._skews.get(actor, 0)
        return gate

    def _enter(self, actor: str) -> None:
        """A client or an operator begins."""
        gate = self._gate(actor)
        self.clients[actor] = duro.Client(gate.as_store(), registry=NEWER, ids=self._ids_of(actor))

    def _begin(self, name: str) -> None:
        """A worker process begins."""
        number = WORKERS.index(name)
        gate = self._gate(name)
        clock = SkewedClock(self.time)
        scheduler = _Scheduler(clock)
        made: list[_Executor] = []

        def new_executor(_: Any, report: Callable[[Sequence[ActivityOutcome]], None]) -> _Executor:
            made.append(_Executor(report, self))
            return made[0]

        runtime = duro.Runtime(
            gate.as_store(),
            NEWER if self.circumstances.newer[number] else OLDER,
            duro.RuntimeOptions(
                cache_size=self.circumstances.cache_size,
                turns_per_commit_max=self.circumstances.turns_per_commit_max,
                lease_s=LEASE_MS / 1000,
                poll_interval_s=0.001,
                cancel_check_s=0.02,
                blocked_retry_s=1,
                sweep_interval_s=2,
                max_concurrent_activities=4,
            ),
            config=self._config,
            scheduler=scheduler,
            ids=self._ids_of(name),
            new_executor=new_executor,
        )
        runtime.start()
        self.workers[name] = _Worker(name, gate, runtime, scheduler, made[0])

    def _bury(self, name: str) -> None:
        """What the death of a process takes with it."""
        worker = self.workers[name]
        self.workers[name] = None
        if worker is None:
            return
        inner = worker.runtime._running_worker()
        worker.gate.store.withdraw_offer(inner.worker_id)
        for held in inner._holdings.held.values():
            for execution in (held.execution, held.turn_of):
                if execution is not None:
                    execution.seal()
            if held.successor is not None and held.successor.turn_of is not None:
                held.successor.turn_of.seal()
        inner._cache.clear()
        worker.gate.dead = True
        if worker.runtime._maintenance is not None:
            worker.runtime._maintenance._archives.close()

    # --- what gates, executors and disks tell ------------------------------------------------------------------------

    def count(self, rare: str) -> None:
        self.chronicle.count(rare)

    def in_between(self, move: Move) -> None:
        if len(self._busy) < 3:
            self.count("somebody gets in between")
            self._make(move)

    def applied(
        self, actor: str, call: str, arguments: tuple[Any, ...], keywords: dict[str, Any], result: Any, now_ms: int
    ) -> None:
        if self.trace is not None:
            self._write(f"    {actor} {call} {now_ms} {arguments!r} {keywords!r} -> {result!r}")
        try:
            if self.chronicle.applied(actor, call, arguments, keywords, result, now_ms):
                self.chronicle.saw(self.look())
        except Exception:  # raised here it would be taken for an error of the store
            self.chronicle.broken(traceback.format_exc())

    def _write(self, line: str) -> None:
        """Into the trace, without what is another one in every process."""
        assert self.trace is not None, "it is traced"
        for path, name in ((self.directory, "DIRECTORY"), (self._config.parent, "FILES")):
            line = line.replace(str(path), name)
        self.trace.append(line.replace(f"process_id={os.getpid()},", ""))

    def disk_point(self) -> FaultKind | None:
        if not self._busy or self._busy[-1] not in self._gates:
            return None
        fault = self._gates[self._busy[-1]].point()
        if self._disk_fails is not None:
            steps_left, kind = self._disk_fails
            self._disk_fails = (steps_left - 1, kind) if steps_left else None
            fault = fault or (None if steps_left else kind)
        if fault is not None:
            self.count("a crash at a step of a disk" if fault.startswith("crash") else "a step of a disk fails")
        return fault

    def die(self) -> None:
        self._gates[self._busy[-1]].die()

    def error(self, what: str) -> None:
        self.chronicle.broken(f"an error was logged: {what}")

    def begins(self, key: ActivityKey) -> None:
        """Nothing begins before it is durable."""
        if key not in self.chronicle.scheduled:
            self.chronicle.broken(f"activity {key} begins, and no commit has recorded it")

    def ran(self, attempt: ActivityAttempt) -> None:
        key = attempt.key, attempt.leased.attempt
        if key in self._ran:
            self.count("an attempt of an activity runs again")
        if attempt.leased.attempt > 1:
            self.count("an activity is tried again")
        self._ran.add(key)

    def look(self) -> Sight:
        store = self._first[0]
        if isinstance(store, MemoryStore):
            return Sight(
                {number: _seen(instance) for number, instance in store._instances.items()},
                {number: _seen(removed.instance, removed.tree) for number, removed in store._removed.items()},
            )
        return _look_at(self.directory / "duro.db")

    # --- moves -----------------------------------------------------------------------------------------------------

    def make(self, move: Move) -> None:
        """Raises Broken."""
        self._make(move)
        self._moves += 1
        self.check(whole=self._moves % _MOVES_BETWEEN_CHECKS == 0)

    def check(self, *, whole: bool) -> None:
        """Raises Broken: something is not as it must be."""
        found = self.chronicle.findings
        for worker in self.workers.values():
            if worker is not None and worker.runtime.counters.turns_failed:
                found.append("a turn failed inside duro")
        if found:
            raise Broken("\n".join(found))
        if whole:
            try:
                check_invariants(self.dump())
            except AssertionError as error:
                raise Broken(str(error)) from None

    def _make(self, move: Move) -> None:
        if self.trace is not None:
            self.trace.append(f"{'  ' * len(self._busy)}{move}")
        if move.actor in self._busy:
            return
        self._busy.append(move.actor)
        try:
            if move.actor == "weather":
                self._weather(move)
            elif move.actor in WORKERS:
                self._of_worker(move)
            elif move.actor in CLIENTS:
                self._of_other(move, self._client_does)
            else:
                self._of_other(move, self._operator_does)
        finally:
            self._busy.pop()

    def _weather(self, move: Move) -> None:
        match move.what, move.arguments:
            case "pass", (ms,):
                self.time.advance(ms)
            case "step", (ms,):
                self.count("the clock is set back" if ms < 0 else "the clock is set forward")
                self.time.step(ms)
            case "disk fails", (steps, kind):
                self._disk_fails = steps, kind
            case "skew", (actor, ms):
                self._skews[actor] = ms
                if actor in self._gates:
                    self._gates[actor].skew_ms = ms

    def _of_worker(self, move: Move) -> None:
        name = move.actor
        if name not in WORKERS[: self.circumstances.workers]:
            return
        worker = self.workers[name]
        try:
            if worker is None:
                self._begin(name)
                return
            worker.gate.begin(move.during)
            self._worker_does(worker, move)
        except Died:
            self.count("a worker dies in the middle of something")
            self._bury(name)

    def _worker_does(self, worker: _Worker, move: Move) -> None:
        resets = worker.runtime.counters.worker_resets
        match move.what, move.arguments:
            case "work", ():
                self.time.advance(2)
                worker.step("duro-worker")
            case "cycle", ():
                for _ in range(2):
                    self.time.advance(2)
                    worker.step("duro-worker")
                    worker.executor.run(None)
                worker.step("duro-worker")
            case "run", (index,):
                worker.executor.run(index)
            case "renew", ():
                worker.step("duro-lease")
            case "sweep", ():
                self.time.advance(1_001)
                for _ in range(6):
                    worker.step("duro-sweep")
            case "watch", ():
                worker.step("duro-config")
            case "kill", ():
                self._bury(worker.name)
            case "stop", ():
                worker.runtime.stop(drain_s=0)
                self.workers[worker.name] = None
                self.count("a worker stops")
        if worker.gate.dead and self.workers[worker.name] is worker:
            raise Died
        if worker.runtime.counters.worker_resets > resets:
            self.count("a worker begins anew")

    def _of_other(self, move: Move, does: Callable[[duro.Client, Move], None]) -> None:
        gate = self._gates[move.actor]
        gate.begin(move.during)
        try:
            does(self.clients[move.actor], move)
        except Died:
            self.count("a client dies in the middle of something")
            self._enter(move.actor)
        except DuroError as error:
            self.count(f"refused: {type(error).__name__}")
            if self.trace is not None:
                self._write(f"    {type(error).__name__}: {error}")

    # --- clients ---------------------------------------------------------------------------------------------------

    def _client_does(self, client: duro.Client, move: Move) -> None:
        request_id = f"request-{move.actor}-{self._sent}"
        self._sent += 1
        match move.what, move.arguments:
            case "start", (kind, instance_id, given):
                self._start(client, kind, instance_id, given, request_id)
            case "raise", (instance_id,):
                life = self.chronicle.by_id.get(instance_id)
                name = WAITED_FOR.get("" if life is None else life.name, "item")
                token = f'"{move.actor} {self._sent}"'
                data = msgspec.json.decode(token)
                _answered(lambda: client.raise_event(instance_id, name, data, request_id=request_id))
                if not any(token in (*each.events, *each.unasked) for each in self.chronicle.lives.values()):
                    self.chronicle.broken(f"event {token} for {instance_id} was acknowledged and is nowhere")
            case "cancel", (instance_id,):
                _answered(lambda: client.cancel(instance_id, "enough", request_id=request_id))
                lives = [each for each in self.chronicle.lives.values() if each.instance_id == instance_id]
                if not any(each.stopped for each in lives):
                    self.chronicle.broken(f"the cancel of {instance_id} was acknowledged and is nowhere")
            case "terminate", (instance_id,):
                _answered(lambda: client.terminate(instance_id, "enough", request_id=request_id))
            case "look", (instance_id,):
                self._look_at_result(client, instance_id)
                self._read(client, instance_id, disturbed=bool(move.during))

    def _start(self, client: duro.Client, kind: str, instance_id: str, given: Any, request_id: str) -> None:
        def start() -> None:
            client.start_orchestration(kind, given, instance_id=instance_id, request_id=request_id)

        with contextlib.suppress(InstanceExistsError):
            _answered(start)
            life = self.chronicle.by_id.get(instance_id)
            if life is None and not any(each.instance_id == instance_id for each in self.chronicle.lives.values()):
                self.chronicle.broken(f"the start of {instance_id} was acknowledged, and it is nowhere")

    def _look_at_result(self, client: duro.Client, instance_id: str) -> None:
        result = client.get_result(instance_id)
        life = self.chronicle.by_id.get(instance_id)
        if result is None or life is None:
            return
        if not life.over:
            self.chronicle.broken(f"{instance_id} has a result and has not ended")
        else:
            self._check_result(life, result.status, result.output)

    def _read(self, client: duro.Client, instance_id: str, *, disturbed: bool) -> None:
        """What is read is what was committed, and what was pruned is never "not found"."""
        history = client.read_history(instance_id)
        life = self.chronicle.lives[history.execution.incarnation]
        if not _same(history.events, life.histories[history.execution.execution_id]):
            self.chronicle.broken(f"what is read of {instance_id} is not what was committed")
        try:
            client.get_execution(instance_id, 1)
            found = "live"
        except ExecutionPrunedError:
            found = "pruned"
        except ExecutionNotFoundError:
            found = "not found"
        wanted = "live" if 1 in life.live else "pruned"
        if not disturbed and found != wanted:
            self.chronicle.broken(f"execution 1 of {instance_id} is {found}, not {wanted}")

    def _check_result(self, life: Life, status: InstanceStatus, output: Any) -> None:
        """Whether it ended as it had to."""
        if life.stopped and status in (InstanceStatus.CANCELLED, InstanceStatus.TERMINATED):
            return
        wanted = expected(life.name, life.given)
        if life.name == "collector":
            wanted = InstanceStatus.COMPLETED, [msgspec.json.decode(each) for each in life.delivered]
        elif life.name == "patient":
            wanted = InstanceStatus.COMPLETED, [life.given, *(msgspec.json.decode(each) for each in life.delivered)]
        if wanted is not None and (status, output) != wanted:
            self.chronicle.broken(f"{life.instance_id} ({life.name}) is {status} with {output}, not {wanted}")

    # --- operators -------------------------------------------------------------------------------------------------

    def _operator_does(self, client: duro.Client, move: Move) -> None:
        actor = move.actor
        match move.what, move.arguments:
            case "prune", (scope, keep_last, grace_s):
                self._means(actor, Intent(keep_last=keep_last, grace_s=grace_s))
                self._ran_as(client.prune_executions_bulk(keep_last, scope=_scope(scope), grace_s=grace_s).run_id)
            case "plan prune", (scope, keep_last):
                self._plans[actor] = client.plan_prune(keep_last, scope=_scope(scope))
                self._meant[actor] = Intent(keep_last=keep_last)
            case "apply prune", (grace_s,) if isinstance(plan := self._plans.get(actor), PrunePlan):
                self._means(actor, _with_grace(self._meant[actor], grace_s))
                result = client.apply_plan(plan, grace_s=grace_s)
                self.count("a plan is applied")
                self._ran_as(result.run_id)
            case "undo run", (index,):
                if self._runs:
                    run_id = self._runs[-1 - index % len(self._runs)]
                    self._holds += client.undo_prune(run_id).hold_ids
            case "undo", (instance_id,):
                self._holds += client.undo_prune(instance_id).hold_ids
            case "hold", (instance_id, execution_id):
                self._holds.append(client.add_hold(instance_id, execution_id, reason="to see").hold_id)
            case "hold name", (name,):
                self._holds.append(client.add_hold(name=name, reason="to see").hold_id)
            case "release", (index,):
                if self._holds:
                    client.remove_hold(self._holds.pop(-1 - index % len(self._holds)))
            case "policy", (instance_id, policy):
                own = duro.AutoPrune(keep_last=policy, interval=1) if isinstance(policy, int) else policy
                client.set_instance_policy(instance_id, own)
            case "reclaim", ():
                client.reclaim()
            case "resume", (instance_id,):
                if client.resume(instance_id):
                    self.count("a blocked instance is resumed")
            case _:
                self._operator_removes(client, move)

    def _operator_removes(self, client: duro.Client, move: Move) -> None:
        actor = move.actor
        match move.what, move.arguments:
            case "clean up", (min_age_s, cancels, grace_s):
                self._means(actor, Intent(min_age_s=min_age_s, grace_s=grace_s))
                cleaned = client.cleanup_orphaned_instances(
                    OrphanFilter(limit=0), cancel_running=cancels, min_age=min_age_s, grace_s=grace_s
                )
                if cleaned.cancelled:
                    self.count("a running orphan is asked to end")
                self._ran_as(cleaned.run_id)
            case "plan clean up", (min_age_s,):
                self._plans[actor] = client.plan_orphan_cleanup(OrphanFilter(limit=0), min_age=min_age_s)
                self._meant[actor] = Intent(min_age_s=min_age_s)
            case "plan purge", (scope, rule):
                self._plans[actor] = client.plan_purge(_purge_options(rule), scope=_scope(scope))
                self._meant[actor] = Intent(purge=tuple(rule))
            case "apply removal", (cancels, grace_s) if isinstance(plan := self._plans.get(actor), RemovalPlan):
                self._means(actor, _with_grace(self._meant[actor], grace_s))
                removed = client.apply_removal(plan, cancel_running=cancels, grace_s=grace_s)
                self.count("a plan of a removal is applied")
                if removed.skipped:
                    self.count("a family that was planned is skipped")
                self._ran_as(removed.run_id)
            case "purge", (scope, rule, grace_s):
                self._means(actor, Intent(purge=tuple(rule), grace_s=grace_s))
                purged = client.purge_instances(_purge_options(rule), scope=_scope(scope), grace_s=grace_s)
                self._ran_as(purged.run_id)
            case "adopt", (instance_id,):
                client.adopt_instance(instance_id, reason="it is good by itself")
                if len(self._busy) > 1:
                    self.count("an orphan is adopted in the middle of something")
            case "archive", () if self.circumstances.configuration == "archive":
                for outcome in client.write_archive():
                    if outcome.problem:
                        self.count(f"an archive cannot be written: {outcome.problem[:20]}")
            case "restore", (instance_id,) if self.circumstances.configuration == "archive":
                result = client.restore_archived(instance_id)
                self._holds += result.hold_ids

    def _means(self, actor: str, intent: Intent) -> None:
        self.chronicle.begins(actor, intent)

    def _ran_as(self, run_id: str) -> None:
        if run_id:
            self._runs.append(run_id)

    # --- the end ---------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Faults stop, and everybody comes to its end.

        Raises:
            Broken: somebody does not, or not as it must.
        """
        self._skews.clear()
        self._disk_fails = None
        for gate in self._gates.values():
            gate.skew_ms = 0
            gate.begin(())
        names = list(self.workers)
        for turn in range(_ROUNDS_TO_FINISH):
            unfinished = [life for life in self.chronicle.around.values() if not life.over and life.removed is None]
            if not unfinished:
                break
            if turn % 4 == 0:
                self._tell(unfinished)
            self.time.advance((5, 60, 20, 1_000)[turn % 4])
            if turn % 4 == 0:
                for name in names:
                    self._make(Move(name, "renew"))
            self._make(Move(names[turn // 4 % len(names)], "cycle"))
            self.check(whole=False)
        else:
            raise Broken(f"never ended: {[self._shown(each) for each in unfinished]}")
        self._rest()
        self.check(whole=True)
        self._check_the_end()
        self.check(whole=False)

    def _tell(self, unfinished: Sequence[Life]) -> None:
        """Clients send what somebody may be waiting for."""
        for life in unfinished:
            if life.name in WAITED_FOR and len(life.events) == len(life.delivered):
                self._make(Move("c0", "raise", (life.instance_id,)))
            self._make(Move("o0", "resume", (life.instance_id,)))

    def _shown(self, life: Life) -> str:
        with contextlib.suppress(DuroError):
            return str(self._first[0].get_instance(life.instance_id))
        return life.instance_id

    def _rest(self) -> None:
        """One worker sweeps until nothing is left to do."""
        name = next(iter(self.workers))
        self.time.advance(MAINTENANCE_LEASE_MS)
        for _ in range(_SWEEPS_TO_REST):
            self._make(Move(name, "renew"))
            self._make(Move(name, "sweep"))
            left = self._first[0].backlog()
            due = left.due_executions + left.due_instances - self._left_due(name) + left.due_removed
            if not (due or left.unarchived_executions or left.unarchived_instances):
                return
            self.time.advance(5_000)
        self.chronicle.broken(f"sweeps leave something undone: {left}")

    def _left_due(self, name: str) -> int:
        """How many instances the worker's sweep leaves due because nobody who runs them says what to keep: while this
        one sweeps the others do not renew."""
        worker = self.workers[name]
        if worker is None or worker.runtime._maintenance is None:
            return 0
        registry = worker.runtime.registry
        if all(registry.find_orchestration(life.name, life.version) for life in self.chronicle.around.values()):
            return 0
        return worker.runtime._maintenance.sweep.left_due

    def _check_the_end(self) -> None:
        dump = self.dump()
        rows: dict[tuple[int, int], list[str]] = {}
        for row in dump["history"]:
            rows.setdefault((row["incarnation"], row["execution_id"]), []).append(row["data"])
        for life in self.chronicle.around.values():
            if life.removed is not None:
                continue
            record = self._first[0].get_instance(life.instance_id)
            if record is None or record.incarnation != life.incarnation:
                self.chronicle.broken(f"{life.instance_id} is nowhere")
                continue
            result = self.clients["c0"].get_result(life.instance_id)
            assert result is not None, "it has ended"
            self._check_result(life, result.status, result.output)
            for number in life.live:
                found = rows.get((life.incarnation, number), [])
                if not _same(found, life.histories[number]):
                    self.chronicle.broken(f"the history of {life.instance_id}/{number} is not what was committed")
        if self.chronicle.archived:
            self._check_archive()
        self._check_ledger(dump)
        for left in self.chronicle.asked_for_and_not_done():
            self.chronicle.broken(left)
        errors = [each for each in self._first[0].checkup(deep=True) if each.count and each.severity == "error"]
        if errors:
            self.chronicle.broken(f"a checkup finds {errors}")

    def _check_archive(self) -> None:
        """What was said to be in the archive is, as it was."""
        with Archive(self.directory / "archive") as archive:
            found = {(each.incarnation, each.execution_id): each for each in archive.executions()}
            for (incarnation, number), life in self.chronicle.archived.items():
                each = found.get((incarnation, number))
                if each is None:
                    self.chronicle.broken(f"execution {number} of {life.instance_id} is not in the archive")
                elif not _same(list(archive.read_one(each).events), life.histories[number]):
                    self.chronicle.broken(f"execution {number} of {life.instance_id} is in the archive and differs")

    def _check_ledger(self, dump: StoreDump) -> None:
        """Live and pruned executions, and those of instances that are gone, are all there ever were."""
        there = {row["incarnation"] for table in ("instances", "removed_instances") for row in dump[table]}
        pruned = sum(row["executions"] * (-1 if row["trigger"] == "undo" else 1) for row in dump["ledger"])
        totals = sum(row["executions"] for row in dump["ledger_totals"])
        removed = {row["incarnation"] for row in dump["removed_instances"]}
        live = sum(row["removal"] == "live" and row["incarnation"] not in removed for row in dump["executions"])
        ever = sum(life.execution for life in self.chronicle.lives.values())
        if live + pruned + totals != ever:
            self.chronicle.broken(
                f"{live} executions are live, the ledger has {pruned}, its totals {totals}, and there were {ever} "
                f"({len(there)} of {len(self.chronicle.lives)} instances are there)"
            )

    def dump(self) -> StoreDump:
        return self._first[0].dump()

    def close(self) -> None:
        for name in list(self.workers):
            self._bury(name)
        for store in self._stores:
            store.close()


def _seen(instance: Any, tree: int = 0) -> Seen:
    return Seen(
        instance.instance_id,
        instance.execution_id,
        instance.status,
        {number: execution.removal for number, execution in instance.executions.items()},
        instance.cancel_requested_at_ms is not None,
        tree,
    )


def _look_at(path: Path) -> Sight:
    """The same of a file."""
    there: dict[int, Seen] = {}
    removed: dict[int, Seen] = {}
    with contextlib.closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        for table, tree, seen in (("instances", "0", there), ("removed_instances", "tree", removed)):
            for number, instance_id, execution_id, status, cancelled, of_tree in connection.execute(
                "SELECT incarnation, instance_id, execution_id, status, cancel_requested_at_ms IS NOT NULL, "
                f"{tree} FROM {table} ORDER BY incarnation"
            ):
                seen[number] = Seen(instance_id, execution_id, status, {}, bool(cancelled), of_tree)
        for number, execution_id, removal in connection.execute(
            "SELECT incarnation, execution_id, removal FROM executions ORDER BY incarnation, execution_id"
        ):
            (there.get(number) or removed[number]).executions[execution_id] = removal
    return Sight(there, removed)


def _answered(write: Callable[[], Any]) -> None:
    """A client that does not know whether its write happened repeats it."""
    for tries_left in reversed(range(_TRIES_OF_A_CLIENT)):
        try:
            write()
        except (CommitUnknownError, StoreError):
            if not tries_left:
                raise
        else:
            return


def _scope(instance_id: str | None) -> PruneScope:
    return PruneScope() if instance_id is None else PruneScope(instance_ids=(instance_id,))


def _purge_options(rule: Sequence[Any]) -> PurgeOptions:
    kind, value = rule
    return PurgeOptions(keep_within=value) if kind == "within" else PurgeOptions(keep_last=value)


def _with_grace(intent: Intent, grace_s: float) -> Intent:
    return Intent(intent.keep_last, intent.min_age_s, intent.purge, grace_s)


def _same(found: Sequence[str], committed: Sequence[str]) -> bool:
    """Event by event; "" stands for one that the store wrote itself."""
    return len(found) == len(committed) and all(
        said in ("", there) for there, said in zip(found, committed, strict=True)
    )
