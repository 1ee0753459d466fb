"""What is said of when automatic pruning happens."""

from pathlib import Path

import pytest

import duro
from duro.maintenance.explaining import PolicyExplanation
from duro.testing.clock import ManualClock
from duroctl.render.plans import plan_lines
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


@pytest.mark.parametrize(
    ("settings", "own", "reason", "shown"),
    [
        ("enabled = false\ndefault_keep_last = 4", None, "no-policy", "a  Order  not pruned"),
        ("enabled = true", None, "no-policy", "a  Order  not pruned"),
        ('[pruning.overrides."Ord*"]\nnever = true', None, "never", "a  Order  never pruned"),
        ("enabled = true", "never", "never", "a  Order  never pruned"),
        ("enabled = false\ndefault_keep_last = 4", "never", "no-policy", "a  Order  not pruned"),
    ],
)
def test_what_no_policy_prunes_is_not_said_to_have_a_policy_that_says_never(
    settings: str, own: str | None, reason: str, shown: str, tmp_path: Path
) -> None:
    with store_of_kind("memory", tmp_path, ManualClock()) as store:
        loops = Loops(store)
        published(store, loops.worker, tmp_path, f"[pruning]\n{settings}\n")
        loops.start("a", "b")
        loops.go_on(2)
        client = duro.Client(store)
        client.set_instance_policy("b", "never")  # else nobody says anything at all
        if own is not None:
            client.set_instance_policy("a", "never")
        plan = client.plan_prune()
    planned = plan.instances[0]
    assert [item.verdict.reasons for item in planned.items] == [(reason,), (reason,), ("current", "running", reason)]
    assert planned.rules is None
    assert next(plan_lines(plan)).startswith(shown)
