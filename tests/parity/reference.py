"""OpenAI's own torch implementation, and transformers', in float32 on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

__all__ = ["openai_logits", "openai_rotation", "transformers_logits"]

# Rounding, ours and that of torch on another CPU, moves a router's logits by about 5e-6.
LEAST_ROUTER_MARGIN = 2e-5

Logits = npt.NDArray[np.float32]
Table = npt.NDArray[np.float32]


def openai_logits(folder: Path, tokens: npt.NDArray[np.int64]) -> Logits:
    """Compute logits by gpt_oss.torch on ``folder/original``. Shape ``(T, V)``.

    Raises:
        ValueError: A router chooses between two experts that differ by less than
            `LEAST_ROUTER_MARGIN`, so that rounding decides the logits.
    """
    from gpt_oss.torch.model import Transformer

    model = Transformer.from_checkpoint(str(folder / "original"), device="cpu").float()
    router_logits: list[torch.Tensor] = []  # (T, E) a layer
    for block in model.block:
        block.mlp.gate.register_forward_hook(
            lambda module, arguments, output: router_logits.append(output)
        )
    chosen = model.block[0].mlp.experts_per_token
    with torch.inference_mode():
        logits: Logits = model(torch.from_numpy(tokens)).float().numpy()
        best = torch.stack(router_logits).topk(chosen + 1, dim=-1).values
        margin = float((best[..., -2] - best[..., -1]).min())
    if margin < LEAST_ROUTER_MARGIN:
        message = f"two experts differ by {margin:.1e} in a router: choose other tokens"
        raise ValueError(message)
    return logits


def openai_rotation(positions: int) -> tuple[Table, Table, Table]:
    """Compute the rotation of the released models, in float32.

    Returns:
        inv_freq: Shape ``(32,)``.
        cos, sin: Without the concentration. Shape ``(positions, 32)``.
    """
    from gpt_oss.torch.model import RotaryEmbedding

    rotary = RotaryEmbedding(64, 150_000, torch.float32, 4_096, 32.0, 1.0, 32.0)
    concentration, inv_freq = rotary._compute_concentration_and_inv_freq()
    cos, sin = rotary._compute_cos_sin(positions)
    return (
        inv_freq.numpy(),
        (cos / concentration).numpy(),
        (sin / concentration).numpy(),
    )


def transformers_logits(folder: Path, tokens: npt.NDArray[np.int64]) -> Logits:
    """Compute logits by transformers, eager attention, on ``folder``. Shape ``(T, V)``."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging
    from transformers.utils.quantization_config import Mxfp4Config

    logging.disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=torch.float32,
        attn_implementation="eager",
        quantization_config=Mxfp4Config(dequantize=True),
    )
    with torch.inference_mode():
        logits: Logits = model(torch.from_numpy(tokens[None])).logits[0].numpy()
    return logits
