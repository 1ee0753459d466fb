"""How often the sweep looks at an instance whose oldest executions all stay: counted, over many turns a second apart,
with the real sweep on both stores."""

import pytest

from duro.maintenance.sweep import Sweep
from duro.model.limits import TURN_PRUNE_EXECUTIONS_MAX
from duro.model.pruning import Hold, HoldTarget
from duro.model.removal import OrderResult, PruneBatch
from duro.model.retention import AutoPrune
from duro.stores.base import Store
from duro.testing.builders import continued_as_new, next_lease, turn
from duro.testing.clock import ManualClock
from tests.support.pruning import Loops, automatic, stated

TURNS = 200


class Seconds:
    """An instance that continues as new every second, and a worker that sweeps whenever a second's look finds something
    to do. ``looks``: the executions after which each transaction of a sweep began."""

    def __init__(self, store: Store, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, policy: AutoPrune) -> None:
        self.store, self.clock, self.policy = store, clock, automatic(policy)
        self.loops = Loops(store)
        self.loops.start("a")
        store.set_instance_policy("a", stated(policy))
        self.sweep = Sweep(store)
        self.looks: list[int] = []
        prune = store.prune

        def counted(batch: PruneBatch, *, durable: bool = True) -> list[OrderResult]:
            assert batch.swept
            self.looks += [order.after for order in batch.orders]
            return prune(batch, durable=durable)

        monkeypatch.setattr(store, "prune", counted)

    def pass_by(self, turns: int) -> None:
        for _ in range(turns):
            self.loops.worker.register()
            self.loops.go_on(policies=self.policy)
            self.clock.advance(1_000)
            if self.store.backlog().due_instances:
                while self.sweep.step():
                    pass


@pytest.mark.parametrize("every", [1, 50])
def test_what_a_rule_of_time_keeps_is_not_swept(
    store: Store, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    seconds = Seconds(store, clock, monkeypatch, AutoPrune(keep_within=7 * 86_400, every_n_executions=every))
    seconds.pass_by(TURNS)
    assert seconds.looks == []
    assert store.dump()["instances"][0]["pruned_through"] == TURNS


def test_what_has_grown_old_goes_although_nothing_was_swept_before(
    store: Store, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = Seconds(store, clock, monkeypatch, AutoPrune(keep_within=150))
    seconds.pass_by(TURNS)
    assert seconds.looks == []
    assert len(seconds.loops.live("a")) == 152, "the current one, and what ended within 150 s"
    clock.advance(150_000)
    seconds.pass_by(1)
    assert len(seconds.loops.live("a")) == 2
    assert seconds.looks, "more than a turn looks at"


def test_beyond_many_that_are_held_the_sweep_looks_now_and_then_and_leaves_nothing_for_ever(
    store: Store, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = TURN_PRUNE_EXECUTIONS_MAX + 6
    seconds = Seconds(store, clock, monkeypatch, AutoPrune(keep_last=1000))
    seconds.pass_by(held)
    for number in range(1, held + 1):
        target = HoldTarget(instance_id="a", execution_id=number)
        store.add_hold(Hold(hold_id=f"h{number}", target=target, reason="kept", created_at_ms=1))
    seconds.policy = automatic(AutoPrune(keep_last=2))
    store.set_instance_policy("a", stated(AutoPrune(keep_last=2)))
    seconds.pass_by(TURNS)
    assert 10 <= len(seconds.looks) <= 25, "it looked after every turn, or never"
    assert len(seconds.loops.live("a")) < held + 20
    clock.advance(20_000)
    assert store.backlog().due_instances == 1, "it moves no more, and something may go"
    while seconds.sweep.step():
        pass
    assert len(seconds.loops.live("a")) == held + 2


def test_what_is_said_of_an_instance_while_a_sweep_goes_on_counts_from_then_on(store: Store) -> None:
    loops = Loops(store)
    loops.start("a")
    loops.go_on(150)
    store.set_instance_policy("a", stated(AutoPrune(keep_last=1, interval=1)))
    sweep = Sweep(store)
    while len(loops.live("a")) == 151:
        assert sweep.step()
    left = loops.live("a")
    assert 1 < len(left) < 151, "it is in the middle of it"
    store.set_instance_policy("a", stated("never"))
    while sweep.step():
        pass
    assert loops.live("a") == left


def test_what_ended_at_a_time_that_is_yet_to_come_holds_up_nothing_that_is_newer(
    store: Store, clock: ManualClock
) -> None:
    loops = Loops(store)
    loops.start("a")
    ahead = TURN_PRUNE_EXECUTIONS_MAX + 6
    right_ms, wrong_ms = clock.now_ms(), clock.now_ms() + 10**12
    clock.set_now_ms(wrong_ms)
    loops.worker.register()
    loops.go_on(ahead - 1)
    leased = loops.worker.take()
    end = turn(leased, continued_as_new(), at_ms=store.now_ms(), keep_lease=True)
    loops.worker.commit(end)
    clock.set_now_ms(right_ms)
    loops.worker.register()
    loops.worker.run(next_lease(leased, end), continued_as_new())
    loops.go_on(89)
    clock.advance(60_000)
    loops.worker.register()
    policy = AutoPrune(keep_within=30)
    store.set_instance_policy("a", stated(policy))
    loops.go_on(3, policies=automatic(policy))
    assert store.backlog().due_instances == 1
    sweep = Sweep(store)
    while sweep.step():
        pass
    of_then = list(range(1, ahead + 1))
    newest = ahead + 90 + 4
    assert loops.live("a") == [*of_then, *range(newest - 3, newest + 1)], "nobody knows how old the first ones are"
    clock.set_now_ms(wrong_ms + 60_000)
    loops.worker.register()
    loops.go_on(policies=automatic(policy))
    while sweep.step():
        pass
    assert loops.live("a") == [newest, newest + 1]
