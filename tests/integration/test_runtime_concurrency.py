"""An activity with a limit of its own: never exceeded, no burden to others, and shared by all workers that have it."""

import asyncio
import threading
import time

import pytest

import duro
from duro.stores.base import Store
from tests.integration.conftest import MakeRuntime

WAIT_S = 20.0


class Crowd:
    """Counts who is inside an activity, on one worker."""

    def __init__(self, limit: int) -> None:
        self.registry = duro.Registry()
        self.inside = 0
        self.most = 0
        self.open = threading.Event()
        self._lock = threading.Lock()

        @self.registry.activity(max_concurrent=limit)
        async def scarce(ctx: duro.ActivityContext) -> None:
            self._enter(1)
            while not self.open.is_set():
                await asyncio.sleep(0.002)
            self._enter(-1)

        @self.registry.activity(max_concurrent=limit)
        def scarce_thread(ctx: duro.ActivityContext) -> None:
            self._enter(1)
            self.open.wait(WAIT_S)
            time.sleep(0.002)
            self._enter(-1)

        @self.registry.activity
        async def plenty(ctx: duro.ActivityContext) -> None: ...

        @self.registry.orchestration
        async def fan_out(ctx: duro.OrchestrationContext, name: str) -> int:
            return len(await ctx.join(*[ctx.schedule_activity(name) for _ in range(12)]))

    def _enter(self, count: int) -> None:
        with self._lock:
            self.inside += count
            self.most = max(self.most, self.inside)

    def until_inside(self, count: int) -> None:
        deadline_s = time.monotonic() + WAIT_S
        while self.inside != count:
            assert time.monotonic() < deadline_s, f"{self.inside} are inside, {count} should be"
            time.sleep(0.002)


@pytest.mark.parametrize("name", ["scarce", "scarce_thread"])
def test_the_limit_of_an_activity_is_never_exceeded(make_runtime: MakeRuntime, name: str) -> None:
    crowd = Crowd(3)
    runtime = make_runtime(crowd.registry)
    started = [runtime.client.start_orchestration("fan_out", name) for _ in range(3)]
    crowd.until_inside(3)
    crowd.open.set()
    for each in started:
        assert runtime.client.wait_for_orchestration(each, WAIT_S).output == 12
    assert crowd.most == 3


def test_others_are_not_kept_waiting_by_a_full_one(make_runtime: MakeRuntime) -> None:
    crowd = Crowd(2)
    runtime = make_runtime(crowd.registry)
    full = runtime.client.start_orchestration("fan_out", "scarce")
    crowd.until_inside(2)
    other = runtime.client.start_orchestration("fan_out", "plenty")
    assert runtime.client.wait_for_orchestration(other, WAIT_S).output == 12
    assert crowd.inside == 2
    crowd.open.set()
    assert runtime.client.wait_for_orchestration(full, WAIT_S).output == 12


def test_what_is_beyond_stays_in_the_store_for_other_workers(make_runtime: MakeRuntime, store: Store) -> None:
    crowds = [Crowd(2), Crowd(5)]
    runtime = make_runtime(crowds[0].registry)
    started = runtime.client.start_orchestration("fan_out", "scarce")
    crowds[0].until_inside(2)
    waiting = [row for row in store.dump()["activities"] if row["lease_worker_id"] is None]
    assert len(waiting) == 10
    make_runtime(crowds[1].registry)
    crowds[1].until_inside(5)
    for crowd in crowds:
        crowd.open.set()
    assert runtime.client.wait_for_orchestration(started, WAIT_S).output == 12
    assert [crowd.most for crowd in crowds] == [2, 5]
