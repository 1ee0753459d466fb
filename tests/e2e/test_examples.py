"""The examples, run for real: in this process against a SQLite store, and as the scripts that users start."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

import duro
from duro.codec import decode_event
from examples import approval_poller, integrity_monitor, order_saga
from examples.approval_poller import Approval, Decision, Export
from examples.integrity_monitor import Changes, MonitorState, Summary
from examples.order_saga import Order, Outcome

ROOT = Path(__file__).parents[2]
DUE_S = 30.0


def run(
    store: Path, registry: duro.Registry, orchestration: Callable[..., Any], given: Any, *events: tuple[str, Any]
) -> duro.OrchestrationResult:
    """Run one instance called "it", with these events in its mailbox from the start, to its end."""
    with duro.Runtime(store, registry) as runtime:
        runtime.client.start_orchestration(orchestration, given, instance_id="it")
        for name, data in events:
            runtime.client.raise_event("it", name, data)
        return runtime.client.wait_for_orchestration("it", timeout=DUE_S)


def events_of(store: Path, instance_id: str = "it", execution_id: int | None = None) -> list[Any]:
    with duro.Client(store) as client:
        return [decode_event(event) for event in client.read_history(instance_id, execution_id).events]


def shape(events: list[Any]) -> list[str]:
    """``EventType name`` for each event that has a name, ``EventType`` for the others."""
    return [f"{type(event).__name__} {getattr(event, 'name', '')}".strip() for event in events]


def script(name: str, *arguments: str | Path) -> list[str]:
    return [sys.executable, str(ROOT / "examples" / name), *map(str, arguments)]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "runtime")}


def run_script(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(script(name, *arguments), env=environment(), capture_output=True, text=True, timeout=DUE_S)
    assert done.returncode == 0, done.stderr
    return done


# --- the saga ------------------------------------------------------------------------------------------------


def order(**changes: Any) -> Order:
    return Order(**{"number": "7", "item": "lamp", "cents": 4_900, "card": "4242", "address": "Elm Street", **changes})


def activities(*names: str) -> list[str]:
    return [line for name in names for line in (f"ActivityScheduled {name}", "ActivityCompleted")]


def test_an_order_is_delivered(tmp_path: Path) -> None:
    result = run(tmp_path / "s.db", order_saga.registry, order_saga.order_saga, order())
    assert result.output == Outcome(["reserved lamp", "charged 49.00", "shipped to Elm Street at attempt 2"])
    assert shape(events_of(tmp_path / "s.db")) == [
        "OrchestrationStarted order_saga",
        *activities("reserve", "charge", "ship"),
        "OrchestrationCompleted",
    ]


def test_a_step_that_keeps_failing_undoes_the_earlier_ones_in_reverse(tmp_path: Path) -> None:
    result = run(tmp_path / "s.db", order_saga.registry, order_saga.order_saga, order(address="the moon"))
    assert result.output == Outcome(
        ["reserved lamp", "charged 49.00", "refunded 49.00", "released lamp"],
        refused="ConnectionError: the carrier does not answer (attempt 3)",
    )
    assert shape(events_of(tmp_path / "s.db")) == [
        "OrchestrationStarted order_saga",
        *activities("reserve", "charge"),
        "ActivityScheduled ship",
        "ActivityFailed",
        *activities("refund", "release"),
        "OrchestrationCompleted",
    ]


def test_a_refusal_is_not_retried(tmp_path: Path) -> None:
    result = run(tmp_path / "s.db", order_saga.registry, order_saga.order_saga, order(card="expired"))
    assert result.output == Outcome(
        ["reserved lamp", "refunded 0.00", "released lamp"], refused="RefusedError: the card has expired"
    )
    assert shape(events_of(tmp_path / "s.db")) == [
        "OrchestrationStarted order_saga",
        *activities("reserve"),
        "ActivityScheduled charge",
        "ActivityFailed",
        *activities("refund", "release"),
        "OrchestrationCompleted",
    ]


def test_the_saga_as_a_script(tmp_path: Path) -> None:
    done = run_script("order_saga.py", "--store", tmp_path / "s.db")
    assert [line for line in done.stdout.splitlines() if not line.startswith(" ")] == [
        "A-1  delivered",
        "A-2  given up, RefusedError: the card has expired",
        "A-3  given up, ConnectionError: the carrier does not answer (attempt 3)",
    ]
    again = run_script("order_saga.py", "--store", tmp_path / "s.db")
    assert again.stdout == done.stdout, "it is over, and nothing is done twice"
    assert len(events_of(tmp_path / "s.db", "order-A-1")) == 8


# --- the poller ----------------------------------------------------------------------------------------------

POLLING = [
    line for _ in range(3) for line in ("ActivityScheduled is_ready", "ActivityCompleted", "TimerCreated", "TimerFired")
] + activities("is_ready")


def export(patience_s: float) -> Export:
    return Export("it", poll_every_s=0.01, patience_s=patience_s)


def test_an_approval_in_time_publishes(tmp_path: Path) -> None:
    answer = ("approval", Approval("ann", True))
    result = run(tmp_path / "p.db", approval_poller.registry, approval_poller.publish_export, export(3_600), answer)
    assert result.output == Decision(published=True, by="ann", escalated=False, polls=3)
    assert shape(events_of(tmp_path / "p.db")) == [
        "OrchestrationStarted publish_export",
        *POLLING,
        "EventWaitStarted approval",
        "TimerCreated",
        "EventReceived approval",
        "TimerCancelled",
        *activities("publish"),
        "OrchestrationCompleted",
    ]


def test_a_refused_approval_discards(tmp_path: Path) -> None:
    answer = ("approval", Approval("ann", False))
    result = run(tmp_path / "p.db", approval_poller.registry, approval_poller.publish_export, export(3_600), answer)
    assert result.output == Decision(published=False, by="ann", escalated=False, polls=3)
    assert "ActivityScheduled discard" in shape(events_of(tmp_path / "p.db"))


def test_silence_escalates_and_the_boss_decides(tmp_path: Path) -> None:
    answer = ("boss-approval", Approval("the boss", True))
    result = run(tmp_path / "p.db", approval_poller.registry, approval_poller.publish_export, export(0.05), answer)
    assert result.output == Decision(published=True, by="the boss", escalated=True, polls=3)
    assert shape(events_of(tmp_path / "p.db")) == [
        "OrchestrationStarted publish_export",
        *POLLING,
        "EventWaitStarted approval",
        "TimerCreated",
        "TimerFired",
        "EventWaitCancelled",
        *activities("tell_the_boss"),
        "EventWaitStarted boss-approval",
        "TimerCreated",
        "EventReceived boss-approval",
        "TimerCancelled",
        *activities("publish"),
        "OrchestrationCompleted",
    ]


def test_silence_to_the_end_discards(tmp_path: Path) -> None:
    result = run(tmp_path / "p.db", approval_poller.registry, approval_poller.publish_export, export(0.05))
    assert result.output == Decision(published=False, by="nobody", escalated=True, polls=3)
    assert shape(events_of(tmp_path / "p.db")).count("EventWaitCancelled") == 2


def test_a_long_poll_continues_as_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approval_poller, "POLLS_PER_EXECUTION", 2)
    answer = ("approval", Approval("ann", True))
    result = run(tmp_path / "p.db", approval_poller.registry, approval_poller.publish_export, export(3_600), answer)
    assert result.output == Decision(published=True, by="ann", escalated=False, polls=3)
    assert result.execution_id == 2
    assert shape(events_of(tmp_path / "p.db", execution_id=1))[-1] == "OrchestrationContinuedAsNew"


def test_the_poller_as_a_script(tmp_path: Path) -> None:
    done = run_script("approval_poller.py", "--store", tmp_path / "p.db")
    decisions = [line for line in done.stdout.splitlines() if "Decision" in line]
    assert decisions == [
        "monday: Decision(published=True, by='ann', escalated=False, polls=3)",
        "tuesday: Decision(published=True, by='the boss', escalated=True, polls=3)",
        "wednesday: Decision(published=False, by='nobody', escalated=True, polls=3)",
    ]
    assert "tuesday: nobody answers; mail to the boss" in done.stdout.splitlines()
    assert "wednesday: discarded" in done.stdout.splitlines()


# --- the monitor ---------------------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    directory = tmp_path / "tree"
    for path in ("a.txt", "b.txt", "sub/c.txt", "sub/deep/d.txt", "other/e.txt", "__pycache__/f.pyc"):
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_text(path)
    (directory / "link.txt").symlink_to("a.txt")
    (directory / "linked").symlink_to("sub")
    return directory


def watch(store: Path, tree: Path, *steps: Callable[[], object]) -> Summary:
    """Run the monitor over ``tree``: a scan, then each step followed by another scan."""
    state = MonitorState(root=str(tree), interval_s=3_600, executions=len(steps) + 1)
    with duro.Runtime(store, integrity_monitor.registry) as runtime:
        client = runtime.client
        client.start_orchestration(integrity_monitor.integrity_monitor, state, instance_id="it")
        for scan, step in enumerate(steps, 1):
            wait_for_scan(client, scan)
            step()
            client.raise_event("it", "scan")
        summary = client.wait_for_orchestration("it", timeout=DUE_S).result()
    assert isinstance(summary, Summary)
    return summary


def wait_for_scan(client: duro.Client, scan: int) -> None:
    """Until the monitor's status says that this scan is done."""
    for status in statuses(client):
        if status is not None and f'"scan":{scan},' in status:
            return


def statuses(client: duro.Client) -> Iterator[str | None]:
    due = time.monotonic() + DUE_S
    while time.monotonic() < due:
        record = client.get_instance("it")
        assert record.status in ("pending", "running"), "it ended early"
        yield record.custom_status
    pytest.fail("the scan does not end")


def test_the_monitor_finds_what_changes(tmp_path: Path, tree: Path) -> None:
    summary = watch(
        tmp_path / "m.db",
        tree,
        lambda: None,
        lambda: (tree / "sub" / "new.txt").write_text("new"),
        lambda: (tree / "a.txt").write_text("other text"),
        lambda: (tree / "b.txt").touch(),
        lambda: shutil.rmtree(tree / "other"),
    )
    assert summary.scan == 6
    assert summary.files == 5
    assert summary.bytes == sum(path.stat().st_size for path in tree.rglob("*.txt") if not path.is_symlink())
    assert summary.findings == {
        3: Changes(["sub/new.txt"], [], [], []),
        4: Changes([], ["a.txt"], [], []),
        6: Changes([], [], ["other/e.txt"], []),
    }


def test_the_history_of_a_scan(tmp_path: Path, tree: Path) -> None:
    watch(tmp_path / "m.db", tree, lambda: (tree / "a.txt").write_text("other text"), lambda: None)
    changed = shape(events_of(tmp_path / "m.db", execution_id=2))
    assert changed == [
        "OrchestrationStarted integrity_monitor",
        *activities("survey"),
        *["SubOrchestrationScheduled check_part"] * 3,
        *["SubOrchestrationCompleted"] * 3,
        *activities("announce"),
        "EventWaitStarted scan",
        "TimerCreated",
        "EventReceived scan",
        "TimerCancelled",
        "OrchestrationContinuedAsNew",
    ]
    with duro.Client(tmp_path / "m.db") as client:
        children = client.list_children("it")
        first, second, third = (
            [each.instance_id for each in children if each.parent.execution_id == execution] for execution in (1, 2, 3)
        )
    assert len(first) == len(second) == len(third) == 3
    scanned = ["OrchestrationStarted check_part", *activities("scan")]
    hashed = activities("hash_files")
    assert [shape(events_of(tmp_path / "m.db", each)) for each in (first[0], second[0], third[0])] == [
        [*scanned, *hashed, "OrchestrationCompleted"],
        [*scanned, *hashed, "OrchestrationCompleted"],
        [*scanned, "OrchestrationCompleted"],
    ]


def test_what_cannot_be_read_is_reported_and_kept(tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Path.open

    def refuse(self: Path, *args: Any, **kwargs: Any) -> Any:
        if self.name == "a.txt":
            raise PermissionError(13, "Permission denied", str(self))
        return original(self, *args, **kwargs)

    def lock() -> None:
        (tree / "a.txt").touch()
        monkeypatch.setattr(Path, "open", refuse)

    name = os.fsencode(tree) + b"/\xff.txt"
    summary = watch(tmp_path / "m.db", tree, lock, lambda: None, lambda: os.close(os.open(name, os.O_CREAT)))
    assert summary.findings == {
        2: Changes([], [], [], ["a.txt"]),
        4: Changes([], [], [], ["\\udcff.txt", "a.txt"]),
    }
    assert summary.files == 5, "an unreadable file counts as it was"


def test_an_unreadable_directory_is_not_a_removed_one(tree: Path) -> None:
    known = dict.fromkeys(("sub/c.txt", "sub/deep/d.txt", "sub/deeper.txt"), (1, 1, "digest"))
    changes, manifest = integrity_monitor.compare(known, {"sub/c.txt": (1, 1)}, ["sub/deep"], {})
    assert changes == Changes([], [], ["sub/deeper.txt"], ["sub/deep"])
    assert manifest is not None
    assert sorted(manifest) == ["sub/c.txt", "sub/deep/d.txt"]


def test_a_file_that_vanishes_between_scan_and_hash_is_removed(tree: Path) -> None:
    context = cast(duro.ActivityContext, SimpleNamespace(raise_if_cancelled=lambda: None))
    assert integrity_monitor.hash_files(context, (str(tree), ["a.txt", "vanished.txt"])).keys() == {"a.txt"}
    changes, manifest = integrity_monitor.compare({"x": (1, 1, "digest")}, {"x": (2, 2)}, [], {})
    assert (changes, manifest) == (Changes([], [], ["x"], []), {})
    changes, manifest = integrity_monitor.compare({}, {"x": (2, 2)}, [], {})
    assert (changes, manifest) == (Changes([], [], [], []), None)


def test_files_are_hashed_in_batches(tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(integrity_monitor, "BATCH_FILES", 2)
    for number in range(5):
        (tree / "sub" / f"{number}.txt").write_text("text")
    assert watch(tmp_path / "m.db", tree).files == 10
    with duro.Client(tmp_path / "m.db") as client:
        kinds = [shape(events_of(tmp_path / "m.db", each.instance_id)) for each in client.list_children("it")]
    assert sorted(each.count("ActivityScheduled hash_files") for each in kinds) == [1, 1, 4]


def test_many_changes_are_named_in_part(tmp_path: Path, tree: Path) -> None:
    def add() -> None:
        for number in range(25):
            (tree / f"new-{number:02}.txt").write_text("new")

    added = watch(tmp_path / "m.db", tree, add).findings[2].added
    assert added == [*[f"new-{number:02}.txt" for number in range(20)], "... and 5 more"]


def test_a_tree_too_large_says_what_to_do(tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(integrity_monitor, "STATE_BYTES_MAX", 500)
    state = MonitorState(root=str(tree))
    result = run(tmp_path / "m.db", integrity_monitor.registry, integrity_monitor.integrity_monitor, state)
    assert result.status == "failed"
    assert result.failure is not None
    assert "start one for each of its subdirectories" in result.failure.message


def test_an_absent_root_is_a_failure_not_a_tree_of_removed_files(tmp_path: Path) -> None:
    state = MonitorState(root=str(tmp_path / "absent"))
    result = run(tmp_path / "m.db", integrity_monitor.registry, integrity_monitor.integrity_monitor, state)
    assert result.status == "failed"
    assert result.failure is not None
    assert "FileNotFoundError" in result.failure.message


def test_the_manifest_of_the_standard_library_fits_into_a_payload() -> None:
    context = cast(duro.ActivityContext, SimpleNamespace(raise_if_cancelled=lambda: None))
    assert "json" in integrity_monitor.survey(context, str(Path(os.__file__).parent))


def test_the_monitor_as_a_script(tmp_path: Path, tree: Path) -> None:
    done = run_script(
        "integrity_monitor.py", tree, "--store", tmp_path / "m.db", "--executions", "3", "--interval", "0"
    )
    assert done.stderr.rstrip().endswith(
        f"3 scans, 5 files, {sum(map(len, ('a.txt', 'b.txt', 'sub/c.txt', 'sub/deep/d.txt', 'other/e.txt')))} bytes"
    )


def test_the_script_stops_at_ctrl_c_and_goes_on(tmp_path: Path, tree: Path) -> None:
    command = script("integrity_monitor.py", tree, "--store", tmp_path / "m.db", "--interval", "0")
    for scans in (3, 6, 9):
        with subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True) as monitor:
            assert monitor.stderr is not None
            assert any("watching as instance" in line for line in monitor.stderr)
            wait_for_execution(tmp_path / "m.db", scans)
            monitor.send_signal(signal.SIGINT)
            assert monitor.wait(timeout=DUE_S) == 0


def wait_for_execution(store: Path, execution_id: int) -> None:
    due = time.monotonic() + DUE_S
    with duro.Client(store) as client:
        [record] = [each for each in client.list_instances(limit=0).instances if each.name == "integrity_monitor"]
        while client.get_instance(record.instance_id).execution_id < execution_id:
            assert time.monotonic() < due, "the monitor does not go on"


@pytest.mark.parametrize("store", ["tree/m.db", "m.db"])
def test_the_script_refuses_what_cannot_be_watched(tmp_path: Path, tree: Path, store: str) -> None:
    directory = tree if store.startswith("tree") else tmp_path / "absent"
    command = script("integrity_monitor.py", directory, "--store", tmp_path / store)
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=DUE_S)
    assert done.returncode == 2
    assert "the store must be outside of it" in done.stderr
    assert not (tmp_path / store).exists()


def test_the_example_is_the_program_of_the_demo() -> None:
    example = ROOT / "examples" / "integrity_monitor.py"
    assert example.is_symlink()
    assert example.readlink() == Path("../duroctl/demo/integrity_monitor.py")
