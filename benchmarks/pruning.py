"""What pruning costs and how fast it is: ``python -m benchmarks.pruning``. See ``make bench-pruning``."""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from benchmarks.programs.duro_prune_program import SMALL_CACHE_MIB
from benchmarks.report import put_into, shown
from benchmarks.run import HERE, PEERS_PYTHON, machine

TIMEOUT_S: Final = 900.0
LOOPS_PER_ROUND: Final = 3
"""How often a round runs the loop in each way, one way after the other: their shares are closer to each other than two
runs of the same way some seconds apart are on many machines."""
WRITERS_PER_ROUND: Final = 4
"""How often a round runs the writer, alone and beside the prune in turn: the slowest of tens of thousands of writes is
another one every time."""
IN_THE_FIRST_ROUND: Final = ("growth", "small_cache", "traced")
"""Workloads and settings of sizes, which are the same every time."""
WAYS: Final = ("none", "activity", "prune_history", "continue_as_new", "registration", "configuration")
CALLED: Final = {
    "none": "no pruning",
    "activity": "by an activity (as before)",
    "prune_history": "A: `ctx.prune_history`",
    "continue_as_new": "B: `continue_as_new(prune=)`",
    "registration": "C: `auto_prune=` at registration",
    "configuration": "D: configuration",
}


class Run(NamedTuple):
    """One program run: whose, what, how, how much."""

    system: str
    workload: str
    setting: str
    size: int


Results = Mapping[Run, list[Mapping[str, float]]]


def plan(quick: bool) -> list[Run]:
    loop, growth, instances = (500, 2000, 100) if quick else (5000, 100_000, 1000)
    runs = [Run("duro", "eternal", way, loop) for way in WAYS]
    sizes = (instances // 10, instances, 2 * instances)
    runs += [Run("duro", "bulk", setting, size) for setting in ("default", "small_cache", "traced") for size in sizes]
    runs += [Run("duro", "kept", "default", instances), Run("duro", "limit", "default", instances)]
    runs += [] if quick else [Run("duroxide", "bulk", "default", instances // 10)]  # with more its pool times out
    runs += [Run("duro", "writer", how, instances) for how in ("alone", "beside")]
    runs += [Run("duro", "plan", "default", instances)]
    runs += [Run("duro", "kept_loop", "default", growth // 2)]
    return [*runs, Run("duro", "growth", "registration", growth)]


def in_round(runs: Sequence[Run], number: int) -> list[Run]:
    """What round ``number`` (from 1) runs, in order."""
    again = [run for run in runs if number == 1 or not {run.workload, run.setting} & {*IN_THE_FIRST_ROUND}]
    loops = [run for run in again if run.workload == "eternal"]
    writers = [run for run in again if run.workload == "writer"]
    others = [run for run in again if run not in loops and run not in writers]
    return loops * LOOPS_PER_ROUND + others + writers * WRITERS_PER_ROUND


def measure(run: Run) -> Mapping[str, float] | None:
    """What the program says in a process of its own; None: a peer could not do it this time."""
    with tempfile.TemporaryDirectory(prefix="duro-bench-") as directory:
        arguments = [run.workload, run.setting, str(run.size), directory]
        command = [sys.executable, "-m", f"benchmarks.programs.{run.system}_prune_program", *arguments]
        if run.system != "duro":
            command = [str(PEERS_PYTHON), str(HERE / "programs" / f"{run.system}_prune_program.py"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, cwd=HERE.parent, check=False)
    said = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not said:
        if run.system != "duro":
            return None
        raise SystemExit(f"{run} failed:\n{done.stderr[-2000:]}")
    figures: dict[str, float] = json.loads(said[-1])
    return figures


def typical(results: Results, run: Run, figure: str = "rate") -> float | None:
    rounds = results.get(run)
    if not rounds:
        return None
    return median(each["count"] / each["wall_s"] if figure == "rate" else each[figure] for each in rounds)


def of(results: Results, system: str, workload: str, setting: str = "default") -> list[Run]:
    return [run for run in results if run[:3] == (system, workload, setting)]


def report(results: Results, machine_text: str) -> str:
    """The results as tables. Pure."""
    return "\n\n".join(
        [machine_text, *_rounds(results), *_ways(results), *_growth(results), *_bulk(results), *_writers(results)]
    )


def _rounds(results: Results) -> Iterator[str]:
    a_round = {"eternal": LOOPS_PER_ROUND, "writer": WRITERS_PER_ROUND}
    if results:
        yield f"Rounds: {max(len(found) // a_round.get(run.workload, 1) for run, found in results.items())}."


def _spread(results: Results, run: Run, figure: str) -> str:
    """Median, and the lowest to the highest of several."""
    found = sorted(each["count"] / each["wall_s"] if figure == "rate" else each[figure] for each in results[run])
    return shown(median(found)) + (f" ({shown(found[0])} to {shown(found[-1])})" if len(found) > 1 else "")


def _ways(results: Results) -> Iterator[str]:
    runs = [run for way in WAYS for run in of(results, "duro", "eternal", way)]
    base = typical(results, runs[0]) if runs else None
    if base is None:
        return
    yield f"An eternal loop of {runs[0].size:,} executions of one activity, keeping one:"
    lines = ["| way | executions/s | share of no pruning | store at the end, MiB |", "|---|---|---|---|"]
    for run in runs:
        share = 100 * (typical(results, run) or 0) / base
        size_mib = typical(results, run, "file_mib") or 0
        lines.append(f"| {CALLED[run.setting]} | {_spread(results, run, 'rate')} | {share:.0f} % | {shown(size_mib)} |")
    yield "\n".join(lines)


def _growth(results: Results) -> Iterator[str]:
    for run in of(results, "duro", "growth", "registration"):
        found = [(key, median(each[key] for each in results[run])) for key in results[run][0] if key.startswith("mib_")]
        said = ", ".join(f"{shown(size)} MiB after {int(key[4:]):,}" for key, size in found)
        yield f"The same loop under C for {run.size:,} executions: the file and its log take {said}."


def _bulk(results: Results) -> Iterator[str]:
    lines = ["| | events/s | peak memory grown by, MiB |", "|---|---|---|"]
    for system, workload, called in (
        ("duro", "bulk", "duro"),
        ("duro", "kept", "duro, into an archive"),
        ("duro", "limit", "bare range `DELETE`"),
        ("duroxide", "bulk", "duroxide"),
    ):
        for run in of(results, system, workload):
            grown = f"{typical(results, run, 'grown_mib'):.1f}" if "grown_mib" in results[run][0] else "-"
            lines.append(f"| {called}, {run.size:,} instances | {shown(typical(results, run) or 0)} | {grown} |")
    yield "Bulk prune to the current execution, instances of 100 executions of 10 events:"
    yield "\n".join(lines)
    yield from _memory(results)
    for run in of(results, "duro", "kept"):
        share = 100 * (typical(results, run) or 0) / (typical(results, run._replace(workload="bulk")) or 1)
        kept_mib = typical(results, run, "kept_mib") or 0
        yield f"Into an archive a bulk prune has {share:.0f} % of its speed; the segments take {shown(kept_mib)} MiB."
    for run in of(results, "duro", "kept_loop"):
        figures = ("waiting_max", "file_mib")
        rate, (waiting, file_mib) = typical(results, run), (typical(results, run, figure) or 0 for figure in figures)
        yield (
            f"The loop of {run.size:,} executions, keeping one and the rest in an archive: {shown(rate or 0)} "
            f"executions/s; at most {shown(waiting)} waited, and the store took {shown(file_mib)} MiB at the end."
        )
    for run in of(results, "duro", "plan"):
        wall_s = typical(results, run, "wall_s") or 0
        yield f"Planning {run.size * 100:,} executions takes {wall_s:.2f} s."


def _memory(results: Results) -> Iterator[str]:
    found: dict[str, list[str]] = {}
    sizes: list[str] = []
    for setting, figure in (("small_cache", "grown_mib"), ("traced", "python_mib")):
        runs = of(results, "duro", "bulk", setting)
        sizes = [f"{run.size:,}" for run in runs]
        found[setting] = [f"{typical(results, run, figure):.1f}" for run in runs]
    if all(found.values()):
        yield (
            f"With a page cache of {SMALL_CACHE_MIB} MiB, to see what else there is, pruning {_listed(sizes)} "
            f"instances takes {_listed(found['small_cache'])} MiB; Python's objects are at most "
            f"{_listed(found['traced'])} MiB of it."
        )


def _listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]


def _writers(results: Results) -> Iterator[str]:
    writers = [run for how in ("alone", "beside") for run in of(results, "duro", "writer", how)]
    lines = ["| a writer | runs | writes | p50, ms | p99.9, ms | max, ms |", "|---|---|---|---|---|---|"]
    for run in writers:
        cells = [_spread(results, run, figure) for figure in ("writes", "p50_ms", "p999_ms", "max_ms")]
        called = "alone" if run.setting == "alone" else "beside the prune"
        lines.append(f"| {called} | {len(results[run])} | {' | '.join(cells)} |")
    if writers:
        yield "\n".join(lines)
    if len(writers) == 2:
        alone, beside = writers
        times = [
            (typical(results, beside, figure) or 0) / (typical(results, alone, figure) or 1)
            for figure in ("p999_ms", "max_ms")
        ]
        yield f"Beside the prune p99.9 is {times[0]:.1f} times what it is alone, and the maximum {times[1]:.1f} times."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="small sizes, without peers")
    parser.add_argument("--only", default="", help="workloads, such as eternal,bulk (all)")
    parser.add_argument("--write", type=Path, help="put the tables into this document")
    asked = parser.parse_args()
    only = {word for word in asked.only.split(",") if word}
    results: dict[Run, list[Mapping[str, float]]] = {}
    runs = [run for run in plan(asked.quick) if not only or run.workload in only]
    for number in range(1, asked.rounds + 1):
        for run in in_round(runs, number):
            figures = measure(run)
            if figures is None:
                print(f"round {number}  {run.system} {run.workload}: it failed", flush=True)
                continue
            results.setdefault(run, []).append(figures)
            said = {key: shown(figure) for key, figure in figures.items()}
            print(f"round {number}  {run.system} {run.workload} {run.setting} {run.size}: {said}", flush=True)
    text = report(results, machine())
    print("\n" + text)
    if asked.write:
        asked.write.write_text(put_into(asked.write.read_text(), text))
        kept = [{**run._asdict(), "rounds": figures} for run, figures in results.items()]
        (HERE / "results-pruning.json").write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
