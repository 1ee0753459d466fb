"""``duroctl backup``: a copy of the whole store, beside running workers."""

from typing import Annotated

import typer

from duroctl.options import command, new_command_app
from duroctl.session import Session

app = new_command_app()

_FileArgument = Annotated[str, typer.Argument(metavar="FILE", help="A new file.", show_default=False)]


@command(app, "backup", examples=("backup duro-2026-11-25.db",))
def backup(session: Session, file: _FileArgument) -> None:
    """Write the whole store, as of this moment, to a new file, beside running workers. The copy is checked.

    A store of an older schema is copied as it is: make a backup before you update.

    Never copy the file of a store by other means while anything has it open. To go back to a backup, stop everything
    that uses the store and put the backup in its place.
    """
    from duroctl.pruning import note_unfinished, progress_bar, tidy_when_terminated
    from duroctl.render.space import BACKUP, BackupWritten, backup_line

    with (
        tidy_when_terminated(),
        session.client(read_only=True, to_copy=True) as client,
        progress_bar(session, 100, "copying") as advance,
    ):
        client.backup(file, progress=lambda done, total: advance(100 * done // max(total, 1)))
    written = BackupWritten.of(file)
    session.output.result(BACKUP, written, [backup_line(written)])
    note_unfinished(session, file)
