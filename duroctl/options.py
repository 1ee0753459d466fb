"""The global options, declared once, and the decorator that gives them to every command.

They work before and after the command; what stands after wins.
"""

import inspect
import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal, NamedTuple, cast

import typer
from typer.core import TyperCommand, TyperGroup

from duroctl.session import Session

OutputFormat = Literal["table", "json", "jsonl", "csv", "ids"]

StoreOption = Annotated[
    str | None, typer.Option("--store", metavar="URL", help="The store, such as sqlite:///duro.db.", show_default=False)
]
ConfigOption = Annotated[
    str | None, typer.Option("--config", metavar="FILE", help="A runtime_config.toml.", show_default=False)
]
OutputOption = Annotated[
    OutputFormat | None, typer.Option("--output", "-o", help="How to print what was found.", show_default=False)
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print no notes, only results and errors.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Say which store is used; print tracebacks.")]

# Options of every list.
LimitOption = Annotated[str, typer.Option("--limit", metavar="N", help="Rows at most; 0 for all.")]
CursorOption = Annotated[
    str | None, typer.Option("--cursor", metavar="CURSOR", help="Go on where an earlier list ended (its `next`).")
]

# Of commands that read an archive.
StoreIdOption = Annotated[
    str | None,
    typer.Option(
        "--store-id",
        metavar="ID",
        help="What this store has archived there, which need not be the one at hand; the beginning of its id will do.",
    ),
]

IncarnationOption = Annotated[
    str | None,
    typer.Option(
        "--incarnation",
        metavar="N",
        help="Of this life of an id that was used again; `archive show INSTANCE` tells which there are.",
    ),
]

_SENTENCE_MAX: Final = 1_000
"""No first sentence of a help is longer, so that none is cut in a list of commands."""

Examples = tuple[str, ...]


class GlobalOptions(NamedTuple):
    """What every command takes. None: not given here."""

    store: str | None = None
    config: str | None = None
    output: OutputFormat | None = None
    quiet: bool = False
    verbose: bool = False

    def overridden_by(self, later: "GlobalOptions") -> "GlobalOptions":
        return GlobalOptions(
            store=self.store if later.store is None else later.store,
            config=self.config if later.config is None else later.config,
            output=later.output or self.output,
            quiet=later.quiet or self.quiet,
            verbose=later.verbose or self.verbose,
        )


def new_group(
    summary: str,
    cls: type[TyperGroup] | None = None,
    *,
    extra: tuple[inspect.Parameter, ...] = (),
    epilog: str | None = None,
    add_completion: bool = False,
) -> typer.Typer:
    """A group of commands that takes the global options too, and ``extra`` ones that act on their own."""
    app = typer.Typer(
        cls=cls or HelpingGroup,
        help=summary,
        epilog=epilog,
        add_completion=add_completion,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings=_CONTEXT_SETTINGS,
    )

    def take_globals(ctx: typer.Context, **values: Any) -> None:
        given = GlobalOptions(**{name: values[name] for name in _GLOBALS})
        ctx.obj = _so_far(ctx).overridden_by(given)

    app.callback()(_declared(take_globals, [*extra, *_GLOBALS.values()]))
    return app


def new_command_app() -> typer.Typer:
    """Holds one command that belongs to no group."""
    return typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


class HelpingGroup(TyperGroup):
    """A group that prints its help to standard error and exits with 2 when nothing follows it."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The list of commands in the help, each with its first sentence whole."""
        with formatter.section("Commands"):
            formatter.write_dl([self.line_of(ctx, name) for name in self.list_commands(ctx)])

    def line_of(self, ctx: Any, name: str) -> tuple[str, str]:
        """A command and what it does."""
        found: Any = self.get_command(ctx, name)
        return name, found.get_short_help_str(_SENTENCE_MAX)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            typer.echo(self.get_help(ctx), err=True)
            raise typer.Exit(2)
        return super().parse_args(ctx, args)


class NamingCommand(TyperCommand):
    """A command that says which one it is where its options cannot be read."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except typer.TyperException as error:
            if getattr(error, "ctx", None) is None:  # the parser of options does not know
                error.ctx = ctx  # type: ignore[attr-defined]  # usage errors have it, and typer exports no such class
            raise


class WordyCommand(NamingCommand):
    """A command of which a first argument can make another one (``prune undo``): with help and options of its own, and
    global options on either side of the word.

    ``words``: that argument -> the app that holds the other command.
    """

    words: ClassVar[dict[str, typer.Typer]] = {}

    def make_context(self, info_name: Any, args: list[str], parent: Any = None, **extra: Any) -> Any:
        first = _after_globals(args)
        if first < len(args) and args[first] in self.words:
            word = args.pop(first)
            return self.command_of(word).make_context(f"{info_name} {word}", args, parent, **extra)
        return super().make_context(info_name, args, parent, **extra)

    def command_of(self, word: str) -> Any:
        return typer.main.get_command(self.words[word])


def command(
    app: typer.Typer, name: str, *, examples: Examples, cls: type[TyperCommand] | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function as a command: its parameter ``session`` becomes the global options, the rest is its own.

    ``examples`` are whole command lines, without the leading ``duroctl``.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        def run(ctx: typer.Context, **values: Any) -> None:
            given = GlobalOptions(**{name: values.pop(name) for name in _GLOBALS})
            function(Session(_so_far(ctx).overridden_by(given)), **values)

        run.__doc__ = function.__doc__
        own = list(inspect.signature(function).parameters.values())[1:]
        epilog = "\b\nExamples:\n" + "\n".join(f"  duroctl {example}" for example in examples)
        declared = _declared(run, [*own, *_GLOBALS.values()])
        app.command(name, cls=cls or NamingCommand, epilog=epilog, context_settings=_CONTEXT_SETTINGS)(declared)
        return function

    return register


def _declared(function: Callable[..., None], parameters: list[inspect.Parameter]) -> Callable[..., None]:
    """``function`` with the context and ``parameters`` as the signature that typer reads."""
    shown = [_CONTEXT, *(each.replace(kind=KEYWORD) for each in parameters)]
    function.__annotations__ = {each.name: each.annotation for each in shown}
    cast(Any, function).__signature__ = inspect.Signature(shown)
    return function


def _after_globals(args: Sequence[str]) -> int:
    """Where the first argument stands that is no global option."""
    at = 0
    while at < len(args) and (takes := _GLOBAL.fullmatch(args[at])):
        at += 1 if any(takes.groups()) else 2
    return at


_GLOBAL: Final = re.compile(
    r"(?P<flag>-[qv]+|--quiet|--verbose)|(?:--store|--config|--output)(?P<value>=.*)?|-o(?P<short>.+)?", re.DOTALL
)


def _so_far(ctx: typer.Context) -> GlobalOptions:
    parent = ctx.parent
    return parent.obj if parent is not None and isinstance(parent.obj, GlobalOptions) else GlobalOptions()


KEYWORD = inspect.Parameter.KEYWORD_ONLY
_CONTEXT = inspect.Parameter("ctx", KEYWORD, annotation=typer.Context)
_CONTEXT_SETTINGS: Final = {"help_option_names": ["-h", "--help"]}
_GLOBALS: Final = {
    name: inspect.Parameter(name, KEYWORD, annotation=annotation, default=default)
    for name, annotation, default in (
        ("store", StoreOption, None),
        ("config", ConfigOption, None),
        ("output", OutputOption, None),
        ("quiet", QuietOption, False),
        ("verbose", VerboseOption, False),
    )
}
