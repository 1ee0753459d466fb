"""Ends nobody's code ran for: instances that are terminated, and children that end with their parent."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import msgspec

from duro import codec
from duro.model.failure import TERMINATED, FailureDetails
from duro.model.status import ExecutionStatus, ParentPolicy
from duro.model.turns import TurnCommit
from duro.retention.parents import why_ended
from duro.stores.sqlite import sql
from duro.stores.sqlite import sql_families as families_sql
from duro.stores.sqlite.committer import Transaction, as_json
from duro.stores.sqlite.queues import send, wake
from duro.stores.sqlite.rows import Row

_ToEnd: TypeAlias = tuple[int, int, str]
_Target: TypeAlias = tuple[int, int, int, int | None, int | None, int | None, int]

_to_end = msgspec.json.Decoder(list[_ToEnd])
_targets = msgspec.json.Decoder(list[_Target])


def end_children_of_turns(transaction: Transaction, turns: Sequence[TurnCommit]) -> None:
    """Of the turns of a commit that ended their execution, in order, all rows of all turns being written."""
    ended = [(turn, turn.end.status) for turn in turns if turn.end is not None]
    _end_children(
        transaction,
        [(turn.incarnation, turn.execution_id, status, turn.instance_id) for turn, status in ended],
    )


def _end_children(transaction: Transaction, ended: Sequence[tuple[int, int, ExecutionStatus, str]]) -> None:
    """``ended``: (incarnation, execution, how it ended, instance id). Those that are terminated may have children of
    their own."""
    while ended:
        rows: list[Row] = [
            (n, incarnation, execution_id if status is ExecutionStatus.CONTINUED_AS_NEW else None)
            for n, (incarnation, execution_id, status, _) in enumerate(ended)
        ]
        found = sorted(transaction.found(families_sql.CHILDREN_TO_END, rows, _to_end))
        cancelled: dict[int, int] = {}
        terminated: dict[int, int] = {}
        for n, child, word in found:
            (terminated if word == ParentPolicy.TERMINATE else cancelled).setdefault(child, n)
        reasons = [why_ended(instance_id, status) for _, _, status, instance_id in ended]
        going: list[Row] = [(child, reasons[n]) for child, n in cancelled.items() if n < terminated.get(child, n + 1)]
        transaction.rows(sql.CANCEL_CHILDREN, going, (transaction.now_ms,))
        ended = _terminate(transaction, {child: reasons[n] for child, n in terminated.items()}) if terminated else ()


def terminate(transaction: Transaction, incarnation: int, reason: str) -> None:
    """As the final end of a turn nobody ran."""
    _end_children(transaction, _terminate(transaction, {incarnation: reason}))


def _terminate(transaction: Transaction, reasons: Mapping[int, str]) -> list[tuple[int, int, ExecutionStatus, str]]:
    """End these instances, as far as they have not ended; what their children have to be told is the caller's."""
    now = transaction.now_ms
    listed = as_json(sorted(reasons))
    targets = sorted(_targets.decode(transaction.value(families_sql.TERMINATE_TARGETS, (listed,))))
    history: list[Row] = []
    executions: list[Row] = []
    ends: list[Row] = []
    for incarnation, execution_id, event_count, *_ in targets:
        event = codec.terminated_event(event_count + 1, now, reasons[incarnation])
        history.append((incarnation, execution_id, event_count + 1, event))
        executions.append((incarnation, execution_id, now, len(event.encode())))
        ends.append((incarnation, execution_id, now, "terminated"))
    transaction.rows(sql.INSERT_HISTORY, history)
    transaction.rows(families_sql.TERMINATE_EXECUTIONS, executions)
    ended = as_json([target[0] for target in targets])
    transaction.run(families_sql.TERMINATE_INSTANCES, (ended, now))
    for statement in (sql.DELETE_MESSAGES_OF, sql.DELETE_MAILBOX_OF, sql.DELETE_TIMERS_OF, sql.DELETE_ACTIVITIES_OF):
        transaction.run(statement, (ended,))
    transaction.rows(sql.END_SPAWNERS, ends)
    _tell_parents(transaction, targets, reasons)
    ids = dict(_ids.decode(transaction.value(families_sql.INSTANCE_IDS, (ended,))))
    return [(target[0], target[1], ExecutionStatus.TERMINATED, ids[target[0]]) for target in targets]


_ids = msgspec.json.Decoder(list[tuple[int, str]])


def _tell_parents(transaction: Transaction, targets: Sequence[_Target], reasons: Mapping[int, str]) -> None:
    messages: list[tuple[int, str]] = []
    completions: list[Row] = []
    for child, _, _, parent, execution_id, event_id, runs in targets:
        if parent is None or execution_id is None or event_id is None:
            continue
        if runs:
            failure = FailureDetails(type=TERMINATED, message=reasons[child])
            messages.append((parent, codec.child_failed_message(execution_id, event_id, failure)))
        else:
            transaction.count_ignored(1)
        completions.append((child, "sent" if runs else "ignored"))
    send(transaction, messages)
    wake(transaction, {parent for parent, _ in messages})
    transaction.rows(sql.COMPLETE_CHILDREN, completions)
