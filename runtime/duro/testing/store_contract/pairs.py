"""``commit``: two turns of one instance in one batch, as an eternal loop makes them."""

from collections.abc import Mapping, Sequence

import msgspec
import pytest

from duro.model.turns import LastCommit, LeasedInstance, TurnCommit, TurnOutcome
from duro.stores.base import Store
from duro.testing.builders import (
    activity_scheduled,
    child_scheduled,
    completed,
    continued_as_new,
    next_lease,
    timer_created,
    turn,
    wait_started,
)
from duro.testing.clock import ManualClock
from duro.testing.scripted import LEASE_MS, ScriptedWorker
from duro.testing.store_contract.suite import StoreContract


class PairContract(StoreContract):
    """A turn that continues as new, and the first turn of the next execution, in one batch."""

    def lived(self, store: Store, worker: ScriptedWorker, instance_id: str) -> LeasedInstance:
        """An instance with an open timer, an activity, a child and an event in its mailbox, leased."""
        self.start(store, instance_id)
        store.raise_event(instance_id, "go", "1", f"{instance_id}-go")
        leased = worker.take(instance_id)
        asked = (
            timer_created(store.now_ms() + 60_000),
            activity_scheduled("charge"),
            child_scheduled(f"{instance_id}-child", "Child"),
        )
        assert worker.commit(turn(leased, *asked, at_ms=10, keep_lease=True)).turns == [TurnOutcome.COMMITTED]
        worker.run(worker.take(f"{instance_id}-child"), completed())
        return worker.take(instance_id)

    def pair(self, leased: LeasedInstance, *, keep_lease: bool) -> tuple[TurnCommit, TurnCommit]:
        end = turn(leased, continued_as_new("2"), at_ms=20, keep_lease=True, custom_status='"first"')
        asked = (activity_scheduled("ship"), timer_created(10**15), wait_started("go"))
        begin = turn(next_lease(leased, end), *asked, at_ms=30, keep_lease=keep_lease, waits=["go"])
        return end, begin

    @pytest.mark.parametrize("keep_lease", [True, False])
    def test_it_leaves_what_two_batches_leave(self, store: Store, worker: ScriptedWorker, keep_lease: bool) -> None:
        together, apart = self.lived(store, worker, "@1"), self.lived(store, worker, "@2")
        result = worker.commit(*self.pair(together, keep_lease=keep_lease))
        assert result.turns == [TurnOutcome.COMMITTED, TurnOutcome.COMMITTED]
        for each in self.pair(apart, keep_lease=keep_lease):
            assert worker.commit(each).turns == [TurnOutcome.COMMITTED]
        rows = store.dump()
        for table in ("instances", "executions", "history", "timers", "activities", "mailbox", "messages", "lineage"):
            of = [self.own(rows[table], each.incarnation, each.instance_id) for each in (together, apart)]
            assert of[0] == of[1], table
        current = store.get_instance("@1")
        assert current is not None
        assert (current.execution_id, current.turn_sequence, current.custom_status) == (2, 3, '"first"')
        assert current.lease_worker_id == (worker.worker_id if keep_lease else None)
        assert [row["event_id"] for row in rows["activities"] if row["incarnation"] == together.incarnation] == [2]

    def test_one_that_waits_for_nothing_that_is_there_is_given_back_until_its_timer_fires(
        self, store: Store, worker: ScriptedWorker
    ) -> None:
        self.start(store)
        worker.commit(*self.pair(worker.take(), keep_lease=False))
        record = self.instance(store)
        assert (record.execution_id, record.lease_worker_id, record.ready_at_ms) == (2, None, 10**15)
        assert worker.lease().instances == ()

    def test_a_cancel_that_the_second_turn_delivers_is_delivered(self, store: Store, worker: ScriptedWorker) -> None:
        self.start(store)
        store.request_cancel("a", "enough", "r1")
        end, begin = self.pair(worker.take(), keep_lease=False)
        worker.commit(end, msgspec.structs.replace(begin, cancel_delivered=True))
        assert store.dump()["instances"][0]["cancel_delivered"] in (1, True)
        assert worker.lease().instances == ()

    @staticmethod
    def own(rows: Sequence[Mapping[str, object]], incarnation: int, instance_id: str) -> list[dict[str, object]]:
        """The rows of an instance, without what names it or counts commits and the store's sequence numbers."""
        unlike = {"incarnation", "parent_incarnation", "child_incarnation", "sequence", "message_id"}
        unlike |= {"last_commit_token", "start_request_id"}
        mine = [row for row in rows if incarnation in (row.get("incarnation"), row.get("parent_incarnation"))]
        return [
            {key: str(value).replace(instance_id, "?") for key, value in row.items() if key not in unlike}
            for row in mine
        ]

    def test_of_a_lost_lease_neither_is_written(self, store: Store, worker: ScriptedWorker, clock: ManualClock) -> None:
        stale = self.pair(self.lived(store, worker, "a"), keep_lease=True)
        clock.advance(LEASE_MS)
        store.release_expired()
        before = store.dump()
        assert worker.commit(*stale).turns == [TurnOutcome.FENCED, TurnOutcome.FENCED]
        assert store.dump() == before

    def test_where_the_first_does_not_fit_neither_is_written(self, store: Store, worker: ScriptedWorker) -> None:
        leased = self.lived(store, worker, "a")
        pair = self.pair(msgspec.structs.replace(leased, turn_sequence=leased.turn_sequence + 1), keep_lease=True)
        before = store.dump()
        assert worker.commit(*pair).turns == [TurnOutcome.CONFLICT, TurnOutcome.CONFLICT]
        assert store.dump() == before

    def test_the_number_of_turns_says_whether_both_were_committed(self, store: Store, worker: ScriptedWorker) -> None:
        leased = self.lived(store, worker, "a")
        end, begin = self.pair(leased, keep_lease=True)
        worker.commit(end, msgspec.structs.replace(begin, first_event_id=7), batch_id="t")
        assert store.lookup_commit([leased.incarnation]) == {leased.incarnation: LastCommit("t", 2)}
        worker.commit(begin, batch_id="u")
        assert store.lookup_commit([leased.incarnation]) == {leased.incarnation: LastCommit("u", 3)}
