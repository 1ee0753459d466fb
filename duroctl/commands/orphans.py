"""``duroctl orphans``: children that no parent will ever observe."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from duroctl.completing import instance_ids, orchestrations
from duroctl.options import CursorOption, LimitOption, command, new_group
from duroctl.removal_options import (
    ApplyOption,
    ArchiveOption,
    CheckOption,
    DryRunOption,
    GraceOption,
    NowOption,
    PlanOutOption,
    ReasonOption,
    YesOption,
)
from duroctl.session import Session

if TYPE_CHECKING:
    from duro.client import Client
    from duro.model.families import OrphanFilter

app = new_group("Find children that nobody waits for any more, and clean them up.")

_KindOption = Annotated[
    list[str] | None,
    typer.Option(
        "--kind",
        metavar="KIND",
        help="Only these: parent-missing, parent-closed, parent-continued, unknown. May be repeated.",
    ),
]
_StatusOption = Annotated[
    list[str] | None,
    typer.Option("--status", metavar="STATUS", help="Only with this status of their own. May be repeated."),
]
_ParentOption = Annotated[
    str | None,
    typer.Option(
        "--parent-completed-before",
        metavar="TIME",
        help="Only those whose spawning execution ended before (ISO-8601 with zone, now, 7d or '7d ago').",
    ),
]
_NameOption = Annotated[
    str | None,
    typer.Option(
        "--name", metavar="GLOB", help="Only of orchestrations with such a name.", autocompletion=orchestrations
    ),
]
_AllOption = Annotated[bool, typer.Option("--all", help="All orphans of the store.")]
_MinAgeOption = Annotated[
    str | None,
    typer.Option("--min-age", metavar="DURATION", help="Only those that have been orphans for so long; 1h by default."),
]
_CancelOption = Annotated[
    bool, typer.Option("--cancel-running", help="Ask those that run to end; a later run removes them.")
]
_IdsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="INSTANCE...", help="Instance ids; - reads them from standard input.", autocompletion=instance_ids
    ),
]
_WhyOption = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for whoever finds it in a year.")]


@command(
    app,
    "list",
    examples=(
        "orphans list",
        "orphans list --status running --parent-completed-before '7d ago'",
        "orphans list --output json",
    ),
)
def list_orphans(
    session: Session,
    kind: _KindOption = None,
    status: _StatusOption = None,
    parent_completed_before: _ParentOption = None,
    name: _NameOption = None,
    limit: LimitOption = "100",
    cursor: CursorOption = None,
) -> None:
    """List orphans, the oldest first: children whose parent will never observe how they end.

    Of an unknown one the evidence is missing; it is listed, and never cleaned up.
    """
    import msgspec

    from duro.model.families import OrphanKind
    from duroctl.output import Pages
    from duroctl.parsing import parse_count
    from duroctl.pruning import note_name
    from duroctl.render.removals import ORPHANS, unknown_line

    rows_max = parse_count(limit, "--limit")
    with session.client(read_only=True) as client:
        where = _filter(kind, status, parent_completed_before, name, client.store.now_ms())

        unknown = 0
        listed: dict[int, str] = {}

        def fetch(size: int, after: str | None) -> tuple[tuple[Any, ...], str | None]:
            nonlocal unknown
            page = client.list_orphaned_instances(msgspec.structs.replace(where, limit=size), cursor=after)
            unknown += sum(orphan.kind is OrphanKind.UNKNOWN for orphan in page.orphans)
            known = (each.child for each in page.orphans if each.kind is not OrphanKind.UNKNOWN)
            listed.update((child.incarnation, child.instance_id) for child in known)
            return page.orphans, page.next

        pages = Pages(fetch, rows_max, cursor)
        session.output.listing(ORPHANS, pages, client.store.now_ms)
        session.note_more(pages.next)
        note_name(session, client, name)
        _note_never_swept(session, client, listed)
        if unknown:
            session.note(unknown_line(unknown, "duroctl doctor"))


def _note_never_swept(session: Session, client: "Client", orphans: dict[int, str]) -> None:
    """Which of them, ids by incarnation, sweeps leave although they are orphans."""
    from duroctl.render.removals import never_swept_line

    if kept := client.kept_from_sweeps(list(orphans)):
        session.note(never_swept_line([orphans[each] for each in sorted(kept)]))


def _note_unknown(session: Session, client: Any, where: "OrphanFilter") -> None:
    """How many children of unknown standing there are among those that a clean-up was asked for."""
    import msgspec

    from duro.model.families import OrphanKind
    from duroctl.render.removals import unknown_line

    if where.kinds is None or OrphanKind.UNKNOWN in where.kinds:
        asked = msgspec.structs.replace(where, kinds=(OrphanKind.UNKNOWN,), limit=0)
        if unknown := len(client.list_orphaned_instances(asked).orphans):
            session.note(unknown_line(unknown, "duroctl orphans list --kind unknown"))


def _note_statuses(session: Session, statuses: list[str]) -> None:
    """What --status means for --cancel-running: it asks only those that have one, and they end with another."""
    from duro.model.status import FINAL_INSTANCE_STATUSES, InstanceStatus

    if FINAL_INSTANCE_STATUSES.issuperset(statuses):
        session.note("nobody is asked to end: --status leaves out what runs")
    elif InstanceStatus.CANCELLED not in statuses:
        session.note("what is asked to end will be cancelled, and a later run with this --status does not remove it")


def _filter(
    kinds: list[str] | None, statuses: list[str] | None, before: str | None, name: str | None, now_ms: int
) -> "OrphanFilter":
    from duro.errors import UsageError
    from duro.model.families import OrphanFilter, OrphanKind
    from duro.model.status import InstanceStatus
    from duroctl.pruning import parse_time_ms

    for flag, given, known in (("--kind", kinds, OrphanKind), ("--status", statuses, InstanceStatus)):
        for each in given or ():
            if each not in list(known):
                raise UsageError(f"{flag} {each!r} is none", hint=f"choose from {', '.join(known)}")
    return OrphanFilter(
        kinds=tuple(OrphanKind(each) for each in kinds) if kinds else None,
        child_status=tuple(InstanceStatus(each) for each in statuses) if statuses else None,
        parent_completed_before=None if before is None else parse_time_ms(before, "--parent-completed-before", now_ms),
        name=name,
    )


@command(
    app,
    "cleanup",
    examples=(
        "orphans cleanup --all --dry-run",
        "orphans cleanup --name 'download.*' --min-age 7d --cancel-running",
        "orphans cleanup --all --plan-out plan.json",
        "orphans cleanup --apply plan.json --yes",
    ),
)
def cleanup(
    session: Session,
    kind: _KindOption = None,
    status: _StatusOption = None,
    parent_completed_before: _ParentOption = None,
    name: _NameOption = None,
    all_orphans: _AllOption = False,
    min_age: _MinAgeOption = None,
    cancel_running: _CancelOption = False,
    dry_run: DryRunOption = False,
    plan_out: PlanOutOption = None,
    apply_file: ApplyOption = None,
    check: CheckOption = False,
    now: NowOption = False,
    grace: GraceOption = None,
    archive: ArchiveOption = None,
    reason: ReasonOption = "",
    yes: YesOption = False,
) -> None:
    """Remove orphans that have ended, each with all that depends on it.

    One that is held, or has a descendant that runs, stays. On a terminal the plan is shown and you are asked;
    elsewhere --yes is needed.
    """
    from duro.errors import UsageError
    from duro.model.families import RemovalKind
    from duro.model.limits import ORPHAN_MIN_AGE_S
    from duroctl.parsing import parse_duration
    from duroctl.pruning import note_name
    from duroctl.removing import Modes, run

    if all_orphans and name is not None:
        raise UsageError("--all does not go with --name", hint="choose one")
    chooses = all_orphans or name is not None
    if apply_file is not None and (
        chooses or kind or status or parent_completed_before is not None or min_age is not None
    ):
        raise UsageError("--apply takes no filters: the plan has them", hint="leave them out")
    if apply_file is None and not chooses:
        raise UsageError("which orphans?", hint="give --name GLOB or --all")
    age_s = ORPHAN_MIN_AGE_S if min_age is None else parse_duration(min_age, "--min-age")
    modes = Modes(dry_run, plan_out, apply_file, check, now, grace, archive, reason, yes, cancel_running)

    def plan(client: Any) -> Any:
        where = _filter(kind, status, parent_completed_before, name, client.store.now_ms())
        note_name(session, client, name)
        made = client.plan_orphan_cleanup(where, min_age=age_s)
        _note_unknown(session, client, where)
        going = {item.incarnation: item.instance_id for item in made.items if not item.verdict.keep}
        _note_never_swept(session, client, going)
        if cancel_running and status:
            _note_statuses(session, status)
        return made

    run(session, modes, RemovalKind.ORPHANS, plan)


@command(app, "adopt", examples=("orphans adopt import-17 --reason 'it is on its own now'",))
def adopt(session: Session, instance: _IdsArgument, reason: _WhyOption = "") -> None:
    """Say on purpose that orphans stand alone: they are none from now on, and nobody cleans them up as such.

    What stands alone already is left as it is, and a note says so. Exit status 3: some of several are no orphans.
    """
    from duro.errors import UsageError
    from duroctl.render.removals import ADOPTED
    from duroctl.render.text import visible
    from duroctl.several import check_refused, try_each

    if not reason.strip():
        raise UsageError("an adoption needs a reason", hint="--reason 'it is on its own now'")
    ids = list(dict.fromkeys(session.ids(instance)))
    with session.client() as client:
        lineages = [client.get_lineage(each) for each in ids]  # all of them are there, or none is adopted
        waiting = []
        for lineage in lineages:
            if lineage.child is not None and lineage.child.detached and lineage.place is not None:
                session.note(visible(f"{lineage.instance_id} stands alone already: {lineage.place.why}"))
            else:
                waiting.append(lineage.instance_id)
        adopted, refused = try_each(waiting, lambda each: client.adopt_instance(each, reason=reason))
        for child in adopted:
            if child.cancel_requested_at_ms is not None and child.completed_at_ms is None:
                session.note(visible(f"{child.instance_id} was asked to end before, and will"))
        if adopted or not refused:
            session.output.listing(ADOPTED, adopted, client.store.now_ms)
    session.output.flush()
    check_refused(session, refused, len(ids), "instances")
