"""The entry point of ``gptoss-mlx`` and ``python -m gptoss_mlx``."""

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line; Ctrl-C ends it quietly, even during imports."""
    try:
        from gptoss_mlx.cli.app import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
