"""A store with many executions to prune: one instance is run for real, then copied row by row under other ids."""

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path


def copy_instances(path: Path, count: int, tables: Sequence[str], changed: Mapping[str, str]) -> None:
    """Make ``count`` instances of the one in the SQLite file ``path``, table by table.

    ``changed`` maps the columns that tell instances apart to the SQL expression of their value in copy ``n``.
    """
    connection = sqlite3.connect(path)
    connection.execute("CREATE TEMP TABLE copies (n INTEGER PRIMARY KEY)")
    connection.executemany("INSERT INTO copies VALUES (?)", [(n,) for n in range(2, count + 1)])
    for table in tables:
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        values = ", ".join(changed.get(column, f"t.{column}") for column in columns)
        copies = f"SELECT {values} FROM copies CROSS JOIN {table} t ORDER BY n"  # noqa: S608 - names of our own
        connection.execute(f"INSERT INTO {table} ({', '.join(columns)}) {copies}")
    connection.commit()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
