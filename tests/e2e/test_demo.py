"""``duroctl demo``: as a process of its own, killed and started again, and in this process where it is interrupted."""

import contextlib
import fcntl
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

import duro
from duro.codec import decode_event
from duroctl.demo import run, workspace
from duroctl.demo.integrity_monitor import Changes, Summary, registry
from duroctl.demo.report import INSTANCE_ID

ROOT = Path(__file__).parents[2]
PATHS = ["a.txt", "b/c.txt", "b/d/e.txt", "b/d/f.txt", "g/h.txt", "z.txt"]
CHANGED, REMOVED = "b/d/e.txt", "g/h.txt"
"""The third and the fifth of six."""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Six files to watch in three parts, and what a monitor leaves alone."""
    directory = tmp_path / "tree"
    for path in [*PATHS, "__pycache__/x.pyc", "b/__pycache__/y.pyc", "site-packages/z.py"]:
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_text(f"this is {path}\n")
    (directory / "link").symlink_to("a.txt")
    return directory


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "duroctl", "demo", *map(str, arguments)]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{ROOT / 'runtime'}{os.pathsep}{ROOT}", "COLUMNS": "100"}


def duroctl_demo(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), env=environment(), capture_output=True, text=True, timeout=120)


def summary_of(client: duro.Client) -> Summary:
    result = client.get_result(INSTANCE_ID)
    assert result is not None
    summary = result.result()
    assert isinstance(summary, Summary)
    return summary


def check_complete(store: Path, executions: int) -> None:
    """The store holds a demo that ran to its end: every scan once, every change found once, by the scan after it."""
    with duro.Client(store, registry=registry) as client:
        records = client.list_executions(INSTANCE_ID, limit=0).executions[::-1]
        assert [record.execution_id for record in records] == list(range(1, executions + 1))
        assert [record.status for record in records] == ["continued_as_new"] * (executions - 1) + ["completed"]
        assert len(client.list_children(INSTANCE_ID)) == 3 * executions
        summary = summary_of(client)
        assert summary == Summary(
            scan=executions,
            files=len(PATHS),
            bytes=summary.bytes,
            findings={
                max(1, executions // 4) + 1: Changes(["duro-demo-0.txt"], [], [], []),
                max(1, executions // 2) + 1: Changes([], [CHANGED], [], []),
                max(1, executions * 3 // 4) + 1: Changes([], [], [REMOVED], []),
            },
        )
        for record in records:
            history = client.read_history(INSTANCE_ID, record.execution_id)
            kinds = [type(decode_event(event)).__name__ for event in history.events]
            assert kinds.count("SubOrchestrationCompleted") == 3
            assert kinds.count("EventReceived") == (record.execution_id < executions)
    left = sorted(path.name for path in store.parent.glob(f"{store.name}*"))
    assert left == [store.name, f"{store.name}-reserve"], "the copy and the WAL are gone"


def tables(output: str) -> dict[str, list[list[str]]]:
    """The plain report: the cells of every table without its headings, by title."""
    found = {}
    for section in output.strip().split("\n\n"):
        title, _, *lines = section.splitlines()
        found[title] = [re.split(r" {2,}", line.strip()) for line in lines]
    return found


def test_it_runs_to_its_end_and_prints_what_the_store_holds(tree: Path, tmp_path: Path) -> None:
    before = contents(tree)
    store = tmp_path / "demo.db"
    done = duroctl_demo(tree, "--executions", "6", "--store", store)
    assert done.returncode == 0, done.stderr
    assert contents(tree) == before, "the demo works on a copy"
    check_complete(store, 6)
    shown = tables(done.stdout)
    with duro.Client(store, registry=registry) as client:
        info, summary = client.info(), summary_of(client)
        records = client.list_executions(INSTANCE_ID).executions[::-1]
        assert shown["The instance"][1][:4] == [INSTANCE_ID, "integrity_monitor 1.0.0", "completed", "6"]
        assert f"{summary.files} files of {summary.bytes} B" in done.stdout
        assert shown["What it found"][1:5] == [
            ["1", "baseline", "6 files"],
            ["2", "added", "duro-demo-0.txt"],
            ["4", "changed", CHANGED],
            ["5", "removed", REMOVED],
        ]
        assert [[row[0], row[1], *row[3:]] for row in shown["Its executions"][1:7]] == [
            [str(each.execution_id), each.status, str(each.event_count), f"{each.history_bytes} B"] for each in records
        ]
        events = client.read_history(INSTANCE_ID, 2).events
        printed = shown["The history of execution 2"][1:-1]
        assert [row[0].rpartition("-")[2] for row in printed][-1] == str(len(events))
        assert sum(int(row[-1].removesuffix(" B")) for row in printed) == records[1].history_bytes
        growth = [row for row in shown["How the store has grown"][1:] if row[0].isdigit()]
        assert [row[0] for row in growth] == ["1", "3", "4", "6"]
        assert growth[-1][1:4] == [str(info.executions), str(info.events), f"{info.logical_bytes} B"]
        assert growth[-1][4] == f"{info.file_bytes} B"
        assert f"{records[-1].event_count} of {info.events} events" in done.stdout.replace("\n", " ")
        assert [int(row[1]) for row in growth] == sorted(int(row[1]) for row in growth)
    flat = [row for row in shown["Its store stays flat"][1:] if row[0].isdigit()]
    assert {len(row) for row in flat} == {6}, "the log stands beside the file: both are on the disk"


def test_a_finished_demo_is_shown_again(tree: Path, tmp_path: Path) -> None:
    store = tmp_path / "demo.db"
    first = duroctl_demo(tree, "--executions", "4", "--store", store)
    again = duroctl_demo(tree, "--executions", "4", "--store", store)
    assert again.returncode == 0, again.stderr
    assert tables(again.stdout)["What it found"] == tables(first.stdout)["What it found"]
    assert tables(again.stdout)["How the store has grown"][:-1] == tables(first.stdout)["How the store has grown"][:-1]
    assert "holds a finished demo" in again.stderr
    check_complete(store, 4)


def test_on_a_terminal_it_is_a_report_for_people(tree: Path) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 80, 0, 0))
    surroundings = {name: value for name, value in environment().items() if name != "COLUMNS"} | {"TERM": "xterm"}
    with subprocess.Popen(command(tree, "--executions", "4"), env=surroundings, stdout=theirs, stderr=theirs) as demo:
        os.close(theirs)
        text = read_terminal(ours)
        assert demo.wait(timeout=60) == 0
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)
    assert re.search(r"removed +g/h\.txt", shown)
    assert " KiB" in shown
    report = shown[shown.index("The instance") : shown.index("What to try next")]
    assert max(map(len, report.splitlines())) <= 80


def read_terminal(descriptor: int) -> str:
    """All that is written, until the last writer has gone (which Linux reports as an I/O error)."""
    data = b""
    with contextlib.suppress(OSError):
        while chunk := os.read(descriptor, 65_536):
            data += chunk
    os.close(descriptor)
    return data.decode()


@pytest.mark.parametrize("quarter", [1, 2, 3])
def test_killed_and_started_again_it_finishes(tree: Path, tmp_path: Path, quarter: int) -> None:
    store = tmp_path / "demo.db"
    arguments = (tree, "--executions", "24", "--store", store)
    with subprocess.Popen(
        command(*arguments), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as demo:
        assert demo.stderr is not None
        wait_for_line(demo.stderr, f"scanning: {24 * quarter // 4} of 24".encode())
        os.kill(demo.pid, signal.SIGKILL)
        assert demo.wait(timeout=30) == -signal.SIGKILL
    assert (tmp_path / "demo.db.demo" / "tree" / "a.txt").is_file()
    with duro.Client(store) as client:
        assert client.get_instance(INSTANCE_ID).status == "running"
    finished = duroctl_demo(*arguments)
    assert finished.returncode == 0, finished.stderr
    assert "going on with the demo of" in finished.stderr
    check_complete(store, 24)


def wait_for_line(lines: Iterable[bytes], wanted: bytes) -> None:
    assert any(wanted in line for line in lines), f"the demo ended without {wanted!r}"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.write_text("text"), "is not a directory"),
        (lambda path: path.mkdir(), "has no files to watch"),
    ],
    ids=["missing", "file", "empty"],
)
def test_a_bad_directory_is_refused_before_anything_is_made(
    tmp_path: Path, make: Callable[[Path], object], reason: str
) -> None:
    directory = tmp_path / "directory"
    make(directory)
    (tmp_path / "stores").mkdir()
    done = duroctl_demo(directory, "--store", tmp_path / "stores" / "demo.db")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert reason in done.stderr
    assert done.stdout == ""
    assert not list((tmp_path / "stores").iterdir())


def test_an_unreadable_directory_is_refused(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> Iterator[Path]:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(duro.UsageError, match="cannot be read: Permission denied"):
        run.main(tree, None, 4)


def test_a_directory_too_large_for_a_copy_is_refused(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workspace, "COPY_BYTES_MAX", 10)
    with pytest.raises(duro.UsageError, match="name one of its subdirectories"):
        run.main(tree, None, 4)


@pytest.mark.parametrize(
    ("place", "reason"),
    [("tree/demo.db", "inside of the directory"), ("missing/demo.db", "does not exist"), ("tree", "is a directory")],
)
def test_a_bad_place_for_the_store_is_refused(tree: Path, place: str, reason: str) -> None:
    before = contents(tree.parent)
    with pytest.raises(duro.UsageError, match=reason):
        run.main(tree, tree.parent / place, 4)
    assert contents(tree.parent) == before


def test_one_execution_shows_nothing_and_is_refused(tree: Path) -> None:
    with pytest.raises(duro.UsageError, match="at least 2"):
        run.main(tree, None, 1)


def test_a_store_in_use_is_left_alone(tree: Path, tmp_path: Path) -> None:
    store = tmp_path / "demo.db"
    with duro.Client(store) as client:
        client.start_orchestration("billing", instance_id="bill-1", allow_unregistered=True)
    with pytest.raises(duro.UsageError, match="in use for something else"):
        run.main(tree, store, 4)
    with duro.Client(store) as client:
        assert [each.instance_id for each in client.list_instances().instances] == ["bill-1"]


def test_something_else_in_the_place_of_the_copy_is_left_alone(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "demo.db.demo").mkdir()
    (tmp_path / "demo.db.demo" / "mine.txt").write_text("mine")
    with pytest.raises(duro.UsageError, match="in the way"):
        run.main(tree, tmp_path / "demo.db", 4)
    assert (tmp_path / "demo.db.demo" / "mine.txt").read_text() == "mine"


def test_without_a_store_nothing_is_left(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    run.main(tree, None, 4)
    assert not list(scratch.iterdir())
    assert "duroctl demo --store demo.db" in capsys.readouterr().out


def test_few_files_and_few_executions_are_enough(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "only.txt").write_text("only")
    run.main(tmp_path / "one", None, 2)
    found = tables(capsys.readouterr().out)["What it found"]
    assert found[1:4] == [["1", "baseline", "1 files"], ["2", "added", "duro-demo-0.txt"], ["2", "removed", "only.txt"]]


def interrupt_after(scans: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C when so many scans are done."""
    original = run._finished_scans

    def interrupted(client: duro.Client) -> Iterator[int]:
        for scan in original(client):
            yield scan
            if scan == scans:
                raise KeyboardInterrupt

    monkeypatch.setattr(run, "_finished_scans", interrupted)


def test_interrupted_without_a_store_it_cleans_up(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    interrupt_after(3, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run.main(tree, None, 8)
    assert not list(scratch.iterdir())


def test_interrupted_with_a_store_it_goes_on(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "demo.db"
    with monkeypatch.context() as patch:
        interrupt_after(3, patch)
        with pytest.raises(KeyboardInterrupt):
            run.main(tree, store, 8)
    assert "the same command goes on" in capsys.readouterr().err
    run.main(tree, store, 8)
    check_complete(store, 8)


def test_an_interrupted_copy_is_begun_again(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tmp_path / "demo.db"

    def killed(*_: object) -> None:
        (tmp_path / "demo.db.demo.partial" / "tree").mkdir()
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(workspace, "_copy", killed)
        patch.setattr(shutil, "rmtree", lambda path: None)  # as if the process had no time for it
        with pytest.raises(SystemExit):
            run.main(tree, store, 4)
    assert (tmp_path / "demo.db.demo.partial").is_dir()
    run.main(tree, store, 4)
    check_complete(store, 4)


def test_without_its_copy_an_interrupted_demo_says_so(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "demo.db"
    with monkeypatch.context() as patch:
        interrupt_after(2, patch)
        with pytest.raises(KeyboardInterrupt):
            run.main(tree, store, 8)
    workspace.Workspace(store).remove()
    with pytest.raises(duro.UsageError, match=r"its copy .* is gone"):
        run.main(tree, store, 8)
