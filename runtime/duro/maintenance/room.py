"""Room for other processes that write: a pause now and then, and where one was in the way, smaller batches with a pause
after each, so that none of them waits for much longer than it would by itself."""

import time
from typing import Final

from duro.stores.base import Store

_PAUSE_S: Final = 0.001
"""Long enough for whoever waits for the write lock to see that it is free."""

_BATCHES_AT_A_STRETCH: Final = 10
"""Between two pauses, where nobody was in the way."""

_POLITE_BATCHES: Final = 50
"""For so long after somebody was in the way every batch is a small one."""


class Room:
    """The manners of one long piece of work. Its first batch is durable when it returns, for most work is one batch;
    the following ones are together, at the end: a sync each is what its neighbours would wait for most."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._batches = self._polite_until = 0

    @property
    def durable(self) -> bool:
        """Whether the next batch is to be durable by itself."""
        return self._batches == 0

    def end(self) -> None:
        """When all batches are done: they are durable."""
        if self._batches > 1:
            self._store.sync()

    def leave(self) -> bool:
        """After a batch. True: the next one is to be a small one."""
        self._batches += 1
        if self._store.contended():
            self._polite_until = self._batches + _POLITE_BATCHES
        polite = self._batches < self._polite_until
        if polite or self._batches % _BATCHES_AT_A_STRETCH == 0:
            time.sleep(_PAUSE_S)
        return polite
