"""More work than a worker is handed at once, and than SQLite puts into one text (1,000,000,000 bytes; here a few
thousand)."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import apsw
import pytest

import duro
from duro.model.status import InstanceStatus
from duro.model.turns import CommitBatch, CommitResult, LeaseRequest, LeaseResult
from duro.stores.sqlite import SqliteStore
from duro.stores.sqlite import connection as connection_module
from duro.testing import check_invariants

BYTES: int = 60_000
AT_ONCE: int = 20_000
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
    monkeypatch.setattr("duro.stores.sqlite.leases.LEASE_BYTES_MAX", AT_ONCE)
    monkeypatch.setattr("duro.host.turns.LEASE_BYTES_MAX", AT_ONCE)


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


@registry.orchestration
async def keeps(ctx: duro.OrchestrationContext, given: str) -> int:
    await ctx.wait_for_event("go")
    return len(given)


@registry.orchestration
async def goes_on(ctx: duro.OrchestrationContext, steps: int) -> int:
    return sum([len(await ctx.schedule_activity(echo, PAYLOAD)) for _ in range(steps)])


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


class Handed:
    """What stores hand out: the bytes of each answer that is of more than one thing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.leases: list[int] = []
        self.histories: list[int] = []
        self.most = 0
        commit, lease, load = SqliteStore.commit, SqliteStore.lease, SqliteStore.load_histories

        def committed(store: SqliteStore, batch: CommitBatch) -> CommitResult:
            result = commit(store, batch)
            self._leased(result.leased)
            return result

        def leased(store: SqliteStore, worker_id: str, request: LeaseRequest) -> LeaseResult:
            result = lease(store, worker_id, request)
            self._leased(result)
            return result

        def loaded(store: SqliteStore, executions: Sequence[tuple[int, int]]) -> list[tuple[str, ...]]:
            histories = load(store, executions)
            if len(histories) > 1:
                self.histories.append(sum(len(event) for history in histories for event in history))
            return histories

        monkeypatch.setattr(SqliteStore, "commit", committed)
        monkeypatch.setattr(SqliteStore, "lease", leased)
        monkeypatch.setattr(SqliteStore, "load_histories", loaded)

    def _leased(self, result: LeaseResult) -> None:
        sizes = [len(each.input) for each in result.activities]
        for instance in result.instances:
            texts = [instance.input or "", *(message.data for message in instance.messages)]
            sizes += [sum(map(len, texts)), *(len(event.data) for event in instance.mailbox)]
        self.most = max(self.most, sum(size > len(PAYLOAD) for size in sizes))
        if len(sizes) > 1:
            self.leases.append(sum(sizes))


def test_a_worker_is_never_handed_more_than_is_handed_out_at_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From its first lease on: one that cannot hold what it gets would be given it again and again."""
    with duro.Client(url, registry=registry) as client:
        ids = client.start_orchestrations(
            duro.Start(orchestration="large", input=PAYLOAD, instance_id=f"large-{number}") for number in range(20)
        )
        ids.append(client.start_orchestration("listens", 20, instance_id="listens"))
        for _ in range(20):
            client.raise_event("listens", "item", PAYLOAD)
    handed = Handed(monkeypatch)
    with duro.Runtime(url, registry, duro.RuntimeOptions(cache_size=0)) as runtime:
        results = runtime.client.wait_for_orchestrations(ids, WAIT_S)
        assert {result.status for result in results} == {InstanceStatus.COMPLETED}
    assert 2 <= handed.most <= AT_ONCE // len(PAYLOAD)
    assert max(handed.leases) <= AT_ONCE


def test_histories_are_read_bit_by_bit_and_none_in_vain(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with duro.Runtime(url, registry) as runtime:
        ids = runtime.client.start_orchestrations(
            duro.Start(orchestration="keeps", input=PAYLOAD, instance_id=f"keeps-{number}") for number in range(12)
        )
        for instance_id in ids:
            while not runtime.client.get_instance(instance_id).event_count:
                time.sleep(0.01)
    with duro.Client(url, registry=registry) as client:
        for instance_id in ids:
            client.raise_event(instance_id, "go")
    handed = Handed(monkeypatch)
    monkeypatch.setattr("duro.host.turns.LEASE_BYTES_MAX", 3 * len(PAYLOAD))
    options = duro.RuntimeOptions(lease_s=0.1)
    with duro.Runtime(url, registry, options) as runtime:
        assert {each.output for each in runtime.client.wait_for_orchestrations(ids, WAIT_S)} == {len(PAYLOAD)}
        assert runtime.counters.executions_replayed == 12
    assert 0 < max(handed.histories) <= 3 * len(PAYLOAD)
    assert sum(handed.histories) <= 13 * len(PAYLOAD)


def test_answers_in_time_are_not_overtaken_by_timers_where_they_are_handed_out_bit_by_bit(url: str) -> None:
    orchestrations, activities, timeout_s = duro.Registry(), duro.Registry(), 3.0
    activities.activity(name="echo")(echo)

    @orchestrations.orchestration
    async def races(ctx: duro.OrchestrationContext, width: int) -> list[int]:
        races = [
            ctx.select(ctx.schedule_activity("echo", PAYLOAD), ctx.schedule_timer(timeout_s)) for _ in range(width)
        ]
        return [winner for winner, _ in await ctx.join(*races)]

    @orchestrations.orchestration
    async def limited(ctx: duro.OrchestrationContext, width: int) -> int:
        asked = [ctx.schedule_activity("echo", PAYLOAD, total_timeout=timeout_s) for _ in range(width)]
        return len(await ctx.join(*asked))

    with duro.Runtime(url, orchestrations) as runtime:
        ids = [runtime.client.start_orchestration(name, 20, instance_id=name) for name in ("races", "limited")]
        while min(runtime.client.get_instance(each).event_count for each in ids) < 21:
            time.sleep(0.01)
        begun_s = time.monotonic()
    with duro.Runtime(url, activities) as runtime:
        while runtime.counters.activities_succeeded < 40:
            time.sleep(0.01)
    in_time_s = begun_s + timeout_s - time.monotonic()
    assert in_time_s > 0, "they did not end in time"
    time.sleep(in_time_s + 0.2)
    with duro.Runtime(url, orchestrations) as runtime:
        assert runtime.client.wait_for_orchestration("races", WAIT_S).output == [0] * 20
        assert runtime.client.wait_for_orchestration("limited", WAIT_S).output == 20


def test_the_histories_of_instances_that_are_held_are_read_by_the_size_they_have(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed = Handed(monkeypatch)
    with duro.Runtime(url, registry, duro.RuntimeOptions(cache_size=0)) as runtime:
        ids = runtime.client.start_orchestrations(duro.Start(orchestration="goes_on", input=4) for _ in range(8))
        outputs = [each.output for each in runtime.client.wait_for_orchestrations(ids, WAIT_S)]
        assert outputs == [4 * len(PAYLOAD)] * 8
    assert 0 < max(handed.histories) <= AT_ONCE
