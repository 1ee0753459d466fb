"""How a writer waits for another process: as long as it was told, often at first, and long work more often."""

from collections.abc import Callable
from functools import partial

import apsw
import pytest

from duro.stores.sqlite.connection import BusyWait

TIMEOUT_S = 5.0


class Connection(apsw.Connection):
    """Whoever writes never ends."""

    def __init__(self) -> None:
        super().__init__(":memory:")

    def set_busy_handler(self, callable: Callable[[int], bool] | None) -> None:
        assert callable is not None
        self.again = callable

    def wait(self) -> None:
        tries = 0
        while self.again(tries):
            tries += 1


@pytest.fixture
def slept_s(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    slept: list[float] = []
    monkeypatch.setattr("duro.stores.sqlite.connection.time.sleep", slept.append)
    return slept


@pytest.mark.parametrize("bulk", [False, True])
def test_nobody_waits_for_longer_than_the_time_out(slept_s: list[float], *, bulk: bool) -> None:
    waiting = Connection()
    busy = BusyWait(waiting, round(TIMEOUT_S * 1000), lambda: bulk)
    assert not busy.happened
    waiting.wait()
    assert busy.happened
    assert TIMEOUT_S <= sum(slept_s) < TIMEOUT_S * 1.02


def test_long_work_looks_more_often_so_that_it_meets_the_gaps_between_writes(slept_s: list[float]) -> None:
    waiting, firsts = Connection(), []
    for bulk in (False, True):
        slept_s.clear()
        BusyWait(waiting, round(TIMEOUT_S * 1000), partial(bool, bulk))
        waiting.wait()
        firsts.append(slept_s[0])
    assert firsts[1] < firsts[0] / 10
