"""The configuration that ``duroctl init`` makes: whole or not there, and there for good once it is said to be."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from duroctl.commands.init import _write_config

URL = "sqlite:////var/lib/duro/duro.db"


def test_a_new_configuration_is_synced_before_it_has_its_name_and_its_directory_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def noted(real: Callable[..., Any], what: Callable[..., str]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            calls.append(what(*args))
            return real(*args, **named)

        return call

    def synced(descriptor: int) -> str:
        return "sync directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "sync file"

    monkeypatch.setattr(os, "fsync", noted(os.fsync, synced))
    monkeypatch.setattr(os, "link", noted(os.link, lambda *_: "name"))
    _write_config(tmp_path / "runtime_config.toml", URL)
    assert calls == ["sync file", "name", "sync directory"]
    assert [each.name for each in tmp_path.iterdir()] == ["runtime_config.toml"]
    assert URL in (tmp_path / "runtime_config.toml").read_text()


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_new_configuration_is_for_whom_the_umask_says(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        _write_config(tmp_path / "runtime_config.toml", URL)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "runtime_config.toml").stat().st_mode) == mode


def test_a_configuration_that_cannot_be_written_whole_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="No space left"):
        _write_config(tmp_path / "runtime_config.toml", URL)
    assert list(tmp_path.iterdir()) == []
