"""The engine and detached orchestrations: started once, waited for by nobody."""

from duro.errors import InvalidIdError
from duro.model.turns import StartInstance
from duro.replay.context import OrchestrationContext
from duro.testing.histories import Engine, activity_result, completed, drive, orchestration_scheduled


async def notify(ctx: OrchestrationContext) -> list[str]:
    first = ctx.schedule_orchestration("mail", {"to": "a"}, instance_id="mail-a", version="1.2.0")
    second = ctx.schedule_orchestration("mail")
    await ctx.schedule_activity("a")
    return [first, second]


def test_a_detached_start_is_recorded_and_carried_out() -> None:
    engine = Engine(notify)
    turn = engine.start()
    automatic = turn.starts[1].instance_id
    assert turn.starts == [
        StartInstance(
            event_id=2, instance_id="mail-a", name="mail", version="1.2.0", input='{"to":"a"}', detached=True
        ),
        StartInstance(event_id=3, instance_id=automatic, name="mail", version="", input="null", detached=True),
    ]
    assert engine.events[1:3] == [
        orchestration_scheduled(2, "mail", {"to": "a"}, instance_id="mail-a", version="1.2.0"),
        orchestration_scheduled(3, "mail", instance_id=automatic),
    ]


def test_the_id_of_a_detached_start_is_the_same_on_replay() -> None:
    engine = drive(notify)
    automatic = engine.last.starts[1].instance_id
    engine.forget()
    turn = engine.turn(activity_result(4))
    assert engine.events[-1] == completed(6, ["mail-a", automatic])
    assert turn is not None
    assert list(turn.starts) == []


def test_a_detached_start_in_the_last_turn_is_carried_out_however_the_execution_ends() -> None:
    """Every way a turn can end carries out what the turn asked for."""

    async def ends(ctx: OrchestrationContext, how: str) -> None:
        ctx.schedule_orchestration("mail", instance_id="m")
        if how == "fail":
            raise ValueError("broken")
        if how == "continue":
            await ctx.continue_as_new("complete")

    for how in ("complete", "fail", "continue"):
        turn = drive(ends, how).last
        assert turn.end is not None
        assert [start.instance_id for start in turn.starts] == ["m"], how


def test_a_detached_id_that_cannot_be_is_refused() -> None:
    async def wrong(ctx: OrchestrationContext) -> str:
        try:
            return ctx.schedule_orchestration("mail", instance_id="\0")
        except InvalidIdError:
            return "refused"

    assert drive(wrong).events[1:] == [completed(2, "refused")]
