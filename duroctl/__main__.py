"""Entry point. ``duroctl --version`` imports nothing but this package."""

import sys
from collections.abc import Sequence


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
        from duroctl.app import run  # the larger part of a short command's time: an interrupt is likely to come here

        status = run(given)
    except KeyboardInterrupt:
        status = 130
    sys.exit(status)


if __name__ == "__main__":
    main()
