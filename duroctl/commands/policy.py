"""``duroctl policy``: the settings that say how long executions are kept."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from duroctl.completing import instance_ids, orchestrations
from duroctl.options import command, new_group
from duroctl.removal_options import DryRunOption, YesOption
from duroctl.session import Session

if TYPE_CHECKING:
    from duro.client import Client
    from duroctl.render.policies import Explained

app = new_group("Explain, show, check and change what says how long executions are kept.")

_FileArgument = Annotated[
    str | None, typer.Argument(metavar="[FILE]", help="A runtime_config.toml; by default the one here.")
]
_StrictOption = Annotated[
    bool, typer.Option("--strict", help="Also what is said in vain, and workers that run with other settings.")
]


@command(
    app,
    "check",
    examples=("policy check", "policy check --strict", "policy check config/runtime_config.toml --output json"),
)
def check(session: Session, file: _FileArgument = None, strict: _StrictOption = False) -> None:
    """Report everything that is wrong with a runtime_config.toml, each with its line and column.

    With --strict also rules that nothing would apply, overrides for orchestrations that the store does not know, and
    workers that were told something else. The exit status is 6 if there is anything.
    """
    from duro.errors import SettingsError
    from duro.model.problem import FileProblem
    from duro.settings.files import read_file
    from duro.settings.reading import read_settings
    from duroctl.policy_files import found_file, vain_in_store
    from duroctl.render.problems import PROBLEMS, problem_line
    from duroctl.render.text import visible_field

    path = Path(file) if file is not None else found_file(session)
    name = str(path) if file is None else file
    problems: tuple[FileProblem, ...] = ()
    found = ""
    try:
        data = read_file(path, name)
        settings = read_settings(data, name)
        found = settings.effective_hash
        if strict:
            problems = tuple(vain_in_store(session, data, settings, file))
    except SettingsError as error:
        problems = error.problems
    if session.output.format != "table":
        session.output.listing(PROBLEMS, problems, lambda: 0)
    elif problems:
        session.output.lines(problem_line(problem) for problem in problems)
    else:
        session.output.line(visible_field(f"{name}: valid, settings {found}"))
    if problems:
        raise typer.Exit(SettingsError.exit_code)


@command(app, "schema", examples=("policy schema > runtime_config.schema.json",))
def schema(session: Session) -> None:
    """Print the JSON Schema of runtime_config.toml, for editors."""
    from duro.settings.documents import schema_text

    session.output.only("table", "json", what="a schema")
    session.output.text(schema_text().rstrip("\n"))


_InstancesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[INSTANCE...]",
        help="Instance ids; - reads them from standard input.",
        show_default=False,
        autocompletion=instance_ids,
    ),
]
_NameOption = Annotated[
    str | None,
    typer.Option(
        "--name", metavar="NAME", help="Of any instance of this orchestration.", autocompletion=orchestrations
    ),
]
_VersionOption = Annotated[str, typer.Option("--version", metavar="V", help="... that runs this version.")]


@command(
    app,
    "explain",
    examples=(
        "policy explain queue-1",
        "policy explain --name queue --version 2.0.0",
        "instances list --name queue --output ids | duroctl policy explain -",
    ),
)
def explain(
    session: Session, instance: _InstancesArgument = None, name: _NameOption = None, version: _VersionOption = ""
) -> None:
    """Say which policy prunes an instance automatically: every place that could say so, which one applies, and why;
    and why each of its executions stays or goes.

    Workers publish what they were told; this needs none of their files. With -o json one id gives one document, several
    (or -) a list.
    """
    from duro.errors import UsageError
    from duroctl.policy_files import unread_text
    from duroctl.render.policies import EXPLANATION, EXPLANATIONS, LINKS, explained_json, links

    session.output.only("table", "json", "jsonl", "csv", what="an explanation")
    if not instance and name is None:
        raise UsageError("which instances?", hint="name some, or an orchestration with --name NAME")
    if instance and name is not None:
        raise UsageError("--name does not go with instances", hint="leave one of them out")
    ids: list[str | None] = [None]
    if instance:
        ids = [*session.ids(instance)]
    with session.client(read_only=True) as client:
        for asked in ids if len(ids) > 1 else ():
            client.get_instance(asked or "")  # before anything is printed: half a list would be no document
        explained = (_explained(client, each, name, version) for each in ids)
        match session.output.format:
            case "json" | "jsonl" if len(ids) == 1 and "-" not in (instance or ()):
                session.output.json({"schema": EXPLANATION.schema, **explained_json(next(explained))})
            case "json" | "jsonl":
                session.output.listing(EXPLANATIONS, explained, lambda: 0)
            case "table":
                for number, each in enumerate(explained):
                    _print_explained(session, each, is_first=not number)
            case _:
                session.output.listing(LINKS, (link for each in explained for link in links(each.told)), lambda: 0)
        if name is not None:
            _note_unknown(session, client, name)
        if unread := unread_text(session, client):
            session.note(unread)


def _explained(client: "Client", instance: str | None, name: str | None, version: str) -> "Explained":
    from duro.errors import PolicyUnknownError
    from duro.model.removal import PruneScope
    from duroctl.render.policies import Explained

    told = client.explain_policy(instance, name=name, version=version)
    if instance is not None:
        with contextlib.suppress(PolicyUnknownError):  # nobody says anything, and the chain says so
            return Explained(told, client.plan_prune(scope=PruneScope(instance_ids=(instance,))))
    return Explained(told, None)


def _print_explained(session: Session, explained: "Explained", *, is_first: bool) -> None:
    from duroctl.render.plans import plan_lines
    from duroctl.render.policies import explanation_lines

    if not is_first:
        session.output.line()
    session.output.lines(explanation_lines(explained.told))
    if explained.plan is not None:
        session.output.line("what a prune without rules would do now:")
        session.output.lines(plan_lines(explained.plan))


_OrchestrationArgument = Annotated[
    str | None,
    typer.Argument(metavar="[NAME]", help="An orchestration.", show_default=False, autocompletion=orchestrations),
]
_PublishedOption = Annotated[
    bool, typer.Option("--published", help="Every policy any worker was told, worker by worker.")
]


@command(app, "show", examples=("policy show", "policy show queue", "policy show --published --output json"))
def show(session: Session, name: _OrchestrationArgument = None, published: _PublishedOption = False) -> None:
    """Show what prunes each orchestration, each version of it, and where that is said (FILE:LINE)."""
    from duro.errors import UsageError
    from duro.maintenance.policies import decode_sources
    from duroctl.policy_files import unread_text
    from duroctl.render.policies import EFFECTIVE, PUBLISHED, published_policies

    if published and name is not None:
        raise UsageError("--published shows all; it takes no NAME", hint="leave one of them out")
    with session.client(read_only=True) as client:
        if not published:
            told = [
                client.explain_policy(name=each, version=version) for each, version in _versions(session, client, name)
            ]
            session.output.listing(EFFECTIVE, told, client.store.now_ms)
        else:
            workers = [worker for worker in client.list_workers() if worker.published != "{}"]
            session.output.listing(
                PUBLISHED,
                [
                    row
                    for worker in workers
                    for sources in decode_sources([worker.published])
                    for row in published_policies(worker.worker_id, sources)
                ],
                client.store.now_ms,
            )
        if unread := unread_text(session, client):
            session.note(unread)
        elif not published and not client.store.published_policies().sources:
            session.note("no worker has published what it was told; `duroctl policy simulate` reads a file instead")


def _versions(session: Session, client: "Client", name: str | None) -> "list[tuple[str, str]]":
    """Every orchestration (or only ``name``) that workers run or the store has instances of, with each version that is
    run; "" where none is."""
    run = _run(client)
    known = {*client.store.orchestration_names(), *(each for each, _ in run)}
    if name is not None:
        _note_unknown(session, client, name)
        known = {name}
    return sorted((each, version) for each in known for version in ({its for of, its in run if of == each} or {""}))


def _run(client: "Client") -> "set[tuple[str, str]]":
    """The orchestrations that workers run, each with a version."""
    from duro.maintenance.policies import decode_sources

    sources = decode_sources(client.store.published_policies().sources)
    return {pair for each in sources for pair in each.orchestrations}


def _note_unknown(session: Session, client: "Client", name: str) -> None:
    """Say so, if nobody knows an orchestration ``name``: what is shown of it is of a slip of the pen."""
    from duroctl.render.text import visible

    if name not in {*client.store.orchestration_names(), *(each for each, _ in _run(client))}:
        session.note(visible(f"no orchestration of this store, and none that a worker runs, is called {name!r}"))


_NameArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[NAME]",
        help="An orchestration, or a pattern: 'monitor.*'.",
        show_default=False,
        autocompletion=orchestrations,
    ),
]
_OwnerOption = Annotated[
    str | None,
    typer.Option(
        "--instance", metavar="INSTANCE", help="One instance, kept in the store.", autocompletion=instance_ids
    ),
]
_DefaultOption = Annotated[bool, typer.Option("--default", help="All that nothing more specific names.")]
_KeepLastOption = Annotated[str | None, typer.Option("--keep-last", metavar="N", help="Keep the newest N.")]
_KeepWithinOption = Annotated[
    str | None, typer.Option("--keep-within", metavar="DURATION", help="Keep what ended no longer ago.")
]
_PerVersionOption = Annotated[
    str | None, typer.Option("--keep-last-per-version", metavar="N", help="Keep the newest N of each version.")
]
_VersionsOption = Annotated[
    str | None, typer.Option("--keep-versions", metavar="N", help="... of the N versions used last.")
]
_EveryOption = Annotated[str | None, typer.Option("--every", metavar="N", help="Prune at every N-th continue-as-new.")]
_IntervalOption = Annotated[
    str | None, typer.Option("--interval", metavar="DURATION", help="Also in a sweep, this often.")
]
_NeverOption = Annotated[bool, typer.Option("--never", help="Never prune it automatically.")]


@command(
    app,
    "set",
    examples=(
        "policy set queue --keep-last 3",
        "policy set 'monitor.*' --keep-within 7d --interval 1h --dry-run",
        "policy set --default --keep-last 10",
        "policy set --instance queue-1 --never",
    ),
)
def set_policy(
    session: Session,
    name: _NameArgument = None,
    instance: _OwnerOption = None,
    default: _DefaultOption = False,
    keep_last: _KeepLastOption = None,
    keep_within: _KeepWithinOption = None,
    keep_last_per_version: _PerVersionOption = None,
    keep_versions: _VersionsOption = None,
    every: _EveryOption = None,
    interval: _IntervalOption = None,
    never: _NeverOption = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
) -> None:
    """Set the automatic policy of an orchestration in the runtime_config.toml, or of one instance in the store.

    What was said for the same name is replaced; everything else in the file stays as it is, to the letter. If more may
    be removed than before, you are asked first.
    """
    from duro.errors import UsageError
    from duroctl.policy_files import policy_table

    _check(session, name, instance, default=default)
    if default and never:
        hint = "`duroctl policy unset --default` takes the policy of all others away"
        raise UsageError("--never does not go with --default: what has no policy is never pruned", hint=hint)
    counts = {
        "keep_last": keep_last,
        "keep_last_per_version": keep_last_per_version,
        "keep_versions": keep_versions,
        "every_n_executions": every,
    }
    table = policy_table(counts, {"keep_within": keep_within, "interval": interval}, never=never)
    if instance is not None:
        _set_of_instance(session, instance, table, dry_run=dry_run, yes=yes)
        return
    _set_in_file(session, name, table, dry_run=dry_run, yes=yes)


def _set_in_file(
    session: Session, name: str | None, table: "dict[str, Any] | None", *, dry_run: bool, yes: bool
) -> None:
    """``name`` None: of all others. ``table`` None: the file has no policy for it any more."""
    from duro.settings.edit import edit_policy
    from duroctl.policy_files import change_by_options

    nothing = f"it has no policy for {'all others' if name is None else name}"
    change_by_options(
        session,
        lambda data: edit_policy(data, str(session.config_file), name, table),
        dry_run=dry_run,
        yes=yes,
        unchanged=nothing if table is None else "it says so already",
    )


def _set_of_instance(
    session: Session, instance: str, table: "dict[str, Any] | None", *, dry_run: bool, yes: bool
) -> None:
    """``table`` None: it has no policy of its own any more."""
    from duro.model.retention import AutoPrune
    from duroctl.parsing import parse_duration
    from duroctl.policy_files import print_change, show_change
    from duroctl.render.simulation import instance_json, instance_line, more_text
    from duroctl.render.text import visible_field

    policy: AutoPrune | Literal["never"] | None = None
    if table is not None and "never" in table:
        policy = "never"
    elif table is not None:
        durations = ("keep_within", "interval")
        policy = AutoPrune(
            **{key: parse_duration(each, key) if key in durations else each for key, each in table.items()}
        )
    with session.client(read_only=dry_run) as client:
        simulated = client.simulate_instance_policy(instance, policy)
        impact = instance_line(instance, simulated)
        said = None if policy is None else str(policy)
        document = {"instance_id": instance, "policy": said, **instance_json(simulated)}
        if dry_run:
            would = {"never": "never be pruned automatically", None: "have no policy of its own"}
            told = would.get(said, f"be pruned by {said}")
            show_change(session, document, [visible_field(f"{instance} would {told}"), impact])
            return
        if (simulated.executions_more or simulated.instances_more) and not yes:
            question = "Unset it?" if policy is None else "Set it?"
            session.confirm(question, [impact], more_text(simulated))
        client.set_instance_policy(instance, policy)
    says = {"never": "is never pruned automatically", None: "has no policy of its own"}
    session.note(visible_field(f"{instance} {says.get(said, f'is pruned by {said}')}"))
    session.note(impact)
    print_change(session, document)


@command(
    app,
    "unset",
    examples=("policy unset queue", "policy unset --default", "policy unset --instance queue-1"),
)
def unset_policy(
    session: Session,
    name: _NameArgument = None,
    instance: _OwnerOption = None,
    default: _DefaultOption = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
) -> None:
    """Take the policy of an orchestration out of the runtime_config.toml, or an instance's own out of the store.

    What is less specific applies again. If more may be removed then, you are asked first.
    """
    _check(session, name, instance, default=default)
    if instance is not None:
        _set_of_instance(session, instance, None, dry_run=dry_run, yes=yes)
        return
    _set_in_file(session, name, None, dry_run=dry_run, yes=yes)


def _check(session: Session, name: str | None, instance: str | None, *, default: bool) -> None:
    """Raises UsageError: not exactly one of them says whose policy it is, or a change cannot be printed so."""
    from duro.errors import UsageError

    session.output.only("table", "json", "jsonl", what="a change")
    if sum((name is not None, instance is not None, default)) != 1:
        raise UsageError("whose policy?", hint="name an orchestration, or give --instance INSTANCE or --default")


@command(app, "edit", examples=("policy edit", "policy edit --config config/runtime_config.toml"))
def edit(session: Session, yes: YesOption = False) -> None:
    """Edit the runtime_config.toml in $VISUAL or $EDITOR. It is saved only if it can be used.

    An edit with an error is kept and opened again at its line. What the change lets go is shown; if that is more than
    before, you are asked.
    """
    from duroctl.policy_files import change_in_editor

    session.output.only("table", "json", "jsonl", what="a change")
    change_in_editor(session, yes=yes)


_PolicyOption = Annotated[
    str | None,
    typer.Option("--policy", metavar="FILE", help="A runtime_config.toml; by default the one here."),
]
_OfNameOption = Annotated[
    str | None,
    typer.Option("--name", metavar="GLOB", help="Only orchestrations with such a name.", autocompletion=orchestrations),
]


@command(
    app,
    "simulate",
    examples=("policy simulate --policy new.toml", "policy simulate --policy new.toml --name 'queue*' --output json"),
)
def simulate(session: Session, policy: _PolicyOption = None, name: _OfNameOption = None) -> None:
    """Show what would be removed if all workers read another runtime_config.toml, orchestration by orchestration.

    Changes nothing and reads no histories. Policies of the code and of instances count as they would then.
    """
    from duroctl.policy_files import found_file
    from duroctl.pruning import note_name
    from duroctl.render.simulation import SIMULATED, other_lines, simulation_json, total_line

    file = policy if policy is not None else str(found_file(session))
    with session.client(read_only=True) as client:
        simulated = client.simulate_policies(file, name=name)
        note_name(session, client, name)
        if session.output.format == "json":
            session.output.json({"schema": SIMULATED.schema, **simulation_json(simulated)})
            return
        session.output.listing(SIMULATED, simulated.names, client.store.now_ms)
    if not simulated.published:
        session.note("no worker has published what it was told, so nothing is removed automatically now")
    session.note(total_line(simulated))
    for line in other_lines(simulated):
        session.note(line)
