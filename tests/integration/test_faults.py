"""The short form of ``make faults``: whichever call fails, nothing that was acknowledged is lost, whoever called is
told of it with a documented error, and goes on when the fault has passed, also one who is disturbed as he goes on.

And the test of the test: each planted mistake is found, and a failure is what SQLite makes of it.
"""

import contextlib
import errno
import sys
from pathlib import Path
from typing import Final

import apsw
import pytest

from duro.errors import StoreError
from duro.stores.opening import open_store
from duro.testing.builders import start_request
from tests.support.faults.calls import LOG_SYNC, Failure, SqliteCalls
from tests.support.faults.campaign import Campaign
from tests.support.faults.planted import PLANTED
from tests.support.power.judge import workplace
from tests.support.power.scenarios import SCENARIOS

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="SQLite's system calls are replaced as they are on Linux"
)

RUNS: Final = 3
RUNS_OF_A_MISTAKE: Final = 100


@pytest.mark.parametrize("name", SCENARIOS)
def test_whichever_call_of_sqlite_fails_nothing_is_lost_and_work_goes_on(name: str) -> None:
    with workplace() as directory:
        report = Campaign(SCENARIOS[name], directory, seed=2).run(RUNS, again_one_in=1)
        assert report.wrong == []
        assert report.runs == RUNS
        assert report.calls > 100


def test_a_second_failure_that_never_comes_is_no_success() -> None:
    with workplace() as directory:
        campaign = Campaign(SCENARIOS["prune by hand"], directory)
        campaign._judge.begin()
        with pytest.raises(AssertionError, match="the second call that was to fail was never made"):
            campaign._run_again(Failure("pwrite64", 10_000, None, errno.EIO), 2)


def test_all_who_go_on_are_disturbed_where_that_is_asked_for() -> None:
    with workplace() as directory:
        campaign = Campaign(SCENARIOS["prune by hand"], directory, seed=5)
        report = campaign.run(10, only=lambda each: each.call == "pwrite64" and each.last is None, again_one_in=1)
        assert report.wrong == []
        assert report.twice == report.told > 5


@pytest.mark.parametrize("name", PLANTED)
def test_a_mistake_in_what_is_made_of_a_failed_call_is_found(name: str) -> None:
    planted = PLANTED[name]
    with workplace() as directory:
        campaign = Campaign(SCENARIOS[planted.scenario], directory, seed=2, mistake=planted.mistake)
        report = campaign.run(RUNS_OF_A_MISTAKE, wrong_max=1, only=planted.only, again_one_in=1)
        assert report.wrong, str(report)
        assert "TypeError" not in report.wrong[0], "it is the mistake that does not fit the code any more"


@pytest.mark.parametrize(
    ("call", "error", "expected"),
    [
        ("pwrite64", errno.EIO, apsw.SQLITE_IOERR_WRITE),
        ("pwrite64", errno.ENOSPC, apsw.SQLITE_FULL),
        ("pwrite64", errno.EINTR, None),
        ("pread64", errno.EIO, apsw.SQLITE_CORRUPT),
        ("mmap", errno.EIO, apsw.SQLITE_IOERR_SHMMAP),
        (LOG_SYNC, errno.EIO, apsw.SQLITE_IOERR_FSYNC),
    ],
)
def test_what_fails_below_sqlite_is_what_sqlite_says(
    call: str, error: int, expected: int | None, tmp_path: Path
) -> None:
    path = tmp_path / "a.db"
    with contextlib.closing(apsw.Connection(str(path))) as before:
        before.execute("PRAGMA journal_mode = WAL; CREATE TABLE t (x)").fetchall()
    calls = SqliteCalls(tmp_path)
    found = None
    with calls.watched(), contextlib.closing(apsw.Connection(str(path))) as connection:
        if call != "mmap":  # which is done once, with the first read
            connection.execute("PRAGMA synchronous = FULL")
        following = calls.counts.get(call, 0) + 1
        calls.failure = Failure(call, following, following, error)
        try:
            connection.execute("INSERT INTO t VALUES (1)")
        except apsw.Error as raised:
            found = vars(raised).get("extendedresult")
    assert (found, calls.failed) == (expected, 1)
    with contextlib.closing(apsw.Connection(str(path))) as after:
        assert after.execute("SELECT count(*) FROM t").get == int(expected is None)


@pytest.mark.parametrize("opening", [1, 2, 3])
def test_a_store_whose_file_could_be_opened_for_reading_alone_for_a_moment_is_not_opened(
    opening: int, tmp_path: Path
) -> None:
    """SQLite then opens it for reading, without a word; such a store would refuse every write."""
    path = tmp_path / "duro.db"
    open_store(f"sqlite:///{path}").close()
    calls = SqliteCalls(tmp_path)
    with calls.watched():
        calls.failure = Failure("open", opening, opening, errno.EIO)
        try:
            store = open_store(f"sqlite:///{path}")
        except StoreError:
            store = open_store(f"sqlite:///{path}")
        assert calls.failed == 1
    with contextlib.closing(store):
        store.start_instances([start_request("a")])
        assert store.get_instance("a") is not None
