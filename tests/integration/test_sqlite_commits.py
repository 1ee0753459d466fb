"""The committer: transactions that are shared, operations that fail, outcomes that are unknown."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from duro.clock import SystemClock
from duro.errors import (
    CommitUnknownError,
    InstanceNotFoundError,
    StoreClosedError,
    StoreError,
    StoreFullError,
    StoreLockedError,
)
from duro.model.records import StartRequest, WorkerRecord
from duro.model.status import ExecutionStatus
from duro.model.turns import CommitBatch, ExecutionEnd, LeaseRequest, ScheduleActivity, TurnCommit, TurnOutcome
from duro.stores.sqlite import SqliteStore, sql
from duro.testing.builders import child_scheduled, completed, continued_as_new, next_lease, turn, wait_started
from duro.testing.builders import start_request as start
from duro.testing.scripted import ScriptedWorker, tokens
from tests.support.pruning import Watched

WANTED = LeaseRequest(orchestrations=(("n", ""), ("n", "1")), activities=(), instances_max=100, activities_max=0)


class Faults:
    """What the fault seam calls. ``at`` maps the name of a point to what happens there, once."""

    def __init__(self) -> None:
        self.points: list[str] = []
        self.at: dict[str, Callable[[], None]] = {}

    def __call__(self, point: str) -> None:
        self.points.append(point)
        action = self.at.pop(point, None)
        if action is not None:
            action()

    @property
    def commits(self) -> int:
        return self.points.count("commit.after")


def fail_with(code: int) -> Callable[[], None]:
    def fail() -> None:
        raise apsw.exception_for(code)

    return fail


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def store(tmp_path: Path, faults: Faults) -> Iterator[SqliteStore]:
    path = tmp_path / "duro.db"
    opened = SqliteStore.open(
        path, url=f"sqlite:///{path}", clock=SystemClock(), new_id=lambda: "id", busy_timeout_ms=50, faults=faults
    )
    yield opened
    opened.close()


def start_request(instance_id: str) -> StartRequest:
    return StartRequest(instance_id=instance_id, name="n", version="", input="null", request_id=f"r-{instance_id}")


def register(store: SqliteStore) -> None:
    worker = WorkerRecord(worker_id="w", host="h", process_id=1, started_at_ms=0, lease_until_ms=0)
    store.register_worker(worker, 60_000)


def leased_turns(store: SqliteStore, *instance_ids: str) -> list[TurnCommit]:
    """First turns of new instances, leased to worker "w"."""
    register(store)
    store.start_instances([start_request(instance_id) for instance_id in instance_ids])
    return [
        TurnCommit(
            instance_id=leased.instance_id,
            incarnation=leased.incarnation,
            execution_id=1,
            turn_sequence=0,
            lease_epoch=leased.lease_epoch,
            at_ms=1,
            name="n",
            version="1",
            first_event_id=1,
            events=["{}"],
            history_bytes=2,
        )
        for leased in store.lease("w", WANTED).instances
    ]


def together(store: SqliteStore, faults: Faults, *calls: Callable[[], object]) -> list[object]:
    """Run the calls in threads so that all of them share one transaction: one more is held at its commit until they
    are queued. Returns their results or errors, in order."""
    writer = store._writer
    assert writer is not None
    queued, outcomes = threading.Event(), [None] * len(calls)

    def hold() -> None:
        assert queued.wait(10)

    def run(n: int, call: Callable[[], object]) -> None:
        try:
            outcomes[n] = call()  # type: ignore[call-overload]
        except Exception as error:
            outcomes[n] = error  # type: ignore[call-overload]

    faults.at["commit.before"] = hold
    first = threading.Thread(target=lambda: store.start_instances([start_request("first")]))
    first.start()
    while "commit.before" in faults.at:
        pass
    threads = []
    for n, call in enumerate(calls):  # one after the other, so that their order is known
        thread = threading.Thread(target=run, args=(n, call))
        thread.start()
        threads.append(thread)
        while len(writer._queue) <= n:
            pass
    faults.points.clear()
    queued.set()
    for thread in [first, *threads]:
        thread.join(10)
        assert not thread.is_alive()
    return list(outcomes)


# --- sharing -------------------------------------------------------------------------------------------------


def test_calls_of_many_threads_share_one_transaction(store: SqliteStore, faults: Faults) -> None:
    calls = [lambda n=n: store.start_instances([start_request(f"i{n}")]) for n in range(20)]
    outcomes = together(store, faults, *calls)
    assert faults.commits == 2  # the one that was held, and the one of all the others
    assert all(outcome[0].started for outcome in outcomes)  # type: ignore[index]
    assert len({outcome[0].incarnation for outcome in outcomes}) == 20  # type: ignore[index]


def test_one_thread_pays_one_commit_a_call(store: SqliteStore, faults: Faults) -> None:
    for n in range(3):
        store.start_instances([start_request(f"i{n}")])
    assert faults.commits == 3


def test_a_call_sees_what_was_queued_before_it(store: SqliteStore, faults: Faults) -> None:
    first, second = together(
        store,
        faults,
        lambda: store.start_instances([start_request("i")]),
        lambda: store.raise_event("i", "go", "1", "q"),
    )
    assert first[0].started  # type: ignore[index]
    assert second is None
    assert len(store.dump()["mailbox"]) == 1


# --- failing -------------------------------------------------------------------------------------------------


def test_an_expected_failure_leaves_the_others_their_transaction(store: SqliteStore, faults: Faults) -> None:
    missing, started = together(
        store,
        faults,
        lambda: store.raise_event("missing", "go", "1", "q"),
        lambda: store.start_instances([start_request("i")]),
    )
    assert isinstance(missing, InstanceNotFoundError)
    assert started[0].started  # type: ignore[index]
    assert faults.commits == 2
    assert store.dump()["requests"] == []


def test_an_unexpected_failure_splits_the_transaction(store: SqliteStore, faults: Faults) -> None:
    before, broken, after = together(
        store,
        faults,
        lambda: store.start_instances([start_request("before")]),
        lambda: store.start_instances([start_request("lone surrogate \ud800")]),
        lambda: store.start_instances([start_request("after")]),
    )
    assert isinstance(broken, UnicodeEncodeError)
    assert before[0].started  # type: ignore[index]
    assert after[0].started  # type: ignore[index]
    assert {row["instance_id"] for row in store.dump()["instances"]} == {"first", "before", "after"}


def test_a_turn_that_cannot_be_written_is_rejected_and_the_others_are_not(store: SqliteStore) -> None:
    turns = leased_turns(store, "a", "b", "c")
    turns[1].activities = [ScheduleActivity(event_id=1, name="x", input="1")] * 2
    turns[1].ignored_messages = 7
    result = store.commit(CommitBatch(worker_id="w", token="t", turns=turns))
    assert result.turns == [TurnOutcome.COMMITTED, TurnOutcome.REJECTED, TurnOutcome.COMMITTED]
    assert list(result.errors) == [1]
    assert "ConstraintError" in result.errors[1]
    last = tokens(store, [turn.incarnation for turn in turns])
    assert list(last.values()) == ["t", None, "t"]
    assert store.dump()["store"][0]["ignored_messages"] == 0


def test_children_of_one_that_ends_beside_a_turn_that_cannot_be_written_end_with_it(store: SqliteStore) -> None:
    worker = ScriptedWorker(store)
    store.start_instances([start("parent")])
    worker.run(worker.take("parent"), child_scheduled("child"), wait_started("go"), waits=["go"])
    child = worker.take("child")
    store.raise_event("parent", "go", "1", "r")
    parent = worker.take("parent")
    store.start_instances([start("bad")])
    bad = turn(worker.take("bad"), completed(), at_ms=5, custom_status="\ud800")
    result = worker.commit(bad, turn(parent, completed(), at_ms=5))
    assert result.turns == [TurnOutcome.REJECTED, TurnOutcome.COMMITTED]
    worker.release(child)
    assert worker.take("child").cancel_reason is not None


def test_a_disk_that_fails_while_turns_are_written_one_by_one_fails_all_of_them(store: SqliteStore) -> None:
    """A turn that cannot be written is not to blame for it, and none of the others was."""
    turns = leased_turns(store, "a", "b")
    turns[1].activities = [ScheduleActivity(event_id=1, name="x", input="1")] * 2
    before = store.dump()
    with Watched(store) as watched:
        store.commit(CommitBatch(worker_id="w", token="t", turns=turns))
    one_by_one = watched.statements.index(sql.SAVEPOINT)
    assert store.dump() != before

    turns = leased_turns(store, "c", "d")
    turns[1].activities = [ScheduleActivity(event_id=1, name="x", input="1")] * 2
    before = store.dump()
    with Watched(store, fail_at=one_by_one + 2), pytest.raises(StoreError):
        store.commit(CommitBatch(worker_id="w", token="u", turns=turns))
    assert store.dump() == before


def test_two_turns_of_one_instance_in_a_batch_build_on_each_other(store: SqliteStore) -> None:
    (first,) = leased_turns(store, "a")
    first.keep_lease = True
    second = TurnCommit(
        instance_id="a",
        incarnation=first.incarnation,
        execution_id=1,
        turn_sequence=1,
        lease_epoch=first.lease_epoch,
        at_ms=2,
        name="n",
        version="1",
        first_event_id=2,
        events=["[]"],
        history_bytes=2,
        end=ExecutionEnd(status=ExecutionStatus.COMPLETED),
    )
    result = store.commit(CommitBatch(worker_id="w", token="t", turns=[first, second]))
    assert result.turns == [TurnOutcome.COMMITTED, TurnOutcome.COMMITTED]
    assert store.load_histories([(first.incarnation, 1)]) == [("{}", "[]")]


def test_the_end_of_an_execution_and_the_first_turn_of_the_next_are_written_at_once(store: SqliteStore) -> None:
    worker = ScriptedWorker(store)
    store.start_instances([start("a")])
    leased = worker.take("a")
    end = turn(leased, continued_as_new(), at_ms=5, keep_lease=True)
    begin = turn(next_lease(leased, end), wait_started("go"), at_ms=5, keep_lease=True, waits=["go"])
    with Watched(store) as watched:
        assert worker.commit(end, begin).turns == [TurnOutcome.COMMITTED] * 2
    assert sql.SAVEPOINT not in watched.statements, "nothing failed, and was tried one by one"
    assert sum("UPDATE instances" in each for each in watched.statements) == 1


def test_a_full_disk_fails_everyone_and_nothing_happened(store: SqliteStore, faults: Faults) -> None:
    faults.at["commit.before"] = fail_with(apsw.SQLITE_FULL)
    with pytest.raises(StoreFullError):
        store.start_instances([start_request("i")])
    assert store.get_instance("i") is None
    assert store.start_instances([start_request("i")])[0].started


# --- unknown outcomes ----------------------------------------------------------------------------------------


def test_a_failure_before_the_commit_proves_that_nothing_happened(store: SqliteStore, faults: Faults) -> None:
    (turn,) = leased_turns(store, "a")
    faults.at["commit.before"] = fail_with(apsw.SQLITE_IOERR)
    with pytest.raises(StoreError) as caught:
        store.commit(CommitBatch(worker_id="w", token="t", turns=[turn]))
    assert not isinstance(caught.value, CommitUnknownError)
    assert tokens(store, [turn.incarnation]) == {turn.incarnation: None}
    assert store.commit(CommitBatch(worker_id="w", token="u", turns=[turn])).turns == [TurnOutcome.COMMITTED]


def test_a_commit_that_reports_an_error_after_it_happened_is_unknown_and_can_be_looked_up(
    store: SqliteStore, faults: Faults
) -> None:
    (turn,) = leased_turns(store, "a")
    faults.at["commit.after"] = fail_with(apsw.SQLITE_IOERR)
    with pytest.raises(CommitUnknownError):
        store.commit(CommitBatch(worker_id="w", token="t", turns=[turn]))
    assert tokens(store, [turn.incarnation]) == {turn.incarnation: "t"}
    assert store.commit(CommitBatch(worker_id="w", token="u", turns=[turn])).turns == [TurnOutcome.FENCED]


def test_an_unknown_outcome_is_everyones(store: SqliteStore, faults: Faults) -> None:
    def fail_the_second_time() -> None:
        faults.at["commit.after"] = fail_with(apsw.SQLITE_IOERR)

    faults.at["commit.after"] = fail_the_second_time
    outcomes = together(
        store,
        faults,
        lambda: store.start_instances([start_request("a")]),
        lambda: store.raise_event("missing", "go", "1", "q"),
        lambda: store.start_instances([start_request("b")]),
    )
    assert [type(outcome) for outcome in outcomes] == [CommitUnknownError, InstanceNotFoundError, CommitUnknownError]
    repeated = store.start_instances([start_request("a"), start_request("b")])
    assert [outcome.started for outcome in repeated] == [True, True]
    assert len(store.dump()["instances"]) == 3


def test_a_commit_refused_for_a_lock_did_not_happen(store: SqliteStore, faults: Faults) -> None:
    """SQLite cannot be made to do so here, so the commit statement itself is made to fail."""
    writer = store._writer
    assert writer is not None
    real = writer._connection

    class Refusing:
        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

        def execute(self, statement: str, values: object = ()) -> object:
            if statement == "COMMIT":
                raise apsw.exception_for(apsw.SQLITE_BUSY)
            return real.execute(statement, values)  # type: ignore[arg-type]

    writer._connection = Refusing()  # type: ignore[assignment]
    with pytest.raises(StoreLockedError):
        store.start_instances([start_request("i")])
    writer._connection = real
    assert not real.in_transaction
    assert store.get_instance("i") is None


# --- locks and ends ------------------------------------------------------------------------------------------


def test_a_store_another_connection_keeps_locked_says_so_and_recovers(store: SqliteStore, tmp_path: Path) -> None:
    other = apsw.Connection(str(tmp_path / "duro.db"))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreLockedError) as caught:
        store.start_instances([start_request("i")])
    assert caught.value.retryable
    assert caught.value.exit_code == 11
    assert store.get_instance("i") is None  # reading is not locked out
    other.execute("ROLLBACK")
    other.close()
    assert store.start_instances([start_request("i")])[0].started


def test_a_closed_store_says_so_whatever_it_is_asked(store: SqliteStore) -> None:
    store.get_instance("i")
    store.close()
    store.close()
    calls: list[Callable[[], object]] = [
        store.now_ms,
        store.change_counter,
        store.list_workers,
        store.release_expired,
        store.info,
        store.dump,
        lambda: store.lease("w", WANTED),
        lambda: store.start_instances([start_request("i")]),
        lambda: store.commit(CommitBatch(worker_id="w", token="t")),
        lambda: store.get_instance("i"),
        lambda: store.terminate_instance("i", "why"),
    ]
    for call in calls:
        with pytest.raises(StoreClosedError):
            call()


def test_a_call_that_waits_when_the_store_is_closed_is_told(store: SqliteStore, faults: Faults) -> None:
    writer = store._writer
    assert writer is not None
    errors: list[Exception] = []

    def wait() -> None:
        try:
            store.start_instances([start_request("late")])
        except StoreClosedError as error:
            errors.append(error)

    with writer._lock:
        waiting = threading.Thread(target=wait)
        waiting.start()
        while not writer._queue:
            pass
        writer._closed = True
    waiting.join(10)
    writer._closed = False
    assert len(errors) == 1


def test_looking_for_work_when_there_is_none_writes_nothing(store: SqliteStore, faults: Faults) -> None:
    register(store)
    faults.points.clear()
    before = store.change_counter()
    assert store.lease("w", WANTED).instances == ()
    assert store.release_expired() == 0
    assert faults.points == []
    assert store.change_counter() == before
