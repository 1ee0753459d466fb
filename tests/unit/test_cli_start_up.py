"""The entry point of duroctl, before any command runs."""

import gc
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


def test_the_garbage_collector_rests_while_the_program_is_loaded_and_not_while_a_command_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Looking again and again through what was imported, and once more at the end, takes a fifth of a short command."""
    seen = []

    class Watched(_InterruptedImport):
        def find_spec(
            self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
        ) -> ModuleSpec | None:
            if name == "duroctl.app":
                seen.append(("loading", gc.isenabled()))
            return None

    def run(arguments: Sequence[str]) -> int:
        seen.append((" ".join(arguments), gc.isenabled()))
        return 0

    import duroctl.app

    monkeypatch.setattr(sys, "meta_path", [Watched(), *sys.meta_path])
    monkeypatch.delitem(sys.modules, "duroctl.app")
    monkeypatch.delattr(duroctl, "app")
    monkeypatch.setattr(gc, "freeze", lambda: seen.append(("frozen", gc.isenabled())))
    monkeypatch.setattr("duroctl.app.run", run)
    with pytest.raises(SystemExit):
        main(["instances", "list"])
    assert seen[-2:] == [("instances list", True), ("frozen", True)]
    assert gc.isenabled()
