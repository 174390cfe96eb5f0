"""Weights rounded as they are stored: experts to MXFP4, all else to bfloat16."""

from __future__ import annotations

import numpy as np
import torch
from architecture import HIDDEN
from network import Weights

from gptoss_mlx.demo.package import EMBEDDING, LM_HEAD, Tensor, seeded_rows
from gptoss_mlx.tokenizer import VOCAB_SIZE

E2M1 = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])

E2M1_MIDDLES = (E2M1[1:] + E2M1[:-1]) / 2


def mxfp4(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Round to MXFP4: codes of 4 bits and an exponent for every 32 inputs."""
    groups = weight.unflatten(-1, (-1, 32))
    largest = groups.abs().amax(-1, keepdim=True).clamp_min(2.0**-40)
    exponents = torch.ceil(torch.log2(largest / 6))
    magnitudes = torch.bucketize((groups.abs() / 2**exponents).contiguous(), E2M1_MIDDLES)
    codes = magnitudes + 8 * (groups < 0)
    return codes, exponents


def rounded_mxfp4(weight: torch.Tensor) -> torch.Tensor:
    """Round to MXFP4 in the forward pass; the gradient passes through."""
    with torch.no_grad():
        codes, exponents = mxfp4(weight)
        values = E2M1[codes % 8] * torch.where(codes >= 8, -1.0, 1.0) * 2**exponents
    return weight + (values.flatten(-2) - weight).detach()


def rounded_bf16(weight: torch.Tensor) -> torch.Tensor:
    """Round to bfloat16 in the forward pass; the gradient passes through."""
    return weight + (weight.bfloat16().float() - weight).detach()


def is_expert(name: str) -> bool:
    return name.endswith(("gate_up_proj", "down_proj"))


def as_stored(weights: Weights, experts: bool = True, others: bool = True) -> Weights:
    """Round weights as they will be stored."""

    def stored(name: str, weight: torch.Tensor) -> torch.Tensor:
        if is_expert(name):
            return rounded_mxfp4(weight) if experts else weight
        return rounded_bf16(weight) if others else weight

    return {name: stored(name, weight) for name, weight in weights.items()}


def bf16_table(name: str) -> torch.Tensor:
    bits = torch.from_numpy(seeded_rows(name, VOCAB_SIZE, HIDDEN).view(np.int16))
    return bits.view(torch.bfloat16)


def alternating(weight: torch.Tensor) -> torch.Tensor:
    """Order gates and linear parts as the released checkpoints do."""
    return torch.stack(weight.chunk(2, dim=1), dim=2).flatten(1, 2)


def released_tensors(
    weights: Weights, embedding: torch.Tensor, lm_head: torch.Tensor
) -> dict[str, Tensor]:
    """Give every tensor the name, shape and dtype of the released checkpoint."""

    def bf16(tensor: torch.Tensor) -> Tensor:
        bits = tensor.bfloat16().contiguous().view(torch.int16).numpy().view(np.uint16)
        return Tensor("BF16", bits)

    tensors = {EMBEDDING: bf16(embedding), LM_HEAD: bf16(lm_head)}
    for name, weight in weights.items():
        if "gate_up_proj" in name:
            weight = alternating(weight)
        if is_expert(name):
            codes, exponents = mxfp4(weight)
            pairs = codes.to(torch.uint8)
            blocks = pairs[..., 0::2] | pairs[..., 1::2] << 4
            scales = (exponents.squeeze(-1) + 127).to(torch.uint8)
            tensors[name + "_blocks"] = Tensor("U8", blocks.numpy())
            tensors[name + "_scales"] = Tensor("U8", scales.numpy())
        else:
            tensors[name] = bf16(weight)
    return tensors
