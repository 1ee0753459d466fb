"""Waiting for instances to end: who tells how they did, and when to ask the store about which of them."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Final

from duro.model.records import InstanceEnd
from duro.model.status import FINAL_INSTANCE_STATUSES

POLL_INTERVAL_S: Final = 0.02
"""How often a waiting client looks for commits of other processes (a counter, not a query)."""

_SHARE_OF_ASKING: Final = 20
"""Asking about all instances waited for takes time that grows with them: after it, this many times as long passes
before all are asked about again. How those ended that did in this process is known without asking."""

Told = Callable[[Sequence[InstanceEnd]], None]


class FinishNotifier:
    """Tells those who wait for instances how they ended, when this process has committed it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._watchers: dict[str, Told | list[Told]] = {}
        """A list where there are several, which is seldom: thousands of lists are work for the garbage collector."""

    @property
    def has_watchers(self) -> bool:
        return bool(self._watchers)

    @contextmanager
    def watch(self, instance_ids: Sequence[str], told: Told) -> Iterator[None]:
        """Call ``told`` (from any thread) with the ends of ``instance_ids``, while the block runs."""
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

    def ended(self, ends: Sequence[InstanceEnd]) -> None:
        """From any thread. Of instances that have a final status."""
        ends_of: dict[Told, list[InstanceEnd]] = {}
        with self._lock:
            for each in ends:
                for told in _all(self._watchers.get(each.instance_id, [])):
                    ends_of.setdefault(told, []).append(each)
        for told, theirs in ends_of.items():
            told(theirs)


def _all(watchers: Told | list[Told]) -> list[Told]:
    return watchers if isinstance(watchers, list) else [watchers]


class Waiting:
    """The instances one caller waits for. Not thread-safe, but for ``tell``."""

    def __init__(self, instance_ids: Sequence[str]) -> None:
        self._pending: dict[str, int] = dict.fromkeys(instance_ids, 0)
        """With the life (incarnation) that was there when the store was last asked; 0: not yet."""
        self._told: deque[InstanceEnd] = deque()
        self._seen: tuple[int, ...] | None = None
        self._ask_all_at_s = 0.0

    def tell(self, ends: Sequence[InstanceEnd]) -> None:
        """So these have ended. From any thread."""
        self._told.extend(ends)

    def take_told(self) -> list[InstanceEnd]:
        """What was told of instances waited for, which are so no more. Not of a life before the one that was there: its
        end may be told when its id is used again."""
        told = []
        while self._told:
            end = self._told.popleft()
            if self._pending.get(end.instance_id) == end.incarnation:
                del self._pending[end.instance_id]
                told.append(end)
        return told

    @property
    def pending(self) -> list[str]:
        return list(self._pending)

    def to_ask(self, change_counter: tuple[int, ...], now_s: float) -> list[str]:
        """Whom to ask the store about now: everybody, if something was committed since the last time and that is a
        while ago, else nobody."""
        if not self._pending or change_counter == self._seen or now_s < self._ask_all_at_s:
            return []
        self._seen = change_counter
        return self.pending

    def answered(self, ends: Mapping[str, InstanceEnd], took_s: float, now_s: float) -> None:
        """The store has said of those asked about how, or that they have not, ended."""
        self._ask_all_at_s = now_s + _SHARE_OF_ASKING * took_s
        for instance_id, end in ends.items():
            if end.status in FINAL_INSTANCE_STATUSES:
                self._pending.pop(instance_id, None)
            else:
                self._pending[instance_id] = end.incarnation
