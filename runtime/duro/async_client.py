"""The client for asyncio programs; apart from ``duro.client``, so that only its users pay for importing asyncio."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar

from duro.client import POLL_INTERVAL_S, Client, OrchestrationResult

P = ParamSpec("P")
R = TypeVar("R")


def _awaitable(
    method: Callable[Concatenate[Client, P], R],
) -> Callable[Concatenate["AsyncClient", P], Coroutine[Any, Any, R]]:
    """The same method, run in a thread of the async client and awaited."""

    async def call(self: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> R:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: method(self.sync, *args, **kwargs))

    call.__name__ = method.__name__
    call.__doc__ = method.__doc__
    return call


class AsyncClient:
    """The methods of ``Client``, awaitable. One implementation: each runs the sync one in a small thread pool."""

    def __init__(self, client: Client) -> None:
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

    start_orchestration = _awaitable(Client.start_orchestration)
    start_orchestrations = _awaitable(Client.start_orchestrations)
    raise_event = _awaitable(Client.raise_event)
    cancel = _awaitable(Client.cancel)
    terminate = _awaitable(Client.terminate)
    resume = _awaitable(Client.resume)
    get_result = _awaitable(Client.get_result)
    get_instance = _awaitable(Client.get_instance)
    list_instances = _awaitable(Client.list_instances)
    list_executions = _awaitable(Client.list_executions)
    get_execution = _awaitable(Client.get_execution)
    read_history = _awaitable(Client.read_history)
    list_children = _awaitable(Client.list_children)
    list_workers = _awaitable(Client.list_workers)
    info = _awaitable(Client.info)

    async def wait_for_orchestration(self, instance_id: str, timeout: float | None = None) -> OrchestrationResult:
        """See ``Client.wait_for_orchestration``; any number of waits hold no thread."""
        loop = asyncio.get_running_loop()
        deadline = None if timeout is None else loop.time() + timeout
        ended = asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(ended.set)

        with self.sync._notifier.watch(instance_id, wake):
            seen: tuple[int, ...] = ()
            while True:
                counter = self.sync.store.change_counter()
                if ended.is_set() or counter != seen:
                    seen = counter
                    ended.clear()
                    if result := await self.get_result(instance_id):
                        return result
                left = POLL_INTERVAL_S if deadline is None else min(POLL_INTERVAL_S, deadline - loop.time())
                if left <= 0:
                    raise await loop.run_in_executor(self._threads, self.sync._timed_out, instance_id, timeout)
                try:
                    await asyncio.wait_for(ended.wait(), left)
                except TimeoutError:
                    continue
