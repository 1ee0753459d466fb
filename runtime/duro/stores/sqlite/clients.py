"""What clients write: starts, events, cancels, ends from outside. Each finds out what is in its way, then writes."""

from collections.abc import Sequence
from typing import Final

import msgspec

from duro.errors import InstanceFinishedError, InstanceNotFoundError, MailboxFullError
from duro.model.limits import MAILBOX_EVENTS_MAX
from duro.model.records import StartOutcome, StartRequest
from duro.stores.sqlite import ending, sql
from duro.stores.sqlite.committer import Transaction, as_json
from duro.stores.sqlite.queues import insert_instances, wake

_REQUESTS_KEPT_MS: Final = 24 * 60 * 60 * 1000
"""How long a request is remembered; nobody repeats one after that."""

_taken_ids = msgspec.json.Decoder(list[tuple[str, int, str, str]])
_names = msgspec.json.Decoder(list[str])


def start(transaction: Transaction, requests: Sequence[StartRequest]) -> list[StartOutcome]:
    """A root instance for every request whose id is free; of two requests for one id the first wins."""
    if not requests:
        return []
    asked = as_json([request.instance_id for request in requests])
    taken = {row[0]: row for row in _taken_ids.decode(transaction.value(sql.TAKEN_IDS, (asked,)))}
    fresh: dict[str, StartRequest] = {}
    for request in requests:
        if request.instance_id not in taken:
            fresh.setdefault(request.instance_id, request)
    if fresh:
        now, first = transaction.now_ms, transaction.take_incarnations(len(fresh))
        insert_instances(
            transaction,
            (
                (first + n, one.instance_id, one.name, one.version, now, one.request_id, one.input)
                for n, one in enumerate(fresh.values())
            ),
        )
        for n, one in enumerate(fresh.values()):
            taken[one.instance_id] = (one.instance_id, first + n, one.name, one.request_id)
    return [_start_outcome(request, taken[request.instance_id]) for request in requests]


def _start_outcome(request: StartRequest, holder: tuple[str, int, str, str]) -> StartOutcome:
    return StartOutcome(
        instance_id=holder[0], incarnation=holder[1], name=holder[2], started=holder[3] == request.request_id
    )


def raise_event(transaction: Transaction, instance_id: str, name: str, data: str, request_id: str) -> None:
    target = transaction.row(sql.TARGET, (instance_id, request_id))
    if target is None:
        raise _not_found(instance_id)
    incarnation, status, finished, waits, blocked, applied = target
    if applied:
        return
    if finished:
        raise _finished(instance_id, status)
    if transaction.value(sql.COUNT_MAILBOX, (incarnation,)) >= MAILBOX_EVENTS_MAX:
        raise MailboxFullError(
            f"instance {instance_id!r} holds {MAILBOX_EVENTS_MAX} undelivered events",
            hint="it takes no more until its code waits for some of them",
        )
    sequence = transaction.take_message_ids(1)
    transaction.run(sql.INSERT_MAILBOX, (incarnation, name, sequence, data))
    _remember(transaction, request_id, incarnation)
    if not blocked and name in _names.decode(waits):
        wake(transaction, {incarnation})
    transaction.run(sql.DELETE_OLD_REQUESTS, (transaction.now_ms - _REQUESTS_KEPT_MS,))


def request_cancel(transaction: Transaction, instance_id: str, reason: str, request_id: str) -> None:
    target = transaction.row(sql.TARGET, (instance_id, request_id))
    if target is None:
        raise _not_found(instance_id)
    incarnation, status, finished, _, _, applied = target
    if applied:
        return
    if finished:
        raise _finished(instance_id, status)
    _remember(transaction, request_id, incarnation)
    transaction.rows(sql.CANCEL_CHILDREN, [(incarnation, reason)], (transaction.now_ms,))


def terminate(transaction: Transaction, instance_id: str, reason: str, request_id: str) -> None:
    target = transaction.row(sql.TARGET, (instance_id, request_id))
    if target is None:
        raise _not_found(instance_id)
    incarnation, status, finished, _, _, applied = target
    if applied:
        return
    if finished:
        raise _finished(instance_id, status)
    if request_id:
        _remember(transaction, request_id, incarnation)
    ending.terminate(transaction, incarnation, reason)


def resume(transaction: Transaction, instance_id: str) -> bool:
    target = transaction.row(sql.TARGET, (instance_id, ""))
    if target is None:
        raise _not_found(instance_id)
    incarnation, status, finished, _, blocked, _ = target
    if finished:
        raise _finished(instance_id, status)
    if blocked:
        transaction.run(sql.RESUME, (incarnation, transaction.now_ms))
    return bool(blocked)


def _remember(transaction: Transaction, request_id: str, incarnation: int) -> None:
    transaction.run(sql.INSERT_REQUEST, (request_id, incarnation, transaction.now_ms))


def _not_found(instance_id: str) -> InstanceNotFoundError:
    return InstanceNotFoundError(f"there is no instance {instance_id!r}")


def _finished(instance_id: str, status: str) -> InstanceFinishedError:
    return InstanceFinishedError(f"instance {instance_id!r} is {status}")
