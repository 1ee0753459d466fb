"""duro: ``python -m benchmarks.programs.duro_family_program WORKLOAD SETTING SIZE DIRECTORY``.

A store of SIZE children, all ended: of each thousand a parent has left ten behind when it continued as new, and has
observed the others. ``list``: the first page of orphans. ``cleanup``: all of them removed; ``purge``: also the settled
ones. ``writer``: a client that writes, ``alone`` or beside one of these (SETTING) by another process. Beside a clean-up
200 of a thousand are left behind: ten are gone before there are enough writes to tell the slowest thousandth of them.
"""

import sys
import time
from pathlib import Path
from statistics import median
from typing import Any, Final

import duro
from benchmarks.programs.duro_prune_program import write_beside
from benchmarks.programs.measuring import Stopwatch, say
from duro.testing.builders import (
    child_completed,
    child_scheduled,
    completed,
    continued_as_new,
    start_request,
    turn,
    wait_started,
)
from duro.testing.scripted import ScriptedWorker

CHILDREN: Final = 1_000
LEFT: Final = 10
LEFT_BESIDE_WRITER: Final = 200
LISTINGS: Final = 51


def make_store(directory: Path, size: int, left_of_each: int = LEFT) -> str:
    url = f"sqlite:///{directory}/duro.db"
    store = duro.open_store(url, synchronous="NORMAL")
    worker = ScriptedWorker(store, lease_ms=10**9)
    parents = [f"loop-{number}" for number in range(1, size // CHILDREN + 1)]
    for parent in parents:
        store.start_instances([start_request(parent)])
        spawned = [child_scheduled(f"{parent}-{number}") for number in range(CHILDREN)]
        worker.run(worker.take(parent), *spawned, keep_lease=True)
        children = {each.instance_id: each for each in worker.lease(instances=2 * CHILDREN).instances}
        seen = [children[f"{parent}-{number}"] for number in range(CHILDREN - left_of_each)]
        worker.commit(*(turn(each, completed(), at_ms=store.now_ms()) for each in seen))
        answers = [child_completed(number) for number in range(2, CHILDREN - left_of_each + 2)]
        worker.run(worker.take(parent), *answers, continued_as_new())
        worker.run(worker.take(parent), wait_started("note"), waits=["note"])
        left = [children[f"{parent}-{number}"] for number in range(CHILDREN - left_of_each, CHILDREN)]
        worker.commit(*(turn(each, completed(), at_ms=store.now_ms()) for each in left))
    store.release_worker(worker.worker_id)
    store.close()
    return url


def listing(setting: str, size: int, directory: Path) -> dict[str, Any]:
    """``p50_ms`` of the first page, of all kinds of orphans."""
    with duro.Client(make_store(directory, size)) as client:
        taken_ms = []
        watch = Stopwatch()
        for _ in range(LISTINGS):
            began_s = time.perf_counter()
            page = client.list_orphaned_instances()
            taken_ms.append((time.perf_counter() - began_s) * 1000)
            assert len(page.orphans) == min(100, size // CHILDREN * LEFT)
        return watch.figures(LISTINGS) | {"p50_ms": median(taken_ms), "max_ms": max(taken_ms)}


def cleanup(setting: str, size: int, directory: Path) -> dict[str, Any]:
    return _removal("cleanup", size, f"sqlite:///{directory}/duro.db", make=directory)


def purge(setting: str, size: int, directory: Path) -> dict[str, Any]:
    return _removal("purge", size, f"sqlite:///{directory}/duro.db", make=directory)


def beside_cleanup(setting: str, size: int, directory: Path) -> dict[str, Any]:
    """Of a store that is there, where ``setting`` of each thousand are left; begins when it is told to."""
    return _removal("cleanup", size, f"sqlite:///{directory}/duro.db", left_of_each=int(setting))


def beside_purge(setting: str, size: int, directory: Path) -> dict[str, Any]:
    return _removal("purge", size, f"sqlite:///{directory}/duro.db")


def _removal(kind: str, size: int, url: str, make: Path | None = None, left_of_each: int = LEFT) -> dict[str, Any]:
    if make is not None:
        make_store(make, size)
    with duro.Client(url) as client:
        if make is None:
            say({})
            sys.stdin.readline()
        watch = Stopwatch()
        if kind == "cleanup":
            result = client.cleanup_orphaned_instances(min_age=0, grace_s=0)
            assert result.instances == size // CHILDREN * left_of_each, result
        else:
            result = client.purge_instances(duro.PurgeOptions(completed_before=10**14), grace_s=0)
            assert result.instances == size, result
        return watch.figures(result.instances)


def writer(setting: str, size: int, directory: Path) -> dict[str, Any]:
    left = LEFT_BESIDE_WRITER if setting == "cleanup" else LEFT
    url = make_store(directory, size, left)
    program = ["benchmarks.programs.duro_family_program", f"beside_{setting}", str(left), str(size), str(directory)]
    removed = {"cleanup": size // CHILDREN * left, "purge": size}.get(setting, 0)
    figures = write_beside(url, None if setting == "alone" else program, size // CHILDREN)
    return figures | {"removed": removed}


def main() -> None:
    workload, setting, size, directory = sys.argv[1:]
    workloads = {"list": listing} | {
        each.__name__: each for each in (cleanup, purge, beside_cleanup, beside_purge, writer)
    }
    say(workloads[workload](setting, int(size), Path(directory)))


if __name__ == "__main__":
    main()
