"""Random orchestrations under random arrivals: replay gives the same turns as the live execution, and nothing hangs."""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any, Final

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from duro.codec import decode_event, decode_message, encode_event, encode_message, encode_payload
from duro.errors import HistoryFormatError, NondeterminismError
from duro.model import events as ev
from duro.model import messages as msg
from duro.model.failure import FailureDetails
from duro.model.options import RetryPolicy
from duro.model.retention import PruneOptions
from duro.model.status import ParentPolicy
from duro.testing.histories import replay
from tests.support.programs import NAMES, Block, Drive, blocks, randoms

EXAMPLES: Final = int(os.environ.get("DURO_PROPERTY_EXAMPLES", "300"))

settings.register_profile(
    "replay", deadline=None, max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
properties = settings.get_profile("replay")

# --- properties --------------------------------------------------------------------------------------------


@properties
@given(program=blocks(), random=randoms())
def test_every_turn_is_the_same_live_and_replayed_and_every_execution_comes_to_its_end(
    program: Block, random: Random
) -> None:
    """Replay of what is recorded, then the next turn, gives the whole commit of the live execution, traceback texts
    included; dropping the coroutine at any point changes nothing; the commit carries out what its events say."""
    Drive(program, random).run()


@properties
@given(program=blocks(), random=randoms())
def test_a_finished_history_replays_to_its_end(program: Block, random: Random) -> None:
    drive = Drive(program, random)
    drive.run()
    for engine in drive.finished:
        execution = engine.replayed()
        assert execution.ended
        execution.seal()


@properties
@given(program=blocks(), random=randoms(), data=st.data())
def test_a_damaged_history_raises_nondeterminism_or_format_errors_and_nothing_else(
    program: Block, random: Random, data: st.DataObject
) -> None:
    drive = Drive(program, random)
    drive.run()
    engine = data.draw(st.sampled_from(drive.finished))
    history = damaged(list(engine.history), data)
    identity = engine.identity
    with suppress(NondeterminismError, HistoryFormatError):
        replay(history, "interpreted", registry=engine.registry, execution_id=identity.execution_id).seal()


def damaged(history: list[str], data: st.DataObject) -> list[str]:
    """One to three changes; the numbers of the events made right again half of the time."""
    for _ in range(data.draw(st.integers(1, 3))):
        if not history:
            break
        place = data.draw(st.integers(0, len(history) - 1))
        other = data.draw(st.integers(0, len(history) - 1))
        match data.draw(st.sampled_from(["drop", "swap", "repeat", "cut", "alter", "alter", "alter"])):
            case "drop":
                del history[place]
            case "swap":
                history[place], history[other] = history[other], history[place]
            case "repeat":
                history.insert(place, history[other])
            case "cut":
                del history[place + 1 :]
            case _:
                history[place] = altered(history[place], data)
    if data.draw(st.booleans()):
        history = [renumbered(text, number) for number, text in enumerate(history, start=1)]
    return history


def renumbered(text: str, number: int) -> str:
    event = json.loads(text)
    if isinstance(event, dict):
        event["event_id"] = number
    return json.dumps(event)


def altered(text: str, data: st.DataObject) -> str:
    event = json.loads(text)
    field = data.draw(st.sampled_from(sorted(event)))
    if field == "type":
        event[field] = data.draw(st.sampled_from([*TAGS, "Unknown"]))
        event = {"scheduled_event_id": 2, "name": "a", "instance_id": "i", "data": 1, "result": 1, **event}
    elif isinstance(event[field], int) and not isinstance(event[field], bool):
        event[field] = data.draw(st.one_of(st.integers(0, len(text)), st.just(10**30), st.just("text")))
    else:
        event[field] = data.draw(st.one_of(st.sampled_from([*NAMES, "", "f" * 32]), json_values()))
    return json.dumps(event)


# --- the codec ---------------------------------------------------------------------------------------------

EVENTS: Final[tuple[type[ev.Event], ...]] = tuple(ev.AnyEvent.__args__)
MESSAGES: Final[tuple[type[msg.Message], ...]] = tuple(msg.AnyMessage.__args__)
TAGS: Final = tuple(kind.__struct_config__.tag for kind in EVENTS)

characters = st.characters(exclude_categories=["Cs"])
text = st.text(characters, max_size=20)


def json_values() -> st.SearchStrategy[Any]:
    scalars = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.integers(-(10**60), 10**60),
        st.floats(allow_nan=False, allow_infinity=False),
        text,
    )
    return st.recursive(
        scalars, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(text, inner, max_size=3))
    )


failures = st.recursive(
    st.builds(FailureDetails, type=text, message=text, traceback=st.none() | text, non_retryable=st.booleans()),
    lambda inner: st.builds(FailureDetails, type=text, message=text, cause=inner),
    max_leaves=4,
)
seconds = st.floats(0, 1e9)
retries = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 10**6),
    delay_s=seconds,
    backoff=st.sampled_from(["fixed", "linear", "exponential"]),
    factor=seconds,
    delay_max_s=seconds,
    non_retryable_errors=st.lists(text, max_size=2).map(tuple),
)
payloads = json_values().map(lambda value: encode_payload(value, "a value"))
numbers = st.integers(-(2**63), 2**63 - 1)
FIELDS: Final[dict[str, st.SearchStrategy[Any]]] = {
    "event_id": numbers,
    "at_ms": numbers,
    "fire_at_ms": numbers,
    "execution_id": numbers,
    "scheduled_event_id": numbers,
    "name": text,
    "instance_id": text,
    "reason": text,
    "seed": text,
    "version": text,
    "input": payloads,
    "result": payloads,
    "data": payloads,
    "failure": failures,
    "retry": st.none() | retries,
    "attempt_timeout_s": st.none() | seconds,
    "total_timeout_s": st.none() | seconds,
    "on_parent_continue": st.none() | st.sampled_from(ParentPolicy),
    "on_parent_end": st.none() | st.sampled_from(ParentPolicy),
    "options": st.builds(
        PruneOptions,
        keep_last=st.integers(1, 10**6),
        keep_within=st.none() | st.floats(0.001, 1e9),
        completed_before=st.none() | st.integers(0, 253_402_300_799_999),
    ),
    "executions_deleted": numbers,
    "events_deleted": numbers,
    "bytes_deleted": numbers,
    "remaining": numbers,
    "error": st.none() | text,
    "parent": st.none()
    | st.builds(ev.ParentLink, instance_id=text, incarnation=numbers, execution_id=numbers, event_id=numbers),
}


def values_of(kinds: tuple[type[msgspec.Struct], ...]) -> st.SearchStrategy[Any]:
    return st.one_of(*(st.builds(kind, **{name: FIELDS[name] for name in kind.__struct_fields__}) for kind in kinds))


@properties
@given(event=values_of(EVENTS))
def test_every_event_survives_the_codec(event: ev.Event) -> None:
    stored = encode_event(event)
    assert decode_event(stored) == event
    assert encode_event(decode_event(stored)) == stored


@properties
@given(message=values_of(MESSAGES))
def test_every_message_survives_the_codec(message: msg.Message) -> None:
    stored = encode_message(message)
    assert decode_message(stored) == message
    assert encode_message(decode_message(stored)) == stored


@pytest.mark.parametrize("decode", [decode_event, decode_message])
@properties
@given(
    garbage=st.text(characters)
    | json_values().map(json.dumps)
    | st.binary().map(lambda data: data.decode("utf-8", "surrogateescape"))
)
@example(garbage="[" * 100_000)
@example(garbage='{"type":"TimerFired"}')
@example(garbage="\ud800")
@example(garbage="1" * 5_000)
def test_garbage_is_a_format_error_and_nothing_else(decode: Callable[[str], Any], garbage: str) -> None:
    with pytest.raises(HistoryFormatError, match="cannot be read"):
        decode(garbage)


@properties
@given(event=values_of((*EVENTS, *MESSAGES)), data=st.data())
def test_an_altered_event_or_message_is_read_or_a_format_error(event: msgspec.Struct, data: st.DataObject) -> None:
    stored = altered(msgspec.json.encode(event).decode(), data)
    for decode in (decode_event, decode_message):
        with suppress(HistoryFormatError):
            decode(stored)


@properties
@given(tag=text, fields=st.dictionaries(text, json_values(), max_size=3))
def test_an_unknown_tag_is_a_format_error_that_names_it(tag: str, fields: dict[str, Any]) -> None:
    stored = json.dumps({**fields, "type": f"Unknown {tag}"})
    with pytest.raises(HistoryFormatError, match="Invalid value 'Unknown"):
        decode_event(stored)
