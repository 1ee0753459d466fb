"""What the benchmarks make of their figures."""

import pytest

from benchmarks import pruning
from benchmarks.report import (
    BEGIN,
    END,
    Figures,
    Results,
    cell,
    chain_growth,
    met,
    put_into,
    report,
    targets_table,
    typical,
)
from benchmarks.workloads import DURO, LIMIT, PEERS, WORKLOADS, Contender, Workload

BY_KEY = {workload.key: workload for workload in WORKLOADS}
W1, W5 = BY_KEY["W1"], BY_KEY["W5"]
DUROXIDE = Contender("duroxide", "best")
DBOS = Contender("dbos", "best")


def done(count: int, wall_s: float, **more: float) -> Figures:
    return {"count": count, "wall_s": wall_s, "cpu_s": wall_s / 2, "peak_mib": 30.0} | more


def of(workload: Workload, **rounds: list[Figures | None]) -> Results:
    contenders = {"duro": DURO, "limit": LIMIT, "duroxide": DUROXIDE, "dbos": DBOS}
    return {(workload.key, contenders[name]): figures for name, figures in rounds.items()}


def test_the_median_of_the_rounds_counts_and_those_that_hung_are_left_out() -> None:
    results = of(W1, duro=[done(2000, 0.2), None, done(2000, 0.4), done(2000, 0.25)])
    assert typical(W1, DURO, results) == pytest.approx(8000)
    assert cell(W1, DURO, results) == "8,000 (5,000 to 10,000), 1 of 4 without a result"
    assert cell(W1, DUROXIDE, results) == "-"
    assert cell(W1, DURO, of(W1, duro=[None])) == "no result"


def test_a_target_is_held_against_the_best_setting_of_the_peer() -> None:
    peers: Results = {("W1", PEERS[0]): [done(200, 2)], ("W1", PEERS[1]): [done(200, 1)]}
    results = {**of(W1, duro=[done(2000, 0.25)], limit=[done(2000, 0.1)]), **peers}
    times_duroxide, times_dbos, of_rows, of_limit = W1.targets
    assert met(W1, times_duroxide, results) == (False, "40 times")
    assert met(W1, times_dbos, results) is None
    assert met(W1, of_limit, results) == (True, "40 %")
    assert met(W1, of_rows, results) is None


def test_where_less_is_better_the_smaller_one_wins() -> None:
    results = of(W5, duro=[done(100, 1, p50_ms=2.5)], dbos=[done(100, 1, p50_ms=4.0)])
    at_most, _, half_of_dbos = W5.targets
    assert met(W5, at_most, results) == (True, "2.5 ms")
    assert met(W5, half_of_dbos, results) == (False, "1.6 times")
    assert "| W5 | half of DBOS's at NORMAL | 1.6 times | **not met** |" in targets_table([W5], results)


def test_a_target_nobody_can_be_compared_with_is_not_met() -> None:
    text = targets_table([W1], of(W1, duro=[done(2000, 0.25)]))
    assert "| W1 | 25 times DBOS | no figure to compare with | **not met** |" in text


def test_the_growth_of_a_chain_is_that_of_its_best_rounds() -> None:
    results: Results = {
        ("W3a", DURO): [done(100, 0.1), done(100, 0.08)],
        ("W3c", DURO): [done(1000, 0.88), done(1000, 1.5)],
    }
    assert chain_growth(results) == pytest.approx(1.1)
    assert chain_growth({}) is None


def test_a_report_has_a_line_for_each_workload_that_ran() -> None:
    text = report(WORKLOADS, of(W1, duro=[done(2000, 0.25)]), "a machine")
    lines = text.splitlines()
    assert lines[0] == "a machine"
    assert [line for line in lines if line.startswith("| W1 |")] != []
    assert [line for line in lines if line.startswith("| W2 |")] == []


def test_the_report_goes_between_the_markers_and_nowhere_else() -> None:
    document = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert put_into(document, "new") == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"
    with pytest.raises(ValueError, match="has no"):
        put_into("nothing", "new")


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.key)
def test_every_target_compares_with_somebody_who_is_measured(workload: Workload) -> None:
    assert DURO in workload.sizes
    for target in workload.targets:
        assert set(target.against) <= set(workload.sizes)


# --- pruning -------------------------------------------------------------------------------------------------------


def pruning_results(rounds: int) -> dict[pruning.Run, list[Figures]]:
    """Figures that grow with every run of a kind."""
    results: dict[pruning.Run, list[Figures]] = {}
    for number in range(1, rounds + 1):
        for run in pruning.in_round(pruning.plan(quick=False), number):
            nth = len(results.setdefault(run, [])) + 1
            results[run].append(
                done(
                    1000 * nth,
                    1.0,
                    file_mib=0.2,
                    grown_mib=10.0 if run.setting == "default" else 5.5,
                    python_mib=1.6,
                    kept_mib=0.4,
                    waiting_max=30,
                    mib_1000=24.5,
                    writes=40_000,
                    p50_ms=0.2,
                    p999_ms=0.8 if run.setting == "alone" else 1.6,
                    max_ms=9.0 if run.setting == "alone" else 4.0 * nth,
                )
            )
    return results


@pytest.mark.parametrize("rounds", [1, 3])
def test_the_pruning_tables_say_how_often_everything_ran(rounds: int) -> None:
    results = pruning_results(rounds)
    assert {len(found) for run, found in results.items() if run.workload == "eternal"} == {3 * rounds}
    assert {len(found) for run, found in results.items() if run.workload == "writer"} == {4 * rounds}
    assert {len(found) for run, found in results.items() if run.setting in ("small_cache", "traced")} == {1}
    assert {len(found) for run, found in results.items() if run.workload in ("growth", "plan")} == {1, rounds}
    text = pruning.report(results, "A machine.")
    assert text.startswith(f"A machine.\n\nRounds: {rounds}.\n\n")
    assert f"| alone | {4 * rounds} | 40,000 (40,000 to 40,000) | 0.2 (0.2 to 0.2) |" in text


def test_of_the_writer_beside_a_prune_the_slowest_writes_of_all_runs_are_told() -> None:
    text = pruning.report(pruning_results(1), "")
    assert (
        "| beside the prune | 4 | 40,000 (40,000 to 40,000) | 0.2 (0.2 to 0.2) | 1.6 (1.6 to 1.6) | 10 (4 to 16) |"
        in text
    )
    assert "Beside the prune p99.9 is 2.0 times what it is alone, and the maximum 1.1 times." in text


def test_what_a_prune_takes_beside_its_page_cache_is_told_for_every_size() -> None:
    text = pruning.report(pruning_results(1), "")
    assert "| duro, 2,000 instances | 1,000 | 10.0 |" in text
    assert (
        "pruning 100, 1,000 and 2,000 instances takes 5.5, 5.5 and 5.5 MiB; Python's objects are at most 1.6, 1.6 and "
        "1.6 MiB of it."
    ) in text


def test_a_part_of_the_pruning_runs_gives_a_part_of_the_tables() -> None:
    results = pruning_results(1)
    for workload in {run.workload for run in results}:
        part = {run: found for run, found in results.items() if run.workload == workload}
        assert "Rounds: 1." in pruning.report(part, "")
