"""Options of the commands that remove something, declared once."""

from typing import Annotated

import typer

from duroctl.completing import orchestrations

DryRunOption = Annotated[bool, typer.Option("--dry-run", "-n", help="Show the plan with its reasons; change nothing.")]
PlanOutOption = Annotated[
    str | None, typer.Option("--plan-out", metavar="FILE", help="Write the plan to a new file; change nothing.")
]
ApplyOption = Annotated[
    str | None, typer.Option("--apply", metavar="FILE", help="Remove exactly what a plan shows, as far as it may go.")
]
CheckOption = Annotated[
    bool, typer.Option("--check", help="For cron: change nothing, exit with 20 if there is something to remove.")
]
NowOption = Annotated[bool, typer.Option("--now", help="No grace: it cannot be undone.")]
GraceOption = Annotated[
    str | None, typer.Option("--grace", metavar="DURATION", help="How long it can be undone; 1h by default.")
]
ReasonOption = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Kept in the ledger.")]
ArchiveOption = Annotated[
    str | None,
    typer.Option("--archive", metavar="DIR", help="Keep every history there before it goes; made if it is not there."),
]
ExecutionOption = Annotated[
    str | None, typer.Option("--execution", metavar="N", help="The execution, when INSTANCE has slashes of its own.")
]
WholeOption = Annotated[
    bool,
    typer.Option("--whole", help="INSTANCE is all of an instance's id, also where it looks like INSTANCE/EXECUTION."),
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
CompletedBeforeOption = Annotated[
    str | None,
    typer.Option(
        "--completed-before",
        metavar="TIME",
        help="Keep what ended then or later (ISO-8601 with zone, now, 7d or '7d ago').",
    ),
]
NameOption = Annotated[
    str | None,
    typer.Option(
        "--name",
        metavar="GLOB",
        help="All instances of orchestrations with such a name.",
        autocompletion=orchestrations,
    ),
]
AllOption = Annotated[bool, typer.Option("--all", help="All instances of the store.")]
