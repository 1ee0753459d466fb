"""The ledger as rows and documents. Pure."""

from collections.abc import Iterator
from typing import Any, Final

from duro.model.archive import CONFIGURED
from duro.model.ledger import UNDO, LedgerTotals
from duro.model.removal import LedgerEntry, PruneRun
from duroctl.render.outcomes import CONFIGURED_WORDS
from duroctl.render.tables import Column, View
from duroctl.render.text import visible_field
from duroctl.render.units import counted, iso, size


def run_json(run: PruneRun) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "kind": run.kind,
        "trigger": run.trigger,
        "rule": run.rule,
        "origin": run.origin,
        "by": run.by,
        "reason": run.reason,
        **run.source._asdict(),
        "archive": run.archive,
        "started_at": iso(run.started_at_ms),
        "instances": run.instances,
        "executions": run.executions,
        "events": run.events,
        "history_bytes": run.history_bytes,
    }


def entry_json(entry: LedgerEntry) -> dict[str, Any]:
    pruned = entry.range
    return {
        "first_execution_id": pruned.first_execution_id,
        "last_execution_id": pruned.last_execution_id,
        "executions": pruned.executions,
        "events": pruned.events,
        "history_bytes": pruned.history_bytes,
        "rule": pruned.rule,
        "origin": pruned.origin,
        "trigger": pruned.trigger,
        "first_pruned_at": iso(pruned.first_pruned_at_ms),
        "last_pruned_at": iso(pruned.last_pruned_at_ms),
        "run": None if entry.run is None else run_json(entry.run),
    }


def _span(entry: LedgerEntry) -> str:
    first, last = entry.range.first_execution_id, entry.range.last_execution_id
    return str(first) if first == last else f"{first}..{last}"


def kind_of(run: PruneRun) -> str:
    """What it was; of a run from before kinds were recorded, whether it removed or brought back."""
    return run.kind or run.trigger


def _archive_of(run: PruneRun) -> str | None:
    return CONFIGURED_WORDS if run.archive == CONFIGURED else run.archive


RUNS: Final = View(
    "duroctl.prune_runs/1",
    "runs",
    (
        Column("run_id", "RUN", "id", lambda run: run.run_id),
        Column("kind", "WHAT", "word", kind_of),
        Column("trigger", None, "text", lambda run: run.trigger),
        Column("started_at", "WHEN", "time", lambda run: run.started_at_ms),
        Column("by", "BY", "text", lambda run: run.by),
        Column("host", None, "text", lambda run: run.source.host),
        Column("duro_version", None, "text", lambda run: run.source.duro_version),
        Column("plan_hash", None, "text", lambda run: run.source.plan_hash),
        Column("archive", None, "text", _archive_of),
        Column("instances", "INST", "number", lambda run: run.instances),
        Column("executions", "EXECS", "number", lambda run: run.executions),
        Column("events", None, "number", lambda run: run.events),
        Column("history_bytes", "SIZE", "bytes", lambda run: run.history_bytes),
        Column("rule", "RULE", "id", lambda run: run.rule),
        Column("reason", "REASON", "text", lambda run: run.reason),
    ),
    run_json,
    lambda run: run.run_id,
)
RUN: Final = RUNS._replace(schema="duroctl.prune_run/1", field="run")


def totals_json(totals: LedgerTotals) -> dict[str, Any]:
    first, last = totals.first_pruned_at_ms, totals.last_pruned_at_ms
    return {
        "name": totals.name,
        "instances": totals.instances,
        "executions": totals.executions,
        "events": totals.events,
        "history_bytes": totals.history_bytes,
        "first_pruned_at": None if first is None else iso(first),
        "last_pruned_at": None if last is None else iso(last),
    }


TOTALS: Final = View(
    "duroctl.ledger_totals/1",
    "totals",
    (
        Column("name", "NAME", "id", lambda totals: totals.name),
        Column("instances", "INST", "number", lambda totals: totals.instances),
        Column("executions", "EXECS", "number", lambda totals: totals.executions),
        Column("events", "EVENTS", "number", lambda totals: totals.events),
        Column("history_bytes", "SIZE", "bytes", lambda totals: totals.history_bytes),
        Column("first_pruned_at", "FIRST", "time", lambda totals: totals.first_pruned_at_ms),
        Column("last_pruned_at", "LAST", "time", lambda totals: totals.last_pruned_at_ms),
    ),
    totals_json,
    lambda totals: totals.name,
)


def run_lines(run: PruneRun) -> Iterator[str]:
    """A run in words: what it was, who made it, where and why, and what it removed or brought back."""
    done = "returned" if run.trigger == UNDO else "removed"
    said = {
        "run": f"{run.run_id} ({kind_of(run)})",
        "when": iso(run.started_at_ms),
        "by": run.by + (f" on {run.source.host}" if run.source.host else ""),
        "duro": run.source.duro_version,
        "reason": run.reason,
        "rules": run.rule,
        "said by": run.origin,
        "plan": run.source.plan_hash,
        "archive": _archive_of(run),
        done: f"{counted(run.executions, 'execution')} of {counted(run.instances, 'instance')}, "
        f"{counted(run.events, 'event')}, "
        f"{size(run.history_bytes)}",
    }
    for name, text in said.items():
        if text:
            yield f"{name:<8} {visible_field(text)}"


ENTRIES: Final = View(
    "duroctl.ledger/1",
    "entries",
    (
        Column("executions", "EXECS", "text", _span),
        Column("count", "COUNT", "number", lambda entry: entry.range.executions),
        Column("events", "EVENTS", "number", lambda entry: entry.range.events),
        Column("history_bytes", "SIZE", "bytes", lambda entry: entry.range.history_bytes),
        Column("trigger", "TRIGGER", "text", lambda entry: entry.range.trigger),
        Column("rule", "RULE", "id", lambda entry: entry.range.rule),
        Column("origin", "ORIGIN", "id", lambda entry: entry.range.origin),
        Column("run_id", "RUN", "id", lambda entry: entry.run and entry.run.run_id),
        Column("first_pruned_at", None, "time", lambda entry: entry.range.first_pruned_at_ms),
        Column("last_pruned_at", "LAST", "time", lambda entry: entry.range.last_pruned_at_ms),
    ),
    entry_json,
    lambda entry: "" if entry.run is None else entry.run.run_id,
)
