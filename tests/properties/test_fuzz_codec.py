"""Stored events, messages, histories and payloads that are damaged, hostile or of another release: each is read, or
refused with the documented error. ``make fuzz`` runs many more."""

import dataclasses
import enum
import json
import tracemalloc
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duro import codec
from duro.codec import decode_event, decode_message, decode_payload, encode_event, encode_message, encode_payload
from duro.errors import (
    CodeError,
    HistoryFormatError,
    InvalidInputError,
    PayloadTooLargeError,
    UnknownOrchestrationError,
)
from duro.model.failure import FailureDetails
from duro.model.messages import ChildFailed
from duro.model.pruning import PruneResult
from duro.testing.histories import check_replay
from tests.histories import record
from tests.histories.orchestrations import registry
from tests.support.fuzzing import (
    DEEP,
    as_json,
    count,
    damaged,
    falsifies,
    fuzz,
    json_values,
    mutated_documents,
    outcome_of,
    texts,
)
from tests.unit.test_recorded_histories import GOOD, execution_id

RECORDED: Final = {name: (Path(record.__file__).parent / f"{name}.jsonl").read_text().splitlines() for name in GOOD}
EVENTS: Final = [line for lines in RECORDED.values() for line in lines]
MESSAGES: Final = [
    encode_message(ChildFailed(execution_id=1, scheduled_event_id=2, failure=FailureDetails(type="T", message="m"))),
    codec.history_pruned_message(1, 2, PruneResult(executions_deleted=1, error="e")),
    '{"type":"ActivitySucceeded","execution_id":1,"scheduled_event_id":2,"result":[1,{"a":null}]}',
    '{"type":"ChildSucceeded","execution_id":1,"scheduled_event_id":4,"result":null}',
]


def lines_like(valid: list[str]) -> st.SearchStrategy[str]:
    """Text as a store may hold it: anything, nearly one of ``valid``, and what is nested too deeply."""
    documents = st.sampled_from(valid).map(json.loads)
    bytes_of = st.sampled_from([line.encode() for line in valid])
    return st.one_of(
        st.sampled_from([*DEEP, *valid]),
        texts,
        st.binary(max_size=40).map(lambda data: data.decode("utf-8", "surrogateescape")),
        json_values.map(as_json),
        mutated_documents(documents).map(as_json),
        damaged(bytes_of).map(lambda data: data.decode("utf-8", "surrogateescape")),
    )


events = lines_like(EVENTS)
messages = lines_like(MESSAGES)


def is_an_event_or_refused(text: str) -> None:
    found, error = outcome_of(lambda: decode_event(text), HistoryFormatError, operations=1_000)
    count("refused" if error else "read")
    assert error is not None or decode_event(encode_event(found)) == found


def is_a_message_or_refused(text: str) -> None:
    found, error = outcome_of(lambda: decode_message(text), HistoryFormatError, operations=1_000)
    count("refused" if error else "read")
    assert error is not None or decode_message(encode_message(found)) == found


@fuzz()
@given(events)
def test_whatever_is_stored_as_an_event_is_one_or_is_refused(text: str) -> None:
    is_an_event_or_refused(text)


@fuzz()
@given(messages)
def test_whatever_is_stored_as_a_message_is_one_or_is_refused(text: str) -> None:
    is_a_message_or_refused(text)


class Broken:
    """A decoder with a fault."""

    def __init__(self, decoder: Any, raised: Exception) -> None:
        self._decoder = decoder
        self._raised = raised

    def decode(self, text: str) -> Any:
        try:
            return self._decoder.decode(text)
        except Exception:
            raise self._raised from None


@pytest.mark.parametrize("raised", [KeyError("type"), AttributeError("x"), UnboundLocalError("y")])
def test_a_decoder_that_lets_another_error_through_is_found(monkeypatch: pytest.MonkeyPatch, raised: Exception) -> None:
    monkeypatch.setattr(codec, "_event_decoder", Broken(codec._event_decoder, raised))
    monkeypatch.setattr(codec, "_message_decoder", Broken(codec._message_decoder, raised))
    falsifies(events, is_an_event_or_refused, type(raised))
    falsifies(messages, is_a_message_or_refused, type(raised))


def test_a_decoder_that_loses_a_part_of_what_it_reads_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    encode = codec.encode_event
    monkeypatch.setitem(globals(), "encode_event", lambda each: encode(each).replace('"at_ms":17', '"at_ms":18'))
    falsifies(events, is_an_event_or_refused, AssertionError)


@pytest.mark.parametrize("text", [*DEEP, "[" * 500_000, "[" + "1," * 500_000, '{"type":"' + "x" * 5_000_000 + '"}'])
def test_what_is_refused_takes_little_more_memory_than_its_own_size(text: str) -> None:
    for decode in (decode_event, decode_message):
        tracemalloc.start()
        try:
            with pytest.raises(HistoryFormatError) as caught:
                decode(text)
            assert tracemalloc.get_traced_memory()[1] < 4 * len(text) + 1_000_000
        finally:
            tracemalloc.stop()
        assert len(str(caught.value)) < 1_000


# --- histories -----------------------------------------------------------------------------------------------


@st.composite
def mutated_histories(draw: st.DrawFn) -> tuple[list[str], int]:
    """A recorded history with events missing, doubled, exchanged, of another history or changed inside."""
    name = draw(st.sampled_from(GOOD))
    lines = list(RECORDED[name])
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(lines) - 1)) if lines else 0
        match draw(st.sampled_from(["drop", "double", "swap", "foreign", "change", "change", "renumber", "cut"])):
            case "drop":
                del lines[at : at + 1]
            case "double":
                lines[at:at] = lines[at : at + 1]
            case "swap" if at:
                lines[at - 1], lines[at] = lines[at], lines[at - 1]
            case "foreign":
                lines.insert(at, draw(st.sampled_from(EVENTS)))
            case "change" if lines:
                lines[at] = draw(mutated_documents(st.just(json.loads(lines[at])), times=1).map(as_json))
            case "cut":
                lines = lines[:at]
        if draw(st.booleans()):
            lines = renumbered(lines)
    return lines, execution_id(name)


def renumbered(lines: list[str]) -> list[str]:
    """With event ids that rise by one, so that what is wrong is not only that."""
    found = []
    for number, line in enumerate(lines, 1):
        document = json.loads(line)
        found.append(as_json(document | {"event_id": number}) if isinstance(document, dict) else line)
    return found


def replays_or_is_refused(history: tuple[list[str], int]) -> None:
    lines, execution = history
    _, error = outcome_of(
        lambda: check_replay(lines, registry, execution_id=execution), CodeError, UnknownOrchestrationError
    )
    count(type(error).__name__)


@fuzz()
@given(mutated_histories())
def test_a_mutated_history_replays_or_is_refused_with_a_documented_error(history: tuple[list[str], int]) -> None:
    replays_or_is_refused(history)


def test_a_replay_that_trusts_its_history_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def trusting(text: str) -> Any:
        found = decode_event(text)
        return found if found.event_id >= 0 else [found][found.event_id - 1]

    monkeypatch.setattr("duro.testing.histories.decode_event", trusting)
    falsifies(mutated_histories(), replays_or_is_refused, IndexError)


# --- payloads ------------------------------------------------------------------------------------------------


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass(frozen=True)
class Order:
    """A class of a user, whose own checks may raise anything."""

    sku: str
    quantity: int = 1

    def __post_init__(self) -> None:
        {"A1": 1, "B2": 2}[self.sku]


ANNOTATIONS: Final[tuple[Any, ...]] = (
    *(Any, int, float, str, bool, bytes, None, list[int], dict[str, int], dict[int, float], tuple[int, str]),
    *(set[int], set[Any], set[list[int]], frozenset[tuple[int, ...]], dict[Any, int], dict[tuple[int, int], int]),
    *(datetime, date, timedelta, Decimal, UUID, Colour, Order, list[Order], int | None, list[Any] | dict[str, Any]),
)
SPECIAL: Final = (
    *('"2026-11-25T10:00:00Z"', '"0000-01-01"', '"9999-12-31T23:59:59.9999999-23:59"', '"P99999999D"', '"1e999999999"'),
    *(
        "1e300",
        "1e400",
        "-0",
        "9" * 400,
        "9" * 5000,
        "[[1]]",
        "[{}]",
        '{"[1]":1}',
        '{"sku":"C3"}',
        '"red"',
        '"\\ud800"',
    ),
)

payload_texts = st.one_of(
    st.sampled_from([*SPECIAL, *DEEP]),
    json_values.map(as_json),
    mutated_documents(st.just({"sku": "A1", "quantity": 2})).map(as_json),
    st.binary(max_size=20).map(lambda data: data.decode("utf-8", "surrogateescape")),
)


def fits_or_is_refused(case: tuple[str, Any]) -> None:
    text, annotation = case
    _, error = outcome_of(lambda: decode_payload(text, annotation, "input of 'x'"), InvalidInputError)
    assert error is None or error.message.startswith("input of 'x' does not fit ")


@fuzz()
@given(st.tuples(payload_texts, st.sampled_from(ANNOTATIONS)))
def test_a_payload_fits_its_annotation_or_is_refused(case: tuple[str, Any]) -> None:
    fits_or_is_refused(case)


def test_a_payload_decoder_that_lets_another_error_through_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = codec._decoder
    monkeypatch.setattr(codec, "_decoder", lambda annotation: Broken(decoder(annotation), MemoryError()))
    falsifies(st.tuples(payload_texts, st.sampled_from(ANNOTATIONS)), fits_or_is_refused, MemoryError)


@fuzz()
@given(payload_texts)
def test_json_from_outside_is_kept_as_it_is_or_refused(text: str) -> None:
    found, error = outcome_of(
        lambda: codec.payload_from_text(text, "input of 'x'"), InvalidInputError, PayloadTooLargeError
    )
    if error is None:
        assert json.loads(bytes(found)) == json.loads(text)
        assert codec.payload_from_text(bytes(found), "again") == found


values = st.recursive(
    st.one_of(
        *(st.none(), st.booleans(), st.integers(), st.floats(), texts, st.binary(max_size=4), st.decimals()),
        *(
            st.datetimes(),
            st.timedeltas(),
            st.complex_numbers(),
            st.just(10**4000),
            st.just(object()),
            st.just(Colour.RED),
        ),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(texts, st.integers(), st.tuples(st.integers())), inner, max_size=3),
        st.sets(st.integers(), max_size=3),
    ),
    max_leaves=6,
)


@fuzz()
@given(values)
def test_a_value_is_encoded_as_json_that_can_be_read_again_or_refused(value: Any) -> None:
    found, error = outcome_of(lambda: encode_payload(value, "result of 'x'"), InvalidInputError, PayloadTooLargeError)
    if error is None:
        decode_payload(found, Any, "result of 'x'")
        assert "\0" not in bytes(found).decode()
