"""What is different in the modules of duro while simulations run: nothing waits, no thread is made, random names come
from the seed, a step of an archive's disk is a point where others get in between, and limits are so small that work
which is usually one transaction takes several."""

import errno
import functools
import gc
import logging
import random
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any, Final, Protocol
from unittest.mock import patch

from duro.disk import Disk
from duro.errors import StoreError
from duro.maintenance import families, pruning, room, sweep
from duro.maintenance.archive import archiver, place
from duro.maintenance.archive.place import _try_lock
from duro.settings import watch
from duro.settings.reading import read_settings
from duro.stores.memory import families as memory_families
from duro.stores.memory import pruning as memory_pruning
from duro.stores.sqlite import turn_pruning
from tests.support.simulated.clocks import SimulatedSeconds
from tests.support.simulated.gate import Died
from tests.support.simulated.moves import FaultKind

SMALL: Final[tuple[tuple[Any, str, Any], ...]] = (
    (memory_pruning, "MARK_RECLAIM_EVENTS_MAX", 30),
    (memory_pruning, "TURN_PRUNE_EXECUTIONS_MAX", 3),
    (turn_pruning, "TURN_PRUNE_EXECUTIONS_MAX", 3),
    (memory_pruning, "_EXECUTIONS_A_RECLAIM", 3),
    (memory_pruning, "_CHILDREN_A_RECLAIM", 2),
    (memory_families, "_INSTANCES_A_RECLAIM", 3),
    (memory_families, "_CHILDREN_A_STEP", 2),
    (sweep, "RECLAIM_EVENTS_MAX", 25),
    (sweep, "INSTANCES_A_PAGE", 3),
    (sweep, "_INSTANCES_A_STEP", 2),
    (sweep, "_EXECUTIONS_A_STEP", 2),
    (sweep, "_FAMILIES_A_STEP", 2),
    (pruning, "INSTANCES_A_PAGE", 3),
    (pruning, "EXECUTIONS_A_READ", 4),
    (pruning, "_EXECUTIONS_A_BATCH", range(2, 4)),
    (pruning, "_EXECUTIONS_AT_FIRST", 2),
    (families, "_CHILDREN_A_READ", 3),
    (families, "_FAMILIES_A_READ", 2),
    (families, "_INSTANCES_A_PAGE", 3),
    (families, "REMOVAL_INSTANCES_MAX", 3),
    (archiver, "_EXECUTIONS_A_SEGMENT", 4),
    (archiver, "_INSTANCES_A_SEGMENT", 3),
    (archiver, "_NOTES_A_BATCH", 2),
)

_SEEDS_BETWEEN_COLLECTIONS: Final = 40


class Present(Protocol):
    """The world of the run that goes on."""

    def disk_point(self) -> FaultKind | None:
        """Whoever is at it does a step of a disk."""
        ...

    def die(self) -> None:
        """Whoever is at it ends here. Raises Died."""
        ...

    def count(self, rare: str) -> None: ...

    def error(self, what: str) -> None:
        """Something was logged as an error."""
        ...


class Machinery:
    """What the patches share: the ``world`` that is present, and its random names."""

    def __init__(self) -> None:
        self.world: Present | None = None
        self._names = random.Random(0)
        self._runs = 0

    @contextmanager
    def run(self, seed: int, world: Present) -> Iterator[None]:
        self.world, self._names = world, random.Random(f"names {seed}")
        try:
            yield
        finally:
            self.world = None
            self._runs += 1
            if self._runs % _SEEDS_BETWEEN_COLLECTIONS == 0:
                gc.collect()

    # --- what modules are given ------------------------------------------------------------------------------------

    def token_hex(self, size: int) -> str:
        """As ``secrets`` has it."""
        return f"{self._names.getrandbits(8 * size):0{2 * size}x}"

    def try_lock(self, descriptor: int) -> bool:
        """As ``place`` has it."""
        mine = _try_lock(descriptor)
        if not mine and self.world is not None:
            self.world.count("an archive is busy")
        return mine

    def disk_step(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any) -> Any:
            fault = None if self.world is None else self.world.disk_point()
            if self.world is None or fault is None:
                return real(*arguments)
            if fault == "crash before":
                self.world.die()
            if not fault.startswith("crash"):
                raise OSError(errno.ENOSPC, "No space left on device")
            real(*arguments)
            return self.world.die()

        return step


class _Inline:
    """An executor that does at once what it is given."""

    def __init__(self, *_: Any) -> None:
        pass

    def __enter__(self) -> "_Inline":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    def submit(self, function: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future


class _Errors(logging.Handler):
    """Errors that are logged are findings, but for those a simulation makes itself."""

    def __init__(self, machinery: Machinery) -> None:
        super().__init__(logging.ERROR)
        self._machinery = machinery

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if error is None or isinstance(error, Died | StoreError | OSError) or self._machinery.world is None:
            return
        self._machinery.world.error(f"{record.getMessage()}: {type(error).__name__}: {error}")


@contextmanager
def machinery() -> Iterator[Machinery]:
    """Everything is set up for simulations while this is entered."""
    shared = Machinery()
    seconds = SimulatedSeconds()
    logger = logging.getLogger("duro")
    handler = _Errors(shared)
    level, propagates = logger.level, logger.propagate
    with ExitStack() as stack:
        for module, name, value in SMALL:
            stack.enter_context(patch.object(module, name, value))
        for module in (place, room):
            stack.enter_context(patch.object(module, "time", seconds))
        stack.enter_context(patch.object(place, "secrets", shared))
        stack.enter_context(patch.object(place, "_try_lock", shared.try_lock))
        stack.enter_context(patch.object(archiver, "ThreadPoolExecutor", _Inline))
        stack.enter_context(patch.object(watch, "read_settings", functools.lru_cache(64)(read_settings)))
        for step in ("make_directory", "create", "write", "link", "unlink"):
            stack.enter_context(patch.object(Disk, step, shared.disk_step(getattr(Disk, step))))
        for step in ("sync", "sync_directory"):
            stack.enter_context(patch.object(Disk, step, shared.disk_step(lambda *_: None)))
        logger.addHandler(handler)
        logger.setLevel(logging.ERROR)
        logger.propagate = False
        collects = gc.isenabled()
        gc.collect()
        gc.freeze()
        gc.disable()
        try:
            yield shared
        finally:
            gc.unfreeze()
            if collects:
                gc.enable()
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagates
