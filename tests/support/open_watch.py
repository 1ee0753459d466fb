"""Who opens the live file of a store: everything a program and an operator do, with every ``open`` of the process seen.

``python -m tests.support.open_watch DIRECTORY`` prints each that is not SQLite's own, one a line; audit hooks cannot be
taken away again, so it is a process of its own. ``--planted``: one that must be seen. POSIX drops all locks that a
process has on a file as soon as *any* descriptor of it is closed, those of SQLite too (sqlite.org/howtocorrupt).
"""

import asyncio
import io
import os
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, Final

import duro
from duroctl.app import run

SUFFIXES: Final = ("", "-wal", "-shm", "-journal")
WATCHED: Final = ("open", "sqlite3.connect", "os.truncate", "os.rename", "os.remove", "os.link")

registry = duro.Registry()


@registry.activity
async def step(ctx: duro.ActivityContext, number: int) -> int:
    await asyncio.sleep(0)
    return number + 1


@registry.orchestration
async def child(ctx: duro.OrchestrationContext, number: int) -> int:
    return int(await ctx.schedule_activity(step, number))


@registry.orchestration(auto_prune=duro.AutoPrune(keep_last=3))
async def loop(ctx: duro.OrchestrationContext, left: int) -> int:
    await ctx.schedule_sub_orchestration(child, left)
    if left:
        await ctx.continue_as_new(left - 1)
    return left


class Watch:
    """Opens of the live files that Python made. SQLite's are made in C and are not seen."""

    def __init__(self, store: Path) -> None:
        self.found: list[str] = []
        self._live = {f"{store}{suffix}" for suffix in SUFFIXES}
        self._looking = False

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._looking or event not in (
            "open",
            "sqlite3.connect",
            "os.truncate",
            "os.rename",
            "os.remove",
            "os.link",
        ):
            return
        self._looking = True
        try:
            for each in arguments[:2]:
                if isinstance(each, str | bytes | os.PathLike) and os.path.realpath(os.fsdecode(each)) in self._live:
                    self.found.append(f"{event} {os.fsdecode(each)} by {_caller()}")
        finally:
            self._looking = False


def _caller() -> str:
    frame = sys._getframe(2)
    while frame.f_back is not None and "/duro" not in frame.f_code.co_filename:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


COMMANDS: Final = (
    *("instances list", "instances tree loop-0", "history show loop-1", "stats", "executions list", "doctor"),
    *("prune --all --keep-last 1 --yes", "prune undo loop-0", "ledger list", "doctor --deep", "doctor --repair --yes"),
    *("orphans cleanup --all --min-age 0s --yes", "backup backup.db", "export --to export.db", "compact"),
    *("start child --input 1 --wait", "instances purge --all --keep-last 1 --yes", "holds add loop-2 --reason why"),
    *("policy set --instance loop-2 --keep-last 1", "policy explain loop-2", "init live.db"),
)


def work(store: Path, planted: Callable[[], object]) -> list[str]:
    """Everything there is to do to a store that is open all the time; what went wrong."""
    with duro.Runtime(store, registry, duro.RuntimeOptions(poll_interval_s=0.005)) as runtime:
        client = runtime.client
        ids = [client.start_orchestration(loop, 4, instance_id=f"loop-{number}") for number in range(3)]
        client.wait_for_orchestrations(ids, 60)
        planted()
        os.environ["DUROCTL_STORE"] = f"sqlite:///{store}"
        ended = {line: run((*line.split(), "-q", "-o", "json")) for line in COMMANDS}
        run(("compact", "--full", "-q"))  # which a running worker may keep from its turn
        with duro.Client(store) as other:
            other.reclaim()
            other.info()
    return [f"duroctl {line} ended with {code}" for line, code in ended.items() if code]


def main(directory: Path, *, planted: bool) -> None:
    os.chdir(directory)
    store = directory / "live.db"
    watch = Watch(store.resolve())
    duro.open_store(store).close()  # made: before it has content, nobody has locks on it
    sys.addaudithook(watch.hook)
    with redirect_stdout(io.StringIO()):
        wrong = work(store, lambda: store.read_bytes() if planted else None)
    print("\n".join([*watch.found, *wrong]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), planted="--planted" in sys.argv)
