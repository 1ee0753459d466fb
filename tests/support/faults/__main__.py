"""The long form: ``python -m tests.support.faults`` (``make faults``)."""

import argparse
import multiprocessing
import os
import random
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from tests.support.faults.campaign import Report, run_scenario
from tests.support.power.scenarios import SCENARIOS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, help="of each scenario, chosen by chance; without it, all there are")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--scenario", action="append", choices=list(SCENARIOS), help="only this one; may be repeated")
    arguments = parser.parse_args()
    names = arguments.scenario or list(SCENARIOS)
    print(f"seed {arguments.seed}", flush=True)
    began_s = time.monotonic()
    total = Report("in all")
    with ProcessPoolExecutor(arguments.processes, multiprocessing.get_context("spawn")) as pool:
        parts = [pool.submit(run_scenario, name, arguments.runs, seed=arguments.seed) for name in names]
        for part in parts:
            report = part.result()
            print(report, flush=True)
            for wrong in report.wrong:
                print(f"  {wrong}", flush=True)
            total.add(report)
    print(f"{total} in {time.monotonic() - began_s:,.0f} s")
    return 1 if total.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
