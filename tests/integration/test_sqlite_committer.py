"""The writer of a SQLite store by itself: who is told what when something goes wrong, and what it leaves behind."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from duro.errors import CommitUnknownError, InstanceNotFoundError, StoreClosedError, StoreError, UsageError
from duro.stores.sqlite import SqliteStore, sql
from duro.stores.sqlite.committer import Committer, Transaction
from duro.stores.sqlite.rows import Row
from duro.testing.clock import ManualClock


class Points:
    """Names of the points of fault that were passed."""

    def __init__(self) -> None:
        self.passed: list[str] = []
        self.at: dict[str, Callable[[], None]] = {}

    def __call__(self, point: str) -> None:
        self.passed.append(point)
        self.at.pop(point, lambda: None)()

    @property
    def attempts(self) -> int:
        return self.passed.count("commit.before")


@pytest.fixture
def points() -> Points:
    return Points()


@pytest.fixture
def store(tmp_path: Path, points: Points) -> Iterator[SqliteStore]:
    path = tmp_path / "duro.db"
    opened = SqliteStore.open(
        path, url=f"sqlite:///{path}", clock=ManualClock(), new_id=lambda: "id", busy_timeout_ms=50, faults=points
    )
    yield opened
    opened.close()


@pytest.fixture
def writer(store: SqliteStore) -> Committer:
    assert store._writer is not None
    return store._writer


def a_mark(transaction: Transaction) -> int:
    """Something that is written; how often it has been."""
    transaction.run("UPDATE store SET ignored_messages = ignored_messages + 1")
    return int(transaction.value("SELECT ignored_messages FROM store"))


def marks(writer: Committer) -> int:
    return int(writer.alone(lambda connection: connection.execute("SELECT ignored_messages FROM store").get))


def together(writer: Committer, points: Points, *operations: Callable[[Transaction], object]) -> list[object]:
    """Results or errors of operations that share a transaction: another one is held until all of them wait."""
    waiting = threading.Event()
    outcomes: list[object] = [None] * len(operations)

    def hold() -> None:
        assert waiting.wait(10)

    def run(number: int) -> None:
        try:
            outcomes[number] = writer.run(operations[number])
        except BaseException as error:
            outcomes[number] = error

    points.at["commit.before"] = hold
    threads = [threading.Thread(target=lambda: writer.run(lambda _: None))]
    threads[0].start()
    while "commit.before" in points.at:
        pass
    for number in range(len(operations)):
        threads.append(threading.Thread(target=run, args=(number,)))
        threads[-1].start()
        while len(writer._queue) <= number:
            pass
    points.passed.clear()
    waiting.set()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    return outcomes


def interrupted(_: Transaction) -> None:
    raise KeyboardInterrupt


def test_an_interrupt_is_raised_where_it_came_the_others_learn_that_it_is_unknown_and_nothing_is_left(
    writer: Committer, points: Points
) -> None:
    outcomes = together(writer, points, a_mark, interrupted, a_mark)
    # whoever gets the lock first runs the operations of all, and is the one who is interrupted
    kinds = sorted(type(each).__name__ for each in outcomes)
    assert kinds == ["CommitUnknownError", "CommitUnknownError", "KeyboardInterrupt"]
    assert all(isinstance(each, CommitUnknownError | KeyboardInterrupt) for each in outcomes)
    assert marks(writer) == 0
    assert not writer.connection.in_transaction
    assert writer.run(a_mark) == 1


def test_one_who_failed_in_a_transaction_that_was_undone_succeeds_in_one_of_its_own(
    writer: Committer, points: Points
) -> None:
    tries = []

    def not_there_at_first(transaction: Transaction) -> int:
        tries.append(1)
        if len(tries) == 1:
            raise InstanceNotFoundError("not yet")
        return a_mark(transaction)

    def broken(_: Transaction) -> None:
        raise ZeroDivisionError

    outcomes = together(writer, points, not_there_at_first, broken)
    assert outcomes[0] == 1
    assert isinstance(outcomes[1], ZeroDivisionError)
    assert marks(writer) == 1


def test_an_error_of_the_store_is_everyones_and_each_is_told_once(writer: Committer, points: Points) -> None:
    def full(_: Transaction) -> None:
        raise StoreError("the disk is full")

    outcomes = together(writer, points, a_mark, full, a_mark)
    assert [str(each) for each in outcomes] == ["the disk is full"] * 3
    assert points.attempts == 0, "nobody tries again for those who have been told"
    assert marks(writer) == 0


def test_an_expected_error_of_one_leaves_what_the_others_wrote(writer: Committer, points: Points) -> None:
    def refused(_: Transaction) -> None:
        raise UsageError("no")

    outcomes = together(writer, points, a_mark, refused, a_mark)
    assert (outcomes[0], str(outcomes[1]), outcomes[2]) == (1, "no", 2)
    assert points.attempts == 1


def test_messages_that_nobody_was_there_for_are_counted_with_and_without_new_ids(writer: Committer) -> None:
    writer.run(lambda transaction: transaction.count_ignored(2))
    assert marks(writer) == 2

    def with_an_id(transaction: Transaction) -> tuple[int, int]:
        transaction.count_ignored(3)
        return transaction.take_message_ids(2), transaction.take_message_ids(1)

    first, second = writer.run(with_an_id)
    assert second == first + 2
    assert marks(writer) == 5
    assert writer.run(lambda transaction: transaction.take_message_ids(1)) == first + 3


def test_counters_that_are_restored_give_the_same_ids_again_and_count_nothing(writer: Committer) -> None:
    def undone_in_part(transaction: Transaction) -> list[int]:
        before = transaction.counters()
        given = [transaction.take_message_ids(5), transaction.take_incarnations(2)]
        transaction.count_ignored(7)
        transaction.restore_counters(before)
        return [*given, transaction.take_message_ids(1), transaction.take_incarnations(1)]

    first, second, again, once_more = writer.run(undone_in_part)
    assert (first, second) == (again, once_more)
    assert marks(writer) == 0
    assert writer.run(lambda transaction: transaction.take_message_ids(1)) == first + 1


def test_what_runs_alone_is_counted_translates_errors_and_is_refused_when_the_store_is_closed(
    writer: Committer,
) -> None:
    before = writer.commits
    assert writer.alone(lambda connection: connection.execute("SELECT 7").get) == 7
    assert writer.commits == before + 1

    def broken(connection: apsw.Connection) -> None:
        raise apsw.FullError("full")

    with pytest.raises(StoreError) as caught:
        writer.alone(broken)
    assert isinstance(caught.value.__cause__, apsw.FullError)
    assert writer.commits == before + 2
    writer.close()
    with pytest.raises(StoreClosedError, match="the store was closed"):
        writer.alone(lambda connection: connection.execute("SELECT 7").get)
    with pytest.raises(StoreClosedError, match="the store was closed"):
        writer.run(a_mark)
    writer.close()


def test_commits_are_counted_also_those_that_are_unknown(writer: Committer, points: Points) -> None:
    """By them a store knows that it was not another process that wrote."""
    before = writer.commits
    writer.run(a_mark)
    assert writer.commits == before + 1

    def fails() -> None:
        raise apsw.IOError("it says")

    points.at["commit.after"] = fails
    with pytest.raises(CommitUnknownError, match="may have happened") as caught:
        writer.run(a_mark)
    assert isinstance(caught.value.__cause__, apsw.IOError)
    assert writer.commits == before + 3, "once for the commit, and once more: who looks next looks anew"
    assert marks(writer) == 2


def test_what_sqlite_says_is_the_cause_of_what_the_caller_is_told(writer: Committer) -> None:
    def full(_: Transaction) -> None:
        raise apsw.FullError("no room")

    with pytest.raises(StoreError) as caught:
        writer.run(full)
    assert isinstance(caught.value.__cause__, apsw.FullError)
    assert marks(writer) == 0


def test_a_sync_writes_only_after_what_was_not_durable(writer: Committer, points: Points) -> None:
    writer.sync()
    assert points.attempts == 0
    writer.run(a_mark, durable=False)
    writer.sync()
    writer.sync()
    assert points.attempts == 2


def test_long_work_is_not_synced_from_its_first_transaction_on_and_durable_work_is_again(writer: Committer) -> None:
    def synchronous(transaction: Transaction) -> int:
        return int(transaction.value("PRAGMA synchronous"))

    assert writer.run(synchronous, durable=False) == 1
    assert writer.run(synchronous) == 2
    assert writer.run(synchronous, durable=False) == 1


@pytest.mark.parametrize("count", [0, 1, 2, 3, 1000])
def test_how_many_rows_a_statement_changed_is_told_however_many_there_are(writer: Committer, count: int) -> None:
    rows: list[Row] = [("orchestration", f"{number}", "1") for number in range(count)]

    def changed(transaction: Transaction) -> tuple[int, int, int]:
        inserted = transaction.rows(sql.INSERT_CAPABILITIES, rows, ("w",))
        deleted = transaction.run("DELETE FROM capabilities")
        flat = [value for row in rows for value in row]
        return inserted, deleted, transaction.flat_rows(sql.INSERT_CAPABILITIES, flat, ("w",))

    assert writer.run(changed) == (count, count, count)


def test_the_connection_is_closed_once(writer: Committer) -> None:
    writer.close()
    with contextlib.suppress(apsw.ConnectionClosedError):
        writer.connection.execute("SELECT 1")
        raise AssertionError("it is open")
