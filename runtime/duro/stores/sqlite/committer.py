"""Group commit: the one connection that writes, and how many threads share its transactions.

A thread that wants to write queues its operation and takes the writer's lock. Whoever gets the lock runs everything
that is queued by then in one transaction and hands out the results, so that many callers wait for one fsync.

**What an operation owes.** It finds out what stands in its way before it writes: a ``DuroError`` that is not a
``StoreError`` leaves no trace, goes to its caller, and lets the others be. Any other error rolls the transaction back,
and every operation of it runs again alone and ``careful``. So an operation may run twice and must take what it returns
from the database.

**Bulk.** A long removal writes many transactions and acknowledges them at its end. They need not be durable one by
one: each goes into the log without a sync (``synchronous=NORMAL``), and the next durable commit of anybody, or
``sync``, makes all of them so, for the log is one file in one order. They also copy the log into the file earlier, a
little at a time, so that those who write beside them wait less (docs/pruning.md has the figures). A transaction that
holds one durable operation is durable.

**Fault points**, for tests: ``faults("commit.before")`` is called when everything is written, and
``faults("commit.after")`` when SQLite has reported the commit as done. What the hook raises is taken as the failure of
that step: before the commit it proves that nothing happened, after it the outcome is unknown.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import apsw
import msgspec

from duro.clock import Clock
from duro.errors import CommitUnknownError, DuroError, StoreClosedError, StoreError
from duro.stores.sqlite import sql
from duro.stores.sqlite.checkpoints import GradualCheckpoints, write_out_of_system
from duro.stores.sqlite.connection import FaultHook, Synchronous, concerns_the_store, set_bulk, store_error
from duro.stores.sqlite.rows import Row, Rows, Value

T = TypeVar("T")

_encode = msgspec.json.Encoder().encode


def as_json(values: Any) -> str:
    """A list to bind as one value."""
    return _encode(values).decode()


class Transaction:
    """What an operation works with. ``now_ms`` is the store's time, one for the whole transaction."""

    def __init__(self, connection: apsw.Connection, now_ms: int, *, careful: bool) -> None:
        self.connection = connection
        self.now_ms = now_ms
        self.careful = careful
        self._next_incarnation = 0
        self._next_message_id = 0
        self._ignored = 0

    def run(self, statement: str, values: Row = ()) -> int:
        """Execute a statement that answers nothing; the number of rows it changed."""
        self.connection.execute(statement, values)
        return self.connection.changes()

    def row(self, statement: str, values: Row = ()) -> Any:
        """The first row as a tuple, or None."""
        return self.connection.execute(statement, values).fetchone()

    def value(self, statement: str, values: Sequence[Value] = ()) -> Any:
        """The first column of a statement that answers with one row."""
        return cast("tuple[Any, ...]", self.connection.execute(statement, values).fetchone())[0]

    def rows(self, statement: Rows, rows: list[Row], scalars: Row = ()) -> int:
        """Execute a statement for many rows; the number of rows it changed."""
        if len(rows) == 1:  # most of what a single turn writes
            return self.run(statement.sql(1), (*scalars, *rows[0]))
        return self._carry_out(statement.calls(rows, scalars)) if rows else 0

    def flat_rows(self, statement: Rows, values: list[Value], scalars: Row = ()) -> int:
        """``rows`` of rows that are written one after the other."""
        if len(values) == statement.width:
            return self.run(statement.sql(1), (*scalars, *values))
        return self._carry_out(statement.flat_calls(values, scalars)) if values else 0

    def _carry_out(self, calls: Iterator[tuple[str, list[Value]]]) -> int:
        changed = 0
        for text, values in calls:
            self.connection.execute(text, values)
            changed += self.connection.changes()
        return changed

    def found(
        self, statement: Rows, rows: list[Row], decoder: msgspec.json.Decoder[list[T]], scalars: Row = ()
    ) -> list[T]:
        """What a statement answers about many rows."""
        answer: list[T] = []
        for text, values in statement.calls(rows, scalars):
            answer += decoder.decode(self.value(text, values))
        return answer

    # --- counters: read at the first use, written once when all operations have run ------------------------------

    def take_incarnations(self, count: int) -> int:
        """The first of ``count`` new incarnations."""
        self._read_counters()
        first = self._next_incarnation
        self._next_incarnation += count
        return first

    def take_message_ids(self, count: int) -> int:
        """The first of ``count`` new ids of messages and mailbox events."""
        self._read_counters()
        first = self._next_message_id
        self._next_message_id += count
        return first

    def count_ignored(self, count: int) -> None:
        """Messages that nobody was there for."""
        self._ignored += count

    def _read_counters(self) -> None:
        if not self._next_incarnation:
            self._next_incarnation, self._next_message_id = self.row(sql.READ_COUNTERS)

    def counters(self) -> tuple[int, int, int]:
        """To go back to with ``restore_counters`` when a part is undone."""
        self._read_counters()
        return self._next_incarnation, self._next_message_id, self._ignored

    def restore_counters(self, counters: tuple[int, int, int]) -> None:
        self._next_incarnation, self._next_message_id, self._ignored = counters

    def flush(self) -> None:
        """Write the counters back."""
        if self._next_incarnation:
            self.run(sql.WRITE_COUNTERS, (self._next_incarnation, self._next_message_id, self._ignored))
        elif self._ignored:
            self.run(sql.ADD_IGNORED, (self._ignored,))


Operation = Callable[[Transaction], T]


class _Job(Generic[T]):
    """One queued operation and, once ``done``, what came of it."""

    __slots__ = ("done", "durable", "error", "operation", "result")

    def __init__(self, operation: Operation[T], *, durable: bool) -> None:
        self.operation = operation
        self.durable = durable
        self.result: T | None = None
        self.error: BaseException | None = None
        self.done = False

    def run(self, transaction: Transaction) -> None:
        """Raises what concerns the whole transaction; keeps what concerns this operation only."""
        self.error = None
        try:
            self.result = self.operation(transaction)
        except StoreError:
            raise
        except DuroError as error:
            self.error = error

    def fail(self, error: BaseException) -> None:
        self.error = error


class Committer:
    """The writer of one store object. Thread-safe."""

    def __init__(
        self,
        connection: apsw.Connection,
        path: Path,
        clock: Clock,
        faults: FaultHook | None,
        synchronous: Synchronous = "FULL",
    ) -> None:
        self.commits = 0
        self._synchronous: Synchronous = synchronous
        self.bulk = False
        """Whether the transaction that runs, or ran last, is of long work."""
        self._checkpoints: GradualCheckpoints | None = None
        self._unsynced = False
        self._connection = connection
        self._path = path
        self._clock = clock
        self._faults = faults
        self._lock = threading.Lock()
        self._queue: deque[_Job[Any]] = deque()
        self._closed = False

    def run(self, operation: Operation[T], *, durable: bool = True) -> T:
        """``operation`` in a transaction, and its result once that is durable (else: once it is committed).

        Raises:
            DuroError: what the operation raised. Nothing of it happened.
            StoreLockedError: another process kept the store for longer than the busy time-out. Nothing happened.
            CommitUnknownError: it may have happened.
            StoreError: nothing happened.
        """
        job = _Job(operation, durable=durable)
        self._queue.append(job)
        with self._lock:
            if not job.done:
                self._run_queued()
        if job.error is not None:
            raise job.error
        return cast("T", job.result)

    def sync(self) -> None:
        """All that was committed before is durable when this returns.

        Raises: as ``run``; ``CommitUnknownError``: as much of it as a cut of power would leave is there.
        """
        if self._unsynced:
            # something must be written for SQLite to sync the log; an id that nobody gets harms nobody
            self.run(lambda transaction: transaction.take_message_ids(1))

    def alone(self, operation: Callable[[apsw.Connection], T]) -> T:
        """``operation`` on the connection outside any transaction, while no other operation runs.

        Raises:
            StoreError: what SQLite said.
        """
        with self._lock:
            if self._closed:
                raise StoreClosedError("the store was closed")
            try:
                return operation(self._connection)
            except apsw.Error as error:
                raise store_error(error, self._path) from error
            finally:
                self.commits += 1

    @property
    def connection(self) -> apsw.Connection:
        """The one that writes."""
        return self._connection

    def close(self) -> None:
        """Wait for the transaction that is running, then close the connection."""
        with self._lock:
            if not self._closed:
                self._closed = True
                if self._checkpoints is not None:
                    self._checkpoints.close()
                self._connection.close()

    def _run_queued(self) -> None:
        jobs = []
        while self._queue:
            jobs.append(self._queue.popleft())
        try:
            if self._closed:
                raise StoreClosedError("the store was closed")
            if not self._attempt(jobs, careful=False):
                for job in jobs:
                    self._attempt([job], careful=True)
        except Exception as error:  # noqa: BLE001 - handed to those who wait
            self._give([job for job in jobs if not job.done], self._translated(error))
        except BaseException as error:  # an interrupt of this thread: the others only learn that something went wrong
            self._rollback()
            self._give([job for job in jobs if not job.done], self._unknown(error))
            raise
        finally:
            for job in jobs:
                job.done = True

    def _attempt(self, jobs: list[_Job[Any]], *, careful: bool) -> bool:
        """One transaction for all jobs. False: something unexpected happened, all of it was undone, and the jobs should
        run one by one. A careful attempt gives that error to its job instead."""
        try:
            self._begin(bulk=not any(job.durable for job in jobs))
            transaction = Transaction(self._connection, self._clock.now_ms(), careful=careful)
            for job in jobs:
                job.run(transaction)
            transaction.flush()
            self._fault("commit.before")
        except Exception as error:  # noqa: BLE001 - handed to those who wait
            self._rollback()
            if not careful and not _is_of_the_store(error):
                return False
            self._give(jobs, self._translated(error))
            return True
        except BaseException:
            self._rollback()
            raise
        try:
            self._connection.execute(sql.COMMIT)
            self.commits += 1
            self._unsynced = self.bulk
            self._fault("commit.after")
        except Exception as error:  # noqa: BLE001 - handed to those who wait
            self._give(jobs, self._failed_commit(error))
        for job in jobs:
            job.done = True
        return True

    def _begin(self, *, bulk: bool) -> None:
        if bulk is not self.bulk:
            if self._checkpoints is None and (write_out := write_out_of_system()):
                self._checkpoints = GradualCheckpoints(self._path, write_out)
            set_bulk(self._connection, self._synchronous, self._checkpoints, bulk=bulk)
            self.bulk = bulk
        self._connection.execute(sql.BEGIN_WRITE)

    def _fault(self, point: str) -> None:
        if self._faults is not None:
            self._faults(point)

    def _rollback(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute(sql.ROLLBACK)

    def _failed_commit(self, error: Exception) -> Exception:
        """A commit that was refused for a lock did nothing. Of any other the log may hold the last frame, which whoever
        reads it after a crash would believe."""
        self.commits += 1
        if self._connection.in_transaction:
            self._rollback()
        if isinstance(error, apsw.BusyError):
            return store_error(error, self._path)
        return self._unknown(error)

    def _unknown(self, error: BaseException) -> CommitUnknownError:
        unknown = CommitUnknownError(
            f"the commit to {self._path} reported an error and may have happened: {error}",
            hint="look up what was to be written before writing it again",
        )
        unknown.__cause__ = error
        return unknown

    def _translated(self, error: Exception) -> Exception:
        if not isinstance(error, apsw.Error):
            return error
        translated = store_error(error, self._path)
        translated.__cause__ = error
        return translated

    @staticmethod
    def _give(jobs: list[_Job[Any]], error: Exception) -> None:
        """Those that already failed on their own keep their own error."""
        for job in jobs:
            if job.error is None:
                job.fail(error)


def _is_of_the_store(error: Exception) -> bool:
    if isinstance(error, apsw.Error):
        return concerns_the_store(error)
    return isinstance(error, StoreError)
