"""Faults at the system calls of real processes, with ``strace``: ``Traced``.

A first run is traced, to see which of its calls touch the scenario's directory. Each of these is a place: there the
process is killed, or the call fails, once or for good.
"""

import errno
import json
import os
import random
import re
import select
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from tests.support.faults.campaign import AGAIN_ONE_IN, ERRORS, INTERRUPTIONS, Report
from tests.support.power.checks import LostError
from tests.support.power.judge import Judge, workplace
from tests.support.power.scenarios import SCENARIOS, Scenario

ROOT: Final = Path(__file__).parents[3]

_ANSWER_S: Final = 60.0
"""A process that has not ended by then hangs."""

_ATTEMPTS: Final = 3
_NOT_MADE: Final = frozenset({"close"})
"""What ``strace`` makes fail is not done at all, and the descriptor of a ``close`` that fails is gone: it may fail in
``campaign`` alone."""

_LOCKS: Final = frozenset({"fcntl"})
_CALL: Final = re.compile(r"^(?:\d+ +)?(?P<call>\w+)\((?P<arguments>.*)")
_PATH: Final = re.compile(r'[<"](/[^<>"]*)[>"]')
_SYNC: Final = "fsync"
_NAMING: Final = ("?link", "?linkat", "?rename", "?renameat", "?renameat2")
_INJECTED: Final = "(INJECTED)"


@dataclass(frozen=True)
class Fault:
    """At the ``number``-th call of this name the process is killed (``error`` None), or from there to ``last`` (None:
    for good) the calls fail."""

    call: str
    number: int
    last: int | None
    error: int | None

    @property
    def injection(self) -> str:
        """As ``strace`` takes it."""
        what = "signal=KILL" if self.error is None else f"error={errno.errorcode[self.error]}"
        until = "+" if self.last is None else "" if self.last == self.number else f"..{self.last}"
        return f"{self.call}:{what}:when={self.number}{until}"

    @property
    def passes(self) -> bool:
        """Whether trying again may help."""
        return self.error is not None and self.last is not None

    def __str__(self) -> str:
        return self.injection


def faults(places: list[tuple[str, int]]) -> Iterator[Fault]:
    """All that may go wrong at each place."""
    for call, number in places:
        yield Fault(call, number, number, None)
        if call in _NOT_MADE:
            continue
        for error in ERRORS:
            yield Fault(call, number, number, error)
            yield Fault(call, number, number + INTERRUPTIONS if error == errno.EINTR else None, error)


def unavailable() -> str:
    """Why nothing can be traced here; "": it can."""
    if shutil.which("strace") is None:
        return "there is no strace"
    target = subprocess.Popen(["sleep", "60"])
    try:
        command = ["strace", "-o", os.devnull, "-e", "inject=getpid:error=EIO:when=1", "-p", str(target.pid)]
        strace = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert strace.stderr is not None
        with strace.stderr:
            said = strace.stderr.readline()
    finally:
        target.kill()
        target.wait()
    strace.wait()
    return "" if "attached" in said else f"strace may not trace: {said.strip()}"


class Processes:
    """Forks processes and traces them; a context manager."""

    def __enter__(self) -> "Processes":
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.support.faults.server"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT / 'runtime'}:{ROOT}"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._answer()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait()
        self._pipe.close()

    @property
    def _pipe(self) -> IO[bytes]:
        assert self._server.stdout is not None
        return self._server.stdout

    def run(self, trace: Path, tracing: list[str], **request: Any) -> dict[str, Any]:
        """What came of one, traced as ``tracing`` says.

        Raises: LostError: it did not end.
        """
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps(request).encode() + b"\n")
        self._server.stdin.flush()
        process: int = self._answer()["process"]
        strace = subprocess.Popen(
            ["strace", "-f", "-y", "-s", "0", "-o", str(trace), *tracing, "-p", str(process)],
            stderr=subprocess.PIPE,
        )
        assert strace.stderr is not None
        with strace.stderr:
            said = strace.stderr.readline()
            assert b"attached" in said, said
            os.kill(process, signal.SIGCONT)
            try:
                answer = self._answer()
            except TimeoutError:
                os.kill(process, signal.SIGKILL)
                self._answer()
                raise LostError(f"it does not end within {_ANSWER_S:g} s") from None
            finally:
                strace.wait()
        return answer

    def _answer(self) -> dict[str, Any]:
        ready, _, _ = select.select([self._pipe], [], [], _ANSWER_S)
        if not ready:
            raise TimeoutError
        answer: dict[str, Any] = json.loads(self._pipe.readline())
        return answer


@dataclass
class Outcome:
    """What came of a process, or of several one after another."""

    killed: bool
    acknowledged: int
    finished: bool
    lives: int
    errors: list[str] = field(default_factory=list)


class Traced:
    """One scenario, in a directory of its own. ``mistake``: the name of one of ``planted_processes``."""

    def __init__(
        self, processes: Processes, scenario: Scenario, directory: Path, *, seed: int = 0, mistake: str = ""
    ) -> None:
        self.scenario = scenario
        self._processes = processes
        self._mistake = mistake
        self._trace = directory / "trace"
        self._judge = Judge(scenario, directory)
        self._choice = random.Random(f"{seed} {scenario.name}")

    def places(self) -> list[tuple[str, int]]:
        """The calls of the undisturbed run that touch the directory: name, and the how many-th of that name."""
        self._judge.begin()
        found = self._places_from_here(1)
        self._judge.clear()
        return found

    def _places_from_here(self, life: int) -> list[tuple[str, int]]:
        """The same of one who goes on, which is the ``life``-th life."""
        outcome = self._start(["-e", "trace=all"], first_life=life)
        if not outcome.finished:
            raise LostError(f"it does not go on: {outcome.errors[-1]}")
        counts: Counter[str] = Counter()
        found = []
        for line in self._trace.read_text(errors="replace").splitlines():
            if call := _CALL.match(line):
                counts[call["call"]] += 1
                if str(self._judge.place) in call["arguments"]:
                    found.append((call["call"], counts[call["call"]]))
        return found

    def run(
        self,
        runs: int | None = None,
        *,
        wrong_max: int = 5,
        only: Callable[[Fault], bool] = lambda _: True,
        again_one_in: int = AGAIN_ONE_IN,
    ) -> Report:
        """As ``campaign.Campaign.run``."""
        places = self.places()
        report = Report(self.scenario.name, len(places))
        chosen = [each for each in faults(places) if only(each)]
        if runs is not None:
            chosen = self._choice.sample(chosen, min(runs, len(chosen)))
        for fault in chosen:
            self._disturb(fault, report, again_one_in)
            if len(report.wrong) >= wrong_max:
                break
        return report

    def _disturb(self, fault: Fault, report: Report, again_one_in: int) -> None:
        reopens = fault.call in _LOCKS or self._choice.random() < 0.5
        again: Fault | None = None
        went_on: Outcome | None = None
        self._judge.begin()
        try:
            outcome = self._run(fault, reopens=reopens)
            report.told += bool(outcome.errors)
            if not outcome.finished and self._choice.randrange(again_one_in) == 0:
                with self._judge.tried_out():
                    places = self._places_from_here(outcome.lives + 1)
                again = self._choice.choice(list(faults([self._choice.choice(places)])))
                report.twice += 1
                went_on = self._run(again, first_life=outcome.lives + 1)
                outcome.lives = went_on.lives
            self._check(outcome, fault, went_on)
        except Exception as error:  # whatever nobody may meet
            where = f"{fault}, then {again}" if again else str(fault)
            store = "another" if reopens else "the same"
            report.wrong.append(f"{self.scenario.name}: {where} ({store} store): {type(error).__name__}: {error}")
        finally:
            report.runs += 1
            self._judge.clear()

    def _run(self, fault: Fault, *, reopens: bool = False, first_life: int = 1) -> Outcome:
        """One who is disturbed, and tries again if that may help; a later life does not."""
        attempts = 1
        if first_life == 1 and fault.passes and fault.last is not None:
            attempts = _ATTEMPTS + fault.last - fault.number
        tracing = [*_traced(fault), "-e", f"inject={fault.injection}"]
        outcome = self._start(tracing, attempts=attempts, reopens=reopens, first_life=first_life, fault=fault)
        traced = self._trace.read_text(errors="replace")
        if fault.error is None:
            if not outcome.killed:
                raise LostError("the call at which it was to be killed was never made")
        elif not any(_INJECTED in line and str(self._judge.place) in line for line in traced.splitlines()):
            raise LostError("the call that was to fail was never made")
        if name := named_unsynced(traced):
            raise LostError(f"{name} was given its name although it could not be synced")
        return outcome

    def _start(
        self,
        tracing: list[str],
        *,
        attempts: int = 1,
        reopens: bool = False,
        first_life: int = 1,
        fault: Fault | None = None,
    ) -> Outcome:
        answer = self._processes.run(
            self._trace,
            tracing,
            scenario=self.scenario.name,
            place=str(self._judge.place),
            attempts=attempts,
            reopens=reopens,
            first_life=first_life,
            mistake=self._mistake,
            impatient=fault is not None and fault.call in _LOCKS,
        )
        if "wrong" in answer:
            raise LostError(f"it met {answer['wrong']}")
        killed = answer["status"] == -signal.SIGKILL
        if not killed and answer["status"] != 0:
            raise LostError(f"it ended with status {answer['status']}")
        return Outcome(
            killed,
            answer["acknowledged"],
            answer.get("finished", False),
            answer.get("lives", first_life),
            answer.get("errors", []),
        )

    def _check(self, outcome: Outcome, fault: Fault, went_on: Outcome | None) -> None:
        if outcome.finished:
            self._judge.check_end()
        elif fault.passes:
            raise LostError(f"it does not go on when the fault has passed: {outcome.errors[-1]}")
        elif went_on is not None and went_on.finished:
            self._judge.check_end()
        else:
            self._judge.check(
                outcome.acknowledged,
                finish=True,
                tried_again=not outcome.killed,
                went_on=went_on is not None,
                life=outcome.lives + 1,
            )


def named_unsynced(trace: str) -> str:
    """The first file in a trace that got its name by a link or a rename after its last sync had failed; "": none."""
    unsynced: set[str] = set()
    for line in trace.splitlines():
        call = _CALL.match(line)
        paths = _PATH.findall(line)
        if call is None or not paths:
            continue
        if call["call"] == _SYNC:
            (unsynced.add if _INJECTED in line else unsynced.discard)(paths[0])
        elif line.endswith("= 0") and (named := unsynced.intersection(paths)):
            return named.pop()
    return ""


def _traced(fault: Fault) -> list[str]:
    return ["-e", f"trace={','.join((fault.call, *_NAMING)) if fault.call == _SYNC else fault.call}"]


def run_scenario(name: str, runs: int | None, *, seed: int = 0, again_one_in: int = AGAIN_ONE_IN) -> Report:
    """As ``campaign.run_scenario``, with real processes."""
    with Processes() as processes, workplace() as directory:
        return Traced(processes, SCENARIOS[name], directory, seed=seed).run(runs, again_one_in=again_one_in)
