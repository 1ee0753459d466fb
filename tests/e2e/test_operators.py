"""Workers, operators and clients at once, killed and stopped under a clock that is set: the short form of ``make
operators``."""

from pathlib import Path

from tests.support.operating.campaign import run_campaign


def test_nothing_is_lost_while_operators_workers_and_the_clock_fail(tmp_path: Path) -> None:
    report = run_campaign(tmp_path, faults=8, seed=6, pause_max_s=0.5)
    assert report.faults.total() == 8
    assert report.faults["kill client-1"] + report.faults["kill client-2"] > 0
    assert report.calls["start told"] > 20
    assert report.calls["event told"] > 20
    assert report.calls.keys() - {"start told", "event told", "cancel told"}, "no client was killed inside a call"
    assert report.instances_acknowledged > 50
    assert report.activities_run > 100
    assert report.executions_in_archives > 50
    assert report.instances_removed > 20
    assert {command for command in report.commands if command.endswith(" 0")} >= {
        "prune 0",
        "orphans cleanup 0",
        "instances purge 0",
        "archive write 0",
        "archive verify 0",
        "doctor 0",
    }
