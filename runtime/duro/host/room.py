"""How many more activities a worker may take in hand."""

from typing import NamedTuple

from duro.host.attempts import ActivityOutcome
from duro.host.options import RuntimeOptions
from duro.registry import ActivityDefinition, Registry

_QUEUED_PER_THREAD = 2
"""Plain activities in hand per thread: one that runs, and one so that the thread does not wait for the next commit.
More would only keep them from other workers."""


class Room(NamedTuple):
    """What a worker may lease: ``names`` of activities, ``count_max`` of them together, and of some names no more than
    ``max_of`` says."""

    names: tuple[str, ...]
    count_max: int
    max_of: dict[str, int]


class ActivityRoom:
    """Counts what is in hand, or claimed by a turn that is not committed yet, and functions that run on though nobody
    waits for them any more."""

    def __init__(self, registry: Registry, options: RuntimeOptions) -> None:
        self._left = options.max_concurrent_activities
        self._plain_left = _QUEUED_PER_THREAD * options.max_activity_threads
        self._all = registry.activities
        definitions = [registry.find_activity(name) for name in self._all]
        known = [definition for definition in definitions if definition is not None]
        self._async = tuple(definition.name for definition in known if definition.is_async)
        self._left_of = {each.name: each.max_concurrent for each in known if each.max_concurrent is not None}

    def take(self, definition: ActivityDefinition) -> bool:
        """Whether there is room for one of these, which is then taken."""
        if self._left <= 0 or (not definition.is_async and self._plain_left <= 0):
            return False
        if self._left_of.get(definition.name, 1) <= 0:
            return False
        self._change(definition, -1)
        return True

    def give_back(self, definition: ActivityDefinition) -> None:
        self._change(definition, +1)

    def ended(self, outcome: ActivityOutcome) -> None:
        """A thread that stays with a function is none for others: neither is its place free, nor the one behind it; and
        the function still runs."""
        definition = outcome.attempt.definition
        match outcome.thread:
            case "free":
                self._change(definition, +1)
            case "stays":
                self._left += 1
                self._plain_left -= _QUEUED_PER_THREAD - 1
            case "is back":
                self._left -= 1
                self._plain_left += _QUEUED_PER_THREAD - 1
                self._change(definition, +1)

    def _change(self, definition: ActivityDefinition, count: int) -> None:
        self._left += count
        if not definition.is_async:
            self._plain_left += count
        if definition.max_concurrent is not None:
            self._left_of[definition.name] += count

    def to_lease(self) -> Room:
        """What there is room for now."""
        if self._left <= 0:
            return Room((), 0, {})
        names, count_max = self._all, self._left
        if self._plain_left <= 0:
            names = self._async
        elif len(self._async) < len(self._all):
            count_max = min(count_max, self._plain_left)
        if self._left_of:
            names = tuple(name for name in names if self._left_of.get(name, 1) > 0)
        max_of = {name: left for name in names if (left := self._left_of.get(name)) is not None}
        return Room(names, count_max if names else 0, max_of)
