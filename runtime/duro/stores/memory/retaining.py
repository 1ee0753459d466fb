"""What is said about pruning, in memory: holds, policies, the versions that were seen. And what the ledger tells."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import msgspec

from duro.errors import ExecutionNotFoundError, HoldExistsError, InstanceNotFoundError
from duro.model.ledger import LedgerTotals
from duro.model.pruning import Hold
from duro.model.records import WorkerRecord
from duro.model.removal import LedgerEntry, PrunedExecution, PruneRun, PublishedPolicies
from duro.model.status import RemovalState
from duro.retention.ledger import entries_that_may_have
from duro.stores.memory.families import Families
from duro.stores.memory.instances import Instance


class Retaining(Families):
    """Part of ``MemoryStore``, which has the instances and the lock."""

    _by_id: dict[str, Instance]
    _workers: dict[str, WorkerRecord]
    _transaction: Callable[[], AbstractContextManager[int]]
    _changed: Callable[[], None]

    def _begin_retaining(self) -> None:
        self._policy_revision = 0
        self._hold_revision = 0
        self._holds: dict[str, Hold] = {}
        self._versions: dict[tuple[str, str], int] = {}
        self._publications: dict[str, tuple[int, int]] = {}
        """Text -> its number in the order of publication, when it was published last."""
        self._runs: dict[str, PruneRun] = {}
        self._totals: dict[str, LedgerTotals] = {}

    # --- holds and policies ------------------------------------------------------------------------------------

    def _register_publication(self, worker: WorkerRecord, now: int) -> None:
        self._published(worker.published, now)
        for name, version in sorted(set(worker.orchestrations)):
            self._versions.setdefault((name, version), now)

    def _published(self, text: str, now: int) -> None:
        if text == "{}":
            return
        known = text in self._published_sources(now)
        number = self._publications[text][0] if text in self._publications else None
        if number is None or not known:
            number = max((each for each, _ in self._publications.values()), default=0) + 1
        self._publications[text] = (number, now)
        self._policy_revision += not known

    def publish(self, worker_id: str, published: str) -> None:
        with self._transaction() as now:
            if worker_id in self._workers:
                self._published(published, now)
                self._workers[worker_id] = msgspec.structs.replace(self._workers[worker_id], published=published)
                self._changed()

    def published_policies(self) -> PublishedPolicies:
        with self._transaction() as now:
            return PublishedPolicies(revision=self._policy_revision, sources=tuple(self._published_sources(now)))

    def _published_sources(self, now: int) -> list[str]:
        texts = {
            each.published for each in self._workers.values() if each.lease_until_ms > now and each.published != "{}"
        }
        if texts or not self._publications:
            return sorted(texts, key=lambda text: self._publications[text][0])
        return [max(self._publications, key=lambda text: (self._publications[text][1], self._publications[text][0]))]

    def past_publications(self) -> tuple[str, ...]:
        with self._transaction():
            by_age = sorted(self._publications.items(), key=lambda each: (each[1][1], each[1][0]), reverse=True)
            return tuple(text for text, _ in by_age)

    def versions_seen(self, name: str) -> tuple[tuple[str, int], ...]:
        with self._transaction():
            seen = [(at_ms, version) for (each, version), at_ms in self._versions.items() if each == name]
            return tuple((version, at_ms) for at_ms, version in sorted(seen))

    def set_instance_policy(self, instance_id: str, policy: str | None) -> None:
        with self._transaction():
            if instance_id not in self._by_id:
                raise InstanceNotFoundError(f"there is no instance {instance_id!r}")
            self._by_id[instance_id].prune_policy = policy
            self._policy_revision += 1
            self._changed()

    def add_hold(self, hold: Hold) -> None:
        with self._transaction():
            if hold.hold_id in self._holds:
                raise HoldExistsError(f"there is a hold {hold.hold_id!r} already", hint="choose another id")
            target = hold.target
            if target.instance_id is not None:
                instance = self._by_id.get(target.instance_id)
                if instance is None:
                    raise InstanceNotFoundError(f"there is no instance {target.instance_id!r}, so nothing is held")
                if target.execution_id is not None and target.execution_id not in instance.live_executions():
                    raise ExecutionNotFoundError(f"there is no live execution {target}, so nothing is held")
            self._holds[hold.hold_id] = hold
            self._hold_revision += 1
            self._changed()

    def remove_hold(self, hold_id: str) -> bool:
        with self._transaction():
            if self._holds.pop(hold_id, None) is None:
                return False
            self._hold_revision += 1
            self._changed()
            return True

    def list_holds(self) -> tuple[Hold, ...]:
        with self._transaction():
            return tuple(sorted(self._holds.values(), key=lambda hold: (hold.created_at_ms, hold.hold_id)))

    def hold_revision(self) -> int:
        with self._transaction():
            return self._hold_revision

    # --- the ledger --------------------------------------------------------------------------------------------

    def list_ledger(self, instance_id: str) -> tuple[LedgerEntry, ...]:
        with self._transaction():
            instance = self._by_id.get(instance_id)
            return () if instance is None else self._entries(instance)

    def _entries(self, instance: Instance) -> tuple[LedgerEntry, ...]:
        return tuple(
            LedgerEntry(range=row.entry, run=None if row.run_id is None else self._runs[row.run_id])
            for row in instance.ledger
        )

    def list_prune_runs(self, limit: int, before: tuple[int, str] | None = None) -> tuple[PruneRun, ...]:
        with self._transaction():
            places = {(run.started_at_ms, run.run_id): run for run in self._runs.values()}
            newest = [run for place, run in sorted(places.items(), reverse=True) if before is None or place < before]
            return tuple(newest[:limit] if limit else newest)

    def get_prune_run(self, run_id: str) -> PruneRun | None:
        with self._transaction():
            return self._runs.get(run_id)

    def ledger_totals(self) -> tuple[LedgerTotals, ...]:
        with self._transaction():
            return tuple(totals for _, totals in sorted(self._totals.items()))

    def find_pruned(self, instance_id: str, execution_id: int) -> PrunedExecution | None:
        with self._transaction():
            instance = self._by_id.get(instance_id)
            if instance is None or not 1 <= execution_id < instance.execution_id:
                return None
            execution = instance.executions.get(execution_id)
            if execution is not None and execution.removal is RemovalState.LIVE:
                return None
            run_id = None if execution is None else execution.run_id
            pruned_at_ms = None if execution is None else execution.pruned_at_ms
            entries = entries_that_may_have(
                self._entries(instance), execution_id, run_id=run_id, pruned_at_ms=pruned_at_ms
            )
            return PrunedExecution(
                instance_id=instance_id,
                incarnation=instance.incarnation,
                execution_id=execution_id,
                removal=None if execution is None else execution.removal,
                pruned_at_ms=pruned_at_ms,
                reclaim_at_ms=None if execution is None else execution.reclaim_at_ms,
                entries=entries,
            )
