"""``-``: ids from standard input, from a list that found nothing, and where it is closed."""

import subprocess

import pytest

from tests.e2e.cli_support import PROGRAM, ROOT, Cli

RULE = ("--keep-last", "1")
MANY = [
    ("prune", "-", *RULE, "--yes"),
    ("prune", "-", *RULE, "--check"),
    ("prune", "undo", "-"),
    ("instances", "purge", "-", "--completed-before", "now", "--yes"),
    ("instances", "show", "-"),
    ("instances", "cancel", "-"),
    ("instances", "terminate", "-", "--yes"),
    ("instances", "resume", "-"),
    ("orphans", "adopt", "-", "--reason", "a test"),
    ("holds", "add", "-", "--reason", "a test"),
    ("holds", "remove", "-"),
    ("policy", "explain", "-"),
    ("raise", "-", "go"),
    ("archive", "restore", "-", "--archive", "arch"),
]
ONE = [
    ("instances", "tree", "-"),
    ("executions", "list", "-"),
    ("history", "show", "-"),
    ("ledger", "show", "-"),
]


@pytest.mark.parametrize("command", MANY, ids=" ".join)
def test_where_no_id_comes_there_is_nothing_to_do(loops: Cli, command: tuple[str, ...]) -> None:
    before = loops.dump()
    done = loops(*command, input="\n")
    assert (done.code, done.out) == (0, "")
    assert done.err.startswith("duroctl: no ") or done.err.startswith("no ")
    assert done.err.endswith(" came from standard input: nothing to do\n")
    assert loops(*command, "--quiet").err == ""
    assert loops.dump() == before


@pytest.mark.parametrize(("number", "fixture"), [(0, "filled"), (1, "loops")])
def test_the_first_examples_of_the_reference_work_as_shown(
    number: int, fixture: str, request: pytest.FixtureRequest
) -> None:
    """On a store with what they are about, and the configuration that `duroctl init` writes."""
    cli: Cli = request.getfixturevalue(fixture)
    page = (ROOT / "docs" / "cli.md").read_text()
    example = page.partition("```console\n")[2].partition("```")[0].splitlines()[number]
    given = ""
    for part in example.removeprefix("$ ").split(" | "):
        ran = cli(*part.split()[1:], input=given)
        notes = [
            line for line in ran.err.splitlines() if not line.startswith(("duroctl: to remove: ", "duroctl: to keep: "))
        ]
        assert (ran.code, notes) == (0, []), part
        assert ran.out != "", part
        given = ran.out
    assert "\tremove\t" in given, given


@pytest.mark.parametrize("command", ONE, ids=" ".join)
def test_what_shows_one_thing_needs_to_be_told_which(loops: Cli, command: tuple[str, ...]) -> None:
    done = loops(*command)
    assert done.code == 2
    assert "no instance id was given; name one" in done.err


@pytest.mark.parametrize("command", [*MANY, *ONE, ("prune", "--all", *RULE)], ids=" ".join)
def test_a_closed_standard_input_is_an_empty_one(loops: Cli, command: tuple[str, ...]) -> None:
    expected = loops(*command)
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", *PROGRAM, *command],
        cwd=loops.directory,
        env=loops.environment,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout.decode(), done.stderr.decode()) == (expected.code, "", expected.err)
