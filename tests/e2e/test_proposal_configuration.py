"""The configuration file of the proposal, word for word, in force in a running worker, and changed under it."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

import duro

PROPOSAL = """\
# runtime_config.toml
[pruning]
enabled = true
default_keep_last = 5
triggers = ["continue_as_new"]

[pruning.overrides."EternalProcessor"]
keep_last = 1
"""
WAIT_S = 20.0

registry = duro.Registry()


@registry.orchestration(name="EternalProcessor")
async def eternal_processor(ctx: duro.OrchestrationContext) -> None:
    await ctx.wait_for_event("next")
    await ctx.continue_as_new()


@registry.orchestration(name="Other")
async def other(ctx: duro.OrchestrationContext) -> None:
    await ctx.wait_for_event("next")
    await ctx.continue_as_new()


def until(happened: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while not happened():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.01)


def go_on(client: duro.Client, instance_id: str, executions: int) -> list[int]:
    """Let the instance continue as new so many times; its live executions, oldest first."""
    for _ in range(executions):
        before = client.get_instance(instance_id).execution_id
        client.raise_event(instance_id, "next")
        until(lambda: client.get_instance(instance_id).execution_id == before + 1, "it did not go on")  # noqa: B023
    return [each.execution_id for each in reversed(client.list_executions(instance_id, limit=0).executions)]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "runtime_config.toml"
    path.write_text(PROPOSAL)
    return path


def refusals(client: duro.Client) -> list[str]:
    """What the doctor says of files that workers do not apply."""
    (check,) = [each for each in client.checkup() if each.name == "settings-refused"]
    return [finding.text for finding in check.findings]


def test_it_is_in_force_and_changes_are_applied_while_the_worker_runs(config: Path, tmp_path: Path) -> None:
    with duro.Runtime(f"sqlite:///{tmp_path}/duro.db", registry, config=config) as runtime:
        client = runtime.client
        client.start_orchestration("EternalProcessor", instance_id="processor")
        client.start_orchestration("Other", instance_id="other")
        assert go_on(client, "processor", 4) == [5]
        assert go_on(client, "other", 7) == [4, 5, 6, 7, 8]

        before = client.store.published_policies().revision
        config.write_text(PROPOSAL.replace("keep_last = 1", "keep_last = 3"))
        until(lambda: client.store.published_policies().revision > before, "the change was not applied")
        assert go_on(client, "processor", 4) == [7, 8, 9]

        config.write_text(PROPOSAL.replace("keep_last = 1", "keep_lats = 1\ndefault = 2"))
        until(lambda: runtime.settings_problem is not None, "nobody noticed")
        problem = runtime.settings_problem
        assert problem is not None
        assert len(problem.problems) >= 2
        assert problem.problems[0].place.endswith("runtime_config.toml:8:1")
        assert "keep_last" in (problem.problems[0].hint or "") + problem.problems[0].message
        until(lambda: refusals(client) != [], "the doctor does not show it")
        (refusal,) = refusals(client)
        first = '"keep_lats" in [pruning.overrides."EternalProcessor"]; did you mean keep_last?'
        assert refusal.endswith(f"{first} (and {len(problem.problems) - 1} more)")
        assert go_on(client, "processor", 2) == [9, 10, 11], "the last good settings stay in force"

        config.unlink()
        until(lambda: "does not exist" in str(runtime.settings_problem), "nobody noticed that it is gone")
        assert go_on(client, "processor", 1) == [10, 11, 12]

        config.write_text(PROPOSAL.replace("enabled = true", "enabled = false"))
        until(lambda: runtime.settings_problem is None, "the good file was not applied")
        until(lambda: not refusals(client), "the doctor still shows what was mended")
        assert go_on(client, "processor", 3) == [10, 11, 12, 13, 14, 15]

        told = client.explain_policy("processor")
        assert told.united is not None
        assert told.united.policies is None
        assert told.chains[0].stopped_by == f"enabled = false in {config}"


def test_a_runtime_does_not_start_on_a_file_that_is_absent_or_wrong(config: Path, tmp_path: Path) -> None:
    with pytest.raises(duro.DuroError, match="does not exist"):
        duro.Runtime("memory:", registry, config=tmp_path / "nothing.toml")
    config.write_text("[pruning]\nenabled = 1\ndefault_keep_last = 0\n")
    with pytest.raises(duro.DuroError) as caught:
        duro.Runtime("memory:", registry, config=config)
    assert "runtime_config.toml:2:" in str(caught.value)
    assert "1 more" in str(caught.value)


def test_a_store_can_be_named_by_the_file_alone(config: Path, tmp_path: Path) -> None:
    config.write_text('[store]\nurl = "sqlite:///named.db"\n' + PROPOSAL)
    with duro.Runtime(None, registry, config=config) as runtime:
        runtime.client.start_orchestration("Other", instance_id="other")
    assert (tmp_path / "named.db").exists()
    config.write_text(PROPOSAL)
    with pytest.raises(duro.UsageError, match="no store is named"):
        duro.Runtime(None, registry, config=config)
