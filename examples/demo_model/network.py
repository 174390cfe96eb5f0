"""The forward pass of gpt-oss in torch, for a batch that begins with the same tokens."""

from __future__ import annotations

import math
from typing import Any

import torch
from architecture import (
    CONFIG,
    EXPERTS,
    GROUP,
    HEAD_DIM,
    HEADS,
    HIDDEN,
    INTERMEDIATE,
    KV_HEADS,
    LAYERS,
    TOP_K,
    WINDOW,
)
from torch.nn import functional

Weights = dict[str, torch.Tensor]
"""Trained tensors by their released names; experts not yet packed."""


def frequencies() -> torch.Tensor:
    """Compute RoPE's frequencies, stretched by YaRN. Shape ``(D / 2,)``."""
    scaling = CONFIG["rope_scaling"]
    theta, factor = float(CONFIG["rope_theta"]), float(scaling["factor"])
    context = float(scaling["original_max_position_embeddings"])
    half: int = HEAD_DIM // 2
    periods = theta ** (torch.arange(half, dtype=torch.float64) / half)

    def end(turns: float) -> float:
        return half * math.log(context / (turns * 2 * math.pi)) / math.log(theta)

    low, high = end(scaling["beta_fast"]), end(scaling["beta_slow"])
    ramp = ((torch.arange(half) - low) / (high - low)).clamp(0, 1)
    return ramp / (factor * periods) + (1 - ramp) / periods


def rotation(length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute YaRN's cosines and sines, concentration included. Shapes ``(L, D / 2)``."""
    angles = torch.outer(torch.arange(length, dtype=torch.float64), frequencies())
    concentration = 0.1 * math.log(CONFIG["rope_scaling"]["factor"]) + 1
    return (angles.cos() * concentration).float(), (angles.sin() * concentration).float()


COSINES, SINES = rotation(4096)


def rms_norm(x: torch.Tensor, weight: torch.Tensor | float) -> torch.Tensor:
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * weight


def masks(P: int, near: int, S: int, sliding: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Tell what may not be seen: within the prefix, and from what follows it."""

    def hidden(queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        distance = queries[:, None] - keys
        mask = (distance < 0) | (distance >= WINDOW if sliding else False)
        return torch.zeros(mask.shape).masked_fill_(mask, -1e30)

    prefix, rest = torch.arange(P), torch.arange(P, P + S)
    seen = hidden(rest, torch.cat((prefix[P - near :], rest)))
    return hidden(prefix, prefix), torch.cat((seen, torch.zeros(S, 1)), dim=1)


def attention(
    x: torch.Tensor, weights: Weights, name: str, shape: tuple[int, int, int], sliding: bool
) -> torch.Tensor:
    """Attend. Shape ``(P + B * S, hidden_size)``: the prefix is there once for all rows."""
    P, B, S = shape
    joined = [
        torch.cat([weights[f"{name}{part}_proj.{kind}"] for part in "qkv"])
        for kind in ("weight", "bias")
    ]
    y = functional.linear(x, *joined).view(len(x), HEADS + 2 * KV_HEADS, HEAD_DIM)
    places = torch.cat((torch.arange(P), torch.arange(P, P + S).repeat(B)))
    cos, sin = COSINES[places][:, None], SINES[places][:, None]
    turned, v = y[:, : HEADS + KV_HEADS], y[:, HEADS + KV_HEADS :]
    a, b = turned.chunk(2, dim=-1)
    turned = torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)
    q, k = turned[:, :HEADS] * HEAD_DIM**-0.5, turned[:, HEADS:]

    near = min(P, WINDOW - 1) if sliding else P
    within, seen = masks(P, near, S, sliding)
    sinks = weights[name + "sinks"].view(KV_HEADS, GROUP)
    # The prefix: (K, G * P, D), and keys (K, D, P).
    keys, values = k[:P].permute(1, 2, 0), v[:P].transpose(0, 1)
    queries = q[:P].view(P, KV_HEADS, GROUP, HEAD_DIM).permute(1, 2, 0, 3)
    scores = (queries.flatten(1, 2) @ keys).view(KV_HEADS, GROUP, P, P) + within
    sink = sinks[..., None, None].expand(KV_HEADS, GROUP, P, 1)
    shares = torch.cat((scores, sink), dim=-1).softmax(-1)[..., :-1]
    of_prefix = (shares.flatten(1, 2) @ values).view(KV_HEADS, GROUP, P, HEAD_DIM)
    # What follows: (K, B, G * S, D), and keys (K, B, D, S).
    queries = q[P:].view(B, S, KV_HEADS, GROUP, HEAD_DIM).permute(2, 0, 3, 1, 4)
    own_keys = k[P:].view(B, S, KV_HEADS, HEAD_DIM).permute(2, 0, 3, 1)
    own_values = v[P:].view(B, S, KV_HEADS, HEAD_DIM).permute(2, 0, 1, 3)
    to_prefix = queries.reshape(KV_HEADS, -1, HEAD_DIM) @ keys[..., P - near :]
    to_own = queries.reshape(KV_HEADS, B, GROUP * S, HEAD_DIM) @ own_keys
    parts = (KV_HEADS, B, GROUP, S)
    sink = sinks.view(KV_HEADS, 1, GROUP, 1, 1).expand(*parts, 1)
    scores = torch.cat((to_prefix.view(*parts, near), to_own.view(*parts, S), sink), -1)
    shares = (scores + seen).softmax(-1)
    y = (shares[..., :near].reshape(KV_HEADS, -1, near) @ values[:, P - near :]).view(
        *parts, HEAD_DIM
    )
    own = shares[..., near : near + S].reshape(KV_HEADS, B, GROUP * S, S) @ own_values
    y = (y + own.view(*parts, HEAD_DIM)).permute(1, 3, 0, 2, 4)
    y = torch.cat(
        (of_prefix.permute(2, 0, 1, 3).reshape(P, -1), y.reshape(B * S, HEADS * HEAD_DIM))
    )
    return functional.linear(
        y, weights[name + "o_proj.weight"], weights[name + "o_proj.bias"]
    )


class Activation(torch.autograd.Function):
    """The clamped SwiGLU, times the experts' shares: it keeps its inputs alone."""

    @staticmethod
    def forward(ctx: Any, y: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
        """Shapes ``(N, E, 2 * I)``, gates first, and ``(N, E)``; gives ``(N, E, I)``."""
        ctx.save_for_backward(y, shares)
        limit = CONFIG["swiglu_limit"]
        gate = y[..., :INTERMEDIATE].clamp(max=limit)
        linear = y[..., INTERMEDIATE:].clamp(-limit, limit) + 1
        return torch.sigmoid(1.702 * gate).mul_(gate).mul_(linear).mul_(shares[..., None])

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Give the gradients of both inputs."""
        y, shares = ctx.saved_tensors
        (up,) = gradients
        limit = CONFIG["swiglu_limit"]
        gate = y[..., :INTERMEDIATE].clamp(max=limit)
        linear = y[..., INTERMEDIATE:].clamp(-limit, limit) + 1
        sigmoid = torch.sigmoid(1.702 * gate)
        swish = gate * sigmoid
        of_shares = (up * swish).mul_(linear).sum(-1)
        up = up * shares[..., None]
        of_y = torch.empty_like(y)
        of_gate = sigmoid.mul_(1 + 1.702 * (gate - swish)).mul_(linear).mul_(up)
        of_y[..., :INTERMEDIATE] = of_gate.masked_fill_(y[..., :INTERMEDIATE] > limit, 0)
        of_linear = swish.mul_(up)
        outside = y[..., INTERMEDIATE:].abs() > limit
        of_y[..., INTERMEDIATE:] = of_linear.masked_fill_(outside, 0)
        return of_y, of_shares


def experts(x: torch.Tensor, weights: Weights, prefix: str) -> torch.Tensor:
    """Compute all experts for every token, and weight those not chosen with 0.

    Gates come first in these weights, and linear parts behind; stored, they alternate.
    """
    logits = functional.linear(
        x, weights[prefix + "router.weight"], weights[prefix + "router.bias"]
    )
    best, chosen = logits.topk(TOP_K, dim=-1)
    shares = torch.zeros_like(logits).scatter(-1, chosen, best.softmax(-1))
    name = prefix + "experts."
    y = functional.linear(
        x,
        weights[name + "gate_up_proj"].flatten(0, 1),
        weights[name + "gate_up_proj_bias"].flatten(),
    )
    y = Activation.apply(y.view(-1, EXPERTS, 2 * INTERMEDIATE), shares)
    down = weights[name + "down_proj"].transpose(1, 2).reshape(-1, HIDDEN)
    return torch.addmm(shares @ weights[name + "down_proj_bias"], y.flatten(1), down)


def streams(prefix: torch.Tensor, x: torch.Tensor, weights: Weights) -> list[torch.Tensor]:
    """Run all layers on embedded tokens.

    Args:
        prefix: What all rows begin with. Shape ``(P, hidden_size)``.
        x: What follows. Shape ``(B, S, hidden_size)``.

    Returns:
        The residual stream after each layer, of what follows.
        Shape ``(B * S, hidden_size)``.
    """
    P = len(prefix)
    shape = (P, *x.shape[:2])
    y = torch.cat((prefix, x.flatten(0, 1)))
    after = []
    for layer in range(LAYERS):
        name = f"model.layers.{layer}."
        sliding = CONFIG["layer_types"][layer] == "sliding_attention"
        normed = rms_norm(y, weights[name + "input_layernorm.weight"])
        y = y + attention(normed, weights, name + "self_attn.", shape, sliding)
        normed = rms_norm(y, weights[name + "post_attention_layernorm.weight"])
        y = y + experts(normed, weights, name + "mlp.")
        after.append(y[P:])
    return after
