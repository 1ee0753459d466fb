"""What clients read: pages, filters, histories, numbers."""

import pytest

from duro.errors import UsageError
from duro.model.records import InstanceEnd, InstanceFilter
from duro.model.space import NameUsage
from duro.model.status import BlockedKind, ExecutionStatus, InstanceStatus
from duro.stores.base import Store
from duro.testing.builders import (
    completed,
    continued_as_new,
    encoded,
    failed,
    start_request,
    started,
    wait_started,
)
from duro.testing.clock import ManualClock
from duro.testing.scripted import ScriptedWorker
from duro.testing.store_contract.suite import StoreContract

ZOO = (
    ("done", "Order"),
    ("bad", "Order"),
    ("badchild", "Child"),
    ("stuck", "Order"),
    ("runs", "Child"),
    ("dead", "Order"),
)

EVERYTHING = InstanceFilter()

BAD_CURSORS = pytest.mark.parametrize("cursor", ["", "x", "0x1", "-1", " 5", "1_000", "１", "5.5.5.5", "None", "'; --"])


def _listed(store: Store, where: InstanceFilter = EVERYTHING) -> list[str]:
    return [record.instance_id for record in store.list_instances(where, 0, None).instances]


class InstanceReadsContract(StoreContract):
    """``get_instance`` and ``list_instances``."""

    def test_an_unknown_instance_is_none(self, store: Store) -> None:
        assert store.get_instance("nobody") is None

    def test_instances_are_listed_newest_first(self, store: Store) -> None:
        store.start_instances([start_request(name) for name in "cab"])
        assert _listed(store) == ["b", "a", "c"]

    def test_a_listing_shows_what_get_shows(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        worker.run(worker.take(), wait_started("go"), waits=["go"], custom_status="1")
        (listed,) = store.list_instances(EVERYTHING, 10, None).instances
        assert listed == store.get_instance("a")

    def test_an_empty_store_has_an_empty_page(self, store: Store) -> None:
        page = store.list_instances(EVERYTHING, 10, None)
        assert (page.instances, page.next) == ((), None)

    @pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 6])
    def test_pages_follow_each_other_without_gaps(self, store: Store, limit: int) -> None:
        store.start_instances([start_request(f"i{number}") for number in range(5)])
        found, cursor = [], None
        while True:
            page = store.list_instances(EVERYTHING, limit, cursor)
            assert 1 <= len(page.instances) <= limit
            found += [record.instance_id for record in page.instances]
            cursor = page.next
            if cursor is None:
                break
        assert found == ["i4", "i3", "i2", "i1", "i0"]

    def test_a_full_last_page_has_no_next(self, store: Store) -> None:
        store.start_instances([start_request("a"), start_request("b")])
        assert store.list_instances(EVERYTHING, 2, None).next is None

    def test_a_limit_of_zero_means_all(self, store: Store) -> None:
        store.start_instances([start_request(f"i{number}") for number in range(150)])
        page = store.list_instances(EVERYTHING, 0, None)
        assert (len(page.instances), page.next) == (150, None)
        first = store.list_instances(EVERYTHING, 100, None)
        assert len(store.list_instances(EVERYTHING, 0, first.next).instances) == 50

    def test_what_starts_while_paging_does_not_shift_the_pages(self, store: Store) -> None:
        store.start_instances([start_request(f"i{number}") for number in range(4)])
        first = store.list_instances(EVERYTHING, 2, None)
        self.start(store, "new")
        second = store.list_instances(EVERYTHING, 2, first.next)
        assert [record.instance_id for record in second.instances] == ["i1", "i0"]

    def _zoo(self, store: Store, worker: ScriptedWorker) -> None:
        """One instance of each state, and an Order and a Child of some."""
        store.start_instances([start_request(instance_id, name) for instance_id, name in ZOO])
        leased = {instance.instance_id: instance for instance in worker.lease().instances}
        worker.run(leased["done"], completed())
        worker.run(leased["bad"], failed())
        worker.run(leased["badchild"], failed())
        worker.run(leased["runs"], wait_started("go"), waits=["go"])
        worker.release(leased["stuck"], blocked=BlockedKind.POISON, reason="r")
        store.terminate_instance("dead", "r")
        self.start(store, "new")

    def test_filters_choose_by_status(self, store: Store, worker: ScriptedWorker) -> None:
        self._zoo(store, worker)
        expected = {
            InstanceStatus.PENDING: ["new", "stuck"],
            InstanceStatus.RUNNING: ["runs"],
            InstanceStatus.COMPLETED: ["done"],
            InstanceStatus.FAILED: ["badchild", "bad"],
            InstanceStatus.CANCELLED: [],
            InstanceStatus.TERMINATED: ["dead"],
        }
        for status, instance_ids in expected.items():
            assert _listed(store, InstanceFilter(statuses=(status,))) == instance_ids

    def test_filters_choose_by_several_statuses(self, store: Store, worker: ScriptedWorker) -> None:
        self._zoo(store, worker)
        statuses = (InstanceStatus.TERMINATED, InstanceStatus.COMPLETED, InstanceStatus.FAILED)
        assert _listed(store, InstanceFilter(statuses=statuses)) == ["dead", "badchild", "bad", "done"]
        unfinished = (InstanceStatus.RUNNING, InstanceStatus.PENDING)
        assert _listed(store, InstanceFilter(statuses=unfinished)) == ["new", "runs", "stuck"]

    def test_a_filter_that_matches_nothing_is_not_no_filter(self, store: Store, worker: ScriptedWorker) -> None:
        """Elsewhere, a filter of impossible statuses collapsed to no filter."""
        self._zoo(store, worker)
        assert _listed(store, InstanceFilter(statuses=(InstanceStatus.CANCELLED,))) == []
        assert _listed(store, InstanceFilter(name="Unknown")) == []
        assert _listed(store, InstanceFilter(name="")) == []

    def test_filters_choose_by_exact_name(self, store: Store, worker: ScriptedWorker) -> None:
        self._zoo(store, worker)
        assert _listed(store, InstanceFilter(name="Child")) == ["runs", "badchild"]
        assert _listed(store, InstanceFilter(name="child")) == []
        assert _listed(store, InstanceFilter(name="Chil")) == []
        assert _listed(store, InstanceFilter(name="%")) == []

    def test_filters_choose_by_blocked(self, store: Store, worker: ScriptedWorker) -> None:
        self._zoo(store, worker)
        assert _listed(store, InstanceFilter(blocked=True)) == ["stuck"]
        assert _listed(store, InstanceFilter(blocked=False)) == ["new", "dead", "runs", "badchild", "bad", "done"]

    def test_all_filters_must_match(self, store: Store, worker: ScriptedWorker) -> None:
        self._zoo(store, worker)
        failed_ones = (InstanceStatus.FAILED,)
        assert _listed(store, InstanceFilter(statuses=failed_ones, name="Child")) == ["badchild"]
        assert _listed(store, InstanceFilter(statuses=failed_ones, name="Child", blocked=True)) == []
        assert _listed(store, InstanceFilter(name="Order", blocked=True)) == ["stuck"]
        pending = (InstanceStatus.PENDING,)
        assert _listed(store, InstanceFilter(statuses=pending, name="Order", blocked=False)) == ["new"]

    def test_pages_of_a_filtered_listing_are_filtered(self, store: Store, worker: ScriptedWorker) -> None:
        self._zoo(store, worker)
        for where in (
            InstanceFilter(name="Order"),
            InstanceFilter(statuses=(InstanceStatus.FAILED, InstanceStatus.TERMINATED)),
            InstanceFilter(statuses=(InstanceStatus.FAILED,)),
            InstanceFilter(statuses=(InstanceStatus.PENDING,), name="Order"),
            InstanceFilter(blocked=False),
        ):
            expected, found, cursor = _listed(store, where), [], None
            for _ in expected:
                page = store.list_instances(where, 1, cursor)
                found += [record.instance_id for record in page.instances]
                cursor = page.next
            assert (found, cursor) == (expected, None)

    @BAD_CURSORS
    def test_a_cursor_from_elsewhere_is_refused(self, store: Store, cursor: str) -> None:
        self.start(store)
        with pytest.raises(UsageError):
            store.list_instances(EVERYTHING, 10, cursor)


class ExecutionReadsContract(StoreContract):
    """Executions, histories, last events, and the store's own numbers."""

    def _two_loops(self, store: Store, worker: ScriptedWorker) -> None:
        """Instances a and b with three executions each."""
        for instance_id in "ab":
            self.start(store, instance_id)
            worker.run(worker.take(), continued_as_new("2"))
            worker.run(worker.take(), continued_as_new("3", "2.0.0"))
            worker.run(worker.take(), completed())

    def test_executions_are_listed_newest_first(self, store: Store, worker: ScriptedWorker) -> None:
        self._two_loops(store, worker)
        page = store.list_executions("a", 0, None)
        assert [execution.execution_id for execution in page.executions] == [3, 2, 1]
        assert [execution.version for execution in page.executions] == ["2.0.0", "1.0.0", "1.0.0"]
        assert {execution.instance_id for execution in page.executions} == {"a"}

    def test_executions_of_all_are_listed_newest_instance_first(self, store: Store, worker: ScriptedWorker) -> None:
        self._two_loops(store, worker)
        page = store.list_executions(None, 0, None)
        found = [(execution.instance_id, execution.execution_id) for execution in page.executions]
        assert found == [("b", 3), ("b", 2), ("b", 1), ("a", 3), ("a", 2), ("a", 1)]

    @pytest.mark.parametrize("limit", [1, 2, 3, 4, 6, 7])
    @pytest.mark.parametrize("instance_id", ["a", "b", None])
    def test_pages_follow_each_other_without_gaps(
        self, store: Store, worker: ScriptedWorker, limit: int, instance_id: str | None
    ) -> None:
        self._two_loops(store, worker)
        expected = store.list_executions(instance_id, 0, None).executions
        page = store.list_executions(instance_id, limit, None)
        found = [*page.executions]
        while page.next is not None:
            page = store.list_executions(instance_id, limit, page.next)
            assert 1 <= len(page.executions) <= limit
            found += page.executions
        assert tuple(found) == expected

    def test_an_instance_that_does_not_exist_has_no_executions(self, store: Store, worker: ScriptedWorker) -> None:
        self._two_loops(store, worker)
        page = store.list_executions("nobody", 10, None)
        assert (page.executions, page.next) == ((), None)

    @BAD_CURSORS
    @pytest.mark.parametrize("instance_id", ["a", "nobody", None])
    def test_a_cursor_from_elsewhere_is_refused(self, store: Store, cursor: str, instance_id: str | None) -> None:
        self.start(store)
        with pytest.raises(UsageError):
            store.list_executions(instance_id, 10, cursor)

    def test_one_execution_is_read(self, store: Store, worker: ScriptedWorker) -> None:
        self._two_loops(store, worker)
        listed = store.list_executions("a", 0, None).executions
        assert tuple(store.get_execution("a", number) for number in (3, 2, 1)) == listed
        assert listed[0].status is ExecutionStatus.COMPLETED
        assert store.get_execution("a", 4) is None
        assert store.get_execution("a", 0) is None
        assert store.get_execution("nobody", 1) is None

    def test_a_history_is_read_whole_and_as_it_was_written(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        self.start(store, input='"ü"')
        worker.run(worker.take(), wait_started("é"), waits=["é"])
        history = store.read_history("a", 1)
        assert history is not None
        assert history.execution == store.get_execution("a", 1)
        assert history.events == tuple(encoded(started(input='"ü"'), wait_started("é"), at_ms=clock.now_ms()))
        assert store.read_history("a", None) == history

    def test_no_execution_number_means_the_current_one(self, store: Store, worker: ScriptedWorker) -> None:
        self._two_loops(store, worker)
        assert store.read_history("a", None) == store.read_history("a", 3)

    def test_a_history_that_is_not_there_is_none(self, store: Store) -> None:
        self.start(store)
        assert store.read_history("a", 2) is None
        assert store.read_history("nobody", None) is None

    def test_the_end_of_an_instance_is_the_last_event_of_its_current_execution(
        self, store: Store, worker: ScriptedWorker
    ) -> None:
        self.start(store, "a")
        worker.run(worker.take(), continued_as_new())
        worker.run(worker.take(), completed('"a"'))
        (last,) = encoded(completed('"a"'), first_event_id=2, at_ms=store.now_ms())
        self.start(store, "b")
        ends = store.read_ends(["b", "nobody", "a"])
        listed = store.list_instances(EVERYTHING, 0, None).instances
        incarnation_of = {each.instance_id: each.incarnation for each in listed}
        assert ends == {
            "a": InstanceEnd(
                incarnation=incarnation_of["a"],
                instance_id="a",
                name="Order",
                version="1.0.0",
                status=InstanceStatus.COMPLETED,
                execution_id=2,
                last_event=last,
            ),
            "b": InstanceEnd(
                incarnation=incarnation_of["b"],
                instance_id="b",
                name="Order",
                version="",
                status=InstanceStatus.PENDING,
                execution_id=1,
                last_event=None,
            ),
        }
        assert store.read_ends([]) == {}

    def test_an_instance_that_runs_has_no_end(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store, "a")
        worker.run(worker.take(), wait_started("go"), waits=["go"])
        assert store.read_ends(["a"])["a"].last_event is None

    def test_a_history_is_read_from_an_event_on(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        worker.run(worker.take(), *(wait_started(f"e{n}") for n in range(4)), waits=[f"e{n}" for n in range(4)])
        whole = store.read_history("a", None)
        assert whole is not None
        for after in range(7):
            part = store.read_history("a", 1, after)
            assert part is not None
            assert (part.events, part.execution) == (whole.events[after:], whole.execution)

    def test_a_long_history_keeps_its_order(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        waits = [f"w{number}" for number in range(300)]
        worker.run(worker.take(), *(wait_started(name) for name in waits), waits=waits)
        history = store.read_history("a", None)
        assert history is not None
        expected = encoded(started(), *(wait_started(name) for name in waits), at_ms=store.now_ms())
        assert history.events == tuple(expected)

    def test_info_counts_the_store(self, store: Store, worker: ScriptedWorker) -> None:
        assert (store.info().instances, store.info().executions, store.info().logical_bytes) == (0, 0, 0)
        self._two_loops(store, worker)
        info = store.info()
        assert (info.instances, info.executions, info.events) == (2, 6, 12)
        page = store.list_executions(None, 0, None)
        assert info.logical_bytes == sum(execution.history_bytes for execution in page.executions)
        assert info.url == store.url
        assert info.store_id
        assert info.schema_version >= 1

    def test_ids_with_a_prefix_come_in_order(self, store: Store) -> None:
        for instance_id in ("b", "a/2", "a", "a/10", "A", "ab", "a%", "é"):
            self.start(store, instance_id)
        assert store.instance_ids_from("a", 99) == ("a", "a%", "a/10", "a/2", "ab")
        assert store.instance_ids_from("a/", 1) == ("a/10",)
        assert store.instance_ids_from("", 3) == ("A", "a", "a%")
        assert store.instance_ids_from("é", 3) == ("é",)
        assert store.instance_ids_from("c", 3) == ()

    def test_usage_counts_what_is_live_by_orchestration(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        assert store.usage(0) == ()
        self._two_loops(store, worker)
        clock.advance(5)
        later = store.now_ms()
        self.start(store, "c", "Child")
        child, order = store.usage(later)
        pages = store.list_executions(None, 0, None).executions
        loops = [each for each in pages if each.name == "Order"]
        assert order == NameUsage(
            name="Order",
            instances=2,
            unfinished=0,
            executions=6,
            events=12,
            history_bytes=sum(each.history_bytes for each in loops),
            recent_executions=0,
            recent_bytes=0,
        )
        assert (child.name, child.instances, child.unfinished, child.executions) == ("Child", 1, 1, 1)
        assert child.recent_executions == 1
        assert sum(each.executions for each in store.usage(later)) == store.info().executions

    def test_the_time_is_that_of_the_clock(self, store: Store, clock: ManualClock) -> None:
        assert store.now_ms() == clock.now_ms()
        clock.advance(5)
        assert store.now_ms() == clock.now_ms()

    def test_a_dump_has_every_table_of_the_logical_schema(self, store: Store) -> None:
        assert {
            "store",
            "instances",
            "executions",
            "history",
            "messages",
            "mailbox",
            "timers",
            "activities",
            "lineage",
            "workers",
            "capabilities",
            "requests",
        } <= set(store.dump())

    def test_reading_changes_nothing(self, store: Store, worker: ScriptedWorker) -> None:
        self._two_loops(store, worker)
        before = store.dump()
        store.list_instances(EVERYTHING, 1, None)
        store.list_executions(None, 1, None)
        store.read_history("a", None)
        store.info()
        store.usage(0)
        store.marked()
        store.sizes()
        assert store.dump() == before

    def test_a_record_shows_the_current_execution(self, store: Store, worker: ScriptedWorker) -> None:
        self._two_loops(store, worker)
        record, current = self.instance(store), store.get_execution("a", 3)
        assert current is not None
        assert (record.execution_id, record.turn_sequence) == (3, 3)
        assert (record.event_count, record.history_bytes) == (current.event_count, current.history_bytes)
