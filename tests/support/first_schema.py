"""Files of the first schema, as the first release made them."""

from pathlib import Path
from typing import Final

import apsw

from duro.stores.base import StoreDump
from duro.stores.sqlite import migrations, sql
from duro.stores.sqlite.connection import create_file
from duro.testing.builders import activity_scheduled, child_scheduled
from duro.testing.clock import ManualClock
from tests.support.pruning import Loops, open_sqlite

FIRST_TABLES: Final = (
    *("store", "instances", "executions", "history", "messages", "mailbox"),
    *("timers", "activities", "lineage", "workers", "capabilities", "requests"),
)


def contents(path: Path) -> StoreDump:
    """Of a store with a loop of four executions, one that waits for an activity, a child and an event."""
    store = open_sqlite(path, ManualClock())
    loops = Loops(store)
    loops.start("a", "b")
    loops.go_on(3)
    leased = {each.instance_id: each for each in loops.worker.lease().instances}
    loops.worker.run(leased["b"], activity_scheduled(), child_scheduled("c", "Child"))
    store.raise_event("b", "later", "1", "r1")
    dump = store.dump()
    store.close()
    return dump


def write_first_schema(path: Path, dump: StoreDump) -> None:
    """A file as the first release made it, with the rows of ``dump``."""
    create_file(path)
    plain = apsw.Connection(str(path))
    plain.execute(f"{migrations.scripts()[0]}; {sql.SET_APPLICATION_ID}; {sql.SET_USER_VERSION[0]}")
    for table in FIRST_TABLES:
        columns = [row[1] for row in plain.execute(f"PRAGMA table_info({table})")]
        places = ", ".join("?" * len(columns))
        for row in dump[table]:
            plain.execute(f"INSERT INTO {table} VALUES ({places})", [row[column] for column in columns])
    plain.close()
