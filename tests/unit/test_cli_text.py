"""``visible``, ``json_safe`` and ``id_line``: nothing that a user wrote can steer a terminal or split a line."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duroctl.parsing import id_from_line
from duroctl.render.text import id_line, json_safe, one_line, visible

HOSTILE = [
    ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
    ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
    ("\x9b31m", "\\x9b31m"),
    ("a\nb\r\nc\td", "a\\nb\\r\\nc\\td"),
    ("\u202egnp.exe", "\\u202egnp.exe"),
    ("\u2066x\u2069\u200f\u061c", "\\u2066x\\u2069\\u200f\\u061c"),
    ("a\u200bb\u200dc\ufeff", "a\\u200bb\\u200dc\\ufeff"),
    ("line\u2028par\u2029", "line\\u2028par\\u2029"),
    ("nb\u00a0sp", "nb\\xa0sp"),
    ("tag\U000e0041", "tag\\U000e0041"),
    ("hangul\u3164filler", "hangul\\u3164filler"),
    ("blank\u2800braille", "blank\\u2800braille"),
    ("heart\ufe0f", "heart\\ufe0f"),
    ("ideograph\U000e0100", "ideograph\\U000e0100"),
    ("mongolian\u180b\u180f", "mongolian\\u180b\\u180f"),
    ("half\udc80", "half\\udc80"),
    ("\x00\x7f\x85", "\\x00\\x7f\\x85"),
]
HARMLESS = [
    "",
    "orders-2026",
    "a b",
    "Grüße",
    "日本語",
    "مرحبا",
    "🙂",
    "back\\slash",
    "C:\\new\\table",
    "«»→…",
    "e\u0301",
]


@pytest.mark.parametrize(("text", "expected"), HOSTILE)
def test_what_cannot_be_seen_is_written_out(text: str, expected: str) -> None:
    assert visible(text) == expected


@pytest.mark.parametrize("text", HARMLESS)
def test_what_can_be_seen_is_unchanged(text: str) -> None:
    assert visible(text) == text


DEFAULT_IGNORABLE = [
    *(0xAD, 0x34F, 0x61C, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFEFF, 0xFFA0),
    *(*range(0x180B, 0x1810), *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070)),
    *(*range(0xFE00, 0xFE10), *range(0xFFF0, 0xFFF9), *range(0x1BCA0, 0x1BCA4), *range(0x1D173, 0x1D17B)),
    *range(0xE0000, 0xE1000),
]
"""The code points of Unicode 16 with the property Default_Ignorable_Code_Point."""


def test_all_that_unicode_says_not_to_show_is_written_out() -> None:
    assert visible("".join(map(chr, DEFAULT_IGNORABLE))).isascii()


@given(st.text(st.characters(codec=None)))
def test_no_control_format_or_separator_character_passes(text: str) -> None:
    shown = visible(text)
    assert shown.isprintable()
    assert all(unicodedata.category(each)[0] not in "C" and each not in "\u2028\u2029" for each in shown)
    assert visible(shown) == shown


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_json_safe_keeps_the_meaning_and_is_printable(value: object) -> None:
    for indent in (None, 2):
        text = json.dumps(value, ensure_ascii=False, indent=indent)
        safe = json_safe(text)
        assert json.loads(safe) == value
        assert safe.replace("\n", "").isprintable()


def test_json_safe_writes_characters_beyond_the_basic_plane_as_pairs() -> None:
    assert json_safe('"\U000e0041\x7f\x9b"') == '"\\udb40\\udc41\\u007f\\u009b"'


@given(st.text(st.characters(codec="utf-8"), min_size=1))
def test_an_id_survives_being_a_line(instance_id: str) -> None:
    line = id_line(instance_id)
    assert line.isprintable()
    assert line == line.strip()
    assert id_from_line(line) == instance_id


def test_ordinary_ids_are_lines_as_they_are() -> None:
    assert id_line("orders/2026 é") == "orders/2026 é"
    assert id_line("a\nprod") == '"a\\nprod"'
    assert id_line('"quoted"') == '"\\"quoted\\""'
    assert id_line(" padded") == '" padded"'


@given(st.text(), st.integers(1, 40))
def test_one_line_is_never_wider_than_asked(text: str, width: int) -> None:
    shown = one_line(text, width)
    assert len(shown) <= width
    assert shown == visible(text) or shown.endswith("…")
