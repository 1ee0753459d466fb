"""duro: ``python -m benchmarks.programs.duro_prune_program WORKLOAD SETTING SIZE DIRECTORY``.

``eternal``: SIZE executions of one activity, pruned in the way SETTING says. ``growth``: the same with the automatic
way, and the size of the file on its way. ``bulk``, ``kept``, ``plan``: a store of SIZE instances of 100
executions of 10 events; ``bulk`` with SETTING ``small_cache`` has a page cache of 4 MiB, and with ``traced`` Python's
objects are counted, which takes its time. ``kept_loop``: ``eternal`` with an archive.
``limit``: the rows of ``bulk`` deleted by bare apsw, in transactions of about as many rows. ``writer``: a client that
writes, and how long each write took; ``bulk_writer``: the same beside a prune by another process.
"""

import subprocess
import sys
import threading
import time
import tracemalloc
from pathlib import Path
from typing import Any, Final

import apsw

import duro
from benchmarks.programs.measuring import Stopwatch, peak_mib, say
from benchmarks.programs.prune_store import copy_instances
from duro.model.limits import MARK_RECLAIM_EVENTS_MAX
from duro.stores.sqlite import sql

WAIT_S = 3600.0
EXECUTIONS: Final = 100
EVENTS: Final = 10
WRITER_S: Final = 10.0
SMALL_CACHE_MIB: Final = 4

registry = duro.Registry()
kept_one = duro.PruneOptions(keep_last=1)


@registry.activity
async def work(ctx: duro.ActivityContext, number: int) -> int:
    return number + 1


@registry.activity
def prune_self(ctx: duro.ActivityContext) -> int:
    return ctx.client.prune_executions(ctx.instance_id, kept_one, grace_s=0).executions_deleted


@registry.orchestration
async def loop(ctx: duro.OrchestrationContext, left: int) -> int:
    await ctx.schedule_activity(work, left)
    if left > 1:
        await ctx.continue_as_new(left - 1)
    return ctx.execution_id


@registry.orchestration(auto_prune=1)
async def registered(ctx: duro.OrchestrationContext, left: int) -> int:
    await ctx.schedule_activity(work, left)
    if left > 1:
        await ctx.continue_as_new(left - 1)
    return ctx.execution_id


@registry.orchestration
async def by_activity(ctx: duro.OrchestrationContext, left: int) -> int:
    await ctx.schedule_activity(work, left)
    await ctx.schedule_activity(prune_self)
    if left > 1:
        await ctx.continue_as_new(left - 1)
    return ctx.execution_id


@registry.orchestration
async def by_call(ctx: duro.OrchestrationContext, left: int) -> int:
    await ctx.schedule_activity(work, left)
    await ctx.prune_history(kept_one)
    if left > 1:
        await ctx.continue_as_new(left - 1)
    return ctx.execution_id


@registry.orchestration
async def by_parameter(ctx: duro.OrchestrationContext, left: int) -> int:
    await ctx.schedule_activity(work, left)
    if left > 1:
        await ctx.continue_as_new(left - 1, prune=kept_one)
    return ctx.execution_id


@registry.orchestration
async def long_loop(ctx: duro.OrchestrationContext, left: int) -> int:
    for _ in range(4):
        await ctx.schedule_activity(work, left)
    if left > 1:
        await ctx.continue_as_new(left - 1)
    await ctx.wait_for_event("go")
    return left


WAYS: Final[dict[str, Any]] = {
    "none": loop,
    "activity": by_activity,
    "prune_history": by_call,
    "continue_as_new": by_parameter,
    "registration": registered,
    "configuration": loop,
}


def options(way: str) -> duro.RuntimeOptions:
    return duro.RuntimeOptions(auto_prune=1) if way == "configuration" else duro.RuntimeOptions()


def eternal(way: str, size: int, directory: Path) -> dict[str, Any]:
    with duro.Runtime(f"sqlite:///{directory}/duro.db", registry, options(way)) as runtime:
        watch = Stopwatch()
        started = runtime.client.start_orchestration(WAYS[way], size)
        assert runtime.client.wait_for_orchestration(started, WAIT_S).output == size
        figures: dict[str, Any] = watch.figures(size)
    return figures | {"file_mib": size_mib(directory / "duro.db")}


def growth(way: str, size: int, directory: Path) -> dict[str, Any]:
    """``mib_N``: the file and its log when N executions had run, for N = 1,000, 10,000 ..."""
    file = directory / "duro.db"
    sizes: dict[str, Any] = {}
    with duro.Runtime(f"sqlite:///{file}", registry, options(way)) as runtime:
        watch = Stopwatch()
        started = runtime.client.start_orchestration(WAYS[way], size)
        due = 1000
        while due < size:
            time.sleep(0.02)
            status = runtime.client.get_instance(started)
            if status.execution_id >= due:
                sizes[f"mib_{due}"] = size_mib(file)
                due *= 10
        runtime.client.wait_for_orchestration(started, WAIT_S)
        sizes[f"mib_{size}"] = size_mib(file)
        return watch.figures(size) | sizes


def size_mib(file: Path) -> float:
    log = Path(f"{file}-wal")
    return (file.stat().st_size + (log.stat().st_size if log.exists() else 0)) / 1024**2


def make_store(directory: Path, instances: int) -> str:
    url = f"sqlite:///{directory}/duro.db"
    with duro.Runtime(url, registry) as runtime:
        runtime.client.start_orchestration(long_loop, EXECUTIONS, instance_id="loop-1")
        while runtime.client.get_instance("loop-1").execution_id < EXECUTIONS or not _waits(runtime.client):
            time.sleep(0.01)
    copied = {"incarnation": "t.incarnation + n - 1", "instance_id": "'loop-' || n"}
    copy_instances(directory / "duro.db", instances, ("instances", "executions", "history"), copied)
    connection = apsw.Connection(str(directory / "duro.db"))
    connection.execute("UPDATE store SET next_incarnation = (SELECT max(incarnation) + 1 FROM instances)")
    connection.close()
    return url


def _waits(client: duro.Client) -> bool:
    return client.get_execution("loop-1", EXECUTIONS).event_count == EVENTS


def bulk(setting: str, size: int, directory: Path) -> dict[str, Any]:
    if setting == "small_cache":
        sql.SET_CACHE_OF_WRITER = f"PRAGMA cache_size = -{SMALL_CACHE_MIB * 1024}"  # type: ignore[misc]  # for this process
    with duro.Client(make_store(directory, size)) as client:
        before_mib = peak_mib()
        if setting == "traced":
            tracemalloc.start()
        watch = Stopwatch()
        result = client.prune_executions_bulk(kept_one, grace_s=0)
        assert result.executions_deleted == size * (EXECUTIONS - 1), result
        figures: dict[str, Any] = watch.figures(result.events_deleted)
        if setting == "traced":
            return figures | {"python_mib": tracemalloc.get_traced_memory()[1] / 1024**2}
        return figures | {"grown_mib": peak_mib() - before_mib}


def kept(setting: str, size: int, directory: Path) -> dict[str, Any]:
    """``bulk`` into an archive."""
    with duro.Client(make_store(directory, size)) as client:
        before_mib = peak_mib()
        watch = Stopwatch()
        result = client.prune_executions_bulk(kept_one, grace_s=0, archive=directory / "archive")
        assert result.archived is not None
        assert result.archived.histories == result.executions_deleted == size * (EXECUTIONS - 1), result
        figures = watch.figures(result.events_deleted)
        assert client.backlog().marked_executions == 0
        kept_mib = sum(file.stat().st_size for file in (directory / "archive").rglob("*.zst")) / 1024**2
        return figures | {"grown_mib": peak_mib() - before_mib, "kept_mib": kept_mib}


def kept_loop(setting: str, size: int, directory: Path) -> dict[str, Any]:
    """``eternal`` under a policy and with an archive; ``waiting_max``: the most that waited for it at any moment."""
    config = directory / "runtime_config.toml"
    config.write_text(
        '[pruning]\ndefault_keep_last = 1\n[archive]\nenabled = true\ndirectory = "archive"\ninterval = "5s"\n'
    )
    waiting_max = 0
    with duro.Runtime(f"sqlite:///{directory}/duro.db", registry, config=config) as runtime:
        watch = Stopwatch()
        started = runtime.client.start_orchestration(loop, size)
        while runtime.client.get_instance(started).completed_at_ms is None:
            waiting_max = max(waiting_max, runtime.client.backlog().unarchived_executions)
            time.sleep(0.2)
        figures: dict[str, Any] = watch.figures(size)
    return figures | {"waiting_max": waiting_max, "file_mib": size_mib(directory / "duro.db")}


def plan(setting: str, size: int, directory: Path) -> dict[str, Any]:
    with duro.Client(make_store(directory, size)) as client:
        watch = Stopwatch()
        made = client.plan_prune(kept_one)
        assert made.totals.executions_removed == size * (EXECUTIONS - 1), made.totals
        return watch.figures(size * EXECUTIONS)


def limit(setting: str, size: int, directory: Path) -> dict[str, Any]:
    make_store(directory, size)
    connection = apsw.Connection(str(directory / "duro.db"))
    connection.execute("PRAGMA synchronous = FULL")
    at_once = max(1, MARK_RECLAIM_EVENTS_MAX // (EXECUTIONS * EVENTS))
    watch, deleted = Stopwatch(), 0
    for first in range(1, size + 1, at_once):
        connection.execute("BEGIN IMMEDIATE")
        for incarnation in range(first, min(first + at_once, size + 1)):
            scope = (incarnation, EXECUTIONS)
            connection.execute("DELETE FROM history WHERE incarnation = ? AND execution_id < ?", scope)
            deleted += connection.changes()
            connection.execute("DELETE FROM executions WHERE incarnation = ? AND execution_id < ?", scope)
        connection.execute("COMMIT")
    assert deleted == size * (EXECUTIONS - 1) * EVENTS
    return watch.figures(deleted)


def writes(client: duro.Client, until: threading.Event, instances: int) -> dict[str, Any]:
    taken_ms: list[float] = []
    while not until.is_set():
        began_s = time.perf_counter()
        client.raise_event(f"loop-{len(taken_ms) % instances + 1}", "note", len(taken_ms))
        taken_ms.append((time.perf_counter() - began_s) * 1000)
    taken_ms.sort()
    last = len(taken_ms) - 1
    return {
        "writes": len(taken_ms),
        "p50_ms": taken_ms[last // 2],
        "p999_ms": taken_ms[int(last * 0.999)],
        "max_ms": taken_ms[last],
    }


def writer(setting: str, size: int, directory: Path) -> dict[str, Any]:
    """Undisturbed (``alone``), or beside the prune of the whole store by another process (``beside``)."""
    url = make_store(directory, size)
    beside = ["benchmarks.programs.duro_prune_program", "prune", "default", str(size), str(directory)]
    return write_beside(url, None if setting == "alone" else beside)


def write_beside(url: str, program: list[str] | None, instances: int = 100) -> dict[str, Any]:
    """A client that writes to so many: for a while (None), or beside a program that says when it is ready and ends by
    itself."""
    until = threading.Event()
    with duro.Client(url) as client:
        watch = Stopwatch()
        if program is None:
            threading.Timer(WRITER_S, until.set).start()
        else:
            command = [sys.executable, "-m", *program]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            assert process.stdout is not None
            assert process.stdin is not None
            process.stdout.readline()
            process.stdin.write(b"go\n")
            process.stdin.flush()
            threading.Thread(target=_when_ended, args=(process, until)).start()
        found = writes(client, until, instances)
        if program is not None:
            assert process.returncode == 0
        return watch.figures(found["writes"]) | found


def _when_ended(process: subprocess.Popen[bytes], until: threading.Event) -> None:
    process.wait()
    until.set()


def prune(setting: str, size: int, directory: Path) -> dict[str, Any]:
    """The prune of ``writer``: begins when it is told to."""
    with duro.Client(f"sqlite:///{directory}/duro.db") as client:
        say({})
        sys.stdin.readline()
        watch = Stopwatch()
        result = client.prune_executions_bulk(kept_one, grace_s=0)
        assert result.executions_deleted == size * (EXECUTIONS - 1), result
        return watch.figures(result.events_deleted)


def main() -> None:
    workload, setting, size, directory = sys.argv[1:]
    workloads = {each.__name__: each for each in (eternal, growth, bulk, kept, kept_loop, plan, limit, writer, prune)}
    say(workloads[workload](setting, int(size), Path(directory)))


if __name__ == "__main__":
    main()
