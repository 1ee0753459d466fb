"""duroctl archive, and what other commands do with archives: what is in the files, in the tables and on the screen."""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest
import zstandard

import duro
from duro.testing.builders import completed, continued_as_new, start_request
from duro.testing.scripted import ScriptedWorker
from tests.e2e.cli_support import HOSTILE_ID, Cli, Ran
from tests.e2e.test_cli_families import families, there  # noqa: F401 - a fixture
from tests.e2e.test_cli_prune import live, refused

KEEP_THREE = ("queue-1", "--keep-last", "3", "--yes")
HISTORY_FORMATS = (("-o", "table"), ("-o", "json"), ("-o", "jsonl"), ("-o", "csv"), ("-o", "ids"), ("--detailed",))


# --- what is in the files, read without duro -------------------------------------------------------------------------


def segment_files(directory: Path) -> list[Path]:
    return sorted(directory.glob("????-??/*.jsonl.zst"))


def manifest_file(segment: Path) -> Path:
    return segment.with_name(segment.name.removesuffix(".jsonl.zst") + ".manifest.json")


def lines_of(segment: Path) -> list[str]:
    packed = segment.read_bytes()
    return zstandard.ZstdDecompressor().decompressobj().decompress(packed).decode().splitlines()


def kept_in(directory: Path) -> dict[str, list[str]]:
    """The events of every archived execution (INSTANCE/EXECUTION); each segment is compared with its manifest."""
    found: dict[str, list[str]] = {}
    for segment in segment_files(directory):
        manifest = json.loads(manifest_file(segment).read_bytes())
        packed = segment.read_bytes()
        assert manifest["segment"] == segment.name
        assert manifest["sha256"] == hashlib.sha256(packed).hexdigest()
        assert manifest["file_bytes"] == len(packed)
        lines = lines_of(segment)
        assert json.loads(lines[0])["schema"] == "duro.archive_segment/1"
        histories: dict[str, list[str]] = {}
        rest = iter(lines[1:-1])
        for line in rest:
            head = json.loads(line)
            if head["line"] == "history":
                execution = head["execution"]
                reference = f"{execution['instance_id']}/{execution['execution_id']}"
                histories[reference] = [next(rest) for _ in range(head["events"])]
        assert len(histories) == manifest["histories"] == json.loads(lines[-1])["histories"]
        found |= histories
    return found


def events_in(cli: Cli) -> dict[tuple[int, int], list[str]]:
    """Of every execution (incarnation, execution) that has a row: what is stored, marked or not."""
    dump = cli.dump()
    found: dict[tuple[int, int], list[str]] = {
        (row["incarnation"], row["execution_id"]): [] for row in dump["executions"]
    }
    for row in sorted(dump["history"], key=lambda row: int(row["event_id"])):
        found[row["incarnation"], row["execution_id"]].append(row["data"])
    return found


def rows_of(cli: Cli, *tables: str) -> Any:
    dump = cli.dump()
    return {table: dump[table] for table in tables}


def modes(directory: Path) -> dict[str, int]:
    return {
        str(path.relative_to(directory)): stat.S_IMODE(path.lstat().st_mode)
        for path in (directory, *directory.rglob("*"))
    }


def ids(cli: Cli, *arguments: str) -> list[str]:
    done = cli("archive", "list", "--limit", "0", "-o", "ids", *arguments)
    assert done.code == 0, done
    return sorted(done.lines)


def waiting_rows(cli: Cli) -> set[tuple[int, int]]:
    return {(row["incarnation"], row["execution_id"]) for row in cli.dump()["executions"] if row["unarchived"]}


def shown_in_all_formats(cli: Cli, reference: str) -> list[str]:
    found = []
    for options in HISTORY_FORMATS:
        done = cli("history", "show", reference, *options)
        assert done.code == 0, done
        found.append(done.out)
    return found


@pytest.fixture
def archived(loops: Cli) -> Cli:
    """``queue-1`` had its first seven executions pruned and kept in ``arch``; nothing of them is in the store."""
    assert loops("prune", *KEEP_THREE, "--now", "--archive", "arch").code == 0
    return loops


@pytest.fixture
def purged(loops: Cli) -> Cli:
    """``queue-1`` lost executions 1 to 3, then ended and was purged with the rest of it; all is in ``arch``."""
    for command in (
        ("prune", "queue-1", "--keep-last", "7", "--yes", "--now", "--archive", "arch"),
        ("instances", "terminate", "queue-1", "--reason", "over", "--yes"),
        ("instances", "purge", "queue-1", "--completed-before", "now", "--now", "--yes", "--archive", "arch"),
    ):
        assert loops(*command).code == 0
    return loops


def configured(cli: Cli, *, enabled: bool = True, directory: str = "arch", interval: str = "1s") -> None:
    file = cli.directory / "runtime_config.toml"
    file.write_text(
        '[store]\nurl = "sqlite:///duro.db"\n[pruning]\ndefault_keep_last = 1\n'
        f'[archive]\nenabled = {str(enabled).lower()}\ndirectory = "{directory}"\ninterval = "{interval}"\n'
    )


@contextlib.contextmanager
def closed(directory: Path) -> Iterator[None]:
    """An archive that takes no segment, whoever tries: there is a file in the place of the month's directory."""
    (month,) = directory.glob("????-??")
    aside = month.rename(directory.parent / "aside")
    month.touch()
    yield
    month.unlink()
    aside.rename(month)


# --- prune --archive -------------------------------------------------------------------------------------------------


def test_what_is_pruned_at_once_is_in_the_archive_as_it_was_and_nowhere_else(loops: Cli) -> None:
    before = events_in(loops)
    done = loops("prune", *KEEP_THREE, "--now", "--archive", "arch")
    directory = loops.directory / "arch"
    (segment,) = segment_files(directory)
    assert (done.code, done.err) == (0, "")
    assert done.lines == [
        "pruned 7 executions of 1 instance: 14 events, 1.8 KiB",
        f"kept 7 histories in {directory}: 1 segment, {segment.stat().st_size} B",
    ]
    assert kept_in(directory) == {f"queue-1/{number}": before[1, number] for number in range(1, 8)}
    assert events_in(loops) == {key: events for key, events in before.items() if key[0] != 1 or key[1] > 7}
    marker = json.loads((directory / "archive.json").read_text())
    assert (marker["schema"], len(marker["archive_id"])) == ("duro.archive/1", 32)


def test_an_archive_is_readable_by_its_owner_alone_and_no_name_in_it_is_a_users_word(archived: Cli) -> None:
    directory = archived.directory / "arch"
    (segment,) = segment_files(directory)
    files = {"archive.json", "catalogue.db", "lock"}
    files |= {str(each.relative_to(directory)) for each in (segment, manifest_file(segment))}
    assert modes(directory) == {".": 0o700, segment.parent.name: 0o700} | dict.fromkeys(files, 0o600)


def test_with_grace_they_are_in_both_until_it_is_over_and_can_be_brought_back_from_the_store(
    loops: Cli,
) -> None:
    before = events_in(loops)
    done = loops("prune", *KEEP_THREE, "--archive", "arch", "-o", "json")
    assert done.code == 0
    document = done.json
    (segment,) = segment_files(loops.directory / "arch")
    assert document["archived"] == {
        "archive": str(loops.directory / "arch"),
        "directory": str(loops.directory / "arch"),
        "segments": 1,
        "histories": 7,
        "event_count": 14,
        "file_bytes": segment.stat().st_size,
        "waiting": 0,
        "problem": None,
    }
    assert events_in(loops) == before
    assert waiting_rows(loops) == set()
    assert live(loops) == [8, 9, 10]
    refusal = refused(loops, "archive", "restore", "queue-1/3", code=5)
    assert refusal.err == (
        "duroctl: error: queue-1/3 is pruned and still in the store; `duroctl prune undo queue-1` brings it back\n"
    )
    assert loops("prune", "undo", document["run_id"]).lines[0] == "brought back 7 executions of queue-1"
    assert live(loops) == list(range(1, 11))
    assert loops("archive", "restore", "queue-1").out == "7 executions were there already\n"


@pytest.mark.parametrize("mode", ["--dry-run", "--check"])
def test_looking_at_a_plan_makes_no_archive(loops: Cli, mode: str) -> None:
    before = loops.dump()
    assert loops("prune", *KEEP_THREE[:-1], mode, "--archive", "arch").code in (0, 20)
    assert not (loops.directory / "arch").exists()
    assert loops.dump() == before


def test_a_plan_in_a_file_is_carried_out_with_an_archive(loops: Cli) -> None:
    before = events_in(loops)
    assert loops("prune", "queue-1", "--keep-last", "8", "--plan-out", "plan.json").code == 0
    done = loops("prune", "--apply", "plan.json", "--now", "--yes", "--archive", "arch")
    assert (done.code, done.lines[0]) == (0, "pruned 2 executions of 1 instance: 4 events, 516 B")
    assert kept_in(loops.directory / "arch") == {f"queue-1/{number}": before[1, number] for number in (1, 2)}


def test_a_stale_plan_or_one_of_another_store_is_refused_before_an_archive_is_made(loops: Cli) -> None:
    assert loops("policy", "set", "--instance", "queue-1", "--keep-last", "4", "--yes").code == 0
    assert loops("prune", "queue-1", "--plan-out", "plan.json").code == 0
    foreign = (loops.directory / "plan.json").read_text().replace('"store_id":"', '"store_id":"not-')
    (loops.directory / "foreign.json").write_text(foreign)
    assert loops("policy", "set", "--instance", "queue-1", "--never").code == 0
    said = refused(loops, "prune", "--apply", "foreign.json", "--yes", "--archive", "foreign", code=5)
    assert "of another store" in said.err
    assert not (loops.directory / "foreign").exists()
    said = refused(loops, "prune", "--apply", "plan.json", "--yes", "--archive", "arch", code=5)
    assert "has changed since" in said.err
    assert segment_files(loops.directory / "arch") == []


@pytest.mark.parametrize(
    ("directory", "code", "said"),
    [
        ("file", 10, "cannot be made: File exists"),
        ("full", 10, "is neither empty nor an archive; give an archive a directory alone"),
        ("no/such/arch", 10, "cannot be made: No such file or directory; make {}/no/such first: is it on a volume"),
        ("file/arch", 10, "cannot be made: Not a directory"),
        ("link", 10, "link' is a symbolic link; name the directory that it leads to"),
        ("newer", 10, "is an archive of another version ('duro.archive/2'); use the duro that made it"),
        ("", 2, "an archive is a directory, not ''"),
    ],
)
def test_a_directory_that_cannot_be_an_archive_is_refused_before_anything_is_pruned(
    loops: Cli,
    directory: str,
    code: int,
    said: str,
) -> None:
    (loops.directory / "file").write_text("something else")
    for name, file, text in (("full", "note", "mine"), ("newer", "archive.json", '{"schema":"duro.archive/2"}')):
        (loops.directory / name).mkdir()
        (loops.directory / name / file).write_text(text)
    (loops.directory / "real").mkdir()
    (loops.directory / "link").symlink_to("real", target_is_directory=True)
    told = refused(loops, "prune", *KEEP_THREE, "--now", "--archive", directory, code=code).err
    assert said.format(loops.directory) in told
    assert os.listdir(loops.directory / "real") == []  # noqa: PTH208 - names
    assert (loops.directory / "file").read_text() == "something else"


def test_an_archive_that_cannot_be_written_to_is_refused_before_anything_is_pruned(archived: Cli) -> None:
    """As on a file system that is mounted read-only: its marker can be read, its lock cannot be taken."""
    lock = archived.directory / "arch" / "lock"
    lock.unlink()
    lock.mkdir()
    said = refused(archived, "prune", "other", "--keep-last", "8", "--yes", "--now", "--archive", "arch", code=10)
    assert "cannot be locked: Is a directory; see to the directory, or name another one" in said.err


def test_no_link_inside_an_archive_is_followed_and_what_was_to_go_there_waits(archived: Cli) -> None:
    directory = archived.directory / "arch"
    month = segment_files(directory)[0].parent
    outside = archived.directory / "outside"
    month.rename(outside)
    month.symlink_to(outside, target_is_directory=True)
    before = sorted(outside.iterdir())
    done = archived("prune", "other", "--keep-last", "9", "--yes", "--now", "--archive", "arch")
    assert done.code == 3
    assert "in the store until archived" in done.out
    assert sorted(outside.iterdir()) == before
    assert waiting_rows(archived) == {(2, 1)}
    month.unlink()
    outside.rename(month)
    assert archived("archive", "write").code == 0
    assert ids(archived, "other") == ["other/1"]


def test_what_cannot_be_archived_stays_in_the_store_and_the_command_says_so(archived: Cli) -> None:
    before = events_in(archived)
    directory = archived.directory / "arch"
    with closed(directory):
        done = archived("prune", "other", "--keep-last", "8", "--yes", "--now", "--archive", "arch")
        assert (done.code, done.lines[0]) == (3, "pruned 2 executions of 1 instance: 4 events, 516 B")
        assert done.lines[1].startswith(
            f"2 executions and instances stay in the store until archived: archive '{directory}'"
        )
        assert done.err == (
            "duroctl: error: not everything could be archived: what was not stays in the store; "
            "`duroctl archive write` tries again, and workers do\n"
        )
        assert live(archived, "other") == list(range(3, 11))
        assert events_in(archived) == before
        assert waiting_rows(archived) == {(2, 1), (2, 2)}
        again = archived("archive", "write", "-o", "json")
        assert again.code == 3
        (outcome,) = again.json["archives"]
        assert (outcome["waiting"], outcome["histories"], outcome["directory"]) == (2, 0, str(directory))
        assert "cannot be written: File exists" in outcome["problem"]
        assert archived("prune", "other", "--keep-last", "7", "--yes", "--now").code == 0
        assert (
            "2 executions wait to be archived; `duroctl archive write` does it now" in archived("archive", "list").err
        )
    written = archived("archive", "write")
    assert (written.code, written.err) == (0, "")
    assert written.out.startswith(f"kept 2 histories in {directory}: 1 segment, ")
    assert {key for key in before if key[0] == 2} - set(events_in(archived)) == {(2, 1), (2, 2), (2, 3)}
    kept = kept_in(directory)
    assert {reference: kept[reference] for reference in ("other/1", "other/2")} == {
        "other/1": before[2, 1],
        "other/2": before[2, 2],
    }
    nothing = archived("archive", "write")
    assert (nothing.code, nothing.out, nothing.err) == (0, "nothing waits to be archived\n", "")


def test_what_waits_for_an_archive_that_is_gone_is_written_to_another_one(archived: Cli) -> None:
    before = events_in(archived)
    with closed(archived.directory / "arch"):
        assert archived("prune", "other", "--keep-last", "8", "--yes", "--now", "--archive", "arch").code == 3
        assert refused(archived, "archive", "write", "--to", "", code=2).err
        assert refused(archived, "archive", "write", "--to", "no/second", code=10).err
        assert refused(archived, "archive", "write", "--to", "duro.db", code=10).err
        done = archived("archive", "write", "--to", "second")
    assert (done.code, done.err) == (0, "")
    assert kept_in(archived.directory / "second") == {"other/1": before[2, 1], "other/2": before[2, 2]}
    assert waiting_rows(archived) == set()
    assert (2, 1) not in events_in(archived)
    assert ids(archived, "--archive", "second") == ["other/1", "other/2"]


def test_doctor_tells_at_once_of_an_archive_that_something_waits_for_and_that_cannot_be_used(archived: Cli) -> None:
    def finding() -> tuple[str, str]:
        (row,) = [row for row in archived("doctor").rows() if row["check"] == "archives-unusable"]
        return row["severity"], row["first"]

    assert finding() == ("ok", "")
    arch = archived.directory / "arch"
    configured(archived)
    arch.rename(archived.directory / "away")
    assert finding() == ("ok", ""), "nothing waits for it"
    assert archived("prune", "other", "--keep-last", "8", "--yes", "--now").code == 3
    assert finding() == (
        "warning",
        f"{arch}: 2 wait: there is no archive '{arch}'; check the path, and that its volume is mounted",
    )
    arch.mkdir()
    assert finding()[1].startswith(f"{arch}: 2 wait: '{arch}' is no archive; check the path, and that its volume")
    (arch / "archive.json").write_text('{"schema":"duro.archive/1","archive_id":"another"}')
    severity, first = finding()
    assert severity == "warning"
    assert "is not the archive that this store has written to" in first
    shutil.rmtree(arch)
    (archived.directory / "away").rename(arch)
    assert finding() == ("ok", "")


def test_doctor_tells_of_what_has_waited_for_longer_than_workers_let_it(archived: Cli) -> None:
    def finding() -> tuple[str, str]:
        (row,) = [row for row in archived("doctor").rows() if row["check"] == "archives-waiting"]
        return row["severity"], row["count"]

    def later(minutes: int) -> None:
        with contextlib.closing(apsw.Connection(str(archived.store))) as connection:
            connection.execute(
                "UPDATE executions SET reclaim_at_ms = reclaim_at_ms - ? WHERE unarchived = 1", (minutes * 60_000,)
            )

    with closed(archived.directory / "arch"):
        assert archived("prune", "other", "--keep-last", "8", "--yes", "--now", "--archive", "arch").code == 3
        later(19)
        assert finding() == ("ok", "0")
        later(2)
        found = archived("doctor")
        assert (found.code, "arch: waits for 2, the first for " in found.out) == (9, True)
        configured(archived, interval="1h")
        with duro.Runtime(archived.store, duro.Registry(), config=archived.directory / "runtime_config.toml"):
            assert finding() == ("ok", "0")
            later(50)
            assert finding() == ("warning", "1")
    assert archived("archive", "write").code == 0
    assert finding() == ("ok", "0")


# --- purge and orphans -----------------------------------------------------------------------------------------------


def test_a_purged_instance_is_kept_whole_and_comes_back_whole(loops: Cli) -> None:
    tables = ("instances", "executions", "history", "lineage")
    before = rows_of(loops, *tables)
    shown = shown_in_all_formats(loops, "ended")
    done = loops(
        *(
            "instances",
            "purge",
            "ended",
            "--completed-before",
            "now",
            "--now",
            "--yes",
            "--archive",
            "arch",
            "-o",
            "json",
        )
    )
    assert (done.code, done.json["archived"]["histories"], done.json["archived"]["waiting"]) == (0, 1, 0)
    assert {row["instance_id"] for row in loops.dump()["instances"]} == {"queue-1", "other"}
    (segment,) = segment_files(loops.directory / "arch")
    assert json.loads(manifest_file(segment).read_text())["instances"] == 1
    assert [json.loads(line).get("line") for line in lines_of(segment)] == [
        "segment",
        "instance",
        "history",
        None,
        None,
        "end",
    ]
    assert shown_in_all_formats(loops, "ended") == shown
    back = loops("archive", "restore", "ended")
    assert (back.code, back.lines[0]) == (0, "restored 1 execution and 1 whole instance: 2 events, 236 B")
    assert rows_of(loops, *tables) == before
    assert "error" not in {row["severity"] for row in loops("doctor").rows()}


def test_a_purge_whose_archive_cannot_be_used_is_refused(loops: Cli) -> None:
    purge = ("instances", "purge", "ended", "--completed-before", "now", "--yes", "--archive")
    assert refused(loops, *purge, "duro.db", code=10).err
    assert refused(loops, *purge, "", code=2).err
    assert loops(*purge, "arch", "--dry-run").code == 0
    assert not (loops.directory / "arch").exists()


def test_cleaned_up_orphans_are_kept_with_what_depended_on_them(families: Cli) -> None:  # noqa: F811
    before = families.dump()
    numbers = {row["instance_id"]: row["incarnation"] for row in before["instances"]}
    stored = events_in(families)
    done = families("orphans", "cleanup", "--all", "--min-age", "0s", "--now", "--yes", "--archive", "arch")
    assert done.code == 0, done
    assert there(families) == {"loop", "busy", "seen", "over", "late"}
    assert kept_in(families.directory / "arch") == {
        f"{each}/1": stored[numbers[each], 1] for each in ("done", "bad", "below")
    }
    for each in ("below", "done", "bad"):
        assert families("archive", "restore", each).code == 0
    assert events_in(families) == stored
    lineage = {row["child_incarnation"]: row for row in families.dump()["lineage"]}
    assert lineage == {row["child_incarnation"]: row for row in before["lineage"]}
    assert "error" not in {row["severity"] for row in families("doctor").rows()}


# --- [archive] in the configuration ----------------------------------------------------------------------------------


def test_an_enabled_archive_keeps_what_is_pruned_by_hand_without_being_named(loops: Cli) -> None:
    before = events_in(loops)
    configured(loops)
    done = loops("prune", *KEEP_THREE, "--now")
    assert (done.code, done.err) == (0, "")
    kept = kept_in(loops.directory / "arch")
    assert kept == {f"queue-1/{number}": before[1, number] for number in range(1, 8)}
    assert loops("prune", "other", "--keep-last", "9", "--now", "--yes", "--archive", "special").code == 0
    assert kept_in(loops.directory / "special") == {"other/1": before[2, 1]}
    assert kept_in(loops.directory / "arch") == kept
    assert loops("history", "show", "other/1", "-o", "jsonl").lines == before[2, 1]
    assert loops("history", "show", "queue-1/1", "-o", "jsonl").lines == before[1, 1]


def test_an_archive_that_is_not_enabled_keeps_nothing_but_is_where_one_looks(archived: Cli) -> None:
    configured(archived, enabled=False)
    before = ids(archived)
    assert archived("prune", "other", "--keep-last", "3", "--now", "--yes").code == 0
    assert ids(archived) == before == [f"queue-1/{number}" for number in range(1, 8)]


def test_an_enabled_archive_without_a_directory_is_no_configuration(loops: Cli) -> None:
    (loops.directory / "runtime_config.toml").write_text("[archive]\nenabled = true\n")
    said = refused(loops, "prune", *KEEP_THREE, code=6)
    assert "directory" in said.err


@contextlib.contextmanager
def working(cli: Cli) -> Iterator[subprocess.Popen[bytes]]:
    """A worker, from its first line on; it is asked to stop at the end."""
    process = cli.popen("worker", "cli_flows:registry", "--directory", str(Path(__file__).parent))
    try:
        assert process.stderr is not None
        assert process.stderr.readline().startswith(b"duroctl: worker ")
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def until_kept(directory: Path, histories: int) -> dict[str, list[str]]:
    """What is in an archive somebody else writes to, as soon as it is so many histories."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if all(manifest_file(each).exists() for each in segment_files(directory)):
            kept = kept_in(directory)
            if len(kept) >= histories:
                return kept
        time.sleep(0.05)
    raise AssertionError(f"there were never {histories} histories in {directory}")


def test_a_worker_archives_what_it_prunes_before_it_is_gone(cli_with_store: Cli) -> None:
    cli = cli_with_store
    configured(cli)
    with working(cli):
        assert cli("start", "rounds", "--input", "4", "--id", "r", "--wait", "-q").code == 0
        kept = until_kept(cli.directory / "arch", 4)
        assert sorted(kept) == ["r/1", "r/2", "r/3", "r/4"]
    assert live(cli, "r") == [5]
    for reference, events in kept.items():
        assert cli("history", "show", reference, "-o", "jsonl").lines == events
    assert all(json.loads(events[-1])["type"] == "OrchestrationContinuedAsNew" for events in kept.values())
    assert modes(cli.directory / "arch")["."] == 0o700
    assert cli("archive", "verify").code == 0
    assert {row["trigger"] for row in cli("ledger", "show", "r").rows()} == {"continue_as_new"}


def test_a_worker_goes_on_when_its_archive_cannot_be_used_and_writes_it_when_it_can(cli_with_store: Cli) -> None:
    cli = cli_with_store
    configured(cli, directory="volume/arch")
    with working(cli) as process:
        assert cli("start", "rounds", "--input", "2", "--id", "r", "--wait", "-q").code == 0
        assert process.stderr is not None
        warning = process.stderr.readline().decode()
        assert "warning: what is pruned stays in the store until it is archived: archive " in warning
        assert "cannot be made: No such file or directory" in warning
        assert cli("start", "hello", "--input", '"Ada"', "--wait", "-q").out == '"hello Ada"\n'
    assert waiting_rows(cli) == {(1, 1), (1, 2)}
    (cli.directory / "volume").mkdir()
    with working(cli):
        kept = until_kept(cli.directory / "volume" / "arch", 2)
    assert sorted(kept) == ["r/1", "r/2"]


# --- archive list and show -------------------------------------------------------------------------------------------


def test_archived_executions_are_listed_the_newest_first_in_every_format(archived: Cli) -> None:
    (segment,) = segment_files(archived.directory / "arch")
    rows = archived("archive", "list").rows()
    assert [(row["instance_id"], row["execution_id"]) for row in rows] == [("queue-1", str(n)) for n in range(7, 0, -1)]
    assert {(row["name"], row["status"], row["event_count"], row["segment"]) for row in rows} == {
        ("Order", "continued_as_new", "2", segment.name)
    }
    document = archived("archive", "list", "-o", "json").json
    assert (document["schema"], document["next"]) == ("duroctl.archived_executions/1", None)
    newest = document["executions"][0]
    (run,) = archived("ledger", "list", "-o", "json").json["runs"]
    assert (newest["execution_id"], newest["incarnation"], newest["with_instance"]) == (7, 1, False)
    assert (newest["run_id"], newest["pruned_at"]) == (run["run_id"], run["started_at"])
    assert newest["history_bytes"] == sum(len(event) for event in kept_in(archived.directory / "arch")["queue-1/7"])
    lines = [json.loads(line) for line in archived("archive", "list", "-o", "jsonl").lines]
    assert lines == [{"schema": "duroctl.archived_executions/1", **each} for each in document["executions"]]
    csv = archived("archive", "list", "-o", "csv").lines
    assert [line.split(",")[:3] for line in csv[:2]] == [
        ["instance_id", "execution_id", "name"],
        ["queue-1", "7", "Order"],
    ]
    assert archived("archive", "list", "-o", "ids").lines == [f"queue-1/{number}" for number in range(7, 0, -1)]
    shown = archived.on_terminal("archive", "list", width=120).out
    assert "ARCHIVED" in shown
    assert "7 histories in 1 segment" in shown


def test_lists_go_page_by_page_and_by_instance_and_name(archived: Cli) -> None:
    assert archived("prune", "other", "--keep-last", "9", "--now", "--yes", "--archive", "arch").code == 0
    first = archived("archive", "list", "--limit", "3", "-o", "json").json
    assert [each["execution_id"] for each in first["executions"]] == [1, 7, 6]
    second = archived("archive", "list", "--limit", "100", "--cursor", first["next"], "-o", "ids")
    assert second.lines == [f"queue-1/{number}" for number in range(5, 0, -1)]
    assert ids(archived, "other") == ["other/1"]
    assert ids(archived, "--name", "Chi*") == ["other/1"]
    assert ids(archived, "queue-1", "--name", "Child") == []
    nothing = archived("archive", "list", "nobody")
    assert (nothing.code, nothing.lines[1:]) == (0, [])
    assert "arch' has nothing of 'nobody'" in nothing.err
    assert archived("archive", "list", "-", "-o", "ids", input="other\n").lines == ["other/1"]
    for option in (("--cursor", "x"), ("--cursor", "a:1:2:x:s"), ("--limit", "-1"), ("--cursor", "a:1:2:" + "9" * 20)):
        done = archived("archive", "list", *option)
        assert (done.code, done.out) == (2, ""), done


def test_a_list_goes_on_where_it_was_though_more_is_archived_meanwhile(archived: Cli) -> None:
    first = archived("archive", "list", "--limit", "3", "-o", "json").json
    assert [each["execution_id"] for each in first["executions"]] == [7, 6, 5]
    assert archived("prune", "other", "--keep-last", "9", "--now", "--yes", "--archive", "arch").code == 0
    second = archived("archive", "list", "--limit", "3", "--cursor", first["next"], "-o", "json").json
    assert [each["execution_id"] for each in second["executions"]] == [4, 3, 2]
    last = archived("archive", "list", "--cursor", second["next"], "-o", "json").json
    assert ([each["execution_id"] for each in last["executions"]], last["next"]) == ([1], None)


def test_where_an_archived_execution_is_can_be_shown(archived: Cli) -> None:
    directory = archived.directory / "arch"
    (segment,) = segment_files(directory)
    document = archived("archive", "show", "queue-1/3", "-o", "json").json
    listed = archived("archive", "list", "-o", "json").json["executions"]
    assert document == {"schema": "duroctl.archived_execution/1", **listed[4]}
    words = dict(line.split(maxsplit=1) for line in archived("archive", "show", "queue-1/3").lines)
    assert (words["execution"], words["of"]) == ("queue-1/3", "Order 1.0.0")
    assert words["in"] == f"{directory}, segment {segment.name}"
    assert words["size"] == "2 events, 258 B"
    words = dict(line.split(maxsplit=1) for line in archived("archive", "show", "queue-1").lines)
    assert words == {
        "instance": "queue-1",
        "of": "Order",
        "executions": "7 executions, 1 to 7",
        "in": f"{directory}, 1 segment",
        "size": "14 events, 1.8 KiB",
    }
    assert archived("archive", "show", "-", "-o", "ids", input="queue-1/3\n").out == "queue-1/3\n"
    for nothing in ("queue-1/8", "nobody", "nobody/1"):
        done = archived("archive", "show", nothing)
        assert (done.code, done.out) == (7, "")
        assert f"has nothing of {nothing!r}; `duroctl archive list --archive {directory}` shows what it has" in done.err


def test_a_segment_can_be_shown(archived: Cli) -> None:
    (segment,) = segment_files(archived.directory / "arch")
    manifest = json.loads(manifest_file(segment).read_text())
    document = archived("archive", "show", segment.name, "-o", "json").json
    assert document["schema"] == "duroctl.archive_segment/1"
    same = ("segment", "store_id", "duro_version", "instances", "histories", "content_bytes", "file_bytes", "sha256")
    assert {name: document[name] for name in same} == {name: manifest[name] for name in same}
    assert (document["event_count"], document["history_bytes"]) == (14, 1806)
    words = dict(line.split(maxsplit=1) for line in archived("archive", "show", segment.name).lines)
    assert (words["holds"], words["sha256"]) == ("7 histories, 14 events, 1.8 KiB", manifest["sha256"])
    header, row = archived("archive", "show", segment.name, "-o", "csv").lines
    assert dict(zip(header.split(","), row.split(","), strict=True))["sha256"] == manifest["sha256"]


def test_a_purged_instance_is_shown_with_what_went_with_it(purged: Cli) -> None:
    words = dict(line.split(maxsplit=1) for line in purged("archive", "show", "queue-1").lines)
    assert words["executions"] == "10 executions, 1 to 10"
    assert words["removed"] == "as a whole, with 7 executions"
    assert words["in"] == f"{purged.directory / 'arch'}, 2 segments"
    listed = purged("archive", "show", "queue-1", "-o", "json").json
    assert listed["schema"] == "duroctl.archived_executions/1"
    assert {each["execution_id"]: each["with_instance"] for each in listed["executions"]} == {
        number: number > 3 for number in range(1, 11)
    }


def test_an_archive_can_be_looked_into_without_the_store_it_came_from(archived: Cli, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    elsewhere, directory = Cli(alone), str(archived.directory / "arch")
    assert len(ids(elsewhere, "--archive", directory)) == 7
    assert elsewhere("archive", "verify", "--archive", directory).code == 0
    assert elsewhere("archive", "show", "queue-1/3", "--archive", directory).code == 0
    assert elsewhere("archive", "list").code == 10
    assert elsewhere("archive", "restore", "queue-1/3", "--archive", directory).code == 10
    assert not (alone / "duro.db").exists()


def test_without_any_archive_it_says_what_to_do(loops: Cli) -> None:
    for command in (("list",), ("verify",), ("show", "queue-1"), ("restore", "queue-1")):
        said = refused(loops, "archive", *command, code=10).err
        assert said == (
            "duroctl: error: no archive is named, none is configured, and nothing was ever archived; "
            "give its directory, or set [archive] in runtime_config.toml\n"
        )
        error = json.loads(loops("archive", *command, "-o", "json").err)
        assert (error["schema"], error["exit_code"]) == ("duroctl.error/1", 10)
        said = refused(loops, "archive", *command, "--archive", "home", code=10).err
        assert f"'{loops.directory / 'home'}' is no archive" in said
        said = refused(loops, "archive", *command, "--archive", "gone", code=10).err
        assert (
            f"there is no archive '{loops.directory / 'gone'}'; check the path, and that its volume is mounted" in said
        )
    assert not (loops.directory / "gone").exists()


def test_where_the_last_archive_is_gone_the_others_are_named(archived: Cli) -> None:
    assert archived("prune", "other", "--keep-last", "9", "--now", "--yes", "--archive", "second").code == 0
    shutil.rmtree(archived.directory / "second")
    for command in (("list",), ("verify",), ("show", "queue-1"), ("restore", "queue-1")):
        said = refused(archived, "archive", *command, code=10).err
        assert f"there is no archive '{archived.directory / 'second'}'" in said
        assert f"this store has also used '{archived.directory / 'arch'}'" in said
    said = refused(archived, "archive", "list", "--archive", "second", code=10).err
    assert "has also used" not in said


def test_what_another_archive_has_than_the_configured_one_is_said_to_be_there(archived: Cli) -> None:
    configured(archived, directory="new")
    arch, new = archived.directory / "arch", archived.directory / "new"
    for command in (("list",), ("verify",), ("show", "queue-1"), ("restore", "queue-1")):
        said = refused(archived, "archive", *command, code=10).err
        assert f"there is no archive '{new}' yet; it is made when something is removed" in said
        assert f"this store has also used '{arch}'" in said
    assert archived("prune", "other", "--keep-last", "9", "--now", "--yes").code == 0
    for command in (("show", "queue-1"), ("show", "queue-1/3"), ("restore", "queue-1"), ("restore", "queue-1/3")):
        said = refused(archived, "archive", *command, code=7).err
        assert f"; archive '{arch}' has it: --archive {arch}\n" in said
    listed = archived("archive", "list", "queue-1")
    assert f"'{new}' has nothing of 'queue-1'; archive '{arch}' has it: --archive {arch}\n" in listed.err
    assert "has it" not in archived("archive", "list", "nobody").err
    shutil.rmtree(new)
    said = refused(archived, "archive", "list", code=10).err
    assert f"there is no archive '{new}'; check the path" in said


def test_a_list_of_an_archive_that_has_lost_a_segment_says_so(archived: Cli) -> None:
    (segment,) = segment_files(archived.directory / "arch")
    segment.unlink()
    listed = archived("archive", "list")
    assert (listed.code, listed.rows()) == (0, [])
    assert f"{segment.name} of archive" in listed.err


# --- archive verify --------------------------------------------------------------------------------------------------


def test_a_good_archive_is_verified(purged: Cli) -> None:
    directory = purged.directory / "arch"
    done = purged("archive", "verify")
    assert (done.code, done.err) == (0, "")
    assert done.out == f"{directory}: 2 segments as written, with 10 histories and 21 events\n"
    document = purged("archive", "verify", "-o", "json").json
    assert document["schema"] == "duroctl.archive_checks/1"
    assert [(each["segment"], each["histories"], each["problem"]) for each in document["segments"]] == [
        (segment_files(directory)[0].name, 3, None),
        (segment_files(directory)[1].name, 7, None),
    ]
    assert purged("archive", "verify", "-o", "ids").lines == [each.name for each in segment_files(directory)]


def test_a_flipped_bit_is_found_and_harms_no_other_segment(purged: Cli) -> None:
    broken, good = segment_files(purged.directory / "arch")
    data = bytearray(broken.read_bytes())
    data[len(data) // 2] ^= 1
    broken.write_bytes(data)
    done = purged("archive", "verify")
    assert (done.code, done.err) == (9, "")
    assert done.lines[0].startswith(f"segment {broken.name} of archive '{purged.directory / 'arch'}' is damaged: ")
    assert done.lines[1].endswith("1 segment as written, with 7 histories and 15 events; 1 damaged")
    document = purged("archive", "verify", "-o", "json")
    assert document.code == 9
    assert [(each["segment"], each["problem"] is None) for each in document.json["segments"]] == [
        (broken.name, False),
        (good.name, True),
    ]
    refusal = purged("history", "show", "queue-1/2")
    assert (refusal.code, refusal.out) == (13, ""), refusal
    partly = purged("archive", "restore", "queue-1/10", "queue-1/2")
    assert partly.code == 3
    assert partly.lines[0].startswith("restored 1 execution and 1 whole instance: ")
    for said in (refusal, partly):
        assert f"segment {broken.name}" in said.err
    alone = purged("archive", "restore", "queue-1/2")
    assert (alone.code, alone.out) == (13, ""), alone
    assert purged("history", "show", "queue-1/5", "-q").code == 0


@pytest.mark.parametrize("lost", ["manifest", "catalogue", "both", "catalogue of zeros"])
def test_a_lost_manifest_or_catalogue_is_made_anew(purged: Cli, lost: str) -> None:
    directory = purged.directory / "arch"
    manifests = {each: each.read_bytes() for each in map(manifest_file, segment_files(directory))}
    listed = purged("archive", "list", "-o", "json").out
    if lost in ("manifest", "both"):
        next(iter(manifests)).unlink()
    if lost in ("catalogue", "both"):
        (directory / "catalogue.db").unlink()
    if lost == "catalogue of zeros":
        (directory / "catalogue.db").write_bytes(bytes(8192))
    assert purged("archive", "verify").code == 0
    assert {each: each.read_bytes() for each in manifests} == manifests
    assert purged("archive", "list", "-o", "json").out == listed
    assert stat.S_IMODE((directory / "catalogue.db").stat().st_mode) == 0o600
    assert {stat.S_IMODE(each.stat().st_mode) for each in manifests} == {0o600}


def test_a_damaged_manifest_is_found(archived: Cli) -> None:
    (segment,) = segment_files(archived.directory / "arch")
    manifest = manifest_file(segment)
    text = manifest.read_text()
    manifest.write_text(text.replace('"histories":7', '"histories":8'))
    done = archived("archive", "verify")
    assert done.code == 9
    assert segment.name in done.out
    manifest.write_text(text[:-5])
    done = archived("archive", "verify")
    assert done.code == 9
    assert "move the manifest away, and `duroctl archive verify` makes it anew" in done.out
    manifest.unlink()
    (archived.directory / "arch" / "catalogue.db").unlink()
    assert archived("archive", "verify").code == 0
    assert manifest.read_text() == text


def test_the_catalogue_is_a_table_for_anybodys_sql(purged: Cli) -> None:
    path = purged.directory / "arch" / "catalogue.db"
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        found = connection.execute(
            "SELECT instance_id, execution_id, with_instance FROM histories ORDER BY 2"
        ).fetchall()
        segments = [row[0] for row in connection.execute("SELECT segment FROM segments ORDER BY 1")]
        instances = connection.execute("SELECT instance_id, status, execution_id FROM instances").fetchall()
    assert found == [("queue-1", number, int(number > 3)) for number in range(1, 11)]
    assert segments == [each.name for each in segment_files(purged.directory / "arch")]
    assert instances == [("queue-1", "terminated", 10)]


# --- archive restore -------------------------------------------------------------------------------------------------


def test_executions_come_back_as_they_were_under_a_hold_and_twice_is_once(loops: Cli) -> None:
    tables = ("executions", "history")
    before = rows_of(loops, *tables)
    assert loops("prune", *KEEP_THREE, "--now", "--archive", "arch").code == 0
    one = loops("archive", "restore", "queue-1/2")
    assert (one.code, one.err) == (0, "")
    assert one.lines[0] == "restored 1 execution: 2 events, 258 B"
    (hold,) = loops("holds", "list").rows()
    assert one.lines[1] == f"held by {hold['hold_id']} for 7 d, so that no prune takes them again meanwhile"
    assert (hold["target"], hold["reason"]) == ("queue-1", "restored from an archive")
    assert live(loops) == [2, 8, 9, 10]
    rest = loops("archive", "restore", "queue-1", "-o", "json")
    assert rest.code == 0
    assert {key: value for key, value in rest.json.items() if key != "hold_ids"} == {
        "schema": "duroctl.restore_result/1",
        "instances": 0,
        "executions": 6,
        "events": 12,
        "history_bytes": 1548,
        "there": 1,
    }
    assert rows_of(loops, *tables) == before
    again = refuses_nothing_and_changes_nothing(loops, "archive", "restore", "queue-1")
    assert again.out == "7 executions were there already\n"
    nothing, held = loops("prune", "queue-1", "--keep-last", "1", "--yes").lines
    assert (nothing, held.startswith("9 executions stay for nothing but restore-")) == ("nothing to prune", True)
    assert loops("ledger", "list", "-o", "json").json["runs"][0]["kind"] == "restore"
    assert "error" not in {row["severity"] for row in loops("doctor").rows()}


def test_every_hold_of_several_that_come_back_is_named(loops: Cli) -> None:
    assert loops("prune", "queue-1", "other", "--keep-last", "8", "--yes", "--now", "--archive", "arch").code == 0
    restored = loops("archive", "restore", "queue-1", "other", "-o", "json")
    assert (restored.code, len(restored.json["hold_ids"])) == (0, 2)
    assert sorted(restored.json["hold_ids"]) == sorted(row["hold_id"] for row in loops("holds", "list").rows())


def test_a_list_of_an_archive_that_is_away_says_what_waits_for_it(archived: Cli) -> None:
    configured(archived)
    (archived.directory / "arch").rename(archived.directory / "away")
    (archived.directory / "arch").write_text("in its place")
    assert archived("prune", "other", "--keep-last", "8", "--yes", "--now").code == 3
    listed = archived("archive", "list")
    assert (listed.code, listed.out) == (10, "")
    assert "2 executions wait to be archived" in listed.err


def refuses_nothing_and_changes_nothing(cli: Cli, *arguments: str) -> Ran:
    before = cli.dump()
    done = cli(*arguments)
    assert done.code == 0, done
    assert cli.dump() == before
    return done


def test_a_removed_instance_comes_back_with_what_was_live_or_with_everything(loops: Cli) -> None:
    assert loops("instances", "terminate", "queue-1", "--reason", "over", "--yes").code == 0
    tables = ("executions", "history", "instances")
    before = rows_of(loops, *tables)
    purge = ("instances", "purge", "queue-1", "--completed-before", "now", "--now", "--yes", "--archive", "arch")
    assert loops("prune", "queue-1", "--keep-last", "7", "--yes", "--now", "--archive", "arch").code == 0
    assert loops(*purge).code == 0
    assert refused(loops, "archive", "restore", "queue-1/5", code=5).err == (
        "duroctl: error: instance 'queue-1' cannot come back without its last execution, 10; "
        "restore the whole instance\n"
    )
    done = loops("archive", "restore", "queue-1")
    assert (done.code, done.lines[0]) == (0, "restored 7 executions and 1 whole instance: 15 events, 1.8 KiB")
    assert live(loops) == [4, 5, 6, 7, 8, 9, 10]
    done = loops("archive", "restore", "queue-1", "--everything")
    assert (done.code, done.lines[0]) == (0, "restored 3 executions: 6 events, 774 B")
    assert done.lines[2] == "7 executions were there already"
    after = rows_of(loops, *tables)
    assert (after["executions"], after["history"]) == (before["executions"], before["history"])
    bookkeeping = ("pruned_through", "live_from")
    for table in (before, after):
        for row in table["instances"]:
            for column in bookkeeping:
                row.pop(column)
    assert after["instances"] == before["instances"]
    assert "error" not in {row["severity"] for row in loops("doctor").rows()}


def test_ids_out_of_an_archive_are_ids_into_the_store(purged: Cli) -> None:
    listed = purged("archive", "list", "queue-1", "--limit", "0", "-o", "ids").out
    done = purged("archive", "restore", "-", input=listed)
    assert (done.code, done.lines[0]) == (0, "restored 10 executions and 1 whole instance: 21 events, 2.6 KiB")
    assert live(purged) == list(range(1, 11))
    assert purged("archive", "restore", "-", input="").code == 0


def test_hostile_ids_go_into_the_archive_and_come_back_and_reach_no_terminal(cli_with_store: Cli) -> None:
    cli = cli_with_store
    hostile = (HOSTILE_ID, "../../up", "x" * 255, '"quoted"', "-", "undo", "ä//1b")
    with duro.Client(cli.store) as client:
        worker = ScriptedWorker(client.store)
        client.store.start_instances([start_request(each) for each in hostile])
        for leased in worker.lease().instances:
            worker.run(leased, continued_as_new())
        for leased in worker.lease().instances:
            worker.run(leased, completed())
        client.store.release_worker(worker.worker_id)
    before = rows_of(cli, "executions", "history")
    assert cli("prune", "--all", "--keep-last", "1", "--now", "--yes", "--archive", "arch").code == 0
    purge = ("instances", "purge", "--all", "--completed-before", "now", "--now", "--yes", "--archive", "arch")
    assert cli(*purge).code == 0
    assert cli.dump()["executions"] == []
    assert len(kept_in(cli.directory / "arch")) == 2 * len(hostile)
    assert {each.parent.parent for each in segment_files(cli.directory / "arch")} == {cli.directory / "arch"}
    for command in (("archive", "list"), ("archive", "show", HOSTILE_ID), ("archive", "show", f"{HOSTILE_ID}/1")):
        for shown in (cli(*command).out, cli.on_terminal(*command, width=200).out):
            assert "\x1b[31m" not in shown
            assert "\u202e" not in shown
            assert "\nsecond line" not in shown
    listed = cli("archive", "list", "--limit", "0", "-o", "ids").out
    assert cli("archive", "restore", "-", input=listed).code == 0
    assert rows_of(cli, "executions", "history") == before


def test_nothing_is_restored_over_something_else(archived: Cli) -> None:
    (event,) = [
        row["data"]
        for row in archived.dump()["history"]
        if (row["execution_id"], row["event_id"]) == (8, 1) and row["incarnation"] == 1
    ]
    assert archived("archive", "restore", "queue-1/1").code == 0
    with contextlib.closing(apsw.Connection(str(archived.store))) as connection:
        connection.execute(
            "UPDATE history SET data = ? WHERE incarnation = 1 AND execution_id = 1 AND event_id = 1", (event,)
        )
    said = refused(archived, "archive", "restore", "queue-1/1", code=5)
    assert (
        said.err == "duroctl: error: queue-1/1 is there, and not as the archive has it; nothing is ever overwritten\n"
    )
    error = json.loads(archived("archive", "restore", "queue-1/1", "-o", "json").err)
    assert (error["schema"], error["error"], error["exit_code"]) == ("duroctl.error/1", "RestoreRefusedError", 5)


def test_a_restoration_that_meets_something_else_half_way_restores_nothing(archived: Cli) -> None:
    assert archived("archive", "restore", "queue-1/1").code == 0
    with contextlib.closing(apsw.Connection(str(archived.store))) as connection:
        connection.execute(
            "UPDATE history SET data = replace(data, 'OrchestrationStarted', 'OrchestrationStartee') "
            "WHERE incarnation = 1 AND execution_id = 1 AND event_id = 1"
        )
        assert connection.changes() == 1
    said = refused(archived, "archive", "restore", "queue-1", code=5)
    assert "queue-1/1 is there, and not as the archive has it" in said.err


def test_a_restoration_that_an_archive_breaks_off_tells_what_was_restored(archived: Cli) -> None:
    """Exit status 3, the hold and the counts: executions that came back are held from then on."""
    assert archived("prune", "queue-1", "--keep-last", "2", "--now", "--yes", "--archive", "arch").code == 0
    oldest, *_ = segment_files(archived.directory / "arch")
    packed = oldest.read_bytes()
    oldest.write_bytes(packed[:-1] + bytes([packed[-1] ^ 1]))
    done = archived("archive", "restore", "queue-1")
    assert done.code == 3, done
    assert done.lines[0].startswith("restored 1 execution: ")
    (hold,) = archived("holds", "list", "-o", "json").json["holds"]
    assert done.lines[1].startswith(f"held by {hold['hold_id']} for 7 d")
    assert "not all of it: " in done.err


def test_an_id_that_is_used_again_is_not_taken_from_who_has_it_now(purged: Cli) -> None:
    assert purged("start", "Order", "--id", "queue-1", "--allow-unregistered").code == 0
    said = refused(purged, "archive", "restore", "queue-1", code=5)
    assert "the id 'queue-1' belongs to another instance now" in said.err
    assert ids(purged, "queue-1") == sorted(f"queue-1/{number}" for number in range(1, 11))


def test_a_removed_instance_that_can_be_undone_is_not_restored(loops: Cli) -> None:
    purge = ("instances", "purge", "ended", "--completed-before", "now", "--yes", "--archive", "arch")
    assert loops(*purge).code == 0
    said = refused(loops, "archive", "restore", "ended", code=5)
    assert said.err == (
        "duroctl: error: instance 'ended' was removed and is still in the store; "
        "`duroctl prune undo ended` brings it back\n"
    )
    assert loops("prune", "undo", "ended").code == 0
    assert loops("archive", "restore", "ended").out == "1 execution was there already\n"


def test_executions_whose_instance_is_gone_and_was_not_kept_can_be_read_and_not_restored(archived: Cli) -> None:
    before = archived("history", "show", "queue-1/3", "-o", "jsonl").out
    assert archived("instances", "terminate", "queue-1", "--reason", "over", "--yes").code == 0
    assert archived("instances", "purge", "queue-1", "--completed-before", "now", "--now", "--yes").code == 0
    said = refused(archived, "archive", "restore", "queue-1", code=7)
    assert said.err == (
        "duroctl: error: there is no instance 'queue-1' any more, and the archive does not have it as a whole; "
        "`duroctl history show` reads its archived executions\n"
    )
    assert archived("history", "show", "queue-1/3", "-o", "jsonl").out == before


@pytest.fixture
def second(archived: Cli, tmp_path: Path) -> Cli:
    """Another store, in a directory of its own, whose ``queue-1`` has an old execution in the same archive."""
    directory = tmp_path / "second"
    directory.mkdir()
    other = Cli(directory)
    assert other("init").code == 0
    with duro.Client(other.store) as client:
        worker = ScriptedWorker(client.store)
        client.store.start_instances([start_request("queue-1", input='"of the second store"')])
        worker.run(worker.take(), continued_as_new())
        client.store.release_worker(worker.worker_id)
    kept = ("--now", "--yes", "--archive", str(archived.directory / "arch"))
    (directory / "stored.jsonl").write_text("\n".join(events_in(other)[1, 1]))
    assert other("prune", "queue-1", "--keep-last", "1", *kept).code == 0
    return other


def store_id(cli: Cli) -> str:
    return str(cli.dump()["store"][0]["store_id"])


def test_an_archive_that_two_stores_share_gives_each_its_own(archived: Cli, second: Cli) -> None:
    stored = (second.directory / "stored.jsonl").read_text().splitlines()
    assert ids(second) == ["queue-1/1"]
    assert ids(archived) == [f"queue-1/{number}" for number in range(1, 8)]
    assert len(ids(second, "--any-store")) == 8
    assert {each["store_id"] for each in second("archive", "list", "-o", "json").json["executions"]} == {
        store_id(second)
    }
    assert second("history", "show", "queue-1/1", "-o", "jsonl").lines == stored
    assert refused(second, "archive", "restore", "queue-1/5", code=7).err
    assert second("archive", "restore", "queue-1").lines[0].startswith("restored 1 execution: 2 events")
    assert events_in(second)[1, 1] == stored
    assert second("archive", "verify").out.endswith("2 segments as written, with 8 histories and 16 events\n")


def test_what_several_stores_have_archived_is_never_mixed_without_saying_so(archived: Cli, second: Cli) -> None:
    """Where no store is at hand, or all are asked for: of each it says which store it is of, or asks for one."""
    alone = Cli(second.directory / "home")
    ours, theirs = store_id(archived), store_id(second)
    named = ("--archive", str(archived.directory / "arch"))
    both = " and ".join(sorted((ours, theirs)))
    for asked in (alone, archived):
        more = () if asked is alone else ("--any-store",)
        listed = asked("archive", "list", "-o", "csv", *named, *more)
        assert {line.rpartition(",")[2] for line in listed.lines[1:]} == {ours, theirs}
        assert listed.err == f"duroctl: this is of 2 stores, {both}; --store-id shows one\n"
        blocks = asked("archive", "show", "queue-1", *named, *more).out.split("\n\n")
        said = [dict(line.split(maxsplit=1) for line in block.splitlines()) for block in blocks]
        assert [(each["store"], each["executions"]) for each in said] == [
            (theirs, "1 execution, 1"),
            (ours, "7 executions, 1 to 7"),
        ]
        unclear = asked("archive", "show", "queue-1/1", *named, *more)
        assert (unclear.code, unclear.out) == (2, "")
        assert unclear.err == (
            f"duroctl: error: archive {named[1]!r} has queue-1/1 of 2 stores, {both}; "
            f"say which with --store-id {min(ours, theirs)}\n"
        )
        assert f"store      {ours}" in asked("archive", "show", "queue-1/5", *named, *more).lines
    for chosen, count in ((ours, 7), (theirs[:12], 1)):
        assert len(ids(alone, *named, "--store-id", chosen)) == count
        shown = alone("archive", "show", "queue-1/1", *named, "--store-id", chosen, "-o", "json").json
        assert shown["store_id"].startswith(chosen)
    wrong = alone("archive", "show", "queue-1/1", *named, "--store-id", "zz")
    assert (wrong.code, wrong.out) == (7, "")
    assert wrong.err == f"duroctl: error: archive {named[1]!r} has nothing of a store 'zz'; it has of {both}\n"
    assert archived("archive", "list", "--any-store", "--store-id", ours).code == 2
    assert alone("archive", "restore", "queue-1/1", *named).code == 10


def test_an_archive_that_has_only_what_other_stores_put_there_says_so(archived: Cli, tmp_path: Path) -> None:
    """As after a store was lost and made anew."""
    lost = store_id(archived)
    for each in archived.directory.glob("duro.db*"):
        each.unlink()
    assert archived("init", "duro.db").code == 0
    for form in ("table", "ids", "json"):
        listed = archived("archive", "list", "--archive", "arch", "-o", form)
        assert listed.code == 0
        assert f"has nothing of this store, but of store {lost}: --any-store, or --store-id, shows it" in listed.err
    where = f"--archive {archived.directory / 'arch'} --store-id {lost}"
    for command in (
        ("archive", "list", "queue-1"),
        ("archive", "show", "queue-1/3"),
        ("archive", "restore", "queue-1/3"),
    ):
        said = archived(*command, "--archive", "arch")
        assert f"of this store, but of store {lost}" in said.err
    assert f"`duroctl history show queue-1/3 {where}` reads it" in said.err
    read = archived("history", "show", "queue-1/3", *where.split(), "-o", "jsonl")
    assert (read.code, "OrchestrationStarted" in read.out) == (0, True)


def purge_a_second_life(purged: Cli) -> None:
    """The id of queue-1 is used again, and that life goes into the archive as well."""
    with purged.client() as client:
        worker = ScriptedWorker(client.store)
        client.store.start_instances([start_request("queue-1")])
        worker.run(worker.take(), completed())
        client.store.release_worker(worker.worker_id)
    again = ("instances", "purge", "queue-1", "--completed-before", "now", "--now", "--yes", "--archive", "arch")
    assert purged(*again).code == 0


def test_the_lives_of_an_id_that_was_used_again_are_told_apart(purged: Cli) -> None:
    purge_a_second_life(purged)
    blocks = purged("archive", "show", "queue-1").out.split("\n\n")
    said = [dict(line.split(maxsplit=1) for line in block.splitlines()) for block in blocks]
    assert [(each["life"], each["executions"]) for each in said] == [
        ("incarnation 4", "1 execution, 1"),
        ("incarnation 1", "10 executions, 1 to 10"),
    ]
    named = ("--incarnation", "1", "-o", "json")
    assert len(purged("archive", "show", "queue-1", *named).json["executions"]) == 10
    listed = purged("archive", "list", "queue-1", "--limit", "0", "-o", "ids").lines
    assert sorted(listed) == sorted(["queue-1/1", *(f"queue-1/{number}#1" for number in range(1, 11))])
    assert sorted(purged("archive", "show", "queue-1", "-o", "ids").lines) == sorted(listed)
    assert "INSTANCE" in (shown := purged.on_terminal("archive", "list").out)
    assert "LIFE" in shown


def test_an_earlier_life_of_an_id_is_read_and_brought_back_by_its_number(purged: Cli) -> None:
    first = purged("history", "show", "queue-1/1", "-o", "jsonl").out
    with purged.client() as client:
        worker = ScriptedWorker(client.store)
        client.store.start_instances([start_request("queue-1")])
        worker.run(worker.take(), completed())
        client.store.release_worker(worker.worker_id)
    while_it_lives = refused(purged, "archive", "restore", "queue-1", code=5)
    assert "history show queue-1 --archive DIR --incarnation 1` reads it" in while_it_lives.err
    assert purged("history", "show", "queue-1/1", "--incarnation", "1", "-o", "jsonl").out == first
    assert purged("history", "show", "queue-1/1", "--incarnation", "4", "-o", "jsonl").out != first
    again = ("instances", "purge", "queue-1", "--completed-before", "now", "--now", "--yes", "--archive", "arch")
    assert purged(*again).code == 0
    for place in ((), ("--archive", "arch")):
        assert purged("history", "show", "queue-1/1", *place, "-o", "jsonl").out != first
        assert purged("history", "show", "queue-1/1", *place, "--incarnation", "1", "-o", "jsonl").out == first
        assert purged("history", "show", "queue-1/1#1", *place, "-o", "jsonl").out == first
        mixed = purged("history", "show", "queue-1/5", *place)
        assert (mixed.code, mixed.out) == (7, ""), mixed
    assert "of the latest life of that id, but of incarnation 1; --incarnation 1 says" in mixed.err
    for command in (("archive", "show"), ("archive", "restore")):
        said = purged(*command, "queue-1/5", "--archive", "arch")
        assert (said.code, said.err) == (7, mixed.err)
    assert purged("archive", "show", "queue-1/5", "--incarnation", "1", "-o", "json").json["incarnation"] == 1
    assert purged("history", "export", "queue-1/5", "--incarnation", "1", "--to", "five.jsonl").code == 0
    assert purged("archive", "restore", "queue-1", "--incarnation", "1").code == 0
    assert purged("instances", "show", "queue-1", "-o", "json").json["incarnation"] == 1
    assert purged("history", "show", "queue-1/1", "-o", "jsonl").out == first
    assert purged("archive", "restore", "queue-1/10").out == "1 execution was there already\n"
    assert purged("archive", "list", "--incarnation", "1").code == 2


def test_ids_of_an_earlier_life_are_read_from_standard_input(purged: Cli) -> None:
    purge_a_second_life(purged)
    earlier = purged("archive", "list", "queue-1", "--incarnation", "1", "-o", "ids").out
    assert "#1" in earlier
    assert purged("archive", "restore", "-", input=earlier).code == 0
    assert purged("instances", "show", "queue-1", "-o", "json").json["incarnation"] == 1


# --- history and ledger ----------------------------------------------------------------------------------------------


def test_archived_executions_are_shown_as_they_were_before_in_every_format(loops: Cli) -> None:
    before = shown_in_all_formats(loops, "queue-1/3")
    assert loops("prune", *KEEP_THREE, "--now", "--archive", "arch").code == 0
    assert shown_in_all_formats(loops, "queue-1/3") == before
    named = loops("history", "show", "queue-1", "--execution", "3", "-o", "json")
    assert named.out == before[1]
    assert named.err == f"duroctl: queue-1/3 is from archive {loops.directory / 'arch'}\n"
    assert loops("history", "show", "queue-1/3", "-q").err == ""
    assert loops("history", "show", "-", "-o", "json", input="queue-1/3\n").out == before[1]
    assert loops("history", "show", "queue-1/77").code == 7
    assert loops("prune", "queue-1", "--keep-last", "2", "--now", "--yes").code == 0
    lost = loops("history", "show", "queue-1/8")
    assert (lost.code, lost.out) == (8, "")
    (loops.directory / "arch").rename(loops.directory / "away")
    gone = loops("history", "show", "queue-1/3")
    assert (gone.code, gone.out) == (8, "")
    assert "execution 3 of instance 'queue-1' was pruned at" in gone.err


def test_the_last_execution_of_a_purged_instance_is_shown_by_its_id_alone(purged: Cli) -> None:
    done = purged("history", "show", "queue-1", "-o", "jsonl")
    assert (done.code, done.err) == (0, f"duroctl: queue-1/10 is from archive {purged.directory / 'arch'}\n")
    assert json.loads(done.lines[-1])["type"] == "OrchestrationTerminated"


def test_archived_executions_are_exported_byte_for_byte(loops: Cli) -> None:
    export = ("history", "export", "queue-1/3", "--to")
    assert loops(*export, "before.jsonl").code == 0
    assert loops("prune", *KEEP_THREE, "--now", "--archive", "arch").code == 0
    done = loops(*export, "after.jsonl")
    assert (done.code, done.err) == (0, f"duroctl: queue-1/3 is from archive {loops.directory / 'arch'}\n")
    before, after = (loops.directory / f"{each}.jsonl" for each in ("before", "after"))
    assert after.read_bytes() == before.read_bytes()
    assert stat.S_IMODE(after.stat().st_mode) == 0o600
    assert loops(*export, "after.jsonl").code == 2


def test_events_are_read_from_an_archive_alone_where_the_store_is_lost(archived: Cli) -> None:
    named = ("--archive", str(archived.directory / "arch"))
    formats = {options: archived("history", "show", "queue-1/3", *options).out for options in HISTORY_FORMATS[:3]}
    archived.store.write_bytes(b"no database any more")
    damaged = archived("history", "show", "queue-1/3", "-o", "json", *named)
    assert (damaged.code, damaged.out) == (0, formats["-o", "json"])
    assert "is not a SQLite database" in damaged.err
    (archived.directory / "runtime_config.toml").unlink()
    assert archived("history", "show", "queue-1/3").code == 10
    for options, expected in formats.items():
        done = archived("history", "show", "queue-1/3", *named, *options)
        assert (done.code, done.out) == (0, expected)
        assert done.err == f"duroctl: queue-1/3 is from archive {named[1]}\n"
    for third in (("queue-1", "--execution", "3"), ("-",)):
        done = archived("history", "show", *third, "-o", "json", *named, input="queue-1/3\n")
        assert done.out == formats["-o", "json"]
    last = archived("history", "show", "queue-1", *named, "-o", "json").json
    assert last["execution"]["execution_id"] == 7
    exported = archived("history", "export", "queue-1/3", "--to", "kept.jsonl", *named)
    assert exported.code == 0
    assert (archived.directory / "kept.jsonl").read_text() == formats["-o", "jsonl"]
    for command in (("show", "queue-1/9"), ("show", "nobody"), ("export", "nobody", "--to", "none.jsonl")):
        missing = archived("history", *command, *named)
        assert (missing.code, missing.out) == (7, "")
        assert f"archive {named[1]!r} has nothing of" in missing.err
    assert archived("history", "show", "queue-1", "--follow", *named).code == 2
    assert not (archived.directory / "none.jsonl").exists()


def test_an_archive_that_is_named_is_read_though_the_store_has_it_too(loops: Cli) -> None:
    assert loops("prune", *KEEP_THREE, "--archive", "arch").code == 0
    assert loops("prune", "undo", "queue-1").code == 0
    done = loops("history", "show", "queue-1/3", "-o", "json", "--archive", "arch")
    assert done.out == loops("history", "show", "queue-1/3", "-o", "json").out
    assert done.err == f"duroctl: queue-1/3 is from archive {loops.directory / 'arch'}\n"
    assert loops("history", "show", "queue-1/8", "--archive", "arch").code == 7


def test_whoever_asks_for_an_instance_that_is_in_an_archive_alone_is_told_where_it_is(purged: Cli) -> None:
    commands = (("instances", "show"), ("instances", "tree"), ("executions", "list"), ("ledger", "show"))
    directory = purged.directory / "arch"
    for command in commands:
        told = purged(*command, "queue-1")
        assert (told.code, told.out) == (8, "")
        assert told.err == (
            f"duroctl: error: instance 'queue-1' was removed, and archive '{directory}' has 10 executions of it; "
            f"`duroctl archive show queue-1 --archive {directory}` lists them, "
            f"`duroctl archive restore queue-1 --archive {directory}` brings it back\n"
        )
    (purged.directory / "bad.toml").write_text("[pruning]\nenabled = 1\n")
    unusable = purged("ledger", "show", "nobody", "--config", "bad.toml", "--store", "sqlite:///duro.db")
    assert (unusable.code, "nobody" in unusable.err) == (7, True)
    never = purged("ledger", "show", "nobody")
    assert (never.code, "archive" in never.err) == (7, False)
    directory.rename(purged.directory / "away")
    for command in commands[1:3]:
        gone = purged(*command, "queue-1")
        assert (gone.code, gone.out) == (7, "")
        assert f"there is no archive '{directory}'" in gone.err


def test_of_an_instance_that_can_be_undone_the_archive_is_not_what_one_is_told_of(loops: Cli) -> None:
    assert loops("instances", "terminate", "queue-1", "--yes").code == 0
    undone = ("instances", "purge", "queue-1", "--completed-before", "now", "--yes", "--archive", "arch")
    assert loops(*undone).code == 0
    told = refused(loops, "instances", "show", "queue-1", code=8)
    assert "`duroctl prune undo" in told.err
    assert "archive" not in told.err


def test_of_an_instance_that_was_purged_without_an_archive_what_was_pruned_before_is_told(archived: Cli) -> None:
    assert archived("instances", "terminate", "queue-1", "--yes").code == 0
    assert archived("instances", "purge", "queue-1", "--completed-before", "now", "--now", "--yes").code == 0
    told = refused(archived, "instances", "show", "queue-1", code=8)
    assert "has 7 executions of it; " in told.err
    assert told.err.endswith(
        f"--archive {archived.directory / 'arch'}` lists them, `duroctl history show` reads them\n"
    )


def test_the_ledger_says_where_a_run_kept_what_it_removed(archived: Cli) -> None:
    assert archived("prune", "other", "--keep-last", "9", "--now", "--yes").code == 0
    plain, kept = archived("ledger", "list", "-o", "json").json["runs"]
    directory = str(archived.directory / "arch")
    assert (plain["archive"], kept["archive"]) == (None, directory)
    assert [row["archive"] for row in archived("ledger", "list").rows()] == ["", directory]
    assert archived("ledger", "show", kept["run_id"], "-o", "json").json == {"schema": "duroctl.prune_run/1", **kept}
    assert directory in archived("ledger", "show", kept["run_id"]).out
    assert "archive " not in archived("ledger", "show", plain["run_id"]).out
    assert "\nremoved  1 execution of 1 instance, " in archived("ledger", "show", plain["run_id"]).out


def test_the_ledger_says_of_undos_and_restores_that_they_brought_back(archived: Cli) -> None:
    assert archived("prune", "other", "--keep-last", "9", "--yes").code == 0
    assert archived("prune", "undo", "other").code == 0
    assert archived("archive", "restore", "queue-1/1").code == 0
    for run_id in archived("ledger", "list", "-o", "ids").lines[:2]:
        said = archived("ledger", "show", run_id).out
        assert "\nreturned 1 execution of 1 instance, " in said
        assert "removed" not in said


def test_what_cannot_be_read_of_an_archive_any_more_is_told_of_with_what_says_why(archived: Cli) -> None:
    directory = archived.directory / "arch"
    for segment in segment_files(directory):
        segment.write_bytes(b"")
    (directory / "catalogue.db").unlink()
    gone = archived("history", "show", "queue-1/3")
    assert (gone.code, gone.out) == (8, "")
    verify = f"duroctl archive verify --archive {directory}"
    assert gone.err.endswith(f"; `{verify}` says why if not\n")
    assert archived(*verify.split()[1:]).code == 9


def test_what_went_into_the_archive_that_was_configured_then_is_found_when_another_one_is(loops: Cli) -> None:
    configured(loops)
    assert loops("prune", *KEEP_THREE, "--now").code == 0
    configured(loops, directory="new")
    arch = loops.directory / "arch"
    (run,) = loops("ledger", "list", "-o", "ids").lines
    assert loops("ledger", "show", run, "-o", "json").json["archive"] == str(arch)
    assert f"archive  {arch}\n" in loops("ledger", "show", run).out
    for command in (("prune", "queue-1/3", "--dry-run"), ("holds", "add", "queue-1/3", "--reason", "x")):
        said = refused(loops, *command, code=8).err
        assert (
            f"archive {str(arch)!r} has its history, and `duroctl archive restore queue-1/3 --archive {arch}`" in said
        )
    for asked in ("queue-1", run):
        assert f"`duroctl archive restore ID --archive {arch}` brings one back" in loops("prune", "undo", asked).out
    assert loops("archive", "restore", "queue-1/3", "--archive", str(arch)).code == 0
    (restored, _) = loops("ledger", "list", "-o", "json").json["runs"]
    assert (restored["kind"], restored["archive"]) == ("restore", str(arch))


def test_what_was_written_to_another_archive_than_it_was_to_go_into_is_found_there(loops: Cli) -> None:
    (loops.directory / "arch").touch()  # no archive can be there
    configured(loops)
    assert loops("prune", *KEEP_THREE, "--now").code == 3
    assert loops("archive", "write", "--to", "other").code == 0
    other = loops.directory / "other"
    assert f"restore queue-1/3 --archive {other}" in refused(loops, "prune", "queue-1/3", "--dry-run", code=8).err
    for asked in ("queue-1", *loops("ledger", "list", "-o", "ids").lines):
        assert f"`duroctl archive list --archive {other}` says which" in loops("prune", "undo", asked).out


def test_an_undo_of_an_instance_that_is_in_an_archive_alone_says_so(purged: Cli) -> None:
    arch = purged.directory / "arch"
    said = refused(purged, "prune", "undo", "queue-1", code=8).err
    assert f"`duroctl archive restore queue-1 --archive {arch}` brings it back" in said


def test_what_went_without_an_archive_is_not_said_to_be_in_one_that_the_store_knows(archived: Cli) -> None:
    assert archived("prune", "other", "--keep-last", "3", "--now", "--yes").code == 0
    (run, *_) = archived("ledger", "list", "-o", "ids").lines
    for asked in ("other", run):
        assert archived("prune", "undo", asked).lines[-1].endswith("and cannot come back: no archive has them")


def test_what_went_into_an_archive_is_not_called_gone(archived: Cli) -> None:
    """Where the store cannot bring it back any more, what is said names what can."""
    restore = f"`duroctl archive restore queue-1/3 --archive {archived.directory / 'arch'}`"
    for command in (("prune", "queue-1/3", "--dry-run"), ("holds", "add", "queue-1/3", "--reason", "x")):
        refused = archived(*command)
        assert (refused.code, refused.out) == (8, "")
        assert f"has its history, and {restore} brings it back" in refused.err
    where = f"--archive {archived.directory / 'arch'}"
    for asked in ("queue-1", *archived("ledger", "list", "-o", "ids").lines):
        assert (
            archived("prune", "undo", asked)
            .lines[-1]
            .endswith(
                f" executions had been reclaimed; `duroctl archive list {where}` says which of them were archived, "
                f"and `duroctl archive restore ID {where}` brings one back"
            )
        )
    assert archived(*restore.strip("`").split()[1:]).code == 0
    assert archived("prune", "queue-1/3", "--dry-run").code == 0


def test_an_archive_that_is_not_there_is_named_once(archived: Cli) -> None:
    (archived.directory / "arch").rename(archived.directory / "elsewhere")
    gone = archived("history", "show", "queue-1/3")
    assert gone.code == 8
    assert gone.err.count(f"there is no archive '{archived.directory / 'arch'}'") == 1
