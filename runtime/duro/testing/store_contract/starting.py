"""Starting instances: each id once, each request once, all of a call in one transaction."""

from concurrent.futures import ThreadPoolExecutor

from duro.model.status import ExecutionStatus, InstanceStatus
from duro.stores.base import Store
from duro.testing.builders import completed, start_request
from duro.testing.clock import ManualClock
from duro.testing.scripted import ScriptedWorker
from duro.testing.store_contract.suite import StoreContract


class StartingContract(StoreContract):
    """``start_instances``."""

    def test_a_new_instance_is_pending_and_ready_now(self, store: Store, clock: ManualClock) -> None:
        (outcome,) = store.start_instances([start_request("a", version="2.0.0", input='{"n": 1}')])
        assert (outcome.instance_id, outcome.name, outcome.started) == ("a", "Order", True)
        record = self.instance(store)
        assert record.incarnation == outcome.incarnation
        assert (record.name, record.version, record.status) == ("Order", "2.0.0", InstanceStatus.PENDING)
        assert (record.execution_id, record.turn_sequence, record.event_count, record.history_bytes) == (1, 0, 0, 0)
        assert record.created_at_ms == record.updated_at_ms == record.ready_at_ms == clock.now_ms()
        assert (record.completed_at_ms, record.lease_worker_id, record.parent) == (None, None, None)
        assert (record.custom_status, record.cancel_reason, record.blocked) == (None, None, None)
        assert record.attempt_count == 0
        assert not record.detached

    def test_its_first_execution_is_pending_and_keeps_the_input(self, store: Store, clock: ManualClock) -> None:
        self.start(store, version="2.0.0", input='{"n": 1}')
        history = store.read_history("a", 1)
        assert history is not None
        assert (history.events, history.input) == ((), '{"n": 1}')
        execution = history.execution
        assert (execution.execution_id, execution.version, execution.name) == (1, "2.0.0", "Order")
        assert execution.status is ExecutionStatus.PENDING
        assert (execution.started_at_ms, execution.completed_at_ms) == (clock.now_ms(), None)

    def test_a_taken_id_names_the_instance_that_has_it(self, store: Store) -> None:
        incarnation = self.start(store)
        (outcome,) = store.start_instances([start_request("a", "Child", request_id="another")])
        assert (outcome.incarnation, outcome.name, outcome.started) == (incarnation, "Order", False)
        assert len(store.dump()["instances"]) == 1

    def test_a_finished_instance_keeps_its_id_taken(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        worker.run(worker.take(), completed())
        (outcome,) = store.start_instances([start_request("a", request_id="another")])
        assert not outcome.started

    def test_a_repeated_request_reports_the_instance_it_made(self, store: Store) -> None:
        (first,) = store.start_instances([start_request("a", request_id="r")])
        before = store.dump()
        (again,) = store.start_instances([start_request("a", request_id="r")])
        assert again == first
        assert store.dump() == before

    def test_a_repeated_request_is_recognised_after_the_end(self, store: Store, worker: ScriptedWorker) -> None:
        store.start_instances([start_request("a", request_id="r")])
        worker.run(worker.take(), completed())
        (again,) = store.start_instances([start_request("a", request_id="r")])
        assert again.started
        assert self.instance(store).status is InstanceStatus.COMPLETED

    def test_a_taken_id_does_not_stop_the_others_of_the_call(self, store: Store) -> None:
        self.start(store, "b")
        requests = [start_request("a"), start_request("b", request_id="another"), start_request("c")]
        outcomes = store.start_instances(requests)
        assert [outcome.started for outcome in outcomes] == [True, False, True]
        assert {row["instance_id"] for row in store.dump()["instances"]} == {"a", "b", "c"}

    def test_of_two_requests_for_one_id_in_a_call_the_first_wins(self, store: Store) -> None:
        requests = [start_request("a", "Order", request_id="r1"), start_request("a", "Child", request_id="r2")]
        first, second = store.start_instances(requests)
        assert (first.started, second.started) == (True, False)
        assert (second.incarnation, second.name) == (first.incarnation, "Order")

    def test_the_same_request_twice_in_a_call_is_a_repeat(self, store: Store) -> None:
        first, second = store.start_instances([start_request("a", request_id="r"), start_request("a", request_id="r")])
        assert first.started
        assert second == first

    def test_an_empty_call_starts_nothing(self, store: Store) -> None:
        before = store.dump()
        assert store.start_instances([]) == []
        assert store.dump() == before

    def test_incarnations_grow_in_the_order_of_the_requests(self, store: Store) -> None:
        outcomes = store.start_instances([start_request(name) for name in "cab"])
        numbers = [outcome.incarnation for outcome in outcomes]
        assert numbers == sorted(set(numbers))
        assert self.start(store, "d") > numbers[-1]

    def test_many_threads_starting_one_id_make_one_instance(self, store: Store) -> None:
        def start(number: int) -> bool:
            return store.start_instances([start_request("a", request_id=f"r{number}")])[0].started

        with ThreadPoolExecutor(8) as threads:
            assert sum(threads.map(start, range(32))) == 1
        assert len(store.dump()["instances"]) == 1

    def test_text_of_every_script_survives(self, store: Store) -> None:
        instance_id = "Ж-注文-🧾-'\"%_\\"
        store.start_instances([start_request(instance_id, "Bestellung ß", input='"\\u0000 é 🧾"')])
        assert self.instance(store, instance_id).name == "Bestellung ß"
        history = store.read_history(instance_id, None)
        assert history is not None
        assert history.input == '"\\u0000 é 🧾"'
