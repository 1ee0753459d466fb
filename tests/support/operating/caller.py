"""A client: one call after another, in a process that may be killed at any moment.

``python -m tests.support.operating.caller DIRECTORY NAME SEED`` starts instances, raises events and cancels, as a
program with a ``duro.Client`` or by ``duroctl start``. Before and after each call it writes a line to
``calls-NAME.jsonl``. Its next life repeats the call in which it was killed, under the same request id, or looks what
became of it. On SIGTERM it completes what it began (every collector gets all its items, every patient one its cancel).
"""

import contextlib
import io
import os
import random
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final
from unittest import mock

import msgspec

import duro
from duroctl import app
from tests.support.operating import clock
from tests.support.operating.calls import KNOWN, Begun, Call, Outcome, Route, journal_of, read_calls, settled
from tests.support.operating.process import CLOCK, CONFIG
from tests.support.processes import store_url_of
from tests.support.traffic import ITEMS_PER_SENDER, random_start
from tests.support.workload import SENDERS

_BATCH: Final = 4
_IN_FLIGHT_MAX: Final = 15
_PAUSE_MAX_S: Final = 0.02
_GONE: Final = (duro.InstanceNotFoundError,)
"""Somebody removes what has ended; whether that was right is for the evidence."""


class Caller:
    """One life of the client ``name``: what the lives before it did is in the journal."""

    def __init__(self, directory: Path, name: str, seed: str, client: duro.Client) -> None:
        self._directory = directory
        self._name = name
        self._client = client
        self._choice = random.Random(f"{name} {seed}")
        self._journal = journal_of(directory, name)
        self._numbers = 0
        self._instances = 0
        self._open: list[str] = []
        self._collectors: list[tuple[str, str, int]] = []
        """Collector, sender, and the item that is next."""

        self._patients: list[str] = []
        for call in settled(read_calls(self._journal)):
            self._take_up(call)

    def _take_up(self, call: Call) -> None:
        """A call of an earlier life, of which nobody says yet what became of it if that life ended in it."""
        self._numbers = max(self._numbers, call.number)
        self._instances += len(call.starts)
        if call.outcome == "asked":
            outcome: Outcome = "repeated"
            if call.what == "start" and self._choice.random() < 0.5:
                outcome = "found" if any(self._is_there(each.instance_id) for each in call.starts) else "given up"
            else:
                self._make(call)
            self._note(msgspec.structs.replace(call, outcome=outcome))
            call = msgspec.structs.replace(call, outcome=outcome)
        if call.outcome in KNOWN:
            self._remember(call)

    def _remember(self, call: Call) -> None:
        """What is to be done because of it."""
        for begun in call.starts:
            self._open.append(begun.instance_id)
            if begun.name == "collector":
                self._collectors += [(begun.instance_id, sender, 0) for sender in SENDERS]
            elif begun.name == "patient":
                self._patients.append(begun.instance_id)
        if call.what == "event":
            self._collectors.remove((call.instance_id, call.sender, call.item))
            if call.item + 1 < ITEMS_PER_SENDER:
                self._collectors.append((call.instance_id, call.sender, call.item + 1))
        elif call.what == "cancel":
            self._patients.remove(call.instance_id)

    # --- calls -------------------------------------------------------------------------------------------------

    def work(self, stop: threading.Event) -> None:
        """Until it is stopped; then it completes what was begun."""
        while not stop.wait(self._choice.uniform(0.0, _PAUSE_MAX_S)):
            choices: list[tuple[Callable[[], None], int]] = []
            self._open = [each for each in self._open if self._is_open(each)]
            if len(self._open) < _IN_FLIGHT_MAX:
                choices.append((self._start, 3))
            if self._collectors:
                choices.append((self._send, 4))
            if self._patients:
                choices.append((self._cancel, 1))
            if choices:
                ((do, _),) = self._choice.choices(choices, [weight for _, weight in choices])
                do()
        while self._collectors:
            self._send()
        while self._patients:
            self._cancel()

    def _start(self) -> None:
        route: Route = self._choice.choice(("client", "client", "duroctl"))
        count = 1 if route == "duroctl" else self._choice.randint(1, _BATCH)
        begun = []
        for _ in range(count):
            self._instances += 1
            start, expected = random_start(self._choice, f"{self._name}-{self._instances}")
            begun.append(Begun(str(start.instance_id), expected.name, start.input, expected.status, expected.output))
        self._call(Call(self._next(), "start", starts=tuple(begun), route=route))

    def _send(self) -> None:
        instance_id, sender, item = self._choice.choice(self._collectors)
        self._call(Call(self._next(), "event", instance_id=instance_id, sender=sender, item=item))

    def _cancel(self) -> None:
        self._call(Call(self._next(), "cancel", instance_id=self._patients[0]))

    def _next(self) -> int:
        self._numbers += 1
        return self._numbers

    def _call(self, call: Call) -> None:
        self._note(call)
        self._make(call)
        told = msgspec.structs.replace(call, outcome="told")
        self._note(told)
        self._remember(told)

    def _make(self, call: Call) -> None:
        """The call itself. An event or a cancel that ended its instance may be repeated when that has been removed."""
        request_id = f"{self._name}-{call.number}"
        if call.what == "event":
            with contextlib.suppress(*_GONE):
                self._client.raise_event(call.instance_id, "item", [call.sender, call.item], request_id=request_id)
        elif call.what == "cancel":
            with contextlib.suppress(*_GONE):
                self._client.cancel(call.instance_id, "enough", request_id=request_id)
        elif call.route == "client":
            starts = [
                duro.Start(orchestration=each.name, input=each.input, instance_id=each.instance_id)
                for each in call.starts
            ]
            self._client.start_orchestrations(starts, request_id=request_id, allow_unregistered=True)
        else:
            self._start_by_command(call.starts[0], request_id)

    def _start_by_command(self, begun: Begun, request_id: str) -> None:
        line = ("start", begun.name, "--input", msgspec.json.encode(begun.input).decode(), "--id", begun.instance_id)
        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
        with mock.patch.multiple(sys, stdout=out, stderr=err):
            status = app.run((*line, "--request-id", request_id, "--allow-unregistered", "--config", CONFIG))
        if status:
            err.seek(0)
            raise AssertionError(f"duroctl {' '.join(line)} ended with {status}: {err.read()}")

    # --- looking -----------------------------------------------------------------------------------------------

    def _is_there(self, instance_id: str) -> bool:
        try:
            self._client.get_instance(instance_id)
        except _GONE:
            return False
        return True

    def _is_open(self, instance_id: str) -> bool:
        try:
            return self._client.get_result(instance_id) is None
        except _GONE:
            return False

    def _note(self, call: Call) -> None:
        """In one ``write`` of a descriptor in append mode: a kill leaves a whole line or none."""
        descriptor = os.open(self._journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, msgspec.json.encode(call) + b"\n")
        finally:
            os.close(descriptor)


def main(directory: str, name: str, seed: str) -> None:
    os.chdir(directory)
    clock.use(Path(CLOCK))
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with duro.Client(store_url_of(Path(directory))) as client:
        caller = Caller(Path(directory), name, seed, client)
        print(f"worker {name}", flush=True)
        caller.work(stop)


if __name__ == "__main__":
    main(*sys.argv[1:])
