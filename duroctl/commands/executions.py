"""``duroctl executions``: the generations of instances."""

import contextlib
from typing import Annotated, Any

import typer

from duroctl.completing import instance_ids
from duroctl.options import CursorOption, LimitOption, command, new_group
from duroctl.session import Session

app = new_group("List executions, the generations of instances.")

_InstanceArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[INSTANCE]",
        help="Only of this one; - reads an id from standard input.",
        show_default=False,
        autocompletion=instance_ids,
    ),
]


@command(
    app,
    "list",
    examples=("executions list", "executions list orders-2026", "executions list --limit 1000 --output csv"),
)
def list_executions(
    session: Session, instance: _InstanceArgument = None, limit: LimitOption = "100", cursor: CursorOption = None
) -> None:
    """List the executions of an instance, or of all, the newest first."""
    from duroctl.output import Pages
    from duroctl.parsing import parse_count
    from duroctl.render.held import with_holds
    from duroctl.render.records import EXECUTIONS

    rows_max = parse_count(limit, "--limit")
    instance_id = None if instance is None else session.one_id(instance)
    with session.client(read_only=True) as client:

        def fetch(size: int, after: str | None) -> tuple[tuple[Any, ...], str | None]:
            with contextlib.ExitStack() as stack:
                if instance_id is not None:
                    from duroctl.archives import archive_told

                    stack.enter_context(archive_told(session, client, instance_id))
                page = client.list_executions(instance_id, limit=size, cursor=after)
            return page.executions, page.next

        pages = Pages(fetch, rows_max, cursor)
        view = with_holds(EXECUTIONS, client.list_holds(), client.store.now_ms())
        session.output.listing(view, pages, client.store.now_ms)
        session.note_more(pages.next)
