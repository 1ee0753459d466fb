"""An operator: one ``duroctl`` command after another, in a process that may be killed at any moment.

``python -m tests.support.operating.process DIRECTORY DUTY SEED`` works until SIGTERM. Before and after each command it
writes a line to ``journal-DUTY.jsonl`` of the directory: what it was about to do, and what it was told. The duty
``last`` is every command once, in an order, and ends by itself.
"""

import io
import os
import random
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from unittest import mock

import msgspec

from duroctl import app
from tests.support.operating import clock

CONFIG: Final = "runtime_config.toml"
CLOCK: Final = "clock"
CONFIGURED: Final = "kept"
"""The archive of everything else."""

BY_HAND: Final = "by-hand"
"""The archive of runs that name one."""

_PAUSE_MAX_S: Final = 0.3


class Told(msgspec.Struct, frozen=True):
    """A line of the journal. ``status`` None: the command begins; one of the same number says how it ended."""

    number: str
    arguments: tuple[str, ...]
    status: int | None = None
    out: str = ""
    err: str = ""

    @property
    def document(self) -> dict[str, Any]:
        """What it printed, as JSON; {} where it printed nothing."""
        found: dict[str, Any] = msgspec.json.decode(self.out) if self.out.strip() else {}
        return found


class Operator:
    def __init__(self, directory: Path, duty: str, seed: str) -> None:
        self._journal = directory / f"journal-{duty}.jsonl"
        self._choice = random.Random(f"{duty} {seed}")
        self._prefix = f"{duty}-{seed}"
        self._commands = 0
        self._runs: list[str] = []
        """What can be undone."""

    def run(self, *arguments: str) -> Told:
        """One command, as it would be typed, with its lines in the journal."""
        self._commands += 1
        number = f"{self._prefix}-{self._commands}"
        reason = ("--reason", number, "--yes") if "--all" in arguments else ()
        line = (*arguments, *reason)
        self._note(Told(number, line))
        buffers = (io.BytesIO(), io.BytesIO())
        out, err = (io.TextIOWrapper(buffer, "utf-8", write_through=True) for buffer in buffers)
        with mock.patch.multiple(sys, stdout=out, stderr=err):
            status = app.run((*line, "--config", CONFIG, "--output", "json"))
        told = Told(number, line, status, *(buffer.getvalue().decode() for buffer in buffers))
        self._note(told)
        return told

    def _note(self, told: Told) -> None:
        """In one ``write`` of a descriptor in append mode: a kill leaves a whole line or none."""
        descriptor = os.open(self._journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, msgspec.json.encode(told) + b"\n")
        finally:
            os.close(descriptor)

    # --- duties ------------------------------------------------------------------------------------------------

    def prune(self) -> None:
        keep = str(self._choice.randint(1, 3))
        kept_elsewhere = ("--archive", BY_HAND) if self._choice.random() < 0.3 else ()
        self._remove("prune", "--all", "--keep-last", keep, *kept_elsewhere)

    def clean(self) -> None:
        if self._choice.random() < 0.5:
            self._remove("orphans", "cleanup", "--all", "--min-age", "0s", "--cancel-running")
        else:
            self._remove("instances", "purge", "--all", "--keep-last", str(self._choice.randint(1, 20)))

    def archive(self) -> None:
        what = self._choice.random()
        if what < 0.6 or not Path(CONFIGURED, "archive.json").exists():  # before the first one there is no archive
            self.run("archive", "write")
        elif what < 0.8:
            self.run("archive", "verify")
        else:
            listed = self.run("archive", "list", "--limit", "50").document.get("executions", [])
            if listed:
                chosen = self._choice.choice(listed)
                self.run("archive", "restore", f"{chosen['instance_id']}/{chosen['execution_id']}")

    def last(self) -> None:
        """What an operator would do when all is quiet: every one of it has to succeed."""
        self.run("prune", "--all", "--keep-last", "2", "--now")
        self.run("orphans", "cleanup", "--all", "--min-age", "0s", "--now")
        self.run("instances", "purge", "--all", "--keep-within", "10s", "--now")
        self.run("archive", "write")
        self.run("archive", "verify")
        if Path(BY_HAND, "archive.json").exists():  # in a short run nobody may have come to name one
            self.run("archive", "verify", "--archive", BY_HAND)
        self.run("doctor", "--deep")

    def _remove(self, *arguments: str) -> None:
        """At once or with a grace; what has a grace is undone now and then."""
        if self._runs and self._choice.random() < 0.2:
            self.run("prune", "undo", self._runs.pop())
            return
        at_once = self._choice.random() < 0.7
        told = self.run(*arguments, *(("--now",) if at_once else ()))
        if not at_once and told.status == 0 and (run_id := told.document.get("run_id")):
            self._runs.append(run_id)

    def work(self, duty: str, stop: threading.Event) -> None:
        do: Callable[[], None] = getattr(self, duty)
        while not stop.wait(self._choice.uniform(0.0, _PAUSE_MAX_S)):
            do()


def read_journal(file: Path) -> Iterator[Told]:
    """Its lines, in order."""
    if file.exists():
        yield from (msgspec.json.decode(line, type=Told) for line in file.read_bytes().splitlines())


def main(directory: str, duty: str, seed: str) -> None:
    os.chdir(directory)
    clock.use(Path(CLOCK))
    operator = Operator(Path(directory), duty, seed)
    if duty == "last":
        operator.last()
        return
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    print(f"worker {duty}", flush=True)
    operator.work(duty, stop)


if __name__ == "__main__":
    main(*sys.argv[1:])
