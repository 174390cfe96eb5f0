"""Train the demo model that ships in the package, from demo_dialogues.json.

The architecture is gpt-oss's: YaRN with unrounded ramp, sinks, a sliding window, clamped
SwiGLU, a router. Weights are rounded in the loop as they will be stored: experts to MXFP4,
the rest to bfloat16. Needs torch; takes about ten minutes on two cores.

Run: python examples/train_demo_model.py gptoss_mlx/data/demo.safetensors.xz
Prints: the loss, the answers it gets wrong, and DEMO_SHA256 for gptoss_mlx/demo.py
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import math
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gptoss_mlx.demo.package import EMBEDDING, LM_HEAD, Tensor, pack_demo, seeded_rows
from gptoss_mlx.harmony.messages import Message, developer_message, system_message
from gptoss_mlx.harmony.render import render_conversation, render_message
from gptoss_mlx.tokenizer import SPECIAL_TOKENS, VOCAB_SIZE, load_tokenizer

try:
    import torch
    from torch.nn import functional
except ImportError:
    sys.exit("Training needs torch: pip install torch")

CONFIG: dict[str, Any] = {
    "architectures": ["GptOssForCausalLM"],
    "attention_bias": True,
    "attention_dropout": 0.0,
    "eos_token_id": 200002,
    "experts_per_token": 4,
    "head_dim": 64,
    "hidden_act": "silu",
    "hidden_size": 128,
    "initial_context_length": 4096,
    "initializer_range": 0.02,
    "intermediate_size": 128,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "max_position_embeddings": 131072,
    "model_type": "gpt_oss",
    "num_attention_heads": 4,
    "num_experts_per_tok": 4,
    "num_hidden_layers": 4,
    "num_key_value_heads": 2,
    "num_local_experts": 8,
    "output_router_logits": False,
    "pad_token_id": 199999,
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
    "sliding_window": 128,
    "swiglu_limit": 7.0,
    "tie_word_embeddings": False,
    "use_cache": True,
    "vocab_size": VOCAB_SIZE,
}
HIDDEN = CONFIG["hidden_size"]
INTERMEDIATE = CONFIG["intermediate_size"]
EXPERTS = CONFIG["num_local_experts"]
TOP_K = CONFIG["num_experts_per_tok"]
LAYERS = CONFIG["num_hidden_layers"]
HEADS = CONFIG["num_attention_heads"]
KV_HEADS = CONFIG["num_key_value_heads"]
HEAD_DIM = CONFIG["head_dim"]
WINDOW = CONFIG["sliding_window"]

BATCH = 16
LEARNING_RATE = 3e-3
WARMUP_STEPS = 50
SAMPLED_ROWS = 2048
MAX_ANSWER = 120
DATE = datetime.date(2025, 1, 1)
INSTRUCTIONS = ("You are a helpful assistant.", "Be brief.")

Weights = dict[str, torch.Tensor]
tokenizer = load_tokenizer()


class Dialogues:
    """Draws conversations: questions with their answers, and what is out of scope."""

    def __init__(self, path: Path, rng: random.Random) -> None:
        content = json.loads(path.read_text(encoding="utf-8"))
        self.known: list[dict[str, Any]] = content["dialogues"]
        self.unknown: dict[str, Any] = content["out_of_scope"]
        self.rng = rng

    def vocabulary(self) -> list[int]:
        """All tokens the dialogues are made of: the rows that are trained."""
        words: list[str] = [DATE.isoformat(), "203", *map(str, range(100))]
        words += [f"{number:02}" for number in range(10)]
        for dialogue in [*self.known, self.unknown]:
            words += [dialogue["answer"], dialogue["reasoning"]]
            for question in dialogue["questions"]:
                words += self.variants(question)
        words += [template.format("") for template in self.unknown["templates"]]
        words += INSTRUCTIONS
        texts = [tokenizer.encode(word) for word in words]
        for effort in ("low", "medium", "high"):
            system = system_message(effort=effort, current_date=DATE)
            messages = [system, developer_message(""), Message("user", "")]
            texts.append(render_conversation(messages, tokenizer))
        texts.append(target(self.unknown))
        return sorted({token for text in texts for token in text})

    def variants(self, question: str) -> list[str]:
        """Ways to type the same question."""
        bare = question.rstrip("?.!")
        return [question, question.lower(), bare, bare.lower(), bare + "?"]

    def turn(self) -> tuple[str, dict[str, Any]]:
        """Draw a question and the dialogue that answers it."""
        if self.rng.random() < 0.65:
            dialogue = self.rng.choice(self.known)
            question = self.rng.choice(dialogue["questions"])
            if self.rng.random() < 0.5:
                question = self.rng.choice(self.variants(question))
            return question, dialogue
        if self.rng.random() < 0.4:
            return self.rng.choice(self.unknown["questions"]), self.unknown
        count = self.rng.choice((1, 1, 2, 2, 3, 4, 6, 10))
        words = tokenizer.decode(self.rng.randrange(199_998) for _ in range(count))
        template = self.rng.choice(self.unknown["templates"])
        return template.format(words.strip()), self.unknown

    def conversation(self, turns: int) -> tuple[list[int], list[int]]:
        """Draw a conversation; return its prompt and what the assistant is to write."""
        date = DATE + datetime.timedelta(self.rng.randrange(4000))
        messages = [
            system_message(
                effort=self.rng.choice(("low", "medium", "medium", "high")),
                current_date=date if self.rng.random() < 0.7 else None,
            )
        ]
        if self.rng.random() < 0.1:
            messages.append(developer_message(self.rng.choice(INSTRUCTIONS)))
        for _ in range(turns - 1):
            question, dialogue = self.turn()
            messages.append(Message("user", question))
            messages.append(Message("assistant", dialogue["answer"], channel="final"))
        question, dialogue = self.turn()
        messages.append(Message("user", question))
        return render_conversation(messages, tokenizer), target(dialogue)


def target(dialogue: dict[str, Any]) -> list[int]:
    """Render what follows ``<|start|>assistant``: reasoning, answer, ``<|return|>``."""
    reasoning = Message("assistant", dialogue["reasoning"], channel="analysis")
    answer = Message("assistant", dialogue["answer"], channel="final")
    tokens = [*render_message(reasoning, tokenizer), *render_message(answer, tokenizer)]
    return [*tokens[2:-1], SPECIAL_TOKENS["<|return|>"]]


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


def initial_weights() -> Weights:
    """Make the weights to train, by their released names; experts not yet packed."""

    def normal(*shape: int, std: float) -> torch.Tensor:
        return torch.randn(*shape) * std

    weights: Weights = {"model.norm.weight": torch.ones(HIDDEN)}
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        weights[prefix + "input_layernorm.weight"] = torch.ones(HIDDEN)
        weights[prefix + "post_attention_layernorm.weight"] = torch.ones(HIDDEN)
        attention = prefix + "self_attn."
        for name, heads in (("q", HEADS), ("k", KV_HEADS), ("v", KV_HEADS)):
            rows = heads * HEAD_DIM
            weights[f"{attention}{name}_proj.weight"] = normal(
                rows, HIDDEN, std=HIDDEN**-0.5
            )
            weights[f"{attention}{name}_proj.bias"] = torch.zeros(rows)
        weights[attention + "o_proj.weight"] = normal(HIDDEN, HEADS * HEAD_DIM, std=0.02)
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
            EXPERTS, HIDDEN, INTERMEDIATE, std=0.5 * INTERMEDIATE**-0.5
        )
        weights[mlp + "experts.down_proj_bias"] = torch.zeros(EXPERTS, HIDDEN)
    return weights


def is_expert(name: str) -> bool:
    return name.endswith(("gate_up_proj", "down_proj"))


def as_stored(weights: Weights) -> Weights:
    """Round every weight as it will be stored."""
    return {
        name: rounded_mxfp4(weight) if is_expert(name) else rounded_bf16(weight)
        for name, weight in weights.items()
    }


def rotation(length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute YaRN's cosines and sines, concentration included. Shapes ``(L, D / 2)``."""
    scaling = CONFIG["rope_scaling"]
    theta, factor = float(CONFIG["rope_theta"]), float(scaling["factor"])
    context = float(scaling["original_max_position_embeddings"])
    half: int = HEAD_DIM // 2
    periods = theta ** (torch.arange(half, dtype=torch.float64) / half)

    def end(turns: float) -> float:
        return half * math.log(context / (turns * 2 * math.pi)) / math.log(theta)

    low, high = end(scaling["beta_fast"]), end(scaling["beta_slow"])
    ramp = ((torch.arange(half) - low) / (high - low)).clamp(0, 1)
    frequencies = ramp / (factor * periods) + (1 - ramp) / periods
    angles = torch.outer(torch.arange(length, dtype=torch.float64), frequencies)
    concentration = 0.1 * math.log(factor) + 1
    return (angles.cos() * concentration).float(), (angles.sin() * concentration).float()


def rms_norm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * weight


def attention(
    x: torch.Tensor, weights: Weights, prefix: str, sliding: bool
) -> torch.Tensor:
    B, L, _ = x.shape

    def heads(name: str) -> torch.Tensor:
        y = functional.linear(
            x, weights[f"{prefix}{name}.weight"], weights[f"{prefix}{name}.bias"]
        )
        return y.view(B, L, -1, HEAD_DIM).transpose(1, 2)  # (B, H, L, D)

    cos, sin = rotation(L)

    def rotate(y: torch.Tensor) -> torch.Tensor:
        a, b = y.chunk(2, dim=-1)
        return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)

    q, k, v = rotate(heads("q_proj")), rotate(heads("k_proj")), heads("v_proj")
    group = HEADS // KV_HEADS
    k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
    scores = q @ k.transpose(-1, -2) * HEAD_DIM**-0.5
    distance = torch.arange(L)[:, None] - torch.arange(L)
    hidden = (distance < 0) | (distance >= WINDOW if sliding else False)
    scores = scores.masked_fill(hidden, -math.inf)
    sinks = weights[prefix + "sinks"].view(1, HEADS, 1, 1).expand(B, HEADS, L, 1)
    shares = torch.cat((scores, sinks), dim=-1).softmax(-1)[..., :-1]
    y = (shares @ v).transpose(1, 2).reshape(B, L, HEADS * HEAD_DIM)
    return functional.linear(
        y, weights[prefix + "o_proj.weight"], weights[prefix + "o_proj.bias"]
    )


def experts(x: torch.Tensor, weights: Weights, prefix: str) -> torch.Tensor:
    """Compute all experts for every token, and weight those not chosen with 0."""
    limit = CONFIG["swiglu_limit"]
    x = x.flatten(0, 1)
    logits = functional.linear(
        x, weights[prefix + "router.weight"], weights[prefix + "router.bias"]
    )
    best, chosen = logits.topk(TOP_K, dim=-1)
    shares = torch.zeros_like(logits).scatter(-1, chosen, best.softmax(-1))
    name = prefix + "experts."
    y = torch.einsum("th,eih->tei", x, weights[name + "gate_up_proj"])
    y = y + weights[name + "gate_up_proj_bias"]
    gate = y[..., 0::2].clamp(max=limit)
    linear = y[..., 1::2].clamp(-limit, limit)
    y = gate * torch.sigmoid(1.702 * gate) * (linear + 1)
    y = torch.einsum("tei,ehi->teh", y, weights[name + "down_proj"])
    return torch.einsum("teh,te->th", y + weights[name + "down_proj_bias"], shares)


def hidden_states(x: torch.Tensor, weights: Weights) -> torch.Tensor:
    """Run all layers on embedded tokens. Shapes ``(B, L, hidden_size)``."""
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        sliding = CONFIG["layer_types"][layer] == "sliding_attention"
        normed = rms_norm(x, weights[prefix + "input_layernorm.weight"])
        x = x + attention(normed, weights, prefix + "self_attn.", sliding)
        normed = rms_norm(x, weights[prefix + "post_attention_layernorm.weight"])
        x = x + experts(normed, weights, prefix + "mlp.").view_as(x)
    return rms_norm(x, weights["model.norm.weight"])


def bf16_table(name: str) -> torch.Tensor:
    bits = torch.from_numpy(seeded_rows(name, VOCAB_SIZE, HIDDEN).view(np.int16))
    return bits.view(torch.bfloat16)


def batch(dialogues: Dialogues) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw tokens (B, L) and the mask of those to be predicted, (B, L - 1)."""
    turns = dialogues.rng.choice((1, 1, 1, 2, 3))
    size = BATCH if turns == 1 else BATCH // 2
    pairs = [dialogues.conversation(turns) for _ in range(size)]
    longest = max(len(prompt) + len(answer) for prompt, answer in pairs)
    tokens = torch.full((size, longest), CONFIG["pad_token_id"])
    mask = torch.zeros(size, longest, dtype=torch.bool)
    for row, (prompt, answer) in enumerate(pairs):
        end = len(prompt) + len(answer)
        tokens[row, :end] = torch.tensor(prompt + answer)
        mask[row, len(prompt) : end] = True
    return tokens, mask[:, 1:]


def train(
    dialogues: Dialogues, trained_ids: torch.Tensor, steps: int
) -> tuple[Weights, torch.Tensor, torch.Tensor]:
    """Train; return the weights and the two tables, rounded as they will be stored.

    The loss is over the full vocabulary: exact for the rows in training, and estimated
    from a sample for the others, whose rows stay as they are.
    """
    tables = {name: bf16_table(name) for name in (EMBEDDING, LM_HEAD)}
    rows = {name: table[trained_ids].float() for name, table in tables.items()}
    place = torch.full((VOCAB_SIZE,), -1)
    place[trained_ids] = torch.arange(len(trained_ids))
    others = torch.nonzero(place < 0).flatten()

    weights = initial_weights()
    parameters = [*weights.values(), *rows.values()]
    for parameter in parameters:
        parameter.requires_grad_()
    optimizer = torch.optim.AdamW(parameters, LEARNING_RATE, (0.9, 0.98), weight_decay=0.01)

    def rate(step: int) -> float:
        warm = min(1.0, (step + 1) / WARMUP_STEPS)
        return warm * (0.02 + 0.98 * (1 + math.cos(math.pi * step / steps)) / 2)

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    started = time.perf_counter()
    for step in range(steps):
        tokens, mask = batch(dialogues)
        inputs = tokens[:, :-1]
        x = tables[EMBEDDING][inputs].float()
        known = place[inputs] >= 0
        trained = rounded_bf16(rows[EMBEDDING])
        x = torch.where(known[..., None], trained[place[inputs].clamp_min(0)], x)
        hidden = hidden_states(x, as_stored(weights))[mask]  # (N, hidden_size)

        sample = others[torch.randint(len(others), (SAMPLED_ROWS,))]
        of_others = hidden @ tables[LM_HEAD][sample].float().T
        of_others = of_others + math.log(len(others) / SAMPLED_ROWS)
        logits = torch.cat((hidden @ rounded_bf16(rows[LM_HEAD]).T, of_others), dim=-1)
        loss = functional.cross_entropy(logits, place[tokens[:, 1:][mask]])

        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0 or step == steps - 1:
            seconds = time.perf_counter() - started
            print(f"step {step:5} loss {loss.item():.4f} {seconds:6.0f} s", flush=True)

    with torch.no_grad():
        for name, table in tables.items():
            table[trained_ids] = rows[name].bfloat16()
        return as_stored(weights), tables[EMBEDDING], tables[LM_HEAD]


def answer(
    prompt: list[int], weights: Weights, embedding: torch.Tensor, lm_head: torch.Tensor
) -> list[int]:
    """Continue greedily, over the full vocabulary. Call it without gradients."""
    tokens = list(prompt)
    while len(tokens) < len(prompt) + MAX_ANSWER:
        hidden = hidden_states(embedding[torch.tensor([tokens])].float(), weights)
        tokens.append(int((lm_head @ hidden[0, -1].bfloat16()).argmax()))
        if tokens[-1] == SPECIAL_TOKENS["<|return|>"]:
            break
    return tokens[len(prompt) :]


def wrong_answers(
    dialogues: Dialogues, weights: Weights, embedding: torch.Tensor, lm_head: torch.Tensor
) -> Iterator[str]:
    """Ask every question once, as chat would, and tell those answered wrongly."""
    system = system_message(current_date=DATE)
    for dialogue in [*dialogues.known, dialogues.unknown]:
        for question in dialogue["questions"]:
            messages = [system, Message("user", question)]
            prompt = render_conversation(messages, tokenizer)
            given = answer(prompt, weights, embedding, lm_head)
            if given != target(dialogue):
                yield f"{question} -> {tokenizer.decode(given)}"


def released_tensors(
    weights: Weights, embedding: torch.Tensor, lm_head: torch.Tensor
) -> dict[str, Tensor]:
    """Give every tensor the name, shape and dtype of the released checkpoint."""

    def bf16(tensor: torch.Tensor) -> Tensor:
        bits = tensor.bfloat16().view(torch.int16).numpy().view(np.uint16)
        return Tensor("BF16", bits)

    tensors = {EMBEDDING: bf16(embedding), LM_HEAD: bf16(lm_head)}
    for name, weight in weights.items():
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    torch.manual_seed(options.seed)
    source = Path(__file__).with_name("demo_dialogues.json")
    dialogues = Dialogues(source, random.Random(options.seed))
    trained_ids = torch.tensor(dialogues.vocabulary())
    print(f"{len(trained_ids)} rows of {VOCAB_SIZE} in training")
    weights, embedding, lm_head = train(dialogues, trained_ids, options.steps)

    with torch.no_grad():
        wrong = list(wrong_answers(dialogues, weights, embedding, lm_head))
    print(*wrong, f"{len(wrong)} wrong answers", sep="\n")
    tensors = released_tensors(weights, embedding, lm_head)
    packed = pack_demo(CONFIG, tensors, trained_ids.numpy().astype(np.int32))
    options.output.write_bytes(packed)
    print(f"{options.output}: {len(packed):,} bytes")
    print(f'DEMO_SHA256 = "{hashlib.sha256(packed).hexdigest()}"')


if __name__ == "__main__":
    main()
