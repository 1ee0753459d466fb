"""``duroctl stats``: what takes the room, and how much of it may go."""

from duroctl.options import command, new_command_app
from duroctl.session import Session

app = new_command_app()


@command(app, "stats", examples=("stats", "stats --output json", "stats --output csv"))
def stats(session: Session) -> None:
    """Show what each orchestration takes, what it grew by in a day, and what its policies would let go now.

    The file, what is free inside it, and what the histories weigh are told apart: removing rows makes the file no
    smaller until `duroctl compact`.
    """
    from duroctl.policy_files import unread_text
    from duroctl.render.space import STATS, stats_json, store_lines

    with session.client(read_only=True) as client:
        found = client.stats()
        unread = unread_text(session, client)
        match session.output.format:
            case "json":
                session.output.json({"schema": STATS.schema, **stats_json(found)})
            case "table":
                session.output.listing(STATS, found.names, client.store.now_ms)
                if session.output.terminal:
                    session.output.line()
                    session.output.lines(store_lines(found))
            case _:
                session.output.listing(STATS, found.names, client.store.now_ms)
        if unread:
            session.note(unread)
