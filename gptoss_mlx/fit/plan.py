"""What a machine can run: the plan of each model, by each recipe, with each context."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gptoss_mlx.config import ModelConfig
from gptoss_mlx.device import Machine
from gptoss_mlx.errors import ContextError
from gptoss_mlx.fit.speed import SpeedFigures, figures_for, streamed_tokens_per_s
from gptoss_mlx.model.footprint import QuantizationOf
from gptoss_mlx.model.plan import Plan, plan_of

__all__ = [
    "CONTEXTS",
    "ModelFit",
    "RecipeFit",
    "Target",
    "estimated_tokens_per_s",
    "fit_model",
]

CONTEXTS = (4_096, 16_384, 32_768, 131_072)
"""The conversations that are planned if none is named, in tokens."""


@dataclass(frozen=True, slots=True)
class Target:
    """A model to plan for.

    Attributes:
        name: Its name as it is shown.
        config: Its shape.
        packings: How each recipe quantizes it, by the recipe's name.
    """

    name: str
    config: ModelConfig
    packings: Mapping[str, QuantizationOf]


@dataclass(frozen=True, slots=True)
class RecipeFit:
    """The plans of a model by one recipe.

    Attributes:
        recipe: The recipe's name.
        plans: One for each context, in order.
    """

    recipe: str
    plans: tuple[Plan, ...]


@dataclass(frozen=True, slots=True)
class ModelFit:
    """The plans of a model.

    Attributes:
        contexts: The conversations, in tokens.
        recipes: One for each recipe.
        figures: What the speeds are estimated with.
    """

    name: str
    config: ModelConfig
    machine: Machine
    contexts: tuple[int, ...]
    recipes: tuple[RecipeFit, ...]
    figures: SpeedFigures


def fit_model(
    target: Target,
    machine: Machine,
    contexts: Sequence[int] = (),
    figures: SpeedFigures | None = None,
) -> ModelFit:
    """Plan a model on a machine.

    Args:
        target: The model.
        machine: The machine.
        contexts: The conversations, in tokens. Empty: ``CONTEXTS``, as far as the model has
            them.
        figures: What to estimate the speeds with. None: the machine's.

    Raises:
        ContextError: The model has no context of that length.
    """
    most = target.config.max_position_embeddings
    for context in contexts:
        if context > most:
            raise ContextError(
                f"A conversation with {target.name} must have up to {most:,} tokens but "
                f"has {context:,}.",
                hint=f"gptoss-mlx fit --context {most}",
            )
    chosen = sorted(set(contexts)) or [one for one in CONTEXTS if one < most] + [most]
    return ModelFit(
        name=target.name,
        config=target.config,
        machine=machine,
        contexts=tuple(chosen),
        recipes=tuple(
            RecipeFit(
                recipe,
                tuple(
                    plan_of(target.config, packing, machine, context_tokens=context)
                    for context in chosen
                ),
            )
            for recipe, packing in target.packings.items()
        ),
        figures=figures or figures_for(machine.device),
    )


def estimated_tokens_per_s(plan: Plan, figures: SpeedFigures | None = None) -> float | None:
    """Estimate the tokens per second of a plan that streams; None if it has no room to.

    Args:
        plan: The plan.
        figures: What to estimate it with. None: the machine's.
    """
    if plan.fits or not plan.slots:
        return None
    return streamed_tokens_per_s(
        plan.config,
        plan.footprint.weights,
        plan.resident_fraction,
        figures or figures_for(plan.machine.device),
    )
