"""``Runtime``: what a program holds to run orchestrations."""

import asyncio
import os
import socket
from collections.abc import Callable
from types import TracebackType
from typing import Final

from duro.async_client import AsyncClient
from duro.client import Client
from duro.errors import UsageError
from duro.host.activities import ThreadedActivityExecutor
from duro.host.options import RuntimeOptions
from duro.host.scheduler import Loop, Scheduler, ThreadScheduler
from duro.host.worker import Worker
from duro.model.records import WorkerRecord
from duro.registry import Registry
from duro.stores.base import Store
from duro.stores.opening import new_id, open_store
from duro.telemetry import Counters
from duro.version import __version__
from duro.waiting import FinishNotifier

_DRAIN_DEFAULT_S: Final = 10.0


class Runtime:
    """Runs the orchestrations and activities of a registry on a store, in threads of its own.

    ``store`` is a URL (``sqlite:///duro.db``), a path object, or an open store (which stays open). A context
    manager, sync or async; ``start`` and ``stop`` do the same by hand. Several runtimes, in one process or several,
    may share a store. Async activities run on a loop that ``new_event_loop`` makes (``uvloop.new_event_loop``, say).

    Raises (the constructor): StoreUrlError, StoreError; UsageError: ``registry`` is none.
    """

    def __init__(
        self,
        store: "str | os.PathLike[str] | Store",
        registry: Registry,
        options: RuntimeOptions | None = None,
        *,
        scheduler: Scheduler | None = None,
        ids: Callable[[], str] = new_id,
        new_event_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
    ) -> None:
        if not isinstance(registry, Registry):
            raise UsageError(f"registry must be a duro.Registry, not {registry!r}", hint="make one: duro.Registry()")
        self._owned = not isinstance(store, Store)
        self._scheduler = scheduler or ThreadScheduler()
        self.store: Store = store if isinstance(store, Store) else open_store(store, clock=self._scheduler.clock)
        self.registry = registry
        self.options = options or RuntimeOptions()
        self._ids = ids
        self._new_event_loop = new_event_loop
        self._notifier = FinishNotifier()
        self._worker: Worker | None = None
        self._loop: Loop | None = None
        self._renewal: Loop | None = None
        self._executor: ThreadedActivityExecutor | None = None
        self.client = Client(
            self.store, registry=registry, ids=ids, notifier=self._notifier, after_write=self._after_write
        )
        self.async_client = AsyncClient(self.client)

    # --- life ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Register as a worker and begin to work.

        Raises:
            UsageError: it runs already, or was stopped.
            StoreError: the store does not answer.
        """
        if self._worker is not None:
            raise UsageError("this runtime was started before", hint="make a new Runtime")
        worker = Worker(
            self.store,
            self.registry,
            self.options,
            clock=self._scheduler.clock,
            ids=self._ids,
            notifier=self._notifier,
            describe=self._describe,
        )
        self._worker = worker
        self._executor = ThreadedActivityExecutor(
            self, worker.report, self.options.max_activity_threads, self._new_event_loop
        )
        try:
            worker.begin(self._executor, self._wake)
        except BaseException:
            self._executor.close()
            self._worker = self._executor = None
            raise
        self._loop = self._scheduler.start("duro-worker", worker.step)
        self._renewal = self._scheduler.start("duro-lease", worker.renew_step)

    def stop(self, drain_s: float = _DRAIN_DEFAULT_S) -> None:
        """Take no more work, give running activities up to ``drain_s`` seconds, commit what is finished, give the
        rest back to the store, and close the store if this runtime opened it. Idempotent."""
        if self._loop is not None and self._worker is not None and self._executor is not None:
            self._worker.begin_stop(drain_s)
            self._loop.join()
            if self._renewal is not None:
                self._renewal.wake()
                self._renewal.join()
            self._executor.close()
            self._loop = self._renewal = None
        self.async_client.close_threads()
        if self._owned:
            self.store.close()

    def __enter__(self) -> "Runtime":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> "Runtime":
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)

    # --- looking ---------------------------------------------------------------------------------------------

    @property
    def worker_id(self) -> str:
        """The id under which this runtime holds leases now; it changes when its lease was lost.

        Raises:
            UsageError: it was not started.
        """
        return self._running_worker().worker_id

    @property
    def counters(self) -> Counters:
        """What this runtime has done since it started; see ``Counters``.

        Raises:
            UsageError: it was not started.
        """
        return self._running_worker().counters

    # --- inside ----------------------------------------------------------------------------------------------

    def _running_worker(self) -> Worker:
        if self._worker is None:
            raise UsageError("this runtime was not started", hint="use it as a context manager, or call start()")
        return self._worker

    def _wake(self) -> None:
        if self._loop is not None:
            self._loop.wake()

    def _after_write(self) -> None:
        if self._worker is not None:
            self._worker.notice_write()

    def _describe(self, worker_id: str) -> WorkerRecord:
        return WorkerRecord(
            worker_id=worker_id,
            host=socket.gethostname(),
            process_id=os.getpid(),
            started_at_ms=self.store.now_ms(),
            lease_until_ms=0,
            orchestrations=self.registry.orchestrations,
            activities=self.registry.activities,
            duro_version=__version__,
        )
