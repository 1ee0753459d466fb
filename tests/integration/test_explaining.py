"""What is said of when automatic pruning happens."""

from pathlib import Path

import pytest

import duro
from duro.maintenance.explaining import PolicyExplanation
from duro.testing.clock import ManualClock
from duroctl.render.policies import explanation_lines
from tests.support.pruning import Loops, published, store_of_kind


def told(directory: Path, settings: str, *, executions: int, wait_ms: int = 0) -> PolicyExplanation:
    """Of a loop that has run so many executions under these settings, and that a sweep has never seen."""
    clock = ManualClock()
    with store_of_kind("memory", directory, clock) as store:
        loops = Loops(store)
        published(store, loops.worker, directory, settings)
        loops.start("a")
        loops.go_on(executions - 1)
        clock.advance(wait_ms)
        return duro.Client(store).explain_policy("a")


@pytest.mark.parametrize(
    ("settings", "when", "next_sweep_at_ms"),
    [
        ("default_keep_last = 4", "when: continue_as_new", None),
        (
            'triggers = ["interval"]\ndefault_keep_last = 4',
            "when: never: the only trigger that is on is interval, and it has no interval",
            None,
        ),
        ('triggers = ["continue_as_new"]\n[pruning.default]\nkeep_last = 4\ninterval = "1s"', "continue_as_new", None),
        ('[pruning.default]\nkeep_last = 4\ninterval = "1s"', "when: continue_as_new, interval", 0),
    ],
)
def test_only_what_fires_is_said_to_prune(
    settings: str, when: str, next_sweep_at_ms: int | None, tmp_path: Path
) -> None:
    explained = told(tmp_path, f"[pruning]\n{settings}\n", executions=3)
    (line,) = [line for line in explanation_lines(explained) if line.startswith("when:")]
    assert line.endswith(when)
    assert explained.next_sweep_at_ms == next_sweep_at_ms


def test_a_sweep_that_passes_an_instance_by_is_not_said_to_come(tmp_path: Path) -> None:
    """It has nothing but its current execution, and the time that was named stayed in the past for ever."""
    settings = '[pruning.default]\nkeep_last = 4\ninterval = "1s"\n'
    assert told(tmp_path, settings, executions=1).next_sweep_at_ms is None
    assert told(tmp_path, settings, executions=2, wait_ms=60_000).next_sweep_at_ms == 0
