"""The commands that write: what they print, what they refuse, what they leave alone."""

import errno
import json
import os
import subprocess
import tomllib
from pathlib import Path

import pytest

from duro.model.status import BlockedKind
from duro.testing.scripted import ScriptedWorker
from tests.e2e.cli_support import PROGRAM, Cli, unmeasured

START = ("start", "greet", "--allow-unregistered")


# --- init ----------------------------------------------------------------------------------------------------


def test_init_makes_a_store_and_a_configuration_that_names_it_and_can_be_repeated(cli: Cli) -> None:
    first = cli("init")
    assert first.code == 0
    assert first.lines == [
        "made  store          sqlite:///duro.db",
        "made  configuration  runtime_config.toml",
    ]
    config = (cli.directory / "runtime_config.toml").read_text()
    assert config == (Path(__file__).parents[2] / "config" / "runtime_config.toml").read_text()
    before = cli.dump()
    second = cli("init", "-o", "json")
    assert second.json == {
        "schema": "duroctl.init/1",
        "store": "sqlite:///duro.db",
        "store_created": False,
        "config": "runtime_config.toml",
        "config_created": False,
    }
    assert cli.dump() == before
    assert (cli.directory / "runtime_config.toml").read_text() == config
    assert cli("instances", "list").code == 0


@pytest.mark.parametrize("name", ["other.db", "sub/other.db", "{tmp}/absolute.db", 'quo"te\\.db', "tab\there.db"])
def test_init_of_another_file_names_it_in_the_configuration(cli: Cli, name: str) -> None:
    (cli.directory / "sub").mkdir()
    name = name.replace("{tmp}", str(cli.directory))
    assert cli("init", name).code == 0
    assert (cli.directory / name).is_file()
    written = tomllib.loads((cli.directory / "runtime_config.toml").read_text())
    assert written["store"] == {"url": f"sqlite:///{name}"}
    assert cli("instances", "list").code == 0


def test_init_leaves_a_configuration_alone_that_names_another_store_and_says_so(cli_with_store: Cli) -> None:
    ran = cli_with_store("init", "second.db")
    assert (ran.code, (cli_with_store.directory / "second.db").is_file()) == (0, True)
    assert "runtime_config.toml is left as it is and names another store: use --store sqlite:///second.db" in ran.err


def test_init_writes_the_configuration_where_it_is_told(cli: Cli) -> None:
    (cli.directory / "config").mkdir()
    assert cli("init", "--config", "config/runtime_config.toml").code == 0
    assert cli("-v", "instances", "list").err == (
        f"duroctl: store sqlite:///{cli.directory}/duro.db (from config/runtime_config.toml)\n"
    )


def test_init_makes_what_the_environment_names_where_nothing_else_is_given(cli: Cli) -> None:
    named = {"DUROCTL_STORE": "sqlite:///other.db", "DUROCTL_CONFIG": "settings.toml"}
    cli.environment.update(named)
    assert cli("init").lines == ["made  store          sqlite:///other.db", "made  configuration  settings.toml"]
    assert cli("instances", "list").code == 0
    assert cli("init", "third.db", "--config", "third.toml").lines[0] == "made  store          sqlite:///third.db"
    assert cli("init", "--config", "third.toml").lines[0] == "kept  store          sqlite:///third.db"


def test_init_keeps_to_a_configuration_that_commands_here_already_use(cli: Cli) -> None:
    config = cli.directory / "config" / "runtime_config.toml"
    config.parent.mkdir()
    config.write_text('[store]\nurl = "sqlite:///../state.db"\n')
    ran = cli("init", "-o", "json")
    made = (ran.json["store_created"], ran.json["config"], ran.json["config_created"])
    assert made == (True, "config/runtime_config.toml", False)
    assert sorted(path.name for path in cli.directory.glob("*.*")) == ["state.db"]
    assert cli("instances", "list").code == 0


def test_init_says_that_a_configuration_it_leaves_alone_names_no_store(cli: Cli) -> None:
    (cli.directory / "runtime_config.toml").write_text("")
    ran = cli("init")
    assert "runtime_config.toml is left as it is and names no store: use --store sqlite:///duro.db" in ran.err


def test_init_makes_a_store_in_an_empty_file_and_says_so(cli: Cli) -> None:
    cli.store.touch()
    assert cli("init").lines[0] == "made  store          sqlite:///duro.db"
    assert cli("init").lines[0] == "kept  store          sqlite:///duro.db"


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("--config", "no/such.toml"), "the configuration file 'no/such.toml' cannot be made: No such file or"),
        (("--config", "/dev/null/it.toml"), "cannot be made: Not a directory; make its directory, or name another"),
        (("sqlite:///mine.db",), "FILE 'sqlite:///mine.db' is a URL; write --store sqlite:///mine.db"),
        (("memory:",), "FILE 'memory:' is a URL"),
        (("--store", "memory:"), "the store 'memory:' is gone when this command ends; name a file"),
    ],
)
def test_init_that_could_not_do_all_of_it_makes_nothing(cli: Cli, arguments: tuple[str, ...], part: str) -> None:
    ran = cli("init", *arguments)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert part in ran.err
    assert [path.name for path in cli.directory.iterdir()] == ["home"]


def test_init_in_a_directory_that_does_not_exist_makes_nothing(cli: Cli) -> None:
    ran = cli("init", "no/such/duro.db")
    assert ran.code == 10
    assert ran.err.startswith("duroctl: error: the directory ")
    assert not (cli.directory / "runtime_config.toml").exists()


# --- start ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["memory:", "memory://"])
def test_nothing_is_started_in_a_store_that_is_gone_at_once(cli: Cli, url: str) -> None:
    ran = cli(*START, "--store", url)
    assert (ran.code, ran.out) == (2, "")
    assert (
        ran.err == f"duroctl: error: the store {url!r} is gone when this command ends; name a file: sqlite:///duro.db\n"
    )


def test_start_prints_the_id_and_nothing_else(cli_with_store: Cli) -> None:
    ran = cli_with_store(*START, "--id", "a", "--input", '{"b": [1,  2]}')
    assert (ran.code, ran.out) == (0, "a\n")
    assert ran.err == "duroctl: no worker is running on this store: it starts with `duroctl worker MODULE:REGISTRY`\n"
    assert cli_with_store("history", "show", "a", "-o", "json").json["input"] == {"b": [1, 2]}


@pytest.mark.parametrize(
    ("format", "expected"),
    [
        ("json", '{"schema":"duroctl.started/1","instance_id":"a","name":"greet"}\n'),
        ("jsonl", '{"schema":"duroctl.started/1","instance_id":"a","name":"greet"}\n'),
        ("csv", "instance_id,name\na,greet\n"),
        ("ids", "a\n"),
    ],
)
def test_start_in_other_formats(cli_with_store: Cli, format: str, expected: str) -> None:
    assert cli_with_store(*START, "--id", "a", "-o", format, "-q").out == expected


def test_start_reads_its_input_from_a_file_or_from_standard_input(cli_with_store: Cli) -> None:
    (cli_with_store.directory / "in.json").write_text('{\n  "from": "file"\n}\n')
    cli_with_store(*START, "--id", "file", "--input-file", "in.json")
    cli_with_store(*START, "--id", "stdin", "--input-file", "-", input="[true]\n")
    for instance_id, expected in (("file", {"from": "file"}), ("stdin", [True])):
        assert cli_with_store("history", "show", instance_id, "-o", "json").json["input"] == expected


def test_start_of_a_taken_id_is_refused_unless_the_instance_will_do(cli_with_store: Cli) -> None:
    cli_with_store(*START, "--id", "a")
    before = cli_with_store.dump()
    refused = cli_with_store(*START, "--id", "a")
    assert refused.code == 1
    assert "'a' already exists" in refused.err
    assert "--if-exists return" in refused.err
    assert cli_with_store(*START, "--id", "a", "--if-exists", "return", "-q").out == "a\n"
    assert cli_with_store.dump() == before


def test_waiting_without_a_worker_says_what_is_missing(cli_with_store: Cli) -> None:
    ran = cli_with_store(*START, "--id", "a", "--wait", "--timeout", "0s")
    assert ran.code == 1
    assert ran.err.endswith(
        "'a' is still pending after 0 s; it goes on; "
        "no worker is running on this store: start one with `duroctl worker MODULE:REGISTRY`\n"
    )


def test_start_of_many_is_one_commit_and_prints_the_ids_in_the_order_of_the_lines(cli_with_store: Cli) -> None:
    cli = cli_with_store
    lines = '{"n": 1}\n\n  [2]\n"three"'
    ran = cli(*START, "--inputs-from", "-", "--request-id", "r", input=lines)
    assert (ran.code, len(set(ran.lines))) == (0, 3)
    assert ran.err.startswith("duroctl: started 3 of 'greet'\n")
    inputs = [cli("history", "show", each, "-o", "json").json["input"] for each in ran.lines]
    assert inputs == [{"n": 1}, [2], "three"]
    assert len({row["created_at_ms"] for row in cli.dump()["instances"]}) == 1
    before = cli.dump()
    again = cli(*START, "--inputs-from", "-", "--request-id", "r", "-o", "json", input=lines)
    assert again.json["started"] == [{"instance_id": each, "name": "greet"} for each in ran.lines]
    assert cli.dump() == before


def test_a_wrong_line_starts_nothing_and_is_named(cli_with_store: Cli) -> None:
    (cli_with_store.directory / "in.jsonl").write_text("1\n2\n{\n")
    ran = cli_with_store(*START, "--inputs-from", "in.jsonl")
    assert (ran.code, ran.out) == (2, "")
    assert "input of orchestration 'greet' on line 3 is not JSON" in ran.err
    assert cli_with_store.dump()["instances"] == []


# --- raise ---------------------------------------------------------------------------------------------------


def test_raise_puts_an_event_into_the_mailbox(cli_with_store: Cli) -> None:
    cli_with_store(*START, "--id", "a")
    ran = cli_with_store("raise", "a", "go", "--data", '{"x": 1}')
    assert (ran.code, ran.out, ran.err) == (0, "", "duroctl: sent 'go' to 'a'\n")
    (row,) = cli_with_store.dump()["mailbox"]
    assert (row["name"], row["data"]) == ("go", '{"x":1}')


def test_raise_reaches_all_ids_on_standard_input_or_none(cli_with_store: Cli) -> None:
    for instance_id in ("a", "b"):
        cli_with_store(*START, "--id", instance_id)
    sent = cli_with_store("raise", "-", "go", "-o", "json", input="a\nb\n")
    assert [each["instance_id"] for each in sent.json["raised"]] == ["a", "b"]
    before = cli_with_store.dump()
    assert cli_with_store("raise", "-", "go", input="a\nnobody\n").code == 7
    assert cli_with_store.dump() == before


# --- cancel --------------------------------------------------------------------------------------------------


def test_cancel_records_the_request_once_and_asks_nobody(cli_with_store: Cli) -> None:
    cli_with_store(*START, "--id", "a")
    ran = cli_with_store("instances", "cancel", "a", "--reason", "enough", "-o", "json")
    assert (ran.code, ran.json["schema"]) == (0, "duroctl.cancel_requested/1")
    assert ran.json["cancel_requested"] == [{"instance_id": "a", "execution_id": 1}]
    assert cli_with_store("instances", "cancel", "a", "--reason", "another").code == 0
    (row,) = cli_with_store.dump()["instances"]
    assert (row["status"], row["cancel_reason"]) == ("pending", "enough")
    assert "cancel asked   enough" in cli_with_store("instances", "show", "a").lines


def test_cancel_of_ids_on_standard_input_reaches_all_of_them_or_none(cli_with_store: Cli) -> None:
    for instance_id in ("a", "b"):
        cli_with_store(*START, "--id", instance_id)
    before = cli_with_store.dump()
    assert cli_with_store("instances", "cancel", "-", input="a\nnobody\n").code == 7
    assert cli_with_store.dump() == before
    cli_with_store("instances", "terminate", "a", "--yes")
    partly = cli_with_store("instances", "cancel", "-", "-o", "ids", input="a\nb\n")
    assert (partly.code, partly.out) == (3, "b\n")
    assert "1 of 2 instances had ended before" in partly.err
    assert cli_with_store("instances", "cancel", "a").code == 1


# --- resume --------------------------------------------------------------------------------------------------


def _poison(cli: Cli, instance_id: str) -> None:
    """As a worker leaves it after too many turns without a commit."""
    with cli.client() as client:
        worker = ScriptedWorker(client.store, orchestrations=[("greet", "")], activities=[])
        for leased in worker.lease().instances:
            poison = leased.instance_id == instance_id
            worker.release(leased, blocked=BlockedKind.POISON if poison else None, reason="10 turns\nin a row")
        client.store.release_worker(worker.worker_id)


def test_a_poisoned_instance_is_listed_with_its_reason_and_resumed(cli_with_store: Cli) -> None:
    cli = cli_with_store
    for instance_id in ("bad", "good"):
        cli(*START, "--id", instance_id)
    _poison(cli, "bad")
    (listed,) = cli("instances", "list", "--status", "blocked").rows()
    assert (listed["instance_id"], listed["blocked"], listed["blocked_reason"]) == (
        "bad",
        "poison",
        "10 turns\\nin a row",
    )
    (document,) = cli("instances", "list", "--status", "blocked", "-o", "json").json["instances"]
    assert (document["blocked"], document["blocked_reason"]) == ("poison", "10 turns\nin a row")
    assert "blocked        poison: 10 turns\\nin a row" in cli("instances", "show", "bad").lines
    on_terminal = cli.on_terminal("instances", "list", "--status", "blocked", width=100).out
    assert [on_terminal.count(text) for text in ("BLOCKED", "REASON", "poison", "10 turns\\nin a row")] == [1, 1, 1, 1]
    ran = cli("instances", "resume", "-", "-o", "ids", input="bad\ngood\n")
    assert (ran.code, ran.out) == (0, "bad\n")
    assert ran.err == "duroctl: 1 instance had nothing to be resumed from\n"
    assert cli("instances", "list", "--status", "blocked", "-o", "ids").out == ""
    assert {row["attempt_count"] for row in cli.dump()["instances"]} == {0}


def test_resume_of_what_has_ended_or_never_was_is_an_error(cli_with_store: Cli) -> None:
    cli_with_store(*START, "--id", "a")
    cli_with_store("instances", "terminate", "a", "--yes")
    before = cli_with_store.dump()
    assert cli_with_store("instances", "resume", "a").code == 1
    assert cli_with_store("instances", "resume", "a", "nobody").code == 7
    assert cli_with_store.dump() == before


# --- terminate -----------------------------------------------------------------------------------------------


def test_terminate_without_a_terminal_needs_yes(cli_with_store: Cli) -> None:
    cli_with_store(*START, "--id", "a")
    before = cli_with_store.dump()
    refused = cli_with_store("instances", "terminate", "a", CI="true")
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.endswith("there is no terminal to ask on; pass --yes to do it\n")
    assert cli_with_store.dump() == before
    done = cli_with_store("instances", "terminate", "a", "--yes", "--reason", "enough", "-o", "json")
    assert (done.code, done.json["terminated"]) == (0, [{"instance_id": "a", "execution_id": 1}])
    assert "enough" in cli_with_store("history", "show", "a").out


@pytest.mark.parametrize(
    ("answer", "code", "status"), [("y\n", 0, "terminated"), ("n\n", 4, "pending"), ("\n", 4, "pending")]
)
def test_terminate_on_a_terminal_shows_what_it_would_end_and_asks(
    cli_with_store: Cli, answer: str, code: int, status: str
) -> None:
    cli_with_store(*START, "--id", "a\x1b[5m")
    ran = cli_with_store.on_terminal("instances", "terminate", "a\x1b[5m", typed=answer)
    assert ran.code == code
    assert "  a\\x1b[5m  greet  pending" in ran.out
    assert "Terminate 1 instance? [y/N]" in ran.out
    assert "\x1b[5m" not in ran.out
    assert cli_with_store("instances", "list", "-o", "json").json["instances"][0]["status"] == status


def test_terminate_of_an_unknown_id_ends_nothing(cli_with_store: Cli) -> None:
    cli_with_store(*START, "--id", "a")
    before = cli_with_store.dump()
    assert cli_with_store("instances", "terminate", "a", "nobody", "--yes").code == 7
    assert cli_with_store.dump() == before


def test_terminate_of_what_has_ended_is_partly_done_or_an_error(cli_with_store: Cli) -> None:
    for instance_id in ("a", "b"):
        cli_with_store(*START, "--id", instance_id)
    cli_with_store("instances", "terminate", "a", "--yes")
    partly = cli_with_store("instances", "terminate", "-", "--yes", "-o", "ids", input="a\nb\n")
    assert (partly.code, partly.out) == (3, "b\n")
    assert "1 of 2 instances had ended before" in partly.err
    again = cli_with_store("instances", "terminate", "a", "b", "--yes")
    assert (again.code, again.err.count("\n")) == (1, 1)


def test_an_id_with_a_newline_is_one_id_all_the_way(cli_with_store: Cli) -> None:
    for instance_id in ("a", "b", "a\nb"):
        cli_with_store(*START, "--id", instance_id)
    ids = cli_with_store("instances", "list", "-o", "ids").lines
    (odd,) = (line for line in ids if line.startswith('"'))
    assert json.loads(odd) == "a\nb"
    cli_with_store("instances", "terminate", "-", "--yes", input=odd)
    ended = cli_with_store("instances", "list", "--status", "terminated", "-o", "json").json["instances"]
    assert [each["instance_id"] for each in ended] == ["a\nb"]


def test_an_unwritable_output_is_an_error_of_one_line(cli_with_store: Cli) -> None:
    with Path("/dev/full").open("wb") as full:
        process = subprocess.run(
            [*PROGRAM, "instances", "list"],
            cwd=cli_with_store.directory,
            env=cli_with_store.environment,
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert process.returncode == 1
    assert process.stderr.decode() == (
        f"duroctl: error: standard output cannot be written: {os.strerror(28)}; what was printed is not whole: run it "
        "again where there is room\n"
    )


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_an_output_that_is_cut_in_the_middle_is_an_error(cli_with_store: Cli, unbuffered: str) -> None:
    cli_with_store(*START, "--id", "long", "--input-file", "-", input=json.dumps("x" * 500_000))
    whole = cli_with_store("history", "show", "long", "-o", "json", PYTHONUNBUFFERED=unbuffered).out
    target = cli_with_store.directory / "history.json"
    with target.open("wb") as output:
        process = subprocess.run(
            ["sh", "-c", 'ulimit -f 200; exec "$@"', "sh", *PROGRAM, "history", "show", "long", "-o", "json"],
            cwd=cli_with_store.directory,
            env={**unmeasured(cli_with_store.environment), "PYTHONUNBUFFERED": unbuffered},
            stdout=output,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert 0 < target.stat().st_size < len(whole)
    assert process.returncode == 1
    error = json.loads(process.stderr)
    assert error["error"] == "OutputError"
    assert error["message"] == f"standard output cannot be written: {os.strerror(errno.EFBIG)}"


@pytest.mark.parametrize(("command", "code"), [(("instances", "list"), 0), (("bogus",), 2), (("init",), 0)])
def test_with_standard_error_closed_the_exit_status_stays_what_it_is(
    cli_with_store: Cli, command: tuple[str, ...], code: int
) -> None:
    process = subprocess.run(
        ["sh", "-c", 'exec "$@" 2>&-', "sh", *PROGRAM, *command],
        cwd=cli_with_store.directory,
        env=cli_with_store.environment,
        stdout=subprocess.DEVNULL,
        check=False,
    )
    assert process.returncode == code
