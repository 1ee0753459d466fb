"""The settings of a runtime."""

import math
import os

import msgspec

from duro.errors import UsageError
from duro.model.retention import AutoPrune, AutoPruneConfig, as_auto_prune
from duro.naming import check_name

_CORES = os.cpu_count() or 1
_PORT_MAX = 65_535
_SECONDS = ("lease_s", "poll_interval_s", "cancel_check_s", "blocked_retry_s", "turn_timeout_s")


class RuntimeOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a ``Runtime`` works. The defaults suit one process on one machine.

    * ``max_concurrent_activities``: attempts in hand at once, queued for a thread included; what is beyond stays in the
      store, for any worker. An activity can have a limit of its own: ``@registry.activity(max_concurrent=...)``.
    * ``max_activity_threads``: threads for plain (not async) activities.
    * ``cache_size``: executions whose coroutine stays in memory between turns (LRU); 0 replays every turn from history.
    * ``turns_per_commit_max``: turns of one group commit; more means more throughput and longer waits.
    * ``lease_s``: how long after its last sign of life a worker's work is taken by another one. A worker renews at a
      third of it.
    * ``poll_interval_s``: how often an idle worker looks for commits of other processes (a counter, not a query).
      Work of this process is noticed at once.
    * ``cancel_check_s``: how often running activities are compared with the store, to cancel what nobody waits for.
    * ``blocked_retry_s``: how long a blocked instance waits before this worker's code is tried again.
    * ``turn_timeout_s``: a turn that runs longer hangs; the worker's lease is left to expire, so that another worker
      tries.
    * ``auto_prune``: automatic pruning, as ``AutoPruneConfig``; a policy or an int (``keep_last``) is its default.
    * ``sweep_interval_s``: how often the worker that sweeps looks for policies whose interval is over, at least; where
      one has a shorter interval, that often. What a turn left behind is noticed within a second.
    * ``metrics_port``: where Prometheus reads the counters, over HTTP, up to 65535; 0 takes a free port, None: none.
      ``metrics_address``: the address it listens at.

    Raises:
        UsageError: a number is out of range; the message names the field. InvalidRulesError: ``auto_prune`` is wrong.
        InvalidNameError: it has an override for a name that no orchestration can have.
    """

    max_concurrent_activities: int = 1000
    max_activity_threads: int = min(32, 4 * _CORES)
    cache_size: int = 1000
    turns_per_commit_max: int = 500
    lease_s: float = 15.0
    poll_interval_s: float = 0.025
    cancel_check_s: float = 0.5
    blocked_retry_s: float = 30.0
    turn_timeout_s: float = 60.0
    auto_prune: AutoPruneConfig | AutoPrune | int | None = None
    sweep_interval_s: float = 30.0
    metrics_port: int | None = None
    metrics_address: str = "127.0.0.1"

    def __post_init__(self) -> None:
        for field in ("max_concurrent_activities", "max_activity_threads", "turns_per_commit_max"):
            _whole(field, getattr(self, field), 1)
        _whole("cache_size", self.cache_size, 0)
        if self.auto_prune is not None and not isinstance(self.auto_prune, AutoPruneConfig):
            default = as_auto_prune(self.auto_prune, "RuntimeOptions.auto_prune", ", or AutoPruneConfig")
            msgspec.structs.force_setattr(self, "auto_prune", AutoPruneConfig(default=default))
        if self.auto_prune_config is not None:
            for name in self.auto_prune_config.overrides:
                check_name(name, "orchestration name")
        if self.metrics_port is not None:
            _whole("metrics_port", self.metrics_port, 0)
            if self.metrics_port > _PORT_MAX:
                raise UsageError(f"RuntimeOptions.metrics_port must be at most {_PORT_MAX}, not {self.metrics_port}")
        if not isinstance(self.metrics_address, str) or not self.metrics_address:
            raise UsageError(f"RuntimeOptions.metrics_address must be an address, not {self.metrics_address!r}")
        for field in (*_SECONDS, "sweep_interval_s"):
            value = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
                raise UsageError(f"RuntimeOptions.{field} must be more than 0 seconds, not {value!r}")

    @property
    def auto_prune_config(self) -> AutoPruneConfig | None:
        """``auto_prune``, whatever it was given as."""
        assert self.auto_prune is None or isinstance(self.auto_prune, AutoPruneConfig), "settled when it was made"
        return self.auto_prune


def _whole(field: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UsageError(f"RuntimeOptions.{field} must be a whole number of at least {least}, not {value!r}")
