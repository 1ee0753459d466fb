"""What an operator's commands cost on a store of 100,000 executions: ``python -m benchmarks.operating``.

CPU of whole processes, the least of the rounds (the rest is other people's work), beside that of an empty Python, and
of one that only imports what every command line of this kind imports. See ``make bench-operating``.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.programs.duro_prune_program import make_store
from benchmarks.report import put_into
from benchmarks.run import HERE, machine

_INSTANCES: Final = 1_000
"""Of 100 executions of 10 events each."""


class Measured(NamedTuple):
    called: str
    arguments: tuple[str, ...]
    budget_ms: float | None = None
    """Of CPU; None: it is for comparison."""


_DUROCTL: Final = ("-m", "duroctl")
_COMMANDS: Final = (
    Measured("an empty Python", ("-c", "pass")),
    Measured("`import typer, msgspec, apsw`", ("-c", "import typer, msgspec, apsw")),
    Measured("`duroctl --help`", (*_DUROCTL, "--help"), 100),
    Measured("`duroctl executions list -o json`", (*_DUROCTL, "executions", "list", "-o", "json"), 110),
    Measured("`duroctl history show loop-1 -o json`", (*_DUROCTL, "history", "show", "loop-1", "-o", "json")),
    Measured("`duroctl stats -o json`", (*_DUROCTL, "stats", "-o", "json"), 1000),
    Measured(
        "`duroctl prune --all --keep-last 1 --check`", (*_DUROCTL, *["prune", "--all", "--keep-last", "1", "--check"])
    ),
)


def cpu_ms(measured: Measured, environment: dict[str, str]) -> tuple[float, float]:
    """CPU and wall time of one run."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began_s = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *measured.arguments], env=environment, capture_output=True, check=False, cwd=HERE.parent
    )
    wall_ms = (time.perf_counter() - began_s) * 1000
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 20):
        raise SystemExit(f"{measured.called} failed:\n{done.stderr.decode()[-2000:]}")
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000, wall_ms


def report(found: Sequence[tuple[Measured, float, float]], machine_text: str) -> str:
    """The results as a table. Pure."""
    lines = [machine_text, "", "| | CPU, ms | of an empty Python | budget, ms |", "|---|---|---|---|"]
    empty = found[0][1]
    for measured, cpu, _ in found:
        budget = "-"
        if measured.budget_ms is not None:
            budget = f"{measured.budget_ms:.0f}" + ("" if cpu <= measured.budget_ms else " (over)")
        lines.append(f"| {measured.called} | {cpu:.0f} | {cpu / empty:.1f} x | {budget} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--quick", action="store_true", help="a small store")
    parser.add_argument("--write", type=Path, help="put the table into this document")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="duro-bench-") as directory:
        url = make_store(Path(directory), 20 if asked.quick else _INSTANCES)
        environment = {**os.environ, "DUROCTL_STORE": url, "PYTHONPYCACHEPREFIX": f"{directory}/compiled"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed program is compiled
        for measured in _COMMANDS:
            cpu_ms(measured, environment)
        best: dict[Measured, tuple[float, float]] = {}
        for _ in range(asked.rounds):
            for measured in _COMMANDS:
                best[measured] = min(best.get(measured, (float("inf"), 0.0)), cpu_ms(measured, environment))
    text = report([(measured, *figures) for measured, figures in best.items()], machine())
    print(text)
    if asked.write:
        asked.write.write_text(put_into(asked.write.read_text(), text))


if __name__ == "__main__":
    main()
