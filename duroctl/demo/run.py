"""``duroctl demo``: the integrity monitor on a copy of a directory, and what it leaves in its store."""

import shlex
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import duro
from duro import codec
from duro.errors import StateError, UsageError
from duro.model.status import FINAL_INSTANCE_STATUSES
from duroctl.demo import integrity_monitor as monitor
from duroctl.demo import pruned
from duroctl.demo.printing import print_sections
from duroctl.demo.progress import Progress, show_progress
from duroctl.demo.report import INSTANCE_ID, Steps, gather, sample, sections
from duroctl.demo.workspace import Plan, Source, Workspace, survey_source
from duroctl.render.units import size

EXECUTIONS_MIN: Final = 2

INTERVAL_S: Final = 3_600.0
"""The monitor's own timer. It does not fire here: the demo asks for each scan, when it has done its part."""

LEASE_S: Final = 3.0
"""Short, so that a demo that was killed goes on soon after it is started again."""

_LOOK_S: Final = 0.005
"""How often the demo looks for a commit: a counter, not a query."""


def main(directory: Path | None, store: Path | None, executions: int) -> None:
    """Run the demo and print its report to standard output; progress goes to standard error.

    ``directory`` None: the standard library of this Python. ``store`` None: a temporary one. A ``store`` that holds a
    demo which was interrupted goes on with it; one that holds a finished demo shows its report once more.

    Raises:
        UsageError: the directory, the place of the store or the number of executions is no good. Nothing was made.
        DuroError: it went wrong.
    """
    if executions < EXECUTIONS_MIN:
        raise UsageError(f"a demo has at least {EXECUTIONS_MIN} executions, not {executions}")
    source = survey_source(Path(sysconfig.get_path("stdlib")) if directory is None else directory.absolute())
    if store is not None:
        _check_place(store, source)
        _demo(source, store, executions, kept=True)
        return
    with tempfile.TemporaryDirectory(prefix="duro-demo-") as scratch:
        _demo(source, Path(scratch) / "demo.db", executions, kept=False)


def _check_place(store: Path, source: Source) -> None:
    if store.is_dir() or not store.absolute().parent.is_dir():
        raise UsageError(f"the store {str(store)!r} is a directory, or to be in one that does not exist")
    if store.resolve().is_relative_to(source.directory.resolve()):
        raise UsageError(f"the store {str(store)!r} is inside of the directory to copy", hint="choose a place outside")


def _demo(source: Source, store: Path, executions: int, *, kept: bool) -> None:
    workspace = Workspace(store)
    with show_progress(sys.stderr) as progress:
        plan = _plan(source, store, executions, workspace, progress)
        act = None
        if plan is not None:
            _run(store, workspace, plan, progress, kept=kept)
            scanned = progress.stage("once more, with pruning", min(executions, pruned.EXECUTIONS_MAX))
            act = pruned.run(workspace.tree, executions, _finished_scans, scanned)
    with duro.Client(store, registry=monitor.registry) as client:
        findings = gather(client)
    workspace.remove()
    amount = size if sys.stdout.isatty() else "{} B".format
    *told, next_steps = sections(findings, _next_steps(store if kept else None, findings.told), amount)
    print_sections([*told, *(act.sections(amount) if act else ()), next_steps], sys.stdout)


def _plan(source: Source, store: Path, executions: int, workspace: Workspace, progress: Progress) -> Plan | None:
    """What is to be done: the plan of a new demo, of one that was interrupted, or None if the demo is over."""
    existing = _find_monitor(store) if store.exists() else None
    if existing is None:
        progress.note(f"copying {len(source.files)} files of {source.directory}")
        return workspace.prepare(source, executions, progress.stage("copying", len(source.files)))
    if existing.status in FINAL_INSTANCE_STATUSES:
        progress.note(f"{store} holds a finished demo; this is its report")
        return None
    plan = workspace.load()
    progress.note(f"going on with the demo of {plan.source}, in execution {existing.execution_id} of {plan.executions}")
    return plan


def _find_monitor(store: Path) -> duro.InstanceRecord | None:
    """The monitor in the store; None if the store is empty.

    Raises:
        UsageError: it holds something else.
    """
    with duro.Client(store) as client:
        if not client.info().instances:
            return None
        try:
            record = client.get_instance(INSTANCE_ID)
        except duro.InstanceNotFoundError:
            record = None
    if record is None or record.name != monitor.integrity_monitor.__name__:
        raise UsageError(
            f"the store {str(store)!r} is in use for something else", hint="choose another one for the demo"
        )
    return record


def _run(store: Path, workspace: Workspace, plan: Plan, progress: Progress, *, kept: bool) -> None:
    """Bring the monitor to its end, from wherever it is."""
    state = monitor.MonitorState(root=str(workspace.tree.resolve()), interval_s=INTERVAL_S, executions=plan.executions)
    with duro.Runtime(store, monitor.registry, duro.RuntimeOptions(lease_s=LEASE_S)) as runtime:
        client = runtime.client
        client.start_orchestration(monitor.integrity_monitor, state, instance_id=INSTANCE_ID, if_exists="return")
        scanned = progress.stage("scanning", plan.executions)
        try:
            for scan in _finished_scans(client):
                scanned(scan)
                workspace.touch(plan, scan)
                # A process that starts after this one was killed sends it again, and the store takes it once.
                request_id = f"{INSTANCE_ID}-scan-{scan}"
                client.raise_event(INSTANCE_ID, "scan", sample(scan, client.info()), request_id=request_id)
        except KeyboardInterrupt:
            if kept:
                progress.note("interrupted; the same command goes on")
            raise
        scanned(plan.executions)


def _finished_scans(client: duro.Client) -> Iterator[int]:
    """The number of each scan after which the monitor waits, until the monitor has ended.

    Raises:
        StateError: it cannot go on.
    """
    last = 0
    while True:
        seen = client.store.change_counter()
        record = client.get_instance(INSTANCE_ID)
        if record.status in FINAL_INSTANCE_STATUSES:
            return
        if record.blocked:
            raise StateError(f"the monitor is blocked: {record.blocked_reason}")
        if record.custom_status:
            scan = codec.decode_payload(record.custom_status, monitor.Summary, "status of the monitor").scan
            if last < scan == record.execution_id:
                last = scan
                yield scan
                continue
        while client.store.change_counter() == seen:
            time.sleep(_LOOK_S)


def _next_steps(store: Path | None, told: int) -> Steps:
    """Commands, and what they show."""
    program = (f"less {shlex.quote(monitor.__file__)}", "the monitor's program")
    if store is None:
        return (
            ("duroctl demo --store demo.db", "the same, and the store is kept to look into"),
            ("duroctl demo DIRECTORY", "the same on a directory of yours (on a copy of it)"),
            program,
        )
    at = f"--store {shlex.quote(f'sqlite:///{store}')}"
    return (
        (f"duroctl executions list {INSTANCE_ID} {at}", "all its executions"),
        (f"duroctl history show {INSTANCE_ID}/{told} {at}", "an execution, event by event"),
        (f"duroctl instances list {at}", "the children, which stay as well"),
        program,
    )
