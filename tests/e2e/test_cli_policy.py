"""``duroctl policy``: what it says of good and of bad configuration files."""

import json
from pathlib import Path

import jsonschema
import tomli

from tests.e2e.cli_support import ROOT, Cli

BAD = "[pruning]\nenabled = 1\n\n[pruning.overrides.x]\nkeep_last = 0\n"


def _write(cli: Cli, text: str) -> Path:
    path = cli.directory / "conf.toml"
    path.write_text(text)
    return path


def test_a_valid_file_is_called_valid(cli: Cli) -> None:
    _write(cli, "[pruning]\ndefault_keep_last = 3\n")
    ran = cli("policy", "check", "conf.toml")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("conf.toml: valid, settings ")
    assert cli("policy", "check", "conf.toml", "-o", "json").json == {
        "schema": "duroctl.policy_check/1",
        "problems": [],
        "next": None,
    }


def test_every_problem_is_a_line_with_its_place_and_the_status_is_6(cli: Cli) -> None:
    _write(cli, BAD)
    ran = cli("policy", "check", "conf.toml")
    assert (ran.code, ran.err) == (6, "")
    assert [line.partition(": ")[0] for line in ran.lines] == ["conf.toml:2:11", "conf.toml:5:13"]


def test_problems_are_records_too(cli: Cli) -> None:
    _write(cli, BAD)
    ran = cli("policy", "check", "conf.toml", "-o", "json")
    assert ran.code == 6
    assert ran.json["problems"][0] == {
        "file": "conf.toml",
        "line": 2,
        "column": 11,
        "message": "[pruning] enabled must be true or false, not 1",
        "hint": "write it like enabled = true",
    }
    assert cli("policy", "check", "conf.toml", "-o", "ids").lines == ["conf.toml:2:11", "conf.toml:5:13"]


def test_a_file_that_is_not_there_is_a_problem_of_the_file(cli: Cli) -> None:
    ran = cli("policy", "check", "no.toml")
    assert (ran.code, ran.out) == (6, "no.toml: it does not exist; check the path\n")


def test_a_hostile_key_cannot_reach_the_terminal(cli: Cli) -> None:
    _write(cli, '"\\u001b[31m\\nx" = 1\n')
    ran = cli("policy", "check", "conf.toml")
    assert ran.code == 6
    assert "\x1b" not in ran.out
    assert len(ran.lines) == 1


def test_other_commands_show_the_first_problem_and_name_the_command_that_shows_all(cli: Cli) -> None:
    _write(cli, BAD)
    ran = cli("instances", "list", "--config", "conf.toml")
    assert (ran.code, ran.out) == (6, "")
    assert ran.err == (
        "duroctl: error: conf.toml:2:11: [pruning] enabled must be true or false, not 1 "
        "(and 1 more: `duroctl policy check conf.toml` lists them); write it like enabled = true\n"
    )


def test_the_schema_is_printed_as_it_stands_beside_the_default_file(cli: Cli) -> None:
    ran = cli("policy", "schema")
    assert ran.out == (ROOT / "config" / "runtime_config.schema.json").read_text()
    assert cli("init").code == 0
    jsonschema.validate(tomli.loads((cli.directory / "runtime_config.toml").read_text()), json.loads(ran.out))
