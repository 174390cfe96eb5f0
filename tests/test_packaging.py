from __future__ import annotations

import ast
import re
import subprocess
import sys
import time
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import gptoss_mlx

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
# What --help must not wait for.
HEAVY = {
    "charset_normalizer",
    "docx",
    "huggingface_hub",
    "jsonschema",
    "lxml",
    "mlx",
    "mlx_lm",
    "numpy",
    "prompt_toolkit",
    "pypdfium2",
    "rich",
    "tiktoken",
}
# The arguments are passed on to gptoss-mlx, and what it imported is printed.
RUN_AND_LIST_MODULES = """
import sys
from gptoss_mlx.cli.app import main
try:
    main()
except SystemExit:
    print(*sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""


def test_pyproject_lists_every_package() -> None:
    """A new folder of gptoss_mlx/ or convert/ is in the wheel."""
    folders = {
        file.parent.relative_to(ROOT).parts
        for top in ("gptoss_mlx", "convert")
        for file in (ROOT / top).rglob("*.py")
    }
    packages = {
        ".".join(parts if parts[0] == "gptoss_mlx" else ("gptoss_mlx", *parts))
        for parts in folders
    }

    assert packages == set(PYPROJECT["tool"]["setuptools"]["packages"])


def test_every_package_has_an_init() -> None:
    """No folder is a namespace package by oversight, which would lose its data."""
    without = [
        str(file.parent.relative_to(ROOT))
        for top in ("gptoss_mlx", "convert")
        for file in (ROOT / top).rglob("*.py")
        if not (file.parent / "__init__.py").exists()
    ]

    assert without == []


def test_the_version_is_the_same_in_code_and_metadata() -> None:
    """``gptoss_mlx.__version__`` is what pip shows."""
    assert gptoss_mlx.__version__ == PYPROJECT["project"]["version"]


OPTIONAL = PYPROJECT["project"]["optional-dependencies"]
EXTRAS = [*OPTIONAL["zim"], *OPTIONAL["plot"]]


def test_what_is_imported_is_declared() -> None:
    """Every third-party import has its package in pyproject.toml, and each is used."""
    project = PYPROJECT["project"]
    declared = {
        canonical(re.split(r"[^\w.-]", entry)[0])
        for entry in project["dependencies"] + EXTRAS
    }
    provided = packages_distributions()
    used = {
        top: {canonical(name) for name in provided.get(top, [])} & declared
        for top in third_party_imports()
    }

    assert [top for top, packages in used.items() if not packages] == []
    assert set().union(*used.values()) == declared


def test_the_tests_have_the_packages_of_the_extras() -> None:
    """With the extras' floors, so that ``make floors`` tests them."""
    assert set(EXTRAS) <= set(PYPROJECT["dependency-groups"]["test"])


def third_party_imports() -> set[str]:
    """The top-level modules that the product imports, wherever in a file."""
    found: set[str] = set()
    for top in ("gptoss_mlx", "convert"):
        for file in (ROOT / top).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    found |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    found.add(str(node.module).partition(".")[0])
    return found - {"gptoss_mlx"} - sys.stdlib_module_names


def canonical(name: str) -> str:
    """A package's name as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_help_imports_nothing_heavy() -> None:
    """``gptoss-mlx --help`` answers before MLX and its like load."""
    shown = subprocess.run(
        [sys.executable, "-c", RUN_AND_LIST_MODULES, "--help"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert shown.stdout.startswith("Usage:")
    assert set(shown.stderr.split()) & HEAVY == set()


def test_help_is_quick() -> None:
    """``gptoss-mlx --help`` takes 0.3 s at most, from start to end of the process."""
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "gptoss_mlx", "--help"],
            capture_output=True,
            check=True,
        )
        seconds.append(time.perf_counter() - began)

    # The quickest, because other processes may have the machine's attention.
    assert min(seconds) <= 0.3


def test_the_package_runs_as_a_module() -> None:
    """``python -m gptoss_mlx`` is the same program."""
    shown = subprocess.run(
        [sys.executable, "-m", "gptoss_mlx", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert shown.stdout == f"gptoss-mlx {gptoss_mlx.__version__}\n"


def test_make_help_lists_every_target() -> None:
    """``make`` alone shows each target with what it is for."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony is not None
    shown = subprocess.run(
        ["make", "-C", str(ROOT), "-s"], capture_output=True, text=True, check=True
    )

    listed = re.findall(r"^make (\w+) +\S", shown.stdout, re.MULTILINE)
    assert listed == phony[1].split()
