"""How often the worker that sweeps begins a round: as often as the shortest interval says that anybody was told of."""

from pathlib import Path

import msgspec
import pytest

from duro.host.archiving import ArchiveTerms, SweptArchives
from duro.host.maintenance import Maintenance
from duro.maintenance.file_sources import with_file
from duro.model.families import OrphanSearch
from duro.model.policies import PolicySources
from duro.model.records import ChildRecord
from duro.model.retention import AutoPrune
from duro.settings.files import load_settings
from duro.stores.base import Store
from duro.telemetry import ArchiveCounters, PruneCounters
from duro.testing.clock import ManualClock
from tests.support.pruning import Loops, stated


def rounds(store: Store, clock: ManualClock, seconds: int) -> int:
    """How many rounds begin in that time where a worker looks every 30 s by itself."""
    maintenance = Maintenance(
        store,
        clock=clock,
        holder=lambda: "w",
        counters=PruneCounters(),
        interval_s=30,
        archives=SweptArchives(store, ArchiveCounters(), lambda: ArchiveTerms(None, 3600.0, 3)),
    )
    for _ in range(seconds):
        while maintenance.step() < 1:
            pass
        clock.advance(1_000)
    return maintenance.sweep.rounds


def told(store: Store, loops: Loops, tmp_path: Path, text: str) -> None:
    """The worker was told of a file with this text."""
    file = tmp_path / "runtime_config.toml"
    file.write_text(text)
    sources = with_file(PolicySources(orchestrations=(("Order", "1.0.0"),)), load_settings(file, str(file)))
    store.publish(loops.worker.worker_id, msgspec.json.encode(sources).decode())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[orphans]\nenabled = true\ninterval = "5s"\n', 20),
        ('[orphans]\nenabled = false\ninterval = "5s"\n', 4),
        ('[purge]\nkeep_last = 1\ninterval = "10s"\n', 10),
        ('[purge]\ninterval = "10s"\n', 4),
        ('[purge]\nenabled = false\nkeep_last = 1\ninterval = "10s"\n', 4),
        ('[pruning.default]\nkeep_within = "1h"\ninterval = "5s"\n', 20),
        ('[pruning.overrides."Order"]\nkeep_within = "1h"\ninterval = "5s"\n', 20),
        ('[pruning.default]\nkeep_within = "1h"\ninterval = "2m"\n', 4),
    ],
)
def test_a_round_begins_as_often_as_the_shortest_interval_says(
    text: str, expected: int, store: Store, clock: ManualClock, tmp_path: Path
) -> None:
    told(store, Loops(store), tmp_path, text)
    assert rounds(store, clock, 100) == expected


def test_the_interval_of_an_instance_of_its_own_counts_too(store: Store, clock: ManualClock, tmp_path: Path) -> None:
    loops = Loops(store)
    told(store, loops, tmp_path, "")
    loops.start("a")
    loops.go_on(3)
    store.set_instance_policy("a", stated(AutoPrune(keep_within=3_600, interval=5)))
    assert rounds(store, clock, 100) == 20


def test_orphans_are_looked_for_that_often(
    store: Store, clock: ManualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loops = Loops(store)
    told(store, loops, tmp_path, '[orphans]\nenabled = true\nmin_age = "0s"\ninterval = "5s"\n')
    looked: list[int] = []
    listing = store.list_unobserved

    def noted(where: OrphanSearch, limit: int, after: int) -> tuple[ChildRecord, ...]:
        looked.append(clock.now_ms())
        return listing(where, limit, after)

    monkeypatch.setattr(store, "list_unobserved", noted)
    rounds(store, clock, 20)
    assert [later - looked[0] for later in looked] == [0, 5_000, 10_000, 15_000]
