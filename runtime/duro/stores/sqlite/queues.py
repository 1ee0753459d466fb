"""Steps that turns, reports and clients share: who may write, what arrives where, what an end leaves behind."""

from collections.abc import Iterable, Sequence

import msgspec

from duro.stores.sqlite import sql
from duro.stores.sqlite.committer import Transaction, as_json
from duro.stores.sqlite.rows import Row, Value

Fence = tuple[int, int, int, int, int, str, int, str | None]
"""Incarnation, lease epoch, turn sequence, execution, its number of events, name, the last execution at whose end an
automatic prune was done, the instance's own policy."""

EndFacts = tuple[int, int, int, int, int, int, int | None, int | None, int | None, int]
"""Incarnation; whether it has messages, mailbox events, timers, activities, children (of any execution); then the
parent that waits for it, that one's execution and event, and whether they still run."""

_fences = msgspec.json.Decoder(list[Fence])
_end_facts = msgspec.json.Decoder(list[EndFacts])


def fences(transaction: Transaction, incarnations: Sequence[int], worker_id: str) -> dict[int, Fence]:
    """The instances among these that the worker holds, as they are now."""
    answer = transaction.value(sql.FENCE, (as_json(incarnations), worker_id))
    return {fence[0]: fence for fence in _fences.decode(answer)}


def insert_instances(transaction: Transaction, rows: Iterable[tuple[int, str, str, str, int, str, str]]) -> None:
    """Pending instances, ready now, each with its first execution.

    A row is (incarnation, instance id, name, version, created at (ms), request id, input).
    """
    instances: list[Value] = []
    executions: list[Value] = []
    for incarnation, instance_id, name, version, created_at_ms, request_id, data in rows:
        instances += (incarnation, instance_id, name, version, created_at_ms, request_id)
        executions += (incarnation, 1, version, created_at_ms, data)
    transaction.flat_rows(sql.INSERT_INSTANCES, instances, (transaction.now_ms,))
    transaction.flat_rows(sql.INSERT_EXECUTIONS, executions)


def send(transaction: Transaction, messages: Sequence[tuple[int, str]]) -> None:
    """Queue (incarnation, data). Waking the instances is the caller's."""
    if messages:
        first = transaction.take_message_ids(len(messages))
        rows: list[Row] = [(target, first + n, data) for n, (target, data) in enumerate(messages)]
        transaction.rows(sql.INSERT_MESSAGES, rows)


def wake(transaction: Transaction, incarnations: set[int]) -> None:
    if incarnations:
        transaction.run(sql.WAKE, (as_json(sorted(incarnations)), transaction.now_ms))


def end_facts(transaction: Transaction, incarnations: Sequence[int]) -> list[EndFacts]:
    """What instances whose execution is about to end leave behind."""
    return _end_facts.decode(transaction.value(sql.END_FACTS, (as_json(incarnations),)))
