"""Worker processes to kill, stop and continue: ``duroctl worker`` as an operator runs it, two on one file."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import apsw

import duro
from tests.support.workload import EFFECTS_LOG_VARIABLE

ROOT: Final = Path(__file__).parents[2]
_BYTECODE: Final = Path(tempfile.gettempdir()) / f"duroctl-tests-{os.getuid()}"
REGISTRY: Final = "tests.support.workload:registry"
_READY: Final = re.compile(r"(?:duroctl: )?worker (\S+)")
_READY_TIMEOUT_S: Final = 60.0


class WorkerProcess:
    """``duroctl worker`` on the store in ``directory``; what it says goes to a log file there."""

    def __init__(
        self,
        directory: Path,
        name: str,
        lease_s: int,
        program: Sequence[str] | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """``program``: arguments of Python for another program than ``duroctl``; it prints "worker ID" when ready.
        ``variables``: further ones of its environment."""
        self.log = directory / f"{name}.log"
        duroctl = ("-m", "duroctl", "worker", REGISTRY, "--lease", f"{lease_s}s", "--store", store_url_of(directory))
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("DUROCTL_")},
            "PYTHONPATH": f"{ROOT / 'runtime'}{os.pathsep}{ROOT}",
            "PYTHONPYCACHEPREFIX": str(_BYTECODE),
            EFFECTS_LOG_VARIABLE: str(effects_log_of(directory)),
            **(variables or {}),
        }
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        self._said_before = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *(program or duroctl)], cwd=directory, env=environment, stdout=log, stderr=log
            )

    @property
    def process_id(self) -> int:
        return self.process.pid

    def said(self) -> str:
        """What this process has printed so far."""
        return self.log.read_bytes()[self._said_before :].decode()

    def wait_until_ready(self) -> str:
        """The id of the worker, once it is registered."""
        deadline_s = time.monotonic() + _READY_TIMEOUT_S
        while time.monotonic() < deadline_s:
            for line in self.said().splitlines(keepends=True):
                if line.endswith("\n") and (ready := _READY.match(line)):
                    return ready[1]
            if self.process.poll() is not None:
                break
            time.sleep(0.01)
        raise AssertionError(f"the worker did not start (exit status {self.process.poll()}): {self.said()}")

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it where it stands, as the machine would."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def freeze(self, store: Path) -> None:
        """Stop the process where it stands, but never inside a transaction: there it would stop everybody."""
        while True:
            self.send(signal.SIGSTOP)
            # the signal alone has stopped nothing yet: a thread on another core may still begin a transaction
            os.waitid(os.P_PID, self.process_id, os.WSTOPPED)
            with contextlib.closing(apsw.Connection(os.fspath(store))) as connection:
                try:
                    connection.execute("BEGIN IMMEDIATE; ROLLBACK")
                except apsw.BusyError:
                    self.send(signal.SIGCONT)
                else:
                    return
            time.sleep(0.05)

    def stop(self) -> int:
        """Ask it to end; its exit status."""
        self.send(signal.SIGTERM)
        return self.process.wait(60)


@contextlib.contextmanager
def worker_processes(
    directory: Path, count: int, lease_s: int, variables: Mapping[str, str] | None = None
) -> Iterator[list[WorkerProcess]]:
    """``count`` running workers, with ``variables`` in their environment. Whoever is in the list at the end is killed,
    also those put there meanwhile."""
    workers: list[WorkerProcess] = []
    try:
        workers += [
            WorkerProcess(directory, f"worker-{number}", lease_s, variables=variables) for number in range(count)
        ]
        for worker in workers:
            worker.wait_until_ready()
        yield workers
    finally:
        for worker in workers:
            worker.kill()


def make_store(directory: Path) -> str:
    """A new store in ``directory``; its URL."""
    duro.open_store(store_url_of(directory)).close()
    return store_url_of(directory)


def store_url_of(directory: Path) -> str:
    return f"sqlite:///{directory / 'duro.db'}"


def effects_log_of(directory: Path) -> Path:
    return directory / "effects.log"
