"""How many more activities a worker may take in hand."""

from duro.host.options import RuntimeOptions
from duro.registry import ActivityDefinition, Registry

_QUEUED_PER_THREAD = 2
"""Plain activities in hand per thread: one that runs, and one so that the thread does not wait for the next commit.
More would only keep them from other workers."""


class ActivityRoom:
    """Counts what is in hand, or claimed by a turn that is not committed yet."""

    def __init__(self, registry: Registry, options: RuntimeOptions) -> None:
        self._left = options.max_concurrent_activities
        self._plain_left = _QUEUED_PER_THREAD * options.max_activity_threads
        self._all = registry.activities
        definitions = [(name, registry.find_activity(name)) for name in self._all]
        self._async = tuple(name for name, definition in definitions if definition is not None and definition.is_async)

    def take(self, definition: ActivityDefinition) -> bool:
        """Whether there is room for one of these, which is then taken."""
        if self._left <= 0 or (not definition.is_async and self._plain_left <= 0):
            return False
        self._left -= 1
        self._plain_left -= not definition.is_async
        return True

    def give_back(self, definition: ActivityDefinition) -> None:
        self._left += 1
        self._plain_left += not definition.is_async

    def to_lease(self) -> tuple[tuple[str, ...], int]:
        """The names to lease activities of, and how many at most."""
        if self._left <= 0:
            return (), 0
        if self._plain_left <= 0:
            return self._async, self._left if self._async else 0
        if len(self._async) == len(self._all):
            return self._all, self._left
        return self._all, min(self._left, self._plain_left)
