"""The journal of a client that may be killed inside any call, and what follows from it: pure but for ``read_calls``."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from duro.stores.base import StoreDump
from tests.support.traffic import Acknowledged, Expected

What = Literal["start", "event", "cancel"]
Route = Literal["client", "duroctl"]
Outcome = Literal["asked", "told", "repeated", "found", "given up"]

KNOWN: Final[tuple[Outcome, ...]] = ("told", "repeated", "found")

_LINE_BYTES_MAX: Final = 10_000


class Begun(msgspec.Struct, frozen=True):
    """One instance of a start, and how it has to end."""

    instance_id: str
    name: str
    input: Any
    status: str
    output: Any


class Call(msgspec.Struct, frozen=True):
    """A line of the journal: ``asked`` before the call; after it what came of it, under the same ``number``.

    "told": it returned. Where the client was killed in between, its next life wrote "repeated" (it made the same call
    again, and that returned), "found" (it looked, and it had happened) or "given up" (it looked, found nothing, and
    asks no more).
    """

    number: int
    what: What
    outcome: Outcome = "asked"
    starts: tuple[Begun, ...] = ()
    instance_id: str = ""
    """Whom an event or a cancel goes to."""

    sender: str = ""
    item: int = 0
    route: Route = "client"


def journal_of(directory: Path, name: str) -> Path:
    return directory / f"calls-{name}.jsonl"


def read_calls(file: Path) -> list[Call]:
    """Its lines, in order."""
    return [msgspec.json.decode(line, type=Call) for line in file.read_bytes().splitlines()] if file.exists() else []


def is_inside_a_call(file: Path) -> bool:
    """Whether the client has asked for something and does not know yet what came of it."""
    if not file.exists():
        return False
    with file.open("rb") as journal:
        journal.seek(max(0, file.stat().st_size - _LINE_BYTES_MAX))
        lines = journal.read().splitlines()
    return bool(lines) and msgspec.json.decode(lines[-1], type=Call).outcome == "asked"


def settled(calls: Iterable[Call]) -> list[Call]:
    """The last line of each call."""
    return list({each.number: each for each in calls}.values())


def acknowledged_to(calls: Iterable[Call], everything: StoreDump) -> Acknowledged:
    """What has to be true for ever after of the calls of one client; of what was given up, what happened after all."""
    there = {row["instance_id"] for row in everything["instances"]}
    found = Acknowledged()
    for call in settled(calls):
        if call.what == "start":
            for begun in call.starts:
                if call.outcome in KNOWN or begun.instance_id in there:
                    found.instances[begun.instance_id] = Expected(begun.name, begun.status, begun.output)
                    if begun.name == "collector":
                        found.items.setdefault(begun.instance_id, {})
        elif call.outcome in KNOWN and call.what == "event":
            found.items.setdefault(call.instance_id, {}).setdefault(call.sender, []).append(call.item)
        elif call.outcome in KNOWN:
            found.cancelled.append(call.instance_id)
    return found


def calls_cut_in_two(calls: Sequence[Call], everything: StoreDump) -> Iterator[str]:
    """A call whose client was killed has happened as a whole or not at all, and somebody has said what became of it."""
    there = {row["instance_id"] for row in everything["instances"]}
    for call in settled(calls):
        if call.outcome == "asked":
            yield f"{call.what} {call.number} was asked for, and nobody ever came back to it"
        elif call.outcome == "given up":
            begun = [each.instance_id for each in call.starts if each.instance_id in there]
            if begun and len(begun) < len(call.starts):
                missing = [each.instance_id for each in call.starts if each.instance_id not in there]
                yield f"a start that was cut off started {', '.join(begun)} and not {', '.join(missing)}"
