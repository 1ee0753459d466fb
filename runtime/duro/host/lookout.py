"""Whether a worker's looking for work in the store can be worth it, and how long it may wait before that changes."""

import itertools
from typing import Final

from duro.stores.base import Store

_SHORTEST_DELAY_S: Final = 0.001
"""A timer that is due in less is not worth a spin."""


class Lookout:
    """What is known of work that is not leased yet: there was more at the last look, a client of this runtime wrote, a
    time has come; or (asked once a poll interval) somebody else committed something. All times are the store's
    (``now_ms``) or monotonic (``now_s``). One thread, but for ``notice_write``."""

    def __init__(self, store: Store, poll_interval_s: float) -> None:
        self._store = store
        self._poll_interval_s = poll_interval_s
        self.is_due = True
        """Whether to look at once, whatever else is known."""
        self._next_ready_at_ms: int | None = None
        self._seen_change: tuple[int, ...] = ()
        self._poll_at_s = 0.0
        self._writes = itertools.count(1)
        self._last_write = 0
        """The number of the last write of a client of this runtime ..."""
        self._last_write_seen = 0
        """... and of the last one that came before a look."""

    def notice_write(self) -> None:
        """A client of this runtime has written something that may be work. From any thread."""
        self._last_write = next(self._writes)

    def may_find_work(self, now_s: float) -> bool:
        """Raises StoreError."""
        if self.is_due or self._last_write != self._last_write_seen:
            return True
        if self._next_ready_at_ms is not None and self._store.now_ms() >= self._next_ready_at_ms:
            return True
        if now_s < self._poll_at_s:
            return False
        self._poll_at_s = now_s + self._poll_interval_s
        return self._store.change_counter() != self._seen_change

    def begin(self) -> int:
        """A look begins; what it gives is for ``looked``."""
        return self._last_write

    def saw_change(self, change: tuple[int, ...]) -> None:
        """A look begins that sees what was committed up to this change counter."""
        self._seen_change = change

    def looked(self, began: int, now_s: float, next_ready_at_ms: int | None, *, more: bool) -> None:
        """A look has ended. ``more``: it may have left some; ``next_ready_at_ms``: of what is not ready yet."""
        self._last_write_seen = began
        self._poll_at_s = now_s + self._poll_interval_s
        self._next_ready_at_ms = next_ready_at_ms
        self.is_due = more

    def delay_s(self, now_s: float) -> float:
        """How long there is nothing to look for, as far as is known; 0: look now."""
        if self.is_due or self._last_write != self._last_write_seen:
            return 0.0
        delay_s = max(_SHORTEST_DELAY_S, self._poll_at_s - now_s)
        if self._next_ready_at_ms is not None:
            delay_s = min(delay_s, max(_SHORTEST_DELAY_S, (self._next_ready_at_ms - self._store.now_ms()) / 1000))
        return delay_s
