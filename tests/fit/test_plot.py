from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Annotation

from gptoss_mlx.config import RELEASED
from gptoss_mlx.convert.recipes import RECIPES
from gptoss_mlx.fit.machine import another_mac
from gptoss_mlx.fit.plan import Target, fit_model
from gptoss_mlx.fit.plot import save_plot

GIB = 1 << 30


def draw(
    monkeypatch: pytest.MonkeyPatch, path: Path, machine: tuple[int, float], *contexts: int
) -> Figure:
    """Draw both models for a Mac of so much memory and limit, in GiB; return the figure."""
    drawn: list[Figure] = []
    save = Figure.savefig

    def keep(figure: Figure, *arguments: Any, **options: Any) -> None:
        drawn.append(figure)
        save(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    gib, limit = machine
    mac = another_mac(gib * GIB, int(limit * GIB))
    packings = {name: recipe.packing for name, recipe in RECIPES.items()}
    targets = [Target(f"gpt-oss-{size}", RELEASED[size], packings) for size in RELEASED]
    save_plot([fit_model(one, mac, contexts) for one in targets], path / "a.png")
    return drawn[0]


@pytest.mark.parametrize("contexts", [(), (1,), (4_096,), (131_072,)])
@pytest.mark.parametrize("machine", [(8, 5.33), (16, 10.7), (64, 51.84), (192, 190.0)])
def test_labels_are_beside_their_bars_and_within_the_panel(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    machine: tuple[int, float],
    contexts: tuple[int, ...],
) -> None:
    """Whatever they say, their white ground covers no bar."""
    figure = draw(monkeypatch, tmp_path, machine, *contexts)
    figure.draw_without_rendering()

    for panel in figure.axes:
        inside = panel.get_window_extent()
        labels = [text for text in panel.texts if isinstance(text, Annotation)]
        assert len(labels) == len(RECIPES) + 1
        for label in labels:
            extent = label.get_window_extent()
            assert inside.x0 <= extent.x0 < extent.x1 <= inside.x1, label.get_text()
        for label in labels[:-1]:
            _, place = label.xy
            ends = [
                bar.get_window_extent().x1
                for bar in panel.patches
                if isinstance(bar, Rectangle)
                and abs(bar.get_y() + bar.get_height() / 2 - place) < 0.1
            ]
            ground = label.get_bbox_patch()
            assert ground is not None
            assert ground.get_window_extent().x0 > max(ends) + 1


def test_one_token_is_not_tokens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In the labels and in the legend."""
    figure = draw(monkeypatch, tmp_path, (16, 10.7), 1, 2)
    legend = [text.get_text() for text in figure.legends[0].get_texts()]

    assert legend[-2:] == ["1 token", "2 tokens"]
    assert figure.axes[0].texts[0].get_text().startswith("1 token: ")
