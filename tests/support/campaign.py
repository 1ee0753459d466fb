"""Workers are killed at random moments under load, and everything that was acknowledged happens all the same.

``python -m tests.support.campaign --kills 200`` is the long form (``make kill``); a test runs a short one.
"""

import argparse
import random
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duro
from tests.support.evidence import check_evidence
from tests.support.processes import WorkerProcess, effects_log_of, make_store, worker_processes
from tests.support.traffic import Traffic, wait_until_nothing_runs

LEASE_S: Final = 1
_FINISH_TIMEOUT_S: Final = 120.0


@dataclass(frozen=True)
class CampaignReport:
    """What happened. ``activities_repeated`` counts runs beyond the first of an activity, which a crash may cause."""

    seed: int
    kills: int
    seconds: float
    instances: int
    events_raised: int
    cancels: int
    reads: int
    events_in_histories: int
    activities_run: int
    activities_repeated: int

    def __str__(self) -> str:
        return "\n".join(f"{name:22} {value:>12,}" for name, value in vars(self).items())


def run_campaign(
    directory: Path, kills: int, seed: int, *, pause_max_s: float = 1.0, in_flight_max: int = 60
) -> CampaignReport:
    """Kill a worker of two ``kills`` times, each time up to ``pause_max_s`` seconds after the last one came back.

    Raises:
        AssertionError: a promise was broken; the message has all that is wrong.
    """
    choice = random.Random(seed)
    began_s = time.monotonic()
    url = make_store(directory)
    with duro.Client(url) as client, worker_processes(directory, 2, LEASE_S) as workers:
        traffic = Traffic(client, seed, in_flight_max)
        try:
            for number in range(kills):
                time.sleep(choice.uniform(0.0, pause_max_s))
                victim = choice.randrange(len(workers))
                workers[victim].kill()
                workers[victim] = WorkerProcess(directory, f"worker-{victim}", LEASE_S)
                if number % 3:  # sometimes the next one dies before it has begun
                    workers[victim].wait_until_ready()
        finally:
            acknowledged = traffic.stop()
        client.wait_for_orchestrations(list(acknowledged.instances), _FINISH_TIMEOUT_S)
        wait_until_nothing_runs(client, _FINISH_TIMEOUT_S)
        for worker in workers:
            worker.wait_until_ready()
            assert worker.stop() == 0, worker.said()
        dump = client.store.dump()
    effects = effects_log_of(directory).read_text().splitlines()
    check_evidence(dump, effects, acknowledged)
    return CampaignReport(
        seed=seed,
        kills=kills,
        seconds=round(time.monotonic() - began_s, 1),
        instances=len(dump["instances"]),
        events_raised=sum(len(sent) for each in acknowledged.items.values() for sent in each.values()),
        cancels=len(acknowledged.cancelled),
        reads=acknowledged.reads,
        events_in_histories=len(dump["history"]),
        activities_run=len(effects),
        activities_repeated=len(effects) - len(set(effects)),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    arguments = parser.parse_args()
    print(f"{arguments.kills} kills, seed {arguments.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="duro-kill-") as directory:
        print(run_campaign(Path(directory), arguments.kills, arguments.seed))


if __name__ == "__main__":
    main()
