"""``duroctl worker``: work is done, signals stop it, and ``start --wait`` sees the results."""

import contextlib
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cli_support import Cli

HERE = str(Path(__file__).parent)
WORKER = ("worker", "cli_flows:registry", "--directory", HERE)


@contextlib.contextmanager
def _worker(cli: Cli, *options: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A running worker and the line it printed at its start."""
    process = cli.popen(*WORKER, *options)
    try:
        assert process.stderr is not None
        yield process, process.stderr.readline().decode()
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def _until(cli: Cli, instance_id: str, event_type: str) -> None:
    for _ in range(100):
        if event_type in cli("history", "show", instance_id).out:
            return
        time.sleep(0.05)
    raise AssertionError(f"{instance_id} never recorded {event_type}")


def _held(cli: Cli) -> list[object]:
    """Workers and what they hold."""
    dump = cli.dump()
    leased = [row for table in ("instances", "activities") for row in dump[table] if row.get("lease_worker_id")]
    return [*dump["workers"], *leased]


def test_a_worker_runs_what_is_started_and_stops_cleanly_when_asked(cli_with_store: Cli) -> None:
    cli = cli_with_store
    with _worker(cli) as (process, first_line):
        worker_id = first_line.split()[2]
        assert first_line == f"duroctl: worker {worker_id} on sqlite:///duro.db: 7 orchestrations, 4 activities\n"
        done = cli("start", "hello", "--input", '"Ada"', "--wait", "-q")
        assert (done.code, done.out, done.err) == (0, '"hello Ada"\n', "")
        failed = cli("start", "failing", "--input", '"bad\\u001b luck"', "--id", "f", "--wait", "-q")
        assert (failed.code, failed.out) == (1, "")
        reason = "ActivityFailedError: activity 'fail' failed: ValueError: bad\\x1b luck"
        assert failed.err == f"duroctl: error: instance 'f' failed: {reason}\n"
        document = cli("start", "failing", "--input", '"x"', "--wait", "-o", "json", "-q")
        assert (document.code, document.json["schema"], document.json["status"]) == (1, "duroctl.result/1", "failed")
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (0, b"")
    assert err.decode().splitlines() == [
        "duroctl: stopping: running activities have 30 s; a second signal quits at once",
        "duroctl: stopped",
    ]
    assert _held(cli) == []


def test_many_are_started_and_waited_for(cli_with_store: Cli) -> None:
    cli = cli_with_store
    with _worker(cli):
        done = cli("start", "hello", "--inputs-from", "-", "--wait", "-q", input='"Ada"\n"Bob"\n')
        assert (done.code, [row["output"] for row in done.rows()]) == (0, ['"hello Ada"', '"hello Bob"'])
        mixed = cli("start", "failing", "--inputs-from", "-", "--wait", "-o", "json", input='"x"\n"y"\n')
    assert mixed.code == 1
    assert [each["status"] for each in mixed.json["results"]] == ["failed", "failed"]
    assert "2 of 2 did not complete" in mixed.err


@pytest.mark.parametrize(("number", "orchestration"), [(signal.SIGTERM, "lingering"), (signal.SIGINT, "sleeping")])
def test_a_stopping_worker_lets_running_activities_end(cli_with_store: Cli, number: int, orchestration: str) -> None:
    cli = cli_with_store
    with _worker(cli) as (process, _):
        cli("start", orchestration, "--input", "1.5", "--id", "a")
        _until(cli, "a", "ActivityScheduled")
        process.send_signal(number)
        process.communicate(timeout=20)
    assert process.returncode == 0
    assert _held(cli) == []
    with _worker(cli):
        assert cli("start", orchestration, "--id", "a", "--if-exists", "return", "--wait", "-q").code == 0


def test_a_short_drain_gives_the_rest_back(cli_with_store: Cli) -> None:
    cli = cli_with_store
    with _worker(cli, "--drain", "0s") as (process, _):
        cli("start", "lingering", "--input", "60", "--id", "a")
        _until(cli, "a", "ActivityScheduled")
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert process.returncode == 0
    assert time.monotonic() - began < 10
    assert _held(cli) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_second_signal_quits_at_once(cli_with_store: Cli, number: int, code: int) -> None:
    cli = cli_with_store
    with _worker(cli) as (process, _):
        cli("start", "lingering", "--input", "60", "--id", "a")
        _until(cli, "a", "ActivityScheduled")
        process.send_signal(number)
        assert process.stderr is not None
        assert b"stopping" in process.stderr.readline()
        process.send_signal(number)
        process.communicate(timeout=10)
    assert process.returncode == code


def test_ctrl_c_while_waiting_exits_with_130_and_leaves_the_instance_alone(cli_with_store: Cli) -> None:
    cli = cli_with_store
    process = cli.popen("start", "x", "--id", "a", "--allow-unregistered", "--wait", "--timeout", "1h")
    assert process.stderr is not None
    assert b"started" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (130, b"")
    assert cli("instances", "list", "-o", "json").json["instances"][0]["status"] == "pending"


def test_a_history_is_followed_while_it_grows(cli_with_store: Cli) -> None:
    cli = cli_with_store
    with _worker(cli):
        cli("start", "waiting", "--id", "w")
        _until(cli, "w", "EventWaitStarted")
        follower = cli.popen("history", "show", "w", "--follow", "-o", "jsonl")
        assert follower.stdout is not None
        seen = [follower.stdout.readline() for _ in range(2)]
        assert cli("raise", "w", "go", "--data", "7").code == 0
        rest, _ = follower.communicate(timeout=10)
    assert follower.returncode == 0
    assert [line.split(b'"')[3] for line in [*seen, *rest.splitlines()]] == [
        b"OrchestrationStarted",
        b"EventWaitStarted",
        b"EventReceived",
        b"OrchestrationCompleted",
    ]
