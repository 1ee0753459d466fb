"""Seeds, one after the other: what each run found, how often each rare path was gone, and what is left of a failing run
when everything that is not needed is left out."""

import math
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from tests.support.simulated.machinery import Machinery, machinery
from tests.support.simulated.moves import Circumstances, Move, StoreKind, circumstances_of, moves_of
from tests.support.simulated.world import CONFIGURATION_FILES, Broken, World

MOVES: Final = 50
_SHARED_MEMORY: Final = Path("/dev/shm")
_RUNS_TO_SHRINK: Final = 400


class Recipe(msgspec.Struct, frozen=True):
    """All that a run follows from."""

    seed: int
    circumstances: Circumstances
    moves: tuple[Move, ...]

    def __str__(self) -> str:
        moves = (f"  {place}. {move}" for place, move in enumerate(self.moves))
        return "\n".join([f"seed {self.seed}: {self.circumstances}", *moves])


def recipe_of(seed: int, *, count: int = MOVES, store: StoreKind | None = None) -> Recipe:
    circumstances = circumstances_of(seed, store=store)
    return Recipe(seed, circumstances, tuple(moves_of(seed, circumstances, count)))


@dataclass
class Outcome:
    """``finding`` "": everything was as it must be. ``made``: moves until then."""

    seed: int
    finding: str
    made: int
    rare: dict[str, int] = field(default_factory=dict)
    trace: list[str] = field(default_factory=list)


class Campaign:
    """Makes runs. ``simulating`` gives one."""

    def __init__(self, directory: Path, shared: Machinery) -> None:
        self._directory = directory
        self._shared = shared

    def run(self, recipe: Recipe, *, traced: bool = False) -> Outcome:
        with tempfile.TemporaryDirectory(dir=self._directory) as directory:
            world = World(recipe.seed, recipe.circumstances, self._directory, Path(directory))
            world.trace = [] if traced else None
            made, finding = 0, ""
            with self._shared.run(recipe.seed, world):
                try:
                    world.begin()
                    for move in recipe.moves:
                        made += 1
                        world.make(move)
                    world.finish()
                except Broken as broken:
                    finding = str(broken)
                finally:
                    world.close()
            return Outcome(recipe.seed, finding, made, world.chronicle.rare, world.trace or [])

    def shrunk(self, recipe: Recipe) -> Recipe:
        """A recipe with as few moves as possible that still finds something."""
        made = self.run(recipe).made
        left = [_Runs(_RUNS_TO_SHRINK)]

        def fails(moves: Sequence[Move]) -> bool:
            left[0].take()
            return bool(self.run(msgspec.structs.replace(recipe, moves=tuple(moves))).finding)

        moves = list(recipe.moves)
        try:
            if fails(moves[:made]):
                moves = moves[:made]
            moves = _fewer(moves, fails, lambda kept: moves.__setitem__(slice(None), kept))
            for place in reversed(range(len(moves))):
                for inside in reversed(range(len(moves[place].during))):
                    during = moves[place].during
                    without = (*during[:inside], *during[inside + 1 :])
                    simpler = [*moves]
                    simpler[place] = msgspec.structs.replace(moves[place], during=without)
                    if fails(simpler):
                        moves = simpler
        except _Enough:
            pass
        return msgspec.structs.replace(recipe, moves=tuple(moves))


class _Enough(Exception):
    """So many runs are enough."""


class _Runs:
    def __init__(self, count: int) -> None:
        self._left = count

    def take(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise _Enough


def _fewer(
    moves: list[Move], fails: Callable[[Sequence[Move]], bool], keep: Callable[[list[Move]], None]
) -> list[Move]:
    """Without parts that are not needed, large ones first. ``keep`` is told of each list that fails and is shorter."""
    size = max(len(moves) // 2, 1)
    while True:
        start = 0
        while start < len(moves):
            without = moves[:start] + moves[start + size :]
            if without and fails(without):
                moves = without
                keep(list(moves))
            else:
                start += size
        if size == 1:
            return moves
        size //= 2


@contextmanager
def simulating() -> Iterator[Campaign]:
    """A campaign, with the configuration files it needs, in memory where that is possible."""
    with (
        tempfile.TemporaryDirectory(
            prefix="duro-simulated-", dir=_SHARED_MEMORY if _SHARED_MEMORY.is_dir() else None
        ) as directory,
        machinery() as shared,
    ):
        for name, text in CONFIGURATION_FILES.items():
            (Path(directory) / f"{name}.toml").write_text(text)
        yield Campaign(Path(directory), shared)


@dataclass
class Totals:
    """Of many runs."""

    seeds: int = 0
    moves: int = 0
    rare: Counter[str] = field(default_factory=Counter)
    failed: list[Outcome] = field(default_factory=list)

    def add(self, outcomes: Iterable[Outcome]) -> None:
        for outcome in outcomes:
            self.seeds += 1
            self.moves += outcome.made
            self.rare.update(outcome.rare)
            if outcome.finding:
                self.failed.append(outcome)

    def add_totals(self, other: "Totals") -> None:
        self.seeds += other.seeds
        self.moves += other.moves
        self.rare.update(other.rare)
        self.failed += other.failed


def run_seeds(
    first: int, count: int, moves: int = MOVES, store: StoreKind | None = None, until_s: float = math.inf
) -> Totals:
    """So many seeds from ``first`` on, as far as the (monotonic) time goes."""
    totals = Totals()
    if time.monotonic() > until_s:
        return totals
    with simulating() as campaign:
        for seed in range(first, first + count):
            if time.monotonic() > until_s:
                break
            totals.add([campaign.run(recipe_of(seed, count=moves, store=store))])
    return totals
