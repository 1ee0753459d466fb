"""DBOS: ``python dbos_program.py WORKLOAD SETTING SIZE DIRECTORY``. ``best``: WAL, synchronous NORMAL (weaker than
duro's FULL), 8 threads."""

import sys
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


@DBOS.workflow()
def fan(width: int) -> int:
    """Steps of one workflow run one after the other, so each is a child workflow."""
    return sum(handle.get_result() for handle in [DBOS.start_workflow(one, number) for number in range(width)])


@DBOS.workflow()
def generation(left: int) -> int:
    """DBOS has no continue-as-new: an eternal loop starts its successor."""
    work(left)
    if left > 1:
        with SetWorkflowID(f"generation-{left - 1}"):
            DBOS.start_workflow(generation, left - 1)
    return left


def wait_for_generation(last: int) -> None:
    while DBOS.get_workflow_status(f"generation-{last}") is None:
        time.sleep(0.001)
    DBOS.retrieve_workflow(f"generation-{last}").get_result()


def run(workload: str, size: int) -> dict[str, Any]:
    if workload in ("one_each", "latency", "idle", "first"):
        DBOS.start_workflow(one, 1).get_result()
    watch = Stopwatch()
    if workload in ("batch", "one_each"):
        handles = [DBOS.start_workflow(one, number) for number in range(size)]
        assert [handle.get_result() for handle in handles] == [number + 1 for number in range(size)]
    elif workload == "fan_out":
        handles = [DBOS.start_workflow(fan, 100) for _ in range(size // 100)]
        assert {handle.get_result() for handle in handles} == {5050}
    elif workload == "chain":
        assert DBOS.start_workflow(chain, size).get_result() == size
    elif workload == "eternal":
        with SetWorkflowID(f"generation-{size}"):
            DBOS.start_workflow(generation, size)
        wait_for_generation(1)
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
        # a fan-out's parents each hold a thread while they wait for their children
        config["max_executor_threads"] = 64 if workload == "fan_out" else 8
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
