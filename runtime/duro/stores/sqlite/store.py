"""The SQLite store: the port's methods, each one transaction of the committer or one snapshot of a read connection."""

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import apsw

from duro.clock import Clock
from duro.errors import (
    CommitUnknownError,
    StoreClosedError,
    StoreError,
    StoreNotFoundError,
    StoreReadOnlyError,
    StoreUrlError,
)
from duro.model.archive import (
    ArchivableExecution,
    ArchivableInstance,
    KnownArchive,
    Restoration,
    RestoreResult,
    WaitingArchive,
)
from duro.model.checkup import CheckResult, Repair
from duro.model.families import (
    Family,
    FinishedInstance,
    OrphanRules,
    OrphanSearch,
    RemovalBatch,
    RemovalOutcome,
    RemovedInstance,
)
from duro.model.ledger import NO_SOURCE, LedgerTotals, RunSource
from duro.model.pruning import Hold
from duro.model.records import (
    ChildRecord,
    ExecutionPage,
    ExecutionRecord,
    HistoryRecord,
    InstanceEnd,
    InstanceFilter,
    InstancePage,
    InstanceRecord,
    StartOutcome,
    StartRequest,
    StoreInfo,
    WorkerRecord,
)
from duro.model.removal import (
    AskedPrune,
    Backlog,
    LedgerEntry,
    OrderResult,
    PrunableInstance,
    PruneBatch,
    PrunedExecution,
    PruneFilter,
    PruneRun,
    PruneView,
    PublishedPolicies,
    ReclaimResult,
    UndoResult,
)
from duro.model.space import FileSizes, MarkedUsage, NameUsage
from duro.model.turns import CommitBatch, CommitResult, LastCommit, LeaseRequest, LeaseResult
from duro.naming import path_problem
from duro.retention.transaction import Counted
from duro.stores.base import LeaseOffer, Store, StoreDump
from duro.stores.sqlite import migrations, reads, retaining, space, sql
from duro.stores.sqlite.committer import Committer, Transaction
from duro.stores.sqlite.connection import (
    BusyWait,
    FaultHook,
    Synchronous,
    forked,
    open_reader,
    open_writer,
    refuse_network_file_system,
    store_error,
    system_error,
)
from duro.stores.sqlite.late import LateModule, load
from duro.stores.sqlite.texts import UNREADABLE, unreadable

if TYPE_CHECKING:
    from duro.stores.sqlite import archiving, checking, clients, families, leases, pruning, reclaiming, turns, workers
else:
    archiving = LateModule("duro.stores.sqlite.archiving")
    checking = LateModule("duro.stores.sqlite.checking")
    clients = LateModule("duro.stores.sqlite.clients")
    families = LateModule("duro.stores.sqlite.families")
    leases = LateModule("duro.stores.sqlite.leases")
    pruning = LateModule("duro.stores.sqlite.pruning")
    reclaiming = LateModule("duro.stores.sqlite.reclaiming")
    turns = LateModule("duro.stores.sqlite.turns")
    workers = LateModule("duro.stores.sqlite.workers")

T = TypeVar("T")

_LOOK_AT_FILE_S: Final = 1.0
"""How often, at most, a writer looks whether its file is still the one with that name."""

_NEEDED_BY_WORKERS: Final = ("clients", "leases", "turns")
"""Modules that the first turns take: to load them then would be in their way."""

_READERS_KEPT: Final = 8
"""Idle read connections that stay open: about as many threads as read at once."""


class SqliteStore(Store):
    """A store in one SQLite file. Open one with ``SqliteStore.open``."""

    def __init__(
        self,
        path: Path,
        *,
        url: str,
        clock: Clock,
        writer: Committer | None,
        watcher: apsw.Connection,
        busy_timeout_ms: int,
    ) -> None:
        self.url = url
        self._path = path
        self._clock = clock
        self._writer = writer
        self._watcher = watcher
        self._watching = threading.Lock()
        self._busy_timeout_ms = busy_timeout_ms
        self._busy = None if writer is None else BusyWait(writer.connection, busy_timeout_ms, lambda: writer.bulk)
        self._process_id = os.getpid()
        self._closed = False
        self._readers: deque[apsw.Connection] = deque()
        self._rotation = leases.Rotation()
        self._offers: deque[LeaseOffer] = deque()
        """Of workers of this process that wait, the one that has waited longest first."""
        self._file = _identity(path)
        self._file_seen_at_s = clock.monotonic_s()

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        url: str,
        clock: Clock,
        new_id: Callable[[], str],
        create: bool = True,
        read_only: bool = False,
        to_copy: bool = False,
        busy_timeout_ms: int = 5000,
        synchronous: Synchronous = "FULL",
        allow_network_fs: bool = False,
        faults: FaultHook | None = None,
    ) -> "SqliteStore":
        """Open the store in the file ``path``, or make one (``create``) where there is no file or an empty one.

        ``new_id`` names a new store. ``busy_timeout_ms``: how long to wait for another process that writes.
        ``read_only``: nothing is written, migrated or made (SQLite's shared memory beside the file excepted, which is
        not needed on a medium that is mounted read-only).
        ``to_copy``, with ``read_only``: for ``backup`` alone, which an older schema may have, too.
        ``faults``: see ``committer``. A symbolic link is followed.

        Raises:
            StoreNotFoundError, NotADatabaseError, NotADuroStoreError, SchemaTooNewError, SchemaTooOldError,
            StoreReadOnlyError: the file is as it was, byte for byte, and no other file was made.
            StoreLockedError: another process kept it locked.
            StoreUrlError: SQLite takes no such path.
        """
        named = Path(path).absolute()
        resolved = named if path_problem(str(named)) else named.resolve()  # the system may refuse to follow such a name
        if problem := path_problem(str(resolved)):
            raise StoreUrlError(f"the path of store {str(resolved)!r} {problem}", hint="rename it, or its directory")
        opening = partial(
            cls._opened,
            resolved,
            url=url,
            clock=clock,
            new_id=new_id,
            create=create,
            read_only=read_only,
            to_copy=to_copy,
            busy_timeout_ms=busy_timeout_ms,
            synchronous=synchronous,
            faults=faults,
        )
        with _system_errors(resolved):
            if not allow_network_fs:
                refuse_network_file_system(resolved.parent)
            try:
                store = opening()
            except (StoreError, OSError):
                if not space.shrink_reserve(resolved):
                    raise
                store = opening()
        store.weakened = "synchronous=NORMAL" if synchronous == "NORMAL" and not read_only else ""
        return store

    @classmethod
    def _opened(
        cls,
        resolved: Path,
        *,
        url: str,
        clock: Clock,
        new_id: Callable[[], str],
        create: bool,
        read_only: bool,
        to_copy: bool,
        busy_timeout_ms: int,
        synchronous: Synchronous,
        faults: FaultHook | None,
    ) -> "SqliteStore":
        """The file is made and migrated where need be."""
        inspection = migrations.prepare_file(
            resolved,
            create=create and not read_only,
            for_writing=not read_only,
            busy_timeout_ms=busy_timeout_ms,
            any_older=to_copy,
        )
        writer: Committer | None = None
        watcher: apsw.Connection | None = None
        try:
            if not read_only:
                connection = open_writer(
                    resolved, busy_timeout_ms=busy_timeout_ms, synchronous=synchronous, new=inspection.new
                )
                writer = Committer(connection, resolved, clock, faults, synchronous)
                migrations.migrate(connection, new_id(), clock.now_ms())
            watcher = open_reader(resolved, busy_timeout_ms=busy_timeout_ms, read_only=read_only)
            return cls(resolved, url=url, clock=clock, writer=writer, watcher=watcher, busy_timeout_ms=busy_timeout_ms)
        except BaseException as error:
            if watcher is not None:
                watcher.close()
            if writer is not None:
                writer.close()
            if isinstance(error, apsw.Error):
                raise store_error(error, resolved) from error
            raise

    # --- life ----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Idempotent. After a fork() the child has nothing of its own to give back, so there it does nothing."""
        if self._closed or os.getpid() != self._process_id:
            return
        self._closed = True
        while self._readers:
            self._readers.pop().close()
        with self._watching:
            self._watcher.close()
        if self._writer is not None:
            self._writer.close()

    def now_ms(self) -> int:
        if self._closed or os.getpid() != self._process_id:
            self._check()  # asked for at every turn: two calls less
        return self._clock.now_ms()

    def change_counter(self) -> tuple[int, ...]:
        self._check()
        with self._watching:
            if self._closed:
                raise _closed()
            try:
                version = self._watcher.execute(sql.DATA_VERSION).get
            except apsw.Error as error:
                raise store_error(error, self._path) from error
        return (version, 0 if self._writer is None else self._writer.commits)

    def store_id(self) -> str:
        with self._reading() as connection:
            return reads.store_id(connection)

    def _check(self) -> None:
        self._check_process()
        if self._closed:
            raise _closed()

    def _check_process(self) -> None:
        if os.getpid() != self._process_id:
            raise forked(self._path)

    def _write(self, operation: Callable[[Transaction], T], *, durable: bool = True) -> T:
        self._check()
        if self._writer is None:
            raise StoreReadOnlyError(f"{self._path} was opened read-only", hint="open it for writing")
        self._check_file()
        try:
            return self._writer.run(operation, durable=durable)
        except UNREADABLE as error:
            raise self._unreadable(error) from error

    def _write_work(self, operation: Callable[[Transaction], T]) -> T:
        """A write of a client that may make something ready; a worker that waits gets it in the same transaction."""
        try:
            offer = self._offers.popleft()
        except IndexError:
            return self._write(operation)

        def both(transaction: Transaction) -> tuple[T, LeaseResult]:
            answer = operation(transaction)
            return answer, leases.lease(transaction, offer.worker_id, offer.request, self._rotation, likely=True)

        try:
            answer, leased = self._write(both)
        except CommitUnknownError:
            offer.deliver(None)
            raise
        except BaseException:
            self._offers.appendleft(offer)
            raise
        offer.deliver(leased)
        return answer

    def _check_file(self) -> None:
        """A file that was removed under its connections takes every write, and nobody will ever read it again."""
        now_s = self._clock.monotonic_s()
        if now_s - self._file_seen_at_s < _LOOK_AT_FILE_S:
            return
        try:
            found = _identity(self._path)
        except OSError:  # nobody can say just now; the next write looks again
            return
        if found != self._file:
            raise StoreNotFoundError(
                f"{self._path} was removed or replaced while it was open; nothing more is written to it",
                hint="stop everything that has it open, and put the file back",
            )
        self._file_seen_at_s = now_s

    @contextmanager
    def _reading(self) -> Iterator[apsw.Connection]:
        """A read connection, this thread's own for as long as the block runs."""
        self._check()
        try:
            try:
                connection = self._readers.pop()
            except IndexError:
                connection = open_reader(
                    self._path, busy_timeout_ms=self._busy_timeout_ms, read_only=self._writer is None
                )
            try:
                yield connection
            finally:
                if connection.in_transaction:
                    connection.execute(sql.ROLLBACK)
                self._readers.append(connection)
                if self._closed or len(self._readers) > _READERS_KEPT:
                    self._discard_reader()
        except apsw.Error as error:
            raise store_error(error, self._path) from error
        except OSError as error:
            raise system_error(error, self._path) from error
        except UNREADABLE as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> StoreError:
        """``error`` as what it means, with the rows that it may be about."""
        try:
            with closing(
                open_reader(self._path, busy_timeout_ms=self._busy_timeout_ms, read_only=self._writer is None)
            ) as connection:
                return unreadable(connection, self._path, error)
        except apsw.Error as another:
            return store_error(another, self._path)

    def _discard_reader(self) -> None:
        try:
            self._readers.pop().close()
        except IndexError:  # another thread was faster
            return

    @contextmanager
    def _snapshot(self) -> Iterator[apsw.Connection]:
        """A read connection on which several statements see one state."""
        with self._reading() as connection:
            connection.execute(sql.BEGIN_READ)
            yield connection

    # --- workers -------------------------------------------------------------------------------------------------

    def register_worker(self, worker: WorkerRecord, lease_ms: int) -> WorkerRecord:
        load(_NEEDED_BY_WORKERS)
        return self._write(lambda transaction: workers.register(transaction, worker, lease_ms))

    def renew_worker(self, worker_id: str, lease_ms: int, *, threads_stuck: int = 0) -> bool:
        return self._write(lambda transaction: workers.renew(transaction, worker_id, lease_ms, threads_stuck))

    def release_worker(self, worker_id: str) -> None:
        self._write(lambda transaction: workers.release(transaction, worker_id))

    def release_expired(self) -> int:
        with self._reading() as connection:
            expired = workers.any_expired(connection, self._clock.now_ms())
        return self._write(workers.release_expired) if expired else 0

    def list_workers(self) -> tuple[WorkerRecord, ...]:
        with self._reading() as connection:
            return workers.list_all(connection)

    def acquire_maintenance(self, holder: str, lease_ms: int) -> bool:
        return self._write(lambda transaction: workers.acquire_maintenance(transaction, holder, lease_ms))

    def release_maintenance(self, holder: str) -> None:
        self._write(lambda transaction: workers.release_maintenance(transaction, holder))

    # --- the turn path -------------------------------------------------------------------------------------------

    def lease(self, worker_id: str, request: LeaseRequest) -> LeaseResult:
        with self._reading() as connection:
            nothing = leases.look(connection, self._clock.now_ms(), worker_id, request)
        if nothing is not None:
            return nothing
        return self._write(
            lambda transaction: leases.lease(transaction, worker_id, request, self._rotation, likely=True)
        )

    def offer_lease(self, offer: LeaseOffer) -> None:
        self.withdraw_offer(offer.worker_id)
        self._offers.append(offer)

    def withdraw_offer(self, worker_id: str) -> None:
        for offer in list(self._offers):
            if offer.worker_id == worker_id:
                with suppress(ValueError):  # a write has taken it just now
                    self._offers.remove(offer)

    def commit(self, batch: CommitBatch) -> CommitResult:
        return self._write(lambda transaction: turns.commit(transaction, batch, self._rotation))

    def lookup_commit(self, incarnations: Sequence[int]) -> dict[int, LastCommit]:
        with self._reading() as connection:
            return reads.lookup_commit(connection, incarnations)

    def load_histories(self, executions: Sequence[tuple[int, int]]) -> list[tuple[str, ...]]:
        with self._snapshot() as connection:
            return reads.load_histories(connection, executions)

    def held_instances(self, worker_id: str) -> frozenset[tuple[int, int]]:
        with self._reading() as connection:
            return reads.held_instances(connection, worker_id)

    def held_activities(self, worker_id: str) -> frozenset[tuple[int, int, int, int]]:
        with self._reading() as connection:
            return reads.held_activities(connection, worker_id)

    # --- writes of clients ---------------------------------------------------------------------------------------

    def start_instances(self, requests: Sequence[StartRequest]) -> list[StartOutcome]:
        return self._write_work(lambda transaction: clients.start(transaction, requests))

    def raise_event(self, instance_id: str, name: str, data: str, request_id: str) -> None:
        self._write_work(lambda transaction: clients.raise_event(transaction, instance_id, name, data, request_id))

    def request_cancel(
        self, instance_id: str, reason: str, request_id: str, *, orphan: tuple[int, OrphanRules] | None = None
    ) -> None:
        def write(transaction: Transaction) -> None:
            families.check_may_be_asked_to_end(transaction, instance_id, orphan)
            clients.request_cancel(transaction, instance_id, reason, request_id)

        self._write(write)

    def terminate_instance(self, instance_id: str, reason: str, request_id: str = "") -> None:
        self._write(lambda transaction: clients.terminate(transaction, instance_id, reason, request_id))

    def resume_instance(self, instance_id: str) -> bool:
        return self._write(lambda transaction: clients.resume(transaction, instance_id))

    # --- pruning -------------------------------------------------------------------------------------------------

    def publish(self, worker_id: str, published: str) -> None:
        self._write(lambda transaction: retaining.publish(transaction, worker_id, published))

    def published_policies(self) -> PublishedPolicies:
        with self._snapshot() as connection:
            return retaining.published_policies(connection, self._clock.now_ms())

    def past_publications(self) -> tuple[str, ...]:
        with self._reading() as connection:
            return retaining.past_publications(connection)

    def versions_seen(self, name: str) -> tuple[tuple[str, int], ...]:
        with self._reading() as connection:
            return retaining.versions_seen(connection, name)

    def set_instance_policy(self, instance_id: str, policy: str | None) -> None:
        self._write(lambda transaction: retaining.set_instance_policy(transaction, instance_id, policy))

    def add_hold(self, hold: Hold) -> None:
        self._write(lambda transaction: retaining.add_hold(transaction, hold))

    def remove_hold(self, hold_id: str) -> bool:
        return self._write(lambda transaction: retaining.remove_hold(transaction, hold_id))

    def list_holds(self) -> tuple[Hold, ...]:
        with self._reading() as connection:
            return retaining.list_holds(connection)

    def hold_revision(self) -> int:
        with self._reading() as connection:
            return retaining.hold_revision(connection)

    def orchestration_names(self) -> tuple[str, ...]:
        with self._reading() as connection:
            return retaining.orchestration_names(connection)

    def prunable_instances(self, where: PruneFilter, limit: int, after: int) -> tuple[PrunableInstance, ...]:
        with self._reading() as connection:
            return retaining.prunable_instances(connection, where, limit, after, self.now_ms())

    def asked_prunes(self, limit: int, after: int) -> tuple[AskedPrune, ...]:
        with self._reading() as connection:
            return pruning.asked_prunes(connection, limit, after, self.now_ms())

    def prune_views(
        self, wanted: Sequence[tuple[int, int]], limit: int, newer_max: int, of_a_version_max: int = 0
    ) -> list[PruneView]:
        with self._snapshot() as connection:
            return pruning.views(connection, wanted, limit, Counted(newer_max, of_a_version_max))

    def prune(self, batch: PruneBatch, *, durable: bool = True) -> list[OrderResult]:
        return self._write(lambda transaction: pruning.prune(transaction, batch), durable=durable)

    def note_swept(self, incarnations: Sequence[int]) -> None:
        self._write(lambda transaction: pruning.note_swept(transaction, incarnations))

    def sync(self) -> None:
        self._check()
        if self._writer is not None:
            self._writer.sync()

    def contended(self) -> bool:
        if self._busy is None or not self._busy.happened:
            return False
        self._busy.happened = False
        return True

    def reclaim(self, events_max: int) -> ReclaimResult:
        with self._reading() as connection:
            if not reclaiming.any_due(connection, self._clock.now_ms()):
                return ReclaimResult()
        return self._write(lambda transaction: reclaiming.reclaim(transaction, events_max), durable=False)

    def undo_prune(
        self,
        hold_id: str,
        hold_until_ms: int,
        *,
        run_id: str = "",
        instance_id: str = "",
        by: str = "",
        source: RunSource = NO_SOURCE,
    ) -> UndoResult:
        return self._write(
            lambda transaction: reclaiming.undo(
                transaction, hold_id, hold_until_ms, run_id=run_id, instance_id=instance_id, by=by, source=source
            )
        )

    # --- families ------------------------------------------------------------------------------------------------

    def get_child(self, instance_id: str) -> ChildRecord | None:
        with self._reading() as connection:
            return families.get_child(connection, instance_id)

    def list_unobserved(self, where: OrphanSearch, limit: int, after: int) -> tuple[ChildRecord, ...]:
        with self._reading() as connection:
            return families.list_unobserved(connection, where, limit, after)

    def count_orphans(self) -> dict[str, int]:
        with self._reading() as connection:
            return families.count_orphans(connection)

    def list_finished(self, names: Sequence[str] | None, limit: int, after: int) -> tuple[FinishedInstance, ...]:
        with self._reading() as connection:
            return families.list_finished(connection, names, limit, after)

    def newest_finished(self, name: str, count: int) -> int | None:
        with self._reading() as connection:
            return families.newest_finished(connection, name, count)

    def families(self, incarnations: Sequence[int]) -> list[Family]:
        with self._snapshot() as connection:
            return families.families(connection, incarnations)

    def remove(self, batch: RemovalBatch, *, durable: bool = True) -> list[RemovalOutcome]:
        return self._write(lambda transaction: families.remove(transaction, batch), durable=durable)

    def adopt(self, instance_id: str, by: str, reason: str) -> ChildRecord:
        return self._write(lambda transaction: families.adopt(transaction, instance_id, by, reason))

    def find_removed(self, instance_id: str) -> RemovedInstance | None:
        with self._reading() as connection:
            return families.find_removed(connection, instance_id)

    def list_ledger(self, instance_id: str) -> tuple[LedgerEntry, ...]:
        with self._snapshot() as connection:
            return retaining.list_ledger(connection, instance_id)

    def list_prune_runs(self, limit: int, before: tuple[int, str] | None = None) -> tuple[PruneRun, ...]:
        with self._reading() as connection:
            return retaining.list_runs(connection, limit, before)

    def get_prune_run(self, run_id: str) -> PruneRun | None:
        with self._reading() as connection:
            return retaining.get_run(connection, run_id)

    def ledger_totals(self) -> tuple[LedgerTotals, ...]:
        with self._reading() as connection:
            return retaining.ledger_totals(connection)

    def find_pruned(self, instance_id: str, execution_id: int) -> PrunedExecution | None:
        with self._snapshot() as connection:
            return retaining.find_pruned(connection, instance_id, execution_id)

    def backlog(self) -> Backlog:
        with self._reading() as connection:
            return retaining.backlog(connection, self._clock.now_ms())

    # --- archives ------------------------------------------------------------------------------------------------

    def list_unarchived(self, limit: int, excluding: Sequence[str] = ()) -> tuple[ArchivableExecution, ...]:
        with self._reading() as connection:
            return archiving.unarchived(connection, limit, excluding)

    def list_unarchived_instances(self, limit: int, excluding: Sequence[str] = ()) -> tuple[ArchivableInstance, ...]:
        with self._reading() as connection:
            return archiving.unarchived_instances(connection, limit, excluding)

    def list_unarchived_of(self, incarnation: int, limit: int, after: int) -> tuple[ArchivableExecution, ...]:
        with self._reading() as connection:
            return archiving.unarchived_of(connection, incarnation, limit, after)

    def waiting_archives(self) -> tuple[WaitingArchive, ...]:
        with self._reading() as connection:
            return archiving.waiting(connection)

    def known_archives(self) -> tuple[KnownArchive, ...]:
        with self._reading() as connection:
            return archiving.known(connection)

    def remember_archive(self, directory: str, archive_id: str) -> None:
        self._write(lambda transaction: archiving.remember(transaction, directory, archive_id))

    def note_archived(self, executions: Sequence[tuple[int, int]], incarnations: Sequence[int]) -> None:
        self._write(lambda transaction: archiving.note_archived(transaction, executions, incarnations), durable=False)

    def restore(self, restoration: Restoration) -> RestoreResult:
        return self._write(lambda transaction: archiving.restore(transaction, restoration))

    # --- reads of clients ----------------------------------------------------------------------------------------

    def get_instance(self, instance_id: str) -> InstanceRecord | None:
        with self._snapshot() as connection:
            return reads.get_instance(connection, self._clock.now_ms(), instance_id)

    def instance_ids_from(self, prefix: str, limit: int) -> tuple[str, ...]:
        with self._reading() as connection:
            return reads.instance_ids_from(connection, prefix, limit)

    def list_instances(self, where: InstanceFilter, limit: int, cursor: str | None) -> InstancePage:
        with self._snapshot() as connection:
            return reads.list_instances(connection, self._clock.now_ms(), where, limit, cursor)

    def list_executions(self, instance_id: str | None, limit: int, cursor: str | None) -> ExecutionPage:
        with self._snapshot() as connection:
            return reads.list_executions(connection, instance_id, limit, cursor)

    def get_execution(self, instance_id: str, execution_id: int) -> ExecutionRecord | None:
        with self._reading() as connection:
            return reads.get_execution(connection, instance_id, execution_id)

    def read_history(self, instance_id: str, execution_id: int | None, after: int = 0) -> HistoryRecord | None:
        with self._snapshot() as connection:
            return reads.read_history(connection, instance_id, execution_id, after)

    def read_ends(self, instance_ids: Sequence[str]) -> dict[str, InstanceEnd]:
        with self._reading() as connection:
            return reads.read_ends(connection, instance_ids)

    def list_children(self, incarnation: int, limit: int, after: int) -> tuple[ChildRecord, ...]:
        with self._snapshot() as connection:
            return reads.list_children(connection, incarnation, limit, after)

    def info(self) -> StoreInfo:
        with self._snapshot() as connection:
            return reads.info(connection, self.url, self._path)

    def usage(self, since_ms: int) -> tuple[NameUsage, ...]:
        with self._snapshot() as connection:
            return space.usage(connection, since_ms)

    def marked(self) -> MarkedUsage:
        with self._reading() as connection:
            return space.marked(connection)

    def sizes(self) -> FileSizes:
        with self._reading() as connection:
            return space.sizes(connection, self._path)

    def give_back(self, pages_max: int) -> int:
        with self._reading() as connection:
            if not space.can_give_back(connection, self._path):
                return 0
        return self._write(lambda transaction: space.give_back(transaction, pages_max), durable=False)

    def rewrite(self) -> None:
        with _system_errors(self._path):
            space.check_room(self.sizes(), self._path)
        self._alone(space.rewrite)

    def cut_log(self) -> bool:
        return self._alone(space.cut_log)

    def keep_reserve(self) -> None:
        self._check_process()
        if self._writer is not None and not self._closed:
            space.keep_reserve(self._path)

    def make_room(self) -> bool:
        self._check()
        released = space.release_reserve(self._path)
        before = self.sizes().wal_bytes
        with contextlib.suppress(StoreError):  # as far as there was room for it, and nobody reads an older state
            self.cut_log()
        return released or self.sizes().wal_bytes < before

    def _alone(self, operation: Callable[[apsw.Connection], T]) -> T:
        self._check()
        if self._writer is None:
            raise StoreReadOnlyError(f"{self._path} was opened read-only", hint="open it for writing")
        self._check_file()
        return self._writer.alone(operation)

    def backup(self, target: Path, progress: Callable[[int, int], object]) -> None:
        with self._snapshot() as connection:
            space.backup(connection, target, progress)

    def checkup(self, *, deep: bool = False) -> Iterator[CheckResult]:
        with self._reading() as connection:
            yield from checking.checkup(connection, self._path, self._clock.now_ms(), deep=deep)

    def repair(self, names: Sequence[str]) -> list[Repair]:
        with self._reading() as connection:
            if names:
                checking.refuse_damaged(connection, self._path)
        return self._write(lambda transaction: checking.repair(transaction, names))

    def dump(self) -> StoreDump:
        with self._snapshot() as connection:
            return reads.dump(connection)


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file has the name now, by ``stat`` alone: opening the file beside SQLite would drop its locks. None: none.
    Raises OSError: the system could not say."""
    try:
        found = os.stat(path)  # noqa: PTH116 - says that it does not open the file
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


@contextmanager
def _system_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise system_error(error, path) from error


def _closed() -> StoreClosedError:
    return StoreClosedError("the store was closed")
