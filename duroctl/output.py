"""Standard output: results and nothing else, in the format that was asked for."""

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TextIO

from duroctl.render.tables import View, csv_line, exact_cell, tsv_line
from duroctl.render.text import id_line, visible

PAGE_ROWS = 1_000


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
        import shutil

        return shutil.get_terminal_size().columns

    def line(self, text: str = "") -> None:
        """One line as it is; what users wrote must have been made visible."""
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
                    self.line(id_line(view.to_id(record)))
            case "csv":
                self.rows(view, records, csv_line)
            case _ if self.terminal:
                from duroctl.render.rich_tables import print_table

                print_table(view.columns, records, now_ms(), self._stream)
            case _:
                self.rows(view, records, tsv_line)

    def rows(self, view: View, records: Iterable[Any], join: Callable[[list[str]], str]) -> None:
        self.line(join([column.name for column in view.columns]))
        for record in records:
            self.line(join([exact_cell(column.kind, column.value(record)) for column in view.columns]))

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
                self.line(id_line(view.to_id(record)))
            case "csv":
                self.rows(view, [record], csv_line)
            case _:
                self.lines(lines)


def note(text: str) -> None:
    """One line for people on standard error."""
    sys.stderr.write(f"duroctl: {visible(text)}\n")
    sys.stderr.flush()
