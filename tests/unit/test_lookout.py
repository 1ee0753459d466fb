"""When a worker that has nothing to do looks into the store."""

import pytest

from duro.host.lookout import Lookout
from duro.stores.memory import MemoryStore
from duro.testing.clock import ManualClock

POLL_S = 0.02


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_000)


@pytest.fixture
def store(clock: ManualClock) -> MemoryStore:
    return MemoryStore(clock=clock, new_id=lambda: "store")


@pytest.fixture
def lookout(store: MemoryStore) -> Lookout:
    """One that has just looked, found nothing and knows of nothing."""
    lookout = Lookout(store, POLL_S)
    lookout.saw_change(store.change_counter())
    lookout.looked(lookout.begin(), 0.0, None, more=False)
    return lookout


def test_a_new_one_looks_at_once(store: MemoryStore) -> None:
    lookout = Lookout(store, POLL_S)
    assert lookout.may_find_work(0.0)
    assert lookout.delay_s(0.0) == 0.0


def test_where_nothing_is_known_it_waits_for_a_poll_interval(lookout: Lookout) -> None:
    assert not lookout.may_find_work(0.0)
    assert lookout.delay_s(0.0) == pytest.approx(POLL_S)


def test_a_look_that_left_something_is_followed_by_another(lookout: Lookout) -> None:
    lookout.looked(lookout.begin(), 0.0, None, more=True)
    assert lookout.may_find_work(0.0)
    assert lookout.delay_s(0.0) == 0.0


def test_a_write_during_a_look_is_not_missed(lookout: Lookout) -> None:
    began = lookout.begin()
    lookout.notice_write()
    lookout.looked(began, 0.0, None, more=False)
    assert lookout.may_find_work(0.0)
    assert lookout.delay_s(0.0) == 0.0
    lookout.looked(lookout.begin(), 0.0, None, more=False)
    assert not lookout.may_find_work(0.0)


def test_what_is_ready_later_is_looked_for_at_its_time(lookout: Lookout, clock: ManualClock) -> None:
    lookout.looked(lookout.begin(), 0.0, clock.now_ms() + 5, more=False)
    assert not lookout.may_find_work(0.0)
    assert lookout.delay_s(0.0) == pytest.approx(0.005)
    clock.advance(5)
    assert lookout.may_find_work(0.0)


def test_a_time_that_is_past_is_not_worth_a_spin(lookout: Lookout, clock: ManualClock) -> None:
    lookout.looked(lookout.begin(), 0.0, clock.now_ms() - 5, more=False)
    assert lookout.delay_s(0.0) == pytest.approx(0.001)


def test_what_others_commit_is_asked_for_once_a_poll_interval(store: MemoryStore) -> None:
    lookout = Lookout(store, POLL_S)
    lookout.saw_change((-1,))  # anything but what the store says now
    lookout.looked(lookout.begin(), 0.0, None, more=False)
    assert not lookout.may_find_work(POLL_S / 2)
    assert lookout.may_find_work(POLL_S)
    lookout.saw_change(store.change_counter())
    assert not lookout.may_find_work(POLL_S), "it was asked just now"
    assert not lookout.may_find_work(2 * POLL_S), "nothing has changed"
