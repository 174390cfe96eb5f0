"""Converts released gpt-oss checkpoints. Imported as ``gptoss_mlx.convert``."""
