"""The store contract, kept by the memory store."""

from itertools import count

from duro.clock import Clock
from duro.stores.base import Store
from duro.stores.memory import MemoryStore
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


class MemoryStores:
    def make_store(self, clock: Clock) -> Store:
        return MemoryStore(clock=clock, new_id=lambda: f"store{next(_ids)}")


class TestAtomicity(MemoryStores, AtomicityContract):
    pass


class TestStarting(MemoryStores, StartingContract):
    pass


class TestLeasing(MemoryStores, LeasingContract):
    pass


class TestWorkers(MemoryStores, WorkersContract):
    pass


class TestExpiry(MemoryStores, ExpiryContract):
    pass


class TestCommits(MemoryStores, CommitsContract):
    pass


class TestPairs(MemoryStores, PairContract):
    pass


class TestBatches(MemoryStores, BatchContract):
    pass


class TestEnds(MemoryStores, EndsContract):
    pass


class TestContinueAsNew(MemoryStores, ContinueAsNewContract):
    pass


class TestChildren(MemoryStores, ChildrenContract):
    pass


class TestActivities(MemoryStores, ActivitiesContract):
    pass


class TestTimers(MemoryStores, TimersContract):
    pass


class TestMailbox(MemoryStores, MailboxContract):
    pass


class TestCancelling(MemoryStores, CancellingContract):
    pass


class TestTerminating(MemoryStores, TerminatingContract):
    pass


class TestReleases(MemoryStores, ReleasesContract):
    pass


class TestBlocked(MemoryStores, BlockedContract):
    pass


class TestUnregistered(MemoryStores, UnregisteredContract):
    pass


class TestInstanceReads(MemoryStores, InstanceReadsContract):
    pass


class TestExecutionReads(MemoryStores, ExecutionReadsContract):
    pass


class TestHolds(MemoryStores, HoldsContract):
    pass


class TestPolicies(MemoryStores, PoliciesContract):
    pass


class TestPruneOrder(MemoryStores, PruneOrderContract):
    pass


class TestRemoval(MemoryStores, RemovalContract):
    pass


class TestLedger(MemoryStores, LedgerContract):
    pass


class TestTurnPruning(MemoryStores, TurnPruningContract):
    pass


class TestLineage(MemoryStores, LineageContract):
    pass


class TestParentEnd(MemoryStores, ParentEndContract):
    pass


class TestFamilyRemoval(MemoryStores, FamilyRemovalContract):
    pass


class TestArchives(MemoryStores, ArchivesContract):
    pass


def test_no_topic_of_the_contract_is_left_out() -> None:
    run = {base for cls in MemoryStores.__subclasses__() for base in cls.__bases__} - {MemoryStores}
    assert run == set(CONTRACT)
