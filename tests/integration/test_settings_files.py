"""Reading a runtime_config.toml from disk and replacing it there."""

import errno
import fcntl
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from duro.disk import unfinished
from duro.errors import SettingsError
from duro.settings import files
from duro.settings.files import edit_file, load_settings, read_file

BEFORE, AFTER = b"# before\n", b"# after\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "runtime_config.toml"
    path.write_bytes(BEFORE)
    return path


def _names(directory: Path) -> list[str]:
    return sorted(each.name for each in directory.iterdir())


def test_settings_are_loaded_with_the_name_the_caller_gives_the_file(path: Path) -> None:
    path.write_text("[pruning]\ndefault_keep_last = 2\n")
    settings = load_settings(path, "conf.toml")
    assert settings.pruning.default is not None
    assert settings.pruning.default.origin == "conf.toml:2"


def test_what_is_no_readable_file_is_reported(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, message in (
        ("absent", "f: it does not exist"),
        (".", "f: it cannot be read: Is a directory"),
        ("pipe", "f: it is not a file"),
        ("a\0b", "f: it cannot be read: "),
    ):
        with pytest.raises(SettingsError) as caught:
            read_file(tmp_path / name, "f")
        assert caught.value.message.startswith(message)


def test_an_edit_replaces_the_file_and_keeps_its_permissions(path: Path) -> None:
    path.chmod(0o640)
    inode = path.stat().st_ino
    assert edit_file(path, "f", lambda data: data.replace(BEFORE, AFTER)) is True
    assert path.read_bytes() == AFTER
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert path.stat().st_ino != inode
    assert _names(path.parent) == ["runtime_config.toml"]


@pytest.mark.parametrize("allowed", [True, False])
def test_the_owner_stays_where_this_process_may_give_files_away(
    path: Path, monkeypatch: pytest.MonkeyPatch, allowed: bool
) -> None:
    given: list[tuple[int, int]] = []

    def fchown(_: int, user: int, group: int) -> None:
        given.append((user, group))
        if not allowed:
            raise PermissionError

    monkeypatch.setattr(os, "fchown", fchown)
    edit_file(path, "f", lambda _: AFTER)
    assert given == [(os.geteuid(), os.getegid())]
    assert path.read_bytes() == AFTER


def test_an_edit_that_changes_nothing_writes_nothing(path: Path) -> None:
    before = path.stat()
    assert edit_file(path, "f", lambda data: data) is False
    assert path.stat() == before


def test_a_symbolic_link_stays_one(path: Path) -> None:
    link = path.parent / "link.toml"
    link.symlink_to(path)
    assert edit_file(link, "f", lambda _: AFTER) is True
    assert link.is_symlink()
    assert path.read_bytes() == AFTER


def test_a_file_that_was_changed_meanwhile_is_left_as_it_is(path: Path) -> None:
    def edit(_: bytes) -> bytes:
        path.write_bytes(b"# somebody else\n")
        return AFTER

    with pytest.raises(SettingsError, match="f: it was changed by somebody else meanwhile; look at it and try again"):
        edit_file(path, "f", edit)
    assert path.read_bytes() == b"# somebody else\n"
    assert _names(path.parent) == ["runtime_config.toml"]


def test_a_file_that_may_not_be_written_is_not_replaced_either(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda asked, how: (asked, how) != (path, os.W_OK))  # to root all is allowed
    with pytest.raises(SettingsError, match="f: it may not be written; change its permissions, if it is yours to edit"):
        edit_file(path, "f", lambda _: AFTER)
    assert path.read_bytes() == BEFORE
    assert _names(path.parent) == ["runtime_config.toml"]


def test_of_many_edits_at_once_none_is_lost(path: Path) -> None:
    def add(name: str) -> None:
        for number in range(20):
            edit_file(path, "f", lambda data, number=number: data + f"# {name} {number}\n".encode())  # type: ignore[misc]

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(add, map(str, range(4)))) == [None] * 4
    lines = path.read_text().splitlines()[len(BEFORE.splitlines()) :]
    assert sorted(lines) == sorted(f"# {name} {number}" for name in range(4) for number in range(20))


def test_an_edit_does_not_wait_for_ever(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_PATIENCE_S", 0.0)
    with path.open("rb") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        with pytest.raises(SettingsError, match="f: it is being changed by somebody else; try again"):
            edit_file(path, "f", lambda _: AFTER)
    assert path.read_bytes() == BEFORE


def test_a_file_system_without_locks_is_edited_all_the_same(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(_: int, __: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    assert edit_file(path, "f", lambda _: AFTER) is True
    assert path.read_bytes() == AFTER


def test_the_new_file_is_on_disk_before_it_takes_the_name(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: steps.append("dir" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file"))
    replace = Path.replace

    def record(self: Path, target: Path) -> Path:
        steps.append("replace")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", record)
    edit_file(path, "f", lambda _: AFTER)
    assert steps == ["file", "replace", "dir"]


def test_what_an_edit_leaves_that_is_killed_is_found(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As ``duroctl doctor`` looks for it, when the process is gone."""
    seen: list[Path] = []

    def killed(self: Path, _: Path) -> Path:
        seen.append(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        edit_file(path, "f", lambda _: AFTER)
    assert seen == [path.with_name(f".{path.name}.{os.getpid()}.part")]
    monkeypatch.undo()
    seen[0].write_bytes(b"of another process of that number")
    assert edit_file(path, "f", lambda _: AFTER) is True
    assert _names(path.parent) == ["runtime_config.toml"]
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    left = path.with_name(f".{path.name}.{process.pid}.part")
    left.touch()
    assert unfinished(path.parent) == [left]


def test_a_failure_before_the_replacement_leaves_nothing_behind(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        edit_file(path, "f", lambda _: AFTER)
    assert path.read_bytes() == BEFORE
    assert _names(path.parent) == ["runtime_config.toml"]
