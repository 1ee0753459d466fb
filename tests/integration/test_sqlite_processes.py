"""Several store objects, and several processes, on one file."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import duro
from duro.clock import SystemClock
from duro.errors import StoreForkedError
from duro.model.records import InstanceFilter, StartRequest
from duro.stores.sqlite import SqliteStore

OPEN_AND_START = """
import sys
from duro.clock import SystemClock
from duro.model.records import StartRequest
from duro.stores.sqlite import SqliteStore
store = SqliteStore.open(sys.argv[1], url="u", clock=SystemClock(), new_id=lambda: sys.argv[2])
for n in range(int(sys.argv[3])):
    request = StartRequest(instance_id=f"{sys.argv[2]}-{n}", name="n", version="", input="null", request_id="r")
    assert store.start_instances([request])[0].started
print(store.info().store_id)
store.close()
"""


def open_store(path: Path) -> SqliteStore:
    return SqliteStore.open(path, url=f"sqlite:///{path}", clock=SystemClock(), new_id=lambda: "id")


def start_request(instance_id: str) -> StartRequest:
    return StartRequest(instance_id=instance_id, name="n", version="", input="null", request_id="r")


def process(path: Path, name: str, count: int) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": str(Path(duro.__path__[0]).parent)}
    command = [sys.executable, "-c", OPEN_AND_START, str(path), name, str(count)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def finish(child: "subprocess.Popen[str]") -> str:
    output, _ = child.communicate(timeout=60)
    assert child.returncode == 0
    return output.strip()


def test_two_store_objects_see_each_others_writes_by_the_change_counter(tmp_path: Path) -> None:
    one, other = open_store(tmp_path / "duro.db"), open_store(tmp_path / "duro.db")
    quiet_one, quiet_other = one.change_counter(), other.change_counter()
    assert (one.change_counter(), other.change_counter()) == (quiet_one, quiet_other)
    one.start_instances([start_request("i")])
    assert one.change_counter() != quiet_one
    assert other.change_counter() != quiet_other
    assert other.get_instance("i") is not None
    one.close()
    assert other.start_instances([start_request("j")])[0].started
    other.close()


def test_another_process_is_noticed_by_the_change_counter(tmp_path: Path) -> None:
    store = open_store(tmp_path / "duro.db")
    before = store.change_counter()
    assert finish(process(tmp_path / "duro.db", "other", 1)) == "id"
    assert store.change_counter() != before
    assert store.get_instance("other-0") is not None
    store.close()


def test_processes_that_make_one_store_at_the_same_time_make_one_store(tmp_path: Path) -> None:
    children = [process(tmp_path / "duro.db", f"p{n}", 20) for n in range(4)]
    names = {finish(child) for child in children}
    assert len(names) == 1
    store = open_store(tmp_path / "duro.db")
    found = store.list_instances(InstanceFilter(), 0, None).instances
    assert {record.instance_id for record in found} == {f"p{p}-{n}" for p in range(4) for n in range(20)}
    assert len({record.incarnation for record in found}) == 80
    store.close()


def test_threads_may_open_and_use_one_store_together(tmp_path: Path) -> None:
    store = open_store(tmp_path / "duro.db")
    errors: list[Exception] = []

    def work(name: str) -> None:
        try:
            for n in range(25):
                store.start_instances([start_request(f"{name}-{n}")])
                assert store.get_instance(f"{name}-{n}") is not None
                store.change_counter()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(f"t{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert store.info().instances == 200
    store.close()


def test_a_store_refuses_to_be_used_in_a_forked_child(tmp_path: Path) -> None:
    store = open_store(tmp_path / "duro.db")
    store.start_instances([start_request("parent")])
    store.keep_reserve()
    child = os.fork()
    if child == 0:
        refused = 0
        calls: list[Callable[[], object]] = [
            store.now_ms,
            store.change_counter,
            store.keep_reserve,
            store.make_room,
            lambda: store.get_instance("parent"),
            lambda: store.start_instances([start_request("child")]),
        ]
        try:
            for call in calls:
                try:
                    call()
                except StoreForkedError:
                    refused += 1
            store.close()  # does nothing here, so that a `with` block can end
        finally:
            os._exit(refused)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 6
    assert (tmp_path / "duro.db-reserve").exists()
    assert store.start_instances([start_request("after")])[0].started
    assert store.get_instance("child") is None
    store.close()


def test_what_was_committed_is_there_after_the_process_was_killed(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        try:
            store = open_store(tmp_path / "duro.db")
            for n in range(5):
                store.start_instances([start_request(f"i{n}")])
        finally:
            os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    store = open_store(tmp_path / "duro.db")
    assert store.info().instances == 5
    store.close()


def test_reading_goes_on_while_another_thread_writes(tmp_path: Path) -> None:
    store = open_store(tmp_path / "duro.db")
    writer = store._writer
    assert writer is not None
    with writer._lock:  # as if a commit took long
        assert store.get_instance("i") is None
        assert store.info().instances == 0
    store.close()
