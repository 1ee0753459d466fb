"""The store contract, kept by the SQLite store, on a file as it is used."""

from itertools import count
from pathlib import Path

import pytest

from duro.clock import Clock
from duro.stores.base import Store
from duro.stores.sqlite import SqliteStore
from duro.testing.store_contract import (
    CONTRACT,
    ActivitiesContract,
    ArchivesContract,
    AtomicityContract,
    BatchContract,
    BlockedContract,
    CancellingContract,
    ChildrenContract,
    CommitsContract,
    ContinueAsNewContract,
    EndsContract,
    ExecutionReadsContract,
    ExpiryContract,
    FamilyRemovalContract,
    HoldsContract,
    InstanceReadsContract,
    LeasingContract,
    LedgerContract,
    LineageContract,
    MailboxContract,
    PairContract,
    ParentEndContract,
    PoliciesContract,
    PruneOrderContract,
    ReleasesContract,
    RemovalContract,
    StartingContract,
    TerminatingContract,
    TimersContract,
    TurnPruningContract,
    UnregisteredContract,
    WorkersContract,
)

_ids = count(1)


class SqliteStores:
    directory: Path

    @pytest.fixture(autouse=True)
    def _choose_directory(self, tmp_path: Path) -> None:
        self.directory = tmp_path

    def make_store(self, clock: Clock) -> Store:
        """Each store has a file of its own."""
        path = self.directory / f"duro{next(_ids)}.db"
        return SqliteStore.open(str(path), url=f"sqlite:///{path}", clock=clock, new_id=lambda: f"store{next(_ids)}")


class TestAtomicity(SqliteStores, AtomicityContract):
    pass


class TestStarting(SqliteStores, StartingContract):
    pass


class TestLeasing(SqliteStores, LeasingContract):
    pass


class TestWorkers(SqliteStores, WorkersContract):
    pass


class TestExpiry(SqliteStores, ExpiryContract):
    pass


class TestCommits(SqliteStores, CommitsContract):
    pass


class TestPairs(SqliteStores, PairContract):
    pass


class TestBatches(SqliteStores, BatchContract):
    pass


class TestEnds(SqliteStores, EndsContract):
    pass


class TestContinueAsNew(SqliteStores, ContinueAsNewContract):
    pass


class TestChildren(SqliteStores, ChildrenContract):
    pass


class TestActivities(SqliteStores, ActivitiesContract):
    pass


class TestTimers(SqliteStores, TimersContract):
    pass


class TestMailbox(SqliteStores, MailboxContract):
    pass


class TestCancelling(SqliteStores, CancellingContract):
    pass


class TestTerminating(SqliteStores, TerminatingContract):
    pass


class TestReleases(SqliteStores, ReleasesContract):
    pass


class TestBlocked(SqliteStores, BlockedContract):
    pass


class TestUnregistered(SqliteStores, UnregisteredContract):
    pass


class TestInstanceReads(SqliteStores, InstanceReadsContract):
    pass


class TestExecutionReads(SqliteStores, ExecutionReadsContract):
    pass


class TestHolds(SqliteStores, HoldsContract):
    pass


class TestPolicies(SqliteStores, PoliciesContract):
    pass


class TestPruneOrder(SqliteStores, PruneOrderContract):
    pass


class TestRemoval(SqliteStores, RemovalContract):
    pass


class TestLedger(SqliteStores, LedgerContract):
    pass


class TestTurnPruning(SqliteStores, TurnPruningContract):
    pass


class TestLineage(SqliteStores, LineageContract):
    pass


class TestParentEnd(SqliteStores, ParentEndContract):
    pass


class TestFamilyRemoval(SqliteStores, FamilyRemovalContract):
    pass


class TestArchives(SqliteStores, ArchivesContract):
    pass


def test_no_topic_of_the_contract_is_left_out() -> None:
    run = {base for cls in SqliteStores.__subclasses__() for base in cls.__bases__} - {SqliteStores}
    assert run == set(CONTRACT)
