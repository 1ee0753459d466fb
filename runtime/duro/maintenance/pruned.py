"""What is said of an execution that was pruned, and of an instance that is not there."""

from typing import Final

from duro.errors import ExecutionPrunedError, InstanceNotFoundError, InstanceRemovedError
from duro.model.archive import CONFIGURED
from duro.model.families import RemovedInstance
from duro.model.ledger import SEVERAL, LedgerRange
from duro.model.removal import LedgerEntry, PrunableInstance, PrunedExecution, PruneFilter
from duro.model.retention import NAMED, format_time
from duro.model.status import RemovalState
from duro.naming import command_on
from duro.stores.base import Store

_TOLD_MAX: Final = 3
"""Prunes that are named, where it may have been any of several."""


def was_pruned(pruned: PrunedExecution, now_ms: int) -> ExecutionPrunedError:
    """The error that tells when it was pruned, by which rule and by whom, and whether it can be brought back."""
    where = f"execution {pruned.execution_id} of instance {pruned.instance_id!r}"
    told = [f"{_when(entry.range, pruned.pruned_at_ms)}{_how(entry)}" for entry in pruned.entries[:_TOLD_MAX]]
    if len(pruned.entries) > 1:
        told[0] = f"in one of {len(pruned.entries)} prunes: {told[0]}"
    told += ["another"] if len(pruned.entries) > _TOLD_MAX else []
    return ExecutionPrunedError(f"{where} was pruned {'; or '.join(told)}".rstrip(), pruned, hint=_hint(pruned, now_ms))


def was_removed(removed: RemovedInstance, now_ms: int) -> InstanceRemovedError:
    """The error that tells when an instance was removed, and whether it can be brought back."""
    run = f" in {removed.run_id}" if removed.run_id else ""
    message = f"instance {removed.instance_id!r} was removed at {format_time(removed.removed_at_ms)}{run}"
    if removed.reclaiming:
        return InstanceRemovedError(message, hint="it is being deleted and cannot come back")
    again = command_on("prune undo", removed.run_id or removed.instance_id)
    if removed.reclaim_at_ms > now_ms:
        return InstanceRemovedError(message, hint=f"until {format_time(removed.reclaim_at_ms)}, {again} brings it back")
    return InstanceRemovedError(message, hint=f"{again} may still bring it back")


def no_instance(store: Store, instance_id: str) -> InstanceNotFoundError:
    """Why there is no such instance: it was removed, or it never was."""
    removed = store.find_removed(instance_id)
    if removed is not None:
        return was_removed(removed, store.now_ms())
    return InstanceNotFoundError(
        f"there is no instance {instance_id!r}", hint="`duroctl instances list` shows those there are"
    )


def _when(entry: LedgerRange, pruned_at_ms: int | None) -> str:
    if pruned_at_ms is not None:
        return f"at {format_time(pruned_at_ms)}"
    first, last = format_time(entry.first_pruned_at_ms), format_time(entry.last_pruned_at_ms)
    return f"at {first}" if first == last else f"between {first} and {last}"


def _how(entry: LedgerEntry) -> str:
    span = entry.range
    if entry.run is None:
        which = "one of several rules" if span.rule == SEVERAL else f"the rule {span.rule}"
        said = ((span.origin, span.origin), (span.trigger, f"at {span.trigger}"))
        told = ", ".join(text for what, text in said if what != SEVERAL)
        return f" by {which} ({told})" if told else f" by {which}"
    because = f": {entry.run.reason}" if entry.run.reason else ""
    which = {NAMED: "named one by one", SEVERAL: "one of several rules"}.get(span.rule, f"rule {span.rule}")
    return f" by {entry.run.by or 'somebody'} in {entry.run.run_id}, {which}{because}"


def _hint(pruned: PrunedExecution, now_ms: int) -> str:
    undo = command_on("prune undo", pruned.instance_id)
    if pruned.removal is RemovalState.PRUNED and (pruned.reclaim_at_ms or 0) > now_ms:
        until = format_time(pruned.reclaim_at_ms or 0)
        return f"until {until}, {undo} brings it back"
    if pruned.removal is RemovalState.PRUNED:
        return f"{undo} may still bring it back"
    for entry in reversed(pruned.entries):
        if entry.run is not None and entry.run.archive is not None:
            import shlex  # nobody else is to pay for loading it

            where = "" if entry.run.archive == CONFIGURED else f" --archive {shlex.quote(entry.run.archive)}"
            again = command_on("archive restore", f"{pruned.instance_id}/{pruned.execution_id}", where)
            unread = f"`duroctl archive verify{where}` says why if not"
            return f"its history went into an archive, and {again} brings it back; {unread}"
    return "its history is gone from the store"


def prunable_instance(store: Store, instance_id: str) -> PrunableInstance:
    """The instance, as prunes see it.

    Raises:
        InstanceNotFoundError: there is no such instance.
    """
    found = store.prunable_instances(PruneFilter(instance_ids=(instance_id,)), 1, 0)
    if not found:
        raise no_instance(store, instance_id)
    return found[0]
