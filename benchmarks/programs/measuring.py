"""What every program measures around its work, and how it says it. Imports nothing but the standard library: it also
runs in the peers' environments."""

import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

IDLE_S = 10.0


class Stopwatch:
    """Wall and CPU time from its making on, and the process's peak memory."""

    def __init__(self) -> None:
        self._wall_s = time.perf_counter()
        self._cpu_s = cpu_s()

    def figures(self, count: int) -> dict[str, float]:
        """``count`` things were done since."""
        return {
            "count": count,
            "wall_s": time.perf_counter() - self._wall_s,
            "cpu_s": cpu_s() - self._cpu_s,
            "peak_mib": peak_mib(),
        }


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def peak_mib() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak) / (1024 * 1024 if sys.platform == "darwin" else 1024)


def latencies(once: Callable[[], object], samples: int) -> dict[str, Any]:
    """Milliseconds of ``once`` on a runtime that was idle for 20 ms before."""
    taken_ms = []
    watch = Stopwatch()
    for _ in range(samples):
        time.sleep(0.02)
        began_s = time.perf_counter()
        once()
        taken_ms.append((time.perf_counter() - began_s) * 1000)
    taken_ms.sort()
    found = {"p50_ms": taken_ms[len(taken_ms) // 2], "p99_ms": taken_ms[int(len(taken_ms) * 0.99)]}
    return watch.figures(samples) | found


def idle_cpu_percent() -> float:
    """CPU of this process while it has nothing to do, in percent of one core."""
    time.sleep(1.0)
    before_s, began_s = cpu_s(), time.perf_counter()
    time.sleep(IDLE_S)
    return 100 * (cpu_s() - before_s) / (time.perf_counter() - began_s)


def say(figures: dict[str, Any]) -> None:
    print(json.dumps(figures), flush=True)
