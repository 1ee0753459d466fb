"""Holds as rows and documents. Pure."""

from collections.abc import Sequence
from typing import Any, Final

from duro.model.pruning import Hold
from duroctl.render.tables import Column, View
from duroctl.render.text import visible_field
from duroctl.render.units import counted, first_of, iso


def hold_json(hold: Hold) -> dict[str, Any]:
    return {
        "hold_id": hold.hold_id,
        "instance_id": hold.target.instance_id,
        "execution_id": hold.target.execution_id,
        "name": hold.target.name,
        "version": hold.target.version,
        "reason": hold.reason,
        "by": hold.by,
        "created_at": iso(hold.created_at_ms),
        "until": None if hold.until_ms is None else iso(hold.until_ms),
    }


def hold_line(hold: Hold) -> str:
    until = "until it is removed" if hold.until_ms is None else f"until {iso(hold.until_ms)}"
    return visible_field(f"{hold.hold_id} holds {hold.target} {until}: {hold.reason}")


def removed_line(hold_ids: Sequence[str]) -> str:
    """``removed hold-a``, ``removed 7 holds: hold-a, ... and 2 more``."""
    several = "" if len(hold_ids) == 1 else f"{counted(len(hold_ids), 'hold')}: "
    return visible_field(f"removed {several}{first_of(hold_ids)}")


_COLUMNS: Final = (
    Column("hold_id", "HOLD", "id", lambda hold: hold.hold_id),
    Column("target", "HOLDS", "id", lambda hold: str(hold.target)),
    Column("until", "UNTIL", "time", lambda hold: hold.until_ms),
    Column("created_at", "SINCE", "time", lambda hold: hold.created_at_ms),
    Column("by", "BY", "text", lambda hold: hold.by),
    Column("reason", "REASON", "text", lambda hold: hold.reason),
)
HOLDS: Final = View("duroctl.holds/1", "holds", _COLUMNS, hold_json, lambda hold: hold.hold_id)
HOLD: Final = View("duroctl.hold/1", "hold", _COLUMNS, hold_json, lambda hold: hold.hold_id)
