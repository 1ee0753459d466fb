"""The executor of activities: every attempt gives exactly one outcome, whenever it is cancelled."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

import duro
from duro.host.activities import ThreadedActivityExecutor
from duro.host.attempts import ActivityAttempt, ActivityOutcome, attempt_of
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


def in_threads(executed: Executed) -> Callable[[int], tuple[ActivityAttempt, threading.Event]]:
    """An attempt of a plain function, which its thread leaves when the event is set."""
    leave = {number: threading.Event() for number in range(1, 6)}

    @executed.registry.activity
    def plain(ctx: duro.ActivityContext) -> None:
        executed.began.append(ctx.instance_id)
        executed.blocks.set()
        leave[int(ctx.instance_id[1:])].wait(10)

    return lambda number: (executed.attempt("plain", number), leave[number])


def told(executed: Executed, count: int) -> list[tuple[str, str, bool]]:
    """Instance, what of its thread, and whether it failed, of so many outcomes."""
    with executed.reported:
        assert executed.reported.wait_for(lambda: len(executed.outcomes) >= count, 10)
        return [(each.attempt.leased.instance_id, each.thread, each.failure is not None) for each in executed.outcomes]


@pytest.mark.parametrize("ended_by", ["cancel", "time-out"])
def test_a_thread_that_stays_with_a_function_is_told_of_until_it_is_back(executed: Executed, ended_by: str) -> None:
    attempt, leave = in_threads(executed)(1)
    if ended_by == "time-out":
        attempt = msgspec.structs.replace(attempt, total_left_s=0.2)
    executed.executor.submit([attempt])
    assert executed.blocks.wait(10)
    if ended_by == "cancel":
        executed.executor.cancel(attempt.key)
    failed = ended_by == "time-out"
    assert told(executed, 1) == [("i1", "stays", failed)]
    leave.set()
    assert told(executed, 2) == [("i1", "stays", failed), ("i1", "is back", False)]


def test_what_waits_for_threads_that_are_all_stuck_is_given_up_and_begins_nowhere(executed: Executed) -> None:
    made = in_threads(executed)
    (stuck, leave), (second, _), (third, third_leaves) = made(1), made(2), made(3)
    executed.executor.submit([stuck, second])
    assert executed.blocks.wait(10)
    executed.executor.cancel(stuck.key)
    assert told(executed, 2) == [("i1", "stays", False), ("i2", "free", False)]
    assert executed.outcomes[1].result is None
    third_leaves.set()
    leave.set()
    executed.executor.submit([third])
    assert sorted(told(executed, 4)[2:]) == [("i1", "is back", False), ("i3", "free", False)]
    assert executed.began == ["i1", "i3"]


def test_a_plain_function_that_no_thread_has_taken_when_it_is_cancelled_never_begins(executed: Executed) -> None:
    made = in_threads(executed)
    (runs, leave), (waits, _), (timed, _) = made(1), made(2), made(3)
    executed.executor.submit([runs, waits, msgspec.structs.replace(timed, total_left_s=0.1)])
    assert executed.blocks.wait(10)
    executed.executor.cancel(waits.key)
    assert sorted(told(executed, 2)) == [("i2", "free", False), ("i3", "free", True)]
    leave.set()
    assert told(executed, 3)[2] == ("i1", "free", False)
    assert executed.began == ["i1"]
