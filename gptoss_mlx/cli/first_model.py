"""Chooses a model if none is named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import typer

from gptoss_mlx.cli.output import say
from gptoss_mlx.errors import GptOssError, StorageError, storage_errors

if TYPE_CHECKING:
    from pathlib import Path

    from gptoss_mlx.device import Machine
    from gptoss_mlx.model.plan import Plan

__all__ = ["Choice", "Offer", "can_offer", "choose_model", "make_offer", "may_have_network"]


# Seconds that a user waits for a chat to begin.
PATIENCE_S = 4.0


class Download(Protocol):
    """Downloads a model and converts it; returns its folder."""

    def __call__(self, model: str, recipe: str | None, *, patience_s: float) -> Path: ...


# This file records that the user has declined.
DECLINED = "no-download-offer"


@dataclass(frozen=True, slots=True)
class Choice:
    """The model to load, and a question that was already typed.

    Attributes:
        model: A model's folder, or ``demo``.
        question: The text typed in place of yes or no, or None.
    """

    model: str | Path
    question: str | None = None


@dataclass(frozen=True, slots=True)
class Offer:
    """A model to download, and the reasons.

    Attributes:
        size: ``20b`` or ``120b``; None if neither runs.
        lines: Lines to print, without the question.
        nbytes: Size of the download.
    """

    size: str | None
    lines: tuple[str, ...]
    nbytes: int


def choose_model(machine: Machine, download: Download, *, may_offer: bool) -> Choice:
    """Choose the best stored model; without one, offer the download.

    Args:
        machine: The machine to run on.
        download: Called if the user agrees. If it fails, the demo model opens.
        may_offer: Whether there is a user to ask, and perhaps a network. A user who has
            declined is not asked again.
    """
    from gptoss_mlx.demo.folder import DEMO
    from gptoss_mlx.files import has_file
    from gptoss_mlx.home import home
    from gptoss_mlx.model_choice import best_model

    model, reason = best_model(machine)
    if model is not None:
        return Choice(model.path)
    declined = home() / DECLINED
    offer = make_offer(machine) if may_offer and not has_file(declined) else None
    for line in offer.lines if offer else ():
        say(line)
    if offer is None or offer.size is None:
        say(reason)
        return Choice(DEMO)
    say("Until then the built-in demo model answers.")
    wanted = f"Download gpt-oss-{offer.size} now ({offer.nbytes / 1e9:.1f} GB)? [y/N]"
    answer = typer.prompt(wanted, default="", show_default=False, err=True).strip()
    match answer.lower().rstrip(".!"):
        case "y" | "yes":
            return Choice(_downloaded(download, offer.size))
        case "" | "n" | "no":
            _remember_no(declined, offer.size)
            return Choice(DEMO)
        case _:
            return Choice(DEMO, question=answer)


def _downloaded(download: Download, size: str) -> str | Path:
    """Download a model; return the demo model if that fails."""
    from gptoss_mlx.demo.folder import DEMO

    try:
        return download(size, None, patience_s=PATIENCE_S)
    except GptOssError as error:
        hint = error.hint.rstrip(".")
        say(f"{error} {hint}. Using the built-in demo model.")
        return DEMO


def _remember_no(declined: Path, size: str) -> None:
    """Record that the user declined, and print how to download later."""
    say(f"To download it later: gptoss-mlx download {size}")
    try:
        with storage_errors(declined):
            declined.parent.mkdir(parents=True, exist_ok=True)
            declined.touch()
    except StorageError as error:
        say(f"You will be asked again: {error}")
    else:
        say(f"To be asked again, remove {declined}.")


def make_offer(machine: Machine) -> Offer:
    """Offer the largest model that fits a machine, or else the smallest that runs there."""
    from gptoss_mlx.fit.recipe import recipe_for
    from gptoss_mlx.model.plan import best_place
    from gptoss_mlx.model_choice import plan_for
    from gptoss_mlx.sharing.releases import RELEASES

    lines = [
        f"{machine.device} has {machine.memory_bytes / 1e9:.1f} GB, of which a program may "
        f"use {machine.limit_bytes / 1e9:.1f} GB. No gpt-oss model is downloaded yet."
    ]
    sizes = sorted(RELEASES)  # 120b before 20b
    plans = [plan_for(size, recipe_for(size, machine)[0], machine) for size in sizes]
    lines += [_line(size, plan) for size, plan in zip(sizes, plans, strict=True)]
    place = best_place(plans)
    if place is None:
        return Offer(None, tuple(lines), 0)
    return Offer(sizes[place], tuple(lines), RELEASES[sizes[place]].nbytes)


def can_offer() -> bool:
    """Whether a user is at the terminal, and there may be a network."""
    import sys

    return sys.stdin.isatty() and sys.stderr.isatty() and may_have_network()


def may_have_network() -> bool:
    """Whether there can be a network, without using it.

    There is none if the loopback is the only interface, or in huggingface_hub's
    offline mode.
    """
    import os
    import socket

    if os.environ.get("HF_HUB_OFFLINE", "0").lower() not in ("", "0", "false", "no", "off"):
        return False
    return any(not name.startswith("lo") for _, name in socket.if_nameindex())


def _line(size: str, plan: Plan) -> str:
    """Say how a model runs, in a line."""
    from gptoss_mlx.fit.plan import estimated_tokens_per_s

    footprint = plan.footprint
    needs = (
        f"gpt-oss-{size} needs {footprint.total_bytes / 1e9:.1f} GB "
        f"with {footprint.context_tokens:,} tokens of conversation"
    )
    if plan.fits:
        return f"{needs}: it fits, with up to {footprint.longest_context_tokens:,} tokens."
    speed = estimated_tokens_per_s(plan)
    if speed is None:
        return f"{needs}: it does not fit."
    line = (
        f"{needs}: it runs with {100 * plan.resident_fraction:.0f} % of its experts in "
        f"memory, at about {speed:.2g} tokens/s."
    )
    if plan.raised_mb is not None:
        line += (
            " All fit if you raise a program's limit, until the next restart: "
            f"sudo sysctl iogpu.wired_limit_mb={plan.raised_mb}"
        )
    return line
