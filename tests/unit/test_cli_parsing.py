"""Durations, counts, references and lines of ids, as people type them."""

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duro.errors import InstanceNotFoundError, UsageError
from duroctl.parsing import Reference, expand_ids, id_from_line, parse_count, parse_duration, resolve_reference
from duroctl.pruning import parse_time_ms


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("30m", 1_800), ("12h", 43_200), ("7d", 604_800), ("2w", 1_209_600), ("0s", 0), ("007s", 7)],
)
def test_durations(text: str, seconds: int) -> None:
    assert parse_duration(text, "--drain") == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s",
        "30",
        "30 s",
        " 30s",
        "30S",
        "1.5h",
        "-5s",
        "+5s",
        "1h30m",
        "1_0s",
        "１０s",
        "٣s",
        "30s\n",
        "5y",
        "9" * 13 + "s",
    ],
)
def test_what_is_no_duration_is_refused_with_the_way_to_write_one(text: str) -> None:
    with pytest.raises(UsageError, match=r"--drain .* is not a duration; write it like 90s, 30m, 12h, 7d or 2w"):
        parse_duration(text, "--drain")


def test_a_duration_no_clock_can_hold_is_refused() -> None:
    with pytest.raises(UsageError, match="longer than a century"):
        parse_duration("99999999w", "--timeout")


@pytest.mark.parametrize(("text", "count"), [("0", 0), ("100", 100), ("007", 7)])
def test_counts(text: str, count: int) -> None:
    assert parse_count(text, "--limit") == count


@pytest.mark.parametrize("text", ["", "-1", "+1", "1.0", "1_000", "１０", " 5", "²", "many"])
def test_what_is_no_count_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--limit must be a whole number of at least 0, not"):
        parse_count(text, "--limit")


def test_a_count_that_is_too_large_is_called_so() -> None:
    with pytest.raises(UsageError, match="--limit '9999999999999999' is too large"):
        parse_count("9" * 16, "--limit")


def _among(*ids: str) -> Callable[[str], bool]:
    return frozenset(ids).__contains__


@pytest.mark.parametrize(
    ("text", "existing", "expected"),
    [
        ("a", (), Reference("a", None)),
        ("a/3", ("a",), Reference("a", 3)),
        ("a/3", ("a/3",), Reference("a/3", None)),
        ("a/1/3", ("a/1",), Reference("a/1", 3)),
        ("a/1/3", ("a/1", "a"), Reference("a/1", 3)),
        ("a/b", (), Reference("a/b", None)),
        ("a/３", (), Reference("a/３", None)),
        ("/3", (), Reference("/3", None)),
        ("a/", (), Reference("a/", None)),
        ("a/" + "9" * 19, (), Reference("a/" + "9" * 19, None)),
    ],
)
def test_a_reference_is_split_where_an_instance_exists(
    text: str, existing: tuple[str, ...], expected: Reference
) -> None:
    assert resolve_reference(text, _among(*existing)) == expected


def test_a_reference_with_two_readings_is_refused_and_says_how_to_write_each() -> None:
    with pytest.raises(UsageError) as caught:
        resolve_reference("a/1", _among("a", "a/1"))
    assert str(caught.value) == (
        "'a/1' is an instance, and 'a' is one too; "
        "for the first write a/1/N (N: one of its executions), for the other a --execution 1"
    )


def test_a_command_that_takes_whole_instances_says_how_to_write_one() -> None:
    with pytest.raises(UsageError, match="for the first write a/1 --whole, for the other a --execution 1"):
        resolve_reference("a/1", _among("a", "a/1"), "{0} --whole")


def test_a_reference_without_an_instance_names_both_readings() -> None:
    with pytest.raises(InstanceNotFoundError, match="no instance 'a', nor one called 'a/1'"):
        resolve_reference("a/1", _among())


def test_ids_come_from_arguments_and_from_standard_input_each_once() -> None:
    lines = ["b\n", "\n", "  c  \n", '"d\\ne"\n', "a"]
    assert expand_ids(["a", "-", "f", "a"], lambda: lines) == ["a", "b", "c", "d\ne", "f"]


def test_no_id_at_all_is_refused() -> None:
    with pytest.raises(UsageError, match="no instance id was given"):
        expand_ids(["-"], lambda: ["", " "])


@given(st.text(min_size=1).map(lambda text: '"' + text))
def test_a_line_that_begins_with_a_quote_is_json_or_refused(line: str) -> None:
    with contextlib.suppress(UsageError):
        assert isinstance(id_from_line(line), str)


@pytest.mark.parametrize("text", ["7d", "7d ago", "168h ago", "1w  ago"])
def test_a_time_may_be_so_long_ago_as_the_help_writes_it(text: str) -> None:
    assert parse_time_ms(text, "--completed-before", 700_000_000) == 700_000_000 - 604_800_000


@pytest.mark.parametrize("text", ["7 days ago", "ago", " ago", "yesterday ago", "7dago", "now ago"])
def test_other_words_are_no_time_ago(text: str) -> None:
    with pytest.raises(UsageError, match=rf"--completed-before '{text}' is (no time|not a duration); write it like"):
        parse_time_ms(text, "--completed-before", 0)


@pytest.mark.parametrize("text", ["2026-01-01", "20260101", "2026-W01-1", "2026-01-01 10:00", "2026-01-01T10:00:00.5"])
def test_a_time_without_a_zone_is_refused_with_a_hint_that_works(text: str) -> None:
    with pytest.raises(UsageError, match="has no time zone") as caught:
        parse_time_ms(text, "--completed-before", 0)
    assert caught.value.hint is not None
    proposed = caught.value.hint.removeprefix("write ").removesuffix(" for UTC")
    assert parse_time_ms(proposed, "--completed-before", 0) > 0


@pytest.mark.parametrize("text", ["5000w ago", "4000w", "1969-12-31T23:59:59Z", "0001-01-01T00:00:00Z"])
def test_a_time_before_1970_is_refused_as_it_was_written(text: str) -> None:
    with pytest.raises(UsageError, match=rf"^--completed-before '{text}' is before 1970; nothing"):
        parse_time_ms(text, "--completed-before", 700_000_000)
