"""What every store must do, as tests: one class a topic, inherited by the tests of each store.

::

    class MemoryStores:
        def make_store(self, clock: Clock) -> Store:
            return MemoryStore(clock=clock, new_id=...)

    class TestStarting(MemoryStores, StartingContract): ...

A store that passes keeps what ``duro.stores.base`` promises. Nothing here assumes a database, a file or real time.
``CONTRACT`` lists all topics, so that a test can tell when a store leaves one out.
"""

from typing import Final

from duro.testing.store_contract.activities import ActivitiesContract
from duro.testing.store_contract.archiving import ArchivesContract
from duro.testing.store_contract.atomicity import AtomicityContract
from duro.testing.store_contract.batches import BatchContract
from duro.testing.store_contract.blocked import BlockedContract, ReleasesContract
from duro.testing.store_contract.cancelling import CancellingContract, TerminatingContract
from duro.testing.store_contract.children import ChildrenContract
from duro.testing.store_contract.commits import CommitsContract
from duro.testing.store_contract.ends import ContinueAsNewContract, EndsContract
from duro.testing.store_contract.expiry import ExpiryContract, WorkersContract
from duro.testing.store_contract.families import FamilyRemovalContract, LineageContract, ParentEndContract
from duro.testing.store_contract.leasing import LeasingContract
from duro.testing.store_contract.ledger import LedgerContract
from duro.testing.store_contract.mailbox import MailboxContract
from duro.testing.store_contract.pairs import PairContract
from duro.testing.store_contract.pruning import (
    HoldsContract,
    PoliciesContract,
    PruneOrderContract,
    RemovalContract,
    TurnPruningContract,
)
from duro.testing.store_contract.reads import ExecutionReadsContract, InstanceReadsContract
from duro.testing.store_contract.starting import StartingContract
from duro.testing.store_contract.suite import StoreContract
from duro.testing.store_contract.timers import TimersContract
from duro.testing.store_contract.unregistered import UnregisteredContract

CONTRACT: Final[tuple[type[StoreContract], ...]] = (
    AtomicityContract,
    StartingContract,
    LeasingContract,
    WorkersContract,
    ExpiryContract,
    CommitsContract,
    PairContract,
    BatchContract,
    EndsContract,
    ContinueAsNewContract,
    ChildrenContract,
    ActivitiesContract,
    TimersContract,
    MailboxContract,
    CancellingContract,
    TerminatingContract,
    ReleasesContract,
    BlockedContract,
    UnregisteredContract,
    InstanceReadsContract,
    ExecutionReadsContract,
    TurnPruningContract,
    PruneOrderContract,
    RemovalContract,
    LedgerContract,
    HoldsContract,
    PoliciesContract,
    LineageContract,
    ParentEndContract,
    FamilyRemovalContract,
    ArchivesContract,
)

__all__ = [
    "CONTRACT",
    "ActivitiesContract",
    "ArchivesContract",
    "AtomicityContract",
    "BatchContract",
    "BlockedContract",
    "CancellingContract",
    "ChildrenContract",
    "CommitsContract",
    "ContinueAsNewContract",
    "EndsContract",
    "ExecutionReadsContract",
    "ExpiryContract",
    "FamilyRemovalContract",
    "HoldsContract",
    "InstanceReadsContract",
    "LeasingContract",
    "LedgerContract",
    "LineageContract",
    "MailboxContract",
    "PairContract",
    "ParentEndContract",
    "PoliciesContract",
    "PruneOrderContract",
    "ReleasesContract",
    "RemovalContract",
    "StartingContract",
    "StoreContract",
    "TerminatingContract",
    "TimersContract",
    "TurnPruningContract",
    "UnregisteredContract",
    "WorkersContract",
]
