"""What is wrong with a file, as a line like those of compilers, and as records."""

from typing import Final

from duro.model.problem import FileProblem
from duroctl.render.tables import Column, View
from duroctl.render.text import visible_field

PROBLEMS: Final = View(
    "duroctl.policy_check/1",
    "problems",
    (
        Column("file", "FILE", "id", lambda r: r.file),
        Column("line", "LINE", "number", lambda r: r.line),
        Column("column", "COLUMN", "number", lambda r: r.column),
        Column("message", "PROBLEM", "text", lambda r: r.message),
        Column("hint", "HINT", "text", lambda r: r.hint),
    ),
    lambda problem: problem._asdict(),
    lambda problem: problem.place,
)


def problem_line(problem: FileProblem) -> str:
    """``FILE:LINE:COLUMN: message; hint``, with nothing in it that a terminal would obey."""
    return visible_field(str(problem))
