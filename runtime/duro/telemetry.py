"""What a runtime counts, and where it logs.

Counters are plain numbers that only grow, read as a snapshot; publishing them is somebody else's work. Loggers are
``duro.host`` (what the runtime does and what goes wrong in it) and ``duro.orchestration`` (``ctx.trace_*``).
"""

import logging
import threading
from collections.abc import Iterable
from typing import Final, Protocol

import msgspec

from duro.model.families import RemovalOutcome
from duro.model.pruning import PruneResult
from duro.model.removal import SettledCount

HOST_LOGGER: Final = logging.getLogger("duro.host")
ORCHESTRATION_LOGGER: Final = logging.getLogger("duro.orchestration")

SETTLED_TRIGGER: Final = "settled"
"""Of children that went with the executions that spawned them."""

TRACE_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class PruneCount(msgspec.Struct, kw_only=True):
    """What was pruned of one orchestration for one trigger."""

    executions: int = 0
    events: int = 0
    bytes: int = 0
    failures: int = 0
    instances: int = 0


class PruneCounters:
    """By (orchestration, trigger), since the runtime started. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, str], PruneCount] = {}

    def add(self, name: str, trigger: str, result: PruneResult) -> None:
        with self._lock:
            count = self._counts.setdefault((name, str(trigger)), PruneCount())
            count.executions += result.executions_deleted
            count.events += result.events_deleted
            count.bytes += result.bytes_deleted
            count.failures += result.error is not None

    def add_removals(self, trigger: str, outcomes: Iterable[RemovalOutcome]) -> None:
        """Whole instances, counted under the orchestration of the root of their family."""
        with self._lock:
            for outcome in outcomes:
                if outcome.removed:
                    count = self._counts.setdefault((outcome.name, trigger), PruneCount())
                    count.instances += outcome.instances
                    count.executions += outcome.executions
                    count.events += outcome.events
                    count.bytes += outcome.history_bytes

    def add_settled(self, counts: Iterable[SettledCount]) -> None:
        """Children that went with the executions that spawned them, counted in the same way."""
        with self._lock:
            for settled in counts:
                count = self._counts.setdefault((settled.name, SETTLED_TRIGGER), PruneCount())
                count.instances += settled.instances
                count.executions += settled.executions
                count.events += settled.events
                count.bytes += settled.history_bytes

    def snapshot(self) -> dict[tuple[str, str], PruneCount]:
        """A copy."""
        with self._lock:
            return {key: msgspec.structs.replace(count) for key, count in self._counts.items()}


class ArchiveCount(msgspec.Struct, kw_only=True):
    """What was archived: ``bytes`` on the disk. ``failures``: times an archive could not be used."""

    segments: int = 0
    histories: int = 0
    events: int = 0
    bytes: int = 0
    failures: int = 0


class Archived(Protocol):
    """What one step wrote."""

    @property
    def segments(self) -> int: ...
    @property
    def histories(self) -> int: ...
    @property
    def events(self) -> int: ...
    @property
    def file_bytes(self) -> int: ...


class ArchiveCounters:
    """Since the runtime started. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = ArchiveCount()

    def add(self, step: Archived) -> None:
        with self._lock:
            self._count.segments += step.segments
            self._count.histories += step.histories
            self._count.events += step.events
            self._count.bytes += step.file_bytes

    def failed(self, times: int) -> None:
        with self._lock:
            self._count.failures += times

    def snapshot(self) -> ArchiveCount:
        """A copy."""
        with self._lock:
            return msgspec.structs.replace(self._count)


class Counters(msgspec.Struct, kw_only=True):
    """Since the runtime started. A turn is counted when its outcome is known, an activity when its attempt ended."""

    commits: int = 0
    commits_unknown: int = 0
    turns_committed: int = 0
    turns_fenced: int = 0
    turns_blocked: int = 0
    turns_failed: int = 0
    executions_replayed: int = 0
    instances_finished: int = 0
    executions_continued: int = 0
    messages_ignored: int = 0
    activities_succeeded: int = 0
    activities_failed: int = 0
    activities_retried: int = 0
    activities_cancelled: int = 0
    worker_resets: int = 0
    threads_stuck: int = 0
    """Now: threads in plain functions that nobody waits for any more."""
