"""The bare limits of ``batch``: the rows that duro wrote, written again by bare apsw in the same transactions on a new
file with the same settings. No selects, no Python in between, one thread. At the setting ``default`` with the very
statements of duro, each for many rows; at ``rows`` as one writes them by hand: a statement a table, ``executemany``.
"""

import sys
import tempfile
from collections.abc import Callable
from typing import Any

import apsw

from benchmarks.programs.duro_program import registry, run
from benchmarks.programs.measuring import Stopwatch, say
from duro.host.runtime import Runtime
from duro.stores.opening import open_store
from duro.stores.sqlite import sql
from duro.stores.sqlite.rows import Rows
from duro.stores.sqlite.store import SqliteStore

_WRITES = ("INSERT", "UPDATE", "DELETE", "BEGIN", "COMMIT")


def writing(store: SqliteStore) -> apsw.Connection:
    assert store._writer is not None
    return store._writer._connection


def is_write(statement: str) -> bool:
    """Whether it writes; those over many rows begin with the rows (``WITH v AS (VALUES ...``)."""
    body = statement.rpartition("(?")[2].partition(")) ")[2] if statement.startswith("WITH") else statement
    return body.strip().startswith(_WRITES)


class Recorder:
    """A connection that keeps what it executes."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self.executed: list[tuple[str, Any]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, statement: str, values: Any = ()) -> Any:
        self.executed.append((statement, values))
        return self._connection.execute(statement, values)


def record(size: int) -> list[tuple[str, Any]]:
    with tempfile.TemporaryDirectory() as directory:
        store = open_store(f"sqlite:///{directory}/duro.db")
        assert isinstance(store, SqliteStore)
        assert store._writer is not None
        recorder = Recorder(writing(store))
        store._writer._connection = recorder  # type: ignore[assignment]  # it is one, but for its class
        with Runtime(store, registry) as runtime:
            run("batch", size, runtime.client)
        store.close()
    return [(statement, values) for statement, values in recorder.executed if is_write(statement)]


def by_rows(statements: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """The same with the statement for one row in the place of that for many."""
    of_many = {each.sql(size): each for each in vars(sql).values() if isinstance(each, Rows) for size in each.sizes()}
    written: list[tuple[str, Any]] = []
    for statement, values in statements:
        many = of_many.get(statement)
        if many is None:
            written.append((statement, [values]))
            continue
        scalars, rows = values[: many.scalars], values[many.scalars :]
        parts = [rows[start : start + many.width] for start in range(0, len(rows), many.width)]
        written.append((many.sql(1), [(*scalars, *part) for part in parts if part[0] is not None]))
    return written


def main() -> None:
    _, setting, size, directory = sys.argv[1:]
    statements = record(int(size))
    if setting == "rows":
        statements = by_rows(statements)
    store = open_store(f"sqlite:///{directory}/limit.db")
    assert isinstance(store, SqliteStore)
    connection = writing(store)
    execute: Callable[[str, Any], object] = connection.executemany if setting == "rows" else connection.execute
    watch = Stopwatch()
    for statement, values in statements:
        execute(statement, values)
    say(watch.figures(int(size)) | {"statements": len(statements)})
    store.close()


if __name__ == "__main__":
    main()
