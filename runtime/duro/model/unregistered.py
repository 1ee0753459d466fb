"""Instances whose next step nobody can take: no live worker has the orchestration, or an activity that waits.

Nothing is stored about it, because nothing about the instance is wrong: it goes on by itself when a worker with the
code starts. Records show it as ``BlockedKind.UNREGISTERED``. While no worker lives at all, no instance is shown so:
then all of them wait, for any worker.
"""

import msgspec

from duro.model.records import InstanceRecord
from duro.model.status import BlockedKind


def shown_unregistered(record: InstanceRecord, *, orchestration: bool, activity: str | None) -> InstanceRecord:
    """``record`` with what it waits for: its own ``orchestration``, else the first ``activity`` that nobody has.

    A block that is stored goes before, for that one has to be dealt with first.
    """
    if record.blocked is not None or not (orchestration or activity):
        return record
    code = f"orchestration {record.name!r} {record.version}".rstrip()
    what = code if orchestration else f"activity {activity!r}"
    return msgspec.structs.replace(
        record, blocked=BlockedKind.UNREGISTERED, blocked_reason=f"waits for a worker that has {what}"
    )
