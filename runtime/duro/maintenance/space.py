"""The room a store takes: by orchestration, what of it may go, and giving it back to the file system."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from duro.errors import StoreError
from duro.maintenance.going import Removable, RemovableWhole, going_executions, sum_of, sum_of_whole, swept
from duro.maintenance.policies import ConfiguredPolicies
from duro.maintenance.pruning import facts_of, filter_of, instances_of
from duro.maintenance.room import Room
from duro.model.records import StoreInfo
from duro.model.removal import PruneScope
from duro.model.space import CompactResult, FileSizes, MarkedUsage, NameUsage
from duro.retention.holds import HoldsInForce
from duro.stores.base import Store

RECENT_MS: Final = 24 * 3_600_000

_PAGES_A_STEP: Final = 500
"""Pages moved in one transaction: 2 MB of writing at most."""

_STEPS_A_CUT: Final = 16
"""Steps between two tries to empty the log, which else grows by what is moved."""


class NameStats(msgspec.Struct, frozen=True, kw_only=True):
    """``removable``: what automatic policies, as workers publish them, would let go at once: past executions, and all
    that instances have which go whole, by [purge], [orphans], or as settled children; ``removable_whole``: these.
    ``share``: of the history bytes of the store, 0 to 1."""

    usage: NameUsage
    share: float
    removable: Removable
    removable_whole: RemovableWhole = RemovableWhole()


class StoreStats(msgspec.Struct, frozen=True, kw_only=True):
    """``names`` with the most bytes first. ``recent_since_ms``: what ``NameUsage.recent_*`` counts from. ``marked``:
    pruned or removed, and reclaimed once its grace is over."""

    store: StoreInfo
    recent_since_ms: int
    marked: MarkedUsage
    names: tuple[NameStats, ...]

    @property
    def removable(self) -> Removable:
        return sum_of(each.removable for each in self.names)

    @property
    def removable_whole(self) -> RemovableWhole:
        return sum_of_whole(each.removable_whole for each in self.names)


def stats(store: Store) -> StoreStats:
    """Counted from the counters of executions; no history is read."""
    since_ms = store.now_ms() - RECENT_MS
    used = store.usage(since_ms)
    pruned, whole = _removable_by_name(store)
    total = sum(each.history_bytes for each in used)
    names = [
        NameStats(
            usage=each,
            share=each.history_bytes / total if total else 0.0,
            removable=pruned[each.name].plus(whole[each.name]),
            removable_whole=whole[each.name],
        )
        for each in used
    ]
    return StoreStats(
        store=store.info(),
        recent_since_ms=since_ms,
        marked=store.marked(),
        names=tuple(sorted(names, key=lambda each: (-each.usage.history_bytes, each.usage.name))),
    )


def _removable_by_name(store: Store) -> tuple[Mapping[str, Removable], Mapping[str, RemovableWhole]]:
    """What policies let go of instances that stay, and of those that go whole; nothing counts twice."""
    found: defaultdict[str, Removable] = defaultdict(Removable)
    policies, now_ms = ConfiguredPolicies(store), store.now_ms()
    holds = HoldsInForce(store.list_holds(), now_ms)
    whole = swept(store, policies, None).whole
    where = filter_of(store, PruneScope(), several=True)  # what has one execution only keeps it
    said = (
        each
        for each in instances_of(store, where)
        if (united := policies.of(each)) is not None and united.rules is not None
    )
    for instance, executions in facts_of(store, said):
        if executions:
            going = going_executions(policies, instance, executions, holds, now_ms)
            whole.add_settled(store, policies, instance, going.ids, holds, now_ms)
            if instance.incarnation not in whole.named:  # a child comes after the parent that it goes with
                found[instance.name] = found[instance.name].plus(going.amount)
    return found, whole.by_name


def compact(store: Store, *, full: bool, progress: Callable[[FileSizes], bool | None] | None) -> CompactResult:
    """See ``Client.compact``."""
    before = store.sizes()
    stopped = False
    if full:
        working = [worker.worker_id for worker in store.list_workers() if worker.lease_until_ms > store.now_ms()]
        if working:
            raise StoreError(
                f"a worker runs ({working[0]}), and nobody can write while the file is written anew",
                hint="stop the workers, or compact without --full",
            )
        store.rewrite()
    else:
        room = Room(store)
        steps = 0
        while store.give_back(_PAGES_A_STEP):
            room.leave()
            steps += 1
            if steps % _STEPS_A_CUT == 0:
                store.cut_log()
            if progress is not None and progress(store.sizes()) is False:
                stopped = True
                break
        store.sync()
    store.cut_log()
    return CompactResult(before=before, after=store.sizes(), stopped=stopped)
