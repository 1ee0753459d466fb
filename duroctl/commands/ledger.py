"""``duroctl ledger``: what was pruned, when, why and by whom."""

from typing import TYPE_CHECKING, Annotated

import typer

from duroctl.completing import instance_ids_or_runs
from duroctl.options import CursorOption, LimitOption, command, new_group
from duroctl.session import Session

if TYPE_CHECKING:
    from duro.model.removal import PruneRun

app = new_group("Show what was pruned, when, why and by whom.")

_InstanceArgument = Annotated[
    str,
    typer.Argument(
        metavar="INSTANCE|RUN",
        help="An instance id, or that of a run; - reads one from standard input.",
        show_default=False,
        autocompletion=instance_ids_or_runs,
    ),
]


@command(app, "list", examples=("ledger list", "ledger list --limit 1000 --output json"))
def list_runs(session: Session, limit: LimitOption = "100", cursor: CursorOption = None) -> None:
    """List what was done by hand, the newest first: prunes, purges, clean-ups of orphans, undos and restores.

    What policies prune is in `ledger show INSTANCE`.
    """
    from duroctl.output import Pages
    from duroctl.parsing import parse_count
    from duroctl.render.ledger import RUNS

    rows_max = parse_count(limit, "--limit")
    with session.client(read_only=True) as client:

        def fetch(size: int, after: str | None) -> "tuple[tuple[PruneRun, ...], str | None]":
            found = client.list_prune_runs(limit=size + 1, before=after)
            return found[:size], found[size - 1].run_id if len(found) > size else None

        pages = Pages(fetch, rows_max, cursor)
        session.output.listing(RUNS, pages, client.store.now_ms)
        session.note_more(pages.next)


@command(app, "show", examples=("ledger show queue-1", "ledger show run-7f3k2m9a", "ledger show queue-1 --output json"))
def show(session: Session, instance: _InstanceArgument) -> None:
    """Show the ledger of an instance, the oldest first: one row a manual run, few rows for everything automatic.

    Of a run (an id of `ledger list`): who made it, where, with which rules, of which plan, and what it removed
    or brought back.
    """
    from duro.errors import InstanceNotFoundError, InstanceRemovedError
    from duroctl.archives import archive_told
    from duroctl.render.ledger import ENTRIES, RUN, run_lines

    instance_id = session.one_id(instance)
    with session.client(read_only=True) as client:
        run = client.get_prune_run(instance_id)
        if run is not None:
            session.output.result(RUN, run, run_lines(run))
            return
        try:
            with archive_told(session, client, instance_id):
                entries = client.list_ledger(instance_id)
        except InstanceRemovedError:
            raise
        except InstanceNotFoundError as error:
            raise InstanceNotFoundError(
                f"there is neither an instance nor a run {instance_id!r}", hint="`duroctl ledger list` shows the runs"
            ) from error
        session.output.listing(ENTRIES, entries, client.store.now_ms)


@command(app, "totals", examples=("ledger totals", "ledger totals --output json"))
def totals(session: Session) -> None:
    """Show what was removed of the instances of each orchestration that are gone; their ledgers went with them."""
    from duroctl.render.ledger import TOTALS

    with session.client(read_only=True) as client:
        session.output.listing(TOTALS, client.ledger_totals(), client.store.now_ms)
