"""Times and sizes, exact and for people."""

import pytest

from duroctl.render.units import iso, offset, relative, size


@pytest.mark.parametrize(
    ("at_ms", "expected"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_795_428_000_123, "2026-11-23T10:00:00.123Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (10**18, f"{10**18} ms"),
    ],
)
def test_iso_is_utc_with_milliseconds(at_ms: int, expected: str) -> None:
    assert iso(at_ms) == expected


@pytest.mark.parametrize(
    ("ago_ms", "expected"),
    [
        (0, "now"),
        (999, "now"),
        (1_000, "1 s ago"),
        (59_999, "59 s ago"),
        (60_000, "1 m ago"),
        (3_599_999, "59 m ago"),
        (3_600_000, "1 h ago"),
        (47 * 3_600_000, "47 h ago"),
        (48 * 3_600_000, "2 d ago"),
        (-180_000, "in 3 m"),
        (-(7 * 86_400_000 - 1_500), "in 7 d"),
        (-(6 * 86_400_000 + 3_600_000), "in 6 d"),
        (-(3_600_000 - 20), "in 1 h"),
    ],
)
def test_relative_times(ago_ms: int, expected: str) -> None:
    assert relative(10**12 - ago_ms, 10**12) == expected


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (1_048_576, "1.0 MiB"),
        (5 * 1024**3, "5.0 GiB"),
        (2 * 1024**4, "2.0 TiB"),
        (999 * 1024 + 1023, "1.0 MiB"),
    ],
)
def test_sizes(count: int, expected: str) -> None:
    assert size(count) == expected


@pytest.mark.parametrize(
    ("milliseconds", "expected"), [(0, "+0.000"), (12_345, "+12.345"), (599_999, "+599.999"), (600_000, "+10 m")]
)
def test_offsets(milliseconds: int, expected: str) -> None:
    assert offset(milliseconds) == expected
