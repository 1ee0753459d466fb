"""Statements over many rows at once.

apsw gives up the GIL around every step of a statement, and beside a busy thread each time costs up to a whole switch
interval. So what a batch writes goes to SQLite in few statements a table, and what it reads comes back as one row of
JSON.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final

ROWS_MAX: Final = 128
"""Rows of one statement at most. Preparing one costs 2 to 4 µs a row, twice what running it does, and more a row the
larger it is. With up to 1,024 rows a process that writes a few thousand was a fifth slower, and neither one that goes
on nor one with a thread that is always busy was faster."""

REMOVED_COLUMNS: Final = (
    *("incarnation", "instance_id", "name", "version", "status", "execution_id", "created_at_ms", "updated_at_ms"),
    *("completed_at_ms", "start_request_id", "custom_status", "turn_sequence", "last_commit_token", "lease_epoch"),
    *("cancel_requested_at_ms", "cancel_reason", "cancel_delivered", "prune_policy", "pruned_through"),
    *("prune_due_at_ms", "swept_at_ms", "live_from"),
)
"""What is kept of an instance that was removed: columns of ``instances`` and ``removed_instances``."""

LEDGER_ROW_MADE_LONGER: Final = """
ON CONFLICT (run_id, incarnation) WHERE run_id IS NOT NULL DO UPDATE SET
  first_execution_id = min(first_execution_id, excluded.first_execution_id),
  last_execution_id = max(last_execution_id, excluded.last_execution_id),
  executions = executions + excluded.executions, events = events + excluded.events,
  history_bytes = history_bytes + excluded.history_bytes, last_pruned_at_ms = excluded.last_pruned_at_ms"""
"""How a row that a run adds to a ledger ends: the one that it has there already is made longer."""

Value = str | int | None
Row = tuple[Value, ...]


class Rows:
    """A statement whose input is a table ``v`` of bound rows, made in power-of-two sizes.

    ``columns`` names the columns of ``v``, ``body`` is the statement after the ``WITH``. ``scalars`` values are bound
    ahead of the rows and are called ``?1``, ``?2`` ... in the body. What is missing to the next power of two is
    filled with rows of NULL, so the first column of a real row is never NULL and ``body`` must do nothing for NULL.

    ``one`` is a statement that does the same for a single row (``?1``, ``?2`` ... are the scalars, then its columns): a
    table of one row costs several times as much.
    """

    def __init__(self, columns: str, body: str, *, scalars: int = 0, one: str | None = None) -> None:
        names = columns.split()
        self.width: Final = len(names)
        self.scalars: Final = scalars
        bound = f"bound AS (SELECT {', '.join(f'?{n}' for n in range(1, scalars + 1))}), " if scalars else ""
        self._head: Final = f"WITH {bound}v ({', '.join(names)}) AS (VALUES "
        self._row: Final = f"({','.join('?' * self.width)})"
        self._tail: Final = f") {body}"
        self._statements: Final[dict[int, str]] = {} if one is None else {1: one}
        self._filler: Final[Row] = (None,) * self.width

    def sql(self, size: int) -> str:
        """The statement for ``size`` rows, a power of two up to ``ROWS_MAX``."""
        statement = self._statements.get(size)
        if statement is None:
            statement = self._statements[size] = self._head + ",".join([self._row] * size) + self._tail
        return statement

    def sizes(self) -> Iterator[int]:
        """Every size there is a statement for."""
        size = 1
        while size <= ROWS_MAX:
            yield size
            size *= 2

    def calls(self, rows: Sequence[Row], scalars: Row = ()) -> Iterator[tuple[str, list[Value]]]:
        """The statements, with what to bind, that do ``rows``: as few as possible, none for no rows."""
        return self.flat_calls([*chain.from_iterable(rows)], scalars)

    def flat_calls(self, values: Sequence[Value], scalars: Row = ()) -> Iterator[tuple[str, list[Value]]]:
        """``calls`` of rows that are written one after the other: a tuple for each of thousands of rows is more for the
        garbage collector than all else that a commit makes."""
        values_max = ROWS_MAX * self.width
        for position in range(0, len(values), values_max):
            part = values[position : position + values_max]
            count = len(part) // self.width
            size = 1 << (count - 1).bit_length()
            yield self.sql(size), [*scalars, *part, *self._filler * (size - count)]
