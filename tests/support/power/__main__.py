"""The long form: ``python -m tests.support.power --states 100000`` (``make power-loss``)."""

import argparse
import itertools
import multiprocessing
import os
import random
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.support.power.campaign import Report, run_scenario
from tests.support.power.scenarios import SCENARIOS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--states", type=int, default=100_000, help="to build, of all scenarios together")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--scenario", action="append", choices=list(SCENARIOS), help="only this one; may be repeated")
    parser.add_argument("--keep", type=Path, help="where to put the files of the first lost state of each scenario")
    arguments = parser.parse_args()
    names = arguments.scenario or list(SCENARIOS)
    print(f"{arguments.states:,} states, seed {arguments.seed}", flush=True)
    began_s = time.monotonic()
    total = Report("in all")
    share = arguments.states // (2 * len(names))
    with ProcessPoolExecutor(arguments.processes, multiprocessing.get_context("spawn")) as pool:
        parts = [
            (
                name,
                pool.submit(
                    run_scenario,
                    name,
                    share,
                    seed=arguments.seed,
                    short_log=short_log,
                    keep=_place(arguments.keep, name),
                ),
            )
            for name, short_log in itertools.product(names, (False, True))
        ]
        for name, of_name in itertools.groupby(parts, key=lambda part: part[0]):
            report = Report(name)
            for _, part in of_name:
                report.add(part.result())
            print(report, flush=True)
            for lost in report.lost:
                print(f"  {lost}", flush=True)
            total.add(report)
    print(f"{total} in {time.monotonic() - began_s:,.0f} s")
    return 1 if total.lost else 0


def _place(keep: Path | None, name: str) -> Path | None:
    return None if keep is None else keep / name.replace(" ", "-")


if __name__ == "__main__":
    sys.exit(main())
