"""An integrity monitor: an eternal orchestration that watches a directory tree and says what changes in it.

    python integrity_monitor.py DIRECTORY

Each execution scans the tree, hashes what is new or touched, tells what was added, changed or removed since the scan
before, waits, and continues as new. Stop it, even with kill -9, and start it again: it goes on where it was.
"""

import argparse
import hashlib
import logging
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

import duro

registry = duro.Registry()
log = logging.getLogger("integrity_monitor")

EXCLUDED = {"__pycache__", "site-packages"}
BATCH_FILES = 64  # files of one hashing activity: enough work to be worth a commit, little to lose in a crash
STATE_BYTES_MAX, ENTRY_BYTES = 1_900_000, 112  # a payload may have 2 MiB; an entry of a manifest has this and its path
NAMED_MAX, FINDINGS_MAX = 20, 20  # how many paths a finding names, and how many findings are carried on
RETRY = duro.RetryPolicy(max_attempts=3, delay_s=0.2, non_retryable_errors=("TreeTooLargeError",))

Stamp: TypeAlias = tuple[int, int]  # size and change time in ns (which, unlike the modification time, nobody can set)
Manifest: TypeAlias = dict[str, tuple[int, int, str]]  # path -> size, change time, SHA-256


class TreeTooLargeError(ValueError):
    """What the monitor has to remember of the tree would not fit into one payload."""


@dataclass(frozen=True)
class Part:
    """One directory of the root with all that is in it, or "." for the root's own files; ``known`` is the last scan."""

    root: str
    name: str
    known: Manifest = field(default_factory=dict)


@dataclass(frozen=True)
class Changes:
    """What a scan found against the one before: paths, in order."""

    added: list[str]
    changed: list[str]
    removed: list[str]
    unreadable: list[str]


@dataclass(frozen=True)
class MonitorState:
    """All that one execution hands to the next one: what the monitor remembers."""

    root: str
    interval_s: float = 60.0
    executions: int | None = None
    parts: dict[str, Manifest] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)
    findings: dict[int, Changes] = field(default_factory=dict)  # by the number of the scan


@dataclass(frozen=True)
class Summary:
    """How far the monitor is: its status while it runs, its result if it ever ends."""

    scan: int
    files: int
    bytes: int
    findings: dict[int, Changes]


@registry.orchestration(version="1.0.0")
async def integrity_monitor(ctx: duro.OrchestrationContext, state: MonitorState) -> Summary:
    """One scan. Nothing here touches the disk; activities do, and their results are recorded. So a restarted worker
    replays this function, without repeating any work, up to the line where the last one stopped."""
    present = await ctx.schedule_activity(survey, state.root, retry=RETRY)
    parts = [Part(state.root, name, state.parts.get(name, {})) for name in sorted({*present, *state.parts})]
    # One child a part: they run side by side, each with a history of its own.
    reports = await ctx.join(*[ctx.schedule_sub_orchestration(check_part, part) for part in parts])
    changes = summed([report for report, _ in reports], baseline=ctx.execution_id == 1)
    if changes.added or changes.changed or changes.removed or changes.unreadable != state.unreadable:
        await ctx.schedule_activity(announce, changes, retry=RETRY)
        state = replace(state, findings=dict([*state.findings.items(), (ctx.execution_id, changes)][-FINDINGS_MAX:]))
    scanned = {p.name: p.known if new is None else new for p, (_, new) in zip(parts, reports, strict=True)}
    state = replace(state, parts={k: v for k, v in scanned.items() if v}, unreadable=changes.unreadable)
    sizes = [size for manifest in scanned.values() for size, _, _ in manifest.values()]
    summary = Summary(ctx.execution_id, len(sizes), sum(sizes), state.findings)
    ctx.set_custom_status(summary)  # committed with the turn, to be read from outside at any time
    if ctx.execution_id != state.executions:
        # Both waits outlive the process. The first to end wins, and the other one is cancelled.
        await ctx.select(ctx.wait_for_event("scan"), ctx.schedule_timer(state.interval_s))
        # A loop in one execution would replay an ever longer history: each round is an execution of its own.
        await ctx.continue_as_new(state)
    return summary


@registry.orchestration(version="1.0.0")
async def check_part(ctx: duro.OrchestrationContext, part: Part) -> tuple[Changes, Manifest | None]:
    """Scan one part, and hash, in batches, the files that do not look as they did. Whatever crashes, a batch whose
    result is recorded is not hashed again."""
    files, unreadable = await ctx.schedule_activity(scan, (part.root, part.name), retry=RETRY)
    suspects = [path for path, stamp in files.items() if part.known.get(path, ())[:2] != stamp]
    batches = [(part.root, suspects[start : start + BATCH_FILES]) for start in range(0, len(suspects), BATCH_FILES)]
    hashed = await ctx.join(*[ctx.schedule_activity(hash_files, batch, retry=RETRY) for batch in batches])
    return compare(part.known, files, unreadable, {path: digest for each in hashed for path, digest in each.items()})


@registry.activity
def survey(ctx: duro.ActivityContext, root: str) -> list[str]:
    """The parts of the tree. A root that is not there is an outage, not a tree of removed files: this fails."""
    below = sorted(entry.name for entry in os.scandir(root) if entry.is_dir(follow_symlinks=False))
    names = [".", *(name for name in below if name not in EXCLUDED and as_text(name) == name)]
    size = 0
    for name in names:
        ctx.raise_if_cancelled()
        size += sum(len(path.encode()) + ENTRY_BYTES for path, _ in walk(root, name, []))
    if size > STATE_BYTES_MAX:
        raise TreeTooLargeError(f"{root} has too many files for one monitor; start one for each of its subdirectories")
    return names


@registry.activity
def scan(ctx: duro.ActivityContext, part: tuple[str, str]) -> tuple[dict[str, Stamp], list[str]]:
    """Every regular file of the part (root, name) with its stamp, in the order of the paths, and what is unreadable."""
    files: dict[str, Stamp] = {}
    unreadable: list[str] = []
    for path, status in walk(*part, unreadable):
        ctx.raise_if_cancelled()
        files[path] = (status.st_size, status.st_ctime_ns)
    return dict(sorted(files.items())), sorted(unreadable)


@registry.activity
def hash_files(ctx: duro.ActivityContext, batch: tuple[str, list[str]]) -> dict[str, str]:
    """SHA-256 by path, "" for a file that cannot be read, nothing for one that vanished since the scan. A plain
    function: it runs in a thread and may block on the disk."""
    root, paths = batch
    digests: dict[str, str] = {}
    for path in paths:
        ctx.raise_if_cancelled()
        try:
            with Path(root, path).open("rb") as file:
                digests[path] = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            continue
        except OSError:
            digests[path] = ""
    return digests


@registry.activity
def announce(ctx: duro.ActivityContext, changes: Changes) -> None:
    """Tell people. A crash at the wrong moment repeats it (activities run at least once) and never loses it."""
    for kind, paths in asdict(changes).items():
        for path in paths:
            log.info("scan %d: %s %s", ctx.execution_id, kind, ascii(path))


def walk(root: str, part: str, unreadable: list[str]) -> Iterator[tuple[str, os.stat_result]]:
    """The regular files of a part, paths relative to the root. Links are not followed; what vanishes is not there."""

    def failed(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            unreadable.append(as_text(os.path.relpath(error.filename, root)))

    top = Path(root, part)
    for directory, below, names in os.walk(top, onerror=failed) if part == "." or not top.is_symlink() else ():
        below[:] = [] if part == "." else [name for name in below if name not in EXCLUDED]
        prefix = "" if part == "." else os.path.relpath(directory, root) + "/"
        for path in [prefix + name for name in names]:
            try:
                status = os.lstat(f"{root}/{path}")
            except OSError:
                continue
            if as_text(path) != path:
                unreadable.append(as_text(path))
            elif stat.S_ISREG(status.st_mode):
                yield path, status


def as_text(path: str) -> str:
    """The path with bytes that are no UTF-8, which JSON cannot carry, written as escapes."""
    return path.encode(errors="backslashreplace").decode()


def compare(
    known: Manifest, files: dict[str, Stamp], unreadable: list[str], digests: dict[str, str]
) -> tuple[Changes, Manifest | None]:
    """What changed in a part, and its new manifest (None: the known one). What cannot be read counts as it was."""
    unreadable = sorted([*unreadable, *(path for path, digest in digests.items() if not digest)])
    manifest = {path: known[path] for path in known if any(f"{path}/".startswith(f"{each}/") for each in unreadable)}
    for path, stamp in files.items():
        if path in known and known[path][:2] == stamp:
            manifest[path] = known[path]
        elif digests.get(path):
            manifest[path] = (*stamp, digests[path])
    both = manifest.keys() & known.keys()
    changed = sorted(path for path in both if manifest[path][2] != known[path][2])
    changes = Changes(sorted(manifest.keys() - both), changed, sorted(known.keys() - both), unreadable)
    return changes, None if manifest == known else manifest


def summed(reports: list[Changes], baseline: bool) -> Changes:
    """The changes of all parts, of each kind the first few. The files that the first scan finds are not news."""

    def named(kind: str) -> list[str]:
        paths = sorted(path for report in reports for path in getattr(report, kind))
        return paths if len(paths) <= NAMED_MAX else [*paths[:NAMED_MAX], f"... and {len(paths) - NAMED_MAX} more"]

    return Changes([] if baseline else named("added"), named("changed"), named("removed"), named("unreadable"))


def main() -> None:
    """Watch a directory until Ctrl-C, or for a number of executions."""
    parser = argparse.ArgumentParser(description="Watch a directory tree; say what is added, changed and removed.")
    parser.add_argument("directory", type=lambda text: Path(text).resolve())
    parser.add_argument("--store", type=Path, default=Path("integrity_monitor.db"), help="the store [%(default)s]")
    parser.add_argument("--interval", type=float, default=10.0, metavar="S", help="between scans [%(default)s s]")
    parser.add_argument("--executions", type=int, metavar="N", help="stop after N scans [never]")
    args = parser.parse_args()
    if not args.directory.is_dir() or args.store.resolve().is_relative_to(args.directory):
        parser.error("DIRECTORY must be a directory, and the store must be outside of it")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    with suppress(KeyboardInterrupt), duro.Runtime(f"sqlite:///{args.store}", registry) as runtime:
        state = MonitorState(str(args.directory), args.interval, args.executions)
        instance_id = "monitor-" + str(args.directory).strip("/").replace("/", "-")
        runtime.client.start_orchestration(integrity_monitor, state, instance_id=instance_id, if_exists="return")
        log.info("watching as instance %s; Ctrl-C stops, and the same command goes on", instance_id)
        summary = runtime.client.wait_for_orchestration(instance_id).result()
        log.info("%d scans, %d files, %d bytes", summary.scan, summary.files, summary.bytes)


if __name__ == "__main__":
    main()
