"""Ids, names and versions of a class derived from ``str``, as enums and libraries have them: each is the text it is."""

from enum import Enum
from typing import Any

import duro
from tests.integration.conftest import MakeRuntime

WAIT_S = 20.0


class Text(str):
    """As numpy.str_ or markupsafe.Markup."""

    def __str__(self) -> str:
        return "something to look at"


class Name(str, Enum):  # noqa: UP042 - whose str() is not its text, unlike that of a StrEnum
    ECHO = "echo"


registry = duro.Registry()


@registry.activity
async def echo(ctx: duro.ActivityContext, value: Any) -> Any:
    return value


@registry.orchestration
async def child(ctx: duro.OrchestrationContext) -> str:
    return ctx.instance_id


@registry.orchestration
async def asks(ctx: duro.OrchestrationContext, again: bool) -> list[Any]:
    if again:
        await ctx.continue_as_new(False, version=Text("1.0.0"))
    return [
        await ctx.schedule_activity(Text("echo"), 1),
        await ctx.schedule_activity(Name.ECHO, 2),
        await ctx.wait_for_event(Text("go")),
        await ctx.schedule_sub_orchestration(Text("child"), instance_id=Text("mine"), version=Text("1.0.0")),
        ctx.schedule_orchestration(Text("child"), instance_id=Text("apart")),
    ]


def test_text_of_a_derived_class_is_as_good_as_any(make_runtime: MakeRuntime) -> None:
    client = make_runtime(registry).client
    started = client.start_orchestration(
        Text("asks"), True, instance_id=Text("a"), version=Text("1.0.0"), request_id=Text("r")
    )
    assert type(started) is str
    for _ in range(2):
        client.raise_event(Text("a"), Text("go"), "gone", request_id=Text("e"))
    result = client.wait_for_orchestration(Text("a"), WAIT_S)
    assert result.output == [1, 2, "gone", "mine", "apart"]
    assert client.wait_for_orchestration("apart", WAIT_S).output == "apart"
    assert client.get_instance(Text("a")).attempt_count == 0


def test_a_reason_of_a_derived_class_is_told_as_it_is(make_runtime: MakeRuntime) -> None:
    client = make_runtime(registry).client
    for instance_id, end in (("cancelled", client.cancel), ("terminated", client.terminate)):
        client.start_orchestration(asks, False, instance_id=instance_id)
        end(Text(instance_id), Text("enough"), request_id=Text("r"))
        failure = client.wait_for_orchestration(Text(instance_id), WAIT_S).failure
        assert failure is not None
        assert failure.message == "enough"
