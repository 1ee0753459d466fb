"""Mutation testing itself: which mistakes it makes, that weak tests let them through and strong ones do not."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.mutation.mutants import mutants_of, original_code
from tests.support.mutation.session import exchange

ROOT = Path(__file__).parents[2]

SOURCE = '''\
LIMIT = 10


class Box:
    @staticmethod
    def fits(size: int, *, strict: bool = True) -> bool:
        """Whether it fits."""
        if strict and size < LIMIT:
            return True
        return size == 3 + 1


def halves(sizes):
    total = 0
    for size in sizes:
        total += size if size not in (1,) else 0
    assert total is not None
    if not sizes:
        raise ValueError(f"none of {len(sizes) + 1}")
    print(total)
    return total // 2
'''


def test_every_kind_of_mistake_is_made_where_the_code_runs_and_nowhere_else() -> None:
    assert [(each.outer, each.line, each.what) for each in mutants_of(SOURCE, "box.py")] == [
        ("Box.fits", 8, "condition negated: strict and size < LIMIT -> not (strict and size < LIMIT)"),
        ("Box.fits", 8, "boolean: strict and size < LIMIT -> strict or size < LIMIT"),
        ("Box.fits", 8, "comparison: size < LIMIT -> size <= LIMIT"),
        ("Box.fits", 9, "constant: True -> False"),
        ("Box.fits", 10, "return value: return size == 3 + 1 -> return None"),
        ("Box.fits", 10, "comparison: size == 3 + 1 -> size != 3 + 1"),
        ("Box.fits", 10, "operator: 3 + 1 -> 3 - 1"),
        ("Box.fits", 10, "constant: 3 -> 4"),
        ("Box.fits", 10, "constant: 3 -> 2"),
        ("Box.fits", 10, "constant: 1 -> 2"),
        ("Box.fits", 10, "constant: 1 -> 0"),
        ("halves", 14, "constant: 0 -> 1"),
        ("halves", 14, "constant: 0 -> -1"),
        ("halves", 16, "statement removed: total += size if size not in (1,) else 0 -> pass"),
        (
            "halves",
            16,
            "operator: total += size if size not in (1,) else 0 -> total -= size if size not in (1,) else 0",
        ),
        (
            "halves",
            16,
            "condition negated: size if size not in (1,) else 0 -> size if not size not in (1,) else 0",
        ),
        ("halves", 16, "comparison: size not in (1,) -> size in (1,)"),
        ("halves", 16, "constant: 1 -> 2"),
        ("halves", 16, "constant: 1 -> 0"),
        ("halves", 16, "constant: 0 -> 1"),
        ("halves", 16, "constant: 0 -> -1"),
        ("halves", 18, "condition negated: not sizes -> not not sizes"),
        ("halves", 18, "not removed: not sizes -> sizes"),
        ("halves", 19, "statement removed: raise ValueError(f'none of {len(sizes) + 1}') -> pass"),
        ("halves", 20, "statement removed: print(total) -> pass"),
        ("halves", 21, "return value: return total // 2 -> return None"),
        ("halves", 21, "operator: total // 2 -> total * 2"),
        ("halves", 21, "constant: 2 -> 3"),
        ("halves", 21, "constant: 2 -> 1"),
    ]


def test_a_mutant_is_the_function_with_one_mistake() -> None:
    for mutant in mutants_of(SOURCE, "box.py"):
        assert mutant.code.co_qualname == mutant.outer
        assert mutant.code.co_filename == "box.py"


OVERLOADED = """\
class Box:
    @overload
    def size(self, of: int) -> int: ...
    @overload
    def size(self, of: str) -> str: ...
    def size(self, of):
        return of + 1

    @property
    def full(self):
        return 1

    @full.setter
    def full(self, value):
        self.value = value + 2
"""


def test_the_function_that_was_changed_is_exchanged_and_not_another_one_of_its_name() -> None:
    found = {}
    for mutant in mutants_of(OVERLOADED, "box.py"):
        original = original_code(OVERLOADED, "box.py", mutant)
        assert original is not None
        found[mutant.line] = original.co_firstlineno
    assert found == {7: 6, 11: 9, 15: 13}


def test_a_function_that_would_need_another_closure_is_not_exchanged() -> None:
    class Base:
        pass

    class Heir(Base):
        def __init__(self) -> None:
            super().__init__()

    def nothing(self: object) -> None:
        pass

    before = Heir.__init__.__code__
    assert before.co_freevars == ("__class__",)
    assert not exchange(before, nothing.__code__)
    assert Heir.__init__.__code__ is before


def test_what_no_test_notices_survives(tmp_path: Path) -> None:
    (tmp_path / "ages.py").write_text(
        "def of_age(years):\n    return years >= 18\n\n\ndef kind(years):\n    return 70 if years > 7 else 7\n"
    )
    (tmp_path / "test_ages.py").write_text(
        "import ages\n\n\ndef test_of_age():\n    assert ages.of_age(20)\n    assert not ages.of_age(16)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.mutation", "ages.py", "test_ages.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'runtime'}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = [line.removeprefix("survived: ages.py:") for line in done.stderr.splitlines() if "survived" in line]
    assert told == ["2 comparison: years >= 18 -> years > 18", "2 constant: 18 -> 19", "2 constant: 18 -> 17"]
    assert "13 mutants, 13 tried, 1 killed (0 by a time-out), 3 survived, 9 not reached" in done.stdout
