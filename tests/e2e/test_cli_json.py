"""What every command prints with -o json and -o jsonl is as docs/schemas says, and the schemas refuse anything else."""

import contextlib
import copy
import io
import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import apsw
import pytest
import zstandard
from jsonschema import Draft202012Validator

import duro
from duro.testing.builders import prune_batch
from duroctl.app import run
from tests.e2e import cli_flows
from tests.e2e.cli_support import Ran, fill
from tests.e2e.json_store import FORMATS, fill_by_script
from tests.generated import SCHEMAS
from tests.json_documents import DOCUMENTS
from tests.json_schemas import Schema, objects

PRINTED: Final = [each.name for each in DOCUMENTS if each.printed_by]
OPEN: Final = frozenset({"output", "custom_status", "input", "events"})
"""Fields that hold what users wrote, or events as they are stored: anything."""


def schema(name: str) -> Schema:
    """As it stands in docs/schemas."""
    found: Schema = json.loads((SCHEMAS / f"{name.replace('/', '.')}.json").read_text(encoding="utf-8"))
    return found


def validator(of: Schema, part: str = "") -> Draft202012Validator:
    """``part``: only this of its ``$defs``."""
    return Draft202012Validator({"$ref": f"#/$defs/{part}", "$defs": of["$defs"]} if part else of)


# --- the commands, run in this process -------------------------------------------------------------------------


class Here:
    """``duroctl`` in a directory of its own, and every document it has printed: schema -> format -> documents."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.printed: defaultdict[str, dict[str, list[Any]]] = defaultdict(lambda: {each: [] for each in FORMATS})
        self.events: list[Any] = []

    def __call__(self, *arguments: str, input: str = "") -> Ran:
        out, err = io.StringIO(), io.StringIO()
        before = sys.stdin
        sys.stdin = io.TextIOWrapper(io.BytesIO(input.encode()))
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = run(arguments)
        finally:
            sys.stdin = before
        return Ran(code, out.getvalue(), err.getvalue())

    def both(self, *arguments: str, code: int = 0, input: str = "") -> tuple[Ran, Ran]:
        """With both formats; ``{}`` in an argument is replaced by the format, where a command takes each thing once."""
        return tuple(self.ask(each, *arguments, code=code, input=input) for each in FORMATS)  # type: ignore[return-value]

    def ask(self, format: str, *arguments: str, code: int = 0, input: str = "") -> Ran:
        """Documents are kept to be looked at; an exit status other than ``code`` is a mistake of this test."""
        done = self(
            *(each.replace("{}", format) for each in arguments), "-o", format, input=input.replace("{}", format)
        )
        assert done.code == code, (arguments, done)
        documents = [json.loads(done.out)] if format == "json" and done.out else list(map(json.loads, done.lines))
        for document in documents:
            if isinstance(document, dict) and "schema" in document:
                self.printed[document["schema"]][format].append(document)
            else:
                assert arguments[:2] == ("history", "show"), f"{arguments} printed a document without a schema"
                self.events.append(document)
        for line in done.err.splitlines():
            if line.startswith("{"):
                self.printed["duroctl.error/1"][format].append(json.loads(line))
        return done


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Here]:
    """After every command has printed its documents, in both formats, of a store that has something of everything."""
    directory = tmp_path_factory.mktemp("json")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        patch.setenv("HOME", str(directory))
        for name in [each for each in os.environ if each.startswith(("DUROCTL_", "XDG_"))]:
            patch.delenv(name)
        cli = Here(directory)
        assert cli("init").code == 0
        _start(cli)
        fill_by_script(directory / "duro.db")
        _look(cli)
        _change(cli)
        _prune(cli)
        _remove(cli)
        _keep(cli)
        yield cli


def _start(cli: Here) -> None:
    """Instances that runtimes run."""
    path = cli.directory / "duro.db"
    fill(path)
    start = ("start", "Nobody", "--allow-unregistered")
    cli.both(*start)
    (cli.directory / "inputs.jsonl").write_text('1\n{"a": [null, 1.5]}\n')
    cli.both(*start, "--inputs-from", "inputs.jsonl")
    with duro.Runtime(path, cli_flows.registry):
        cli.both("start", "hello", "--input", '"Ada"', "--wait")
        cli.both("start", "failing", "--input", '"no luck"', "--wait", code=1)
        (cli.directory / "names.jsonl").write_text('"Ada"\n"Grace"\n')
        cli.both("start", "hello", "--inputs-from", "names.jsonl", "--wait")
        cli.both("start", "failing", "--inputs-from", "names.jsonl", "--wait", code=1)


def _look(cli: Here) -> None:
    """Commands that read, before anything was changed by hand."""
    cli.both("instances", "list")
    cli.both("instances", "list", "--limit", "2")
    cli.both("instances", "list", "--status", "blocked")
    for one in (
        "greeting",
        "broken",
        "family",
        "child-a",
        "loop-json",
        "loop-json-below",
        "stopped",
        "stuck-json",
        "leased",
    ):
        cli.both("instances", "show", one)
    cli.both("instances", "show", "greeting", "broken", "child-a", "loop-json-below", "patient")
    for one in ("family", "loop-json", "loop-json-bad"):
        cli.both("instances", "tree", one)
    cli.both("instances", "tree", "loop-json", "--limit", "2")
    cli.both("executions", "list")
    cli.both("executions", "list", "queue-1-json", "--limit", "2")
    for one in ("greeting", "broken", "rounds/1", "family", "stuck-json", "queue-1-json/2"):
        cli.both("history", "show", one)
    cli.both("history", "export", "greeting", "--to", "greeting.{}")
    cli.both("stats")
    cli.both("doctor", "--deep", code=9)
    cli.both("orphans", "list")
    cli.both("orphans", "list", "--limit", "1")
    cli.both("policy", "show")
    cli.both("policy", "show", "--published")
    for one in ("queue-1-json", "greeting", "patient"):
        cli.both("policy", "explain", one)
    cli.both("policy", "explain", "--name", "Order", "--version", "1.0.0")
    cli.both("policy", "check")
    (cli.directory / "bad.toml").write_text("[pruning]\nenabled = 1\n\n[pruning.overrides.x]\nkeep_last = 0\n")
    cli.both("policy", "check", "bad.toml", code=6)
    (cli.directory / "new.toml").write_text("[pruning]\ndefault_keep_last = 2\n[orphans]\nenabled = true\n")
    cli.both("policy", "simulate", "--policy", "new.toml")
    cli.both("instances", "show", "nobody", code=7)
    cli.both("instances", "list", "--status", "odd", code=2)
    cli.both("no-such-command", code=2)
    cli.both("stats", "--store", "sqlite:///no.db", code=10)
    cli.both("policy", "simulate", "--policy", "bad.toml", code=6)


def _change(cli: Here) -> None:
    """Commands that make, signal and end."""
    cli.both("init", "{}.db", "--config", "{}.toml")
    cli.both("init", "json.db", "--config", "json.toml")
    cli.both("start", "hello", "--id", "greeting", "--allow-unregistered", code=1)
    cli.both("raise", "patient", "other", "--data", '{"by": "Ada"}')
    cli.both("raise", "-", "other", input="patient\ncancel-me-{}\n")
    cli.both("instances", "resume", "stuck-{}", "patient")
    cli.both("instances", "cancel", "cancel-me-{}", "over-{}", "--reason", "not needed", code=3)
    cli.both("instances", "terminate", "end-me-{}", "--yes")
    cli.both("instances", "show", "cancel-me-json")


def _prune(cli: Here) -> None:
    """Rules, plans, holds, runs and policies; an archive, there and back."""
    rules = ("--keep-last", "2", "--keep-within", "7d", "--completed-before", "now")
    of_versions = ("--keep-last-per-version", "1", "--keep-versions", "3")
    cli.both("prune", "--name", "Ord*", "--dry-run", *rules, *of_versions)
    cli.both("prune", "--all", "--dry-run")
    cli.both("prune", "queue-1-json", "over-json", "--keep-last", "1", "--dry-run")
    cli.both("prune", "settled", "queued", "--keep-last", "1", "--dry-run")
    cli.both("prune", "--name", "Ord*", "--keep-last", "1", "--check", code=20)
    cli.both("prune", "over-json", "--keep-last", "9", "--check")
    cli.both("prune", "queue-1-{}", "--keep-last", "2", "--yes", "--reason", "full disk")
    cli.both("prune", "queue-1-{}", "--keep-last", "2", "--yes")
    cli.both("prune", "undo", "queue-1-{}")
    cli.both("prune", "queue-2-{}", "--keep-last", "1", "--yes", "--archive", "kept-{}")
    cli.both("prune", "queue-3-{}", "--keep-last", "1", "--plan-out", "plan-{}.json")
    cli.both("holds", "add", "queue-3-{}/2", "--reason", "to be looked at")
    cli.both("holds", "add", "queue-4-{}", "--reason", "audit", "--until", "1d")
    cli.both("holds", "add", "--name", "Nobody*", "--version", "1.0.0", "--reason", "audit")
    cli.both("holds", "list")
    cli.both("prune", "--apply", "plan-{}.json", "--yes", code=3)
    cli.both("prune", "--all", "--dry-run", "--keep-last", "1")
    cli.both("instances", "list")
    cli.both("executions", "list")
    cli.both("policy", "explain", "queue-4-json")
    cli.both("policy", "set", "--instance", "queue-5-json", "--keep-last", "1", "--dry-run")
    cli.both("policy", "unset", "--instance", "queue-5-json", "--dry-run")
    cli.both("policy", "set", "Order", "--keep-last", "2", "--dry-run")
    cli.both("policy", "set", "--instance", "queue-5-json", "--keep-last", "1", "-y")
    for kept in (("queue-5-json",), ("queue-4-json",), ("queue-5-json", "queue-4-json")):
        cli.both("instances", "show", *kept)
    cli.both("policy", "explain", "queue-5-json", "queue-4-json")
    cli.both("policy", "explain", "-", input="queue-5-json\n")
    cli.both("policy", "explain", "queue-5-json")
    cli.both("prune", "queue-5-json", "--dry-run")
    cli.both("ledger", "list")
    cli.both("ledger", "list", "--limit", "1")
    run_ids = [json.loads(line)["run_id"] for line in cli("ledger", "list", "-o", "jsonl").lines]
    for run_id in run_ids[:3]:
        cli.both("ledger", "show", run_id)
    for one in ("queue-1-json", "queue-2-json", "loop-json", "over-json"):
        cli.both("ledger", "show", one)
    for number, archive_options in ((6, ("--archive", "kept")), (7, ("--archive", "kept"))):
        assert cli("prune", f"queue-{number}-json", "--keep-last", "1", "--yes", "--now", *archive_options).code == 0
    cli.both("archive", "list", "--archive", "kept")
    cli.both("archive", "list", "--archive", "kept", "--limit", "1")
    cli.both("archive", "show", "queue-6-json", "--archive", "kept")
    cli.both("archive", "show", "queue-6-json/1", "--archive", "kept")
    segment = next((cli.directory / "kept").glob("*/*.jsonl.zst"))
    cli.both("archive", "show", segment.name, "--archive", "kept")
    cli.both("archive", "restore", "queue-6-json/1", "--archive", "kept")
    cli.both("archive", "restore", "queue-7-json", "--archive", "kept")
    cli.both("archive", "verify", "--archive", "kept")


def _remove(cli: Here) -> None:
    """Whole instances, orphans and archives that cannot be used."""
    cli.both("orphans", "adopt", "loop-{}-own", "--reason", "on its own now")
    assert cli("holds", "add", "loop-json-kept", "--reason", "evidence").code == 0
    cli.both("orphans", "list")
    cli.both("instances", "show", "loop-{}-own")
    cli.both("instances", "show", "loop-{}-own", "loop-{}-bad")
    cli.both("instances", "tree", "loop-json")
    cleanup = ("orphans", "cleanup", "--all", "--min-age", "0s")
    filters = ("--kind", "parent-continued", "--status", "completed", "--parent-completed-before", "now")
    cli.both(*cleanup, "--dry-run")
    cli.both(*cleanup, "--dry-run", *filters)
    cli.both(*cleanup, "--check", code=20)
    cli.both("orphans", "cleanup", "--name", "Nobody", "--check")
    for format in FORMATS:
        assert cli(*cleanup, "--plan-out", f"orphans-{format}.json").code == 0
    cli.ask("json", *cleanup, "--cancel-running", "--yes", "--reason", "left over")
    cli.ask("jsonl", "orphans", "cleanup", "--apply", "orphans-jsonl.json", "--yes", code=5)
    purge = ("instances", "purge", "--all")
    everything = (
        "--keep-within",
        "30d",
        "--keep-failed-within",
        "90d",
        "--keep-last",
        "3",
        "--completed-before",
        "now",
    )
    cli.both(*purge, *everything, "--status", "completed", "--dry-run")
    cli.both(*purge, "--completed-before", "now", "--dry-run")
    cli.both(*purge, "--completed-before", "now", "--check", code=20)
    cli.both("instances", "purge", "over-{}", "--completed-before", "now", "--plan-out", "purge-{}.json")
    cli.both("instances", "purge", "--apply", "purge-{}.json", "--yes", "--archive", "kept")
    cli.both("instances", "purge", "over-{}", "--completed-before", "now", "--yes", code=8)
    cli.both("prune", "undo", "over-{}")
    for format in FORMATS:
        again = cli.ask(format, "instances", "purge", "again-{}", "--completed-before", "now", "--yes")
        assert cli("start", "Nobody", "--id", f"again-{format}", "--allow-unregistered").code == 0
        cli.ask(format, "prune", "undo", again.json["run_id"], code=8)
    with duro.Client(cli.directory / "duro.db") as client:
        for hold in client.list_holds():
            client.remove_hold(hold.hold_id)
    for format in FORMATS:
        pruned = cli.ask(format, "prune", "queue-7-{}", "--keep-last", "1", "--yes")
        assert cli("instances", "terminate", f"queue-7-{format}", "--yes").code == 0
        assert cli("instances", "purge", f"queue-7-{format}", "--completed-before", "now", "--yes").code == 0
        cli.ask(format, "prune", "undo", pruned.json["run_id"], code=8)
    cli.both("instances", "purge", "gone-{}", "--completed-before", "now", "--yes", "--now", "--archive", "kept")
    cli.both("ledger", "totals")
    cli.both("archive", "restore", "gone-{}", "--archive", "kept")
    (cli.directory / "blocked").write_text("an archive is a directory")
    with duro.Client(cli.directory / "duro.db") as client:
        number = client.get_instance("queue-8-json").incarnation
        client.store.prune(prune_batch((number, 1), archive=str(cli.directory / "blocked")))
    cli.both("archive", "write", code=3)


def _keep(cli: Here) -> None:
    """Copies, and what is wrong with the store."""
    for format in FORMATS:
        with contextlib.closing(apsw.Connection(str(cli.directory / "duro.db"))) as connection:
            ended = "SELECT incarnation, 'go', 0, '{}' FROM instances WHERE completed_at_ms IS NOT NULL LIMIT 1"
            connection.execute(f"INSERT INTO mailbox {ended}")
        cli.ask(format, "doctor", code=9)
        cli.ask(format, "doctor", "--repair", "--yes", code=9)  # an archive still cannot be used
    cli.both("backup", "copy-{}.db")
    with contextlib.closing(apsw.Connection(str(cli.directory / "copy-json.db"))) as connection:
        connection.execute("UPDATE history SET data = '{oops' WHERE event_id = 2")
    cli.both("history", "show", "greeting", "--store", "sqlite:///copy-json.db")
    cli.both("export", "--to", "export-{}.db")
    cli.both("compact")
    segment = sorted((cli.directory / "kept").glob("*/*.jsonl.zst"))[0]
    segment.write_bytes(segment.read_bytes()[:-3])
    cli.both("archive", "verify", "--archive", "kept", code=9)


# --- what was printed ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRINTED)
def test_what_a_command_prints_is_as_its_schema_says(here: Here, name: str) -> None:
    document = next(each for each in DOCUMENTS if each.name == name)
    whole = validator(schema(name))
    for format, documents in here.printed[name].items():
        assert documents or (name, format) == ("duroctl.history/1", "jsonl"), f"{format}: nothing was printed"
        for each in documents:
            whole.validate(each)
    if document.line is not None:
        lines = validator(schema(name), "line")
        assert all(map(lines.is_valid, here.printed[name]["jsonl"]))
        alone = [each for each in here.printed[name]["json"] if lines.is_valid(each)]
        assert len(alone) < len(here.printed[name]["json"])
        assert not alone or name in ("duroctl.started/1", "duroctl.raised/1"), "only these print a record alone"


def test_nothing_is_printed_under_a_name_without_a_schema(here: Here) -> None:
    assert set(here.printed) == set(PRINTED)


def test_lines_of_a_history_are_its_events(here: Here) -> None:
    stored = validator(schema("duroctl.history/1"), "stored_event")
    for each in here.events:
        stored.validate(each)
    assert "{oops" in here.events
    told = [event for each in here.printed["duroctl.history/1"]["json"] for event in each["events"]]
    assert here.events == told


def test_every_field_of_every_schema_is_seen_with_a_value(here: Here) -> None:
    """Else nothing would show that the schema is right about it."""
    missing = {
        f"{name}: {field}"
        for name in PRINTED
        for field in _properties(schema(name)) - _seen([here.printed[name][format] for format in FORMATS])
    }
    assert missing == set(UNSEEN)


UNSEEN: Final = (
    "duroctl.adopted/1: observed_at",  # these records are those of any child: an orphan that was adopted ...
    "duroctl.adopted/1: orphan",
    "duroctl.orphans/1: adopted_at",  # ... is none any more
    "duroctl.orphans/1: adopted_by",
    "duroctl.orphans/1: adopted_reason",
    "duroctl.orphans/1: observed_at",
    "duroctl.policy_explanation/1: completed_before",  # rules of a turn, and a command is none
    "duroctl.policy_explanation/1: options",
    "duroctl.policy_explanations/1: completed_before",
    "duroctl.policy_explanations/1: options",
    "duroctl.prune_plan/1: has_queued_successor",  # no store that there is says so
    "duroctl.prune_result/1: problem",  # needs an archive that breaks during the run; `archive write` prints the same
    "duroctl.removal_result/1: problem",
)


def _properties(of: Schema) -> set[str]:
    return {name for each in objects(of) for name, inner in each["properties"].items() if inner.get("type") != "null"}


def _seen(value: Any) -> set[str]:
    """The names of fields that hold something."""
    if isinstance(value, list):
        return {name for each in value for name in _seen(each)}
    if isinstance(value, dict):
        here = {name for name, inner in value.items() if inner not in (None, [])}
        return here | {name for inner in value.values() for name in _seen(inner)}
    return set()


def test_plan_files_are_the_documents_that_are_printed(here: Here) -> None:
    files = sorted(here.directory.glob("plan-*.json")) + sorted(here.directory.glob("purge-*.json"))
    files += sorted(here.directory.glob("orphans-*.json"))
    assert len(files) == 6
    for file in files:
        plan = json.loads(file.read_text())
        validator(schema(plan["schema"]), "document").validate(plan)


def in_files(directory: Path) -> dict[str, list[Any]]:
    """What stands in the archive: schema -> documents."""
    lines: list[Any] = []
    for file in sorted(directory.glob("*/*.jsonl.zst"))[1:]:  # the first one was damaged on purpose
        with zstandard.open(file, encoding="utf-8") as opened:
            lines += map(json.loads, opened.read().splitlines())
    return {
        "duro.archive/1": [json.loads((directory / "archive.json").read_text())],
        "duro.archive_manifest/1": [json.loads(file.read_text()) for file in directory.glob("*/*.manifest.json")],
        "duro.archive_segment/1": lines,
    }


def test_files_of_an_archive_are_as_their_schemas_say(here: Here) -> None:
    found = in_files(here.directory / "kept")
    for name, documents in found.items():
        checked = validator(schema(name))
        for each in documents:
            checked.validate(each)
    kinds = {line.get("line", "event") for line in found["duro.archive_segment/1"]}
    assert kinds == {"segment", "instance", "history", "event", "end"}


# --- what a schema refuses -------------------------------------------------------------------------------------

OTHER: Final = {str: 7, int: "7", float: "0.5", bool: 1, list: {}, dict: "text", type(None): {"planted": 1}}
"""Type of a value -> one of another type."""


class Planted(NamedTuple):
    what: str
    document: Any


def planted(document: Any, optional: set[str]) -> Iterator[Planted]:
    """``document`` with one field missing (those in ``optional`` never), added, or of another type, at every depth."""
    for path in _paths(document):
        found = _at(document, path)
        if path:
            yield Planted(f"{path} of another type", _changed(document, path, OTHER[type(found)]))
        if isinstance(found, dict):
            yield Planted(f"{path} with a field more", _changed(document, path, {**found, "planted": 1}))
            for key in found.keys() - optional:
                rest = {name: value for name, value in found.items() if name != key}
                yield Planted(f"{path} without {key}", _changed(document, path, rest))


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            if key not in OPEN:
                yield from _paths(inner, (*path, key))
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            yield from _paths(inner, (*path, position))


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def _changed(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    changed = copy.deepcopy(document)
    _at(changed, path[:-1])[path[-1]] = value
    return changed


def _optional(of: Schema) -> set[str]:
    return {name for each in objects(of) for name in each["properties"] if name not in each["required"]}


@pytest.mark.parametrize("name", [each.name for each in DOCUMENTS if each.body is not None])
def test_a_schema_refuses_a_field_missing_added_or_of_another_type(here: Here, name: str) -> None:
    of = schema(name)
    checked, optional = validator(of), _optional(of)
    found = here.printed[name] if name in PRINTED else {"": in_files(here.directory / "kept")[name]}
    count = 0
    for documents in found.values():
        shapes = {json.dumps(_shape(each)): each for each in map(_short, documents) if not _is_event(each)}
        for document in shapes.values():
            for what, changed in planted(document, optional):
                assert not checked.is_valid(changed), f"{what}: {changed}"
                count += 1
    assert count >= 3


def _is_event(document: Any) -> bool:
    """Of which a schema says only what all events have."""
    return isinstance(document, dict) and document.keys() >= {"event_id", "at_ms", "type"}


def _short(value: Any) -> Any:
    """With the first two members of lists alone."""
    if isinstance(value, dict):
        return {key: inner if key in OPEN else _short(inner) for key, inner in value.items()}
    return [_short(inner) for inner in value[:2]] if isinstance(value, list) else value


def _shape(value: Any) -> Any:
    """What is alike of documents that need not all be tried."""
    if isinstance(value, dict):
        return {key: _shape(inner) for key, inner in value.items() if key not in OPEN}
    return [_shape(inner) for inner in value] if isinstance(value, list) else type(value).__name__
