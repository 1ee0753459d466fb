"""What finding and removing whole instances costs: ``python -m benchmarks.families``. See ``make bench-families``."""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from benchmarks.report import put_into, shown
from benchmarks.run import HERE, machine

TIMEOUT_S: Final = 900.0


class Run(NamedTuple):
    workload: str
    setting: str
    size: int


Results = Mapping[Run, list[Mapping[str, float]]]


def plan(quick: bool) -> list[Run]:
    size = 10_000 if quick else 100_000
    runs = [Run(workload, "default", size) for workload in ("list", "cleanup", "purge")]
    return runs + [Run("writer", setting, size) for setting in ("alone", "cleanup", "purge")]


def measure(run: Run) -> Mapping[str, float]:
    """What the program says in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="duro-bench-") as directory:
        arguments = [run.workload, run.setting, str(run.size), directory]
        command = [sys.executable, "-m", "benchmarks.programs.duro_family_program", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, cwd=HERE.parent, check=False)
    said = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not said:
        raise SystemExit(f"{run} failed:\n{done.stderr[-2000:]}")
    figures: dict[str, float] = json.loads(said[-1])
    return figures


def report(results: Results, machine_text: str) -> str:
    """The results as tables. Pure."""
    return "\n\n".join([machine_text, *_tables(results)])


def _tables(results: Results) -> Iterator[str]:
    def typical(run: Run, figure: str) -> float:
        return median(each[figure] for each in results[run])

    size = next(iter(results)).size
    yield f"A store of {size:,} children that have ended, 1 % of them orphans:"
    lines = ["| | time | instances/s |", "|---|---|---|"]
    for run in results:
        if run.workload == "list":
            lines.append(f"| the first page of orphans | {typical(run, 'p50_ms'):.1f} ms | - |")
        elif run.workload in ("cleanup", "purge"):
            called = "all orphans cleaned up" if run.workload == "cleanup" else "all children purged"
            count, wall_s = typical(run, "count"), typical(run, "wall_s")
            lines.append(f"| {called} ({count:,.0f}) | {wall_s:.2f} s | {shown(count / wall_s)} |")
    yield "\n".join(lines)
    writers = {run.setting: run for run in results if run.workload == "writer"}
    lines = [
        "| a writer that never rests | seconds | writes | p50, ms | p99.9, ms | p99.9, times alone | max, ms |",
        "|---|---|---|---|---|---|---|",
    ]
    for setting, run in writers.items():
        called = f"beside the {setting} of {typical(run, 'removed'):,.0f}" if setting != "alone" else "alone"
        times = typical(run, "p999_ms") / typical(writers["alone"], "p999_ms")
        figures = [typical(run, figure) for figure in ("wall_s", "writes", "p50_ms", "p999_ms")]
        cells = [called, *map(shown, [*figures, times, typical(run, "max_ms")])]
        lines.append(f"| {' | '.join(cells)} |")
    yield "\n".join(lines)
    yield (
        "Beside the clean-up 20 % are orphans, for of 1 % it is done before there are enough writes to tell p99.9 by. "
        f"All numbers are medians (rounds: {len(results[writers['alone']])})."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--write", type=Path, help="put the tables into this document")
    asked = parser.parse_args()
    results: dict[Run, list[Mapping[str, float]]] = {}
    for number in range(1, asked.rounds + 1):
        for run in plan(asked.quick):
            figures = measure(run)
            results.setdefault(run, []).append(figures)
            said = {key: shown(figure) for key, figure in figures.items()}
            print(f"round {number}  {run.workload} {run.setting} {run.size}: {said}", flush=True)
    text = report(results, machine())
    print("\n" + text)
    if asked.write:
        asked.write.write_text(put_into(asked.write.read_text(), text))


if __name__ == "__main__":
    main()
