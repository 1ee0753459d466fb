"""What the forms of ``-o`` mean to commands that print no list: each works, or is refused before anything is done."""

import csv
import io

import pytest

from tests.e2e.cli_support import Cli

REFUSED = [
    (("prune", "--all", "--keep-last", "1", "--check"), "ids"),
    (("instances", "purge", "--all", "--keep-last", "1", "--check"), "ids"),
    (("orphans", "cleanup", "--all", "--check"), "ids"),
    (("compact",), "ids"),
    (("policy", "explain", "queue-1"), "ids"),
    (("policy", "schema"), "ids"),
    (("policy", "schema"), "csv"),
    (("policy", "schema"), "jsonl"),
    (("policy", "set", "Order", "--keep-last", "3"), "ids"),
    (("policy", "set", "Order", "--keep-last", "3"), "csv"),
    (("policy", "set", "--instance", "queue-1", "--keep-last", "3", "--yes"), "csv"),
    (("policy", "unset", "Order"), "ids"),
    (("policy", "edit"), "csv"),
]


@pytest.mark.parametrize(
    ("command", "form"), REFUSED, ids=lambda each: each if isinstance(each, str) else " ".join(each)
)
def test_a_form_that_says_nothing_is_refused_and_nothing_is_done(
    loops: Cli, command: tuple[str, ...], form: str
) -> None:
    config = loops.directory / "runtime_config.toml"
    before = config.read_bytes(), loops.dump()
    done = loops(*command, "-o", form)
    assert (done.code, done.out) == (2, "")
    assert f"does not go with -o {form}" in done.err
    assert "there are table" in done.err
    assert (config.read_bytes(), loops.dump()) == before


@pytest.mark.parametrize("script", ["echo 'default_keep_last = 4' >> \"$1\"", "true"], ids=["changed", "unchanged"])
def test_an_edit_says_what_it_changed_as_a_document(loops: Cli, script: str) -> None:
    config = loops.directory / "runtime_config.toml"
    config.write_text("[pruning]\n")
    editor = loops.directory / "editor"
    editor.write_text(f"#!/bin/sh\n{script}\n")
    editor.chmod(0o755)
    done = loops("policy", "edit", "--yes", "-o", "json", EDITOR=str(editor))
    added = [line for line in done.json["diff"] if line.startswith("+") and not line.startswith("+++")]
    assert (done.code, done.json["schema"], done.json["file"]) == (0, "duroctl.policy_change/1", config.name)
    assert added == (["+default_keep_last = 4"] if "echo" in script else [])


def test_how_much_would_go_is_a_record_in_csv(loops: Cli) -> None:
    found = loops("prune", "--all", "--keep-last", "1", "--check", "-o", "csv")
    assert (found.code, found.out) == (20, "executions_removed,events_removed\n18,36\n")
    found = loops("instances", "purge", "--all", "--completed-before", "now", "--check", "-o", "csv")
    assert (found.code, found.out) == (20, "instances_removed,running_orphans\n1,0\n")


@pytest.mark.parametrize(
    ("command", "schema", "removed"),
    [
        (("prune", "--all", "--keep-last", "1"), "duroctl.prune_plan/1", (0, 18, 36)),
        (("instances", "purge", "--all", "--completed-before", "now"), "duroctl.removal_plan/1", (1, 1, 2)),
    ],
    ids=["prune", "purge"],
)
def test_a_plan_that_is_written_says_where(
    loops: Cli, command: tuple[str, ...], schema: str, removed: tuple[int, int, int]
) -> None:
    written = loops(*command, "--plan-out", "a plan.json", "-o", "json")
    document = written.json
    assert document.pop("bytes_removed") > 0
    assert (written.code, document) == (
        0,
        {
            "schema": "duroctl.plan_written/1",
            "file": "a plan.json",
            "plan": schema,
            **dict(zip(("instances_removed", "executions_removed", "events_removed"), removed, strict=True)),
        },
    )
    assert "--apply 'a plan.json'` carries it out" in written.err
    assert loops(*command, "--plan-out", "again.json", "-o", "ids").out == "again.json\n"
    assert loops(*command, "--plan-out", "table.json").out == ""


def test_an_export_and_a_backup_say_which_file_they_wrote(loops: Cli) -> None:
    assert loops("export", "--to", "one.db", "-o", "ids").out == "one.db\n"
    assert loops("export", "--to", "two.db", "-o", "json").json["file"] == "two.db"
    assert loops("backup", "three.db", "-o", "ids").out == "three.db\n"


def test_what_was_made_is_a_record_in_csv(cli: Cli) -> None:
    (record,) = csv.DictReader(io.StringIO(cli("init", "-o", "csv").out))
    assert record == {
        "store": "sqlite:///duro.db",
        "store_created": "true",
        "config": "runtime_config.toml",
        "config_created": "true",
    }


def test_what_came_back_is_an_id_a_line(loops: Cli) -> None:
    assert loops("prune", "--all", "--keep-last", "3", "--yes").code == 0
    (run,) = loops("ledger", "list", "-o", "ids").lines
    assert {*loops("prune", "undo", run, "-o", "ids").lines} == {"queue-1", "other"}


def test_runs_come_page_by_page_and_json_says_where_it_goes_on(loops: Cli) -> None:
    for keep in ("9", "8", "7", "6", "5"):
        assert loops("prune", "queue-1", "--keep-last", keep, "--yes").code == 0
    every = loops("ledger", "list", "-o", "ids").lines
    assert len(every) == 5
    assert loops("ledger", "list", "-o", "json").json["next"] is None
    seen: list[str] = []
    cursor: list[str] = []
    while len(seen) < 5:
        page = loops("ledger", "list", "--limit", "2", *cursor, "-o", "json").json
        seen += [run["run_id"] for run in page["runs"]]
        cursor = ["--cursor", str(page["next"])]
    assert (seen, page["next"]) == (every, None)
    assert f"--cursor {every[1]} goes on" in loops("ledger", "list", "--limit", "2").err
    assert loops("ledger", "list", "--limit", "5").err == ""
    wrong = loops("ledger", "list", "--cursor", "run-0")
    assert (wrong.code, wrong.out) == (2, "")
    assert "there is no run 'run-0' to go on after; take it from the page before" in wrong.err


def test_the_ids_of_a_ledger_are_runs(loops: Cli) -> None:
    assert loops("prune", "queue-1", "--keep-last", "3", "--yes").code == 0
    (run,) = loops("ledger", "list", "-o", "ids").lines
    assert loops("ledger", "show", "queue-1", "-o", "ids").lines == [run]
    assert loops("prune", "undo", "-", input=loops("ledger", "show", "queue-1", "-o", "ids").out).code == 0


@pytest.mark.parametrize("chosen", ["csv", "table", "jsonl", "json"])
def test_a_refusal_prints_no_header_of_a_list_that_does_not_come(loops: Cli, chosen: str) -> None:
    for line in (("queue-1", "--name", "Order"), ("queue-1", "other", "--name="), ("nobody",)):
        refused = loops("policy", "explain", *line, "-o", chosen)
        assert refused.code in (2, 7)
        assert refused.out == "", line
        assert refused.err
