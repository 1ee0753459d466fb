"""The commands that read: every format, in a pipe and on a terminal, and nothing a user wrote reaches it raw."""

import csv
import io
import json
import re
import subprocess
from typing import Any

import pytest

from tests.e2e.cli_support import HOSTILE_ID, PROGRAM, Cli

READS = [
    ("instances", "list"),
    ("instances", "show", "greeting"),
    ("instances", "show", "greeting", "broken"),
    ("instances", "tree", "family"),
    ("executions", "list"),
    ("executions", "list", "rounds/1"),
    ("history", "show", "greeting"),
    ("history", "show", "rounds/1/2"),
]
ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@pytest.mark.parametrize("command", READS, ids=" ".join)
def test_every_reading_command_prints_every_format(filled: Cli, command: tuple[str, ...]) -> None:
    before = filled.dump()
    for format in ("table", "json", "jsonl", "csv", "ids"):
        ran = filled(*command, "-o", format)
        assert (ran.code, ran.err) == (0, "")
        assert ran.out
        assert "\x1b" not in ran.out
        if format == "json":
            assert re.fullmatch(r"duroctl\.[a-z_]+/1", ran.json["schema"])
        if format == "jsonl":
            assert all(isinstance(json.loads(line), dict) for line in ran.lines)
        if format == "csv":
            assert len({len(row) for row in csv.reader(io.StringIO(ran.out))}) == 1
    assert filled.dump() == before


def test_global_options_work_before_and_after_the_command_and_after_wins(filled: Cli) -> None:
    before = filled("-o", "ids", "instances", "list")
    between = filled("instances", "-o", "ids", "list")
    after = filled("-o", "json", "instances", "-o", "csv", "list", "-o", "ids")
    assert before.out == between.out == after.out
    assert "greeting" in before.lines
    assert filled("--store", "sqlite:///no.db", "instances", "list", "--store", "sqlite:///duro.db").code == 0


def test_instances_as_json_have_stable_fields(filled: Cli) -> None:
    document = filled("instances", "list", "--limit", "0", "-o", "json").json
    assert list(document) == ["schema", "instances", "next"]
    assert (document["schema"], document["next"]) == ("duroctl.instances/1", None)
    found = {each["instance_id"]: each for each in document["instances"]}
    assert len(found) == 10
    greeting = found["greeting"]
    assert (greeting["name"], greeting["version"], greeting["status"]) == ("hello", "1.0.0", "completed")
    assert ISO.fullmatch(greeting["created_at"])
    assert isinstance(greeting["history_bytes"], int)
    assert found["child-a"]["parent"] == {
        "instance_id": "family",
        "incarnation": found["family"]["incarnation"],
        "execution_id": 1,
        "event_id": found["child-a"]["parent"]["event_id"],
    }
    assert found["child-c"]["detached"] is True
    assert HOSTILE_ID in found


def test_lists_are_paged_and_say_how_to_go_on(filled: Cli) -> None:
    whole = filled("executions", "list", "--limit", "0", "-o", "ids").lines
    seen: list[str] = []
    cursor: list[str] = []
    while True:
        page = filled("executions", "list", "--limit", "5", "-o", "json", *cursor).json
        seen += [f"{each['instance_id']}/{each['execution_id']}" for each in page["executions"]]
        if page["next"] is None:
            break
        assert len(page["executions"]) == 5
        cursor = ["--cursor", page["next"]]
    assert len(seen) == len(whole) == 12
    assert filled("executions", "list", "--limit", "5", "-q").err == ""


@pytest.mark.parametrize("format", ["table", "csv", "jsonl", "ids"])
def test_a_list_that_was_cut_says_so_where_its_format_does_not(filled: Cli, format: str) -> None:
    """Ids go to other commands: what these are not given must not pass unnoticed."""
    cut = filled("executions", "list", "--limit", "5", "-o", format)
    assert re.fullmatch(r"duroctl: there are more: --cursor \S+ goes on, --limit 0 shows all\n", cut.err)
    assert filled("executions", "list", "--limit", "0", "-o", format).err == ""
    assert filled("executions", "list", "--limit", "5", "-o", "json").err == ""


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--status", "failed"], {"broken"}),
        (["--status", "failed", "--status", "terminated"], {"broken", "stopped"}),
        (["--status", "blocked"], set()),
        (["--name", "family"], {"family"}),
        (["--name", "hello", "--status", "failed"], set()),
        (["--status", "running"], {"patient"}),
    ],
)
def test_filters(filled: Cli, options: list[str], expected: set[str]) -> None:
    assert set(filled("instances", "list", *options, "-o", "ids").lines) == expected


def test_a_table_in_a_pipe_is_tab_separated_and_whole(filled: Cli) -> None:
    rows = {row["instance_id"]: row for row in filled("instances", "list", COLUMNS="20").rows()}
    assert rows["greeting"]["status"] == "completed"
    assert ISO.fullmatch(rows["greeting"]["created_at"])
    assert rows["patient"]["completed_at"] == ""
    assert int(rows["greeting"]["history_bytes"]) > 0


def test_what_is_shown_of_an_instance_includes_how_it_ended(filled: Cli) -> None:
    done = filled("instances", "show", "greeting", "-o", "json").json
    assert (done["schema"], done["output"], done["failure"]) == ("duroctl.instance/1", "hello Ada", None)
    broken = filled("instances", "show", "broken", "-o", "json").json
    assert (broken["failure"]["type"], broken["failure"]["cause"]["type"]) == ("ActivityFailedError", "ValueError")
    shown = filled("instances", "show", "broken").out
    assert "no\\x1b[31m luck" in shown
    stopped = filled("instances", "show", "stopped").out
    assert re.search(r"^failure +OrchestrationTerminated: not wanted$", stopped, re.MULTILINE)


def test_ids_from_one_command_feed_another(filled: Cli) -> None:
    ids = filled("instances", "list", "--limit", "0", "-o", "ids").out
    shown = filled("instances", "show", "-", "-o", "json", input=ids).json
    assert shown["schema"] == "duroctl.instances/1"
    assert HOSTILE_ID in [each["instance_id"] for each in shown["instances"]]
    assert filled("executions", "list", "-", "-o", "ids", input="rounds/1\n").lines == [
        f"rounds/1/{n}" for n in (3, 2, 1)
    ]
    assert filled("history", "show", "-", "-o", "ids", input="rounds/1/2\n").lines == ["rounds/1/2"]


def test_a_tree_shows_children_and_detached_ones(filled: Cli) -> None:
    document = filled("instances", "tree", "family", "-o", "json").json
    assert [(node["depth"], node["instance_id"], node["detached"]) for node in document["nodes"]] == [
        (0, "family", False),
        (1, "child-a", False),
        (1, "child-b", False),
        (1, "child-c", True),
    ]
    cut = filled("instances", "tree", "family", "--limit", "2", "-o", "json")
    assert (len(cut.json["nodes"]), cut.json["truncated"]) == (2, True)
    assert "there are more" in cut.err
    drawn = filled.on_terminal("instances", "tree", "family").out.splitlines()
    assert drawn[0].startswith("family  family 1.0.0  completed")
    assert drawn[3] == "└── child-c  hello 1.0.0  completed  [exec 1, detached]"


def _stored(cli: Cli, instance_id: str, execution_id: int) -> tuple[str, ...]:
    with cli.client() as client:
        return client.read_history(instance_id, execution_id).events


@pytest.mark.parametrize(("instance_id", "execution_id"), [("greeting", 1), ("broken", 1), ("rounds/1", 2)])
def test_a_history_as_json_holds_the_stored_events_byte_for_byte(
    filled: Cli, instance_id: str, execution_id: int
) -> None:
    stored = _stored(filled, instance_id, execution_id)
    reference = f"{instance_id}/{execution_id}"
    document = filled("history", "show", reference, "-o", "json")
    assert all(event in document.out for event in stored)
    assert document.out.endswith('"events":[' + ",\n".join(stored) + "]}\n")
    assert document.json["schema"] == "duroctl.history/1"
    assert document.json["execution"]["execution_id"] == execution_id
    assert filled("history", "show", reference, "-o", "jsonl").out == "".join(event + "\n" for event in stored)


def test_a_history_in_a_pipe_has_one_line_an_event(filled: Cli) -> None:
    rows = filled("history", "show", "greeting").rows()
    assert [(row["event_id"], row["type"], row["detail"]) for row in rows] == [
        ("1", "OrchestrationStarted", 'hello("Ada") version 1.0.0'),
        ("2", "ActivityScheduled", 'greet("Ada")'),
        ("3", "ActivityCompleted", '#2 → "hello Ada"'),
        ("4", "OrchestrationCompleted", '→ "hello Ada"'),
    ]


def test_a_detailed_history_shows_every_field(filled: Cli) -> None:
    shown = filled("history", "show", "greeting", "--detailed").out
    assert "seed: " in shown
    assert re.search(r"^ +3  ActivityCompleted +\S+Z\n +scheduled_event_id: 2\n +result: \"hello Ada\"$", shown, re.M)


def test_following_goes_on_over_continue_as_new_and_ends_with_the_instance(filled: Cli) -> None:
    rows = filled("history", "show", "rounds/1/1", "--follow").rows()
    assert [int(row["execution_id"]) for row in rows] == [1] * 4 + [2] * 4 + [3] * 4
    assert rows[-1]["type"] == "OrchestrationCompleted"


def test_a_history_that_has_not_begun_shows_its_input(cli_with_store: Cli) -> None:
    cli_with_store("start", "x", "--id", "a", "--input", "[1, 2]", "--allow-unregistered")
    shown = cli_with_store("history", "show", "a", "-o", "json").json
    assert (shown["input"], shown["events"]) == ([1, 2], [])
    assert "has not had its first turn" in cli_with_store("history", "show", "a").err


def test_a_reference_with_two_readings_is_refused_and_both_can_be_written(cli_with_store: Cli) -> None:
    for instance_id in ("a", "a/1"):
        cli_with_store("start", "x", "--id", instance_id, "--allow-unregistered")
    refused = cli_with_store("history", "show", "a/1")
    assert refused.code == 2
    assert "'a/1' is an instance, and 'a' is one too" in refused.err
    assert cli_with_store("history", "show", "a/1/1", "-o", "ids").lines == ["a/1/1"]
    first = cli_with_store("history", "show", "a", "--execution", "1", "-o", "json").json
    assert first["execution"]["instance_id"] == "a"


# --- terminals -----------------------------------------------------------------------------------------------


def test_a_list_on_a_terminal_of_80_columns(filled: Cli) -> None:
    ran = filled.on_terminal("instances", "list", width=80)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", ran.out)
    lines = plain.splitlines()
    assert ran.code == 0
    assert lines[0].split() == ["INSTANCE", "NAME", "STATUS", "EXEC", "EVENTS", "UPDATED"]
    assert all(len(line) <= 80 for line in lines)
    assert re.search(r"^greeting +hello +completed +1 +4 +(now|\d+ [smh] ago)$", plain, re.MULTILINE)


TERMINAL_READS: list[Any] = [
    *(("instances", "list", "-o", format) for format in ("table", "json", "jsonl", "csv", "ids")),
    *(("instances", "show", "-o", format) for format in ("table", "json", "csv", "ids")),
    *(("history", "show", "-o", format) for format in ("table", "json", "jsonl", "csv", "ids")),
    ("history", "show", "--detailed"),
    ("executions", "list"),
    ("instances", "tree"),
]


@pytest.mark.parametrize("command", TERMINAL_READS, ids=" ".join)
@pytest.mark.parametrize("instance_id", [HOSTILE_ID, "broken"], ids=["hostile", "broken"])
def test_what_users_wrote_never_reaches_a_terminal_raw(filled: Cli, command: tuple[str, ...], instance_id: str) -> None:
    ran = filled.on_terminal(*command, *(() if command[1] == "list" else (instance_id,)))
    assert ran.code == 0
    assert not re.search(r"\x1b(?!\[[0-9;]*m)", ran.out)  # colours are ours, anything else is not
    assert "\x1b[31m\u202e" not in ran.out
    assert "\x1b[31m luck" not in ran.out
    assert not re.search("[\x07\x9b\u202e\u2066]", ran.out)
    assert "\nsecond line" not in ran.out


def test_a_closed_pipe_ends_quietly(filled: Cli) -> None:
    for command in (["instances", "list", "-o", "jsonl"], ["history", "show", "greeting"], ["--help"]):
        process = subprocess.Popen(
            [*PROGRAM, *command],
            cwd=filled.directory,
            env=filled.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        process.stderr.close()
        assert process.wait(20) == 141
