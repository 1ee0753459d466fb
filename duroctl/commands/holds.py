"""``duroctl holds``: named reasons why something may not be removed."""

from typing import TYPE_CHECKING, Annotated

import typer

from duroctl.completing import holds, instance_ids, orchestrations
from duroctl.options import command, new_group
from duroctl.removal_options import ExecutionOption, WholeOption
from duroctl.session import Session

if TYPE_CHECKING:
    from duro.model.pruning import Hold
    from duroctl.parsing import Reference

app = new_group("Keep instances and executions from being removed.")

_TargetArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[INSTANCE[/EXECUTION]...]",
        help="What to hold, each under a hold of its own; - reads ids from standard input.",
        show_default=False,
        autocompletion=instance_ids,
    ),
]
_NameOption = Annotated[
    str | None,
    typer.Option(
        "--name", metavar="GLOB", help="Everything of orchestrations with such a name.", autocompletion=orchestrations
    ),
]
_VersionOption = Annotated[str | None, typer.Option("--version", metavar="V", help="Executions of this version.")]
_ReasonOption = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for whoever finds it in a year.")]
_UntilOption = Annotated[
    str | None, typer.Option("--until", metavar="TIME", help="When it ends: 2w, or ISO-8601 with zone. Default: never.")
]
_HoldArgument = Annotated[
    list[str],
    typer.Argument(metavar="HOLD...", help="Ids of holds; - reads them from standard input.", autocompletion=holds),
]


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
        "instances list --status failed --output ids | duroctl holds add - --reason 'to be looked at'",
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
    """Hold an instance, one execution, or everything of a name or version: no prune, sweep or purge removes it.

    With -o json one hold gives one document, several (or -) a list. Exit status 3: some of several could not be held.
    """
    from datetime import UTC, datetime, timedelta

    from duro.errors import UsageError
    from duroctl.archives import execution_told
    from duroctl.parsing import Reference, parse_duration
    from duroctl.pruning import note_name, parse_time_ms
    from duroctl.references import resolve_target
    from duroctl.render.holds import HOLD, HOLDS, hold_line
    from duroctl.render.text import visible
    from duroctl.several import check_refused, try_each

    if not reason.strip():
        raise UsageError("a hold needs a reason", hint="--reason 'incident 42'")
    texts = session.ids(target) if target else []
    if execution is not None and len(texts) > 1:
        raise UsageError("--execution goes with one instance", hint="write INSTANCE/EXECUTION for each")
    with session.client() as client:
        found = [resolve_target(client, text, execution=execution, whole=whole) for text in texts]
        ends: datetime | timedelta | None = None
        if until is not None and until[-1:] in "smhdw":
            ends = timedelta(seconds=parse_duration(until, "--until"))
        elif until is not None:
            now_ms = client.store.now_ms()
            ends_ms = parse_time_ms(until, "--until", now_ms, others="or 2w (from now)")
            ends = datetime.fromtimestamp(ends_ms / 1000, UTC)

        def hold(each: "Reference") -> "Hold":
            with execution_told(session, client):
                return client.add_hold(
                    each.instance_id or None, each.execution_id, name=name, version=version, reason=reason, until=ends
                )

        held, refused = try_each(found or [Reference("", None)], hold)
        now_ms = client.store.now_ms()
        note_name(session, client, name)
        if version is not None and not set("*?[").isdisjoint(version):
            session.note(visible(f"version {version!r} is taken as it stands; --name alone takes a pattern"))
    if len(held) == 1 and len(texts) <= 1 and "-" not in (target or ()):
        session.output.result(HOLD, held[0], [hold_line(held[0])])
    elif session.output.format == "table":
        session.output.lines(map(hold_line, held))
    elif held:
        session.output.listing(HOLDS, held, lambda: now_ms)
    session.output.flush()
    check_refused(session, refused, max(len(texts), 1), "holds")


@command(
    app,
    "remove",
    examples=("holds remove hold-7f3k2m9a", "holds list --output ids | duroctl holds remove -"),
)
def remove(session: Session, hold: _HoldArgument) -> None:
    """Remove holds; what they held may be removed from now on. Exit status 3: some of several were not there."""
    from duroctl.render.holds import removed_line
    from duroctl.several import check_refused, try_each

    ids = session.ids(hold, "hold")
    with session.client() as client:

        def take_away(hold_id: str) -> str:
            client.remove_hold(hold_id)
            return hold_id

        removed, refused = try_each(ids, take_away)
    if removed:
        session.note(removed_line(removed))
    check_refused(session, refused, len(ids), "holds")
