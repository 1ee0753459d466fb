"""duro: durable execution to embed in a Python program.

The names below are the public surface; each is imported when it is first used, so that a program (or a command line)
pays only for what it takes.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from duro.async_client import AsyncClient
    from duro.client import Client, OrchestrationResult, Start
    from duro.errors import (
        ActivityCancelled,
        ActivityFailedError,
        ArchiveDamagedError,
        ArchiveError,
        ArchiveUnavailableError,
        CommitUnknownError,
        ContextSealed,
        DuroError,
        ExecutionNotFoundError,
        ExecutionPrunedError,
        FutureCancelledError,
        HoldExistsError,
        HoldNotFoundError,
        InstanceExistsError,
        InstanceFinishedError,
        InstanceNotFoundError,
        InstanceRemovedError,
        InvalidIdError,
        InvalidInputError,
        InvalidNameError,
        InvalidRulesError,
        LimitExceededError,
        MailboxFullError,
        NondeterminismError,
        NonDurableAwaitError,
        NotAnOrphanError,
        NotArchivedError,
        OrchestrationCancelled,
        OrchestrationFailedError,
        PayloadTooLargeError,
        PolicyUnknownError,
        PruneRunNotFoundError,
        RegistryError,
        RestoreRefusedError,
        StalePlanError,
        StoreError,
        SubOrchestrationFailedError,
        TaskFailedError,
        UnknownActivityError,
        UnknownOrchestrationError,
        UsageError,
        WaitTimeoutError,
    )
    from duro.host.activities import ActivityContext
    from duro.host.options import RuntimeOptions
    from duro.host.runtime import Runtime
    from duro.maintenance.archive.reader import Archive
    from duro.model.archive import ArchiveOutcome, RestoreResult
    from duro.model.failure import FailureDetails
    from duro.model.families import (
        Lineage,
        Orphan,
        OrphanFilter,
        OrphanKind,
        PurgeOptions,
        RemovalPlan,
        RemovalResult,
    )
    from duro.model.options import RetryPolicy
    from duro.model.policies import PolicyChain
    from duro.model.pruning import Hold, HoldTarget, PrunePlan, PruneResult
    from duro.model.records import (
        ChildRecord,
        ExecutionRecord,
        HistoryRecord,
        InstanceFilter,
        InstanceRecord,
        StoreInfo,
    )
    from duro.model.removal import LedgerEntry, PrunedExecution, PruneRun, PruneScope, UndoResult
    from duro.model.retention import AutoPrune, AutoPruneConfig, PruneOptions
    from duro.model.status import BlockedKind, ExecutionStatus, InstanceStatus
    from duro.registry import Registry
    from duro.replay.context import OrchestrationContext
    from duro.replay.futures import DurableFuture
    from duro.stores.base import Store
    from duro.stores.opening import open_store
    from duro.version import __version__

_HOMES = {
    "duro.async_client": ("AsyncClient",),
    "duro.client": ("Client", "OrchestrationResult", "Start"),
    "duro.maintenance.archive.reader": ("Archive",),
    "duro.model.archive": ("ArchiveOutcome", "RestoreResult"),
    "duro.errors": (
        "ActivityCancelled",
        "ActivityFailedError",
        "CommitUnknownError",
        "ContextSealed",
        "DuroError",
        "ArchiveError",
        "ArchiveDamagedError",
        "ArchiveUnavailableError",
        "NotArchivedError",
        "RestoreRefusedError",
        "StalePlanError",
        "PruneRunNotFoundError",
        "PolicyUnknownError",
        "InvalidRulesError",
        "HoldNotFoundError",
        "HoldExistsError",
        "ExecutionPrunedError",
        "ExecutionNotFoundError",
        "FutureCancelledError",
        "InstanceExistsError",
        "InstanceFinishedError",
        "InstanceNotFoundError",
        "NotAnOrphanError",
        "InstanceRemovedError",
        "InvalidIdError",
        "InvalidInputError",
        "InvalidNameError",
        "MailboxFullError",
        "NonDurableAwaitError",
        "NondeterminismError",
        "OrchestrationCancelled",
        "OrchestrationFailedError",
        "LimitExceededError",
        "PayloadTooLargeError",
        "RegistryError",
        "StoreError",
        "SubOrchestrationFailedError",
        "TaskFailedError",
        "UnknownActivityError",
        "UnknownOrchestrationError",
        "UsageError",
        "WaitTimeoutError",
    ),
    "duro.host.activities": ("ActivityContext",),
    "duro.host.options": ("RuntimeOptions",),
    "duro.host.runtime": ("Runtime",),
    "duro.model.failure": ("FailureDetails",),
    "duro.model.families": (
        "Lineage",
        "Orphan",
        "OrphanFilter",
        "OrphanKind",
        "PurgeOptions",
        "RemovalPlan",
        "RemovalResult",
    ),
    "duro.model.options": ("RetryPolicy",),
    "duro.model.policies": ("PolicyChain",),
    "duro.model.pruning": (
        "Hold",
        "HoldTarget",
        "PrunePlan",
        "PruneResult",
    ),
    "duro.model.removal": (
        "LedgerEntry",
        "PrunedExecution",
        "PruneRun",
        "PruneScope",
        "UndoResult",
    ),
    "duro.model.retention": (
        "AutoPrune",
        "AutoPruneConfig",
        "PruneOptions",
    ),
    "duro.model.records": (
        "ChildRecord",
        "ExecutionRecord",
        "HistoryRecord",
        "InstanceFilter",
        "InstanceRecord",
        "StoreInfo",
    ),
    "duro.model.status": ("BlockedKind", "ExecutionStatus", "InstanceStatus"),
    "duro.registry": ("Registry",),
    "duro.replay.context": ("OrchestrationContext",),
    "duro.replay.futures": ("DurableFuture",),
    "duro.stores.base": ("Store",),
    "duro.stores.opening": ("open_store",),
    "duro.version": ("__version__",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "ActivityCancelled",
    "ActivityContext",
    "ActivityFailedError",
    "Archive",
    "ArchiveDamagedError",
    "ArchiveError",
    "ArchiveOutcome",
    "ArchiveUnavailableError",
    "AsyncClient",
    "AutoPrune",
    "AutoPruneConfig",
    "BlockedKind",
    "ChildRecord",
    "Client",
    "CommitUnknownError",
    "ContextSealed",
    "DurableFuture",
    "DuroError",
    "ExecutionNotFoundError",
    "ExecutionPrunedError",
    "ExecutionRecord",
    "ExecutionStatus",
    "FailureDetails",
    "FutureCancelledError",
    "HistoryRecord",
    "Hold",
    "HoldExistsError",
    "HoldNotFoundError",
    "HoldTarget",
    "InstanceExistsError",
    "InstanceFilter",
    "InstanceFinishedError",
    "InstanceNotFoundError",
    "InstanceRecord",
    "InstanceRemovedError",
    "InstanceStatus",
    "InvalidIdError",
    "InvalidInputError",
    "InvalidNameError",
    "InvalidRulesError",
    "LedgerEntry",
    "LimitExceededError",
    "Lineage",
    "MailboxFullError",
    "NonDurableAwaitError",
    "NondeterminismError",
    "NotAnOrphanError",
    "NotArchivedError",
    "OrchestrationCancelled",
    "OrchestrationContext",
    "OrchestrationFailedError",
    "OrchestrationResult",
    "Orphan",
    "OrphanFilter",
    "OrphanKind",
    "PayloadTooLargeError",
    "PolicyChain",
    "PolicyUnknownError",
    "PruneOptions",
    "PrunePlan",
    "PruneResult",
    "PruneRun",
    "PruneRunNotFoundError",
    "PruneScope",
    "PrunedExecution",
    "PurgeOptions",
    "Registry",
    "RegistryError",
    "RemovalPlan",
    "RemovalResult",
    "RestoreRefusedError",
    "RestoreResult",
    "RetryPolicy",
    "Runtime",
    "RuntimeOptions",
    "StalePlanError",
    "Start",
    "Store",
    "StoreError",
    "StoreInfo",
    "SubOrchestrationFailedError",
    "TaskFailedError",
    "UndoResult",
    "UnknownActivityError",
    "UnknownOrchestrationError",
    "UsageError",
    "WaitTimeoutError",
    "__version__",
    "open_store",
]


def __getattr__(name: str) -> Any:
    module = _HOME_OF.get(name)
    if module is None:
        raise AttributeError(f"module 'duro' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(module), name)
    return value


def __dir__() -> list[str]:
    return __all__
