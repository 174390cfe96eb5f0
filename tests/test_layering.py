from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# What each part stands on. It may import these, and all that they may; nothing else.
STANDS_ON: dict[str, tuple[str, ...]] = {
    "data": (),
    "controls": (),
    "errors": ("controls",),
    "device_errors": ("errors",),
    "files": ("errors",),
    "home": ("files",),
    "macos": (),
    "memory_pressure": (),
    "device": ("files", "device_errors"),
    "config": ("files",),
    "config_reader": ("files",),
    "config_json": ("config", "config_reader"),
    "tokenizer": ("files", "data"),
    "manifest": ("files",),
    "manifest_digest": ("manifest",),
    "verified": ("home", "manifest_digest"),
    "released_names": ("config",),
    "store": ("home", "config_json", "manifest_digest", "released_names"),
    "checkpoint": ("config_json", "device_errors", "manifest"),
    "model": ("checkpoint", "device"),
    "generation": ("model", "tokenizer", "memory_pressure"),
    "harmony": ("tokenizer",),
    "library": ("home",),
    "tools": ("harmony", "library"),
    "conversation": ("generation", "tools"),
    "sessions": ("conversation",),
    "grounding": ("conversation", "library"),
    "convert": ("checkpoint", "device", "store", "verified", "tokenizer", "macos"),
    "demo": ("convert",),
    "sharing": ("convert",),
    "fit": ("model", "convert"),
    "model_choice": ("fit", "demo", "sharing"),
    "llm": ("sessions", "grounding", "model_choice"),
    "chat": ("llm",),
    "server": ("llm",),
    "bench": ("llm",),
    "doctor": ("llm",),
    "cli": ("chat", "server", "bench", "doctor", "fit", "sharing"),
}


def module_of(file: Path) -> str:
    """The dotted name under which a file of this repository is imported."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    parts = parts if parts[0] == "gptoss_mlx" else ("gptoss_mlx", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {
    module_of(file): file
    for top in ("gptoss_mlx", "convert")
    for file in sorted((ROOT / top).rglob("*.py"))
}


def part_of(module: str) -> str | None:
    """The part that a module lies in, or None for one that nobody listed."""
    part = module.split(".")[1] if "." in module else ""
    return part if part in STANDS_ON else None


def below(part: str) -> set[str]:
    """All that a part may import, but itself."""
    found: set[str] = set()
    for other in STANDS_ON[part]:
        found |= {other} | below(other)
    return found


def imports(module: str, source: str, *, is_package: bool) -> set[str]:
    """Every module of gptoss_mlx that a source imports, at the top or in a function."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                names = module.split(".")
                above = names[: len(names) - node.level + is_package]
                base = ".".join([*above, base] if base else above)
            for alias in node.names:
                full = f"{base}.{alias.name}"
                # A name of the package itself: a submodule, or what __init__ offers.
                inside = base == "gptoss_mlx" or full in FILES
                found.add(full if inside else base)
    return {
        name for name in found if name == "gptoss_mlx" or name.startswith("gptoss_mlx.")
    }


def wrong_imports(module: str, source: str, *, is_package: bool = False) -> list[str]:
    """The imports of a module that its place does not allow, in words."""
    # The package offers names from all its parts, and __main__ starts the program.
    if module in ("gptoss_mlx", "gptoss_mlx.__main__"):
        return []
    part = part_of(module)
    if part is None:
        return [f"{module} has no place in STANDS_ON"]
    allowed = {part, *below(part)}
    return [
        f"{module} imports {target}"
        for target in sorted(imports(module, source, is_package=is_package))
        # What only gptoss_mlx/__init__.py offers comes from the top.
        if target != "gptoss_mlx.__version__" and part_of(target) not in allowed
    ]


@pytest.mark.parametrize("module", FILES)
def test_imports_point_one_way(module: str) -> None:
    """No module imports from a part above its own, and each has a place."""
    file = FILES[module]

    assert (
        wrong_imports(
            module,
            file.read_text(encoding="utf-8"),
            is_package=file.name == "__init__.py",
        )
        == []
    )


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("gptoss_mlx.config", "import gptoss_mlx.model.rope"),
        ("gptoss_mlx.config", "from gptoss_mlx.model import rope"),
        ("gptoss_mlx.config", "from gptoss_mlx import model"),
        ("gptoss_mlx.config", "from gptoss_mlx import load"),
        ("gptoss_mlx.config", "import gptoss_mlx"),
        ("gptoss_mlx.config", "def f():\n    from .model import rope"),
        ("gptoss_mlx.model.rope", "from ..generation.engine import stream"),
        ("gptoss_mlx.convert.pipeline", "from gptoss_mlx.model import transformer"),
        ("gptoss_mlx.convert.pipeline", "from ..model import transformer"),
        ("gptoss_mlx.convert.pipeline", "from gptoss_mlx.demo.package import unpack_demo"),
        ("gptoss_mlx.sharing.hub", "from gptoss_mlx.model import transformer"),
        ("gptoss_mlx.device", "from gptoss_mlx.model.footprint import footprint"),
        ("gptoss_mlx.tools.browser.tool", "from gptoss_mlx.generation import engine"),
        ("gptoss_mlx.chat.terminal", "from gptoss_mlx.server import app"),
        ("gptoss_mlx.server.app", "from gptoss_mlx.bench import speed"),
        ("gptoss_mlx.bench.speed", "from gptoss_mlx.cli.app import app"),
        ("gptoss_mlx.data", "from gptoss_mlx import errors"),
        ("gptoss_mlx.memory.leftovers", ""),
        ("gptoss_mlx.utils", ""),
    ],
)
def test_an_import_upwards_is_noticed(module: str, source: str) -> None:
    """Absolute or relative, at the top or in a function: it is named."""
    assert len(wrong_imports(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("gptoss_mlx.model.rope", "from . import cache"),
        ("gptoss_mlx.model.rope", "from gptoss_mlx.device import compute_dtype"),
        ("gptoss_mlx.model.expert_slots", "from ..checkpoint import folder"),
        ("gptoss_mlx.convert.verify", "from .layout import find"),
        ("gptoss_mlx.convert.verify", "from gptoss_mlx import __version__, checkpoint"),
        ("gptoss_mlx.cli.convert", "from gptoss_mlx.convert.pipeline import Conversion"),
        ("gptoss_mlx.cli.chat", "from gptoss_mlx.conversation.turn import run_turn"),
        ("gptoss_mlx.model.rope", "import mlx.core as mx"),
    ],
)
def test_an_import_downwards_is_allowed(module: str, source: str) -> None:
    """A part may use itself, those it stands on, and other packages."""
    assert wrong_imports(module, source) == []


def test_what_a_part_stands_on_stands_before_it_in_the_list() -> None:
    """So there is no circle, and a reader meets each part after those below it."""
    parts = list(STANDS_ON)

    for part, others in STANDS_ON.items():
        assert all(parts.index(other) < parts.index(part) for other in others), part
