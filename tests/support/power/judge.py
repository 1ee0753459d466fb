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
    lasting: list[StoreDump] = field(default_factory=list)

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
        reference.lasting = [lasting(dump) for dump in reference.dumps]
        self.scenario.files(stage, len(reference.acknowledged) - 1)
        stage.close()
        self.clear()
        return reference

    def begin(self) -> Path:
        """All is as it is before the scenario."""
        shutil.copytree(self._template, self.place)
        return self.place

    @contextlib.contextmanager
    def tried_out(self) -> Iterator[None]:
        """Whatever is done inside has not been done afterwards."""
        halfway = self.place.with_name("halfway")
        shutil.copytree(self.place, halfway)
        try:
            yield
        finally:
            shutil.rmtree(self.place)
            halfway.rename(self.place)

    def clear(self) -> None:
        """Nothing is there any more."""
        shutil.rmtree(self.place)

    def check(
        self, acknowledged: int, *, finish: bool, tried_again: bool = False, went_on: bool = False, life: int = 2
    ) -> None:
        """What is at ``place`` is allowed after so many acknowledgements, and (``finish``) can be gone on from, which
        is the ``life``-th life. ``tried_again``: something may have been done a second time, so times may differ.
        ``went_on``: others went on since, and may have come to the end.

        Raises: LostError, or whatever comes of opening and reading it.
        """
        with contextlib.closing(Stage(self.place)) as stage:
            dump = stage.store.dump()
            found = digest(dump)
            if tried_again or went_on:
                self._check_lasting_rows(dump, acknowledged, to_the_end=went_on)
            else:
                self._check_rows(dump, found, acknowledged)
            self._check_soundness(stage, dump, found)
            self._check_files(stage, acknowledged, to_the_end=went_on)
            if finish:
                stage.begin_again(life)
                self.scenario.act(stage)
                self._check_end(stage)

    def check_end(self) -> None:
        """What is at ``place`` is what the undisturbed run leaves.

        Raises: as ``check``.
        """
        with contextlib.closing(Stage(self.place)) as stage:
            self._check_end(stage)

    def _check_soundness(self, stage: Stage, dump: StoreDump, found: bytes) -> None:
        check_pages(stage.store)
        if found not in self._sound:  # what is looked for in the rows is not in equal rows either
            check_invariants(dump)
            check_file(stage.store)
            self._sound.add(found)

    def _check_rows(self, dump: StoreDump, found: bytes, acknowledged: int) -> None:
        allowed = self.reference.allowed(acknowledged)
        if found in self.reference.digests[allowed.start : allowed.stop]:
            return
        if found in self.reference.digests:
            place = self.reference.digests.index(found)
            raise LostError(f"the store is as of commit {place}, and {allowed} were expected")
        difference = differences(dump, self.reference.dumps[allowed.start])
        raise LostError(f"the store is as it never was: {difference}")

    def _check_lasting_rows(self, dump: StoreDump, acknowledged: int, *, to_the_end: bool) -> None:
        allowed = self.reference.allowed(acknowledged)
        if to_the_end:
            allowed = range(allowed.start, len(self.reference.lasting))
        found = lasting(dump)
        if found in self.reference.lasting[allowed.start : allowed.stop]:
            return
        if found in self.reference.lasting:
            place = self.reference.lasting.index(found)
            raise LostError(f"the store is as of commit {place}, and {allowed} were expected")
        difference = differences(found, self.reference.lasting[allowed.start])
        raise LostError(f"the store is as it never was: {difference}")

    def _check_files(self, stage: Stage, acknowledged: int, *, to_the_end: bool) -> None:
        """``to_the_end``: they may be as they are after any later acknowledgement."""
        last = len(self.reference.acknowledged) - 1 if to_the_end else acknowledged
        while True:
            try:
                return self.scenario.files(stage, acknowledged)
            except LostError:
                if acknowledged >= last:
                    raise
            acknowledged += 1

    def _check_end(self, stage: Stage) -> None:
        dump = stage.store.dump()
        self._check_soundness(stage, dump, digest(dump))
        self.scenario.files(stage, len(self.reference.acknowledged) - 1)
        if difference := differences(lasting(dump), self.reference.lasting[-1]):
            raise LostError(f"the second run ended elsewhere: {difference}")
