"""The configuration file of a runtime, watched: read once a second, applied when it has settled."""

import os
from pathlib import Path
from typing import Final

from duro.clock import Clock
from duro.errors import SettingsError
from duro.settings import watch
from duro.settings.values import RuntimeSettings
from duro.telemetry import HOST_LOGGER

_PROBLEMS_TOLD_MAX: Final = 100
"""A file that is no configuration at all may have thousands."""


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
    def problems(self) -> tuple[str, ...]:
        """Everything that is wrong with the file as it is now, each with its place and what was probably meant."""
        problem = self._state.problem
        return () if problem is None else tuple(map(str, problem.problems[:_PROBLEMS_TOLD_MAX]))

    @property
    def problem(self) -> SettingsError | None:
        """Why the file as it is now is not in force; None: it is."""
        return self._state.problem

    def look(self) -> bool:
        """Read the file. True: other settings are in force now, or ``problems`` are others."""
        before, before_problems = self._state, self.problems
        self._state = watch.observe(before, self._read())
        problems = self.problems
        if problems and problems != before_problems:
            said = "; ".join(problems)
            HOST_LOGGER.warning("%s is not applied, the settings before it stay in force: %s", self._shown, said)
        changed = self._state.settings is not before.settings
        if before_problems and not problems:
            HOST_LOGGER.warning("%s can be used again and is applied", self._shown)
        elif changed:
            HOST_LOGGER.info("%s is applied", self._shown)
        return changed or problems != before_problems

    def _read(self) -> watch.Read:
        return watch.look(self.path, self._shown, round(self._clock.monotonic_s() * 1000))
