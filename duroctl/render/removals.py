"""Orphans, and plans and results of removing whole instances, as lines, rows and documents. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

from duro.model.families import Orphan, RemovalItem, RemovalPlan, RemovalResult
from duroctl.render.outcomes import SKIPPED_MAX, PlanWritten, outcome_json, outcome_lines
from duroctl.render.plans import grace_text
from duroctl.render.records import child_json
from duroctl.render.tables import Column, View
from duroctl.render.text import visible_field
from duroctl.render.units import counted, first_of, size, were

PLAN_SCHEMA: Final = "duroctl.removal_plan/1"

FAMILIES_SHOWN: Final = 20
"""Families a person is shown of a plan; the totals are of all."""


def _orphan_json(orphan: Orphan) -> dict[str, Any]:
    from duroctl.render.units import iso

    return {
        **child_json(orphan.child),
        "kind": orphan.kind,
        "spawner_pruned": orphan.spawner_pruned,
        "since": None if orphan.since_ms is None else iso(orphan.since_ms),
        "why": orphan.why,
    }


ORPHANS: Final = View(
    "duroctl.orphans/1",
    "orphans",
    (
        Column("instance_id", "INSTANCE", "id", lambda o: o.child.instance_id),
        Column("name", "NAME", "id", lambda o: o.child.name),
        Column("status", "STATUS", "word", lambda o: o.child.status),
        Column("kind", "KIND", "word", lambda o: o.kind),
        Column("parent", "PARENT", "id", lambda o: f"{o.child.parent.instance_id}/{o.child.parent.execution_id}"),
        Column("spawner_pruned", "PRUNED", "word", lambda o: "yes" if o.spawner_pruned else "no"),
        Column("since", "SINCE", "time", lambda o: o.since_ms),
        Column("why", None, "text", lambda o: o.why),
    ),
    _orphan_json,
    lambda o: str(o.child.instance_id),
)


def plan_json(plan: RemovalPlan) -> dict[str, Any]:
    document: dict[str, Any] = msgspec.to_builtins(plan)
    return document


PLANNED: Final = View(
    PLAN_SCHEMA,
    "families",
    (
        Column("instance_id", "INSTANCE", "id", lambda item: item.instance_id),
        Column("name", "NAME", "id", lambda item: item.name),
        Column("status", "STATUS", "word", lambda item: item.status),
        Column("verdict", "VERDICT", "text", lambda item: "keep" if item.verdict.keep else "remove"),
        Column("reasons", "REASONS", "text", lambda item: " ".join(item.verdict.reasons)),
        Column("child_of", None, "id", lambda item: item.child_of),
        Column("instances", "INSTANCES", "number", lambda item: item.instances),
        Column("executions", "EXECS", "number", lambda item: item.executions),
        Column("events", None, "number", lambda item: item.events),
        Column("history_bytes", "SIZE", "bytes", lambda item: item.history_bytes),
        Column("completed_at", None, "time", lambda item: item.completed_at_ms),
    ),
    msgspec.to_builtins,
    lambda item: str(item.instance_id),
)


# --- for people --------------------------------------------------------------------------------------------------


def plan_lines(
    plan: RemovalPlan, *, families_max: int = FAMILIES_SHOWN, kept: bool = False, asked: bool = False
) -> Iterator[str]:
    """What goes, with ``kept`` also what stays; then which orphans run (``asked``: to end), and the totals."""
    going = [item for item in plan.items if not item.verdict.keep]
    staying = [item for item in plan.items if item.verdict.keep] if kept or not going else []
    yield from _item_lines(going, families_max)
    yield from _item_lines(staying, families_max)
    yield from running_lines(plan, asked=asked)
    yield from totals_lines(plan)


def running_lines(plan: RemovalPlan, *, asked: bool) -> Iterator[str]:
    """Which orphans run. ``asked``: they are to be asked to end."""
    ids = plan.running_orphans
    if not ids:
        return
    named = first_of(ids)
    if asked:
        yield visible_field(f"to ask to end: {counted(len(ids), 'running orphan')}: {named}")
    else:
        yield visible_field(f"running orphans: {named} (--cancel-running asks them to end)")


def unknown_line(number: int, command: str) -> str:
    """That of so many children nobody can tell, and the ``command`` that tells more."""
    of, they = ("1 child", "it is") if number == 1 else (f"{number:,} children", "they are")
    return (
        f"of {of} nobody can tell whether a parent may still observe the end (kind unknown): {they} never cleaned up; "
        f"`{command}` says more"
    )


def never_swept_line(ids: Sequence[str]) -> str:
    """Why these stay where sweeps of [orphans] remove others."""
    return visible_field(
        f"no sweep removes {first_of(ids)}: [purge.overrides] says never of {'it' if len(ids) == 1 else 'them'}, or of "
        "what is below; a clean-up by hand does"
    )


def kept_lines(plan: RemovalPlan, *, families_max: int = FAMILIES_SHOWN) -> Iterator[str]:
    """What stays, and why."""
    yield from _item_lines([item for item in plan.items if item.verdict.keep], families_max)


def written(file: str, plan: RemovalPlan) -> PlanWritten:
    totals = plan.totals
    return PlanWritten(
        file,
        PLAN_SCHEMA,
        totals.instances_removed,
        totals.executions_removed,
        totals.events_removed,
        totals.bytes_removed,
    )


def _item_lines(items: list[RemovalItem], families_max: int) -> Iterator[str]:
    shown = items[:families_max]
    width = max((len(visible_field(item.instance_id)) for item in shown), default=0)
    for item in shown:
        verdict = "keep  " if item.verdict.keep else "REMOVE"
        below = f", with {counted(item.instances - 1, 'instance')} below it" if item.instances > 1 else ""
        where = f", child of {item.child_of}" if item.child_of else ""
        why = visible_field(f"{' '.join(item.verdict.reasons)}{where}{below}")
        name = visible_field(item.name)
        yield f"  {visible_field(item.instance_id):<{width}}  {name}  {item.status}  {verdict}  {why}"
    if len(items) > len(shown):
        word = "kept" if items[0].verdict.keep else "to remove"
        yield f"  ... and {len(items) - len(shown):,} more {word} (-o csv lists everything)"


def totals_lines(plan: RemovalPlan) -> list[str]:
    totals = plan.totals
    return [
        (
            f"to remove: {counted(totals.instances_removed, 'instance')} in "
            f"{counted(totals.families_removed, 'family', 'families')}, "
            f"{counted(totals.executions_removed, 'execution')}, {counted(totals.events_removed, 'event')}, "
            f"{size(totals.bytes_removed)}"
        ),
        f"to keep:   {counted(totals.families_kept, 'family', 'families')}",
    ]


def result_lines(result: RemovalResult, grace_s: float) -> Iterator[str]:
    """What was done, how long it can be undone, and what was not."""
    yield (
        f"removed {counted(result.instances, 'instance')} in {counted(result.families, 'family', 'families')}: "
        f"{counted(result.executions, 'execution')}, {counted(result.events, 'event')}, {size(result.history_bytes)}"
    )
    if result.cancelled:
        yield f"asked {counted(len(result.cancelled), 'running orphan')} to end; a later run removes what has ended"
    if result.run_id and grace_s:
        yield f"`duroctl prune undo {result.run_id}` brings them back, for the next {grace_text(grace_s)}"
    yield from outcome_lines(result.archived)
    for skipped in result.skipped[:FAMILIES_SHOWN]:
        yield visible_field(f"skipped {skipped.instance_id}: {skipped.why}")
    if len(result.skipped) > FAMILIES_SHOWN:
        more = len(result.skipped) - FAMILIES_SHOWN
        yield f"... and {more:,} more {were(more)} skipped"


CHECKED: Final = View(
    "duroctl.removal_check/1",
    "check",
    (
        Column("instances_removed", None, "number", lambda plan: plan.totals.instances_removed),
        Column("running_orphans", None, "number", lambda plan: len(plan.running_orphans)),
    ),
    lambda plan: {"instances_removed": plan.totals.instances_removed, "running_orphans": len(plan.running_orphans)},
    lambda _: "",
)
RESULT: Final = View(
    "duroctl.removal_result/1",
    "result",
    (
        Column("families", None, "number", lambda r: r.families),
        Column("instances", None, "number", lambda r: r.instances),
        Column("executions", None, "number", lambda r: r.executions),
        Column("events", None, "number", lambda r: r.events),
        Column("history_bytes", None, "bytes", lambda r: r.history_bytes),
        Column("cancelled", None, "number", lambda r: len(r.cancelled)),
        Column("skipped", None, "number", lambda r: len(r.skipped)),
        Column("remaining", None, "number", lambda r: r.remaining),
        Column("run_id", None, "id", lambda r: r.run_id),
    ),
    lambda result: {
        "families": result.families,
        "instances": result.instances,
        "executions": result.executions,
        "events": result.events,
        "history_bytes": result.history_bytes,
        "cancelled": list(result.cancelled),
        "skipped": msgspec.to_builtins(result.skipped[:SKIPPED_MAX]),
        "skipped_count": len(result.skipped),
        "remaining": result.remaining,
        "run_id": result.run_id,
        "archived": outcome_json(result.archived),
    },
    lambda result: result.run_id,
)
ADOPTED: Final = View(
    "duroctl.adopted/1",
    "adopted",
    (
        Column("instance_id", "ADOPTED", "id", lambda child: child.instance_id),
        Column("adopted_at", "AT", "time", lambda child: child.adopted_at_ms),
        Column("adopted_by", "BY", "text", lambda child: child.adopted_by),
        Column("adopted_reason", "REASON", "text", lambda child: child.adopted_reason),
    ),
    child_json,
    lambda child: str(child.instance_id),
)


def removed_only(plan: RemovalPlan) -> Iterable[RemovalItem]:
    return (item for item in plan.items if not item.verdict.keep)
