"""The long form: ``python -m tests.support.faults`` (``make faults``)."""

import argparse
import multiprocessing
import os
import random
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from tests.support.faults import campaign, traced
from tests.support.faults.campaign import AGAIN_ONE_IN, Report
from tests.support.power.scenarios import SCENARIOS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, help="of each scenario, chosen by chance; without it, all there are")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--scenario", action="append", choices=list(SCENARIOS), help="only this one; may be repeated")
    parser.add_argument("--only", choices=["SQLite", "processes"], help="the calls of one alone")
    parser.add_argument("--again-one-in", type=int, default=AGAIN_ONE_IN, help="of what ended with an error: 1, all")
    arguments = parser.parse_args()
    names = arguments.scenario or list(SCENARIOS)
    ways = {"calls of SQLite": campaign.run_scenario, "calls of processes": traced.run_scenario}
    if why := traced.unavailable():
        print(f"processes are not disturbed: {why}", flush=True)
        del ways["calls of processes"]
    if arguments.only:
        ways = {name: run for name, run in ways.items() if name == f"calls of {arguments.only}"}
    print(f"seed {arguments.seed}", flush=True)
    wrong = 0
    with ProcessPoolExecutor(arguments.processes, multiprocessing.get_context("spawn")) as pool:
        for way, run in ways.items():
            began_s = time.monotonic()
            total = Report(f"{way}, in all")
            options = {"seed": arguments.seed, "again_one_in": arguments.again_one_in}
            for part in [pool.submit(run, name, arguments.runs, **options) for name in names]:
                report = part.result()
                print(report, *report.wrong, sep="\n  ", flush=True)
                total.add(report)
            print(f"{total} in {time.monotonic() - began_s:,.0f} s", flush=True)
            wrong += len(total.wrong)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
