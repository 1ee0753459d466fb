"""How much more an execution may ask for: the limits that keep one history, and one turn, of a size a store can carry.

Everything here follows from the history (what is counted is counted between two deliveries), so a replay refuses the
same requests as the turn that was recorded.
"""

from typing import Final

import msgspec

from duro.errors import ContextSealed, LimitExceededError
from duro.model import limits

_REFUSALS_MAX: Final = 100
"""Refusals after which the code is ended: it swallows every one and asks again, and would never come to rest."""


class Allowance(msgspec.Struct, gc=False):
    """Of one execution. ``renew`` at every delivery, ``take`` at every request. Numbers only, so the garbage
    collector need not know of it."""

    _events: int = 0
    _bytes: int = 0
    _asked: int = 0
    _asked_bytes: int = 0
    _refusals: int = 0

    def renew(self, events: int, history_bytes: int) -> None:
        """Something was delivered; the history has ``events`` events of ``history_bytes`` bytes with it."""
        self._events = events
        self._bytes = history_bytes
        self._asked = self._asked_bytes = self._refusals = 0

    def take(self, payload_bytes: int = 0) -> None:
        """Count one request with that much input.

        Raises:
            LimitExceededError: it would be one too many; it is not counted.
            ContextSealed: so were a hundred before it.
        """
        problem = self._problem(payload_bytes)
        if problem is None:
            self._asked += 1
            self._asked_bytes += payload_bytes
            return
        self._refusals += 1
        if self._refusals > _REFUSALS_MAX:
            raise ContextSealed(f"{problem[0]}, and the code goes on asking")
        raise LimitExceededError(problem[0], hint=problem[1])

    def _problem(self, payload_bytes: int) -> tuple[str, str] | None:
        """What is in the way, and what to do about it."""
        if self._asked >= limits.TURN_REQUESTS_MAX:
            return (
                f"the orchestration asked for {limits.TURN_REQUESTS_MAX} things without waiting for any",
                "wait for some of them first, or spread the work over children",
            )
        if self._asked_bytes + payload_bytes > limits.TURN_BYTES_MAX:
            return (
                f"the orchestration asked without waiting for things with inputs of over {limits.TURN_BYTES_MAX} bytes",
                "wait for some of them first, or pass references instead of the data",
            )
        if self._events + self._asked >= limits.HISTORY_EVENTS_MAX:
            return (
                f"the history of this execution has {limits.HISTORY_EVENTS_MAX} events, and takes no further request",
                "continue as new when ctx.continue_as_new_suggested is true",
            )
        if self._bytes + self._asked_bytes + payload_bytes > limits.HISTORY_BYTES_MAX:
            return (
                f"the history of this execution is at {limits.HISTORY_BYTES_MAX} bytes, and takes no further request",
                "continue as new when ctx.continue_as_new_suggested is true",
            )
        return None
