"""Workers, operators and clients at once on one store, under faults, and the evidence afterwards."""

import contextlib
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import duro
from duro.maintenance.archive.format import HistoryRead
from duro.maintenance.archive.reader import Archive
from tests.support.operating.calls import is_inside_a_call, journal_of, read_calls, settled
from tests.support.operating.clock import SetClock
from tests.support.operating.evidence import STATUSES, check_kept_evidence, command_of
from tests.support.operating.process import BY_HAND, CLOCK, CONFIG, CONFIGURED, Told, read_journal
from tests.support.processes import REGISTRY, WorkerProcess, effects_log_of, store_url_of
from tests.support.traffic import Traffic, wait_until_nothing_runs

LEASE_S: Final = 1
WORKERS: Final = 2
DUTIES: Final = ("prune", "clean", "archive")
CALLERS: Final = ("client-1", "client-2")
CLOCK_MAX_S: Final = 5 * 24 * 3600
"""Forward in all: less than the 7 days for which what was brought back is held."""

_FINISH_TIMEOUT_S: Final = 120.0
_SETTINGS: Final = f"""\
[store]
url = "sqlite:///duro.db"
[pruning]
default_keep_last = 3
children = "settled"
[purge]
keep_last = 40
interval = "1s"
[orphans]
enabled = true
min_age = "0s"
interval = "1s"
[archive]
enabled = true
directory = "{CONFIGURED}"
interval = "1s"
"""


@dataclass
class Report:
    """What happened."""

    seed: int
    faults: Counter[str] = field(default_factory=Counter)
    clock_forward_s: float = 0.0
    clock_back_s: float = 0.0
    seconds: float = 0.0
    instances_acknowledged: int = 0
    activities_run: int = 0
    activities_repeated: int = 0
    executions_in_store: int = 0
    executions_in_archives: int = 0
    in_both: int = 0
    instances_removed: int = 0
    commands: Counter[str] = field(default_factory=Counter)
    """By their words and how they ended; "cut off": the operator was killed inside."""

    calls: Counter[str] = field(default_factory=Counter)
    """Of clients that may be killed, by what came of them: "told" at once, or else what their next life made of it."""

    def __str__(self) -> str:
        lines = []
        for name, value in vars(self).items():
            if isinstance(value, Counter):
                lines += [f"{name}: {each:30} {number:>10,}" for each, number in sorted(value.items())]
            else:
                lines.append(f"{name:28} {value:>14,}")
        return "\n".join(lines)


class Stage:
    """The processes, by what they do, and those that are stopped with the time at which they go on."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.directory = directory
        self.processes: dict[str, WorkerProcess] = {}
        self._stopped: dict[str, float] = {}
        self._begun = 0
        self._seed = seed

    @property
    def workers(self) -> list[str]:
        return [f"worker-{number}" for number in range(WORKERS)]

    def begin(self, name: str) -> None:
        self._begun += 1
        if name in DUTIES or name in CALLERS:
            module = f"tests.support.operating.{'process' if name in DUTIES else 'caller'}"
            program: tuple[str, ...] = ("-m", module, str(self.directory), name, f"{self._seed}-{self._begun}")
        else:
            module = "tests.support.operating.clock"
            arguments = ("worker", REGISTRY, "--lease", f"{LEASE_S}s", "--config", CONFIG)
            program = ("-m", module, str(self.directory / CLOCK), *arguments)
        self.processes[name] = WorkerProcess(self.directory, name, LEASE_S, program)

    def kill(self, name: str, *, inside_a_call: bool = False) -> None:
        """``inside_a_call``: of a client, as soon as it has asked for something (if it does within a second)."""
        self._stopped.pop(name, None)
        until_s = time.monotonic() + 1.0
        while inside_a_call and time.monotonic() < until_s and not is_inside_a_call(journal_of(self.directory, name)):
            pass
        self.processes[name].kill()
        self.begin(name)

    def stop(self, name: str, seconds: float, *, anywhere: bool) -> None:
        """Where it stands (but not where it keeps the store locked, unless ``anywhere``), to go on later."""
        process = self.processes[name]
        if anywhere:
            process.send(signal.SIGSTOP)
        else:
            process.freeze(self.directory / "duro.db")
        self._stopped[name] = time.monotonic() + seconds

    def go_on(self, *, all_of_them: bool = False) -> None:
        for name, until_s in list(self._stopped.items()):
            if all_of_them or time.monotonic() >= until_s:
                self.processes[name].send(signal.SIGCONT)
                del self._stopped[name]

    @property
    def running(self) -> list[str]:
        return [name for name in self.processes if name not in self._stopped]

    def end(self, *names: str) -> None:
        """Ask them to, and wait until they have completed what they began."""
        for name in names:
            process = self.processes[name]
            process.wait_until_ready()
            assert process.stop() == 0, f"{name}: {process.said()}"
            del self.processes[name]

    def check(self) -> None:
        """Nobody has ended by themselves."""
        for name, process in self.processes.items():
            status = process.process.poll()
            assert status is None, f"{name} ended with {status}: {process.said()}"


@contextlib.contextmanager
def _stage(directory: Path, seed: int) -> Iterator[Stage]:
    stage = Stage(directory, seed)
    try:
        for name in (*stage.workers, *DUTIES, *CALLERS):
            stage.begin(name)
        for process in stage.processes.values():
            process.wait_until_ready()
        yield stage
    finally:
        stage.go_on(all_of_them=True)
        for process in stage.processes.values():
            process.kill()


def run_campaign(
    directory: Path, faults: int, seed: int, *, pause_max_s: float = 1.0, in_flight_max: int = 60
) -> Report:
    """``faults`` times, each up to ``pause_max_s`` seconds after the last: kill or stop a process, or set the clock.
    Then the clock is put right (to the latest it ever was: timers of that time wait for it), everything ends,
    every operator's command succeeds, and the evidence is checked.

    Raises:
        AssertionError: a promise was broken; the message has all that is wrong.
    """
    report = Report(seed)
    choice = random.Random(seed)
    began_s = time.monotonic()
    (directory / CONFIG).write_text(_SETTINGS)
    clock = SetClock(directory / CLOCK)
    with closing(duro.open_store(store_url_of(directory), clock=clock)) as store, duro.Client(store) as client:
        with _stage(directory, seed) as stage:
            traffic = Traffic(client, seed, in_flight_max, removals=True)
            try:
                for _ in range(faults):
                    time.sleep(choice.uniform(0.0, pause_max_s))
                    stage.go_on()
                    stage.check()
                    report.faults[_fault(stage, clock, choice, report)] += 1
            finally:
                stage.go_on(all_of_them=True)
                clock.put_forward(clock.highest_ms - clock.offset_ms)
                acknowledged = traffic.stop()
            stage.end(*CALLERS)
            wait_until_nothing_runs(client, _FINISH_TIMEOUT_S)
            stage.end(*stage.workers, *DUTIES)
        _finish(directory)
        dump = store.dump()
        assert store.waiting_archives() == ()
    kept = read_archives(directory)
    told = [each for file in sorted(directory.glob("journal-*.jsonl")) for each in read_journal(file)]
    calls = {name: read_calls(journal_of(directory, name)) for name in CALLERS}
    effects = effects_log_of(directory).read_text().splitlines()
    check_kept_evidence(dump, kept, effects, acknowledged, told, list(calls.values()))
    in_archives = {(each.history.execution.incarnation, each.history.execution.execution_id) for each in kept}
    in_store = {(row["incarnation"], row["execution_id"]) for row in dump["executions"]}
    report.seconds = round(time.monotonic() - began_s, 1)
    report.instances_acknowledged = len(acknowledged.instances)
    report.activities_run = len(effects)
    report.activities_repeated = len(effects) - len(set(effects))
    report.executions_in_store = len(in_store)
    report.executions_in_archives = len(in_archives)
    report.in_both = len(in_store & in_archives)
    report.instances_removed = len({each.instance.incarnation for each in kept if each.instance is not None})
    report.commands = _counted(told)
    report.calls = Counter(f"{each.what} {each.outcome}" for one in calls.values() for each in settled(one))
    return report


def _fault(stage: Stage, clock: SetClock, choice: random.Random, report: Report) -> str:
    kind = choice.choices(("kill", "kill client", "past the lease", "anywhere", "clock"), (5, 3, 2, 2, 2))[0]
    if kind == "clock":
        return _set_clock(clock, choice, report)
    name = choice.choice([each for each in stage.running if kind != "kill client" or each in CALLERS] or [CALLERS[0]])
    if kind.startswith("kill") or name not in stage.running:
        stage.kill(name, inside_a_call=name in stage.running and name in CALLERS and choice.random() < 0.8)
        if choice.random() < 0.7:  # sometimes the next one dies before it has begun
            stage.processes[name].wait_until_ready()
        return f"kill {name}"
    if kind == "anywhere":
        stage.stop(name, choice.uniform(0.0, 0.5), anywhere=True)
        return f"stop {name} anywhere"
    stage.stop(name, LEASE_S * choice.uniform(1.0, 2.5), anywhere=False)
    return f"stop {name} past the lease"


def _set_clock(clock: SetClock, choice: random.Random, report: Report) -> str:
    seconds = choice.choice((0.5, 5.0, 600.0, 7200.0)) * choice.random()
    if choice.random() < 0.5:
        clock.put_forward(-round(seconds * 1000))
        report.clock_back_s += seconds
        return "clock back"
    if report.clock_forward_s + seconds < CLOCK_MAX_S:
        clock.put_forward(round(seconds * 1000))
        report.clock_forward_s += seconds
    return "clock forward"


def _finish(directory: Path) -> None:
    """Every command an operator has, once, with nobody beside it."""
    program = ("-m", "tests.support.operating.process", str(directory), "last", "0")
    process = WorkerProcess(directory, "last", LEASE_S, program)
    assert process.process.wait(_FINISH_TIMEOUT_S) == 0, process.said()
    ended = [each for each in read_journal(directory / "journal-last.jsonl") if each.status is not None]
    failed = [f"{' '.join(each.arguments)}: {each.status} {each.err}{each.out}" for each in ended if each.status != 0]
    assert not failed, "\n".join(failed)


def read_archives(directory: Path) -> list[HistoryRead]:
    """Everything that is in any archive."""
    found = []
    for path in (directory / CONFIGURED, directory / BY_HAND):
        if path.exists():
            with Archive(path) as archive:
                found += [read for _, read in archive.read(archive.executions())]
    return found


def _counted(told: list[Told]) -> Counter[str]:
    ended = {each.number: each for each in told if each.status is not None}
    words = {each.number: command_of(each) for each in told}
    assert set(words.values()) <= set(STATUSES)
    return Counter(f"{word} {ended[number].status if number in ended else 'cut off'}" for number, word in words.items())
