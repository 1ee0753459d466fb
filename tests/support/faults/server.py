"""Processes that run a scenario each, ready to be traced: ``python -m tests.support.faults.server`` reads what is to be
run from standard input, a JSON object a line, and answers on standard output, first with the id of the process, which
has stopped and begins when it is continued, then with what came of it.

A process is forked from one that has loaded everything, so that it takes milliseconds to start and makes no system call
but its own.
"""

import contextlib
import json
import os
import signal
import sys
import traceback
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NoReturn
from unittest.mock import patch

from duro.maintenance.archive import catalogue
from tests.support.faults.calls import SqliteCalls
from tests.support.faults.operator import operate
from tests.support.faults.planted_processes import PLANTED
from tests.support.power.judge import Judge, workplace
from tests.support.power.scenarios import SCENARIOS

_A_WORD: bytes = b"."
"""Of somebody who is told that all was done. Words are written by ``writev``, which nobody else calls, so that they
arrive although every ``write`` fails."""


def main() -> None:
    for scenario in SCENARIOS.values():
        with workplace() as directory:
            Judge(scenario, directory)  # loads whatever is loaded late
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            _run(request, writer)
        os.close(writer)
        os.waitpid(child, os.WUNTRACED)
        print(json.dumps({"process": child}), flush=True)
        with os.fdopen(reader, "rb") as pipe:
            said = pipe.read()
        _, status = os.waitpid(child, 0)
        words, _, result = said.partition(b"\n")
        answer = {"acknowledged": len(words), "status": os.waitstatus_to_exitcode(status)}
        print(json.dumps({**answer, **json.loads(result or "{}")}), flush=True)


def _run(request: dict[str, Any], writer: int) -> NoReturn:
    """In the child, which never returns to where it was forked."""
    mistake: AbstractContextManager[Any] = nullcontext()
    if request["mistake"]:
        mistake = PLANTED[request["mistake"]].mistake()
    place = Path(request["place"])
    impatient = SqliteCalls(place).watched() if request["impatient"] else nullcontext()
    result: dict[str, Any] = {}

    def said() -> None:
        os.writev(writer, [_A_WORD])

    with mistake, impatient, patch.object(catalogue, "_BUSY_S", 0.01):
        os.kill(os.getpid(), signal.SIGSTOP)
        try:
            seen = operate(
                SCENARIOS[request["scenario"]],
                place,
                attempts=request["attempts"],
                reopens=request["reopens"],
                first_life=request["first_life"],
                said=said,
            )
            errors = [f"{type(error).__name__}: {error}" for error in seen.errors]
            result = {"finished": seen.finished, "errors": errors, "lives": seen.lives}
        except BaseException as error:  # whatever nobody may meet
            result = {"wrong": f"{type(error).__name__}: {error} ({_where(error)})"}
    data = b"\n" + json.dumps(result).encode()
    while data:
        with contextlib.suppress(OSError):
            data = data[os.writev(writer, [data]) :]
    os._exit(0)


def _where(error: BaseException) -> str:
    last = traceback.extract_tb(error.__traceback__)[-4:]
    return ", ".join(f"{Path(each.filename).name}:{each.lineno}" for each in last)


if __name__ == "__main__":
    main()
