"""Runs `python -m duroctl` the way a person or a script does, and stores to run it on."""

import contextlib
import json
import os
import pty
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duro
from duro.stores.opening import open_store
from tests.e2e import cli_flows

ROOT = Path(__file__).parents[2]
BYTECODE = Path(tempfile.gettempdir()) / f"duroctl-tests-{os.getuid()}"
"""Compiled modules are kept here from one run to the next: hundreds of processes are started."""
PROGRAM = [sys.executable, "-m", "duroctl"]
HOSTILE_ID = "evil\x1b[31m\u202e\x9b\nsecond line"
HOSTILE_NAME = "na\x1b]0;pwned\x07me\u2066\n"


@dataclass(frozen=True)
class Ran:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    def rows(self) -> list[dict[str, str]]:
        """The tab-separated table that was printed."""
        header, *lines = self.lines
        return [dict(zip(header.split("\t"), line.split("\t"), strict=True)) for line in lines]


class Cli:
    """``duroctl`` in a directory of its own, with a home of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        home = directory / "home"
        home.mkdir(exist_ok=True)
        dropped = ("DUROCTL_", "XDG_", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED")
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(dropped)},
            "HOME": str(home),
            "PYTHONPATH": f"{ROOT / 'runtime'}{os.pathsep}{ROOT}",
            "PYTHONPYCACHEPREFIX": str(BYTECODE),
        }

    def __call__(self, *arguments: str, input: str | bytes = "", **environment: str) -> Ran:
        done = subprocess.run(
            [*PROGRAM, *arguments],
            cwd=self.directory,
            env={**self.environment, **environment},
            input=input.encode() if isinstance(input, str) else input,
            capture_output=True,
            timeout=60,
            check=False,
        )
        return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())

    def popen(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*PROGRAM, *arguments],
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def on_terminal(self, *arguments: str, typed: str = "", width: int = 80) -> Ran:
        """Run with a pseudo-terminal for all three streams; what is printed comes as ``out``."""
        leader, follower = pty.openpty()
        process = subprocess.Popen(
            [*PROGRAM, *arguments],
            cwd=self.directory,
            env={**self.environment, "TERM": "xterm", "COLUMNS": str(width), "LINES": "24"},
            stdin=follower,
            stdout=follower,
            stderr=follower,
        )
        os.close(follower)
        os.write(leader, typed.encode())
        printed = _read_all(leader)
        os.close(leader)
        return Ran(process.wait(10), printed.decode().replace("\r\n", "\n"), "")

    @property
    def store(self) -> Path:
        return self.directory / "duro.db"

    def dump(self) -> Any:
        """Every row of the store."""
        with contextlib.closing(open_store(self.store, create=False)) as store:
            return store.dump()

    @contextlib.contextmanager
    def client(self) -> Iterator[duro.Client]:
        with duro.Client(self.store) as client:
            yield client


def _read_all(descriptor: int) -> bytes:
    printed = b""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        ready, _, _ = select.select([descriptor], [], [], 0.2)
        if not ready:
            continue
        try:
            chunk = os.read(descriptor, 65_536)
        except OSError:  # Linux says so when the other side is closed
            break
        if not chunk:
            break
        printed += chunk
    return printed


def fill(store: Path) -> None:
    """One instance of every kind: completed, failed, with executions, with children, waiting, terminated, hostile."""
    with duro.Runtime(store, cli_flows.registry) as runtime:
        client = runtime.client
        client.start_orchestration(cli_flows.hello, "Ada", instance_id="greeting")
        client.start_orchestration(cli_flows.failing, "no\x1b[31m luck", instance_id="broken")
        client.start_orchestration(cli_flows.rounds, 2, instance_id="rounds/1")
        client.start_orchestration(cli_flows.family, instance_id="family")
        client.start_orchestration(cli_flows.waiting, instance_id="patient")
        for ended in ("greeting", "broken", "rounds/1", "family", "child-c"):
            _until_there(client, ended)
            client.wait_for_orchestration(ended, 20)
        client.start_orchestration("unknown", {"a": 1}, instance_id="stopped", allow_unregistered=True)
        client.terminate("stopped", "not wanted")
        client.start_orchestration(HOSTILE_NAME, HOSTILE_ID, instance_id=HOSTILE_ID, allow_unregistered=True)


def _until_there(client: duro.Client, instance_id: str) -> None:
    for _ in range(500):
        with contextlib.suppress(duro.InstanceNotFoundError):
            client.get_instance(instance_id)
            return
        time.sleep(0.01)
    raise AssertionError(f"{instance_id} never came")


def unmeasured(environment: Mapping[str, str]) -> dict[str, str]:
    """For a process whose coverage is not measured: what measures it imports modules of its own, and writes files."""
    return {name: value for name, value in environment.items() if name != "COVERAGE_PROCESS_CONFIG"}
