"""``duroctl`` inside the process of a test: every command there is, and a directory to run it in."""

import io
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import chdir, closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple
from unittest import mock

from duroctl import app
from tests.support.fuzz_stores import fill, opened
from tests.support.fuzzing import operations_at_most

OPERATIONS: Final = 1_500_000
"""Most of it for importing what a command needs, the first time."""

LEFT_OUT: Final = {"--follow", "-f", "--wait", "--help", "--install-completion", "--show-completion"}
"""They wait for others, print what is no result, or write outside the directory of the test."""

ENDLESS: Final = {("demo",), ("worker",)}
"""With arguments that are right they run for long, so these have a wrong one."""


class Parameter(NamedTuple):
    """``flags`` () for an argument. ``kind`` "" for a switch."""

    flags: tuple[str, ...]
    kind: str
    several: bool


@cache
def commands() -> dict[tuple[str, ...], list[Parameter]]:
    root = app.build()
    context = root.make_context("duroctl", ["x"], resilient_parsing=True)
    return dict(_walk(root, context, ()))


def _walk(command: Any, context: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], list[Parameter]]]:
    if hasattr(command, "list_commands"):
        for name in command.list_commands(context):
            yield from _walk(command.get_command(context, name), context, (*path, name))
        return
    found = []
    for each in command.params:
        flags = tuple(each.opts) if each.param_type_name == "option" else ()
        kind = "" if getattr(each, "is_flag", False) else each.metavar or "VALUE"
        if not LEFT_OUT.intersection(flags) and "--store" not in flags and "--config" not in flags:
            found.append(Parameter(flags, kind, each.nargs == -1 or getattr(each, "multiple", False)))
    yield path, found


class Ran(NamedTuple):
    code: int
    out: str
    err: str


@cache
def filled() -> bytes:
    with tempfile.TemporaryDirectory(prefix="duro-commands-") as directory:
        path = Path(directory) / "duro.db"
        with closing(opened(path)) as store:
            fill(store)
        return path.read_bytes()


@contextmanager
def workplace() -> Iterator[Path]:
    """The current directory, with a store, its configuration and a few files, two levels below one that is removed."""
    with tempfile.TemporaryDirectory(prefix="duro-commands-") as outer:
        directory = Path(outer) / "a" / "b"
        directory.mkdir(parents=True)
        (directory / "duro.db").write_bytes(filled())
        (directory / "runtime_config.toml").write_text(
            '[store]\nurl = "sqlite:///duro.db"\n[pruning]\ndefault_keep_last = 2\n'
        )
        (directory / "broken.toml").write_text("[pruning\n")
        (directory / "data.json").write_text('{"a": [1, 2]}')
        (directory / "plan.json").write_text('{"schema": "duroctl.prune_plan/1"}')
        (directory / "removal.json").write_text('{"schema": "duroctl.removal_plan/1"}')
        environment = {"HOME": str(directory), "PATH": os.defpath, "EDITOR": "true", "COLUMNS": "80"}
        with chdir(directory), mock.patch.dict(os.environ, environment, clear=True):
            yield directory


def dump(directory: Path) -> Any:
    with closing(opened(directory / "duro.db")) as store:
        return store.dump()


def run(line: tuple[str, ...], stdin: bytes = b"") -> Ran:
    buffers = (io.BytesIO(), io.BytesIO())
    out, err = (io.TextIOWrapper(buffer, "utf-8", write_through=True) for buffer in buffers)
    given = io.TextIOWrapper(io.BytesIO(stdin), "utf-8", "surrogateescape")
    path = list(sys.path)
    with mock.patch.multiple(sys, stdout=out, stderr=err, stdin=given), operations_at_most(OPERATIONS):
        code = app.run(line)
    sys.path[:] = path
    printed = [buffer.getvalue().decode() for buffer in buffers]
    return Ran(code, *printed)
