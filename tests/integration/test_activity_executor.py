"""The executor of activities: every attempt gives exactly one outcome, whenever it is cancelled."""

import threading
from collections.abc import Sequence
from typing import Any

import pytest

import duro
from duro.host.activities import ActivityAttempt, ActivityOutcome, ThreadedActivityExecutor, attempt_of
from duro.model.turns import LeasedActivity
from duro.registry import Registry

CLIENTS: Any = None


class Executed:
    """An executor whose loop stands still in ``blocking`` until it is let go, and what became of the attempts."""

    def __init__(self) -> None:
        self.outcomes: list[ActivityOutcome] = []
        self.reported = threading.Condition()
        self.began: list[str] = []
        self.blocks = threading.Event()
        self.let_go = threading.Event()
        registry = Registry()

        @registry.activity
        async def blocking(ctx: duro.ActivityContext) -> None:
            self.blocks.set()
            self.let_go.wait(10)

        @registry.activity
        async def quick(ctx: duro.ActivityContext) -> None:
            self.began.append(ctx.instance_id)

        self.registry = registry
        self.executor = ThreadedActivityExecutor(CLIENTS, self.report, 1)

    def report(self, outcomes: Sequence[ActivityOutcome]) -> None:
        with self.reported:
            self.outcomes += outcomes
            self.reported.notify_all()

    def attempt(self, name: str, number: int) -> ActivityAttempt:
        leased = LeasedActivity(
            instance_id=f"i{number}",
            incarnation=number,
            execution_id=1,
            event_id=2,
            name=name,
            attempt=1,
            lease_epoch=1,
            scheduled_at_ms=0,
            input="null",
        )
        definition = self.registry.find_activity(name)
        assert definition is not None
        return attempt_of(leased, definition)

    def wait_for(self, count: int) -> dict[str, bool]:
        """Whether each has a result, by instance, when there are so many."""
        with self.reported:
            assert self.reported.wait_for(lambda: len(self.outcomes) >= count, 10)
            found = {each.attempt.leased.instance_id: each.result is not None for each in self.outcomes}
            assert len(found) == len(self.outcomes), "one outcome each"
            assert all(each.failure is None for each in self.outcomes)
            return found


@pytest.fixture
def executed() -> Any:
    executed = Executed()
    yield executed
    executed.let_go.set()
    executed.executor.close()


def test_an_attempt_that_is_cancelled_before_it_begins_never_does_and_says_so(executed: Executed) -> None:
    executed.executor.submit([executed.attempt("blocking", 1)])
    executed.blocks.wait(10)
    executed.executor.submit([executed.attempt("quick", 2), executed.attempt("quick", 3)])
    executed.executor.cancel(executed.attempt("quick", 2).key)
    executed.let_go.set()
    assert executed.wait_for(3) == {"i1": True, "i2": False, "i3": True}
    assert executed.began == ["i3"]


def test_attempts_that_have_not_begun_when_it_closes_give_their_outcome(executed: Executed) -> None:
    executed.executor.submit([executed.attempt("blocking", 1)])
    executed.blocks.wait(10)
    executed.executor.submit([executed.attempt("quick", 2)])
    closing = threading.Thread(target=executed.executor.close)
    closing.start()
    executed.let_go.set()
    closing.join(10)
    assert set(executed.wait_for(2)) == {"i1", "i2"}
