"""Writes tiny random gpt-oss checkpoints in every layout that the package reads.

The numbers come from ``numpy.random.RandomState``, whose stream is frozen: golden
logits of these checkpoints stay valid.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "bfloat16_bits",
    "read_tensors",
    "write_safetensors",
    "write_split_folder",
    "write_tiny_checkpoint",
]

Array = npt.NDArray[Any]

MXFP4 = {"group_size": 32, "bits": 4, "mode": "mxfp4"}

# bfloat16, which NumPy does not know, is kept as its bits.
_SPELLING = {
    "uint16": "BF16",
    "uint8": "U8",
    "float32": "F32",
    "uint32": "U32",
    "float16": "F16",
}
_DTYPES = {spelling: np.dtype(dtype) for dtype, spelling in _SPELLING.items()}


def bfloat16_bits(values: Array) -> npt.NDArray[np.uint16]:
    """Round to bfloat16, halfway cases to even, and return its bits."""
    bits = values.astype(np.float32).view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return (rounded >> np.uint32(16)).astype(np.uint16)


def write_safetensors(path: Path, tensors: dict[str, Array]) -> None:
    """Write a file ordered as the released ones: larger dtypes first, then by name.

    Args:
        path: File to write.
        tensors: uint16 stands for bfloat16.
    """
    order = sorted(tensors, key=lambda name: (-tensors[name].itemsize, name))
    header, offset = {}, 0
    for name in order:
        tensor = tensors[name]
        header[name] = {
            "dtype": _SPELLING[tensor.dtype.name],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + tensor.nbytes],
        }
        offset += tensor.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in order:
            file.write(np.ascontiguousarray(tensors[name]).tobytes())


def read_tensors(path: Path) -> dict[str, Array]:
    """Read a safetensors file; uint16 stands for bfloat16."""
    content = path.read_bytes()
    start = 8 + struct.unpack("<Q", content[:8])[0]
    tensors = {}
    for name, entry in json.loads(content[8:start]).items():
        if name == "__metadata__":
            continue
        first, end = entry["data_offsets"]
        data = np.frombuffer(content[start + first : start + end], _DTYPES[entry["dtype"]])
        tensors[name] = data.reshape(entry["shape"])
    return tensors


def write_tiny_checkpoint(
    folder: Path,
    seed: int = 0,
    *,
    sliding_window: int = 8,
    vocab_size: int = 512,
    hidden_size: int = 96,
    intermediate_size: int = 64,
    num_hidden_layers: int = 4,
    num_local_experts: int = 8,
    num_experts_per_tok: int = 4,
    num_attention_heads: int = 8,
    num_key_value_heads: int = 2,
    head_dim: int = 64,
) -> None:
    """Write ``folder`` (Hugging Face) and ``folder/original`` (OpenAI), same tensors.

    Attention is sharp and the biases are large, so that a mistake anywhere shows in the
    logits. Needs no MLX.
    """
    random = np.random.RandomState(seed)
    query, key_value = num_attention_heads * head_dim, num_key_value_heads * head_dim
    hugging_face: dict[str, Array] = {}
    openai: dict[str, Array] = {}

    def normal(*shape: int, std: float = 1.0, mean: float = 0.0) -> Array:
        return bfloat16_bits(random.standard_normal(shape) * std + mean)

    def put(name: str, original: str, tensor: Array) -> None:
        hugging_face[name] = openai[original] = tensor

    rows, columns = (vocab_size, hidden_size), hidden_size**-0.5
    put("model.embed_tokens.weight", "embedding.weight", normal(*rows))
    for layer in range(num_hidden_layers):
        ours, theirs = f"model.layers.{layer}", f"block.{layer}"
        put(
            f"{ours}.input_layernorm.weight",
            f"{theirs}.attn.norm.scale",
            normal(hidden_size, std=0.2, mean=1),
        )
        weights = [
            normal(query, hidden_size, std=1.5 * columns),
            normal(key_value, hidden_size, std=1.5 * columns),
            normal(key_value, hidden_size, std=columns),
        ]
        biases = [normal(len(weight), std=0.3) for weight in weights]
        for letter, weight, bias in zip("qkv", weights, biases, strict=True):
            hugging_face[f"{ours}.self_attn.{letter}_proj.weight"] = weight
            hugging_face[f"{ours}.self_attn.{letter}_proj.bias"] = bias
        openai[f"{theirs}.attn.qkv.weight"] = np.concatenate(weights)
        openai[f"{theirs}.attn.qkv.bias"] = np.concatenate(biases)
        put(
            f"{ours}.self_attn.sinks",
            f"{theirs}.attn.sinks",
            normal(num_attention_heads, std=1.5),
        )
        put(
            f"{ours}.self_attn.o_proj.weight",
            f"{theirs}.attn.out.weight",
            normal(hidden_size, query, std=query**-0.5),
        )
        put(
            f"{ours}.self_attn.o_proj.bias",
            f"{theirs}.attn.out.bias",
            normal(hidden_size, std=0.1),
        )
        put(
            f"{ours}.post_attention_layernorm.weight",
            f"{theirs}.mlp.norm.scale",
            normal(hidden_size, std=0.2, mean=1),
        )
        put(
            f"{ours}.mlp.router.weight",
            f"{theirs}.mlp.gate.weight",
            normal(num_local_experts, hidden_size, std=columns),
        )
        put(
            f"{ours}.mlp.router.bias",
            f"{theirs}.mlp.gate.bias",
            normal(num_local_experts, std=0.3),
        )
        for projection, original, outputs, inputs in (
            ("gate_up_proj", "mlp1", 2 * intermediate_size, hidden_size),
            ("down_proj", "mlp2", hidden_size, intermediate_size),
        ):
            shape = (num_local_experts, outputs, inputs // 32)
            blocks = random.randint(0, 256, (*shape, 16)).astype(np.uint8)
            scales = random.randint(121, 125, shape).astype(np.uint8)  # 2^-6 … 2^-3
            name, mlp = f"{ours}.mlp.experts.{projection}", f"{theirs}.mlp.{original}"
            put(f"{name}_blocks", f"{mlp}_weight.blocks", blocks)
            put(f"{name}_scales", f"{mlp}_weight.scales", scales)
            put(f"{name}_bias", f"{mlp}_bias", normal(*shape[:2], std=0.3))
    put("model.norm.weight", "norm.scale", normal(hidden_size, std=0.2, mean=1))
    put("lm_head.weight", "unembedding.weight", normal(*rows, std=columns))

    (folder / "original").mkdir(parents=True, exist_ok=True)
    write_safetensors(folder / "model.safetensors", hugging_face)
    write_safetensors(folder / "original" / "model.safetensors", openai)
    sizes = {
        "head_dim": head_dim,
        "hidden_size": hidden_size,
        "intermediate_size": intermediate_size,
        "num_attention_heads": num_attention_heads,
        "num_hidden_layers": num_hidden_layers,
        "num_key_value_heads": num_key_value_heads,
        "sliding_window": sliding_window,
        "vocab_size": vocab_size,
    }
    small = vocab_size < 200_003
    config = {
        **_RELEASED_KEYS,
        **sizes,
        "eos_token_id": 2 if small else 200_002,
        "experts_per_token": num_experts_per_tok,
        "layer_types": [
            "full_attention" if layer % 2 else "sliding_attention"
            for layer in range(num_hidden_layers)
        ],
        "num_experts_per_tok": num_experts_per_tok,
        "num_local_experts": num_local_experts,
        "pad_token_id": 0 if small else 199_999,
    }
    _write_json(folder / "config.json", dict(sorted(config.items())))
    openai_config = {
        **sizes,
        "experts_per_token": num_experts_per_tok,
        "initial_context_length": 4096,
        "num_experts": num_local_experts,
        "rope_ntk_alpha": 1,
        "rope_ntk_beta": 32,
        "rope_scaling_factor": 32.0,
        "rope_theta": 150000,
        "swiglu_limit": 7.0,
    }
    _write_json(folder / "original" / "config.json", openai_config)


def write_split_folder(
    source: Path,
    folder: Path,
    *,
    bits: int | None = None,
    router_bits: int | None = None,
) -> None:
    """Write the checkpoint at ``source`` as mlx-lm's own conversion would.

    Gate and up are split, and MXFP4 weights are packed as uint32.

    Args:
        source: Folder in Hugging Face layout.
        folder: Where to write.
        bits: Of attention, embedding and lm_head, affine; None leaves them bfloat16.
        router_bits: Of the router, affine; None leaves it bfloat16.
    """
    tensors: dict[str, Array] = {}
    table: dict[str, Any] = dict(MXFP4)
    for name, tensor in read_tensors(source / "model.safetensors").items():
        module, _, suffix = name.rpartition(".")
        if ".experts." in name:
            tensors |= _split_expert_tensor(name, tensor)
            continue
        chosen = router_bits if module.endswith("router") else bits
        if chosen is None or suffix != "weight" or tensor.ndim != 2:
            tensors[name] = tensor
            continue
        packing = {"group_size": 32 if tensor.shape[1] % 64 else 64, "bits": chosen}
        tensors |= _quantize(module, tensor, **packing)
        table[module] = packing
    folder.mkdir(parents=True, exist_ok=True)
    write_safetensors(folder / "model.safetensors", tensors)
    config = json.loads((source / "config.json").read_text())
    config["quantization"] = config["quantization_config"] = table
    _write_json(folder / "config.json", config)


def _split_expert_tensor(name: str, tensor: Array) -> dict[str, Array]:
    module, kind = name.rsplit("_", 1)
    suffix = {"blocks": "weight", "scales": "scales", "bias": "bias"}[kind]
    if kind == "blocks":
        tensor = np.ascontiguousarray(tensor).view(np.uint32)
        tensor = tensor.reshape(*tensor.shape[:2], -1)  # (E, rows, columns / 8)
    if not module.endswith("gate_up_proj"):
        return {f"{module}.{suffix}": tensor}
    experts = module.removesuffix("gate_up_proj")
    return {
        f"{experts}gate_proj.{suffix}": tensor[:, 0::2],
        f"{experts}up_proj.{suffix}": tensor[:, 1::2],
    }


def _quantize(module: str, weight: Array, group_size: int, bits: int) -> dict[str, Array]:
    import mlx.core as mx

    packed, scales, biases = mx.quantize(
        mx.array(weight).view(mx.bfloat16), group_size=group_size, bits=bits
    )
    return {
        f"{module}.weight": np.array(packed),
        f"{module}.scales": np.array(scales.view(mx.uint16)),
        f"{module}.biases": np.array(biases.view(mx.uint16)),
    }


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")


_RELEASED_KEYS: dict[str, Any] = {
    "architectures": ["GptOssForCausalLM"],
    "attention_bias": True,
    "attention_dropout": 0.0,
    "hidden_act": "silu",
    "initial_context_length": 4096,
    "initializer_range": 0.02,
    "max_position_embeddings": 131072,
    "model_type": "gpt_oss",
    "output_router_logits": False,
    "quantization_config": {
        "modules_to_not_convert": [
            "model.layers.*.self_attn",
            "model.layers.*.mlp.router",
            "model.embed_tokens",
            "lm_head",
        ],
        "quant_method": "mxfp4",
    },
    "rms_norm_eps": 1e-05,
    "rope_scaling": {
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "factor": 32.0,
        "original_max_position_embeddings": 4096,
        "rope_type": "yarn",
        "truncate": False,
    },
    "rope_theta": 150000,
    "router_aux_loss_coef": 0.9,
    "swiglu_limit": 7.0,
    "tie_word_embeddings": False,
    "transformers_version": "4.55.0.dev0",
    "use_cache": True,
}
