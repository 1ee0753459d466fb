"""The short form of ``make power-loss``: what a cut of power leaves has all that was acknowledged, whenever it comes.

And the test of the test: each planted mistake is found, and what is recorded is what the system was asked to do.
"""

import random
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.support.power.campaign import Campaign
from tests.support.power.disk import Enter, Sync, SyncDirectory, Truncate, Unlink, Write
from tests.support.power.judge import workplace
from tests.support.power.planted import PLANTED
from tests.support.power.recorder import Recording, recorded
from tests.support.power.scenarios import SCENARIOS
from tests.support.power.states import outcomes

STATES: Final = 40
STATES_OF_A_MISTAKE: Final = 200
ROOT: Final = Path(__file__).parents[2]


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_cut_of_power_at_any_operation_loses_nothing_that_was_acknowledged(name: str) -> None:
    with workplace() as directory:
        campaign = Campaign(SCENARIOS[name], directory, seed=1)
        for short_log in (False, True):
            report = campaign.run(campaign.record(short_log=short_log), STATES)
            assert report.lost == []
            assert report.checked > 10
            assert report.operations >= 10


@pytest.mark.parametrize("name", PLANTED)
def test_a_mistake_in_what_is_synced_and_when_is_found(name: str) -> None:
    planted = PLANTED[name]
    with workplace() as directory:
        campaign = Campaign(SCENARIOS[planted.scenario], directory, seed=1)
        recording = campaign.record(planted.lies, planted.mistake)
        report = campaign.run(recording, STATES_OF_A_MISTAKE, lost_max=1)
        assert report.lost, str(report)
        assert "TypeError" not in report.lost[0], "it is the mistake that does not fit the code any more"


def test_a_cut_may_leave_what_is_renamed_into_another_directory_under_either_name_both_or_none(tmp_path: Path) -> None:
    for name in ("from", "to"):
        (tmp_path / name).mkdir()
    (tmp_path / "from/a").write_bytes(b"kept")
    with recorded(tmp_path) as recorder:
        (tmp_path / "from/a").rename(tmp_path / "to/b")
    disk = recorder.recording.disk()
    for operation in recorder.recording.operations:
        disk.apply(operation)
    left = [disk.after(outcome) for outcome in outcomes(disk, None, 0, random.Random(1))]
    found = {tuple(sorted(name for name, content in files.items() if content == b"kept")) for files in left}
    assert found == {("from/a",), ("to/b",), ("from/a", "to/b"), ()}


# --- what is recorded is what the system was asked to do ------------------------------------------------------------

_RECORD: Final = """
import pathlib, sys
from tests.support.power.campaign import Campaign
from tests.support.power.scenarios import SCENARIOS
from tests.support.power.states import outcomes
from tests.integration.test_power_loss import recorded_calls
place = pathlib.Path(sys.argv[2])
campaign = Campaign(SCENARIOS[sys.argv[1]], place)
(place / "from here on").touch()
print("\\n".join(recorded_calls(campaign.record())))
"""
_CALL: Final = re.compile(r"^\d+ +(?P<call>\w+)\((?P<arguments>.*)\) += (?P<answer>-?\d+)")
_PATH: Final = re.compile(r'<(?P<of_descriptor>[^<>]*)>|"(?P<named>[^"]*)"')


def recorded_calls(recording: Recording) -> list[str]:
    names, said = recording.file_names, []
    for each in recording.operations:
        match each:
            case Write(file=number, offset=offset, data=data):
                said.append(f"write {names[number]} {len(data)} {offset}")
            case Truncate(file=number, size=size):
                said.append(f"truncate {names[number]} {size}")
            case Sync(file=number):
                said.append(f"sync {names[number]}")
            case SyncDirectory(directory=directory):
                said.append(f"sync {directory or '.'}")
            case Enter(name=name):
                said.append(f"enter {name}")
            case Unlink(name=name):
                said.append(f"unlink {name}")
    return said


def traced_calls(trace: str, root: Path) -> list[str]:
    """The same of what ``strace`` wrote, below ``root``; shared memory, which needs no sync, is left out."""
    said, there = [], set()
    for line in trace.splitlines():
        found = _CALL.match(line)
        if found is None or int(found["answer"]) < 0:
            continue
        paths = [Path(each["of_descriptor"] or each["named"]) for each in _PATH.finditer(found["arguments"])]
        inside = [path for path in paths if path == root or root in path.parents]
        if not inside or inside[0].name.endswith("-shm"):
            continue
        name = inside[0].relative_to(root).as_posix()
        numbers = found["arguments"].split(", ")
        match found["call"]:
            case "pwrite64":
                said.append(f"write {name} {numbers[-2]} {numbers[-1]}")
            case "ftruncate":
                said.append(f"truncate {name} {numbers[-1]}")
            case "fsync" | "fdatasync":
                said.append(f"sync {name}")
            case "unlink":
                there.discard(name)
                said.append(f"unlink {name}")
            case "openat" if "O_CREAT" in found["arguments"] and name not in there:
                there.add(name)
                said.append(f"enter {name}")
    return said


@pytest.mark.parametrize("name", ["start to completion", "compact --full"])
def test_what_is_recorded_is_what_the_system_was_asked_to_do(name: str, tmp_path: Path) -> None:
    tracing = shutil.which("strace")
    trace = tmp_path / "trace"
    calls = "pwrite64,ftruncate,fsync,fdatasync,unlink,openat"
    command = [tracing or "", "-f", "-y", "-s", "0", "-e", f"trace={calls}", "-o", str(trace)]
    if tracing is None or subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        pytest.skip("there is no strace that may look")
    place = tmp_path / "place"
    place.mkdir()
    done = subprocess.run(
        [*command, sys.executable, "-c", _RECORD, name, str(place)],
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT / 'runtime'}:{ROOT}"},
        capture_output=True,
        text=True,
        check=True,
    )
    there_before = {f"enter {each.name}" for each in (place / "before").iterdir()}
    _, _, traced = trace.read_text().partition("from here on")
    expected = [each for each in traced_calls(traced, place / "run") if each not in there_before]
    assert len(expected) > 100
    assert done.stdout.splitlines() == expected
