"""Which holds keep an execution from being removed."""

from collections.abc import Iterable
from typing import TypeAlias

from duro.model.pruning import ExecutionFacts, Hold
from duro.retention.names import matches


def is_in_force(hold: Hold, now_ms: int) -> bool:
    """Whether ``hold`` still holds anything; from ``until_ms`` on it does not."""
    return hold.until_ms is None or now_ms < hold.until_ms


def holds_in_force(holds: Iterable[Hold], now_ms: int) -> tuple[Hold, ...]:
    """Those that have not expired, in the order of their ids, so that reasons always read the same."""
    return tuple(sorted((hold for hold in holds if is_in_force(hold, now_ms)), key=lambda hold: hold.hold_id))


class HoldsInForce:
    """Holds that have not expired at a moment, to be asked about many instances: an undo puts one on each instance that
    it brings back, and who asks about one does not go through those of all the others."""

    __slots__ = ("_others", "_those_of")

    def __init__(self, holds: Iterable[Hold], now_ms: int) -> None:
        self._those_of: dict[str, list[Hold]] = {}
        self._others: list[Hold] = []
        for hold in holds_in_force(holds, now_ms):
            target = hold.target.instance_id
            (self._others if target is None else self._those_of.setdefault(target, [])).append(hold)

    def __bool__(self) -> bool:
        return bool(self._those_of or self._others)

    def that_may_concern(self, *instance_ids: str) -> list[Hold]:
        """Those on one of these instances and those on no certain one, in the order of their ids."""
        if not self._those_of:
            return self._others
        own = [hold for each in instance_ids for hold in self._those_of.get(each, ())]
        return sorted([*self._others, *own], key=lambda hold: hold.hold_id) if own else self._others


Holds: TypeAlias = Iterable[Hold] | HoldsInForce


def in_force(holds: Holds, now_ms: int) -> HoldsInForce:
    """``holds``, to be asked about many instances."""
    return holds if isinstance(holds, HoldsInForce) else HoldsInForce(holds, now_ms)


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
