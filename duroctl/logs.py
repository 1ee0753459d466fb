"""What the library logs, as lines on standard error."""

import logging
import sys

from duroctl.output import lines_on
from duroctl.render.text import visible


class _OneLine(logging.Formatter):
    """``duroctl: warning: ...``; control characters made visible, wrapped on a terminal.

    Tracebacks only where ``tracebacks`` says so.
    """

    def __init__(self, *, tracebacks: bool) -> None:
        super().__init__()
        self._tracebacks = tracebacks

    def format(self, record: logging.LogRecord) -> str:
        lines = [f"duroctl: {record.levelname.lower()}: {visible(record.getMessage())}"]
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            if self._tracebacks:
                lines += [visible(line) for line in self.formatException(record.exc_info).splitlines()]
            else:
                lines[0] += visible(f" ({type(error).__name__}: {error}; run again with -v for the traceback)")
        return "\n".join(shown for line in lines for shown in lines_on(sys.stderr, line))


def log_to_stderr(*, verbose: bool, quiet: bool) -> None:
    """Show warnings of the runtime and what orchestrations trace (``ctx.trace_info`` and above; with ``verbose``
    everything, with ``quiet`` warnings only). A program that has set up logging itself is left alone."""
    root = logging.getLogger()
    if root.handlers:
        return
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine(tracebacks=verbose))
    root.addHandler(handler)
    logging.getLogger("duro.host").setLevel(logging.INFO if verbose else logging.WARNING)
    traces = logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO
    logging.getLogger("duro.orchestration").setLevel(traces)
