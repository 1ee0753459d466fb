"""Workers with an archive: what they prune is kept first, in few segments, and an archive that cannot be used defers
and is told of, and stands in nobody's way."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import duro
from duro.host.archiving import SweptArchives, archive_terms
from duro.maintenance.archive.reader import Archive
from duro.model.archive import CONFIGURED
from duro.settings.reading import read_settings
from duro.stores.memory import MemoryStore
from duro.telemetry import ArchiveCounters
from duro.testing.builders import prune_batch
from duro.testing.clock import ManualClock
from duro.testing.invariants import check_invariants
from tests.integration.test_pruning_runtime import until
from tests.support.pruning import Loops

registry = duro.Registry()


@registry.activity
def work(ctx: duro.ActivityContext, number: int) -> int:
    return number + 1


@registry.orchestration
async def loop(ctx: duro.OrchestrationContext, left: int) -> int:
    await ctx.schedule_activity(work, left)
    if left > 1:
        await ctx.continue_as_new(left - 1)
    return left


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "runtime_config.toml"
    file.write_text(
        '[store]\nurl = "sqlite:///duro.db"\n[pruning]\ndefault_keep_last = 2\n'
        '[archive]\nenabled = true\ndirectory = "kept"\ninterval = "1s"\n'
    )
    return file


@pytest.fixture
def runtime(config: Path) -> Iterator[duro.Runtime]:
    with duro.Runtime(None, registry, duro.RuntimeOptions(sweep_interval_s=0.2), config=config) as started:
        yield started


def test_a_worker_keeps_what_it_prunes_and_then_reclaims_it(runtime: duro.Runtime, tmp_path: Path) -> None:
    client = runtime.client
    started = client.start_orchestration(loop, 10)
    assert client.wait_for_orchestration(started, 60).output == 1
    until(lambda: client.backlog().marked_executions == 0, "all is reclaimed")
    assert client.waiting_archives() == ()
    with Archive(tmp_path / "kept") as archive:
        assert sorted(each.execution_id for each in archive.executions(instance_id=started)) == list(range(1, 9))
        assert {each.run_id for each in archive.executions()} == {""}
    count = runtime.archive_count
    assert (count.histories, count.failures) == (8, 0)
    assert 1 <= count.segments <= 3
    assert count.bytes > 0
    found = client.find_archived(started, 3)
    assert found is not None
    assert len(found.history.events) == found.history.execution.event_count
    check_invariants(runtime.store)


def test_a_prune_by_hand_uses_the_archive_that_workers_publish(runtime: duro.Runtime, tmp_path: Path) -> None:
    client = runtime.client
    started = client.start_orchestration(loop, 2)
    client.wait_for_orchestration(started, 60)
    assert client.archive_directory() == str(tmp_path / "kept")
    result = client.prune_executions(started, 1, grace_s=0)
    assert result.archived is not None
    assert (result.archived.archive, result.archived.histories) == (CONFIGURED, 1)
    assert [run.archive for run in client.list_prune_runs()] == [str(tmp_path / "kept")]
    purged = client.purge_instances(duro.PurgeOptions(completed_before=10**14), grace_s=0)
    assert purged.archived is not None
    assert client.restore_archived(started).instances == 1
    assert client.get_instance(started).status == "completed"


def test_an_archive_that_cannot_be_used_defers_and_blocks_nothing(
    config: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "kept").write_text("a file")
    caplog.set_level(logging.WARNING, "duro.host")
    options = duro.RuntimeOptions(sweep_interval_s=0.2, metrics_port=0)
    with duro.Runtime(None, registry, options, config=config) as runtime:
        client = runtime.client
        started = client.start_orchestration(loop, 10)
        assert client.wait_for_orchestration(started, 60).output == 1
        until(lambda: runtime.archive_count.failures >= 1, "the archive was tried")
        (waiting,) = client.waiting_archives()
        assert (waiting.archive, waiting.executions) == (CONFIGURED, 8)
        assert client.backlog().unarchived_executions == 8
        assert [each.execution_id for each in client.list_executions(started).executions] == [10, 9]
        told = [record.message for record in caplog.records if "until it is archived" in record.message]
        assert len(told) == 1
        assert str(tmp_path / "kept") in told[0]
        (tmp_path / "kept").unlink()
        (outcome,) = client.write_archive()
        assert (outcome.histories, outcome.waiting, outcome.problem) == (8, 0, "")
        assert client.reclaim().executions == 0
        assert client.backlog().marked_executions == 0


def swept(interval: str = "10m") -> tuple[MemoryStore, Loops, SweptArchives, Callable[[], int]]:
    store = MemoryStore(clock=ManualClock(), new_id=lambda: "id")
    counters = ArchiveCounters()
    settings = read_settings(
        f'[archive]\nenabled = true\ndirectory = "kept"\ninterval = "{interval}"\n'.encode(), "/nowhere/at/all.toml"
    )
    archives = SweptArchives(store, counters, lambda: archive_terms(settings))
    return store, Loops(store), archives, lambda: counters.snapshot().segments


def test_few_histories_wait_for_the_interval_and_many_do_not() -> None:
    store, loops, archives, _ = swept()
    archives.look(store.backlog(), 0.0)
    assert not archives.is_due(10_000.0)
    loops.start("a")
    loops.go_on(2)
    store.prune(prune_batch((loops.incarnation("a"), 1), archive=CONFIGURED))
    archives.look(store.backlog(), 100.0)
    archives.look(store.backlog(), 200.0)
    assert not archives.is_due(699.0)
    assert archives.is_due(700.0)
    loops.start(*(f"b{number}" for number in range(50)))
    loops.go_on(41)
    store.prune(prune_batch(*((loops.incarnation(f"b{number}"), 1) for number in range(50)), archive=CONFIGURED))
    archives.look(store.backlog(), 300.0)
    assert archives.is_due(300.0)


def test_an_archive_that_cannot_be_used_is_left_alone_for_a_while(caplog: pytest.LogCaptureFixture) -> None:
    store, loops, archives, segments = swept("1s")
    loops.start("a")
    loops.go_on(2)
    store.prune(prune_batch((loops.incarnation("a"), 1), archive=CONFIGURED))
    archives.look(store.backlog(), 0.0)
    assert archives.is_due(1.0)
    while archives.step(1.0):
        pass
    assert not archives.is_due(60.0)
    assert archives.is_due(61.0)
    while archives.step(61.0):
        pass
    assert len([record for record in caplog.records if "until it is archived" in record.message]) == 1
    assert segments() == 0
    assert store.backlog().unarchived_executions == 2
