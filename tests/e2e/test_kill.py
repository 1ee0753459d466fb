"""Workers that are killed at random moments under load: the short form of ``make kill``."""

from pathlib import Path

from tests.support.campaign import run_campaign


def test_everything_acknowledged_happens_once_although_workers_are_killed(tmp_path: Path) -> None:
    report = run_campaign(tmp_path, kills=8, seed=1, pause_max_s=0.5)
    assert report.kills == 8
    assert report.instances > 50
    assert report.activities_run > 100
    assert report.events_raised > 20
    assert report.cancels > 0
    assert report.reads > 0
