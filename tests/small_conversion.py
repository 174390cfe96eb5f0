"""The conversion of a tiny checkpoint into several files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx

from gptoss_mlx.convert.pipeline import convert_checkpoint

# Makes a handful of files of a tiny checkpoint.
SHARD_BYTES = 400_000
TOKENS = mx.array([[5, 17, 300, 4, 4, 201, 92, 511, 33, 7, 8, 120]])


class Disk:
    """A disk of which ``left`` bytes are free for safetensors."""

    left = 0


def convert(source: Path, folder: Path, **options: Any) -> None:
    """Convert by ``q8`` into several files, unless told otherwise."""
    convert_checkpoint(source, folder, **{"shard_bytes": SHARD_BYTES, **options})


def mlx_lm_logits(folder: Path) -> mx.array:
    """Logits that mlx-lm computes from ``folder``. Shape ``(1, L, V)``."""
    from mlx_lm.utils import load_model

    model, _ = load_model(folder)
    logits: mx.array = model(TOKENS)
    return logits


def stop_in_file(number: int, partial: Path) -> Callable[[int, int], None]:
    """Makes a progress callback that presses Ctrl-C inside a file, counted from 0."""

    def progress(done: int, total: int) -> None:
        if len(list(partial.glob("*.safetensors"))) > number:
            raise KeyboardInterrupt

    return progress
