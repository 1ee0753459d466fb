"""What becomes JSON and what is refused, once, at the door."""

import dataclasses
import numbers
import uuid
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict

import msgspec
import pytest

from duro.codec import (
    check_annotation,
    decode_event,
    decode_message,
    decode_payload,
    encode_payload,
    payload_from_text,
)
from duro.errors import HistoryFormatError, InvalidInputError, PayloadTooLargeError
from duro.model.limits import PAYLOAD_BYTES_MAX


class Size(Enum):
    SMALL = "small"


class Text(str):
    pass


class Movie(TypedDict, total=False):
    title: str


class Pair(NamedTuple):
    first: int
    second: "int | None" = None


@dataclasses.dataclass
class Point:
    x: int
    y: int


@pytest.mark.parametrize(
    "value",
    [
        object(),
        {1, 2} and {object()},
        "\ud800",
        {"a": "\udfff"},
        msgspec.Raw(b"nope"),
        {"a": msgspec.Raw(b'{"b":')},
    ],
    ids=["object", "set of objects", "surrogate", "surrogate inside", "raw", "raw inside"],
)
def test_what_is_not_json_is_refused_and_named(value: Any) -> None:
    with pytest.raises(InvalidInputError, match="the thing is not JSON"):
        encode_payload(value, "the thing")


@pytest.mark.parametrize("number", [1 << 53, (1 << 64) - 1, 1 << 70, -(1 << 200)])
def test_large_whole_numbers_arrive_as_they_were(number: int) -> None:
    assert decode_payload(encode_payload(number, "number"), int, "number") == number


def test_a_value_that_contains_itself_is_refused() -> None:
    ring: list[Any] = []
    ring.append(ring)
    with pytest.raises(InvalidInputError, match="the thing is not JSON"):
        encode_payload(ring, "the thing")


def test_the_largest_payload_is_taken_and_one_byte_more_is_not() -> None:
    assert len(bytes(encode_payload("x" * (PAYLOAD_BYTES_MAX - 2), "text"))) == PAYLOAD_BYTES_MAX
    with pytest.raises(PayloadTooLargeError, match=f"text is {PAYLOAD_BYTES_MAX + 1} bytes"):
        encode_payload("x" * (PAYLOAD_BYTES_MAX - 1), "text")
    with pytest.raises(PayloadTooLargeError):
        payload_from_text(f'"{"x" * PAYLOAD_BYTES_MAX}"', "text")


def test_text_from_outside_keeps_its_tokens_and_loses_its_white_space() -> None:
    text = ' {"a" :\n [1.50, 10E2,\t"b c" ] } \n'
    assert bytes(payload_from_text(text, "text")) == b'{"a":[1.50,10E2,"b c"]}'


@pytest.mark.parametrize("text", ["", "{", "Ada", "[1,]", "'a'", '"\ud800"', "[" * 100_000, b"\xff", "\ufeff1"])
def test_text_from_outside_that_is_not_json_is_refused(text: str | bytes) -> None:
    with pytest.raises(InvalidInputError, match="text is not JSON"):
        payload_from_text(text, "text")


def test_a_payload_that_does_not_fit_says_where_and_what_was_expected() -> None:
    with pytest.raises(InvalidInputError, match=r"input does not fit Point: Expected `int`, got `str` - at `\$\.y`"):
        decode_payload(encode_payload({"x": 1, "y": "2"}, "input"), Point, "input")
    assert decode_payload(b'{"x":1,"y":2}', Point, "input") == Point(1, 2)


class Unprintable(Exception):
    def __str__(self) -> str:
        raise AttributeError("lost")


@dataclasses.dataclass
class Fussy:
    """Its own check raises what the decoder does not expect."""

    number: int

    def __post_init__(self) -> None:
        raise (LookupError("no such number"), Unprintable())[self.number]


@pytest.mark.parametrize(
    ("text", "annotation", "said"),
    [
        (b'{"number":0}', Fussy, "does not fit Fussy: LookupError: no such number"),
        (b'{"number":1}', Fussy, r"does not fit Fussy: Unprintable: \(its message cannot be read\)"),
        (b"[[1]]", set[Any], "TypeError: unhashable type: 'list'"),
        (b"[[[1]]]", set[tuple[list[int], ...]], "TypeError: unhashable type: 'list'"),
    ],
)
def test_a_payload_whose_type_raises_an_error_of_its_own_does_not_fit(text: bytes, annotation: Any, said: str) -> None:
    with pytest.raises(InvalidInputError, match=f"input .*{said}"):
        decode_payload(text, annotation, "input")


def test_what_cannot_be_read_is_not_repeated_at_length() -> None:
    for decode in (decode_event, decode_message):
        with pytest.raises(HistoryFormatError, match=r"Invalid value 'xxx.*x\.\.\.x.* - at `\$\.type`") as caught:
            decode('{"type":"' + "x" * 1_000_000 + '"}')
        assert len(str(caught.value)) < 1_000


class Opaque:
    def __init__(self, x: int) -> None:
        self.x = x


class Tree(msgspec.Struct):
    children: list["Tree"]
    label: str | None = None


@dataclasses.dataclass
class Holder:
    inside: dict[str, list[Opaque]]


@pytest.mark.parametrize(
    ("annotation", "because"),
    [
        (Opaque, ""),
        (list[Opaque], " because of Opaque"),
        (Holder, " because of Opaque"),
        (Opaque | None, " because of Opaque"),
        (Path, ""),
        (complex, ""),
        (Text, ""),
        (dict[str, Path], " because of Path"),
    ],
)
def test_a_class_that_json_cannot_make_is_refused_before_the_first_value(annotation: Any, because: str) -> None:
    with pytest.raises(InvalidInputError, match=f"the input is annotated .*, which JSON cannot carry{because}$"):
        check_annotation(annotation, "the input")


CARRIED = (
    *(
        Any,
        None,
        object,
        numbers.Number,
        Point,
        Tree,
        list[Tree],
        dict[str, Point | None],
        datetime,
        uuid.UUID,
        Decimal,
    ),
    *(
        Size,
        set[int],
        tuple[int, ...],
        Literal["a", 1],
        bytes,
        msgspec.Raw,
        Mapping[str, int],
        Movie,
        Pair,
        float | Point,
    ),
)


@pytest.mark.parametrize("annotation", CARRIED, ids=str)
def test_what_json_can_carry_is_taken(annotation: Any) -> None:
    check_annotation(annotation, "the input")
