"""Standard output: results and nothing else, in the format that was asked for."""

import contextlib
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TextIO

from duroctl.render.tables import View, csv_line, exact_cell, tsv_line
from duroctl.render.text import id_line, visible

PAGE_ROWS = 1_000
_COLOURLESS = ("", "dumb", "unknown")
"""Values of TERM."""


class Pages(Iterator[Any]):
    """The records of a listing, fetched page by page: memory does not grow with the listing.

    The first page is fetched at once, so an error comes before anything is printed. ``next`` is the cursor after the
    last record, once that has been reached. ``limit`` 0: all there are.
    """

    def __init__(
        self, fetch: Callable[[int, str | None], tuple[tuple[Any, ...], str | None]], limit: int, cursor: str | None
    ) -> None:
        self._fetch = fetch
        self._left = limit
        self._unlimited = limit == 0
        self.next: str | None = cursor
        self._rows: Iterator[Any] = self._page()

    def __next__(self) -> Any:
        while True:
            for row in self._rows:
                return row
            if self.next is None or not (self._unlimited or self._left > 0):
                raise StopIteration
            self._rows = self._page()

    def _page(self) -> Iterator[Any]:
        size = PAGE_ROWS if self._unlimited else min(PAGE_ROWS, self._left)
        rows, self.next = self._fetch(size, self.next)
        self._left -= len(rows)
        return iter(rows)


class Output:
    """Writes results to ``stream`` in ``format``. ``terminal``: a person reads them, as tables."""

    def __init__(self, format: str, stream: TextIO) -> None:
        self.format = format
        self._stream = stream
        self.is_tty = stream.isatty()
        self.terminal = self.is_tty and format == "table"

    @property
    def width(self) -> int:
        """Columns of the terminal."""
        return terminal_width(self._stream)

    def encodable(self, text: str) -> str:
        """``text`` as the terminal can show it: see ``encodable``."""
        return encodable(text, self._stream)

    def only(self, *formats: str, what: str, instead: str = "") -> None:
        """For what cannot be printed in every format; to be called before anything is done.

        Raises:
            UsageError: another than ``formats`` was asked for. ``instead``: what prints it.
        """
        if self.format in formats:
            return
        from duro.errors import UsageError

        forms = f"{', '.join(formats[:-1])} and {formats[-1]}"
        hint = f"there are {forms}" + (f"; {instead}" if instead else "")
        raise UsageError(f"{what} does not go with -o {self.format}", hint=hint)

    def line(self, text: str = "") -> None:
        """One line, in which what users wrote must have been made visible; wrapped on a terminal."""
        if self.terminal:
            write_line(self._stream, text)
        else:
            self.text(text)

    def text(self, text: str) -> None:
        """One line or several, as they are."""
        self._stream.write(text + "\n")

    def lines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.line(line)

    def flush(self) -> None:
        self._stream.flush()

    def json(self, document: dict[str, Any]) -> None:
        """One document, indented on a terminal; with ``-o jsonl`` on one line anywhere."""
        from duroctl.render.records import encode

        self.line(encode(document, indent=2 if self.is_tty and self.format == "json" else 0))

    def listing(self, view: View, records: Iterable[Any], now_ms: Callable[[], int]) -> None:
        """Many records; ``records.next`` (if there is one) is the cursor after them."""
        match self.format:
            case "json":
                self._json_listing(view, records)
            case "jsonl":
                for record in records:
                    self.json({"schema": view.schema, **view.to_json(record)})
            case "ids":
                for record in records:
                    self._ids(view, record)
            case "csv":
                self.rows(view, records, csv_line)
            case _ if self.terminal:
                from duroctl.render.terminal_tables import table_lines

                table = table_lines(
                    view.columns,
                    records,
                    now_ms(),
                    self.width,
                    colours=not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") not in _COLOURLESS,
                    encodable=self.encodable,
                )
                for line in table:
                    self.text(line)
            case _:
                self.rows(view, records, tsv_line)

    def rows(self, view: View, records: Iterable[Any], join: Callable[[list[str]], str]) -> None:
        """A header and a line a record. The first record is there before the header is: if it cannot be had, nothing is
        printed."""
        left = iter(records)
        first = [*itertools.islice(left, 1)]
        self.line(join([column.name for column in view.columns]))
        for record in itertools.chain(first, left):
            self.line(join([exact_cell(column.kind, column.value(record)) for column in view.columns]))

    def _ids(self, view: View, record: Any) -> None:
        ids = view.to_id(record)
        for record_id in (ids,) if isinstance(ids, str) else ids:
            if record_id:  # a prune that found nothing is no run
                self.line(id_line(record_id))

    def _json_listing(self, view: View, records: Iterable[Any]) -> None:
        from duroctl.render.records import encode

        if self.is_tty:
            rows = [view.to_json(record) for record in records]
            self.json({"schema": view.schema, view.field: rows, "next": getattr(records, "next", None)})
            return
        separator = f'{{"schema":{encode(view.schema)},{encode(view.field)}:['
        for record in records:
            self._stream.write(separator + encode(view.to_json(record)))
            separator = ",\n"
        self._stream.write(separator if separator[0] == "{" else "")
        self.line(f'],"next":{encode(getattr(records, "next", None))}}}')

    def result(self, view: View, record: Any, lines: Iterable[str]) -> None:
        """One record: a document of its own, or ``lines`` for people and for pipes."""
        match self.format:
            case "json" | "jsonl":
                self.json({"schema": view.schema, **view.to_json(record)})
            case "ids":
                self._ids(view, record)
            case "csv":
                self.rows(view, [record], csv_line)
            case _:
                self.lines(lines)


def note(text: str) -> None:
    """One line for people on standard error."""
    write_line(sys.stderr, f"duroctl: {visible(text)}")
    sys.stderr.flush()


def write_line(stream: TextIO, text: str) -> None:
    """One line, in which what users wrote must have been made visible; wrapped if ``stream`` is a terminal."""
    for line in lines_on(stream, text):
        stream.write(line + "\n")


def lines_on(stream: TextIO, text: str) -> Iterable[str]:
    """``text`` as one line, or as lines of the width of the terminal that ``stream`` is."""
    if not stream.isatty():
        return (text,)
    from duroctl.render.layout import wrap

    return wrap(encodable(text, stream), terminal_width(stream))


def encodable(text: str, stream: TextIO) -> str:
    """``text`` with escapes for what the encoding of ``stream`` does not have: before it is laid out, for its width."""
    return text if text.isascii() else text.encode(stream.encoding, "backslashreplace").decode(stream.encoding)


def terminal_width(stream: TextIO) -> int:
    """Columns; COLUMNS says otherwise, 80 where nobody knows."""
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given):
        return int(given)
    with contextlib.suppress(OSError):
        return os.get_terminal_size(stream.fileno()).columns or 80
    return 80
