"""Bad input: its exit code, one line that says what happened to which thing, and a store that has not changed."""

import json
import sqlite3
import sys
from typing import NamedTuple

import pytest

from tests.e2e.cli_support import Cli

START = ("start", "greet", "--allow-unregistered")


class Bad(NamedTuple):
    arguments: tuple[str, ...]
    code: int
    part: str
    input: bytes = b""


LONG = "é" * 128
BAD = [
    Bad(
        ("start", "nobody-has-it"), 2, "no worker of this store has registered orchestration 'nobody-has-it'; check the"
    ),
    Bad((*START, "--input", "{oops"), 2, "input of orchestration 'greet' is not JSON"),
    Bad((*START, "--input", "text"), 2, "is not JSON: JSON is malformed"),
    Bad((*START, "--input", ""), 2, "is not JSON"),
    Bad((*START, "--input", '"' + "x" * 3_000 + '" 5'), 2, "is not JSON"),
    Bad((*START, "--input", "1", "--input-file", "x"), 2, "--input and --input-file were given; give one of them"),
    Bad((*START, "--input-file", "missing.json"), 2, "--input-file 'missing.json' cannot be read: No such file"),
    Bad((*START, "--input-file", "."), 2, "--input-file '.' cannot be read: Is a directory"),
    Bad((*START, "--input-file", "-"), 2, "is not JSON", b"\xff\xfe"),
    Bad((*START, "--input-file", "-"), 2, "at most 2097152 are allowed", b'"' + b"x" * 2_097_152 + b'"'),
    Bad((*START, "--input-file", "-"), 2, "is not JSON", b"[" * 100_000),
    Bad((*START, "--inputs-from", "x.jsonl", "--id", "a"), 2, "--inputs-from and --id were given; give one of them"),
    Bad((*START, "--inputs-from", "x.jsonl"), 2, "--inputs-from 'x.jsonl' cannot be read: No such file"),
    Bad((*START, "--inputs-from", "-"), 2, "--inputs-from '-' holds no input; write one JSON value a line", b"\n \n"),
    Bad((*START, "--id", ""), 2, "instance id '' is empty"),
    Bad((*START, "--id", LONG), 2, "is 256 bytes long, and at most 255 are allowed"),
    Bad((*START, "--id", "a\udcff"), 2, "contains a lone surrogate"),
    Bad(("start", "", "--allow-unregistered"), 2, "orchestration name '' is empty"),
    Bad((*START, "--version", ""), 2, "version '' is empty"),
    Bad((*START, "--timeout", "5s"), 2, "--timeout says how long to wait; add --wait"),
    Bad((*START, "--wait", "--timeout", "5"), 2, "--timeout '5' is not a duration; write it like 90s"),
    Bad((*START, "--if-exists", "maybe"), 2, "'maybe' is not one of 'error', 'return'"),
    Bad((*START, "--id", "taken"), 1, "instance 'taken' already exists"),
    Bad(("start",), 2, "missing argument 'NAME'; see `duroctl start --help`"),
    Bad(("prune", "--archive"), 2, "option '--archive' requires an argument; see `duroctl prune --help`"),
    Bad(("archive", "list", "--name"), 2, "option '--name' requires an argument; see `duroctl archive list --help`"),
    Bad(("raise", "taken", ""), 2, "event name '' is empty"),
    Bad(("raise", "taken", "go", "--data", "{"), 2, "data of event 'go' is not JSON"),
    Bad(("raise", "nobody", "go"), 7, "there is no instance 'nobody'; `duroctl instances list` shows"),
    Bad(
        ("raise", "ended", "go"),
        1,
        "instance 'ended' is terminated; what has ended takes no events, and cannot be ended or resumed",
    ),
    Bad(("history", "show", "-"), 2, "no instance id was given"),
    Bad(("raise", "-", "go"), 2, "contains a NUL character", b"a\0b\n"),
    Bad(("raise", "-", "go"), 2, "contains a lone surrogate", b"a\xff\n"),
    Bad(("raise", "-", "go"), 2, "is not a JSON string", b'"half\n'),
    Bad(("raise", "-", "go", "--data-file", "-"), 2, "cannot both be read from standard input"),
    Bad(("instances", "show", "nobody"), 7, "there is no instance 'nobody'"),
    Bad(("instances", "tree", "nobody"), 7, "there is no instance 'nobody'"),
    Bad(("instances", "tree", "-"), 2, "2 ids were given, and one is taken", b"taken\nended\n"),
    Bad(("instances", "list", "--status", "nonsense"), 2, "--status 'nonsense' is no status; choose from pending,"),
    Bad(("instances", "list", "--status", "blocked", "--status", "failed"), 2, "goes with no other status"),
    Bad(("instances", "list", "--limit", "-1"), 2, "--limit must be a whole number of at least 0, not '-1'"),
    Bad(("instances", "list", "--limit", "１"), 2, "--limit must be a whole number"),
    Bad(("instances", "list", "--cursor", "x\x1b[1m"), 2, "is not a cursor of this listing"),
    Bad(("instances", "list", "-o", "xml"), 2, "'xml' is not one of 'table', 'json', 'jsonl', 'csv', 'ids'"),
    Bad(("instances", "cancel", "nobody"), 7, "there is no instance 'nobody'"),
    Bad(("instances", "cancel", "ended"), 1, "'ended'"),
    Bad(("instances", "resume", "taken", "nobody"), 7, "there is no instance 'nobody'"),
    Bad(("instances", "resume", "ended"), 1, "instance 'ended' is terminated; what has ended takes no events"),
    Bad(("instances", "terminate", "nobody", "-y"), 7, "there is no instance 'nobody'"),
    Bad(("instances", "terminate", "taken"), 2, "pass --yes to do it"),
    Bad(("instances", "terminate", "ended", "-y"), 1, "'ended'"),
    Bad(
        ("instances", "purge", "--all", "-y", "--keep-last", ""), 2, "--keep-last must be a whole number of at least 1"
    ),
    Bad(("instances", "purge", "--all", "-y", "--keep-within", ""), 2, "--keep-within '' is not a duration"),
    Bad(("instances", "purge", "--apply", "x", "--keep-within", ""), 2, "--apply takes neither instances nor rules"),
    Bad(("instances", "lst"), 2, "no such command 'lst'. Did you mean 'list'? see `duroctl instances --help`"),
    Bad(("instnces",), 2, "no such command 'instnces'. Did you mean 'instances'? see `duroctl --help`"),
    Bad(("executions", "list", "nobody"), 7, "there is no instance 'nobody'"),
    Bad(("executions", "list", "--cursor", "zz"), 2, "is not a cursor of this listing"),
    Bad(("history", "show", "nobody"), 7, "there is no instance 'nobody'"),
    Bad(("history", "show", "nobody/1"), 7, "there is no instance 'nobody', nor one called 'nobody/1'"),
    Bad(("history", "show", "taken/9"), 7, "instance 'taken' has no execution 9"),
    Bad(("history", "show", "taken", "--execution", "x"), 2, "--execution must be a whole number"),
    Bad(("history", "show", "taken", "--follow", "-o", "ids"), 2, "--follow does not go with -o ids; use -o jsonl"),
    Bad(("history", "show", ""), 2, "instance id '' is empty"),
    Bad(("init", "a.db", "--store", "sqlite:///b.db"), 2, "a FILE and --store were given"),
    Bad(("init", ""), 2, "FILE is empty"),
    Bad(("init", "--store", "mysql://me:secret@host/db"), 2, "store URL 'mysql://...@host/db' has an unknown scheme"),
    Bad(("init", "postgresql://me:secret@host/db"), 2, "FILE 'postgresql://...@host/db' is a URL"),
    Bad(("worker", "nomodule:registry"), 2, "there is no module 'nomodule' in "),
    Bad(("worker", "json"), 2, "'json' is not of the form MODULE:REGISTRY"),
    Bad(("worker", "json:nothing"), 2, "module 'json' has no 'nothing'"),
    Bad(("worker", "json:dumps"), 2, "'json:dumps' is of type function, not a duro.Registry"),
    Bad(
        ("worker", "raising:registry"), 2, "module 'raising' could not be imported: ZeroDivisionError: division by zero"
    ),
    Bad(("worker", "leaving:registry"), 2, "module 'leaving' could not be imported: SystemExit"),
    Bad(("worker", "needing:registry"), 2, "module 'needing' could not be imported: ModuleNotFoundError"),
    Bad(("worker", "misspelt:registry"), 2, "module 'misspelt' could not be imported: SyntaxError"),
    Bad(("worker", "json:dumps", "--lease", "soon"), 2, "--lease 'soon' is not a duration"),
    Bad(("worker", "json:dumps", "--drain", "soon"), 2, "--drain 'soon' is not a duration"),
    Bad(("worker", "json:dumps", "--directory", "nowhere"), 2, "there is no directory 'nowhere'"),
    Bad(("init", "a\udcff.db"), 2, "FILE 'a\\udcff.db' is not valid UTF-8; choose another name"),
    Bad(("init", "--config", "a\udcff.toml"), 2, "--config 'a\\udcff.toml' is not valid UTF-8"),
    Bad(("backup", "a\udcff.db"), 2, "the path of 'a\\udcff.db' is not valid UTF-8; choose another name or directory"),
    Bad(("export", "--to", "a\udcff.db"), 2, "the path of 'a\\udcff.db' is not valid UTF-8"),
    Bad(("history", "export", "ended", "--to", "a\udcff"), 2, "--to 'a\\udcff' is not valid UTF-8"),
    Bad(("prune", "--all", "--keep-last", "1", "--plan-out", "a\udcff"), 2, "--plan-out 'a\\udcff' is not valid UTF-8"),
    Bad(
        ("instances", "purge", "--all", "--completed-before", "now", "-y", "--archive", "a\udcff"),
        10,
        "not valid UTF-8",
    ),
    Bad(("archive", "list", "--archive", "a\udcff"), 10, "a\\udcff' is not valid UTF-8; rename the directory"),
    Bad(("instances", "list", "--store", "sqlite:///a\udcff.db"), 2, "a\\udcff.db' is not valid UTF-8; rename it"),
    Bad(("instances", "terminate", "taken", "-y", "--reason", "a\udcff"), 2, "contains a lone surrogate"),
    Bad(("instances", "list", "--name", "a\udcff"), 2, "contains a lone surrogate"),
    Bad(("history", "show", "a\udcff/1"), 7, "there is no instance 'a\\udcff'"),
    Bad(("history", "show", "x" * 254 + "/1"), 7, "there is no instance 'xxx"),
    Bad(("demo", "--executions", "few"), 2, "--executions must be a whole number"),
    Bad(("demo", "-o", "csv"), 2, "the demo is a report for people and does not go with -o csv; keep its store with"),
]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    cli = Cli(tmp_path_factory.mktemp("errors"))
    cli("init")
    cli(*START, "--id", "taken")
    cli(*START, "--id", "ended")
    cli("instances", "terminate", "ended", "--yes")
    modules = {"raising": "1 / 0", "leaving": "raise SystemExit(3)", "needing": "import not_there", "misspelt": "def"}
    for name, source in modules.items():
        (cli.directory / f"{name}.py").write_text(source)
    return cli


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: ascii(" ".join(bad.arguments)[:60]))
def test_bad_input_is_refused_in_one_line_and_changes_nothing(prepared: Cli, bad: Bad) -> None:
    before = prepared.dump()
    ran = prepared(*bad.arguments, input=bad.input)
    assert (ran.code, ran.out) == (bad.code, "")
    assert ran.err.startswith("duroctl: error: ")
    assert bad.part in ran.err
    assert ran.err.count("\n") == 1
    assert ran.err.rstrip("\n").isprintable()
    assert "Traceback" not in ran.err
    assert prepared.dump() == before


@pytest.mark.parametrize("format", ["-ojson", "--output=jsonl"])
def test_with_json_output_errors_are_json_too(prepared: Cli, format: str) -> None:
    for arguments, code in (("instances", "show", "nobody"), 7), (("instances", "list", "--bogus"), 2):
        ran = prepared(*arguments, format)
        document = json.loads(ran.err)
        assert list(document) == ["schema", "error", "message", "hint", "exit_code"]
        assert (document["schema"], document["exit_code"], ran.code) == ("duroctl.error/1", code, code)


def test_verbose_shows_why_a_module_could_not_be_imported(prepared: Cli) -> None:
    ran = prepared("worker", "raising:registry", "-v")
    assert "ZeroDivisionError" in ran.err
    assert 'raising.py", line 1' in ran.err


# --- stores ----------------------------------------------------------------------------------------------------


def test_without_a_store_the_remedy_is_said(cli: Cli) -> None:
    ran = cli("instances", "list")
    assert (ran.code, ran.out) == (10, "")
    assert ran.err.startswith("duroctl: error: no store is named here; make one with `duroctl init`")


@pytest.mark.skipif(sys.platform != "linux", reason="a file system of Linux takes names that are no UTF-8")
def test_a_directory_whose_name_is_no_text_is_named_and_no_file_is_left_in_it(cli: Cli) -> None:
    directory = cli.directory / "a\udcff"
    directory.mkdir()
    inside = Cli(directory)
    ran = inside("init")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.endswith("a\\udcff/duro.db' is not valid UTF-8; rename it, or its directory\n")
    assert [each.name for each in directory.iterdir()] == ["home"]


def test_reading_never_makes_a_store(cli: Cli) -> None:
    for command in (["instances", "list"], ["start", "x", "--allow-unregistered"], ["raise", "a", "b"]):
        ran = cli(*command, "--store", "sqlite:///new.db")
        assert (ran.code, ran.err.count("\n")) == (10, 1)
        assert "new.db" in ran.err
        assert not (cli.directory / "new.db").exists()


@pytest.mark.parametrize(
    ("url", "code", "part"),
    [
        ("foo:bar", 2, "store URL 'foo:bar' has an unknown scheme; write sqlite:///path/to/file.db"),
        ("postgresql://me:hunter2@db/x", 2, "'postgresql://...@db/x' has an unknown scheme"),
        ("duro.db", 2, "store URL 'duro.db' has an unknown scheme"),
        ("sqlite:///", 2, "names no file"),
        ("sqlite:///no/such/dir/duro.db", 10, "/no/such/dir"),
        ("sqlite:////tmp", 10, "/tmp is not a file"),
        ("sqlite:///other.db", 10, "other.db"),
        ("sqlite:///text.db", 10, "text.db"),
    ],
)
def test_stores_that_cannot_be_used(cli: Cli, url: str, code: int, part: str) -> None:
    other = sqlite3.connect(cli.directory / "other.db")
    other.execute("CREATE TABLE customers (id INTEGER)")
    other.commit()
    other.close()
    (cli.directory / "text.db").write_text("this is a letter to my aunt\n" * 50)
    contents = {path.name: path.read_bytes() for path in cli.directory.glob("*.db")}
    for command in (["instances", "list"], ["start", "x", "--allow-unregistered"]):
        ran = cli(*command, "--store", url)
        assert (ran.code, ran.out) == (code, "")
        assert part in ran.err
        assert ran.err.count("\n") == 1
        assert "hunter2" not in ran.err
    assert {path.name: path.read_bytes() for path in cli.directory.glob("*.db")} == contents


def test_a_broken_configuration_is_reported_with_its_place(cli_with_store: Cli) -> None:
    (cli_with_store.directory / "runtime_config.toml").write_text('[store]\nurl = "sqlite:///duro.db\n')
    ran = cli_with_store("instances", "list")
    assert ran.code == 6
    assert ran.err.startswith("duroctl: error: runtime_config.toml:2:")
    assert cli_with_store("instances", "list", "--store", "sqlite:///duro.db").code == 0
