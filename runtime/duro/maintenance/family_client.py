"""The client's methods about lineages, orphans, the removal of whole instances, and checks: checked arguments in,
values out."""

import os
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from duro.errors import InvalidRulesError, UsageError
from duro.maintenance.client import Pruning, checked_by, checked_scope
from duro.model.checkup import CheckResult, Repair
from duro.model.families import (
    Lineage,
    OrphanFilter,
    OrphanPage,
    PurgeOptions,
    RemovalPlan,
    RemovalResult,
    RemovedInstance,
)
from duro.model.limits import ORPHAN_MIN_AGE_S, PRUNE_GRACE_S, RETENTION_S_MAX
from duro.model.records import ChildRecord
from duro.model.removal import PruneScope
from duro.naming import check_instance_id, check_text, shown

if TYPE_CHECKING:
    from duro.maintenance.pruning import Progress

_EVERYTHING: Final = PruneScope()
_ALL_ORPHANS: Final = OrphanFilter()


class Families(Pruning):
    """Part of ``Client``; see there."""

    # --- lineage and orphans -----------------------------------------------------------------------------------

    def get_lineage(self, instance_id: str) -> Lineage:
        """Who spawned the instance, and who spawned that one; whether anybody may still observe how it ends. The answer
        does not depend on what was pruned of its parents.

        Raises:
            InstanceNotFoundError: there is no such instance.
        """
        from duro.maintenance import families

        return families.lineage_of(self.store, check_instance_id(instance_id))

    def list_orphaned_instances(self, where: OrphanFilter = _ALL_ORPHANS, *, cursor: str | None = None) -> OrphanPage:
        """Children that no parent execution will ever observe, and those of which that cannot be told
        (``OrphanKind.UNKNOWN``), oldest first, a page at a time. Reads no history.

        Raises:
            UsageError: ``where`` is no filter, or the cursor is not one this method returned.
        """
        from duro.maintenance import families

        return families.list_orphans(self.store, _filter(where), cursor)

    def kept_from_sweeps(self, incarnations: Sequence[int]) -> frozenset[int]:
        """Those of these orphans that no sweep removes, for [purge.overrides] says that their orchestration, or that of
        a child below them, is never purged. A clean-up by hand removes them."""
        from duro.maintenance import families

        return families.kept_from_sweeps(self.store, incarnations)

    def plan_orphan_cleanup(
        self, where: OrphanFilter = _ALL_ORPHANS, *, min_age: float | timedelta = ORPHAN_MIN_AGE_S
    ) -> RemovalPlan:
        """What ``cleanup_orphaned_instances`` would remove, and why the others stay. Changes nothing."""
        from duro.maintenance import families

        return families.plan_cleanup(self.store, _filter(where), _age_s(min_age))

    def cleanup_orphaned_instances(
        self,
        where: OrphanFilter = _ALL_ORPHANS,
        *,
        cancel_running: bool = False,
        min_age: float | timedelta = ORPHAN_MIN_AGE_S,
        grace_s: float = PRUNE_GRACE_S,
        reason: str = "",
        by: str | None = None,
        archive: str | os.PathLike[str] | None = None,
        progress: "Progress | None" = None,
    ) -> RemovalResult:
        """Remove orphans that have ended, each with all that depends on it, if all of that has ended, too.

        Only those that have been orphans for ``min_age`` (seconds, or a ``timedelta``). ``where.limit`` does not count
        here. ``cancel_running``: those that run are asked to end, and a later call removes them. An orphan is looked at
        twice: here, and again in the transaction that removes it. ``UNKNOWN`` ones are never removed. See
        ``prune_executions_bulk`` for the other arguments.

        Raises:
            UsageError, InvalidRulesError: an argument is wrong. Nothing was changed.
        """
        from duro.maintenance import families

        terms = self._terms(grace_s, reason, by, archive=archive)
        return families.cleanup(
            self.store, _filter(where), _age_s(min_age), terms, cancel_running=cancel_running, progress=progress
        )

    def adopt_instance(self, instance_id: str, *, reason: str, by: str | None = None) -> ChildRecord:
        """Say on purpose that an orphan stands alone: it is none from now on, and goes with nobody.

        Raises:
            InstanceNotFoundError: there is no such instance.
            NotAnOrphanError: its spawning execution runs, its parent has observed it, or it has none.
            UsageError: no reason is given.
        """
        instance_id = check_instance_id(instance_id)
        reason = check_text(reason, "the reason")
        if not reason.strip():
            raise UsageError("an adoption needs a reason", hint="say why, for whoever finds it in a year")
        return self.store.adopt(instance_id, checked_by(by), reason)

    # --- checks ------------------------------------------------------------------------------------------------

    def checkup(self, *, deep: bool = False) -> tuple[CheckResult, ...]:
        """Named checks of the whole store, each with what it found and what to do about it. Changes nothing, and runs
        beside workers. ``deep`` reads everything there is, and may take long."""
        from duro.maintenance.differing import with_unreadable, workers_differ

        found = [
            with_unreadable(self.store, each) if each.name == "published-unreadable" else each
            for each in self.store.checkup(deep=deep)
        ]
        return (*found, workers_differ(self.store)) if found else ()

    def repair(self, names: Sequence[str]) -> list[Repair]:
        """Delete what these checks found, of those that are ``repairable``: rows that are proved to
        be left of what was removed or has ended.

        Raises:
            UsageError: one of the names is no check, or nothing that could be repaired.
            StoreError: the file itself is damaged, so that nobody can tell what is left over. Nothing was deleted.
        """
        if isinstance(names, str) or not isinstance(names, Sequence):
            raise UsageError(f"names must be several checks, not {shown(names)}", hint="client.checkup() has them")
        repairable = [result.name for result in self.store.checkup() if result.repairable]
        if wrong := [name for name in names if name not in repairable]:
            raise UsageError(
                f"{shown(wrong[0])} cannot be repaired", hint=f"these can: {', '.join(sorted(repairable))}"
            )
        return self.store.repair(names)

    # --- purge -------------------------------------------------------------------------------------------------

    def plan_purge(self, options: PurgeOptions | None = None, *, scope: PruneScope = _EVERYTHING) -> RemovalPlan:
        """What a purge would remove and keep, family by family, with the reasons. Changes nothing, reads no history.

        ``options`` None: the ``[purge]`` configured for each orchestration.

        Raises:
            InstanceNotFoundError: an instance of ``scope`` does not exist.
            PolicyUnknownError: no options, and no worker has published any.
        """
        from duro.maintenance import families

        return families.plan_purge(self.store, _purge_options(options), checked_scope(scope))

    def purge_instances(
        self,
        options: PurgeOptions | None = None,
        *,
        scope: PruneScope = _EVERYTHING,
        grace_s: float = PRUNE_GRACE_S,
        reason: str = "",
        by: str | None = None,
        archive: str | os.PathLike[str] | None = None,
        progress: "Progress | None" = None,
    ) -> RemovalResult:
        """Remove whole instances of ``scope`` that have ended, each with all that depends on it, and what is settled
        below parents that live. What a parent has yet to observe, and a family with a member that runs or is held,
        stays. See ``prune_executions_bulk`` for the other arguments; ``undo_prune`` brings back what is not reclaimed.

        Raises:
            UsageError, InvalidRulesError: an argument is wrong. Nothing was changed.
            InstanceNotFoundError: an instance of ``scope`` does not exist.
            PolicyUnknownError: no options, and no worker has published any.
        """
        from duro.maintenance import families

        terms = self._terms(grace_s, reason, by, archive=archive)
        return families.purge(self.store, _purge_options(options), checked_scope(scope), terms, progress)

    def apply_removal(
        self,
        plan: RemovalPlan,
        *,
        cancel_running: bool = False,
        grace_s: float = PRUNE_GRACE_S,
        reason: str = "",
        by: str | None = None,
        archive: str | os.PathLike[str] | None = None,
        progress: "Progress | None" = None,
    ) -> RemovalResult:
        """Remove the families that ``plan`` (of a purge, or of orphans) shows, as far as they may still go; the rest is
        in ``RemovalResult.skipped``, with why. ``cancel_running``: ask the running orphans it shows to end.

        Raises:
            StalePlanError: it is of another store, or its policies have changed since.
        """
        from duro.maintenance import families

        if not isinstance(plan, RemovalPlan):
            raise UsageError(f"plan must be a RemovalPlan, not {plan!r}", hint="client.plan_purge makes one")
        terms = self._terms(grace_s, reason, by, plan, archive)
        return families.apply(self.store, plan, terms, progress, cancel_running=cancel_running)

    def find_removed(self, instance_id: str) -> RemovedInstance | None:
        """What is known of an instance that was removed and not yet reclaimed; None: nothing."""
        return self.store.find_removed(check_instance_id(instance_id))


def _filter(where: OrphanFilter) -> OrphanFilter:
    if not isinstance(where, OrphanFilter):
        raise UsageError(f"where must be an OrphanFilter, not {shown(where)}")
    return where


def _purge_options(options: PurgeOptions | None) -> PurgeOptions | None:
    if options is not None and not isinstance(options, PurgeOptions):
        raise InvalidRulesError(f"options must be PurgeOptions, not {options!r}")
    return options


def _age_s(min_age: float | timedelta) -> float:
    seconds = min_age.total_seconds() if isinstance(min_age, timedelta) else min_age
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= RETENTION_S_MAX:
        raise UsageError(f"min_age must be seconds or a timedelta, 0 or more, not {min_age!r}")
    return float(seconds)
