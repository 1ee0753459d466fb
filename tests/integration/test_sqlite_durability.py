"""What was acknowledged has been synced: seen from below SQLite, in the writes and syncs of its files."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import duro
from duro.maintenance.pruning import PruneProgress
from duro.stores.sqlite import SqliteStore, sql
from duro.stores.sqlite.committer import Committer
from duro.testing import check_invariants
from duro.testing.builders import prune_batch
from duro.testing.clock import ManualClock
from tests.support.file_syncs import FileSyncs, watched_files
from tests.support.pruning import Loops, open_sqlite, writer_connection

EXECUTIONS = 1_200
"""More than one batch of a prune looks at."""

KEEP_ONE = duro.PruneOptions(keep_last=1)
EVERYTHING = duro.PurgeOptions(keep_within=0.001)


@pytest.fixture
def files() -> Iterator[FileSyncs]:
    with watched_files() as seen:
        yield seen


def long_loop(store: SqliteStore) -> duro.Client:
    loops = Loops(store)
    loops.start("a")
    loops.go_on(EXECUTIONS)
    return duro.Client(store)


def test_every_write_of_a_client_or_a_worker_is_synced_when_it_returns(tmp_path: Path, files: FileSyncs) -> None:
    clock = ManualClock()
    with contextlib.closing(open_sqlite(tmp_path / "duro.db", clock)) as store:
        assert not files.unsynced
        loops = Loops(store)
        for write in (
            lambda: loops.start("a"),
            loops.go_on,
            lambda: store.prune(prune_batch((loops.incarnation("a"), 1), run_id="run-1", grace_ms=9)),
            lambda: store.undo_prune("hold-1", 10**15, run_id="run-1"),
            lambda: duro.Client(store).raise_event("a", "note", 1),
            lambda: loops.start("b"),
            lambda: store.terminate_instance("b", "enough"),
            lambda: duro.Client(store).purge_instances(EVERYTHING),
        ):
            before = files.syncs
            clock.advance(10)
            write()
            assert not files.unsynced
            assert files.syncs > before


def test_a_prune_of_many_batches_is_synced_when_it_returns_and_not_after_each(tmp_path: Path, files: FileSyncs) -> None:
    with contextlib.closing(open_sqlite(tmp_path / "duro.db", ManualClock())) as store:
        client = long_loop(store)
        unsynced: list[bool] = []
        result = client.prune_executions_bulk(
            KEEP_ONE, grace_s=0, progress=lambda _: unsynced.append(bool(files.unsynced))
        )
        assert result.executions_deleted == EXECUTIONS
        assert len(unsynced) > 1
        assert not unsynced[0]
        assert any(unsynced)
        assert not files.unsynced
        check_invariants(store)


def test_a_prune_that_is_stopped_is_synced_as_far_as_it_came(tmp_path: Path, files: FileSyncs) -> None:
    with contextlib.closing(open_sqlite(tmp_path / "duro.db", ManualClock())) as store:
        client = long_loop(store)
        calls: list[int] = []

        def until_second(progress: PruneProgress) -> bool:
            calls.append(progress.executions)
            return len(calls) < 2

        result = client.prune_executions_bulk(KEEP_ONE, grace_s=0, progress=until_second)
        assert 0 < result.executions_deleted < EXECUTIONS
        assert not files.unsynced


def test_what_is_written_beside_a_long_prune_is_synced_with_all_that_went_before(
    tmp_path: Path, files: FileSyncs
) -> None:
    with contextlib.closing(open_sqlite(tmp_path / "duro.db", ManualClock())) as store:
        client = long_loop(store)
        seen: list[bool] = []

        def start_one(progress: PruneProgress) -> None:
            client.start_orchestration("Order", instance_id=f"beside-{progress.executions}", if_exists="return")
            seen.append(bool(files.unsynced))

        client.prune_executions_bulk(KEEP_ONE, grace_s=0, progress=start_one)
        assert len(seen) > 1
        assert not any(seen)


def test_a_purge_of_many_batches_is_synced_when_it_returns(tmp_path: Path, files: FileSyncs) -> None:
    clock = ManualClock()
    with contextlib.closing(open_sqlite(tmp_path / "duro.db", clock)) as store:
        names = [f"a-{number}" for number in range(200)]
        Loops(store).start(*names)
        for name in names:
            store.terminate_instance(name, "enough")
        clock.advance(10)
        unsynced: list[bool] = []
        result = duro.Client(store).purge_instances(
            EVERYTHING, grace_s=0, progress=lambda _: unsynced.append(bool(files.unsynced))
        )
        assert result.instances == len(names)
        assert any(unsynced)
        assert not files.unsynced
        check_invariants(store)


def test_without_the_sync_at_its_end_a_long_prune_would_be_found_unsynced(
    tmp_path: Path, files: FileSyncs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Committer, "sync", lambda _: None)
    with contextlib.closing(open_sqlite(tmp_path / "duro.db", ManualClock())) as store:
        client = long_loop(store)
        writer_connection(store).execute(sql.CUT_LOG)  # a long one would be copied into the file, and synced for that
        client.prune_executions_bulk(KEEP_ONE, grace_s=0)
        assert files.unsynced


def test_a_store_that_syncs_less_would_be_found_unsynced(tmp_path: Path, files: FileSyncs) -> None:
    path = tmp_path / "duro.db"
    store = SqliteStore.open(
        path, url=f"sqlite:///{path}", clock=ManualClock(), new_id=lambda: "id", synchronous="NORMAL"
    )
    with contextlib.closing(store):
        Loops(store).start("a")
        assert files.unsynced
