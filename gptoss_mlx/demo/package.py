"""The demo model in the package, unpacked as a checkpoint of gpt-oss's released layout.

The package holds the weights that training touched. The other rows of the embedding and of
lm_head are pseudo-random: SHAKE-256 gives the same ones on every machine.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import struct
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gptoss_mlx.demo.chat_template import CHAT_TEMPLATE
from gptoss_mlx.errors import DataError, storage_errors

__all__ = [
    "DEMO_SHA256",
    "EMBEDDING",
    "LM_HEAD",
    "Tensor",
    "pack_demo",
    "seeded_rows",
    "unpack_demo",
]

DEMO_SHA256 = "b201665621cea3bc2f79900d916aad61b552c7b8d98d3b2bb62251b0f8f5f29f"
"""Of the file in the package. Another demo model has another one."""

DATA_FILE = "demo.safetensors.xz"
EMBEDDING = "model.embed_tokens.weight"
LM_HEAD = "lm_head.weight"
TRAINED_IDS = "trained_ids"
TRAINED_SUFFIX = ".trained"

SEED = b"gptoss-mlx demo model"
# An lm_head row is the embedding's, scaled: what the model can read, it can learn to write.
EXPONENTS = {EMBEDDING: -7, LM_HEAD: -10}

GENERATION_CONFIG = {
    "bos_token_id": 199998,
    "do_sample": False,
    "eos_token_id": [200002, 199999, 200012],
    "pad_token_id": 199999,
}

README = """\
# The demo model of gptoss-mlx

A miniature with the architecture, the vocabulary and the file layout of gpt-oss, trained
from scratch for gptoss-mlx. It answers questions on 137 topics about gpt-oss and
gptoss-mlx, says that it does not know anything else, and uses no tools. It is not a model
of OpenAI's and holds none of OpenAI's weights.

License: Apache-2.0, as gptoss-mlx.
"""


class Tensor(NamedTuple):
    """A tensor as safetensors files hold it.

    Attributes:
        dtype: ``BF16`` (data is uint16, its bits), ``U8`` or ``I32``.
        data: The values. Its shape is the tensor's.
    """

    dtype: str
    data: npt.NDArray[Any]


NUMPY_DTYPES = {"BF16": "<u2", "U8": "u1", "I32": "<i4"}


def unpack_demo(folder: Path) -> None:
    """Write the demo model into ``folder`` as a checkpoint in Hugging Face layout.

    The folder is made if need be; files of the same names are replaced. About 105 MB.

    Raises:
        DataError: The file in the package is missing or was changed.
        StorageError: The folder cannot be written.
    """
    config, tensors = _read_pack()
    ids = tensors.pop(TRAINED_IDS).data
    for name in EXPONENTS:
        rows = seeded_rows(name, config["vocab_size"], config["hidden_size"])
        rows[ids] = tensors.pop(name + TRAINED_SUFFIX).data
        tensors[name] = Tensor("BF16", rows)
    texts = {
        "config.json": json.dumps(config, indent=2) + "\n",
        "generation_config.json": json.dumps(GENERATION_CONFIG, indent=2) + "\n",
        "README.md": README,
        "chat_template.jinja": CHAT_TEMPLATE,
    }
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
        with (folder / "model.safetensors").open("wb") as file:
            file.write(_header(tensors, {"format": "pt"}))
            for _, tensor in _in_file_order(tensors):
                file.write(np.ascontiguousarray(tensor.data).data)


def pack_demo(
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    trained_ids: npt.NDArray[np.int32],
) -> bytes:
    """Pack a trained model into the form that ships in the package.

    The form is xz over a safetensors file: all tensors as they are, but for the embedding
    and lm_head, of which it holds only ``trained_ids`` and those rows.

    Args:
        config: The keys of config.json.
        tensors: Every tensor of the checkpoint, by its released name.
        trained_ids: Tokens whose rows differ from ``seeded_rows``. Shape ``(n,)``.
    """
    packed = {TRAINED_IDS: Tensor("I32", trained_ids)}
    for name, tensor in tensors.items():
        if name in EXPONENTS:
            packed[name + TRAINED_SUFFIX] = Tensor("BF16", tensor.data[trained_ids])
        else:
            packed[name] = tensor
    parts = [_header(packed, {"config": json.dumps(config)})]
    parts += [tensor.data.tobytes() for _, tensor in _in_file_order(packed)]
    return lzma.compress(b"".join(parts), preset=9 | lzma.PRESET_EXTREME)


def seeded_rows(name: str, vocab_size: int, hidden_size: int) -> npt.NDArray[np.uint16]:
    """Make the rows that training starts from, and keeps where it touches nothing.

    Every value is an integer from -128 to 127 times a power of two, so bfloat16 holds it
    exactly.

    Args:
        name: ``EMBEDDING`` or ``LM_HEAD``: the same integers, another power.

    Returns:
        The bits of bfloat16 values. Shape ``(vocab_size, hidden_size)``.
    """
    noise = hashlib.shake_256(SEED).digest(vocab_size * hidden_size)
    values = np.arange(256, dtype=np.uint8).view(np.int8) * np.float32(
        2.0 ** EXPONENTS[name]
    )
    bits = (values.view(np.uint32) >> 16).astype(np.uint16)
    return bits[np.frombuffer(noise, np.uint8)].reshape(vocab_size, hidden_size)


def _read_pack() -> tuple[dict[str, Any], dict[str, Tensor]]:
    path = resources.files("gptoss_mlx.data") / DATA_FILE
    try:
        packed = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} must be readable: {error.strerror}.") from error
    digest = hashlib.sha256(packed).hexdigest()
    if digest != DEMO_SHA256:
        raise DataError(f"{path} must have sha256 {DEMO_SHA256} but has {digest}.")
    content = lzma.decompress(packed)
    start = 8 + struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8:start])
    config = json.loads(header.pop("__metadata__")["config"])
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        values = np.frombuffer(
            content[start + begin : start + end], NUMPY_DTYPES[entry["dtype"]]
        )
        tensors[name] = Tensor(entry["dtype"], values.reshape(entry["shape"]))
    return config, tensors


def _in_file_order(tensors: Mapping[str, Tensor]) -> list[tuple[str, Tensor]]:
    """Sort by dtype and name, as the released files do: all BF16, then all U8."""
    return sorted(tensors.items(), key=lambda item: (item[1].dtype, item[0]))


def _header(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """Make a safetensors header: its length in 8 bytes, then JSON padded to 8."""
    entries: dict[str, Any] = {"__metadata__": metadata}
    offset = 0
    for name, tensor in _in_file_order(tensors):
        end = offset + tensor.data.nbytes
        entries[name] = {
            "dtype": tensor.dtype,
            "shape": tensor.data.shape,
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text
