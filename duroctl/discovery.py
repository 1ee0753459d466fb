"""Which store a command works on: flags, then the environment, then configuration files, in that order."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from duro.errors import SettingsError, StoreNotFoundError
from duro.model.problem import FileProblem

CONFIG_NAME: Final = "runtime_config.toml"


class StoreChoice(NamedTuple):
    """A store URL and, for people, where it came from."""

    url: str
    origin: str


_BY_HAND: Final = ("--store", "DUROCTL_STORE")


def is_by_hand(choice: StoreChoice) -> bool:
    """Whether somebody named this store for this command, not a file for all of them."""
    return choice.origin in _BY_HAND


def find_store(
    store: str | None,
    config: str | None,
    environment: Mapping[str, str],
    directory: Path,
    *,
    texts: Mapping[Path, bytes] | None = None,
) -> StoreChoice:
    """The store that ``--store``, ``--config``, the environment or a file names, the first of them in this order.

    ``directory`` is the current one; ``texts``: what files below it are about to say, read instead of them. A
    configuration file without a store is passed over; something of its name that is no file, such as a link to one that
    is gone, is not: what it says of removals would not be heard.

    Raises:
        StoreNotFoundError: nothing names one.
        SettingsError: a file that was named is not there, or one that is there cannot be used.
    """
    told = texts or {}
    if store:
        return StoreChoice(store, "--store")
    if config and (choice := _from_file(_named(config, "--config", directory), directory, told)):
        return choice
    if url := environment.get("DUROCTL_STORE"):
        return StoreChoice(url, "DUROCTL_STORE")
    named = environment.get("DUROCTL_CONFIG")
    if named and (choice := _from_file(_named(named, "DUROCTL_CONFIG", directory), directory, told)):
        return choice
    for path in _usual_places(environment, directory):
        if os.path.lexists(path) and (choice := _from_file(path, directory, told)):
            return choice
    raise StoreNotFoundError(
        "no store is named here",
        hint="make one with `duroctl init`, or name one with --store sqlite:///PATH or DUROCTL_STORE",
    )


def find_config(config: str | None, environment: Mapping[str, str], directory: Path) -> Path | None:
    """The configuration file that ``--config``, the environment or the usual places name, the first of them in this
    order; None: there is none. It need not be one that can be read.

    Raises:
        SettingsError: a file that was named is not there.
    """
    for name, origin in ((config, "--config"), (environment.get("DUROCTL_CONFIG"), "DUROCTL_CONFIG")):
        if name:
            return _named(name, origin, directory)
    return next((path for path in _usual_places(environment, directory) if os.path.lexists(path)), None)


def read_config(path: Path, shown: str) -> str | None:
    """The ``[store] url`` of a configuration file, as written there; None if it names none.

    ``shown`` is how errors call the file.

    Raises:
        SettingsError: the file cannot be read or used.
    """
    from duro.settings.files import load_settings

    return load_settings(path, shown).store_url


def _named_in(text: bytes, shown: str) -> str | None:
    from duro.settings.reading import read_settings

    return read_settings(text, shown).store_url


def _usual_places(environment: Mapping[str, str], directory: Path) -> Iterator[Path]:
    yield directory / CONFIG_NAME
    yield directory / "config" / CONFIG_NAME
    home = environment.get("HOME", "")
    config_home = environment.get("XDG_CONFIG_HOME", "")
    if not config_home.startswith("/") and home:  # the XDG specification ignores relative paths
        config_home = f"{home}/.config"
    if config_home.startswith("/"):
        yield Path(config_home) / "duro" / CONFIG_NAME


def _named(name: str, origin: str, directory: Path) -> Path:
    path = directory / name
    if not os.path.lexists(path):
        raise SettingsError(
            [FileProblem(name, 0, 0, f"this configuration file ({origin}) does not exist", "check the path")]
        )
    return path


def _from_file(path: Path, directory: Path, texts: Mapping[Path, bytes]) -> StoreChoice | None:
    shown = str(path.relative_to(directory)) if path.is_relative_to(directory) else str(path)
    text = texts.get(path)
    url = read_config(path, shown) if text is None else _named_in(text, shown)
    return StoreChoice(anchored(url, path.parent, directory), shown) if url else None


def anchored(url: str, base: Path, directory: Path) -> str:
    """``url`` with a relative SQLite path taken from ``base``, the directory of the file that says it. As written
    where the file is in the current directory."""
    from duro.settings.places_of_stores import anchored as from_file

    return url if base.resolve() == directory.resolve() else from_file(url, base)
