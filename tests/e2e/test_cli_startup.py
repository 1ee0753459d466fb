"""How the program starts: what it imports, its version, its help."""

import json
import re
import subprocess
import sys

import pytest

from duro.version import __version__
from tests.e2e.cli_support import Cli, unmeasured

NEVER = (
    "sqlite_utils",
    "tomlkit",
    "pydantic",
    "hypothesis",
    "multiprocessing",
    "asyncio",
    "packaging",
    "concurrent.futures",
    "duro.host",
    "duro.replay",
    "duro.async_client",
    "duro.testing",
    "duro.maintenance.pruning",
    "duro.maintenance.families",
    "sqlite3",
    "rich",
    "http",
    "email",
    "importlib.metadata",
    "importlib.resources",
    "tempfile",
    "dataclasses",
    "shlex",
)


def _imported(cli: Cli, *arguments: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "duroctl", *arguments],
        cwd=cli.directory,
        env=unmeasured(cli.environment),
        capture_output=True,
        text=True,
        check=True,
    )
    return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}


@pytest.mark.parametrize(
    "command",
    [
        ("instances", "list", "-o", "json"),
        ("executions", "list", "-o", "json"),
        ("executions", "list"),
        ("history", "show", "greeting", "-o", "json"),
        ("--help",),
    ],
    ids=" ".join,
)
def test_a_command_imports_only_what_it_needs(filled: Cli, command: tuple[str, ...]) -> None:
    imported = _imported(filled, *command)
    assert "typer" in imported
    assert [name for name in sorted(imported) if any(f"{name}.".startswith(f"{each}.") for each in NEVER)] == []


def test_the_version_is_printed_without_importing_anything_heavy(cli: Cli) -> None:
    assert cli("--version").out == f"duroctl {__version__}\n"
    assert cli("-q", "--version").out == f"duroctl {__version__}\n"
    imported = _imported(cli, "--version")
    assert not imported & {"typer", "msgspec", "apsw", "rich", "duroctl.app"}


COMMANDS = [
    ("init",),
    ("demo",),
    ("worker",),
    ("start",),
    ("raise",),
    ("instances", "list"),
    ("instances", "show"),
    ("instances", "tree"),
    ("instances", "cancel"),
    ("instances", "resume"),
    ("instances", "terminate"),
    ("instances", "purge"),
    ("executions", "list"),
    ("history", "show"),
    ("history", "export"),
    ("stats",),
    ("doctor",),
    ("prune",),
    ("prune", "undo"),
    ("orphans", "list"),
    ("orphans", "cleanup"),
    ("orphans", "adopt"),
    ("holds", "list"),
    ("holds", "add"),
    ("holds", "remove"),
    ("ledger", "list"),
    ("ledger", "show"),
    ("ledger", "totals"),
    ("archive", "list"),
    ("archive", "show"),
    ("archive", "verify"),
    ("archive", "restore"),
    ("archive", "write"),
    ("policy", "check"),
    ("policy", "schema"),
    ("policy", "explain"),
    ("policy", "show"),
    ("policy", "set"),
    ("policy", "unset"),
    ("policy", "edit"),
    ("policy", "simulate"),
    ("compact",),
    ("backup",),
    ("export",),
]


def _listed(help_text: str) -> list[str]:
    _, _, commands = help_text.partition("\nOptions:\n")[2].partition("\n\n")
    return re.findall(r"^  ([a-z]+)  ", commands.partition("\nExit codes:\n")[0], re.MULTILINE)


def test_the_list_of_commands_above_is_complete(cli: Cli) -> None:
    names = _listed(cli("--help").out)
    assert names == list(dict.fromkeys(command[0] for command in COMMANDS))
    for group in GROUPED:
        assert _listed(cli(group, "--help").out) == [command[1] for command in COMMANDS if command[0] == group]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_a_summary_and_examples_with_long_options(cli: Cli, command: tuple[str, ...]) -> None:
    shown = cli(*command, "--help")
    assert shown.code == 0
    usage, summary, *_ = (part.strip() for part in shown.out.split("\n\n"))
    assert usage.startswith(f"Usage: duroctl {' '.join(command)} [OPTIONS]")
    assert re.fullmatch(r"[A-Z][^\n]+\.", summary.replace("\n  ", " "))
    examples = re.findall(r"^ +(?:duroctl .*\| )?duroctl (.+)$", shown.out.partition("Examples:\n")[2], re.MULTILINE)
    assert examples
    assert all(example.startswith(" ".join(command)) for example in examples)
    assert not [example for example in examples if re.search(r" -[a-z]\b", example)]
    for option in ("--store", "--config", "-o, --output", "-q, --quiet", "-v, --verbose"):
        assert option in shown.out


GROUPED = ("instances", "executions", "history", "orphans", "holds", "ledger", "archive", "policy")


@pytest.mark.parametrize("group", [(), *((each,) for each in GROUPED)], ids=" ".join)
def test_the_help_of_a_group_fits_into_80_columns_with_nothing_cut(cli: Cli, group: tuple[str, ...]) -> None:
    usage, *lines = cli(*group, "--help", COLUMNS="80").lines
    assert usage.endswith("COMMAND [ARGS]...")
    assert [line for line in lines if len(line) > 80 or line.endswith(("...", "…"))] == []


def test_the_undo_of_a_prune_has_a_help_of_its_own_and_global_options_on_both_sides(cli_with_store: Cli) -> None:
    shown = cli_with_store("prune", "undo", "--help").out
    assert "--keep-last" not in shown
    assert "duroctl prune undo RUN|INSTANCE" in " ".join(cli_with_store("prune", "--help").out.split())
    for given in (
        ("-o", "json", "undo"),
        ("-ojson", "-q", "undo"),
        ("undo", "--output=json"),
        ("--output=json", "undo"),
    ):
        refused = cli_with_store("prune", *given, "nobody")
        assert json.loads(refused.err)["error"] == "InstanceNotFoundError"


def test_the_exit_codes_stand_in_the_help(cli: Cli) -> None:
    shown = cli("--help").out
    for code in (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 20, 130, 141):
        assert re.search(rf"(^|  ) *{code}  [a-z]", shown, re.MULTILINE)


@pytest.mark.parametrize("command", [(), ("instances",), ("history",)])
def test_without_a_command_the_help_is_shown_as_an_error(cli: Cli, command: tuple[str, ...]) -> None:
    ran = cli(*command)
    assert (ran.code, ran.out) == (2, "")
    assert ("Commands:" if command else "Look:") in ran.err


def test_shells_complete_commands(cli: Cli) -> None:
    ran = cli(_DUROCTL_COMPLETE="complete_bash", COMP_WORDS="duroctl instances t", COMP_CWORD="2")
    assert ran.out.split() == ["tree", "terminate"]
    script = cli("--show-completion", "bash", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert "_DUROCTL_COMPLETE=complete_bash" in script.out


def test_nothing_is_loaded_before_the_entry_point_can_catch_an_interrupt() -> None:
    """Ctrl-C in the first tenth of a second ended with a traceback."""
    script = "import sys; there = set(sys.modules); import duroctl.__main__; print(sorted(set(sys.modules) - there))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = done.stdout.replace("'", '"')
    assert [name for name in json.loads(loaded) if name.startswith("duro")] == ["duroctl", "duroctl.__main__"]
