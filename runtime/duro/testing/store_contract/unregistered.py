"""Code that no worker has: which instances wait for it, what says so, and what it never costs them."""

import pytest

from duro.model.records import InstanceFilter
from duro.model.status import BlockedKind
from duro.stores.base import Store
from duro.testing.builders import activity_scheduled, timer_created, wait_started
from duro.testing.clock import ManualClock
from duro.testing.scripted import LEASE_MS, ScriptedWorker
from duro.testing.store_contract.suite import StoreContract


class UnregisteredContract(StoreContract):
    """Unregistered orchestrations, versions and activities."""

    def blocked(self, store: Store, **fields: object) -> dict[str, str | None]:
        """Instance id -> reason, of the listing of blocked instances; each shown alone says the same."""
        page = store.list_instances(InstanceFilter(blocked=True, **fields), 0, None)  # type: ignore[arg-type]
        for record in page.instances:
            assert store.get_instance(record.instance_id) == record
        return {record.instance_id: record.blocked_reason for record in page.instances}

    @pytest.mark.usefixtures("worker")
    def test_an_orchestration_that_no_worker_has_is_listed(self, store: Store) -> None:
        self.start(store, "a", "Unheard")
        self.start(store, "b")
        assert self.blocked(store) == {"a": "waits for a worker that has orchestration 'Unheard'"}
        record = self.instance(store, "a")
        assert (record.blocked, record.attempt_count) == (BlockedKind.UNREGISTERED, 0)
        others = store.list_instances(InstanceFilter(blocked=False), 0, None).instances
        assert [(each.instance_id, each.blocked) for each in others] == [("b", None)]
        everything = store.list_instances(InstanceFilter(), 0, None).instances
        assert [(each.instance_id, each.blocked) for each in everything] == [
            ("b", None),
            ("a", BlockedKind.UNREGISTERED),
        ]

    @pytest.mark.usefixtures("worker")
    def test_a_version_that_no_worker_has_is_listed(self, store: Store) -> None:
        self.start(store, "a", version="3.0.0")
        self.start(store, "b", version="2.0.0")
        assert self.blocked(store) == {"a": "waits for a worker that has orchestration 'Order' 3.0.0"}

    @pytest.mark.usefixtures("worker")
    def test_versions_of_one_name_are_told_apart(self, store: Store) -> None:
        for n, version in enumerate(("3.0.0", "1.0.0", "4.0.0", "3.0.0", "2.0.0", "")):
            self.start(store, f"i{n}", version=version)
        assert list(self.blocked(store)) == ["i3", "i2", "i0"]

    def test_a_version_left_open_is_served_by_any_version(self, store: Store) -> None:
        self.start(store, "a")
        ScriptedWorker(store, orchestrations=[("Order", "7.0.0")])
        assert self.blocked(store) == {}

    def test_an_activity_that_no_worker_has_is_listed(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        worker.run(worker.take(), activity_scheduled("zip"), activity_scheduled("pack"), activity_scheduled("charge"))
        assert self.blocked(store) == {"a": "waits for a worker that has activity 'pack'"}
        assert self.instance(store).ready_at_ms is None

    def test_the_code_of_an_instance_comes_before_its_activities(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        worker.run(worker.take(), activity_scheduled("pack"), wait_started("go"), waits=["go"])
        store.release_worker(worker.worker_id)
        ScriptedWorker(store, "w2", orchestrations=[("Child", "1.0.0")])
        store.raise_event("a", "go", "1", "r")
        assert self.blocked(store) == {"a": "waits for a worker that has orchestration 'Order' 1.0.0"}

    def test_a_stored_block_comes_before_unregistered_code(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        worker.run(worker.take(), activity_scheduled("pack"), wait_started("go"), waits=["go"])
        store.raise_event("a", "go", "1", "r")
        worker.release(worker.take(), blocked=BlockedKind.NONDETERMINISM, reason="event 2")
        assert self.blocked(store) == {"a": "event 2"}

    @pytest.mark.usefixtures("worker")
    def test_without_a_live_worker_nothing_is(self, store: Store, clock: ManualClock) -> None:
        """All of it waits, for any worker."""
        self.start(store, "a", "Unheard")
        clock.advance(LEASE_MS)
        assert self.blocked(store) == {}
        ScriptedWorker(store, "w2", orchestrations=[], activities=[])
        assert set(self.blocked(store)) == {"a"}

    @pytest.mark.usefixtures("worker")
    def test_the_code_of_dead_workers_does_not_count(self, store: Store, clock: ManualClock) -> None:
        ScriptedWorker(store, "short", orchestrations=[("Brief", "1.0.0")], lease_ms=10)
        self.start(store, "a", "Brief")
        assert self.blocked(store) == {}
        clock.advance(10)
        assert set(self.blocked(store)) == {"a"}

    @pytest.mark.usefixtures("worker")
    def test_it_is_over_when_a_worker_with_the_code_comes(self, store: Store) -> None:
        self.start(store, "a", "Unheard")
        assert set(self.blocked(store)) == {"a"}
        assert not store.resume_instance("a")
        late = ScriptedWorker(store, "late", orchestrations=[("Unheard", ""), ("Unheard", "1.0.0")])
        assert self.blocked(store) == {}
        assert late.take().attempt_count == 1

    def test_what_has_nothing_to_do_waits_for_no_code(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        self.start(store)
        worker.run(worker.take(), timer_created(clock.now_ms() + 10))
        store.release_worker(worker.worker_id)
        ScriptedWorker(store, "w2", orchestrations=[], activities=[])
        assert self.blocked(store) == {}
        clock.advance(10)
        assert set(self.blocked(store)) == {"a"}

    @pytest.mark.usefixtures("worker")
    def test_finished_instances_wait_for_nothing(self, store: Store) -> None:
        self.start(store, "a", "Unheard")
        store.terminate_instance("a", "enough")
        assert self.blocked(store) == {}

    @pytest.mark.parametrize("limit", [1, 2, 3])
    def test_pages_hold_every_one_once_newest_first(self, store: Store, worker: ScriptedWorker, limit: int) -> None:
        for n in range(9):
            self.start(store, f"i{n}", ("Unheard", "Unknown", "Order")[n % 3])
        for leased in worker.lease().instances:
            worker.run(leased, activity_scheduled("pack" if leased.instance_id != "i5" else "charge"))
        self.start(store, "poison")
        worker.release(worker.take("poison"), blocked=BlockedKind.POISON, reason="r")
        found: list[str] = []
        cursor = None
        while True:
            page = store.list_instances(InstanceFilter(blocked=True), limit, cursor)
            found += [record.instance_id for record in page.instances]
            assert len(page.instances) <= limit
            cursor = page.next
            if cursor is None:
                break
        assert found == ["poison", "i8", "i7", "i6", "i4", "i3", "i2", "i1", "i0"]
        assert list(self.blocked(store, name="Unknown")) == ["i7", "i4", "i1"]
