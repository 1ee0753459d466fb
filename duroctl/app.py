"""The application: its commands, loaded when they are needed, and the one place where errors become exit codes."""

import contextlib
import importlib
import inspect
import io
import os
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final, NamedTuple, TextIO

import typer

from duroctl import __version__
from duroctl.options import KEYWORD, HelpingGroup, new_group
from duroctl.render.text import json_safe, visible, visible_field

GROUPS: Final = {
    "Run": {
        "init": "init",
        "demo": "demo",
        "worker": "worker",
        "start": "start",
        "raise": "raise_event",
    },
    "Look": {
        "instances": "instances",
        "executions": "executions",
        "history": "history",
        "stats": "stats",
        "doctor": "doctor",
    },
    "Remove": {
        "prune": "prune",
        "orphans": "orphans",
        "holds": "holds",
        "ledger": "ledger",
        "archive": "archive",
        "policy": "policy",
    },
    "Keep": {
        "compact": "compact",
        "backup": "backup",
        "export": "export",
    },
}
"""Heading of the help -> command -> module of duroctl.commands, in the order of the help."""

COMMANDS: Final = {name: module for commands in GROUPS.values() for name, module in commands.items()}

EXIT_CODES: Final = """\b
Exit codes:
    0  done                             8  it was there, and has been removed
    1  error                            9  doctor or verify found something
    2  wrong usage                     10  no store, or no archive
    3  partly done                     11  the store is locked
    4  declined                        12  the store is of a newer duro
    5  a plan or archive does not fit  13  the archive is damaged
    6  the configuration is invalid    20  work found (--check)
    7  no such instance or execution  130  interrupted
                                      141  the reader of the output went away"""

_SUMMARY = """Durable orchestrations from the command line.

\b
First steps:
  duroctl demo                                          see it work
  duroctl init                                          make a store here
  duroctl worker mymodule:registry                      run its orchestrations
  duroctl start greet --input '"Ada"' --wait            start one
  duroctl instances list                                see what there is
  duroctl history show INSTANCE                         see what it did

Options may stand before or after the command. Without --store, the store is the one named by DUROCTL_STORE, or by
the runtime_config.toml of this directory (or of its config/), or by ~/.config/duro/runtime_config.toml.
"""


class _Root(HelpingGroup):
    """The root group. A command's module is imported when the command is run or its help is shown."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The list of commands in the help, under their headings."""
        for heading, commands in GROUPS.items():
            with formatter.section(heading):
                formatter.write_dl([self.line_of(ctx, name) for name in commands])

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        for name in [cmd_name] if cmd_name in COMMANDS else COMMANDS:
            if name not in self.commands:
                module = importlib.import_module(f"duroctl.commands.{COMMANDS[name]}")
                self.commands[name] = typer.main.get_command(module.app)
                self.commands[name].name = name
        return self.commands.get(cmd_name)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"duroctl {__version__}")
        raise typer.Exit


_VersionOption = Annotated[
    bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
]


def build() -> Any:
    """The whole application as one click command."""
    version = inspect.Parameter("version", KEYWORD, annotation=_VersionOption, default=False)
    return typer.main.get_command(new_group(_SUMMARY, _Root, extra=(version,), epilog=EXIT_CODES, add_completion=True))


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return the exit status. Prints errors; raises nothing."""
    try:
        _prepare_streams()
        if "_DUROCTL_COMPLETE" in os.environ:
            return _complete(arguments)
        status = _invoke(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        _abandon(sys.stdout)
        return 141
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # noqa: BLE001 (everything else becomes one line)
        status = _report(error, arguments)
        try:
            sys.stdout.flush()
        except Exception:  # noqa: BLE001 (it was reported, or the report says more)
            _abandon(sys.stdout)
    return status


def _complete(arguments: Sequence[str]) -> int:
    """Print what a shell proposes for the word that it says is being typed."""
    from duroctl.bash_words import joined, without_head

    line, head = os.environ.get("COMP_WORDS", ""), ""
    if os.environ["_DUROCTL_COMPLETE"] == "complete_bash" and "\n" in line:
        typed = joined(line.split("\n"), int(os.environ["COMP_CWORD"]))
        os.environ["COMP_WORDS"], os.environ["COMP_CWORD"] = "\n".join(typed.words), str(typed.current)
        head = typed.head
    printed = io.StringIO()
    status: object = 0
    try:
        with contextlib.redirect_stdout(printed):
            build().main(list(arguments), prog_name="duroctl")
    except SystemExit as error:
        status = error.code
    sys.stdout.write("\n".join(without_head(proposal, head) for proposal in printed.getvalue().split("\n")))
    sys.stdout.flush()
    return status if isinstance(status, int) else 0


def _invoke(arguments: Sequence[str]) -> int:
    try:
        with build().make_context("duroctl", list(arguments)) as context:
            context.command.invoke(context)
    except typer.Exit as stop:
        return stop.exit_code
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0
    return 0


class _Problem(NamedTuple):
    """An error as it is printed. ``traceback``: -v shows where it came from."""

    message: str
    hint: str | None
    exit_code: int
    traceback: bool


def _report(error: Exception, arguments: Sequence[str]) -> int:
    """Print one line (or, with ``-o json``, one document) on standard error; the exit status."""
    from duroctl.output import write_line

    problem = _problem(error)
    verbose = any(re.fullmatch(r"--verbose|-q*v[qv]*", argument) for argument in arguments)
    if problem.traceback and verbose:
        import traceback

        for line in "".join(traceback.format_exception(error)).splitlines():
            write_line(sys.stderr, visible(line))
    if _wants_json(arguments):
        sys.stderr.write(_problem_json(error, problem) + "\n")
    else:
        joint = " " if problem.message.endswith("?") else "; "
        text = f"{problem.message}{joint}{problem.hint}" if problem.hint else problem.message
        write_line(sys.stderr, f"duroctl: error: {visible_field(text)}")
    return problem.exit_code


def _problem(error: Exception) -> _Problem:
    from duro.errors import DuroError, RegistryImportError

    if isinstance(error, DuroError):
        return _Problem(error.message, error.hint, error.exit_code, isinstance(error, RegistryImportError))
    if isinstance(error, typer.TyperException):
        message = error.format_message().rstrip(".")
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "duroctl"
        return _Problem(message[:1].lower() + message[1:], f"see `{command} --help`", error.exit_code, False)
    if isinstance(error, UnicodeEncodeError):
        shown = ascii(error.object)
        return _Problem(f"{shown} contains a lone surrogate", "every text must be valid Unicode", 2, True)
    if isinstance(error, OSError) and error.strerror:
        name = f": {error.filename!r}" if error.filename else ""
        return _Problem(f"{error.strerror}{name}", None, 1, True)
    return _Problem(f"unexpected {type(error).__name__}: {error}", "run again with -v for the traceback", 1, True)


def _problem_json(error: Exception, problem: _Problem) -> str:
    import json

    document = {
        "schema": "duroctl.error/1",
        "error": type(error).__name__,
        "message": problem.message,
        "hint": problem.hint,
        "exit_code": problem.exit_code,
    }
    return json_safe(json.dumps(document))


def _wants_json(arguments: Sequence[str]) -> bool:
    """Whether the last output format asked for is a JSON one; also for command lines that cannot be parsed."""
    chosen = ""
    for position, argument in enumerate(arguments):
        if argument == "--":
            break
        if argument in ("-o", "--output"):
            chosen = arguments[position + 1] if position + 1 < len(arguments) else ""
        elif argument.startswith("--output="):
            chosen = argument.removeprefix("--output=")
        elif argument == "--json":
            chosen = "json"
        elif argument.startswith("-o"):
            chosen = argument.removeprefix("-o").removeprefix("=")
    return chosen in ("json", "jsonl")


class _Unheard(io.TextIOWrapper):
    """Standard error, of which what cannot be written is dropped: results and the exit status are worth more.

    It does so here and not below the buffer, which would write twice what an interrupt kept it from counting.
    """

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError:
            _abandon(self)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError:
            _abandon(self)


class _Results(io.TextIOWrapper):
    """Standard output. Its errors have a name, but for a reader that went away."""

    def write(self, text: str) -> int:
        with _output_errors():
            return super().write(text)

    def flush(self) -> None:
        with _output_errors():
            super().flush()


@contextlib.contextmanager
def _output_errors() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        from duroctl.errors import OutputError

        raise OutputError(
            f"standard output cannot be written: {error.strerror or error}",
            hint="what was printed is not whole: run it again where there is room",
        ) from error


def _prepare_streams() -> None:
    """Results are UTF-8 in files and pipes whatever the locale; a closed stream is no error by itself.

    Raises:
        BrokenPipeError, OutputError: what was in standard output's buffer cannot be written.
    """
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: SIM115, PTH123 - it stays open as long as the program runs
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123
    if sys.stderr is sys.__stderr__ and sys.stderr is not None:
        sys.stderr = _Unheard(
            sys.stderr.buffer, encoding=sys.stderr.encoding, errors="backslashreplace", line_buffering=True
        )
    if isinstance(sys.stdout, io.TextIOWrapper):
        encoding = sys.stdout.encoding if sys.stdout.isatty() else "utf-8"
        buffer: Any = sys.stdout.buffer
        raw = isinstance(buffer, io.RawIOBase)
        if not raw and sys.stdout is not sys.__stdout__:  # somebody else's, who goes on with it
            sys.stdout.reconfigure(encoding=encoding, errors="backslashreplace")
            return
        with _output_errors():
            sys.stdout.flush()
        # PYTHONUNBUFFERED: a raw file may take a part of what it is given, and nobody would notice the rest.
        sys.stdout = _Results(
            io.BufferedWriter(buffer) if raw else buffer,
            encoding=encoding,
            errors="backslashreplace",
            line_buffering=raw or sys.stdout.line_buffering,
        )


def _abandon(stream: TextIO) -> None:
    """What is still buffered has no reader: keep the interpreter from trying again when it exits."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
