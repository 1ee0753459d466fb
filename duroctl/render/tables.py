"""Columns of records, and lines of text made of them: tab-separated and whole, or CSV."""

import io
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Literal, NamedTuple

from duroctl.render.text import visible, visible_field
from duroctl.render.units import iso, relative, size

Kind = Literal["text", "word", "id", "number", "time", "bytes", "share"]
"""A ``word`` is one of few that are known, and is folded only where nothing else helps."""


class Column(NamedTuple):
    """``name`` heads it in files; ``heading`` on a terminal, None: it is left out there."""

    name: str
    heading: str | None
    kind: Kind
    value: Callable[[Any], object]


class View(NamedTuple):
    """How one kind of record is printed: as JSON under ``schema`` and ``field``, as columns, as an id."""

    schema: str
    field: str
    columns: tuple[Column, ...]
    to_json: Callable[[Any], dict[str, Any]]
    to_id: Callable[[Any], str | Sequence[str]]
    """Several, or "", where one record is no one thing."""


def exact_cell(kind: Kind, value: object) -> str:
    """A value whole: times in ISO-8601, sizes in bytes, shares from 0 to 1, nothing for None."""
    if value is None:
        return ""
    if kind == "time" and isinstance(value, int):
        return iso(value)
    if kind == "share" and isinstance(value, float):
        return f"{value:.6f}"
    return visible(str(value))


def terminal_cell(kind: Kind, value: object, now_ms: int) -> str:
    """A value for people: times relative, sizes rounded, a dash for None and for nothing; padding in texts seen."""
    if value is None or value == "":
        return "-"
    if kind == "time" and isinstance(value, int):
        return relative(value, now_ms)
    if kind == "bytes" and isinstance(value, int):
        return size(value)
    if kind == "share" and isinstance(value, float):
        return f"{value:.1%}"
    return visible_field(str(value))


def tsv_line(cells: Iterable[str]) -> str:
    return "\t".join(cells)


def csv_line(cells: Sequence[str]) -> str:
    """One CSV record (RFC 4180), without its line end."""
    import csv

    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow(cells)
    return buffer.getvalue()


INSTANCE_COLUMNS: Final = (
    Column("instance_id", "INSTANCE", "id", lambda r: r.instance_id),
    Column("name", "NAME", "id", lambda r: r.name),
    Column("version", None, "text", lambda r: r.version),
    Column("status", "STATUS", "word", lambda r: r.status),
    Column("blocked", None, "text", lambda r: r.blocked),
    Column("blocked_reason", None, "text", lambda r: r.blocked_reason),
    Column("execution_id", "EXEC", "number", lambda r: r.execution_id),
    Column("event_count", "EVENTS", "number", lambda r: r.event_count),
    Column("history_bytes", None, "bytes", lambda r: r.history_bytes),
    Column("created_at", None, "time", lambda r: r.created_at_ms),
    Column("updated_at", "UPDATED", "time", lambda r: r.updated_at_ms),
    Column("completed_at", None, "time", lambda r: r.completed_at_ms),
)
BLOCKED_COLUMNS: Final = (
    Column("instance_id", "INSTANCE", "id", lambda r: r.instance_id),
    Column("name", "NAME", "id", lambda r: r.name),
    Column("version", "VERSION", "text", lambda r: r.version),
    Column("blocked", "BLOCKED", "text", lambda r: r.blocked),
    Column("updated_at", "UPDATED", "time", lambda r: r.updated_at_ms),
    Column("attempt_count", None, "number", lambda r: r.attempt_count),
    Column("blocked_reason", "REASON", "text", lambda r: r.blocked_reason),
)
EXECUTION_COLUMNS: Final = (
    Column("instance_id", "INSTANCE", "id", lambda r: r.instance_id),
    Column("execution_id", "EXEC", "number", lambda r: r.execution_id),
    Column("name", "NAME", "id", lambda r: r.name),
    Column("version", None, "text", lambda r: r.version),
    Column("status", "STATUS", "word", lambda r: r.status),
    Column("event_count", "EVENTS", "number", lambda r: r.event_count),
    Column("history_bytes", "SIZE", "bytes", lambda r: r.history_bytes),
    Column("started_at", "STARTED", "time", lambda r: r.started_at_ms),
    Column("completed_at", None, "time", lambda r: r.completed_at_ms),
)
