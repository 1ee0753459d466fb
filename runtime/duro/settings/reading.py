"""From the bytes of a runtime_config.toml to its settings, or to everything that is wrong with it. Pure."""

from typing import Any, Final

import tomli

from duro.errors import SettingsError
from duro.model.problem import FileProblem
from duro.settings.check import Finding, check_document, header, named
from duro.settings.places import Lines, Place, find_twice, scan
from duro.settings.values import RuntimeSettings, build_settings

FILE_BYTES_MAX: Final = 1024 * 1024
"""A larger file is something else by mistake; ten thousand overrides fit."""

_NESTING: Final = r"""(?:[\[{][ \t\r\n]*)+|(?:[\w"'-]+[ \t]*\.[ \t]*)+"""


def read_settings(data: bytes, file: str) -> RuntimeSettings:
    """The settings in ``data``; ``file`` is how origins and errors call the file.

    Raises:
        SettingsError: it cannot be used, with every problem there is (of broken TOML only the first can be told).
    """
    text = decode(data, file)
    document = parse(text, file)
    checked = check_document(document)
    places, lines = scan(text), Lines(text)
    if checked.findings:
        problems = [_problem(finding, places[finding.path], lines, file) for finding in checked.findings]
        raise SettingsError(sorted(problems, key=lambda problem: (problem.line, problem.column)))
    return build_settings(checked.values, {path: lines.line(place.key) for path, place in places.items()}, file)


def decode(data: bytes, file: str) -> str:
    """``data`` as text, without a byte order mark.

    Raises:
        SettingsError: it is too long or no UTF-8.
    """
    if len(data) > FILE_BYTES_MAX:
        message = f"it has more than {FILE_BYTES_MAX} bytes, which is the most that is read"
        raise SettingsError([FileProblem(file, 0, 0, message, "name a runtime_config.toml")])
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8").removeprefix("\ufeff")
        place = Lines(before).line_and_column(len(before))
        raise SettingsError([FileProblem(file, *place, "it is not UTF-8 text", "save it as UTF-8")]) from error


def parse(text: str, file: str) -> dict[str, Any]:
    """The TOML document ``text``.

    Raises:
        SettingsError: it is no TOML.
    """
    try:
        return tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        problem = _twice(error, file) or FileProblem(
            file, error.lineno, _column(text, error), error.msg, "correct the TOML"
        )
    except RecursionError:
        place = Lines(text).line_and_column(_longest(_NESTING, text))
        problem = FileProblem(file, *place, "brackets or keys are nested too deeply", "write it with fewer levels")
    except ValueError:  # the reader lets the error of int() through: a number of thousands of digits
        place = Lines(text).line_and_column(_longest("[0-9][0-9_]*", text))
        problem = FileProblem(file, *place, "a number has thousands of digits", "write a smaller one")
    raise SettingsError([problem])


def _twice(error: tomli.TOMLDecodeError, file: str) -> FileProblem | None:
    """What the reader refused because it is there already, if it is that: with both places."""
    if not error.msg.startswith(_THERE_ALREADY):
        return None
    found = find_twice(error.doc[: error.pos])
    if found is None:
        return None
    lines = Lines(error.doc)
    line, column = lines.line_and_column(found.first)
    name = header(found.path) if found.is_header else named(found.path[:-1], found.path[-1])
    message = f"{name} is given twice, first in line {line}, column {column}"
    return FileProblem(file, *lines.line_and_column(found.second), message, "keep one of them")


_THERE_ALREADY: Final = (
    "Cannot overwrite a value",
    "Cannot declare ",
    "Cannot mutate immutable namespace ",
    "Cannot redefine namespace ",
    "Duplicate inline table key ",
)


def _column(text: str, error: tomli.TOMLDecodeError) -> int:
    """The column of ``error``, at most one past its line: at the end of a file the reader may count further."""
    return min(error.colno, len(text.split("\n")[error.lineno - 1]) + 1)


def _problem(finding: Finding, place: Place, lines: Lines, file: str) -> FileProblem:
    line, column = lines.line_and_column(place.key if finding.at_key else place.value)
    return FileProblem(file, line, column, finding.message, finding.hint)


def _longest(pattern: str, text: str) -> int:
    """The offset of the first of the longest matches; 0 if there is none."""
    import re  # only a hopeless file pays for it

    return -max([(0, 0), *((len(match[0]), -match.start()) for match in re.finditer(pattern, text))])[1]
