"""The short form of ``make faults`` for real processes: killed or failing at any system call that touches their
directory, first once and then again as somebody goes on.

And the test of the test: each planted mistake is found.
"""

from collections.abc import Iterator
from typing import Final

import pytest

from tests.support.faults.planted_processes import PLANTED
from tests.support.faults.traced import Fault, Processes, Traced, unavailable
from tests.support.power.judge import workplace
from tests.support.power.scenarios import SCENARIOS

RUNS: Final = 4
RUNS_OF_A_MISTAKE: Final = 60

SOME: Final = (
    "start to completion",
    "prune and continue",
    "purge of a tree",
    "archive and prune",
    "settings",
    "backup",
)
"""Scenarios whose calls are the most different; ``make faults`` takes all."""


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    if why := unavailable():
        pytest.skip(why)
    with Processes() as found:
        yield found


@pytest.mark.parametrize("name", SOME)
def test_a_process_killed_or_failing_at_any_call_loses_nothing_and_is_gone_on_with(
    processes: Processes, name: str
) -> None:
    with workplace() as directory:
        report = Traced(processes, SCENARIOS[name], directory, seed=3).run(RUNS, again_one_in=1)
        assert report.wrong == []
        assert report.runs == RUNS
        assert report.calls > 100


@pytest.mark.parametrize("name", ["prune and continue", "archive and prune", "settings"])
def test_whoever_goes_on_after_a_kill_may_be_disturbed_at_a_call_he_really_makes(
    processes: Processes, name: str
) -> None:
    with workplace() as directory:
        traced = Traced(processes, SCENARIOS[name], directory, seed=4)
        report = traced.run(RUNS, only=lambda fault: fault.error is None, again_one_in=1)
        assert report.wrong == []
        assert report.twice == report.runs == RUNS


@pytest.mark.parametrize("name", PLANTED)
def test_a_mistake_of_a_process_is_found(processes: Processes, name: str) -> None:
    planted = PLANTED[name]
    with workplace() as directory:
        traced = Traced(processes, SCENARIOS[planted.scenario], directory, seed=3, mistake=name)
        report = traced.run(RUNS_OF_A_MISTAKE, wrong_max=1, only=planted.only, again_one_in=1)
        assert report.wrong, str(report)
        assert "TypeError" not in report.wrong[0], "it is the mistake that does not fit the code any more"


@pytest.mark.parametrize("fault", [Fault("unlink", 1_000, 1_000, None), Fault("unlink", 1_000, None, 5)])
def test_a_fault_that_never_comes_is_no_success(processes: Processes, fault: Fault) -> None:
    with workplace() as directory:
        traced = Traced(processes, SCENARIOS["settings"], directory)
        traced._judge.begin()
        with pytest.raises(AssertionError, match="was never made"):
            traced._run(fault, reopens=False)
