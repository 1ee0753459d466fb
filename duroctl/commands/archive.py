"""``duroctl archive``: histories that were kept in files before they were removed."""

from typing import TYPE_CHECKING, Annotated

import typer

from duroctl.completing import archived_instance_ids, orchestrations
from duroctl.options import CursorOption, IncarnationOption, LimitOption, StoreIdOption, command, new_group
from duroctl.session import Session

if TYPE_CHECKING:
    from duro.maintenance.archive.reader import Archive

app = new_group("Look into the archive, check it, and bring histories back.")

_DAMAGED = 9

DirectoryOption = Annotated[
    str | None,
    typer.Option("--archive", metavar="DIR", help="The archive; by default the configured one.", show_default=False),
]
_MaybeInstanceArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[INSTANCE]", help="Only of this instance.", show_default=False, autocompletion=archived_instance_ids
    ),
]
_NameOption = Annotated[
    str | None,
    typer.Option(
        "--name", metavar="GLOB", help="Only of orchestrations with such a name.", autocompletion=orchestrations
    ),
]
_AnyStoreOption = Annotated[bool, typer.Option("--any-store", help="What other stores have archived there, too.")]
_WhatArgument = Annotated[
    str,
    typer.Argument(
        metavar="INSTANCE[/EXECUTION]|SEGMENT",
        help="What to show; - reads it from standard input.",
        show_default=False,
        autocompletion=archived_instance_ids,
    ),
]
_ReferencesArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="INSTANCE[/EXECUTION]...",
        help="What to bring back; - reads ids from standard input.",
        show_default=False,
        autocompletion=archived_instance_ids,
    ),
]
_EverythingOption = Annotated[
    bool,
    typer.Option("--everything", help="Of a removed instance also what had been pruned of it while it was there."),
]
_ToOption = Annotated[
    str | None,
    typer.Option(
        "--to", metavar="DIR", help="Write everything there, wherever it was to go: for an archive that is gone."
    ),
]


@command(
    app,
    "list",
    examples=(
        "archive list",
        "archive list queue-1 --limit 0 --output ids",
        "archive list --name 'monitor.*' --archive /var/archive/duro",
    ),
)
def list_archived(
    session: Session,
    instance: _MaybeInstanceArgument = None,
    name: _NameOption = None,
    archive: DirectoryOption = None,
    any_store: _AnyStoreOption = False,
    store_id: StoreIdOption = None,
    incarnation: IncarnationOption = None,
    limit: LimitOption = "100",
    cursor: CursorOption = None,
) -> None:
    """List archived executions, those that were archived last first.

    -o ids prints INSTANCE/EXECUTION, and INSTANCE/EXECUTION#INCARNATION for an earlier life of an id that was used
    again; `archive show`, `archive restore` and `history show` take both.
    """
    from duro.errors import UsageError
    from duroctl.archives import (
        archived_id,
        clock_ms,
        life_asked,
        mixed_stores,
        opened,
        others_note,
        stores_note,
        waiting_note,
        where_else,
    )
    from duroctl.output import Pages
    from duroctl.parsing import parse_count
    from duroctl.render.archives import ARCHIVED, with_headings
    from duroctl.render.units import counted

    rows_max = parse_count(limit, "--limit")
    instance = None if instance is None else session.one_id(instance)
    life = life_asked(incarnation)
    if life is not None and instance is None:
        raise UsageError("--incarnation is of one instance", hint="name it")
    with opened(session, archive, any_store=any_store, store_id=store_id) as (found, client):
        listed = 0
        latest: dict[tuple[str, str], int] = {}

        def fetch(size: int, after: str | None) -> tuple[tuple[object, ...], str | None]:
            nonlocal listed
            page = found.list_executions(size, after, instance_id=instance, incarnation=life, name=name)
            listed += len(page.executions)
            if session.output.format == "ids":
                latest.clear()
                latest.update(found.latest_lives(page.executions))
            return page.executions, page.next

        pages = Pages(fetch, rows_max, cursor)
        view = ARCHIVED._replace(to_id=lambda each: archived_id(each, latest))
        if mixed_stores(found):
            view = with_headings(view, store_id="STORE")
        if session.output.terminal and found.has_several_lives():
            view = with_headings(view, incarnation="LIFE")
        session.output.listing(view, pages, clock_ms)
        session.note_more(pages.next)
        if instance is not None and name is None and cursor is None and not listed:
            elsewhere = where_else(client, archive, found, instance, life)
            nothing = found.nothing_of(instance, None, life)
            session.note(nothing.message + (f"; {elsewhere}" if elsewhere else ""))
        elif not listed and cursor is None:
            others_note(session, found)
        if session.output.terminal:
            histories, segments = found.count()
            kept = f"{counted(histories, 'history', 'histories')} in {counted(segments, 'segment')}"
            session.note(f"{kept} of {found.path}")
        _note_problems(session, found)
        stores_note(session, found)
        waiting_note(session, client)


@command(
    app,
    "show",
    examples=("archive show queue-1", "archive show queue-1/7 --output json"),
)
def show(
    session: Session,
    what: _WhatArgument,
    archive: DirectoryOption = None,
    any_store: _AnyStoreOption = False,
    store_id: StoreIdOption = None,
    incarnation: IncarnationOption = None,
) -> None:
    """Show where an archived execution is, what there is of an instance, or what a segment holds.

    Its events are shown by `history show`, which looks into the archive by itself.
    """
    from duroctl.archives import archived_id, elsewhere_told, life_asked, mixed_stores, opened, reference_in
    from duroctl.render.archives import (
        ARCHIVED,
        ONE,
        SEGMENT,
        execution_lines,
        instance_lines,
        segment_lines,
    )

    text, life = session.one_id(what), life_asked(incarnation)
    with opened(session, archive, any_store=any_store, store_id=store_id) as (found, client):
        mixed = mixed_stores(found)
        if found.is_segment(text):
            manifest = found.manifest(text)
            session.output.result(SEGMENT, manifest, segment_lines(manifest))
            return
        with elsewhere_told(client, archive, found, text, life):
            instance_id, execution_id, life = reference_in(found, text, incarnation=life, listed=what == "-")
        directory = str(found.path)
        if execution_id is not None:
            execution = found.find(instance_id, execution_id, incarnation=life)
            assert execution is not None, "reference_in found it"
            session.output.result(ONE, execution, execution_lines(execution, directory, of_stores=mixed))
            return
        executions = found.executions(instance_id=instance_id, incarnation=life)
        if not executions:
            raise found.nothing_of(instance_id, None, life)
        if session.output.format == "table":
            session.output.lines(instance_lines(executions, directory, of_stores=mixed))
        else:
            latest = found.latest_lives(executions)
            view = ARCHIVED._replace(to_id=lambda each: archived_id(each, latest))
            session.output.listing(view, executions, lambda: 0)


@command(
    app,
    "verify",
    examples=("archive verify", "archive verify --archive /var/archive/duro --output json"),
)
def verify(session: Session, archive: DirectoryOption = None) -> None:
    """Read every segment whole and compare it with its SHA-256 and its manifest. Exit status 9: one is damaged.

    Also writes the manifests and the catalogue anew where they are missing.
    """
    from duroctl.archives import opened
    from duroctl.pruning import progress_bar
    from duroctl.render.archives import CHECKS, check_lines

    with opened(session, archive, any_store=True) as (found, _):
        checks = []
        with progress_bar(session, found.count()[1], "verifying") as advance:
            for check in found.verify():
                checks.append(check)
                advance(len(checks))
        if session.output.format == "table":
            session.output.lines(check_lines(checks, str(found.path)))
        else:
            session.output.listing(CHECKS, checks, lambda: 0)
    if any(check.problem for check in checks):
        raise typer.Exit(_DAMAGED)


@command(
    app,
    "restore",
    examples=(
        "archive restore queue-1/7",
        "archive restore orders-2026 --archive /var/archive/duro",
        "archive list --name report --output ids | duroctl archive restore -",
    ),
)
def restore(
    session: Session,
    what: _ReferencesArgument,
    archive: DirectoryOption = None,
    everything: _EverythingOption = False,
    incarnation: IncarnationOption = None,
) -> None:
    """Bring archived executions back into the store they came from, byte by byte as they were, under a hold of 7 d.

    INSTANCE alone: what was live when it was removed, with the instance itself; or, if it is there, all that was
    pruned of it. What is there already is left as it is, and nothing is ever overwritten. Of an id that was used again
    it is the life that is there, or else the latest in the archive; --incarnation names another.
    """
    from duro.errors import ArchiveError, StateError
    from duro.model.archive import RestoreResult
    from duroctl.archives import directory_of, elsewhere_told, life_asked, opened, reference_in
    from duroctl.errors import PartlyDoneError
    from duroctl.pruning import interruptible, progress_bar
    from duroctl.render.archives import RESTORED, restored_lines
    from duroctl.several import check_refused, tell_refused

    wanted: dict[tuple[str, int | None], set[int] | None] = {}
    total, asked = 0, life_asked(incarnation)
    with session.open_store(read_only=True):  # without one there is nothing to bring anything back into
        pass
    texts = session.ids(what)
    with opened(session, archive) as (found, of_store):
        for text in texts:
            with elsewhere_told(of_store, archive, found, text, asked):
                instance_id, execution_id, life = reference_in(
                    found, text, incarnation=asked, of_store=of_store, listed="-" in what
                )
            executions = wanted.setdefault((instance_id, life), set())
            if execution_id is None:
                wanted[instance_id, life] = None
            elif executions is not None:
                executions.add(execution_id)
        total = sum(
            len(found.chosen(each, numbers, everything=everything, incarnation=life))
            for (each, life), numbers in wanted.items()
        )
    done = RestoreResult()
    refused: list[StateError | ArchiveError] = []
    with (
        session.client() as client,
        interruptible() as interrupted,
        progress_bar(session, total, "restoring") as advance,
    ):
        before = part = RestoreResult()

        def progress(so_far: RestoreResult) -> bool:
            nonlocal part
            part = so_far
            advance(before.executions + before.there + so_far.executions + so_far.there)
            return not interrupted

        for (instance_id, life), numbers in wanted.items():
            before, part = done, RestoreResult()
            try:
                client.restore_archived(
                    instance_id,
                    numbers,
                    directory=directory_of(session, archive),
                    everything=everything,
                    incarnation=life,
                    progress=progress,
                )
            except (StateError, ArchiveError) as error:
                is_first = not (done.executions or part.executions)
                if is_first and (len(wanted) == 1 or isinstance(error, ArchiveError)):
                    raise
                refused.append(error)
            done = done.plus(part)
            if interrupted:
                break
    session.output.result(RESTORED, done, restored_lines(done))
    if not interrupted:
        if refused and len(wanted) == 1:
            raise PartlyDoneError(f"not all of it: {refused[0].message}", hint=refused[0].hint)
        check_refused(session, refused, len(wanted), "instances")
    else:
        tell_refused(session, refused)
        session.note("interrupted; what is above was restored, and the rest was not")
        raise typer.Exit(130)


@command(app, "write", examples=("archive write", "archive write --to /mnt/other/duro"))
def write(session: Session, to: _ToOption = None) -> None:
    """Write what was removed and waits for its archive, now. Workers do this by themselves.

    Exit status 3: something still waits.
    """
    from duroctl.errors import PartlyDoneError
    from duroctl.pruning import progress_bar
    from duroctl.render.archives import OUTCOMES
    from duroctl.render.outcomes import outcome_lines

    with session.client() as client:
        waiting = sum(each.executions + each.instances for each in client.waiting_archives())
        with progress_bar(session, waiting, "archiving") as advance:
            outcomes = client.write_archive(to=to, progress=advance)
        client.reclaim()
    if session.output.format != "table":
        session.output.listing(OUTCOMES, outcomes, lambda: 0)
    elif outcomes:
        session.output.lines(line for outcome in outcomes for line in outcome_lines(outcome))
    else:
        session.output.line("nothing waits to be archived")
    if any(outcome.waiting for outcome in outcomes):
        raise PartlyDoneError("something still waits for its archive", hint="see above for why")


def _note_problems(session: Session, found: "Archive") -> None:
    for problem in found.problems:
        session.note(problem.message)
    for check in found.lost():
        session.note(check.problem)
