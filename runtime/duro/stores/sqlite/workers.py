"""Workers, what they can take, and the maintenance lease."""

import apsw
import msgspec

from duro.model.records import WorkerRecord
from duro.stores.sqlite import retaining, sql
from duro.stores.sqlite.committer import Transaction
from duro.stores.sqlite.rows import Row

_names = msgspec.json.Decoder(list[str])
_worker = msgspec.json.Decoder(WorkerRecord)


def register(transaction: Transaction, worker: WorkerRecord, lease_ms: int) -> WorkerRecord:
    """Replace the worker's row and wake what its code may unblock. What it holds stays its own."""
    now = transaction.now_ms
    stored = msgspec.structs.replace(
        worker,
        lease_until_ms=now + lease_ms,
        orchestrations=tuple(sorted(set(worker.orchestrations))),
        activities=tuple(sorted(set(worker.activities))),
    )
    retaining.published(transaction, stored.published)
    retaining.remember_versions(transaction, stored.orchestrations)
    transaction.run(
        sql.REPLACE_WORKER,
        (
            stored.worker_id,
            stored.host,
            stored.process_id,
            stored.started_at_ms,
            stored.lease_until_ms,
            stored.duro_version,
            stored.published,
            stored.threads_stuck,
        ),
    )
    transaction.run(sql.DELETE_CAPABILITIES, (stored.worker_id,))
    kinds: list[Row] = [("orchestration", name, version) for name, version in stored.orchestrations]
    kinds += [("activity", name, "") for name in stored.activities]
    transaction.rows(sql.INSERT_CAPABILITIES, kinds, (stored.worker_id,))
    transaction.rows(sql.WAKE_BLOCKED, list(stored.orchestrations), (now,))
    return stored


def renew(transaction: Transaction, worker_id: str, lease_ms: int, threads_stuck: int) -> bool:
    return transaction.run(sql.RENEW_WORKER, (worker_id, transaction.now_ms + lease_ms, threads_stuck)) > 0


def release(transaction: Transaction, worker_id: str) -> None:
    """Its leases come back with it: a lease never outlives the row of the worker that holds it."""
    if transaction.run(sql.DELETE_WORKER, (worker_id,)):
        transaction.run(sql.DELETE_CAPABILITIES, (worker_id,))
        transaction.run(sql.FREE_INSTANCES, (worker_id, transaction.now_ms))
        transaction.run(sql.FREE_ACTIVITIES, (worker_id, transaction.now_ms))


def release_expired(transaction: Transaction) -> int:
    """Take back what expired workers hold. Returns their number."""
    expired = _names.decode(transaction.value(sql.EXPIRED_WORKERS, (transaction.now_ms,)))
    for worker_id in expired:
        release(transaction, worker_id)
    return len(expired)


def any_expired(connection: apsw.Connection, now_ms: int) -> bool:
    return connection.execute(sql.EXPIRED_WORKERS, (now_ms,)).fetchone() != ("[]",)


def list_all(connection: apsw.Connection) -> tuple[WorkerRecord, ...]:
    return tuple(_worker.decode(str(row[0])) for row in connection.execute(sql.LIST_WORKERS))


def acquire_maintenance(transaction: Transaction, holder: str, lease_ms: int) -> bool:
    current, until_ms = transaction.row(sql.READ_MAINTENANCE)
    if current is not None and current != holder and until_ms > transaction.now_ms:
        return False
    transaction.run(sql.WRITE_MAINTENANCE, (holder, transaction.now_ms + lease_ms))
    return True


def release_maintenance(transaction: Transaction, holder: str) -> None:
    if transaction.row(sql.READ_MAINTENANCE)[0] == holder:
        transaction.run(sql.WRITE_MAINTENANCE, (None, None))
