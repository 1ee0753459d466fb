"""Which store a command works on: flags, then the environment, then configuration files, in that order."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from duro.errors import StoreNotFoundError
from duroctl.errors import ConfigFileError

CONFIG_NAME: Final = "runtime_config.toml"
_AT = re.compile(r" \(at line (\d+), column (\d+)\)$")


class StoreChoice(NamedTuple):
    """A store URL and, for people, where it came from."""

    url: str
    origin: str


def find_store(store: str | None, config: str | None, environment: Mapping[str, str], directory: Path) -> StoreChoice:
    """The store that ``--store``, ``--config``, the environment or a file names, the first of them in this order.

    ``directory`` is the current one. A configuration file without a store is passed over.

    Raises:
        StoreNotFoundError: nothing names one.
        ConfigFileError: a file that was named is not there, or one that is there cannot be used.
    """
    if store:
        return StoreChoice(store, "--store")
    if config and (choice := _from_named_file(config, "--config", directory)):
        return choice
    if url := environment.get("DUROCTL_STORE"):
        return StoreChoice(url, "DUROCTL_STORE")
    named = environment.get("DUROCTL_CONFIG")
    if named and (choice := _from_named_file(named, "DUROCTL_CONFIG", directory)):
        return choice
    for path in _usual_places(environment, directory):
        if path.is_file() and (choice := _from_file(path, directory)):
            return choice
    raise StoreNotFoundError(
        "no store is named here",
        hint="make one with `duroctl init`, or name one with --store sqlite:///PATH or DUROCTL_STORE",
    )


def read_config(path: Path, shown: str) -> str | None:
    """The ``[store] url`` of a configuration file, as written there; None if it names none.

    ``shown`` is how errors call the file. The parser is the standard library's tomllib (tomli by another name).

    Raises:
        ConfigFileError: the file cannot be read, is no TOML, or holds something else than it may.
    """
    text = _read_text(path, shown)
    settings = _parse(text, shown)
    for key in settings:
        if key != "store":
            raise _misplaced(text, key, shown, f"unknown key {key!r}", "the keys of this version: [store] url")
    store = settings.get("store", {})
    if not isinstance(store, dict):
        raise _misplaced(text, "store", shown, "store is not a table", 'write [store] and below it url = "..."')
    for key in store:
        if key != "url":
            raise _misplaced(text, key, shown, f"unknown key {key!r} in [store]", "the keys of this version: url")
    url = store.get("url")
    if url is not None and not (isinstance(url, str) and url):
        raise _misplaced(text, "url", shown, "[store] url is not a text", 'write url = "sqlite:///duro.db"')
    return url


def anchored(url: str, base: Path, directory: Path) -> str:
    """``url`` with a relative SQLite path taken from ``base`` (the directory of the file that says it)."""
    prefix = "sqlite:///"
    path = url.removeprefix(prefix)
    if not url.startswith(prefix) or path.startswith("/") or base.resolve() == directory.resolve():
        return url
    return f"{prefix}{(base.resolve() / path)}"


def _usual_places(environment: Mapping[str, str], directory: Path) -> Iterator[Path]:
    yield directory / CONFIG_NAME
    yield directory / "config" / CONFIG_NAME
    home = environment.get("HOME", "")
    config_home = environment.get("XDG_CONFIG_HOME", "")
    if not config_home.startswith("/") and home:  # the XDG specification ignores relative paths
        config_home = f"{home}/.config"
    if config_home.startswith("/"):
        yield Path(config_home) / "duro" / CONFIG_NAME


def _from_named_file(name: str, origin: str, directory: Path) -> StoreChoice | None:
    path = directory / name
    if not path.exists():
        raise ConfigFileError(f"configuration file {name!r} ({origin}) does not exist", hint="check the path")
    return _from_file(path, directory)


def _from_file(path: Path, directory: Path) -> StoreChoice | None:
    shown = str(path.relative_to(directory)) if path.is_relative_to(directory) else str(path)
    url = read_config(path, shown)
    return StoreChoice(anchored(url, path.parent, directory), shown) if url else None


def _read_text(path: Path, shown: str) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        column = error.start - error.object.rfind(b"\n", 0, error.start)
        raise ConfigFileError(f"{shown}:{line}:{column}: it is not UTF-8 text", hint="save it as UTF-8") from error
    except OSError as error:
        raise ConfigFileError(f"{shown}: it cannot be read: {error.strerror}", hint="check the path") from error


def _parse(text: str, shown: str) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        if match := _AT.search(message):
            line, column = int(match[1]), int(match[2])
        else:  # "(at end of document)"
            line, column = text.count("\n") + 1, len(text) - text.rfind("\n")
        raise ConfigFileError(
            f"{shown}:{line}:{column}: {message.partition(' (at ')[0]}", hint="correct the file"
        ) from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; brackets nested by the thousand
        raise ConfigFileError(f"{shown}:1:1: it cannot be read as TOML: {error}", hint="correct the file") from error


def _misplaced(text: str, key: str, shown: str, problem: str, hint: str) -> ConfigFileError:
    line, column = _position(text, key)
    return ConfigFileError(f"{shown}:{line}:{column}: {problem}", hint=hint)


def _position(text: str, key: str) -> tuple[int, int]:
    """Line and column where ``key`` is first written as a key or a table, 1:1 if it is written in an unusual way."""
    pattern = re.compile(rf"""^[ \t]*\[*[ \t]*(?P<key>["']?{re.escape(key)}["']?)[ \t]*[\].=]""", re.MULTILINE)
    match = pattern.search(text)
    if match is None:
        return 1, 1
    return text.count("\n", 0, match.start("key")) + 1, match.start("key") - text.rfind("\n", 0, match.start("key"))
