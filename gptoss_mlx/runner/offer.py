"""What this machine can hold, for somebody who has no model yet."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

from gptoss_mlx.convert.recipes import DEFAULT_RECIPE
from gptoss_mlx.memory.device import device_name, memory_bytes, memory_limit_bytes
from gptoss_mlx.memory.plan import Plan
from gptoss_mlx.runner.model_choice import CONTEXT_TOKENS, plan_for
from gptoss_mlx.sharing.releases import RELEASES

__all__ = ["Offer", "make_offer", "may_have_network"]


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


def make_offer() -> Offer:
    """Say what fits this machine, the larger model first."""
    lines = [
        f"{device_name()} has {memory_bytes() / 1e9:.1f} GB, of which a program may use "
        f"{memory_limit_bytes() / 1e9:.1f} GB. No gpt-oss model is here yet."
    ]
    best = None
    for size in sorted(RELEASES):  # 120b before 20b
        plan = plan_for(size, DEFAULT_RECIPE)
        lines.append(_line(size, plan))
        if plan.fits and best is None:
            best = size
    return Offer(best, tuple(lines), RELEASES[best].nbytes if best else 0)


def may_have_network() -> bool:
    """Tell whether there can be a network, without asking one.

    A machine with no interface but its own loopback has none; nor does one that was told
    to stay offline.
    """
    if os.environ.get("HF_HUB_OFFLINE", "0").lower() not in ("", "0", "false", "no", "off"):
        return False
    return any(not name.startswith("lo") for _, name in socket.if_nameindex())


def _line(size: str, plan: Plan) -> str:
    needs = (
        f"gpt-oss-{size} needs {plan.total_bytes / 1e9:.1f} GB "
        f"with {CONTEXT_TOKENS:,} tokens of conversation"
    )
    if not plan.fits:
        return f"{needs}: it does not fit."
    return f"{needs}: it fits, with up to {plan.longest_context_tokens:,} tokens."
