"""duroctl orphans, instances purge and instances tree: what they print, what they change, and what they leave alone."""

import contextlib
import json
import re

import apsw
import pytest

import duro
from duro.testing.builders import (
    child_completed,
    child_scheduled,
    completed,
    continued_as_new,
    detached_scheduled,
    failed,
    prune_batch,
    start_request,
    wait_started,
)
from duro.testing.scripted import ScriptedWorker
from tests.e2e.cli_support import Cli, Ran
from tests.support.pruning import published


@pytest.fixture
def families(cli_with_store: Cli) -> Cli:
    """``loop`` in its second execution, the first of which is pruned and left three orphans: ``done`` (ended, with a
    child ``below``), ``bad`` (failed) and ``busy`` (runs); ``seen`` it has observed. ``over`` has ended, ``late``
    failed."""
    with duro.Client(cli_with_store.store) as client:
        store, worker = client.store, ScriptedWorker(client.store)
        store.start_instances([start_request("loop")])
        loop = worker.take("loop")
        worker.run(loop, *(child_scheduled(each) for each in ("done", "bad", "busy", "seen")), keep_lease=True)
        children = {each.instance_id: each for each in worker.lease().instances}
        worker.run(children["seen"], completed())
        worker.run(worker.take("loop"), child_completed(5), continued_as_new())
        worker.run(worker.take("loop"), wait_started("go"), waits=["go"])
        worker.run(children["busy"], wait_started("go"), waits=["go"])
        worker.run(children["done"], child_scheduled("below"), keep_lease=True)
        worker.run(worker.take("below"), completed())
        worker.run(worker.take("done"), child_completed(2), completed())
        worker.run(children["bad"], failed())
        store.prune(prune_batch((loop.incarnation, 1)))
        store.start_instances([start_request("over"), start_request("late")])
        ended = {each.instance_id: each for each in worker.lease().instances}
        worker.run(ended["over"], completed())
        worker.run(ended["late"], failed())
        store.release_worker(worker.worker_id)
    return cli_with_store


def there(cli: Cli) -> set[str]:
    return set(cli("instances", "list", "-o", "ids").lines)


def refused(cli: Cli, *arguments: str, code: int) -> Ran:
    """What was printed, after checking that nothing changed."""
    before = cli.dump()
    done = cli(*arguments)
    assert (done.code, done.out) == (code, ""), done
    assert cli.dump() == before
    return done


def test_orphans_are_listed_the_oldest_first(families: Cli) -> None:
    rows = families("orphans", "list").rows()
    assert [(row["instance_id"], row["status"], row["kind"], row["parent"]) for row in rows] == [
        ("done", "completed", "parent-continued", "loop/1"),
        ("bad", "failed", "parent-continued", "loop/1"),
        ("busy", "running", "parent-continued", "loop/1"),
    ]
    assert {row["spawner_pruned"] for row in rows} == {"yes"}
    first = families("orphans", "list", "--limit", "2", "-o", "json").json
    assert [each["instance_id"] for each in first["orphans"]] == ["done", "bad"]
    rest = families("orphans", "list", "--cursor", first["next"], "-o", "ids")
    assert rest.lines == ["busy"]
    assert families("orphans", "list", "--status", "failed", "-o", "ids").lines == ["bad"]
    assert families("orphans", "list", "--kind", "parent-closed", "-o", "ids").lines == []
    assert families("orphans", "list", "--name", "Nobody*", "-o", "ids").lines == []
    assert families("orphans", "list", "--parent-completed-before", "1d", "-o", "ids").lines == []
    shown = families.on_terminal("orphans", "list", width=120).out
    assert "loop/1" in shown
    assert "SINCE" in shown


def test_a_tree_shows_what_was_pruned_and_who_is_left_alone(families: Cli) -> None:
    shown = families.on_terminal("instances", "tree", "loop", width=120).out.splitlines()
    assert shown == [
        "loop  Order 1.0.0  running",
        "├── done  Child 1.0.0  completed  [exec 1 (pruned), ORPHAN: parent-continued]",
        "│   └── below  Child 1.0.0  completed  [exec 1]",
        "├── bad  Child 1.0.0  failed  [exec 1 (pruned), ORPHAN: parent-continued]",
        "├── busy  Child 1.0.0  running  [exec 1 (pruned), ORPHAN: parent-continued]",
        "└── seen  Child 1.0.0  completed  [exec 1 (pruned)]",
    ]
    rows = families("instances", "tree", "loop", "--depth", "1").rows()
    assert [(row["instance_id"], row["spawner_pruned"], row["orphan"]) for row in rows[:3]] == [
        ("loop", "", ""),
        ("done", "true", "parent-continued"),
        ("bad", "true", "parent-continued"),
    ]
    assert "below" not in [row["instance_id"] for row in rows]
    lineage = families("instances", "show", "below", "-o", "json").json["lineage"]
    assert lineage["standing"] == "observed"
    assert [each["instance_id"] for each in lineage["ancestors"]] == ["done"]
    assert lineage["ancestors"][0]["orphan"] == "parent-continued"


def test_a_dry_run_says_what_would_go_and_why_and_changes_nothing(families: Cli) -> None:
    before = families.dump()
    rows = families("orphans", "cleanup", "--all", "--min-age", "0s", "-n").rows()
    assert [(row["instance_id"], row["verdict"], row["reasons"], row["instances"]) for row in rows] == [
        ("done", "remove", "orphan:parent-continued spawner-pruned", "2"),
        ("bad", "remove", "orphan:parent-continued spawner-pruned", "1"),
        ("busy", "keep", "running:busy", "1"),
    ]
    young = families("orphans", "cleanup", "--all", "-n").rows()
    assert [row["reasons"] for row in young] == ["young:1h", "young:1h", "running:busy young:1h"]
    shown = families.on_terminal("orphans", "cleanup", "--all", "--min-age", "0s", "-n", width=120).out
    assert "child of loop/1, with 1 instance below it" in shown
    assert "running orphans: busy (--cancel-running asks them to end)" in shown
    assert "to remove: 3 instances in 2 families, 3 executions" in shown
    assert families("orphans", "cleanup", "--all", "--min-age", "0s", "--check").code == 20
    assert families("orphans", "cleanup", "--all", "--check").code == 0
    assert families.dump() == before


def test_times_are_taken_as_the_help_writes_them(families: Cli) -> None:
    ago = ("--parent-completed-before", "7d ago")
    assert "7d ago" in families("orphans", "list", "--help").out
    assert families("orphans", "list", *ago, "-o", "ids").lines == []
    assert families("orphans", "cleanup", "--all", *ago, "--check").code == 0
    for command in ("prune", ("instances", "purge")):
        called = (command,) if isinstance(command, str) else command
        assert "7d ago" in families(*called, "--help").out
        assert families(*called, "--all", "--completed-before", "7d ago", "--check").code == 0
    past = refused(families, "holds", "add", "loop", "--reason", "why", "--until", "7d ago", code=2)
    assert "until is not in the future" in past.err


@pytest.mark.parametrize("form", ["table", "csv", "jsonl", "ids"])
def test_a_dry_run_in_a_pipe_says_who_would_be_asked_to_end(families: Cli, form: str) -> None:
    cleanup = ("orphans", "cleanup", "--all", "--min-age", "0s")
    told = families(*cleanup, "-n", "--cancel-running", "-o", form)
    totals = [
        "duroctl: to remove: 3 instances in 2 families, 3 executions, 8 events, 1.2 KiB",
        "duroctl: to keep:   1 family",
    ]
    assert told.err.splitlines() == [*totals, "duroctl: to ask to end: 1 running orphan: busy"]
    unasked = families(*cleanup, "-n", "-o", form).err.splitlines()
    assert unasked[:2] == totals
    assert unasked[2].startswith("duroctl: running orphans: busy (--cancel-running")
    assert families(*cleanup, "-n", "--cancel-running", "-o", form, "-q").err == ""


def test_a_check_and_a_written_plan_say_who_would_be_asked_to_end(families: Cli) -> None:
    cleanup = ("orphans", "cleanup", "--all", "--min-age", "0s", "--cancel-running")
    check = families(*cleanup, "--check")
    assert (check.code, check.lines[1:]) == (20, ["to ask to end: 1 running orphan: busy"])
    assert families(*cleanup, "--check", "-o", "json").json["running_orphans"] == 1
    shown = families.on_terminal(*cleanup, "-n", width=120).out
    assert "to ask to end: 1 running orphan: busy" in shown
    written = families(*cleanup, "--plan-out", "plan.json")
    assert "to ask to end: 1 running orphan: busy" in written.err
    assert "`duroctl orphans cleanup --cancel-running --apply plan.json` carries it out" in written.err


def test_who_was_asked_to_end_is_not_to_be_asked_again(families: Cli) -> None:
    """While no worker runs they go on, and every plan would promise to ask them once more."""
    cleanup = ("orphans", "cleanup", "--all", "--min-age", "0s", "--cancel-running")
    assert families(*cleanup, "-y", "-o", "json").json["cancelled"] == ["busy"]
    assert families(*cleanup, "--check").lines == [
        "to remove: 0 instances in 0 families, 0 executions, 0 events, 0 B",
    ]
    again = families(*cleanup, "-y")
    assert again.lines[0] == "nothing to remove"
    assert "running:busy" in again.out
    assert "--cancel-running" not in again.err
    assert "busy" not in families("orphans", "cleanup", "--all", "--min-age", "0s", "-n").err


def test_a_name_that_no_orchestration_has_is_told_beside_an_empty_list(families: Cli) -> None:
    found = families("orphans", "list", "--name", "Nobody*")
    assert (found.code, found.rows()) == (0, [])
    assert "no orchestration of this store is called 'Nobody*' or matches it" in found.err
    assert families("orphans", "list", "--name", "Child").err == ""


def test_children_of_unknown_standing_are_counted_and_nobody_is_left_to_wonder(families: Cli) -> None:
    """A clean-up looks past them: without a word the list shows what cleaning never removes."""
    with contextlib.closing(apsw.Connection(str(families.store))) as connection:
        connection.execute(
            "UPDATE lineage SET spawner_end = 'failed' WHERE child_incarnation IN "
            "(SELECT incarnation FROM instances WHERE instance_id IN ('done', 'bad'))"
        )
    listed = families("orphans", "list")
    assert [row["kind"] for row in listed.rows()] == ["unknown", "unknown", "parent-continued"]
    assert "of 2 children nobody can tell" in listed.err
    assert "never cleaned up; `duroctl doctor` says more" in listed.err
    assert "of 1 child nobody can tell" in families("orphans", "list", "--limit", "1").err, "those it lists"
    assert families("orphans", "list", "--kind", "parent-continued").err == ""
    cleanup = ("orphans", "cleanup", "--all", "--min-age", "0s")
    for mode in ("-n", "--check", "-y"):
        told = families(*cleanup, mode)
        assert "of 2 children nobody can tell" in told.err, mode
        assert "`duroctl orphans list --kind unknown` says more" in told.err, mode
    assert "nobody can tell" not in families(*cleanup, "-n", "--kind", "parent-continued").err
    failed_ones = families(*cleanup, "-n", "--status", "failed").err
    assert failed_ones.startswith("duroctl: of 1 child nobody can tell")
    assert "it is never cleaned up" in failed_ones


def test_orphans_are_cleaned_up_and_brought_back(families: Cli) -> None:
    done = families("orphans", "cleanup", "--all", "--min-age", "0s", "--cancel-running", "-y", "-o", "json").json
    assert (done["families"], done["instances"], done["cancelled"]) == (2, 3, ["busy"])
    assert there(families) == {"loop", "busy", "seen", "over", "late"}
    assert families("instances", "show", "busy", "-o", "json").json["cancel_reason"].startswith("it is an orphan")
    gone = families("instances", "show", "done")
    assert gone.code == 8
    assert "was removed at" in gone.err
    assert f"`duroctl prune undo {done['run_id']}` brings it back" in gone.err
    again = families("orphans", "cleanup", "--all", "--min-age", "0s", "--cancel-running", "-y", "-o", "json").json
    assert (again["families"], again["cancelled"]) == (0, [])
    undone = families("prune", "undo", done["run_id"])
    assert "brought back 3 executions and 3 whole instances of done, bad" in undone.out
    assert there(families) == {"loop", "done", "bad", "below", "busy", "seen", "over", "late"}
    kept = families("orphans", "cleanup", "--all", "--min-age", "0s", "-y")
    assert "keep    held:hold-" in kept.out


def test_the_ledger_says_what_each_run_was(families: Cli) -> None:
    families("orphans", "cleanup", "--all", "--min-age", "0s", "-y", "--quiet")
    purged = families("instances", "purge", "--name", "Ord*", "--completed-before", "now", "-y", "-o", "json").json
    families("prune", "undo", purged["run_id"])
    assert [run["kind"] for run in families("ledger", "list").rows()] == ["undo", "purge", "orphans"]
    assert families("ledger", "show", purged["run_id"]).lines[0] == f"run      {purged['run_id']} (purge)"
    assert families("ledger", "show", purged["run_id"], "-o", "json").json["kind"] == "purge"


def test_a_lineage_that_damage_made_a_circle_is_drawn_once(families: Cli) -> None:
    with contextlib.closing(apsw.Connection(str(families.store))) as connection:
        (ours,) = connection.execute("SELECT incarnation FROM instances WHERE instance_id = 'done'").fetchall()
        connection.execute(
            "UPDATE lineage SET parent_incarnation = (SELECT incarnation FROM instances WHERE instance_id = 'below'), "
            "parent_instance_id = 'below', parent_event_id = 99 WHERE child_incarnation = ?",
            ours,
        )
    for limit in ("0", "1000"):
        tree = families("instances", "tree", "done", "--limit", limit)
        assert (tree.code, [row["instance_id"] for row in tree.rows()]) == (0, ["done", "below"])


def test_a_tree_that_begins_with_an_orphan_says_so(families: Cli) -> None:
    first = families.on_terminal("instances", "tree", "done", width=120).out.splitlines()[0]
    assert first == "done  Child 1.0.0  completed  [child of loop, exec 1 (pruned), ORPHAN: parent-continued]"
    row = families("instances", "tree", "done").rows()[0]
    assert (row["depth"], row["parent_instance_id"], row["orphan"]) == ("0", "loop", "parent-continued")
    node = families("instances", "tree", "done", "-o", "json").json["nodes"][0]
    assert (node["depth"], node["orphan"]) == (0, "parent-continued")


def test_an_orphan_is_adopted_with_a_reason(families: Cli) -> None:
    refused(families, "orphans", "adopt", "busy", code=2)
    refused(families, "orphans", "adopt", "busy", "nobody", "--reason", "why", code=7)
    refused(families, "orphans", "adopt", "seen", "--reason", "why", code=1)
    (row,) = families("orphans", "adopt", "busy", "--reason", "it is on its own").rows()
    assert (row["instance_id"], row["adopted_reason"]) == ("busy", "it is on its own")
    assert families("orphans", "list", "-o", "ids").lines == ["done", "bad"]
    before = families.dump()
    again = families("orphans", "adopt", "busy", "--reason", "another one", "-o", "ids")
    assert (again.code, again.out) == (0, "")
    assert "busy stands alone already: it was adopted" in again.err
    assert families.dump() == before
    in_part = families("orphans", "adopt", "seen", "bad", "bad", "--reason", "the good ones", "-o", "ids")
    assert (in_part.code, in_part.lines) == (3, ["bad"])
    assert "instance 'seen' is no orphan: its parent has recorded its end; it is left as it is\n" in in_part.err
    assert "1 of 2 instances was refused" in in_part.err
    assert families("orphans", "list", "-o", "ids").lines == ["done"]
    assert "[exec 1 (pruned), adopted]" in families.on_terminal("instances", "tree", "loop", width=120).out
    shown = families.on_terminal("instances", "show", "busy", width=120).out.splitlines()
    assert "lineage        child of loop/1 (version 1.0.0), event 4" in shown
    assert "stands         detached: it was adopted" in shown
    (adopted,) = [line for line in shown if line.startswith("adopted ")]
    assert adopted.endswith(": it is on its own")
    lineage = families("instances", "show", "busy", "-o", "json").json["lineage"]
    assert (lineage["spawner_version"], lineage["adopted_reason"]) == ("1.0.0", "it is on its own")


def test_an_instance_shows_when_it_was_spawned_how_its_spawner_ended_and_where_its_own_end_went(families: Cli) -> None:
    def shown(instance_id: str) -> dict[str, str]:
        lines = families.on_terminal("instances", "show", instance_id, width=160).out.splitlines()
        return {label.strip(): text for line in lines for label, text in [(line[:15], line[15:])]}

    done, seen = shown("done"), shown("seen")
    assert done["spawned"]
    assert done["spawner ended"].endswith(": continued_as_new (it is pruned)")
    assert done["its end"] == "ignored: there was nobody to take it"
    assert seen["its end"].startswith("recorded by its parent ")
    assert "its end" not in shown("busy")
    (row,) = [row for row in families("instances", "tree", "loop").rows() if row["instance_id"] == "done"]
    assert (row["spawner_end"], row["completion"]) == ("continued_as_new", "ignored")
    assert row["spawner_ended_at"]


def test_an_orphan_that_was_asked_to_end_is_adopted_with_a_note(families: Cli) -> None:
    families("instances", "cancel", "busy")
    adopted = families("orphans", "adopt", "busy", "--reason", "it may go on", "-o", "ids")
    assert (adopted.code, adopted.lines) == (0, ["busy"])
    assert "busy was asked to end before, and will" in adopted.err


def test_a_child_whose_parent_may_wait_for_it_is_not_adopted(families: Cli) -> None:
    with contextlib.closing(apsw.Connection(str(families.store))) as connection:
        connection.execute(
            "UPDATE lineage SET parent_execution_id = 2, spawner_end = 'completed' WHERE child_incarnation = 4"
        )
    refused(families, "orphans", "adopt", "busy", "--reason", "the doctor says so", code=1)


def test_instances_are_purged_root_and_tree_together(families: Cli) -> None:
    rows = families("instances", "purge", "--all", "--completed-before", "now", "-n").rows()
    assert [(row["instance_id"], row["verdict"]) for row in rows] == [
        ("done", "remove"),
        ("bad", "remove"),
        ("seen", "remove"),
        ("over", "remove"),
        ("late", "remove"),
    ]
    assert rows[2]["reasons"].endswith(" settled")
    assert "running:loop" in families("instances", "purge", "loop", "--completed-before", "now", "-n").out
    kept = families("instances", "purge", "--all", "--keep-within", "1s", "--keep-failed-within", "1d", "-n").rows()
    assert [row["reasons"] for row in kept if row["instance_id"] == "late"] == ["within:1d"]
    only = families("instances", "purge", "--all", "--completed-before", "now", "--status", "failed", "-n", "-o", "ids")
    assert only.lines == ["bad", "late"]
    done = families("instances", "purge", "--name", "Ord*", "--completed-before", "now", "-y", "--now", "-o", "json")
    assert done.json["instances"] == 2
    assert there(families) == {"loop", "done", "bad", "below", "busy", "seen"}
    assert families.dump()["removed_instances"] == []
    assert families("prune", "undo", done.json["run_id"]).lines[-1].startswith("2 executions had been reclaimed")


def test_orphans_that_no_sweep_removes_are_named_and_so_are_those_with_such_a_child_below(
    families: Cli, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cleanup = ("orphans", "cleanup", "--all", "--min-age", "0s", "-n")
    assert "no sweep removes" not in families("orphans", "list").err + families(*cleanup).err
    with contextlib.closing(apsw.Connection(str(families.store))) as connection:
        connection.execute("UPDATE instances SET name = 'Kept' WHERE instance_id IN ('below', 'busy')")
    with duro.Client(families.store) as client:
        text = '[purge]\nkeep_within = "30d"\n[purge.overrides."Kept"]\nnever = true\n'
        published(client.store, ScriptedWorker(client.store, "told"), tmp_path_factory.mktemp("told"), text)
    never = "no sweep removes {}: [purge.overrides] says never of {}, or of what is below; a clean-up by hand does\n"
    assert never.format("done, busy", "them") in families("orphans", "list").err
    assert never.format("busy", "it") in families("orphans", "list", "--name", "Kept").err
    assert never.format("done", "it") in families(*cleanup).err
    assert families("orphans", "list", "--limit", "1", "-o", "ids").lines == ["done"]


def test_an_undo_of_an_instance_whose_id_is_used_again_says_so_as_that_of_its_run_does(families: Cli) -> None:
    purged = families("instances", "purge", "done", "--completed-before", "now", "-y", "-o", "json").json
    assert families("start", "Order", "--id", "done", "--allow-unregistered").code == 0
    for asked in ("done", purged["run_id"]):
        undone = families("prune", "undo", asked)
        assert (undone.code, undone.lines) == (
            8,
            ["brought back nothing", "done stays removed: its id, or one below it, is used again"],
        )


def test_of_a_life_of_its_parent_that_was_removed_a_child_says_so_also_where_the_id_is_used_again(
    cli_with_store: Cli,
) -> None:
    with duro.Client(cli_with_store.store) as client:
        worker = ScriptedWorker(client.store)
        client.start_orchestration("Order", instance_id="p", allow_unregistered=True)
        worker.run(worker.take("p"), detached_scheduled("d"), completed())
        worker.run(worker.take("d"), wait_started("go"), waits=["go"])
        client.purge_instances(
            duro.PurgeOptions(completed_before=10**14), scope=duro.PruneScope(instance_ids=("p",)), grace_s=0
        )
        client.start_orchestration("Order", instance_id="p", allow_unregistered=True)
    shown = cli_with_store.on_terminal("instances", "show", "d", width=200).out.splitlines()
    lines = dict(re.split(r" {2,}", line, maxsplit=1) for line in shown if "  " in line.strip())
    assert lines["lineage"] == "started (detached) by p/1 (version 1.0.0), event 2, in a life of p that was removed"
    assert "pruned" not in lines["spawner ended"]
    assert lines["parent gone"]
    assert "exec 1 (its instance is gone), detached" in cli_with_store.on_terminal("instances", "tree", "d").out


@pytest.mark.parametrize(
    "command",
    [
        ("instances", "purge", "--all", "--keep-within", "1d", "--now", "-y"),
        ("instances", "purge", "--name", "Child", "--completed-before", "now", "-y"),
        ("orphans", "cleanup", "--all", "--min-age", "1d", "-y"),
        ("prune", "--all", "--keep-last", "9", "-y"),
        ("compact",),
    ],
    ids=" ".join,
)
def test_what_is_past_its_grace_is_reclaimed_by_whatever_removes_also_where_nothing_is_to_be_removed(
    families: Cli, command: tuple[str, ...]
) -> None:
    """As after a ``purge --now`` that was killed in the middle: no worker lives that would reclaim it."""
    assert families("instances", "purge", "--name", "Ord*", "--completed-before", "now", "-y").code == 0
    with contextlib.closing(apsw.Connection(str(families.store))) as connection:
        connection.execute("UPDATE removed_instances SET reclaim_at_ms = 5")
        connection.execute("UPDATE workers SET lease_until_ms = 5")
    assert "nobody-sweeps" in warned(families)
    ran = families(*command)
    assert (ran.code, "reclaimed 0 executions and 2 instances whose grace was over" in ran.err) == (0, True)
    assert {row["name"] for row in families.dump()["removed_instances"]} <= {"Child"}
    assert "nobody-sweeps" not in warned(families)
    assert "reclaimed" not in families(*command).err


def warned(cli: Cli) -> set[str]:
    """What the doctor found."""
    return {each["name"] for each in cli("doctor", "--json").json["checks"] if each["count"]}


def test_a_plan_is_carried_out_as_far_as_it_still_holds(families: Cli) -> None:
    plan = families.directory / "plan.json"
    made = families("instances", "purge", "--all", "--completed-before", "now", "--plan-out", str(plan))
    assert (made.code, made.out) == (0, "")
    families("holds", "add", "below", "--reason", "to see")
    applied = families("instances", "purge", "--apply", str(plan), "-y")
    assert applied.code == 3
    assert "skipped done: it is kept now: held:hold-" in applied.out
    assert "1 family was skipped, because it may no longer go" in applied.err
    assert there(families) == {"loop", "done", "below", "busy"}
    refused(families, "prune", "--apply", str(plan), "-y", code=2)
    other = families.directory / "other.json"
    other.write_text("{}")
    refused(families, "instances", "purge", "--apply", str(other), "-y", code=2)


def test_a_plan_is_carried_out_by_the_command_that_made_it(families: Cli) -> None:
    """Also one that was written before plans said of what they are; one that says and shows nothing is refused."""
    purge, orphans = ("instances", "purge"), ("orphans", "cleanup")
    asked = {purge: ("--completed-before", "now"), orphans: ("--min-age", "0s")}
    for command, other in ((purge, orphans), (orphans, purge)):
        plan = families.directory / f"{command[1]}.json"
        assert families(*command, "--all", *asked[command], "--plan-out", str(plan)).code == 0
        written = json.loads(plan.read_text())
        old = families.directory / f"old-{command[1]}.json"
        old.write_text(json.dumps({key: value for key, value in written.items() if key != "kind"}))
        for each in (plan, old):
            said = refused(families, *other, "--apply", str(each), "-y", code=2).err
            assert f"is a plan of `duroctl {' '.join(command)}`, not of `duroctl {' '.join(other)}`" in said
        empty = families.directory / f"empty-{command[1]}.json"
        totals = dict.fromkeys(written["totals"], 0)
        nothing = {**written, "kind": None, "items": [], "totals": totals, "running_orphans": [], "running": []}
        empty.write_text(json.dumps(nothing))
        assert "does not say" in refused(families, *command, "--apply", str(empty), "-y", code=2).err
    old = families.directory / "old-purge.json"
    assert families("instances", "purge", "--apply", str(old), "-y", "-o", "json").json["families"] == 5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("instances", "purge"), "which instances? name some"),
        (("instances", "purge", "--all"), "no rules were given"),
        (("instances", "purge", "--all", "over", "--keep-last", "1"), "--all does not go with instances"),
        (
            ("instances", "purge", "--all", "--keep-last", "0"),
            "--keep-last must be a whole number of at least 1, not '0'",
        ),
        (("instances", "purge", "--all", "--keep-failed-within", "9d"), "says nothing of those that did not fail"),
        (("instances", "purge", "--all", "--status", "running", "--keep-last", "1"), "--status 'running' is no end"),
        (("instances", "purge", "--all", "--keep-last", "1"), "there is no terminal to ask on"),
        (("orphans", "cleanup"), "which orphans? give"),
        (("orphans", "cleanup", "--apply", "plan.json", "--min-age", "52w"), "--apply takes no filters"),
        (("orphans", "cleanup", "--apply", "plan.json", "--parent-completed-before", ""), "--apply takes no filters"),
        (("orphans", "cleanup", "--all", "--kind", "lost"), "--kind 'lost' is none"),
        (("orphans", "cleanup", "--all", "--kind", "unknown", "-n"), "nothing is removed"),
        (("orphans", "cleanup", "--all", "--now", "--grace", "1h"), "do not go together"),
        (("orphans", "cleanup", "--all", "--check", "-n"), "--dry-run and --check do not go together"),
        (("orphans", "cleanup", "--all", "--plan-out", "p.json", "--archive", "kept"), "--archive goes with --apply"),
        (("instances", "purge", "--all", "--plan-out", "p.json", "--reason", "why"), "--reason goes with --apply"),
        (("orphans", "list", "--cursor", "i:7"), "is not a cursor of this listing"),
    ],
)
def test_bad_input_is_refused_and_changes_nothing(families: Cli, arguments: tuple[str, ...], said: str) -> None:
    assert said in refused(families, *arguments, code=2).err


def test_the_doctor_shows_every_problem_of_a_configuration_that_was_to_name_the_store(cli_with_store: Cli) -> None:
    broken = '[store]\nurl = "sqlite:///duro.db"\n[pruning]\nenabled = 1\n[purge]\nkeep_lst = 3\n'
    (cli_with_store.directory / "runtime_config.toml").write_text(broken)
    told = cli_with_store("doctor", "-o", "json")
    assert told.code == 9
    (check,) = told.json["checks"]
    assert (check["name"], check["count"]) == ("configuration", 2)
    assert [finding["subject"].rpartition("/")[2] for finding in check["findings"]] == [
        "runtime_config.toml:4:11",
        "runtime_config.toml:6:1",
    ]
    assert "the store was not looked at" in told.err
    elsewhere = cli_with_store("doctor", "--config", "gone.toml")
    assert (elsewhere.code, elsewhere.out) == (6, "")


def test_a_person_is_shown_the_plan_and_asked(families: Cli) -> None:
    command = ("instances", "purge", "over", "--completed-before", "now")
    declined = families.on_terminal(*command, typed="n\n")
    assert declined.code == 4
    assert "over  Order  completed  REMOVE  before:" in declined.out
    assert "over" in there(families)
    assert families.on_terminal(*command, typed="y\n").code == 0
    assert "over" not in there(families)


def test_a_simulation_tells_what_would_go_whole_by_orchestration(families: Cli) -> None:
    """It counts what the commands would remove."""
    (families.directory / "new.toml").write_text('[purge]\nkeep_last = 1\n[orphans]\nenabled = true\nmin_age = "0s"\n')
    told = families("policy", "simulate", "--policy", "new.toml", "-o", "json").json
    cleaned = families("orphans", "cleanup", "--all", "--min-age", "0s", "-n", "-o", "json").json
    purged = families("instances", "purge", "--all", "--keep-last", "1", "-n", "-o", "json").json
    assert (told["orphans_now"], told["orphans_then"]) == (0, cleaned["totals"]["instances_removed"])
    assert (told["purgeable_now"], told["purgeable_then"]) == (0, purged["totals"]["instances_removed"])
    assert min(told["orphans_then"], told["purgeable_then"]) > 0
    going = {
        item["instance_id"]: item for plan in (purged, cleaned) for item in plan["items"] if not item["verdict"]["keep"]
    }
    for name in told["names"]:
        of_name = [item for item in going.values() if item["name"] == name["name"]]
        for key in ("instances", "executions", "events", "history_bytes"):
            assert name["whole_then"][key] == sum(item[key] for item in of_name), name
    assert told["whole_then"]["executions"] == sum(item["executions"] for item in going.values())
    said = families("policy", "simulate", "--policy", "new.toml")
    assert f"[orphans]: 0 whole instances may go now, {told['orphans_then']} after the change" in said.err
    assert "Order, whole: 0 instances with 0 executions (0 B) may go now" in said.err
    (families.directory / "new.toml").write_text(
        '[purge.overrides."*"]\nnever = true\n[orphans]\nenabled = true\nmin_age = "0s"\n'
    )
    assert families("policy", "simulate", "--policy", "new.toml", "-o", "json").json["orphans_then"] == 0


def test_a_configuration_may_purge(cli_with_store: Cli) -> None:
    cli_with_store.directory.joinpath("runtime_config.toml").write_text(
        '[store]\nurl = "sqlite:///duro.db"\n[purge]\nkeep_last = 1\n'
    )
    assert cli_with_store("policy", "check", "runtime_config.toml").code == 0


@pytest.mark.parametrize(
    ("statuses", "note"),
    [
        (["completed", "failed"], "nobody is asked to end: --status leaves out what runs"),
        (["running"], "a later run with this --status does not remove it"),
        (["running", "cancelled"], ""),
        ([], ""),
    ],
)
def test_it_is_said_what_a_status_means_for_those_that_are_asked_to_end(
    families: Cli, statuses: list[str], note: str
) -> None:
    options = [part for each in statuses for part in ("--status", each)]
    done = families("orphans", "cleanup", "--all", "--min-age", "0s", *options, "--cancel-running", "--dry-run")
    assert done.code == 0
    assert note in done.err
    assert ("--status" in done.err) is bool(note)


def test_a_tree_is_whole_but_for_people(families: Cli) -> None:
    """It used to end after 1,000 instances in a pipe, too."""
    with duro.Client(families.store) as client:
        worker = ScriptedWorker(client.store)
        client.store.start_instances([start_request("wide")])
        worker.run(worker.take("wide"), *(child_scheduled(f"w-{number}") for number in range(1_050)))
    for format in ("ids", "csv", "table"):
        whole = families("instances", "tree", "wide", "-o", format)
        assert (len(whole.lines), whole.err) == (1_051 + (format != "ids"), ""), format
    document = families("instances", "tree", "wide", "-o", "json").json
    assert (len(document["nodes"]), document["truncated"]) == (1_051, False)
    drawn = families.on_terminal("instances", "tree", "wide")
    assert len([line for line in drawn.out.splitlines() if "── w-" in line]) == 999
    assert "there are more: this is the first 1000" in drawn.out
    assert len(families("instances", "tree", "wide", "--limit", "5", "-o", "ids").lines) == 5


def test_what_cannot_be_read_of_one_child_is_said_and_stops_nothing(families: Cli) -> None:
    with contextlib.closing(apsw.Connection(str(families.store))) as connection:
        connection.execute("UPDATE lineage SET spawner_end = 'ended' WHERE child_incarnation = 2")
    rows = families("orphans", "list").rows()
    assert [(row["instance_id"], row["kind"]) for row in rows] == [
        ("done", "unknown"),
        ("bad", "parent-continued"),
        ("busy", "parent-continued"),
    ]
    assert "done" in families("instances", "tree", "loop").out
    cleaned = families("orphans", "cleanup", "--all", "--min-age", "0s", "--yes")
    assert (cleaned.code, there(families) & {"done", "bad"}) == (0, {"done"})
    told = families("doctor", "-o", "json")
    (found,) = [each for each in told.json["checks"] if each["name"] == "word-unknown"]
    assert told.code == 9
    assert found["findings"] == [{"subject": "incarnation 2", "text": "lineage.spawner_end is ended"}]


def test_a_row_that_is_no_text_is_named(families: Cli) -> None:
    with contextlib.closing(apsw.Connection(str(families.store))) as connection:
        connection.execute("UPDATE instances SET name = CAST(x'ff41' AS TEXT) WHERE instance_id = 'over'")
    listed = families("instances", "list", "-o", "json")
    assert listed.code == 1
    assert json.loads(listed.err)["error"] == "RowUnreadableError"
    assert "instances.name is no text (UTF-8)" in json.loads(listed.err)["message"]
    assert families("orphans", "list").code == 0
    told = families("doctor")
    assert told.code == 9
    assert "text-unreadable\terror\t1" in told.out


_LEFT_OVER = "INSERT INTO mailbox SELECT incarnation, 'go', 0, '{}' FROM instances WHERE instance_id = 'over'"


def test_a_repair_leaves_what_is_left_of_an_instance_that_was_lost(families: Cli) -> None:
    with contextlib.closing(apsw.Connection(str(families.store))) as connection:
        connection.execute("DELETE FROM instances WHERE instance_id = 'over'")
    before = families.dump()
    repaired = families("doctor", "--repair", "--yes")
    assert (repaired.code, families.dump()) == (9, before)
    assert repaired.err.splitlines() == [
        "duroctl: nothing to repair",
        "duroctl: still wrong: work-without-instance, counters; `duroctl doctor` says more",
    ]
    told = families("doctor", "-o", "json").json["checks"]
    assert [each["remedy"] for each in told if each["name"] == "work-without-instance"] == [
        "keep a copy of the file and report it; restore a backup if work is missing"
    ]


def test_the_doctor_looks_and_repairs_when_told_to(families: Cli) -> None:
    healthy = families("doctor")
    assert healthy.code == 0
    assert {row["severity"] for row in healthy.rows()} == {"ok", "note"}
    connection = apsw.Connection(str(families.store))
    connection.execute(_LEFT_OVER)
    connection.close()
    before = families.dump()
    told = families("doctor", "-o", "json")
    assert told.code == 9
    (ill,) = [each for each in told.json["checks"] if each["count"] and each["severity"] == "error"]
    assert (ill["name"], ill["findings"][0]["subject"]) == ("mailbox-of-nobody", "incarnation 7")
    assert families("doctor", "--json").out == told.out
    shown = families.on_terminal("doctor", width=120)
    assert (shown.code, shown.out.splitlines()[0]) == (
        9,
        "error: mailbox-of-nobody: 1 found: events for instances that have ended",
    )
    asked = refused(families, "doctor", "--repair", code=2).err.splitlines()
    found = [
        "error: mailbox-of-nobody: 1 found: events for instances that have ended",
        "    incarnation 7: 1 rows of mailbox",
    ]
    assert asked[:2] == [f"duroctl: {line}" for line in found]
    assert asked[-1].startswith("duroctl: error: this deletes what 1 check found, and there is no terminal to ask on")
    declined = families.on_terminal("doctor", "--repair", typed="n\n", width=200)
    assert declined.code == 4
    assert declined.out.splitlines()[1:3] == found, "after the n that was typed"
    assert "found nothing" not in declined.out
    assert families.dump() == before
    repaired = families("doctor", "--repair", "--yes")
    assert (repaired.code, repaired.out) == (0, "deleted 1 row: mailbox-of-nobody\n")
    assert families("doctor").code == 0
    assert "nothing to repair" in families("doctor", "--repair", "--yes").err
    connection = apsw.Connection(str(families.store))
    connection.execute(_LEFT_OVER)
    (made,) = connection.execute("SELECT next_incarnation FROM store").fetchone() or (0,)
    connection.execute("UPDATE store SET next_incarnation = 1")
    connection.close()
    in_part = families("doctor", "--repair", "--yes")
    assert (in_part.code, in_part.out) == (9, "deleted 1 row: mailbox-of-nobody\n")
    assert in_part.err == "duroctl: still wrong: counters; `duroctl doctor` says more\n"
    assert families("doctor", "--repair", "--yes").code == 9
    connection = apsw.Connection(str(families.store))
    connection.execute("UPDATE store SET next_incarnation = ?", (made,))
    connection.close()
    assert families("doctor").code == 0
    (families.directory / "runtime_config.toml").write_text("[pruning]\nkeep_lst = 1\n")
    broken = families("doctor", "--store", "sqlite:///duro.db", "-o", "json")
    assert broken.code == 9
    assert broken.json["checks"][0]["findings"][0]["subject"] == "runtime_config.toml:2:1"
