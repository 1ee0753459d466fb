"""Two workers under mixed work for long: memory, file descriptors, threads and the WAL stay flat, and all is true at
the end.

SQLite's memory is taken apart: its cache of pages grows with the file, up to a bound, wherever no other process writes
to empty it. So what is beside it has to stay flat, and it has to stay within its bound.

``python -m tests.support.soak --seconds 1800`` is the long form (``make soak``); a test runs a short one. The file
itself grows with the histories in it.
"""

import argparse
import os
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

import duro
from tests.support.evidence import check_evidence
from tests.support.flatness import Line, judge, table
from tests.support.processes import WorkerProcess, effects_log_of, make_store, worker_processes
from tests.support.traffic import Expected, Traffic, wait_until_nothing_runs
from tests.support.workload import CACHE_LOG_VARIABLE, cache_log_of

LEASE_S: Final = 15
ETERNALS: Final = 4
CACHES_MAX_BYTES: Final = (64 + 8 * 8 + 8) * 1024 * 1024
"""What SQLite may hold in a worker: the pages of the connection that writes and of eight that read, and a little."""
_FINISH_TIMEOUT_S: Final = 120.0


@dataclass(frozen=True)
class SoakReport:
    lines: tuple[Line, ...]
    seconds: float
    instances: int
    executions: int
    events: int
    activities_run: int
    file_bytes: int

    @property
    def flat(self) -> bool:
        return all(line.flat for line in self.lines)

    def __str__(self) -> str:
        did = f"{self.instances:,} instances, {self.executions:,} executions, {self.events:,} events"
        size = f"{self.activities_run:,} activities, {self.file_bytes / 1024 / 1024:,.1f} MiB in the file"
        return f"{self.seconds:,.0f} s measured: {did}, {size} (medians; MiB)\n{table(self.lines)}"


def run_soak(
    directory: Path, *, warm_up_s: float, measured_s: float, samples: int, pause_s: float = 0.25, seed: int = 1
) -> SoakReport:
    """Work for ``warm_up_s`` and ``measured_s`` seconds, measured ``samples`` times in the latter; batches of
    instances are started every ``pause_s`` seconds, beside a few eternal ones.

    Raises:
        AssertionError: a promise was broken; see ``evidence``. (Growth is in the report.)
    """
    url = make_store(directory)
    with (
        duro.Client(url) as client,
        worker_processes(directory, 2, LEASE_S, {CACHE_LOG_VARIABLE: str(directory)}) as workers,
    ):
        eternal_ids = [f"eternal-{number}" for number in range(ETERNALS)]
        starts = [duro.Start(orchestration="eternal", input=0, instance_id=each) for each in eternal_ids]
        client.start_orchestrations(starts)
        traffic = Traffic(client, seed, pause_s=pause_s)
        try:
            time.sleep(warm_up_s)
            lines = _measure(directory, workers, measured_s, samples)
        finally:
            acknowledged = traffic.stop()
        for each in eternal_ids:
            client.cancel(each)
            acknowledged.instances[each] = Expected("eternal", "cancelled")
        client.wait_for_orchestrations(list(acknowledged.instances), _FINISH_TIMEOUT_S)
        wait_until_nothing_runs(client, _FINISH_TIMEOUT_S)
        for worker in workers:
            assert worker.stop() == 0, worker.said()
        dump = client.store.dump()
    effects = effects_log_of(directory).read_text().splitlines()
    check_evidence(dump, effects, acknowledged)
    assert len(effects) == len(set(effects)), "an activity ran twice, and nobody died"
    return SoakReport(
        lines=lines,
        seconds=measured_s,
        instances=len(dump["instances"]),
        executions=len(dump["executions"]),
        events=len(dump["history"]),
        activities_run=len(effects),
        file_bytes=(directory / "duro.db").stat().st_size,
    )


def _measure(directory: Path, workers: Sequence[WorkerProcess], measured_s: float, samples: int) -> tuple[Line, ...]:
    processes = [psutil.Process(worker.process_id) for worker in workers]
    values: dict[tuple[str, str], list[float]] = defaultdict(list)
    began_s = time.monotonic()
    for number in range(samples):
        time.sleep(max(0.0, began_s + measured_s * (number + 1) / samples - time.monotonic()))
        for position, process in enumerate(processes):
            cache_bytes = int(cache_log_of(directory, process.pid).read_text())
            assert cache_bytes <= CACHES_MAX_BYTES, f"SQLite holds {cache_bytes:,} bytes in worker {position}"
            values[f"worker {position} cache", "cache_bytes"].append(cache_bytes)
            values[f"worker {position} memory", "rss_bytes"].append(process.memory_info().rss - cache_bytes)
            values[f"worker {position} descriptors", "descriptors"].append(process.num_fds())
            values[f"worker {position} threads", "threads"].append(process.num_threads())
        values["write-ahead log", "wal_bytes"].append((directory / "duro.db-wal").stat().st_size)
    return tuple(judge(what, kind, measured) for (what, kind), measured in sorted(values.items()))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=float(os.environ.get("DURO_SOAK_SECONDS", "1800")))
    arguments = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6)
    print(f"{arguments.seconds:g} s, seed {seed}", flush=True)
    warm_up_s = arguments.seconds / 3  # an allocator takes some 20,000 instances to settle
    with tempfile.TemporaryDirectory(prefix="duro-soak-") as directory:
        report = run_soak(
            Path(directory),
            warm_up_s=warm_up_s,
            measured_s=arguments.seconds - warm_up_s,
            samples=max(9, round(arguments.seconds / 5)),
            seed=seed,
        )
    print(report)
    return 0 if report.flat else 1


if __name__ == "__main__":
    sys.exit(main())
