"""What a runtime's log says of its configuration file while it watches it."""

import logging
from pathlib import Path

import pytest

from duro.host.settings import WatchedSettings
from duro.testing.clock import ManualClock


def test_whoever_was_told_that_a_file_is_not_applied_is_told_when_it_is_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "runtime_config.toml"
    path.write_text("[pruning]\ndefault_keep_last = 3\n")
    clock = ManualClock()
    watched = WatchedSettings(path, clock)

    def settle() -> list[str]:
        caplog.clear()
        for _ in range(3):
            clock.advance(1_000)
            watched.look()
        return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]

    assert settle() == []
    good = path.read_text()
    path.unlink()
    (said,) = settle()
    assert said.startswith(f"{path} is not applied, the settings before it stay in force: ")
    path.write_text(good)
    assert settle() == [f"{path} can be used again and is applied"]
    path.write_text(good.replace("3", "4"))
    assert settle() == [], "a change that goes well is no warning"
    assert watched.settings.pruning.default is not None
