"""The live file of a store is never opened outside SQLite, whatever is done to it: closing such a descriptor would drop
SQLite's locks, and two processes could write at once."""

import subprocess
import sys
from pathlib import Path


def opens(directory: Path, *options: str) -> list[str]:
    program = [sys.executable, "-m", "tests.support.open_watch", str(directory), *options]
    ran = subprocess.run(program, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.split("\n")[:-1]


def test_nothing_but_sqlite_opens_the_live_file_while_it_is_worked_on(tmp_path: Path) -> None:
    assert opens(tmp_path) == [""]


def test_a_program_that_reads_the_live_file_is_seen(tmp_path: Path) -> None:
    (found,) = opens(tmp_path, "--planted")
    assert found.startswith(f"open {tmp_path}/live.db by ")
