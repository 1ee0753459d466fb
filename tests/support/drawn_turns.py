"""Turns that Hypothesis draws, as an engine would commit them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from hypothesis import strategies as st

from duro import codec
from duro.model import events as ev
from duro.model import messages as msg
from duro.model.policies import PolicyChain
from duro.model.retention import PruneOptions
from duro.model.status import ParentPolicy
from duro.model.turns import LeasedInstance, TurnCommit
from duro.testing import builders

Draw: TypeAlias = Callable[[st.SearchStrategy[Any]], Any]

INSTANCE_IDS: Final = [f"i{number}" for number in range(12)]
NAMES: Final = ["Order", "Child"]
VERSIONS: Final = ["1.0.0", "2.0.0"]
ACTIVITIES: Final = ["charge", "ship"]
EVENT_NAMES: Final = ["x", "y"]

instance_ids = st.sampled_from(INSTANCE_IDS)
names = st.sampled_from(NAMES)
versions = st.sampled_from(VERSIONS)
event_names = st.sampled_from(EVENT_NAMES)
json_texts = st.sampled_from(["null", "1", '"é"', '{"a":[1,2]}'])
parent_policies = st.none() | st.sampled_from(list(ParentPolicy))
often = st.sampled_from([True, True, False])

prune_options = st.one_of(
    st.builds(PruneOptions, keep_last=st.integers(1, 3)),
    st.builds(PruneOptions, keep_within=st.sampled_from([0.01, 0.2])),
    st.builds(PruneOptions, keep_last_per_version=st.just(1), keep_versions=st.none() | st.integers(1, 2)),
    st.builds(PruneOptions, keep_last=st.integers(1, 2), keep_last_per_version=st.integers(1, 2)),
)


@dataclass(frozen=True)
class Habits:
    """What turns like to do. Each strategy draws one word of those that ``TurnMaker`` knows."""

    asks: st.SearchStrategy[str]
    endings: st.SearchStrategy[str]
    policies: st.SearchStrategy[PolicyChain | None]


@dataclass
class _Open:
    """What an execution still waits for, by the event that asked."""

    activities: set[int] = field(default_factory=set)
    timers: set[int] = field(default_factory=set)
    waits: dict[int, str] = field(default_factory=dict)
    children: set[int] = field(default_factory=set)
    prunes: set[int] = field(default_factory=set)
    cancel_delivered: bool = False

    def take(self, event: ev.AnyEvent, event_id: int) -> None:
        match event:
            case ev.ActivityScheduled():
                self.activities.add(event_id)
            case ev.TimerCreated():
                self.timers.add(event_id)
            case ev.EventWaitStarted(name=name):
                self.waits[event_id] = name
            case ev.SubOrchestrationScheduled():
                self.children.add(event_id)
            case ev.HistoryPruneRequested():
                self.prunes.add(event_id)
            case ev.OrchestrationCancelRequested():
                self.cancel_delivered = True
            case ev.ActivityCompleted() | ev.ActivityFailed() | ev.ActivityCancelRequested():
                self.activities.discard(event.scheduled_event_id)
            case ev.TimerFired() | ev.TimerCancelled():
                self.timers.discard(event.scheduled_event_id)
            case ev.EventReceived() | ev.EventWaitCancelled():
                self.waits.pop(event.scheduled_event_id, None)
            case ev.SubOrchestrationCompleted() | ev.SubOrchestrationFailed():
                self.children.discard(event.scheduled_event_id)
            case ev.HistoryPruned():
                self.prunes.discard(event.scheduled_event_id)
            case _:
                pass


class TurnMaker:
    """Draws one turn that fits a lease and the history behind it."""

    def __init__(self, draw: Draw, habits: Habits, leased: LeasedInstance, history: Sequence[str], now: int) -> None:
        self._draw = draw
        self._habits = habits
        self._leased = leased
        self._now = now
        self._open = _Open()
        for event_id, data in enumerate(history, start=1):
            self._open.take(codec.decode_event(data), event_id)
        self._events: list[ev.AnyEvent] = []
        self._fields: dict[str, Any] = {"consumed_messages": [], "consumed_mailbox": [], "ignored_messages": 0}
        self._next_event_id = leased.event_count + 1 + (leased.event_count == 0)

    def make(self, claimed: Sequence[int]) -> TurnCommit:
        """``claimed``: open activities this worker holds and may finish in the turn itself."""
        self._receive()
        for event_id in claimed:
            if event_id in self._open.activities and self._draw(st.booleans()):
                self._record(builders.activity_completed(event_id, self._draw(json_texts)))
                self._fields.setdefault("finished_activities", []).append(event_id)
        for _ in range(self._draw(st.integers(0, 4))):
            self._ask()
        self._finish()
        at_ms = self._now - self._draw(st.sampled_from([0, 0, 3]))
        policies = self._draw(self._habits.policies) if self._continues else None
        turn = builders.turn(
            self._leased,
            *self._events,
            at_ms=at_ms,
            version=self._leased.version or self._draw(versions),
            waits=list(self._open.waits.values()),
            keep_lease=self._draw(st.booleans()),
            custom_status=self._draw(st.sampled_from([None, None, "", '"busy"'])),
            policies=policies,
            **self._fields,
        )
        for activity in turn.activities:
            activity.claimed = self._draw(st.booleans())
        return turn

    @property
    def _continues(self) -> bool:
        return bool(self._events) and isinstance(self._events[-1], ev.OrchestrationContinuedAsNew)

    def _record(self, event: ev.AnyEvent) -> None:
        self._open.take(event, self._next_event_id)
        self._events.append(event)
        self._next_event_id += 1

    # --- what arrived

    def _receive(self) -> None:
        if self._leased.event_count == 0 and self._draw(st.booleans()):
            return  # an engine may leave arrivals for the next turn
        if self._leased.cancel_reason is not None and not self._open.cancel_delivered and self._draw(often):
            self._record(builders.cancel_requested(self._leased.cancel_reason))
        for queued in self._leased.messages:
            if self._draw(often):
                self._fields["consumed_messages"].append(queued.message_id)
                self._receive_message(codec.decode_message(queued.data))
        for timer in self._leased.timers:
            if timer.event_id in self._open.timers and self._draw(often):
                self._record(builders.timer_fired(timer.event_id))
        for event in self._leased.mailbox:
            waiting = [event_id for event_id, name in self._open.waits.items() if name == event.name]
            if waiting and self._draw(often):
                self._fields["consumed_mailbox"].append(event.sequence)
                self._record(builders.event_received(waiting[0], event.name, event.data))

    def _receive_message(self, message: msg.AnyMessage) -> None:
        event_id = message.scheduled_event_id
        waiting = self._open.activities | self._open.children | self._open.prunes
        if message.execution_id != self._leased.execution_id or event_id not in waiting:
            self._fields["ignored_messages"] += 1
            return
        match message:
            case msg.ActivitySucceeded(result=result):
                self._record(builders.activity_completed(event_id, bytes(result).decode()))
            case msg.ActivityFailed(failure=failure):
                self._record(builders.activity_failed(event_id, failure))
            case msg.ChildSucceeded(result=result):
                self._record(builders.child_completed(event_id, bytes(result).decode()))
            case msg.ChildFailed(failure=failure):
                self._record(builders.child_failed(event_id, failure))
            case msg.HistoryPruned(executions_deleted=executions_deleted):
                self._record(builders.history_pruned(event_id, executions_deleted))

    # --- what the code asks for

    def _ask(self) -> None:
        draw = self._draw
        match draw(self._habits.asks):
            case "activity":
                self._record(builders.activity_scheduled(draw(st.sampled_from(ACTIVITIES)), draw(json_texts)))
            case "timer":
                self._record(builders.timer_created(self._now + draw(st.sampled_from([-5, 0, 10, 200]))))
            case "wait":
                self._record(builders.wait_started(draw(event_names)))
            case "child":
                self._record(
                    builders.child_scheduled(
                        draw(instance_ids),
                        draw(names),
                        draw(json_texts),
                        version=draw(st.none() | versions),
                        on_parent_continue=draw(parent_policies),
                        on_parent_end=draw(parent_policies),
                    )
                )
            case "detached":
                self._record(builders.detached_scheduled(draw(instance_ids), draw(names), version=draw(versions)))
            case "prune":
                self._record(builders.prune_requested(draw(prune_options)))
            case "cancel":
                self._withdraw()

    def _withdraw(self) -> None:
        of = self._open
        candidates: list[tuple[int, ev.AnyEvent]] = [
            *((event_id, builders.activity_cancel_requested(event_id)) for event_id in sorted(of.activities)),
            *((event_id, builders.timer_cancelled(event_id)) for event_id in sorted(of.timers)),
            *((event_id, builders.wait_cancelled(event_id)) for event_id in sorted(of.waits)),
            *((event_id, builders.child_cancel_requested(event_id)) for event_id in sorted(of.children)),
        ]
        # An activity or timer of this very turn is not withdrawn: an engine drops both requests instead.
        earlier = [event for event_id, event in candidates if event_id <= self._leased.event_count]
        if earlier:
            self._record(self._draw(st.sampled_from(earlier)))

    def _finish(self) -> None:
        draw = self._draw
        match draw(self._habits.endings):
            case "complete":
                self._record(builders.completed(draw(json_texts)))
            case "fail":
                self._record(builders.failed())
            case "cancel":
                self._record(builders.cancelled(self._leased.cancel_reason or "by itself"))
            case "continue":
                self._record(builders.continued_as_new(draw(json_texts), draw(versions)))
