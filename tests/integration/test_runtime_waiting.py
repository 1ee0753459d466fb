"""Waiting for many orchestrations, sync and async, in the process that runs them and in another store object."""

import asyncio
import threading
from pathlib import Path

import pytest

import duro
from tests.integration.conftest import MakeRuntime

WAIT_S = 20.0

registry = duro.Registry()


@registry.activity
async def double(ctx: duro.ActivityContext, number: int) -> int:
    return 2 * number


@registry.orchestration
async def doubled(ctx: duro.OrchestrationContext, number: int) -> int:
    if number < 0:
        await ctx.wait_for_event("go")
        raise ValueError("less than nothing")
    return await ctx.schedule_activity(double, number)


def starts(*numbers: int) -> list[duro.Start]:
    return [duro.Start(orchestration=doubled, input=number, instance_id=f"i{number}") for number in numbers]


def test_results_come_in_the_order_asked_for_also_those_of_failures(make_runtime: MakeRuntime) -> None:
    client = make_runtime(registry).client
    ids = client.start_orchestrations(starts(*range(-1, 300)))
    client.raise_event("i-1", "go")
    asked = [*reversed(ids), "i7"]
    results = client.wait_for_orchestrations(asked, WAIT_S)
    assert [result.instance_id for result in results] == asked
    assert [result.output for result in results] == [2 * number for number in reversed(range(300))] + [None, 14]
    assert results[300].failure is not None
    assert results[300].failure.message == "less than nothing"
    assert client.wait_for_orchestrations([], WAIT_S) == []


def test_what_has_not_ended_in_time_is_named_and_goes_on(make_runtime: MakeRuntime) -> None:
    client = make_runtime(registry).client
    client.start_orchestrations(starts(1, -1, 2))
    with pytest.raises(duro.WaitTimeoutError, match="'i-1' is still running"):
        client.wait_for_orchestrations(["i1", "i-1", "i2"], 0.3)
    client.raise_event("i-1", "go")
    assert client.wait_for_orchestration("i-1", WAIT_S).status == "failed"


def test_an_instance_that_does_not_exist_is_not_waited_for(make_runtime: MakeRuntime) -> None:
    client = make_runtime(registry).client
    client.start_orchestrations(starts(1))
    with pytest.raises(duro.InstanceNotFoundError, match="'nobody'"):
        client.wait_for_orchestrations(["i1", "nobody"], WAIT_S)


def test_async_waits_hold_no_thread(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime(registry)

    async def wait_for_all() -> list[duro.OrchestrationResult]:
        client = runtime.async_client
        ids = await client.start_orchestrations(starts(*range(-1, 40)))
        waits = [asyncio.create_task(client.wait_for_orchestration(each, WAIT_S)) for each in ids]
        together = asyncio.create_task(client.wait_for_orchestrations(ids, WAIT_S))
        await asyncio.sleep(0.05)
        assert threading.active_count() < 30
        await client.raise_event("i-1", "go")
        results = await together
        assert results == await asyncio.gather(*waits)
        return results

    results = asyncio.run(wait_for_all())
    assert [result.output for result in results] == [None, *(2 * number for number in range(40))]


def test_ends_that_another_store_object_commits_are_noticed(tmp_path: Path) -> None:
    """As if by another process: nobody tells this client."""
    url = f"sqlite:///{tmp_path}/duro.db"
    with duro.Runtime(url, registry) as runtime, duro.Client(url, registry=registry) as client:
        client.start_orchestrations(starts(*range(50), -1))
        release = threading.Timer(0.1, lambda: runtime.client.raise_event("i-1", "go"))
        release.start()
        results = client.wait_for_orchestrations([f"i{number}" for number in (*range(50), -1)], WAIT_S)
        release.join()
    assert [result.output for result in results] == [*(2 * number for number in range(50)), None]
