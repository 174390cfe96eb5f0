"""Maps each tensor of the model to the tensors of each layout.

A tensor has its name in Hugging Face's release. The table lists the tensors of
the files that it is made of; the functions add shapes and dtypes:

=====================================  ==============================================
Hugging Face (and ours)                OpenAI ``original/``
=====================================  ==============================================
model.embed_tokens.weight              embedding.weight
lm_head.weight                         unembedding.weight
model.norm.weight                      norm.scale
model.layers.N.input_layernorm         block.N.attn.norm.scale
model.layers.N.self_attn.{q,k,v}_proj  block.N.attn.qkv, rows in this order
model.layers.N.self_attn.o_proj        block.N.attn.out
model.layers.N.self_attn.sinks         block.N.attn.sinks
model.layers.N.post_attention_layern…  block.N.mlp.norm.scale
model.layers.N.mlp.router              block.N.mlp.gate
model.layers.N.mlp.experts.gate_up_…   block.N.mlp.mlp1_weight.{blocks,scales}, _bias
model.layers.N.mlp.experts.down_proj…  block.N.mlp.mlp2_weight.{blocks,scales}, _bias
=====================================  ==============================================

MLX folders use Hugging Face's names; a quantized module has ``weight``,
``scales`` and (affine) ``biases``. mlx-lm splits ``gate_up_proj`` into ``gate_proj`` (even
rows) and ``up_proj`` (odd rows).

The model has fewer tensors: q, k and v are fused to ``self_attn.qkv_proj``, as in
``original/``; and experts' blocks are uint32 of eight values, with the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from gptoss_mlx.config import MXFP4_GROUP_SIZE, ModelConfig, Quantization

__all__ = [
    "FLOATS",
    "Part",
    "View",
    "dense_modules",
    "openai_name",
    "parameter_name",
    "parameter_views",
    "tensor_views",
]

FLOATS = ("BF16", "F16", "F32")

# Bytes of one MXFP4 block: 32 values of 4 bits.
BLOCK_BYTES = MXFP4_GROUP_SIZE // 2


@dataclass(frozen=True, slots=True)
class Part:
    """One tensor of the files, with its required shape and dtype.

    Attributes:
        quantization: How it is quantized, if its shape depends on that.
    """

    name: str
    shape: tuple[int, ...]
    dtypes: tuple[str, ...]
    quantization: Quantization | None = None


@dataclass(frozen=True, slots=True)
class View:
    """One tensor, as a view of parts.

    Attributes:
        parts: The tensors of the files, in order.
        joined: ``rows``: one part's rows (the first axis) follow the other's, and the view
            begins at their ``first_row``. ``interleaved``: along the second axis, the
            parts take turns.
        dtype: The dtype to view its bytes as, if the layouts differ in it. None: as in
            the files.
    """

    name: str
    shape: tuple[int, ...]
    parts: tuple[Part, ...]
    joined: Literal["rows", "interleaved"] = "rows"
    first_row: int = 0
    dtype: Literal["U8", "U32"] | None = None

    @property
    def quantization(self) -> Quantization | None:
        """How it is quantized, if its shape depends on that."""
        return self.parts[0].quantization


@dataclass(frozen=True, slots=True)
class _Module:
    path: str
    out_features: int
    in_features: int
    bias: bool


def tensor_views(
    config: ModelConfig,
    *,
    openai: bool,
    split: bool,
    quantizations: Mapping[str, Quantization | None],
) -> Iterator[View]:
    """Yield every tensor of the release that ``config`` implies.

    Args:
        openai: Whether the files have OpenAI's names.
        split: Whether the experts' gate and up are separate tensors.
        quantizations: How the weight of each dense module is quantized; None if it is not.
    """
    for module in dense_modules(config):
        yield from _module_views(config, module, openai, quantizations[module.path])
    for name, shape in _vectors(config):
        released = openai_name(name) if openai else name
        yield View(name, shape, (Part(released, shape, FLOATS),))
    for layer in range(config.num_hidden_layers):
        yield from _expert_views(config, layer, openai, split)


def parameter_views(views: Mapping[str, View]) -> Iterator[View]:
    """Yield every tensor that the model computes with.

    Args:
        views: From ``tensor_views``. A layer's q, k and v are quantized alike.
    """
    groups: dict[str, list[View]] = {}
    for name, view in views.items():
        groups.setdefault(parameter_name(name), []).append(view)
    for name, group in groups.items():
        # OpenAI's q, k and v are rows of the same part.
        parts = dict.fromkeys(part for view in group for part in view.parts)
        rows, columns = sum(view.shape[0] for view in group), group[0].shape[1:]
        whole = replace(group[0], name=name, shape=(rows, *columns), parts=tuple(parts))
        if name.endswith("_blocks"):
            # (E, out, groups, 16) bytes -> (E, out, in / 8) uint32: the same bytes
            E, out, G, nbytes = whole.shape
            whole = replace(whole, shape=(E, out, G * nbytes // 4), dtype="U32")
        yield whole


def parameter_name(name: str) -> str:
    """Return the model's name of a tensor, or a module, of the release."""
    return re.sub(r"\b[qkv]_proj\b", "qkv_proj", name)


def dense_modules(config: ModelConfig) -> Iterator[_Module]:
    """Yield every module with one weight: all except norms, sinks and experts."""
    hidden, vocab = config.hidden_size, config.vocab_size
    query = config.num_attention_heads * config.head_dim
    key_value = config.num_key_value_heads * config.head_dim
    yield _Module("model.embed_tokens", vocab, hidden, bias=False)
    for layer in range(config.num_hidden_layers):
        attention = f"model.layers.{layer}.self_attn"
        yield _Module(f"{attention}.q_proj", query, hidden, bias=True)
        yield _Module(f"{attention}.k_proj", key_value, hidden, bias=True)
        yield _Module(f"{attention}.v_proj", key_value, hidden, bias=True)
        yield _Module(f"{attention}.o_proj", hidden, query, bias=True)
        router = f"model.layers.{layer}.mlp.router"
        yield _Module(router, config.num_local_experts, hidden, bias=True)
    yield _Module("lm_head", vocab, hidden, bias=False)


def _vectors(config: ModelConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    for layer in range(config.num_hidden_layers):
        prefix = f"model.layers.{layer}"
        yield f"{prefix}.input_layernorm.weight", (config.hidden_size,)
        yield f"{prefix}.self_attn.sinks", (config.num_attention_heads,)
        yield f"{prefix}.post_attention_layernorm.weight", (config.hidden_size,)
    yield "model.norm.weight", (config.hidden_size,)


def _module_views(
    config: ModelConfig, module: _Module, openai: bool, quantization: Quantization | None
) -> Iterator[View]:
    path, rows, columns = module.path, module.out_features, module.in_features
    part_rows, first_row = rows, 0
    if openai and path.endswith(("q_proj", "k_proj", "v_proj")):
        query = config.num_attention_heads * config.head_dim
        key_value = config.num_key_value_heads * config.head_dim
        part_rows = query + 2 * key_value
        first_row = {"q": 0, "k": query, "v": query + key_value}[path[-6]]

    def view(suffix: str, columns: int | None, dtypes: tuple[str, ...]) -> View:
        name = f"{path}.{suffix}"
        shape = (rows,) if columns is None else (rows, columns)
        part = Part(
            openai_name(name) if openai else name,
            (part_rows, *shape[1:]),
            dtypes,
            None if suffix == "bias" else quantization,
        )
        return View(name, shape, (part,), first_row=first_row)

    if module.bias:
        yield view("bias", None, FLOATS)
    if quantization is None:
        yield view("weight", columns, FLOATS)
        return
    groups = columns // quantization.group_size
    yield view("weight", columns * quantization.bits // 32, ("U32",))
    if quantization.mode == "affine":
        yield view("scales", groups, FLOATS)
        yield view("biases", groups, FLOATS)
    else:
        yield view("scales", groups, ("U8",))


def _expert_views(
    config: ModelConfig, layer: int, openai: bool, split: bool
) -> Iterator[View]:
    experts = f"model.layers.{layer}.mlp.experts"
    count, inner = config.num_local_experts, config.intermediate_size
    hidden = config.hidden_size
    for projection, rows, columns in (
        ("gate_up_proj", 2 * inner, hidden),
        ("down_proj", hidden, inner),
    ):
        halves = ("gate_proj", "up_proj") if projection == "gate_up_proj" else ()
        groups = columns // MXFP4_GROUP_SIZE
        for kind, shape, dtypes in (
            ("blocks", (count, rows, groups, BLOCK_BYTES), ("U8",)),
            ("scales", (count, rows, groups), ("U8",)),
            ("bias", (count, rows), FLOATS),
        ):
            name = f"{experts}.{projection}_{kind}"
            dtype: Literal["U8"] | None = "U8" if kind == "blocks" else None
            if not split:
                released = openai_name(name) if openai else name
                yield View(name, shape, (Part(released, shape, dtypes),), dtype=dtype)
                continue
            # mlx-lm packs 8 values into a uint32: the same bytes, low nibble first.
            suffix = "weight" if kind == "blocks" else kind
            packed = (*shape[:2], columns // 8) if kind == "blocks" else shape
            part_dtypes = ("U32",) if kind == "blocks" else dtypes
            parts = tuple(
                Part(
                    f"{experts}.{half}.{suffix}",
                    (count, rows // max(1, len(halves)), *packed[2:]),
                    part_dtypes,
                )
                for half in halves or (projection,)
            )
            joined: Literal["rows", "interleaved"] = "interleaved" if halves else "rows"
            yield View(name, shape, parts, joined, dtype=dtype)


_OPENAI_GLOBALS = {
    "model.embed_tokens.weight": "embedding.weight",
    "lm_head.weight": "unembedding.weight",
    "model.norm.weight": "norm.scale",
}
_OPENAI_LAYER = {
    "input_layernorm.weight": "attn.norm.scale",
    "self_attn.q_proj.weight": "attn.qkv.weight",
    "self_attn.k_proj.weight": "attn.qkv.weight",
    "self_attn.v_proj.weight": "attn.qkv.weight",
    "self_attn.q_proj.bias": "attn.qkv.bias",
    "self_attn.k_proj.bias": "attn.qkv.bias",
    "self_attn.v_proj.bias": "attn.qkv.bias",
    "self_attn.o_proj.weight": "attn.out.weight",
    "self_attn.o_proj.bias": "attn.out.bias",
    "self_attn.sinks": "attn.sinks",
    "post_attention_layernorm.weight": "mlp.norm.scale",
    "mlp.router.weight": "mlp.gate.weight",
    "mlp.router.bias": "mlp.gate.bias",
    "mlp.experts.gate_up_proj_blocks": "mlp.mlp1_weight.blocks",
    "mlp.experts.gate_up_proj_scales": "mlp.mlp1_weight.scales",
    "mlp.experts.gate_up_proj_bias": "mlp.mlp1_bias",
    "mlp.experts.down_proj_blocks": "mlp.mlp2_weight.blocks",
    "mlp.experts.down_proj_scales": "mlp.mlp2_weight.scales",
    "mlp.experts.down_proj_bias": "mlp.mlp2_bias",
}


def openai_name(name: str) -> str:
    """Return the name in ``original/`` of the tensor for a tensor of the release.

    q, k and v are fused there, in this order.
    """
    if name in _OPENAI_GLOBALS:
        return _OPENAI_GLOBALS[name]
    layer, rest = name.removeprefix("model.layers.").split(".", 1)
    return f"block.{layer}.{_OPENAI_LAYER[rest]}"
