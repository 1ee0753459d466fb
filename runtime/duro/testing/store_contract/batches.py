"""``commit``: turns of several instances in one batch. What one of them ends is its own; the others keep theirs."""

import pytest

from duro import codec
from duro.model.events import AnyEvent
from duro.model.messages import ChildFailed, ChildSucceeded
from duro.model.turns import LeasedInstance, TurnOutcome
from duro.stores.base import Store
from duro.testing.builders import (
    activity_scheduled,
    activity_succeeded_message,
    child_cancel_requested,
    child_scheduled,
    completed,
    continued_as_new,
    event_received,
    next_lease,
    timer_created,
    turn,
    wait_started,
)
from duro.testing.scripted import ScriptedWorker
from duro.testing.store_contract.suite import StoreContract


class BatchContract(StoreContract):
    @staticmethod
    def leased(worker: ScriptedWorker) -> dict[str, LeasedInstance]:
        """Everything that is ready, by its id."""
        return {each.instance_id: each for each in worker.lease().instances}

    def test_what_waits_for_one_that_goes_on_stays_beside_one_that_ends(
        self, store: Store, worker: ScriptedWorker
    ) -> None:
        for name in ("ends", "goes on"):
            self.start(store, name)
            worker.run(worker.take(name), activity_scheduled(), wait_started("go"), waits=["go"])
            activity = worker.take_activity()
            store.raise_event(name, "go", "1", f"{name}-go")
            worker.finish(activity, activity_succeeded_message(1, 2))
            if name == "ends":
                (held,) = worker.lease().instances
        (other,) = worker.lease().instances
        result = worker.commit(
            turn(held, completed(), at_ms=5, consumed_messages=[]),
            turn(other, continued_as_new(), at_ms=5, consumed_messages=[], keep_lease=True),
        )
        assert result.turns == [TurnOutcome.COMMITTED] * 2
        dump = store.dump()
        assert [(row["incarnation"], row["name"]) for row in dump["mailbox"]] == [(other.incarnation, "go")]
        assert [row["incarnation"] for row in dump["messages"]] == [other.incarnation]

    def test_an_answer_to_the_first_turn_of_an_execution_stays_beside_one_that_ends(
        self, store: Store, worker: ScriptedWorker
    ) -> None:
        self.start(store, "a")
        self.start(store, "b")
        leased = self.leased(worker)
        end = turn(leased["a"], continued_as_new(), at_ms=5, keep_lease=True)
        begin = turn(next_lease(leased["a"], end), child_scheduled("b"), at_ms=5)
        result = worker.commit(turn(leased["b"], completed(), at_ms=5), end, begin)
        assert result.turns == [TurnOutcome.COMMITTED] * 3
        (message,) = worker.take("a").messages
        answer = codec.decode_message(message.data)
        assert isinstance(answer, ChildFailed)
        assert (answer.execution_id, answer.scheduled_event_id) == (2, 2)

    def test_two_turns_of_one_instance_stand_in_nobodys_way(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store, "a")
        self.start(store, "b")
        leased = self.leased(worker)
        first = turn(leased["a"], wait_started("go"), at_ms=5, keep_lease=True, waits=["go"])
        second = turn(next_lease(leased["a"], first), wait_started("on"), at_ms=5, waits=["go", "on"])
        other = turn(leased["b"], wait_started("go"), at_ms=5, keep_lease=True, waits=["go"])
        result = worker.commit(first, second, other)
        assert result.turns == [TurnOutcome.COMMITTED] * 3
        assert [self.instance(store, name).turn_sequence for name in ("a", "b")] == [2, 1]

    def test_messages_come_in_the_order_of_the_turns_that_send_them(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        parent = worker.take()
        parent = next_lease(parent, worker.run(parent, child_scheduled("c"), keep_lease=True))
        worker.commit(
            turn(worker.take("c"), completed(), at_ms=5),
            turn(parent, child_scheduled("c"), at_ms=5),
        )
        answers = [codec.decode_message(message.data) for message in worker.take("a").messages]
        assert [type(answer) for answer in answers] == [ChildSucceeded, ChildFailed]

    @pytest.mark.parametrize("last", [completed(), continued_as_new()], ids=["ended", "continued"])
    @pytest.mark.parametrize("left", [timer_created(10**15), activity_scheduled()], ids=["timer", "activity"])
    def test_what_is_all_that_an_execution_has_open_goes_with_it(
        self, store: Store, worker: ScriptedWorker, left: AnyEvent, last: AnyEvent
    ) -> None:
        self.start(store)
        leased = worker.take()
        worker.run(next_lease(leased, worker.run(leased, left, keep_lease=True)), last)
        dump = store.dump()
        assert (dump["timers"], dump["activities"]) == ([], [])

    def test_a_parent_that_went_on_earlier_in_the_batch_is_not_told(self, store: Store, worker: ScriptedWorker) -> None:
        incarnation = self.start(store)
        parent = worker.take()
        parent = next_lease(parent, worker.run(parent, child_scheduled("c"), keep_lease=True))
        child = worker.take("c")
        worker.commit(
            turn(parent, continued_as_new(), at_ms=5, keep_lease=True),
            turn(child, completed(), at_ms=5),
        )
        (known,) = store.list_children(incarnation, 0, 0)
        assert (known.completion, store.dump()["messages"]) == ("ignored", [])

    def test_a_child_that_went_on_earlier_in_the_batch_is_cancelled(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        parent = worker.take()
        parent = next_lease(parent, worker.run(parent, child_scheduled("c"), keep_lease=True))
        child = worker.take("c")
        worker.commit(
            turn(child, continued_as_new(), at_ms=5),
            turn(parent, child_cancel_requested(2), at_ms=5),
        )
        again = worker.take("c")
        assert (again.execution_id, again.cancel_reason is not None) == (2, True)

    def test_an_event_that_nobody_had_waited_for_before_the_turn_is_consumed(
        self, store: Store, worker: ScriptedWorker
    ) -> None:
        self.start(store)
        for number in ("1", "2"):
            store.raise_event("a", "go", number, f"go-{number}")
        first, _ = store.dump()["mailbox"]
        worker.run(
            worker.take(), wait_started("go"), event_received(2, "go", "1"), consumed_mailbox=[first["sequence"]]
        )
        assert [row["data"] for row in store.dump()["mailbox"]] == ["2"]
