"""Limits met in a running system: who hears of it, through parent and child, and that nothing is left behind."""

from typing import Any

import pytest

import duro
from duro.model import limits
from duro.stores.base import Store
from tests.integration.conftest import MakeRuntime

WAIT_S = 20.0

registry = duro.Registry()


@registry.activity
async def make_text(ctx: duro.ActivityContext, size: int) -> str:
    return "x" * size


@registry.activity
async def nothing(ctx: duro.ActivityContext) -> None: ...


@registry.orchestration
async def asks_for_too_much(ctx: duro.OrchestrationContext) -> None:
    await ctx.join(*(ctx.schedule_activity(nothing) for _ in range(limits.TURN_REQUESTS_MAX + 1)))


@registry.orchestration
async def spawns_too_many(ctx: duro.OrchestrationContext) -> None:
    await ctx.join(*(ctx.schedule_sub_orchestration("nobody") for _ in range(limits.TURN_REQUESTS_MAX + 1)))


@registry.orchestration
async def never_continues_as_new(ctx: duro.OrchestrationContext) -> None:
    while True:
        await ctx.schedule_activity(nothing)


@registry.orchestration
async def returns_too_much(ctx: duro.OrchestrationContext) -> str:
    return "x" * limits.PAYLOAD_BYTES_MAX


@registry.orchestration
async def passes_on_too_much(ctx: duro.OrchestrationContext) -> None:
    await ctx.schedule_activity("anything", "x" * limits.PAYLOAD_BYTES_MAX)


@registry.orchestration
async def gets_too_much(ctx: duro.OrchestrationContext) -> None:
    await ctx.schedule_activity(make_text, limits.PAYLOAD_BYTES_MAX)


@registry.orchestration
async def names_too_long(ctx: duro.OrchestrationContext) -> None:
    await ctx.wait_for_event("n" * (limits.NAME_BYTES_MAX + 1))


@registry.orchestration
async def child_id_too_long(ctx: duro.OrchestrationContext) -> None:
    await ctx.schedule_sub_orchestration("nobody", instance_id="i" * (limits.INSTANCE_ID_BYTES_MAX + 1))


@registry.orchestration
async def waits(ctx: duro.OrchestrationContext) -> Any:
    return await ctx.wait_for_event("go")


@registry.orchestration
async def parent(ctx: duro.OrchestrationContext, child: str) -> str:
    try:
        await ctx.schedule_sub_orchestration(child, instance_id="child")
    except duro.SubOrchestrationFailedError as error:
        return error.failure.type
    return "done"


@pytest.mark.parametrize(
    ("child", "failure"),
    [
        ("asks_for_too_much", "LimitExceededError"),
        ("spawns_too_many", "LimitExceededError"),
        ("never_continues_as_new", "LimitExceededError"),
        ("returns_too_much", "InvalidResult"),
        ("passes_on_too_much", "PayloadTooLargeError"),
        ("gets_too_much", "ActivityFailedError"),
        ("names_too_long", "InvalidNameError"),
        ("child_id_too_long", "InvalidIdError"),
    ],
)
def test_a_child_that_meets_a_limit_fails_and_tells_its_parent(
    make_runtime: MakeRuntime, store: Store, child: str, failure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HISTORY_EVENTS_MAX", 40)
    monkeypatch.setattr(limits, "TURN_REQUESTS_MAX", 30)
    client = make_runtime(registry).client
    started = client.start_orchestration(parent, child)
    assert client.wait_for_orchestration(started, WAIT_S).output == failure
    assert client.get_instance("child").status == "failed"
    dump = store.dump()
    assert [dump[table] for table in ("messages", "activities", "timers")] == [[], [], []]


def test_a_client_that_meets_a_limit_is_told_and_changes_nothing(make_runtime: MakeRuntime, store: Store) -> None:
    client = make_runtime(registry).client
    client.start_orchestration(waits, instance_id="a")
    large = "x" * limits.PAYLOAD_BYTES_MAX
    for error, call in (
        (duro.PayloadTooLargeError, lambda: client.start_orchestration("waits", large)),
        (duro.PayloadTooLargeError, lambda: client.raise_event("a", "go", large)),
        (duro.InvalidIdError, lambda: client.start_orchestration(waits, instance_id="i" * 256)),
        (duro.InvalidNameError, lambda: client.raise_event("a", "n" * 256)),
        (duro.InvalidInputError, lambda: client.cancel("a", "r" * (limits.REASON_BYTES_MAX + 1))),
    ):
        with pytest.raises(error) as raised:
            call()
        assert isinstance(raised.value, duro.UsageError)
    dump = store.dump()
    assert (dump["mailbox"], dump["requests"]) == ([], [])
    assert [(row["instance_id"], row["cancel_reason"]) for row in dump["instances"]] == [("a", None)]
    client.terminate("a")


def test_a_full_mailbox_refuses_the_sender(
    make_runtime: MakeRuntime, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("duro.stores.memory.store", "duro.stores.sqlite.clients"):
        monkeypatch.setattr(f"{module}.MAILBOX_EVENTS_MAX", 3)
    client = make_runtime(registry).client
    client.start_orchestration(waits, instance_id="a")
    for n in range(3):
        client.raise_event("a", "not yet", n)
    with pytest.raises(duro.MailboxFullError, match="'a' holds"):
        client.raise_event("a", "not yet", 3)
    assert len(store.dump()["mailbox"]) == 3
    client.terminate("a")
