"""Every statement of the store: that it can be prepared, and by which index it finds its rows."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

import duro
from duro.stores.sqlite import migrations, sql, sql_archiving, sql_families, sql_pruning
from duro.stores.sqlite.connection import open_writer
from duro.stores.sqlite.rows import ROWS_MAX, Rows


@pytest.fixture(scope="module")
def database() -> apsw.Connection:
    connection = apsw.Connection(":memory:")
    migrations.migrate(connection, "id", 0)
    return connection


def named_statements() -> Iterator[tuple[str, str]]:
    pruning = {f"PRUNING_{name}": value for name, value in vars(sql_pruning).items() if not name.startswith("_")}
    families = {f"OF_{name}": value for name, value in vars(sql_families).items() if not name.startswith("_")}
    archives = {f"ARCHIVE_{name}": value for name, value in vars(sql_archiving).items() if not name.startswith("_")}
    for name, value in (vars(sql) | pruning | families | archives).items():
        if name.startswith("_") or not name.isupper():
            continue
        if isinstance(value, str):
            yield name, value
        elif isinstance(value, dict):
            yield from ((f"{name}[{key}]", statement) for key, statement in value.items())
        elif isinstance(value, tuple):
            yield from ((f"{name}[{n}]", statement) for n, statement in enumerate(value))
        elif isinstance(value, Rows):
            yield from ((f"{name}({size})", value.sql(size)) for size in value.sizes())


STATEMENTS = dict(named_statements())


def nulls(statement: str) -> list[None]:
    """One for every parameter: those with a number come first, then those without."""
    numbers = re.findall(r"\?([0-9]*)", statement)
    return [None] * (max((int(number) for number in numbers if number), default=0) + numbers.count(""))


def plan(database: apsw.Connection, statement: str) -> list[str]:
    """EXPLAIN QUERY PLAN, everything bound to NULL (a plan does not depend on values here)."""
    return [str(row[3]) for row in database.execute(f"EXPLAIN QUERY PLAN {statement}", nulls(statement))]


@pytest.mark.parametrize("name", STATEMENTS)
def test_every_statement_can_be_prepared(database: apsw.Connection, name: str) -> None:
    statement = STATEMENTS[name]
    if statement.startswith(("PRAGMA", "BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "VACUUM")):
        return  # they run, one and all, when a store is opened and used
    steps = [row[1] for row in database.execute(f"EXPLAIN {statement}", nulls(statement))]
    assert "Halt" in steps


def test_there_is_no_sql_anywhere_else() -> None:
    """In no string of the package but those of ``sql`` and its neighbours (docstrings aside)."""
    package = Path(duro.__path__[0])
    found = []
    for path in package.rglob("*.py"):
        if path.name in (
            "sql.py",
            "sql_pruning.py",
            "sql_families.py",
            "sql_archiving.py",
            "sql_checks.py",
            "sql_check_histories.py",
            "sql_check_texts.py",
            "sql_check_warnings.py",
            "sql_catalogue.py",
        ):
            continue
        if path.name == "exporting.py":  # of another file than the store's
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
                words = node.value.split()
                if len(words) > 2 and words[0] in ("SELECT", "INSERT", "UPDATE", "DELETE", "PRAGMA", "CREATE", "DROP"):
                    found.append((path.name, node.value))
    assert found == []


SCANS_MEANT = {
    # one row, or a row a process
    "store",
    "workers",
    "w",
    # the values a statement was given
    "v",
    "k",
    "json_each",
    "ends",
    "newer",
    "CONSTANT",
    "4",
    # a row a hold, a policy text, an orchestration, what is marked and not yet reclaimed, a run that is asked for
    "holds",
    "publications",
    "p",
    "ledger_totals",
    "archives",
    "executions_marked",
    "prune_runs",
    "removed_instances",
    "r",
    "t",
    # the few rows of a ledger, of a family, of the names there are
    "l",
    "f",
    "family",
    "n",
    "names",
    "roots",
    # the few rows of a subquery that was found by an index
    "a",
    "c",
    "e",
    "i",
}


SMALL_INDEXES = (
    "USING INDEX instances_blocked",
    "USING INDEX executions_marked",
    "USING COVERING INDEX executions_marked",
    "USING INDEX instances_prune_due",
    "USING COVERING INDEX removed_instances_due",
    "USING COVERING INDEX executions_unarchived",
    "USING INDEX removed_instances_due",
    "USING COVERING INDEX lineage_unobserved",
)


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in STATEMENTS
        if not name.startswith(("DUMP", "INFO", "USAGE", "COUNT_TABLES")) and "PRAGMA" not in name
    ],
)
def test_no_statement_scans_a_table(database: apsw.Connection, name: str) -> None:
    statement = STATEMENTS[name]
    if name.partition("(")[2] not in ("", "4)") or not statement.strip().startswith(
        ("SELECT", "WITH", "UPDATE", "DELETE")
    ):
        return
    for step in plan(database, statement):
        if step.startswith("SCAN"):
            what = step.split()[1]
            by_small_index = step.endswith(SMALL_INDEXES)
            assert what in SCANS_MEANT or what.startswith("(subquery") or by_small_index or " VIRTUAL TABLE " in step, (
                step
            )


BETWEEN_EXECUTIONS = "incarnation=? AND execution_id>? AND execution_id<?"
OF_PARENT = "USING INDEX lineage_by_parent (parent_incarnation"
BY_PARENT = "USING COVERING INDEX lineage_by_parent"
SORTS_MEANT = (
    "LIST_WORKERS",
    "LIST_UNSERVED",
    "DUMP",
    # for people, like INFO: a row an orchestration
    "USAGE",
    # a row a version, a hold, a policy text, or an instance that was named; and the newest of what a turn counts
    "PRUNING_NEWER",
    "PRUNING_PAST_PUBLICATIONS",
    # a row an archive, or a tree that is removed
    "ARCHIVE_WAITING",
    "ARCHIVE_KNOWN_ARCHIVES",
    "ARCHIVE_SPREAD_ARCHIVES",
    "PRUNING_LIST_HOLDS",
    "PRUNING_VERSIONS_SEEN",
    "PRUNING_IS_PUBLISHED",
    "PRUNING_PUBLISHED",
    "PRUNING_LAST_PUBLISHED",
    "PRUNING_PRUNABLE_BY_ID",
    # what was asked for: families, the children of what ends, what comes back, the names there are
    "OF_FAMILIES",
    "OF_RESTORABLE",
    "OF_NOT_RESTORABLE",
    "OF_COUNT_ORPHANS",
)


@pytest.mark.parametrize("name", [name for name in STATEMENTS if not name.startswith(SORTS_MEANT)])
def test_no_statement_sorts_what_an_index_has_sorted(database: apsw.Connection, name: str) -> None:
    statement = STATEMENTS[name]
    if statement.strip().startswith(("SELECT", "WITH", "UPDATE", "DELETE")) and name.partition("(")[2] in ("", "4)"):
        assert [step for step in plan(database, statement) if "TEMP B-TREE" in step] == []


@pytest.mark.parametrize(
    ("name", "searches"),
    [
        ("READY_WORK", ["instances USING INDEX instances_ready (name=? AND version=? AND ready_at_ms<?)"]),
        ("READY_WORK", ["activities USING INDEX activities_ready (name=? AND visible_at_ms<?)"]),
        ("EARLIEST_WORK", ["instances USING INDEX instances_ready (name=? AND version=? AND ready_at_ms>?)"]),
        ("EARLIEST_WORK", ["activities USING INDEX activities_ready (name=?)"]),
        ("LEASE_INSTANCES", ["instances USING INTEGER PRIMARY KEY (rowid=?)"]),
        (
            "LEASED_INSTANCES",
            [
                "i USING INTEGER PRIMARY KEY (rowid=?)",
                "e USING PRIMARY KEY (incarnation=? AND execution_id=?)",
                "m USING PRIMARY KEY (incarnation=?)",
                "t USING COVERING INDEX timers_due (incarnation=? AND fire_at_ms<?)",
            ],
        ),
        ("MAILBOX_HEADS", ["mailbox USING PRIMARY KEY (incarnation=? AND name=?)"]),
        ("FENCE", ["i USING INTEGER PRIMARY KEY (rowid=?)", "e USING PRIMARY KEY (incarnation=? AND execution_id=?)"]),
        ("EVENT_ROWS", ["history USING PRIMARY KEY (incarnation=? AND execution_id=? AND event_id>?)"]),
        (
            "READ_ENDS",
            [
                "i USING INDEX sqlite_autoindex_instances_1 (instance_id=?)",
                "h USING PRIMARY KEY (incarnation=? AND execution_id=?)",
            ],
        ),
        ("EVENTS_AFTER", ["history USING PRIMARY KEY (incarnation=? AND execution_id=? AND event_id>?)"]),
        (
            "OF_LIST_CHILDREN",
            [f"lineage {BY_PARENT} (parent_incarnation=? AND (parent_execution_id,parent_event_id)>(?,?))"],
        ),
        ("DELETE_MESSAGES(4)", ["messages USING PRIMARY KEY (incarnation=? AND message_id=?)"]),
        ("DELETE_TIMERS(4)", ["timers USING PRIMARY KEY (incarnation=? AND execution_id=? AND event_id=?)"]),
        ("DELETE_MAILBOX(4)", ["mailbox USING PRIMARY KEY (incarnation=? AND name=? AND sequence=?)"]),
        ("DELETE_ACTIVITIES(4)", ["activities USING PRIMARY KEY (incarnation=? AND execution_id=? AND event_id=?)"]),
        ("LEASE_ACTIVITIES(4)", ["activities USING PRIMARY KEY (incarnation=? AND execution_id=? AND event_id=?)"]),
        ("UPDATE_EXECUTIONS(4)", ["executions USING PRIMARY KEY (incarnation=? AND execution_id=?)"]),
        (
            "UPDATE_RELEASED(4)",
            [
                "instances USING INTEGER PRIMARY KEY (rowid=?)",
                "m USING PRIMARY KEY (incarnation=?)",
                "m USING PRIMARY KEY (incarnation=? AND name=?)",
                "t USING COVERING INDEX timers_due (incarnation=?)",
            ],
        ),
        ("FREE_INSTANCES", ["instances USING INDEX instances_leased (lease_worker_id=?)"]),
        ("FREE_ACTIVITIES", ["activities USING INDEX activities_leased (lease_worker_id=?)"]),
        ("LIST_ALL", ["instances USING INTEGER PRIMARY KEY (rowid<?)"]),
        ("LIST_NAMED", ["instances USING INDEX instances_by_name (name=? AND incarnation<?)"]),
        ("LIST_UNFINISHED", ["instances USING INDEX instances_unfinished (incarnation<?)"]),
        ("LIST_BLOCKED", ["instances USING INDEX instances_blocked (incarnation<?)"]),
        (
            "UNSERVED_KINDS",
            [
                "instances USING COVERING INDEX instances_ready (name=? AND version>?)",
                "instances USING COVERING INDEX instances_ready (name>?)",
                "c USING PRIMARY KEY (worker_id=? AND kind=? AND name=?)",
            ],
        ),
        ("UNSERVED_ACTIVITIES", ["activities USING INDEX activities_ready (name>?)"]),
        (
            "LIST_UNSERVED",
            [
                "r USING COVERING INDEX instances_ready (name=? AND version=? AND ready_at_ms<?)",
                "a USING INDEX activities_ready (name=? AND visible_at_ms<?)",
                "instances USING INTEGER PRIMARY KEY (rowid=?)",
            ],
        ),
        (
            "UNSERVED_OF",
            ["i USING INTEGER PRIMARY KEY (rowid=?)", "a USING PRIMARY KEY (incarnation=?)"],
        ),
        ("LIST_ENDED_BADLY[failed]", ["instances USING INDEX instances_ended_badly (status=? AND incarnation<?)"]),
        (
            "LIST_EXECUTIONS",
            ["i USING INTEGER PRIMARY KEY (rowid<?)", f"e USING PRIMARY KEY ({BETWEEN_EXECUTIONS})"],
        ),
        ("LIST_EXECUTIONS_OF", [f"e USING PRIMARY KEY ({BETWEEN_EXECUTIONS})"]),
        *(
            (
                name,
                [
                    "i USING INTEGER PRIMARY KEY (rowid=?)",
                    f"executions USING PRIMARY KEY ({BETWEEN_EXECUTIONS})",
                    f"lineage {OF_PARENT}=? AND parent_execution_id>? AND parent_execution_id<?)",
                    "l USING PRIMARY KEY (incarnation=?)",
                ],
            )
            for name in ("PRUNING_TURN_VIEWS", "PRUNING_TURN_VIEW")
        ),
        (
            "PRUNING_VIEWS",
            ["executions USING PRIMARY KEY (incarnation=? AND execution_id>? AND execution_id<?)"],
        ),
        ("PRUNING_DELETE_HISTORIES(4)", ["history USING PRIMARY KEY (incarnation=? AND execution_id=?)"]),
        ("PRUNING_DELETE_EXECUTION_ROWS(4)", ["executions USING PRIMARY KEY (incarnation=? AND execution_id=?)"]),
        ("PRUNING_GROW_RANGES(4)", ["ledger USING PRIMARY KEY (incarnation=? AND sequence=?)"]),
        ("PRUNING_PRUNED(4)", ["instances USING INTEGER PRIMARY KEY (rowid=?)"]),
        ("PRUNING_RECLAIMABLE", ["executions USING INDEX executions_marked (reclaim_at_ms<?)"]),
        ("PRUNING_ANY_RECLAIMABLE", ["executions USING COVERING INDEX executions_marked (reclaim_at_ms<?)"]),
        (
            "OF_CHILDREN_OF_EXECUTION",
            [f"l {OF_PARENT}=? AND parent_execution_id=? AND parent_event_id>?)"],
        ),
        ("OF_FAMILIES", [f"l {OF_PARENT}=?)", "e USING PRIMARY KEY (incarnation=?)"]),
        ("OF_UNOBSERVED", ["l USING INDEX lineage_unobserved (child_incarnation>?)"]),
        ("OF_UNOBSERVED_OR_UNKNOWN", ["l USING INTEGER PRIMARY KEY (rowid>?)"]),
        ("OF_FINISHED", ["i USING INTEGER PRIMARY KEY (rowid>?)", "l USING INTEGER PRIMARY KEY (rowid=?)"]),
        ("OF_REMOVED_DUE", ["removed_instances USING INDEX removed_instances_due (reclaim_at_ms<?)"]),
        (
            "OF_CHILDREN_TO_END(4)",
            [
                f"l {OF_PARENT}=? AND parent_execution_id=?)",
                f"l {OF_PARENT}=?)",
                "i USING INTEGER PRIMARY KEY (rowid=?)",
            ],
        ),
    ],
)
def test_the_hot_statements_find_their_rows_by_index(database: apsw.Connection, name: str, searches: list[str]) -> None:
    steps = plan(database, STATEMENTS[name])
    assert [search for search in searches if f"SEARCH {search}" not in steps] == []


def test_a_statement_is_prepared_once_whatever_is_bound_to_it(tmp_path: Path) -> None:
    """SQLite prepares some statements again for each new value, unless it is told that plans depend on none."""
    path = tmp_path / "duro.db"
    duro.open_store(f"sqlite:///{path}").close()
    connection = open_writer(path, busy_timeout_ms=0, synchronous="FULL", new=False)
    prepared_again: dict[str, int] = {}

    def note(event: dict[str, Any]) -> None:
        prepared_again[event["sql"]] = event["stmt_status"]["SQLITE_STMTSTATUS_REPREPARE"]

    connection.trace_v2(apsw.SQLITE_TRACE_PROFILE, note)
    for number in range(3):
        connection.execute(sql.READY_WORK, (number, f"w{number}", '[["a", "1"]]', number, '["b"]', number)).fetchall()
        connection.execute(sql.FENCE, (f"[{number}]", f"w{number}")).fetchall()
        connection.execute(sql.HELD_INSTANCES, (f"w{number}",)).fetchall()
    connection.close()
    assert prepared_again == {sql.READY_WORK: 0, sql.FENCE: 0, sql.HELD_INSTANCES: 0}


# --- statements over many rows -------------------------------------------------------------------------------

ROWS = Rows("a b", "SELECT ?1 || group_concat(a || ':' || coalesce(b, 'null')) FROM v WHERE a NOT NULL", scalars=1)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 127, 128, 129, 3000])
def test_any_number_of_rows_goes_through_a_few_statements(database: apsw.Connection, count: int) -> None:
    rows = [(n, "x") for n in range(count)]
    calls = list(ROWS.calls(rows, ("=",)))
    assert len(calls) == -(-count // ROWS_MAX)
    answer = [str(database.execute(statement, values).get).removeprefix("=") for statement, values in calls]
    assert ",".join(answer) == ",".join(f"{n}:x" for n in range(count))


def test_no_rows_are_no_statement() -> None:
    assert list(ROWS.calls([], ("=",))) == []


@pytest.mark.parametrize("statement", [value for value in vars(sql).values() if isinstance(value, Rows)])
def test_the_largest_size_fits_the_cache_and_the_parameters(statement: Rows) -> None:
    largest = list(statement.sizes())[-1]
    assert largest == ROWS_MAX
    assert len(statement.sql(largest)) <= 16_384, "apsw caches no longer ones"
    assert largest * statement.width + statement.scalars <= 32_766, "SQLite binds no more values at its default"
