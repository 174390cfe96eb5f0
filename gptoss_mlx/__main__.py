"""``python -m gptoss_mlx`` is ``gptoss-mlx``."""

from gptoss_mlx.cli.app import main

main()
