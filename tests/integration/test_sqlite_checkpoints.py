"""Checkpoints of long removals: what the log holds gets into the file in small pieces, each written out at once."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

import duro
from duro.stores.sqlite import checkpoints, committer
from duro.stores.sqlite.checkpoints import GradualCheckpoints, write_out_of_system
from duro.testing import check_invariants
from duro.testing.clock import ManualClock
from tests.support.pruning import Loops, open_sqlite

PAGES = 5_000
ROW_BYTES = 4_000
PIECES = PAGES * 4096 // (128 * 1024)


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[apsw.Connection]:
    """Of a file with PAGES pages, all of them in the log only."""
    connection = apsw.Connection(str(tmp_path / "some.db"))
    connection.execute("PRAGMA journal_mode = wal").fetchall()
    connection.execute("CREATE TABLE rows (number INTEGER PRIMARY KEY, content BLOB)")
    connection.wal_autocheckpoint(0)
    fill(connection)
    yield connection
    connection.close()


def fill(connection: apsw.Connection) -> None:
    connection.execute("DELETE FROM rows")
    connection.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
        "INSERT INTO rows SELECT i, randomblob(?) FROM n",
        (PAGES, ROW_BYTES),
    )


def rows_in_file(path: Path) -> int:
    """What somebody would find who reads the file without its log."""
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    connection = apsw.Connection(f"file:{path}?immutable=1", flags=flags)
    try:
        return int(connection.execute("SELECT count(*) FROM rows").get)
    except apsw.SQLError:  # no such table: it is in the log
        return 0
    finally:
        connection.close()


def test_the_log_is_copied_into_the_file_which_is_written_out_piece_by_piece(
    tmp_path: Path, writer: apsw.Connection
) -> None:
    path = tmp_path / "some.db"
    file = path.stat()
    written_out: list[bool] = []
    gradual = GradualCheckpoints(path, lambda number: written_out.append(os.path.samestat(os.fstat(number), file)))
    assert rows_in_file(path) == 0
    with contextlib.closing(gradual):
        gradual.committed(PAGES)
        assert rows_in_file(path) == PAGES
        assert len(written_out) >= PIECES
        assert all(written_out)
        before = len(written_out)
        fill(writer)
        gradual.committed(2 * PAGES)
        assert len(written_out) >= before + PIECES


def test_the_log_begins_anew_beside_somebody_who_writes_all_the_time(tmp_path: Path, writer: apsw.Connection) -> None:
    path = tmp_path / "some.db"
    log_pages: list[int] = []

    def committed(_connection: apsw.Connection, _schema: str, pages: int) -> int:
        log_pages.append(pages)
        return apsw.SQLITE_OK

    def write(_descriptor: int) -> None:
        with contextlib.suppress(apsw.BusyError):
            writer.execute("INSERT INTO rows (content) VALUES (randomblob(10))")

    writer.set_wal_hook(committed)
    with contextlib.closing(GradualCheckpoints(path, write)) as gradual:
        gradual.committed(2 * PAGES)
        assert len(log_pages) > PIECES, "others write while the log is copied"
        assert rows_in_file(path) == writer.execute("SELECT count(*) FROM rows").get == PAGES + len(log_pages)
        write(0)
    assert log_pages[-1] < 10 < PAGES < log_pages[-2]


def test_who_reads_an_older_state_delays_nobody_for_long(tmp_path: Path, writer: apsw.Connection) -> None:
    reader = apsw.Connection(str(tmp_path / "some.db"))
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM rows").fetchall()
    writer.execute("DELETE FROM rows WHERE number > 10")
    began_s = time.monotonic()
    with contextlib.closing(GradualCheckpoints(tmp_path / "some.db", lambda _: None)) as gradual:
        gradual.committed(2 * PAGES)
    assert time.monotonic() - began_s < 2
    writer.execute("DELETE FROM rows")
    reader.close()


def test_a_log_is_copied_again_when_as_much_was_added(tmp_path: Path, writer: apsw.Connection) -> None:
    path = tmp_path / "some.db"
    reader = apsw.Connection(str(path))
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM rows").fetchall()  # so that the log does not begin anew
    with contextlib.closing(GradualCheckpoints(path, lambda _: None)) as gradual:
        gradual.committed(PAGES)
        writer.execute("DELETE FROM rows WHERE number > 10")
        reader.execute("COMMIT")
        gradual.committed(PAGES + 100)
        assert rows_in_file(path) == PAGES
        gradual.committed(10)  # it did begin anew
        gradual.committed(PAGES)
        assert rows_in_file(path) == 10
    reader.close()


def test_a_short_log_stays_where_it_is_and_nothing_is_opened_for_it(tmp_path: Path, writer: apsw.Connection) -> None:
    path = tmp_path / "some.db"
    before = len(list(checkpoints._DESCRIPTORS.iterdir())) if checkpoints._DESCRIPTORS.is_dir() else 0
    gradual = GradualCheckpoints(path, lambda _: None)
    gradual.committed(100)
    if before:
        assert len(list(checkpoints._DESCRIPTORS.iterdir())) == before
    gradual.close()
    assert rows_in_file(path) == 0


def test_what_somebody_still_reads_is_copied_the_next_time(tmp_path: Path, writer: apsw.Connection) -> None:
    path = tmp_path / "some.db"
    reader = apsw.Connection(str(path))
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM rows").get == PAGES
    writer.execute("DELETE FROM rows WHERE number > 10")
    with contextlib.closing(GradualCheckpoints(path, lambda _: None)) as gradual:
        gradual.committed(PAGES)
        assert rows_in_file(path) != 10
        assert reader.execute("SELECT count(*) FROM rows").get == PAGES
        reader.execute("COMMIT")
        gradual.committed(2 * PAGES)
        assert rows_in_file(path) == 10
    reader.close()


def test_a_checkpoint_that_cannot_be_made_harms_nobody(tmp_path: Path, writer: apsw.Connection) -> None:
    gradual = GradualCheckpoints(tmp_path / "missing" / "some.db", lambda _: None)
    gradual.committed(PAGES)
    gradual.close()
    gradual.close()
    assert writer.execute("SELECT count(*) FROM rows").get == PAGES


def test_a_process_whose_descriptors_cannot_be_listed_does_without_checkpoints(
    tmp_path: Path, writer: apsw.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "_DESCRIPTORS", tmp_path / "missing")
    with contextlib.closing(GradualCheckpoints(tmp_path / "some.db", lambda _: None)) as gradual:
        gradual.committed(PAGES)
        gradual.committed(PAGES)
    assert rows_in_file(tmp_path / "some.db") == 0
    assert writer.execute("SELECT count(*) FROM rows").get == PAGES


@pytest.mark.skipif(sys.platform != "linux", reason="other systems checkpoint as SQLite does")
def test_linux_can_write_out_a_file_and_refuses_what_is_none(tmp_path: Path) -> None:
    write_out = write_out_of_system()
    assert write_out is not None
    with (tmp_path / "some").open("wb") as file:
        file.write(b"x" * 8192)
        file.flush()
        assert write_out(file.fileno()) == 0
    assert write_out(-1) == -1


@pytest.mark.parametrize("available", [True, False])
def test_a_long_purge_checkpoints_as_it_goes_and_leaves_one_whole_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, available: bool
) -> None:
    written_out: list[int] = []
    monkeypatch.setattr(checkpoints, "_LOG_PAGES", 1)
    monkeypatch.setattr(committer, "write_out_of_system", lambda: written_out.append if available else None)
    path = tmp_path / "duro.db"
    names = [f"a-{number}" for number in range(200)]
    clock = ManualClock()
    with contextlib.closing(open_sqlite(path, clock)) as store:
        Loops(store).start("stays", *names)
        for name in names:
            store.terminate_instance(name, "enough")
        clock.advance(10)
        assert not written_out
        result = duro.Client(store).purge_instances(duro.PurgeOptions(keep_within=0.001), grace_s=0)
        assert result.instances == len(names)
        assert bool(written_out) is available
        check_invariants(store)
        rows = store.dump()
    assert [file.name for file in tmp_path.iterdir()] == ["duro.db"]
    with contextlib.closing(open_sqlite(path, clock)) as store:
        assert store.dump() == rows
