"""``duroctl holds``: named reasons why something may not be removed."""

from typing import Annotated

import typer

from duroctl.completing import holds, instance_ids
from duroctl.options import command, new_group
from duroctl.removal_options import ExecutionOption, WholeOption
from duroctl.session import Session

app = new_group("Keep instances and executions from being removed.")

_TargetArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[INSTANCE[/EXECUTION]]", help="What to hold.", show_default=False, autocompletion=instance_ids
    ),
]
_NameOption = Annotated[
    str | None, typer.Option("--name", metavar="GLOB", help="Everything of orchestrations with such a name.")
]
_VersionOption = Annotated[str | None, typer.Option("--version", metavar="V", help="Executions of this version.")]
_ReasonOption = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for whoever finds it in a year.")]
_UntilOption = Annotated[
    str | None, typer.Option("--until", metavar="TIME", help="When it ends: 2w, or ISO-8601 with zone. Default: never.")
]
_HoldArgument = Annotated[list[str], typer.Argument(metavar="HOLD...", help="Ids of holds.", autocompletion=holds)]


@command(app, "list", examples=("holds list", "holds list --output json"))
def list_holds(session: Session) -> None:
    """List all holds, the oldest first."""
    from duroctl.render.holds import HOLDS

    with session.client(read_only=True) as client:
        session.output.listing(HOLDS, client.list_holds(), client.store.now_ms)


@command(
    app,
    "add",
    examples=(
        "holds add orders-2026 --reason 'incident 42' --until 2w",
        "holds add orders-2026/7 --reason 'the one that went wrong'",
        "holds add --name 'billing.*' --version 1.4.0 --reason audit",
    ),
)
def add(
    session: Session,
    target: _TargetArgument = None,
    name: _NameOption = None,
    version: _VersionOption = None,
    reason: _ReasonOption = "",
    until: _UntilOption = None,
    execution: ExecutionOption = None,
    whole: WholeOption = False,
) -> None:
    """Hold an instance, one execution, or everything of a name or version: no prune, sweep or purge removes it."""
    from datetime import UTC, datetime, timedelta

    from duro.errors import UsageError
    from duroctl.parsing import Reference, parse_duration
    from duroctl.pruning import parse_time_ms
    from duroctl.references import resolve_target
    from duroctl.render.holds import HOLD, hold_line

    if not reason.strip():
        raise UsageError("a hold needs a reason", hint="--reason 'incident 42'")
    with session.client() as client:
        found = Reference("", None)
        if target is not None:
            found = resolve_target(client, target, execution=execution, whole=whole)
        ends: datetime | timedelta | None = None
        if until is not None and until[-1:] in "smhdw":
            ends = timedelta(seconds=parse_duration(until, "--until"))
        elif until is not None:
            now_ms = client.store.now_ms()
            ends_ms = parse_time_ms(until, "--until", now_ms, others="or 2w (from now)")
            ends = datetime.fromtimestamp(ends_ms / 1000, UTC)
        hold = client.add_hold(
            found.instance_id or None, found.execution_id, name=name, version=version, reason=reason, until=ends
        )
    session.output.result(HOLD, hold, [hold_line(hold)])


@command(app, "remove", examples=("holds remove hold-7f3k2m9a",))
def remove(session: Session, hold: _HoldArgument) -> None:
    """Remove holds; what they held may be removed from now on."""
    from duroctl.render.text import visible_field

    with session.client() as client:
        for hold_id in hold:
            client.remove_hold(hold_id)
            session.note(visible_field(f"removed {hold_id}"))
