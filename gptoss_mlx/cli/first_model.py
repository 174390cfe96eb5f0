"""What to open where no model is named."""

from __future__ import annotations

import typer

__all__ = ["choose_model"]


def choose_model() -> str | None:
    """Offer the download to somebody at a terminal who has no model yet.

    Returns:
        What to load: None for the best model that is here, or else ``demo``.
    """
    from gptoss_mlx.runner.model_choice import DEMO, best_model
    from gptoss_mlx.runner.offer import make_offer, may_have_network

    model, _ = best_model()
    if model is not None or not _at_terminal() or not may_have_network():
        return None
    offer = make_offer()
    for line in offer.lines:
        typer.echo(line, err=True)
    if offer.size is None:
        return None
    typer.echo("The demo model is here at once: a miniature that knows a little.", err=True)
    question = f"Download gpt-oss-{offer.size} now ({offer.nbytes / 1e9:.1f} GB)?"
    if not typer.confirm(question, default=False, err=True):
        return DEMO
    from gptoss_mlx.cli.download import download_and_convert
    from gptoss_mlx.convert.recipes import DEFAULT_RECIPE

    return download_and_convert(offer.size, DEFAULT_RECIPE)


def _at_terminal() -> bool:
    import sys

    return sys.stdin.isatty() and sys.stderr.isatty()
