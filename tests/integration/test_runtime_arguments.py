"""What a runtime and a store are made of and told, when it is none of that: refused at once, with the remedy."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import duro
from duro.errors import StoreClosedError, StoreUrlError


@pytest.mark.parametrize("options", [1, {}, "fast", duro.RuntimeOptions])
def test_options_that_are_none_are_refused(options: Any) -> None:
    with pytest.raises(duro.UsageError, match=r"options must be duro\.RuntimeOptions, not"):
        duro.Runtime("memory:", duro.Registry(), options)


def test_what_makes_no_event_loop_is_refused_and_the_runtime_can_be_started_again() -> None:
    made: list[Any] = [None]
    runtime = duro.Runtime("memory:", duro.Registry(), new_event_loop=made.pop)
    with pytest.raises(duro.UsageError, match="new_event_loop must make an event loop, not None"):
        runtime.start()
    with pytest.raises(IndexError):  # whatever it raises comes through
        runtime.start()
    runtime.stop()


@pytest.mark.parametrize("drain_s", [float("nan"), "1", None, True])
def test_a_drain_that_is_no_time_is_refused_and_the_runtime_goes_on(drain_s: Any) -> None:
    registry = duro.Registry()

    @registry.orchestration
    async def hello(ctx: duro.OrchestrationContext) -> str:
        return "hello"

    with duro.Runtime("memory:", registry) as runtime:
        with pytest.raises(duro.UsageError, match="drain_s must be seconds, not"):
            runtime.stop(drain_s)
        assert runtime.client.wait_for_orchestration(runtime.client.start_orchestration(hello), 10).output == "hello"


def test_a_store_url_that_is_no_text_is_refused() -> None:
    with pytest.raises(StoreUrlError, match="is not valid UTF-8; rename it"):
        duro.Client("sqlite:///\ud800")


def enter(runtime: duro.Runtime) -> None:
    with runtime:
        pass


def enter_async(runtime: duro.Runtime) -> None:
    async def entered() -> None:
        async with runtime:
            pass

    asyncio.run(entered())


@pytest.mark.parametrize("entering", [enter, enter_async])
def test_a_runtime_that_does_not_start_leaves_no_store_open(
    tmp_path: Path, entering: Callable[[duro.Runtime], None]
) -> None:
    runtime = duro.Runtime(tmp_path / "duro.db", duro.Registry(), new_event_loop=[None].pop)  # type: ignore[arg-type]
    with pytest.raises(duro.UsageError, match="event loop"):
        entering(runtime)
    with pytest.raises(StoreClosedError):
        runtime.client.list_instances()


def test_entering_a_runtime_that_runs_is_refused_and_stops_nothing() -> None:
    with duro.Runtime("memory:", duro.Registry()) as runtime:
        with pytest.raises(duro.UsageError, match="started before"):
            runtime.__enter__()
        assert runtime.client.list_instances().instances == ()
        assert len(runtime.client.list_workers()) == 1
