"""Waiting for instances to end: who tells, and which of them to ask the store about when."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Final

POLL_INTERVAL_S: Final = 0.02
"""How often a waiting client looks for commits of other processes (a counter, not a query)."""

_SHARE_OF_ASKING: Final = 10
"""Asking about all instances waited for takes time that grows with them: after it, this many times as long passes
before all are asked about again. Those that ended in this process are known without asking."""

Told = Callable[[Sequence[str]], None]


class FinishNotifier:
    """Wakes the waiters of instances when a worker of this process has committed their ends."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._watchers: dict[str, Told | list[Told]] = {}
        """A list where there are several, which is seldom: thousands of lists are work for the garbage collector."""

    @contextmanager
    def watch(self, instance_ids: Sequence[str], told: Told) -> Iterator[None]:
        """Call ``told`` (from any thread) with those of ``instance_ids`` that ended, while the block runs."""
        watched = dict.fromkeys(instance_ids)
        with self._lock:
            for each in watched:
                others = self._watchers.get(each)
                self._watchers[each] = told if others is None else [*_all(others), told]
        try:
            yield
        finally:
            with self._lock:
                for each in watched:
                    others = self._watchers.pop(each)
                    if isinstance(others, list):
                        others.remove(told)
                        self._watchers[each] = others if len(others) > 1 else others[0]

    def finished(self, instance_ids: Sequence[str]) -> None:
        if not self._watchers:
            return
        ended_of: dict[Told, list[str]] = {}
        with self._lock:
            for each in instance_ids:
                for told in _all(self._watchers.get(each, [])):
                    ended_of.setdefault(told, []).append(each)
        for told, ended in ended_of.items():
            told(ended)


def _all(watchers: Told | list[Told]) -> list[Told]:
    return watchers if isinstance(watchers, list) else [watchers]


class Waiting:
    """The instances one caller waits for. Not thread-safe, but for ``tell``."""

    def __init__(self, instance_ids: Sequence[str]) -> None:
        self._pending = dict.fromkeys(instance_ids)
        self._told: deque[str] = deque()
        self._seen: tuple[int, ...] | None = None
        self._ask_all_at_s = 0.0

    def tell(self, instance_ids: Sequence[str]) -> None:
        """These have ended. From any thread."""
        self._told.extend(instance_ids)

    @property
    def pending(self) -> list[str]:
        return list(self._pending)

    def to_ask(self, change_counter: tuple[int, ...], now_s: float) -> list[str]:
        """Whom to ask the store about now: everybody if something was committed since the last time and that is a while
        ago, else those that are known to have ended."""
        told = []
        while self._told:
            told.append(self._told.popleft())
        if change_counter != self._seen and now_s >= self._ask_all_at_s:
            self._seen = change_counter
            return self.pending
        return [each for each in told if each in self._pending]

    def answered(self, asked: int, ended: Sequence[str], took_s: float, now_s: float) -> None:
        """The store was asked about ``asked`` instances; these of them have ended."""
        if asked >= len(self._pending):
            self._ask_all_at_s = now_s + _SHARE_OF_ASKING * took_s
        for each in ended:
            self._pending.pop(each, None)
