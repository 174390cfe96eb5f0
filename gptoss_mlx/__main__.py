"""The entry point of ``gptoss-mlx`` and ``python -m gptoss_mlx``."""

import os
import signal
from types import FrameType

__all__ = ["main"]


def main() -> None:
    """Run the command line; Ctrl-C ends it quietly, even during imports."""
    before = signal.getsignal(signal.SIGINT)
    # An ignored signal stays ignored.
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)
    from gptoss_mlx.cli.app import main as run

    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, before)
    run()


def _leave(number: int, frame: FrameType | None) -> None:
    # Not an exception: the import system prints and drops one that meets its callbacks.
    os._exit(128 + number)


if __name__ == "__main__":
    main()
