"""``duroctl doctor``: look for what must not be, and mend what can be mended."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from duroctl.options import command, new_command_app
from duroctl.removal_options import YesOption
from duroctl.session import Session

if TYPE_CHECKING:
    from duro.model.checkup import CheckResult

app = new_command_app()

_FOUND: Final = 9

_DeepOption = Annotated[
    bool, typer.Option("--deep", help="Compare every page and index, and count every event; may take long.")
]
_RepairOption = Annotated[
    bool, typer.Option("--repair", help="Delete what is left of what was removed or has ended; shows which, and asks.")
]

_JsonOption = Annotated[bool, typer.Option("--json", help="The same as --output json.")]


@command(
    app,
    "doctor",
    examples=("doctor", "doctor --deep --json", "doctor --repair"),
)
def doctor(
    session: Session,
    deep: _DeepOption = False,
    repair: _RepairOption = False,
    yes: YesOption = False,
    json: _JsonOption = False,
) -> None:
    """Check the store and its configuration: promises that are broken, work that is stuck, settings that are unsafe.

    Changes nothing without --repair, and runs beside workers. Exit status 9: something is wrong, or still is after
    a repair.
    """
    from duroctl.archives import enabled_directory
    from duroctl.render.checks import REPAIRS, found_lines, is_ill, repair_lines
    from duroctl.render.units import counted

    if json:
        session.print_json()
    _check_store_is_named(session)
    with session.client(read_only=not repair) as client:
        configuration = _configuration(session)
        files = [*configuration, _unfinished(session)]
        if client.configured_archive is None and not any(each.count for each in configuration):
            client.configured_archive = enabled_directory(session)
        results = [*files, *client.checkup(deep=deep)]
        if repair:
            ill = [each.name for each in results if each.repairable and each.count]
            if ill and not yes:
                found = list(found_lines([each for each in results if each.name in ill]))
                if not session.can_ask:  # what would be deleted is said before it is refused, too
                    for line in found:
                        session.note(line)
                session.confirm("Delete these rows?", found, f"this deletes what {counted(len(ill), 'check')} found")
            repairs = client.repair(ill) if ill else []
            if session.output.format == "table":
                session.output.lines(repair_lines(repairs))
            else:
                session.output.listing(REPAIRS, repairs, lambda: 0)
            if not ill:
                session.note("nothing to repair")
            results = [*files, *client.checkup(deep=deep)]
            if left := [each.name for each in results if is_ill(each)]:
                session.note(f"still wrong: {', '.join(left)}; `duroctl doctor` says more")
        else:
            _print(session, results)
    session.output.flush()
    if any(is_ill(each) for each in results):
        raise typer.Exit(_FOUND)


def _check_store_is_named(session: Session) -> None:
    """Print what is wrong with the configuration and end, where that is why nobody can tell which store is meant."""
    from duro.errors import SettingsError

    try:
        _ = session.store_choice
    except SettingsError:
        results = _configuration(session) if session.config_file is not None else []  # raises: a named one is not there
        if not any(each.count for each in results):  # it is another file than the one that is looked at
            raise
        _print(session, results)
        session.note("the store was not looked at: what names it cannot be read; --store URL names one")
        session.output.flush()
        raise typer.Exit(_FOUND) from None


def _print(session: Session, results: "list[CheckResult]") -> None:
    from duroctl.render.checks import CHECKS, check_lines

    if session.output.terminal:
        session.output.lines(check_lines(results))
    else:
        session.output.listing(CHECKS, results, lambda: 0)


def _configuration(session: Session) -> "list[CheckResult]":
    """Whether the configuration that commands here use can be used by a worker."""
    from duro.errors import SettingsError
    from duro.model.checkup import CheckResult, Finding, Severity
    from duro.settings.files import load_settings

    found: list[Finding] = []
    try:
        file = session.config_file
        if file is None:
            return []
        load_settings(file, str(file))
    except SettingsError as error:
        found = [Finding(problem.place, problem.message) for problem in error.problems]
    return [
        CheckResult(
            name="configuration",
            severity=Severity.ERROR,
            looks_for="problems of the configuration file (workers keep the last good settings)",
            remedy="mend the file; `duroctl policy check` says more",
            count=len(found),
            findings=tuple(found),
        )
    ]


def _unfinished(session: Session) -> "CheckResult":
    """What commands that were killed left here, and beside the store and its configuration."""
    from duro.disk import unfinished
    from duro.errors import SettingsError
    from duro.model.checkup import FINDINGS_SHOWN, CheckResult, Finding, Severity
    from duro.stores.opening import sqlite_path

    directories = [Path(), Path(sqlite_path(session.store_choice.url)).parent]
    with contextlib.suppress(SettingsError):  # another check says so
        directories += [] if session.config_file is None else [session.config_file.parent]
    left = {path.absolute(): path for directory in directories for path in unfinished(directory)}
    return CheckResult(
        name="unfinished-files",
        severity=Severity.NOTE,
        looks_for="files that a backup, an export or another command had not finished when it was killed",
        remedy="remove them",
        count=len(left),
        findings=tuple(Finding(str(path), "its writer is gone") for path in left.values())[:FINDINGS_SHOWN],
    )
