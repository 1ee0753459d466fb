"""The room a store takes, as lines and records. Pure, but for the size of a file that was written."""

from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from duro.maintenance.exporting import ExportResult
from duro.maintenance.space import NameStats, StoreStats
from duro.model.space import CompactResult
from duroctl.render.tables import Column, View
from duroctl.render.text import visible_field
from duroctl.render.units import counted, size

# --- what takes the room -----------------------------------------------------------------------------------------


def name_json(each: NameStats) -> dict[str, Any]:
    usage: dict[str, Any] = msgspec.to_builtins(each.usage)
    return usage | {
        "share": each.share,
        "removable": msgspec.to_builtins(each.removable),
        "removable_whole": msgspec.to_builtins(each.removable_whole),
    }


def stats_json(found: StoreStats) -> dict[str, Any]:
    return {
        "store": msgspec.to_builtins(found.store),
        "recent_since_ms": found.recent_since_ms,
        "marked": msgspec.to_builtins(found.marked),
        "removable": msgspec.to_builtins(found.removable),
        "removable_whole": msgspec.to_builtins(found.removable_whole),
        "names": [name_json(each) for each in found.names],
    }


def store_lines(found: StoreStats) -> Iterator[str]:
    """Under the table: the files, what is free, what may go."""
    store = found.store
    yield visible_field(
        f"{store.url}: {counted(store.instances, 'instance')}, {counted(store.executions, 'execution')}, "
        f"{counted(store.events, 'event')}, {size(store.logical_bytes)} of histories"
    )
    free = "nothing of it free"
    if store.free_bytes:
        free = f"of which {size(store.free_bytes)} free (`duroctl compact` gives it back)"
    yield f"file {size(store.file_bytes)}, {free}; log {size(store.wal_bytes)}"
    if found.marked.executions:
        yield (
            f"pruned or removed, still there until reclaimed: {counted(found.marked.executions, 'execution')}, "
            f"{size(found.marked.history_bytes)}"
        )
    removable, whole = found.removable, found.removable_whole.instances
    yield (
        f"policies would let go now: {counted(removable.executions, 'execution')}, {size(removable.history_bytes)}"
        + (f", {counted(whole, 'whole instance')} among them" if whole else "")
        if removable.executions or whole
        else "policies would let nothing go now"
    )


STATS: Final = View(
    "duroctl.stats/1",
    "names",
    (
        Column("name", "NAME", "id", lambda each: each.usage.name),
        Column("instances", "INST", "number", lambda each: each.usage.instances),
        Column("unfinished", None, "number", lambda each: each.usage.unfinished),
        Column("executions", "EXECS", "number", lambda each: each.usage.executions),
        Column("events", "EVENTS", "number", lambda each: each.usage.events),
        Column("history_bytes", "SIZE", "bytes", lambda each: each.usage.history_bytes),
        Column("share", "SHARE", "share", lambda each: each.share),
        Column("recent_executions", None, "number", lambda each: each.usage.recent_executions),
        Column("recent_bytes", "24 H", "bytes", lambda each: each.usage.recent_bytes),
        Column("removable_executions", None, "number", lambda each: each.removable.executions),
        Column("removable_instances", None, "number", lambda each: each.removable_whole.instances),
        Column("removable_bytes", "MAY GO", "bytes", lambda each: each.removable.history_bytes),
    ),
    name_json,
    lambda each: each.usage.name,
)


# --- giving it back ----------------------------------------------------------------------------------------------


def compact_lines(result: CompactResult) -> Iterator[str]:
    before, after = result.before, result.after
    yield (
        f"gave back {size(max(0, before.total_bytes - after.total_bytes))}: the file had {before.file_bytes:,} bytes "
        f"({before.free_bytes:,} free) and has {after.file_bytes:,} ({after.free_bytes:,} free)"
    )
    yield f"the log had {before.wal_bytes:,} bytes and has {after.wal_bytes:,}"


COMPACTED: Final = View(
    "duroctl.compact/1",
    "result",
    (
        Column("file_bytes_before", None, "bytes", lambda r: r.before.file_bytes),
        Column("file_bytes_after", None, "bytes", lambda r: r.after.file_bytes),
        Column("free_bytes_before", None, "bytes", lambda r: r.before.free_bytes),
        Column("free_bytes_after", None, "bytes", lambda r: r.after.free_bytes),
        Column("wal_bytes_before", None, "bytes", lambda r: r.before.wal_bytes),
        Column("wal_bytes_after", None, "bytes", lambda r: r.after.wal_bytes),
    ),
    msgspec.to_builtins,
    lambda _: "",
)


# --- copies ------------------------------------------------------------------------------------------------------


class BackupWritten(NamedTuple):
    file: str
    file_bytes: int

    @classmethod
    def of(cls, file: str) -> "BackupWritten":
        return cls(file, Path(file).stat().st_size)


def backup_line(written: BackupWritten) -> str:
    return visible_field(f"{written.file}: {written.file_bytes:,} bytes, checked")


BACKUP: Final = View(
    "duroctl.backup/1",
    "backup",
    (
        Column("file", None, "text", lambda each: each.file),
        Column("file_bytes", None, "bytes", lambda each: each.file_bytes),
    ),
    lambda each: each._asdict(),
    lambda each: each.file,
)


def export_lines(result: ExportResult, file: str) -> Iterator[str]:
    rows = ", ".join(f"{getattr(result, table):,} {table}" for table in ExportResult.__struct_fields__)
    yield visible_field(f"{file}: {rows}")


class ExportWritten(NamedTuple):
    """``rows``: of each table."""

    file: str
    rows: ExportResult


EXPORTED: Final = View(
    "duroctl.export/1",
    "export",
    (
        Column("file", None, "text", lambda each: each.file),
        *(Column(table, None, "number", attrgetter(f"rows.{table}")) for table in ExportResult.__struct_fields__),
    ),
    lambda each: {"file": each.file, **msgspec.to_builtins(each.rows)},
    lambda each: each.file,
)
