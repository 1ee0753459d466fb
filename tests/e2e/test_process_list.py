"""What ``ps`` shows: the URL of a store that the environment or a file names is in no command line, neither of the
program nor of what it starts. No URL with a password is accepted today; that of a file stands for it."""

import signal
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.cli_support import Cli

SECRET: Final = f"s3cr3t-{uuid.uuid4().hex}"
"""Of this run alone: others may run beside it."""

PROCESSES: Final = Path("/proc")
WORKER: Final = ("worker", "cli_flows:registry", "--directory", str(Path(__file__).parent))
EDITOR: Final = """\
import pathlib, sys
told = pathlib.Path("told")
for file in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
    try:
        told.open("a").write(file.read_bytes().decode(errors="replace").replace(chr(0), " ") + chr(10))
    except OSError:
        pass
"""

pytestmark = pytest.mark.skipif(not (PROCESSES / "self" / "cmdline").exists(), reason="there is no /proc")


def shown() -> Iterator[str]:
    """The command lines of all processes, as ``ps`` reads them."""
    for file in PROCESSES.glob("[0-9]*/cmdline"):
        try:
            yield file.read_bytes().decode(errors="replace").replace("\0", " ")
        except OSError:  # it has ended
            continue


def shown_secrets() -> list[str]:
    return [line for line in shown() if SECRET in line]


@pytest.fixture
def named(cli: Cli) -> Cli:
    """``SECRET`` is in the URL of the store, which is there, and in no other path."""
    assert cli("init", "--store", f"sqlite:///{SECRET}.db").code == 0
    return cli


def run_a_worker_and_look(cli: Cli, *options: str) -> list[str]:
    """What is shown of the secret while a worker runs an instance."""
    process = cli.popen(*WORKER, *options)
    try:
        assert process.stderr is not None
        assert b"orchestrations" in process.stderr.readline()
        assert cli("start", "hello", "--input", '"Ada"', "--wait", "-q", *options).out == '"hello Ada"\n'
        found = shown_secrets()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    return found


def test_no_process_list_shows_the_url_that_the_environment_names(named: Cli) -> None:
    (named.directory / "runtime_config.toml").unlink()
    named.environment["DUROCTL_STORE"] = f"sqlite:///{SECRET}.db"
    assert run_a_worker_and_look(named) == []


def test_no_process_list_shows_the_url_that_a_file_names(named: Cli) -> None:
    assert SECRET in (named.directory / "runtime_config.toml").read_text()
    assert run_a_worker_and_look(named) == []


def test_a_url_on_the_command_line_would_be_seen(named: Cli) -> None:
    """So the tests above can fail; and it is why the environment and a file can name a store."""
    assert run_a_worker_and_look(named, "--store", f"sqlite:///{SECRET}.db")


def test_the_editor_of_a_policy_is_not_started_with_the_url_on_its_command_line(named: Cli) -> None:
    (named.directory / "editor.py").write_text(EDITOR)
    done = named(
        *("policy", "edit"), EDITOR=f"{sys.executable} editor.py", DUROCTL_STORE=f"sqlite:///{SECRET}.db", VISUAL=""
    )
    assert (done.code, done.err) == (0, "duroctl: nothing was changed\n")
    told = (named.directory / "told").read_text()
    assert "editor.py" in told
    assert SECRET not in told
