"""What counts as flat in a long run."""

import random

import pytest

from tests.support.flatness import MIB, judge, table


def test_values_that_go_up_and_down_are_flat() -> None:
    noise = random.Random(1)
    line = judge("memory", "rss_bytes", [50 * MIB + noise.randrange(5 * MIB) for _ in range(90)])
    assert line.flat
    assert line.limit == pytest.approx(line.first * 1.05 + 4 * MIB)


def test_a_slow_leak_is_not_flat() -> None:
    line = judge("memory", "rss_bytes", [50 * MIB + number * MIB / 4 for number in range(90)])
    assert not line.flat
    assert (line.first, line.last) == (50 * MIB + 14.5 * MIB / 4, 50 * MIB + 74.5 * MIB / 4)


def test_a_few_descriptors_more_than_before_are_a_leak() -> None:
    assert judge("descriptors", "descriptors", [10, 10, 11, 12, 12, 12]).flat
    assert not judge("descriptors", "descriptors", [10, 10, 11, 12, 13, 13]).flat


def test_one_high_value_is_shown_and_forgiven() -> None:
    line = judge("threads", "threads", [5, 5, 5, 5, 5, 5, 40, 5, 5])
    assert line.flat
    assert line.highest == 40


def test_the_table_says_what_is_not_flat() -> None:
    lines = [judge("a", "threads", [1, 1, 1]), judge("b", "wal_bytes", [MIB, MIB, 9 * MIB])]
    assert [row.split() for row in table(lines).splitlines()[1:]] == [
        ["a", "1.0", "1.0", "1.0", "3.0"],
        ["b", "1.0", "9.0", "9.0", "5.5", "NOT", "FLAT"],
    ]


def test_too_few_values_say_nothing() -> None:
    with pytest.raises(ValueError, match="was measured 2 times"):
        judge("threads", "threads", [1, 1])
