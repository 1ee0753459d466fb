"""Purges, clean-ups and prunes by hand, and sweeps, on both stores, one step at a time: what goes, what stays, and what
is refused."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import duro
from duro.stores.base import Store
from duro.stores.memory import MemoryStore
from duro.testing.builders import completed, start_request
from duro.testing.clock import ManualClock
from duro.testing.invariants import check_invariants
from duro.testing.scripted import ScriptedWorker
from tests.support.pruning import open_sqlite

NOW = duro.PurgeOptions(completed_before=10**14)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> Iterator[Store]:
    """An empty store of each kind; the invariants hold when the test is over."""
    opened: Store
    if request.param == "memory":
        opened = MemoryStore(clock=clock, new_id=lambda: "id")
    else:
        opened = open_sqlite(tmp_path / "duro.db", clock)
    yield opened
    check_invariants(opened)
    opened.close()


@pytest.fixture
def worker(store: Store) -> ScriptedWorker:
    return ScriptedWorker(store, lease_ms=10**9)


@pytest.fixture
def client(store: Store) -> duro.Client:
    return duro.Client(store)


def there(client: duro.Client) -> set[str]:
    return {record.instance_id for record in client.list_instances(limit=0).instances}


def end(store: Store, worker: ScriptedWorker, *instance_ids: str, name: str = "Order") -> None:
    """Instances without a parent that have ended."""
    store.start_instances([start_request(each, name) for each in instance_ids])
    for leased in worker.lease().instances:
        if leased.instance_id in instance_ids:
            worker.run(leased, completed())
        else:
            worker.release(leased)


# --- which instances -------------------------------------------------------------------------------------------


def test_a_purge_takes_of_the_instances_named_those_whose_orchestration_is_asked_for(
    store: Store, worker: ScriptedWorker, client: duro.Client
) -> None:
    end(store, worker, "o", "other")
    end(store, worker, "c", name="Child")
    scope = duro.PruneScope(instance_ids=("o", "c"), name="Chi*")
    assert [item.instance_id for item in client.plan_purge(NOW, scope=scope).items] == ["c"]
    assert client.purge_instances(NOW, scope=scope).instances == 1
    assert there(client) == {"o", "other"}
    with pytest.raises(duro.InstanceNotFoundError):
        client.purge_instances(NOW, scope=duro.PruneScope(instance_ids=("o", "nobody"), name="Chi*"))
