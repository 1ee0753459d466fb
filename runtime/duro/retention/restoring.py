"""What may be brought back from an archive, and what the ledger says about it. Pure."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from duro.errors import InstanceNotFoundError, RestoreRefusedError
from duro.model.archive import ArchivedHistory, ArchivedLedgerRow, Restoration
from duro.model.ledger import UNDO, LedgerRange
from duro.model.limits import LEDGER_RANGES_MAX
from duro.model.status import RemovalState
from duro.naming import command_on
from duro.retention.ledger import merged

ORIGIN = "archive"
"""Whose word it was that something came back, in the ledger."""


class Standing(NamedTuple):
    """An instance that is there: ``execution_id`` is its current execution."""

    incarnation: int
    instance_id: str
    execution_id: int
    created_at_ms: int


def _is_of_another_time(restoration: Restoration, standing: Standing) -> bool:
    """Whether the store was put back to a time before the instance, and gave its id and its number again: what is
    archived was pruned before the one that is there was made, or is of one that was made at another time."""
    if restoration.instance is not None and restoration.instance.created_at_ms != standing.created_at_ms:
        return True
    pruned = (history.execution.pruned_at_ms for history in restoration.histories)
    return any(at_ms is not None and at_ms < standing.created_at_ms for at_ms in pruned)


def makes_instance(
    restoration: Restoration, standing: Standing | None, *, removed: bool, next_incarnation: int
) -> bool:
    """Whether the instance itself has to be made. ``standing``: what has the incarnation or the id now. ``removed``:
    this life of it was removed and can be undone. ``next_incarnation``: what the store would give to the next instance.

    Raises:
        RestoreRefusedError: something else is in its place, or what is there does not fit.
        InstanceNotFoundError: it is gone, and ``restoration`` has only executions that were pruned while it was there.
    """
    shown = repr(restoration.instance_id)
    read_there = command_on(
        "history show", restoration.instance_id, f" --archive DIR --incarnation {restoration.incarnation}"
    )
    if standing is not None:
        if (standing.incarnation, standing.instance_id) != (restoration.incarnation, restoration.instance_id):
            raise RestoreRefusedError(
                f"the id {shown} belongs to another instance now",
                hint=f"{read_there} reads it from the archive",
            )
        if _is_of_another_time(restoration, standing):
            one_by_one = "what is of this one comes back execution by execution (INSTANCE/N)"
            raise RestoreRefusedError(
                f"what is archived of {shown} is of another time than the instance that is there",
                hint=f"was a backup put in its place? {read_there} reads it; {one_by_one}",
            )
        for history in restoration.histories:
            if history.execution.execution_id >= standing.execution_id and restoration.instance is None:
                raise RestoreRefusedError(
                    f"{shown} has not come to execution {history.execution.execution_id} yet",
                    hint="is this the archive of this store?",
                )
        return False
    if removed:
        raise RestoreRefusedError(
            f"instance {shown} was removed and is still in the store",
            hint=f"{command_on('prune undo', restoration.instance_id)} brings it back",
        )
    if restoration.instance is None:
        raise InstanceNotFoundError(
            f"there is no instance {shown} any more, and the archive does not have it as a whole",
            hint="`duroctl history show` reads its archived executions",
        )
    if restoration.incarnation >= next_incarnation:
        raise RestoreRefusedError(
            f"instance {shown} is of a time that this store has not come to",
            hint=f"was a backup put in its place? {read_there} reads it from the archive",
        )
    last = restoration.instance.execution_id
    if all(history.execution.execution_id != last for history in restoration.histories):
        raise RestoreRefusedError(
            f"instance {shown} cannot come back without its last execution, {last}",
            hint="restore the whole instance",
        )
    return True


def is_there(history: ArchivedHistory, removal: RemovalState, found: tuple[str, ...], instance_id: str) -> None:
    """Nothing, if what is there is the same and live.

    Raises:
        RestoreRefusedError: it is not.
    """
    shown = f"{instance_id}/{history.execution.execution_id}"
    if removal is not RemovalState.LIVE:
        raise RestoreRefusedError(
            f"{shown} is pruned and still in the store", hint=f"{command_on('prune undo', instance_id)} brings it back"
        )
    if found != history.events:
        raise RestoreRefusedError(
            f"{shown} is there, and not as the archive has it", hint="nothing is ever overwritten"
        )


def restored_ledger(rows: Sequence[ArchivedLedgerRow]) -> tuple[ArchivedLedgerRow, ...]:
    """The ledger of an instance that comes back: as it was, with no more automatic ranges than a living one has."""
    automatic = [row for row in rows if row.run_id is None]
    while len(automatic) > LEDGER_RANGES_MAX:
        one, other, *newer = automatic
        automatic = [msgspec.structs.replace(other, range=merged(one.range, other.range)), *newer]
    manual = [row for row in rows if row.run_id is not None]
    return tuple(sorted([*automatic, *manual], key=lambda row: row.sequence))


def signed_sums(rows: Sequence[ArchivedLedgerRow]) -> tuple[int, int, int]:
    """Executions, events and bytes the rows count, what came back taken off."""
    signed = [(-1 if row.range.trigger == UNDO else 1, row.range) for row in rows]
    return (
        sum(sign * entry.executions for sign, entry in signed),
        sum(sign * entry.events for sign, entry in signed),
        sum(sign * entry.history_bytes for sign, entry in signed),
    )


def restored_range(histories: Sequence[ArchivedHistory], now_ms: int) -> LedgerRange:
    """What the ledger says about these, which came back."""
    ids = [history.execution.execution_id for history in histories]
    return LedgerRange(
        first_execution_id=min(ids),
        last_execution_id=max(ids),
        executions=len(ids),
        events=sum(history.execution.event_count for history in histories),
        history_bytes=sum(history.execution.history_bytes for history in histories),
        rule="",
        origin=ORIGIN,
        trigger=UNDO,
        first_pruned_at_ms=now_ms,
        last_pruned_at_ms=now_ms,
    )
