"""What becomes of files: how a store comes to be, what is asserted about it, and what is refused and left alone."""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import apsw
import pytest

from duro.clock import SystemClock
from duro.errors import (
    NotADatabaseError,
    NotADuroStoreError,
    SchemaTooNewError,
    SchemaTooOldError,
    StoreError,
    StoreNotFoundError,
    StoreReadOnlyError,
)
from duro.model.records import StartRequest
from duro.stores.sqlite import SqliteStore, connection, migrations, sql
from duro.testing import ManualClock

NOBODY = 65534


def open_store(path: Path, **options: object) -> SqliteStore:
    return SqliteStore.open(
        path,
        url=f"sqlite:///{path}",
        clock=SystemClock(),
        new_id=lambda: "store-id",
        **options,  # type: ignore[arg-type]
    )


def start(store: SqliteStore, instance_id: str = "one") -> None:
    request = StartRequest(instance_id=instance_id, name="n", version="", input="null", request_id=f"r-{instance_id}")
    assert store.start_instances([request])[0].started


def pragma(path: Path, name: str) -> object:
    """Of the file, not of the connection."""
    plain = apsw.Connection(str(path))
    try:
        return plain.execute(f"PRAGMA {name}").get
    finally:
        plain.close()


def directory_contents(directory: Path) -> dict[str, bytes]:
    return {entry.name: entry.read_bytes() for entry in sorted(directory.iterdir())}


def refused(path: Path, kind: type[StoreError], **options: object) -> StoreError:
    """The error, after checking that no byte and no file changed."""
    before = directory_contents(path.parent)
    with pytest.raises(kind) as caught:
        open_store(path, **options)
    assert directory_contents(path.parent) == before
    return caught.value


# --- a new store ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_was_removed_or_replaced_takes_no_more_writes(tmp_path: Path, replaced: bool) -> None:
    """They would be acknowledged, and lost with the last connection."""
    clock = ManualClock()
    store = SqliteStore.open(tmp_path / "duro.db", url="", clock=clock, new_id=lambda: "id")
    assert store.acquire_maintenance("somebody", 1_000)
    (tmp_path / "duro.db").rename(tmp_path / "elsewhere.db")
    if replaced:
        (tmp_path / "duro.db").touch()
    clock.advance(1_000)
    with pytest.raises(StoreNotFoundError, match="was removed or replaced while it was open"):
        store.acquire_maintenance("somebody", 1_000)
    (tmp_path / "elsewhere.db").rename(tmp_path / "duro.db")
    assert store.acquire_maintenance("somebody", 1_000)
    store.close()


class _FailingLooks:
    """From the ``at``-th call of ``os.stat`` about what is below ``root`` on, as many as ``count`` fail."""

    def __init__(self, root: Path, at: int, count: int = 1) -> None:
        self._root, self._failing = root, range(at, at + count)
        self._real, self._made = os.stat, 0

    def __call__(self, path: Any, *args: Any, **named: Any) -> os.stat_result:
        if isinstance(path, str | os.PathLike) and self._root in (Path(path), *Path(path).parents):
            self._made += 1
            if self._made in self._failing:
                raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return self._real(path, *args, **named)

    @property
    def failed(self) -> bool:
        return self._made >= self._failing.start


@pytest.mark.parametrize("made_before", [False, True])
def test_a_directory_that_cannot_be_looked_at_once_is_an_error_of_the_store_and_none_later(
    tmp_path: Path, made_before: bool
) -> None:
    for at in range(1, 100):
        path = tmp_path / f"{at}.db"
        if made_before:
            open_store(path).close()
        opening = partial(SqliteStore.open, path, url="", clock=(clock := ManualClock()), new_id=lambda: "id")
        looks = _FailingLooks(tmp_path, at)
        store = None
        with mock.patch.object(os, "stat", looks), contextlib.suppress(StoreError):
            store = opening()
        with contextlib.closing(store or opening()) as opened:
            clock.advance(10_000)  # it looks again whether this is still its file
            start(opened)
        if not looks.failed:
            assert at > 5
            return
    raise AssertionError("it never ends")


def test_a_look_at_the_directory_that_fails_does_not_say_that_the_file_was_removed(tmp_path: Path) -> None:
    clock = ManualClock()
    store = SqliteStore.open(tmp_path / "duro.db", url="", clock=clock, new_id=lambda: "id")
    with contextlib.closing(store):
        clock.advance(10_000)
        with mock.patch.object(os, "stat", _FailingLooks(tmp_path, 1, 100)) as looks:
            start(store)
            assert looks.failed
            with pytest.raises(StoreError, match="Input/output error"):
                store.sizes()
            with pytest.raises(StoreError, match="Input/output error"):
                store.rewrite()


def test_a_new_store_has_every_pragma_as_it_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "duro.db"
    store = open_store(path)
    writer = store._writer._connection  # type: ignore[union-attr]
    assert writer.execute(sql.GET_JOURNAL_MODE).get == "wal"
    assert writer.execute(sql.GET_SYNCHRONOUS).get == 2
    assert writer.execute(sql.GET_WAL_AUTOCHECKPOINT).get == 8000
    assert writer.execute(sql.GET_JOURNAL_SIZE_LIMIT).get == 64 * 1024 * 1024
    store.close()
    assert pragma(path, "auto_vacuum") == 2
    assert pragma(path, "application_id") == 0x4475726F
    assert pragma(path, "user_version") == migrations.SCHEMA_VERSION


@pytest.mark.parametrize(("name", "level"), [("NORMAL", 1), ("FULL", 2), ("EXTRA", 3)])
def test_synchronous_is_what_was_asked_for_by_name(tmp_path: Path, name: str, level: int) -> None:
    store = open_store(tmp_path / "duro.db", synchronous=name)
    assert store._writer._connection.execute(sql.GET_SYNCHRONOUS).get == level  # type: ignore[union-attr]
    store.close()


def test_a_pragma_that_does_not_read_back_is_an_error() -> None:
    with pytest.raises(StoreError, match="synchronous"):
        connection._expect(1, 2, "synchronous")


def test_only_its_owner_can_read_the_file_and_its_log(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        store = open_store(tmp_path / "duro.db")
        start(store)
        modes = {entry.name: entry.stat().st_mode & 0o777 for entry in tmp_path.iterdir()}
        store.close()
    finally:
        os.umask(before)
    assert modes == {"duro.db": 0o600, "duro.db-wal": 0o600, "duro.db-shm": 0o600}


def test_closing_leaves_one_file(tmp_path: Path) -> None:
    store = open_store(tmp_path / "duro.db")
    start(store)
    store.get_instance("one")
    store.close()
    assert [entry.name for entry in tmp_path.iterdir()] == ["duro.db"]


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    path = tmp_path / "duro.db"
    path.touch()
    store = open_store(path)
    start(store)
    store.close()
    assert pragma(path, "auto_vacuum") == 2


def test_a_database_without_tables_becomes_a_store_with_auto_vacuum(tmp_path: Path) -> None:
    path = tmp_path / "duro.db"
    plain = apsw.Connection(str(path))
    plain.execute("PRAGMA journal_mode = WAL")
    plain.close()
    assert path.stat().st_size > 0
    assert pragma(path, "auto_vacuum") == 0
    open_store(path).close()
    assert pragma(path, "auto_vacuum") == 2


def test_opening_again_keeps_what_is_there_and_who_it_is(tmp_path: Path) -> None:
    path = tmp_path / "duro.db"
    store = open_store(path)
    start(store)
    store.close()
    again = SqliteStore.open(path, url="u", clock=SystemClock(), new_id=lambda: "another-id")
    assert again.info().store_id == "store-id"
    assert again.get_instance("one") is not None
    again.close()


def test_a_file_whose_log_was_made_before_its_journal_was_gone_is_opened(tmp_path: Path) -> None:
    """A cut of power may leave both: the removal of the one was not on the disk when the other was."""
    making, path = tmp_path / "making.db", tmp_path / "duro.db"
    plain = apsw.Connection(str(making))
    plain.execute("CREATE TABLE t (x); DROP TABLE t")
    plain.execute("BEGIN IMMEDIATE; CREATE TABLE half (x)")
    plain.cache_flush()  # the journal is synced, then the pages are written
    shutil.copy(making, path)
    shutil.copy(f"{making}-journal", f"{path}-journal")
    plain.execute("ROLLBACK")
    plain.close()
    Path(f"{path}-wal").write_bytes(b"\0" * 32)
    store = open_store(path)
    start(store)
    store.close()
    assert pragma(path, "quick_check") == "ok"
    with contextlib.closing(open_store(path)) as again:
        assert [row["instance_id"] for row in again.dump()["instances"]] == ["one"]


def test_a_symbolic_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link.db").symlink_to(tmp_path / "real" / "duro.db")
    store = open_store(tmp_path / "link.db")
    start(store)
    store.close()
    assert (tmp_path / "real" / "duro.db").stat().st_size > 0


def test_the_migrations_make_the_schema_from_nothing_with_their_record() -> None:
    empty = apsw.Connection(":memory:")
    migrations.migrate(empty, "id", 7)
    migrations.migrate(empty, "another", 8)
    tables = {row[0] for row in empty.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    assert tables == set(sql.DUMP)
    assert empty.execute("SELECT store_id, created_at_ms FROM store").get == ("id", 7)
    assert empty.execute(sql.GET_USER_VERSION).get == len(migrations.scripts()) == migrations.SCHEMA_VERSION


def test_a_migration_that_fails_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrations, "scripts", lambda: ["CREATE TABLE a (b); CREATE TABLE a (b);"])
    empty = apsw.Connection(":memory:")
    with pytest.raises(apsw.SQLError):
        migrations.migrate(empty, "id", 7)
    assert empty.execute(sql.COUNT_TABLES).get == 0
    assert empty.execute(sql.GET_USER_VERSION).get == 0
    assert not empty.in_transaction


# --- what is refused, and left as it was ---------------------------------------------------------------------


def test_a_missing_directory_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFoundError, match="mkdir -p") as caught:
        open_store(tmp_path / "no" / "duro.db")
    assert str(tmp_path / "no") in str(caught.value)
    assert caught.value.exit_code == 10


def test_a_missing_file_is_not_made_unless_asked_for(tmp_path: Path) -> None:
    refused(tmp_path / "duro.db", StoreNotFoundError, create=False)
    refused(tmp_path / "duro.db", StoreNotFoundError, read_only=True)


def test_an_empty_file_is_no_store_unless_one_may_be_made(tmp_path: Path) -> None:
    path = tmp_path / "duro.db"
    path.touch()
    refused(path, NotADuroStoreError, create=False)
    refused(path, NotADuroStoreError, read_only=True)


@pytest.mark.parametrize("contents", [b"x", b"hello, world\n" * 1000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_no_database_is_refused(tmp_path: Path, contents: bytes) -> None:
    path = tmp_path / "duro.db"
    path.write_bytes(contents)
    assert refused(path, NotADatabaseError).exit_code == 10


def test_a_directory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "duro.db"
    path.mkdir()
    with pytest.raises(NotADatabaseError):
        open_store(path)
    assert list(path.iterdir()) == []


@pytest.mark.parametrize("journal_mode", ["WAL", "DELETE"])
def test_a_database_of_another_application_is_refused(tmp_path: Path, journal_mode: str) -> None:
    path = tmp_path / "duro.db"
    plain = apsw.Connection(str(path))
    assert plain.execute(f"PRAGMA journal_mode = {journal_mode}").get == journal_mode.lower()
    plain.execute("CREATE TABLE theirs (a); PRAGMA user_version = 1")
    plain.close()
    assert refused(path, NotADuroStoreError).exit_code == 10


def test_a_database_another_application_has_open_is_refused(tmp_path: Path) -> None:
    """Its log holds everything, its file nothing yet."""
    path = tmp_path / "duro.db"
    plain = apsw.Connection(str(path))
    assert plain.execute("PRAGMA journal_mode = WAL").get == "wal"
    plain.execute("CREATE TABLE theirs (a)")
    names = sorted(entry.name for entry in tmp_path.iterdir())
    size = path.stat().st_size
    with pytest.raises(NotADuroStoreError):
        open_store(path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == names
    assert path.stat().st_size == size
    plain.execute("INSERT INTO theirs VALUES (1)")
    plain.close()


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "duro.db"
    open_store(path).close()
    plain = apsw.Connection(str(path))
    plain.execute("PRAGMA user_version = 99")
    plain.close()
    assert refused(path, SchemaTooNewError).exit_code == 12
    assert refused(path, SchemaTooNewError, read_only=True).exit_code == 12


def test_an_older_schema_is_not_migrated_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "duro.db"
    open_store(path).close()
    monkeypatch.setattr(migrations, "SCHEMA_VERSION", migrations.SCHEMA_VERSION + 1)
    refused(path, SchemaTooOldError, read_only=True)


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """One that another user can reach (pytest's own cannot)."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def refused_as_read_only(path: Path) -> bool:
    """Whether opening fails as it should, for somebody who is not root: root may write everything."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if os.geteuid() == 0:
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            open_store(path)
        except StoreReadOnlyError:
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize(("file_mode", "directory_mode"), [(0o444, 0o777), (0o666, 0o555), (0o444, 0o555)])
def test_a_file_or_directory_that_cannot_be_written_is_refused(
    open_directory: Path, file_mode: int, directory_mode: int
) -> None:
    path = open_directory / "duro.db"
    open_store(path).close()
    before = directory_contents(open_directory)
    path.chmod(file_mode)
    open_directory.chmod(directory_mode)
    assert refused_as_read_only(path)
    open_directory.chmod(0o755)
    assert directory_contents(open_directory) == before


def test_a_new_file_in_a_directory_that_cannot_be_written_is_refused(open_directory: Path) -> None:
    open_directory.chmod(0o555)
    assert refused_as_read_only(open_directory / "duro.db")
    assert list(open_directory.iterdir()) == []


def on_a_read_only_medium(monkeypatch: pytest.MonkeyPatch) -> None:
    statvfs = os.statvfs

    def read_only(path: Path) -> os.statvfs_result:
        told = list(statvfs(path))
        told[8] |= os.ST_RDONLY
        return os.statvfs_result(told)

    monkeypatch.setattr(os, "statvfs", read_only)


def test_a_store_on_a_read_only_medium_is_read_without_a_file_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "duro.db"
    with_one = open_store(path)
    start(with_one)
    with_one.close()
    (tmp_path / "duro.db-reserve").unlink(missing_ok=True)
    on_a_read_only_medium(monkeypatch)
    reader = open_store(path, read_only=True)
    assert reader.get_instance("one") is not None
    assert reader.change_counter() == reader.change_counter()
    assert [each.name for each in tmp_path.iterdir()] == ["duro.db"]
    reader.close()


def test_a_log_beside_a_store_is_read_on_a_read_only_medium_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = open_store(tmp_path / "duro.db")
    start(writer)
    on_a_read_only_medium(monkeypatch)
    reader = open_store(tmp_path / "duro.db", read_only=True)
    assert reader.get_instance("one") is not None, "it is in the log"
    start(writer, "two")
    assert reader.get_instance("two") is not None, "somebody writes it"
    reader.close()
    writer.close()


def test_a_journal_beside_a_store_on_a_read_only_medium_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "duro.db"
    open_store(path).close()
    on_a_read_only_medium(monkeypatch)
    assert connection._is_finished(path)
    (tmp_path / "duro.db-journal").write_bytes(b"what was cut")
    assert not connection._is_finished(path)


def test_where_a_store_cannot_be_opened_the_hint_says_what_can_be_done() -> None:
    said = apsw.exception_for(apsw.SQLITE_CANTOPEN)
    assert isinstance(said, apsw.Error)
    error = connection.store_error(said, Path("duro.db"))
    assert error.hint is not None
    assert "copy it, with its -wal," in error.hint
    assert "`duroctl backup`" in error.hint


def test_a_store_opened_read_only_reads_and_does_not_write(tmp_path: Path) -> None:
    path = tmp_path / "duro.db"
    store = open_store(path)
    start(store)
    store.close()
    contents = path.read_bytes()
    reader = open_store(path, read_only=True)
    assert reader.get_instance("one") is not None
    with pytest.raises(StoreReadOnlyError):
        start(reader, "two")
    reader.close()
    assert path.read_bytes() == contents


# --- network file systems ------------------------------------------------------------------------------------

MOUNTS = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:40 / /home rw shared:1 - nfs4 server:/home rw
31 30 0:41 / /home/me/local\\040disk rw - ext4 /dev/vdb rw
32 22 0:42 / /data rw - ext4 /dev/vdc rw
33 32 0:43 / /data rw - cifs //server/share rw
nonsense
"""


@pytest.mark.parametrize(
    ("directory", "kind"),
    [
        ("/var/lib", None),
        ("/home", "nfs4"),
        ("/home/me", "nfs4"),
        ("/homework", None),
        ("/home/me/local disk/x", None),
        ("/data/x", "cifs"),
    ],
)
def test_the_deepest_and_latest_mount_says_what_a_directory_is_on(directory: str, kind: str | None) -> None:
    assert connection.network_file_system(Path(directory), MOUNTS) == kind


def test_a_network_file_system_is_refused_unless_allowed_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "network_file_system", lambda directory, mountinfo: "nfs4")
    refused(tmp_path / "duro.db", StoreError)
    open_store(tmp_path / "duro.db", allow_network_fs=True).close()


# --- errors --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (apsw.SQLITE_BUSY, "StoreLockedError"),
        (apsw.SQLITE_BUSY_SNAPSHOT, "StoreLockedError"),
        (apsw.SQLITE_LOCKED, "StoreLockedError"),
        (apsw.SQLITE_FULL, "StoreFullError"),
        (apsw.SQLITE_CORRUPT_INDEX, "StoreCorruptError"),
        (apsw.SQLITE_NOTADB, "NotADatabaseError"),
        (apsw.SQLITE_READONLY_DIRECTORY, "StoreReadOnlyError"),
        (apsw.SQLITE_IOERR_FSYNC, "StoreError"),
        (apsw.SQLITE_CANTOPEN, "StoreError"),
        (apsw.SQLITE_CONSTRAINT, "StoreError"),
    ],
)
def test_errors_are_told_apart_by_their_code(code: int, name: str) -> None:
    error = apsw.exception_for(code)
    assert isinstance(error, apsw.Error)
    assert type(connection.store_error(error, Path("f"))).__name__ == name


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (errno.ENOSPC, "StoreFullError"),
        (errno.EDQUOT, "StoreFullError"),
        (errno.EROFS, "StoreReadOnlyError"),
        (errno.EACCES, "StoreReadOnlyError"),
        (errno.EIO, "StoreError"),
        (errno.EINTR, "StoreError"),
    ],
)
def test_what_the_system_says_is_told_apart_by_its_number(number: int, name: str) -> None:
    error = OSError(number, os.strerror(number))
    assert type(connection.system_error(error, Path("f"))).__name__ == name
