"""A worker that does as it is told: what the host does for a living, one step at a time."""

from collections.abc import Sequence
from itertools import count
from typing import Any, Final

from duro.model.events import AnyEvent
from duro.model.turns import (
    ChildTerms,
    CommitBatch,
    CommitResult,
    FinishActivity,
    LeasedActivity,
    LeasedInstance,
    LeaseRequest,
    LeaseResult,
    PruneTerms,
    ReleaseInstance,
    RetryActivity,
    TurnCommit,
    TurnOutcome,
)
from duro.stores.base import Store
from duro.testing.builders import turn, worker_record

LEASE_MS: Final = 30_000
"""How long a scripted worker's own lease lasts."""

ORCHESTRATIONS: Final = tuple((name, version) for name in ("Order", "Child") for version in ("", "1.0.0", "2.0.0"))
ACTIVITIES: Final = ("charge", "ship")


class ScriptedWorker:
    """Registers itself when made. ``take`` and ``take_activity`` insist on exactly one; ``run`` is a whole turn."""

    def __init__(
        self,
        store: Store,
        worker_id: str = "w1",
        *,
        orchestrations: Sequence[tuple[str, str]] = ORCHESTRATIONS,
        activities: Sequence[str] = ACTIVITIES,
        lease_ms: int = LEASE_MS,
    ) -> None:
        self.store = store
        self.worker_id = worker_id
        self.orchestrations = tuple(orchestrations)
        self.activities = tuple(activities)
        self._lease_ms = lease_ms
        self._tokens = count(1)
        self.register()

    def register(self) -> None:
        record = worker_record(
            self.worker_id,
            orchestrations=self.orchestrations,
            activities=self.activities,
            started_at_ms=self.store.now_ms(),
        )
        self.store.register_worker(record, self._lease_ms)

    def request(self, instances: int = 100, activities: int = 0) -> LeaseRequest:
        return LeaseRequest(
            orchestrations=self.orchestrations,
            activities=self.activities,
            instances_max=instances,
            activities_max=activities,
        )

    def lease(self, instances: int = 100, activities: int = 0) -> LeaseResult:
        return self.store.lease(self.worker_id, self.request(instances, activities))

    def take(self, instance_id: str | None = None) -> LeasedInstance:
        """Lease the one instance that is ready (and called so).

        Raises:
            AssertionError: there is none, another one, or more.
        """
        leased = self.lease().instances
        found = [instance.instance_id for instance in leased]
        assert len(leased) == 1, f"one ready instance was expected, and there are {found}"
        assert instance_id in (None, found[0]), f"instance {instance_id!r} was expected, and {found} is ready"
        return leased[0]

    def take_activity(self) -> LeasedActivity:
        """Lease the one activity that is visible.

        Raises:
            AssertionError: there is none, or more.
        """
        leased = self.lease(instances=0, activities=100).activities
        assert len(leased) == 1, f"one visible activity was expected, and there are {leased}"
        return leased[0]

    def is_idle(self) -> bool:
        """Whether there is nothing for this worker now. Leases nothing."""
        next_ready_at_ms = self.lease(instances=0, activities=0).next_ready_at_ms
        return next_ready_at_ms is None or next_ready_at_ms > self.store.now_ms()

    def commit(
        self,
        *turns: TurnCommit,
        releases: Sequence[ReleaseInstance] = (),
        finished: Sequence[FinishActivity] = (),
        retries: Sequence[RetryActivity] = (),
        lease: LeaseRequest | None = None,
        batch_id: str | None = None,
        prune_terms: PruneTerms | None = None,
        child_terms: ChildTerms | None = None,
    ) -> CommitResult:
        batch = CommitBatch(
            worker_id=self.worker_id,
            token=batch_id if batch_id is not None else f"{self.worker_id}-{next(self._tokens)}",
            turns=list(turns),
            releases=list(releases),
            finished=list(finished),
            retries=list(retries),
            lease=lease,
            prune_terms=prune_terms or PruneTerms(),
            child_terms=child_terms or ChildTerms(),
        )
        return self.store.commit(batch)

    def run(self, leased: LeasedInstance, *events: AnyEvent, **fields: Any) -> TurnCommit:
        """Commit a turn that recorded ``events``, now, and insist that it was committed."""
        committed = turn(leased, *events, at_ms=self.store.now_ms(), **fields)
        result = self.commit(committed)
        assert result.turns == [TurnOutcome.COMMITTED], (result.turns, result.errors)
        return committed

    def release(self, leased: LeasedInstance, **fields: Any) -> TurnOutcome:
        given_back = ReleaseInstance(incarnation=leased.incarnation, lease_epoch=leased.lease_epoch, **fields)
        return self.commit(releases=[given_back]).releases[0]

    def finish(self, leased: LeasedActivity, message: str) -> TurnOutcome:
        report = FinishActivity(
            incarnation=leased.incarnation,
            execution_id=leased.execution_id,
            event_id=leased.event_id,
            lease_epoch=leased.lease_epoch,
            message=message,
        )
        return self.commit(finished=[report]).finished[0]

    def retry(self, leased: LeasedActivity, *, visible_at_ms: int, failed: bool) -> TurnOutcome:
        report = RetryActivity(
            incarnation=leased.incarnation,
            execution_id=leased.execution_id,
            event_id=leased.event_id,
            lease_epoch=leased.lease_epoch,
            visible_at_ms=visible_at_ms,
            failed=failed,
        )
        return self.commit(retries=[report]).retries[0]


def tokens(store: Store, incarnations: Sequence[int]) -> dict[int, str | None]:
    """The token of the last commit of each instance that there is."""
    return {incarnation: last.token for incarnation, last in store.lookup_commit(incarnations).items()}
