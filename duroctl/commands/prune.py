"""``duroctl prune``: remove old executions inside instances, show what would go, and bring it back."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from duroctl.completing import instance_ids_or_runs, instance_ids_or_undo
from duroctl.options import WordyCommand, command, new_command_app
from duroctl.removal_options import (
    AllOption,
    ApplyOption,
    ArchiveOption,
    CheckOption,
    CompletedBeforeOption,
    DryRunOption,
    ExecutionOption,
    GraceOption,
    NameOption,
    NowOption,
    PlanOutOption,
    ReasonOption,
    WholeOption,
    YesOption,
)
from duroctl.session import Session

if TYPE_CHECKING:
    from duro.client import Client
    from duro.model.pruning import PrunePlan
    from duro.model.retention import PruneOptions
    from duroctl.pruning import Terms

    _Executions = Mapping[str, Collection[int]]

app = new_command_app()
_undo_app = new_command_app()


class _Prune(WordyCommand):
    words: ClassVar = {"undo": _undo_app}


_IdsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[INSTANCE[/EXECUTION]...]",
        help="The instances to prune, or the executions that may go; - reads ids from standard input (so an instance "
        "called undo can be named).",
        show_default=False,
        autocompletion=instance_ids_or_undo,
    ),
]
_UndoneArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="RUN|INSTANCE...",
        help="Runs of `ledger list`, or instances; - reads ids from standard input.",
        show_default=False,
        autocompletion=instance_ids_or_runs,
    ),
]
_KeepLastOption = Annotated[
    str | None, typer.Option("--keep-last", metavar="N", help="Keep the newest N, the current one counted.")
]
_KeepWithinOption = Annotated[
    str | None, typer.Option("--keep-within", metavar="DURATION", help="Keep what ended no longer ago (90s 12h 7d).")
]
_PerVersionOption = Annotated[
    str | None, typer.Option("--keep-last-per-version", metavar="N", help="Keep the newest N of each version.")
]
_VersionsOption = Annotated[
    str | None, typer.Option("--keep-versions", metavar="N", help="... of the N versions used last.")
]


@command(
    app,
    "prune",
    examples=(
        "prune queue-1 --keep-last 3 --dry-run",
        "prune --name 'monitor.*' --keep-within 7d --reason 'disk is full'",
        "prune --all --keep-last 3 --plan-out plan.json",
        "prune --apply plan.json --yes",
        "prune queue-1 --keep-last 3 --archive /var/archive/duro",
        "executions list queue-1 --output ids | duroctl prune - --keep-within 7d --dry-run",
    ),
    cls=_Prune,
)
def prune(
    session: Session,
    instance: _IdsArgument = None,
    keep_last: _KeepLastOption = None,
    keep_within: _KeepWithinOption = None,
    completed_before: CompletedBeforeOption = None,
    keep_last_per_version: _PerVersionOption = None,
    keep_versions: _VersionsOption = None,
    name: NameOption = None,
    all_instances: AllOption = False,
    dry_run: DryRunOption = False,
    plan_out: PlanOutOption = None,
    apply_file: ApplyOption = None,
    check: CheckOption = False,
    now: NowOption = False,
    grace: GraceOption = None,
    archive: ArchiveOption = None,
    reason: ReasonOption = "",
    yes: YesOption = False,
    execution: ExecutionOption = None,
    whole: WholeOption = False,
) -> None:
    """Remove old executions inside instances. The current one always stays, and so does what is held.

    `duroctl prune undo RUN|INSTANCE` brings back what was removed, until its grace is over.

    An execution goes only if none of the rules given keeps it. Without rules, the policy configured for each instance
    applies; executions that are named one by one all go that may. On a terminal the plan is shown and you are asked;
    elsewhere --yes is needed.
    """
    from duro.errors import UsageError
    from duroctl.pruning import (
        Rules,
        Terms,
        check_forms,
        check_not_of_plan,
        grace_of,
        note_name,
        note_unchanged,
        parse_rules,
    )
    from duroctl.told import prune_origins, tell_unread

    rules = Rules(keep_last, keep_within, completed_before, keep_last_per_version, keep_versions)
    modes = [
        flag
        for flag, given in (
            ("--dry-run", dry_run),
            ("--plan-out", plan_out is not None),
            ("--apply", apply_file is not None),
            ("--check", check),
        )
        if given
    ]
    if len(modes) > 1:
        raise UsageError(f"{' and '.join(modes)} do not go together", hint="choose one")
    chooses = name is not None or all_instances or rules.given or execution is not None or whole
    if instance and instance[0] == "undo":
        raise UsageError("prune undo takes runs or instances, and nothing else", hint="duroctl prune undo RUN")
    if apply_file is not None and (instance or chooses):
        raise UsageError("--apply takes neither instances nor rules: the plan has both", hint="leave them out")
    if check:
        check_forms(session.output)
    check_not_of_plan(plan_out, now=now, grace=grace, archive=archive, reason=reason)
    terms = Terms(grace_of(now=now, grace=grace), reason, archive)
    with session.client(read_only=dry_run or check or plan_out is not None) as client:
        if apply_file is not None:
            from duroctl.plan_files import read_plan

            with note_unchanged(session):
                made = read_plan(apply_file)
                client.check_plan(made)
            tell_unread(session, client, prune_origins(made), removes=True)
            _carry_out(session, client, made, None, terms, yes=yes)
            return
        options = parse_rules(rules, client.store.now_ms())
        with note_unchanged(session):
            named = _named(session, client, instance or [], execution=execution, whole=whole)
            note_name(session, client, name)
            plan, one_by_one = _plan(session, client, named, name, all_instances=all_instances, options=options)
        tell_unread(session, client, prune_origins(plan), removes=not (check or dry_run or plan_out is not None))
        if check:
            _check(session, plan)
        elif plan_out is not None:
            _write(session, plan_out, plan)
        elif dry_run:
            _show(session, plan)
        else:
            _carry_out(session, client, plan, one_by_one, terms, yes=yes)


def _named(
    session: Session, client: "Client", given: list[str], *, execution: str | None, whole: bool
) -> dict[str, set[int] | None]:
    """Instances, each with the executions of it that were named, or None where it was named itself."""
    from duro.errors import UsageError
    from duroctl.references import resolve_target

    texts = session.ids(given) if given else []
    if (execution is not None and len(texts) != 1) or (whole and not texts):
        raise UsageError("--execution goes with one instance, and --whole with one or more", hint="name it")
    named: dict[str, set[int] | None] = {}
    for text in texts:
        found = resolve_target(client, text, execution=execution, whole=whole)
        executions = named.setdefault(found.instance_id, set())
        if found.execution_id is None:
            named[found.instance_id] = None
        elif executions is not None:
            executions.add(found.execution_id)
    return named


def _plan(
    session: Session,
    client: "Client",
    named: dict[str, set[int] | None],
    name: str | None,
    *,
    all_instances: bool,
    options: "PruneOptions | None",
) -> "tuple[PrunePlan, _Executions]":
    """And the executions that were named one by one."""
    from duro.errors import UsageError
    from duro.model.removal import PruneScope
    from duro.model.retention import NAMED
    from duroctl.archives import execution_told

    if all_instances and (named or name is not None):
        raise UsageError("--all does not go with instances or --name", hint="choose one")
    if named and name is not None:
        raise UsageError("--name does not go with instances", hint="choose one")
    if not (named or name is not None or all_instances):
        raise UsageError("which instances?", hint="name some, or give --name GLOB or --all")
    if not named:
        return client.plan_prune(options, scope=PruneScope(name=name)), {}
    only = {instance_id: executions for instance_id, executions in named.items() if executions is not None}
    with execution_told(session, client):
        _check_named(client, only)
    scope = PruneScope(instance_ids=tuple(named), name=name)
    if options is None and len(only) == len(named):
        return client.plan_prune(NAMED, scope=scope, only=only), only
    return client.plan_prune(options, scope=scope, only=only), only


def _check_named(client: "Client", only: "_Executions") -> None:
    """Raises ExecutionNotFoundError: one was never there. ExecutionPrunedError: all of them are pruned; of some of
    several that were pruned since they were listed the plan says so."""
    from duro.errors import ExecutionPrunedError

    live, pruned = 0, list[ExecutionPrunedError]()
    for instance_id, executions in only.items():
        for execution_id in executions:
            try:
                client.get_execution(instance_id, execution_id)
                live += 1
            except ExecutionPrunedError as error:
                pruned.append(error)
    if pruned and not live:
        raise pruned[0]


def _check(session: Session, plan: "PrunePlan") -> None:
    from duroctl.pruning import WORK_FOUND
    from duroctl.render.plans import CHECKED, totals_lines

    session.output.result(CHECKED, plan, totals_lines(plan)[:1])
    if plan.totals.executions_removed:
        raise typer.Exit(WORK_FOUND)


def _write(session: Session, file: str, plan: "PrunePlan") -> None:
    from duroctl.plan_files import write_plan
    from duroctl.pruning import print_written
    from duroctl.render.plans import totals_lines, written

    write_plan(file, plan)
    print_written(session, written(file, plan), totals_lines(plan), "duroctl prune")


def _show(session: Session, plan: "PrunePlan") -> None:
    from duroctl.plan_files import plan_document
    from duroctl.render.plans import PLANNED, plan_lines, planned, totals_lines, warning_lines

    match session.output.format:
        case "json":
            session.output.json(plan_document(plan))
        case "table" if session.output.terminal:
            session.output.lines(plan_lines(plan))
        case "ids":
            session.output.listing(PLANNED, planned(plan, removed_only=True), lambda: 0)
        case _:
            session.output.listing(PLANNED, planned(plan), lambda: 0)
    form = session.output.format
    if form != "json" and not (form == "table" and session.output.terminal):  # those two have them
        for line in totals_lines(plan):
            session.note(line)
    if not session.output.terminal:
        for line in warning_lines(plan):
            session.note(line)


def _carry_out(
    session: Session, client: "Client", plan: "PrunePlan", named: "_Executions | None", terms: "Terms", *, yes: bool
) -> None:
    """``named``: executions that were named one by one; None: the plan was made at another time."""
    from duro.errors import StalePlanError
    from duroctl.archives import check_kept
    from duroctl.errors import PartlyDoneError
    from duroctl.pruning import apply_with_progress, check_interrupted, reclaim_overdue
    from duroctl.render.plans import RESULT, plan_lines, result_lines
    from duroctl.render.units import counted, were

    if not plan.totals.executions_removed:
        _nothing(session, plan, named)
        reclaim_overdue(session, client)
        return
    if not yes:
        undo = "" if terms.grace_s else " It cannot be undone."
        why = f"this prunes {counted(plan.totals.executions_removed, 'execution')}"
        session.confirm(f"Prune them?{undo}", plan_lines(plan), why)
    result, interrupted = apply_with_progress(session, client, plan, terms)
    session.output.result(RESULT, result, [*result_lines(result, terms.grace_s), *_stays(plan, named)])
    check_interrupted(session, interrupted, result)
    reclaim_overdue(session, client)
    skipped = sum(not each.gone for each in result.skipped)
    if named is None and skipped and not result.executions_deleted:
        raise StalePlanError("nothing that the plan shows may go any more", hint="make the plan again")
    if skipped or result.remaining:
        they = "it" if skipped == 1 else "they"
        raise PartlyDoneError(
            f"{counted(skipped, 'execution')} {were(skipped)} skipped, because {they} may no longer go",
            hint="a new plan says why",
        )
    check_kept(result.archived)


def _stays(plan: "PrunePlan", named: "_Executions | None") -> list[str]:
    """What stays, and why; nothing of a plan that was made at another time, for that may not be so any more."""
    from duroctl.render.plans import held_lines, kept_lines, left_lines

    return [] if named is None else [*left_lines(plan), *held_lines(plan), *kept_lines(plan, named)]


def _nothing(session: Session, plan: "PrunePlan", named: "_Executions | None") -> None:
    from duro.model.pruning import PruneResult
    from duroctl.render.plans import RESULT, warning_lines

    result: PruneResult = PruneResult(instances_processed=len(plan.instances))
    session.output.result(RESULT, result, ["nothing to prune", *_stays(plan, named)])
    for line in warning_lines(plan):
        session.note(line)


@command(
    _undo_app,
    "undo",
    examples=(
        "prune undo queue-1",
        "prune undo run-7f3k2m9a",
        "ledger list --output ids | duroctl prune undo -",
    ),
)
def undo(session: Session, run_or_instance: _UndoneArgument) -> None:
    """Bring back what a run, or every prune of an instance, has removed, until its grace is over.

    Removed instances come back as a whole. What comes back is held for 7 d, so that the next prune does not take it
    again. What was reclaimed comes back from an archive alone (`archive restore`). Exit status 8: nothing of it can
    come back any more; 3: so it is with some of several, or they could not be looked for.
    """
    from duro.errors import InstanceRemovedError
    from duro.model.removal import UndoResult
    from duroctl.archives import archive_told, kept_in
    from duroctl.errors import PartlyDoneError
    from duroctl.render.plans import UNDONE, undo_lines
    from duroctl.several import check_refused, try_each

    ids = session.ids(run_or_instance, "run or instance")
    with session.client() as client:

        def undo_one(each: str) -> tuple[str, UndoResult]:
            with archive_told(session, client, each):
                return each, client.undo_prune(each)

        done, refused = try_each(ids, undo_one)
        total = UndoResult()
        for _, undone in done:
            total = total.plus(undone)
        archived = {asked: kept_in(session, client, asked) for asked, undone in done if undone.gone}
    if done:
        lines = (line for asked, undone in done for line in undo_lines(undone, asked, archived.get(asked)))
        session.output.result(UNDONE, total, lines)
        session.output.flush()
    check_refused(session, refused, len(ids), "runs or instances")
    gone = sum(
        not undone.executions_restored and bool(undone.gone or undone.taken or undone.removed) for _, undone in done
    )
    if gone == len(ids):
        raise typer.Exit(InstanceRemovedError.exit_code)
    if gone:
        raise PartlyDoneError(f"nothing came back of {gone} of {len(ids)}", hint="see above for why")
