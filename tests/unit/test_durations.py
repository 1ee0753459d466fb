"""Durations as text and as seconds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duro.durations import DURATION_S_MAX, format_duration, parse_duration_s


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (1, "1s"), (90, "90s"), (3_600, "1h"), (129_600, "36h"), (604_800, "1w")]
)
def test_a_duration_is_written_in_the_largest_unit_that_takes_it_whole(seconds: int, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(min_value=0, max_value=DURATION_S_MAX))
def test_what_is_written_is_read_back(seconds: int) -> None:
    assert parse_duration_s(format_duration(seconds)) == seconds


@pytest.mark.parametrize(("text", "what"), [("1.5h", "is not a duration"), ("99999999w", "is longer than a century")])
def test_what_is_no_duration_is_refused(text: str, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        parse_duration_s(text)
