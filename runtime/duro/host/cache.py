"""Live executions kept between turns: bounded, least recently used first out."""

from collections import OrderedDict
from collections.abc import Callable

from duro.replay.engine import Execution


class ExecutionCache:
    """At most ``size`` executions by incarnation. What leaves is given to ``seal``; 0 keeps nothing.

    An execution found here may continue only if its ``identity`` and ``turn_sequence`` are those of the lease: any
    other worker's commit, and any commit of this one that failed, makes them differ.
    """

    def __init__(self, size: int, seal: Callable[[Execution], None] = Execution.seal) -> None:
        self._size = size
        self._seal = seal
        self._executions: OrderedDict[int, Execution] = OrderedDict()

    def __len__(self) -> int:
        return len(self._executions)

    def take(self, incarnation: int, execution_id: int, turn_sequence: int) -> Execution | None:
        """The execution, if it stands exactly there; one that stands elsewhere is dropped."""
        execution = self._executions.pop(incarnation, None)
        if execution is None:
            return None
        if (execution.identity.execution_id, execution.turn_sequence) == (execution_id, turn_sequence):
            return execution
        self._seal(execution)
        return None

    def put(self, execution: Execution) -> None:
        """Keep the execution after its turn was committed."""
        self._executions[execution.identity.incarnation] = execution
        while len(self._executions) > self._size:
            self._seal(self._executions.popitem(last=False)[1])

    def drop(self, incarnation: int) -> None:
        if execution := self._executions.pop(incarnation, None):
            self._seal(execution)

    def clear(self) -> None:
        for incarnation in list(self._executions):
            self.drop(incarnation)
