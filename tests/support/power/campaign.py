"""Record a run, build the states that a cut may leave, and look into each: ``Campaign``."""

import contextlib
import hashlib
import itertools
import math
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from duro.stores.sqlite import connection, sql
from tests.support.power import disk as disks
from tests.support.power.judge import Judge, workplace
from tests.support.power.recorder import Lie, Recording, recorded, truthful
from tests.support.power.scenarios import SCENARIOS, Scenario
from tests.support.power.stage import Stage
from tests.support.power.states import outcomes

_FEW_PAGES: Final = 8

_ONE_IN: Final = 25
"""Of so many states one is gone on from to the end, and the power is cut again while one is opened."""

_SECOND_CUTS: Final = 4
"""States of a second cut that are looked at."""


@contextlib.contextmanager
def _checkpoints_after(pages: int) -> Iterator[None]:
    with (
        patch.object(sql, "SET_WAL_AUTOCHECKPOINT", f"PRAGMA wal_autocheckpoint = {pages}"),
        patch.object(connection, "_AUTOCHECKPOINT_PAGES", pages),
        patch.object(connection, "_AUTOCHECKPOINT_PAGES_OF_BULK", pages),
    ):
        yield


@dataclass(frozen=True)
class Looked:
    """Whether a state was gone on from, and what was wrong."""

    finished: bool
    wrong: str = ""


@dataclass(frozen=True)
class _Where:
    """A cut, in words when they are wanted."""

    recording: Recording
    number: int
    last: disks.Operation | None
    acknowledged: int

    def __str__(self) -> str:
        after = describe(self.recording, self.last)
        return f"a cut after operation {self.number} ({after}), {self.acknowledged} acknowledged"


@dataclass
class Report:
    """``operations`` were recorded; ``states`` is how many a cut may leave that were built, ``checked`` how many of
    them differ from all others, ``finished`` how many were gone on from."""

    scenario: str
    operations: int = 0
    states: int = 0
    checked: int = 0
    finished: int = 0
    lost: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.scenario:30} {self.operations:6,} operations {self.states:9,} states {self.checked:9,} checked "
            f"{self.finished:7,} finished {len(self.lost):5,} lost"
        )

    def count(self, looked: Looked, where: _Where) -> None:
        self.checked += 1
        self.finished += looked.finished
        if looked.wrong:
            self.lost.append(f"{self.scenario}: {where}: {looked.wrong}")

    def add(self, other: "Report") -> None:
        self.operations += other.operations
        self.states += other.states
        self.checked += other.checked
        self.finished += other.finished
        self.lost += other.lost


class Campaign:
    """One scenario, in a directory of its own. ``keep``: where the files of the first lost state are put."""

    def __init__(self, scenario: Scenario, directory: Path, *, seed: int = 0, keep: Path | None = None) -> None:
        self.scenario = scenario
        self._keep = keep
        self._choice = random.Random(f"{seed} {scenario.name}")
        self._judge = Judge(scenario, directory)

    # --- the run ----------------------------------------------------------------------------------------------

    def record(
        self,
        lies: Lie = truthful,
        mistake: Callable[[], AbstractContextManager[Any]] = nullcontext,
        *,
        short_log: bool = False,
    ) -> Recording:
        """What the run does to its disk, as it does when ``mistake`` is entered. ``short_log``: the log is copied into
        the file again and again, and begins anew, which else happens after thousands of pages."""
        place = self._judge.begin()
        few = _checkpoints_after(_FEW_PAGES) if short_log else nullcontext()
        with recorded(place, lies) as recorder, mistake(), few:
            stage = Stage(place, recorder.acknowledge)
            self.scenario.act(stage)
            stage.close()
        self._judge.clear()
        return recorder.recording

    # --- its states -------------------------------------------------------------------------------------------

    def run(self, recording: Recording, states: int, *, lost_max: int = 5) -> Report:
        """Build about ``states`` states, spread over all cuts (after an acknowledgement all that are not left to
        chance), and look at those that differ, until ``lost_max`` were found to be lost."""
        report = Report(self.scenario.name, len(recording.operations))
        share, chances = self._shares(recording, states)
        seen: set[bytes] = set()
        for number, disk, last, acknowledged in self._cuts(recording):
            told = isinstance(last, disks.Acknowledge)
            for outcome in outcomes(disk, last, math.ceil(chances * len(disk.unsynced)), self._choice):
                if not told and self._choice.random() >= share:
                    continue
                report.states += 1
                files = disk.after(outcome)
                key = _key(files, acknowledged)
                if key in seen:
                    continue
                seen.add(key)
                where = _Where(recording, number, last, acknowledged)
                report.count(self._look(files, acknowledged, finish=self._one()), where)
                if self._one():
                    for again in self._cut_again(files):
                        report.states += 1
                        report.count(self._look(again, acknowledged, finish=self._one()), where)
                if len(report.lost) >= lost_max:
                    return report
        return report

    def _one(self) -> bool:
        return self._choice.randrange(_ONE_IN) == 0

    def _cut_again(self, files: dict[str, bytes | None]) -> list[dict[str, bytes | None]]:
        """What a cut while the store is opened and closed may leave, if the first one left ``files``."""
        place = self._judge.place
        lay(files, place)
        with recorded(place) as recorder, contextlib.suppress(Exception):  # one that cannot be opened was told of
            Stage(place).close()
        self._judge.clear()
        recording = recorder.recording
        count = sum(1 for _, disk, last, _ in self._cuts(recording) for _ in outcomes(disk, last, 0, self._choice))
        chosen = set(self._choice.sample(range(count), min(_SECOND_CUTS, count)))
        numbers = itertools.count()
        return [
            disk.after(outcome)
            for _, disk, last, _ in self._cuts(recording)
            for outcome in outcomes(disk, last, 0, self._choice)
            if next(numbers) in chosen
        ]

    def _shares(self, recording: Recording, states: int) -> tuple[float, float]:
        """Which part of the states that are not left to chance is looked at; and of those that are, how many at a cut
        for each operation that was not synced then, for so many more there are."""
        certain = unsynced = 0
        for _, disk, last, _ in self._cuts(recording):
            certain += sum(1 for _ in outcomes(disk, last, 0, self._choice))
            unsynced += len(disk.unsynced)
        return states / certain, max(0, states - certain) / max(1, unsynced)

    @staticmethod
    def _cuts(
        recording: Recording,
    ) -> Iterator[tuple[int, disks.Disk, disks.Operation | None, int]]:
        """The disk, and how many acknowledgements there were, after each operation and before the first. Those where
        somebody was told come first: most of what can be wrong is wrong there."""
        for told in (True, False):
            disk = recording.disk()
            acknowledged = 0
            if not told:
                yield 0, disk, None, 0
            for number, operation in enumerate(recording.operations, 1):
                disk.apply(operation)
                acknowledged += isinstance(operation, disks.Acknowledge)
                if told is isinstance(operation, disks.Acknowledge):
                    yield number, disk, operation, acknowledged

    def _look(self, files: dict[str, bytes | None], acknowledged: int, *, finish: bool) -> Looked:
        """Into a state, and whether it can be gone on from (``finish``)."""
        lay(files, self._judge.place)
        try:
            self._judge.check(acknowledged, finish=finish)
        except Exception as error:  # whatever it is that cannot be opened, read or gone on from
            if self._keep is not None and not self._keep.exists():
                lay(files, self._keep)
            return Looked(finish, f"{type(error).__name__}: {error}")
        finally:
            self._judge.clear()
        return Looked(finish)


def describe(recording: Recording, operation: disks.Operation | None) -> str:
    names = recording.file_names
    match operation:
        case None:
            return "before the first"
        case disks.Write(file=number, offset=offset, data=data):
            return f"write of {len(data)} to {names[number]} at {offset}"
        case disks.Truncate(file=number, size=size):
            return f"truncate of {names[number]} to {size}"
        case disks.Sync(file=number):
            return f"sync of {names[number]}"
    return str(operation)


def lay(files: dict[str, bytes | None], place: Path) -> None:
    """Put files into a new directory."""
    place.mkdir(parents=True)
    for name, content in files.items():
        path = place / name
        if content is None:
            path.mkdir()
        else:
            path.touch(mode=0o600)
            path.write_bytes(content)


def _key(files: dict[str, bytes | None], acknowledged: int) -> bytes:
    hashed = hashlib.blake2b(str(acknowledged).encode(), digest_size=16)
    for name, content in files.items():
        hashed.update(f"\0{name}\0{-1 if content is None else len(content)}\0".encode())
        hashed.update(content or b"")
    return hashed.digest()


def run_scenario(name: str, states: int, *, seed: int = 0, short_log: bool = False, keep: Path | None = None) -> Report:
    """Record one of ``SCENARIOS``, and look at about so many states that a cut of power may leave."""
    with workplace() as directory:
        campaign = Campaign(SCENARIOS[name], directory, seed=seed, keep=keep)
        return campaign.run(campaign.record(short_log=short_log), states)
