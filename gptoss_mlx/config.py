"""The size and shape of a gpt-oss model, with Hugging Face's names.

Source: https://huggingface.co/openai/gpt-oss-20b/blob/main/config.json
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from gptoss_mlx.errors import QuantizationError
from gptoss_mlx.files import short

__all__ = [
    "AFFINE_BITS",
    "AFFINE_GROUP_SIZES",
    "MXFP4_BITS",
    "MXFP4_GROUP_SIZE",
    "RELEASED",
    "SWIGLU_ALPHA",
    "LayerType",
    "ModelConfig",
    "Quantization",
    "QuantizationTable",
    "RopeScaling",
]

LayerType = Literal["sliding_attention", "full_attention"]

MXFP4_GROUP_SIZE = 32
MXFP4_BITS = 4
AFFINE_BITS = (2, 3, 4, 5, 6, 8)
AFFINE_GROUP_SIZES = (32, 64, 128)

SWIGLU_ALPHA = 1.702


@dataclass(frozen=True, slots=True)
class RopeScaling:
    """YaRN's parameters, with Hugging Face's names.

    Attributes:
        factor: How many times longer the context becomes. 1.0 is plain RoPE.
        beta_fast: Upper end of the ramp, in turns per original context.
        beta_slow: Lower end of the ramp, in turns per original context.
        original_max_position_embeddings: Context before YaRN, in tokens.
    """

    factor: float
    beta_fast: float
    beta_slow: float
    original_max_position_embeddings: int


@dataclass(frozen=True, slots=True)
class Quantization:
    """How one module's weight is quantized, with MLX's names.

    Attributes:
        group_size: Values per scale.
        bits: Bits per value.
        mode: ``affine`` (scales and biases) or ``mxfp4`` (E2M1 with power-of-two scales).
    """

    group_size: int
    bits: int
    mode: Literal["affine", "mxfp4"]

    def __post_init__(self) -> None:
        """Refuse combinations that MLX cannot unpack.

        Raises:
            QuantizationError: The three do not fit together.
        """
        if self.mode == "affine":
            if self.bits in AFFINE_BITS and self.group_size in AFFINE_GROUP_SIZES:
                return
            rule = f"bits in {AFFINE_BITS} and group_size in {AFFINE_GROUP_SIZES}"
        elif self.mode == "mxfp4":
            if (self.bits, self.group_size) == (MXFP4_BITS, MXFP4_GROUP_SIZE):
                return
            rule = f"bits {MXFP4_BITS} and group_size {MXFP4_GROUP_SIZE}"
        else:
            raise QuantizationError(
                f"Quantization mode must be 'affine' or 'mxfp4' but is {short(self.mode)}."
            )
        raise QuantizationError(
            f"Mode {self.mode!r} must have {rule} "
            f"but has bits {self.bits} and group_size {self.group_size}."
        )


@dataclass(frozen=True, slots=True)
class QuantizationTable:
    """MLX's ``quantization`` dictionary: a default, and modules that differ from it."""

    default: Quantization
    modules: Mapping[str, Quantization | None]

    def of(self, module: str) -> Quantization | None:
        """Return how ``module`` is quantized if it has scales; None if it must have none.

        Args:
            module: Path as in the tensors' names, e.g. ``model.layers.0.mlp.router``.
        """
        return self.modules.get(module, self.default)


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The size and shape of a gpt-oss model, with Hugging Face's names.

    Sizes count values, ``sliding_window`` counts tokens including the current one,
    ``intermediate_size`` is one expert's. ``quantization`` is None for released layouts.
    """

    num_hidden_layers: int
    hidden_size: int
    intermediate_size: int
    num_local_experts: int
    num_experts_per_tok: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    vocab_size: int
    sliding_window: int
    layer_types: tuple[LayerType, ...]
    rms_norm_eps: float
    swiglu_limit: float
    swiglu_alpha: float
    rope_theta: float
    rope_scaling: RopeScaling
    max_position_embeddings: int
    quantization: QuantizationTable | None = None


def _released(num_hidden_layers: int, num_local_experts: int) -> ModelConfig:
    return ModelConfig(
        num_hidden_layers=num_hidden_layers,
        hidden_size=2880,
        intermediate_size=2880,
        num_local_experts=num_local_experts,
        num_experts_per_tok=4,
        num_attention_heads=64,
        num_key_value_heads=8,
        head_dim=64,
        vocab_size=201_088,
        sliding_window=128,
        layer_types=("sliding_attention", "full_attention") * (num_hidden_layers // 2),
        rms_norm_eps=1e-5,
        swiglu_limit=7.0,
        swiglu_alpha=SWIGLU_ALPHA,
        rope_theta=150_000.0,
        rope_scaling=RopeScaling(32.0, 32.0, 1.0, 4096),
        max_position_embeddings=131_072,
    )


RELEASED: Mapping[str, ModelConfig] = {"20b": _released(24, 32), "120b": _released(36, 128)}
"""The two released models, by their names in gptoss-mlx."""
