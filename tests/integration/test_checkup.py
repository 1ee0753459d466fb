"""The checks of a store: a healthy one passes, each kind of damage is found by the check that is for it, and a repair
takes nothing that anybody could reach."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

import apsw
import pytest

import duro
from duro.errors import StoreCorruptError
from duro.model.checkup import Severity
from duro.model.pruning import Hold, HoldTarget
from duro.stores.sqlite import SqliteStore
from duro.stores.sqlite.sql_checks import CHECKS
from duro.testing import ManualClock, check_invariants
from tests.support.damage import damage, found, healthy_store
from tests.support.pruning import open_sqlite


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(tmp_path: Path, clock: ManualClock) -> SqliteStore:
    return healthy_store(tmp_path, clock)


LEFT: Final = "UPDATE instances SET execution_id = 2, live_from = 1 WHERE incarnation = 1"
RECLAIMED: Final = (
    "DELETE FROM instances WHERE incarnation = 7",
    "INSERT INTO ledger_totals VALUES ('Order', 1, 1, 2, 236, 5, 5)",
)
"""The store says that instance 7 was removed and reclaimed."""
DAMAGES: Final[dict[str, Callable[[apsw.Connection], None]]] = {
    "executions-without-instance": damage(*RECLAIMED),
    "history-without-execution": damage(
        'INSERT INTO history VALUES (4, 1, 2, \'{"type":"OrchestrationContinuedAsNew"}\')'
    ),
    "work-without-instance": damage("DELETE FROM instances WHERE incarnation = 3"),
    "messages-to-nobody": damage("INSERT INTO messages VALUES (2, 99, '{}')"),
    "mailbox-of-nobody": damage("INSERT INTO mailbox VALUES (5, 'go', 98, '{}')"),
    "timers-of-nobody": damage("INSERT INTO timers VALUES (2, 1, 2, 5)"),
    "activities-of-nobody": damage("INSERT INTO activities SELECT 4, 1, 3, name, 5, 5, 1, NULL, 0 FROM activities"),
    "requests-without-instance": damage("INSERT INTO requests VALUES ('r', 7, 5)", *RECLAIMED),
    "asked-prunes-without-instance": damage("INSERT INTO asked_prunes VALUES (7, '{}', '{}', 1, 5, 5)", *RECLAIMED),
    "ledger-without-instance": damage(
        "INSERT INTO ledger VALUES (7, 1, 1, 1, 1, 2, 236, '', '', 'purge', 5, 5, NULL)", *RECLAIMED
    ),
    "lineage-without-child": damage(
        "INSERT INTO lineage SELECT 7, parent_instance_id, parent_incarnation, 1, 99, 0, NULL, NULL, 5, '1', NULL, "
        "NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM lineage WHERE child_incarnation = 2",
        *RECLAIMED,
    ),
    "instance-without-execution": damage("UPDATE instances SET execution_id = 9 WHERE incarnation = 7"),
    "status-against-execution": damage("UPDATE executions SET status = 'failed' WHERE incarnation = 7"),
    "executions-out-of-order": damage(
        "INSERT INTO executions SELECT incarnation, 9, version, 'running', started_at_ms, NULL, 0, 0, NULL, 'live', "
        "NULL, NULL, NULL, 0, NULL, 0 FROM executions WHERE incarnation = 7"
    ),
    "status-against-history": damage(
        "UPDATE instances SET status = 'failed' WHERE incarnation = 7",
        "UPDATE executions SET status = 'failed' WHERE incarnation = 7",
    ),
    "events-against-count": damage("DELETE FROM history WHERE incarnation = 1 AND event_id = 7"),
    "history-with-gaps": damage("DELETE FROM history WHERE incarnation = 1 AND event_id = 3"),
    "history-against-bytes": damage("UPDATE executions SET history_bytes = 5 WHERE incarnation = 1"),
    "history-unreadable": damage("UPDATE history SET data = 'oops' WHERE incarnation = 1 AND event_id = 3"),
    "messages-unreadable": damage("INSERT INTO messages VALUES (1, 9, 'oops')"),
    "live-before-the-first": damage("UPDATE instances SET live_from = 3 WHERE incarnation = 4"),
    "pruned-ahead": damage("UPDATE instances SET pruned_through = execution_id WHERE incarnation = 4"),
    "policy-unreadable": damage("UPDATE instances SET prune_policy = '{\"policy\":7}' WHERE incarnation = 4"),
    "ledger-against-executions": damage("UPDATE ledger SET executions = 5 WHERE incarnation = 4"),
    "lineage-parent": damage("UPDATE lineage SET parent_instance_id = 'loop' WHERE child_incarnation = 3"),
    "lineage-circle": damage("UPDATE lineage SET parent_incarnation = 3 WHERE child_incarnation = 3"),
    "lineage-evidence": damage("UPDATE lineage SET spawner_end = 'failed' WHERE child_incarnation = 3"),
    "lineage-lost": damage("DELETE FROM lineage WHERE child_incarnation = 2"),
    "observed-without-end": damage("UPDATE lineage SET observed_at_ms = 5 WHERE child_incarnation = 3"),
    "ended-untold": damage("UPDATE lineage SET completion = NULL WHERE child_incarnation = 2"),
    "never-woken": damage("UPDATE instances SET ready_at_ms = NULL WHERE incarnation = 1"),
    "work-lost": damage("DELETE FROM activities"),
    "activities-against-history": damage("UPDATE activities SET name = 'refund'"),
    "observed-unrecorded": damage("UPDATE lineage SET given_up_at_ms = 5 WHERE child_incarnation = 3"),
    "family-removed-in-part": damage("UPDATE lineage SET parent_incarnation = 5 WHERE child_incarnation = 3"),
    "removal-without-run": damage("UPDATE removed_instances SET run_id = 'run-1'"),
    "counters": damage("UPDATE store SET next_incarnation = 3"),
    "holds-unreadable": damage("UPDATE holds SET instance_id = NULL"),
    "capabilities-of-nobody": damage("INSERT INTO capabilities VALUES ('w9', 'activity', 'pay', '')"),
    "text-unreadable": damage("UPDATE instances SET name = CAST(x'ff41' AS TEXT) WHERE incarnation = 3"),
    "word-unknown": damage("UPDATE lineage SET spawner_end = 'ended' WHERE child_incarnation = 3"),
    "leases-of-the-dead": damage("UPDATE instances SET lease_worker_id = 'w9', lease_epoch = 1 WHERE incarnation = 3"),
    "blocked": damage("UPDATE instances SET blocked = 'poison', blocked_reason = 'dies' WHERE incarnation = 3"),
    "durability": damage('UPDATE workers SET published = \'{"weakened":"synchronous=NORMAL"}\''),
    "threads-stuck": damage("UPDATE workers SET threads_stuck = 2"),
    "settings-refused": damage('UPDATE workers SET published = \'{"problems":["a.toml:1:1: it is wrong"]}\''),
    "published-unreadable": damage("UPDATE workers SET published = 'zz'"),
    "nobody-works": damage(
        "UPDATE instances SET ready_at_ms = 5 WHERE incarnation = 3", "UPDATE workers SET lease_until_ms = 5"
    ),
    "nobody-sweeps": damage("UPDATE removed_instances SET reclaim_at_ms = 5", "UPDATE workers SET lease_until_ms = 5"),
    "archives-waiting": damage("UPDATE removed_instances SET archive = '/gone', unarchived = 1, reclaim_at_ms = 5"),
    "prunes-overdue": damage("UPDATE instances SET prune_due_at_ms = 5 WHERE incarnation = 4"),
    "ended-in-the-future": damage(f"UPDATE executions SET completed_at_ms = {10**14} WHERE incarnation = 2"),
    "orphans": damage(
        "UPDATE lineage SET spawner_ended_at_ms = 5, spawner_end = 'continued_as_new' WHERE child_incarnation = 3",
        LEFT,
        "UPDATE executions SET execution_id = 2 WHERE incarnation = 1",
    ),
    "holds-expired": damage("UPDATE holds SET until_ms = 5"),
}


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        ("DELETE FROM lineage WHERE child_incarnation = 2", "spawned by parent/1, and has no lineage"),
        (
            "UPDATE lineage SET detached = 1 WHERE child_incarnation = 2",
            "spawned by parent/1, and is detached although nobody adopted it",
        ),
    ],
)
def test_a_child_that_ended_and_whose_lineage_is_lost_is_found_by_its_history(
    statement: str, text: str, store: SqliteStore, tmp_path: Path
) -> None:
    with closing(apsw.Connection(str(tmp_path / "duro.db"))) as connection:
        damage(statement)(connection)
    assert found(store) == {}, "only --deep reads how it began"
    (finding,) = found(store, deep=True)["lineage-lost"].findings
    assert (finding.subject, finding.text) == ("seen", text)


def test_a_healthy_store_passes(store: SqliteStore) -> None:
    assert found(store, deep=True) == {}
    results = {result.name for result in store.checkup(deep=True)}
    assert results == {check.name for check in CHECKS} | {"sqlite-version", "file-permissions", "pages"}
    check_invariants(store)


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_found_by_the_check_that_is_for_it(
    name: str, store: SqliteStore, tmp_path: Path, clock: ManualClock
) -> None:
    store.add_hold(Hold(hold_id="h", target=HoldTarget(instance_id="loop"), reason="see", created_at_ms=0))
    healthy = store.dump()
    with_damage = apsw.Connection(str(tmp_path / "duro.db"))
    DAMAGES[name](with_damage)
    with_damage.close()
    (check,) = [check for check in CHECKS if check.name == name]
    assert not check.deep or name not in found(store), "it is not asked for"
    result = found(store, deep=check.deep)[name]
    assert result.count >= 1
    assert len(result.findings) == min(result.count, 20)
    assert all(each.subject and each.text for each in result.findings)
    assert result.remedy
    if not result.repairable:
        return
    repaired = store.repair([name])
    assert [each.name for each in repaired] == [name]
    assert sum(each.rows for each in repaired) >= 1
    assert name not in found(store)
    reachable = {row["incarnation"] for row in healthy["instances"]} - {7}
    for table in ("executions", "history", "messages", "mailbox", "timers"):
        kept = [row for row in store.dump()[table] if row["incarnation"] in reachable]
        assert kept == [row for row in healthy[table] if row["incarnation"] in reachable], table


@pytest.mark.parametrize(
    ("name", "subject", "statements"),
    [
        (
            "status-against-history",
            "ended/1",
            (
                "UPDATE instances SET status = 'running', completed_at_ms = NULL WHERE incarnation = 7",
                "UPDATE executions SET status = 'running', completed_at_ms = NULL WHERE incarnation = 7",
            ),
        ),
        (
            "status-against-history",
            "loop/2",
            ("UPDATE history SET data = '{}' WHERE incarnation = 4 AND event_id = 2",),
        ),
        ("status-against-history", "ended/1", ("UPDATE history SET data = '{oops' WHERE incarnation = 7",)),
        ("status-against-history", "runs/1", ("UPDATE executions SET status = 'pending' WHERE incarnation = 3",)),
        ("status-against-history", "runs/1", ("DELETE FROM history WHERE incarnation = 3",)),
        ("executions-out-of-order", "loop/2", ("UPDATE executions SET status = 'failed' WHERE execution_id = 2",)),
        ("status-against-execution", "ended", ("UPDATE instances SET completed_at_ms = 5 WHERE incarnation = 7",)),
        ("status-against-execution", "ended", ("UPDATE executions SET completed_at_ms = 5 WHERE incarnation = 7",)),
        ("lineage-parent", "seen", ("UPDATE lineage SET parent_instance_id = 'x' WHERE child_incarnation = 2",)),
        ("activities-against-history", "parent/1", ("UPDATE activities SET event_id = 5",)),
        ("activities-against-history", "parent/1", ("DELETE FROM history WHERE incarnation = 1 AND event_id = 6",)),
        (
            "activities-against-history",
            "parent/1",
            ("UPDATE history SET data = '{' WHERE incarnation = 1 AND event_id = 6",),
        ),
        ("published-unreadable", "w1", ("UPDATE workers SET published = '[]'",)),
        ("published-unreadable", "w1", ("UPDATE workers SET published = '{\"keep\":3}'",)),
        ("counters", "store", ("INSERT INTO messages VALUES (1, 1000, '{}')",)),
        ("counters", "store", ("DELETE FROM store",)),
        (
            "removal-without-run",
            "loop",
            ("UPDATE executions SET removal = 'pruned', reclaim_at_ms = 5, run_id = 'run-1' WHERE incarnation = 4",),
        ),
        ("ledger-against-executions", "gone", ("DELETE FROM ledger WHERE incarnation = 5",)),
        ("ledger-against-executions", "too", ("DELETE FROM executions WHERE incarnation = 6",)),
        ("events-against-count", "gone/1", ("DELETE FROM history WHERE incarnation = 5",)),
        ("history-with-gaps", "gone/1", ("DELETE FROM history WHERE incarnation = 5 AND event_id = 1",)),
        ("history-unreadable", "too/1", ("UPDATE history SET data = '{' WHERE incarnation = 6 AND event_id = 1",)),
        ("messages-unreadable", "runs", ("INSERT INTO mailbox VALUES (3, 'other', 9, '{')",)),
        ("history-with-gaps", "parent/1", ("UPDATE history SET event_id = 0 WHERE incarnation = 1 AND event_id = 3",)),
        (
            "leases-of-the-dead",
            "parent/1",
            ("UPDATE activities SET lease_worker_id = 'w9', lease_epoch = 1",),
        ),
        (
            "never-woken",
            "runs",
            ("INSERT INTO mailbox VALUES (3, 'go', 98, '{}')", "UPDATE store SET next_message_id = 99"),
        ),
        (
            "history-without-execution",
            "incarnation 7/1",
            (*RECLAIMED, "DELETE FROM executions WHERE incarnation = 7"),
        ),
        ("counters", "store", ("DELETE FROM instances WHERE incarnation = 7",)),
        ("work-without-instance", "incarnation 3/1", ("DELETE FROM executions WHERE incarnation = 3",)),
        ("observed-unrecorded", "runs", ("UPDATE lineage SET observed_at_ms = 5 WHERE child_incarnation = 3",)),
        (
            "work-without-instance",
            "incarnation 3/1",
            ("DELETE FROM instances WHERE incarnation = 3", "DELETE FROM executions WHERE incarnation = 3"),
        ),
    ],
)
def test_further_damage_of_the_same_kind_is_found(
    name: str, subject: str, statements: tuple[str, ...], store: SqliteStore, tmp_path: Path
) -> None:
    with closing(apsw.Connection(str(tmp_path / "duro.db"))) as connection:
        damage(*statements)(connection)
    assert subject in {each.subject for each in found(store, deep=True)[name].findings}


LOST: Final[dict[str, tuple[str, str]]] = {
    "DELETE FROM activities": ("parent/1", "event 6 asked for activity charge"),
    "UPDATE activities SET event_id = 7": ("parent/1", "event 6 asked for activity charge"),
    "DELETE FROM timers": ("parent/1", "event 5 asked for a timer"),
    "UPDATE instances SET waits = '[]' WHERE incarnation = 1": ("parent/1", "event 7 asked for event go"),
    "UPDATE instances SET waits = '[' WHERE incarnation = 3": ("runs/1", "event 2 asked for event go"),
    "DELETE FROM lineage WHERE child_incarnation = 3": ("parent/1", "event 3 asked for child runs"),
    "DELETE FROM instances WHERE incarnation = 3": ("parent/1", "event 3 asked for child runs"),
    "UPDATE lineage SET detached = 1 WHERE child_incarnation = 3": ("parent/1", "event 3 asked for child runs"),
    "UPDATE lineage SET detached = 1, adopted_at_ms = 5 WHERE child_incarnation = 3": (
        "parent/1",
        "event 3 asked for child runs",
    ),
    "UPDATE lineage SET parent_event_id = 9 WHERE child_incarnation = 3": ("parent/1", "event 3 asked for child runs"),
}


@pytest.mark.parametrize("statement", LOST)
def test_what_a_running_instance_asked_for_and_nothing_will_answer_is_found(
    statement: str, store: SqliteStore, tmp_path: Path
) -> None:
    with closing(apsw.Connection(str(tmp_path / "duro.db"))) as connection:
        damage(statement)(connection)
    subject, text = LOST[statement]
    findings = [(each.subject, each.text) for each in found(store)["work-lost"].findings]
    assert findings == [(subject, f"{text}, and nothing will answer it")]


def test_a_worker_whose_file_has_several_errors_is_one_worker(store: SqliteStore, tmp_path: Path) -> None:
    problems = '["a.toml:1:1: it is wrong","a.toml:2:1: so is this"]'
    with closing(apsw.Connection(str(tmp_path / "duro.db"))) as connection:
        damage(f"UPDATE workers SET published = '{{\"problems\":{problems}}}'")(connection)
    check = found(store)["settings-refused"]
    assert check.count == 1
    assert check.findings[0].text == "a.toml:1:1: it is wrong (and 1 more)"


def test_an_answer_on_its_way_or_a_wish_withdrawn_is_no_lost_work(store: SqliteStore, tmp_path: Path) -> None:
    answer = '{"type":"ActivitySucceeded","execution_id":1,"scheduled_event_id":6,"result":1}'
    with closing(apsw.Connection(str(tmp_path / "duro.db"))) as connection:
        damage("DELETE FROM activities", f"INSERT INTO messages VALUES (1, 9, '{answer}')")(connection)
    assert "work-lost" not in found(store)
    with closing(apsw.Connection(str(tmp_path / "duro.db"))) as connection:
        damage("UPDATE messages SET data = replace(data, '\"execution_id\":1', '\"execution_id\":2')")(connection)
    assert found(store)["work-lost"].count == 1
    with closing(apsw.Connection(str(tmp_path / "duro.db"))) as connection:
        withdrawn = '{"type":"ActivityCancelRequested","event_id":8,"at_ms":1,"scheduled_event_id":6}'
        damage(f"INSERT INTO history VALUES (1, 1, 8, '{withdrawn}')")(connection)
    assert "work-lost" not in found(store)


@pytest.mark.parametrize("event_id", [1, 3, 6])
def test_an_event_that_a_running_execution_lacks_is_found_without_reading_everything(
    event_id: int, store: SqliteStore, tmp_path: Path
) -> None:
    with closing(apsw.Connection(str(tmp_path / "duro.db"))) as connection:
        damage(f"DELETE FROM history WHERE incarnation = 1 AND event_id = {event_id}")(connection)
    (finding,) = found(store)["history-with-gaps"].findings
    first = 2 if event_id == 1 else 1
    assert finding.subject == "parent/1"
    assert finding.text == f"it counts 7 events, and 6 are there, from {first} on"


@pytest.mark.parametrize(
    "statements",
    [
        ("DELETE FROM history WHERE incarnation = 7 AND event_id = 1",),
        (
            "DELETE FROM history WHERE incarnation = 1 AND event_id = 3",
            "UPDATE executions SET event_count = 1001 WHERE incarnation = 1",
        ),
    ],
    ids=["it has ended", "it is long"],
)
def test_an_event_that_another_execution_lacks_is_found_when_everything_is_read(
    statements: tuple[str, ...], store: SqliteStore, tmp_path: Path
) -> None:
    with closing(apsw.Connection(str(tmp_path / "duro.db"))) as connection:
        damage(*statements)(connection)
    assert "history-with-gaps" not in found(store)
    assert found(store, deep=True)["history-with-gaps"].count == 1


def test_a_long_history_that_goes_on_is_read_as_a_whole_only_when_all_is(store: SqliteStore, tmp_path: Path) -> None:
    with closing(apsw.Connection(str(tmp_path / "duro.db"))) as connection:
        damage("DELETE FROM activities", "UPDATE executions SET event_count = 1001 WHERE incarnation = 1")(connection)
    assert "work-lost" not in found(store)
    assert found(store, deep=True)["work-lost"].count == 1


LOST_ROWS: Final[dict[str, tuple[str, ...]]] = {
    "the execution of what runs": ("DELETE FROM executions WHERE incarnation = 1",),
    "the instance of what runs": ("DELETE FROM instances WHERE incarnation = 1",),
    "both": ("DELETE FROM instances WHERE incarnation = 1", "DELETE FROM executions WHERE incarnation = 1"),
    "its instance and its current execution": (
        "DELETE FROM instances WHERE incarnation = 4",
        "DELETE FROM executions WHERE incarnation = 4 AND execution_id = 3",
    ),
    "the status of what runs": (
        "UPDATE instances SET status = 'failed', completed_at_ms = 5, ready_at_ms = NULL WHERE incarnation = 1",
    ),
    "the execution of what may come back": ("DELETE FROM executions WHERE incarnation = 5",),
    "an earlier execution": ("DELETE FROM executions WHERE incarnation = 4 AND execution_id = 2",),
    "a finished instance": ("DELETE FROM instances WHERE incarnation = 7",),
    "a finished child": ("DELETE FROM instances WHERE incarnation = 2",),
    "a finished instance and its execution": (
        "DELETE FROM instances WHERE incarnation = 7",
        "DELETE FROM executions WHERE incarnation = 7",
    ),
    "a removed instance": ("DELETE FROM removed_instances WHERE incarnation = 6",),
    "a row in the place of another": ("UPDATE lineage SET child_incarnation = 99 WHERE child_incarnation = 2",),
    "an activity in the place of another": ("UPDATE activities SET execution_id = 7",),
    "an execution that waits for its archive": (
        "UPDATE executions SET removal = 'pruned', unarchived = 1 WHERE incarnation = 7",
        *RECLAIMED,
    ),
    "an execution that may be in an archive": (
        "INSERT INTO archives VALUES ('/kept', 'id', 5)",
        'INSERT INTO history VALUES (4, 1, 2, \'{"type":"OrchestrationContinuedAsNew"}\')',
    ),
}


@pytest.mark.parametrize("lost", LOST_ROWS)
def test_a_repair_leaves_what_nothing_proves_to_be_a_leftover(lost: str, store: SqliteStore, tmp_path: Path) -> None:
    with closing(apsw.Connection(str(tmp_path / "duro.db"))) as connection:
        damage(*LOST_ROWS[lost])(connection)
        rows = ("INSERT INTO messages VALUES (1, 1, '{}')", "INSERT INTO mailbox VALUES (1, 'other', 2, '{}')")
        damage(*rows, "INSERT INTO requests VALUES ('r', 1, 5)", "INSERT INTO requests VALUES ('r', 7, 5)")(connection)
    before = store.dump()
    repaired = store.repair([check.name for check in CHECKS if check.deletes])
    assert [each for each in repaired if each.rows] == []
    assert store.dump() == before
    results = found(store)
    assert not [each for each in results.values() if each.repairable]
    assert any(result.severity is Severity.ERROR for result in results.values())


def test_what_is_left_of_lost_work_is_named_in_every_table(store: SqliteStore, tmp_path: Path) -> None:
    with closing(apsw.Connection(str(tmp_path / "duro.db"))) as connection:
        rows = ("INSERT INTO messages VALUES (1, 1, '{}')", "INSERT INTO mailbox VALUES (1, 'other', 2, '{}')")
        damage(*rows, *LOST_ROWS["both"], "DELETE FROM instances WHERE incarnation = 4")(connection)
    findings = {(each.subject, each.text) for each in found(store)["work-without-instance"].findings}
    assert {text for subject, text in findings if subject.startswith("incarnation 1")} == {
        "a history without its execution",
        *(
            f"1 rows of {table}, and what they belong to is gone"
            for table in ("messages", "mailbox", "timers", "activities")
        ),
    }
    assert ("incarnation 4/2", "it is continued_as_new, and its instance is gone") in findings
    assert ("incarnation 4", "1 rows of ledger, and what they belong to is gone") in findings


def test_a_repair_deletes_nothing_of_a_file_whose_indexes_are_damaged(store: SqliteStore, tmp_path: Path) -> None:
    """Here an index does not know the parent, whose rows then seem to be of nobody."""
    with closing(apsw.Connection(str(tmp_path / "duro.db"))) as connection:
        index = connection.execute("SELECT * FROM sqlite_schema WHERE name = 'instances_by_name'").fetchone()
        assert index is not None
        parent = connection.execute("SELECT * FROM instances WHERE incarnation = 1").fetchone()
        assert parent is not None
        connection.execute("DELETE FROM instances WHERE incarnation = 1")
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("DELETE FROM sqlite_schema WHERE name = 'instances_by_name'")
        connection.execute("PRAGMA writable_schema = RESET")
        connection.execute(f"INSERT INTO instances VALUES ({', '.join('?' * len(parent))})", parent)
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("INSERT INTO sqlite_schema VALUES (?, ?, ?, ?, ?)", index)
        connection.execute("PRAGMA writable_schema = RESET")
    before = store.dump()
    names = [check.name for check in CHECKS if check.deletes]
    with pytest.raises(StoreCorruptError, match=r"index instances_by_name.*nothing was deleted"):
        store.repair(names)
    assert store.dump() == before
    assert found(store, deep=True)["pages"].severity is Severity.ERROR


def test_pages_that_cannot_be_looked_at_are_what_was_found(store: SqliteStore, tmp_path: Path) -> None:
    path = tmp_path / "duro.db"
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'archives'").fetchone() or (0,)
    store.close()
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(bytes(4096))
    with closing(open_sqlite(path, ManualClock())) as damaged:
        results = found(damaged, deep=True)
    assert list(results) == ["pages", "text-unreadable"]
    assert results["pages"].findings[0].subject == "file"


def test_a_check_that_cannot_be_carried_out_says_so_and_the_others_go_on(store: SqliteStore, tmp_path: Path) -> None:
    with closing(apsw.Connection(str(tmp_path / "duro.db"))) as connection:
        connection.execute("ALTER TABLE holds RENAME COLUMN until_ms TO until")
    result = duro.Client(store).checkup()
    (ill,) = [each for each in result if each.count]
    assert (ill.name, ill.severity, ill.repairable) == ("holds-expired", Severity.ERROR, False)
    assert ill.findings[0].text == "this check could not be carried out: no such column: until_ms"
    assert len(result) > len(CHECKS) - len([check for check in CHECKS if check.deep])


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("DELETE FROM store", {"counters"}),
        ("DROP TABLE workers", {"workers-differ", "nobody-works", "durability"}),
        ("ALTER TABLE workers RENAME COLUMN host TO name", {"workers-differ"}),
    ],
)
def test_a_store_that_cannot_be_asked_for_its_policies_is_checked_as_far_as_it_can_be(
    statement: str, expected: set[str], store: SqliteStore, tmp_path: Path
) -> None:
    with closing(apsw.Connection(str(tmp_path / "duro.db"))) as connection:
        connection.execute(statement)
    results = {result.name: result for result in duro.Client(store).checkup()}
    ill = {name for name, each in results.items() if each.count and each.severity is Severity.ERROR}
    assert expected <= ill
    unable = {name for name in ill if "could not be carried out" in results[name].findings[0].text}
    assert unable == (set() if statement.startswith("DELETE") else ill)
    assert results["lineage-evidence"].count == 0


def test_a_policy_that_never_prunes_or_is_no_json_is_told_apart(store: SqliteStore, tmp_path: Path) -> None:
    duro.Client(store).set_instance_policy("loop", "never")
    duro.Client(store).set_instance_policy("ended", 3)
    assert found(store) == {}
    connection = apsw.Connection(str(tmp_path / "duro.db"))
    connection.execute("UPDATE instances SET prune_policy = 'keep_last=3' WHERE instance_id = 'loop'")
    connection.close()
    (finding,) = found(store)["policy-unreadable"].findings
    assert (finding.subject, finding.text) == ("loop", "its policy is keep_last=3")


def test_a_prune_that_code_asked_for_long_ago_is_overdue(store: SqliteStore, tmp_path: Path) -> None:
    connection = apsw.Connection(str(tmp_path / "duro.db"))
    at_ms = store.now_ms() - 3_600_001
    connection.execute("INSERT INTO asked_prunes VALUES (4, '{\"keep_last\":2}', '{}', 3, ?1, ?1)", (at_ms,))
    connection.close()
    (finding,) = found(store)["prunes-overdue"].findings
    assert (finding.subject, finding.text) == ("loop", 'it asked for it 3600 s ago: {"keep_last":2}')


def test_every_check_is_shown_to_find_something() -> None:
    assert list(DAMAGES) == [check.name for check in CHECKS]


def test_what_is_found_often_is_counted_and_shown_in_part(store: SqliteStore, tmp_path: Path) -> None:
    connection = apsw.Connection(str(tmp_path / "duro.db"))
    connection.execute("INSERT INTO ledger_totals VALUES ('Order', 30, 30, 60, 600, 5, 5)")
    connection.execute("UPDATE store SET next_incarnation = next_incarnation + 30")
    for number in range(8, 38):
        connection.execute("INSERT INTO requests VALUES ('r', ?, 5)", (number,))
    connection.close()
    result = found(store)["requests-without-instance"]
    assert (result.count, len(result.findings)) == (30, 20)


def test_a_worker_whose_store_is_weakened_says_so(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/duro.db"
    weak = duro.open_store(url, synchronous="NORMAL")
    with duro.Runtime(weak, duro.Registry()) as runtime:
        (told,) = [each for each in runtime.client.checkup() if each.count]
    weak.close()
    assert (told.name, told.findings[0].text) == ("durability", "it runs with synchronous=NORMAL")


def test_files_that_others_may_read_are_found(store: SqliteStore, tmp_path: Path) -> None:
    (tmp_path / "duro.db").chmod(0o644)
    result = found(store)["file-permissions"]
    assert result.severity is Severity.WARNING
    assert result.findings[0].text == "others may use it: -rw-r--r--"


def test_a_client_repairs_only_what_can_be_repaired(store: SqliteStore) -> None:
    client = duro.Client(store)
    assert client.repair([]) == []
    with pytest.raises(duro.UsageError, match="'counters' cannot be repaired"):
        client.repair(["counters"])
    assert {result.name for result in client.checkup()} >= {"counters", "orphans"}


def test_a_store_in_memory_has_nothing_to_check() -> None:
    with duro.Client("memory:") as client:
        assert client.checkup() == ()
