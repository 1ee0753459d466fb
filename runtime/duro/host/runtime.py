"""``Runtime``: what a program holds to run orchestrations."""

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Final

import msgspec

from duro.async_client import AsyncClient
from duro.client import Client
from duro.errors import SettingsError, StoreError, UsageError
from duro.host.activities import ThreadedActivityExecutor
from duro.host.archiving import ArchiveTerms, SweptArchives, archive_terms
from duro.host.attempts import ActivityExecutor, ActivityOutcome
from duro.host.maintenance import Maintenance
from duro.host.options import RuntimeOptions
from duro.host.policies import WorkerPolicies, child_terms, sources_of
from duro.host.scheduler import FINISHED, Loop, Scheduler, ThreadScheduler
from duro.host.settings import WatchedSettings
from duro.host.worker import Worker
from duro.maintenance.policies import readable_sources
from duro.model.policies import PolicySources
from duro.model.records import WorkerRecord
from duro.naming import check_timeout_s
from duro.registry import Registry
from duro.settings.places_of_stores import anchored
from duro.stores.base import Store
from duro.stores.opening import new_id, open_store
from duro.telemetry import HOST_LOGGER, ArchiveCount, ArchiveCounters, Counters, PruneCount, PruneCounters
from duro.version import __version__
from duro.waiting import FinishNotifier

if TYPE_CHECKING:
    from duro.host.metrics import MetricsServer

_DRAIN_DEFAULT_S: Final = 10.0
_HANGING_TURNS_SEEN_S: Final = 0.1

_SWEEP_AFTER_S: Final = 0.3
"""How long after its start a runtime begins to sweep: what it was started for comes first, and the code of the sweep is
loaded later."""

_WATCH_S: Final = 1.0
"""How often the configuration file is looked at, and what other workers say."""


class ActivityClients:
    """The clients of activities: what they prune is coalesced in the ledger."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.async_client = AsyncClient(client)


NewExecutor = Callable[[ActivityClients, Callable[[Sequence[ActivityOutcome]], None]], ActivityExecutor]
"""Makes what runs the activities of one runtime: given their clients, and whom to tell of every outcome."""


class Runtime:
    """Runs the orchestrations and activities of a registry on a store, in threads of its own.

    ``store`` is a URL (``sqlite:///duro.db``), a path object, or an open store (which stays open). A context
    manager, sync or async; ``start`` and ``stop`` do the same by hand. Several runtimes, in one process or several,
    may share a store. Async activities run on a loop that ``new_event_loop`` makes (``uvloop.new_event_loop``, say).
    ``scheduler`` and ``new_executor`` take the place of its threads: a simulation has its own.

    ``config`` names a runtime_config.toml: it is read now, and watched while the runtime runs. ``store`` None takes the
    store that the file names.

    Raises (the constructor): StoreUrlError, StoreError; UsageError: ``registry`` or ``options`` is none, or no store is
        named; SettingsError: the file is not there or cannot be used (all its problems at once).
    """

    def __init__(
        self,
        store: "str | os.PathLike[str] | Store | None",
        registry: Registry,
        options: RuntimeOptions | None = None,
        *,
        config: "str | os.PathLike[str] | None" = None,
        scheduler: Scheduler | None = None,
        ids: Callable[[], str] = new_id,
        new_event_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
        new_executor: NewExecutor | None = None,
    ) -> None:
        if not isinstance(registry, Registry):
            raise UsageError(f"registry must be a duro.Registry, not {registry!r}", hint="make one: duro.Registry()")
        if not isinstance(options, RuntimeOptions | None):
            raise UsageError(f"options must be duro.RuntimeOptions, not {options!r}", hint="None takes the defaults")
        self._owned = not isinstance(store, Store)
        self._scheduler = scheduler or ThreadScheduler()
        self.registry = registry
        self.options = options or RuntimeOptions()
        self._watched = None if config is None else WatchedSettings(config, self._scheduler.clock)
        self.store: Store = store if isinstance(store, Store) else self._open(store)
        self._others: tuple[PolicySources, ...] = ()
        self._others_published: tuple[str, ...] = ()
        self._others_readable = True
        self._seen: tuple[int, ...] = ()
        self._policies = self._current_policies()
        self._ids = ids
        self._new_event_loop = new_event_loop
        self._new_executor = new_executor or self._threads
        self._notifier = FinishNotifier()
        self._worker: Worker | None = None
        self._loop: Loop | None = None
        self._renewal: Loop | None = None
        self._maintenance: Maintenance | None = None
        self._sweeping: Loop | None = None
        self._watching: Loop | None = None
        self._stopping = False
        self._unpublished = False
        self._prune_counters = PruneCounters()
        self._archive_counters = ArchiveCounters()
        self._metrics: MetricsServer | None = None
        self._executor: ActivityExecutor | None = None
        self.client = self._make_client(ids, by_hand=True)
        self.async_client = AsyncClient(self.client)
        self._of_activities = ActivityClients(self._make_client(ids, by_hand=False))

    def _make_client(self, ids: Callable[[], str], *, by_hand: bool) -> Client:
        return Client(
            self.store,
            registry=self.registry,
            ids=ids,
            notifier=self._notifier,
            after_write=self._after_write,
            by_hand=by_hand,
        )

    # --- life ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Register as a worker and begin to work.

        Raises:
            UsageError: it runs already, or was stopped; or ``new_event_loop`` made no event loop.
            StoreError: the store does not answer.
            RuntimeError: the system gives no thread.

        When it raises, nothing runs.
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
            policies=lambda: self._policies,
            prune_counters=self._prune_counters,
        )
        self._executor = self._new_executor(self._of_activities, worker.report)
        self._worker = worker
        try:
            self._metrics = self._serve_metrics(worker)
            worker.begin(self._executor, self._wake)
            self._look_at_others()
            self.store.keep_reserve()
            self._begin_loops(worker)
        except BaseException:
            self._stopping = True
            self._end_loops(drain_s=0.0)
            self._stopping = False
            self._worker = self._maintenance = None
            raise

    def _begin_loops(self, worker: Worker) -> None:
        self._maintenance = Maintenance(
            self.store,
            clock=self._scheduler.clock,
            holder=lambda: worker.worker_id,
            counters=self._prune_counters,
            interval_s=self.options.sweep_interval_s,
            archives=SweptArchives(self.store, self._archive_counters, self._archive_terms),
            begins_at_s=self._scheduler.clock.monotonic_s() + _SWEEP_AFTER_S,
        )
        self._renewal = self._scheduler.start("duro-lease", worker.renew_step)
        self._sweeping = self._scheduler.start("duro-sweep", self._maintenance.step)
        self._watching = self._scheduler.start("duro-config", self._watch_step)
        self._loop = self._scheduler.start("duro-worker", worker.step)

    def stop(self, drain_s: float = _DRAIN_DEFAULT_S) -> None:
        """Take no more work, give running activities up to ``drain_s`` seconds, commit what is finished, give the
        rest back to the store, and close the store if this runtime opened it. Idempotent. A turn that hangs is left in
        its thread, and the worker's leases to expire.

        Raises:
            UsageError: ``drain_s`` is no time; nothing was stopped.
        """
        check_timeout_s(drain_s, "drain_s", "0 waits for nothing")
        self._stopping = True
        self._end_loops(drain_s)
        self.async_client.close_threads()
        self._of_activities.async_client.close_threads()
        if self._owned:
            self.store.close()

    def _end_loops(self, drain_s: float) -> None:
        """As far as they have begun."""
        self._close_metrics()
        if self._maintenance is not None:
            self._maintenance.stop()
        _end(self._sweeping)
        _end(self._watching)
        if self._worker is not None and self._loop is not None:
            self._worker.begin_stop(drain_s)
            while not (self._loop.join(_HANGING_TURNS_SEEN_S) or self._worker.give_up_turn()):
                pass
        elif self._worker is not None:
            self._worker.abandon()
        _end(self._renewal)
        if self._executor is not None:
            self._executor.close()
        self._loop = self._renewal = self._sweeping = self._watching = self._executor = None

    def __enter__(self) -> "Runtime":
        try:
            self.start()
        except BaseException:
            if self._worker is None:  # no block will end and close the store; one that runs already goes on
                self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> "Runtime":
        await asyncio.to_thread(self.__enter__)
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

    @property
    def prune_counts(self) -> dict[tuple[str, str], PruneCount]:
        """What this runtime has pruned since it started, by (orchestration, trigger)."""
        return self._prune_counters.snapshot()

    @property
    def archive_count(self) -> ArchiveCount:
        """What this runtime has archived since it started."""
        return self._archive_counters.snapshot()

    def _archive_terms(self) -> ArchiveTerms:
        return archive_terms(None if self._watched is None else self._watched.settings)

    @property
    def settings_problem(self) -> SettingsError | None:
        """Why the configuration file as it is now is not in force; None: it is, or there is none."""
        return None if self._watched is None else self._watched.problem

    @property
    def metrics_port(self) -> int | None:
        """The port at which the metrics are served; None: they are not."""
        return None if self._metrics is None else self._metrics.port

    # --- inside ----------------------------------------------------------------------------------------------

    def _running_worker(self) -> Worker:
        if self._worker is None:
            raise UsageError("this runtime was not started", hint="use it as a context manager, or call start()")
        return self._worker

    def _threads(
        self, clients: ActivityClients, report: Callable[[Sequence[ActivityOutcome]], None]
    ) -> ThreadedActivityExecutor:
        return ThreadedActivityExecutor(clients, report, self.options.max_activity_threads, self._new_event_loop)

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
            published=self._policies.published,
        )

    def _open(self, store: "str | os.PathLike[str] | None") -> Store:
        if store is None:
            url = None if self._watched is None else self._watched.settings.store_url
            if self._watched is None or url is None:
                raise UsageError("no store is named", hint="give one, or a config whose [store] has a url")
            store = anchored(url, self._watched.path.parent)
        return open_store(store, clock=self._scheduler.clock)

    def _current_policies(self) -> WorkerPolicies:
        settings = None if self._watched is None else self._watched.settings
        sources = sources_of(settings, self.options.auto_prune_config, self.registry)
        problems = () if self._watched is None else self._watched.problems
        sources = msgspec.structs.replace(sources, weakened=self.store.weakened, problems=problems)
        return WorkerPolicies(sources, child_terms(settings), self._others, unreadable=not self._others_readable)

    def _look_at_others(self) -> None:
        """Take notice of what other workers were told, if anything was committed since the last look: turns keep what
        any worker keeps, and what was said before counts, too, while something cannot be read."""
        try:
            counter = self.store.change_counter()
            if counter == self._seen:
                return
            published = self.store.published_policies().sources
            others = tuple(text for text in published if text != self._policies.published)
            if others != self._others_published:
                said, self._others_readable = readable_sources(others)
                before = () if self._others_readable else (each for each in self._others if each not in said)
                self._others = (*said, *before)
                self._others_published = others
                self._policies = self._current_policies()
                if not self._others_readable:
                    HOST_LOGGER.warning(
                        "what another worker says about pruning cannot be read: it is of another version of duro, or "
                        "damaged; turns prune only what code asks for while it is there; let all workers of a store "
                        "run one version of duro, and restart them"
                    )
            self._seen = counter
        except (StoreError, msgspec.MsgspecError) as error:
            HOST_LOGGER.warning("what other workers say about pruning could not be read, trying again: %s", error)

    def _watch_step(self) -> float:
        """Look at the file, and make what it says the policy of the next turn and of everybody who asks the store; and
        at what others say."""
        if self._stopping:
            return FINISHED
        self._look_at_others()
        if self._watched is not None and self._watched.look():
            self._policies = self._current_policies()
            self._unpublished = True
        if self._unpublished and self._worker is not None:
            try:
                self.store.publish(self._worker.worker_id, self._policies.published)
                self._unpublished = False
            except StoreError as error:
                HOST_LOGGER.warning("the new policies could not be published, trying again: %s", error)
            if self._maintenance is not None:
                self._maintenance.settings_changed()
        return _WATCH_S

    def _serve_metrics(self, worker: Worker) -> "MetricsServer | None":
        if self.options.metrics_port is None:
            return None
        from duro.host.metrics import MetricsServer, RuntimeCollector  # only those who are scraped pay for it

        collector = RuntimeCollector(
            lambda: worker.counters,
            self._prune_counters.snapshot,
            self._archive_counters.snapshot,
            self.store.backlog,
            self.store.count_orphans,
        )
        return MetricsServer(collector, self.options.metrics_port, self.options.metrics_address)

    def _close_metrics(self) -> None:
        if self._metrics is not None:
            self._metrics.close()
            self._metrics = None


def _end(loop: Loop | None) -> None:
    """Wait for a loop that was told to end."""
    if loop is not None:
        loop.wake()
        loop.join()
