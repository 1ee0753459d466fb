"""Whose code runs now, and since when: for those who ask from other threads whether it hangs."""

from duro.clock import Clock
from duro.replay.engine import Execution


class RunningCode:
    """Of one worker's loop: at most one piece of a user's code runs at a time, a turn or the ``finally`` blocks of a
    coroutine that is given up."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.since_s: float | None = None
        """On the monotonic clock; None: none runs."""
        self.instance_id = ""

    def begins(self, instance_id: str) -> float:
        """Code of this instance runs from now on; since when."""
        self.since_s, self.instance_id = self._clock.monotonic_s(), instance_id
        return self.since_s

    def ends(self) -> None:
        self.since_s = None

    def seal(self, execution: Execution) -> None:
        """Give up an execution, whatever its coroutine does about that."""
        outer = self.since_s, self.instance_id
        self.begins(execution.identity.instance_id)
        try:
            execution.seal()
        finally:
            self.since_s, self.instance_id = outer

    def for_longer_than(self, seconds: float) -> bool:
        since_s = self.since_s
        return since_s is not None and self._clock.monotonic_s() - since_s > seconds
