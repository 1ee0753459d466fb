"""``duroctl raise``: an event for an instance that waits for it, now or later."""

from typing import Annotated

import typer

from duroctl.completing import instance_ids
from duroctl.options import command, new_command_app
from duroctl.session import Session

app = new_command_app()

InstanceArgument = Annotated[
    str,
    typer.Argument(
        metavar="INSTANCE",
        help="The instance; - reads ids from standard input.",
        show_default=False,
        autocompletion=instance_ids,
    ),
]
EventArgument = Annotated[
    str, typer.Argument(metavar="EVENT", help="The name it is waited for by.", show_default=False)
]
DataOption = Annotated[str | None, typer.Option("--data", metavar="JSON", help="What the event carries.")]
DataFileOption = Annotated[
    str | None, typer.Option("--data-file", metavar="FILE", help="Read the data from a file; - for standard input.")
]


@command(
    app,
    "raise",
    examples=(
        'raise orders-2026 approved --data \'{"by": "Ada"}\'',
        "instances list --name greet --output ids | duroctl raise - stop",
    ),
)
def raise_event(
    session: Session,
    instance: InstanceArgument,
    event: EventArgument,
    data: DataOption = None,
    data_file: DataFileOption = None,
) -> None:
    """Send an event to an instance.

    It is in the instance's mailbox, durably, when this returns, and is delivered when the orchestration waits for an
    event of that name. An instance that is not there or has ended takes none.
    """
    from duro.errors import UsageError
    from duroctl.payloads import payload_argument
    from duroctl.render.tables import Column, View

    if instance == "-" and data_file == "-":
        raise UsageError("INSTANCE and --data-file cannot both be read from standard input", hint="use --data")
    payload = payload_argument(data, data_file, ("--data", "--data-file"), f"data of event {event!r}")
    ids = session.ids([instance])
    with session.client() as client:
        for instance_id in ids:
            client.get_instance(instance_id)
        for instance_id in ids:
            client.raise_event(instance_id, event, payload)
    columns = (Column("instance_id", None, "id", lambda r: r), Column("event", None, "text", lambda _: event))
    view = View("duroctl.raised/1", "raised", columns, lambda r: {"instance_id": r, "event": event}, str)
    if session.output.format == "table":
        session.note(f"sent {event!r} to {ids[0]!r}" if len(ids) == 1 else f"sent {event!r} to {len(ids)} instances")
    elif len(ids) == 1:
        session.output.result(view, ids[0], ())
    else:
        session.output.listing(view, ids, lambda: 0)
