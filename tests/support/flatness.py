"""Whether measurements of a long run stay flat: the last third's median against the first third's. Pure."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

MIB: Final = 1024 * 1024


@dataclass(frozen=True)
class Tolerance:
    """How far the last third's median may be above the first third's: ``factor`` times it, plus ``margin``."""

    factor: float
    margin: float
    unit: float = 1.0
    """What a measurement is divided by to be shown."""


TOLERANCES: Final = {
    "rss_bytes": Tolerance(1.05, 4 * MIB, MIB),
    "cache_bytes": Tolerance(1.0, 136 * MIB, MIB),
    "descriptors": Tolerance(1.0, 2),
    "threads": Tolerance(1.0, 2),
    "wal_bytes": Tolerance(1.5, 4 * MIB, MIB),
}
"""By what is measured. Memory: an allocator that settles, not one that grows with the work done. Cache: SQLite's, which
grows with the file up to its bound. Descriptors and
threads: those a moment needs. WAL: between checkpoints it goes up and down."""


@dataclass(frozen=True)
class Line:
    """One measured thing over the run."""

    what: str
    first: float
    last: float
    highest: float
    limit: float
    unit: float

    @property
    def flat(self) -> bool:
        return self.last <= self.limit


def judge(what: str, kind: str, values: Sequence[float]) -> Line:
    """The medians of the first and the last third of ``values``, and what the last one may be.

    Raises:
        ValueError: there are fewer than three values.
    """
    if len(values) < 3:
        raise ValueError(f"{what} was measured {len(values)} times; three are needed")
    third = len(values) // 3
    first, last = statistics.median(values[:third]), statistics.median(values[-third:])
    tolerance = TOLERANCES[kind]
    return Line(what, first, last, max(values), first * tolerance.factor + tolerance.margin, tolerance.unit)


def table(lines: Iterable[Line]) -> str:
    header = f"{'':28}{'first third':>12}{'last third':>12}{'highest':>12}{'limit':>12}"
    rows = [
        f"{line.what:28}"
        + "".join(f"{each / line.unit:12,.1f}" for each in (line.first, line.last, line.highest, line.limit))
        + ("" if line.flat else "  NOT FLAT")
        for line in lines
    ]
    return "\n".join([header, *rows])
