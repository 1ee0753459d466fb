"""The answer: the same monitor once more, under a few lines of configuration, and its store stays flat."""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from textwrap import wrap
from typing import Final

import duro
from duro.errors import ExecutionPrunedError
from duro.model.limits import PRUNE_GRACE_S
from duroctl.demo import integrity_monitor as monitor
from duroctl.demo.report import INSTANCE_ID, Column, Sample, Section, sample
from duroctl.render.plans import plan_lines, result_lines

CONFIGURATION: Final = """\
[pruning]
children = "settled"        # the finished children of an execution go with it

[pruning.overrides."integrity_monitor"]
keep_last = 3
"""

EXECUTIONS_MAX: Final = 40
"""Enough to see that nothing grows."""

_WIDTH: Final = 79

Scans = Callable[[duro.Client], Iterator[int]]
"""The number of each scan after which the monitor waits."""


class Act:
    """What the second run left, as sections of the report."""

    def __init__(self, samples: list[Sample], instances: int, dry_run: list[str], applied: list[str]) -> None:
        self.samples = samples
        self.instances = instances
        self.dry_run = dry_run
        self.applied = applied

    def sections(self, amount: Callable[[int], str]) -> Iterator[Section]:
        yield Section(title="The same monitor, with this runtime_config.toml", lines=tuple(CONFIGURATION.splitlines()))
        yield Section(
            title="Its store stays flat",
            columns=tuple(
                Column(each, number=True) for each in ("after scan", "executions", "events", "histories", "file", "WAL")
            ),
            rows=tuple(
                (
                    str(each.scan),
                    str(each.executions),
                    str(each.events),
                    amount(each.logical_bytes),
                    amount(each.file_bytes),
                    amount(each.wal_bytes),
                )
                for each in self.samples
            ),
            remark="Each scan continued as new and pruned in one transaction. Executions are those of the monitor and "
            f"of its children; {self.instances} instances are left. The WAL is SQLite's log of what was written: with "
            "or without pruning it grows to about 32 MiB, and is written anew from its beginning then.",
        )
        yield Section(title=f"duroctl prune {INSTANCE_ID} --keep-last 1 --dry-run", lines=tuple(self.dry_run))
        yield Section(title="... and without --dry-run", lines=tuple(self.applied))


def run(tree: Path, executions: int, scans: Scans, scanned: Callable[[int], None]) -> Act:
    """Watch ``tree`` for some executions under ``CONFIGURATION``, in a store of its own that is gone afterwards."""
    count = min(executions, EXECUTIONS_MAX)
    with tempfile.TemporaryDirectory(prefix="duro-demo-") as directory:
        config = Path(directory) / "runtime_config.toml"
        config.write_text(CONFIGURATION)
        state = monitor.MonitorState(root=str(tree.resolve()), interval_s=3_600.0, executions=None)
        samples: list[Sample] = []
        with duro.Runtime(Path(directory) / "pruned.db", monitor.registry, config=config) as runtime:
            client = runtime.client
            client.start_orchestration(monitor.integrity_monitor, state, instance_id=INSTANCE_ID)
            for scan in scans(client):
                scanned(scan)
                if scan % max(1, count // 4) == 0 or scan == count:
                    client.reclaim()
                    samples.append(sample(scan, client.info()))
                if scan == count:
                    break
                client.raise_event(INSTANCE_ID, "scan", None)
            return Act(samples, client.info().instances, *_prune(client))


def _prune(client: duro.Client) -> tuple[list[str], list[str]]:
    """What a dry run says, and what is said when it is done."""
    scope = duro.PruneScope(instance_ids=(INSTANCE_ID,))
    plan = client.plan_prune(1, scope=scope)
    applied = list(result_lines(client.apply_plan(plan, reason="the demo"), PRUNE_GRACE_S))
    try:
        client.read_history(INSTANCE_ID, 1)
    except ExecutionPrunedError as error:
        applied.append(f"duroctl history show {INSTANCE_ID}/1: {error.message}")
    automatic = client.list_ledger(INSTANCE_ID)[0].range
    applied.append(
        f"duroctl ledger show {INSTANCE_ID}: {automatic.first_execution_id}..{automatic.last_execution_id}, "
        f"{automatic.executions} executions, {automatic.events} events, by {automatic.rule} at {automatic.trigger}"
    )
    return _set(plan_lines(plan)), _set(applied)


def _set(lines: Iterable[str]) -> list[str]:
    """As wide as the narrowest terminal."""
    return [part for line in lines for part in wrap(line, _WIDTH, subsequent_indent="    ") or [""]]
