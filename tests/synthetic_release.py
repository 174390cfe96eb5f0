"""Writes a release of full size with random weights.

Usage: python tests/synthetic_release.py FOLDER [--layers N] [--experts N]

The names, shapes, dtypes and files are those of openai/gpt-oss-20b (13.8 GB), or with
``--experts 128 --layers 36`` of openai/gpt-oss-120b; fewer layers make a slice of it. The
tokenizer is the released one.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from full_size import Tensor, cut, original_tensors, root_tensors, write_folder
from released_config import RELEASED

from gptoss_mlx.convert.tokenizer_files import tokenizer_config, tokenizer_json

__all__ = ["write_release"]

PIECE_BYTES = 16 << 20
# E8M0: the largest weight of a block is 6 times 2^(exponent - 127).
SCALES = (119, 123)


def write_release(folder: Path, layers: int = 24, experts: int = 32, seed: int = 0) -> None:
    """Write ``folder`` as the root of a release, and sync it."""
    folder.mkdir(parents=True)
    files = cut(root_tensors(original_tensors(layers, experts)), 4.8e9)
    last = len(files) - 1
    names = [f"model-{i:05}-of-{last:05}.safetensors" for i in range(len(files))]
    write_folder(folder, dict(zip(names, files, strict=True)), layers, experts)
    config = RELEASED | {
        "num_hidden_layers": layers,
        "num_local_experts": experts,
        "layer_types": [RELEASED["layer_types"][i % 2] for i in range(layers)],
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_bytes(tokenizer_json())
    (folder / "tokenizer_config.json").write_bytes(tokenizer_config())
    random = np.random.Generator(np.random.SFC64(seed))
    for name, tensors in zip(names, files, strict=True):
        nbytes = sum(tensor.nbytes for tensor in tensors)
        with (folder / name).open("r+b") as file:
            file.seek(os.fstat(file.fileno()).st_size - nbytes)
            # The order of ``write_folder``.
            for tensor in sorted(tensors, key=lambda tensor: (tensor.dtype, tensor.name)):
                for piece in _pieces(tensor, random):
                    file.write(piece)
            file.flush()
            os.fsync(file.fileno())


def _pieces(tensor: Tensor, random: np.random.Generator) -> Iterator[bytes]:
    """Yield a tensor's random bytes."""
    for start in range(0, tensor.nbytes, PIECE_BYTES):
        nbytes = min(PIECE_BYTES, tensor.nbytes - start)
        if tensor.name.endswith("scales"):
            yield random.integers(*SCALES, nbytes, np.uint8, endpoint=True).tobytes()
        elif tensor.dtype == "U8":
            yield random.bytes(nbytes)
        elif tensor.name.endswith("norm.weight"):
            yield np.full(nbytes // 2, 0x3F80, np.uint16).tobytes()  # 1
        else:
            # bfloat16: either sign, 2^-7 to 2^-5.
            bits = random.integers(0, 1 << 16, nbytes // 2, np.uint16)
            yield ((bits & 0x80FF) + np.uint16(0x3C00)).tobytes()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--experts", type=int, default=32)
    asked = parser.parse_args()
    write_release(asked.folder, asked.layers, asked.experts)
