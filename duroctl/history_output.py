"""Prints histories: for people, as rows, or as they are stored."""

from collections.abc import Iterable

import msgspec

from duro.model.records import ExecutionRecord, HistoryRecord
from duroctl.output import Output
from duroctl.render.history import ParsedEvent, as_json, as_line, detail_lines, parse_event, summary
from duroctl.render.layout import cut
from duroctl.render.records import encode, execution_json
from duroctl.render.tables import csv_line, exact_cell, tsv_line
from duroctl.render.text import id_line, json_safe, versioned, visible, visible_field
from duroctl.render.units import iso, offset, relative

_HEADER = ["instance_id", "execution_id", "event_id", "at", "type", "detail"]
SCHEMA = "duroctl.history/1"


class HistoryPrinter:
    """Prints events as they come, from one execution or several after each other."""

    def __init__(self, output: Output, *, detailed: bool, now_ms: int) -> None:
        self._output = output
        self._detailed = detailed
        self._now_ms = now_ms
        self._heading: tuple[str, int] | None = None

    def document(self, history: HistoryRecord) -> None:
        """One JSON document; the events inside it byte for byte as stored. On a terminal it is indented instead."""
        head = encode({"schema": SCHEMA, "execution": execution_json(history.execution)})
        given = history.input if history.input is not None else "null"
        events = ",\n".join(as_json(text) for text in history.events)
        document = f'{head[:-1]},"input":{given},"events":[{events}]}}'
        if self._output.is_tty:
            document = json_safe(msgspec.json.format(document, indent=2))
        self._output.line(document)

    def events(self, execution: ExecutionRecord, events: Iterable[str]) -> None:
        """More events of ``execution``, in the format asked for."""
        is_new = self._heading != (execution.instance_id, execution.execution_id)
        is_first = self._heading is None
        self._heading = (execution.instance_id, execution.execution_id)
        match self._output.format:
            case "jsonl":
                self._stored(events)
            case "ids":
                self._output.line(id_line(f"{execution.instance_id}/{execution.execution_id}"))
            case "csv":
                self._rows(execution, events, is_first, csv=True)
            case _ if self._output.terminal or self._detailed:
                if is_new:
                    self._output.lines([*([] if is_first else [""]), self._title(execution)])
                self._people(execution, map(parse_event, events))
            case _:
                self._rows(execution, events, is_first, csv=False)

    def _stored(self, events: Iterable[str]) -> None:
        """A stored event has no newline unless its payload was given with some: only such a one is written anew."""
        for text in events:
            line = as_line(text)
            self._output.line(json_safe(line) if self._output.is_tty else line)

    def _rows(self, execution: ExecutionRecord, events: Iterable[str], header: bool, *, csv: bool) -> None:
        join = csv_line if csv else tsv_line
        if header:
            self._output.line(join(_HEADER))
        for event in map(parse_event, events):
            head = [visible(execution.instance_id), str(execution.execution_id), str(event.event_id)]
            self._output.line(join([*head, exact_cell("time", event.at_ms), visible(event.type), summary(event)]))

    def _title(self, execution: ExecutionRecord) -> str:
        name = versioned(execution.name, execution.version)
        since = (
            f"{relative(execution.started_at_ms, self._now_ms)} ({iso(execution.started_at_ms)})"
            if self._output.terminal
            else iso(execution.started_at_ms)
        )
        reference = visible_field(f"{execution.instance_id}/{execution.execution_id}")
        return f"{reference}  {name}  {execution.status}  started {since}"

    def _people(self, execution: ExecutionRecord, events: Iterable[ParsedEvent]) -> None:
        width = self._output.width
        ellipsis = "…" if self._output.encodable("…") == "…" else "..."
        for event in events:
            if self._detailed:
                self._output.line(f"{event.event_id:>5}  {visible(event.type)}  {iso(event.at_ms)}")
                self._output.lines(detail_lines(event))
            else:
                at = offset(event.at_ms - execution.started_at_ms)
                line = f"{event.event_id:>5}  {at:>8}  {visible(event.type):<27} {summary(event)}"
                self._output.line(cut(self._output.encodable(line), width, ellipsis))
