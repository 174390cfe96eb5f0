"""The plans of models as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from gptoss_mlx.device import Machine
from gptoss_mlx.fit.plan import ModelFit, estimated_tokens_per_s
from gptoss_mlx.fit.speed import SpeedFigures
from gptoss_mlx.model.footprint import held_bytes
from gptoss_mlx.model.plan import Plan

__all__ = ["fit_json"]


def fit_json(
    fits: Sequence[ModelFit], machine: Machine, *, limit_is_assumed: bool
) -> dict[str, Any]:
    """Return the plans as JSON's types. Sizes are in bytes, contexts in tokens.

    Args:
        fits: The plans, at least one.
        machine: The machine.
        limit_is_assumed: Whether its limit was neither read nor named.
    """
    return {
        "machine": {
            "device": machine.device,
            "kind": machine.kind,
            "dtype": machine.dtype,
            "memory_bytes": machine.memory_bytes,
            "limit_bytes": machine.limit_bytes,
            "limit_is_assumed": limit_is_assumed,
        },
        "estimates": asdict(fits[0].figures),
        "models": [
            {
                "model": fit.name,
                "recipes": [
                    {
                        "recipe": recipe.recipe,
                        "weights": {
                            **asdict(recipe.plans[0].footprint.weights),
                            "total_bytes": recipe.plans[0].footprint.weights_bytes,
                        },
                        "contexts": [
                            _plan_json(plan, fit.figures) for plan in recipe.plans
                        ],
                    }
                    for recipe in fit.recipes
                ],
            }
            for fit in fits
        ],
    }


def _plan_json(plan: Plan, figures: SpeedFigures) -> dict[str, Any]:
    footprint = plan.footprint
    streams = plan.streams and plan.slots > 0
    held = held_bytes(plan.config, footprint.context_tokens, plan.machine.value_bytes)
    speed = estimated_tokens_per_s(plan, figures)
    settings = plan.settings_at(footprint.context_tokens)
    return {
        "context_tokens": footprint.context_tokens,
        "verdict": plan.verdict,
        "wired_limit_mb": plan.raised_mb,
        "resident_experts": plan.slots,
        "resident_fraction": round(plan.resident_fraction, 4),
        "streamed_tokens_per_s": None if speed is None else round(speed, 2),
        "streamed_total_bytes": plan.needed_bytes(footprint.context_tokens)
        if streams
        else None,
        "longest_context_tokens_streamed": plan.longest_context_tokens if streams else None,
        "longest_context_tokens_whole": footprint.longest_context_tokens,
        "chunk_tokens": settings.chunk_tokens,
        "keys_values_bytes": held,
        "room_and_snapshots_bytes": footprint.cache_bytes - held,
        "transient_bytes": footprint.transient_bytes,
        "freed_bytes": footprint.freed_bytes,
        "program_bytes": footprint.program_bytes,
        "total_bytes": footprint.total_bytes,
    }
