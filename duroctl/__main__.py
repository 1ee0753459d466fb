"""Entry point. ``duroctl --version`` imports nothing but this package."""

import gc
import sys
from collections.abc import Callable, Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run ``duroctl`` and exit with its status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given == ["--version"]:
        from duroctl import __version__

        try:
            print(f"duroctl {__version__}", flush=True)
        except OSError:
            pass  # what is left in the buffer fails again below, where errors become exit codes
        else:
            return
    try:
        status = _load()(given)
    except KeyboardInterrupt:
        status = 130
    gc.freeze()  # the interpreter's end looks at nothing that is there: the process gives it all back anyway
    sys.exit(status)


def _load() -> Callable[[Sequence[str]], int]:
    """``app.run``. Loading it is the larger part of a short command's time: an interrupt is likely to come here. What
    is loaded stays to the end, so nothing of it is looked through for garbage, now or later."""
    gc.disable()
    try:
        from duroctl.app import run
    finally:
        gc.freeze()
        gc.enable()
    return run


if __name__ == "__main__":
    main()
