"""What ``instances purge`` and ``orphans cleanup`` do with a plan: show it, write it, check it, carry it out."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

import typer

from duro.errors import StalePlanError, UsageError
from duro.maintenance.pruning import PruneProgress
from duro.model.families import RemovalKind, RemovalPlan, RemovalResult
from duroctl.archives import check_kept
from duroctl.errors import PartlyDoneError
from duroctl.plan_files import read_removal_plan, removal_document, write_removal_plan
from duroctl.pruning import (
    WORK_FOUND,
    check_forms,
    check_interrupted,
    check_not_of_plan,
    grace_of,
    interruptible,
    note_quit,
    print_written,
    progress_bar,
    reclaim_overdue,
)
from duroctl.render.removals import (
    CHECKED,
    PLANNED,
    RESULT,
    kept_lines,
    plan_lines,
    removed_only,
    result_lines,
    running_lines,
    totals_lines,
    written,
)
from duroctl.render.units import counted, were

if TYPE_CHECKING:
    from duro.client import Client
    from duroctl.session import Session


class Modes(NamedTuple):
    """How a removal was asked for."""

    dry_run: bool
    plan_out: str | None
    apply_file: str | None
    check: bool
    now: bool
    grace: str | None
    archive: str | None
    reason: str
    yes: bool
    cancel_running: bool = False

    @property
    def only_reads(self) -> bool:
        return self.dry_run or self.check or self.plan_out is not None


COMMANDS: Final = {RemovalKind.PURGE: "instances purge", RemovalKind.ORPHANS: "orphans cleanup"}
"""What makes a plan of each kind, and alone carries it out."""


def run(session: "Session", modes: Modes, kind: RemovalKind, make_plan: "Callable[[Client], RemovalPlan]") -> None:
    """Raises UsageError: modes that do not go together, or a plan of another kind."""
    given = [
        flag
        for flag, is_given in (
            ("--dry-run", modes.dry_run),
            ("--plan-out", modes.plan_out is not None),
            ("--apply", modes.apply_file is not None),
            ("--check", modes.check),
        )
        if is_given
    ]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} do not go together", hint="choose one")
    if modes.check:
        check_forms(session.output)
    check_not_of_plan(modes.plan_out, now=modes.now, grace=modes.grace, archive=modes.archive, reason=modes.reason)
    grace_s = grace_of(now=modes.now, grace=modes.grace)
    with session.client(read_only=modes.only_reads) as client:
        plan = make_plan(client) if modes.apply_file is None else _read(client, modes.apply_file, kind)
        if modes.check:
            _check(session, plan, modes)
        elif modes.plan_out is not None:
            write_removal_plan(modes.plan_out, plan)
            totals = [*totals_lines(plan), *running_lines(plan, asked=modes.cancel_running)]
            cancel = " --cancel-running" if modes.cancel_running else ""
            print_written(session, written(modes.plan_out, plan), totals, f"duroctl {COMMANDS[kind]}{cancel}")
        elif modes.dry_run:
            _show(session, plan, modes)
        else:
            _carry_out(session, client, plan, modes, grace_s)


def _read(client: "Client", file: str, kind: RemovalKind) -> RemovalPlan:
    plan = read_removal_plan(file)
    found = plan.known_kind
    if found is None:
        hint = f"make it again with `duroctl {COMMANDS[kind]} --plan-out`"
        raise UsageError(f"--apply {file!r} does not say what it is a plan of, and shows nothing", hint=hint)
    if found is not kind:
        raise UsageError(
            f"--apply {file!r} is a plan of `duroctl {COMMANDS[found]}`, not of `duroctl {COMMANDS[kind]}`",
            hint=f"`duroctl {COMMANDS[found]} --apply {file}` carries it out",
        )
    client.check_plan(plan)
    return plan


def _check(session: "Session", plan: RemovalPlan, modes: Modes) -> None:
    running = running_lines(plan, asked=modes.cancel_running)
    session.output.result(CHECKED, plan, [totals_lines(plan)[0], *running])
    if plan.totals.instances_removed:
        raise typer.Exit(WORK_FOUND)


def _show(session: "Session", plan: RemovalPlan, modes: Modes) -> None:
    form = session.output.format
    if form != "json" and not (form == "table" and session.output.terminal):  # those two say it themselves
        for line in running_lines(plan, asked=modes.cancel_running):
            session.note(line)
    match form:
        case "json":
            session.output.json(removal_document(plan))
        case "table" if session.output.terminal:
            session.output.lines(plan_lines(plan, kept=True, asked=modes.cancel_running))
        case "ids":
            session.output.listing(PLANNED, removed_only(plan), lambda: 0)
        case _:
            session.output.listing(PLANNED, plan.items, lambda: 0)


def _carry_out(session: "Session", client: "Client", plan: RemovalPlan, modes: Modes, grace_s: float) -> None:
    to_cancel = plan.running_orphans if modes.cancel_running else ()
    if not plan.totals.instances_removed and not to_cancel:
        session.output.result(RESULT, RemovalResult(), ["nothing to remove", *kept_lines(plan)])
        if plan.running_orphans:
            number = len(plan.running_orphans)
            run, them = ("runs", "it") if number == 1 else ("run", "them")
            session.note(f"{counted(number, 'orphan')} {run}; --cancel-running asks {them} to end")
        reclaim_overdue(session, client)
        return
    if not modes.yes:
        undo = "" if grace_s else " It cannot be undone."
        why = f"this removes {counted(plan.totals.instances_removed, 'instance')}"
        cancels = f" and ask {len(to_cancel):,} to end" if to_cancel else ""
        session.confirm(f"Remove them{cancels}?{undo}", plan_lines(plan, asked=modes.cancel_running), why)
    so_far = PruneProgress()
    with (
        note_quit(session, lambda: so_far.executions),
        interruptible() as interrupted,
        progress_bar(session, plan.totals.executions_removed, "removing") as advance,
    ):

        def progress(done: PruneProgress) -> bool:
            nonlocal so_far
            so_far = done
            advance(done.executions)
            return not interrupted

        result = client.apply_removal(
            plan,
            cancel_running=modes.cancel_running,
            grace_s=grace_s,
            reason=modes.reason,
            archive=modes.archive,
            progress=progress,
        )
    session.output.result(RESULT, result, result_lines(result, grace_s))
    check_interrupted(session, interrupted, result)
    reclaim_overdue(session, client)
    if modes.apply_file is not None and result.skipped and not result.instances:
        raise StalePlanError("nothing that the plan shows may go any more", hint="make the plan again")
    if result.skipped or result.remaining:
        skipped = len(result.skipped)
        they = "it" if skipped == 1 else "they"
        raise PartlyDoneError(
            f"{counted(skipped, 'family', 'families')} {were(skipped)} skipped, because {they} may no longer go",
            hint="a new plan says why",
        )
    check_kept(result.archived)
