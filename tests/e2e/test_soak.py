"""The short form of ``make soak``."""

from pathlib import Path

from tests.support.soak import run_soak


def test_workers_under_mixed_work_stay_as_they_were(tmp_path: Path) -> None:
    report = run_soak(tmp_path, warm_up_s=3.0, measured_s=6.0, samples=30, pause_s=0.1)
    assert report.flat, str(report)
    assert report.instances > 50
    assert report.executions > report.instances
    assert report.activities_run > 100
