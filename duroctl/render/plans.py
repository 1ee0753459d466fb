"""Plans and results of prunes as lines, rows and documents. Pure."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any, Final, NamedTuple

import msgspec

from duro.model.pruning import InstancePlan, PlanItem, PrunePlan, PruneResult
from duro.model.removal import UndoResult
from duro.model.retention import PolicyKind, PolicyOrigin
from duro.model.status import ChildrenPolicy
from duro.naming import command_on
from duroctl.render.outcomes import SKIPPED_MAX, PlanWritten, outcome_json, outcome_lines
from duroctl.render.tables import Column, View
from duroctl.render.text import visible_field
from duroctl.render.units import counted, first_of, size, were

PLAN_SCHEMA: Final = "duroctl.prune_plan/1"

INSTANCES_SHOWN: Final = 20
_WARNINGS_SHOWN: Final = 10
"""Instances a person is shown of a plan; the totals are of all."""

_HELD: Final = "held:"

_REASONS_SHOWN: Final = 5


class PlannedExecution(NamedTuple):
    """One execution of a plan, as a row."""

    instance: InstancePlan
    item: PlanItem


def planned(plan: PrunePlan, *, removed_only: bool = False) -> Iterator[PlannedExecution]:
    for instance in plan.instances:
        for item in instance.items:
            if not (removed_only and item.verdict.keep):
                yield PlannedExecution(instance, item)


def plan_json(plan: PrunePlan) -> dict[str, Any]:
    document: dict[str, Any] = msgspec.to_builtins(plan)
    return document


def _execution_id(row: PlannedExecution) -> str:
    return f"{row.item.execution.instance_id}/{row.item.execution.execution_id}"


PLANNED: Final = View(
    PLAN_SCHEMA,
    "executions",
    (
        Column("instance_id", "INSTANCE", "id", lambda row: row.item.execution.instance_id),
        Column("execution_id", "EXEC", "number", lambda row: row.item.execution.execution_id),
        Column("verdict", "VERDICT", "text", lambda row: "keep" if row.item.verdict.keep else "remove"),
        Column("reasons", "REASONS", "text", lambda row: " ".join(row.item.verdict.reasons)),
        Column("version", None, "text", lambda row: row.item.execution.version),
        Column("status", None, "text", lambda row: row.item.execution.status),
        Column("event_count", "EVENTS", "number", lambda row: row.item.execution.event_count),
        Column("history_bytes", "SIZE", "bytes", lambda row: row.item.execution.history_bytes),
        Column("completed_at", None, "time", lambda row: row.item.execution.completed_at_ms),
    ),
    lambda row: {"execution": _execution_id(row), "keep": row.item.verdict.keep, "reasons": row.item.verdict.reasons},
    _execution_id,
)


# --- for people --------------------------------------------------------------------------------------------------


def plan_lines(plan: PrunePlan, *, instances_max: int = INSTANCES_SHOWN) -> Iterator[str]:
    """What goes and what stays, executions alike in one line, then the totals and what is to be known."""
    with_removals = [each for each in plan.instances if any(not item.verdict.keep for item in each.items)]
    shown = with_removals[:instances_max] if with_removals else plan.instances[:instances_max]
    for instance in shown:
        yield from _instance_lines(instance)
    if len(with_removals) > len(shown):
        more = counted(len(with_removals) - len(shown), "more instance")
        yield f"... and {more} (-o csv lists everything)"
    yield from totals_lines(plan)
    yield from left_lines(plan)
    for note in warning_lines(plan):
        yield f"note: {note}"


def warning_lines(plan: PrunePlan) -> Iterator[str]:
    """What is to be known before it is carried out: a few of them, and how many more there are."""
    for warning in plan.warnings[:_WARNINGS_SHOWN]:
        yield visible_field(warning.text)
    if len(plan.warnings) > _WARNINGS_SHOWN:
        yield f"... and {len(plan.warnings) - _WARNINGS_SHOWN:,} more like that (--dry-run -o json has all)"


def written(file: str, plan: PrunePlan) -> PlanWritten:
    totals = plan.totals
    return PlanWritten(
        file,
        PLAN_SCHEMA,
        totals.children_removed,
        totals.executions_removed,
        totals.events_removed + totals.child_events_removed,
        totals.bytes_removed + totals.child_bytes_removed,
    )


def _instance_lines(instance: InstancePlan) -> Iterator[str]:
    if instance.rules is None:
        is_never = any("never" in item.verdict.reasons for item in instance.items)
        rules = "never pruned" if is_never else "not pruned"
    else:
        rules = " and ".join(str(rules) for rules in instance.rules) or "named one by one"
    origin = f" ({instance.origin})" if instance.origin.text else ""
    yield "  ".join(map(visible_field, (instance.instance_id, instance.name, f"{rules}{origin}")))
    for (keep, _), group in groupby(instance.items, key=_alike):
        items = list(group)
        yield f"  {_span(items):>11}  {'keep  ' if keep else 'REMOVE'}  {visible_field(_reasons(items))}"
    if instance.children:
        shown = ", ".join(visible_field(child.instance_id) for child in instance.children[:3])
        more = f" and {len(instance.children) - 3:,} more" if len(instance.children) > 3 else ""
        yield f"   with them, settled children: {shown}{more}"


def _alike(item: PlanItem) -> tuple[bool, tuple[str, ...]]:
    """Whether two neighbours are one line: ``last:1/3`` and ``last:2/3`` are alike."""
    return item.verdict.keep, tuple(reason.partition(":")[0] for reason in item.verdict.reasons)


def _span(items: list[PlanItem]) -> str:
    first, last = items[0].execution.execution_id, items[-1].execution.execution_id
    return str(first) if first == last else f"{first}..{last}"


def _reasons(items: list[PlanItem]) -> str:
    first, last = items[0].verdict.reasons, items[-1].verdict.reasons
    return " ".join(one if one == other else f"{one}..{other}" for one, other in zip(first, last, strict=True))


def totals_lines(plan: PrunePlan) -> list[str]:
    totals = plan.totals
    instances = sum(any(not item.verdict.keep for item in each.items) for each in plan.instances)
    children = []
    if totals.children_removed:
        children = [
            (
                f"with them: {counted(totals.children_removed, 'settled child', 'settled children')} and below, "
                f"{counted(totals.child_events_removed, 'event')}, {size(totals.child_bytes_removed)}, once reclaimed"
            )
        ]
    elif plan.children is ChildrenPolicy.SETTLED and totals.executions_removed:
        children = ["with them: the children they spawned that have settled by the time they are reclaimed; none yet"]
    return [
        (
            f"to remove: {_executions(totals.executions_removed)} of {counted(instances, 'instance')}, "
            f"{counted(totals.events_removed, 'event')}, {size(totals.bytes_removed)}"
        ),
        *children,
        (
            f"to keep:   {_executions(totals.executions_kept)}, {counted(totals.events_kept, 'event')}, "
            f"{size(totals.bytes_kept)}"
        ),
    ]


def result_lines(result: PruneResult, grace_s: float) -> Iterator[str]:
    """What was done, how long it can be undone, and what was not."""
    gone = bool(result.skipped) and all(each.gone for each in result.skipped)
    if gone and not result.executions_deleted and not result.remaining:
        yield "nothing to prune: all that was to go had been removed before"
    else:
        yield _pruned(result)
    if result.children_removed:
        yield f"with them, settled children and below: {counted(result.children_removed, 'instance')}"
    if result.run_id and grace_s:
        them = "it" if result.executions_deleted == 1 else "them"
        yield f"`duroctl prune undo {result.run_id}` brings {them} back, for the next {grace_text(grace_s)}"
    yield from outcome_lines(result.archived)
    for skipped in result.skipped[:INSTANCES_SHOWN]:
        yield visible_field(f"skipped {skipped.instance_id}/{skipped.execution_id}: {skipped.why}")
    if len(result.skipped) > INSTANCES_SHOWN:
        more = len(result.skipped) - INSTANCES_SHOWN
        yield f"... and {more:,} more {were(more)} skipped"


def _pruned(result: PruneResult) -> str:
    return (
        f"pruned {_executions(result.executions_deleted)} of {counted(result.instances_pruned, 'instance')}: "
        f"{counted(result.events_deleted, 'event')}, {size(result.bytes_deleted)}"
    )


def left_lines(plan: PrunePlan) -> Iterator[str]:
    """Instances of which nothing goes because of their policies, by what these say."""
    left: dict[str, list[str]] = {}
    for instance in plan.instances:
        if instance.rules is None:
            is_own = instance.origin == PolicyOrigin(PolicyKind.INSTANCE, instance.instance_id)
            why = "its own policy says never" if is_own else instance.why or str(instance.origin)
            left.setdefault(why, []).append(instance.instance_id)
    for why, ids in [*left.items()][:_REASONS_SHOWN]:
        some = ", ".join(ids[:3]) + (", ..." if len(ids) > 3 else "")
        yield visible_field(f"left out: {counted(len(ids), 'instance')} ({some}): {why}")
    if len(left) > _REASONS_SHOWN:
        others = sum(len(ids) for ids in [*left.values()][_REASONS_SHOWN:])
        yield f"left out: {counted(others, 'instance')} more, for other reasons (`duroctl policy explain` of one says)"


def held_lines(plan: PrunePlan) -> Iterator[str]:
    """How many executions stay for nothing but holds, and which holds these are."""
    held = [
        row.item.verdict.reasons
        for row in planned(plan)
        if row.item.verdict.keep and all(reason.startswith(_HELD) for reason in row.item.verdict.reasons)
    ]
    holds = dict.fromkeys(reason.removeprefix(_HELD) for reasons in held for reason in reasons)
    if held:
        names = visible_field(", ".join([*holds][:3])) + (", ..." if len(holds) > 3 else "")
        stay, them = ("stays", "it") if len(held) == 1 else ("stay", "them")
        yield f"{_executions(len(held))} {stay} for nothing but {names}; {_removing(holds)} lets {them} go"


def _removing(holds: Collection[str]) -> str:
    """The command that ends these holds, as a shell takes it if there is one alone."""
    if len(holds) != 1:
        return "`duroctl holds remove`"
    (hold,) = holds
    return visible_field(command_on("holds remove", hold))


def kept_lines(plan: PrunePlan, named: Mapping[str, Collection[int]]) -> Iterator[str]:
    """Of executions that were named one by one those that stay, and why."""
    kept = [
        row
        for row in planned(plan)
        if row.item.verdict.keep and row.item.execution.execution_id in named.get(row.instance.instance_id, ())
    ]
    for row in kept[:INSTANCES_SHOWN]:
        reasons = visible_field(" ".join(row.item.verdict.reasons))
        yield f"  {visible_field(_execution_id(row))}  keep    {reasons}"
    if len(kept) > INSTANCES_SHOWN:
        yield f"  ... and {len(kept) - INSTANCES_SHOWN:,} more kept (--dry-run -o csv lists everything)"


def undo_lines(undone: UndoResult, asked: str, archived: str | None = None) -> Iterator[str]:
    """``asked``: the run or the instance that was to be brought back. ``archived``: the option that names the archive
    that has, or may have, what is gone; "": it needs none. None: no archive has it."""
    if undone.instances:
        whole = f" and {counted(undone.instances_restored, 'whole instance')}" if undone.instances_restored else ""
        where = first_of(undone.instances)
        yield visible_field(f"brought back {_executions(undone.executions_restored)}{whole} of {where}")
    elif undone.gone or undone.taken or undone.removed:
        yield "brought back nothing"
    else:
        yield visible_field(f"brought back nothing: nothing is removed of {asked}; it never was, or came back before")
    if undone.hold_ids:
        yield visible_field(f"held by {first_of(undone.hold_ids)} for 7 d, so that no prune takes them again meanwhile")
        yield f"nothing else of them is pruned as long, either; {_removing(undone.hold_ids)} ends it"
    for taken in undone.taken[:INSTANCES_SHOWN]:
        yield visible_field(f"{taken} stays removed: its id, or one below it, is used again")
    for removed in undone.removed[:INSTANCES_SHOWN]:
        yield visible_field(f"{removed} was removed whole since: {command_on('prune undo', removed)} comes first")
    if undone.gone:
        which = f"{_executions(undone.gone)} had been reclaimed"
        if archived is None:
            yield f"{which} and cannot come back: no archive has {'it' if undone.gone == 1 else 'them'}"
        else:
            lists, restores = (f"`duroctl archive {how}{archived}`" for how in ("list", "restore ID"))
            yield visible_field(f"{which}; {lists} says which of them were archived, and {restores} brings one back")


def grace_text(seconds: float) -> str:
    from duro.model.retention import format_seconds

    return format_seconds(seconds)


def _executions(number: int) -> str:
    return counted(number, "execution")


CHECKED: Final = View(
    "duroctl.prune_check/1",
    "check",
    (
        Column("executions_removed", None, "number", lambda plan: plan.totals.executions_removed),
        Column("events_removed", None, "number", lambda plan: plan.totals.events_removed),
    ),
    lambda plan: {
        "executions_removed": plan.totals.executions_removed,
        "events_removed": plan.totals.events_removed,
    },
    lambda _: "",
)
RESULT: Final = View(
    "duroctl.prune_result/1",
    "result",
    (
        Column("executions_deleted", None, "number", lambda r: r.executions_deleted),
        Column("events_deleted", None, "number", lambda r: r.events_deleted),
        Column("bytes_deleted", None, "bytes", lambda r: r.bytes_deleted),
        Column("instances_processed", None, "number", lambda r: r.instances_processed),
        Column("instances_pruned", None, "number", lambda r: r.instances_pruned),
        Column("remaining", None, "number", lambda r: r.remaining),
        Column("skipped", None, "number", lambda r: len(r.skipped)),
        Column("run_id", None, "id", lambda r: r.run_id),
        Column("children_removed", None, "number", lambda r: r.children_removed),
    ),
    lambda result: {
        "executions_deleted": result.executions_deleted,
        "events_deleted": result.events_deleted,
        "bytes_deleted": result.bytes_deleted,
        "instances_processed": result.instances_processed,
        "instances_pruned": result.instances_pruned,
        "remaining": result.remaining,
        "skipped": msgspec.to_builtins(result.skipped[:SKIPPED_MAX]),
        "skipped_count": len(result.skipped) + result.skipped_more,
        "run_id": result.run_id,
        "children_removed": result.children_removed,
        "archived": outcome_json(result.archived),
    },
    lambda result: result.run_id,
)
UNDONE: Final = View(
    "duroctl.prune_undo/1",
    "undo",
    (
        Column("instances_restored", None, "number", lambda r: r.instances_restored),
        Column("executions_restored", None, "number", lambda r: r.executions_restored),
        Column("events_restored", None, "number", lambda r: r.events_restored),
        Column("bytes_restored", None, "bytes", lambda r: r.bytes_restored),
        Column("gone", None, "number", lambda r: r.gone),
        Column("hold_ids", None, "text", lambda r: " ".join(r.hold_ids)),
    ),
    msgspec.to_builtins,
    lambda undone: undone.instances,
)


def plan_rows(plan: PrunePlan) -> Iterable[PlannedExecution]:
    return planned(plan)
