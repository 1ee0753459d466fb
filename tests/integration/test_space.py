"""The room a store takes: counted, given back beside writers, copied whole, and written out as tables."""

import contextlib
import errno
import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

import duro
from duro.errors import BackupError, StoreError, StoreFullError
from duro.stores.base import Store
from duro.stores.sqlite import SqliteStore
from duro.testing import check_invariants
from duro.testing.builders import prune_batch
from duro.testing.clock import ManualClock
from tests.support.pruning import Loops, open_sqlite

KEEP_ONE = duro.PruneOptions(keep_last=1)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    """Instances a and b in their hundredth execution."""
    opened = open_sqlite(tmp_path / "duro.db", ManualClock())
    loops = Loops(opened)
    loops.start("a", "b")
    loops.go_on(99)
    yield opened
    opened.close()


def files(directory: Path) -> set[str]:
    return {each.name for each in directory.iterdir()} - {"duro.db", "duro.db-wal", "duro.db-shm", "duro.db-reserve"}


def rows(path: Path, statement: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute(statement).fetchall()


# --- stats -------------------------------------------------------------------------------------------------------


def test_stats_tell_what_each_orchestration_takes_and_what_may_go(store: SqliteStore) -> None:
    client = duro.Client(store)
    found = client.stats()
    (order,) = found.names
    assert (order.usage.executions, order.usage.instances, order.share) == (200, 2, 1.0)
    assert order.usage.history_bytes == found.store.logical_bytes
    assert order.usage.recent_executions == 200
    assert found.removable.executions == 0
    client.set_instance_policy("a", 10)
    may_go = client.stats().removable
    planned = client.plan_prune(scope=duro.PruneScope(instance_ids=("a",))).totals
    assert (may_go.executions, may_go.events, may_go.history_bytes) == (
        planned.executions_removed,
        planned.events_removed,
        planned.bytes_removed,
    )
    assert may_go.executions == 90
    store.prune(prune_batch((1, 50), run_id="run-1", grace_ms=1_000))
    assert client.stats().marked.executions == 50


# --- compact -----------------------------------------------------------------------------------------------------


def test_compact_gives_back_what_is_free_and_changes_no_row(store: SqliteStore) -> None:
    client = duro.Client(store)
    client.prune_executions_bulk(KEEP_ONE, grace_s=0)
    before = store.dump()
    assert store.sizes().free_bytes > 0
    seen: list[int] = []
    result = client.compact(progress=lambda now: seen.append(now.free_bytes))
    assert (result.before.free_bytes, result.after.free_bytes, result.stopped) == (result.before.free_bytes, 0, False)
    assert result.after.total_bytes <= result.before.total_bytes - result.before.free_bytes
    assert result.after.wal_bytes == 0
    assert seen
    after = store.dump()
    assert {name: rows for name, rows in after.items() if name != "store"} == {
        name: rows for name, rows in before.items() if name != "store"
    }
    check_invariants(store)
    assert client.compact().before == client.compact().after


def test_compact_stops_when_it_is_asked_to(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("duro.maintenance.space._PAGES_A_STEP", 2)
    client = duro.Client(store)
    client.prune_executions_bulk(KEEP_ONE, grace_s=0)
    result = client.compact(progress=lambda _: False)
    assert result.stopped
    assert 0 < result.after.free_bytes < result.before.free_bytes


def test_compact_goes_on_beside_a_writer(store: SqliteStore, tmp_path: Path) -> None:
    duro.Client(store).prune_executions_bulk(KEEP_ONE, grace_s=0)
    over = threading.Event()
    written: list[int] = []

    def write() -> None:
        with duro.Client(tmp_path / "duro.db") as client:
            while not over.is_set():
                client.raise_event("a", "note", len(written))
                written.append(1)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        result = duro.Client(store).compact()
    finally:
        over.set()
        thread.join()
    assert result.after.total_bytes < result.before.total_bytes
    assert len(store.dump()["mailbox"]) == len(written)
    check_invariants(store)


def test_compact_full_writes_the_file_anew_and_nothing_else_changes(store: SqliteStore) -> None:
    client = duro.Client(store)
    client.prune_executions_bulk(KEEP_ONE, grace_s=0)
    before = store.dump()
    store.release_worker(Loops(store).worker.worker_id)
    for worker in store.list_workers():
        store.release_worker(worker.worker_id)
    before = store.dump()
    result = client.compact(full=True)
    assert (result.after.free_bytes, result.after.wal_bytes) == (0, 0)
    assert store.dump() == before
    assert store.give_back(1) == 0
    client.raise_event("a", "after", 1)
    check_invariants(store)


def test_compact_full_is_refused_beside_a_worker_or_without_room(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = duro.Client(store)
    with pytest.raises(StoreError, match="a worker runs"):
        client.compact(full=True)
    for worker in store.list_workers():
        store.release_worker(worker.worker_id)
    monkeypatch.setattr("duro.stores.sqlite.space.shutil.disk_usage", lambda _: type("Usage", (), {"free": 4096})())
    with pytest.raises(StoreFullError, match="and 4,096 are free"):
        client.compact(full=True)
    check_invariants(store)


@pytest.mark.parametrize(
    ("of_store", "hint"),
    [
        (0, "free some space, or compact without --full"),
        (10**12, "free some space, set SQLITE_TMPDIR to another disk, or compact without --full"),
    ],
)
def test_compact_full_proposes_another_disk_for_temporary_files_where_theirs_is_too_small(
    of_store: int, hint: str, store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    monkeypatch.setenv("SQLITE_TMPDIR", str(small))
    for worker in store.list_workers():
        store.release_worker(worker.worker_id)
    free = {tmp_path: of_store, small: 0}
    monkeypatch.setattr(
        "duro.stores.sqlite.space.shutil.disk_usage", lambda path: type("Usage", (), {"free": free[Path(path)]})()
    )
    with pytest.raises(StoreFullError, match="and 0 are free") as refused:
        duro.Client(store).compact(full=True)
    assert refused.value.hint == hint


def test_a_file_without_incremental_vacuum_says_how_it_can_be_compacted(store: SqliteStore, tmp_path: Path) -> None:
    for worker in store.list_workers():
        store.release_worker(worker.worker_id)
    store.close()
    connection = apsw.Connection(str(tmp_path / "duro.db"))
    connection.execute("PRAGMA journal_mode = DELETE; PRAGMA auto_vacuum = NONE; VACUUM").fetchall()
    connection.close()
    with duro.Client(tmp_path / "duro.db") as client:
        with pytest.raises(StoreError, match="made without incremental vacuum") as refused:
            client.compact()
        assert "duroctl compact --full" in (refused.value.hint or "")
        client.compact(full=True)
        assert client.compact().after.free_bytes == 0


# --- backup ------------------------------------------------------------------------------------------------------


def test_a_backup_is_the_store_as_it_was_beside_a_writer(store: SqliteStore, tmp_path: Path) -> None:
    client = duro.Client(store)
    target = tmp_path / "backup.db"
    steps: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        if not steps:
            client.start_orchestration("Order", instance_id="meanwhile")
        steps.append((done, total))

    before = store.dump()
    client.backup(target, progress=progress)
    assert steps[-1][0] == steps[-1][1] > 0
    assert files(tmp_path) == {"backup.db"}
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    copy = duro.open_store(target)
    assert copy.dump() == before
    assert copy.store_id() == store.store_id()
    check_invariants(copy)
    copy.close()
    assert client.get_instance("meanwhile").status.value == "pending"


@pytest.mark.parametrize("target", ["duro.db", "there", "link", "no/where", "."])
def test_a_backup_overwrites_nothing(store: SqliteStore, tmp_path: Path, target: str) -> None:
    (tmp_path / "there").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    before = store.dump()
    for write in (duro.Client(store).backup, duro.Client(store).export):
        with pytest.raises(duro.UsageError):
            write(tmp_path / target)
    assert (tmp_path / "there").read_text() == "mine"
    assert files(tmp_path) == {"there", "link"}
    assert store.dump() == before


@pytest.mark.parametrize("ending", ["-wal", "-journal", "-shm"])
@pytest.mark.parametrize("way", ["backup", "export"])
def test_a_new_file_does_not_come_to_stand_beside_the_log_of_an_earlier_one(
    way: str, ending: str, store: SqliteStore, tmp_path: Path
) -> None:
    left = tmp_path / f"new.db{ending}"
    left.write_bytes(b"of another file")
    with pytest.raises(duro.UsageError, match=rf"new\.db{ending}', left by an earlier file .* remove new\.db{ending}"):
        getattr(duro.Client(store), way)(tmp_path / "new.db")
    assert files(tmp_path) == {left.name}
    assert left.read_bytes() == b"of another file"


def test_a_backup_that_fails_in_the_middle_leaves_no_file(store: SqliteStore, tmp_path: Path) -> None:
    def fails(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        duro.Client(store).backup(tmp_path / "backup.db", progress=fails)
    with pytest.raises(BackupError, match="cannot be written"):
        duro.Client(store).backup("/proc/backup.db")
    assert files(tmp_path) == set()


def test_a_backup_onto_a_disk_that_becomes_full_says_so(store: SqliteStore, tmp_path: Path) -> None:
    def fails(done: int, total: int) -> None:
        raise apsw.FullError("not an error")  # what SQLite has to say of it in a copy

    with pytest.raises(BackupError, match="cannot be written: the disk is full; check the room on the disk"):
        duro.Client(store).backup(tmp_path / "backup.db", progress=fails)
    assert files(tmp_path) == set()


@pytest.mark.parametrize("way", ["backup", "export"])
def test_a_place_for_a_new_file_that_cannot_be_looked_at_is_an_error_of_the_backup(
    way: str, store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stat(path: Any, **_: Any) -> os.stat_result:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    client = duro.Client(store)
    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", stat)
        with pytest.raises(BackupError, match="Input/output error"):
            getattr(client, way)(tmp_path / "new.db")
    assert not (tmp_path / "new.db").exists()


def test_a_store_in_memory_has_no_backup(tmp_path: Path) -> None:
    with duro.Client("memory:") as client, pytest.raises(BackupError, match="without a file"):
        client.backup(tmp_path / "backup.db")


# --- export ------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["memory", "sqlite"])
def family(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """What a runtime made: a parent with two children, an eternal loop that was pruned, a hostile name."""
    registry = duro.Registry()

    @registry.orchestration(name="nice.child")
    async def child(ctx: duro.OrchestrationContext, number: int) -> int:
        return number

    @registry.orchestration
    async def parent(ctx: duro.OrchestrationContext) -> list[int]:
        return await ctx.join(*[ctx.schedule_sub_orchestration(child, each) for each in (1, 2)])

    @registry.orchestration
    async def loop(ctx: duro.OrchestrationContext, left: int) -> int:
        if left:
            await ctx.continue_as_new(left - 1)
        return left

    url = "memory:" if request.param == "memory" else f"sqlite:///{tmp_path}/duro.db"
    opened = duro.open_store(url)
    with duro.Runtime(opened, registry) as runtime:
        client = runtime.client
        for started in (
            client.start_orchestration(parent, instance_id="p'; DROP TABLE instances; --\x1b[31m"),
            client.start_orchestration(loop, 9, instance_id="loop"),
        ):
            client.wait_for_orchestration(started, 20)
        client.prune_executions("loop", 4, reason="a test", by="ada")
    yield opened
    opened.close()


def test_an_export_has_every_row_in_documented_tables(family: Store, tmp_path: Path) -> None:
    client = duro.Client(family)
    target = tmp_path / "export.db"
    before = family.dump()
    result = client.export(target)
    assert family.dump() == before
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert {name for (name,) in rows(target, "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view')")} >= {
        *("about", "instances", "executions", "events", "lineage", "ledger", "runs", "eternal")
    }
    for table in ("instances", "executions", "events", "lineage", "ledger", "runs"):
        assert rows(target, f"SELECT count(*) FROM {table}") == [(getattr(result, table),)]
    assert rows(target, "SELECT instance_id, incarnation, name, status FROM instances ORDER BY 2") == [
        (each.instance_id, each.incarnation, each.name, each.status.value)
        for each in reversed(client.list_instances(limit=0).instances)
    ]
    expected = [
        (each.incarnation, each.execution_id, each.status.value, each.event_count, each.history_bytes)
        for each in client.list_executions(limit=0).executions
    ]
    found = rows(target, "SELECT incarnation, execution_id, status, event_count, history_bytes FROM executions")
    assert sorted(found) == sorted(expected)
    for execution in client.list_executions(limit=0).executions:
        scope = f"incarnation = {execution.incarnation} AND execution_id = {execution.execution_id}"
        stored = tuple(text for (text,) in rows(target, f"SELECT data FROM events WHERE {scope} ORDER BY event_id"))
        assert stored == client.read_history(execution.instance_id, execution.execution_id).events
    joined = "executions JOIN instances USING (incarnation) WHERE name = 'loop'"
    assert rows(target, f"SELECT min(execution_id), max(execution_id), count(*) FROM {joined}") == [(7, 10, 4)]
    assert rows(target, "SELECT count(*), min(parent_instance_id) FROM lineage") == [
        (2, "p'; DROP TABLE instances; --\x1b[31m")
    ]
    assert rows(target, "SELECT executions, first_execution_id, last_execution_id FROM ledger") == [(6, 1, 6)]
    assert rows(target, 'SELECT "by", reason, executions FROM runs') == [("ada", "a test", 6)]
    assert rows(target, "SELECT instance_id, executions FROM eternal") == [("loop", 4)]
    assert rows(target, "PRAGMA foreign_key_check") == []
    assert dict(rows(target, "SELECT key, value FROM about"))["schema"] == "duro.export/1"


def test_an_export_can_be_of_some_orchestrations_and_without_events(family: Store, tmp_path: Path) -> None:
    result = duro.Client(family).export(tmp_path / "export.db", name="nice.*", events=False)
    assert (result.instances, result.executions, result.events, result.lineage) == (2, 2, 0, 2)
    assert rows(tmp_path / "export.db", "SELECT DISTINCT name FROM instances") == [("nice.child",)]


def test_an_export_and_its_name_are_synced_when_it_returns(
    family: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[bool, bool]] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append((stat.S_ISDIR(os.fstat(descriptor).st_mode), (tmp_path / "export.db").exists()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    duro.Client(family).export(tmp_path / "export.db")
    assert synced == [(False, False), (True, True)], "the file before it has its name, its directory after"


def test_an_export_that_fails_leaves_no_file(family: Store, tmp_path: Path) -> None:
    def fails(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        duro.Client(family).export(tmp_path / "export.db", progress=fails)
    assert files(tmp_path) == set()
    with pytest.raises(BackupError, match="cannot be written"):
        duro.Client(family).export("/proc/export.db")
