"""A file of the first schema, opened by this release: all that was there is there, and it can be pruned."""

from pathlib import Path

import apsw
import pytest

import duro
from duro.errors import SchemaTooOldError, StoreError
from duro.stores.base import StoreDump
from duro.stores.sqlite import migrations, sql
from duro.testing.builders import prune_batch
from duro.testing.clock import ManualClock
from duro.testing.invariants import check_invariants
from tests.support.first_schema import contents, write_first_schema
from tests.support.pruning import Loops, automatic, open_sqlite


@pytest.fixture
def before(tmp_path: Path) -> StoreDump:
    return contents(tmp_path / "other.db")


@pytest.fixture
def path(tmp_path: Path, before: StoreDump) -> Path:
    """A file of the first schema with the rows of ``before``."""
    path = tmp_path / "duro.db"
    write_first_schema(path, before)
    return path


def test_a_file_of_the_first_schema_keeps_all_it_has(path: Path, before: StoreDump) -> None:
    store = open_sqlite(path, ManualClock())
    assert store.info().schema_version == migrations.SCHEMA_VERSION
    after = store.dump()
    for table in ("instances", "executions", "history", "messages", "mailbox", "lineage", "requests", "store"):
        assert after[table] == before[table], table
    assert {row["live_from"] for row in after["instances"]} == {1}
    assert all(after[table] == [] for table in ("holds", "ledger", "prune_runs", "ledger_totals", "publications"))
    check_invariants(store)
    store.close()


def test_what_was_written_before_is_pruned_like_anything_else(path: Path) -> None:
    clock = ManualClock()
    store = open_sqlite(path, clock)
    loops = Loops(store)
    clock.advance(60_000)  # whoever held the instances is gone
    store.release_expired()
    loops.worker.register()
    (done,) = store.prune(prune_batch((loops.incarnation("b"), 2), run_id="run-1", grace_ms=5))
    assert done.result.executions_deleted == 2
    assert loops.live("b") == [3, 4]
    assert store.undo_prune("hold-1", 10**15, run_id="run-1").executions_restored == 2
    assert loops.live("b") == [1, 2, 3, 4]
    end = next(each for each in loops.ends(policies=automatic(1)) if each.instance_id == "a")
    loops.worker.commit(end)
    assert loops.live("a") == [5]
    check_invariants(store)
    store.close()


def test_a_file_of_the_first_schema_is_not_touched_by_a_reader(path: Path) -> None:
    contents_before = path.read_bytes()
    with pytest.raises(SchemaTooOldError, match="and so does a command that writes, such as `duroctl compact`"):
        migrations.prepare_file(path, create=False, for_writing=False, busy_timeout_ms=0)
    assert path.read_bytes() == contents_before


def test_a_file_of_an_older_schema_can_be_copied_before_it_is_migrated(path: Path, tmp_path: Path) -> None:
    """A backup from before the update is the only way back."""
    contents_before = path.read_bytes()
    copying = duro.open_store(path, read_only=True, to_copy=True)
    duro.Client(copying).backup(tmp_path / "backup.db")
    copying.close()
    assert path.read_bytes() == contents_before
    assert apsw.Connection(str(tmp_path / "backup.db")).pragma("user_version") == 1
    migrated = [open_sqlite(each, ManualClock()) for each in (path, tmp_path / "backup.db")]
    assert migrated[0].dump() == migrated[1].dump()
    for store in migrated:
        store.close()


def test_runs_from_before_kinds_were_recorded_have_the_kind_that_their_rows_tell(path: Path) -> None:
    """What removed something that is gone is told by nothing: that stays unknown, and can be read."""
    plain = apsw.Connection(str(path))
    for number, script in enumerate(migrations.scripts()[1:8], start=2):
        plain.execute(f"{script}; {sql.SET_USER_VERSION[number - 1]}")
    runs = {
        "prune": ("manual", "call", "manual"),
        "purge": ("manual", "call", "purge"),
        "orphans": ("manual", "call", "orphans"),
        "undo": ("undo", "run-prune", "undo"),
        "restore": ("undo", "archive", "undo"),
        "": ("manual", "call", None),
    }
    for kind, (trigger, origin, ledger) in runs.items():
        run_id = f"run-{kind}"
        plain.execute(
            "INSERT INTO prune_runs (run_id, trigger, rule, origin, run_by, reason, started_at_ms, instances,"
            " executions, events, history_bytes) VALUES (?, ?, 'keep_last=1', ?, 'ada', '', 5, 1, 1, 1, 1)",
            (run_id, trigger, origin),
        )
        if ledger is not None:
            plain.execute(
                "INSERT INTO ledger SELECT 1, count(*) + 1, 1, 1, 1, 1, 1, '', '', ?, 5, 5, ? FROM ledger",
                (ledger, run_id),
            )
    plain.close()
    store = open_sqlite(path, ManualClock())
    assert {run.run_id: run.kind for run in store.list_prune_runs(0)} == {f"run-{kind}": kind for kind in runs}
    store.close()


def test_a_migration_that_fails_leaves_the_file_as_it_was(path: Path) -> None:
    plain = apsw.Connection(str(path))
    plain.execute("CREATE TABLE publications (in_the_way)")
    with pytest.raises(StoreError):
        open_sqlite(path, ManualClock())
    assert plain.execute(sql.GET_USER_VERSION).get == 1
    columns = {row[1] for row in plain.execute("PRAGMA table_info(instances)")}
    assert "live_from" not in columns
    plain.execute("DROP TABLE publications")
    plain.close()
    store = open_sqlite(path, ManualClock())
    assert store.info().schema_version == migrations.SCHEMA_VERSION
    store.close()
