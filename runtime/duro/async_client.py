"""The client for asyncio programs; apart from ``duro.client``, so that only its users pay for importing asyncio."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar

from duro.client import Client, OrchestrationResult
from duro.errors import StoreClosedError, UsageError
from duro.model.records import InstanceEnd
from duro.naming import check_instance_ids, check_timeout_s
from duro.waiting import POLL_INTERVAL_S, Waiting

P = ParamSpec("P")
R = TypeVar("R")


def _awaitable(
    method: Callable[Concatenate[Client, P], R],
) -> Callable[Concatenate["AsyncClient", P], Coroutine[Any, Any, R]]:
    """The same method, run in a thread of the async client and awaited."""

    async def call(self: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await self._in_thread(lambda: method(self.sync, *args, **kwargs))

    call.__name__ = method.__name__
    call.__doc__ = method.__doc__
    return call


class AsyncClient:
    """The methods of ``Client``, awaitable. One implementation: each runs the sync one in a small thread pool."""

    def __init__(self, client: Client) -> None:
        if not isinstance(client, Client):
            raise UsageError(f"client must be a duro.Client, not {client!r}", hint="duro.AsyncClient(duro.Client(URL))")
        self.sync = client
        self._threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="duro-client")

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the client and its threads."""
        self.close_threads()
        await asyncio.to_thread(self.sync.close)

    def close_threads(self) -> None:
        """Give the threads back; calls that run end by themselves. For whoever owns the sync client."""
        self._threads.shutdown(wait=False)

    def _in_thread(self, call: Callable[..., R], *args: Any) -> "asyncio.Future[R]":
        try:
            return asyncio.get_running_loop().run_in_executor(self._threads, call, *args)
        except RuntimeError as error:  # the threads were given back
            raise StoreClosedError("the client was closed") from error

    start_orchestration = _awaitable(Client.start_orchestration)
    start_orchestrations = _awaitable(Client.start_orchestrations)
    raise_event = _awaitable(Client.raise_event)
    cancel = _awaitable(Client.cancel)
    terminate = _awaitable(Client.terminate)
    resume = _awaitable(Client.resume)
    get_result = _awaitable(Client.get_result)
    get_instance = _awaitable(Client.get_instance)
    list_instances = _awaitable(Client.list_instances)
    complete_instance_ids = _awaitable(Client.complete_instance_ids)
    list_executions = _awaitable(Client.list_executions)
    get_execution = _awaitable(Client.get_execution)
    read_history = _awaitable(Client.read_history)
    list_children = _awaitable(Client.list_children)
    list_workers = _awaitable(Client.list_workers)
    info = _awaitable(Client.info)
    plan_prune = _awaitable(Client.plan_prune)
    check_plan = _awaitable(Client.check_plan)
    apply_plan = _awaitable(Client.apply_plan)
    prune_executions = _awaitable(Client.prune_executions)
    prune_executions_bulk = _awaitable(Client.prune_executions_bulk)
    undo_prune = _awaitable(Client.undo_prune)
    reclaim = _awaitable(Client.reclaim)
    backlog = _awaitable(Client.backlog)
    add_hold = _awaitable(Client.add_hold)
    list_holds = _awaitable(Client.list_holds)
    remove_hold = _awaitable(Client.remove_hold)
    set_instance_policy = _awaitable(Client.set_instance_policy)
    get_instance_policy = _awaitable(Client.get_instance_policy)
    simulate_instance_policy = _awaitable(Client.simulate_instance_policy)
    explain_policy = _awaitable(Client.explain_policy)
    simulate_policies = _awaitable(Client.simulate_policies)
    list_ledger = _awaitable(Client.list_ledger)
    list_prune_runs = _awaitable(Client.list_prune_runs)
    get_prune_run = _awaitable(Client.get_prune_run)
    ledger_totals = _awaitable(Client.ledger_totals)
    find_pruned = _awaitable(Client.find_pruned)
    get_lineage = _awaitable(Client.get_lineage)
    list_orphaned_instances = _awaitable(Client.list_orphaned_instances)
    kept_from_sweeps = _awaitable(Client.kept_from_sweeps)
    plan_orphan_cleanup = _awaitable(Client.plan_orphan_cleanup)
    cleanup_orphaned_instances = _awaitable(Client.cleanup_orphaned_instances)
    adopt_instance = _awaitable(Client.adopt_instance)
    plan_purge = _awaitable(Client.plan_purge)
    purge_instances = _awaitable(Client.purge_instances)
    apply_removal = _awaitable(Client.apply_removal)
    find_removed = _awaitable(Client.find_removed)
    checkup = _awaitable(Client.checkup)
    repair = _awaitable(Client.repair)
    stats = _awaitable(Client.stats)
    compact = _awaitable(Client.compact)
    backup = _awaitable(Client.backup)
    export = _awaitable(Client.export)
    archive_directory = _awaitable(Client.archive_directory)
    open_archive = _awaitable(Client.open_archive)
    waiting_archives = _awaitable(Client.waiting_archives)
    write_archive = _awaitable(Client.write_archive)
    find_archived = _awaitable(Client.find_archived)
    find_archived_executions = _awaitable(Client.find_archived_executions)
    restore_archived = _awaitable(Client.restore_archived)

    async def wait_for_orchestration(self, instance_id: str, timeout: float | None = None) -> OrchestrationResult:
        """See ``Client.wait_for_orchestration``; any number of waits hold no thread."""
        return (await self.wait_for_orchestrations([instance_id], timeout))[0]

    async def wait_for_orchestrations(
        self, instance_ids: Iterable[str], timeout: float | None = None
    ) -> list[OrchestrationResult]:
        """See ``Client.wait_for_orchestrations``; any number of waits hold no thread."""
        loop = asyncio.get_running_loop()
        deadline_s = None if timeout is None else loop.time() + check_timeout_s(timeout)
        instance_ids = check_instance_ids(instance_ids)
        waiting, results = Waiting(instance_ids), dict[str, OrchestrationResult]()
        awake = asyncio.Event()

        def told(ends: Sequence[InstanceEnd]) -> None:
            waiting.tell(ends)
            loop.call_soon_threadsafe(awake.set)

        with self.sync._notifier.watch(instance_ids, told):
            while True:
                awake.clear()
                began_s = loop.time()
                found: list[InstanceEnd] = []
                if asked := waiting.to_ask(self.sync.store.change_counter(), began_s):
                    ends = await self._in_thread(self.sync._ends, asked)
                    waiting.answered(ends, loop.time() - began_s, loop.time())
                    found += ends.values()
                if found := found + waiting.take_told():
                    results.update(await self._in_thread(self.sync._results_of, found))
                if not waiting.pending:
                    return [results[each] for each in instance_ids]
                left_s = POLL_INTERVAL_S if deadline_s is None else min(POLL_INTERVAL_S, deadline_s - loop.time())
                if left_s <= 0:
                    raise await self._in_thread(self.sync._timed_out, waiting.pending[0], timeout)
                try:
                    await asyncio.wait_for(awake.wait(), left_s)
                except TimeoutError:
                    continue
