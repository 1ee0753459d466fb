"""External events: of the instance, by name, first in first out, each accepted one delivered once."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from duro.errors import InstanceFinishedError, InstanceNotFoundError, MailboxFullError
from duro.model.limits import MAILBOX_EVENTS_MAX
from duro.stores.base import Store
from duro.testing.builders import completed, continued_as_new, event_received, timer_created, wait_started
from duro.testing.clock import ManualClock
from duro.testing.scripted import ScriptedWorker
from duro.testing.store_contract.suite import StoreContract


class MailboxContract(StoreContract):
    """``raise_event`` and what a lease brings of it."""

    def test_a_waited_for_event_wakes_the_instance(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        self.start(store)
        worker.run(worker.take(), wait_started("go"), waits=["go"])
        clock.advance(5)
        store.raise_event("a", "go", '{"n": 1}', "r")
        assert self.instance(store).ready_at_ms == clock.now_ms()
        (event,) = worker.take().mailbox
        assert (event.name, event.data) == ("go", '{"n": 1}')

    def test_an_event_nobody_waits_for_wakes_nobody(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        worker.run(worker.take(), wait_started("go"), waits=["go"])
        store.raise_event("a", "other", "null", "r")
        assert self.instance(store).ready_at_ms is None
        assert worker.is_idle()

    def test_an_event_before_its_wait_waits(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        store.raise_event("a", "go", "1", "r")
        leased = worker.take()
        assert leased.mailbox == ()
        worker.run(leased, wait_started("go"), waits=["go"])
        assert [event.data for event in worker.take().mailbox] == ["1"]

    def test_a_turn_takes_the_event_it_names_out_of_the_mailbox_whatever_is_waited_for_by_then(
        self, store: Store, worker: ScriptedWorker
    ) -> None:
        self.start(store)
        worker.run(worker.take(), wait_started("go"), wait_started("other"), waits=["go", "other"])
        for name in ("go", "other", "more"):
            store.raise_event("a", name, "null", f"r-{name}")
        leased = worker.take()
        (go, other) = leased.mailbox
        received = (event_received(2, go.name), event_received(3, other.name))
        worker.run(leased, *received, wait_started("x"), consumed_mailbox=[go.sequence, other.sequence], waits=["x"])
        assert [row["name"] for row in store.dump()["mailbox"]] == ["more"]

    def test_events_of_a_name_come_first_in_first_out(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        for number in range(3):
            store.raise_event("a", "go", str(number), f"r{number}")
        worker.run(worker.take(), wait_started("go"), waits=["go"])
        received = []
        for event_id in (2, 4, 6):
            leased = worker.take()
            (event,) = leased.mailbox
            received.append(event.data)
            worker.run(
                leased,
                event_received(event_id, "go", event.data),
                wait_started("go"),
                consumed_mailbox=[event.sequence],
                waits=["go"],
            )
        assert received == ["0", "1", "2"]
        assert worker.is_idle()

    def test_a_lease_brings_as_many_events_of_a_name_as_there_are_waits(
        self, store: Store, worker: ScriptedWorker
    ) -> None:
        self.start(store)
        for number, name in enumerate(["x", "y", "x", "x", "z", "y"]):
            store.raise_event("a", name, str(number), f"r{number}")
        waits = ["x", "y", "x"]
        worker.run(worker.take(), *(wait_started(name) for name in waits), waits=waits)
        mailbox = worker.take().mailbox
        assert [(event.name, event.data) for event in mailbox] == [("x", "0"), ("y", "1"), ("x", "2")]
        sequences = [event.sequence for event in mailbox]
        assert sequences == sorted(sequences)

    def test_an_undelivered_event_keeps_its_place(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        worker.run(worker.take(), wait_started("go"), waits=["go"])
        store.raise_event("a", "go", "1", "r1")
        worker.release(worker.take())
        store.raise_event("a", "go", "2", "r2")
        assert [event.data for event in worker.take().mailbox] == ["1"]

    def test_a_released_instance_with_an_unwaited_event_sleeps(
        self, store: Store, worker: ScriptedWorker, clock: ManualClock
    ) -> None:
        fire_at_ms = clock.now_ms() + 500
        self.start(store)
        store.raise_event("a", "other", "null", "r")
        worker.run(worker.take(), wait_started("go"), timer_created(fire_at_ms), waits=["go"])
        assert self.instance(store).ready_at_ms == fire_at_ms

    def test_a_repeated_request_adds_nothing(self, store: Store) -> None:
        self.start(store)
        store.raise_event("a", "go", "1", "r")
        before = store.dump()
        store.raise_event("a", "go", "1", "r")
        assert store.dump() == before

    def test_a_request_is_known_after_its_event_was_delivered(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        worker.run(worker.take(), wait_started("go"), waits=["go"])
        store.raise_event("a", "go", "1", "r")
        leased = worker.take()
        worker.run(
            leased,
            event_received(2, "go", "1"),
            wait_started("go"),
            consumed_mailbox=[leased.mailbox[0].sequence],
            waits=["go"],
        )
        store.raise_event("a", "go", "1", "r")
        assert worker.is_idle()

    def test_a_request_is_known_after_the_end(self, store: Store, worker: ScriptedWorker) -> None:
        """Its first sending was accepted: repeating it after an unknown outcome must not report a failure."""
        self.start(store)
        store.raise_event("a", "go", "1", "r")
        worker.run(worker.take(), completed())
        store.raise_event("a", "go", "1", "r")
        assert store.dump()["mailbox"] == []

    def test_a_request_is_known_for_a_day(self, store: Store, clock: ManualClock) -> None:
        """Whatever else the store was sent since."""
        self.start(store)
        store.raise_event("a", "go", "1", "r")
        clock.advance(24 * 60 * 60 * 1_000 - 1)
        store.raise_event("a", "go", "2", "another")
        store.raise_event("a", "go", "1", "r")
        assert [row["data"] for row in store.dump()["mailbox"]] == ["1", "2"]

    def test_one_request_id_for_two_instances_is_two_requests(self, store: Store) -> None:
        self.start(store, "a")
        self.start(store, "b")
        store.raise_event("a", "go", "1", "r")
        store.raise_event("b", "go", "1", "r")
        assert len(store.dump()["mailbox"]) == 2

    def test_an_unknown_instance_is_refused_and_stops_nobody(self, store: Store, worker: ScriptedWorker) -> None:
        """In duroxide, one such event wedges the whole runtime."""
        self.start(store)
        before = store.dump()
        with pytest.raises(InstanceNotFoundError):
            store.raise_event("nobody", "go", "null", "r")
        assert store.dump() == before
        store.raise_event("a", "go", "null", "r")
        worker.run(worker.take(), completed())

    def test_a_finished_instance_is_refused(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        worker.run(worker.take(), completed())
        before = store.dump()
        with pytest.raises(InstanceFinishedError):
            store.raise_event("a", "go", "null", "r")
        assert store.dump() == before

    def test_a_full_mailbox_refuses_and_takes_again_when_there_is_room(
        self, store: Store, worker: ScriptedWorker
    ) -> None:
        """All names count together. A repeat of an accepted request is no new event."""
        self.start(store)
        names = ("go", "other")

        def send(number: int) -> None:
            store.raise_event("a", names[number % 2], "null", f"r{number}")

        with ThreadPoolExecutor(32) as threads:
            list(threads.map(send, range(MAILBOX_EVENTS_MAX)))
        with pytest.raises(MailboxFullError):
            store.raise_event("a", "third", "null", "too much")
        send(0)
        assert len(store.dump()["mailbox"]) == MAILBOX_EVENTS_MAX
        worker.run(worker.take(), wait_started("go"), waits=["go"])
        leased = worker.take()
        consumed = [leased.mailbox[0].sequence]
        worker.run(leased, event_received(2, "go"), consumed_mailbox=consumed)
        store.raise_event("a", "third", "null", "too much")

    def test_continue_as_new_keeps_undelivered_events_in_order(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        for number in range(3):
            store.raise_event("a", "go", str(number), f"r{number}")
        worker.run(worker.take(), continued_as_new())
        worker.run(worker.take(), continued_as_new())
        worker.run(worker.take(), *(wait_started("go") for _ in range(3)), waits=["go"] * 3)
        assert [event.data for event in worker.take().mailbox] == ["0", "1", "2"]

    def test_events_of_every_thread_arrive(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        worker.run(worker.take(), *(wait_started("go") for _ in range(64)), waits=["go"] * 64)

        def send(number: int) -> None:
            store.raise_event("a", "go", str(number), f"r{number}")

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(send, range(64)))
        assert sorted(int(event.data) for event in worker.take().mailbox) == list(range(64))

    def test_names_of_every_script_are_told_apart(self, store: Store, worker: ScriptedWorker) -> None:
        names = ["é", "e\u0301", 'quote"', "back\\slash", "[brackets]", "注文"]
        self.start(store)
        worker.run(worker.take(), *(wait_started(name) for name in names), waits=names)
        for number, name in enumerate(names):
            store.raise_event("a", name, f'"{number}"', f"r{number}")
        assert [event.name for event in worker.take().mailbox] == names
