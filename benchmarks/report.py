"""Results to a table people can read. Pure."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Final

from benchmarks.workloads import DURO, LIMIT, LIMIT_BY_ROWS, PEERS, Contender, Target, Workload

Figures = Mapping[str, float]
"""What one program said of one run, or nothing if it failed or hung."""

Results = Mapping[tuple[str, Contender], Sequence[Figures | None]]
"""Workload key and contender to one entry a round."""

BEGIN: Final = "<!-- results -->"
END: Final = "<!-- end of results -->"


def value(workload: Workload, figures: Figures) -> float:
    match workload.figure:
        case "rate":
            return figures["count"] / figures["wall_s"]
        case "ms_each":
            return 1000 * figures["wall_s"] / figures["count"]
        case name:
            return figures[name]


def more_is_better(workload: Workload) -> bool:
    return workload.figure == "rate"


def times_as_good(workload: Workload, ours: float, theirs: float) -> float:
    return ours / theirs if more_is_better(workload) else theirs / ours


def typical(workload: Workload, contender: Contender, results: Results) -> float | None:
    """The median over the rounds that gave a figure."""
    values = [value(workload, each) for each in results.get((workload.key, contender), ()) if each is not None]
    return median(values) if values else None


def best(workload: Workload, contenders: Sequence[Contender], results: Results) -> float | None:
    found = [each for one in contenders if (each := typical(workload, one, results)) is not None]
    if not found:
        return None
    return max(found) if more_is_better(workload) else min(found)


def met(workload: Workload, target: Target, results: Results) -> tuple[bool, str] | None:
    """Whether the target was reached, and by how much; None where one of the two has no figure."""
    ours = typical(workload, DURO, results)
    if ours is None:
        return None
    if not target.against:
        return ours <= target.factor, f"{shown(ours)} {workload.unit}"
    theirs = best(workload, target.against, results)
    if theirs is None:
        return None
    reached = times_as_good(workload, ours, theirs)
    said = f"{100 * reached:.0f} %" if target.factor < 1 else f"{reached:.3g} times"
    return reached >= target.factor, said


def shown(number: float) -> str:
    if number >= 1000:
        return f"{number:,.0f}"
    return f"{number:.3g}"


def cell(workload: Workload, contender: Contender, results: Results) -> str:
    """Median, spread (lowest to highest) over the rounds, and how many gave nothing."""
    rounds = results.get((workload.key, contender))
    if not rounds:
        return "-"
    values = sorted(value(workload, each) for each in rounds if each is not None)
    failed = len(rounds) - len(values)
    if not values:
        return "no result"
    text = shown(median(values))
    if len(values) > 1:
        text += f" ({shown(values[0])} to {shown(values[-1])})"
    return text + (f", {failed} of {len(rounds)} without a result" if failed else "")


def table(workloads: Sequence[Workload], results: Results) -> str:
    columns = [DURO, LIMIT, LIMIT_BY_ROWS, *PEERS]
    lines = [
        "| | workload | unit | " + " | ".join(each.label for each in columns) + " |",
        "|---|---|---|" + "---|" * len(columns),
    ]
    for workload in workloads:
        cells = [cell(workload, each, results) for each in columns]
        if any(each != "-" for each in cells):
            lines.append(f"| {workload.key} | {workload.what} | {workload.unit} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def targets_table(workloads: Sequence[Workload], results: Results) -> str:
    lines = ["| | target | reached | |", "|---|---|---|---|"]
    for workload in workloads:
        for target in workload.targets:
            if (workload.key, DURO) not in results:
                continue
            reached, said = met(workload, target, results) or (False, "no figure to compare with")
            lines.append(f"| {workload.key} | {target.wording} | {said} | {'met' if reached else '**not met**'} |")
    if (growth := chain_growth(results)) is not None:
        verdict = "met" if growth <= 1.2 else "**not met**"
        wording = "a step of 1,000 costs at most 1.2 times a step of 100 (the best round of each)"
        lines.append(f"| W3 | {wording} | {growth:.2f} times | {verdict} |")
    return "\n".join(lines)


def chain_growth(results: Results) -> float | None:
    """What a step of a chain of 1,000 costs, in steps of a chain of 100: the best round of each, for it is a property
    of the program and not of the machine's mood."""
    least = []
    for key in ("W3a", "W3c"):
        rounds = [each for each in results.get((key, DURO), ()) if each is not None]
        if not rounds:
            return None
        least.append(min(each["wall_s"] / each["count"] for each in rounds))
    return least[1] / least[0]


def costs_table(workloads: Sequence[Workload], results: Results) -> str:
    """CPU and memory beside the rates: microseconds of CPU for each thing done, and the peak of the process."""
    lines = ["| | contender | CPU, µs each | peak, MiB |", "|---|---|---|---|"]
    for workload in workloads:
        if workload.key not in ("W1", "W2", "W3c", "W4"):
            continue
        for contender in (DURO, LIMIT, LIMIT_BY_ROWS, *PEERS):
            rounds = [each for each in results.get((workload.key, contender), ()) if each is not None]
            if rounds:
                cpu_us = median(1e6 * each["cpu_s"] / each["count"] for each in rounds)
                peak_mib = median(each["peak_mib"] for each in rounds)
                lines.append(f"| {workload.key} | {contender.label} | {shown(cpu_us)} | {peak_mib:.0f} |")
    return "\n".join(lines)


def variants_table(workloads: Sequence[Workload], results: Results) -> str:
    """duro at other sizes of its cache."""
    lines = ["| | what | unit | cache | |", "|---|---|---|---|---|"]
    for workload in workloads:
        others = [one for one in workload.sizes if one.system == "duro" and one != DURO]
        for contender in [one for one in workload.sizes if one.system == "duro"] if others else []:
            size = "1000 (default)" if contender == DURO else contender.setting
            found = cell(workload, contender, results)
            if found != "-":
                lines.append(f"| {workload.key} | {workload.what} | {workload.unit} | {size} | {found} |")
    return "\n".join(lines)


def report(workloads: Sequence[Workload], results: Results, machine: str) -> str:
    parts = [machine, table(workloads, results), "### Targets", targets_table(workloads, results)]
    parts += ["### What it costs", costs_table(workloads, results)]
    parts += ["### The coroutine cache", variants_table(workloads, results)]
    return "\n\n".join(parts)


def put_into(document: str, text: str) -> str:
    """``document`` with ``text`` between the two markers.

    Raises:
        ValueError: the markers are not there.
    """
    before, found, rest = document.partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not (found and closed):
        raise ValueError(f"the document has no {BEGIN} ... {END}")
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"
