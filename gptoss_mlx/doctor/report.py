"""What doctor has found, as JSON, as Markdown for an issue, and for people."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from gptoss_mlx.doctor.inspection import Inspection
from gptoss_mlx.doctor.selftest import LogitsCheck

__all__ = ["Report", "TourAnswer"]


@dataclass(frozen=True, slots=True)
class TourAnswer:
    """One question of the tour.

    Attributes:
        passed: Whether the answer is the one that the demo model was trained to give.
    """

    question: str
    answer: str
    passed: bool


@dataclass(frozen=True, slots=True)
class Report:
    """All that doctor has found.

    Attributes:
        peak_bytes: The most memory that MLX used meanwhile.
        tokens_per_s: Decoded by the demo model.
    """

    inspection: Inspection
    logits: tuple[LogitsCheck, ...]
    tour: tuple[TourAnswer, ...]
    peak_bytes: int
    tokens_per_s: float

    @property
    def passed(self) -> bool:
        """Whether everything is as it must be."""
        checks: tuple[LogitsCheck | TourAnswer, ...] = (*self.logits, *self.tour)
        return all(check.passed for check in checks)

    def json(self) -> dict[str, Any]:
        """Return everything, for a program."""
        return {"passed": self.passed, **asdict(self)}

    def markdown(self) -> str:
        """Return a table to paste into an issue."""
        lines = ["| gptoss-mlx doctor | |", "|---|---|"]
        lines += [f"| {name} | {_cell(value)} |" for name, value in self.rows()]
        return "\n".join(lines)

    def text(self) -> str:
        """Return lines for people."""
        rows = list(self.rows())
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name.ljust(width)}  {value}" for name, value in rows)

    def rows(self) -> Iterator[tuple[str, str]]:
        """Give what was found in the order in which it is read."""
        found = self.inspection
        m = found.machine
        yield "gptoss-mlx", f"{found.version}, Python {found.python}, {found.system}"
        yield "device", f"{m.device} ({m.kind}), computes in {m.dtype}"
        yield (
            "memory",
            f"{m.memory_bytes / 1e9:.1f} GB, "
            f"of which a program may use {m.limit_bytes / 1e9:.1f} GB",
        )
        yield "disk", f"{found.free_bytes / 1e9:.1f} GB free at {found.home}"
        yield (
            "packages",
            ", ".join(
                f"{name} {which or 'absent'}" for name, which in found.versions.items()
            ),
        )
        states = [f"{name} ({state})" for name, state in found.models.items()]
        yield "models", ", ".join(states) or "none yet"
        for check in self.logits:
            yield (
                f"logits, {check.dtype}",
                f"{_mark(check.passed)}: {check.difference:.1e} from OpenAI's reference, "
                f"at most {check.bound:.0e}; same choice at {check.same_choice} "
                f"of {check.positions}",
            )
        for i, turn in enumerate(self.tour, start=1):
            yield (
                f"tour {i}",
                f"{_mark(turn.passed)}: {turn.question} → {_line(turn.answer)}",
            )
        yield (
            "demo model",
            f"{self.tokens_per_s:.0f} tokens/s, peak {self.peak_bytes / 1e9:.2f} GB",
        )
        yield "verdict", "all is right" if self.passed else "something is wrong"


def _mark(passed: bool) -> str:
    return "ok" if passed else "WRONG"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _line(text: str) -> str:
    return " ".join(text.split())
