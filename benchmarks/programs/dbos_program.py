"""DBOS: ``python dbos_program.py WORKLOAD SETTING SIZE DIRECTORY``. ``best``: WAL, synchronous NORMAL (weaker than
duro's FULL), one thread for starting workflows and 8 otherwise."""

import asyncio
import sys
import threading
import time
from typing import Any

import sqlalchemy
from dbos import DBOS, SetWorkflowID
from measuring import Stopwatch, idle_cpu_percent, latencies, say


@DBOS.step()
def work(number: int) -> int:
    return number + 1


@DBOS.workflow()
def one(number: int) -> int:
    return work(number)


@DBOS.workflow()
def chain(steps: int) -> int:
    number = 0
    for _ in range(steps):
        number = work(number)
    return number


@DBOS.step()
async def async_work(number: int) -> int:
    return number + 1


@DBOS.workflow()
async def fan(width: int) -> int:
    return sum(await asyncio.gather(*[async_work(number) for number in range(width)]))


last_generation_done = threading.Event()


@DBOS.workflow()
def generation(left: int) -> int:
    """DBOS has no continue-as-new: an eternal loop starts its successor."""
    work(left)
    if left > 1:
        with SetWorkflowID(f"generation-{left - 1}"):
            DBOS.start_workflow(generation, left - 1)
    else:
        last_generation_done.set()
    return left


async def fan_all(count: int) -> list[int]:
    handles = [await DBOS.start_workflow_async(fan, 100) for _ in range(count)]
    return [await handle.get_result() for handle in handles]


def run(workload: str, size: int) -> dict[str, Any]:
    if workload in ("one_each", "latency", "idle", "first"):
        DBOS.start_workflow(one, 1).get_result()
    watch = Stopwatch()
    if workload in ("batch", "one_each"):
        handles = [DBOS.start_workflow(one, number) for number in range(size)]
        assert [handle.get_result() for handle in handles] == [number + 1 for number in range(size)]
    elif workload == "fan_out":
        assert set(asyncio.run(fan_all(size // 100))) == {5050}
    elif workload == "chain":
        assert DBOS.start_workflow(chain, size).get_result() == size
    elif workload == "eternal":
        with SetWorkflowID(f"generation-{size}"):
            DBOS.start_workflow(generation, size)
        assert last_generation_done.wait(300)
    elif workload == "latency":
        return latencies(lambda: DBOS.start_workflow(one, 1).get_result(), size)
    elif workload == "idle":
        return {"idle_percent": idle_cpu_percent()} | watch.figures(1)
    elif workload == "first":
        return {"done_at_s": time.monotonic()} | watch.figures(1)
    else:
        raise SystemExit(f"there is no workload {workload!r}")
    return watch.figures(size)


def main() -> None:
    workload, setting, size, directory = sys.argv[1:]
    url = f"sqlite:///{directory}/dbos.db"
    config: dict[str, Any] = {"name": "bench", "system_database_url": url, "run_admin_server": False}
    config["log_level"] = "ERROR"
    if setting == "best":
        config["system_database_engine"] = _wal_engine(url)
        config["max_executor_threads"] = 1 if workload in ("batch", "one_each") else 8
    DBOS(config=config)
    DBOS.launch()
    say(run(workload, int(size)))
    DBOS.destroy()


def _wal_engine(url: str) -> sqlalchemy.Engine:
    engine = sqlalchemy.create_engine(url, connect_args={"timeout": 30})

    @sqlalchemy.event.listens_for(engine, "connect")
    def configure(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")

    return engine


if __name__ == "__main__":
    main()
