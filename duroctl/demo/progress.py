"""How far the demo is, on standard error: bars on a terminal, a few lines elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TextIO

from duroctl.render.text import visible

if TYPE_CHECKING:
    import rich.progress


class Progress(Protocol):
    def note(self, text: str) -> None:
        """One line."""
        ...

    def stage(self, name: str, total: int) -> Callable[[int], None]:
        """Begin something of ``total`` steps; what is returned is told how many are done."""
        ...


@contextmanager
def show_progress(stream: TextIO) -> Iterator[Progress]:
    """Progress on ``stream`` while the block runs."""
    if not stream.isatty():
        yield _Lines(stream)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bars(*columns, console=Console(file=stream), transient=True) as bars:
        yield _Bars(bars)


class _Lines:
    """A line at every quarter of a stage."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def note(self, text: str) -> None:
        self._stream.write(f"demo: {visible(text)}\n")
        self._stream.flush()

    def stage(self, name: str, total: int) -> Callable[[int], None]:
        quarters = {max(1, total * quarter // 4) for quarter in (1, 2, 3, 4)}

        def done(count: int) -> None:
            if count in quarters:
                self.note(f"{name}: {count} of {total}")

        return done


class _Bars:
    def __init__(self, bars: "rich.progress.Progress") -> None:
        self._bars = bars

    def note(self, text: str) -> None:
        self._bars.console.print(visible(text), markup=False, highlight=False)

    def stage(self, name: str, total: int) -> Callable[[int], None]:
        task = self._bars.add_task(name, total=total)

        def done(count: int) -> None:
            self._bars.update(task, completed=count)

        return done
