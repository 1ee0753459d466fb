"""Whether what the code asks for is what history recorded, and what to say when it is not.

Position and identity are compared (the kind of request, and the names in it), never inputs, options or times: a
deployment may change those without making recorded histories unreadable.
"""

from duro.errors import NondeterminismError
from duro.model import events
from duro.model.events import AnyEvent, Event

_COMPARED_FIELDS: dict[type[Event], tuple[str, ...]] = {
    events.ActivityScheduled: ("name",),
    events.EventWaitStarted: ("name",),
    events.SubOrchestrationScheduled: ("name", "instance_id"),
    events.OrchestrationScheduled: ("name", "instance_id"),
    events.ActivityCancelRequested: ("scheduled_event_id",),
    events.TimerCancelled: ("scheduled_event_id",),
    events.EventWaitCancelled: ("scheduled_event_id",),
    events.SubOrchestrationCancelRequested: ("scheduled_event_id",),
    events.HistoryPruneRequested: (),
}

_CAUSES = (
    "the code of this version changed while the execution was running, or it reads a clock, a random number, "
    "a global or anything else that differs between runs"
)
_HINT = "restore the code this execution began with, or register the new code under another version"


def same_request(recorded: AnyEvent, asked: Event) -> bool:
    """Whether ``asked`` is the request that ``recorded`` stands for."""
    if type(recorded) is not type(asked):
        return False
    fields = _COMPARED_FIELDS.get(type(asked), ())
    return all(getattr(recorded, field) == getattr(asked, field) for field in fields)


def mismatch(where: str, recorded: Event | None, asked: Event | str) -> NondeterminismError:
    """The error for a difference at one position. ``recorded`` None: history ends there. ``where`` names the
    execution."""
    said = f"history recorded {describe(recorded)}" if recorded else "history recorded nothing more for this point"
    wanted = asked if isinstance(asked, str) else f"asked for {describe(asked)}"
    position = f"event {recorded.event_id}" if recorded else "the end of its history"
    return NondeterminismError(f"{where}, {position}: {said}, the code {wanted}. Likely cause: {_CAUSES}", hint=_HINT)


def describe(event: Event) -> str:
    """``ActivityScheduled 'charge'``: the kind, and what tells it from others of its kind."""
    fields = _COMPARED_FIELDS.get(type(event), ())
    details = " ".join(repr(getattr(event, field)) for field in fields)
    return f"{type(event).__name__} {details}".rstrip()
