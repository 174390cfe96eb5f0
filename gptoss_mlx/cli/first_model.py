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
    from gptoss_mlx.model.footprint import Footprint

__all__ = ["Choice", "Offer", "can_offer", "choose_model", "make_offer", "may_have_network"]


# Seconds that a user waits for a chat to begin.
PATIENCE_S = 4.0


class Download(Protocol):
    """Downloads a model and converts it with a recipe; returns its folder."""

    def __call__(self, model: str, recipe: str, *, patience_s: float) -> Path: ...


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
        size: ``20b`` or ``120b``; None if neither fits.
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
    from gptoss_mlx.convert.recipes import DEFAULT_RECIPE
    from gptoss_mlx.demo.folder import DEMO
    from gptoss_mlx.files import has_file
    from gptoss_mlx.model_choice import best_model
    from gptoss_mlx.store import home

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
            return Choice(_downloaded(download, offer.size, DEFAULT_RECIPE))
        case "" | "n" | "no":
            _remember_no(declined, offer.size)
            return Choice(DEMO)
        case _:
            return Choice(DEMO, question=answer)


def _downloaded(download: Download, size: str, recipe: str) -> str | Path:
    """Download a model; return the demo model if that fails."""
    from gptoss_mlx.demo.folder import DEMO

    try:
        return download(size, recipe, patience_s=PATIENCE_S)
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
    """List which models fit a machine, the larger one first."""
    from gptoss_mlx.convert.recipes import DEFAULT_RECIPE
    from gptoss_mlx.model_choice import plan_for
    from gptoss_mlx.sharing.releases import RELEASES

    lines = [
        f"{machine.device} has {machine.memory_bytes / 1e9:.1f} GB, of which a program may "
        f"use {machine.limit_bytes / 1e9:.1f} GB. No gpt-oss model is downloaded yet."
    ]
    best = None
    for size in sorted(RELEASES):  # 120b before 20b
        plan = plan_for(size, DEFAULT_RECIPE, machine)
        lines.append(_line(size, plan, machine))
        if plan.fits and best is None:
            best = size
    return Offer(best, tuple(lines), RELEASES[best].nbytes if best else 0)


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
        f"{needs}: it fits if you raise a program's limit, until the next restart: "
        f"sudo sysctl iogpu.wired_limit_mb={mb}"
    )
