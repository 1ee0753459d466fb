"""What a worker gives back beside turns: leases without a turn, and activities that ended or are to be tried again."""

import msgspec

from duro.model.turns import CommitBatch, FinishActivity, RetryActivity, TurnOutcome
from duro.stores.sqlite import sql
from duro.stores.sqlite.committer import Transaction
from duro.stores.sqlite.queues import fences, send, wake
from duro.stores.sqlite.rows import Row

_pairs = msgspec.json.Decoder(list[tuple[int, int]])


def release(transaction: Transaction, batch: CommitBatch) -> list[TurnOutcome]:
    """Leases given back without a turn."""
    held = fences(transaction, [one.incarnation for one in batch.releases], batch.worker_id)
    outcomes: list[TurnOutcome] = []
    freed: list[Row] = []
    blocked: list[Row] = []
    for one in batch.releases:
        fence = held.get(one.incarnation)
        if fence is None or fence[1] != one.lease_epoch:
            outcomes.append(TurnOutcome.FENCED)
            continue
        del held[one.incarnation]
        outcomes.append(TurnOutcome.COMMITTED)
        row = (one.incarnation, int(not one.count_attempt))
        if one.blocked is None:
            freed.append((*row, one.retry_at_ms or 0))
        else:
            blocked.append((*row, one.retry_at_ms, one.blocked.value, one.reason))
    transaction.rows(sql.RELEASE_INSTANCES, freed, (transaction.now_ms,))
    transaction.rows(sql.BLOCK_INSTANCES, blocked)
    return outcomes


def report_activities(transaction: Transaction, batch: CommitBatch) -> tuple[list[TurnOutcome], list[TurnOutcome]]:
    """Activities that ended for good, then those to be tried again: one outcome each."""
    reports: list[FinishActivity | RetryActivity] = [*batch.finished, *batch.retries]
    keys = [(report.incarnation, report.execution_id, report.event_id) for report in reports]
    rows: list[Row] = [(n, *key) for n, key in enumerate(keys)]
    epochs = dict(transaction.found(sql.ACTIVITY_FENCE, rows, _pairs, (batch.worker_id,)))
    outcomes: list[TurnOutcome] = []
    gone: set[tuple[int, int, int]] = set()
    for n, (key, report) in enumerate(zip(keys, reports, strict=True)):
        if epochs.get(n) != report.lease_epoch or key in gone:
            outcomes.append(TurnOutcome.FENCED)
        else:
            gone.add(key)
            outcomes.append(TurnOutcome.COMMITTED)
    finished = [one for one, outcome in zip(batch.finished, outcomes, strict=False) if outcome is TurnOutcome.COMMITTED]
    transaction.rows(sql.DELETE_ACTIVITIES, [(one.incarnation, one.execution_id, one.event_id) for one in finished])
    send(transaction, [(one.incarnation, one.message) for one in finished])
    wake(transaction, {one.incarnation for one in finished})
    told = zip(batch.retries, outcomes[len(batch.finished) :], strict=True)
    retried: list[Row] = [
        (one.incarnation, one.execution_id, one.event_id, one.visible_at_ms, int(one.failed))
        for one, outcome in told
        if outcome is TurnOutcome.COMMITTED
    ]
    transaction.rows(sql.RETRY_ACTIVITIES, retried)
    return outcomes[: len(batch.finished)], outcomes[len(batch.finished) :]
