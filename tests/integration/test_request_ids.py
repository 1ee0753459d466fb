"""Writes repeated under their request id, by the sync and the async client: applied once, also after the end."""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import pytest

import duro
from duro.stores.base import Store

Call = Callable[..., Any]


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest, store: Store) -> Call:
    """Calls a method of a client by name."""

    def run(method: str, *arguments: Any, **options: Any) -> Any:
        with duro.Client(store) as client:
            if request.param == "sync":
                return getattr(client, method)(*arguments, **options)

            async def awaited() -> Any:
                async with duro.AsyncClient(client) as asynchronous:
                    answer = getattr(asynchronous, method)(*arguments, **options)
                    return await answer if inspect.isawaitable(answer) else answer

            return asyncio.run(awaited())

    return run


def test_a_batch_of_starts(call: Call, store: Store) -> None:
    starts = [duro.Start(orchestration="work", input=n, instance_id=f"i{n}" if n else None) for n in range(3)]
    options = {"request_id": "r", "allow_unregistered": True}
    first = call("start_orchestrations", starts, **options)
    store.terminate_instance("i1", "over")
    before = store.dump()
    assert call("start_orchestrations", starts, **options) == first
    assert store.dump() == before
    with pytest.raises(duro.InstanceExistsError):
        call("start_orchestrations", starts, request_id="another", allow_unregistered=True)


@pytest.mark.parametrize(
    ("method", "arguments"),
    [("raise_event", ("a", "go", 1)), ("cancel", ("a", "enough")), ("terminate", ("a", "enough"))],
)
def test_a_write_to_an_instance(call: Call, store: Store, method: str, arguments: tuple[Any, ...]) -> None:
    call("start_orchestration", "work", instance_id="a", allow_unregistered=True)
    call(method, *arguments, request_id="r")
    before = store.dump()
    call(method, *arguments, request_id="r")
    assert store.dump() == before
    if method != "terminate":
        store.terminate_instance("a", "over")
    before = store.dump()
    call(method, *arguments, request_id="r")
    assert store.dump() == before
    with pytest.raises(duro.InstanceFinishedError):
        call(method, *arguments, request_id="another")


@pytest.mark.parametrize("request_id", ["", "a\0b", "\ud800", "x" * 256, 5])
def test_a_request_id_that_no_store_can_keep_is_refused_and_changes_nothing(
    call: Call, store: Store, request_id: Any
) -> None:
    call("start_orchestration", "work", instance_id="a", allow_unregistered=True)
    before = store.dump()
    for method, arguments in [
        ("start_orchestration", ("work",)),
        ("raise_event", ("a", "go")),
        ("cancel", ("a",)),
        ("terminate", ("a",)),
    ]:
        options = {"allow_unregistered": True} if method == "start_orchestration" else {}
        with pytest.raises(duro.InvalidIdError, match="request id"):
            call(method, *arguments, request_id=request_id, **options)
    assert store.dump() == before


def test_what_is_no_start_is_refused_and_nothing_is_started(call: Call, store: Store) -> None:
    starts = [duro.Start(orchestration="work"), "work"]
    before = store.dump()
    with pytest.raises(duro.UsageError, match=r"starts must be duro\.Start, not 'work'"):
        call("start_orchestrations", starts, allow_unregistered=True)
    assert store.dump() == before


def test_a_start_that_is_repeated_after_its_instance_was_purged_starts_it_anew(call: Call, store: Store) -> None:
    """As the guide says: what was asked for is remembered with the instance."""
    start = {"instance_id": "a", "request_id": "r", "allow_unregistered": True}
    call("start_orchestration", "work", **start)
    first = store.get_instance("a")
    call("terminate", "a", "over")
    call("purge_instances", duro.PurgeOptions(completed_before=10**14), grace_s=0)
    assert store.get_instance("a") is None
    assert call("start_orchestration", "work", **start) == "a"
    again = store.get_instance("a")
    assert first is not None
    assert again is not None
    assert again.incarnation > first.incarnation
