"""What the benchmarks make of their figures."""

import pytest

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
