"""Which archive a command that removes uses, as far as the configuration file says it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from duro.errors import SettingsError
from duroctl.archives import enabled_directory

SAYS = '[archive]\nenabled = true\ndirectory = "kept"\n'


def session(file: Path | None) -> Any:
    return SimpleNamespace(config_file=file)


def test_a_file_that_enables_an_archive_is_heard(tmp_path: Path) -> None:
    file = tmp_path / "runtime_config.toml"
    assert enabled_directory(session(None)) is None
    file.write_text("[pruning]\n")
    assert enabled_directory(session(file)) is None
    file.write_text(SAYS)
    assert enabled_directory(session(file)) == str(tmp_path / "kept")


def test_a_file_that_cannot_be_read_is_an_error_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "runtime_config.toml"
    file.write_text(SAYS)

    def refused(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(file))

    monkeypatch.setattr(Path, "read_bytes", refused)
    monkeypatch.setattr("builtins.open", refused)
    with pytest.raises(SettingsError, match="it cannot be read: Permission denied; check the path"):
        enabled_directory(session(file))
