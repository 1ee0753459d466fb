"""``duroctl init``: a store and a configuration file to begin with."""

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from duroctl.options import command, new_command_app
from duroctl.session import Session

app = new_command_app()

_DEFAULT_URL: Final = "sqlite:///duro.db"
_FileArgument = Annotated[
    str | None,
    typer.Argument(metavar="[FILE]", help="The SQLite file to make, duro.db by default.", show_default=False),
]


@command(app, "init", examples=("init", "init /var/lib/duro/duro.db", "init --config config/runtime_config.toml"))
def init(session: Session, file: _FileArgument = None) -> None:
    """Make a store, and a runtime_config.toml that names it.

    What exists already is left as it is, so running it again does no harm. The configuration file goes into the
    current directory, or where --config says.
    """
    from duroctl.discovery import CONFIG_NAME
    from duroctl.render.tables import View

    config = Path(session.options.config or CONFIG_NAME)
    known = _configured_url(config)
    url = _wanted_url(file, session.options.store, known)
    created = _make_store(url)
    config_created = known is None and not config.exists() and url != "memory:"
    if config_created:
        _write_config(config, url)
    elif known != url:
        session.note(f"{config} is left as it is and names another store: use --store {url}")
    document = {"store": url, "store_created": created, "config": str(config), "config_created": config_created}
    view = View("duroctl.init/1", "init", (), lambda record: dict(record), lambda record: str(record["store"]))
    session.output.result(view, document, _lines(document))
    if created:
        session.note("next: duroctl worker MODULE:REGISTRY, then duroctl start NAME")


def _lines(document: dict[str, Any]) -> list[str]:
    from duroctl.render.text import visible

    def what(created: bool) -> str:
        return "made" if created else "kept"

    return [
        visible(f"{what(document['store_created'])}  store          {document['store']}"),
        visible(f"{what(document['config_created'])}  configuration  {document['config']}"),
    ]


def _configured_url(config: Path) -> str | None:
    """The store an existing configuration file names, as seen from the current directory."""
    from duroctl.discovery import anchored, read_config

    url = read_config(config, str(config)) if config.exists() else None
    return anchored(url, config.parent, Path.cwd()) if url else None


def _wanted_url(file: str | None, store: str | None, known: str | None) -> str:
    from duro.errors import UsageError

    if file is not None and store is not None:
        raise UsageError("a FILE and --store were given", hint="give one of them")
    if file == "":
        raise UsageError("FILE is empty", hint="name a file, such as duro.db")
    (file or "").encode()  # a name that is no Unicode could not stand in the configuration
    return f"sqlite:///{file}" if file is not None else store or known or _DEFAULT_URL


def _make_store(url: str) -> bool:
    """Whether the file was made by this call."""
    from duro.stores.opening import open_store, sqlite_path

    existed = url.startswith("memory:") or Path(sqlite_path(url)).exists()
    open_store(url, create=True).close()
    return not existed


def _write_config(config: Path, url: str) -> None:
    from duro.settings.documents import default_file

    here = config.parent.resolve() == Path.cwd()
    path = url.removeprefix("sqlite:///")
    shown = url if here or path.startswith("/") else f"sqlite:///{Path(path).resolve()}"
    with config.open("x", encoding="utf-8") as file:
        file.write(default_file(shown))
