"""Random orchestrations and what arrives at them, driven turn by turn and compared with their replay at every turn.

A program is data (nested tuples), interpreted by one orchestration. ``Drive`` answers what it asks for in a random
order and grouping, with messages among them that mean nothing.
"""

import copy
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final, NamedTuple, TypeAlias

from hypothesis import strategies as st

from duro.codec import decode_event
from duro.errors import OrchestrationCancelled
from duro.model import events as ev
from duro.model.status import ExecutionStatus
from duro.model.turns import TurnCommit
from duro.replay.context import OrchestrationContext
from duro.replay.engine import Arrivals
from duro.replay.futures import DurableFuture
from duro.testing.histories import (
    Arrival,
    Engine,
    activity_error,
    activity_result,
    cancel_asked,
    child_error,
    child_result,
    event_raised,
    failure,
    pruned,
    timer_due,
)

EXECUTIONS_MAX: Final = 3
TURNS_MAX: Final = 200

Step: TypeAlias = tuple[Any, ...]
Block: TypeAlias = list[Step]

# --- programs ----------------------------------------------------------------------------------------------

NAMES: Final = ("a", "b", "c")


def leaves() -> st.SearchStrategy[Step]:
    """What gives a future."""
    return st.one_of(
        st.tuples(st.just("activity"), st.sampled_from(NAMES)),
        st.tuples(st.just("timer"), st.integers(0, 3)),
        st.tuples(st.just("wait"), st.sampled_from(NAMES)),
        st.tuples(st.just("child"), st.sampled_from(NAMES)),
        st.tuples(st.just("prune"), st.integers(1, 3)),
    )


def simple_steps() -> st.SearchStrategy[Step]:
    return st.one_of(
        leaves(),
        leaves(),
        st.tuples(st.just("share"), leaves()),
        st.tuples(st.just("share join"), st.lists(leaves(), max_size=2)),
        st.tuples(st.just("take"), st.integers(0, 3)),
        st.tuples(
            st.sampled_from(
                ["detached", "status", "trace", "draw", "look", "raise", "cancelled", "sleep", "continue", "unused"]
            )
        ),
    )


def blocks() -> st.SearchStrategy[Block]:
    return st.recursive(st.lists(simple_steps(), max_size=4), _around, max_leaves=14)


def _around(inner: st.SearchStrategy[Block]) -> st.SearchStrategy[Block]:
    members = st.lists(
        st.one_of(
            st.tuples(st.just("future"), leaves()),
            st.tuples(st.just("shared"), st.integers(0, 3)),
            st.tuples(st.just("block"), inner),
        ),
        min_size=1,
        max_size=3,
    )
    compound = st.one_of(
        st.tuples(st.just("nested"), inner),
        st.tuples(st.just("join"), members, st.booleans()),
        st.tuples(st.just("join"), members, st.booleans()),
        st.tuples(st.just("select"), members),
        st.tuples(st.just("select"), members),
        st.tuples(st.just("guard"), inner, inner),
        st.tuples(st.just("guard"), inner, inner),
        st.tuples(st.just("catch"), inner, inner),
        st.tuples(st.just("absorb"), inner, inner),
    )
    return st.lists(st.one_of(simple_steps(), compound, compound), max_size=4)


class Interpreter:
    """Runs a program; ``log`` is what it saw, and its result."""

    def __init__(self, ctx: OrchestrationContext, executions_left: int) -> None:
        self.ctx = ctx
        self.executions_left = executions_left
        self.log: list[Any] = []
        self.shared: list[DurableFuture[Any]] = []

    async def block(self, steps: Block) -> int:
        for step in steps:
            await self.step(step)
        return len(steps)

    async def step(self, step: Step) -> None:
        ctx, log = self.ctx, self.log
        match step:
            case ("share", leaf):
                self.shared.append(self.ask(leaf))
            case ("share join", leaves_of_it):
                self.shared.append(ctx.join(*(self.ask(leaf) for leaf in leaves_of_it)))
            case ("take", index):
                if self.shared:
                    log.append(await self.shared[index % len(self.shared)])
            case ("nested", steps):
                log.append(await self.block(steps))
            case ("join", members, return_exceptions):
                joined = await ctx.join(*self.members(members), return_exceptions=return_exceptions)
                log.append([str(each) for each in joined])
            case ("select", members):
                log.append(await ctx.select(*self.members(members)))
            case ("guard", body, cleanup):
                try:
                    await self.block(body)
                finally:
                    log.append("cleanup")
                    await self.block(cleanup)
            case ("catch", body, handler):
                try:
                    await self.block(body)
                except Exception as error:
                    log.append(str(error))
                    await self.block(handler)
            case ("absorb", body, handler):
                try:
                    await self.block(body)
                except OrchestrationCancelled as error:
                    log.append(error.reason)
                    await self.block(handler)
            case (other,):
                await self.act(other)
            case leaf:
                log.append(await self.ask(leaf))

    async def act(self, what: str) -> None:
        ctx, log = self.ctx, self.log
        match what:
            case "detached":
                log.append(ctx.schedule_orchestration("detached", len(log)))
            case "status":
                ctx.set_custom_status(len(log))
            case "trace":
                ctx.trace_info(f"{len(log)}")
            case "draw":
                log.append([ctx.random(), str(ctx.new_guid())])
                await ctx.schedule_activity(f"drawn {int(ctx.random() * 1_000)}")
            case "look":
                log.append([ctx.utc_now().isoformat(), ctx.history_event_count, ctx.history_bytes])
            case "raise":
                raise ValueError(f"after {len(log)}")
            case "cancelled":
                raise OrchestrationCancelled("of its own accord")
            case "sleep":
                import asyncio

                await asyncio.sleep(1)
            case "continue":
                if self.executions_left > 0:
                    await ctx.continue_as_new(self.executions_left - 1, prune=self.executions_left)
            case _:
                ctx.join(self.block([("activity", "never awaited")]))

    def ask(self, leaf: Step) -> DurableFuture[Any]:
        ctx = self.ctx
        match leaf:
            case ("activity", name):
                return ctx.schedule_activity(name, len(self.log))
            case ("timer", seconds):
                return ctx.schedule_timer(seconds)
            case ("wait", name):
                return ctx.wait_for_event(name)
            case ("prune", keep_last):
                return ctx.prune_history(keep_last)
            case (_, name):
                return ctx.schedule_sub_orchestration(name, len(self.log))
        raise AssertionError(leaf)

    def members(self, members: list[Step]) -> list[Any]:
        """The futures are asked for before a coroutine is made: a context that refuses in between would leave it
        behind unawaited, which is Python's affair and gives a warning."""
        futures = [None if member[0] == "block" else self.member(member) for member in members]
        return [future or self.member(member) for future, member in zip(futures, members, strict=True)]

    def member(self, member: Step) -> Any:
        match member:
            case ("future", leaf):
                return self.ask(leaf)
            case ("shared", index):
                if not self.shared:
                    self.shared.append(self.ctx.schedule_timer(1))
                return self.shared[index % len(self.shared)]
            case (_, steps):
                return self.block(steps)
        raise AssertionError(member)


def orchestration(program: Block) -> Callable[..., Any]:
    async def interpreted(ctx: OrchestrationContext, executions_left: int = 0) -> list[Any]:
        interpreter = Interpreter(ctx, executions_left)
        await interpreter.block(program)
        return interpreter.log

    return interpreted


# --- arrivals ----------------------------------------------------------------------------------------------

_OPENING: Final = (
    ev.ActivityScheduled,
    ev.TimerCreated,
    ev.EventWaitStarted,
    ev.SubOrchestrationScheduled,
    ev.HistoryPruneRequested,
)
_CLOSING: Final = (
    ev.ActivityCancelRequested,
    ev.TimerCancelled,
    ev.EventWaitCancelled,
    ev.SubOrchestrationCancelRequested,
    ev.ActivityCompleted,
    ev.ActivityFailed,
    ev.TimerFired,
    ev.EventReceived,
    ev.SubOrchestrationCompleted,
    ev.SubOrchestrationFailed,
    ev.HistoryPruned,
)


def open_requests(events: list[ev.AnyEvent]) -> dict[int, ev.AnyEvent]:
    """What was asked for and neither answered nor cancelled, as an outsider reads it from the history."""
    found: dict[int, ev.AnyEvent] = {}
    for event in events:
        if isinstance(event, _OPENING):
            found[event.event_id] = event
        elif isinstance(event, _CLOSING):
            del found[event.scheduled_event_id]
    return found


def answer(request: ev.AnyEvent, random: Random, execution_id: int) -> Arrival:
    fails = random.random() < 0.25
    match request:
        case ev.ActivityScheduled(event_id=event_id):
            if fails:
                return activity_error(event_id, failure(f"broken {event_id}"), execution_id=execution_id)
            return activity_result(event_id, event_id, execution_id=execution_id)
        case ev.SubOrchestrationScheduled(event_id=event_id):
            if fails:
                return child_error(event_id, failure(f"broken {event_id}"), execution_id=execution_id)
            return child_result(event_id, "\u20ac", execution_id=execution_id)
        case ev.TimerCreated(event_id=event_id):
            return timer_due(event_id)
        case ev.EventWaitStarted(name=name):
            return event_raised(name, [name])
        case ev.HistoryPruneRequested(event_id=event_id) if fails:
            return pruned(event_id, error=f"broken {event_id}", execution_id=execution_id)
        case ev.HistoryPruneRequested(event_id=event_id):
            return pruned(event_id, executions_deleted=event_id, execution_id=execution_id)
    raise AssertionError(request)


def noise(random: Random, execution_id: int) -> Arrival:
    """What means nothing, at least most of the time."""
    event_id = random.randrange(1, 12)
    choices: list[Arrival] = [
        activity_result(event_id, execution_id=execution_id - 1),
        activity_result(event_id, execution_id=execution_id),
        child_error(event_id, execution_id=execution_id),
        pruned(event_id, execution_id=execution_id),
        pruned(event_id, execution_id=execution_id - 1),
        timer_due(event_id),
        event_raised(random.choice(NAMES), event_id),
        event_raised("nobody waits for this"),
    ]
    return random.choice(choices)


class Taken(NamedTuple):
    """A turn that was taken: all that went in and came out. The first turn of an execution is one too."""

    arrivals: Arrivals
    now_ms: int
    commit: TurnCommit | None
    traces: Sequence[tuple[str, str]]


class Drive:
    """Drives a program turn by turn through all its executions, comparing every turn with its replay."""

    def __init__(self, program: Block, random: Random) -> None:
        self.random = random
        self.parent = ev.ParentLink(instance_id="p", incarnation=1, execution_id=1, event_id=2)
        self.engine = Engine(orchestration(program), EXECUTIONS_MAX - 1, parent=self.parent, seed=self.seed())
        self.finished: list[Engine] = []
        self.cancel_reason: str | None = None
        self.taken: list[list[Taken]] = []
        """The turns of each execution."""

    def seed(self) -> str:
        return f"{self.random.getrandbits(128):032x}"

    def run(self) -> None:
        self.first_turn()
        for _ in range(TURNS_MAX):
            if self.engine.ended:
                self.finished.append(self.engine)
                end = self.engine.last.end
                assert end is not None
                if end.status is not ExecutionStatus.CONTINUED_AS_NEW:
                    return
                self.engine = self.engine.next_execution(seed=self.seed())
                self.first_turn()
            else:
                self.turn(self.arrivals())
        raise AssertionError(f"it did not end although everything was answered: {self.engine.kinds}")

    def arrivals(self) -> list[Arrival]:
        """Some of what is asked for, at least one, in any order, and noise."""
        random, execution_id = self.random, self.engine.identity.execution_id
        asked = list(open_requests(self.engine.events).values())
        random.shuffle(asked)
        asked = asked[: random.randrange(1, len(asked) + 1)] if asked else []
        arrivals = [answer(request, random, execution_id) for request in asked]
        while random.random() < 0.2:
            arrivals.insert(random.randrange(len(arrivals) + 1), noise(random, execution_id))
        return self.with_cancel(arrivals)

    def with_cancel(self, arrivals: list[Arrival]) -> list[Arrival]:
        if self.cancel_reason is None and self.random.random() < 0.1:
            self.cancel_reason = "enough"
        return [*arrivals, cancel_asked(self.cancel_reason)] if self.cancel_reason else arrivals

    def first_turn(self) -> None:
        engine, arrived = self.engine, self.with_cancel([])
        arrivals = engine.arrivals(*arrived)
        engine.start(*arrived)
        self.taken.append([Taken(arrivals, engine.now_ms, engine.last, engine.execution.traces)])
        self.check(engine.last)

    def turn(self, arrived: list[Arrival]) -> None:
        engine = self.engine
        engine.now_ms += self.random.randrange(3) * 500
        if self.random.random() < 0.3:
            engine.forget()
        arrivals = engine.arrivals(*arrived)
        other = engine.replayed()
        try:
            replayed = other.turn(arrivals, engine.now_ms)
            live = engine.take(arrivals)
            assert live == replayed
            assert other.traces == engine.execution.traces
            assert (other.event_count, other.history_bytes) == (
                engine.execution.event_count,
                engine.execution.history_bytes,
            )
        finally:
            other.seal()
        assert live == replayed, "sealing changed the turn"
        self.taken[-1].append(Taken(arrivals, engine.now_ms, live, engine.execution.traces))
        if live is not None:
            self.check(live)

    def check(self, turn: TurnCommit) -> None:
        """The commit carries out exactly what its events say, and sealing changes nothing of it."""
        check_commit(self.engine, turn)
        before, history = copy.deepcopy(turn), list(self.engine.history)
        if not self.engine.ended and self.random.random() < 0.3:
            self.engine.forget()
        assert (turn, self.engine.history) == (before, history)


def ids(events: list[ev.AnyEvent], *kinds: type[ev.Event]) -> list[int]:
    return [event.event_id for event in events if isinstance(event, kinds)]


def scheduled_ids(events: list[ev.AnyEvent], *kinds: type[ev.Event]) -> list[int]:
    return [event.scheduled_event_id for event in events if isinstance(event, kinds)]  # type: ignore[union-attr]


def check_commit(engine: Engine, turn: TurnCommit) -> None:
    events = [decode_event(text) for text in turn.events]
    numbers = [event.event_id for event in events]
    assert numbers == list(range(turn.first_event_id, turn.first_event_id + len(events)))
    assert turn.history_bytes == sum(len(text.encode()) for text in turn.events)
    no_activities = scheduled_ids(events, ev.ActivityCancelRequested)
    no_timers = scheduled_ids(events, ev.TimerCancelled)
    activities, timers = ids(events, ev.ActivityScheduled), ids(events, ev.TimerCreated)
    assert [each.event_id for each in turn.activities] == [each for each in activities if each not in no_activities]
    assert [each.event_id for each in turn.timers] == [each for each in timers if each not in no_timers]
    assert list(turn.cancelled_activities) == [each for each in no_activities if each not in activities]
    assert list(turn.cancelled_timers) == [each for each in no_timers if each not in timers]
    assert [each.event_id for each in turn.starts] == ids(
        events, ev.SubOrchestrationScheduled, ev.OrchestrationScheduled
    )
    assert [each.event_id for each in turn.cancelled_children] == scheduled_ids(
        events, ev.SubOrchestrationCancelRequested
    )
    assert [each.event_id for each in turn.prune_requests] == ids(events, ev.HistoryPruneRequested)
    assert list(turn.observed_children) == scheduled_ids(
        events, ev.SubOrchestrationCompleted, ev.SubOrchestrationFailed
    )
    assert list(turn.consumed_timers) == scheduled_ids(events, ev.TimerFired)
    assert len(turn.consumed_mailbox) == len(ids(events, ev.EventReceived))
    waits = [each.name for each in open_requests(engine.events).values() if isinstance(each, ev.EventWaitStarted)]
    assert sorted(turn.waits) == sorted(waits)
    assert engine.kinds.count("OrchestrationCancelRequested") <= 1
    assert turn.cancel_delivered == bool(ids(events, ev.OrchestrationCancelRequested))
    ends = [event for event in engine.events if isinstance(event, ev.LastEvent)]
    assert ends == ([engine.events[-1]] if turn.end is not None else [])
    if turn.end is not None:
        continued = turn.end.status is ExecutionStatus.CONTINUED_AS_NEW
        assert (turn.end.parent_message is None) == continued
        assert (turn.end.next_input is None) != continued
        assert (turn.end.prune is None) != continued
        assert not (continued and "OrchestrationCancelRequested" in engine.kinds)


def randoms() -> st.SearchStrategy[Random]:
    return st.integers(0, 2**32).map(Random)
