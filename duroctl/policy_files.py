"""Changing a runtime_config.toml: by options or in an editor, shown before it is done, and done whole or not at all."""

import difflib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from duro.errors import DuroError, EditRefusedError, SettingsError, StoreNotFoundError, UsageError
from duro.model.problem import FileProblem
from duro.settings.files import edit_file, read_file
from duro.settings.reading import read_settings
from duro.settings.values import RuntimeSettings
from duroctl.discovery import is_by_hand
from duroctl.errors import DeclinedError
from duroctl.output import write_line
from duroctl.parsing import parse_count, parse_duration
from duroctl.render.problems import problem_line
from duroctl.render.simulation import change_lines, more_text, simulation_json
from duroctl.render.text import visible, visible_field
from duroctl.session import answered

if TYPE_CHECKING:
    from duro.client import Client
    from duro.maintenance.simulating import PolicySimulation
    from duroctl.discovery import StoreChoice
    from duroctl.session import Session

CHANGE_SCHEMA: Final = "duroctl.policy_change/1"

_PLUS_LINE: Final = frozenset(
    ("vi", "vim", "nvim", "view", "nano", "pico", "emacs", "emacsclient", "micro", "kak", "joe", "mg", "ne", "gedit")
)
_COLON_LINE: Final = frozenset(["hx", "helix", "subl", "zed"])
_GOTO_LINE: Final = frozenset(["code", "codium", "code-insiders", "cursor"])


def policy_table(
    counts: Mapping[str, str | None], durations: Mapping[str, str | None], *, never: bool
) -> dict[str, Any]:
    """A policy as a file writes it, of what was typed (key -> text, None: not given).

    Raises:
        UsageError: one of them cannot be read, nothing was given, or ``never`` with something.
    """
    table: dict[str, Any] = {}
    for key, text in counts.items():
        if text is not None:
            table[key] = parse_count(text, _option(key), least=1)
    for key, text in durations.items():
        if text is not None:
            parse_duration(text, _option(key))
            table[key] = text
    if never:
        if table:
            raise UsageError("--never does not go with rules", hint="choose one")
        return {"never": True}
    if not table:
        raise UsageError("which policy?", hint="give --keep-last N, --keep-within 7d or --never")
    return table


def _option(key: str) -> str:
    return {"every_n_executions": "--every"}.get(key, "--" + key.replace("_", "-"))


def found_file(session: "Session") -> Path:
    """The configuration file of this command.

    Raises:
        UsageError: there is none. SettingsError: the one that was named is not there.
    """
    found = session.config_file
    if found is None:
        raise UsageError(
            "there is no runtime_config.toml here", hint="make one with `duroctl init`, or name one with --config FILE"
        )
    return found


def change_by_options(
    session: "Session", edit: Callable[[bytes], bytes], *, dry_run: bool, yes: bool, unchanged: str
) -> None:
    """Carry out ``edit`` on the configuration file. ``unchanged``: what to say where it changes nothing."""
    path = found_file(session)
    file = str(path)
    before = read_file(path, file)
    try:
        after = edit(before)
    except EditRefusedError as error:
        if error.snippet:
            session.note(f"write this into {file}, {error.where}:")
            for line in error.snippet.splitlines():
                write_line(sys.stderr, f"    {visible(line)}")
        raise
    if after == before:
        session.note(visible_field(f"{file}: {unchanged}"))
        print_change(session, _change(file, [], None))
        return
    change = _save(session, path, before, after, dry_run=dry_run, yes=yes)
    if not dry_run:
        print_change(session, change)


def change_in_editor(session: "Session", *, yes: bool) -> None:
    """Open a copy of the configuration file in the editor until it can be used, then put it in the file's place."""
    path = found_file(session)
    file = str(path)
    before = read_file(path, file)
    directory = Path(tempfile.mkdtemp(prefix="duroctl-edit-"))
    copy = directory / path.name
    copy.write_bytes(before)
    kept = f"your edit is kept in {copy}"
    change = _change(file, [], None)
    try:
        after = _edited(copy, before, file, kept)
        if after == before:
            session.note("nothing was changed")
        else:
            change = _save(session, path, before, after, dry_run=False, yes=yes)
    except _EmptiedError:
        shutil.rmtree(directory)
        raise
    except DeclinedError as error:
        if copy.read_bytes() == before:
            shutil.rmtree(directory)
            raise
        raise DeclinedError(f"{error.message}; {kept}") from error
    except SettingsError as error:
        if kept in (error.hint or ""):
            raise
        problem = error.problems[0]
        raise SettingsError([problem._replace(hint=f"{problem.hint}; {kept}"), *error.problems[1:]]) from error
    except (DuroError, KeyboardInterrupt):
        if copy.read_bytes() == before:
            shutil.rmtree(directory)
        else:
            session.note(kept)
        raise
    shutil.rmtree(directory)
    print_change(session, change)


class _EmptiedError(DeclinedError):
    """Nothing is left of the edit."""


def unread_text(session: "Session", client: "Client") -> str:
    """That the configuration file at hand says something else than any worker was told; "": it does not, or there is no
    file."""
    from duro.maintenance.policies import decode_sources

    file = session.config_file
    if file is None:
        return ""
    name = str(file)
    try:
        said = read_settings(read_file(file, name), name).effective_hash
    except SettingsError as error:
        return f"{error.message}, so no worker can have read it; what is shown is what workers were told before"
    told = {sources.settings_hash for sources in decode_sources(client.store.published_policies().sources)}
    nothing = read_settings(b"", name).effective_hash
    if said in told or (said == nothing and told <= {""}):
        return ""
    if not told:
        why = "no worker has published what it was told; `duroctl policy simulate` shows what it would let go"
        return f"{name} has no effect yet: {why}"
    running = (sources for worker in client.list_workers() for sources in decode_sources([worker.published]))
    who = "they have stopped since"
    if any(sources.settings_hash != said for sources in running):
        who = "`duroctl policy check --strict` names them"
    what = f"what is shown is what they were told; {who}"
    return f"{name} says something else than any worker was told: {what}"


def _known_names(client: "Client") -> set[str]:
    """The orchestrations that workers run or that the store has instances of."""
    from duro.maintenance.policies import decode_sources

    run = decode_sources([worker.published for worker in client.list_workers()])
    return {*client.store.orchestration_names(), *(name for sources in run for name, _ in sources.orchestrations)}


def vain_in_store(
    session: "Session", data: bytes, settings: RuntimeSettings, named: str | None
) -> Iterator[FileProblem]:
    """What ``policy check --strict`` finds in a file that can be used; ``named``: as the argument names it, None: it is
    the one of this command."""
    from duro.maintenance.policies import decode_sources
    from duro.settings.strict import vain_rules

    try:
        with session.client(read_only=True, choice=session.store_chosen(config=named)) as client:
            workers = client.list_workers()
            names = _known_names(client)
    except StoreNotFoundError as error:
        session.note(f"overrides were not compared with the orchestrations there are: {error.message}")
        yield from vain_rules(data, settings.file, None)
        return
    told = [(worker.worker_id, sources) for worker in workers for sources in decode_sources([worker.published])]
    yield from vain_rules(data, settings.file, names)
    for worker_id, sources in told:
        if sources.settings_hash != settings.effective_hash:
            message = f"the worker {worker_id} runs " + (
                f"with other settings, of {sources.file}" if sources.file else "without any runtime_config.toml"
            )
            hint = "give it this file with --config; one that has it applies a change within seconds"
            yield FileProblem(settings.file, 0, 0, message, hint)


def _edited(copy: Path, before: bytes, file: str, kept: str) -> bytes:
    """What the copy is when its settings can be used."""
    line = column = 0
    while True:
        _run_editor(copy, line, column)
        if not copy.exists() or (before.strip() and not copy.read_bytes().strip()):
            raise _EmptiedError("the edit is empty, nothing was changed")
        after = read_file(copy, str(copy))
        try:
            read_settings(after, file)
        except SettingsError as error:
            for problem in error.problems:
                write_line(sys.stderr, problem_line(problem))
            sys.stderr.flush()
            first = error.problems[0]
            if not (sys.stdin.isatty() and sys.stderr.isatty() and _wants_again()):
                again = f"{first.hint}; {file} is as it was, and {kept}"
                raise SettingsError([first._replace(hint=again), *error.problems[1:]]) from error
            line, column = first.line, first.column
        else:
            return after


def _wants_again() -> bool:
    return answered("Edit it again? [Y/n] ") in ("", "y", "yes")


def _run_editor(copy: Path, line: int, column: int) -> None:
    command = os.environ.get("VISUAL") or os.environ.get("EDITOR") or ""
    if not command:
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise UsageError("there is no terminal to edit on", hint="set EDITOR, or use `duroctl policy set`")
        command = "vi"
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"the editor {command!r} cannot be read: {error}", hint="set EDITOR=nano, say") from error
    if not words:
        raise UsageError("EDITOR names no editor", hint="set EDITOR=nano, say")
    try:
        # the editor that the user named, without a shell
        with _interrupts_left_to_the_editor():
            started = [*words, *at_line(Path(words[0]).name, copy, line, column)]
            done = subprocess.run(started, check=False)  # noqa: S603 - the editor that the user has named
    except OSError as error:
        hint = "set EDITOR to one that is there"
        raise UsageError(f"the editor {words[0]!r} cannot be started: {error.strerror}", hint=hint) from error
    if done.returncode == -signal.SIGINT:
        raise KeyboardInterrupt
    if done.returncode:
        raise DeclinedError(f"the editor ended with status {done.returncode}, nothing was changed")


@contextmanager
def _interrupts_left_to_the_editor() -> Iterator[None]:
    """Ctrl-C on the terminal goes to both processes. An editor may use it for something of its own, and is not to be
    killed with what was typed into it. The handlers do nothing; unlike "ignored" they are not inherited."""
    before = [(number, signal.signal(number, lambda *_: None)) for number in (signal.SIGINT, signal.SIGQUIT)]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def at_line(editor: str, file: Path, line: int, column: int) -> list[str]:
    """The arguments with which ``editor`` opens ``file`` at ``line`` (0: anywhere), as far as it is known how. Pure."""
    if not line:
        return [str(file)]
    if editor in _PLUS_LINE:
        return [f"+{line}", str(file)]
    if editor in _COLON_LINE:
        return [f"{file}:{line}:{column}"]
    if editor in _GOTO_LINE:
        return ["--goto", f"{file}:{line}:{column}"]
    return [str(file)]


def _save(session: "Session", path: Path, before: bytes, after: bytes, *, dry_run: bool, yes: bool) -> dict[str, Any]:
    """Show the change and, if it lets more go, ask; then replace the file, unless it changed meanwhile. The change."""
    file = str(path)
    simulated, names = _simulated(session, before, after, file)
    diff = [*_diff(before, after, file)]
    shown = [*diff, *(() if simulated is None else change_lines(simulated))]
    change = _change(file, diff, simulated)
    for problem in _newly_vain(before, after, file, names):
        session.note(visible_field(f"this has no effect: {problem.message}; {problem.hint}"))
    if dry_run:
        show_change(session, change, shown)
        return change
    asks = simulated is not None and simulated.removes_more and not yes
    if simulated is not None and asks:
        session.confirm("Save it?", shown, more_text(simulated))

    def replaced(now: bytes) -> bytes:
        if now != before:
            problem = FileProblem(file, 0, 0, "it was changed by somebody else meanwhile", "look at it and try again")
            raise SettingsError([problem])
        return after

    try:
        edit_file(path, file, replaced)
    except OSError as error:
        problem = FileProblem(file, 0, 0, f"it cannot be written: {error.strerror}", "check the disk and permissions")
        raise SettingsError([problem]) from error
    if not session.options.quiet and not asks:  # it was shown with the question
        for line in shown:
            write_line(sys.stderr, line)
    session.note(visible_field(f"{file}: saved; workers that watch it apply it within seconds"))
    return change


def _change(file: str, diff: list[str], simulated: "PolicySimulation | None") -> dict[str, Any]:
    return {"file": file, "diff": diff, "simulation": None if simulated is None else simulation_json(simulated)}


def print_change(session: "Session", document: dict[str, Any]) -> None:
    """What was changed, for whoever asked for a document; people are told on standard error."""
    if session.output.format in ("json", "jsonl"):
        session.output.json({"schema": CHANGE_SCHEMA, **document})


def show_change(session: "Session", document: dict[str, Any], lines: list[str]) -> None:
    """What a dry run says it would do."""
    if session.output.format == "table":
        session.output.lines(lines)
    else:
        print_change(session, document)


def _newly_vain(before: bytes, after: bytes, file: str, names: Collection[str] | None) -> Iterator[FileProblem]:
    """What a change says in vain."""
    from duro.settings.strict import vain_rules

    try:
        known = {problem.message for problem in vain_rules(before, file, names)}
    except SettingsError:
        known = set()
    yield from (problem for problem in vain_rules(after, file, names) if problem.message not in known)


def _simulated(
    session: "Session", before: bytes, after: bytes, file: str
) -> "tuple[PolicySimulation | None, set[str] | None]":
    """What the change does to the store that the command names, or else to those that the file names now, in which
    workers that watch it run, and as it will be; and the orchestrations that are known there. Of two stores that of
    which it lets more go. None: there is none, or it is not made yet, which is said.

    Raises:
        StoreNotFoundError: the one that was named for this command is not there.
    """
    settings = read_settings(after, file)
    try:
        instead_of = read_settings(before, file)
    except SettingsError:
        instead_of = None
    found: list[tuple[PolicySimulation, set[str]]] = []
    unknown = ""
    for choice in _stores_of(session, {Path(file): before}, {Path(file): after}):
        try:
            if isinstance(choice, DuroError):
                raise choice
            with session.client(read_only=True, choice=choice) as client:
                found.append((client.simulate_policies(settings, instead_of=instead_of), _known_names(client)))
        except (StoreNotFoundError, SettingsError) as error:
            if not isinstance(choice, DuroError) and is_by_hand(choice):
                raise
            unknown = error.message
    if not found:
        session.note(f"what this lets go is not known: {unknown}")
        return None, None
    return next((each for each in found if each[0].removes_more), found[0])


def _stores_of(session: "Session", *texts: Mapping[Path, bytes]) -> "Iterator[StoreChoice | DuroError]":
    """The store that the command works on when its file says each of ``texts``, each once; why there is none."""
    urls = set()
    for told in texts:
        try:
            choice = session.store_chosen(told)
        except (StoreNotFoundError, SettingsError) as error:
            yield error
            continue
        if choice.url not in urls:
            yield choice
        urls.add(choice.url)


def _diff(before: bytes, after: bytes, file: str) -> Iterator[str]:
    old, new = (data.decode("utf-8", "replace").splitlines() for data in (before, after))
    for line in difflib.unified_diff(old, new, f"{file} (before)", f"{file} (after)", n=1, lineterm=""):
        yield visible(line)
