"""What is wrong in a file, and where."""

from typing import NamedTuple


class FileProblem(NamedTuple):
    """One problem in a text file.

    ``line`` and ``column`` count from 1, in characters; both are 0 if the problem is the file itself. ``hint`` says
    what to do.
    """

    file: str
    line: int
    column: int
    message: str
    hint: str

    @property
    def place(self) -> str:
        """``FILE:LINE:COLUMN``, or ``FILE`` alone."""
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file

    def __str__(self) -> str:
        return f"{self.place}: {self.message}; {self.hint}"
