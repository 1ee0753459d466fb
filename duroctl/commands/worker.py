"""``duroctl worker``: a process that runs orchestrations and activities."""

import gc
import os
import signal
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Final

import typer

from duroctl.options import command, new_command_app
from duroctl.session import Session

if TYPE_CHECKING:
    from threading import Event

    from duro.host.runtime import Runtime

app = new_command_app()

_SIGNALS_SEEN_S: Final = 0.5
"""How long the main thread waits at once. Python runs signal handlers between its steps, and a signal that comes just
before a wait without end does not end it."""

_RegistryArgument = Annotated[
    str, typer.Argument(metavar="MODULE:REGISTRY", help="Where the duro.Registry is.", show_default=False)
]
_DrainOption = Annotated[
    str, typer.Option("--drain", metavar="DURATION", help="How long running activities may go on after a stop.")
]
_LeaseOption = Annotated[
    str, typer.Option("--lease", metavar="DURATION", help="How long after this worker's death others take its work.")
]
_MetricsPortOption = Annotated[
    str | None, typer.Option("--metrics-port", metavar="PORT", help="Serve Prometheus metrics here; 0: a free port.")
]
_MetricsAddressOption = Annotated[
    str, typer.Option("--metrics-address", metavar="ADDRESS", help="The address they are served at.")
]
_DirectoryOption = Annotated[
    str, typer.Option("--directory", "-C", metavar="DIR", help="Import from here; the current directory by default.")
]


@command(
    app,
    "worker",
    examples=(
        "worker orders:registry",
        "worker shop.flows:registry --directory src --drain 2m",
        "worker orders:registry --store sqlite:////var/lib/duro/duro.db",
    ),
)
def worker(
    session: Session,
    registry: _RegistryArgument,
    drain: _DrainOption = "30s",
    lease: _LeaseOption = "15s",
    directory: _DirectoryOption = ".",
    metrics_port: _MetricsPortOption = None,
    metrics_address: _MetricsAddressOption = "127.0.0.1",
) -> None:
    """Run the orchestrations and activities of a registry until a signal says stop.

    SIGTERM or Ctrl-C: no new work is taken, finished turns are committed, running activities get --drain to end, the
    rest goes back to the store, and the exit status is 0. A second signal quits at once (130 or 143); what was
    running is taken over by other workers after the lease (--lease) has expired.

    The runtime_config.toml that names the store (or --config) also says what is pruned automatically. It is watched:
    a change is applied while the worker runs.

    Warnings, and what orchestrations trace, are printed to standard error.
    """
    from pathlib import Path
    from threading import Event

    from duroctl.importing import load_registry
    from duroctl.logs import log_to_stderr
    from duroctl.parsing import parse_count, parse_duration

    drain_s = parse_duration(drain, "--drain")
    lease_s = parse_duration(lease, "--lease")
    port = None if metrics_port is None else parse_count(metrics_port, "--metrics-port")
    loaded = load_registry(registry, Path(directory))
    log_to_stderr(verbose=session.options.verbose, quiet=session.options.quiet)
    with session.open_store() as store:
        from duro.host.options import RuntimeOptions
        from duro.host.runtime import Runtime

        stop = Event()
        _stop_on_signals(stop)
        options = RuntimeOptions(lease_s=lease_s, metrics_port=port, metrics_address=metrics_address)
        runtime = Runtime(store, loaded, options, config=session.config_file)
        runtime.start()
        gc.collect()
        gc.freeze()  # what is there by now is there to stay: no collection needs to look at it again
        names = {name for name, _ in loaded.orchestrations}
        session.note(
            f"worker {runtime.worker_id} on {store.url}: {_count(len(names), 'orchestration')}, "
            f"{_count(len(loaded.activities), 'activity')}"
        )
        if runtime.metrics_port is not None:
            session.note(f"metrics at http://{metrics_address}:{runtime.metrics_port}/metrics")
        while not stop.wait(_SIGNALS_SEEN_S):
            pass
        session.note(f"stopping: running activities have {drain_s} s; a second signal quits at once")
        _stop(runtime, drain_s)
        session.note("stopped")


def _stop(runtime: "Runtime", drain_s: float) -> None:
    """In a thread of its own, so that this one is never inside a wait that a signal may fail to end."""
    from concurrent.futures import ThreadPoolExecutor, wait

    with ThreadPoolExecutor(max_workers=1) as thread:
        stopped = thread.submit(runtime.stop, drain_s)
        while not stopped.done():
            wait([stopped], timeout=_SIGNALS_SEEN_S)
        stopped.result()


def _stop_on_signals(stop: "Event") -> None:
    """The first signal asks for an orderly stop, the second one ends the process where it stands."""

    def handle(number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, handle)


def _count(number: int, noun: str) -> str:
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"
