"""Holds as rows of the store give them."""

from typing import Any

import msgspec

from duro.errors import StoreCorruptError
from duro.model.pruning import Hold

_holds = msgspec.json.Decoder(list[Hold])


def holds_of(listed: str) -> tuple[Hold, ...]:
    """The holds of a JSON array.

    Raises:
        StoreCorruptError: a row says nothing that can be held, so that nobody can tell what may go.
    """
    try:
        return tuple(_holds.decode(listed))
    except msgspec.ValidationError as error:
        hold_id, why = next(filter(None, map(_problem, msgspec.json.decode(listed, type=list[Any]))), ("?", str(error)))
        hint = f"`duroctl doctor` shows it; `duroctl holds remove {hold_id}`, then hold what was meant again"
        raise StoreCorruptError(f"the store is damaged: hold {hold_id!r} cannot be read ({why})", hint=hint) from error


def _problem(row: Any) -> tuple[str, str] | None:
    try:
        msgspec.convert(row, Hold)
    except msgspec.ValidationError as error:
        return str(row.get("hold_id")), str(getattr(error.__cause__, "message", error))
    return None
