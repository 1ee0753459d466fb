"""Room for other processes that write: a pause now and then, and where one was in the way, smaller batches with a pause
after each, so that none of them waits for much longer than it would by itself."""

import time
from collections.abc import Callable
from typing import Final, TypeVar

from duro.errors import CommitUnknownError, StoreFullError
from duro.stores.base import Store

T = TypeVar("T")

_PAUSE_S: Final = 0.001
"""Long enough for whoever waits for the write lock to see that it is free."""

_BATCHES_AT_A_STRETCH: Final = 10
"""Between two pauses, where nobody was in the way."""

_TRIES_MAX: Final = 5
"""Of one batch: a log that grows with each try and can be emptied, but not synced, looks like room for ever."""

POLITE_PART: Final = 5
"""Where somebody else writes, a batch is a fifth: so much shorter is the time in which others cannot."""

_POLITE_BATCHES: Final = 50
"""For so long after somebody was in the way every batch is a small one."""


class Room:
    """The manners of one long piece of work. Its first batch is durable when it returns, for most work is one batch;
    the following ones are together, at the end: a sync each is what its neighbours would wait for most. ``polite``:
    somebody was in the way just before it."""

    def __init__(self, store: Store, *, polite: bool = False) -> None:
        self._store = store
        self._batches = 0
        self._polite_until = _POLITE_BATCHES if polite else 0
        self._made = False

    def make(self, batch: Callable[[bool], T]) -> T:
        """What ``batch(False)`` returns. Where the disk is full, ``batch(True)``, a very small one, in the room that
        can be made, as long as any can, a few times. A batch whose commit is unknown may be done twice: what is removed
        is not there the second time.

        Raises: what ``batch`` raises.
        """
        small, tries = False, 0
        while True:
            try:
                return batch(small)
            except (StoreFullError, CommitUnknownError):
                tries += 1
                if tries == _TRIES_MAX or not self._store.make_room():
                    raise
                self._made = small = True
                self._polite_until = self._batches + _POLITE_BATCHES

    @property
    def durable(self) -> bool:
        """Whether the next batch is to be durable by itself."""
        return self._batches == 0

    def end(self) -> None:
        """When all batches are done: they are durable."""
        if self._batches > 1:
            self.make(lambda _: self._store.sync())
        if self._made:
            self._store.make_room()
            self._store.keep_reserve()

    @property
    def polite(self) -> bool:
        """Whether the next batch is to be a small one."""
        return self._batches < self._polite_until

    def leave(self) -> None:
        """After a batch."""
        self._batches += 1
        if self._store.contended():
            self._polite_until = self._batches + _POLITE_BATCHES
        if self.polite or self._batches % _BATCHES_AT_A_STRETCH == 0:
            time.sleep(_PAUSE_S)
