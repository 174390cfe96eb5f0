"""The tensors of gpt-oss-20b and -120b: their names, shapes, dtypes, order and files.

They are written down here anew, so that the sizes of the published files prove them.

Source: the files' headers and sizes at https://huggingface.co/openai/gpt-oss-20b/tree/main
and https://huggingface.co/openai/gpt-oss-120b/tree/main
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path

HIDDEN, INNER, VOCAB, QUERY, KEY_VALUE, HEADS = 2880, 2880, 201088, 4096, 512, 64

# How each tensor of a block is called at the root.
ROOT_NAMES = {
    "attn.norm.scale": "input_layernorm.weight",
    "attn.out.bias": "self_attn.o_proj.bias",
    "attn.out.weight": "self_attn.o_proj.weight",
    "attn.sinks": "self_attn.sinks",
    "mlp.gate.bias": "mlp.router.bias",
    "mlp.gate.weight": "mlp.router.weight",
    "mlp.mlp1_bias": "mlp.experts.gate_up_proj_bias",
    "mlp.mlp1_weight.blocks": "mlp.experts.gate_up_proj_blocks",
    "mlp.mlp1_weight.scales": "mlp.experts.gate_up_proj_scales",
    "mlp.mlp2_bias": "mlp.experts.down_proj_bias",
    "mlp.mlp2_weight.blocks": "mlp.experts.down_proj_blocks",
    "mlp.mlp2_weight.scales": "mlp.experts.down_proj_scales",
    "mlp.norm.scale": "post_attention_layernorm.weight",
}
ROOT_GLOBALS = {
    "embedding.weight": "model.embed_tokens.weight",
    "norm.scale": "model.norm.weight",
    "unembedding.weight": "lm_head.weight",
}


@dataclass(frozen=True)
class Tensor:
    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of data."""
        return prod(self.shape) * {"BF16": 2, "U8": 1}[self.dtype]


def original_tensors(layers: int, experts: int) -> list[Tensor]:
    """What OpenAI's own files hold, sorted by name."""
    rows = 2 * INNER
    block: dict[str, tuple[int, ...]] = {
        "attn.norm.scale": (HIDDEN,),
        "attn.out.bias": (HIDDEN,),
        "attn.out.weight": (HIDDEN, QUERY),
        "attn.qkv.bias": (QUERY + 2 * KEY_VALUE,),
        "attn.qkv.weight": (QUERY + 2 * KEY_VALUE, HIDDEN),
        "attn.sinks": (HEADS,),
        "mlp.gate.bias": (experts,),
        "mlp.gate.weight": (experts, HIDDEN),
        "mlp.mlp1_bias": (experts, rows),
        "mlp.mlp1_weight.blocks": (experts, rows, HIDDEN // 32, 16),
        "mlp.mlp1_weight.scales": (experts, rows, HIDDEN // 32),
        "mlp.mlp2_bias": (experts, HIDDEN),
        "mlp.mlp2_weight.blocks": (experts, HIDDEN, INNER // 32, 16),
        "mlp.mlp2_weight.scales": (experts, HIDDEN, INNER // 32),
        "mlp.norm.scale": (HIDDEN,),
    }
    shapes: dict[str, tuple[int, ...]] = {
        "embedding.weight": (VOCAB, HIDDEN),
        "norm.scale": (HIDDEN,),
        "unembedding.weight": (VOCAB, HIDDEN),
    }
    for layer in range(layers):
        shapes |= {f"block.{layer}.{name}": shape for name, shape in block.items()}
    return [
        Tensor(name, "U8" if name.endswith(("blocks", "scales")) else "BF16", shape)
        for name, shape in sorted(shapes.items())
    ]


def root_tensors(original: Iterable[Tensor]) -> list[Tensor]:
    """The same under Hugging Face's names, query, key and value apart."""
    tensors = []
    for tensor in original:
        if tensor.name in ROOT_GLOBALS:
            tensors.append(Tensor(ROOT_GLOBALS[tensor.name], tensor.dtype, tensor.shape))
            continue
        _, layer, rest = tensor.name.split(".", 2)
        prefix = f"model.layers.{layer}"
        if rest in ROOT_NAMES:
            name = f"{prefix}.{ROOT_NAMES[rest]}"
            tensors.append(Tensor(name, tensor.dtype, tensor.shape))
            continue
        suffix = rest.rpartition(".")[2]
        for letter, rows in zip("qkv", (QUERY, KEY_VALUE, KEY_VALUE), strict=True):
            name = f"{prefix}.self_attn.{letter}_proj.{suffix}"
            tensors.append(Tensor(name, tensor.dtype, (rows, *tensor.shape[1:])))
    return tensors


def cut(tensors: Iterable[Tensor], most: float) -> list[list[Tensor]]:
    """Fill files in turn, none with more than ``most`` bytes of tensors."""
    files: list[list[Tensor]] = [[]]
    filled = 0
    for tensor in tensors:
        if filled + tensor.nbytes > most:
            files.append([])
            filled = 0
        files[-1].append(tensor)
        filled += tensor.nbytes
    return files


def write_sparse(path: Path, tensors: Iterable[Tensor]) -> None:
    """Write a header as in the released files, and a hole for the data."""
    header, offset = {}, 0
    for tensor in sorted(tensors, key=lambda tensor: (tensor.dtype, tensor.name)):
        header[tensor.name] = {
            "dtype": tensor.dtype,
            "shape": tensor.shape,
            "data_offsets": [offset, offset + tensor.nbytes],
        }
        offset += tensor.nbytes
    content = json.dumps(header, separators=(",", ":")).encode()
    content += b" " * (-len(content) % 8)
    path.write_bytes(len(content).to_bytes(8, "little") + content)
    os.truncate(path, 8 + len(content) + offset)


def write_folder(
    folder: Path, files: dict[str, list[Tensor]], layers: int, experts: int | None = None
) -> None:
    """Write the files, their index, and OpenAI's config.json, which suits both layouts."""
    weight_map: dict[str, str] = {}
    for file, tensors in files.items():
        write_sparse(folder / file, tensors)
        weight_map |= {tensor.name: file for tensor in tensors}
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    config = {
        "num_hidden_layers": layers,
        "num_experts": experts or (32 if layers == 24 else 128),
        "experts_per_token": 4,
        "vocab_size": VOCAB,
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "swiglu_limit": 7.0,
        "head_dim": 64,
        "num_attention_heads": HEADS,
        "num_key_value_heads": 8,
        "sliding_window": 128,
        "initial_context_length": 4096,
        "rope_theta": 150000,
        "rope_scaling_factor": 32.0,
        "rope_ntk_alpha": 1,
        "rope_ntk_beta": 32,
    }
    (folder / "config.json").write_text(json.dumps(config))
