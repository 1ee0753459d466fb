"""Which holds keep an execution from being removed."""

from collections.abc import Iterable

from duro.model.pruning import ExecutionFacts, Hold
from duro.retention.names import matches


def is_in_force(hold: Hold, now_ms: int) -> bool:
    """Whether ``hold`` still holds anything; from ``until_ms`` on it does not."""
    return hold.until_ms is None or now_ms < hold.until_ms


def holds_in_force(holds: Iterable[Hold], now_ms: int) -> tuple[Hold, ...]:
    """Those that have not expired, in the order of their ids, so that reasons always read the same."""
    return tuple(sorted((hold for hold in holds if is_in_force(hold, now_ms)), key=lambda hold: hold.hold_id))


def concerns_instance(hold: Hold, instance_id: str, name: str) -> bool:
    """Whether ``hold`` can cover any execution of this instance, an orchestration called ``name``."""
    target = hold.target
    if target.instance_id is not None:
        return target.instance_id == instance_id
    return target.name is None or matches(name, target.name)


def covers(hold: Hold, execution: ExecutionFacts) -> bool:
    """Whether ``execution`` is among what ``hold`` is on; whether it has expired is not asked."""
    target = hold.target
    return (
        concerns_instance(hold, execution.instance_id, execution.name)
        and (target.execution_id is None or target.execution_id == execution.execution_id)
        and (target.version is None or target.version == execution.version)
    )


def holds_on(execution: ExecutionFacts, holds: Iterable[Hold], now_ms: int) -> tuple[Hold, ...]:
    """The holds in force that cover ``execution``, in the order of their ids."""
    return tuple(hold for hold in holds_in_force(holds, now_ms) if covers(hold, execution))
