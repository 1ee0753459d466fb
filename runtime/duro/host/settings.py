"""The configuration file of a runtime, watched: read once a second, applied when it has settled."""

import os
from pathlib import Path

from duro.clock import Clock
from duro.errors import SettingsError
from duro.settings import watch
from duro.settings.values import RuntimeSettings
from duro.telemetry import HOST_LOGGER


class WatchedSettings:
    """``settings`` are those in force. ``look`` is called by one loop.

    Raises (the constructor):
        SettingsError: the file is not there or cannot be used; all its problems at once.
    """

    def __init__(self, config: "str | os.PathLike[str]", clock: Clock) -> None:
        self.path = Path(config)
        self._shown = os.fspath(config)
        self._clock = clock
        self._state = watch.begin(self._shown, self._read())

    @property
    def settings(self) -> RuntimeSettings:
        return self._state.settings

    @property
    def problem(self) -> SettingsError | None:
        """Why the file as it is now is not in force; None: it is."""
        return self._state.problem

    def look(self) -> bool:
        """Read the file. True: other settings are in force now."""
        before = self._state
        self._state = watch.observe(before, self._read())
        problem = self._state.problem
        if problem is not None and str(problem) != str(before.problem):
            HOST_LOGGER.warning(
                "%s is not applied, the settings before it stay in force: %s",
                self._shown,
                "; ".join(f"{each.place}: {each.message}" for each in problem.problems),
            )
        changed = self._state.settings is not before.settings
        if changed:
            HOST_LOGGER.info("%s is applied", self._shown)
        return changed

    def _read(self) -> watch.Read:
        return watch.look(self.path, self._shown, round(self._clock.monotonic_s() * 1000))
