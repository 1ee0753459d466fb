"""``duroctl demo``: an eternal orchestration at work on real files, and what it leaves in its store."""

from pathlib import Path
from typing import Annotated

import typer

from duroctl.options import command, new_command_app
from duroctl.session import Session

app = new_command_app()

_DirectoryArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[DIRECTORY]",
        help="The directory to watch, on a copy of it. Default: the standard library of this Python.",
        show_default=False,
    ),
]
_ExecutionsOption = Annotated[
    str, typer.Option("--executions", metavar="N", help="How many executions the eternal orchestration runs.")
]


@command(app, "demo", examples=("demo", "demo ~/src --executions 100", "demo --store sqlite:///demo.db"))
def demo(session: Session, directory: _DirectoryArgument = None, executions: _ExecutionsOption = "40") -> None:
    """Watch a directory with an eternal orchestration and show how its store grows.

    Works on a temporary copy and needs nothing but this program. With --store the store is kept, to be looked at with
    the other commands; a demo that was interrupted goes on when it is run again on the same store.
    """
    from duro.errors import UsageError
    from duroctl.parsing import parse_count

    if session.output.format != "table":
        raise UsageError(
            f"the demo is a report for people and does not go with -o {session.output.format}",
            hint="keep its store with --store FILE, and list what is in it",
        )
    count = parse_count(executions, "--executions")
    keep = _kept_file(session.options.store)
    from duroctl.demo import run

    run.main(None if directory is None else Path(directory), keep, count)


def _kept_file(store: str | None) -> Path | None:
    """--store takes a URL as everywhere, and here a plain file name too."""
    from duro.stores.opening import sqlite_path
    from duroctl.parsing import check_new_file

    if store is None:
        return None
    file = sqlite_path(store) if ":" in store else store
    check_new_file(str(file), "--store")
    return Path(file)
