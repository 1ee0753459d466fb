"""Who calls whom, and when: the one place of the host that makes threads.

Everything the host does over and over is a *step*: a function that does what there is to do and returns how long it
has nothing more to do. ``ThreadScheduler`` gives each step a thread; a simulation can call the same steps in any
order under a clock of its own.
"""

import threading
from collections.abc import Callable
from typing import Final, Protocol

from duro.clock import Clock, SystemClock
from duro.telemetry import HOST_LOGGER

Step = Callable[[], float | None]
"""Returns the seconds until it wants to be called again (0: at once; None: when woken), or ``FINISHED``."""

FINISHED: Final = -1.0

_PAUSE_AFTER_ERROR_S: Final = 1.0


class Loop(Protocol):
    """A step being called over and over."""

    def wake(self) -> None:
        """Call the step soon, whatever it returned. From any thread; cheap when already awake."""
        ...

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait until the step has returned ``FINISHED``. False: not within the time."""
        ...


class Scheduler(Protocol):
    clock: Clock

    def start(self, name: str, step: Step) -> Loop:
        """Begin calling ``step``; never from two threads at once."""
        ...


class ThreadLoop:
    """A step in a daemon thread of its own."""

    def __init__(self, name: str, step: Step) -> None:
        self._step = step
        self._awake = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def wake(self) -> None:
        self._awake.set()

    def join(self, timeout_s: float | None = None) -> bool:
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            self._awake.clear()
            try:
                delay_s = self._step()
            except BaseException:  # noqa: BLE001 - a step that fails is tried again; the thread must live on
                HOST_LOGGER.exception("%s failed; trying again in %g s", self._thread.name, _PAUSE_AFTER_ERROR_S)
                delay_s = _PAUSE_AFTER_ERROR_S
            if delay_s == FINISHED:
                return
            if delay_s is None or delay_s > 0:
                self._awake.wait(delay_s)


class ThreadScheduler:
    """Real threads under the system's clock."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock: Clock = clock or SystemClock()

    def start(self, name: str, step: Step) -> Loop:
        return ThreadLoop(name, step)
