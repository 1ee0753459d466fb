"""``duroctl history``: what happened in an execution, event by event."""

from typing import TYPE_CHECKING, Annotated

import typer

from duroctl.completing import instance_ids
from duroctl.options import command, new_group
from duroctl.session import Session

if TYPE_CHECKING:
    from duro.client import Client
    from duroctl.parsing import Reference

app = new_group("Show the history of executions.")

_ReferenceArgument = Annotated[
    str,
    typer.Argument(
        metavar="INSTANCE[/EXECUTION]",
        help="The current execution, or the one named; - reads it from standard input.",
        show_default=False,
        autocompletion=instance_ids,
    ),
]
_ExecutionOption = Annotated[
    str | None, typer.Option("--execution", metavar="N", help="The execution, when INSTANCE has slashes of its own.")
]
_DetailedOption = Annotated[bool, typer.Option("--detailed", help="All fields of every event, payloads indented.")]
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
    ),
)
def show(
    session: Session,
    reference: _ReferenceArgument,
    execution: _ExecutionOption = None,
    detailed: _DetailedOption = False,
    follow: _FollowOption = False,
) -> None:
    """Show what happened in an execution, one line an event.

    With -o json and -o jsonl the events are printed byte for byte as they are stored (outside a terminal).
    """
    from duro.errors import UsageError
    from duroctl.history_output import HistoryPrinter
    from duroctl.parsing import expand_ids
    from duroctl.walking import follow_history, one_id

    if follow and session.output.format in ("json", "ids"):
        raise UsageError(f"--follow does not go with -o {session.output.format}", hint="use -o jsonl")
    text = one_id(expand_ids([reference], session.stdin_lines))
    with session.client(read_only=True) as client:
        found = _resolve(client, text, execution)
        instance = client.get_instance(found.instance_id)
        execution_id = instance.execution_id if found.execution_id is None else found.execution_id
        record = client.get_execution(found.instance_id, execution_id)
        printer = HistoryPrinter(session.output, detailed=detailed, now_ms=client.store.now_ms())
        if follow:
            for grown in follow_history(client, found.instance_id, execution_id):
                printer.events(grown.execution, grown.events)
                session.output.flush()
            return
        history = client.read_history(found.instance_id, execution_id)
        if session.output.format == "json":
            printer.document(history)
            return
        printer.events(history.execution, history.events)
        if not history.events:
            session.note(f"execution {record.execution_id} of {found.instance_id!r} has not had its first turn")


def _resolve(client: "Client", text: str, execution: str | None) -> "Reference":
    from duro.errors import InstanceNotFoundError, InvalidIdError
    from duroctl.parsing import Reference, parse_count, resolve_reference

    if execution is not None:
        return Reference(text, parse_count(execution, "--execution"))

    def exists(instance_id: str) -> bool:
        try:
            client.get_instance(instance_id)
        except (InstanceNotFoundError, InvalidIdError):  # one of two readings may be too long for an id
            return False
        return True

    return resolve_reference(text, exists)
