"""How the SQLite store names many executions at once."""

import pytest

from duro.stores.sqlite.pruning import ranges


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([], []),
        ([7], [(7, 7)]),
        ([1, 2, 3], [(1, 3)]),
        ([1, 3, 4, 9], [(1, 1), (3, 4), (9, 9)]),
    ],
)
def test_ascending_numbers_are_told_as_ranges(numbers: list[int], expected: list[tuple[int, int]]) -> None:
    assert [tuple(each) for each in ranges(numbers)] == expected
