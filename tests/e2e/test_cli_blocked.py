"""Wrong code, missing code and code that kills its worker, deployed to real worker processes: what an operator sees,
and that everything goes on once the right code is there."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from tests.e2e.cli_support import Cli

WITH_AN_EVENT = """
import duro
registry = duro.Registry()

@registry.activity
async def ship(ctx: duro.ActivityContext, order: int) -> str:
    return f"shipped {order}"

@registry.orchestration
async def sell(ctx: duro.OrchestrationContext, order: int) -> str:
    await ctx.wait_for_event("paid")
    return await ctx.schedule_activity(ship, order)
"""
WITH_A_TIMER = WITH_AN_EVENT.replace('ctx.wait_for_event("paid")', "ctx.schedule_timer(3600)")
OF_OTHERS = """
import duro
registry = duro.Registry()

@registry.orchestration(name="other")
async def other(ctx: duro.OrchestrationContext) -> str:
    return await ctx.schedule_activity("ship", 7)
"""
DEADLY = """
import os
import duro
registry = duro.Registry()

@registry.orchestration
async def sell(ctx: duro.OrchestrationContext, order: int) -> str:
    if order < 0:
        os._exit(9)
    return "sold"
"""
HARMLESS = DEADLY.replace("os._exit(9)", 'return "refused"')
SHORT_LEASE = """
import sys, time
import duro
sys.path.insert(0, sys.argv[1])
from flow import registry
with duro.Runtime(sys.argv[2], registry, duro.RuntimeOptions(lease_s=0.3)):
    time.sleep(60)
"""


def _deploy(cli: Cli, name: str, source: str) -> str:
    """A directory with the code as module ``flow``."""
    directory = cli.directory / name
    directory.mkdir()
    (directory / "flow.py").write_text(source)
    return str(directory)


@contextlib.contextmanager
def _worker(cli: Cli, directory: str) -> Iterator[None]:
    """A worker with this code, registered, until the block ends."""
    process = cli.popen("worker", "flow:registry", "--directory", directory, "--drain", "0s")
    try:
        assert process.stderr is not None
        while "duroctl: worker" not in (line := process.stderr.readline().decode()):
            assert "warning" in line, "it may begin to work, and to complain, before it says that it is there"
        yield
    finally:
        process.terminate()
        process.communicate(timeout=20)


def _until(cli: Cli, instance_id: str, is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The row of the instance, once it is so."""
    for _ in range(200):
        (row,) = (each for each in cli.dump()["instances"] if each["instance_id"] == instance_id)
        if is_so(row):
            return dict(row)
        time.sleep(0.05)
    raise AssertionError(f"it never came to that: {row}")


def _blocked(cli: Cli) -> dict[str, tuple[str, str]]:
    """Instance id -> kind and reason, as the list prints them; its JSON says the same."""
    rows = cli("instances", "list", "--status", "blocked").rows()
    listed = {row["instance_id"]: (row["blocked"], row["blocked_reason"]) for row in rows}
    document = cli("instances", "list", "--status", "blocked", "-o", "json").json["instances"]
    assert {each["instance_id"]: (each["blocked"], each["blocked_reason"]) for each in document} == listed
    return listed


def test_wrong_code_blocks_with_the_reason_and_right_code_goes_on(cli_with_store: Cli) -> None:
    cli = cli_with_store
    right, wrong = _deploy(cli, "right", WITH_AN_EVENT), _deploy(cli, "wrong", WITH_A_TIMER)
    with _worker(cli, right):
        assert cli("start", "sell", "--id", "order", "--input", "7").code == 0
        _until(cli, "order", lambda row: row["waits"] == '["paid"]')
    cli("raise", "order", "paid")
    before = cli("history", "show", "order", "-o", "json").json["events"]
    with _worker(cli, wrong):
        row = _until(cli, "order", lambda row: row["blocked"] is not None)
        ((kind, reason),) = _blocked(cli).values()
    assert (kind, row["attempt_count"], row["status"]) == ("nondeterminism", 0, "running")
    assert "EventWaitStarted" in reason  # what history recorded
    assert "TimerCreated" in reason  # what the code asked for
    assert f"blocked        nondeterminism: {reason}" in cli("instances", "show", "order").lines
    assert cli("history", "show", "order", "-o", "json").json["events"] == before
    with _worker(cli, right):
        done = cli("start", "sell", "--id", "order", "--if-exists", "return", "--wait", "-q")
    assert (done.code, done.out) == (0, '"shipped 7"\n')
    assert _blocked(cli) == {}


def test_missing_code_is_listed_and_costs_no_attempt(cli_with_store: Cli) -> None:
    cli = cli_with_store
    others, right = _deploy(cli, "others", OF_OTHERS), _deploy(cli, "right", WITH_AN_EVENT)
    for arguments in (("sell", "--id", "order", "--input", "7"), ("sell", "--id", "versioned", "--version", "2.0")):
        assert cli("start", *arguments, "--allow-unregistered").code == 0
    assert _blocked(cli) == {}
    with _worker(cli, others):
        assert cli("start", "other", "--id", "lonely").code == 0
        _until(cli, "lonely", lambda row: row["turn_sequence"] == 1)
        assert _blocked(cli) == {
            "lonely": ("unregistered", "waits for a worker that has activity 'ship'"),
            "versioned": ("unregistered", "waits for a worker that has orchestration 'sell' 2.0"),
            "order": ("unregistered", "waits for a worker that has orchestration 'sell'"),
        }
        shown = cli("instances", "show", "lonely").lines
        assert "blocked        unregistered: waits for a worker that has activity 'ship'" in shown
        with _worker(cli, right):
            done = cli("start", "other", "--id", "lonely", "--if-exists", "return", "--wait", "-q")
            assert done.out == '"shipped 7"\n'
            row = _until(cli, "order", lambda row: row["waits"] == '["paid"]')
            assert (row["lease_epoch"], row["attempt_count"]) == (1, 0)
            assert list(_blocked(cli)) == ["versioned"]
    (versioned,) = (row for row in cli.dump()["instances"] if row["instance_id"] == "versioned")
    assert (versioned["lease_epoch"], versioned["attempt_count"], versioned["status"]) == (0, 0, "pending")


def _let_it_kill(cli: Cli, directory: str) -> bool:
    """Run one worker with a short lease until it dies (True), or until an instance is set aside as poison (False)."""
    process = subprocess.Popen(
        [sys.executable, "-c", SHORT_LEASE, directory, f"sqlite:///{cli.store}"], env=cli.environment
    )
    try:
        while process.poll() is None:
            with cli.client() as client:
                if client.get_instance("bad").blocked == "poison":
                    return False
            time.sleep(0.02)
        assert process.returncode == 9
        return True
    finally:
        process.kill()
        process.wait(10)


def test_code_that_kills_its_worker_is_set_aside_and_resumed(cli_with_store: Cli) -> None:
    cli = cli_with_store
    deadly, harmless = _deploy(cli, "deadly", DEADLY), _deploy(cli, "harmless", HARMLESS)
    cli("start", "sell", "--id", "bad", "--input", "-1", "--allow-unregistered")
    for n in range(3):
        cli("start", "sell", "--id", f"good-{n}", "--input", "1", "--allow-unregistered")
    deaths = 0
    while _let_it_kill(cli, deadly):
        deaths += 1
        assert deaths <= 10
    assert deaths == 10
    assert _blocked(cli) == {"bad": ("poison", "10 turns in a row ended without a commit")}
    assert {row["status"] for row in cli.dump()["instances"] if row["instance_id"] != "bad"} == {"completed"}
    with _worker(cli, harmless):
        assert list(_blocked(cli)) == ["bad"]
        assert cli("instances", "resume", "bad", "-o", "ids").out == "bad\n"
        done = cli("start", "sell", "--id", "bad", "--if-exists", "return", "--wait", "-o", "json")
    assert json.loads(done.out)["output"] == "refused"
    assert _blocked(cli) == {}
