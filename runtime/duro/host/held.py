"""What a worker knows of an instance that is leased to it."""

from collections.abc import Sequence

import msgspec

from duro.host.attempts import ActivityAttempt
from duro.model.messages import AnyMessage
from duro.model.turns import LeasedActivity, LeasedInstance
from duro.replay.engine import Execution


class Held(msgspec.Struct, gc=False, eq=False):
    """An instance leased to this worker, and what has arrived for it since its last turn."""

    leased: LeasedInstance
    waiting: bool
    """Whether something of the lease itself (messages, timers, the first turn ...) waits for a turn."""
    execution: Execution | None = None
    """The live execution, from when it is loaded until its turn has run."""
    running: dict[int, None] = msgspec.field(default_factory=dict)
    """Event ids of its activities in hand. (Of a set the garbage collector would have to know.)"""
    results: Sequence[tuple[AnyMessage, LeasedActivity]] = ()
    """Ends of its activities that no turn has taken yet."""
    in_turn: Sequence[tuple[AnyMessage, LeasedActivity]] = ()
    """Those that the uncommitted turn has taken."""
    turn_of: Execution | None = None
    """The execution of the uncommitted turn."""
    claims: Sequence[ActivityAttempt] = ()
    """Activities that the uncommitted turn schedules and this worker will run; not in hand before the commit."""
    successor: "Held | None" = None
    """Its next execution, when the uncommitted turn continues as new and the first turn of that one goes into the same
    transaction."""

    def add_result(self, message: AnyMessage, leased: LeasedActivity) -> None:
        if isinstance(self.results, list):
            self.results.append((message, leased))
        else:
            self.results = [(message, leased)]
