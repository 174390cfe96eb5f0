"""Two stages of training, and the questions that are answered wrongly at their end."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from architecture import HIDDEN, TOPIC_DIMS
from batches import BEGIN, DATE, Batch, Batches, Ids, pad, tokenizer, trained_tokens
from initialization import initial_weights, topic_coordinates
from muon import Muon
from network import Weights, rms_norm, streams
from quantization import as_stored, bf16_table, is_expert, rounded_bf16
from questions import Questions
from torch.nn import functional

from gptoss_mlx.demo.package import EMBEDDING, LM_HEAD
from gptoss_mlx.harmony.messages import Message, system_message
from gptoss_mlx.harmony.render import render_conversation
from gptoss_mlx.tokenizer import VOCAB_SIZE


@dataclass(frozen=True)
class Stage:
    """A part of the training.

    Attributes:
        with_tools: The share of batches whose system message describes tools.
        weight_decay: Of the matrices that write into the residual stream. It keeps the
            stream small.
        decay: The share, at the end, in which the rates go to 0.
        rate: Muon's; the others' are in proportion.
    """

    steps: int
    with_tools: float
    weight_decay: float
    decay: float
    rate: float = 0.02


STAGES = (
    Stage(steps=775, with_tools=0.14, weight_decay=0.15, decay=0.45),
    Stage(steps=1575, with_tools=0.12, weight_decay=0.05, decay=0.75, rate=0.012),
)

ADAM_RATE, ROWS_RATE = 0.15, 0.2
"""Of Adam, beside Muon's: for vectors, and for the rows of embedding and lm_head."""


def is_matrix(name: str) -> bool:
    """Tell whether Muon trains it: what multiplies the residual stream, but the router."""
    return is_expert(name) or name.endswith(
        ("q_proj.weight", "k_proj.weight", "v_proj.weight", "o_proj.weight")
    )


def is_reading(name: str) -> bool:
    """Tell whether a matrix only reads the residual stream, for attention."""
    return name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight"))


class Trainer:
    """Trains the weights, the rows, and two classifiers of topics that are thrown away."""

    def __init__(self, questions: Questions, seed: int) -> None:
        self.rng = random.Random(seed)
        self.batches = Batches(questions, self.rng)
        answers = (tokens for tokens, _ in self.batches.answers)
        self.trained = trained_tokens(questions, answers)
        ids = torch.tensor(self.trained)
        self.tables = {name: bf16_table(name) for name in (EMBEDDING, LM_HEAD)}
        self.rows = {name: table[ids].float() for name, table in self.tables.items()}
        self.place = torch.full((VOCAB_SIZE,), -1)
        self.place[ids] = torch.arange(len(ids))
        # Of the trained rows, those that answers are made of.
        spoken = {token for tokens, _ in self.batches.answers for token in tokens}
        self.spoken = self.place[torch.tensor(sorted(spoken))]
        self.spoken_place = torch.full((VOCAB_SIZE,), -1)
        self.spoken_place[ids[self.spoken]] = torch.arange(len(self.spoken))

        self.weights = initial_weights()
        coordinates, classifier = topic_coordinates(
            questions, self.rng, self.tables, self.place, self.rows[EMBEDDING]
        )
        self.rows[EMBEDDING][:, :TOPIC_DIMS] = coordinates
        topics = questions.unknown + 1
        early = torch.zeros(topics, HIDDEN)
        early[:, :TOPIC_DIMS] = classifier.weight.detach()
        self.classifiers = [
            early,
            classifier.bias.detach().clone(),
            torch.randn(topics, HIDDEN) * 0.02,
        ]
        self.losses = np.full(topics, 3.0)
        self.parameters = [*self.weights.values(), *self.rows.values(), *self.classifiers]
        for parameter in self.parameters:
            parameter.requires_grad_()

    def train(self, stage: Stage) -> None:
        """Go through a stage."""
        names = [name for name in self.weights if is_matrix(name)]
        others = [weight for name, weight in self.weights.items() if not is_matrix(name)]
        muon = Muon(
            [self.weights[name] for name in names],
            [0.05 if is_reading(name) else stage.weight_decay for name in names],
        )
        adam = torch.optim.AdamW(
            [
                {"params": [*others, *self.classifiers], "weight_decay": 0.0},
                {"params": list(self.rows.values()), "weight_decay": 0.01},
            ],
            betas=(0.9, 0.98),
        )
        began = time.perf_counter()
        for step in range(stage.steps):
            done = step / stage.steps if stage.decay else 0.0
            loss = self.loss(self.batches.draw(stage.with_tools), done)
            for parameter in self.parameters:
                parameter.grad = None
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
            rate = stage.rate * min(1.0, (step + 1) / 30)
            if stage.decay:
                rate *= min(1.0, (1 - done) / stage.decay)
            muon.step(rate)
            for group, ratio in zip(adam.param_groups, (ADAM_RATE, ROWS_RATE), strict=True):
                group["lr"] = rate * ratio
            adam.step()
            if step % 50 == 0 or step == stage.steps - 1:
                seconds = time.perf_counter() - began
                print(f"step {step:5} {loss.item():.4f} {seconds:6.0f} s", flush=True)

    def loss(self, batch: Batch, done: float) -> torch.Tensor:
        """Compute the loss of a batch; ``done`` is the share of the last stage.

        It is over the full vocabulary: exact for rows that may be meant, and estimated from
        a sample for the others.
        """
        last = done > 0.7
        weights = as_stored(self.weights, experts=done > 0.25, others=last)
        rows = {n: rounded_bf16(row) if last else row for n, row in self.rows.items()}
        after = streams(*self._embedded(batch, rows[EMBEDDING]), weights)
        hidden, middle = rms_norm(after[-1], weights["model.norm.weight"]), after[1]
        targets = torch.from_numpy(batch.targets.reshape(-1))
        asked = targets >= 0
        logits, places = self._logits(hidden[asked], rows[LM_HEAD], targets[asked])
        counts = torch.from_numpy(batch.weights.reshape(-1))[asked]
        losses = functional.cross_entropy(logits, places, reduction="none")
        loss = (losses * counts).sum() / counts.sum()
        self._weigh_topics(batch, (losses * counts).detach(), asked, counts)
        B, S = batch.tokens.shape
        starts = torch.arange(B) * S + torch.from_numpy(batch.starts)
        topics = torch.from_numpy(batch.topics)
        weight, bias, late = self.classifiers
        early = functional.linear(rms_norm(middle[starts], 1.0), weight, bias)
        of_topics = functional.cross_entropy(early, topics)
        of_topics = of_topics + functional.cross_entropy(
            hidden[starts + BEGIN - 3] @ late.T, topics
        )
        return loss + (0.3 if done < 0.6 else 0.09) * of_topics

    def _embedded(
        self, batch: Batch, rows: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Look prefix and tokens up, in the trained rows and the frozen ones."""

        def embedded(ids: Ids) -> torch.Tensor:
            tokens = torch.from_numpy(ids)
            place = self.place[tokens]
            known = (place >= 0)[..., None]
            frozen = self.tables[EMBEDDING][tokens].float()
            return torch.where(known, rows[place.clamp_min(0)], frozen)

        return embedded(batch.prefix), embedded(batch.tokens)

    def _logits(
        self, hidden: torch.Tensor, rows: torch.Tensor, targets: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute logits of some rows; return them, and which of them is meant."""
        sample = torch.randint(VOCAB_SIZE, (512,))
        sample = sample[self.spoken_place[sample] < 0]
        place = self.place[sample]
        frozen = self.tables[LM_HEAD][sample].float()
        others = torch.where((place >= 0)[:, None], rows[place.clamp_min(0)], frozen)
        estimate = math.log((VOCAB_SIZE - len(self.spoken)) / len(sample))
        logits = torch.cat(
            (hidden @ rows[self.spoken].T, hidden @ others.T + estimate), dim=-1
        )
        return logits, self.spoken_place[targets]

    def _weigh_topics(
        self, batch: Batch, losses: torch.Tensor, asked: torch.Tensor, counts: torch.Tensor
    ) -> None:
        """Draw topics the more often the worse they are known."""
        B, S = batch.tokens.shape
        row = torch.arange(B).repeat_interleave(S)[asked]
        sums = torch.zeros(B).index_add_(0, row, losses)
        means = sums / torch.zeros(B).index_add_(0, row, counts)
        for topic, mean in zip(batch.topics, means.tolist(), strict=True):
            self.losses[topic] += 0.2 * (mean - self.losses[topic])
        known = self.losses[:-1]
        weights = 0.3 + np.minimum(3.0, known / max(1e-3, known.mean()))
        self.batches.topic_weights[:] = weights.tolist()

    def finished(self) -> tuple[Weights, torch.Tensor, torch.Tensor]:
        """Return the weights and the two tables, rounded as they will be stored."""
        with torch.no_grad():
            ids = torch.tensor(self.trained)
            for name, table in self.tables.items():
                table[ids] = self.rows[name].bfloat16()
            weights = {
                name: weight.detach() for name, weight in as_stored(self.weights).items()
            }
            return weights, self.tables[EMBEDDING], self.tables[LM_HEAD]

    def wrong_answers(self) -> Iterator[str]:
        """Ask each topic's first questions, and tell those answered wrongly.

        An answer is right if each token of it is the likeliest: so it would be written.
        """
        with torch.no_grad():
            weights, embedding, lm_head = self.finished()
            system = [system_message(current_date=DATE)]
            prefix = render_conversation(system, tokenizer, next_role=None)
            questions = self.batches.questions
            for topic in range(questions.unknown + 1):
                asked = questions.answer(topic)["questions"][:8]
                prompts = [
                    render_conversation([Message("user", q)], tokenizer) for q in asked
                ]
                rows = [(prompt, *self.batches.answers[topic]) for prompt in prompts]
                batch = pad(prefix, rows, [topic] * len(rows))
                after = streams(
                    embedding[torch.from_numpy(batch.prefix)].float(),
                    embedding[torch.from_numpy(batch.tokens)].float(),
                    weights,
                )
                hidden = rms_norm(after[-1], weights["model.norm.weight"])
                targets = torch.from_numpy(batch.targets)
                best = (hidden @ lm_head.float().T).argmax(-1).view_as(targets)
                right = ((best == targets) | (targets < 0)).all(dim=1)
                yield from (
                    q for q, ok in zip(asked, right.tolist(), strict=True) if not ok
                )
