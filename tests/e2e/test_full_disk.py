"""A disk that is full, a real one (tmpfs): nothing acknowledged is lost, a prune frees room, and work goes on."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import duro
from duro.errors import CommitUnknownError, StoreFullError
from duro.stores.sqlite.space import RESERVE_BYTES
from duro.testing import check_invariants
from tests.e2e.cli_support import Cli
from tests.support.pruning import Loops

MIB = 1024 * 1024
KEEP_ONE = duro.PruneOptions(keep_last=1)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 24 MiB with a store that a worker has used."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    if shutil.which("mount") is None:
        pytest.skip("there is no mount command to make a small disk with")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", mounted], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    try:
        with duro.Runtime(mounted / "duro.db", duro.Registry()):
            pass
        yield mounted
    finally:
        subprocess.run(["umount", "-l", mounted], check=True)


def fill_disk(directory: Path) -> None:
    with contextlib.suppress(OSError), (directory / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(4096))


def free_bytes(directory: Path) -> int:
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize


def until_full(directory: Path) -> int:
    """Loops that went on until there was no room; how many executions of one were acknowledged."""
    acknowledged = 0
    with contextlib.closing(duro.open_store(directory / "duro.db")) as store:
        loops = Loops(store)
        loops.start(*(f"loop-{number}" for number in range(20)))
        try:
            while True:
                loops.go_on()
                acknowledged += 1
        except (StoreFullError, CommitUnknownError):
            return acknowledged


def check_goes_on(directory: Path, acknowledged: int) -> None:
    with contextlib.closing(duro.open_store(directory / "duro.db")) as store:
        check_invariants(store)
        assert [each for each in store.checkup(deep=True) if each.count and each.severity == "error"] == []
        for worker in store.list_workers():
            store.release_worker(worker.worker_id)
        loops = Loops(store)
        for each in store.list_instances(duro.InstanceFilter(), 0, None).instances:
            assert each.execution_id >= acknowledged + 1
        loops.go_on(3)


def test_a_log_that_fills_the_disk_is_pruned_away(disk: Path) -> None:
    reserve = disk / "duro.db-reserve"
    assert reserve.stat().st_blocks * 512 >= RESERVE_BYTES
    acknowledged = until_full(disk)
    with contextlib.suppress(duro.StoreError), contextlib.closing(duro.open_store(disk / "duro.db")) as store:
        assert store.info().executions >= 20 * acknowledged
    cli = Cli(disk.parent)
    ran = cli("prune", "--all", "--keep-last", "1", "--now", "--yes", "--store", f"sqlite:///{disk}/duro.db")
    assert ran.code == 0, ran
    assert free_bytes(disk) > 20 * MIB
    assert reserve.exists()
    check_goes_on(disk, acknowledged)


def test_a_disk_that_others_fill_leaves_the_reserve_to_prune_in(disk: Path) -> None:
    with contextlib.closing(duro.open_store(disk / "duro.db")) as store:
        loops = Loops(store)
        loops.start(*(f"loop-{number}" for number in range(20)))
        loops.go_on(40)
        for worker in store.list_workers():
            store.release_worker(worker.worker_id)
    fill_disk(disk)
    assert free_bytes(disk) == 0
    with duro.Client(disk / "duro.db") as client:
        before = client.info()
        result = client.prune_executions_bulk(KEEP_ONE, grace_s=0)
        assert result.executions_deleted == 20 * 40
        after = client.info()
        assert (after.executions, after.instances) == (20, 20)
        assert after.free_bytes > before.free_bytes
        assert not (disk / "duro.db-reserve").exists()
        client.compact()
    assert free_bytes(disk) > 0
    check_goes_on(disk, 40)


def test_without_the_reserve_a_full_disk_refuses_the_prune_and_nothing_is_lost(disk: Path) -> None:
    (disk / "duro.db-reserve").unlink()
    with contextlib.closing(duro.open_store(disk / "duro.db")) as store:
        loops = Loops(store)
        loops.start("a", "b")
        loops.go_on(200)
        for worker in store.list_workers():
            store.release_worker(worker.worker_id)
    fill_disk(disk)
    with pytest.raises(StoreFullError):
        duro.Client(disk / "duro.db")
    (disk / "filler").unlink()
    with contextlib.closing(duro.open_store(disk / "duro.db")) as store:
        check_invariants(store)
        assert store.info().executions == 2 * 201
    check_goes_on(disk, 200)
