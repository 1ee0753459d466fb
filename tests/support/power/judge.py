"""What a scenario comes to when nothing disturbs it, and whether what a disturbed run left is allowed: ``Judge``."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from duro.stores.base import StoreDump
from duro.testing.invariants import check_invariants
from tests.support.power.checks import LostError, check_file, check_pages, differences, digest, lasting
from tests.support.power.scenarios import Scenario, set_up
from tests.support.power.stage import Stage

_IN_MEMORY: Final = Path("/dev/shm")


@contextlib.contextmanager
def workplace() -> Iterator[Path]:
    """A directory, in memory where there is a file system for that: what is checked is synced often."""
    where = _IN_MEMORY if _IN_MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="duro-power-", dir=where) as directory:
        yield Path(directory).resolve()


@dataclass
class Reference:
    """The undisturbed run: the store after each of its commits, and where in those each acknowledgement came."""

    dumps: list[StoreDump] = field(default_factory=list)
    acknowledged: list[int] = field(default_factory=lambda: [0])
    digests: list[bytes] = field(default_factory=list)
    lasting: StoreDump = field(default_factory=dict)

    def allowed(self, acknowledgements: int) -> range:
        """What may be found after so many acknowledgements: that of the last one, and all up to the next."""
        ends = [*self.acknowledged, len(self.dumps) - 1]
        return range(ends[acknowledgements], ends[acknowledgements + 1] + 1)


class Judge:
    """One scenario, in a directory of its own. Every run of it is at ``place``, for a store knows the paths of
    archives."""

    def __init__(self, scenario: Scenario, directory: Path) -> None:
        self.scenario = scenario
        self.place = directory / "run"
        self._template = directory / "before"
        self.place.mkdir()
        set_up(scenario, self.place)
        self.place.rename(self._template)
        self._sound: set[bytes] = set()
        self.reference = self._undisturbed()

    def _undisturbed(self) -> Reference:
        reference = Reference()
        stage: Stage | None = None

        def committed(point: str) -> None:
            if point == "commit.after" and stage is not None:
                reference.dumps.append(stage.store.dump())

        self.begin()
        stage = Stage(self.place, lambda: reference.acknowledged.append(len(reference.dumps) - 1), committed)
        reference.dumps.append(stage.store.dump())
        self.scenario.act(stage)
        for dump in reference.dumps:
            check_invariants(dump)
        reference.digests = [digest(dump) for dump in reference.dumps]
        reference.lasting = lasting(reference.dumps[-1])
        self.scenario.files(stage, len(reference.acknowledged) - 1)
        stage.close()
        self.clear()
        return reference

    def begin(self) -> Path:
        """All is as it is before the scenario."""
        shutil.copytree(self._template, self.place)
        return self.place

    def clear(self) -> None:
        """Nothing is there any more."""
        shutil.rmtree(self.place)

    def check(self, acknowledged: int, *, finish: bool) -> None:
        """What is at ``place`` is allowed after so many acknowledgements, and (``finish``) can be gone on from.

        Raises: LostError, or whatever comes of opening and reading it.
        """
        stage = Stage(self.place)
        with contextlib.closing(stage):
            dump = stage.store.dump()
            found = digest(dump)
            self._check_rows(dump, found, acknowledged)
            check_pages(stage.store)
            if found not in self._sound:  # what is looked for in the rows is not in equal rows either
                check_invariants(dump)
                check_file(stage.store)
                self._sound.add(found)
            self.scenario.files(stage, acknowledged)
            if finish:
                self._finish(stage)

    def _check_rows(self, dump: StoreDump, found: bytes, acknowledged: int) -> None:
        allowed = self.reference.allowed(acknowledged)
        if found in self.reference.digests[allowed.start : allowed.stop]:
            return
        if found in self.reference.digests:
            place = self.reference.digests.index(found)
            raise LostError(f"the store is as of commit {place}, and {allowed} were expected")
        difference = differences(dump, self.reference.dumps[allowed.start])
        raise LostError(f"the store is as it never was: {difference}")

    def _finish(self, stage: Stage) -> None:
        """Whoever was at it goes on."""
        stage.begin_again()
        self.scenario.act(stage)
        dump = stage.store.dump()
        check_invariants(dump)
        check_file(stage.store)
        self.scenario.files(stage, len(self.reference.acknowledged) - 1)
        if difference := differences(lasting(dump), self.reference.lasting):
            raise LostError(f"the second run ended elsewhere: {difference}")
