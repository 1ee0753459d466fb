"""Registries: the retention policies that orchestrations are registered with, and where each was said."""

import functools
import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from duro import AutoPrune, InvalidRulesError, PruneOptions, Registry
from duro.model.policies import StatedPolicy
from duro.model.retention import PolicyKind, PolicyOrigin


async def _poll(ctx: Any) -> None: ...


def _line_of(function: Callable[..., Any]) -> int:
    return inspect.getsourcelines(function)[1]


PLACE: Final = "/".join(__name__.split(".")) + ".py"
"""This file, as it is imported."""


def test_a_registration_keeps_its_policy_and_where_it_stands() -> None:
    registry = Registry()

    @registry.orchestration(version="2.0.0", auto_prune=AutoPrune(keep_last=5, every_n_executions=10))
    async def poll(ctx: Any) -> None: ...

    definition = registry.find_orchestration("poll")
    assert definition is not None
    assert definition.auto_prune == AutoPrune(keep_last=5, every_n_executions=10)
    assert definition.place == f"{PLACE}:{_line_of(poll)}"


def test_an_int_stands_for_keep_last() -> None:
    registry = Registry()
    registry.orchestration(auto_prune=3)(_poll)
    assert [stated.policy for stated in registry.policies] == [AutoPrune(keep_last=3)]


def test_the_policies_are_those_of_every_version_that_brings_one_from_old_to_new() -> None:
    registry = Registry()
    for version, auto_prune in (("1.10.0", 2), ("1.9.0", AutoPrune(keep_within=60)), ("2.0.0", None)):
        registry.orchestration(name="poll", version=version, auto_prune=auto_prune)(_poll)
    registry.orchestration(name="audit", auto_prune=1)(_poll)
    registry.orchestration(name="plain")(_poll)
    origin = registry.policies[0].origin
    assert origin.kind is PolicyKind.REGISTRATION
    assert registry.policies == (
        StatedPolicy(policy=AutoPrune(keep_last=1), origin=origin, name="audit", version="1.0.0"),
        StatedPolicy(policy=AutoPrune(keep_within=60), origin=origin, name="poll", version="1.9.0"),
        StatedPolicy(policy=AutoPrune(keep_last=2), origin=origin, name="poll", version="1.10.0"),
    )


def test_a_registration_without_a_policy_says_nothing() -> None:
    registry = Registry()
    registry.orchestration(_poll)
    definition = registry.find_orchestration("_poll")
    assert definition is not None
    assert definition.auto_prune is None
    assert registry.policies == ()


@pytest.mark.parametrize(
    ("auto_prune", "said"),
    [
        (0, "AutoPrune.keep_last must be a whole number from 1"),
        (-1, "AutoPrune.keep_last must be a whole number from 1"),
        (True, r"auto_prune must be AutoPrune or a whole number \(keep_last\), not True"),
        ("never", r"auto_prune must be AutoPrune or a whole number \(keep_last\), not 'never'"),
        (PruneOptions(keep_last=1), "auto_prune must be AutoPrune or a whole number"),
        (float("nan"), "auto_prune must be AutoPrune or a whole number"),
    ],
)
def test_what_is_no_policy_is_refused_with_the_name_and_registers_nothing(auto_prune: Any, said: str) -> None:
    registry = Registry()
    with pytest.raises(InvalidRulesError, match=f"^orchestration '_poll' version 1.4.0 cannot be registered: {said}"):
        registry.orchestration(version="1.4.0", auto_prune=auto_prune)(_poll)
    assert (registry.orchestrations, registry.policies) == ((), ())
    registry.orchestration(version="1.4.0", auto_prune=1)(_poll)
    assert registry.orchestrations == (("_poll", "1.4.0"),)


def test_a_function_that_is_wrapped_is_shown_where_it_was_written() -> None:
    def wrapping(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        async def wrapper(ctx: Any) -> None:
            await function(ctx)

        return wrapper

    registry = Registry()
    registry.orchestration(auto_prune=1)(wrapping(_poll))
    assert registry.policies[0].origin.text.endswith(f":{_line_of(_poll)}")


def test_workers_say_the_same_wherever_they_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    registry = Registry()
    registry.orchestration(auto_prune=1)(_poll)
    assert registry.policies[0].origin == PolicyOrigin(PolicyKind.REGISTRATION, f"{PLACE}:{_line_of(_poll)}")


def test_a_package_is_named_by_its_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "a_shop_of_its_own" / "jobs"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("\nasync def poll(ctx): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    jobs = importlib.import_module("a_shop_of_its_own.jobs")
    registry = Registry()
    registry.orchestration(auto_prune=1)(jobs.poll)
    assert registry.policies[0].origin.text == "a_shop_of_its_own/jobs/__init__.py:2"
