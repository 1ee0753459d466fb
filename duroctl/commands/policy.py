"""``duroctl policy``: the settings that say how long executions are kept."""

from typing import Annotated

import typer

from duroctl.options import command, new_group
from duroctl.session import Session

app = new_group("Explain, show and check what says how long executions are kept.")

_FileArgument = Annotated[str, typer.Argument(metavar="FILE", help="A runtime_config.toml.", show_default=False)]


@command(
    app, "check", examples=("policy check config/runtime_config.toml", "policy check runtime_config.toml --output json")
)
def check(session: Session, file: _FileArgument) -> None:
    """Report everything that is wrong with a runtime_config.toml, each with its line and column.

    The exit status is 6 if there is anything.
    """
    from pathlib import Path

    from duro.errors import SettingsError
    from duro.settings.files import load_settings
    from duroctl.render.problems import PROBLEMS, problem_line
    from duroctl.render.text import visible

    try:
        settings = load_settings(Path(file), file)
    except SettingsError as error:
        if session.output.format == "table":
            session.output.lines(problem_line(problem) for problem in error.problems)
        else:
            session.output.listing(PROBLEMS, error.problems, lambda: 0)
        raise typer.Exit(error.exit_code) from error
    if session.output.format == "table":
        session.output.line(visible(f"{file}: valid, settings {settings.effective_hash}"))
    else:
        session.output.listing(PROBLEMS, (), lambda: 0)


@command(app, "schema", examples=("policy schema > runtime_config.schema.json",))
def schema(session: Session) -> None:
    """Print the JSON Schema of runtime_config.toml, for editors."""
    from duro.settings.documents import schema_text

    session.output.line(schema_text().rstrip("\n"))


_InstanceArgument = Annotated[
    str | None, typer.Argument(metavar="[INSTANCE]", help="An instance id.", show_default=False)
]
_NameOption = Annotated[
    str | None, typer.Option("--name", metavar="NAME", help="Of any instance of this orchestration.")
]
_VersionOption = Annotated[str, typer.Option("--version", metavar="V", help="... that runs this version.")]


@command(app, "explain", examples=("policy explain queue-1", "policy explain --name queue --version 2.0.0"))
def explain(
    session: Session, instance: _InstanceArgument = None, name: _NameOption = None, version: _VersionOption = ""
) -> None:
    """Say which policy prunes an instance automatically: every place that could say so, which one applies, and why.

    Workers publish what they were told; this needs none of their files.
    """
    import msgspec

    from duroctl.render.policies import EXPLANATION, explanation_lines

    with session.client(read_only=True) as client:
        told = client.explain_policy(instance, name=name, version=version)
    if session.output.format in ("json", "jsonl"):
        session.output.json({"schema": EXPLANATION.schema, **msgspec.to_builtins(told)})
    elif session.output.format == "table":
        session.output.lines(explanation_lines(told))
    else:
        session.output.listing(EXPLANATION, [link for chain in told.chains for link in chain.links], lambda: 0)


@command(app, "show", examples=("policy show", "policy show --output json"))
def show(session: Session) -> None:
    """List every policy that workers publish: of files, programs and registrations."""
    from duro.maintenance.policies import decode_sources
    from duroctl.render.policies import PUBLISHED, published_policies

    with session.client(read_only=True) as client:
        workers = [worker for worker in client.list_workers() if worker.published != "{}"]
        published = [
            row
            for worker in workers
            for sources in decode_sources([worker.published])
            for row in published_policies(worker.worker_id, sources)
        ]
    session.output.listing(PUBLISHED, published, lambda: 0)


_OwnerOption = Annotated[str, typer.Option("--instance", metavar="INSTANCE", help="The instance.", show_default=False)]
_KeepLastOption = Annotated[str | None, typer.Option("--keep-last", metavar="N", help="Keep the newest N.")]
_KeepWithinOption = Annotated[
    str | None, typer.Option("--keep-within", metavar="DURATION", help="Keep what ended no longer ago.")
]
_EveryOption = Annotated[str, typer.Option("--every", metavar="N", help="Prune at every N-th continue-as-new.")]
_IntervalOption = Annotated[
    str | None, typer.Option("--interval", metavar="DURATION", help="Also in a sweep, this often.")
]
_NeverOption = Annotated[bool, typer.Option("--never", help="Never prune it automatically.")]


@command(
    app,
    "set",
    examples=("policy set --instance queue-1 --keep-last 10", "policy set --instance queue-1 --never"),
)
def set_policy(
    session: Session,
    instance: _OwnerOption,
    keep_last: _KeepLastOption = None,
    keep_within: _KeepWithinOption = None,
    every: _EveryOption = "1",
    interval: _IntervalOption = None,
    never: _NeverOption = False,
) -> None:
    """Give an instance an automatic policy of its own. It goes before every configuration."""
    from duro.errors import UsageError
    from duro.model.retention import AutoPrune
    from duroctl.parsing import parse_count, parse_duration
    from duroctl.render.text import visible

    if never and not (keep_last is None and keep_within is None and interval is None):
        raise UsageError("--never does not go with rules", hint="choose one")
    with session.client() as client:
        if never:
            client.set_instance_policy(instance, "never")
            session.note(visible(f"{instance} is never pruned automatically"))
            return
        policy = AutoPrune(
            keep_last=None if keep_last is None else parse_count(keep_last, "--keep-last"),
            keep_within=None if keep_within is None else parse_duration(keep_within, "--keep-within"),
            every_n_executions=parse_count(every, "--every"),
            interval=None if interval is None else parse_duration(interval, "--interval"),
        )
        client.set_instance_policy(instance, policy)
        session.note(visible(f"{instance} is pruned by {policy}"))


@command(app, "unset", examples=("policy unset --instance queue-1",))
def unset_policy(session: Session, instance: _OwnerOption) -> None:
    """Take an instance's own policy away; what is configured applies to it again."""
    from duroctl.render.text import visible

    with session.client() as client:
        client.set_instance_policy(instance, None)
    session.note(visible(f"{instance} has no policy of its own"))
