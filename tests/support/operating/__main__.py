"""The long form: ``python -m tests.support.operating --faults 200`` (``make operators``)."""

import argparse
import random
import tempfile
from pathlib import Path

from tests.support.operating.campaign import run_campaign


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--keep", type=Path, help="an empty directory to work in, which stays")
    arguments = parser.parse_args()
    print(f"{arguments.faults} faults, seed {arguments.seed}", flush=True)
    if arguments.keep is not None:
        print(run_campaign(arguments.keep.absolute(), arguments.faults, arguments.seed))
        return
    with tempfile.TemporaryDirectory(prefix="duro-operators-") as directory:
        print(run_campaign(Path(directory), arguments.faults, arguments.seed))


if __name__ == "__main__":
    main()
