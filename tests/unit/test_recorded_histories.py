"""Recorded histories, good and bad, replayed for ever: what a release wrote, every later release must read."""

import re
from pathlib import Path
from typing import Final

import pytest

from duro.codec import decode_event, encode_event
from duro.errors import DuroError, HistoryFormatError, NondeterminismError, UnknownOrchestrationError
from duro.model import events as ev
from duro.testing.histories import check_replay
from tests.histories import record
from tests.histories.orchestrations import registry

DIRECTORY: Final = Path(record.__file__).parent
GOOD: Final = sorted(path.stem for path in DIRECTORY.glob("*.jsonl"))
BAD: Final[dict[str, tuple[type[DuroError], str]]] = {
    "another-activity": (
        NondeterminismError,
        "event 2: history recorded ActivityScheduled 'reserve', the code asked for ActivityScheduled 'charge'",
    ),
    "another-kind-of-request": (
        NondeterminismError,
        "event 4: history recorded EventWaitStarted 'approved', the code asked for TimerCreated",
    ),
    "another-child": (
        NondeterminismError,
        (
            "history recorded SubOrchestrationScheduled 'ship' 'parcel-8', "
            "the code asked for SubOrchestrationScheduled 'ship' 'parcel-7'"
        ),
    ),
    "another-seed": (NondeterminismError, "event 2: history recorded ActivityScheduled 'pick "),
    "request-the-code-does-not-make": (
        NondeterminismError,
        "event 5: history recorded ActivityScheduled 'audit', the code did not ask for it and came to rest",
    ),
    "request-history-does-not-have": (
        NondeterminismError,
        "the end of its history: history recorded nothing more for this point, the code asked for TimerCreated",
    ),
    "loser-that-was-not-cancelled": (
        NondeterminismError,
        "event 10: history recorded EventWaitCancelled 5, the code asked for TimerCancelled 4",
    ),
    "ended-where-the-code-waits": (
        NondeterminismError,
        "event 5: history recorded OrchestrationCompleted, the code did not end",
    ),
    "ended-in-another-way": (
        NondeterminismError,
        "event 11: history recorded OrchestrationCancelled, the code ended with OrchestrationCompleted",
    ),
    "continued-where-the-code-completes": (
        NondeterminismError,
        "event 11: history recorded OrchestrationContinuedAsNew, the code ended with OrchestrationCompleted",
    ),
    "goes-on-after-its-end": (
        NondeterminismError,
        "event 12: history recorded TimerFired, the code had already ended",
    ),
    "empty": (HistoryFormatError, "does not begin with OrchestrationStarted"),
    "no-start": (HistoryFormatError, "does not begin with OrchestrationStarted"),
    "two-starts": (HistoryFormatError, "OrchestrationStarted at event 5 is out of place"),
    "gap-in-the-numbers": (HistoryFormatError, "event 4 of the history is numbered 5"),
    "seed-that-is-none": (HistoryFormatError, "the seed is not 32 hexadecimal digits: '5eed'"),
    "answer-to-nothing": (HistoryFormatError, "event 3: ActivityCompleted answers event 7, which waits for nothing"),
    "answered-twice": (HistoryFormatError, "event 5: ActivityCompleted answers event 2, which waits for nothing"),
    "answer-of-the-wrong-kind": (
        HistoryFormatError,
        "event 5: ActivityCompleted answers event 4, which waits for something else (timer)",
    ),
    "event-of-a-newer-release": (HistoryFormatError, "Invalid value 'HistoryArchived'"),
    "line-cut-short": (HistoryFormatError, 'event \'{"type":"TimerCreated"'),
    "field-of-the-wrong-type": (HistoryFormatError, "Expected `int`, got `str` - at `$.fire_at_ms`"),
    "version-nobody-has": (UnknownOrchestrationError, "orchestration 'sell' version 9.9.9 is not registered here"),
}


def lines(name: str) -> list[str]:
    text = (DIRECTORY / f"{name}.jsonl").read_text(encoding="utf-8")
    assert not text or text.endswith("\n")
    return text.split("\n")[:-1]


def execution_id(name: str) -> int:
    found = re.search(r"-execution-(\d+)$", name)
    return int(found[1]) if found else 1


@pytest.mark.parametrize("name", GOOD)
def test_every_recorded_history_replays(name: str) -> None:
    check_replay(lines(name), registry, execution_id=execution_id(name))


@pytest.mark.parametrize("name", GOOD)
def test_every_recorded_event_is_written_again_byte_for_byte(name: str) -> None:
    for line in lines(name):
        assert encode_event(decode_event(line)) == line


def test_every_kind_of_event_is_recorded_in_some_history() -> None:
    recorded = {type(decode_event(line)) for name in GOOD for line in lines(name)}
    assert recorded == set(ev.AnyEvent.__args__)


def test_every_orchestration_and_every_scenario_has_a_history() -> None:
    names = {decode_event(lines(name)[0]).name for name in GOOD}  # type: ignore[union-attr]
    assert names == {name for name, _ in registry.orchestrations}
    assert set(record.SCENARIOS) <= set(GOOD)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_history_fails_with_the_right_error_and_says_what_is_wrong(name: str) -> None:
    error, said = BAD[name]
    with pytest.raises(error) as caught:
        check_replay(lines(f"bad/{name}"), registry)
    assert type(caught.value) is error
    assert said in caught.value.message
    if error is NondeterminismError:
        assert "Likely cause: the code of this version changed while the execution was running" in caught.value.message
        assert caught.value.hint is not None


def test_every_bad_history_is_tested() -> None:
    assert {path.stem for path in (DIRECTORY / "bad").glob("*.jsonl")} == set(BAD)


def test_recording_again_overwrites_nothing(tmp_path: Path) -> None:
    assert record.main(tmp_path) == list(record.SCENARIOS)
    kept = tmp_path / "sell-running.jsonl"
    kept.write_text("what an older release wrote\n", encoding="utf-8")
    (tmp_path / "eternal.jsonl").unlink()
    assert record.main(tmp_path) == ["eternal"]
    assert kept.read_text(encoding="utf-8") == "what an older release wrote\n"


def test_what_is_recorded_names_no_directory_of_the_machine_that_recorded_it() -> None:
    assert not [name for name in GOOD for line in lines(name) if str(DIRECTORY.parent.parent) in line]
