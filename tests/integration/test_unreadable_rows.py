"""Rows that nobody can read, for a byte of them flipped: text that is no UTF-8, words that are none. The doctor names
each; what reads such a row says which it is; nothing is removed because of it, and the others are not kept waiting."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import apsw
import msgspec
import pytest

import duro
from duro.errors import RowUnreadableError
from duro.maintenance.archive.archiver import Archiver
from duro.maintenance.archive.reader import Archive
from duro.maintenance.sweep import Sweep
from duro.model.families import OrphanRules, OrphanSearch, PurgeOptions, Standing
from duro.model.policies import OrphanTerms, PolicySources, StatedPolicy, StatedPurge
from duro.model.records import InstanceFilter
from duro.model.removal import PruneFilter
from duro.model.retention import AutoPrune, PolicyKind, PolicyOrigin
from duro.retention.families import place_of
from duro.stores.sqlite import SqliteStore
from duro.stores.sqlite.sql_check_texts import TEXTS
from duro.testing import ManualClock
from duro.testing.builders import (
    child_scheduled,
    completed,
    continued_as_new,
    next_lease,
    prune_batch,
    removal_batch,
    start_request,
    wait_started,
)
from duro.testing.scripted import ScriptedWorker
from tests.support.damage import damage, found, healthy_store
from tests.support.pruning import Loops, open_sqlite

BAD: Final = "CAST(x'22ff4122' AS TEXT)"
"""A JSON text, but for a byte that no UTF-8 has."""

ROWS: Final = (
    "INSERT INTO holds VALUES ('h', 'loop', NULL, NULL, NULL, 'see', 5, 'me', NULL)",
    "INSERT INTO asked_prunes VALUES (4, '{}', '{}', 1, 5, 5)",
    "INSERT INTO prune_runs SELECT 'r', 'manual', '', '', '', '', 5, 1, 1, 1, 1, '', '', '', NULL, ''",
    "INSERT INTO ledger_totals VALUES ('Other', 0, 1, 1, 1, 5, 5)",
    "INSERT INTO archives VALUES ('/kept', 'id', 5)",
    "INSERT OR IGNORE INTO versions VALUES ('Order', '1', 5)",
    "INSERT OR IGNORE INTO publications VALUES ('{}', 1, 5)",
    "INSERT INTO messages VALUES (2, 0, '{}')",
    "INSERT INTO mailbox VALUES (2, 'go', 0, '{}')",
    "INSERT INTO requests VALUES ('r', 2, 5)",
)
COLUMNS: Final = [(table, column) for table, columns in TEXTS.items() for column in columns]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(tmp_path: Path, clock: ManualClock) -> Iterator[SqliteStore]:
    with closing(open_sqlite(tmp_path / "duro.db", clock)) as opened:
        yield opened


@pytest.fixture
def spoil(tmp_path: Path) -> Callable[..., None]:
    def do(*statements: str) -> None:
        with closing(apsw.Connection(str(tmp_path / "duro.db"))) as connection:
            damage(*statements)(connection)

    return do


def test_the_columns_that_are_looked_at_are_those_of_the_file(store: SqliteStore, tmp_path: Path) -> None:
    with closing(apsw.Connection(str(tmp_path / "duro.db"))) as connection:
        tables = [str(name) for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        there = {
            table: {str(row[1]) for row in connection.execute(f"PRAGMA table_info({table})") if row[2] == "TEXT"}
            for table in tables
        }
    assert {table: set(columns) for table, columns in TEXTS.items()} == {
        table: columns for table, columns in there.items() if columns
    }


@pytest.fixture(scope="module")
def healthy_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("healthy")
    healthy_store(directory, ManualClock()).close()
    with closing(apsw.Connection(str(directory / "duro.db"))) as connection:
        damage(*ROWS)(connection)
    return directory / "duro.db"


@pytest.mark.parametrize(("table", "column"), COLUMNS, ids=[".".join(each) for each in COLUMNS])
def test_text_that_is_no_utf8_is_named_wherever_it_stands(
    table: str, column: str, healthy_file: Path, tmp_path: Path, clock: ManualClock
) -> None:
    shutil.copy(healthy_file, tmp_path / "duro.db")
    with closing(apsw.Connection(str(tmp_path / "duro.db"))) as connection:
        first = next(str(row[1]) for row in connection.execute(f"PRAGMA table_info({table})"))
        key = next(row[0] for row in connection.execute(f"SELECT * FROM {table}"))
        damage(f"UPDATE OR IGNORE {table} SET {column} = {BAD} WHERE {first} = '{key}'")(connection)
    with closing(open_sqlite(tmp_path / "duro.db", clock)) as damaged:
        result = found(damaged, deep=True)["text-unreadable"]
        assert any(each.text.startswith(f"{table}.{column}") for each in result.findings), result
        reads: list[Callable[[], object]] = [
            lambda: damaged.list_instances(InstanceFilter(), 0, None),
            lambda: damaged.list_unobserved(OrphanSearch(all_kinds=True), 0, 0),
            lambda: damaged.families([1, 4, 7]),
            damaged.list_holds,
            lambda: damaged.list_prune_runs(0),
            lambda: damaged.list_children(1, 0, 0),
            damaged.list_workers,
            damaged.ledger_totals,
            lambda: damaged.read_history("loop", None),
            damaged.known_archives,
            lambda: damaged.asked_prunes(0, 0),
        ]
        for read in reads:
            assert f"{table}.{column}" in (said_by(read) or f"{table}.{column}"), read


def said_by(read: Callable[[], object]) -> str | None:
    """Why it could not be read; None: it could."""
    try:
        read()
    except RowUnreadableError as error:
        return str(error)
    return None


def family(store: SqliteStore) -> None:
    """A loop that left two ended orphans, ``one`` and ``two``; and ``done``, a root that has ended."""
    worker = ScriptedWorker(store)
    store.start_instances([start_request("loop"), start_request("done")])
    leased = {each.instance_id: each for each in worker.lease().instances}
    worker.run(leased["done"], completed())
    worker.run(leased["loop"], child_scheduled("one"), child_scheduled("two"), wait_started("go"), waits=["go"])
    leased = {each.instance_id: each for each in worker.lease().instances}
    store.raise_event("loop", "go", "null", "r")
    worker.run(worker.take("loop"), continued_as_new())
    worker.run(worker.take("loop"), wait_started("go"), waits=["go"])
    worker.run(leased["one"], completed())
    worker.run(leased["two"], completed())


def sweeping(store: SqliteStore) -> Sweep:
    """Of a store whose worker says: orphans and all that has ended go at once."""
    origin = PolicyOrigin(PolicyKind.FILE_DEFAULT, "a.toml:1")
    said = PolicySources(
        orchestrations=(("Order", "1.0.0"), ("Child", "1.0.0")),
        code_default=StatedPolicy(policy=AutoPrune(keep_last=1, interval=1), origin=origin),
        purges=(StatedPurge(options=PurgeOptions(keep_within=0.001), origin=origin),),
        orphans=OrphanTerms(enabled=True, min_age_s=0),
    )
    ScriptedWorker(store, "w2", orchestrations=said.orchestrations)
    store.publish("w2", msgspec.json.encode(said).decode())
    return Sweep(store)


def there(store: SqliteStore) -> set[str]:
    return {each.instance_id for each in store.list_instances(InstanceFilter(), 0, None).instances}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE lineage SET spawner_end = 'ended' WHERE child_incarnation = 3",
        "UPDATE instances SET status = 'complete' WHERE incarnation = 3",
    ],
    ids=["how its spawner ended", "its status"],
)
def test_a_child_with_a_word_that_is_none_is_unknown_and_stops_no_sweep_of_others(
    statement: str, store: SqliteStore, clock: ManualClock, spoil: Callable[..., None]
) -> None:
    family(store)
    spoil(statement)
    child = store.get_child("one")
    assert child is not None
    assert len(child.unreadable) == 1
    assert place_of(child).standing is Standing.UNKNOWN
    seen = store.list_unobserved(OrphanSearch(all_kinds=True), 0, 0)
    assert [(each.instance_id, place_of(each).standing) for each in seen] == [
        ("one", Standing.UNKNOWN),
        ("two", Standing.ORPHAN),
    ]
    assert len(store.list_children(1, 0, 0)) == 2
    assert found(store)["word-unknown"].findings[0].subject == "incarnation 3"
    clock.advance(60)
    sweep = sweeping(store)
    while sweep.step():
        pass
    assert store.get_child("one") is not None, "it stays"
    assert store.get_child("two") is None
    assert store.find_removed("done") is None, "it is reclaimed"
    assert store.get_instance("done") is None
    for rules in (OrphanRules(min_age_s=0), PurgeOptions(completed_before=10**14)):
        outcome = store.remove(removal_batch((3, rules)))[0]
        assert not outcome.removed
    assert store.adopt("one", "me", "its parent has gone on").detached


@pytest.mark.parametrize(
    ("column", "incarnation", "stays", "standing"),
    [
        ("lineage.spawner_version", 3, "one", Standing.UNKNOWN),
        ("lineage.completion", 3, "one", Standing.UNKNOWN),
        ("lineage.parent_instance_id", 3, "one", Standing.UNKNOWN),
        ("instances.name", 3, "one", Standing.UNKNOWN),
        ("instances.version", 3, "one", Standing.UNKNOWN),
        ("executions.version", 3, "one", Standing.ORPHAN),
        ("instances.name", 2, "done", Standing.ORPHAN),
        ("executions.version", 2, "done", Standing.ORPHAN),
    ],
)
@pytest.mark.parametrize("by_hand", [False, True])
def test_text_that_is_no_utf8_keeps_only_its_own_family_from_sweeps_and_from_whoever_removes_by_hand(
    *,
    column: str,
    incarnation: int,
    stays: str,
    standing: Standing,
    by_hand: bool,
    store: SqliteStore,
    clock: ManualClock,
    spoil: Callable[..., None],
    tmp_path: Path,
) -> None:
    family(store)
    table, _, spoilt = column.partition(".")
    key = "child_incarnation" if table == "lineage" else "incarnation"
    spoil(f"UPDATE {table} SET {spoilt} = {BAD} WHERE {key} = {incarnation}")
    seen = {each.incarnation: place_of(each).standing for each in store.list_unobserved(OrphanSearch(), 0, 0)}
    assert seen == {3: standing, 4: Standing.ORPHAN}
    clock.advance(60)
    if by_hand:
        client = duro.Client(store)
        everything = PurgeOptions(completed_before=10**14)
        planned = (*client.plan_orphan_cleanup(min_age=0).items, *client.plan_purge(everything).items)
        assert {each.instance_id for each in planned if each.verdict.keep} == {stays}
        client.cleanup_orphaned_instances(min_age=0)
        client.purge_instances(everything)
    else:
        sweep = sweeping(store)
        while sweep.step():
            pass
    with closing(apsw.Connection(str(tmp_path / "duro.db"))) as connection:
        left = {str(instance_id) for (instance_id,) in connection.execute("SELECT instance_id FROM instances")}
    assert left == {"loop", stays}


def test_members_that_cannot_be_read_keep_what_is_above_them_and_the_plan_says_so(
    store: SqliteStore, spoil: Callable[..., None]
) -> None:
    worker, client = ScriptedWorker(store), duro.Client(store)
    for parent in ("p", "q"):
        store.start_instances([start_request(parent)])
        leased = worker.take(parent)
        kept = next_lease(leased, worker.run(leased, child_scheduled(f"{parent}.below"), keep_lease=True))
        worker.run(worker.take(f"{parent}.below"), completed())
        worker.run(kept, completed())
    spoil(f"UPDATE executions SET version = {BAD} WHERE incarnation = 2")
    options = PurgeOptions(completed_before=10**14)
    items = client.plan_purge(options).items
    assert {each.instance_id: each.verdict.reasons for each in items if each.verdict.keep} == {
        "p": ("unreadable:p.below",)
    }
    assert client.purge_instances(options).instances == 2
    assert there(store) == {"p", "p.below"}


@pytest.mark.parametrize("column", ["name", "version", "prune_policy"])
def test_an_instance_whose_text_cannot_be_read_is_passed_over_by_prunes_and_no_page_ends_with_it(
    column: str, store: SqliteStore, spoil: Callable[..., None]
) -> None:
    loops = Loops(store)
    loops.start("a", "b", "c", "d")
    spoil(f"UPDATE instances SET {column} = {BAD} WHERE instance_id IN ('a', 'b')")
    for limit, ids in ((0, "cd"), (1, "c"), (2, "cd"), (3, "cd")):
        assert [each.instance_id for each in store.prunable_instances(PruneFilter(), limit, 0)] == list(ids), limit
    with pytest.raises(RowUnreadableError, match=f"instances.{column}"):
        store.prunable_instances(PruneFilter(instance_ids=("a",)), 0, 0)


def test_a_row_that_cannot_be_read_keeps_only_itself_from_being_pruned(
    store: SqliteStore, clock: ManualClock, spoil: Callable[..., None]
) -> None:
    loops = Loops(store)
    loops.start("a", "b", "c")
    loops.go_on(4)
    spoil("UPDATE executions SET status = 'gone_on' WHERE incarnation = 2 AND execution_id = 2")
    clock.advance(60)
    sweep = sweeping(store)
    while sweep.step():
        pass
    live = {each: len(store.list_executions(each, 0, None).executions) for each in ("a", "c")}
    assert live == {"a": 1, "c": 1}
    with pytest.raises(RowUnreadableError, match=r"incarnation 2/2: executions.status is gone_on"):
        store.list_executions("b", 0, None)


def test_what_code_asked_for_and_nobody_can_read_stops_nothing(
    store: SqliteStore, clock: ManualClock, spoil: Callable[..., None]
) -> None:
    loops = Loops(store)
    loops.start("a", "b", "c")
    loops.go_on(4)
    origin = msgspec.json.encode(PolicyOrigin(PolicyKind.CALL, "call")).decode()
    spoil(
        f"INSERT INTO asked_prunes VALUES (1, '{{oops', '{origin}', 4, 5, 5)",
        f"INSERT INTO asked_prunes VALUES (2, '{{\"keep_last\":\"x\"}}', '{origin}', 4, 5, 5)",
        f"INSERT INTO asked_prunes VALUES (3, '{{\"keep_last\":1}}', '{origin}', 4, 5, 5)",
    )
    assert [each.incarnation for each in store.asked_prunes(10, 0)] == [3]
    assert [each.subject for each in found(store)["word-unknown"].findings] == ["incarnation 1"]


registry = duro.Registry()


@registry.activity
def work(ctx: duro.ActivityContext, number: int) -> int:
    return number


@registry.orchestration
async def waits(ctx: duro.OrchestrationContext, number: int) -> int:
    result = await ctx.schedule_activity(work, number)
    await ctx.wait_for_event("go")
    return result


def test_a_history_that_is_no_text_blocks_its_instance_and_nobody_else(
    tmp_path: Path, spoil: Callable[..., None]
) -> None:
    url = f"sqlite:///{tmp_path / 'duro.db'}"
    with duro.Runtime(url, registry) as runtime:
        for instance_id in ("history", "mailbox", "queued", "well"):
            runtime.client.start_orchestration(waits, 1, instance_id=instance_id)
        until(lambda: all(each.event_count == 4 for each in runtime.client.list_instances().instances))
    event = (
        "SELECT replace(data, 'work', CAST(x'ff' AS TEXT)) FROM history h WHERE h.incarnation = {} AND h.event_id = 2"
    )
    spoil(
        f"UPDATE history SET data = ({event.format(1)}) WHERE incarnation = 1 AND event_id = 2",
        f"INSERT INTO mailbox VALUES (2, 'go', 0, {BAD})",
        "UPDATE instances SET ready_at_ms = 1 WHERE incarnation IN (1, 2)",
        "INSERT INTO activities SELECT 3, 1, 9, 'work', 1, 1, 1, NULL, 0",
        f"INSERT INTO history SELECT 3, 1, 9, ({event.format(3)})",
    )
    with duro.Runtime(url, registry) as runtime:
        client = runtime.client
        client.raise_event("well", "go")
        assert client.wait_for_orchestration("well", 20).output == 1
        until(lambda: all(client.get_instance(each).blocked is not None for each in ("history", "mailbox")))
        for instance_id in ("history", "mailbox"):
            blocked = client.get_instance(instance_id)
            assert (blocked.blocked, blocked.attempt_count) == (duro.BlockedKind.HISTORY_UNREADABLE, 0)
            assert "is no text (UTF-8)" in str(blocked.blocked_reason)
        new = client.start_orchestration(waits, 2)
        client.raise_event(new, "go")
        assert client.wait_for_orchestration(new, 20).output == 2
        history = client.read_history("history")
        assert history.events[1].encode("utf-8", "surrogateescape").count(b"\xff") == 1


def until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def test_a_history_that_is_no_text_is_archived_as_it_is_with_all_others(
    store: SqliteStore, tmp_path: Path, spoil: Callable[..., None]
) -> None:
    loops = Loops(store)
    loops.start("a", "b")
    loops.go_on(3)
    spoil(f"UPDATE history SET data = {BAD} WHERE incarnation = 1 AND execution_id = 1 AND event_id = 2")
    before = store.load_histories([(1, 1), (1, 2), (2, 1)])
    store.prune(prune_batch((1, 1), (2, 1), archive=str(tmp_path / "kept")))
    (outcome,) = Archiver(store, None).write_all()
    assert (outcome.histories, outcome.waiting, outcome.problem) == (6, 0, "")
    with Archive(tmp_path / "kept") as archive:
        execution = archive.find("a", 1)
        assert execution is not None
        kept = archive.read_one(execution).events
    assert kept == before[0]
    assert kept[1].encode("utf-8", "surrogateescape") == b'"\xffA"'
