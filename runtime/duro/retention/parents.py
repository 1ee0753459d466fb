"""What becomes of the children of an execution that ends. Pure."""

from duro.model.status import ExecutionStatus, ParentPolicy
from duro.model.turns import ChildTerms


def words_of(
    on_parent_continue: ParentPolicy | None, on_parent_end: ParentPolicy | None, terms: ChildTerms
) -> tuple[ParentPolicy, ParentPolicy]:
    """What holds for a child: what its spawn says, else what the settings of the worker that committed the spawn
    say."""
    return on_parent_continue or terms.on_parent_continue, on_parent_end or terms.on_parent_end


def word_for(
    status: ExecutionStatus, on_parent_continue: ParentPolicy | None, on_parent_end: ParentPolicy | None
) -> ParentPolicy:
    """What happens to a running child when its spawner, or its parent, ends with ``status``. A child of a store older
    than these words is abandoned when its parent continues, and cancelled when it ends."""
    if status is ExecutionStatus.CONTINUED_AS_NEW:
        return on_parent_continue or ParentPolicy.ABANDON
    return on_parent_end or ParentPolicy.CANCEL


def why_ended(parent_id: str, status: ExecutionStatus) -> str:
    """The reason of a cancel or a termination that a child's parent is the cause of."""
    how = "continued as new" if status is ExecutionStatus.CONTINUED_AS_NEW else f"is {status}"
    return f"its parent {parent_id!r} {how}"
