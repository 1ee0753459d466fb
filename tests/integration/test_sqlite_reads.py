"""Listings and leases at sizes where an index, a page or a batch matters."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from duro.clock import SystemClock
from duro.errors import UsageError
from duro.model.records import ExecutionRecord, InstanceFilter, InstanceRecord, StartRequest, WorkerRecord
from duro.model.status import InstanceStatus
from duro.model.turns import LeaseRequest
from duro.stores.sqlite import SqliteStore, leases
from duro.stores.sqlite.migrations import SCHEMA_VERSION

COUNT = 2_500
"""More than two of the steps in which a listing of everything is read."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteStore]:
    path: Path = tmp_path_factory.mktemp("store") / "duro.db"
    opened = SqliteStore.open(path, url="u", clock=SystemClock(), new_id=lambda: "id", synchronous="NORMAL")
    opened.start_instances(
        [
            StartRequest(instance_id=f"i{n}", name=f"name{n % 2}", version="", input="null", request_id="r")
            for n in range(COUNT)
        ]
    )
    for n in range(0, COUNT, 5):
        opened.terminate_instance(f"i{n}", "why")
    yield opened
    opened.close()


def pages(store: SqliteStore, where: InstanceFilter, limit: int) -> list[tuple[InstanceRecord, ...]]:
    found, cursor = [], None
    while True:
        page = store.list_instances(where, limit, cursor)
        found.append(page.instances)
        cursor = page.next
        if cursor is None:
            return found


FILTERS = [
    InstanceFilter(),
    InstanceFilter(name="name1"),
    InstanceFilter(name="nobody"),
    InstanceFilter(statuses=(InstanceStatus.PENDING,)),
    InstanceFilter(statuses=(InstanceStatus.TERMINATED,)),
    InstanceFilter(statuses=(InstanceStatus.TERMINATED, InstanceStatus.FAILED, InstanceStatus.PENDING)),
    InstanceFilter(statuses=(InstanceStatus.TERMINATED, InstanceStatus.COMPLETED), name="name0"),
    InstanceFilter(statuses=(InstanceStatus.TERMINATED, InstanceStatus.RUNNING), name="name0"),
    InstanceFilter(blocked=True),
    InstanceFilter(blocked=False, name="name1"),
]


@pytest.mark.parametrize("where", FILTERS)
@pytest.mark.parametrize("limit", [0, 700, 1000, COUNT])
def test_every_listing_pages_through_exactly_what_matches(
    store: SqliteStore, where: InstanceFilter, limit: int
) -> None:
    everything = store.list_instances(InstanceFilter(), 0, None).instances
    assert [record.incarnation for record in everything] == list(range(COUNT, 0, -1))
    expected = [
        record.instance_id
        for record in everything
        if (not where.statuses or record.status in where.statuses)
        and (where.name is None or record.name == where.name)
        and (where.blocked is None or (record.blocked is not None) == where.blocked)
    ]
    found = pages(store, where, limit)
    assert [record.instance_id for page in found for record in page] == expected
    assert all(len(page) == limit for page in found[:-1])
    assert len(found) == 1 or found[-1]


@pytest.mark.parametrize("limit", [0, 999, 1000])
def test_executions_of_all_instances_page_newest_first(store: SqliteStore, limit: int) -> None:
    found: list[ExecutionRecord] = []
    cursor = None
    while True:
        page = store.list_executions(None, limit, cursor)
        found += page.executions
        cursor = page.next
        if cursor is None:
            break
    assert [record.incarnation for record in found] == list(range(COUNT, 0, -1))


@pytest.mark.parametrize(
    "cursor", ["", "x", "i:", "i:-1", "i:1 ", "i:１", "e:1:2", "i:" + "9" * 30, "i:1;DROP TABLE x"]
)
def test_a_cursor_of_another_listing_is_refused(store: SqliteStore, cursor: str) -> None:
    with pytest.raises(UsageError, match="cursor"):
        store.list_instances(InstanceFilter(), 10, cursor)


@pytest.mark.parametrize("cursor", ["", "e:1", "e:1:", "e:1:2:3", "i:1", "e:１:1"])
def test_a_cursor_of_another_listing_of_executions_is_refused(store: SqliteStore, cursor: str) -> None:
    with pytest.raises(UsageError, match="cursor"):
        store.list_executions(None, 10, cursor)
    with pytest.raises(UsageError, match="cursor"):
        store.list_executions("i1", 10, cursor)


def test_the_sizes_are_those_of_the_files(store: SqliteStore) -> None:
    info = store.info()
    assert (info.instances, info.executions, info.events) == (COUNT, COUNT, COUNT // 5)
    assert info.file_bytes == store._path.stat().st_size
    assert info.wal_bytes == Path(f"{store._path}-wal").stat().st_size
    assert info.schema_version == SCHEMA_VERSION
    assert info.engine.startswith("sqlite 3.")


# --- leasing -------------------------------------------------------------------------------------------------


def test_a_lease_larger_than_any_statement_is_one_lease(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path / "duro.db", url="u", clock=SystemClock(), new_id=lambda: "id")
    worker = WorkerRecord(worker_id="w", host="h", process_id=1, started_at_ms=0, lease_until_ms=0)
    store.register_worker(worker, 60_000)
    requests = [
        StartRequest(instance_id=f"i{n}", name="n", version="", input=f'"{n}"', request_id="r") for n in range(COUNT)
    ]
    assert all(outcome.started for outcome in store.start_instances(requests))
    wanted = LeaseRequest(orchestrations=(("n", ""),), activities=(), instances_max=2 * COUNT, activities_max=0)
    leased = store.lease("w", wanted)
    assert [instance.input for instance in leased.instances] == [f'"{n}"' for n in range(COUNT)]
    assert leased.next_ready_at_ms is None
    store.close()


@pytest.mark.parametrize(
    ("sizes", "room", "rotation", "taken"),
    [
        ([], 5, 3, []),
        ([0, 0], 5, 0, [0, 0]),
        ([10], 4, 7, [4]),
        ([10, 10], 4, 0, [2, 2]),
        ([10, 1], 4, 0, [3, 1]),
        ([1000, 3, 1000], 9, 0, [3, 3, 3]),
        ([1000, 1, 1000], 10, 0, [5, 1, 4]),
        ([5, 5, 5], 1, 0, [1, 0, 0]),
        ([5, 5, 5], 1, 1, [0, 1, 0]),
        ([5, 5, 5], 2, 5, [1, 0, 1]),
        ([5, 5, 5], 0, 0, [0, 0, 0]),
        ([2, 2], 9, 1, [2, 2]),
    ],
)
def test_work_is_dealt_fairly_between_kinds(sizes: list[int], room: int, rotation: int, taken: list[int]) -> None:
    queues = [list(range(size)) for size in sizes]
    dealt = leases.deal(queues, room, rotation)
    assert [len(items) for items in dealt] == taken
    assert all(items == queue[: len(items)] for items, queue in zip(dealt, queues, strict=True))
