"""One pytest session: the tests are collected once, then every mutant is judged in a fork."""

import contextlib
import gc
import importlib
import json
import math
import os
import random
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, Final, NamedTuple

import coverage
import pytest

from tests.support.mutation.mutants import Mutant, mutants_of, original_code

_TESTS_MAX: Final = 1_000
"""Of those that reach a line, the fastest."""

_SECONDS_MIN: Final = 5
_TIMES_MAX: Final = 10
"""So many times as long as without a mistake, and ``_SECONDS_MIN``, a test may take."""

_RUNTIME: Final = Path(__file__).parents[3] / "runtime"
_FAILED, _PASSED = 1, 0


class Judged(NamedTuple):
    mutant: Mutant
    verdict: str
    """"killed", "timeout" (counts as killed), "survived", "not reached"."""

    tests: int


class MutationSession:
    """A pytest plugin that judges mutants in place of running the tests. ``share``: of all mutants, at random; no
    further one is begun at ``until_s``."""

    def __init__(self, file: Path, share: float, seed: int, only_lines: frozenset[int], until_s: float) -> None:
        self._file = file
        self._source = file.read_text()
        self._share = share
        self._seed = seed
        self._only = only_lines
        self._until_s = until_s
        self.judged: list[Judged] = []
        self.all = 0

    def pytest_configure(self) -> None:
        import hypothesis  # pytest wants to be the first to load it

        phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
        hypothesis.settings.register_profile("mutants", database=None, deadline=None, derandomize=True, phases=phases)
        hypothesis.settings.load_profile("mutants")

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if self._file.is_relative_to(_RUNTIME):  # some modules are loaded late, by whoever needs them
            importlib.import_module(".".join(self._file.relative_to(_RUNTIME).with_suffix("").parts))
        tests_of_line, seconds = self._baseline(session)
        items = {item.nodeid: item for item in session.items}
        mutants = list(mutants_of(self._source, str(self._file)))
        self.all = len(mutants)
        self._check_forks(list(items.values()), seconds, mutants)
        for mutant in self._chosen(mutants):
            if time.monotonic() >= self._until_s:
                break
            reaching = sorted(tests_of_line.get(mutant.line, ()), key=lambda each: seconds[each])[:_TESTS_MAX]
            verdict = "not reached"
            if reaching:
                verdict = self._judge(mutant, [items[each] for each in reaching], seconds)
            self.judged.append(Judged(mutant, verdict, len(reaching)))
            if verdict not in ("killed", "timeout"):
                print(f"{verdict}: {self._file.name}:{mutant.line} {mutant.what}", file=sys.__stderr__, flush=True)
        return True

    def _chosen(self, mutants: Sequence[Mutant]) -> list[Mutant]:
        """In their order, unless time may run out before the last."""
        choice = random.Random(self._seed)
        wanted = [each for each in mutants if not self._only or each.line in self._only]
        wanted = [each for each in wanted if choice.random() < self._share]
        if self._until_s != math.inf:
            choice.shuffle(wanted)
        return wanted

    def _baseline(self, session: pytest.Session) -> tuple[dict[int, set[str]], dict[str, float]]:
        """Which tests reach which line, and how long each takes, from a run in a fork.

        Raises:
            pytest.UsageError: they do not pass as it is.
        """
        with tempfile.NamedTemporaryFile("r", suffix=".json") as told:
            child = os.fork()
            if child == 0:
                _run_baseline(session, str(self._file), told.name)
            _, status = os.waitpid(child, 0)
            if status:
                raise pytest.UsageError("the tests do not pass without a mutant")
            found = json.loads(told.read())
        lines: dict[int, set[str]] = defaultdict(set)
        for line, nodes in found["lines"].items():
            lines[int(line)] = {node for node in nodes if node in found["seconds"]}
        return lines, found["seconds"]

    def _check_forks(self, items: Sequence[pytest.Item], seconds: dict[str, float], mutants: Sequence[Mutant]) -> None:
        """The tests pass in the order of their time, too, when a function is exchanged for itself.

        Raises:
            pytest.UsageError: they do not: whatever kills the mutants is not the mistake in them.
        """
        if not mutants:
            return
        original = original_code(self._source, str(self._file), mutants[0])
        assert original is not None, "it was found a moment ago"
        itself = mutants[0]._replace(code=original)
        ordered = sorted(items, key=lambda item: seconds[item.nodeid])
        verdict = self._judge(itself, ordered, seconds)
        if verdict != "survived":
            raise pytest.UsageError(f"without a mistake, in forks, the tests were {verdict}")

    def _judge(self, mutant: Mutant, items: Sequence[pytest.Item], seconds: dict[str, float]) -> str:
        """``seconds`` of each test: one that takes many times as long does not end."""
        child = os.fork()
        if child == 0:
            _silence()
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            original = original_code(self._source, str(self._file), mutant)
            if original is None or not exchange(original, mutant.code):
                os._exit(3)
            _run(items, seconds)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            return "timeout" if os.WTERMSIG(status) == signal.SIGALRM else "killed"
        return {_PASSED: "survived", 3: "not loaded"}.get(os.WEXITSTATUS(status), "killed")


class _StopAtFailure:
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            os._exit(_FAILED)


class _Contexts:
    def __init__(self, measured: coverage.Coverage) -> None:
        self._measured = measured
        self.seconds: dict[str, float] = defaultdict(float)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._measured.switch_context(nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] += report.duration


class _Limits:
    """Ends the process inside a test that does not end: at once, not when all others might have been over."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self._seconds = seconds

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        signal.alarm(round(_SECONDS_MIN + _TIMES_MAX * self._seconds[nodeid]))


def _run(items: Sequence[pytest.Item], seconds: dict[str, float]) -> None:
    """In a fork: the status says whether one failed."""
    manager = items[0].config.pluginmanager
    manager.register(_StopAtFailure())
    manager.register(_Limits(seconds))
    with contextlib.suppress(BaseException):
        _run_all(items)
        os._exit(_PASSED)
    os._exit(_FAILED)


def _run_all(items: Sequence[pytest.Item]) -> None:
    for item, following in zip(items, [*items[1:], None], strict=True):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)


def _run_baseline(session: pytest.Session, file: str, told: str) -> None:
    _silence()
    measured = coverage.Coverage(data_file=None, include=[file], config_file=False)
    contexts = _Contexts(measured)
    manager = session.config.pluginmanager
    manager.register(contexts)
    manager.register(_StopAtFailure())
    try:
        measured.start()
        _run_all(session.items)
        measured.stop()
        lines: dict[int, list[str]] = measured.get_data().contexts_by_lineno(file)
        Path(told).write_text(json.dumps({"lines": lines, "seconds": contexts.seconds}))
    except BaseException:
        os._exit(_FAILED)
    os._exit(_PASSED)


def _silence() -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)


def exchange(original: CodeType, mutated: CodeType) -> bool:
    """Of every function that runs ``original``. False: there is none, or it cannot be exchanged (without its only
    ``super()``, say, it needs another closure)."""
    if len(original.co_freevars) != len(mutated.co_freevars):
        return False
    found = [
        each
        for each in gc.get_objects()
        if isinstance(each, FunctionType)
        and each.__code__.co_qualname == original.co_qualname
        and each.__code__.co_firstlineno == original.co_firstlineno
        and each.__code__.co_filename == original.co_filename
    ]
    for function in found:
        function.__code__ = mutated
    return bool(found)


def run(
    file: Path, tests: Sequence[str], *, share: float, seed: int, only_lines: frozenset[int], seconds: float
) -> tuple[Any, float]:
    """The session that judged the mutants of ``file``, and how long it took."""
    began_s = time.monotonic()
    session = MutationSession(file, share, seed, only_lines, began_s + seconds)
    status = pytest.main(["-p", "no:cacheprovider", "-p", "no:terminal", "-o", "addopts=", *tests], plugins=[session])
    if status not in (0, 5):
        raise SystemExit(f"pytest ended with {status}")
    return session, time.monotonic() - began_s
