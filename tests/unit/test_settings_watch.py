"""When a changed file takes effect, and what stays in force when it cannot."""

from pathlib import Path

import pytest

from duro.errors import SettingsError
from duro.model.problem import FileProblem
from duro.settings.watch import Read, WatchState, begin, look, observe

ONE, TWO, BROKEN = (b"[pruning]\ndefault_keep_last = 1\n", b"[pruning]\ndefault_keep_last = 2\n", b"[pruning\n")
GONE = SettingsError([FileProblem("f", 0, 0, "it does not exist", "check the path")])


def _keep_last(state: WatchState) -> int | None:
    default = state.settings.pruning.default
    return default.rules.keep_last if default and default.rules else None


def _after(state: WatchState, *reads: tuple[int, bytes | SettingsError]) -> WatchState:
    for at_ms, content in reads:
        state = observe(state, Read(at_ms, content))
    return state


def test_a_change_is_applied_when_two_reads_a_second_apart_agree() -> None:
    state = _after(begin("f", Read(0, ONE)), (1_000, TWO))
    assert _keep_last(state) == 1
    assert _keep_last(_after(state, (1_999, TWO))) == 1
    assert _keep_last(_after(state, (1_999, TWO), (2_000, TWO))) == 2


def test_a_file_that_is_still_being_written_is_waited_for() -> None:
    state = _after(begin("f", Read(0, ONE)), (1_000, TWO[:9]), (2_000, TWO), (2_500, TWO))
    assert (_keep_last(state), state.problem) == (1, None)
    assert _keep_last(_after(state, (3_000, TWO))) == 2


def test_a_change_that_is_taken_back_is_forgotten() -> None:
    state = _after(begin("f", Read(0, ONE)), (1_000, TWO), (2_000, ONE))
    assert state == begin("f", Read(0, ONE))
    assert _keep_last(_after(state, (3_000, TWO))) == 1


@pytest.mark.parametrize(
    ("content", "why"),
    [(BROKEN, "f:1:9: Expected ']' at the end of a table declaration"), (GONE, "f: it does not exist")],
    ids=["invalid", "vanished"],
)
def test_a_file_that_cannot_be_used_keeps_the_last_good_settings_and_says_why(
    content: bytes | SettingsError, why: str
) -> None:
    state = _after(begin("f", Read(0, ONE)), (1_000, content), (2_000, content))
    assert _keep_last(state) == 1
    assert str(state.problem).startswith(why)
    assert _after(state, (3_000, content), (4_000, content)) == state


def test_a_repaired_file_clears_the_problem() -> None:
    broken = _after(begin("f", Read(0, ONE)), (1_000, BROKEN), (2_000, BROKEN))
    state = _after(broken, (3_000, ONE), (4_000, ONE))
    assert (_keep_last(state), state.problem) == (1, None)
    assert _keep_last(_after(broken, (3_000, TWO), (4_000, TWO))) == 2


def test_a_file_that_vanishes_for_a_moment_changes_nothing() -> None:
    state = _after(begin("f", Read(0, ONE)), (1_000, GONE), (1_500, ONE), (2_500, GONE))
    assert (_keep_last(state), state.problem) == (1, None)


@pytest.mark.parametrize("content", [BROKEN, GONE], ids=["invalid", "absent"])
def test_nothing_begins_on_a_file_that_cannot_be_used(content: bytes | SettingsError) -> None:
    with pytest.raises(SettingsError):
        begin("f", Read(0, content))


def test_a_look_reads_the_file_or_says_why_it_cannot(tmp_path: Path) -> None:
    path = tmp_path / "runtime_config.toml"
    absent = look(path, "f", 5)
    assert (absent.at_ms, str(absent.content)) == (5, "f: it does not exist; check the path")
    assert absent.same(look(path, "f", 6))
    path.write_bytes(ONE)
    assert look(path, "f", 7) == Read(7, ONE)
    assert not absent.same(look(path, "f", 8))
