"""What every topic of the store contract starts from: a fresh store, a clock moved by hand, a scripted worker."""

from collections.abc import Iterator

import pytest

from duro.clock import Clock
from duro.model.records import InstanceRecord
from duro.stores.base import Store
from duro.testing.builders import NAME, start_request
from duro.testing.clock import ManualClock
from duro.testing.invariants import check_invariants
from duro.testing.scripted import ScriptedWorker


class StoreContract:
    """Subclasses say how a store is made; the tests are inherited. The invariants are checked after every one."""

    def make_store(self, clock: Clock) -> Store:
        """A new, empty store that takes its time from ``clock``."""
        raise NotImplementedError

    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    @pytest.fixture
    def store(self, clock: ManualClock) -> Iterator[Store]:
        store = self.make_store(clock)
        try:
            yield store
            check_invariants(store)
            assert [each for each in store.checkup() if each.count and each.severity == "error"] == []
        finally:
            store.close()

    @pytest.fixture
    def worker(self, store: Store) -> ScriptedWorker:
        return ScriptedWorker(store)

    @staticmethod
    def start(store: Store, instance_id: str = "a", name: str = NAME, *, version: str = "", input: str = "null") -> int:
        """Start an instance; its incarnation."""
        (outcome,) = store.start_instances([start_request(instance_id, name, version=version, input=input)])
        assert outcome.started
        return outcome.incarnation

    @staticmethod
    def instance(store: Store, instance_id: str = "a") -> InstanceRecord:
        """An instance that is there."""
        record = store.get_instance(instance_id)
        assert record is not None
        return record
