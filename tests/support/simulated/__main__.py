"""The long form: ``python -m tests.support.simulated --seeds 100000`` (``make simulate``); ``--planted`` for the test
of the test, ``--replay SEED`` to see one run, with ``--shrink`` the shortest one like it."""

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import msgspec

from tests.support.simulated.campaign import MOVES, Outcome, Recipe, Totals, recipe_of, run_seeds, simulating
from tests.support.simulated.planted import PLANTED
from tests.support.simulated.rare import RARE

SEEDS_A_PART = 100
SEEDS_OF_A_MISTAKE = 500
_TOLD_MAX = 5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1_000, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--moves", type=int, default=MOVES, help="of each run")
    parser.add_argument("--store", choices=["memory", "sqlite"], help="every run on this one")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin nothing more after so long")
    parser.add_argument("--planted", action="store_true", help="find each planted mistake, and say with how many seeds")
    parser.add_argument("--mistake", action="append", choices=list(PLANTED), help="only this one; may be repeated")
    parser.add_argument("--replay", type=int, metavar="SEED", help="make this run again, and show it")
    parser.add_argument("--recipe", type=Path, help="make the run again that was written here, and show it")
    parser.add_argument("--shrink", action="store_true", help="of what is replayed, leave out what is not needed")
    parser.add_argument("--trace", action="store_true", help="of what is replayed, every call that changed the store")
    parser.add_argument("--keep", type=Path, help="a directory for the recipes of failing runs")
    arguments = parser.parse_args()
    if arguments.planted:
        return _plant(arguments)
    if arguments.replay is not None or arguments.recipe is not None:
        return _replay(arguments)
    return _campaign(arguments)


def _campaign(arguments: argparse.Namespace) -> int:
    began_s = time.monotonic()
    totals = Totals()
    parts = [
        (first, min(SEEDS_A_PART, arguments.seed + arguments.seeds - first))
        for first in range(arguments.seed, arguments.seed + arguments.seeds, SEEDS_A_PART)
    ]
    print(f"{arguments.seeds:,} seeds from {arguments.seed}", flush=True)
    with ProcessPoolExecutor(arguments.processes, multiprocessing.get_context("spawn")) as pool:
        until_s = began_s + arguments.seconds
        for part in [pool.submit(run_seeds, *part, arguments.moves, arguments.store, until_s) for part in parts]:
            totals.add_totals(part.result())
    for outcome in totals.failed[:_TOLD_MAX]:
        _tell(outcome, arguments)
    seconds = time.monotonic() - began_s
    print(f"{totals.seeds:,} seeds, {totals.moves:,} moves in {seconds:,.0f} s: {len(totals.failed)} failed")
    print(*_rare_lines(totals), sep="\n")
    return 1 if totals.failed else 0


def _rare_lines(totals: Totals) -> Iterator[str]:
    for rare in RARE:
        yield f"{totals.rare[rare]:>10,} {rare}"
    for rare, count in sorted(totals.rare.items()):
        if rare not in RARE:
            yield f"{count:>10,} ({rare})"
    missed = [rare for rare in RARE if not totals.rare[rare]]
    yield f"{len(RARE) - len(missed)} of {len(RARE)} rare paths were reached"
    yield from (f"  not reached: {each}" for each in missed)


def _tell(outcome: Outcome, arguments: argparse.Namespace) -> None:
    """What was found, and the shortest run that finds something."""
    print(f"seed {outcome.seed} FAILED after {outcome.made} moves:\n{outcome.finding}", flush=True)
    with simulating() as campaign:
        recipe = campaign.shrunk(recipe_of(outcome.seed, count=arguments.moves, store=arguments.store))
        print(f"{recipe}\nfinds: {campaign.run(recipe).finding}", flush=True)
    if arguments.keep is not None:
        arguments.keep.mkdir(parents=True, exist_ok=True)
        (arguments.keep / f"{outcome.seed}.json").write_bytes(msgspec.json.format(msgspec.json.encode(recipe)))


def _replay(arguments: argparse.Namespace) -> int:
    if arguments.recipe is not None:
        recipe = msgspec.json.decode(arguments.recipe.read_bytes(), type=Recipe)
    else:
        recipe = recipe_of(arguments.replay, count=arguments.moves, store=arguments.store)
    with simulating() as campaign:
        if arguments.shrink:
            recipe = campaign.shrunk(recipe)
        outcome = campaign.run(recipe, traced=arguments.trace)
    print(recipe)
    print(*outcome.trace, sep="\n")
    print(outcome.finding or "nothing was found")
    return 1 if outcome.finding else 0


def _plant(arguments: argparse.Namespace) -> int:
    names = arguments.mistake or list(PLANTED)
    missed = []
    with simulating() as campaign:
        for name in names:
            began_s = time.monotonic()
            found = None
            with PLANTED[name]():
                for number in range(SEEDS_OF_A_MISTAKE):
                    outcome = campaign.run(recipe_of(arguments.seed + number, count=arguments.moves, store="memory"))
                    if outcome.finding:
                        found = number + 1, outcome.finding.splitlines()[0][:120]
                        break
            seconds = time.monotonic() - began_s
            if found is None:
                missed.append(name)
                print(f"{name}: NOT FOUND in {SEEDS_OF_A_MISTAKE} seeds ({seconds:.1f} s)", flush=True)
            else:
                print(f"{name}: seed {found[0]} of {SEEDS_OF_A_MISTAKE} ({seconds:.1f} s): {found[1]}", flush=True)
    print(f"{len(names) - len(missed)} of {len(names)} mistakes were found")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
