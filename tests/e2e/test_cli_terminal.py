"""The commands on a real terminal: its width, its colours, its locale, its Ctrl-C, and nothing raw of what users wrote.

A terminal here is a pseudo-terminal that controls the program, so that a typed Ctrl-C is a signal as it is for people.
"""

import contextlib
import itertools
import os
import pty
import re
import select
import shlex
import subprocess
import sys
import termios
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple, Self

import apsw
import pytest
from rich.cells import cell_len

import duro
from duro.testing.builders import activity_scheduled, continued_as_new, start_request, turn
from duro.testing.scripted import ScriptedWorker
from duroctl.render.layout import is_word
from duroctl.render.text import visible
from tests.e2e.cli_support import HOSTILE_ID, HOSTILE_NAME, PROGRAM, Cli, Ran
from tests.e2e.test_cli_prune import live

ORDINARY_ID: Final = "queue-1"
LONG_ID: Final = f"tenant-europe-west/{'x' * 90}/order-2026-11-25-the-end"
WIDE_ID: Final = f"注文-{'東京' * 20}-終わり"
LONG_NAME: Final = f"com.example.orchestrations.{'n' * 60}.Nightly"
HOSTILE_REASON: Final = "because\x1b[31m\u202e\nduroctl: forged"
HOSTILE_PAYLOAD: Final = '"pay\\u001b[2J\u202e\u2066\\nforged"'
FORGED_TOTALS: Final = "to remove: no executions of 7 instances, 0 events, 0 B"
PADDED_ID: Final = f"x  Order  keep_last=1{' ' * 59}{FORGED_TOTALS}"
"""At 80 columns the spaces would end the line."""
HOSTILE_FILE: Final = "new\x1b[31m\u202e\nforged.toml"

XTERM: Final = {"TERM": "xterm", "LANG": "C.UTF-8"}
NO_COLOUR: Final = {"NO_COLOR": "1"}
DUMB: Final = {"TERM": "dumb"}
C_LOCALE: Final = {"LC_ALL": "C"}
ONLY_ASCII: Final = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
"""Python would take the C locale for one of UTF-8."""

STOPPING: Final = "\nduroctl: stopping after this batch; press Ctrl-C again to stop now\n"
CTRL_C: Final = "\x03"
CTRL_D: Final = "\x04"
PATIENCE_S: Final = 60.0
"""For a program that hangs; none comes near it."""

_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")
_OURS: Final = re.compile(r"\x1b\[(?:[0-9;]*m|\?25[hl]|2K|1A)")
"""Colours, and what a progress bar needs: the cursor hidden and shown, a line erased, one line up."""
_INTO_A_TERMINAL: Final = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.login_tty(0)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""What a terminal's own shell does; the tests may run in the background of another one, where SIGINT is ignored."""


# --- terminals ---------------------------------------------------------------------------------------------------


class Terminal:
    """A program on a terminal of its own, and somebody who waits for what it prints before typing."""

    def __init__(self, cli: Cli, *command: str, width: int = 80, environment: Mapping[str, str] = XTERM) -> None:
        self._leader, follower = pty.openpty()
        termios.tcsetwinsize(follower, (24, width))
        unset = {"COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "LANG", "LC_ALL", "LC_CTYPE", "PYTHONIOENCODING"}
        inherited = {name: value for name, value in cli.environment.items() if name not in unset}
        self._process = subprocess.Popen(
            [sys.executable, "-ISc", _INTO_A_TERMINAL, *command],
            cwd=cli.directory,
            env={**inherited, **XTERM, **environment},
            stdin=follower,
            stdout=follower,
            stderr=follower,
        )
        os.close(follower)
        self._printed = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        os.close(self._leader)

    def until(self, pattern: str) -> None:
        """Returns when what was printed so far has it."""
        while not re.search(pattern.encode(), self._printed):
            assert self._read(), f"it ended without {pattern!r}: {self._printed!r}"

    def type(self, text: str) -> None:
        os.write(self._leader, text.encode())

    def end(self) -> Ran:
        """What was printed, as ``out``, when the program has ended."""
        while self._read():
            pass
        return Ran(self._process.wait(PATIENCE_S), self._printed.decode().replace("\r\n", "\n"), "")

    def _read(self) -> bool:
        ready, _, _ = select.select([self._leader], [], [], PATIENCE_S)
        assert ready, f"nothing more is printed after {self._printed!r}"
        try:
            chunk = os.read(self._leader, 65_536)
        except OSError:  # Linux says so when the other side is closed
            return False
        self._printed += chunk
        return bool(chunk)


def shown(cli: Cli, *arguments: str, width: int = 80, environment: Mapping[str, str] = XTERM) -> Ran:
    """What a command prints on a terminal; a question is answered with n."""
    with Terminal(cli, *PROGRAM, *arguments, width=width, environment=environment) as terminal:
        if arguments[0] == "prune":
            terminal.until(r"\[y/N\] ")
            terminal.type("n\n")
        return terminal.end()


def rows(printed: str) -> list[str]:
    """All that stood on some row of the terminal, what a progress bar overwrote included."""
    return re.split(r"[\n\r]", _OURS.sub("", printed))


def table(printed: str) -> list[str]:
    """The rows of the table that was printed first."""
    return list(itertools.takewhile(lambda row: row and not row.startswith("duroctl: "), rows(printed)))


def column(lines: list[str], heading: str) -> str:
    """The cells under ``heading``, without the folds in them, which begin further in in the first column."""
    start = lines[0].index(heading)
    return "".join(re.split(r" {2,}", line[start:].removeprefix("" if start else "  "))[0] for line in lines[1:])


def too_wide(lines: list[str], width: int) -> list[str]:
    """Those the program should have broken: wider than the terminal, and not one word alone."""
    return [line for line in lines if cell_len(line) > width and not is_word(line.strip(" "))]


def words(printed: str) -> set[str]:
    """All that can be copied from a terminal with a double click."""
    return {word for row in rows(printed) for word in row.split(" ")}


def squeezed(text: str) -> str:
    """Without the spaces, and so without what wrapping changes."""
    return re.sub(r"\s", "", text)


# --- stores ------------------------------------------------------------------------------------------------------


def fill(store: Path, requests: dict[str, str], *, rounds: int, input: str = "null") -> None:
    """Instances (id -> orchestration) that continued as new ``rounds`` times, and wait for an activity now."""
    orchestrations = [(name, version) for name in {*requests.values()} for version in ("", "1.0.0")]
    with duro.Client(store) as client:
        worker = ScriptedWorker(client.store, orchestrations=orchestrations)
        client.store.start_instances([start_request(each, name, input=input) for each, name in requests.items()])
        for left in reversed(range(rounds + 1)):
            event = continued_as_new(input) if left else activity_scheduled("charge\x1b]0;x\x07\nforged", input)
            leased = worker.lease(len(requests)).instances
            worker.commit(*(turn(each, event, at_ms=client.store.now_ms()) for each in leased))
        client.store.release_worker(worker.worker_id)


class Told(NamedTuple):
    """A store that has been pruned by hand, and the run that did it."""

    cli: Cli
    run_id: str


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """Ordinary, long, wide and hostile ids; a worker lives that says what is pruned. Nothing is pruned any more."""
    cli = Cli(tmp_path_factory.mktemp("terminal"))
    assert cli("init").code == 0
    names = {ORDINARY_ID: "Order", LONG_ID: LONG_NAME, WIDE_ID: "Order", HOSTILE_ID: HOSTILE_NAME, PADDED_ID: "Order"}
    fill(cli.store, names, rounds=5, input=HOSTILE_PAYLOAD)
    pruned = cli("prune", "--all", "--keep-last", "4", "--yes", "--reason", HOSTILE_REASON, "--archive", "kept")
    assert pruned.code == 0
    for name in ("new.toml", HOSTILE_FILE):
        (cli.directory / name).write_text("[pruning]\ndefault_keep_last = 2\n")
    (run_id,) = cli("ledger", "list", "-o", "ids").lines
    with duro.Runtime(cli.store, duro.Registry(), duro.RuntimeOptions(auto_prune=6)):
        yield Told(cli, run_id)


@pytest.fixture
def many(cli_with_store: Cli) -> Cli:
    """So much to prune that it takes several transactions."""
    fill(cli_with_store.store, {f"queue-{number}": "Order" for number in range(100)}, rounds=6)
    return cli_with_store


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """So much that a list of it fills a pipe, and an export of it takes a while. For reading only."""
    cli = Cli(tmp_path_factory.mktemp("large"))
    assert cli("init").code == 0
    fill(cli.store, {f"queue-{number}": "Order" for number in range(2_000)}, rounds=2)
    return cli


@contextlib.contextmanager
def locked(store: Path) -> Iterator[None]:
    """Nobody else can write meanwhile: who wants to waits."""
    connection = apsw.Connection(str(store))
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.close()


def files(cli: Cli) -> set[str]:
    return {path.name for path in cli.directory.iterdir()} - {"duro.db-wal", "duro.db-shm"}


# --- commands ----------------------------------------------------------------------------------------------------

_ID: Final = "INSTANCE"
_RUN: Final = "RUN"
_NEW: Final = "FILE"
_numbers = itertools.count()
TABLES: Final = [
    ("stats",),
    ("policy", "simulate", "--policy", "new.toml"),
    ("ledger", "list"),
    ("ledger", "show", _ID),
    ("instances", "list"),
    ("archive", "list"),
]
COMMANDS: Final = [
    *TABLES,
    ("policy", "explain", _ID),
    ("archive", "show", _ID),
    ("archive", "verify"),
    ("ledger", "show", _RUN),
    ("ledger", "totals"),
    ("history", "show", _ID),
    ("history", "show", _ID, "--detailed"),
    ("compact",),
    ("backup", _NEW),
    ("export", "--to", _NEW),
    ("prune", _ID, "--keep-last", "2"),
]
every_table = pytest.mark.parametrize("command", TABLES, ids=" ".join)
every_command = pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
both_widths = pytest.mark.parametrize("width", [80, 200])


def arguments(told: Told, command: tuple[str, ...], instance_id: str = ORDINARY_ID) -> list[str]:
    """``command`` with an instance, a run and a new file in their places."""
    meant = {_ID: instance_id, _RUN: told.run_id, _NEW: f"new-{next(_numbers)}.db"}
    return [meant.get(argument, argument) for argument in command]


def expected_code(command: tuple[str, ...]) -> int:
    """A prune that is shown is declined."""
    return 4 if command[0] == "prune" else 0


# --- widths ------------------------------------------------------------------------------------------------------


@both_widths
@every_table
def test_no_row_of_a_table_is_wider_than_the_terminal(told: Told, command: tuple[str, ...], width: int) -> None:
    ran = shown(told.cli, *arguments(told, command, LONG_ID), width=width)
    lines = table(ran.out)
    assert (ran.code, len(lines) > 1) == (0, True)
    assert not too_wide(lines, width)


@every_table
def test_every_column_has_its_heading_at_80_columns_as_at_200(told: Told, command: tuple[str, ...]) -> None:
    narrow, wide = (table(shown(told.cli, *arguments(told, command), width=width).out)[0] for width in (80, 200))
    assert narrow.split() == wide.split()


@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize("instance_id", [ORDINARY_ID, LONG_ID, WIDE_ID], ids=["ordinary", "long", "wide"])
@every_command
def test_no_line_is_wider_than_the_terminal(told: Told, command: tuple[str, ...], instance_id: str, width: int) -> None:
    ran = shown(told.cli, *arguments(told, command, instance_id), width=width)
    assert ran.code == expected_code(command)
    assert not too_wide(rows(ran.out), width)


@every_command
def test_no_line_is_wider_than_a_terminal_that_can_show_only_ascii(told: Told, command: tuple[str, ...]) -> None:
    ran = shown(told.cli, *arguments(told, command), environment=ONLY_ASCII)
    assert not too_wide(rows(ran.out), 80)


@pytest.mark.parametrize("width", [20, 40, 60])
@every_table
def test_a_table_that_is_too_wide_is_printed_line_by_line_and_whole(
    told: Told, command: tuple[str, ...], width: int
) -> None:
    headings = table(shown(told.cli, *arguments(told, command), width=200).out)[0].split("  ")
    lines = rows(shown(told.cli, *arguments(told, command), width=width).out)
    assert not too_wide(lines, width)
    if not lines[0].endswith(headings[-1]):
        firsts = [line.split("  ")[0] for line in lines]
        assert {heading.strip() for heading in headings if heading} <= {*firsts}


def test_times_are_never_cut(told: Told) -> None:
    for width in (30, 60, 80):
        printed = shown(told.cli, "ledger", "show", ORDINARY_ID, width=width).out
        assert re.search(r"\d+ [sm] ago$|now$", _OURS.sub("", printed), re.MULTILINE)


@both_widths
def test_events_are_cut_with_an_ellipsis_where_the_terminal_ends(told: Told, width: int) -> None:
    printed = rows(shown(told.cli, "history", "show", LONG_ID, width=width).out)
    events = [row for row in printed if re.match(r" +\d+  +\+", row)]
    assert max(map(cell_len, events)) <= width
    assert events[0].endswith("…") == (width == 80)
    assert f"{LONG_NAME}(" in shown(told.cli, "history", "show", LONG_ID, width=200).out


every_width = pytest.mark.parametrize("width", [40, 60, 80, 200])


@every_width
def test_ids_and_names_are_whole_in_a_list_so_that_they_can_be_copied(told: Told, width: int) -> None:
    printed = shown(told.cli, "instances", "list", width=width).out
    assert {ORDINARY_ID, LONG_ID, WIDE_ID, LONG_NAME} <= words(printed)


@every_width
@pytest.mark.parametrize("command", TABLES[:2], ids=" ".join)
def test_names_are_whole_so_that_they_can_be_copied(told: Told, command: tuple[str, ...], width: int) -> None:
    assert LONG_NAME in words(shown(told.cli, *command, width=width).out)


@every_width
@pytest.mark.parametrize("command", TABLES[2:4], ids=" ".join)
def test_the_id_of_a_run_is_whole_so_that_it_can_be_copied(told: Told, command: tuple[str, ...], width: int) -> None:
    assert told.run_id in words(shown(told.cli, *arguments(told, command), width=width).out)


@every_width
def test_a_cursor_is_whole_so_that_it_can_be_copied(told: Told, width: int) -> None:
    cursor = told.cli("instances", "list", "--limit", "2", "-o", "json").json["next"]
    assert cursor in words(shown(told.cli, "instances", "list", "--limit", "2", width=width).out)


@every_width
def test_a_path_is_whole_so_that_it_can_be_copied(told: Told, width: int) -> None:
    path = told.cli.directory / f"{'a-long-name-of-a-copy-' * 4}{next(_numbers)}.db"
    assert f"{path}:" in words(shown(told.cli, "backup", str(path), width=width).out)


@both_widths
@pytest.mark.parametrize("instance_id", [LONG_ID, WIDE_ID, HOSTILE_ID], ids=["long", "wide", "hostile"])
def test_outside_of_tables_an_id_is_never_cut(told: Told, instance_id: str, width: int) -> None:
    for command in (("policy", "explain", _ID), ("history", "show", _ID), ("prune", _ID, "--keep-last", "2")):
        printed = shown(told.cli, *arguments(told, command, instance_id), width=width).out
        assert squeezed(visible(instance_id)) in squeezed(printed)


# --- colours -----------------------------------------------------------------------------------------------------


def test_a_status_has_a_colour_on_a_terminal(told: Told) -> None:
    assert re.search(r"\x1b\[(1;)?3[14]mrunning", shown(told.cli, "instances", "list").out)


@every_command
def test_with_no_color_nothing_is_coloured(told: Told, command: tuple[str, ...]) -> None:
    ran = shown(told.cli, *arguments(told, command), environment=NO_COLOUR)
    assert ran.code == expected_code(command)
    assert set(_COLOURS.findall(ran.out)) <= {"\x1b[0m", "\x1b[1m"}


@pytest.mark.parametrize("instance_id", [ORDINARY_ID, HOSTILE_ID], ids=["ordinary", "hostile"])
@every_command
def test_a_dumb_terminal_gets_nothing_but_text(told: Told, command: tuple[str, ...], instance_id: str) -> None:
    ran = shown(told.cli, *arguments(told, command, instance_id), environment=DUMB)
    assert ran.code == expected_code(command)
    assert all(line.isprintable() for line in ran.out.split("\n"))


# --- locales -----------------------------------------------------------------------------------------------------


@every_command
def test_in_the_c_locale_everything_works(told: Told, command: tuple[str, ...]) -> None:
    ran = shown(told.cli, *arguments(told, command, WIDE_ID), environment=C_LOCALE)
    assert ran.code == expected_code(command)
    assert "Traceback" not in ran.out
    assert "\ufffd" not in ran.out


@every_command
def test_where_only_ascii_can_be_shown_only_ascii_is(told: Told, command: tuple[str, ...]) -> None:
    ran = shown(told.cli, *arguments(told, command), environment=ONLY_ASCII)
    assert ran.code == expected_code(command)
    assert ran.out.isascii()
    assert "Traceback" not in ran.out


def test_where_only_ascii_can_be_shown_other_characters_are_escapes(told: Told) -> None:
    lines = shown(told.cli, "instances", "list", "-o", "ids", environment=ONLY_ASCII).lines
    assert WIDE_ID.encode("ascii", "backslashreplace").decode() in lines


# --- readers that go away ----------------------------------------------------------------------------------------


def without_reader(cli: Cli, *given: str) -> Ran:
    """What a command does whose output nobody reads from the beginning."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [*PROGRAM, *given],
            cwd=cli.directory,
            env=cli.environment,
            stdin=subprocess.DEVNULL,
            stdout=writer,
            stderr=subprocess.PIPE,
            timeout=PATIENCE_S,
            check=False,
        )
    finally:
        os.close(writer)
    return Ran(done.returncode, "", done.stderr.decode())


@pytest.mark.parametrize("command", COMMANDS[:-1], ids=" ".join)
def test_head_gets_its_line_and_nobody_complains(told: Told, command: tuple[str, ...]) -> None:
    line = ["/bin/sh", "-c", '"$@" | head -1', "sh", *PROGRAM, *arguments(told, command)]
    with Terminal(told.cli, *line, environment=DUMB) as terminal:
        ran = terminal.end()
    assert ran.code == 0
    results = [line for line in ran.lines if line and not line.startswith(("duroctl: ", "    "))]
    assert len(results) == 1
    assert not re.search("Traceback|BrokenPipe|Errno|ignored", ran.out)


@pytest.mark.parametrize("command", COMMANDS[:-1], ids=" ".join)
def test_without_a_reader_the_status_says_so_and_nobody_complains(told: Told, command: tuple[str, ...]) -> None:
    ran = without_reader(told.cli, *arguments(told, command))
    assert ran.code == 141
    assert all(line.startswith("duroctl: ") for line in ran.err.splitlines())
    assert not re.search("Traceback|BrokenPipe|Errno", ran.err)


def test_a_reader_that_goes_away_in_the_middle_of_a_list_ends_it(large: Cli) -> None:
    with large.popen("instances", "list", "--limit", "0") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"instance_id\t")
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(PATIENCE_S) == 141


@pytest.mark.parametrize("given", [("--version",), ("-q", "--version"), ("--help",)], ids=" ".join)
def test_without_a_reader_version_and_help_end_like_everything_else(cli: Cli, given: tuple[str, ...]) -> None:
    assert without_reader(cli, *given) == Ran(141, "", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_a_version_that_cannot_be_written_is_an_error(cli: Cli) -> None:
    line = ["/bin/sh", "-c", '"$@" > /dev/full', "sh", *PROGRAM, "--version"]
    done = subprocess.run(line, env=cli.environment, capture_output=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(b"duroctl: error: standard output cannot be written: No space left on device; ")


def without_listener(cli: Cli, *given: str) -> Ran:
    """What a command does whose standard error nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [*PROGRAM, *given],
            cwd=cli.directory,
            env=cli.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=writer,
            timeout=PATIENCE_S,
            check=False,
        )
    finally:
        os.close(writer)
    return Ran(done.returncode, done.stdout.decode(), "")


def test_results_arrive_where_nobody_reads_standard_error(told: Told) -> None:
    command = ("policy", "simulate", "--policy", "new.toml", "-o", "csv")
    ran = without_listener(told.cli, *command)
    assert ran.code == 0
    assert ran.out == told.cli(*command).out


@pytest.mark.parametrize(
    "given", [("instances", "show", "nobody"), ("-v", "instances", "show", "nobody")], ids=" ".join
)
def test_the_exit_status_is_right_where_nobody_reads_standard_error(told: Told, given: tuple[str, ...]) -> None:
    assert without_listener(told.cli, *given) == Ran(7, "", "")


def test_what_was_done_stays_done_without_a_reader(many: Cli) -> None:
    assert without_reader(many, "backup", "copy.db").code == 141
    assert many("instances", "list", "--store", "sqlite:///copy.db", "--limit", "0", "-o", "ids").lines
    assert without_reader(many, "prune", "--all", "--keep-last", "1", "--yes").code == 141
    (run,) = many("ledger", "list").rows()
    assert (run["instances"], run["executions"]) == ("100", "600")


# --- questions ---------------------------------------------------------------------------------------------------


def prune_answered(cli: Cli, answer: str, *, width: int = 80) -> Ran:
    """A prune on a terminal that is answered when it asks, and not before."""
    with Terminal(cli, *PROGRAM, "prune", "queue-1", "--keep-last", "3", width=width) as terminal:
        terminal.until(r"Prune them\? \[y/N\] $")
        terminal.type(answer)
        return terminal.end()


@both_widths
def test_a_prune_is_made_when_the_answer_is_yes(loops: Cli, width: int) -> None:
    ran = prune_answered(loops, "y\n", width=width)
    assert ran.code == 0
    assert "to remove: 7 executions of 1 instance" in ran.out
    assert "pruned 7 executions of 1 instance" in ran.out
    assert live(loops) == [8, 9, 10]
    assert not too_wide(rows(ran.out), width)


@pytest.mark.parametrize("answer", ["n\n", "\n", "no\n", "maybe\n", CTRL_D], ids=ascii)
def test_any_other_answer_declines_it(loops: Cli, answer: str) -> None:
    before = loops.dump()
    ran = prune_answered(loops, answer)
    assert ran.code == 4
    assert ran.out.endswith("\nduroctl: error: declined, nothing was changed\n"), "on a line of its own"
    assert loops.dump() == before


def test_ctrl_c_is_an_answer_too(loops: Cli) -> None:
    before = loops.dump()
    ran = prune_answered(loops, CTRL_C)
    assert ran.code == 130
    assert ran.out.endswith("\n"), "the shell's prompt has a line of its own"
    assert "Traceback" not in ran.out
    assert loops.dump() == before


def test_results_can_go_to_a_file_and_the_question_still_to_the_terminal(loops: Cli) -> None:
    line = ["/bin/sh", "-c", '"$@" > result', "sh", *PROGRAM, "prune", "queue-1", "--keep-last", "3"]
    with Terminal(loops, *line) as terminal:
        terminal.until(r"\[y/N\] $")
        terminal.type("y\n")
        assert terminal.end().code == 0
    assert (loops.directory / "result").read_text().startswith("pruned 7 executions of 1 instance: ")


@pytest.mark.parametrize(
    ("answer", "code", "left"), [("y\n", 0, [9, 10]), ("n\n", 4, list(range(1, 11))), (CTRL_D, 4, None)]
)
def test_ids_come_through_a_pipe_and_the_answer_from_the_terminal(
    loops: Cli, answer: str, code: int, left: list[int] | None
) -> None:
    program = " ".join(map(shlex.quote, PROGRAM))
    listed = f"{program} executions list queue-1 --limit 0 -o ids"
    line = ["/bin/sh", "-c", f"{listed} | {program} prune - --keep-last 2"]
    with Terminal(loops, *line) as terminal:
        terminal.until(r"\[y/N\] $")
        terminal.type(answer)
        ran = terminal.end()
    assert ran.code == code, ran
    assert "to remove: 8 executions of 1 instance" in ran.out
    assert live(loops) == (list(range(1, 11)) if left is None else left)


# --- Ctrl-C ------------------------------------------------------------------------------------------------------


def assert_left_tidy(ran: Ran) -> None:
    """The end of something interrupted: its status, no traceback, and a cursor that can be seen."""
    assert ran.code == 130
    assert "Traceback" not in ran.out
    assert ran.out.rindex("\x1b[?25h") > ran.out.rindex("\x1b[?25l")


def test_ctrl_c_in_the_middle_of_an_export_leaves_nothing_of_it(large: Cli) -> None:
    before = files(large)
    with Terminal(large, *PROGRAM, "export", "--to", "export.db") as terminal:
        terminal.until(r"[1-9]\d*/2000")
        terminal.type(CTRL_C)
        ran = terminal.end()
    assert_left_tidy(ran)
    assert files(large) == before


@contextlib.contextmanager
def asked_to_prune(cli: Cli) -> Iterator[Terminal]:
    """A terminal on which a prune of everything waits for its answer."""
    with Terminal(cli, *PROGRAM, "prune", "--all", "--keep-last", "1") as terminal:
        terminal.until(r"\[y/N\] $")
        yield terminal


def interrupt_first_transaction(terminal: Terminal) -> None:
    """While the store is locked: agree, wait for the transaction to wait, and type Ctrl-C."""
    terminal.type("y\n")
    terminal.until("pruning")
    terminal.type(CTRL_C)
    terminal.until(r"\^C")


def interrupted_prune(cli: Cli) -> Ran:
    with asked_to_prune(cli) as terminal:
        with locked(cli.store):
            interrupt_first_transaction(terminal)
        return terminal.end()


def test_ctrl_c_in_the_middle_of_a_prune_ends_it_after_the_transaction(many: Cli) -> None:
    ran = interrupted_prune(many)
    assert_left_tidy(ran)
    assert ran.out.endswith("duroctl: interrupted; what is above was done, and the rest was not\n")
    assert STOPPING in ran.out
    (run,) = many("ledger", "list").rows()
    assert f"pruned {run['executions']} executions of {run['instances']} instances" in ran.out
    assert 0 < int(run["executions"]) < 600
    left = many("executions", "list", "--limit", "0", "-o", "ids").lines
    assert len(left) == 700 - int(run["executions"])


def test_an_interrupted_prune_can_be_undone(many: Cli) -> None:
    ran = interrupted_prune(many)
    told_how = re.search(r"`duroctl (prune undo \S+)` brings them back", ran.out)
    assert told_how is not None
    assert many(*told_how[1].split()).code == 0
    assert len(many("executions", "list", "--limit", "0", "-o", "ids").lines) == 700


def test_a_second_ctrl_c_ends_a_prune_at_once(many: Cli) -> None:
    before = many.dump()
    with asked_to_prune(many) as terminal, locked(many.store):
        interrupt_first_transaction(terminal)
        terminal.until(r"(?s)\^C(.*0/600){2}")  # the bar moves on: the first one has been taken note of
        terminal.type(CTRL_C)
        ran = terminal.end()
    assert_left_tidy(ran)
    assert "quit in the middle: 0 executions were removed by then" in ran.out
    assert many.dump() == before


def test_ctrl_c_ends_compacting_after_the_step(many: Cli) -> None:
    assert many("prune", "--all", "--keep-last", "1", "--now", "--yes").code == 0
    before = many("executions", "list", "--limit", "0").out
    with Terminal(many, *PROGRAM, "compact") as terminal:
        with locked(many.store):
            terminal.until("compacting")
            terminal.type(CTRL_C)
            terminal.until(r"\^C")
        ran = terminal.end()
    assert_left_tidy(ran)
    assert STOPPING in ran.out
    assert ran.out.endswith("duroctl: interrupted; what is above was done, and the rest was not\n")
    assert many("executions", "list", "--limit", "0").out == before


# --- what users wrote --------------------------------------------------------------------------------------------


@both_widths
@every_command
def test_nothing_a_user_wrote_reaches_the_terminal_raw(told: Told, command: tuple[str, ...], width: int) -> None:
    ran = shown(told.cli, *arguments(told, command, HOSTILE_ID), width=width)
    assert ran.code == expected_code(command)
    assert all(row.isprintable() for row in rows(ran.out))


@every_command
def test_a_newline_in_what_a_user_wrote_begins_no_line(told: Told, command: tuple[str, ...]) -> None:
    ran = shown(told.cli, *arguments(told, command, HOSTILE_ID), width=200)
    assert not [row for row in rows(ran.out) if row.lstrip().startswith(("second line", "forged", "duroctl: forged"))]


@pytest.mark.parametrize(
    "command",
    [
        ("policy", "simulate", "--policy", HOSTILE_FILE),
        ("backup", "copy\x1b[31m\u202e\nforged.db"),
        ("export", "--to", "export\x1b[31m\u202e\nforged.db"),
    ],
    ids=["policy simulate", "backup", "export"],
)
def test_the_name_of_a_file_is_shown_on_one_line_and_never_raw(told: Told, command: tuple[str, ...]) -> None:
    ran = shown(told.cli, *command, width=200, environment=DUMB)
    assert ran.code == 0
    assert "\\x1b[31m\\u202e\\nforged" in ran.out
    assert all(line.isprintable() and not line.startswith("forged") for line in ran.lines)


@pytest.mark.parametrize("command", [each for each in COMMANDS if _ID in each], ids=" ".join)
def test_an_error_about_a_hostile_id_is_wrapped_and_its_text_begins_no_line(
    told: Told, command: tuple[str, ...]
) -> None:
    nobody = "nobody\x1b[31m\u202e\nduroctl: forged"
    with Terminal(told.cli, *PROGRAM, *arguments(told, command, nobody)) as terminal:
        ran = terminal.end()
    first, *others = ran.lines
    assert ran.code == 7
    assert first.startswith("duroctl: error: ")
    assert all(line.startswith("    ") for line in others)
    assert ran.out.replace("\n", "").isprintable()


# --- spaces ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [60, 80, 81, 82, 83, 100, 200])
@every_command
def test_spaces_in_what_a_user_wrote_make_no_line(told: Told, command: tuple[str, ...], width: int) -> None:
    ran = shown(told.cli, *arguments(told, command, PADDED_ID), width=width)
    assert ran.code == expected_code(command)
    assert not [row for row in rows(ran.out) if row.startswith("to remove: no")]
    assert "keep_last=1      " not in ran.out


@both_widths
def test_spaces_in_an_id_are_seen_and_none_is_lost(told: Told, width: int) -> None:
    expected = squeezed(PADDED_ID.replace("  ", r"\x20\x20").replace(r"\x20 ", r"\x20\x20"))
    lines = table(shown(told.cli, "instances", "list", width=width).out)
    assert expected in squeezed(column(lines, "INSTANCE"))
    for command in (("policy", "explain", _ID), ("history", "show", _ID), ("prune", _ID, "--keep-last", "2")):
        assert expected in squeezed(shown(told.cli, *arguments(told, command, PADDED_ID), width=width).out)


def test_in_pipes_and_files_spaces_stay_as_they_are(told: Told) -> None:
    assert PADDED_ID in told.cli("instances", "list", "-o", "ids").lines
    assert PADDED_ID in [row["instance_id"] for row in told.cli("instances", "list").rows()]
    assert PADDED_ID in told.cli("instances", "list", "-o", "csv").out
    assert PADDED_ID in [each["instance_id"] for each in told.cli("instances", "list", "-o", "json").json["instances"]]


def test_a_schema_is_printed_as_it_is(told: Told) -> None:
    assert shown(told.cli, "policy", "schema").json == told.cli("policy", "schema").json
