"""The results of doctor, as JSON, as Markdown for an issue, and as text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from gptoss_mlx.controls import escaped
from gptoss_mlx.doctor.inspection import Inspection
from gptoss_mlx.doctor.layer import LayerCheck
from gptoss_mlx.doctor.mac import Mac
from gptoss_mlx.doctor.prefill import PrefillCheck
from gptoss_mlx.doctor.rotation import BOUND, RotationCheck
from gptoss_mlx.doctor.selftest import LogitsCheck
from gptoss_mlx.doctor.speed import Speed

__all__ = ["Report", "TourAnswer"]


@dataclass(frozen=True, slots=True)
class TourAnswer:
    """One question of the tour.

    Attributes:
        passed: Whether the answer is the demo model's training text.
    """

    question: str
    answer: str
    passed: bool


Check = LogitsCheck | PrefillCheck | RotationCheck | LayerCheck | TourAnswer


@dataclass(frozen=True, slots=True)
class Report:
    """All results of doctor.

    Attributes:
        peak_bytes: The most memory that MLX used for the demo model.
        tokens_per_s: Decoding speed of the demo model.
        speed: Speed of the named model; None without one. It has no bound.
    """

    inspection: Inspection
    logits: tuple[LogitsCheck, ...]
    prefill: tuple[PrefillCheck, ...]
    rotation: tuple[RotationCheck, ...]
    layer: tuple[LayerCheck, ...]
    tour: tuple[TourAnswer, ...]
    peak_bytes: int
    tokens_per_s: float
    speed: Speed | None = None

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        checks: tuple[Check, ...] = (
            *self.logits,
            *self.prefill,
            *self.rotation,
            *self.layer,
            *self.tour,
        )
        return self.inspection.problem is None and all(check.passed for check in checks)

    def json(self) -> dict[str, Any]:
        """Return all results, for a program."""
        return {"passed": self.passed, **asdict(self)}

    def markdown(self) -> str:
        """Return a table to paste into an issue."""
        lines = ["| gptoss-mlx doctor | |", "|---|---|"]
        lines += [f"| {name} | {_cell(value)} |" for name, value in self.rows()]
        return "\n".join(lines)

    def rows(self) -> Iterator[tuple[str, str]]:
        """Yield the results in reading order."""
        for name, value in self._rows():
            yield escaped(name), escaped(value)

    def _rows(self) -> Iterator[tuple[str, str]]:
        yield from _machine_rows(self.inspection)
        for check in self.logits:
            yield (
                f"logits, {check.dtype}",
                f"{_mark(check.passed)}: {check.difference:.1e} from OpenAI's reference, "
                f"at most {check.bound:.0e}; same choice at {check.same_choice} "
                f"of {check.positions}",
            )
        for layer in self.layer:
            yield f"layer, {layer.dtype}, {layer.device}", _layer_text(layer)
        yield "rotation", _rotation_text(self.rotation)
        for pieces in self.prefill:
            yield f"{pieces.pieces}, {pieces.dtype}", _prefill_text(pieces)
        for i, turn in enumerate(self.tour, start=1):
            yield (
                f"tour {i}",
                f"{_mark(turn.passed)}: {turn.question} → {_line(turn.answer)}",
            )
        yield (
            "demo model",
            f"{self.tokens_per_s:.0f} tokens/s, peak {self.peak_bytes / 1e9:.2f} GB",
        )
        if self.speed is not None:
            yield from _speed_rows(self.speed)
        yield "verdict", "passed" if self.passed else "failed"


def _machine_rows(found: Inspection) -> Iterator[tuple[str, str]]:
    m = found.machine
    yield "gptoss-mlx", f"{found.version}, Python {found.python}, {found.system}"
    kind = f"{m.kind}, {m.architecture}" if m.kind == "gpu" and m.architecture else m.kind
    yield "device", f"{m.device} ({kind}), computes in {m.dtype}"
    yield (
        "memory",
        f"{m.memory_bytes / 1e9:.1f} GB, "
        f"of which a program may use {m.limit_bytes / 1e9:.1f} GB",
    )
    yield "disk", f"{found.free_bytes / 1e9:.1f} GB free at {found.home}"
    yield (
        "packages",
        ", ".join(f"{name} {which or 'absent'}" for name, which in found.versions.items()),
    )
    states = [f"{name} ({state})" for name, state in found.models.items()]
    yield "models", ", ".join(states) or "none yet"
    if found.problem is not None:
        yield "store", f"{_mark(False)}: {found.problem} Set GPTOSS_MLX_HOME to a folder."
    yield "wheels", ", ".join(f"{name} {tag}" for name, tag in found.wheels.items())
    buffers = found.buffers
    yield (
        "MLX's memory",
        f"{buffers.active_bytes / 1e9:.2f} GB in use, {buffers.cache_bytes / 1e9:.2f} GB "
        f"kept free, at most {buffers.cache_limit_bytes / 1e9:.2f} GB",
    )
    # The doctor command sets this variable itself.
    own = {"MLX_ENABLE_TF32": " (by doctor)"}
    variables = [f"{k}={value}{own.get(k, '')}" for k, value in found.environment.items()]
    yield "environment", ", ".join(variables) or "nothing set"
    if found.mac is not None:
        version = ".".join(map(str, m.macos)) or "of unknown version"
        yield f"macOS {version}", _mac_text(found.mac)
    for line in found.advice:
        yield "note", line


def _mac_text(mac: Mac) -> str:
    limit = "unknown" if mac.wired_limit_mb is None else str(mac.wired_limit_mb)
    return (
        f"thermal state {mac.thermal}, Low Power Mode {_switch(mac.low_power)}, "
        f"Rosetta {_switch(mac.rosetta)}, iogpu.wired_limit_mb {limit}"
    )


def _layer_text(check: LayerCheck) -> str:
    queries = ", ".join(str(n) for n in sorted({case.queries for case in check.cases}))
    keys = max(case.keys for case in check.cases)
    return (
        f"{_mark(check.passed)}: {check.rms:.1e} from NumPy, at most "
        f"{check.rms_bound:.0e}; the furthest {check.largest:.1e}, at most "
        f"{check.largest_bound:.0e}; queries {queries}; {keys:,} keys"
    )


def _rotation_text(checks: tuple[RotationCheck, ...]) -> str:
    errors = [f"{check.radians:.1e} at {check.position:,}" for check in checks]
    return (
        f"{_mark(all(check.passed for check in checks))}: {', '.join(errors)} radians off, "
        f"at most {BOUND:.0e}"
    )


def _prefill_text(check: PrefillCheck) -> str:
    bound = f", at most {check.largest_bound:.0e}" if check.largest_bound else ""
    return (
        f"{_mark(check.passed)}: KL {check.kl:.1e} from the whole, at most "
        f"{check.kl_bound:.0e}; logits {check.largest:.1e}{bound}"
    )


def _speed_rows(speed: Speed) -> Iterator[tuple[str, str]]:
    yield "model", f"{speed.model}, loaded in {speed.load_s:.1f} s"
    for read in speed.prefill:
        yield (
            f"prefill, chunks of {read.chunk_tokens:,}",
            f"{read.tokens_per_s:,.0f} tokens/s for a prompt of {read.tokens:,}",
        )
    for written in speed.decode:
        share = ""
        if written.floor_share is not None:
            share = f", {written.floor_share:.0%} of the memory's bandwidth"
        yield (
            f"decode at {written.context_tokens:,}",
            f"{written.tokens_per_s:,.1f} tokens/s, "
            f"{written.token_bytes / 1e9:.2f} GB per token{share}",
        )
    yield (
        "model's memory",
        f"{speed.active_bytes / 1e9:.2f} GB loaded, peak {speed.peak_bytes / 1e9:.2f} GB, "
        f"{speed.cache_bytes / 1e9:.2f} GB kept free; "
        f"predicted {speed.predicted_bytes / 1e9:.2f} GB",
    )


def _switch(on: bool | None) -> str:
    return "unknown" if on is None else "on" if on else "off"


def _mark(passed: bool) -> str:
    return "ok" if passed else "WRONG"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _line(text: str) -> str:
    return " ".join(text.split())
