"""``duroctl start``: a new instance of an orchestration, or many of them in one commit."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from duroctl.completing import orchestrations
from duroctl.options import command, new_command_app
from duroctl.session import Session

if TYPE_CHECKING:
    from duro.client import Client, OrchestrationResult
    from duroctl.render.tables import View

app = new_command_app()

_DEFAULT_TIMEOUT = "30s"

NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="The orchestration.", show_default=False, autocompletion=orchestrations)
]
InputOption = Annotated[
    str | None, typer.Option("--input", metavar="JSON", help="Its input. Text needs quotes of its own: '\"Ada\"'.")
]
InputFileOption = Annotated[
    str | None, typer.Option("--input-file", metavar="FILE", help="Read the input from a file; - for standard input.")
]
InputsFromOption = Annotated[
    str | None,
    typer.Option(
        "--inputs-from",
        metavar="FILE",
        help="Start one instance for each line of a file of JSON Lines (- for standard input), all in one commit.",
    ),
]
RequestIdOption = Annotated[
    str | None,
    typer.Option(
        "--request-id",
        metavar="ID",
        help="Repeated under the same one, a start is applied once. For scripts that may not learn the outcome.",
    ),
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
        "start greet --inputs-from names.jsonl --request-id names-2026-11 --wait",
        "start greet --allow-unregistered --output ids",
    ),
)
def start(
    session: Session,
    name: NameArgument,
    input: InputOption = None,
    input_file: InputFileOption = None,
    inputs_from: InputsFromOption = None,
    id: IdOption = None,
    request_id: RequestIdOption = None,
    version: VersionOption = None,
    wait: WaitOption = False,
    timeout: TimeoutOption = None,
    if_exists: IfExistsOption = "error",
    allow_unregistered: UnregisteredOption = False,
) -> None:
    """Start an orchestration and print the id of its instance.

    The start is durable when the id is printed; a worker runs it as soon as there is one. With --wait the result is
    printed instead, and the exit status is 1 if the orchestration did not complete. With --inputs-from the ids are
    printed in the order of the lines; none is started if a line is wrong.
    """
    from duro.client import Start
    from duroctl.payloads import payload_argument, payload_lines

    timeout_s = _timeout_s(timeout, wait)
    what = f"input of orchestration {name!r}"
    if inputs_from is None:
        inputs = [payload_argument(input, input_file, ("--input", "--input-file"), what)]
    else:
        _refuse_beside_lines({"--input": input, "--input-file": input_file, "--id": id})
        inputs = [*payload_lines(inputs_from, "--inputs-from", what)]
    starts = [Start(orchestration=name, input=each, instance_id=id, version=version) for each in inputs]
    with session.client() as client, _hints():
        started = client.start_orchestrations(
            starts, if_exists=if_exists, request_id=request_id, allow_unregistered=allow_unregistered
        )
        if inputs_from is not None:
            _batch_started(session, client, name, started, timeout_s if wait else None)
        elif wait:
            session.note(f"started {name!r} as {started[0]!r}")
            _wait(session, client, started[0], timeout_s)
        else:
            _show_started(session, name, started[0])
            _note_without_worker(session, client)


def _refuse_beside_lines(options: dict[str, str | None]) -> None:
    """Raises UsageError: an option was given that means one instance."""
    from duro.errors import UsageError

    for option, value in options.items():
        if value is not None:
            raise UsageError(f"--inputs-from and {option} were given", hint="give one of them")


def _batch_started(session: Session, client: "Client", name: str, started: list[str], timeout_s: int | None) -> None:
    """Print the ids; with a time-out wait for all (so long together) and print how they ended instead."""
    from duroctl.render.results import RESULTS
    from duroctl.render.text import id_line

    if timeout_s is None:
        if session.output.format == "table":
            session.output.lines([id_line(each) for each in started])
        else:
            documents = [{"instance_id": each, "name": name} for each in started]
            session.output.listing(_started_view(), documents, lambda: 0)
        session.note(f"started {len(started)} of {name!r}")
        _note_without_worker(session, client)
        return
    session.note(f"started {len(started)} of {name!r}")
    until_s = time.monotonic() + timeout_s
    results = [_result(client, each, max(until_s - time.monotonic(), 0)) for each in started]
    session.output.listing(RESULTS, results, lambda: 0)
    session.output.flush()
    failed = [each for each in results if each.failure is not None]
    if failed:
        session.note(f"{len(failed)} of {len(results)} did not complete")
        failed[0].result()


def _note_without_worker(session: Session, client: "Client") -> None:
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
    from duroctl.render.text import visible, visible_field

    shown = visible_field(instance_id) if session.output.terminal else visible(instance_id)
    session.output.result(_started_view(), {"instance_id": instance_id, "name": name}, [shown])


def _started_view() -> "View":
    from duroctl.render.tables import Column, View

    columns = tuple(Column(key, None, "text", lambda record, key=key: record[key]) for key in ("instance_id", "name"))  # type: ignore[misc]
    return View("duroctl.started/1", "started", columns, dict, lambda record: str(record["instance_id"]))


def _wait(session: Session, client: "Client", instance_id: str, timeout_s: int) -> None:
    from duroctl.render.results import RESULT, result_lines

    result = _result(client, instance_id, timeout_s)
    session.output.result(RESULT, result, result_lines(result))
    session.output.flush()
    result.result()


def _result(client: "Client", instance_id: str, timeout_s: float) -> "OrchestrationResult":
    """Raises WaitTimeoutError: with a hint when no worker is there to do it."""
    from duro.errors import WaitTimeoutError

    try:
        return client.wait_for_orchestration(instance_id, timeout_s)
    except WaitTimeoutError as error:
        if not _workers_alive(client):
            error.hint = "no worker is running on this store: start one with `duroctl worker MODULE:REGISTRY`"
        raise


def _workers_alive(client: "Client") -> bool:
    now_ms = client.store.now_ms()
    return any(worker.lease_until_ms > now_ms for worker in client.list_workers())
