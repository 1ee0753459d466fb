"""The short form of ``make simulate``: the whole runtime on seeded schedules, with faults: all is as it must be.

And the test of the test: each planted mistake is found, a run is the same in every process, and what fails is shrunk.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import pytest

from tests.support.simulated.campaign import Campaign, Recipe, Totals, recipe_of, simulating
from tests.support.simulated.planted import FOUND_WITH, PLANTED
from tests.support.simulated.rare import RARE

SEEDS: Final = 200
SEEDS_ON_SQLITE: Final = 12
ROOT: Final = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def campaign() -> Iterator[Campaign]:
    with simulating() as made:
        yield made


def test_whatever_happens_in_whatever_order_is_as_it_must_be(campaign: Campaign) -> None:
    totals = Totals()
    totals.add(campaign.run(recipe_of(seed, store="memory")) for seed in range(SEEDS))
    totals.add(campaign.run(recipe_of(seed, store="sqlite")) for seed in range(SEEDS_ON_SQLITE))
    assert totals.failed == []
    assert len(set(RARE) & totals.rare.keys()) > len(RARE) // 2


@pytest.mark.parametrize("name", PLANTED)
def test_a_mistake_is_found(name: str, campaign: Campaign) -> None:
    recipe = recipe_of(FOUND_WITH[name], store="memory")
    with PLANTED[name]():
        finding = campaign.run(recipe).finding
    assert finding, "`make simulate-planted` says which seeds find it now"
    assert "TypeError" not in finding, "it is the mistake that does not fit the code any more"
    assert campaign.run(recipe).finding == "", "without it there is nothing to find"


def test_what_finds_something_is_shrunk_and_finds_it_again(campaign: Campaign) -> None:
    name = "a hold does not count for executions"
    recipe = recipe_of(FOUND_WITH[name], store="memory")
    with PLANTED[name]():
        shrunk = campaign.shrunk(recipe)
        written = msgspec.json.decode(msgspec.json.encode(shrunk), type=Recipe)
        found, again = campaign.run(shrunk), campaign.run(written)
    assert len(shrunk.moves) <= 12 < len(recipe.moves)
    assert (found.finding, found.made) == (again.finding, again.made)
    assert "was pruned under the hold" in found.finding


_TRACE: Final = """
from tests.support.simulated.campaign import recipe_of, simulating
with simulating() as campaign:
    for seed, store in ((1, "memory"), (4, "memory"), (5, "memory"), (2, "sqlite")):
        outcome = campaign.run(recipe_of(seed, store=store), traced=True)
        print(*outcome.trace, outcome.finding, sorted(outcome.rare.items()), sep="\\n")
"""


def test_a_seed_gives_the_same_run_in_every_process() -> None:
    traces = [
        subprocess.run(
            [sys.executable, "-c", _TRACE],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'runtime'}"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert len(traces[0].splitlines()) > 500
    assert traces[0] == traces[1]
