"""docs/cli.md: the help of every command, one after another."""

import os
from collections.abc import Iterator
from typing import Any, Final

from duroctl.app import GROUPS, build
from tests.json_documents import documents_of
from tests.json_schemas import link

_WIDTH: Final = 100

_TOP: Final = """\
# duroctl

<!-- Generated from the program (`make generated`); edit duroctl/commands instead. -->

What every command says with `--help`. Options may stand before or after the command. Results go to standard output, in
the format of `--output` (`table`: for people on a terminal, tab-separated and whole elsewhere); everything else goes to
standard error. JSON is one document with a `schema`, `jsonl` one a line ([schemas/](schemas/README.md) describes them
all), `ids` ids alone: `-` in place of ids reads them from standard input, so commands can be joined
(none there: nothing to do, exit status 0; 2 of a command that shows one thing):

```console
$ duroctl instances list --status failed -o ids | duroctl instances purge - --completed-before now --dry-run
$ duroctl executions list queue-1 -o ids | duroctl prune - --keep-last 3 --dry-run
```

Completion of commands, options, instance ids, orchestrations and runs: `duroctl --install-completion`. It only reads
the store, and proposes nothing if that takes more than half a second (`DUROCTL_COMPLETE_TIMEOUT_S`).
"""


def reference() -> str:
    """The page. Every line of it comes from the program."""
    os.environ.pop("COLUMNS", None)
    root = build()
    context = root.make_context("duroctl", ["--help-is-not-asked"], resilient_parsing=True, **_SHOWN)
    return "\n".join([_TOP, *_sections(root, context)])


_SHOWN: Final[dict[str, Any]] = {"terminal_width": _WIDTH, "max_content_width": _WIDTH}


def _sections(root: Any, context: Any) -> Iterator[str]:
    yield _block("duroctl", root, context)
    for heading, names in GROUPS.items():
        yield f"# {heading}\n"
        for name in names:
            yield from _command(root.get_command(context, name), f"duroctl {name}", context)


def _command(command: Any, path: str, parent: Any) -> Iterator[str]:
    name = path.removeprefix(f"{parent.command_path} ")
    context = command.context_class(command, info_name=name, parent=parent, **_SHOWN)
    names = command.list_commands(context) if hasattr(command, "list_commands") else ()
    if not names:
        yield _block(path, command, context)
        name = path.removeprefix("duroctl ")
        others = [each for word in getattr(command, "words", ()) for each in documents_of(f"{name} {word}")]
        if found := [each for each in documents_of(name) if each not in others]:
            yield f"JSON: {', '.join(link(each, 'schemas/') for each in found)}\n"
    for name in names:
        yield from _command(command.get_command(context, name), f"{path} {name}", context)
    for word in getattr(command, "words", ()):
        yield from _command(command.command_of(word), f"{path} {word}", parent)


def _block(path: str, command: Any, context: Any) -> str:
    text = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
    return f"## `{path}`\n\n```text\n{text}\n```\n"
