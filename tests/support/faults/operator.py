"""One who does what a scenario is about, and does it again when he is told that it failed: ``operate``."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from duro.errors import DuroError
from tests.support.power.scenarios import Scenario
from tests.support.power.stage import Stage

_BUSY_MS: Final = 10
"""A lock that cannot be had just now is not waited for: nobody else has it."""


@dataclass
class Seen:
    """``acknowledged``: how often the first attempt was told that all was done; ``errors``: what was raised to the
    operator, all of it documented; ``finished``: whether one of the attempts came to its end; ``lives``: which life of
    those who work the last one was (``Stage.begin_again``)."""

    acknowledged: int = 0
    errors: list[DuroError] = field(default_factory=list)
    finished: bool = False
    lives: int = 0


def operate(
    scenario: Scenario,
    place: Path,
    *,
    attempts: int = 1,
    reopens: bool = False,
    first_life: int = 1,
    said: Callable[[], None] = lambda: None,
) -> Seen:
    """Up to so many attempts, with the same open store, or (``reopens``) another one.

    Raises: whatever is raised to him that is no documented error; nobody may meet that.
    """
    seen = Seen(lives=first_life - 1)
    stage: Stage | None = None

    def told() -> None:
        if seen.lives == first_life:
            seen.acknowledged += 1
            said()

    try:
        for _ in range(attempts):
            seen.lives += 1
            try:
                if stage is None:
                    stage = Stage(place, told, busy_timeout_ms=_BUSY_MS)
                if seen.lives > 1:
                    stage.begin_again(seen.lives)
                scenario.act(stage)
            except DuroError as error:
                seen.errors.append(error)
                if reopens and stage is not None:
                    stage.close()
                    stage = None
            else:
                seen.finished = True
                break
    finally:
        if stage is not None:
            stage.close()
    return seen
