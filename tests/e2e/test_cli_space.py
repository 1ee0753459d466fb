"""duroctl stats, compact, backup and export: what they print and what they leave."""

import contextlib
import os
import signal
import sqlite3
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from duro.stores.opening import open_store
from duroctl import pruning
from duroctl.app import build
from tests.e2e.cli_support import HOSTILE_NAME, Cli, fill
from tests.support.first_schema import contents, write_first_schema


def names(cli: Cli) -> set[str]:
    return set(os.listdir(cli.directory)) - {"home", "duro.db", "duro.db-wal", "duro.db-shm"}  # noqa: PTH208


def test_stats_are_exact_in_files_and_told_in_words_on_a_terminal(loops: Cli) -> None:
    before = loops.dump()
    ran = loops("stats", "--store", "sqlite:///duro.db")
    rows = {row["name"]: row for row in ran.rows()}
    assert (rows["Order"]["instances"], rows["Order"]["executions"], rows["Child"]["executions"]) == ("2", "11", "10")
    assert abs(sum(float(row["share"]) for row in rows.values()) - 1) < 0.001
    document = loops("stats", "-o", "json", "--store", "sqlite:///duro.db").json
    assert document["schema"] == "duroctl.stats/1"
    total = sum(each["history_bytes"] for each in document["names"])
    assert document["store"]["logical_bytes"] == total == sum(int(row["history_bytes"]) for row in rows.values())
    assert loops("stats", "-o", "ids").lines == [each["name"] for each in document["names"]]
    shown = loops.on_terminal("stats").out
    assert "policies would let nothing go now" in shown
    assert max(map(len, shown.splitlines())) < 200
    assert loops.dump() == before


def test_compact_says_what_it_gave_back(loops: Cli) -> None:
    assert loops("prune", "--all", "--keep-last", "1", "--now", "--yes").code == 0
    ran = loops("compact")
    assert ran.code == 0
    assert ran.lines[0].startswith("gave back ")
    document = loops("compact", "-o", "json").json
    assert document["after"]["free_bytes"] == 0
    assert document["before"] == document["after"]
    assert loops("compact", "--full").code == 0


def test_stats_name_compact_where_there_is_something_to_give_back(loops: Cli) -> None:
    assert loops("compact").code == 0
    assert "nothing of it free; log " in loops.on_terminal("stats").out
    assert loops("prune", "--all", "--keep-last", "1", "--now", "--yes").code == 0
    free_bytes = loops("stats", "-o", "json").json["store"]["free_bytes"]
    assert ("free (`duroctl compact` gives it back); log " in loops.on_terminal("stats").out) == (free_bytes > 0)


def test_a_backup_is_a_store_to_go_on_with(loops: Cli) -> None:
    ran = loops("backup", "copy.db")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == f"copy.db: {(loops.directory / 'copy.db').stat().st_size:,} bytes, checked\n"
    copy = open_store(loops.directory / "copy.db", read_only=True)
    assert copy.dump() == loops.dump()
    copy.close()
    again = loops("backup", "copy.db")
    assert (again.code, again.out) == (2, "")
    assert again.err == "duroctl: error: 'copy.db' is there already; choose another name, or remove it\n"


@pytest.mark.parametrize("ending", ["-wal", "-journal", "-shm", "-reserve", "-JOURNAL"])
def test_nothing_is_written_where_files_of_the_store_belong_though_none_is_there(loops: Cli, ending: str) -> None:
    name = f"other.db{ending}"
    before = loops.dump()
    there = names(loops)
    for command in (
        ("backup", name),
        ("export", "--to", name),
        ("history", "export", "queue-1", "--to", name),
        ("prune", "--all", "--keep-last", "1", "--plan-out", name),
        ("instances", "purge", "--all", "--keep-last", "1", "--plan-out", name),
        ("orphans", "cleanup", "--all", "--plan-out", name),
        ("prune", "--all", "--keep-last", "1", "--yes", "--archive", name),
        ("archive", "write", "--to", name),
        ("init", name),
        ("init", "--config", name),
        ("init", "--store", f"sqlite:///{name}", "--config", "new.toml"),
        ("demo", "--store", name),
    ):
        done = loops(*command)
        assert done.code != 0, command
        assert f"ends in {ending.lower()}: such a file belongs to the store it stands beside" in done.err, done
    assert names(loops) == there
    assert loops.dump() == before


def test_a_store_is_backed_up_before_the_update_migrates_it(cli_with_store: Cli) -> None:
    cli = cli_with_store
    path = cli.directory / "duro.db"
    for each in cli.directory.glob("duro.db*"):
        each.unlink()
    write_first_schema(path, contents(cli.directory / "other.db"))
    refused = cli("instances", "list")
    assert (refused.code, "`duroctl backup FILE` first" in refused.err) == (1, True)
    assert cli("backup", "copy.db").code == 0
    assert sqlite3.connect(cli.directory / "copy.db").execute("PRAGMA user_version").fetchone() == (1,)
    assert sqlite3.connect(path).execute("PRAGMA user_version").fetchone() == (1,)
    assert cli("compact", "--full").code == 0
    assert cli("instances", "list", "-o", "ids").code == 0


@pytest.mark.parametrize("command", [("backup", "copy.db"), ("export", "--to", "copy.db")])
def test_a_copy_that_is_terminated_leaves_nothing_behind(
    loops: Cli, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    written: list[set[str]] = []

    @contextlib.contextmanager
    def terminated(*_: object) -> Iterator[Callable[[int], None]]:
        def advance(_done: int) -> None:
            written.append(names(loops))
            os.kill(os.getpid(), signal.SIGTERM)

        yield advance

    monkeypatch.setattr(pruning, "progress_bar", terminated)
    monkeypatch.chdir(loops.directory)
    before = names(loops)
    handler = signal.getsignal(signal.SIGTERM)
    with (
        pytest.raises(SystemExit) as ended,
        build().make_context("duroctl", ["--store", f"sqlite:///{loops.store}", *command]) as context,
    ):
        context.command.invoke(context)
    assert ended.value.code == 143
    assert len(written) == 1
    assert f".copy.db.{os.getpid()}.part" in written[0]
    assert names(loops) == before
    assert signal.getsignal(signal.SIGTERM) == handler


def test_a_url_in_place_of_a_new_file_is_refused_with_what_to_write(loops: Cli) -> None:
    for command, given, write in (
        (("backup",), "sqlite:///copies/x.db", "copies/x.db"),
        (("export", "--to"), "sqlite:////copies/x.db", "/copies/x.db"),
        (("backup",), "sqlite://x.db", "backup.db"),
        (("export", "--to"), "postgresql://ada:secret@host/db", "backup.db"),
    ):
        ran = loops(*command, given)
        assert (ran.code, ran.out) == (2, "")
        assert ran.err.endswith(f"' is a URL, and a file is named by its path alone; write {write}\n")
        assert "secret" not in ran.err


def test_an_export_holds_hostile_names_as_they_are(cli_with_store: Cli) -> None:
    fill(cli_with_store.store)
    ran = cli_with_store("export", "--to", "export.db")
    assert ran.code == 0
    assert ran.out.startswith("export.db: ")
    path = cli_with_store.directory / "export.db"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with contextlib.closing(sqlite3.connect(path)) as connection:
        found = {name for (name,) in connection.execute("SELECT name FROM instances")}
    assert HOSTILE_NAME in found
    assert cli_with_store("export", "--to", "export.db").code == 2
    assert cli_with_store("export", "--to", "no/export.db").code == 2
    assert cli_with_store("export").code == 2


def test_none_of_them_makes_a_store(cli: Cli) -> None:
    for command in (("stats",), ("compact",), ("backup", "b.db"), ("export", "--to", "e.db")):
        ran = cli(*command, "--store", "sqlite:///no.db")
        assert (ran.code, ran.out) == (10, ""), ran
        assert names(cli) == set()
    assert not Path(cli.directory / "no.db").exists()


@pytest.mark.parametrize("command", [("backup", "{}"), ("export", "--to", "{}")], ids=["backup", "export"])
def test_what_one_that_was_killed_left_is_named_and_the_next_of_that_name_removes_it(
    loops: Cli, command: tuple[str, ...]
) -> None:
    with loops.popen("instances", "list") as process:
        process.communicate()
    left = f".one.db.{process.pid}.part"
    for ending in ("", "-journal"):
        (loops.directory / f"{left}{ending}").touch()
    before = names(loops)
    other = loops(*(each.format("other.db") for each in command))
    assert other.code == 0
    assert f"duroctl: {left} was left by a duroctl that was killed; remove it\n" in other.err
    assert names(loops) == before | {"other.db"}
    (check,) = [each for each in loops("doctor", "-o", "json").json["checks"] if each["name"] == "unfinished-files"]
    assert (check["count"], check["findings"][0]) == (2, {"subject": left, "text": "its writer is gone"})
    same = loops(*(each.format("one.db") for each in command))
    assert (same.code, same.err) == (0, "")
    assert names(loops) == {"one.db", "other.db", *before} - {left, f"{left}-journal"}
