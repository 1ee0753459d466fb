"""What a worker process says of its orchestrations, on standard error."""

import logging
from collections.abc import Callable, Iterator

import pytest

from duroctl.logs import log_to_stderr


@pytest.fixture(autouse=True)
def _levels() -> Iterator[None]:
    names = ("duro.host", "duro.orchestration")
    levels = [logging.getLogger(name).level for name in names]
    yield
    for name, level in zip(names, levels, strict=True):
        logging.getLogger(name).setLevel(level)


@pytest.fixture
def unconfigured(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """To be called in the test: pytest puts handlers of its own on the root logger after the fixtures were made."""
    return lambda: monkeypatch.setattr(logging.getLogger(), "handlers", [])


def speak() -> None:
    logging.getLogger("duro.orchestration").info("%s: %s", "i", "step \x1b[31m1")
    logging.getLogger("duro.orchestration").debug("detail")
    logging.getLogger("duro.host").info("routine")
    try:
        raise ValueError("no\nluck")
    except ValueError:
        logging.getLogger("duro.host").exception("a turn failed")


def test_traces_and_warnings_are_one_visible_line_each(
    capsys: pytest.CaptureFixture[str], unconfigured: Callable[[], None]
) -> None:
    unconfigured()
    log_to_stderr(verbose=False, quiet=False)
    speak()
    assert capsys.readouterr().err.splitlines() == [
        "duroctl: info: i: step \\x1b[31m1",
        "duroctl: error: a turn failed (ValueError: no\\nluck; run again with -v for the traceback)",
    ]


def test_quiet_leaves_out_traces(capsys: pytest.CaptureFixture[str], unconfigured: Callable[[], None]) -> None:
    unconfigured()
    log_to_stderr(verbose=False, quiet=True)
    speak()
    assert [line.split(":")[1] for line in capsys.readouterr().err.splitlines()] == [" error"]


def test_verbose_shows_everything_with_tracebacks(
    capsys: pytest.CaptureFixture[str], unconfigured: Callable[[], None]
) -> None:
    unconfigured()
    log_to_stderr(verbose=True, quiet=False)
    speak()
    printed = capsys.readouterr().err
    assert "duroctl: debug: detail" in printed
    assert "duroctl: info: routine" in printed
    assert 'raise ValueError("no\\nluck")' in printed


def test_a_program_that_logs_its_own_way_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    logging.getLogger().addHandler(logging.NullHandler())
    log_to_stderr(verbose=True, quiet=False)
    speak()
    assert capsys.readouterr().err == ""
