"""A running event loop that refuses everything.

While an orchestration's code runs, it is installed as the thread's running asyncio loop, so that ``asyncio.sleep``,
``gather``, ``to_thread`` and everything built on them fail with a sentence that says what to write instead, where
asyncio would say "no running event loop".
"""

from asyncio.events import _get_running_loop, _set_running_loop
from typing import Any, NoReturn

from duro.errors import NonDurableAwaitError

HINT = (
    "orchestrations may await only what their context returns: an activity for I/O, ctx.schedule_timer for sleep, "
    "ctx.join for gather"
)


class _RefusingLoop:
    def create_task(self, coroutine: Any, **options: object) -> NoReturn:  # noqa: ARG002 - asyncio's signature
        """Refused like the rest; the coroutine (asyncio may have made it itself) is closed, for it will never run."""
        coroutine.close()
        self.__getattr__("create_task")

    def __getattr__(self, name: str) -> NoReturn:
        raise NonDurableAwaitError(f"the orchestration used asyncio ({name}), which is not durable", hint=HINT)


_REFUSING_LOOP: Any = _RefusingLoop()


class asyncio_refused:  # noqa: N801 - used as a function; a class because a generator costs five times as much a turn
    """Refuse asyncio in this thread while the block runs; nests."""

    __slots__ = ("_before",)

    def __enter__(self) -> None:
        self._before = _get_running_loop()
        _set_running_loop(_REFUSING_LOOP)

    def __exit__(self, *raised: object) -> None:
        _set_running_loop(self._before)
