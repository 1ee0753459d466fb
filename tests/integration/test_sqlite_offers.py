"""A worker that waits gets what a client writes in the transaction that writes it."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

import duro
from duro.clock import SystemClock
from duro.errors import CommitUnknownError, InstanceNotFoundError
from duro.model.turns import CommitBatch, CommitResult, LeaseResult
from duro.stores.base import LeaseOffer
from duro.stores.sqlite import SqliteStore
from duro.testing.builders import start_request, turn, wait_started
from duro.testing.scripted import ScriptedWorker


class Faults:
    def __init__(self) -> None:
        self.at: str | None = None

    def __call__(self, point: str) -> None:
        if point == self.at:
            self.at = None
            raise apsw.IOError("planted")


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def store(tmp_path: Path, faults: Faults) -> Iterator[SqliteStore]:
    opened = SqliteStore.open(
        tmp_path / "duro.db", url="sqlite:///duro.db", clock=SystemClock(), new_id=lambda: "s", faults=faults
    )
    yield opened
    opened.close()


@pytest.fixture
def worker(store: SqliteStore) -> ScriptedWorker:
    return ScriptedWorker(store)


def offer(store: SqliteStore, worker: ScriptedWorker, **fields: Any) -> list[LeaseResult | None]:
    delivered: list[LeaseResult | None] = []
    store.offer_lease(LeaseOffer(worker.worker_id, worker.request(**fields), delivered.append))
    return delivered


def ids(delivered: list[LeaseResult | None]) -> list[list[str] | None]:
    return [None if each is None else [one.instance_id for one in each.instances] for each in delivered]


def test_a_start_is_leased_as_it_is_written_and_uses_the_offer_up(store: SqliteStore, worker: ScriptedWorker) -> None:
    delivered = offer(store, worker)
    commits = store.change_counter()[1]
    store.start_instances([start_request("a"), start_request("b")])
    assert store.change_counter()[1] == commits + 1
    assert ids(delivered) == [["a", "b"]]
    store.start_instances([start_request("c")])
    assert ids(delivered) == [["a", "b"]]
    assert [each.instance_id for each in worker.lease().instances] == ["c"]


def test_what_was_delivered_is_a_lease_like_any_other(store: SqliteStore, worker: ScriptedWorker) -> None:
    delivered = offer(store, worker)
    store.start_instances([start_request("a")])
    assert delivered[0] is not None
    worker.run(delivered[0].instances[0], wait_started("go"), waits=["go"])
    delivered = offer(store, worker)
    store.raise_event("a", "go", "1", "r")
    assert ids(delivered) == [["a"]]
    assert delivered[0] is not None
    assert [event.data for event in delivered[0].instances[0].mailbox] == ["1"]


def test_the_offer_says_how_much(store: SqliteStore, worker: ScriptedWorker) -> None:
    delivered = offer(store, worker, instances=2)
    store.start_instances([start_request(each) for each in "abc"])
    assert ids(delivered) == [["a", "b"]]


def test_a_write_that_is_refused_leaves_the_offer(store: SqliteStore, worker: ScriptedWorker) -> None:
    delivered = offer(store, worker)
    with pytest.raises(InstanceNotFoundError):
        store.raise_event("nobody", "go", "1", "r")
    assert delivered == []
    store.start_instances([start_request("a")])
    assert ids(delivered) == [["a"]]


def test_after_an_unknown_outcome_the_worker_is_told_to_look(
    store: SqliteStore, worker: ScriptedWorker, faults: Faults
) -> None:
    delivered = offer(store, worker)
    faults.at = "commit.after"
    with pytest.raises(CommitUnknownError):
        store.start_instances([start_request("a")])
    assert delivered == [None]
    assert len(store.held_instances("w1")) == 1


def test_an_offer_can_be_taken_back_and_replaced(store: SqliteStore, worker: ScriptedWorker) -> None:
    first, second = offer(store, worker), offer(store, worker)
    store.start_instances([start_request("a")])
    assert (ids(first), ids(second)) == ([], [["a"]])
    third = offer(store, worker)
    store.withdraw_offer("w1")
    store.start_instances([start_request("b")])
    assert third == []


def test_the_worker_that_has_waited_longest_is_served_first(store: SqliteStore, worker: ScriptedWorker) -> None:
    other = ScriptedWorker(store, "w2")
    first, second = offer(store, worker), offer(store, other)
    store.start_instances([start_request("a")])
    store.start_instances([start_request("b")])
    assert (ids(first), ids(second)) == ([["a"]], [["b"]])


def test_the_offer_of_a_worker_that_is_gone_takes_nothing(store: SqliteStore, worker: ScriptedWorker) -> None:
    delivered = offer(store, worker)
    store.release_worker("w1")
    store.start_instances([start_request("a")])
    assert ids(delivered) == [[]]
    assert store.dump()["instances"][0]["lease_worker_id"] is None


def test_a_stale_delivery_commits_nothing(store: SqliteStore, worker: ScriptedWorker) -> None:
    """The worker's leases were taken back between the write and the delivery."""
    delivered = offer(store, worker)
    store.start_instances([start_request("a")])
    store.release_worker("w1")
    other = ScriptedWorker(store, "w2")
    other.run(other.take("a"), wait_started("go"), waits=["go"])
    assert delivered[0] is not None
    stale = turn(delivered[0].instances[0], at_ms=1)
    assert [str(each) for each in worker.commit(stale).turns] == ["fenced"]


@pytest.mark.parametrize("also_held", [True, False], ids=["kept", "released"])
def test_what_was_leased_before_a_turn_of_the_same_instance_was_committed_is_not_taken_after_it(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch, also_held: bool
) -> None:
    """An event rides on the worker's offer just before the commit of a turn of the instance it is for: what it brings
    is of the past when the worker gets to it."""
    registry = duro.Registry()

    @registry.activity
    async def rest(ctx: duro.ActivityContext) -> None:
        await asyncio.sleep(0.005)

    @registry.orchestration
    async def busy(ctx: duro.OrchestrationContext) -> list[str]:
        waits = [ctx.wait_for_event("go", str) for _ in range(20)]
        for _ in range(20):
            await (ctx.schedule_activity(rest) if also_held else ctx.schedule_timer(0.005))
        return [await each for each in waits]

    commit, raised = store.commit, list[str]()

    def commit_late(batch: CommitBatch) -> CommitResult:
        if batch.turns and len(raised) < 20 and batch.turns[0].end is None:
            raised.append(str(len(raised)))
            store.raise_event("i", "go", f'"{raised[-1]}"', raised[-1])
        return commit(batch)

    with duro.Runtime(store, registry) as runtime:
        runtime.client.start_orchestration(busy, instance_id="i")
        monkeypatch.setattr(store, "commit", commit_late)
        assert runtime.client.wait_for_orchestration("i", 10).output == raised
        assert runtime.counters.turns_fenced == 0
