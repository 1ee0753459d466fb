"""The states of instances and executions, and which of them are final."""

from enum import StrEnum
from typing import Final


class InstanceStatus(StrEnum):
    """The state of an instance over all its executions (Temporal: workflow status; Durable Task: runtime status)."""

    PENDING = "pending"
    """Accepted and durable, no turn has run yet."""
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TERMINATED = "terminated"


class ExecutionStatus(StrEnum):
    """The state of one execution; every final state has a ``completed_at_ms``, ``continued_as_new`` included."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TERMINATED = "terminated"
    CONTINUED_AS_NEW = "continued_as_new"


class RemovalState(StrEnum):
    """How far the removal of an execution has come: ``live -> pruned -> reclaiming`` and then the row is gone."""

    LIVE = "live"
    PRUNED = "pruned"
    RECLAIMING = "reclaiming"


class ChildrenPolicy(StrEnum):
    """What becomes of the children of an execution that is pruned."""

    KEEP = "keep"
    SETTLED = "settled"
    """Those that are finished with all their descendants, and whose end their parent has recorded or can no longer
    observe, go with it."""


class BlockedKind(StrEnum):
    """Why an unfinished instance makes no progress although it has work."""

    NONDETERMINISM = "nondeterminism"
    """The registered code no longer matches the recorded history."""
    HISTORY_UNREADABLE = "history_unreadable"
    """The history cannot be decoded by this version of duro."""
    POISON = "poison"
    """Its turn ended without a commit too many times in a row."""
    UNREGISTERED = "unregistered"
    """No live worker has its orchestration, or an activity it waits for. Never stored: see ``model.unregistered``."""


STORED_BLOCKS: Final = frozenset(BlockedKind) - {BlockedKind.UNREGISTERED}
"""The blocks a worker can give and a store keeps."""


class ParentPolicy(StrEnum):
    """What happens to a running child when its parent continues as new or ends."""

    ABANDON = "abandon"
    CANCEL = "cancel"
    TERMINATE = "terminate"


FINAL_INSTANCE_STATUSES: Final = frozenset(
    {InstanceStatus.COMPLETED, InstanceStatus.FAILED, InstanceStatus.CANCELLED, InstanceStatus.TERMINATED}
)

UNFINISHED_EXECUTION_STATUSES: Final = frozenset({ExecutionStatus.PENDING, ExecutionStatus.RUNNING})
FINAL_EXECUTION_STATUSES: Final = frozenset(ExecutionStatus) - UNFINISHED_EXECUTION_STATUSES
