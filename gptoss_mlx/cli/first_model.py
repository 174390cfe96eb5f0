"""What to open where no model is named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from gptoss_mlx.cli.output import say

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gptoss_mlx.device import Machine
    from gptoss_mlx.model.footprint import Footprint

__all__ = ["Offer", "can_offer", "choose_model", "make_offer", "may_have_network"]


@dataclass(frozen=True, slots=True)
class Offer:
    """A model to download, and why.

    Attributes:
        size: ``20b`` or ``120b``; None if neither fits.
        lines: What to tell the user, without the question.
        nbytes: To download.
    """

    size: str | None
    lines: tuple[str, ...]
    nbytes: int


def choose_model(
    machine: Machine, download: Callable[[str, str], Path], *, may_offer: bool
) -> str | Path:
    """Choose the best model that is here; without one, offer the download.

    Args:
        machine: Where it is to run.
        download: Called with a size and a recipe, and gives the model's folder.
        may_offer: Whether there is somebody to ask, and perhaps a network.

    Returns:
        What to load: a model's folder, or ``demo``.
    """
    from gptoss_mlx.convert.recipes import DEFAULT_RECIPE
    from gptoss_mlx.demo.folder import DEMO
    from gptoss_mlx.model_choice import best_model

    model, reason = best_model(machine)
    if model is not None:
        return model.path
    offer = make_offer(machine) if may_offer else None
    for line in offer.lines if offer else ():
        say(line)
    if offer is None or offer.size is None:
        say(reason)
        return DEMO
    say("The demo model is here at once: a miniature that knows a little.")
    question = f"Download gpt-oss-{offer.size} now ({offer.nbytes / 1e9:.1f} GB)?"
    if not typer.confirm(question, default=False, err=True):
        return DEMO
    return download(offer.size, DEFAULT_RECIPE)


def make_offer(machine: Machine) -> Offer:
    """Say what fits a machine, the larger model first."""
    from gptoss_mlx.convert.recipes import DEFAULT_RECIPE
    from gptoss_mlx.model_choice import plan_for
    from gptoss_mlx.sharing.releases import RELEASES

    lines = [
        f"{machine.device} has {machine.memory_bytes / 1e9:.1f} GB, of which a program may "
        f"use {machine.limit_bytes / 1e9:.1f} GB. No gpt-oss model is here yet."
    ]
    best = None
    for size in sorted(RELEASES):  # 120b before 20b
        plan = plan_for(size, DEFAULT_RECIPE, machine)
        lines.append(_line(size, plan, machine))
        if plan.fits and best is None:
            best = size
    return Offer(best, tuple(lines), RELEASES[best].nbytes if best else 0)


def can_offer() -> bool:
    """Tell whether somebody is at the terminal, and there may be a network."""
    import sys

    return sys.stdin.isatty() and sys.stderr.isatty() and may_have_network()


def may_have_network() -> bool:
    """Tell whether there can be a network, without asking one.

    A machine with no interface but its own loopback has none; nor does one that was told
    to stay offline.
    """
    import os
    import socket

    if os.environ.get("HF_HUB_OFFLINE", "0").lower() not in ("", "0", "false", "no", "off"):
        return False
    return any(not name.startswith("lo") for _, name in socket.if_nameindex())


def _line(size: str, plan: Footprint, machine: Machine) -> str:
    from gptoss_mlx.model.memory import raised_limit_mb
    from gptoss_mlx.model_choice import CONTEXT_TOKENS

    needs = (
        f"gpt-oss-{size} needs {plan.total_bytes / 1e9:.1f} GB "
        f"with {CONTEXT_TOKENS:,} tokens of conversation"
    )
    if plan.fits:
        return f"{needs}: it fits, with up to {plan.longest_context_tokens:,} tokens."
    mb = raised_limit_mb(machine, plan.total_bytes)
    if mb is None:
        return f"{needs}: it does not fit."
    return (
        f"{needs}: it fits if you let a program use more, until the next restart: "
        f"sudo sysctl iogpu.wired_limit_mb={mb}"
    )
