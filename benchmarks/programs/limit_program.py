"""The bare limit of ``batch``: every statement with which duro wrote its rows, in the same transactions with the same
values, executed again by bare apsw on a new file with the same settings. No selects, no Python in between, one thread.
"""

import sys
import tempfile
from typing import Any

import apsw

from benchmarks.programs.duro_program import registry, run
from benchmarks.programs.measuring import Stopwatch, say
from duro.host.runtime import Runtime
from duro.stores.opening import open_store
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


def main() -> None:
    _, _, size, directory = sys.argv[1:]
    statements = record(int(size))
    store = open_store(f"sqlite:///{directory}/limit.db")
    assert isinstance(store, SqliteStore)
    connection = writing(store)
    watch = Stopwatch()
    for statement, values in statements:
        connection.execute(statement, values)
    say(watch.figures(int(size)) | {"statements": len(statements)})
    store.close()


if __name__ == "__main__":
    main()
