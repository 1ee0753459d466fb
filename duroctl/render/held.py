"""Which of the records of a list are held: a column and a field of their own, in stores that have holds. Pure."""

from collections.abc import Sequence
from typing import Any

from duro.model.pruning import Hold
from duro.retention.holds import HoldsInForce, concerns_instance
from duroctl.render.tables import Column, View


def held_by(record: Any, holds: HoldsInForce) -> list[str]:
    """The ids of the holds that concern an instance, or cover an execution. ``record``: of either."""
    return [hold.hold_id for hold in holds_on(record, holds)]


def holds_on(record: Any, holds: HoldsInForce) -> list[Hold]:
    """Those themselves."""
    execution_id = getattr(record, "execution_id", None) if hasattr(record, "started_at_ms") else None
    return [hold for hold in holds.that_may_concern(record.instance_id) if _concerns(hold, record, execution_id)]


def _concerns(hold: Hold, record: Any, execution_id: int | None) -> bool:
    target = hold.target
    if not concerns_instance(hold, record.instance_id, record.name):
        return False
    if execution_id is None:
        return target.version is None or target.version == record.version
    return target.execution_id in (None, execution_id) and target.version in (None, record.version)


def with_holds(view: View, holds: Sequence[Hold], now_ms: int) -> View:
    """``view`` with what is held; the same where no hold is in force."""
    held = HoldsInForce(holds, now_ms)
    if not held:
        return view
    column = Column("held", "HELD", "id", lambda record: " ".join(held_by(record, held)))
    return view._replace(
        columns=(*view.columns, column),
        to_json=lambda record: {**view.to_json(record), "held": held_by(record, held)},
    )
