"""What a user wrote can neither steer a terminal nor split a line, nor begin one that a terminal is too narrow for."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duroctl.parsing import id_from_line
from duroctl.render.layout import cells, cut, fold, is_word, wrap
from duroctl.render.text import id_line, json_safe, versioned, visible, visible_field

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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b c", "a b c"),
        ("a  b", "a\\x20\\x20b"),
        (" a", "\\x20a"),
        ("a ", "a\\x20"),
        ("   ", "\\x20\\x20\\x20"),
        ("a\n b", "a\\n b"),
        ("", ""),
    ],
)
def test_spaces_that_nobody_can_count_are_written_out(text: str, expected: str) -> None:
    assert visible_field(text) == expected


@given(st.text(st.sampled_from("a \n\u3000")))
def test_a_field_has_single_spaces_only_and_none_at_an_end(text: str) -> None:
    shown = visible_field(text)
    assert "  " not in shown
    assert shown == shown.strip()
    assert visible_field(shown) == shown


def test_an_orchestration_and_its_version_are_two_fields() -> None:
    assert versioned("order", "") == "order"
    assert versioned("order ", "1.0  x") == "order\\x20 1.0\\x20\\x20x"


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


# --- layout ------------------------------------------------------------------------------------------------------


SHOWN = st.text(st.sampled_from("ab -東京é\u0301🙂")) | st.text().map(visible)


@given(SHOWN, st.integers(2, 40))
def test_what_is_cut_is_never_wider_than_asked(text: str, width: int) -> None:
    shown = cut(text, width)
    assert cells(shown) <= width
    assert shown == text if cells(text) <= width else shown.endswith("…")


def test_ideographs_are_cut_by_the_cells_they_take() -> None:
    assert cut("東京東京", 8) == "東京東京"
    assert cut("東京東京", 7) == "東京東…"
    assert cut("東京東京", 6) == "東京…"
    assert cut("abcdef", 5, "...") == "ab..."
    assert cut("abcdef", 2, "...") == ".."


@given(SHOWN, st.integers(2, 40), st.integers(0, 4))
def test_what_is_folded_fits_and_loses_nothing(text: str, width: int, indent: int) -> None:
    first, *others = fold(text, width, indent)
    spaces = min(indent, width - 2)
    assert all(cells(line) <= width for line in [first, *others])
    assert all(line.startswith(" " * spaces) for line in others)
    assert first + "".join(line[spaces:] for line in others) == text


@given(SHOWN, st.integers(4, 40))
def test_what_is_wrapped_fits_and_loses_nothing_but_the_spaces_it_is_broken_at(text: str, width: int) -> None:
    first, *others = wrap(text, width)
    assert all(cells(line) <= width or is_word(line.strip(" ")) for line in [first, *others])
    assert all(line.startswith("  ") for line in others)
    assert "".join([first, *others]).replace(" ", "") == text.replace(" ", "")


@given(SHOWN, st.integers(4, 40))
def test_what_is_wrapped_has_its_words_whole(text: str, width: int) -> None:
    assert [word for line in wrap(text, width) for word in line.split(" ") if word] == [
        word for word in text.split(" ") if word
    ]


def test_lines_are_broken_between_words_and_go_on_further_in() -> None:
    assert [*wrap("to remove: 7 executions of 1 instance", 20)] == [
        "to remove: 7",
        "    executions of 1",
        "    instance",
    ]
    assert [*wrap("  1..3  REMOVE  beyond-last:2", 16)] == ["  1..3  REMOVE", "      beyond-last:2"]
    assert [*wrap("instance a-very-long-id", 20)] == ["instance", "    a-very-long-id"]


def test_a_word_that_is_wider_than_the_terminal_is_whole_on_a_line_of_its_own() -> None:
    assert [*wrap("the plan is in /a/very/long/directory/plan.json; apply it", 20)] == [
        "the plan is in",
        "    /a/very/long/directory/plan.json;",
        "    apply it",
    ]


def test_a_text_that_nobody_could_copy_is_broken_anywhere() -> None:
    lines = [*wrap(f"- {'x' * 600}", 80)]
    assert [len(line) for line in lines] == [1, *[80] * 7, 72]
