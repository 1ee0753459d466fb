"""The loop that sweeps, in the one worker that has the store's maintenance lease."""

from collections.abc import Callable
from typing import Final

from duro.clock import Clock
from duro.errors import StoreError
from duro.host.archiving import SweptArchives
from duro.host.scheduler import FINISHED
from duro.maintenance.sweep import Sweep
from duro.model.pruning import PruneResult, PruneTrigger
from duro.stores.base import Store
from duro.telemetry import HOST_LOGGER, PruneCounters

LEASE_MS: Final = 15_000
"""How long after its last sign of life another worker takes the sweeping over."""

_PAUSE_S: Final = 0.002
"""Between the pieces of a round: whoever else writes gets in between."""

_LOOK_S: Final = 1.0
"""How often a worker with nothing to sweep looks whether something was left for it: a counter, not a query."""


class Maintenance:
    """``step`` is called by one loop, ``stop`` and ``settings_changed`` from any thread. Nothing is done before
    ``begins_at_s``, by the monotonic clock."""

    def __init__(
        self,
        store: Store,
        *,
        clock: Clock,
        holder: Callable[[], str],
        counters: PruneCounters,
        interval_s: float,
        archives: SweptArchives,
        begins_at_s: float = 0.0,
    ) -> None:
        self._store = store
        self._clock = clock
        self._holder = holder
        self._counters = counters
        self._interval_s = interval_s
        self.sweep = Sweep(store, self._pruned, counters.add_removals, counters.add_settled)
        self._archives = archives
        self._begins_at_s = begins_at_s
        self._held_as: str | None = None
        self._renew_at_s = 0.0
        self._round_at_s = self._look_at_s = 0.0
        self._left_over = False
        self._seen: tuple[int, ...] = ()
        self._changed = False
        self._another = False
        """Whether a round follows the one that goes on: it began before what is said now."""
        self._stopping = False

    def stop(self) -> None:
        """Give the lease back at the next step, and finish."""
        self._stopping = True

    def settings_changed(self) -> None:
        """What is left of a round goes by them, and a new one follows soon."""
        self._changed = True

    def step(self) -> float:
        """One piece of a round; returns as ``scheduler.Step``."""
        try:
            if self._stopping:
                self._archives.close()
                if self._held_as is not None:
                    self._store.release_maintenance(self._held_as)
                return FINISHED
            return self._step()
        except StoreError as error:
            if self._stopping:
                return FINISHED
            HOST_LOGGER.warning("the sweep is interrupted, trying again in %g s: %s", _LOOK_S, error)
            self._held_as = None
            self.sweep.forget()
            return _LOOK_S

    def _step(self) -> float:
        now_s = self._clock.monotonic_s()
        if now_s < self._begins_at_s:
            return self._begins_at_s - now_s
        if not self._is_due(now_s):
            return _LOOK_S
        if not self._lease(now_s):
            return min(self._interval_s, LEASE_MS / 1000)
        if self._changed:
            self._changed = False
            self._another = self.sweep.in_round
            self.sweep.policies_changed()
        if self._archives.is_due(now_s) and self._archives.step(now_s):
            return _PAUSE_S
        if self.sweep.step():
            return _PAUSE_S
        interval_s = min(self._interval_s, self.sweep.shortest_interval_s or self._interval_s)
        self._round_at_s = now_s if self._another else now_s + interval_s
        self._left_over = self._another = False
        return _LOOK_S

    def _is_due(self, now_s: float) -> bool:
        """Whether a round goes on, its time has come, or something was left to do."""
        if now_s >= self._look_at_s:
            self._look(now_s)
        waits = self._left_over or self._archives.is_due(now_s)
        return now_s >= self._round_at_s or self._changed or self.sweep.in_round or waits

    def _look(self, now_s: float) -> None:
        """What there is to do, if anything was committed since the last look."""
        self._look_at_s = now_s + _LOOK_S
        change = self._store.change_counter()
        if change == self._seen:
            return
        self._seen = change
        backlog = self._store.backlog()
        self._archives.look(backlog, now_s)
        due_instances = backlog.due_instances - self.sweep.left_due
        self._left_over = bool(backlog.due_executions or due_instances > 0 or backlog.due_removed)

    def _lease(self, now_s: float) -> bool:
        holder = self._holder()
        if self._held_as == holder and now_s < self._renew_at_s:
            return True
        if not self._store.acquire_maintenance(holder, LEASE_MS):
            self._held_as = None
            self.sweep.forget()
            return False
        self._held_as = holder
        self._renew_at_s = now_s + LEASE_MS / 3000
        return True

    def _pruned(self, name: str, result: PruneResult) -> None:
        self._counters.add(name, PruneTrigger.INTERVAL, result)
