"""One run of one command: its global options, the store it opens, where it prints."""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TextIO

from duroctl.output import Output, note, write_line

if TYPE_CHECKING:
    from duro.client import Client
    from duro.stores.base import Store
    from duroctl.discovery import StoreChoice


class Options(Protocol):
    """See ``options.GlobalOptions``."""

    @property
    def store(self) -> str | None: ...
    @property
    def config(self) -> str | None: ...
    @property
    def output(self) -> str | None: ...
    @property
    def quiet(self) -> bool: ...
    @property
    def verbose(self) -> bool: ...


class Session:
    """What a command gets as its first argument."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.output = Output(options.output or "table", sys.stdout)
        self._stdin_is_read = False

    def print_json(self) -> None:
        """A command was asked for JSON in a way of its own."""
        self.output = Output("json", sys.stdout)

    @cached_property
    def store_choice(self) -> "StoreChoice":
        """The store this command works on.

        Raises:
            StoreNotFoundError, SettingsError: see ``discovery.find_store``.
        """
        return self.store_chosen()

    def store_chosen(self, texts: Mapping[Path, bytes] | None = None, *, config: str | None = None) -> "StoreChoice":
        """The same, read anew. ``texts``: what files, as ``config_file`` calls them, are about to say, instead of them.
        ``config``: the configuration file, whatever ``--config`` says.

        Raises:
            StoreNotFoundError, SettingsError: see ``discovery.find_store``.
        """
        from duroctl.discovery import find_store

        here = Path.cwd()
        told = {here / file: text for file, text in (texts or {}).items()}
        choice = find_store(self.options.store, config or self.options.config, os.environ, here, texts=told)
        if self.options.verbose:
            from duro.redacting import redacted

            self.note(f"store {redacted(choice.url)} (from {choice.origin})")
        return choice

    @property
    def config_file(self) -> "Path | None":
        """The configuration file of this command, as errors and origins call it; None: there is none.

        Raises:
            SettingsError: a file that was named is not there.
        """
        from duroctl.discovery import find_config

        found = find_config(self.options.config, os.environ, Path.cwd())
        if found is None or not found.is_relative_to(Path.cwd()):
            return found
        return found.relative_to(Path.cwd())

    @contextmanager
    def open_store(
        self, *, read_only: bool = False, to_copy: bool = False, choice: "StoreChoice | None" = None
    ) -> "Iterator[Store]":
        """The store (``choice``, or the one this command works on), which must exist; closed at the end of the block.
        ``to_copy``: see ``duro.stores.opening``.

        Raises:
            UsageError: it is one in memory.
            StoreUrlError, StoreError: see ``duro.stores.opening.open_store``.
        """
        from duro.stores.opening import open_store

        url = (choice or self.store_choice).url
        check_lasting(url)
        store = open_store(url, create=False, read_only=read_only, to_copy=to_copy)
        try:
            yield store
        finally:
            store.close()

    @contextmanager
    def client(
        self, *, read_only: bool = False, to_copy: bool = False, choice: "StoreChoice | None" = None
    ) -> "Iterator[Client]":
        """A client of ``open_store``; one that writes keeps what it removes where the configuration file says so.

        Raises:
            SettingsError: it writes, and the file cannot be used.
        """
        from duro.client import Client

        configured = None
        if not read_only:
            from duroctl.archives import enabled_directory

            configured = enabled_directory(self)
        with self.open_store(read_only=read_only, to_copy=to_copy, choice=choice) as store:
            yield Client(store, configured_archive=configured)

    def note(self, text: str) -> None:
        """Something a person may want to know, on standard error; silent with ``--quiet``."""
        if not self.options.quiet:
            note(text)

    def note_more(self, cursor: str | None) -> None:
        """Say how to go on after a list that was cut; a JSON document says it itself."""
        if cursor is not None and self.output.format != "json":
            self.note(f"there are more: --cursor {cursor} goes on, --limit 0 shows all")

    def ids(self, given: Sequence[str], what: str = "instance id") -> list[str]:
        """The ids given (``parsing.expand_ids``). Where standard input alone is to give them and is empty, as after a
        list that found nothing, there is nothing to do: that is told, and the command ends with success."""
        from duroctl.parsing import expand_ids

        if set(given) != {"-"}:
            return expand_ids(given, self.stdin_lines, what)
        lines = list(self.stdin_lines())
        if not any(line.strip() for line in lines):
            import typer

            self.note(f"no {what} came from standard input: nothing to do")
            raise typer.Exit
        return expand_ids(["-"], lambda: lines, what)

    def one_id(self, given: str) -> str:
        """The id given, or the only one on standard input.

        Raises:
            UsageError: there are several, or none.
        """
        from duro.errors import UsageError
        from duroctl.parsing import expand_ids

        ids = expand_ids([given], self.stdin_lines)
        if len(ids) > 1:
            raise UsageError(f"{len(ids)} ids were given, and one is taken", hint="send one line")
        return ids[0]

    def stdin_lines(self) -> Iterable[str]:
        """The lines of standard input; bytes that are no UTF-8 come as lone surrogates, which no store accepts."""
        self._stdin_is_read = True
        data = sys.stdin.buffer.read()
        return data.decode("utf-8", "surrogateescape").split("\n")

    @property
    def can_ask(self) -> bool:
        """Whether somebody is there who can be asked."""
        return sys.stdin.isatty() and sys.stderr.isatty()

    def confirm(self, question: str, consequence: Iterable[str], why: str = "this cannot be undone") -> None:
        """Show what would happen and ask: on the terminal itself where standard input has given ids. ``why`` it is not
        done unasked.

        Raises:
            UsageError: nobody is there to ask.
            DeclinedError: the answer was not yes.
        """
        from duro.errors import UsageError
        from duroctl.errors import DeclinedError

        with ExitStack() as stack:
            source: TextIO | None = sys.stdin if sys.stdin.isatty() else None
            if self._stdin_is_read and sys.stderr.isatty():
                source = stack.enter_context(_terminal())
            if source is None or not sys.stderr.isatty():
                raise UsageError(f"{why}, and there is no terminal to ask on", hint="pass --yes to do it")
            for line in consequence:
                write_line(sys.stderr, line)
            if answered(f"{question} [y/N] ", source) not in ("y", "yes"):
                raise DeclinedError("declined, nothing was changed")


@contextmanager
def _terminal() -> "Iterator[TextIO | None]":
    """The terminal that this process may read from, whatever its streams are; None: it has none, or runs behind it."""
    try:
        opened = open("/dev/tty", encoding="utf-8", errors="replace")  # noqa: PTH123, SIM115 - closed below
    except OSError:
        yield None
        return
    with opened:
        yield opened if os.tcgetpgrp(opened.fileno()) == os.getpgrp() else None


def answered(question: str, source: "TextIO | None" = None) -> str | None:
    """What was typed (into ``source``, None: standard input), in lower case; None: that is at its end. Whatever comes
    next has a line of its own, after Ctrl-C and Ctrl-D, too, which end none."""
    answer = ""
    try:
        sys.stderr.write(question)
        sys.stderr.flush()
        answer = (source or sys.stdin).readline()
    finally:
        if not answer.endswith("\n"):
            sys.stderr.write("\n")
            sys.stderr.flush()
    return answer.strip().lower() if answer else None


def check_lasting(url: str) -> None:
    """Raises UsageError: the store would live in the memory of this process and take everything with it."""
    from duro.errors import UsageError
    from duro.redacting import redacted

    if url.startswith("memory:"):
        raise UsageError(
            f"the store {redacted(url)!r} is gone when this command ends", hint="name a file: sqlite:///duro.db"
        )
