"""``duroctl export``: the store as tables for SQL and Datasette."""

from typing import Annotated

import typer

from duroctl.options import command, new_command_app
from duroctl.removal_options import NameOption
from duroctl.session import Session

app = new_command_app()

_ToOption = Annotated[str, typer.Option("--to", metavar="FILE", help="A new SQLite file.", show_default=False)]
_NoEventsOption = Annotated[bool, typer.Option("--no-events", help="Without the events of histories.")]


@command(
    app,
    "export",
    examples=("export --to duro-export.db", "export --to queues.db --name 'queue*' --no-events"),
)
def export(session: Session, to: _ToOption, name: NameOption = None, no_events: _NoEventsOption = False) -> None:
    """Write instances, executions, events, lineage and the ledger to the tables of a new SQLite file.

    docs/operating.md describes them. Histories hold inputs and results: the file is readable by its owner only.
    """
    from duro.maintenance.exporting import ExportResult
    from duroctl.pruning import note_unfinished, progress_bar, tidy_when_terminated
    from duroctl.render.space import EXPORTED, ExportWritten, export_lines

    with tidy_when_terminated(), session.client(read_only=True) as client:
        info = client.info()
        with progress_bar(session, info.instances, "exporting") as advance:

            def progress(done: ExportResult) -> None:
                advance(done.instances)

            result = client.export(to, name=name, events=not no_events, progress=progress)
    session.output.result(EXPORTED, ExportWritten(to, result), export_lines(result, to))
    note_unfinished(session, to)
