"""``duroctl init``: a store and a configuration file to begin with."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from duroctl.options import command, new_command_app
from duroctl.session import Session, check_lasting

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
    current directory, unless it is in config/ already, or where --config says. DUROCTL_STORE and DUROCTL_CONFIG count
    as for any command.
    """
    from duroctl.render.tables import Column, View

    given = session.options.config
    config = _config_file(given)
    known = _configured_url(config)
    environment = os.environ.get("DUROCTL_STORE")
    first, second = (known, environment) if given else (environment, known)
    url = _wanted_url(file, session.options.store, first, second)
    config_created = not os.path.lexists(config)
    with _new_config(config, url) if config_created else nullcontext():
        created = _make_store(url)
    if not config_created and known != url:
        named = "another store" if known else "no store"
        session.note(f"{config} is left as it is and names {named}: use --store {url}")
    document = {"store": url, "store_created": created, "config": str(config), "config_created": config_created}
    columns = tuple(Column(name, None, "text", partial(_cell, name)) for name in document)
    view = View("duroctl.init/1", "init", columns, lambda record: dict(record), lambda record: str(record["store"]))
    session.output.result(view, document, _lines(document))
    if created:
        session.note("next: duroctl worker MODULE:REGISTRY, then duroctl start NAME")


def _cell(name: str, document: dict[str, Any]) -> str:
    value = document[name]
    return str(value).lower() if isinstance(value, bool) else str(value)


def _lines(document: dict[str, Any]) -> list[str]:
    from duroctl.render.text import visible_field

    def what(created: bool) -> str:
        return "made" if created else "kept"

    return [
        f"{what(document['store_created'])}  store          {visible_field(document['store'])}",
        f"{what(document['config_created'])}  configuration  {visible_field(document['config'])}",
    ]


def _config_file(given: str | None) -> Path:
    """Where the configuration is to be: as ``--config`` or DUROCTL_CONFIG says, or else where commands in this
    directory find it."""
    from duroctl.discovery import CONFIG_NAME
    from duroctl.parsing import check_new_file

    if given:
        check_new_file(given, "--config")
        return Path(given)
    if told := os.environ.get("DUROCTL_CONFIG"):
        check_new_file(told, "DUROCTL_CONFIG")
        return Path(told)
    usual = Path(CONFIG_NAME), Path("config") / CONFIG_NAME
    return next((path for path in usual if os.path.lexists(path)), usual[0])


@contextmanager
def _new_config(config: Path, url: str) -> Iterator[None]:
    """The configuration file is made before the block, for it can be taken back if the block fails.

    Raises:
        UsageError: it cannot be made there.
    """
    from duro.errors import UsageError

    try:
        _write_config(config, url)
    except OSError as error:
        raise UsageError(
            f"the configuration file {str(config)!r} cannot be made: {error.strerror}",
            hint="make its directory, or name another file with --config",
        ) from error
    try:
        yield
    except BaseException:
        config.unlink()
        raise


def _configured_url(config: Path) -> str | None:
    """The store an existing configuration file names, as seen from the current directory."""
    from duroctl.discovery import anchored, read_config

    url = read_config(config, str(config)) if os.path.lexists(config) else None
    return anchored(url, config.parent, Path.cwd()) if url else None


def _wanted_url(file: str | None, store: str | None, *known: str | None) -> str:
    """FILE, or the first of the others that says anything."""
    from duro.errors import UsageError
    from duro.redacting import redacted
    from duroctl.parsing import check_new_file

    if file is not None and store is not None:
        raise UsageError("a FILE and --store were given", hint="give one of them")
    if file == "":
        raise UsageError("FILE is empty", hint="name a file, such as duro.db")
    if file is not None and (file.startswith(("sqlite:", "memory:")) or "://" in file):
        raise UsageError(f"FILE {redacted(file)!r} is a URL", hint=f"write --store {redacted(file)}, or a path alone")
    check_new_file(file or "", "FILE")
    return f"sqlite:///{file}" if file is not None else next(filter(None, (store, *known)), _DEFAULT_URL)


def _make_store(url: str) -> bool:
    """Whether the store was made by this call. An empty file is none yet.

    Raises:
        StoreUrlError, StoreError: see ``duro.stores.opening.open_store``.
    """
    from duro.errors import NotADuroStoreError, StoreNotFoundError
    from duro.stores.opening import open_store, sqlite_path
    from duroctl.parsing import check_new_file

    check_lasting(url)
    check_new_file(sqlite_path(url), "--store")
    try:
        open_store(url, create=False).close()
    except (StoreNotFoundError, NotADuroStoreError):
        open_store(url, create=True).close()
        return True
    return False


def _write_config(config: Path, url: str) -> None:
    from duro.disk import new_file
    from duro.settings.documents import default_file

    here = config.parent.resolve() == Path.cwd()
    path = url.removeprefix("sqlite:///")
    shown = url if here or path.startswith("/") else f"sqlite:///{Path(path).resolve()}"
    mask = os.umask(0o077)
    os.umask(mask)
    with new_file(config, tidy=True) as part:
        part.write_text(default_file(shown), encoding="utf-8")
        part.chmod(0o666 & ~mask)  # as any file that this user makes
