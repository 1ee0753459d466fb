"""The counters of a runtime for Prometheus, in its text format over HTTP."""

import threading
from collections.abc import Callable, Iterator
from typing import Final
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from duro.errors import StoreError, UsageError
from duro.model.removal import Backlog
from duro.telemetry import HOST_LOGGER, ArchiveCount, Counters, PruneCount

_HELP: Final = {
    "commits": "Transactions of the worker.",
    "commits_unknown": "Transactions whose outcome had to be looked up.",
    "turns_committed": "Turns of orchestrations that were committed.",
    "turns_fenced": "Turns that were not committed, because another worker had the instance or it was gone.",
    "turns_blocked": "Turns that were abandoned because code and history differ.",
    "turns_failed": "Turns that failed inside the runtime.",
    "executions_replayed": "Executions whose history was replayed.",
    "instances_finished": "Instances that ended.",
    "executions_continued": "Executions that continued as new.",
    "messages_ignored": "Messages that nobody waited for any more.",
    "activities_succeeded": "Activities that succeeded.",
    "activities_failed": "Activities that failed for good.",
    "activities_retried": "Attempts of activities that failed and are tried again.",
    "activities_cancelled": "Attempts of activities that were cancelled or given back.",
    "worker_resets": "Times the worker lost its lease, or failed, and began anew.",
}


_ARCHIVE: Final = {
    "histories": ("duro_archived_histories", "Histories written to archives."),
    "events": ("duro_archived_events", "Events written to archives."),
    "bytes": ("duro_archived_bytes", "Bytes that archives grew by."),
    "failures": ("duro_archive_failures", "Times an archive could not be used."),
}


class RuntimeCollector:
    """Reads what it is given whenever it is scraped."""

    def __init__(
        self,
        counters: Callable[[], Counters],
        pruned: Callable[[], dict[tuple[str, str], PruneCount]],
        archived: Callable[[], ArchiveCount],
        backlog: Callable[[], Backlog],
        orphans: Callable[[], dict[str, int]],
    ) -> None:
        self._counters = counters
        self._pruned = pruned
        self._archived = archived
        self._backlog = backlog
        self._orphans = orphans

    def collect(self) -> Iterator[Metric]:
        yield from self._pruning()
        archived = self._archived()
        for field, (metric, text) in _ARCHIVE.items():
            yield CounterMetricFamily(metric, text, value=getattr(archived, field))
        counters = self._counters()
        for field, text in _HELP.items():
            yield CounterMetricFamily(f"duro_{field}", text, value=getattr(counters, field))
        yield GaugeMetricFamily(
            "duro_activity_threads_stuck",
            "Threads in plain activities that were cancelled, or whose time is over, and that have not returned.",
            value=counters.threads_stuck,
        )
        try:
            backlog, orphans = self._backlog(), self._orphans()
        except StoreError as error:
            HOST_LOGGER.warning("the backlog cannot be read for a scrape: %s", error)
            return
        yield GaugeMetricFamily(
            "duro_prune_backlog",
            "Executions of the store that are pruned and not yet reclaimed.",
            value=backlog.marked_executions,
        )
        yield GaugeMetricFamily(
            "duro_prune_due_instances",
            "Instances of the store that a sweep has yet to prune.",
            value=backlog.due_instances,
        )
        yield GaugeMetricFamily(
            "duro_removed_backlog",
            "Instances of the store that are removed and not yet reclaimed.",
            value=backlog.removed_instances,
        )
        yield GaugeMetricFamily(
            "duro_archive_waiting",
            "Executions and instances of the store that stay in it until they are archived.",
            value=backlog.unarchived_executions + backlog.unarchived_instances,
        )
        orphaned = GaugeMetricFamily("duro_orphans", "Orphans in the store.", labels=("orchestration",))
        for name, count in sorted(orphans.items()):
            orphaned.add_metric((name,), count)
        yield orphaned

    def _pruning(self) -> Iterator[Metric]:
        labels = ("orchestration", "trigger")
        families = {
            "executions": CounterMetricFamily("duro_executions_pruned", "Executions pruned.", labels=labels),
            "events": CounterMetricFamily("duro_events_pruned", "Events pruned.", labels=labels),
            "bytes": CounterMetricFamily("duro_bytes_pruned", "Bytes of histories pruned.", labels=labels),
            "instances": CounterMetricFamily("duro_instances_removed", "Whole instances removed.", labels=labels),
            "failures": CounterMetricFamily("duro_prune_failures", "Prunes that failed and stay due.", labels=labels),
        }
        for key, count in sorted(self._pruned().items()):
            for field, family in families.items():
                family.add_metric(key, getattr(count, field))
        yield from families.values()


class MetricsServer:
    """Serves until it is closed. ``port`` is the one it listens at.

    Raises (the constructor):
        UsageError: the address cannot be listened at.
    """

    def __init__(self, collector: RuntimeCollector, port: int, address: str) -> None:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(collector)
        try:
            started: tuple[WSGIServer, threading.Thread] = start_http_server(port, address, registry)
        except OSError as error:
            raise UsageError(
                f"metrics cannot be served at {address}:{port}: {error.strerror or error}",
                hint="choose another metrics_address, or another metrics_port (0: a free one)",
            ) from error
        self._server, self._thread = started
        self.port: int = self._server.server_port

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
