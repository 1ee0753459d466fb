"""Values about the room a store takes. Sizes are bytes."""

import msgspec


class NameUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What the instances of one orchestration have: ``unfinished`` of the ``instances`` have not ended. ``executions``,
    ``events`` and ``history_bytes`` are of live executions; the ``recent_*`` ones of those that started since a given
    time."""

    name: str
    instances: int
    unfinished: int
    executions: int
    events: int
    history_bytes: int
    recent_executions: int
    recent_bytes: int


class MarkedUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What was pruned or removed and is still there until it is reclaimed."""

    executions: int = 0
    events: int = 0
    history_bytes: int = 0


class FileSizes(msgspec.Struct, frozen=True, kw_only=True):
    """Of the database file, its log, and of the free pages inside the file. 0 for a store without a file."""

    file_bytes: int = 0
    wal_bytes: int = 0
    free_bytes: int = 0

    @property
    def total_bytes(self) -> int:
        """On the disk."""
        return self.file_bytes + self.wal_bytes


class CompactResult(msgspec.Struct, frozen=True, kw_only=True):
    """The sizes before and after. ``stopped``: it was asked to stop before all was given back."""

    before: FileSizes
    after: FileSizes
    stopped: bool = False
