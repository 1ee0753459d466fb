"""``duroctl start``: a new instance of an orchestration."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from duroctl.options import command, new_command_app
from duroctl.session import Session

if TYPE_CHECKING:
    from duro.client import Client, OrchestrationResult

app = new_command_app()

_DEFAULT_TIMEOUT = "30s"

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The orchestration.", show_default=False)]
InputOption = Annotated[
    str | None, typer.Option("--input", metavar="JSON", help="Its input. Text needs quotes of its own: '\"Ada\"'.")
]
InputFileOption = Annotated[
    str | None, typer.Option("--input-file", metavar="FILE", help="Read the input from a file; - for standard input.")
]
IdOption = Annotated[str | None, typer.Option("--id", metavar="ID", help="The instance id; a random one by default.")]
VersionOption = Annotated[
    str | None, typer.Option("--version", metavar="V", help="Its version; the newest by default.")
]
WaitOption = Annotated[bool, typer.Option("--wait", help="Wait for the end and print the result.")]
TimeoutOption = Annotated[
    str | None,
    typer.Option("--timeout", metavar="DURATION", help=f"How long --wait waits, {_DEFAULT_TIMEOUT} by default."),
]
IfExistsOption = Annotated[
    Literal["error", "return"], typer.Option("--if-exists", help="What to do when the id is taken.")
]
UnregisteredOption = Annotated[
    bool, typer.Option("--allow-unregistered", help="Start it although no worker has published this name yet.")
]


@command(
    app,
    "start",
    examples=(
        "start greet --input '\"Ada\"' --wait",
        "start import-orders --id orders-2026 --input-file orders.json",
        "start greet --allow-unregistered --output ids",
    ),
)
def start(
    session: Session,
    name: NameArgument,
    input: InputOption = None,
    input_file: InputFileOption = None,
    id: IdOption = None,
    version: VersionOption = None,
    wait: WaitOption = False,
    timeout: TimeoutOption = None,
    if_exists: IfExistsOption = "error",
    allow_unregistered: UnregisteredOption = False,
) -> None:
    """Start an orchestration and print the id of its instance.

    The start is durable when the id is printed; a worker runs it as soon as there is one. With --wait the result is
    printed instead, and the exit status is 1 if the orchestration did not complete.
    """
    from duroctl.payloads import payload_argument

    timeout_s = _timeout_s(timeout, wait)
    payload = payload_argument(input, input_file, ("--input", "--input-file"), f"input of orchestration {name!r}")
    with session.client() as client, _hints():
        instance_id = client.start_orchestration(
            name,
            payload,
            instance_id=id,
            version=version,
            if_exists=if_exists,
            allow_unregistered=allow_unregistered,
        )
        if wait:
            session.note(f"started {name!r} as {instance_id!r}")
            _wait(session, client, instance_id, timeout_s)
        else:
            _show_started(session, name, instance_id)
            if not _workers_alive(client):
                session.note("no worker is running on this store: it starts with `duroctl worker MODULE:REGISTRY`")


@contextmanager
def _hints() -> Iterator[None]:
    """Errors of the client with the options of this command in place of its arguments."""
    from duro.errors import InstanceExistsError, UnknownOrchestrationError

    try:
        yield
    except InstanceExistsError as error:
        error.hint = "choose another --id, or pass --if-exists return"
        raise
    except UnknownOrchestrationError as error:
        error.hint = "check the name, start its worker first, or pass --allow-unregistered"
        raise


def _timeout_s(timeout: str | None, wait: bool) -> int:
    from duro.errors import UsageError
    from duroctl.parsing import parse_duration

    if timeout is not None and not wait:
        raise UsageError("--timeout says how long to wait", hint="add --wait, or leave it out")
    return parse_duration(timeout or _DEFAULT_TIMEOUT, "--timeout")


def _show_started(session: Session, name: str, instance_id: str) -> None:
    from duroctl.render.tables import Column, View
    from duroctl.render.text import visible

    document = {"instance_id": instance_id, "name": name}
    columns = tuple(Column(key, None, "text", lambda record, key=key: record[key]) for key in document)  # type: ignore[misc]
    view = View("duroctl.started/1", "started", columns, dict, lambda record: str(record["instance_id"]))
    session.output.result(view, document, [visible(instance_id)])


def _wait(session: Session, client: "Client", instance_id: str, timeout_s: int) -> None:
    from duro.errors import WaitTimeoutError
    from duroctl.render.results import RESULT, result_lines

    try:
        result: OrchestrationResult = client.wait_for_orchestration(instance_id, timeout_s)
    except WaitTimeoutError as error:
        if not _workers_alive(client):
            error.hint = "no worker is running on this store: start one with `duroctl worker MODULE:REGISTRY`"
        raise
    session.output.result(RESULT, result, result_lines(result))
    session.output.flush()
    result.result()


def _workers_alive(client: "Client") -> bool:
    now_ms = client.store.now_ms()
    return any(worker.lease_until_ms > now_ms for worker in client.list_workers())
