from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Each part may import itself and those before it.
CHAIN = [
    "errors",
    "files",
    "config",
    "store",
    "tokenizer",
    "checkpoint",
    "model",
    "memory.expert_slots",
    "generation",
    "harmony",
    "library",
    "tools",
    "runner",
    "bench",
    "cli",
]
# These stand beside the chain, on the part named: they may import it and what is below
# it, but not each other where they stand on the same one. What follows in the chain may
# import them. On "" means on nothing.
BESIDE = {
    "data": "",
    "memory": "",
    "memory.device": "config",
    "memory.plan": "config",
    "convert": "checkpoint",
    "demo": "checkpoint",
    "sharing": "checkpoint",
    "chat": "runner",
    "doctor": "runner",
    "server": "runner",
}
ALSO = {("memory.plan", "memory.device")}


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
    """The longest part that a module lies in, or None for one that nobody listed."""
    names = module.split(".")[1:]
    for length in range(len(names), 0, -1):
        part = ".".join(names[:length])
        # memory's own parts have a place each: lying in the folder is not enough.
        if part in CHAIN or (part in BESIDE and (part, length) != ("memory", 1)):
            return part
    return "memory" if names == ["memory"] else None


def place(part: str) -> float:
    """How high a part stands: on the chain, or half a step above one of its parts."""
    if part in BESIDE:
        return CHAIN.index(BESIDE[part]) + 0.5 if BESIDE[part] else -1
    return CHAIN.index(part)


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
        return [f"{module} has no place in CHAIN or BESIDE"]
    wrong = []
    for target in sorted(imports(module, source, is_package=is_package)):
        if target == "gptoss_mlx.__version__":
            continue
        other = part_of(target)
        # What only gptoss_mlx/__init__.py offers comes from the top.
        height = place(other) if other else len(CHAIN)
        if other != part and (part, other) not in ALSO and height >= place(part):
            wrong.append(f"{module} imports {target}")
    return wrong


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
        ("gptoss_mlx.convert.pipeline", "from gptoss_mlx.demo import unpack"),
        ("gptoss_mlx.sharing.hub", "from gptoss_mlx.model import transformer"),
        ("gptoss_mlx.memory.plan", "from gptoss_mlx.checkpoint import Checkpoint"),
        ("gptoss_mlx.memory.device", "from gptoss_mlx.memory.plan import plan"),
        ("gptoss_mlx.memory.device", "from .expert_slots import Slots"),
        ("gptoss_mlx.chat.session", "from gptoss_mlx.server import app"),
        ("gptoss_mlx.server.app", "from gptoss_mlx.bench import speed"),
        ("gptoss_mlx.bench.speed", "from gptoss_mlx.cli import app"),
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
        ("gptoss_mlx.model.rope", "from gptoss_mlx.memory.device import compute_dtype"),
        ("gptoss_mlx.memory.plan", "from .device import compute_dtype"),
        ("gptoss_mlx.memory.expert_slots", "from ..model import experts"),
        ("gptoss_mlx.convert.verify", "from .layout import find"),
        ("gptoss_mlx.convert.verify", "from gptoss_mlx import __version__, checkpoint"),
        ("gptoss_mlx.cli.convert", "from gptoss_mlx.convert import convert_checkpoint"),
        ("gptoss_mlx.cli.chat", "from gptoss_mlx.chat.session import Session"),
        ("gptoss_mlx.model.rope", "import mlx.core as mx"),
    ],
)
def test_an_import_downwards_is_allowed(module: str, source: str) -> None:
    """A part may use itself, those below, and other packages."""
    assert wrong_imports(module, source) == []
