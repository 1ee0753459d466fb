"""``duroctl policy``: the settings that say how long executions are kept."""

from typing import Annotated

import typer

from duroctl.options import command, new_group
from duroctl.session import Session

app = new_group("Check the settings that say how long executions are kept.")

_FileArgument = Annotated[str, typer.Argument(metavar="FILE", help="A runtime_config.toml.", show_default=False)]


@command(
    app, "check", examples=("policy check config/runtime_config.toml", "policy check runtime_config.toml --output json")
)
def check(session: Session, file: _FileArgument) -> None:
    """Report everything that is wrong with a runtime_config.toml, each with its line and column.

    The exit status is 6 if there is anything.
    """
    from pathlib import Path

    from duro.errors import SettingsError
    from duro.settings.files import load_settings
    from duroctl.render.problems import PROBLEMS, problem_line
    from duroctl.render.text import visible

    try:
        settings = load_settings(Path(file), file)
    except SettingsError as error:
        if session.output.format == "table":
            session.output.lines(problem_line(problem) for problem in error.problems)
        else:
            session.output.listing(PROBLEMS, error.problems, lambda: 0)
        raise typer.Exit(error.exit_code) from error
    if session.output.format == "table":
        session.output.line(visible(f"{file}: valid, settings {settings.effective_hash}"))
    else:
        session.output.listing(PROBLEMS, (), lambda: 0)


@command(app, "schema", examples=("policy schema > runtime_config.schema.json",))
def schema(session: Session) -> None:
    """Print the JSON Schema of runtime_config.toml, for editors."""
    from duro.settings.documents import schema_text

    session.output.line(schema_text().rstrip("\n"))
