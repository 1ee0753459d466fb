"""Archives as rows, documents and lines. Pure."""

from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from duro.model.archive import RestoreResult, WaitingArchive
from duroctl.render.outcomes import CONFIGURED_WORDS, outcome_json
from duroctl.render.tables import Column, View
from duroctl.render.text import visible_field
from duroctl.render.units import counted, first_of, iso, size

if TYPE_CHECKING:
    from duro.maintenance.archive.catalogue import ArchivedExecution
    from duro.maintenance.archive.format import Manifest
    from duro.maintenance.archive.reader import SegmentCheck


def archived_json(execution: "ArchivedExecution") -> dict[str, Any]:
    return {
        "instance_id": execution.instance_id,
        "incarnation": execution.incarnation,
        "execution_id": execution.execution_id,
        "name": execution.name,
        "version": execution.version,
        "status": execution.status,
        "started_at": iso(execution.started_at_ms),
        "completed_at": _time(execution.completed_at_ms),
        "event_count": execution.events,
        "history_bytes": execution.history_bytes,
        "pruned_at": _time(execution.pruned_at_ms),
        "run_id": execution.run_id or None,
        "with_instance": execution.with_instance,
        "archived_at": iso(execution.archived_at_ms),
        "segment": execution.segment,
        "store_id": execution.store_id,
    }


ARCHIVED: Final = View(
    "duroctl.archived_executions/1",
    "executions",
    (
        Column("instance_id", "INSTANCE", "id", lambda r: r.instance_id),
        Column("execution_id", "EXEC", "number", lambda r: r.execution_id),
        Column("name", "NAME", "id", lambda r: r.name),
        Column("version", None, "text", lambda r: r.version),
        Column("status", "STATUS", "word", lambda r: r.status),
        Column("event_count", "EVENTS", "number", lambda r: r.events),
        Column("history_bytes", "SIZE", "bytes", lambda r: r.history_bytes),
        Column("started_at", None, "time", lambda r: r.started_at_ms),
        Column("completed_at", "ENDED", "time", lambda r: r.completed_at_ms),
        Column("archived_at", "ARCHIVED", "time", lambda r: r.archived_at_ms),
        Column("segment", None, "text", lambda r: r.segment),
        Column("incarnation", None, "number", lambda r: r.incarnation),
        Column("store_id", None, "text", lambda r: r.store_id),
    ),
    archived_json,
    lambda r: f"{r.instance_id}/{r.execution_id}",
)


def with_headings(view: View, **headings: str) -> View:
    """``view`` with columns on the terminal that it has in files alone."""
    columns = (each._replace(heading=headings.get(each.name, each.heading)) for each in view.columns)
    return view._replace(columns=tuple(columns))


ONE: Final = ARCHIVED._replace(schema="duroctl.archived_execution/1", field="execution")


def execution_lines(execution: "ArchivedExecution", directory: str, *, of_stores: bool) -> Iterator[str]:
    """One archived execution in words: what it was, why it went, and where it is. ``of_stores``: the archive has
    histories of several."""
    by = f" by {execution.run_id}" if execution.run_id else ""
    pruned = execution.pruned_at_ms
    said = {
        "execution": f"{execution.instance_id}/{execution.execution_id}",
        "store": execution.store_id if of_stores else "",
        "life": f"incarnation {execution.incarnation}",
        "of": f"{execution.name} {execution.version}".rstrip(),
        "ended": f"{execution.status}, {_time(execution.completed_at_ms) or 'never'}",
        "pruned": "with its instance" + by if pruned is None else iso(pruned) + by,
        "archived": iso(execution.archived_at_ms),
        "in": f"{directory}, segment {execution.segment}",
        "size": f"{counted(execution.events, 'event')}, {size(execution.history_bytes)}",
    }
    yield from _said(said)


def _said(said: dict[str, str]) -> Iterator[str]:
    """What there is to say, a line each."""
    for name, text in said.items():
        if text:
            yield f"{name:<10} {visible_field(text)}"


def instance_lines(executions: "Sequence[ArchivedExecution]", directory: str, *, of_stores: bool) -> Iterator[str]:
    """What an archive has of an instance id: a block for each life of an instance, of whichever store."""
    lives: dict[tuple[str, int], list[ArchivedExecution]] = {}
    for each in executions:
        lives.setdefault((each.store_id, each.incarnation), []).append(each)
    of_store: dict[str, int] = {}
    for store_id, _ in lives:
        of_store[store_id] = of_store.get(store_id, 0) + 1
    for number, ((store_id, incarnation), of_life) in enumerate(lives.items()):
        if number:
            yield ""
        life = f"incarnation {incarnation}" if of_store[store_id] > 1 else ""
        yield from _life_lines(of_life, directory, store_id if of_stores else "", life)


def _life_lines(executions: "Sequence[ArchivedExecution]", directory: str, store: str, life: str) -> Iterator[str]:
    newest = executions[0]
    numbers = sorted({each.execution_id for each in executions})
    span = f"{numbers[0]} to {numbers[-1]}" if len(numbers) > 1 else str(numbers[0])
    whole = sum(each.with_instance for each in executions)
    said = {
        "instance": newest.instance_id,
        "store": store,
        "life": life,
        "of": newest.name,
        "executions": f"{counted(len(executions), 'execution')}, {span}",
        "removed": f"as a whole, with {counted(whole, 'execution')}" if whole else "",
        "in": f"{directory}, {counted(len({each.segment for each in executions}), 'segment')}",
        "size": f"{counted(sum(each.events for each in executions), 'event')}, "
        f"{size(sum(each.history_bytes for each in executions))}",
    }
    yield from _said(said)


def manifest_json(manifest: "Manifest") -> dict[str, Any]:
    return {
        "segment": manifest.segment,
        "store_id": manifest.store_id,
        "made_at": iso(manifest.made_at_ms),
        "duro_version": manifest.duro_version,
        "instances": manifest.instances,
        "histories": manifest.histories,
        "event_count": manifest.events,
        "history_bytes": manifest.history_bytes,
        "content_bytes": manifest.content_bytes,
        "file_bytes": manifest.file_bytes,
        "sha256": manifest.sha256,
    }


SEGMENT: Final = View(
    "duroctl.archive_segment/1",
    "segment",
    (
        Column("segment", None, "id", attrgetter("segment")),
        Column("store_id", None, "text", attrgetter("store_id")),
        Column("made_at", None, "time", attrgetter("made_at_ms")),
        Column("duro_version", None, "text", attrgetter("duro_version")),
        Column("instances", None, "number", attrgetter("instances")),
        Column("histories", None, "number", attrgetter("histories")),
        Column("event_count", None, "number", attrgetter("events")),
        Column("history_bytes", None, "bytes", attrgetter("history_bytes")),
        Column("content_bytes", None, "bytes", attrgetter("content_bytes")),
        Column("file_bytes", None, "bytes", attrgetter("file_bytes")),
        Column("sha256", None, "text", attrgetter("sha256")),
    ),
    manifest_json,
    lambda m: m.segment,
)


def segment_lines(manifest: "Manifest") -> Iterator[str]:
    said = {
        "segment": manifest.segment,
        "made": f"{iso(manifest.made_at_ms)} by duro {manifest.duro_version}",
        "store": manifest.store_id,
        "holds": f"{counted(manifest.histories, 'history', 'histories')}, {counted(manifest.events, 'event')}, "
        f"{size(manifest.history_bytes)}",
        "takes": size(manifest.file_bytes),
        "sha256": manifest.sha256,
    }
    for name, text in said.items():
        yield f"{name:<8} {visible_field(text)}"


CHECKS: Final = View(
    "duroctl.archive_checks/1",
    "segments",
    (
        Column("segment", "SEGMENT", "id", lambda c: c.segment),
        Column("histories", "HISTORIES", "number", lambda c: c.histories),
        Column("event_count", "EVENTS", "number", lambda c: c.events),
        Column("file_bytes", "SIZE", "bytes", lambda c: c.file_bytes),
        Column("problem", "PROBLEM", "text", lambda c: c.problem or None),
    ),
    lambda c: {
        "segment": c.segment,
        "histories": c.histories,
        "event_count": c.events,
        "file_bytes": c.file_bytes,
        "problem": c.problem or None,
    },
    lambda c: c.segment,
)


def check_lines(checks: "Sequence[SegmentCheck]", directory: str) -> Iterator[str]:
    ill = [each for each in checks if each.problem]
    for each in ill:
        yield visible_field(each.problem)
    good = [each for each in checks if not each.problem]
    yield visible_field(
        f"{directory}: {counted(len(good), 'segment')} as written, with "
        f"{counted(sum(each.histories for each in good), 'history', 'histories')} and "
        f"{counted(sum(each.events for each in good), 'event')}" + (f"; {len(ill):,} damaged" if ill else "")
    )


OUTCOMES: Final = View(
    "duroctl.archive_outcomes/1",
    "archives",
    (
        Column("directory", "ARCHIVE", "id", lambda o: o.directory or CONFIGURED_WORDS),
        Column("segments", "SEGMENTS", "number", lambda o: o.segments),
        Column("histories", "HISTORIES", "number", lambda o: o.histories),
        Column("event_count", "EVENTS", "number", lambda o: o.events),
        Column("file_bytes", "SIZE", "bytes", lambda o: o.file_bytes),
        Column("waiting", "WAITING", "number", lambda o: o.waiting),
        Column("problem", "PROBLEM", "text", lambda o: o.problem or None),
    ),
    lambda o: outcome_json(o) or {},
    lambda o: o.directory,
)


def waiting_line(waiting: Sequence[WaitingArchive]) -> str:
    """What waits, all archives together; "": nothing does."""
    executions = sum(each.executions for each in waiting)
    instances = sum(each.instances for each in waiting)
    if not executions and not instances:
        return ""
    said = [counted(executions, "execution")] if executions else []
    said += [counted(instances, "removed instance")] if instances else []
    waits = "waits" if executions + instances == 1 else "wait"
    return f"{' and '.join(said)} {waits} to be archived; `duroctl archive write` does it now"


RESTORED: Final = View(
    "duroctl.restore_result/1",
    "result",
    (
        Column("instances", None, "number", lambda r: r.instances),
        Column("executions", None, "number", lambda r: r.executions),
        Column("events", None, "number", lambda r: r.events),
        Column("history_bytes", None, "bytes", lambda r: r.history_bytes),
        Column("there", None, "number", lambda r: r.there),
        Column("hold_ids", None, "id", lambda r: " ".join(r.hold_ids)),
    ),
    lambda r: {
        "instances": r.instances,
        "executions": r.executions,
        "events": r.events,
        "history_bytes": r.history_bytes,
        "there": r.there,
        "hold_ids": list(r.hold_ids),
    },
    lambda r: r.hold_ids,
)


def restored_lines(result: RestoreResult) -> Iterator[str]:
    whole = f" and {counted(result.instances, 'whole instance')}" if result.instances else ""
    if result.executions:
        yield f"restored {counted(result.executions, 'execution')}{whole}: {counted(result.events, 'event')}, " + size(
            result.history_bytes
        )
        yield visible_field(f"held by {first_of(result.hold_ids)} for 7 d, so that no prune takes them again meanwhile")
    if result.there:
        yield f"{counted(result.there, 'execution')} {'was' if result.there == 1 else 'were'} there already"


def _time(at_ms: int | None) -> str | None:
    return None if at_ms is None else iso(at_ms)
