"""The errors that only a command line has; everything else is raised by duro itself (``duro.errors``)."""

from duro.errors import DuroError


class DeclinedError(DuroError):
    """The person at the terminal said no. Nothing was changed."""

    exit_code = 4


class OutputError(DuroError):
    """Standard output takes no more, though somebody reads it: its disk is full, or it may not grow. What a command did
    is done; what it printed is not whole."""


class PartlyDoneError(DuroError):
    """Some of what was asked was done, and some was not; the output says which."""

    exit_code = 3
