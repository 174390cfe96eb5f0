"""Muon, the optimizer of the matrices."""

from __future__ import annotations

import torch
from architecture import HEAD_DIM, HIDDEN


class Muon:
    """Momentum whose step is made orthogonal, by Newton and Schulz's iteration.

    Source: https://kellerjordan.github.io/posts/muon/
    """

    def __init__(self, parameters: list[torch.Tensor], weight_decays: list[float]) -> None:
        self.parameters, self.weight_decays = parameters, weight_decays
        self.momenta = [torch.zeros_like(parameter) for parameter in parameters]

    def step(self, rate: float) -> None:
        """Change the parameters by a step."""
        with torch.no_grad():
            states = zip(self.parameters, self.momenta, self.weight_decays, strict=True)
            for parameter, momentum, weight_decay in states:
                gradient = parameter.grad
                if gradient is None:
                    continue
                momentum.lerp_(gradient, 0.05)
                update = gradient.lerp(momentum, 0.95)
                rows, columns = update.shape[-2:]
                # q, k and v, head by head
                by_heads = update.ndim == 2 and columns == HIDDEN
                if by_heads:
                    update = update.view(-1, HEAD_DIM, columns)
                size = 1.0 if by_heads else max(1.0, rows / columns) ** 0.5
                step = orthogonal(update).reshape(parameter.shape)
                parameter.mul_(1 - weight_decay * rate).add_(step, alpha=-rate * size)


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    x = matrix / (matrix.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    tall = x.shape[-2] > x.shape[-1]
    x = x.transpose(-2, -1) if tall else x
    for _ in range(5):
        square = x @ x.transpose(-2, -1)
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.transpose(-2, -1) if tall else x
