"""What a worker knows of an instance that is leased to it."""

from collections.abc import Sequence

from duro.host.activities import ActivityAttempt
from duro.model.messages import AnyMessage
from duro.model.turns import LeasedActivity, LeasedInstance
from duro.replay.engine import Execution


class Held:
    """An instance leased to this worker, and what has arrived for it since its last turn."""

    __slots__ = ("claims", "execution", "in_turn", "leased", "results", "running", "successor", "turn_of", "waiting")

    def __init__(self, leased: LeasedInstance, waiting: bool) -> None:
        self.leased = leased
        self.execution: Execution | None = None
        """The live execution, from when it is loaded until its turn has run."""
        self.running: set[int] = set()
        """Event ids of its activities in hand."""
        self.results: list[tuple[AnyMessage, LeasedActivity]] = []
        """Ends of its activities that no turn has taken yet."""
        self.in_turn: Sequence[tuple[AnyMessage, LeasedActivity]] = ()
        """Those that the uncommitted turn has taken."""
        self.turn_of: Execution | None = None
        """The execution of the uncommitted turn."""
        self.claims: Sequence[ActivityAttempt] = ()
        """Activities that the uncommitted turn schedules and this worker will run; not in hand before the commit."""
        self.successor: Held | None = None
        """Its next execution, when the uncommitted turn continues as new and the first turn of that one goes into the
        same transaction."""
        self.waiting = waiting
        """Whether something of the lease itself (messages, timers, the first turn ...) waits for a turn."""
