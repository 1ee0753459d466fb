"""duroctl prune, holds, ledger and policy: what they print, what they change, and what they leave alone."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import duro
from duro.testing.builders import continued_as_new, start_request
from duro.testing.invariants import check_invariants
from duro.testing.scripted import ScriptedWorker
from tests.e2e.cli_support import Cli, Ran
from tests.support.pruning import Loops


def live(cli: Cli, instance_id: str = "queue-1") -> list[int]:
    ids = cli("executions", "list", instance_id, "-o", "ids").lines
    return sorted(int(each.rpartition("/")[2]) for each in ids)


def refused(cli: Cli, *arguments: str, code: int) -> Ran:
    """What was printed, after checking that nothing changed."""
    before = cli.dump()
    done = cli(*arguments)
    assert (done.code, done.out) == (code, ""), done
    assert cli.dump() == before
    return done


def test_a_dry_run_says_what_would_go_and_why_and_changes_nothing(loops: Cli) -> None:
    before = loops.dump()
    rows = loops("prune", "queue-1", "--keep-last", "3", "-n").rows()
    assert [(row["execution_id"], row["verdict"], row["reasons"]) for row in rows[5:]] == [
        ("6", "remove", "beyond-last:3"),
        ("7", "remove", "beyond-last:3"),
        ("8", "keep", "last:3/3"),
        ("9", "keep", "last:2/3"),
        ("10", "keep", "current running last:1/3"),
    ]
    ids = loops("prune", "queue-1", "--keep-last", "9", "--dry-run", "-o", "ids").lines
    assert ids == ["queue-1/1"]
    shown = loops.on_terminal("prune", "--all", "--keep-last", "3", "-n", width=120).out
    assert "1..7  REMOVE  beyond-last:3" in shown
    assert "to remove: 14 executions of 2 instances" in shown
    assert loops.dump() == before


@pytest.mark.parametrize("form", ["table", "csv", "jsonl", "ids"])
def test_a_dry_run_that_prints_rows_notes_the_totals_beside_them(loops: Cli, form: str) -> None:
    told = loops("prune", "queue-1", "--keep-last", "3", "-n", "-o", form)
    notes = [
        "duroctl: to remove: 7 executions of 1 instance, 14 events, 1.8 KiB",
        "duroctl: to keep:   3 executions, 6 events, 762 B",
    ]
    assert told.err.splitlines()[:2] == notes
    assert "to remove" not in told.out
    assert loops("prune", "queue-1", "--keep-last", "3", "-n", "-q").err == ""


def test_it_prunes_and_can_be_undone(loops: Cli) -> None:
    done = loops("prune", "queue-1", "--keep-last", "2", "-y", "--reason", "full disk", "-o", "json")
    assert done.code == 0
    assert done.json["executions_deleted"] == 8
    assert live(loops) == [9, 10]
    (run,) = loops("ledger", "list").rows()
    assert (run["run_id"], run["executions"], run["reason"]) == (done.json["run_id"], "8", "full disk")
    told = loops("history", "show", "queue-1/3")
    assert told.code == 8
    assert "execution 3 of instance 'queue-1' was pruned at" in told.err
    assert f"in {run['run_id']}, rule keep_last=2: full disk" in told.err
    assert json.loads(loops("history", "show", "queue-1/3", "-o", "json").err)["exit_code"] == 8
    undone = loops("prune", "undo", run["run_id"])
    assert (undone.code, undone.lines[0]) == (0, "brought back 8 executions of queue-1")
    assert live(loops) == list(range(1, 11))
    again = loops("prune", "queue-1", "--keep-last", "1", "-y")
    (hold,) = loops("holds", "list").rows()
    lets_go = f"`duroctl holds remove {hold['hold_id']}` lets them go"
    assert (again.code, again.lines) == (
        0,
        ["nothing to prune", f"9 executions stay for nothing but {hold['hold_id']}; {lets_go}"],
    )
    assert loops("holds", "remove", hold["hold_id"]).code == 0
    assert loops("prune", "queue-1", "--keep-last", "1", "-y", "--now").code == 0
    assert {row["execution_id"] for row in loops.dump()["executions"] if row["incarnation"] == 1} == {10}
    assert loops("prune", "undo", "queue-1").lines[-1] == (
        "9 executions had been reclaimed and cannot come back: no archive has them"
    )


def test_a_plan_in_a_file_removes_what_it_shows_and_nothing_else(loops: Cli) -> None:
    assert loops("prune", "--name", "Ord*", "--keep-last", "2", "--plan-out", "plan.json").code == 0
    assert live(loops) == list(range(1, 11))
    refused(loops, "prune", "--all", "--keep-last", "1", "--plan-out", "plan.json", code=2)
    assert loops("holds", "add", "queue-1/3", "--reason", "to be looked at").code == 0
    done = loops("prune", "--apply", "plan.json", "--yes")
    assert done.code == 3
    assert "skipped queue-1/3: it is kept now: held:hold-" in done.out
    assert "1 execution was skipped, because it may no longer go" in done.err
    assert live(loops) == [3, 9, 10]
    assert live(loops, "other") == list(range(1, 11))
    plan = loops("prune", "other", "--keep-last", "2", "-n", "-o", "json").out
    (loops.directory / "other.json").write_text(plan.replace('"store_id":"', '"store_id":"not-'))
    assert "of another store" in refused(loops, "prune", "--apply", "other.json", "-y", code=5).err
    (loops.directory / "broken.json").write_text('{"schema":"duroctl.prune_plan/1","store_id":7}')
    assert "$.store_id" in refused(loops, "prune", "--apply", "broken.json", "-y", code=2).err
    assert "cannot be read" in refused(loops, "prune", "--apply", "nothing.json", "-y", code=2).err


def test_executions_that_were_pruned_since_they_were_listed_do_not_keep_the_others(loops: Cli) -> None:
    """Beside a worker that prunes all the time such a command never got through."""
    listed = "queue-1/1\nqueue-1/2\nqueue-1/3\nother/1\n"
    assert loops("prune", "queue-1/2", "--yes").code == 0
    planned = loops("prune", "-", "-n", input=listed)
    assert "1 execution of those named of queue-1 had been pruned before: 2" in planned.err
    done = loops("prune", "-", "--yes", input=listed)
    assert (done.code, done.lines[0]) == (0, "pruned 3 executions of 2 instances: 6 events, 774 B")
    assert loops("prune", "-", "--yes", input="queue-1/1\nqueue-1/2\n").code == 8, "nothing is left to do"
    assert loops("prune", "-", "--yes", input="queue-1/4\nqueue-1/99\n").code == 7, "there never was one"
    assert live(loops) == list(range(4, 11))


def test_what_somebody_else_has_removed_by_now_is_no_failure(loops: Cli) -> None:
    for keep in ("4", "2"):
        assert loops("prune", "queue-1", "--keep-last", keep, "--plan-out", f"{keep}.json").code == 0
    assert loops("prune", "--apply", "4.json", "--yes").code == 0
    done = loops("prune", "--apply", "2.json", "--yes", "-o", "json")
    assert done.code == 0
    assert {(each["execution_id"], each["gone"]) for each in done.json["skipped"]} == {(n, True) for n in range(1, 7)}
    assert live(loops) == [9, 10]


def test_a_hold_of_a_version_says_that_it_takes_no_pattern(loops: Cli) -> None:
    held = loops("holds", "add", "--version", "1.*", "--reason", "audit")
    assert (held.code, "version '1.*' is taken as it stands" in held.err) == (0, True)
    assert loops("holds", "add", "--version", "1.0.0", "--reason", "audit").err == ""


def test_a_plan_by_policy_is_refused_when_the_policy_has_changed(loops: Cli) -> None:
    loops("policy", "set", "--instance", "queue-1", "--keep-last", "4", "--yes")
    assert loops("prune", "queue-1", "--plan-out", "plan.json").code == 0
    loops("policy", "set", "--instance", "queue-1", "--never")
    assert "has changed since" in refused(loops, "prune", "--apply", "plan.json", "-y", code=5).err
    assert "has changed since" in refused(loops, "prune", "--apply", "plan.json", code=5).err, "before it asks"


def test_a_plan_that_removes_nothing_is_checked_like_any_other(loops: Cli) -> None:
    assert loops("prune", "queue-1", "--keep-last", "99", "--plan-out", "nothing.json").code == 0
    assert loops("prune", "--apply", "nothing.json", "-y").lines == ["nothing to prune"]
    plan = (loops.directory / "nothing.json").read_text()
    (loops.directory / "other.json").write_text(plan.replace('"store_id":"', '"store_id":"not-'))
    assert "of another store" in refused(loops, "prune", "--apply", "other.json", "-y", code=5).err


def test_a_plan_of_which_nothing_may_go_any_more_is_stale(loops: Cli) -> None:
    assert loops("prune", "queue-1", "--keep-last", "8", "--plan-out", "plan.json").code == 0
    assert loops("prune", "queue-1/1", "--yes").code == 0
    assert loops("holds", "add", "queue-1/2", "--reason", "to be looked at").code == 0
    again = loops("prune", "--apply", "plan.json", "-y")
    assert again.code == 5
    assert "nothing that the plan shows may go any more; make the plan again" in again.err
    assert live(loops) == list(range(2, 11))


def test_a_plan_that_was_carried_out_can_be_applied_again_and_has_nothing_left_to_do(loops: Cli) -> None:
    assert loops("prune", "queue-1", "--keep-last", "8", "--plan-out", "plan.json").code == 0
    assert loops("prune", "--apply", "plan.json", "-y").code == 0
    again = loops("prune", "--apply", "plan.json", "-y")
    assert (again.code, again.lines) == (
        0,
        [
            "nothing to prune: all that was to go had been removed before",
            "skipped queue-1/1: it was removed in the meantime",
            "skipped queue-1/2: it was removed in the meantime",
        ],
    )
    assert [run["executions"] for run in loops("ledger", "list").rows()] == ["2"]


def test_what_a_plan_kept_when_it_was_made_is_not_said_to_be_kept_now(loops: Cli) -> None:
    """The hold is gone, and the remedy named it."""
    assert loops("holds", "add", "queue-1/4", "--reason", "to be looked at").code == 0
    assert loops("prune", "queue-1", "--keep-last", "5", "--plan-out", "plan.json").code == 0
    assert loops("holds", "remove", "--reason", "done", loops("holds", "list", "-o", "ids").lines[0]).code in (0, 2)
    done = loops("prune", "--apply", "plan.json", "--yes")
    assert done.code == 0
    assert "hold" not in done.out


def test_check_is_for_cron(loops: Cli) -> None:
    before = loops.dump()
    found = loops("prune", "--all", "--keep-last", "1", "--check")
    assert found.code == 20
    assert found.out.startswith("to remove: 18 executions of 2 instances")
    assert loops("prune", "--all", "--keep-last", "10", "--check").code == 0
    assert loops.dump() == before


def test_it_asks_on_a_terminal_and_needs_yes_elsewhere(loops: Cli) -> None:
    said = refused(loops, "prune", "queue-1", "--keep-last", "3", code=2).err
    assert "this prunes 7 executions, and there is no terminal to ask on; pass --yes to do it" in said
    declined = loops.on_terminal("prune", "queue-1", "--keep-last", "3", typed="n\n")
    assert declined.code == 4
    assert live(loops) == list(range(1, 11))
    agreed = loops.on_terminal("prune", "queue-1", "--keep-last", "3", typed="y\n")
    assert agreed.code == 0
    assert "pruned 7 executions of 1 instance" in agreed.out
    assert live(loops) == [8, 9, 10]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("prune",), "which instances?"),
        (("prune", "queue-1", "--all", "--keep-last", "1"), "--all does not go with"),
        (("prune", "--all", "--keep-last", "0"), "--keep-last must be a whole number of at least 1, not '0'"),
        (("prune", "--all", "--keep-last", "-1"), "--keep-last must be a whole number of at least 1, not '-1'"),
        (("prune", "--all", "--keep-within", "0s"), "--keep-within '0s' keeps nothing"),
        (("prune", "--all", "--keep-within", "7"), "--keep-within '7'"),
        (("prune", "--all", "--completed-before", "yesterday"), "is no time"),
        (("prune", "--all", "--completed-before", "2026-11-25T10:00:00"), "has no time zone"),
        (("prune", "--all", "--keep-versions", "1"), "keeps nothing by itself"),
        (("prune", "--all", "-n", "--check"), "do not go together"),
        (("prune", "--all", "--now", "--grace", "1h", "--keep-last", "1"), "do not go together"),
        (("prune", "--all", "--plan-out", "p.json", "--archive", "kept"), "give it with --apply"),
        (("prune", "--all", "--plan-out", "p.json", "--reason", "why"), "--reason goes with --apply"),
        (("prune", "--all", "--plan-out", "p.json", "--grace", "2h"), "--grace goes with --apply"),
        (("prune", "--all", "--plan-out", "p.json", "--now", "--reason", "x"), "--now and --reason go with --apply"),
        (("prune", "--apply", "plan.json", "--keep-last", "1"), "--apply takes neither"),
        (("prune", "queue-1", "--name", "Ord*", "--keep-last", "1"), "--name does not go with instances"),
        (("prune", "queue-1", "--keep-last", "1", "--plan-out", "-"), "--plan-out takes a file"),
        (("prune", "queue-1", "--keep-versions", "2"), "--keep-versions keeps nothing by itself"),
        (("prune", "queue-1", "--keep-last", "1000000001"), "--keep-last 1000000001 is more than there will ever be"),
        (("prune", "--apply", "plan.json", "--keep-last", ""), "--apply takes neither"),
        (("prune", "undo"), "missing argument 'RUN|INSTANCE...'; see `duroctl prune undo --help`"),
        (("prune", "undo", "queue-1", "--keep-last", "1"), "no such option: --keep-last"),
        (("prune", "--keep-last", "1", "undo", "queue-1"), "prune undo takes runs or instances, and nothing else"),
        (("prune", "queue-1"), "give rules, such as keep_last (--keep-last 3), or start a worker"),
        (("holds", "add", "queue-1"), "a hold needs a reason"),
        (("holds", "add", "--reason", "x"), "nothing is named to hold"),
        (("holds", "add", "queue-1", "--reason", "x", "--until", "2001-01-01T00:00:00Z"), "not in the future"),
        (("holds", "add", "queue-1", "--reason", "x", "--until", "soon"), "or 2w (from now)"),
        (("policy", "explain"), "which instances? name some, or an orchestration with --name NAME"),
        (("policy", "explain", "queue-1", "--name", "Order"), "--name does not go with instances"),
        (("policy", "set", "--instance", "queue-1"), "which policy?"),
    ],
)
def test_bad_input_is_refused_and_changes_nothing(loops: Cli, arguments: tuple[str, ...], said: str) -> None:
    assert said in refused(loops, *arguments, code=2).err


@pytest.mark.parametrize(
    "arguments",
    [
        ("prune", "nobody", "--keep-last", "1", "-y"),
        ("prune", "undo", "nobody"),
        ("holds", "add", "nobody", "--reason", "x"),
        ("holds", "add", "queue-1/77", "--reason", "x"),
        ("holds", "remove", "hold-0"),
        ("ledger", "show", "nobody"),
        ("policy", "explain", "nobody"),
        ("policy", "set", "--instance", "nobody", "--never"),
    ],
    ids=" ".join,
)
def test_what_is_not_there_is_exit_seven(loops: Cli, arguments: tuple[str, ...]) -> None:
    refused(loops, *arguments, code=7)


def test_an_instance_with_nothing_but_its_current_execution_is_pointed_to_purge(loops: Cli) -> None:
    done = loops("prune", "ended", "--keep-last", "1", "-y")
    assert (done.code, done.out) == (0, "nothing to prune\n")
    assert "which pruning never removes; `duroctl instances purge`" in done.err


def test_a_name_that_is_nobodys_is_said_to_be(loops: Cli) -> None:
    for command in (
        ("prune", "--name", "Ordr", "--keep-last", "1", "-y"),
        ("instances", "purge", "--name", "Ordr*", "--completed-before", "now", "-y"),
        ("orphans", "cleanup", "--name", "Ordr", "-y"),
    ):
        before = loops.dump()
        done = loops(*command)
        assert done.code == 0
        assert f"no orchestration of this store is called {command[command.index('--name') + 1]!r}" in done.err
        assert loops.dump() == before
    assert "no orchestration" not in loops("prune", "--name", "Ord*", "--keep-last", "1", "-n").err


def test_an_undo_of_nothing_says_why(loops: Cli) -> None:
    nothing = "brought back nothing: nothing is removed of {}; it never was, or came back before\n"
    before = loops.dump()
    never = loops("prune", "undo", "queue-1")
    assert (never.code, never.out) == (0, nothing.format("queue-1"))
    assert loops.dump() == before
    run = loops("prune", "queue-1", "--keep-last", "3", "-y", "-o", "json").json["run_id"]
    assert loops("prune", "undo", run).code == 0
    assert loops("prune", "undo", run).out == nothing.format(run)
    reclaimed = loops("prune", "other", "--keep-last", "3", "-y", "--now", "-o", "json").json["run_id"]
    undone = loops("prune", "undo", reclaimed)
    assert undone.code == 8
    assert undone.lines == [
        "brought back nothing",
        "7 executions had been reclaimed and cannot come back: no archive has them",
    ]
    some = loops("prune", "undo", "queue-1", reclaimed)
    assert some.code == 3
    assert "nothing came back of 1 of 2" in some.err
    assert loops("prune", "other", "--keep-last", "3", "-y", "-o", "ids").out == "", "no run, no line"


def test_an_undo_says_that_its_hold_is_on_the_whole_instance(loops: Cli) -> None:
    assert loops("prune", "queue-1", "--keep-last", "3", "-y").code == 0
    lines = loops("prune", "undo", "queue-1").lines
    (hold,) = loops("holds", "list").rows()
    ends = f"`duroctl holds remove {hold['hold_id']}` ends it"
    assert lines[2] == f"nothing else of them is pruned as long, either; {ends}"
    assert hold["target"] == "queue-1"


def test_a_hold_on_a_name_that_is_nobodys_is_said_to_hold_nothing_yet(loops: Cli) -> None:
    said = "no orchestration of this store is called 'Ordr' or matches it"
    assert said in loops("holds", "add", "--name", "Ordr", "--reason", "x").err
    assert loops("holds", "add", "--name", "Ord*", "--reason", "x").err == ""


def test_what_workers_publish_is_shown_and_explained(loops: Cli) -> None:
    assert loops("policy", "show", "--published").rows() == []
    with duro.Client(loops.store) as client:
        registry = duro.Registry()

        @registry.orchestration(name="Order", auto_prune=duro.AutoPrune(keep_last=4, every_n_executions=2))
        async def order(ctx: duro.OrchestrationContext) -> None: ...

        @registry.orchestration(name="Child")
        async def child(ctx: duro.OrchestrationContext) -> None: ...

        with duro.Runtime(client.store, registry, duro.RuntimeOptions(auto_prune=6)):
            shown = loops("policy", "show", "--published").rows()
            assert [(row["name"], row["policy"], row["kind"]) for row in shown] == [
                ("Order", "keep_last=4 every_n_executions=2", "registration"),
                ("(default)", "keep_last=6", "default of the program"),
            ]
            told = loops("policy", "explain", "queue-1").out
            assert "-> 5  registration" in told
            assert "tests/e2e/test_cli_prune.py:" in told
            assert "-> 5  registration" in loops("policy", "explain", "--name", "Order").out
            document = loops("policy", "explain", "other", "-o", "json").json
            applied = [link for link in document["chains"][0]["links"] if link["applies"]]
            assert applied[0]["origin"]["kind"] == "code_default"
        done = loops("prune", "--all", "-y")
        assert done.code == 0
    assert (live(loops), live(loops, "other")) == ([7, 8, 9, 10], [5, 6, 7, 8, 9, 10])


def test_ids_come_from_standard_input(loops: Cli, tmp_path: Path) -> None:
    done = loops("prune", "-", "--keep-last", "1", "-y", input="queue-1\nother\n")
    assert done.code == 0
    assert (live(loops), live(loops, "other")) == ([10], [10])


def test_an_instance_is_shown_with_what_keeps_it(loops: Cli) -> None:
    plain = loops("instances", "show", "queue-1", "-o", "json").json
    assert (plain["policy"], plain["held"]) == (None, [])
    assert "held" not in loops("instances", "show", "queue-1").out
    loops("policy", "set", "--instance", "queue-1", "--keep-last", "9", "--yes")
    for target in (("queue-1/3",), ("--name", "Ord*"), ("other",)):
        assert loops("holds", "add", *target, "--reason", f"to look at {target[-1]}").code == 0
    holds = {row["reason"]: row["hold_id"] for row in loops("holds", "list").rows()}
    held = {holds["to look at queue-1/3"], holds["to look at Ord*"]}
    shown = loops("instances", "show", "queue-1").out
    assert "\nown policy     keep_last=9\n" in shown
    for hold_id in held:
        assert f"\nheld           {hold_id} holds " in shown
    assert "to look at other" not in shown
    document = loops("instances", "show", "queue-1", "-o", "json").json
    assert (document["policy"], {*document["held"]}) == ("keep_last=9", held)
    both = loops("instances", "show", "queue-1", "other", "-o", "json").json["instances"]
    assert [(each["policy"], len(each["held"])) for each in both] == [("keep_last=9", 2), (None, 1)]


def test_lists_show_what_is_held(loops: Cli) -> None:
    assert "held" not in loops("executions", "list", "queue-1").rows()[0]
    loops("holds", "add", "queue-1/3", "--reason", "to be looked at")
    (hold,) = loops("holds", "list").rows()
    rows = loops("executions", "list", "queue-1").rows()
    assert {row["execution_id"] for row in rows if row["held"] == hold["hold_id"]} == {"3"}
    instances = loops("instances", "list", "-o", "json").json["instances"]
    assert {each["instance_id"]: each["held"] for each in instances} == {
        "queue-1": [hold["hold_id"]],
        "other": [],
        "ended": [],
    }


def test_the_ledger_tells_of_a_run_who_made_it_where_and_of_which_plan(loops: Cli) -> None:
    assert loops("prune", "queue-1", "--keep-last", "3", "--plan-out", "plan.json").code == 0
    assert loops("prune", "--apply", "plan.json", "--reason", "the disk", "--yes").code == 0
    (run,) = loops("ledger", "list", "-o", "json").json["runs"]
    assert run["host"] == os.uname().nodename
    assert run["duro_version"] == duro.__version__
    assert re.fullmatch("[0-9a-f]{32}", run["plan_hash"])
    shown = loops("ledger", "show", run["run_id"])
    assert shown.code == 0
    told = dict(line.split(maxsplit=1) for line in shown.lines)
    assert (told["reason"], told["plan"], told["rules"]) == ("the disk", run["plan_hash"], "keep_last=3")
    assert told["removed"].startswith("7 executions of 1 instance, ")
    document = loops("ledger", "show", run["run_id"], "-o", "json").json
    assert document == {"schema": "duroctl.prune_run/1", **run}
    assert loops("prune", "undo", run["run_id"]).code == 0
    newest = loops("ledger", "list", "-o", "json").json["runs"][0]
    assert (newest["trigger"], newest["host"], newest["plan_hash"]) == ("undo", os.uname().nodename, "")
    assert refused(loops, "ledger", "show", "nothing", code=7).err.startswith(
        "duroctl: error: there is neither an instance nor a run 'nothing'"
    )


# --- executions named one by one -----------------------------------------------------------------------------------


def test_what_was_removed_of_instances_that_are_gone_stands_in_totals(loops: Cli) -> None:
    assert loops("ledger", "totals").rows() == []
    assert loops("prune", "queue-1", "--keep-last", "3", "--now", "--yes").code == 0
    before = sum(each["executions"] for each in loops("ledger", "show", "queue-1", "-o", "json").json["entries"])
    assert loops("instances", "terminate", "queue-1", "--yes").code == 0
    purge = ("instances", "purge", "queue-1", "--completed-before", "now", "--now", "--yes", "-o", "json")
    removed = loops(*purge).json["executions"]
    (row,) = loops("ledger", "totals").rows()
    assert (row["name"], row["instances"], int(row["executions"])) == ("Order", "1", before + removed)
    (totals,) = loops("ledger", "totals", "-o", "json").json["totals"]
    assert (totals["events"], totals["history_bytes"]) == (int(row["events"]), int(row["history_bytes"]))
    assert loops("ledger", "totals", "-o", "ids").lines == ["Order"]


def test_nothing_but_the_executions_that_are_named_goes(loops: Cli) -> None:
    rows = loops("prune", "queue-1/3", "queue-1/5", "--dry-run").rows()
    assert [row["execution_id"] for row in rows if row["verdict"] == "remove"] == ["3", "5"]
    assert {row["reasons"] for row in rows if row["execution_id"] == "4"} == {"not-named"}
    assert loops("prune", "queue-1/3", "queue-1/5", "--yes").code == 0
    assert live(loops) == [1, 2, 4, 6, 7, 8, 9, 10]
    assert live(loops, "other") == list(range(1, 11))
    assert loops("prune", "queue-1/3", "--dry-run").code == 8


def test_an_apply_says_of_how_many_instances_something_went(loops: Cli) -> None:
    assert loops("prune", "--all", "--keep-last", "2", "--plan-out", "plan.json").code == 0
    assert loops("prune", "other", "--keep-last", "1", "--yes").code == 0
    done = loops("prune", "--apply", "plan.json", "--yes", "-o", "json")
    assert (done.code, done.json["instances_pruned"], done.json["instances_processed"]) == (0, 1, 2)
    assert loops("ledger", "list").rows()[0]["instances"] == "1"
    assert loops("prune", "undo", done.json["run_id"]).code == 0
    (hold,) = loops("holds", "list", "-o", "ids").lines
    assert loops("holds", "remove", hold).code == 0
    said = loops("prune", "--apply", "plan.json", "--yes").lines[0]
    assert said.startswith("pruned 8 executions of 1 instance: ")


def test_what_goes_because_it_was_named_goes_by_no_rule_that_nobody_gave(loops: Cli) -> None:
    rows = loops("prune", "queue-1/3", "--dry-run").rows()
    assert [(row["execution_id"], row["reasons"]) for row in rows if row["verdict"] == "remove"] == [("3", "named")]
    document = loops("prune", "queue-1/3", "--dry-run", "-o", "json").json
    assert [each["rules"] for each in document["instances"]] == [[]]
    assert loops("prune", "queue-1/3", "--yes").code == 0
    (run,) = loops("ledger", "list").rows()
    (row,) = loops("ledger", "show", "queue-1").rows()
    assert (run["rule"], row["rule"]) == ("named", "named")
    assert f"in {run['run_id']}, named one by one" in loops("history", "show", "queue-1/3").err


def test_a_plan_of_executions_that_were_named_can_be_written_and_applied(loops: Cli, tmp_path: Path) -> None:
    file = str(tmp_path / "plan.json")
    assert loops("prune", "queue-1/3", "queue-1/5", "--plan-out", file).code == 0
    assert loops("prune", "--apply", file, "--yes").code == 0
    assert live(loops) == [1, 2, 4, 6, 7, 8, 9, 10]


def test_of_the_executions_that_are_named_those_that_stay_are_told_of_with_the_reason(loops: Cli) -> None:
    assert loops("prune", "queue-1/10", "--yes").lines == [
        "nothing to prune",
        "  queue-1/10  keep    current running",
    ]
    assert loops("holds", "add", "queue-1/2", "--reason", "test").code == 0
    (hold,) = loops("holds", "list", "-o", "ids").lines
    done = loops("prune", "queue-1/2", "queue-1/3", "--yes")
    assert (done.code, done.lines[-1]) == (0, f"  queue-1/2  keep    held:{hold}")
    assert 3 not in live(loops)


def test_a_list_of_executions_can_be_sent_to_prune(loops: Cli) -> None:
    ids = loops("executions", "list", "queue-1", "-o", "ids").out
    held = loops("holds", "add", "queue-1/2", "--reason", "test")
    assert held.code == 0
    assert loops("prune", "-", "--keep-last", "4", "--yes", input=ids).code == 0
    assert live(loops) == [2, 7, 8, 9, 10]
    ids = loops("executions", "list", "-o", "ids").out
    assert loops("prune", "-", "--yes", input=ids).code == 0
    assert (live(loops), live(loops, "other"), live(loops, "ended")) == ([2, 10], [10], [1])


def test_an_instance_that_is_named_beside_its_executions_is_meant_whole(loops: Cli) -> None:
    assert loops("prune", "queue-1/3", "queue-1", "--keep-last", "8", "--yes").code == 0
    assert live(loops) == list(range(3, 11))


def test_an_execution_that_never_was_is_no_execution(loops: Cli) -> None:
    assert refused(loops, "prune", "queue-1/99", "--yes", code=7).err
    assert refused(loops, "prune", "nobody/1", "--yes", code=7).err


@pytest.mark.parametrize(
    "arguments",
    [
        ("history", "show", "ended"),
        ("history", "show", "ended/1"),
        ("history", "show", "ended", "--execution", "1"),
        ("prune", "ended", "--keep-last", "1", "-n"),
        ("prune", "ended/1", "-n"),
        ("executions", "list", "ended"),
        ("holds", "add", "ended", "--reason", "incident 42"),
        ("holds", "add", "ended/1", "--reason", "incident 42"),
        ("holds", "add", "ended", "--execution", "1", "--reason", "incident 42"),
        ("ledger", "show", "ended"),
        ("policy", "explain", "ended"),
        ("policy", "set", "--instance", "ended", "--keep-last", "3"),
        ("policy", "unset", "--instance", "ended"),
    ],
)
def test_of_what_was_removed_as_a_whole_every_command_says_how_it_comes_back(
    loops: Cli, arguments: tuple[str, ...]
) -> None:
    with duro.Client(loops.store) as client:
        scope = duro.PruneScope(instance_ids=("ended",))
        removed = client.purge_instances(duro.PurgeOptions(completed_before=10**14), scope=scope)
    told = refused(loops, *arguments, code=8)
    assert "instance 'ended' was removed at" in told.err
    assert f"`duroctl prune undo {removed.run_id}` brings it back" in told.err


def test_what_was_pruned_is_brought_back_before_it_is_held(loops: Cli) -> None:
    loops("prune", "queue-1", "--keep-last", "3", "-y")
    told = refused(loops, "holds", "add", "queue-1/4", "--reason", "incident 42", code=8)
    assert "execution 4 of instance 'queue-1' was pruned at" in told.err
    assert "`duroctl prune undo queue-1` brings it back" in told.err
    assert refused(loops, "holds", "add", "queue-1/44", "--reason", "incident 42", code=7).err


def test_an_instance_that_is_called_like_an_execution_is_pruned_and_held_as_the_hint_says(loops: Cli) -> None:
    with duro.Client(loops.store) as client:
        worker = ScriptedWorker(client.store)
        client.store.start_instances([start_request("queue-1/3")])
        for _ in range(3):
            worker.run(worker.take("queue-1/3"), continued_as_new())
        client.store.release_worker(worker.worker_id)
    told = refused(loops, "prune", "queue-1/3", "--keep-last", "1", "-n", code=2)
    assert "for the first write queue-1/3 --whole, for the other queue-1 --execution 3" in told.err
    assert loops("prune", "queue-1/3", "--whole", "--keep-last", "1", "-y").code == 0
    assert live(loops, "queue-1/3") == [4]
    assert loops("prune", "queue-1", "--execution", "3", "-y").code == 0
    assert live(loops) == [1, 2, *range(4, 11)]
    assert refused(loops, "holds", "add", "queue-1/3", "--reason", "it", code=2).err.count("--whole") == 1
    assert loops("holds", "add", "queue-1/3", "--whole", "--reason", "it").code == 0
    with duro.Client(loops.store) as client:
        assert [str(each.target) for each in client.list_holds()] == ["queue-1/3"]
        assert client.list_holds()[0].target.execution_id is None
    assert refused(loops, "prune", "--all", "--execution", "3", "-y", code=2).err
    assert refused(loops, "prune", "queue-1", "--whole", "--execution", "3", "-y", code=2).err
    assert refused(loops, "prune", "undo", "queue-1", "--whole", code=2).err


INTERRUPTED_PLANNING = """
import signal
from duro.stores.sqlite import SqliteStore

def interrupted(*_):
    signal.raise_signal(signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a foreground
SqliteStore.prune_views = SqliteStore.families = interrupted
from duroctl.__main__ import main
main()
"""


@pytest.mark.parametrize(
    "command",
    [
        ("prune", "--all", "--keep-last", "1", "--yes"),
        ("instances", "purge", "--all", "--completed-before", "now", "--yes"),
    ],
)
def test_whoever_interrupts_the_planning_is_told_that_nothing_was_changed(loops: Cli, command: tuple[str, ...]) -> None:
    before = loops.dump()
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_PLANNING, *command],
        cwd=loops.directory,
        env=loops.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "duroctl: interrupted while planning; nothing was changed\n"
    assert loops.dump() == before


INTERRUPTED = """
import signal
from duro.stores.sqlite import SqliteStore

prune = SqliteStore.prune
batches = []

def interrupted(self, batch, **durable):
    done = prune(self, batch, **durable)
    batches.append(batch)
    if len(batches) == 1:
        signal.raise_signal(signal.SIGINT)
    return done

SqliteStore.prune = interrupted
from duroctl.__main__ import main
main()
"""


def test_an_interrupted_prune_ends_after_its_batch_and_the_ledger_says_what_was_done(cli_with_store: Cli) -> None:
    cli = cli_with_store
    with duro.Client(cli.store) as client:
        loops = Loops(client.store)
        loops.start("a", "b", "c")
        loops.go_on(150)
        client.store.release_worker(loops.worker.worker_id)
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, "prune", "--all", "--keep-last", "1", "-y", "-o", "json"],
        cwd=cli.directory,
        env=cli.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 130, done
    assert "interrupted; what is above was done, and the rest was not" in done.stderr
    told = json.loads(done.stdout)
    assert 0 < told["executions_deleted"] < 450
    assert told["remaining"] > 0
    with duro.Client(cli.store) as client:
        run = client.get_prune_run(told["run_id"])
        assert run is not None
        left = [len(client.list_executions(each, limit=0).executions) for each in "abc"]
        assert run.executions == told["executions_deleted"] == 453 - sum(left)
        ledgers = [entry.range.executions for each in "abc" for entry in client.list_ledger(each)]
        assert sum(ledgers) == run.executions
        check_invariants(client.store)
    assert cli("prune", "--all", "--keep-last", "1", "-y", "-o", "json").json["executions_deleted"] == sum(left) - 3


def test_ids_from_standard_input_are_held_let_go_and_brought_back(loops: Cli) -> None:
    """What `prune -` takes, its undo and holds take too: the output of a list."""
    reason = ("--reason", "audit")
    made = loops("holds", "add", "-", *reason, "-o", "json", input="queue-1/3\nother\n\nqueue-1/3\n").json
    assert made["schema"] == "duroctl.holds/1"
    assert [(each["instance_id"], each["execution_id"]) for each in made["holds"]] == [("queue-1", 3), ("other", None)]
    told = loops("holds", "add", "ended", "queue-1/4", *reason)
    assert [line.partition(" holds ")[2] for line in told.lines] == [
        "ended until it is removed: audit",
        "queue-1/4 until it is removed: audit",
    ]
    listed = loops("holds", "list", "-o", "ids").out
    assert len(listed.splitlines()) == 4
    some = loops("holds", "remove", "-", input=f"hold-0\n{listed}")
    assert (some.code, some.out) == (3, "")
    assert some.err.endswith("duroctl: error: 1 of 5 holds was refused; see above for why\n")
    assert some.err.splitlines()[0] == f"duroctl: removed 4 holds: {', '.join(listed.split())}"
    assert loops("holds", "list", "-o", "ids").out == ""

    for instance_id in ("queue-1", "other"):
        assert loops("prune", instance_id, "--keep-last", "3", "--yes").code == 0
    runs = loops("ledger", "list", "-o", "ids").out
    undone = loops("prune", "undo", "-", "-o", "json", input=runs)
    assert (undone.code, undone.json["executions_restored"]) == (0, 14)
    assert sorted(undone.json["instances"]) == ["other", "queue-1"]
    assert len(undone.json["hold_ids"]) == 2
    assert live(loops) == live(loops, "other") == list(range(1, 11))
    assert refused(loops, "holds", "add", "queue-1", "other", "--execution", "1", *reason, code=2).err
    partly = loops("holds", "add", "queue-1", "nobody", *reason, "-o", "json")
    assert (partly.code, [each["instance_id"] for each in partly.json["holds"]]) == (3, ["queue-1"])
    assert "there is no instance 'nobody', so nothing is held" in partly.err


def test_many_holds_that_are_removed_are_one_line(loops: Cli) -> None:
    made = [f"queue-1/{execution_id}" for execution_id in range(1, 9)]
    assert loops("holds", "add", *made, "--reason", "audit").code == 0
    ids = loops("holds", "list", "-o", "ids").lines
    assert loops("holds", "remove", ids[0]).err == f"duroctl: removed {ids[0]}\n"
    many = loops("holds", "remove", "-", input="\n".join(ids[1:]))
    assert many.err == f"duroctl: removed 7 holds: {', '.join(ids[1:6])} and 2 more\n"


def test_several_instances_are_explained_one_after_the_other(loops: Cli) -> None:
    ids = "queue-1\nother\n"
    listed = loops("policy", "explain", "-", "-o", "json", input=ids).json
    assert listed["schema"] == "duroctl.policy_explanations/1"
    assert [each["instance_id"] for each in listed["explanations"]] == ["queue-1", "other"]
    assert refused(loops, "policy", "explain", "queue-1", "nobody", "-o", "json", code=7).err
    blocks = loops("policy", "explain", "queue-1", "other").out.split("\n\n")
    assert blocks == [
        loops("policy", "explain", "queue-1").out.removesuffix("\n"),
        loops("policy", "explain", "other").out,
    ]
    with loops.client() as client:
        client.set_instance_policy("other", 3)
    rows = loops("policy", "explain", "-", "-o", "csv", input=ids).lines
    assert rows[0].endswith(",instance_id")
