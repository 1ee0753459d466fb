"""What a runtime does first: the work it was started for."""

import subprocess
import sys
from pathlib import Path

from duro.host.archiving import ArchiveTerms, SweptArchives
from duro.host.maintenance import Maintenance
from duro.stores.memory import MemoryStore
from duro.telemetry import ArchiveCounters, PruneCounters
from duro.testing.clock import ManualClock

_ONE_ORCHESTRATION = """
import sys, duro
registry = duro.Registry()
@registry.orchestration
async def hello(ctx: duro.OrchestrationContext, name: str) -> str:
    return f"Hello {name}"
with duro.Runtime(sys.argv[1], registry) as runtime:
    before = set(sys.modules)
    client = runtime.client
    assert client.wait_for_orchestration(client.start_orchestration(hello, "Ada"), 10).output == "Hello Ada"
    print(*sorted(name for name in set(sys.modules) - before if name.startswith("duro.")))
"""


def test_the_first_orchestration_of_a_running_worker_loads_no_module_of_the_turn_path(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _ONE_ORCHESTRATION, f"sqlite:///{tmp_path}/duro.db"],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(done.stdout.split())
    assert not loaded & {f"duro.stores.sqlite.{each}" for each in ("clients", "ending", "leases", "queues", "turns")}


def test_the_sweep_waits_until_it_is_to_begin() -> None:
    clock = ManualClock()
    store = MemoryStore(clock=clock, new_id=lambda: "id")
    begins_at_s = clock.monotonic_s() + 0.3
    maintenance = Maintenance(
        store,
        clock=clock,
        holder=lambda: "w",
        counters=PruneCounters(),
        interval_s=30,
        archives=SweptArchives(store, ArchiveCounters(), lambda: ArchiveTerms(None, 3600.0, 3)),
        begins_at_s=begins_at_s,
    )
    assert maintenance.step() == begins_at_s - clock.monotonic_s()
    assert maintenance.sweep.rounds == 0
    assert store.acquire_maintenance("another", 1)
    clock.advance(301)
    while maintenance.step() < 1:
        clock.advance(10)
    assert maintenance.sweep.rounds == 1
