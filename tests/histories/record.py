"""Records new histories: ``python -m tests.histories.record [DIRECTORY]``.

Each scenario becomes a file of JSON lines, one event a line exactly as a store keeps it. A recording that exists is
never overwritten: it is what some release wrote, and it must replay for ever. To add one, add a scenario (and an
orchestration) and run this.

The part ``-execution-N`` at the end of a name says which execution of its instance it is; without it, the first.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from duro.codec import terminated_event
from duro.model.events import ParentLink
from duro.model.failure import CANCELLED
from duro.testing.histories import (
    NOW_MS,
    Engine,
    activity_error,
    activity_result,
    cancel_asked,
    child_error,
    child_result,
    event_raised,
    failure,
    pruned,
    timer_due,
)
from tests.histories.orchestrations import registry

HERE: Final = Path(__file__).parent
_ROOT: Final = HERE.parent.parent


def engine(name: str, input: object = None, *, parent: ParentLink | None = None) -> Engine:
    made = Engine(name, input, registry=registry, parent=parent)
    made.start()
    return made


def sold() -> Engine:
    run = engine("sell", {"sku": "A1", "quantity": 2})
    run.turn(activity_result(2, "receipt-1"), now_ms=NOW_MS + 250)
    run.turn(timer_due(4), now_ms=NOW_MS + 61_000)
    run.turn(event_raised("approved", {"by": "Ada", "when": 12_345_678_901_234_567_890}), now_ms=NOW_MS + 70_000)
    run.turn(child_result(8, ["parcel", 1.5, None]), now_ms=NOW_MS + 90_000)
    return run


def half_sold() -> Engine:
    run = engine("sell", {"sku": "A1"})
    run.turn(activity_result(2, "receipt-1"), now_ms=NOW_MS + 250)
    return run


def terminated() -> Engine:
    run = half_sold()
    run.history.append(terminated_event(len(run.history) + 1, NOW_MS + 500, "ended by an operator"))
    return run


def refused() -> Engine:
    run = engine("refuse", parent=ParentLink(instance_id="parent", incarnation=3, execution_id=2, event_id=9))
    run.turn(activity_error(2, failure("no funds", "Refused", traceback="  File ...\n", non_retryable=True)))
    run.turn(child_error(4, failure("it took too long", CANCELLED, cause=failure("inner", "TimeoutError"))))
    return run


def raced() -> Engine:
    run = engine("race")
    run.turn(activity_result(2, "won"))
    run.turn(activity_result(run.last.activities[0].event_id))
    return run


def racing() -> Engine:
    """Ends with cleanup outstanding."""
    run = engine("race")
    run.turn(event_raised("stop", "now"))
    return run


def cancelled() -> Engine:
    run = engine("careful")
    run.turn(activity_result(3))
    run.turn(cancel_asked("the customer left"))
    for activity in run.last.activities:
        run.turn(activity_result(activity.event_id))
    return run


def cancelled_before_it_began() -> Engine:
    run = Engine("careful", registry=registry)
    run.start(cancel_asked("never mind"))
    run.turn(*(activity_result(each.event_id) for each in run.last.activities))
    return run


def continued(executions: int) -> Callable[[], Engine]:
    def record() -> Engine:
        run = engine("eternal", 0)
        for number in range(1, executions + 1):
            run.turn(activity_result(2, 10 * number, execution_id=number))
            if number < executions:
                run = run.next_execution(seed=f"{number:032x}")
                run.start()
        return run

    return record


def chance() -> Engine:
    run = engine("chance")
    for turn in range(5):
        run.turn(activity_result(run.last.activities[0].event_id), now_ms=NOW_MS + 1_000 * turn)
    run.turn(child_result(run.last.starts[0].event_id))
    return run


def stepped() -> Engine:
    run = engine("steps", ["a", "b", "c"])
    run.turn(activity_result(4), activity_result(2))
    run.turn(activity_error(3))
    run.turn(*(activity_result(each.event_id, each.name) for turn in run.commits for each in turn.activities[-2:]))
    run.turn(event_raised("n", 1), event_raised("n", [2]))
    return run


def tidied() -> Engine:
    run = engine("tidy")
    run.turn(pruned(2, executions_deleted=7, events_deleted=70, bytes_deleted=9_000), now_ms=NOW_MS + 10)
    run.turn(timer_due(4), now_ms=NOW_MS + 60_010)
    run.turn(pruned(5, executions_deleted=2, error="it broke"), activity_result(7), now_ms=NOW_MS + 60_020)
    return run


def tidied_for_ever() -> Engine:
    """A second execution: the answer to a prune of the first comes late, that of a loser while another waits."""
    first = engine("tidy_for_ever", 2)
    first.turn(pruned(2))
    first.turn(event_raised("go"))
    second = first.next_execution(seed=f"{1:032x}")
    second.start()
    second.turn(
        pruned(7, execution_id=1),
        pruned(2, executions_deleted=64, events_deleted=640, bytes_deleted=65_536, remaining=3, execution_id=2),
    )
    second.turn(event_raised("go"))
    second.turn(pruned(5, executions_deleted=3, events_deleted=12, bytes_deleted=900, execution_id=2))
    second.turn(pruned(7, error="StoreError: the disk is full", execution_id=2))
    return second


SCENARIOS: Final[dict[str, Callable[[], Engine]]] = {
    "sell-completed": sold,
    "sell-running": half_sold,
    "sell-terminated": terminated,
    "refuse-failed": refused,
    "race-completed": raced,
    "race-cleaning-up": racing,
    "careful-cancelled": cancelled,
    "careful-cancelled-before-it-began": cancelled_before_it_began,
    "eternal": continued(1),
    "eternal-execution-2": continued(2),
    "eternal-execution-3": continued(3),
    "chance-completed": chance,
    "steps-completed": stepped,
    "tidy-completed": tidied,
    "tidy-for-ever-execution-2": tidied_for_ever,
}


def main(directory: Path = HERE) -> list[str]:
    """Record every scenario that has no file yet; the names of those that were recorded."""
    recorded = []
    for name, scenario in SCENARIOS.items():
        path = directory / f"{name}.jsonl"
        if path.exists():
            continue
        lines = [line.replace(f"{_ROOT}/", "") for line in scenario().history]
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.writelines(f"{line}\n" for line in lines)
        recorded.append(name)
    return recorded


if __name__ == "__main__":
    for each in main(*map(Path, sys.argv[1:])):
        print(f"recorded {each}")
