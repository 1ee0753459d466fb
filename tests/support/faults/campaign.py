"""Count the calls SQLite makes in a scenario, and let each fail in turn: ``Campaign``."""

import errno
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.support.faults.calls import LOG_SYNC, Failure, SqliteCalls
from tests.support.faults.operator import Seen, operate
from tests.support.power.checks import LostError
from tests.support.power.judge import Judge, workplace
from tests.support.power.scenarios import SCENARIOS, Scenario

ERRORS: Final = (errno.EIO, errno.ENOSPC, errno.EINTR)

INTERRUPTIONS: Final = 50
"""A call that is interrupted is made again, for ever if need be, by SQLite as by Python: so it is interrupted so often,
and then not."""

_ENDLESS: Final = 200_000
"""A call that fails so often is made in a loop without an end."""

_LOCK: Final = "fcntl"
"""A lock that SQLite could not give back it keeps until the file is closed."""

_ATTEMPTS: Final = 3
"""Of an operator after a fault that passes."""

AGAIN_ONE_IN: Final = 4
"""Of so many runs that ended with an error, one is disturbed again as somebody goes on, at a call that he makes."""

Mistake = Callable[[], AbstractContextManager[Any]]


@dataclass
class Report:
    """``runs`` were disturbed, ``twice`` of them again as they were gone on with; ``told`` of them ended with an error,
    the others went on as if nothing had been."""

    scenario: str
    calls: int = 0
    runs: int = 0
    twice: int = 0
    told: int = 0
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.scenario:30} {self.calls:7,} calls {self.runs:9,} runs {self.told:8,} told of it "
            f"{self.twice:7,} twice {len(self.wrong):5,} wrong"
        )

    def add(self, other: "Report") -> None:
        self.calls += other.calls
        self.runs += other.runs
        self.twice += other.twice
        self.told += other.told
        self.wrong += other.wrong


def failures(counts: dict[str, int], errors: Iterable[int] = ERRORS) -> Iterator[Failure]:
    """Each call, failing once and for good."""
    for call, count in sorted(counts.items()):
        for number in range(1, count + 1):
            for error in errors:
                yield Failure(call, number, number, error)
                last = number + INTERRUPTIONS if error == errno.EINTR else None
                yield Failure(call, number, last, error)


class Campaign:
    """One scenario, in a directory of its own, and the system calls SQLite makes in it. ``mistake`` is entered for each
    run, and for no check."""

    def __init__(self, scenario: Scenario, directory: Path, *, seed: int = 0, mistake: Mistake = nullcontext) -> None:
        self.scenario = scenario
        self._mistake = mistake
        self._judge = Judge(scenario, directory)
        self._choice = random.Random(f"{seed} {scenario.name}")

    def counts(self) -> dict[str, int]:
        """The calls of the undisturbed run, by name."""
        calls = SqliteCalls(self._judge.begin())
        with calls.watched(), self._mistake():
            operate(self.scenario, self._judge.place)
        self._judge.clear()
        return calls.counts

    def run(
        self,
        runs: int | None = None,
        *,
        wrong_max: int = 5,
        only: Callable[[Failure], bool] = lambda _: True,
        again_one_in: int = AGAIN_ONE_IN,
    ) -> Report:
        """So many runs (None: all there are), spread by chance over those that are wanted (``only``), until so many
        went wrong. Of ``again_one_in`` that ended with an error, one is disturbed again."""
        counts = self.counts()
        report = Report(self.scenario.name, sum(counts.values()))
        chosen = [each for each in failures(counts) if only(each)]
        if runs is not None:
            chosen = self._choice.sample(chosen, min(runs, len(chosen)))
        for failure in chosen:
            self._disturb(failure, report, again_one_in)
            if len(report.wrong) >= wrong_max:
                break
        return report

    def _disturb(self, failure: Failure, report: Report, again_one_in: int) -> None:
        reopens = failure.call == _LOCK or self._choice.random() < 0.5
        again: Failure | None = None
        went_on: Seen | None = None
        self._judge.begin()
        try:
            seen = self._run(failure, reopens=reopens)
            report.told += bool(seen.errors)
            if not seen.finished and self._choice.randrange(again_one_in) == 0:
                again = self._choice.choice(list(failures(self._counts_from_here(seen.lives + 1))))
                report.twice += 1
                went_on = self._run_again(again, seen.lives + 1)
                seen.lives = went_on.lives
            self._check(seen, failure, went_on)
        except Exception as error:  # whatever nobody may meet
            where = f"{failure}, then {again}" if again else str(failure)
            store = "another" if reopens else "the same"
            report.wrong.append(f"{self.scenario.name}: {where} ({store} store): {type(error).__name__}: {error}")
        finally:
            report.runs += 1
            self._judge.clear()

    def _run(self, failure: Failure, *, reopens: bool) -> Seen:
        calls = SqliteCalls(self._judge.place, failure, endless=_ENDLESS)
        told_unsynced: list[int] = []

        def said() -> None:
            if calls.failed and failure.call == LOG_SYNC and failure.last is None:
                told_unsynced.append(calls.failed)

        with calls.watched(), self._mistake():
            seen = operate(
                self.scenario,
                self._judge.place,
                attempts=1 if failure.last is None else _ATTEMPTS + failure.last - failure.first,
                reopens=reopens,
                said=said,
            )
        if not calls.failed:
            raise LostError("the call that was to fail was never made")
        if calls.failed >= _ENDLESS:
            raise LostError("it tries again without an end")
        if told_unsynced:
            raise LostError("it was acknowledged, and the log could not be synced")
        return seen

    def _counts_from_here(self, life: int) -> dict[str, int]:
        """The calls, by name, of one who goes on undisturbed, which is the ``life``-th life; nothing of it stays."""
        calls = SqliteCalls(self._judge.place)
        with self._judge.tried_out(), calls.watched(), self._mistake():
            seen = operate(self.scenario, self._judge.place, first_life=life)
        if not seen.finished:
            raise LostError(f"it does not go on after the fault: {seen.errors[-1]!r}")
        return calls.counts

    def _run_again(self, failure: Failure, life: int) -> Seen:
        """Whoever goes on is disturbed, too."""
        calls = SqliteCalls(self._judge.place, failure, endless=_ENDLESS)
        with calls.watched(), self._mistake():
            seen = operate(self.scenario, self._judge.place, first_life=life)
        if not calls.failed:
            raise LostError("the second call that was to fail was never made")
        if calls.failed >= _ENDLESS:
            raise LostError("it tries again without an end")
        return seen

    def _check(self, seen: Seen, failure: Failure, went_on: Seen | None) -> None:
        if seen.finished:
            self._judge.check_end()
        elif failure.last is not None:
            raise LostError(f"it does not go on when the fault has passed: {seen.errors[-1]!r}")
        elif went_on is not None and went_on.finished:
            self._judge.check_end()
        else:
            tried = {"tried_again": True, "went_on": went_on is not None}
            self._judge.check(seen.acknowledged, finish=True, **tried, life=seen.lives + 1)


def run_scenario(name: str, runs: int | None, *, seed: int = 0, again_one_in: int = AGAIN_ONE_IN) -> Report:
    """Disturb one of ``SCENARIOS`` so many times (None: at each call, in each way)."""
    with workplace() as directory:
        return Campaign(SCENARIOS[name], directory, seed=seed).run(runs, again_one_in=again_one_in)
