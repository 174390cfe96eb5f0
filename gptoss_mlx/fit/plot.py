"""Draws the memory of models as bars beside the limit of a machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gptoss_mlx.errors import PlotError, storage_errors
from gptoss_mlx.files import short
from gptoss_mlx.fit.plan import ModelFit, RecipeFit
from gptoss_mlx.fit.table import verdict_text
from gptoss_mlx.model.memory import settings_for, working_bytes

if TYPE_CHECKING:
    from types import ModuleType

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation

__all__ = ["SUFFIXES", "save_plot"]

SUFFIXES = (".png", ".svg")

WIDTH_IN, ROW_IN, MARGIN_IN = 9.0, 0.62, 1.75

# Told apart also without colours: dark to light.
PARTS = (
    ("experts", "#1f3b5c"),
    ("attention", "#2f6c9e"),
    ("lm_head", "#4f9ac4"),
    ("embedding", "#8fc3dd"),
    ("routers, norms, biases", "#c3dfec"),
    ("computing, at least", "#9aa0a6"),
)
FIRST_CONTEXT, LAST_CONTEXT = (0.93, 0.55, 0.23), (0.99, 0.90, 0.76)
LIMIT, INK = "#b3261e", "#333333"

# The limit's label goes to its left side if the limit lies further right than this.
LABEL_TURN = 0.65

# Points between what a label is about and its text, and besides its text in all.
LABEL_GAP_PT, LABEL_ROOM_PT = 6, 12

# The least share of a panel's width for the longest bar.
LEAST_BARS = 0.2


def save_plot(fits: Sequence[ModelFit], path: Path) -> None:
    """Draw a figure with a panel for each model, and save it.

    Each recipe is a bar: the parts of the weights, then the least for computing, then the
    keys and values of each context on top of those of the shorter ones. So a context fits
    if its end is left of the limit.

    Args:
        fits: The plans, at least one.
        path: A file whose name ends in one of ``SUFFIXES``. It is replaced.

    Raises:
        PlotError: matplotlib is not installed, or broken.
        StorageError: The file cannot be written.
    """
    matplotlib, Figure = _matplotlib(path)
    rows = [len(fit.recipes) + 1 for fit in fits]
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # whatever the user's matplotlibrc says
        matplotlib.rcParams.update({"font.size": 10, "svg.hashsalt": "gptoss-mlx"})
        figure = Figure(
            figsize=(WIDTH_IN, ROW_IN * sum(rows) + MARGIN_IN), layout="constrained"
        )
        panels = figure.subplots(
            len(fits), 1, squeeze=False, gridspec_kw={"height_ratios": rows}
        )
        labels = [_draw(panel, fit) for panel, fit in zip(panels[:, 0], fits, strict=True)]
        handles, names = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=4, frameon=False)
        figure.draw_without_rendering()  # lays it out, so that texts have a width
        for panel, fit, texts in zip(panels[:, 0], fits, labels, strict=True):
            _widen(panel, fit, texts)
        with storage_errors(path):
            metadata = {"Date": None} if path.suffix.lower() == ".svg" else None
            figure.savefig(path, dpi=150, metadata=metadata)


def _matplotlib(path: Path) -> tuple[ModuleType, type[Figure]]:
    """Import matplotlib and its Figure.

    Raises:
        PlotError: It is not installed, or broken.
    """
    # Only windows need a backend, and an unknown one lets the import fail.
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PlotError(
            f"To draw {path.name}, matplotlib must be installed but is not."
        ) from error
    except Exception as error:  # whatever the installed version does
        raise PlotError(
            f"To draw {path.name}, matplotlib must work but fails: {short(str(error))}.",
            hint="Install it again: pip install --force-reinstall matplotlib",
        ) from error
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    return matplotlib, Figure


def _draw(panel: Axes, fit: ModelFit) -> list[Annotation]:
    """Draw a model's bars; return their labels."""
    machine = fit.machine
    ends = [
        _bar(panel, place, fit, recipe, labelled=place == 0)
        for place, recipe in enumerate(fit.recipes)
    ]
    labels = [
        panel.annotate(
            f"{_tokens(fit.contexts[0])}: {verdict_text(recipe.plans[0], fit.figures)}",
            (end, place),
            xytext=(LABEL_GAP_PT, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=INK,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
        )
        for place, (end, recipe) in enumerate(zip(ends, fit.recipes, strict=True))
    ]
    for label in labels:
        label.set_in_layout(False)  # a bar is not shortened to make room for it
    panel.axvline(machine.limit_bytes / 1e9, color=LIMIT, linewidth=1.6)
    panel.set_ylim(len(fit.recipes) - 0.5, -1.05)
    panel.set_yticks(range(len(fit.recipes)), [recipe.recipe for recipe in fit.recipes])
    memory = machine.memory_bytes / 1e9
    panel.set_title(
        f"{fit.name} on {machine.device}, {memory:.1f} GB", loc="left", fontsize=11
    )
    panel.set_xlabel("GB")
    panel.tick_params(axis="y", length=0)
    panel.spines[["top", "right", "left"]].set_visible(False)
    panel.grid(axis="x", color="#e6e6e6", linewidth=0.8)
    panel.set_axisbelow(True)
    return labels


def _widen(panel: Axes, fit: ModelFit, labels: Sequence[Annotation]) -> None:
    """Make room for the labels on the right, and name the limit on its roomy side."""
    limit = fit.machine.limit_bytes / 1e9
    most = 1.05 * limit
    width = panel.get_window_extent().width
    for label in labels:
        end, _ = label.xy
        beside = label.get_window_extent().width + LABEL_ROOM_PT * panel.figure.dpi / 72
        most = max(most, end / max(1 - beside / width, LEAST_BARS))
    panel.set_xlim(0, most)
    turned = limit > LABEL_TURN * most
    panel.annotate(
        f"a program may use {limit:.1f} GB",
        (limit, -0.72),
        xytext=(-LABEL_GAP_PT if turned else LABEL_GAP_PT, 0),
        textcoords="offset points",
        color=LIMIT,
        ha="right" if turned else "left",
        va="center",
        fontsize=9,
    )


def _bar(
    panel: Axes, place: int, fit: ModelFit, recipe: RecipeFit, *, labelled: bool
) -> float:
    """Draw the bar of a recipe; return where it ends, in GB."""
    weights = recipe.plans[0].footprint.weights
    *_, least = settings_for(fit.machine)
    computing = [
        working_bytes(fit.config, fit.machine, least, context_tokens=context)
        for context in fit.contexts
    ]
    shades = (number / max(len(fit.contexts) - 1, 1) for number in range(len(fit.contexts)))
    segments = [
        (name, colour, nbytes)
        for (name, colour), nbytes in zip(
            PARTS,
            (
                weights.experts_bytes,
                weights.attention_bytes,
                weights.lm_head_bytes,
                weights.embedding_bytes,
                weights.expert_biases_bytes + weights.other_bytes,
                computing[0],
            ),
            strict=True,
        )
    ]
    before = computing[0]
    for context, plan, needed, shade in zip(
        fit.contexts, recipe.plans, computing, shades, strict=True
    ):
        end = needed + plan.footprint.cache_bytes
        segments.append((_tokens(context), _between(shade), end - before))
        before = end
    left = 0.0
    for name, colour, nbytes in segments:
        width = nbytes / 1e9
        label = name if labelled else None
        panel.barh(place, width, left=left, height=0.6, color=colour, label=label)
        left += width
    return left


def _tokens(count: int) -> str:
    return "1 token" if count == 1 else f"{count:,} tokens"


def _between(share: float) -> str:
    """Return a colour between those of the first and the last context."""
    rgb = (a + (b - a) * share for a, b in zip(FIRST_CONTEXT, LAST_CONTEXT, strict=True))
    return "#" + "".join(f"{round(255 * value):02x}" for value in rgb)
