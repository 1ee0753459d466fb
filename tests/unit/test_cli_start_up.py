"""The entry point of duroctl, before any command runs."""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest

from duroctl.__main__ import main


class _InterruptedImport:
    """Ctrl-C while the application is imported."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name == "duroctl.app":
            raise KeyboardInterrupt
        return None


def test_an_interrupt_while_the_application_is_imported_ends_like_any_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "duroctl.app", raising=False)
    monkeypatch.setattr(sys, "meta_path", [_InterruptedImport(), *sys.meta_path])
    with pytest.raises(SystemExit) as ended:
        main(["instances", "list"])
    assert ended.value.code == 130
    assert capsys.readouterr() == ("", "")
