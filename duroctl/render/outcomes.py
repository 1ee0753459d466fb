"""What a run kept in its archive, and where a plan was written, as documents and lines. Pure."""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from duro.model.archive import ArchiveOutcome
from duroctl.render.tables import Column, View
from duroctl.render.text import visible_field
from duroctl.render.units import counted, size

SKIPPED_MAX: Final = 1_000
"""In a document: a plan that is applied a second time skips everything it has."""
CONFIGURED_WORDS: Final = "the configured archive"


def outcome_json(outcome: ArchiveOutcome | None) -> dict[str, Any] | None:
    if outcome is None:
        return None
    return {
        "archive": outcome.archive,
        "directory": outcome.directory or None,
        "segments": outcome.segments,
        "histories": outcome.histories,
        "event_count": outcome.events,
        "file_bytes": outcome.file_bytes,
        "waiting": outcome.waiting,
        "problem": outcome.problem or None,
    }


def outcome_lines(outcome: ArchiveOutcome | None) -> Iterator[str]:
    """What a run kept, and what it could not."""
    if outcome is None:
        return
    if outcome.histories:
        where = outcome.directory or CONFIGURED_WORDS
        yield visible_field(
            f"kept {counted(outcome.histories, 'history', 'histories')} in {where}: "
            f"{counted(outcome.segments, 'segment')}, {size(outcome.file_bytes)}"
        )
    elif not outcome.waiting and not outcome.problem:  # another run, or a worker, was quicker
        yield visible_field(f"what went is kept in {outcome.directory or CONFIGURED_WORDS} already")
    if outcome.waiting:
        what = counted(outcome.waiting, "execution or instance", "executions and instances")
        stay = f"{what} {'stays' if outcome.waiting == 1 else 'stay'} in the store until archived"
        yield visible_field(f"{stay}: {outcome.problem}" if outcome.problem else stay)


class PlanWritten(NamedTuple):
    """A file with a plan, the schema of that, and what it would remove."""

    file: str
    plan: str
    instances_removed: int
    executions_removed: int
    events_removed: int
    bytes_removed: int


WRITTEN: Final = View(
    "duroctl.plan_written/1",
    "written",
    (
        Column("file", None, "text", lambda each: each.file),
        Column("plan", None, "text", lambda each: each.plan),
        Column("instances_removed", None, "number", lambda each: each.instances_removed),
        Column("executions_removed", None, "number", lambda each: each.executions_removed),
        Column("events_removed", None, "number", lambda each: each.events_removed),
        Column("bytes_removed", None, "bytes", lambda each: each.bytes_removed),
    ),
    lambda each: each._asdict(),
    lambda each: each.file,
)
