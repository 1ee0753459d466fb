"""``duroctl compact``: give space back to the file system."""

from typing import Annotated

import typer

from duroctl.options import command, new_command_app
from duroctl.session import Session

app = new_command_app()

_FullOption = Annotated[
    bool, typer.Option("--full", help="Write the whole file anew; needs room for a copy, and no worker may run.")
]


@command(app, "compact", examples=("compact", "compact --full"))
def compact(session: Session, full: _FullOption = False) -> None:
    """Give what is free in the file back to the file system, in small steps, beside running workers.

    What was removed and is past its grace is reclaimed first. Ctrl-C ends it after the step. --full also closes holes
    inside pages; its needs are checked first.
    """
    from duro.model.space import FileSizes
    from duroctl.pruning import interruptible, progress_bar, reclaim_overdue
    from duroctl.render.space import COMPACTED, compact_lines

    session.output.only("table", "json", "jsonl", "csv", what="compact")
    with session.client() as client:
        reclaim_overdue(session, client)
        free = client.store.sizes().free_bytes
        with interruptible() as interrupted, progress_bar(session, free, "compacting") as advance:

            def progress(now: FileSizes) -> bool:
                advance(max(0, free - now.free_bytes))
                return not interrupted

            result = client.compact(full=full, progress=progress)
    session.output.result(COMPACTED, result, compact_lines(result))
    if result.stopped:
        session.note("interrupted; what is above was done, and the rest was not")
        raise typer.Exit(130)
