"""More work than SQLite puts into one text (1,000,000,000 bytes; here a few thousand)."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

import duro
from duro.model.limits import LEASE_BYTES_MAX
from duro.model.status import InstanceStatus
from duro.stores.sqlite import connection as connection_module
from duro.stores.sqlite.leases import Pace
from duro.testing import check_invariants

BYTES: int = 60_000
PAYLOAD = "x" * 5_000
WAIT_S = 20.0


@pytest.fixture(autouse=True)
def small_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    real = connection_module._connect

    def connect(*arguments: Any) -> apsw.Connection:
        opened = real(*arguments)
        opened.limit(apsw.SQLITE_LIMIT_LENGTH, BYTES)
        return opened

    monkeypatch.setattr(connection_module, "_connect", connect)


registry = duro.Registry()


@registry.activity
async def echo(ctx: duro.ActivityContext, given: str) -> str:
    return given


@registry.orchestration
async def large(ctx: duro.OrchestrationContext, given: str) -> str:
    return await ctx.schedule_activity(echo, given)


@registry.orchestration
async def wide(ctx: duro.OrchestrationContext, width: int) -> int:
    """Its history is several times too large."""
    found = await ctx.join(*[ctx.schedule_activity("echo", PAYLOAD) for _ in range(width)])
    return sum(map(len, found))


@registry.orchestration
async def parent(ctx: duro.OrchestrationContext, width: int) -> int:
    """All its children answer while nobody runs it."""
    found = await ctx.join(*[ctx.schedule_sub_orchestration("large", PAYLOAD) for _ in range(width)])
    return sum(map(len, found))


@registry.orchestration
async def listens(ctx: duro.OrchestrationContext, count: int) -> int:
    found = await ctx.join(*[ctx.wait_for_event("item") for _ in range(count)])
    return sum(map(len, found))


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    url = f"sqlite:///{tmp_path / 'duro.db'}"
    yield url
    store = duro.open_store(url)
    check_invariants(store)
    store.close()


@pytest.mark.parametrize("cache_size", [0, 1000])
def test_work_that_is_too_much_to_be_read_at_once_is_done_bit_by_bit(url: str, cache_size: int) -> None:
    """No worker could lease anything any more, of whatever kind, whoever started it again."""
    with duro.Client(url, registry=registry) as client:
        ids = client.start_orchestrations(
            duro.Start(orchestration="large", input=PAYLOAD, instance_id=f"large-{number}") for number in range(40)
        )
        ids += client.start_orchestrations(
            [
                duro.Start(orchestration="wide", input=30, instance_id="wide"),
                duro.Start(orchestration="parent", input=30, instance_id="parent"),
                duro.Start(orchestration="listens", input=30, instance_id="listens"),
            ]
        )
        for _ in range(30):
            client.raise_event("listens", "item", PAYLOAD)
    with duro.Runtime(url, registry, duro.RuntimeOptions(cache_size=cache_size)) as runtime:
        results = runtime.client.wait_for_orchestrations(ids, WAIT_S)
        assert {result.status for result in results} == {InstanceStatus.COMPLETED}
        assert [result.output for result in results[-3:]] == [30 * len(PAYLOAD)] * 3
        assert runtime.counters.turns_failed == runtime.counters.worker_resets == 0
        history = runtime.client.read_history("wide")
        assert len(history.events) == history.execution.event_count > 60
        assert sum(map(len, history.events)) > 4 * BYTES


def test_activities_that_are_too_much_to_be_leased_at_once_are_leased_bit_by_bit(url: str) -> None:
    """Left in the queue by a worker that does not know them."""
    others = duro.Registry()
    others.orchestration(name="wide")(wide)
    with duro.Runtime(url, others) as runtime:
        runtime.client.start_orchestration("wide", 30, instance_id="wide")
        while runtime.client.get_instance("wide").event_count < 31:
            time.sleep(0.01)
    with duro.Runtime(url, registry) as runtime:
        assert runtime.client.wait_for_orchestration("wide", WAIT_S).output == 30 * len(PAYLOAD)


def test_what_is_handed_out_at_once_follows_from_how_large_it_was_before() -> None:
    pace = Pace()
    pace.read_instances(500, 10 * LEASE_BYTES_MAX)
    pace.read_activities(3, 9 * LEASE_BYTES_MAX)
    assert (pace.instances_max, pace.activities_max) == (50, 1)
    pace.read_instances(50, LEASE_BYTES_MAX)
    pace.read_activities(1, 10)
    assert (pace.instances_max, pace.activities_max) == (100, 2)
