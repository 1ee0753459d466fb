"""Plans as files: what is no plan, or says one thing here and another there, is refused before anything is done."""

import json
from pathlib import Path
from typing import Any

import pytest

from duro.errors import UsageError
from duroctl.plan_files import read_plan, read_removal_plan

ORIGIN = {"kind": "call", "text": ""}
GONE = {"keep": False, "reasons": ["beyond-last:1"]}
STATE = {"store_id": "s", "policy_revision": 0, "hold_revision": 0, "made_at_ms": 0}


def prune_plan(instance_id: str = "a", incarnation: int = 1, executions_removed: int = 1) -> dict[str, Any]:
    execution = {
        "instance_id": instance_id,
        "incarnation": incarnation,
        "execution_id": 1,
        "name": "n",
        "version": "1",
        "status": "completed",
        "started_at_ms": 0,
        "completed_at_ms": 1,
        "event_count": 1,
        "history_bytes": 1,
        "is_current": False,
    }
    instance = {
        "instance_id": "a",
        "incarnation": 1,
        "name": "n",
        "rules": [{"keep_last": 1}],
        "origin": ORIGIN,
        "items": [{"execution": execution, "verdict": GONE}],
    }
    totals = {"executions_removed": executions_removed}
    return {"schema": "duroctl.prune_plan/1", **STATE, "instances": [instance], "totals": totals, "warnings": []}


def removal_plan(instances_removed: int = 1) -> dict[str, Any]:
    item = {
        "instance_id": "a",
        "incarnation": 1,
        "name": "n",
        "status": "completed",
        "completed_at_ms": 1,
        "child_of": "",
        "rules": {"type": "purge", "keep_last": 1},
        "origin": ORIGIN,
        "verdict": GONE,
        "instances": 1,
        "executions": 1,
        "events": 1,
        "history_bytes": 1,
    }
    totals = {"instances_removed": instances_removed}
    return {"schema": "duroctl.removal_plan/1", **STATE, "items": [item], "totals": totals}


def without_rules(rules: list[Any] | None) -> dict[str, Any]:
    plan = prune_plan()
    return plan | {"instances": [each | {"rules": rules} for each in plan["instances"]]}


def written(directory: Path, document: dict[str, Any] | str) -> str:
    file = directory / "plan.json"
    file.write_text(document if isinstance(document, str) else json.dumps(document))
    return str(file)


def test_a_plan_that_agrees_with_itself_is_read(tmp_path: Path) -> None:
    assert read_plan(written(tmp_path, prune_plan())).totals.executions_removed == 1
    assert read_removal_plan(written(tmp_path, removal_plan())).totals.instances_removed == 1


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (prune_plan(instance_id="b\n"), r"contradicts itself: instance 'a' has an execution of 'b\\n'"),
        (prune_plan(incarnation=2), "contradicts itself: instance 'a' has an execution of 'a' in another life"),
        (without_rules([]), "contradicts itself: instance 'a' has executions that go, and no rules"),
        (without_rules(None), "contradicts itself: instance 'a' has executions that go, and no rules"),
        (prune_plan(executions_removed=0), "contradicts itself: its totals remove 0 executions, and its items 1"),
        ("[" * 100_000, "is no plan: maximum recursion depth exceeded"),
        (json.dumps({"schema": "x" * 10_000}), r"is no plan: its schema is 'xxx.*\.\.\., not 'duroctl.prune_plan/1'"),
        (json.dumps(prune_plan() | {"instances": "x" * 10_000}), "is no plan: Expected `array`, got `str`"),
    ],
)
def test_what_is_no_plan_or_contradicts_itself_is_refused(
    tmp_path: Path, document: dict[str, Any] | str, said: str
) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        read_plan(written(tmp_path, document))
    assert len(str(caught.value)) < 1_000


def test_a_plan_without_rules_removes_what_was_named_and_nothing_else(tmp_path: Path) -> None:
    plan = without_rules([])
    (item,) = (each for each in plan["instances"][0]["items"] if not each["verdict"]["keep"])
    item["verdict"]["reasons"] = ["named"]
    assert read_plan(written(tmp_path, plan)).totals.executions_removed == 1
    null = plan | {"instances": [plan["instances"][0] | {"rules": None}]}
    with pytest.raises(UsageError, match="has executions that go, and no rules"):
        read_plan(written(tmp_path, null))


def test_a_removal_plan_whose_totals_are_wrong_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="contradicts itself: its totals remove 3 instances, and its items 1"):
        read_removal_plan(written(tmp_path, removal_plan(instances_removed=3)))
    with pytest.raises(UsageError, match="is no plan: maximum recursion depth exceeded"):
        read_removal_plan(written(tmp_path, "[" * 100_000))


def test_a_removal_plan_that_would_cancel_what_it_does_not_name_is_refused(tmp_path: Path) -> None:
    running = {"running": [{"instance_id": "b", "incarnation": 2}], "running_orphans": ["b"]}
    assert read_removal_plan(written(tmp_path, removal_plan() | running)).running[0].incarnation == 2
    for named in ([], ["a"], ["a", "b"]):
        with pytest.raises(UsageError, match="contradicts itself: the instances it would ask to cancel are not those"):
            read_removal_plan(written(tmp_path, removal_plan() | running | {"running_orphans": named}))
