"""What is half written when its writer is killed: told from what is being written, and removed by the next writer."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from duro.disk import new_file, unfinished


def gone() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
        return process.pid


def test_only_what_processes_left_that_are_gone_is_unfinished(tmp_path: Path) -> None:
    number = gone()
    left = {tmp_path / f".copy.db.{number}.part", tmp_path / f".copy.db.{number}.part-journal"}
    for path in left:
        path.touch()
    for name in (
        f".copy.db.{os.getpid()}.part",
        ".copy.db.1.part",
        f"copy.db.{number}.part",
        f".copy.db.{number}.parts",
        ".copy.db.0.part",
        f".copy.db.{'9' * 20}.part",
        "copy.db",
    ):
        (tmp_path / name).touch()
    assert {*unfinished(tmp_path)} == left
    assert unfinished(tmp_path / "nowhere") == []


@pytest.mark.parametrize("tidy", [True, False])
def test_the_next_writer_of_the_same_file_removes_what_was_left_of_it_and_nothing_else(
    tmp_path: Path, tidy: bool
) -> None:
    number = gone()
    same = [f".copy.db.{number}.part", f".copy.db.{number}.part-journal"]
    other = [f".other.db.{number}.part", f".copy.db.{os.getppid()}.part"]
    for name in (*same, *other):
        (tmp_path / name).touch()
    with new_file(tmp_path / "copy.db", also=("-journal",), tidy=tidy) as part:
        part.write_text("whole")
    assert (tmp_path / "copy.db").read_text() == "whole"
    assert {each.name for each in tmp_path.iterdir()} == {"copy.db", *other, *(() if tidy else same)}
