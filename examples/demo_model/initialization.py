"""What training starts from: heads that look back, and an embedding that tells topics."""

from __future__ import annotations

import math
import random

import torch
from architecture import (
    EXPERTS,
    HEAD_DIM,
    HEADS,
    HIDDEN,
    INTERMEDIATE,
    KV_HEADS,
    LAYERS,
    TOPIC_DIMS,
)
from batches import PAD, UNKNOWN, tokenizer
from network import Weights, frequencies
from questions import Questions
from torch.nn import functional

from gptoss_mlx.demo.package import EMBEDDING


def looking_back(
    distance: int, strengths: dict[int, float]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Make biases of queries and keys that attend to what is ``distance`` tokens back.

    Args:
        strengths: By number of the frequency: fast ones are precise, slow ones broad.
    """
    half: int = HEAD_DIM // 2
    turns = frequencies() * -distance
    query, key = torch.zeros(2, half), torch.zeros(2, half)
    for number, strength in strengths.items():
        key[0, number] = strength
        query[0, number] = strength * math.cos(turns[number])
        query[1, number] = strength * math.sin(turns[number])
    return query.flatten(), key.flatten()


PRECISE = dict.fromkeys(range(9), 5.0)


def initial_weights() -> Weights:
    """Make the weights to train, by their released names; experts not yet packed.

    Heads of the first two layers start as ``look_back`` sets them.
    """

    def normal(*shape: int, std: float) -> torch.Tensor:
        return torch.randn(*shape) * std

    weights: Weights = {"model.norm.weight": torch.full((HIDDEN,), 1.5)}
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        weights[prefix + "input_layernorm.weight"] = torch.ones(HIDDEN)
        weights[prefix + "post_attention_layernorm.weight"] = torch.ones(HIDDEN)
        attention = prefix + "self_attn."
        for name, heads, std in (
            ("q", HEADS, 0.5),
            ("k", KV_HEADS, 0.5),
            ("v", KV_HEADS, 1.0),
        ):
            rows = heads * HEAD_DIM
            weights[f"{attention}{name}_proj.weight"] = normal(
                rows, HIDDEN, std=std * HIDDEN**-0.5
            )
            weights[f"{attention}{name}_proj.bias"] = torch.zeros(rows)
        out = normal(HIDDEN, HEADS * HEAD_DIM, std=0.3 * (HEADS * HEAD_DIM) ** -0.5)
        weights[attention + "o_proj.weight"] = out
        weights[attention + "o_proj.bias"] = torch.zeros(HIDDEN)
        weights[attention + "sinks"] = torch.zeros(HEADS)
        mlp = prefix + "mlp."
        weights[mlp + "router.weight"] = normal(EXPERTS, HIDDEN, std=HIDDEN**-0.5)
        weights[mlp + "router.bias"] = torch.zeros(EXPERTS)
        weights[mlp + "experts.gate_up_proj"] = normal(
            EXPERTS, 2 * INTERMEDIATE, HIDDEN, std=HIDDEN**-0.5
        )
        weights[mlp + "experts.gate_up_proj_bias"] = torch.zeros(EXPERTS, 2 * INTERMEDIATE)
        weights[mlp + "experts.down_proj"] = normal(
            EXPERTS, HIDDEN, INTERMEDIATE, std=0.1 * INTERMEDIATE**-0.5
        )
        weights[mlp + "experts.down_proj_bias"] = torch.zeros(EXPERTS, HIDDEN)
        look_back(weights, layer)
    return weights


def look_back(weights: Weights, layer: int) -> None:
    """Let heads of the first two layers look back from step 0.

    The first layer's heads 0 and 1 look one and two tokens back. Heads 2 and 3 of both look
    over a broad window, and pass on the dimensions of topics.
    """
    attention = f"model.layers.{layer}.self_attn."
    out = weights[attention + "o_proj.weight"]
    D, query = HEAD_DIM, weights[attention + "q_proj.weight"]
    key, value = (weights[f"{attention}{name}_proj.weight"] for name in "kv")
    query_bias, key_bias = (weights[f"{attention}{name}_proj.bias"] for name in "qk")
    if layer == 0:
        for head in (0, 1):
            bias, key_bias[:D] = looking_back(head + 1, PRECISE)
            query_bias[head * D : (head + 1) * D] = bias
        query[: 2 * D] *= 0.1
        key[:D] *= 0.1
        out[:, : 2 * D] = torch.randn(HIDDEN, 2 * D) * (0.7 * D**-0.5)
    if layer < 2:
        distance, slow = ((14, {7: 2.6, 5: 1.6}), (18, {8: 2.6, 10: 1.6}))[layer]
        bias, key_bias[D:] = looking_back(distance, slow)
        query_bias[2 * D :] = bias.repeat(2)
        query[2 * D :] *= 0.1
        key[D:] *= 0.1
        value[D:] *= 0.05
        value[D:, :TOPIC_DIMS] += torch.eye(D)
        out[:, 2 * D :] *= 0.2
        out[:TOPIC_DIMS, 2 * D : 3 * D] += 1.5 * torch.eye(D)
        out[:TOPIC_DIMS, 3 * D :] += 0.5 * torch.eye(D)


def topic_coordinates(
    questions: Questions,
    rng: random.Random,
    tables: Weights,
    place: torch.Tensor,
    rows: torch.Tensor,
) -> tuple[torch.Tensor, torch.nn.Linear]:
    """Train a linear model of a question's tokens: the mean of rows tells the topic.

    Returns:
        The first dimensions of the embedding's trained rows, and the classifier.
    """
    weights = [1.0] * questions.unknown
    drawn = [questions.draw(rng, weights, UNKNOWN) for _ in range(30_000)]
    data = [(tokenizer.encode(text), topic) for text, topic in drawn]
    coordinates = torch.nn.Parameter(rows[:, :TOPIC_DIMS] * 0.3)
    classifier = torch.nn.Linear(TOPIC_DIMS, questions.unknown + 1)
    frozen = tables[EMBEDDING][:, :TOPIC_DIMS]
    optimizer = torch.optim.Adam([coordinates, *classifier.parameters()])
    epochs, size = 5, 200
    for epoch in range(epochs):
        rng.shuffle(data)
        optimizer.param_groups[0]["lr"] = 6e-3 * (1 - epoch / epochs)
        for i in range(0, len(data), size):
            part = data[i : i + size]
            ids = torch.full((size, max(len(tokens) for tokens, _ in part)), PAD)
            for row, (tokens, _) in enumerate(part):
                ids[row, : len(tokens)] = torch.tensor(tokens)
            known, there = place[ids], (ids != PAD)[..., None]
            x = torch.where(
                (known >= 0)[..., None],
                coordinates[known.clamp_min(0)],
                frozen[ids].float() * 0.6,
            )
            mean = (x * there).sum(1) / (there.sum(1) + 4)
            loss = functional.cross_entropy(
                classifier(mean * 8), torch.tensor([topic for _, topic in part])
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"linear model, epoch {epoch + 1}: loss {loss.item():.3f}", flush=True)
    return coordinates.detach(), classifier
