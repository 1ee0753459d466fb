"""A long chain of instances none of which waits for the next, on both stores: each link is an orphan, and all that come
after it are its family. What stays is not read once for each link, in the transactions that others wait for."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

import duro
from duro.maintenance import families
from duro.maintenance.file_sources import with_file
from duro.maintenance.sweep import Sweep
from duro.model.families import Family, RemovalBatch, RemovalOutcome
from duro.model.limits import REMOVAL_INSTANCES_MAX
from duro.model.policies import PolicySources
from duro.model.status import ParentPolicy
from duro.settings.files import load_settings
from duro.stores.base import Store
from duro.testing import ManualClock
from duro.testing.builders import child_scheduled, completed, start_request, wait_started
from duro.testing.scripted import ScriptedWorker
from tests.support.pruning import store_of_kind

LINKS = 2 * REMOVAL_INSTANCES_MAX
FIRST, LAST = "l000", f"l{LINKS - 1:03}"


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty store of each kind; the invariants hold when the test is over."""
    with store_of_kind(request.param, tmp_path, ManualClock()) as opened:
        yield opened


@pytest.fixture
def worker(store: Store) -> ScriptedWorker:
    """Of a store with such a chain, whose last link runs."""
    worker = ScriptedWorker(store, lease_ms=10**9)
    store.start_instances([start_request(FIRST)])
    for one, other in pairwise([f"l{number:03}" for number in range(LINKS)]):
        spawned = child_scheduled(other, on_parent_end=ParentPolicy.ABANDON)
        worker.run(worker.take(one), spawned, completed())
    worker.run(worker.take(LAST), wait_started("go"), waits=["go"])
    return worker


@pytest.fixture
def orders(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many orders each transaction that removes is given, from now on."""
    found: list[int] = []
    remove = store.remove

    def counted(batch: RemovalBatch, *, durable: bool = True) -> list[RemovalOutcome]:
        found.append(len(batch.orders))
        return remove(batch, durable=durable)

    monkeypatch.setattr(store, "remove", counted)
    return found


def test_a_clean_up_looks_at_no_link_again_once_the_last_one_was_seen_to_run(
    store: Store, worker: ScriptedWorker, orders: list[int]
) -> None:
    client = duro.Client(store)
    assert client.cleanup_orphaned_instances(min_age=0, grace_s=0).families == 0
    assert orders == [REMOVAL_INSTANCES_MAX]
    store.terminate_instance(LAST, "enough")
    done = client.cleanup_orphaned_instances(min_age=0, grace_s=0)
    assert (done.families, done.instances) == (1, LINKS - 1)


def test_a_sweep_looks_at_no_link_again_once_the_last_one_was_seen_to_run(
    store: Store, worker: ScriptedWorker, orders: list[int], tmp_path: Path
) -> None:
    file = tmp_path / "runtime_config.toml"
    file.write_text('[orphans]\nenabled = true\nmin_age = "0s"\n')
    sources = with_file(PolicySources(orchestrations=(("Order", "1.0.0"),)), load_settings(file, str(file)))
    store.publish(worker.worker_id, msgspec.json.encode(sources).decode())
    swept = Sweep(store)
    while swept.step():
        pass
    assert orders == [50]
    store.terminate_instance(LAST, "enough")
    swept = Sweep(store)
    while swept.step():
        pass
    assert [each.instance_id for each in duro.Client(store).list_instances().instances] == [FIRST]


def test_what_is_too_young_is_not_looked_at_in_a_transaction(
    store: Store, worker: ScriptedWorker, orders: list[int]
) -> None:
    assert duro.Client(store).cleanup_orphaned_instances(min_age=3600).families == 0
    assert orders == []


def test_a_plan_reads_no_family_of_a_link_that_goes_with_another(
    store: Store, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.terminate_instance(LAST, "enough")
    monkeypatch.setattr(families, "_FAMILIES_A_READ", 10)
    read: list[int] = []
    families_of = store.families

    def counted(asked: Sequence[int]) -> list[Family]:
        read.append(len(asked))
        return families_of(asked)

    monkeypatch.setattr(store, "families", counted)
    plan = duro.Client(store).plan_orphan_cleanup(min_age=0)
    assert [(item.instance_id, item.instances) for item in plan.items] == [("l001", LINKS - 1)]
    assert sum(read) == 10
