"""``duroctl instances``: what runs, what ran, how one stands, whom it started, and the end of some."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from duroctl.completing import instance_ids, orchestrations
from duroctl.options import CursorOption, LimitOption, command, new_group
from duroctl.removal_options import (
    AllOption,
    ApplyOption,
    ArchiveOption,
    CheckOption,
    CompletedBeforeOption,
    DryRunOption,
    GraceOption,
    NowOption,
    PlanOutOption,
    YesOption,
)
from duroctl.removal_options import NameOption as GlobOption
from duroctl.removal_options import ReasonOption as PurgeReasonOption
from duroctl.session import Session

if TYPE_CHECKING:
    from duro.client import Client, OrchestrationResult
    from duro.model.families import RemovalPlan
    from duro.model.records import InstanceFilter, InstanceRecord
    from duroctl.render.tables import View

app = new_group("List, show, end, resume and purge instances.")

StatusOption = Annotated[
    list[str] | None,
    typer.Option(
        "--status",
        metavar="STATUS",
        help="Only these: pending, running, completed, failed, cancelled, terminated, or blocked (unfinished, with "
        "work, and stuck). May be repeated.",
    ),
]
NameOption = Annotated[
    str | None,
    typer.Option("--name", metavar="NAME", help="Only of this orchestration.", autocompletion=orchestrations),
]
IdsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="INSTANCE...", help="Instance ids; - reads them from standard input.", autocompletion=instance_ids
    ),
]
IdArgument = Annotated[
    str,
    typer.Argument(
        metavar="INSTANCE",
        help="An instance id; - reads one from standard input.",
        show_default=False,
        autocompletion=instance_ids,
    ),
]
ReasonOption = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Kept in the history.")]
_MaybeIdsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[INSTANCE...]",
        help="The instances to purge; - reads their ids from standard input.",
        show_default=False,
        autocompletion=instance_ids,
    ),
]
_KeepWithinOption = Annotated[
    str | None, typer.Option("--keep-within", metavar="DURATION", help="Keep what ended no longer ago (90s 12h 30d).")
]
_KeepFailedWithinOption = Annotated[
    str | None, typer.Option("--keep-failed-within", metavar="DURATION", help="The same for what failed.")
]
_KeepLastOption = Annotated[
    str | None,
    typer.Option("--keep-last", metavar="N", help="Keep the newest N of each orchestration that have ended."),
]
_EndStatusOption = Annotated[
    list[str] | None,
    typer.Option("--status", metavar="STATUS", help="Only what ended so: completed, failed, cancelled, terminated."),
]
_DepthOption = Annotated[str, typer.Option("--depth", metavar="N", help="Levels below it at most; 0 for all.")]
_NodesOption = Annotated[
    str | None,
    typer.Option("--limit", metavar="N", help="Rows at most; 0 for all. Without it 1,000 on a terminal, else all."),
]
_NODES_SHOWN: Final = 1_000
"""Nodes of a tree that people are shown."""


@command(
    app,
    "list",
    examples=(
        "instances list --status running --name greet",
        "instances list --status blocked",
        "instances list --limit 0 --output ids",
    ),
)
def list_instances(
    session: Session,
    status: StatusOption = None,
    name: NameOption = None,
    limit: LimitOption = "100",
    cursor: CursorOption = None,
) -> None:
    """List instances, the newest first.

    With --status blocked the table says why each of them gets no further.
    """
    from duroctl.output import Pages
    from duroctl.parsing import parse_count
    from duroctl.render.held import with_holds
    from duroctl.render.records import BLOCKED_INSTANCES, INSTANCES

    where = _filter(status or [], name)
    rows_max = parse_count(limit, "--limit")
    with session.client(read_only=True) as client:

        def fetch(size: int, after: str | None) -> tuple[tuple[Any, ...], str | None]:
            page = client.list_instances(where, limit=size, cursor=after)
            return page.instances, page.next

        pages = Pages(fetch, rows_max, cursor)
        view = BLOCKED_INSTANCES if where.blocked else INSTANCES
        view = with_holds(view, client.list_holds(), client.store.now_ms())
        session.output.listing(view, pages, client.store.now_ms)
        session.note_more(pages.next)


def _filter(statuses: list[str], name: str | None) -> "InstanceFilter":
    from duro.errors import UsageError
    from duro.model.records import InstanceFilter
    from duro.model.status import InstanceStatus

    known = [*map(str, InstanceStatus), "blocked"]
    for status in statuses:
        if status not in known:
            raise UsageError(f"--status {status!r} is no status", hint=f"choose from {', '.join(known)}")
    if "blocked" not in statuses:
        return InstanceFilter(statuses=tuple(InstanceStatus(each) for each in statuses), name=name)
    if set(statuses) != {"blocked"}:
        raise UsageError("--status blocked goes with no other status", hint="ask for them one after the other")
    return InstanceFilter(name=name, blocked=True)


@command(
    app,
    "show",
    examples=("instances show orders-2026", "instances list --status failed --output ids | duroctl instances show -"),
)
def show(session: Session, instance: IdsArgument) -> None:
    """Show all that is known of an instance, its result included.

    With -o json one id gives one document, several (or -) a list.
    """
    from duro.retention.holds import HoldsInForce
    from duroctl.archives import archive_told
    from duroctl.render.details import INSTANCE, INSTANCE_DETAILS, Detailed, detail_lines
    from duroctl.render.held import holds_on

    ids = session.ids(instance)
    found = []
    with session.client(read_only=True) as client:
        holds = HoldsInForce(client.list_holds(), client.store.now_ms())
        for each in ids:
            with archive_told(session, client, each):
                record = client.get_instance(each)
                detailed = Detailed(record, _result(session, client, each), client.get_lineage(each))
                policy = client.get_instance_policy(each)
                found.append(detailed._replace(policy=policy, holds=tuple(holds_on(record, holds))))
        now_ms = client.store.now_ms() if session.output.terminal else None
    if instance == ids and len(ids) == 1:
        session.output.result(INSTANCE, found[0], detail_lines(found[0], now_ms))
    elif session.output.format == "table":
        for detailed in found:
            session.output.lines([*detail_lines(detailed, now_ms), ""])
    else:
        session.output.listing(INSTANCE_DETAILS, found, lambda: 0)


def _result(session: Session, client: "Client", instance_id: str) -> "OrchestrationResult | None":
    from duro.errors import HistoryFormatError

    try:
        return client.get_result(instance_id)
    except HistoryFormatError as error:
        session.note(f"how {instance_id!r} ended cannot be read: {error.message}")
        return None


@command(
    app,
    "tree",
    examples=(
        "instances tree orders-2026",
        "instances tree orders-2026 --depth 2",
        "instances tree orders-2026 --limit 0 --output json",
    ),
)
def tree(session: Session, instance: IdArgument, limit: _NodesOption = None, depth: _DepthOption = "0") -> None:
    """Show the instances that an instance started, and those that they started.

    Children of all its executions, also of pruned ones, and detached ones; orphans are marked.
    """
    from duroctl.archives import archive_told
    from duroctl.parsing import parse_count
    from duroctl.render.tree import TREE, tree_lines
    from duroctl.walking import walk_tree

    shown = _NODES_SHOWN if session.output.terminal else 0
    nodes_max, depth_max = shown if limit is None else parse_count(limit, "--limit"), parse_count(depth, "--depth")
    instance_id = session.one_id(instance)
    with session.client(read_only=True) as client, archive_told(session, client, instance_id):
        nodes, cut = walk_tree(client, instance_id, nodes_max, depth_max)
    if cut:
        session.note(f"there are more: this is the first {len(nodes)} (--limit 0 --depth 0 shows all)")
    if session.output.terminal:
        session.output.lines(tree_lines(nodes))
    elif session.output.format == "json":
        rows = [TREE.to_json(node) for node in nodes]
        session.output.json({"schema": TREE.schema, "instance_id": instance_id, "nodes": rows, "truncated": cut})
    else:
        session.output.listing(TREE, nodes, lambda: 0)


@command(
    app,
    "cancel",
    examples=(
        "instances cancel orders-2026 --reason 'not needed any more'",
        "instances list --status running --name greet --output ids | duroctl instances cancel -",
    ),
)
def cancel(session: Session, instance: IdsArgument, reason: ReasonOption = "") -> None:
    """Ask instances to stop: each may clean up first, and takes its activities and its children with it.

    The request is durable when this returns, also for an instance that is blocked or that no worker runs. A second
    request changes nothing. Exit status 3: some had ended before.
    """
    from duroctl.render.details import CANCELLED

    ids = session.ids(instance)
    with session.client() as client:
        records = [client.get_instance(each) for each in ids]
        _to_each(session, records, lambda each: client.cancel(each, reason), CANCELLED)


@command(
    app,
    "resume",
    examples=(
        "instances resume orders-2026",
        "instances list --status blocked --output ids | duroctl instances resume -",
    ),
)
def resume(session: Session, instance: IdsArgument) -> None:
    """Let blocked instances be tried again now, those set aside as poison included.

    What is not blocked, or only waits for a worker that has its code, is left as it is. Exit status 3: some had ended
    before.
    """
    from duroctl.render.details import RESUMED

    ids = session.ids(instance)
    with session.client() as client:
        records = [client.get_instance(each) for each in ids]
        left = _to_each(session, records, client.resume, RESUMED)
    if left:
        session.note(f"{_count(left)} had nothing to be resumed from")


@command(
    app,
    "terminate",
    examples=(
        "instances terminate orders-2026 --reason 'wrong input'",
        "instances list --status blocked --output ids | duroctl instances terminate - --yes",
    ),
)
def terminate(session: Session, instance: IdsArgument, reason: ReasonOption = "", yes: YesOption = False) -> None:
    """End instances at once, without their code and without a worker; no cleanup of theirs runs.

    Shows what it would end and asks; without a terminal it needs --yes. Exit status 3: some had ended before.
    """
    from duro.model.status import FINAL_INSTANCE_STATUSES
    from duroctl.render.details import TERMINATED
    from duroctl.render.text import visible_field

    ids = session.ids(instance)
    with session.client() as client:
        records = [client.get_instance(each) for each in ids]
        unfinished = [record for record in records if record.status not in FINAL_INSTANCE_STATUSES]
        if unfinished and not yes:
            session.confirm(
                f"Terminate {_count(len(unfinished))}?",
                (f"  {visible_field(r.instance_id)}  {visible_field(r.name)}  {r.status}" for r in unfinished),
            )
        _to_each(session, records, lambda each: client.terminate(each, reason), TERMINATED)


@command(
    app,
    "purge",
    examples=(
        "instances purge --all --keep-within 30d --keep-failed-within 90d --dry-run",
        "instances purge orders-2026 --completed-before now",
        "instances purge --name 'report.*' --keep-last 100 --plan-out plan.json",
        "instances purge --apply plan.json --yes",
        "instances list --status failed --output ids | duroctl instances purge - --completed-before now --dry-run",
    ),
)
def purge(
    session: Session,
    instance: _MaybeIdsArgument = None,
    keep_within: _KeepWithinOption = None,
    keep_failed_within: _KeepFailedWithinOption = None,
    completed_before: CompletedBeforeOption = None,
    keep_last: _KeepLastOption = None,
    status: _EndStatusOption = None,
    name: GlobOption = None,
    all_instances: AllOption = False,
    dry_run: DryRunOption = False,
    plan_out: PlanOutOption = None,
    apply_file: ApplyOption = None,
    check: CheckOption = False,
    now: NowOption = False,
    grace: GraceOption = None,
    archive: ArchiveOption = None,
    reason: PurgeReasonOption = "",
    yes: YesOption = False,
) -> None:
    """Remove whole instances that have ended, each with all that depends on it.

    What runs stays, and so does all above it; what is held; and a child whose parent has yet to observe its end. An
    instance goes only if none of the rules given keeps it. Without rules, the configured [purge] applies. On a terminal
    the plan is shown and you are asked; elsewhere --yes is needed.
    """
    from duro.errors import UsageError
    from duro.model.families import RemovalKind
    from duro.model.removal import PruneScope
    from duroctl.pruning import PurgeRules, note_name, parse_purge_rules
    from duroctl.removing import Modes, run

    rules = PurgeRules(keep_within, keep_failed_within, completed_before, keep_last, tuple(status or ()))
    if all_instances and (instance or name is not None):
        raise UsageError("--all does not go with instances or --name", hint="choose one")
    chooses = bool(instance) or all_instances or name is not None
    if apply_file is not None and (chooses or rules.given):
        raise UsageError("--apply takes neither instances nor rules: the plan has both", hint="leave them out")
    if apply_file is None and not chooses:
        raise UsageError("which instances?", hint="name some, or give --name GLOB or --all")

    def plan(client: "Client") -> "RemovalPlan":
        ids = tuple(session.ids(instance)) if instance else None
        options = parse_purge_rules(rules, client.store.now_ms())
        note_name(session, client, name)
        return client.plan_purge(options, scope=PruneScope(instance_ids=ids, name=name))

    modes = Modes(dry_run, plan_out, apply_file, check, now, grace, archive, reason, yes)
    run(session, modes, RemovalKind.PURGE, plan)


def _to_each(
    session: Session, records: "list[InstanceRecord]", act: "Callable[[str], bool | None]", view: "View"
) -> int:
    """Do something to each instance and print those it was done to. Returns how many ``act`` left as they were,
    which it says by False.

    Raises:
        PartlyDoneError, InstanceFinishedError, InstanceNotFoundError: some or all had ended before.
    """
    from duro.errors import InstanceFinishedError, InstanceNotFoundError
    from duroctl.errors import PartlyDoneError
    from duroctl.render.details import Touched

    done, left = [], 0
    refusals: list[InstanceFinishedError | InstanceNotFoundError] = []
    for record in records:
        try:
            changed = act(record.instance_id) is not False
        except (InstanceFinishedError, InstanceNotFoundError) as error:
            refusals.append(error)
            continue
        left += not changed
        if changed:
            done.append(Touched(record.instance_id, record.execution_id))
    if len(refusals) == len(records) == 1:
        raise refusals[0]
    session.output.listing(view, done, lambda: 0)
    session.output.flush()
    if refusals:
        what = f"{len(refusals)} of {_count(len(records))} had ended before, the first of them {refusals[0].message}"
        raise InstanceFinishedError(what) if len(refusals) == len(records) else PartlyDoneError(what)
    return left


def _count(number: int) -> str:
    return "1 instance" if number == 1 else f"{number} instances"
