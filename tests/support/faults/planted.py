"""Mistakes in what is made of a failed call. Each is made while runs are disturbed, which must show it."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final
from unittest.mock import patch

import apsw

from duro.errors import StoreError
from duro.host.scheduler import FINISHED
from duro.host.worker import Worker
from duro.model.records import InstanceRecord
from duro.stores.sqlite import SqliteStore, space
from duro.stores.sqlite.committer import Committer
from tests.support.faults.calls import LOG_SYNC, Failure
from tests.support.faults.campaign import Mistake
from tests.support.power import planted as power
from tests.support.power.stage import Stage


@dataclass(frozen=True)
class Planted:
    """``mistake``: it is made for as long as this is entered. ``only``: the failures that can show it, if not all."""

    scenario: str
    mistake: Mistake
    only: Callable[[Failure], bool] = lambda _: True


def _of(*calls: str) -> Callable[[Failure], bool]:
    return lambda failure: failure.call in calls


@contextlib.contextmanager
def failed_commits_are_reported_as_done() -> Iterator[None]:
    with patch.object(Committer, "_give", staticmethod(lambda jobs, error: None)):
        yield


@contextlib.contextmanager
def while_somebody_goes_on(mistake: Mistake) -> Iterator[None]:
    """It is made in every life but the first."""
    real = Stage.begin_again
    with contextlib.ExitStack() as made:

        def begin_again(self: Stage, life: int = 2) -> None:
            made.enter_context(mistake())
            real(self, life)

        with patch.object(Stage, "begin_again", begin_again):
            yield


@contextlib.contextmanager
def _errors_of_sqlite_are_not_translated() -> Iterator[None]:
    with patch.object(Committer, "_translated", lambda self, error: error):
        yield


@contextlib.contextmanager
def _a_sync_that_failed_is_ignored() -> Iterator[None]:
    real = Committer.sync

    def sync(self: Committer) -> None:
        with contextlib.suppress(StoreError):
            real(self)

    with patch.object(Committer, "sync", sync):
        yield


@contextlib.contextmanager
def _what_cannot_be_read_is_not_there() -> Iterator[None]:
    real = SqliteStore.get_instance

    def get_instance(self: SqliteStore, instance_id: str) -> InstanceRecord | None:
        try:
            return real(self, instance_id)
        except StoreError:
            return None

    with patch.object(SqliteStore, "get_instance", get_instance):
        yield


@contextlib.contextmanager
def _worker(failed: Callable[[Worker, float, StoreError], float]) -> Iterator[None]:
    with patch.object(Worker, "_store_failed", failed):
        yield


def _ends(_worker: Worker, _now_s: float, _error: StoreError) -> float:
    return FINISHED


def _forgets_its_turns(worker: Worker, _now_s: float, _error: StoreError) -> float:
    worker._unsent = None
    return 0.1


@contextlib.contextmanager
def _a_backup_that_failed_is_kept() -> Iterator[None]:
    real = space._copy

    def copy(source: apsw.Connection, part: Path, progress: Callable[[int, int], object]) -> None:
        with contextlib.suppress(apsw.Error):
            real(source, part, progress)

    with patch.object(space, "_copy", copy):
        yield


PLANTED: Final[dict[str, Planted]] = {
    "a failed commit is reported as done": Planted(
        "prune by hand", failed_commits_are_reported_as_done, _of("pwrite64", LOG_SYNC)
    ),
    "a failed commit is reported as done to whoever goes on": Planted(
        "prune by hand",
        partial(while_somebody_goes_on, failed_commits_are_reported_as_done),
        lambda each: each.call in ("pwrite64", LOG_SYNC) and each.last is None,
    ),
    "the sync at the end of a long prune may fail": Planted(
        "prune in bulk", _a_sync_that_failed_is_ignored, lambda each: each.call == LOG_SYNC and each.last is None
    ),
    "a migration has no transaction": Planted(
        "migration", power.PLANTED["a migration has no transaction"].mistake, _of("pread64", "pwrite64")
    ),
    "the prune of a turn has a transaction of its own": Planted(
        "prune and continue",
        power.PLANTED["the prune of a turn has a transaction of its own"].mistake,
        _of("pwrite64", LOG_SYNC),
    ),
    "histories are deleted before they are marked": Planted(
        "prune by hand",
        power.PLANTED["histories are deleted before they are marked"].mistake,
        _of("pwrite64", LOG_SYNC),
    ),
    "an error of SQLite reaches the caller": Planted("prune by hand", _errors_of_sqlite_are_not_translated),
    "what cannot be read is taken for what is not there": Planted(
        "start to completion", _what_cannot_be_read_is_not_there, _of("pread64", "fstat")
    ),
    "a worker ends when its store fails": Planted("continue as new", lambda: _worker(_ends), _of("pwrite64")),
    "a worker forgets the turns that could not be written": Planted(
        "continue as new", lambda: _worker(_forgets_its_turns), _of("pwrite64")
    ),
    "a backup that could not be written has its name": Planted(
        "backup", _a_backup_that_failed_is_kept, _of("pwrite64")
    ),
}
