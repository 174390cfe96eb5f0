"""All that doctor looks at, in order."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx

from gptoss_mlx.conversation.usage import Usage
from gptoss_mlx.demo.folder import open_demo
from gptoss_mlx.demo.questions import TOUR
from gptoss_mlx.device import compute_dtype
from gptoss_mlx.doctor.inspection import inspect_machine
from gptoss_mlx.doctor.report import Report, TourAnswer
from gptoss_mlx.doctor.selftest import check_logits
from gptoss_mlx.llm import load

__all__ = ["examine"]


def examine(say: Callable[[str], None]) -> Report:
    """Look at the machine, and run the demo model on its own device.

    Args:
        say: Hears a line about anything that takes over a second.

    Raises:
        GptOssError: The demo model cannot be unpacked or loaded.
    """
    checkpoint = open_demo(say)
    mx.reset_peak_memory()
    # float32 shows what is right; the type that the device computes in shows that it runs.
    dtypes = dict.fromkeys((mx.float32, compute_dtype()))
    logits = tuple(check_logits(checkpoint, dtype) for dtype in dtypes)
    tour: list[TourAnswer] = []
    spent: list[Usage] = []
    llm = load(checkpoint.folder)
    for question in TOUR:
        answer = llm.ask(question.question)
        passed = question.expected in answer.text
        tour.append(TourAnswer(question.question, answer.text, passed))
        spent.append(answer.usage)
    seconds = sum(usage.decode_s for usage in spent)
    return Report(
        inspection=inspect_machine(),
        logits=logits,
        tour=tuple(tour),
        peak_bytes=mx.get_peak_memory(),
        tokens_per_s=sum(usage.later_tokens for usage in spent) / seconds,
    )
