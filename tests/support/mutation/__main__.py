"""``python -m tests.support.mutation retention/plan`` (``make mutants``): the modules that have this in their path,
with the tests that ``targets`` names; or a file and tests, as they are given."""

import argparse
import math
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.support.mutation.session import run
from tests.support.mutation.targets import TARGETS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("module", nargs="?", default="")
    parser.add_argument("tests", nargs="*")
    parser.add_argument("--share", type=float, help="of the mutants, chosen at random")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=math.inf, help="try them in random order, for so long")
    parser.add_argument("--lines", default="", help="only mutants of these lines: 12,40-60")
    arguments = parser.parse_args()
    chosen = [arguments.module] if arguments.tests else [each for each in TARGETS if arguments.module in each]
    if not chosen:
        parser.error(f"no module of the targets has {arguments.module!r} in its path")
    if len(chosen) > 1:  # each in a process of its own: a session loads its module before anything else does
        options = sys.argv[2:] if arguments.module else sys.argv[1:]
        return max(subprocess.call([sys.executable, "-m", "tests.support.mutation", each, *options]) for each in chosen)
    (module,) = chosen
    tests, share = (arguments.tests, 1.0) if arguments.tests else TARGETS[module]
    session, seconds = run(
        Path(module).absolute(),
        tests,
        share=arguments.share or share,
        seed=arguments.seed,
        only_lines=_lines(arguments.lines),
        seconds=arguments.seconds,
    )
    verdicts = Counter(each.verdict for each in session.judged)
    killed = verdicts["killed"] + verdicts["timeout"]
    print(
        f"{module}: {session.all} mutants, {len(session.judged)} tried, {killed} killed "
        f"({verdicts['timeout']} by a time-out), {verdicts['survived']} survived, "
        f"{verdicts['not reached']} not reached, {verdicts['not loaded']} not loaded, {seconds:.0f} s",
        flush=True,
    )
    return 0


def _lines(given: str) -> frozenset[int]:
    ranges = [part.split("-") for part in given.split(",") if part]
    return frozenset(number for part in ranges for number in range(int(part[0]), int(part[-1]) + 1))


if __name__ == "__main__":
    sys.exit(main())
