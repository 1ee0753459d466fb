"""``duroctl history``: what happened in an execution, event by event."""

from typing import TYPE_CHECKING, Annotated

import typer

from duroctl.completing import instance_ids_or_archived
from duroctl.options import IncarnationOption, StoreIdOption, command, new_group
from duroctl.session import Session

if TYPE_CHECKING:
    from duro.client import Client
    from duro.model.records import HistoryRecord
    from duroctl.history_output import HistoryPrinter
    from duroctl.parsing import Reference

app = new_group("Show the history of executions.")

_ReferenceArgument = Annotated[
    str,
    typer.Argument(
        metavar="INSTANCE[/EXECUTION]",
        help="The current execution, or the one named; - reads it from standard input.",
        show_default=False,
        autocompletion=instance_ids_or_archived,
    ),
]
_ExecutionOption = Annotated[
    str | None, typer.Option("--execution", metavar="N", help="The execution, when INSTANCE has slashes of its own.")
]
_DetailedOption = Annotated[bool, typer.Option("--detailed", help="All fields of every event, payloads indented.")]
_ToOption = Annotated[str, typer.Option("--to", metavar="FILE", help="A new file.", show_default=False)]
_ArchiveOption = Annotated[
    str | None,
    typer.Option("--archive", metavar="DIR", help="Read it from this archive, whatever the store has: it may be lost."),
]
_FollowOption = Annotated[
    bool, typer.Option("--follow", "-f", help="Go on with new events and executions until the instance ends.")
]


@command(
    app,
    "show",
    examples=(
        "history show orders-2026",
        "history show orders-2026/7 --detailed",
        "history show orders-2026 --follow",
        "history show orders-2026 --output jsonl",
        "history show orders-2026/7 --archive /var/archive/duro",
    ),
)
def show(
    session: Session,
    reference: _ReferenceArgument,
    execution: _ExecutionOption = None,
    detailed: _DetailedOption = False,
    follow: _FollowOption = False,
    archive: _ArchiveOption = None,
    store_id: StoreIdOption = None,
    incarnation: IncarnationOption = None,
) -> None:
    """Show what happened in an execution, one line an event; also of one that was removed, from the archive.

    With -o json and -o jsonl the events are printed byte for byte as they are stored (outside a terminal).
    """
    from duro.errors import UsageError
    from duroctl.archives import clock_ms, life_asked
    from duroctl.history_output import HistoryPrinter
    from duroctl.walking import follow_history

    if follow and session.output.format in ("json", "ids"):
        raise UsageError(f"--follow does not go with -o {session.output.format}", hint="use -o jsonl")
    from_archive = archive is not None or store_id is not None
    if follow and (from_archive or incarnation is not None):
        option = "--archive" if from_archive else "--incarnation"
        raise UsageError(f"--follow does not go with {option}", hint="what is archived does not grow")
    life = life_asked(incarnation)
    text = session.one_id(reference)
    if from_archive:
        history = _read_archived(session, archive, store_id, text, execution, life, listed=reference == "-")
        _print(session, HistoryPrinter(session.output, detailed=detailed, now_ms=clock_ms()), history)
        return
    with session.client(read_only=True) as client:
        printer = HistoryPrinter(session.output, detailed=detailed, now_ms=client.store.now_ms())
        if follow:
            followed = _resolve(client, text, execution)
            first = followed.execution_id or client.get_instance(followed.instance_id).execution_id
            for grown in follow_history(client, followed.instance_id, first):
                printer.events(grown.execution, grown.events)
                session.output.flush()
            return
        _print(session, printer, _read(session, client, text, execution, life))


def _print(session: Session, printer: "HistoryPrinter", history: "HistoryRecord") -> None:
    if session.output.format == "json":
        printer.document(history)
        return
    printer.events(history.execution, history.events)
    if not history.events:
        record = history.execution
        session.note(f"execution {record.execution_id} of {record.instance_id!r} has not had its first turn")


@command(
    app,
    "export",
    examples=(
        "history export orders-2026 --to orders.jsonl",
        "history export orders-2026/7 --to tests/histories/orders-7.jsonl",
    ),
)
def export(
    session: Session,
    reference: _ReferenceArgument,
    to: _ToOption,
    execution: _ExecutionOption = None,
    archive: _ArchiveOption = None,
    store_id: StoreIdOption = None,
    incarnation: IncarnationOption = None,
) -> None:
    """Write the events of an execution to a new file, a line each, byte for byte as they are stored.

    That is what `duro.testing.histories.check_replay` takes: a test of whether changed code still fits a history.
    Histories hold inputs and results: the file is readable by its owner only.
    """
    from pathlib import Path

    from duro.disk import new_file
    from duro.errors import UsageError
    from duroctl.archives import life_asked
    from duroctl.parsing import check_new_file
    from duroctl.render.history import EXPORTED, as_line, exported_line

    check_new_file(to, "--to")
    life = life_asked(incarnation)
    text = session.one_id(reference)
    if archive is not None or store_id is not None:
        history = _read_archived(session, archive, store_id, text, execution, life, listed=reference == "-")
    else:
        with session.client(read_only=True) as client:
            history = _read(session, client, text, execution, life)
    try:
        with new_file(Path(to), tidy=True) as part, part.open("w", encoding="utf-8", newline="\n") as opened:
            opened.writelines(as_line(event) + "\n" for event in history.events)
    except FileExistsError as error:
        raise UsageError(f"--to {to!r} is there already", hint="choose another name, or remove it") from error
    except OSError as error:
        hint = "check the disk and the directory's permissions"
        raise UsageError(f"--to {to!r} cannot be written: {error.strerror}", hint=hint) from error
    session.output.result(EXPORTED, history, [exported_line(history, to)])


def _read(
    session: Session, client: "Client", text: str, execution: str | None, incarnation: int | None
) -> "HistoryRecord":
    """From the store, or else from an archive, which is said. ``incarnation``: of this life; None: of the one that is
    there.

    Raises:
        ExecutionPrunedError, InstanceNotFoundError: neither has it.
    """
    from duro.errors import ExecutionPrunedError, InstanceNotFoundError
    from duro.naming import command_on
    from duroctl.archives import archived_history

    try:
        found = _resolve(client, text, execution)
        instance = client.get_instance(found.instance_id)
        if incarnation not in (None, instance.incarnation):
            shown = f"the instance {found.instance_id!r} that is there is incarnation {instance.incarnation}"
            hint = f"{command_on('archive show', found.instance_id)} tells which lives of it an archive has"
            raise InstanceNotFoundError(f"{shown}, not {incarnation}", hint=hint)
        execution_id = instance.execution_id if found.execution_id is None else found.execution_id
        client.get_execution(found.instance_id, execution_id)
        return client.read_history(found.instance_id, execution_id)
    except (ExecutionPrunedError, InstanceNotFoundError):
        archived = archived_history(session, client, text, execution, incarnation)
        if archived is None:
            raise
        return archived


def _read_archived(
    session: Session,
    archive: str | None,
    store_id: str | None,
    text: str,
    execution: str | None,
    incarnation: int | None,
    *,
    listed: bool,
) -> "HistoryRecord":
    from duroctl.archives import named_history
    from duroctl.parsing import Reference, parse_count

    reference = text if execution is None else Reference(text, parse_count(execution, "--execution"))
    return named_history(session, archive, store_id, reference, incarnation=incarnation, listed=listed)


def _resolve(client: "Client", text: str, execution: str | None) -> "Reference":
    from duroctl.parsing import Reference, parse_count
    from duroctl.references import resolve

    if execution is not None:
        return Reference(text, parse_count(execution, "--execution"))
    return resolve(client, text)
